//! The examples run, print what their comments promise, and say clearly what is wrong with what they were told.
//!
//! They are the ones beside this test's binary, which `cargo test` builds; `EXAMPLES` names another folder. Servers take
//! a port of their own and are ended as a user would, with SIGINT.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tourbillon::event_loop::Ctx;
use tourbillon::web::{
    App, CloseCode, CloseReason, Engine, Message, OwnedMessage, Peer, Request, Socket,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn example(name: &str) -> Command {
    let folder = std::env::var_os("EXAMPLES").map_or_else(
        || {
            // target/debug/deps/examples-…, beside target/debug/examples.
            let test = std::env::current_exe().expect("a test has a file");
            test.parent()
                .and_then(|deps| deps.parent())
                .expect("in a folder of target")
                .join("examples")
        },
        PathBuf::from,
    );
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is not built: cargo build --examples",
        path.display()
    );
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).env_remove("PORT");
    command
}

/// Run it to its end.
fn output(name: &str, arguments: &[&str]) -> Output {
    example(name).args(arguments).output().expect("it starts")
}

/// What it prints, when it ends well.
fn printed(name: &str, arguments: &[&str]) -> String {
    let output = output(name, arguments);
    assert!(output.status.success(), "{name}: {output:?}");
    assert!(output.stderr.is_empty(), "{name}: {output:?}");
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

/// The block that an example's comment says it prints.
fn promised(name: &str) -> String {
    let path = format!("{}/examples/{name}.rs", env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(path).expect("the source is there");
    let block = source
        .split("//! ```")
        .nth(1)
        .expect("its comment has a block");
    let lines = block
        .lines()
        .skip(1)
        .map(|line| line.strip_prefix("//! ").unwrap_or_default());
    lines.map(|line| format!("{line}\n")).collect()
}

/// `text` with every number replaced, for what depends on how busy the machine is.
fn without_numbers(text: &str) -> String {
    let words = text.split_inclusive(' ').map(|word| {
        let is_number = word
            .trim_end_matches([' ', ',', ';', ':'])
            .parse::<f64>()
            .is_ok();
        if is_number { "# " } else { word }
    });
    let spaced: String = words.filter(|word| !word.trim().is_empty()).collect();
    spaced
}

/// `text` of `04_http_bytes`, which has no clock, so that all its dates are one.
fn without_date(text: &str) -> String {
    text.replace("Date: Thu, 01 Jan 1970 00:00:00 GMT", "Date: …")
}

/// A server that is ended when the test is.
struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Server {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let mut command = example(name);
        command.args(arguments).stderr(Stdio::inherit());
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, stdout }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("it prints UTF-8");
        line
    }

    /// The address in the line `listening on …`.
    fn address(&mut self) -> SocketAddr {
        let line = self.line();
        let address = line.split_whitespace().find_map(|word| {
            let word = word.trim_start_matches("http://").trim_end_matches('/');
            word.parse().ok()
        });
        address.unwrap_or_else(|| panic!("no address in {line:?}"))
    }

    /// Ctrl-C. Returns what it printed then.
    fn interrupt(mut self) -> String {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args(["-INT", &pid]).status();
        assert!(killed.expect("kill is there").success());
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                break status;
            }
            assert!(Instant::now() < deadline, "it goes on after SIGINT");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(status.success(), "{status}");
        let mut rest = String::new();
        self.stdout
            .read_to_string(&mut rest)
            .expect("it prints UTF-8");
        rest
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Does nothing to one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream
                    .set_read_timeout(Some(PATIENCE))
                    .expect("a limit that is not zero");
                stream
                    .set_write_timeout(Some(PATIENCE))
                    .expect("a limit that is not zero");
                return stream;
            }
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The whole answer to a GET.
fn get(address: SocketAddr, target: &str) -> String {
    let mut stream = connect(address);
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("an answer in UTF-8");
    answer
}

/// A port that nobody listens on now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    listener.local_addr().expect("it is bound").port()
}

#[test]
fn the_order_of_a_turn_is_the_one_that_01_turn_promises() {
    assert_eq!(printed("01_turn", &[]), promised("01_turn"));
}

#[test]
fn the_echo_gives_back_megabytes_to_a_client_that_reads_late() {
    let mut server = Server::start("02_echo", &["0"]);
    let address = server.address();
    // More than both sockets' buffers hold, so that the server must stop reading and start again.
    let sent: Vec<u8> = (0..16_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut stream = connect(address);
    let mut writer = stream.try_clone().expect("a second handle");
    let bytes = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&bytes)?;
        writer.shutdown(Shutdown::Write)
    });
    std::thread::sleep(Duration::from_millis(300));
    let mut echoed = Vec::new();
    stream.read_to_end(&mut echoed).expect("the echo");
    writing
        .join()
        .expect("no panic")
        .expect("everything is taken");
    assert!(
        echoed == sent,
        "{} of {} bytes came back",
        echoed.len(),
        sent.len()
    );
    server.interrupt();
}

#[test]
fn the_echo_serves_many_at_once() {
    let mut server = Server::start("02_echo", &["0"]);
    let address = server.address();
    let mut clients: Vec<_> = (0..50).map(|_| connect(address)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        write!(client, "client {n:02}").unwrap();
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let mut echoed = [0; 9];
        client.read_exact(&mut echoed).expect("the echo");
        assert_eq!(echoed, format!("client {n:02}").as_bytes());
    }
    drop(clients);
    server.interrupt();
}

#[test]
fn the_timers_run_in_the_order_that_03_timers_promises_and_none_is_early() {
    let printed = printed("03_timers", &[]);
    assert_eq!(
        without_numbers(&printed),
        without_numbers(&promised("03_timers"))
    );
    assert!(!printed.contains("-"), "a negative lateness: {printed}");
}

#[test]
fn the_machine_alone_says_what_04_http_bytes_promises() {
    let printed = printed("04_http_bytes", &[]);
    assert_eq!(without_date(&printed), promised("04_http_bytes"));
}

#[test]
fn hello_counts_its_visitors_and_waits_for_those_who_ask() {
    let port = free_port();
    let mut server = Server::start("05_hello", &[&port.to_string()]);
    let address = server.address();
    assert!(get(address, "/").ends_with("\r\n\r\nHello! You are visitor 1.\n"));
    assert!(get(address, "/").ends_with("\r\n\r\nHello! You are visitor 2.\n"));
    let began = Instant::now();
    assert!(get(address, "/after/100").ends_with("\r\n\r\nThat took 100 ms.\n"));
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert!(get(address, "/after/long").starts_with("HTTP/1.1 404 "));
    assert!(server.interrupt().starts_with("stopped: "));
}

#[test]
fn five_seconds_of_waiting_take_one_in_07_gather_vs_sequence() {
    let printed = printed("07_gather_vs_sequence", &[]);
    assert_eq!(
        without_numbers(&printed),
        without_numbers(&promised("07_gather_vs_sequence"))
    );
    let seconds: Vec<f64> = printed
        .lines()
        .filter_map(|line| {
            line.split(" in ")
                .nth(1)?
                .trim_end_matches(" s")
                .parse()
                .ok()
        })
        .collect();
    assert!(
        matches!(seconds[..], [sequence, gathered] if sequence >= 5.0 && gathered >= 1.0),
        "{printed}"
    );
    // Side by side, whatever the clock says.
    assert!(printed.contains("most at once 5,"), "{printed}");
}

#[test]
fn all_are_answered_at_each_number_at_a_time_in_09_concurrency_sweep() {
    let printed = printed("09_concurrency_sweep", &[]);
    let promised = promised("09_concurrency_sweep");
    assert_eq!(printed.lines().next(), promised.lines().next());
    let rows: Vec<Vec<&str>> = printed
        .lines()
        .skip(1)
        .map(|row| row.split_whitespace().collect())
        .collect();
    let first_three: Vec<_> = rows.iter().map(|row| &row[..3]).collect();
    assert_eq!(
        first_three,
        [
            ["5", "50", "0"],
            ["10", "50", "0"],
            ["20", "50", "0"],
            ["50", "50", "0"]
        ]
    );
    assert!(rows.iter().all(|row| row.len() == 7), "{printed}");
}

#[test]
fn the_client_says_what_08_client_promises() {
    assert_eq!(printed("08_client", &[]), promised("08_client"));
}

#[test]
fn everyone_hears_in_the_rooms_what_11_rooms_promises() {
    assert_eq!(printed("11_rooms", &[]), promised("11_rooms"));
}

#[test]
fn fetch_prints_status_and_body_or_a_line_for_each_time() {
    let mut server = Server::start("yardstick", &["--port", "0"]);
    let address = server.address();
    let url = |path: &str| format!("http://{address}{path}");
    assert_eq!(
        printed("fetch", &[&url("/plaintext")]),
        "200\nHello, World!"
    );
    assert_eq!(
        printed("fetch", &[&url("/chunked"), "--repeat", "3"]),
        "200 30\n".repeat(3)
    );
    assert_eq!(printed("fetch", &["--head", &url("/plaintext")]), "200\n");
    assert!(printed("fetch", &[&url("/nowhere")]).starts_with("404\n"));
    server.interrupt();
}

#[test]
fn fetch_says_what_went_wrong_and_ends_with_1() {
    let mut server = Server::start("yardstick", &["--port", "0"]);
    let slow = format!("http://{}/sleep/5000", server.address());
    let nobody = format!("http://127.0.0.1:{}/", free_port());
    for (arguments, kind) in [
        (&[&*nobody][..], "IoError"),
        (&[&slow, "--timeout", "0.05"], "TimeoutError"),
        (&["ftp://127.0.0.1/"], "UrlError"),
        (&["no-scheme"], "UrlError"),
        (&["--repeat", "x", &slow], "UsageError"),
        (&[], "UsageError"),
    ] {
        let output = output("fetch", arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let told = String::from_utf8(output.stderr).expect("it prints UTF-8");
        assert!(told.starts_with(&format!("fetch: {kind}: ")), "{told}");
    }
    server.interrupt();
}

#[test]
fn debugging_finds_all_that_10_debugging_promises() {
    assert_eq!(
        without_numbers(&printed("10_debugging", &[])),
        without_numbers(&promised("10_debugging"))
    );
}

#[cfg(unix)]
#[test]
fn a_server_prints_what_its_handlers_wait_on_when_it_gets_sigusr1() {
    let port = free_port().to_string();
    let mut command = example("05_hello");
    command.arg(&port).stderr(Stdio::piped());
    let mut server = Server::of(command);
    let address = server.address();
    let mut waiting = connect(address);
    waiting
        .write_all(b"GET /after/60000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    // Served behind the one above.
    assert!(get(address, "/").ends_with("visitor 1.\n"));
    let pid = server.child.id().to_string();
    let killed = Command::new("kill").args(["-USR1", &pid]).status();
    assert!(killed.expect("kill is there").success());
    let stderr = server.child.stderr.take().expect("it is piped");
    let mut lines = BufReader::new(stderr)
        .lines()
        .map(|line| line.expect("it is UTF-8"));
    let heading = lines.next().expect("a heading");
    assert!(heading.starts_with("1 task, "), "{heading}");
    assert!(heading.contains("1 listener"), "{heading}");
    let _columns = lines.next().expect("the columns");
    let row = lines.next().expect("the handler");
    assert!(row.starts_with("http #"), "{row}");
    assert!(row.contains("  in its handler  "), "{row}");
    assert!(row.contains("  timer, due in "), "{row}");
    assert!(row.contains("examples/05_hello.rs:"), "{row}");
    // And it goes on.
    assert!(get(address, "/").ends_with("visitor 2.\n"));
}

#[test]
fn the_tasks_run_in_the_order_that_06_tasks_promises() {
    let printed = printed("06_tasks", &[]);
    assert_eq!(
        without_numbers(&printed),
        without_numbers(&promised("06_tasks"))
    );
}

/// A block of the guide that begins with `$ cargo run --example NAME` and goes on with what that prints.
#[test]
fn the_guide_shows_what_its_programs_print() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guide/src");
    let mut shown = 0;
    for file in std::fs::read_dir(folder).expect("the guide is there") {
        let path = file.expect("it can be read").path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let chapter = std::fs::read_to_string(&path).expect("a chapter is text");
        for block in chapter.split("```text\n$ cargo run --example ").skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            let (command, expected) = block.split_once('\n').expect("it has lines");
            let (name, arguments) = command.split_once(" -- ").unwrap_or((command, ""));
            let arguments: Vec<&str> = arguments.split_whitespace().collect();
            let text = printed(name, &arguments);
            match name {
                // It says how late it was.
                "03_timers" => assert_eq!(without_numbers(&text), without_numbers(expected)),
                "04_http_bytes" => assert_eq!(without_date(&text), expected),
                _ => assert_eq!(text, expected, "{command}"),
            }
            shown += 1;
        }
    }
    assert!(shown >= 8, "{shown} programs");
}

#[test]
fn the_yardstick_and_the_salon_serve_and_end() {
    for (name, target) in [("yardstick", "/"), ("salon", "/"), ("salon", "/dashboard")] {
        let mut server = Server::start(name, &["--port", "0"]);
        let address = server.address();
        let answer = get(address, target);
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n"),
            "{name} {target}: {answer}"
        );
        server.interrupt();
    }
}

#[test]
fn the_dashboard_client_prints_the_salons_points_and_ends_after_as_many_as_were_asked_for() {
    let mut salon = Server::start("salon", &["--port", "0"]);
    let url = format!("ws://{}/realtime", salon.address());
    let output = output("12_dashboard_client", &[&url, "--count", "2"]);
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).expect("it prints UTF-8");
    let points: Vec<&str> = printed.lines().collect();
    assert_eq!(points.len(), 2, "{printed}");
    for point in points {
        // We are the one connection, and the server's memory is some MiB.
        assert!(point.contains(" connections 1 "), "{point}");
        let memory = point.split(' ').nth(4).expect("it has a value");
        assert!(
            memory == "-" || memory.parse::<f64>().expect("a number") > 0.5,
            "{point}"
        );
    }
    salon.interrupt();
}

#[test]
fn the_dashboard_client_waits_for_its_server_and_ends_with_ctrl_c() {
    let port = free_port();
    let url = format!("ws://127.0.0.1:{port}/realtime");
    let mut command = example("12_dashboard_client");
    command.arg(&url).stderr(Stdio::null());
    let mut client = Server::of(command);
    // It tries in vain, for a while.
    std::thread::sleep(Duration::from_millis(300));
    let mut salon = Server::start("salon", &["--port", &port.to_string()]);
    salon.address();
    let point = client.line();
    assert!(point.starts_with("cpu "), "{point}");
    client.interrupt();
    salon.interrupt();
}

#[test]
fn the_dashboard_client_says_what_is_wrong() {
    let free = free_port();
    let nobody = format!("ws://127.0.0.1:{free}/realtime");
    for (arguments, code, why) in [
        (&["--count", "none"][..], 2, "is no number of points"),
        (&["--fast"], 2, "unknown argument --fast"),
        (&["http://127.0.0.1/", "--once"], 1, "ws://"),
        (&[&nobody, "--once"], 1, "refused"),
    ] {
        let output = output("12_dashboard_client", arguments);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(why), "{arguments:?}: {error}");
    }
}

#[test]
fn the_yardstick_prints_the_limits_that_are_in_force() {
    let limits = [
        "--limits",
        "--handler-timeout",
        "7",
        "--connections-max",
        "12",
    ];
    let mut server = Server::start("yardstick", &[&["--port", "0"], &limits[..]].concat());
    server.address();
    let printed: Vec<String> = std::iter::repeat_with(|| server.line())
        .take_while(|line| !line.starts_with("shutdown_timeout"))
        .collect();
    for line in [
        "handler_timeout                  7 s\n",
        "budget.connections_max           12 connections\n",
    ] {
        assert!(printed.iter().any(|printed| printed == line), "{printed:?}");
    }
    server.interrupt();
}

#[test]
fn the_yardstick_serves_on_every_engine() {
    for engine in ["loop", "loops", "loops:2", "threads", "threads:20"] {
        let mut server = Server::start("yardstick", &["--port", "0", "--engine", engine]);
        let address = server.address();
        for (target, text) in [("/plaintext", "Hello, World!"), ("/sleep/5", "awake\n")] {
            let answer = get(address, target);
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{engine}");
            assert!(answer.ends_with(text), "{engine} {target}: {answer}");
        }
        // One is idle, for it to close.
        let mut idle = connect(address);
        idle.write_all(b"GET /204 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        assert!(idle.read(&mut [0; 1024]).unwrap() > 0);
        let stopped = server.interrupt();
        assert!(
            stopped.starts_with("stopped: 1 idle closed"),
            "{engine}: {stopped}"
        );
    }
}

#[test]
fn the_salon_serves_on_one_loop_and_refuses_others() {
    let mut server = Server::start("salon", &["--port", "0", "--engine", "loop"]);
    let address = server.address();
    assert!(get(address, "/").starts_with("HTTP/1.1 200 OK\r\n"));
    server.interrupt();
    for engine in ["loops:2", "threads:9"] {
        let output = output("salon", &["--port", "0", "--engine", engine]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        let expected = format!("the engine {engine} cannot serve this app, which needs one loop");
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn an_unknown_engine_ends_with_the_usage() {
    for name in ["yardstick", "salon"] {
        for engine in ["fast", "loops:0", "threads:x"] {
            let output = output(name, &["--port", "0", "--engine", engine]);
            assert_eq!(output.status.code(), Some(2), "{output:?}");
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(error.contains("is no engine"), "{error}");
            assert!(error.contains("usage: "), "{error}");
        }
    }
}

#[test]
fn a_port_in_use_is_named_in_the_error() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    for (name, arguments) in [
        ("02_echo", vec![port.as_str()]),
        ("05_hello", vec![&port]),
        ("yardstick", vec!["--port", &port]),
        ("salon", vec!["--port", &port]),
    ] {
        let output = output(name, &arguments);
        assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
        let error = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert!(error.contains("in use"), "{name}: {error}");
    }
}

#[test]
fn a_wrong_argument_is_named_in_the_error() {
    for (name, arguments) in [
        ("02_echo", vec!["eighty"]),
        ("05_hello", vec!["eighty"]),
        ("yardstick", vec!["--port", "eighty"]),
        ("salon", vec!["--port", "eighty"]),
    ] {
        let output = output(name, &arguments);
        assert!(!output.status.success(), "{name}: {output:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("port"), "{name}: {error}");
    }
}

#[cfg(feature = "sim")]
#[test]
fn a_simulated_life_is_drawn_the_same_each_time() {
    let file = std::env::temp_dir().join(format!("simulate-{}.json", std::process::id()));
    let drawn = || {
        printed(
            "simulate",
            &["--seed", "3", "--trace", file.to_str().unwrap()],
        );
        let trace = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        trace
    };
    let trace = drawn();
    assert_eq!(trace, drawn());
    let trace: serde_json::Value = serde_json::from_str(&trace).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    for process in 1..=2 {
        let turns = events
            .iter()
            .filter(|event| event["pid"] == process && event["cat"] == "turn");
        assert!(turns.count() > 10, "loop {process}");
    }
}

#[cfg(feature = "sim")]
#[test]
fn a_simulated_world_shows_that_the_app_is_right_and_finds_the_bug_that_is_put_in() {
    let fine = printed("simulate", &["--seeds", "20"]);
    assert!(fine.contains("20"), "{fine}");
    let broken = output("simulate", &["--seeds", "200", "--break"]);
    let text = [broken.stdout, broken.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(!broken.status.success(), "{text}");
    assert!(text.contains("SEED="), "{text}");
}

/// What `wsload` prints of a load on the yardstick: its lines, by their first words.
fn wsload(arguments: &[&str]) -> String {
    let mut server = Server::start("yardstick", &["--port", "0"]);
    let address = server.address();
    let mut arguments = arguments.to_vec();
    let path = arguments.remove(1);
    let url = format!("ws://{address}{path}");
    arguments.insert(1, &url);
    let output = output("wsload", &arguments);
    assert!(output.status.success(), "{output:?}");
    server.interrupt();
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

/// The first number behind a word at the beginning of a line.
fn number_of(word: &str, table: &str) -> u64 {
    let line = table.lines().find(|line| line.starts_with(word));
    let number = line.and_then(|line| line[word.len()..].split_whitespace().next());
    let number = number.and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("no {word} in {table}"))
}

#[test]
fn wsload_counts_what_comes_back() {
    let load = [
        "echo",
        "/ws/echo",
        "--connections",
        "5",
        "--seconds",
        "1",
        "--depth",
        "3",
    ];
    let table = wsload(&load);
    assert!(table.starts_with("connections 5 of 5 "), "{table}");
    assert!(
        table.contains(", 0 lost") && table.contains(", 0 failed"),
        "{table}"
    );
    let sent = number_of("sent", &table);
    assert!(sent > 15 && number_of("total", &table) == sent, "{table}");
}

#[test]
fn wsload_counts_what_a_room_hears() {
    let room = [
        "broadcast",
        "/ws/room",
        "--connections",
        "4",
        "--seconds",
        "1",
    ];
    let table = wsload(&[&room[..], &["--senders", "2", "--rate", "20"]].concat());
    let sent = number_of("sent", &table);
    // Those that were on their way at the end may be missing.
    let heard = number_of("total", &table);
    assert!(
        sent > 4 && heard <= 4 * sent && heard + 16 >= 4 * sent,
        "{table}"
    );
}

#[test]
fn wsload_holds_connections_that_say_nothing() {
    let idle = ["idle", "/ws/echo", "--connections", "20", "--seconds", "1"];
    let table = wsload(&idle);
    assert!(table.starts_with("connections 20 of 20 "), "{table}");
    assert!(table.contains(", 0 lost"), "{table}");
    assert_eq!(number_of("sent", &table), 0);
}

#[test]
fn wsload_loads_nobody_elsewhere_unless_forced() {
    let output = output("wsload", &["echo", "ws://192.0.2.1/"]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("--force"), "{told}");
}

/// Says two things, and closes when both have come back.
struct Speaks {
    heard: Vec<OwnedMessage>,
    tell: std::sync::mpsc::Sender<Vec<OwnedMessage>>,
}

impl Socket<()> for Speaks {
    fn opened(&mut self, peer: &mut Peer<'_>, _: &mut ()) {
        peer.send("to be reflected");
        peer.send(&[0, 1, 2][..]);
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, _: &mut ()) {
        self.heard.push(message.to_owned());
        if self.heard.len() == 2 {
            peer.close(CloseCode::Normal, "enough");
        }
    }

    fn closed(&mut self, _: &mut Ctx<'_>, _: &CloseReason, _: &mut ()) {
        self.tell.send(std::mem::take(&mut self.heard)).unwrap();
    }
}

#[test]
fn wsload_reflects_until_the_server_closes() {
    let (tell, told) = std::sync::mpsc::channel();
    let make_app = move || {
        let tell = tell.clone();
        let open = move |_: &Request, _: &mut ()| {
            let (heard, tell) = (Vec::new(), tell.clone());
            Ok(Speaks { heard, tell })
        };
        App::new(()).ws("/", open)
    };
    let running = Engine::Loops(1).start("127.0.0.1:0", make_app).unwrap();
    let url = format!("ws://{}/", running.address());
    assert_eq!(printed("wsload", &["reflect", &url]), "");
    let expected = [
        OwnedMessage::Text("to be reflected".to_owned()),
        OwnedMessage::Binary(vec![0, 1, 2]),
    ];
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), expected);
}

// ---- the dial in a terminal ---------------------------------------------------------------------------------------

#[test]
fn the_dial_says_what_is_wrong_with_what_it_was_told() {
    for (arguments, error) in [
        (&[][..], "HOST:PORT is missing"),
        (&["nowhere"], "nowhere is not HOST:PORT"),
        (&["localhost:99999"], "localhost:99999 is not HOST:PORT"),
        (&["localhost:80", "--at"], "--at needs a value"),
        (&["localhost:80", "--fast"], "unknown option --fast"),
        (
            &["localhost:80", "localhost:81"],
            "one HOST:PORT, not also localhost:81",
        ),
    ] {
        let output = output("dial", arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.starts_with(&format!("dial: {error}\nusage: dial HOST:PORT")),
            "{stderr}"
        );
    }
    let nobody = format!("127.0.0.1:{}", free_port());
    let output = output("dial", &[&nobody]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with(&format!("dial: {nobody}: ")), "{stderr}");
}

/// Serve what `make` makes on a thread of its own, which ends with the test's process.
fn serve_here(make: impl FnOnce() -> App<()> + Send + 'static) -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut event_loop = tourbillon::EventLoop::new().unwrap();
        let (_server, address) = make().listen(&mut event_loop.ctx(), "127.0.0.1:0").unwrap();
        tell.send(address).unwrap();
        event_loop.run().unwrap();
    });
    told.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn the_dial_says_so_when_there_is_nothing_to_see() {
    let address = serve_here(|| App::new(()).get("/", |_: &Request, _: &mut ()| "hello"));
    let output = output("dial", &[&address.to_string()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("has neither a dial nor operations there"),
        "{stderr}"
    );
}

#[cfg(feature = "operations")]
#[test]
fn the_dial_prints_a_line_a_second_of_a_server_that_shows_its_operations() {
    use tourbillon::operations::Fleet;
    use tourbillon::web::Guard;

    let address = serve_here(|| {
        let app = App::new(()).get("/slow/{n}", |_: &Request, _: &mut ()| {
            std::thread::sleep(Duration::from_millis(120));
            "at last"
        });
        app.operations("/ops", &Fleet::new(), &Guard::new())
    });
    assert!(get(address, "/slow/1").ends_with("at last"));
    let mut dial = Server::start("dial", &[&address.to_string()]);
    for _ in 0..2 {
        let line = dial.line();
        // Its own connection, whose answer is on its way.
        for part in [
            "running, ",
            " at work, lag ",
            "1 connection: 1 http ",
            "GET /slow/{n} (p99)",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(line.contains("ago: slow turn: "), "{line}");
    }
    dial.interrupt();
    let once = printed("dial", &[&address.to_string(), "--once"]);
    assert_eq!(once.lines().count(), 1, "{once}");
}

#[cfg(feature = "dial")]
#[test]
fn the_dial_in_a_terminal_follows_the_dial_in_the_browser() {
    use tourbillon::dial::Dial;

    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut event_loop = tourbillon::EventLoop::new().unwrap();
        let app = App::new(()).get("/", |_: &Request, _: &mut ()| "hello");
        let (_server, address) = app.listen(&mut event_loop.ctx(), "127.0.0.1:0").unwrap();
        let control = event_loop.attach_control();
        let dial = Dial::new(control).serve("127.0.0.1:0").unwrap();
        tell.send((address, dial.url().to_owned())).unwrap();
        event_loop.run().unwrap();
    });
    let (address, url) = told.recv_timeout(PATIENCE).unwrap();
    let kept = connect(address);
    let mut dial = Server::start("dial", &[&url]);
    let mut line = dial.line();
    let deadline = Instant::now() + PATIENCE;
    while !line.contains("1 connection: 1 http idle") {
        assert!(Instant::now() < deadline, "{line}");
        assert!(line.contains(" at work, lag "), "{line}");
        line = dial.line();
    }
    dial.interrupt();
    drop(kept);
    let (host, _) = url
        .split_once("/#token=")
        .expect("the dial's address has its token");
    let output = output("dial", &[host, "--token", "wrong"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("token"),
        "{output:?}"
    );
}
