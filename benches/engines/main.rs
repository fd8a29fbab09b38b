//! The engines compared: one app on one loop, on two loops, and on a thread for each connection.
//!
//! ```sh
//! cargo bench --bench engines                          # every case with every engine: three to four minutes
//! cargo bench --bench engines -- 'plaintext.*threads'  # some of them, by Criterion's filter
//! cargo bench --bench engines -- --article             # the table of the article that the project answers
//! cargo bench --bench engines -- --test                # everything once, in seconds
//! scripts/charts.py                                    # then: charts, and the tables of docs/engines.md
//! ```
//!
//! Criterion shows the wall-clock time of an operation, which the client and whatever else runs on the machine share
//! in. So beside it each case writes a line of JSON into `target/engines/results.jsonl` with what the server's process
//! used, read from `/proc`. docs/engines.md says what the figures mean. Linux only.

mod app;
mod article;
mod load;
mod results;
mod server;
mod talk;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use criterion::{Criterion, SamplingMode};

use load::{Load, Pattern};
use results::{Idle, Line, Results};
use server::{Server, Usage};
use talk::Script;

/// The engines, with the names they have in the results. No case has more than 80 % of their connections open: above
/// that, idle ones are closed after 10 s.
const ENGINES: [(&str, &str); 3] = [
    ("loop", "loop"),
    ("loops:2", "loops:2"),
    ("threads", "threads:10000"),
];

struct Case {
    name: &'static str,
    script: Script,
    connections: usize,
    pattern: Pattern,
    /// What is counted.
    operation: &'static str,
    /// Operations that belong together, so that all connections take part.
    batch: u32,
    /// Whether it begins with a time in which nothing is asked, to see what that costs.
    idles: bool,
}

const CASES: [Case; 12] = [
    Case::asking("plaintext", "/plaintext", 1, 100),
    Case::asking("plaintext", "/plaintext", 64, 1280),
    Case::asking("plaintext", "/plaintext", 256, 2560),
    Case::asking("plaintext", "/plaintext", 1000, 5000),
    Case::asking("json", "/json", 64, 1280),
    Case::asking("timer of 10 ms", "/wait/10", 256, 512),
    Case::asking("work of 200 µs", "/work", 64, 128),
    Case {
        script: Script::Chat("/echo"),
        operation: "message",
        ..Case::asking("WebSocket echo", "", 64, 1280)
    },
    Case {
        script: Script::Chat("/room"),
        pattern: Pattern::Room,
        operation: "delivery",
        ..Case::asking("room", "", 1000, 4000)
    },
    Case::asking("file, executor", "/file/0", 64, 256),
    Case::asking("file, in the handler", "/file-blocking/0", 64, 256),
    Case {
        pattern: Pattern::InTurns,
        idles: true,
        ..Case::asking("mostly idle", "/plaintext", 5000, 500)
    },
];

impl Case {
    const fn asking(
        name: &'static str,
        path: &'static str,
        connections: usize,
        batch: u32,
    ) -> Self {
        Self {
            name,
            script: Script::Get(path),
            connections,
            pattern: Pattern::AllAtOnce,
            operation: "request",
            batch,
            idles: false,
        }
    }

    fn compare(&self, c: &mut Criterion, results: &mut Results) -> io::Result<()> {
        let mut group = c.benchmark_group(format!("{} at {}", self.name, self.connections));
        group
            .sampling_mode(SamplingMode::Flat)
            .sample_size(10)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2));
        for (engine, parsed) in ENGINES {
            // Begun when Criterion's filter lets it.
            let mut session = None;
            group.bench_function(engine, |b| {
                let session = session.get_or_insert_with(|| {
                    Session::begin(self, parsed, results.is_smoke()).unwrap_or_else(|error| {
                        panic!("{} with {engine} cannot begin: {error}", self.name)
                    })
                });
                b.iter_custom(|batches| {
                    let took = session.run(batches).unwrap_or_else(|error| {
                        panic!("{} with {engine} broke: {error}", self.name)
                    });
                    took / self.batch
                });
            });
            if let Some(session) = session {
                results.write(&session.end(engine, results.is_smoke())?)?;
            }
        }
        group.finish();
        Ok(())
    }
}

/// One case with one engine.
struct Session<'c> {
    case: &'c Case,
    /// Before anybody connected.
    at_start: Usage,
    idle: Option<Idle>,
    /// When all were connected and had been served once.
    before: Usage,
    load: Load,
    operations: u64,
    wall: Duration,
    /// Last, so that it outlives the connections.
    server: Server,
}

impl<'c> Session<'c> {
    fn begin(case: &'c Case, engine: &str, is_smoke: bool) -> io::Result<Self> {
        let server = Server::start(engine, &results::file()?)?;
        let at_start = server.usage()?;
        let load = Load::open(server.address, case.script, case.connections, case.pattern)?;
        let idle = case.idles.then(|| idle(&server, is_smoke)).transpose()?;
        Ok(Self {
            case,
            at_start,
            idle,
            before: server.usage()?,
            load,
            operations: 0,
            wall: Duration::ZERO,
            server,
        })
    }

    fn run(&mut self, batches: u64) -> io::Result<Duration> {
        let operations = batches * u64::from(self.case.batch);
        let took = self.load.run(operations)?;
        self.operations += operations;
        self.wall += took;
        Ok(took)
    }

    fn end(mut self, engine: &'static str, is_smoke: bool) -> io::Result<Line> {
        let after = self.server.usage()?;
        let syscalls = self.syscalls_each(if is_smoke { 1 } else { 5 })?;
        let used = after.since(self.before);
        let each = |sum: f64| sum / self.operations as f64;
        let us_each = |time: Duration| each(time.as_secs_f64() * 1e6);
        Ok(Line {
            case: self.case.name,
            connections: self.case.connections,
            engine,
            operation: self.case.operation,
            operations: self.operations,
            wall_us: us_each(self.wall),
            cpu_us: us_each(used.cpu),
            user_us: us_each(used.user),
            system_us: us_each(used.system),
            voluntary: each(used.voluntary as f64),
            involuntary: each(used.involuntary as f64),
            syscalls,
            rss_start_kib: self.at_start.rss_kib,
            rss_kib: after.rss_kib,
            threads: after.threads,
            idle: self.idle,
        })
    }

    fn syscalls_each(&mut self, batches: u32) -> io::Result<Option<f64>> {
        // One event a thread, each with a descriptor of perf's: thousands of them are not worth it.
        let Some(counter) = (!self.case.idles)
            .then(|| self.server.count_syscalls())
            .flatten()
        else {
            return Ok(None);
        };
        let operations = u64::from(self.case.batch * batches);
        self.load.run(operations)?;
        Ok(counter.finish().map(|sum| sum as f64 / operations as f64))
    }
}

/// Say nothing for a while. It is long enough for the deadline of a connection's first request to pass in it once: 10 s
/// by default, and every engine looks then whether it still stands.
fn idle(server: &Server, is_smoke: bool) -> io::Result<Idle> {
    let time = Duration::from_millis(if is_smoke { 100 } else { 15_000 });
    let before = server.usage()?;
    std::thread::sleep(time);
    let used = server.usage()?.since(before);
    Ok(Idle {
        seconds: time.as_secs_f64(),
        switches: used.switches(),
        cpu_us: used.cpu.as_secs_f64() * 1e6,
    })
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments[..] {
        [mode, engine, file] if mode == server::SERVE => match engine.parse() {
            Ok(engine) => app::serve(engine, PathBuf::from(file)),
            Err(error) => Err(io::Error::other(error)),
        },
        arguments => measure(arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engines: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &[String]) -> io::Result<()> {
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if results::raise_descriptor_limit()? {
        return Ok(());
    }
    // As Criterion takes it: `cargo bench` says --bench, `cargo test` does not.
    let is_smoke = has("--test") || !has("--bench");
    if has("--article") {
        return article::measure(is_smoke);
    }
    let mut results = Results::open("results", is_smoke)?;
    let mut criterion = Criterion::default().configure_from_args();
    for case in &CASES {
        case.compare(&mut criterion, &mut results)?;
    }
    criterion.final_summary();
    if is_smoke && !has("--list") {
        article::measure(is_smoke)?;
    }
    Ok(())
}
