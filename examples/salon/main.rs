//! The salon: people chat in rooms, and a dashboard shows what the process that serves them is doing. One thread, one
//! loop, no locks.
//!
//! Run it: `cargo run --release --example salon`, then open the address that it prints in two windows. `--port N` picks
//! another port than 8080. `--engine E` takes `loop` and refuses the others: the dashboard shows one loop. `--dial` shows
//! that loop as it turns, on a page of its own, where it can be paused and stepped through.
//!
//! Read on in `chat.rs` (who is in a room, and who hears what) and `dashboard.rs` (a stream that runs while somebody
//! watches). `messages.rs` has what is said, `PROTOCOL.md` what it means, `pages/` what a browser shows of it.

mod alarm;
mod chat;
mod dashboard;
mod messages;
mod process;

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;
use tourbillon::dial::Dial;
use tourbillon::event_loop::EventLoop;
use tourbillon::web::{App, Engine, Limits, Request, Response, Rooms, WeakServer, stop_on_signals};

use dashboard::Stream;

const USAGE: &str = "usage: salon [--port N] [--engine E] [--dial] [--dial-port N]
  --port N     the port on 127.0.0.1; 0 picks one; the default is 8080
  --engine E   loop, the default; the salon needs one loop and refuses loops:N and threads:N
  --dial       show the loop at work, on a page of its own; its address is printed
  --dial-port N   the same, on this port of 127.0.0.1 instead of one that is free";

/// What all handlers share.
struct Salon {
    /// Who chats, and in which room.
    rooms: Rooms,
    /// Who watches, and what is measured for them.
    stream: Stream,
    /// For its counts.
    server: WeakServer,
    opened_at: Instant,
}

impl Salon {
    fn new(opened_at: Instant) -> Self {
        Self {
            rooms: Rooms::new(),
            stream: Stream::default(),
            server: WeakServer::default(),
            opened_at,
        }
    }
}

fn app(opened_at: Instant) -> App<Salon> {
    const HTML: &str = "text/html; charset=utf-8";
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    const STYLE: &str = "text/css; charset=utf-8";
    let app = App::new(Salon::new(opened_at))
        .limits(limits())
        .needs_one_loop("who is where, and what the dashboard shows, is of one loop");
    let salon = app.state();
    app.get("/", file(HTML, include_str!("pages/chat.html")))
        .ws("/ws", chat::enter)
        .get(
            "/dashboard",
            file(HTML, include_str!("pages/dashboard.html")),
        )
        .ws("/realtime", dashboard::watch(salon))
        .get("/stats", stats)
        .get(
            "/api",
            file("application/json", include_str!("pages/api.json")),
        )
        .get("/salon.css", file(STYLE, include_str!("pages/salon.css")))
        .get("/chat.js", file(SCRIPT, include_str!("pages/chat.js")))
        .get(
            "/dashboard.js",
            file(SCRIPT, include_str!("pages/dashboard.js")),
        )
        .get("/chart.js", file(SCRIPT, include_str!("pages/chart.js")))
        .get("/link.js", file(SCRIPT, include_str!("pages/link.js")))
        .get(
            "/mark.svg",
            file("image/svg+xml", include_str!("pages/mark.svg")),
        )
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.websocket.message_bytes_max = 64 * 1024;
    // Room for what one member can say in one visit (64 messages, the longest of them 12 kB), so that nobody who reads
    // is dropped because another one is quick.
    limits.outbox.bytes_max = 1024 * 1024;
    // A member who is dropped, or does not answer our close, is out of the room soon.
    limits.close_timeout = Duration::from_secs(2);
    // PROTOCOL.md promises an end within 5 s.
    limits.shutdown_timeout = Duration::from_secs(4);
    limits
}

/// One of the files in `pages/`, which are part of the program.
fn file(
    content_type: &'static str,
    content: &'static str,
) -> impl Fn(&Request, &mut Salon) -> Response {
    move |_, _| {
        Response::new(content)
            .with_content_type(content_type)
            // A program that was built anew is seen at the next visit.
            .with_header("cache-control", "no-cache")
            // Nothing from elsewhere, no script or style inside the pages, and in nobody's frame.
            .with_header(
                "content-security-policy",
                "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
            )
            .with_header("x-content-type-options", "nosniff")
            .with_header("referrer-policy", "no-referrer")
    }
}

#[derive(Serialize)]
struct Stats {
    rooms: BTreeMap<String, usize>,
    connections: usize,
    stream: dashboard::StreamStats,
    uptime_s: f64,
}

fn stats(request: &Request, salon: &mut Salon) -> Response {
    let uptime = request.handle().time() - salon.opened_at;
    let stats = Stats {
        rooms: salon.rooms.counts().into_iter().collect(),
        connections: salon
            .server
            .upgrade()
            .map_or(0, |server| server.counts().open),
        stream: salon.stream.stats(),
        uptime_s: uptime.as_millis() as f64 / 1000.0,
    };
    Response::new(messages::encode(&stats))
        .with_content_type("application/json")
        .with_header("cache-control", "no-store")
}

/// What the arguments ask for.
#[derive(PartialEq, Debug)]
enum Command {
    Help,
    Serve {
        port: u16,
        engine: Engine,
        /// The dial's port.
        dial: Option<u16>,
    },
}

fn command(arguments: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let mut port = 8080;
    let mut engine = Engine::Loop;
    let mut dial = None;
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--port" => port = port_after("--port", arguments.next())?,
            "--dial" => dial = dial.or(Some(0)),
            "--dial-port" => dial = Some(port_after("--dial-port", arguments.next())?),
            "--engine" => {
                let value = arguments.next().ok_or("--engine needs a name")?;
                engine = value
                    .parse()
                    .map_err(|error| format!("--engine: {error}"))?;
            }
            _ => return Err(format!("unknown argument {argument:?}")),
        }
    }
    Ok(Command::Serve { port, engine, dial })
}

/// The port that follows `option`.
fn port_after(option: &str, value: Option<String>) -> Result<u16, String> {
    let value = value.ok_or_else(|| format!("{option} needs a number"))?;
    value
        .parse()
        .map_err(|_| format!("{option}: {value:?} is not a number from 0 to 65535"))
}

fn main() -> ExitCode {
    let (port, engine, dial) = match command(std::env::args().skip(1)) {
        Ok(Command::Serve { port, engine, dial }) => (port, engine, dial),
        Ok(Command::Help) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("salon: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve(port, engine, dial) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            eprintln!(
                "salon: port {port} is in use; --port N takes another, --port 0 any that is free"
            );
            ExitCode::FAILURE
        }
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            eprintln!("salon: {error}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("salon: cannot serve on 127.0.0.1:{port}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(port: u16, engine: Engine, dial: Option<u16>) -> io::Result<()> {
    let mut event_loop = EventLoop::new()?;
    let app = app(event_loop.time());
    engine.check(&app)?;
    let salon = app.state();
    #[cfg(feature = "operations")]
    let (app, guard) = with_operations(app);
    let mut ctx = event_loop.ctx();
    let (server, address) = app.listen(&mut ctx, ("127.0.0.1", port))?;
    salon.with(|salon| salon.server = server.downgrade());
    let report = stop_on_signals(&mut ctx, &server)?;
    println!("listening on {address}");
    let dial = match dial {
        Some(port) => {
            let dial = Dial::new(event_loop.attach_control()).server(address);
            Some(dial.serve(("127.0.0.1", port)).map_err(|error| {
                let message = format!("the dial's port {port}: {error}");
                io::Error::other(message)
            })?)
        }
        None => None,
    };
    println!("chat at http://{address}/, dashboard at http://{address}/dashboard, Ctrl+C ends it");
    if let Some(dial) = &dial {
        println!("the dial of this loop at {}", dial.url());
    }
    #[cfg(feature = "operations")]
    println!(
        "operations at http://{address}/ops/census?as=text, with the token {}",
        guard.token()
    );
    event_loop.run()?;
    report.with(|report| println!("stopped: {report}"));
    Ok(())
}

/// The salon with what its operators see of it, and the guard before that.
#[cfg(feature = "operations")]
fn with_operations(app: App<Salon>) -> (App<Salon>, tourbillon::web::Guard) {
    let fleet = tourbillon::operations::Fleet::new();
    let guard = tourbillon::web::Guard::new();
    let app = app
        .metrics("/metrics", &fleet)
        .operations("/ops", &fleet, &guard);
    (app, guard)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(target: &str) -> Response {
        let app = app(Instant::now());
        app.into_test().expect("a loop").get(target)
    }

    fn text(response: &Response) -> &str {
        std::str::from_utf8(response.body().as_bytes().expect("a whole body")).expect("UTF-8")
    }

    #[test]
    fn every_file_that_a_page_names_is_served_as_what_it_is() {
        let kinds = [
            ("js", "text/javascript; charset=utf-8"),
            ("css", "text/css; charset=utf-8"),
            ("svg", "image/svg+xml"),
        ];
        let mut found = 0;
        for page in ["/", "/dashboard", "/chat.js", "/dashboard.js"] {
            let page = ask(page);
            for quoted in text(&page).split('"') {
                let path = quoted.split('#').next().unwrap_or_default();
                let is_path = path.starts_with('/') && !path.contains(char::is_whitespace);
                let kind = path.rsplit_once('.').filter(|_| is_path);
                let Some((_, extension)) = kind else { continue };
                let (_, content_type) = kinds
                    .iter()
                    .find(|(known, _)| *known == extension)
                    .unwrap_or_else(|| panic!("{path} is of no known kind"));
                let file = ask(path);
                assert_eq!(
                    (file.status(), file.header("content-type")),
                    (200, Some(*content_type)),
                    "{path}"
                );
                found += 1;
            }
        }
        assert!(found >= 10, "{found}");
    }

    #[test]
    fn pages_may_load_from_here_only() {
        for page in ["/", "/dashboard"] {
            let page = ask(page);
            assert_eq!(
                page.header("content-type"),
                Some("text/html; charset=utf-8")
            );
            let policy = page.header("content-security-policy").expect("a policy");
            assert!(policy.starts_with("default-src 'self';"), "{policy}");
        }
    }

    #[test]
    fn stats_of_an_empty_salon() {
        let stats = ask("/stats");
        assert_eq!(stats.header("content-type"), Some("application/json"));
        assert_eq!(stats.header("cache-control"), Some("no-store"));
        let mut stats: serde_json::Value = serde_json::from_str(text(&stats)).expect("JSON");
        let uptime = stats["uptime_s"].take();
        assert!(
            uptime.as_f64().is_some_and(|uptime| uptime < 60.0),
            "{uptime}"
        );
        let expected = serde_json::json!({
            "rooms": {},
            "connections": 0,
            "stream": { "clients": 0, "running": false, "ticks": 0 },
            "uptime_s": null,
        });
        assert_eq!(stats, expected);
    }

    #[test]
    fn a_room_that_cannot_be_is_refused_before_the_handshake() {
        assert_eq!(ask("/ws?room=caf%C3%A9").status(), 426);
        assert_eq!(ask("/ws?room=%20%20").status(), 426);
        assert_eq!(ask("/ws?room=a%07b").status(), 400);
        assert_eq!(ask(&format!("/ws?room={}", "r".repeat(65))).status(), 400);
        assert_eq!(ask("/ws?name=a%07b").status(), 426);
        assert_eq!(ask("/realtime").status(), 426);
    }

    #[test]
    fn arguments_are_a_port_or_a_question() {
        let command = |line: &str| command(line.split_whitespace().map(str::to_owned));
        let serve = |port, engine, dial| Ok(Command::Serve { port, engine, dial });
        assert_eq!(command(""), serve(8080, Engine::Loop, None));
        assert_eq!(command("--port 0"), serve(0, Engine::Loop, None));
        assert_eq!(
            command("--engine loops:2"),
            serve(8080, Engine::Loops(2), None)
        );
        assert_eq!(command("--dial"), serve(8080, Engine::Loop, Some(0)));
        assert_eq!(
            command("--dial-port 8081 --dial"),
            serve(8080, Engine::Loop, Some(8081))
        );
        assert_eq!(command("--port 80 --help"), Ok(Command::Help));
        for wrong in [
            "--port",
            "--port 65536",
            "--port -1",
            "--port x",
            "--engine",
            "--engine fast",
            "8080",
            "--dial 8081",
            "--dial-port",
            "--prot 80",
        ] {
            assert!(command(wrong).is_err(), "{wrong}");
        }
    }
}
