//! A dashboard in the terminal: the salon's stream of figures, drawn as it comes.
//!
//!     cargo run --example salon
//!     cargo run --example 12_dashboard_client -- [URL] [--once] [--count N]
//!
//! The URL is that of the salon's stream, `ws://127.0.0.1:8080/realtime` unless it is given. It runs until Ctrl-C, and
//! connects again when the server has gone and come back. With `--count N` it ends after N points, and with `--once`
//! after one; then it does not wait for a server that is not there, and the exit code says whether the points came.
//! Where nobody looks, in a file or a pipe, it prints a line for each point.
//!
//! What to look at:
//!
//! - `connect` has the two ways to get a WebSocket: once, or by `Reconnect`, which goes on with pauses that grow.
//! - `watch` waits for a message or for Ctrl-C, whatever comes first. The loser of a `select` is dropped: `recv` loses
//!   nothing by that.
//! - It ends with `close` and not with `exit`: the server learns that we left, and the cursor is back where it belongs.
//!
//! A question: the server is stopped and started again while it is watched. Which of its messages are missing, and how
//! would one know? (Those of the time between. Nothing tells, for a point has a time and no number.)

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use tourbillon::client::{Reconnect, WebSocket, WebSocketBuilder, WebSocketError};
use tourbillon::event_loop::{EventLoop, Signal};
use tourbillon::proto::ws::{CloseCode, OwnedMessage};
use tourbillon::sync::Event;
use tourbillon::task::{Either, select};

const USAGE: &str = "usage: 12_dashboard_client [URL] [--once] [--count N]";
const URL: &str = "ws://127.0.0.1:8080/realtime";
/// Between two tries to reach the server.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];
const BAR_WIDTH: usize = 30;
/// How many of the last points are drawn behind a bar.
const TRAIL_LEN: usize = 30;

struct Options {
    url: String,
    count: Option<u64>,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let (mut url, mut count) = (None, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--once" => count = Some(1),
            "--count" => {
                let value = arguments.next().ok_or("--count needs a value")?;
                let points = value.parse().ok().filter(|points| *points > 0);
                count = Some(points.ok_or(format!("--count: {value:?} is no number of points"))?);
            }
            _ if argument.starts_with('-') || url.is_some() => {
                return Err(format!("unknown argument {argument}"));
            }
            _ => url = Some(argument),
        }
    }
    let url = url.unwrap_or_else(|| URL.to_owned());
    Ok(Options { url, count })
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("12_dashboard_client: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("12_dashboard_client: {error}");
    ExitCode::FAILURE
}

/// Watch until the points are there, or until Ctrl-C.
fn run(options: Options) -> io::Result<Result<(), WebSocketError>> {
    let mut event_loop = EventLoop::new()?;
    let stop = Event::new();
    let stopping = stop.clone();
    let signal = event_loop
        .ctx()
        .on_signal(Signal::Interrupt, move |_| stopping.set())?;
    let watched = event_loop.run_until(watch(options, stop));
    event_loop.ctx().close(signal);
    watched
}

async fn watch(options: Options, stop: Event) -> Result<(), WebSocketError> {
    let mut screen = Screen::new();
    let mut left = options.count;
    let builder = WebSocket::builder(&options.url);
    let mut reconnect = Reconnect::new(builder.clone()).pauses(PAUSES[0], PAUSES[1]);
    loop {
        screen.status(&format!("connecting to {}", options.url));
        let connecting = connect(&builder, &mut reconnect, left.is_some());
        let mut socket = match select(connecting, stop.wait()).await {
            Either::Left(connected) => connected?,
            Either::Right(()) => return Ok(()),
        };
        screen.status(&options.url);
        // If it has gone already, that is what comes next.
        let _ = socket.send(r#"{"type":"subscribe"}"#).await;
        loop {
            let came = match select(socket.recv(), stop.wait()).await {
                Either::Left(came) => came,
                Either::Right(()) => return close(socket).await,
            };
            let text = match came {
                Ok(Some(OwnedMessage::Text(text))) => text,
                Ok(Some(OwnedMessage::Binary(_))) => continue,
                // For those who count points, a stream that ends before them has failed.
                Ok(None) if left.is_some() => return Err(WebSocketError::Closed),
                Err(error) if left.is_some() => return Err(error),
                Ok(None) | Err(_) => break,
            };
            // What is new in the protocol since this was written is none of our business.
            let Ok(said) = serde_json::from_str(&text) else {
                continue;
            };
            match said {
                Said::Metrics(point) => {
                    screen.point(&point);
                    left = left.map(|left| left - 1);
                }
                Said::Alert { level, message } => screen.alert(&level, &message),
                Said::Other => {}
            }
            if left == Some(0) {
                return close(socket).await;
            }
        }
    }
}

async fn connect(
    builder: &WebSocketBuilder,
    reconnect: &mut Reconnect,
    is_once: bool,
) -> Result<WebSocket, WebSocketError> {
    if is_once {
        builder.connect().await
    } else {
        reconnect.connect().await
    }
}

async fn close(mut socket: WebSocket) -> Result<(), WebSocketError> {
    // The server may have gone meanwhile: then all is said.
    let _ = socket.close(CloseCode::Normal, "").await;
    Ok(())
}

/// What the stream says, see examples/salon/PROTOCOL.md.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    Metrics(Point),
    Alert {
        level: String,
        message: String,
    },
    #[serde(other)]
    Other,
}

/// The figures of one tick. What the server's platform does not tell is `None`.
#[derive(Deserialize)]
struct Point {
    cpu_percent: Option<f64>,
    memory_bytes: Option<u64>,
    loop_lag_ms: f64,
    connections: u64,
    requests: u64,
    chatters: u64,
}

/// A figure as it is drawn: a bar from nothing to the most that it was, or to what is much for it.
struct Gauge {
    name: &'static str,
    unit: &'static str,
    full: f64,
    trail: Vec<f64>,
}

impl Gauge {
    fn new(name: &'static str, unit: &'static str, full: f64) -> Self {
        let trail = Vec::new();
        Self {
            name,
            unit,
            full,
            trail,
        }
    }

    /// Its line: the figure, the bar, and a trail of what it was before.
    fn line(&mut self, value: Option<f64>) -> String {
        let Some(value) = value else {
            return format!("{:<12} {:>9}", self.name, "-");
        };
        self.full = self.full.max(value);
        if self.trail.len() == TRAIL_LEN {
            self.trail.remove(0);
        }
        self.trail.push(value);
        // What has no unit is counted.
        let decimals = usize::from(!self.unit.is_empty());
        let filled = (value / self.full * BAR_WIDTH as f64).round() as usize;
        let steps: Vec<char> = " ▁▂▃▄▅▆▇█".chars().collect();
        let step = |value: &f64| steps[(value / self.full * (steps.len() - 1) as f64) as usize];
        let trail: String = self.trail.iter().map(step).collect();
        format!(
            "{:<12} {:>9} {:░<BAR_WIDTH$} {trail}",
            self.name,
            format!("{value:.decimals$}{}", self.unit),
            "█".repeat(filled),
        )
    }
}

/// Where it is drawn: over what was drawn before if it is a terminal, else line by line.
struct Screen {
    is_terminal: bool,
    status: String,
    alert: String,
    gauges: [Gauge; 5],
    /// What stands there, in lines.
    drawn: usize,
}

impl Screen {
    fn new() -> Self {
        let mut screen = Self {
            is_terminal: io::stdout().is_terminal(),
            status: String::new(),
            alert: String::new(),
            gauges: [
                Gauge::new("CPU", " %", 100.0),
                Gauge::new("memory", " MiB", 16.0),
                Gauge::new("loop lag", " ms", 10.0),
                Gauge::new("connections", "", 10.0),
                Gauge::new("chatters", "", 10.0),
            ],
            drawn: 0,
        };
        if screen.is_terminal {
            screen.print("\x1b[?25l");
        }
        screen
    }

    /// Who reads may have gone: `head` does so. The next point will find out.
    fn print(&mut self, text: &str) {
        let mut stdout = io::stdout();
        let _ = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
    }

    /// What goes on, as long as there is no point.
    fn status(&mut self, status: &str) {
        status.clone_into(&mut self.status);
        if self.is_terminal {
            self.draw(&[]);
        } else {
            eprintln!("{status}");
        }
    }

    fn alert(&mut self, level: &str, message: &str) {
        self.alert = format!("{level}: {message}");
        if !self.is_terminal {
            let line = format!("alert {}\n", self.alert);
            self.print(&line);
        }
    }

    fn point(&mut self, point: &Point) {
        let memory = point
            .memory_bytes
            .map(|bytes| bytes as f64 / f64::from(1 << 20));
        if !self.is_terminal {
            let or_dash =
                |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
            let line = format!(
                "cpu {} % memory {} MiB lag {:.1} ms connections {} requests {} chatters {}\n",
                or_dash(point.cpu_percent),
                or_dash(memory),
                point.loop_lag_ms,
                point.connections,
                point.requests,
                point.chatters,
            );
            return self.print(&line);
        }
        let values = [
            point.cpu_percent,
            memory,
            Some(point.loop_lag_ms),
            Some(point.connections as f64),
            Some(point.chatters as f64),
        ];
        let gauges = self.gauges.iter_mut().zip(values);
        let lines: Vec<String> = gauges.map(|(gauge, value)| gauge.line(value)).collect();
        self.draw(&lines);
    }

    fn draw(&mut self, lines: &[String]) {
        let mut text = String::new();
        if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A", self.drawn);
        }
        let around = [&self.status, &self.alert];
        for line in around[..1]
            .iter()
            .copied()
            .chain(lines)
            .chain(around[1..].iter().copied())
        {
            let _ = write!(text, "\r\x1b[K{line}\r\n");
        }
        // What stood below.
        text.push_str("\x1b[J");
        self.drawn = lines.len() + around.len();
        self.print(&text);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.is_terminal {
            self.print("\x1b[?25h");
        }
    }
}
