//! What the library tells `log` and `tracing`. A test binary of its own: a logger is the whole process'.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;

use tourbillon::event_loop::EventLoop;
use tourbillon::web::{App, Limits, Request};
use tourbillon::{LogLevel, set_log_level};

/// What was told, by whom.
static TOLD: Mutex<Vec<(&str, String)>> = Mutex::new(Vec::new());

fn tell(by: &'static str, text: String) {
    TOLD.lock().unwrap().push((by, text));
}

/// What has been told since the last time.
fn told() -> Vec<(&'static str, String)> {
    std::mem::take(&mut TOLD.lock().unwrap())
}

struct Log;

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() == "tourbillon"
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            tell("log", format!("{} {}", record.level(), record.args()));
        }
    }

    fn flush(&self) {}
}

struct Tracing;

/// Reads the message out of an event.
struct Message(String);

impl tracing::field::Visit for Message {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl tracing::Subscriber for Tracing {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "tourbillon"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        tell(
            "tracing",
            format!("{} {}", event.metadata().level(), message.0),
        );
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Whether both have told something that begins like this.
#[track_caller]
fn assert_both_told(told: &[(&str, String)], beginning: &str) {
    for by in ["log", "tracing"] {
        let has = told
            .iter()
            .any(|(who, text)| *who == by && text.starts_with(beginning));
        assert!(has, "{by}: {beginning} in {told:#?}");
    }
}

#[test]
fn both_facades_are_told_what_happens_as_much_as_is_wanted_and_limits_once_a_second() {
    log::set_logger(&Log).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    tracing::subscriber::set_global_default(Tracing).unwrap();

    let mut event_loop = EventLoop::new().unwrap();
    event_loop.on_panic(|_| {});
    let limits = Limits {
        body_bytes_max: 10,
        ..Limits::default()
    };
    let app = App::new(())
        .limits(limits)
        .post("/", |_: &Request, _: &mut ()| "fine")
        .get("/panics", |_: &Request, _: &mut ()| -> u16 {
            panic!("not today")
        });
    let mut ctx = event_loop.ctx();
    let (server, address) = app.listen(&mut ctx, "127.0.0.1:0").unwrap();
    let heard = told();
    assert_both_told(&heard, &format!("INFO listening on {address}"));
    assert!(
        heard
            .iter()
            .any(|(_, text)| text.contains("body_bytes_max")),
        "{heard:?}"
    );

    let mut ask = |requests: &'static str, times: usize| {
        let remote = event_loop.remote();
        let asking = std::thread::spawn(move || {
            for _ in 0..times {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(requests.as_bytes()).unwrap();
                stream.read_to_end(&mut Vec::new()).unwrap();
            }
            remote.stop().unwrap();
        });
        event_loop.run().unwrap();
        asking.join().unwrap();
        told()
    };
    let panics = "GET /panics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_both_told(&ask(panics, 1), "ERROR a handler created at");

    let too_much =
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 11\r\n\r\n12345678901";
    let heard = ask(too_much, 50);
    assert_both_told(&heard, "WARN the limit body_bytes was hit, 1 times by now");
    let lines = heard
        .iter()
        .filter(|(by, text)| *by == "log" && text.contains("body_bytes"));
    // Fifty in some milliseconds; a machine that takes seconds for them may say so in as many lines.
    assert!(lines.count() < 25, "{heard:?}");
    let has_debug =
        |heard: &[(&str, String)]| heard.iter().any(|(_, text)| text.starts_with("DEBUG"));
    assert!(!has_debug(&heard), "{heard:?}");

    set_log_level(LogLevel::Debug);
    let heard = ask(panics, 1);
    assert_both_told(&heard, "DEBUG connection ");
    set_log_level(LogLevel::Error);
    assert_eq!(ask(too_much, 1), [], "nothing of a limit");
    set_log_level(LogLevel::Info);

    server.shutdown(
        &mut event_loop.ctx(),
        std::time::Duration::from_secs(5),
        |ctx, _| ctx.stop(),
    );
    event_loop.run().unwrap();
    let heard = told();
    assert_both_told(&heard, "INFO shutting down within 5s");
    assert_both_told(&heard, "INFO shut down: ");
}
