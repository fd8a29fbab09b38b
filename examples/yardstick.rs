//! The server that measurements and conformance runs talk to.
//!
//! Run it: `cargo run --release --example yardstick -- --port 8080` (or set `PORT`; 0 picks a free one). It prints the
//! address it listens on. `--help` lists the limits that can be set.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use tourbillon::event_loop::EventLoop;
#[cfg(feature = "deflate")]
use tourbillon::proto::ws::DeflateOptions;
use tourbillon::web::{
    App, Body, Engine, Hub, Limits, Message, Peer, Refusal, Request, Response, Rooms, Shared,
    Socket, stop_on_signals, task,
};

const USAGE: &str =
    "usage: yardstick [--port N] [--engine E] [--record FILE] [--limits] [LIMIT VALUE]...
  --port N   the port on 127.0.0.1; 0 picks one; the default is $PORT, or 8080
  --engine E loop (the default), loops (one for each core), loops:N, threads or threads:N
             (a thread for each connection, N at most)
  --record FILE
             record what the loop does; write the last of it there as a trace when it ends, and print
             what it has counted
  --metrics  measure each route, and show the numbers at /metrics (feature metrics)
  --limits   print all limits as they are in force
limits, with the library's defaults; in seconds:
  --first-byte-timeout --header-timeout --body-timeout --handler-timeout --write-timeout --keepalive-timeout
  --ping-after --pong-timeout --close-timeout
in bytes:
  --body-limit --ws-limit --memory-limit
in connections:
  --connections-max --connections-per-peer-max --accept-rate-max (each second)
what happens to one too many:
  --refusal answer|drop";

struct Options {
    port: u16,
    engine: Engine,
    trace: Option<PathBuf>,
    has_metrics: bool,
    prints_limits: bool,
    limits: Limits,
}

fn options() -> Result<Options, String> {
    let port = std::env::var("PORT").map_or(Ok(8080), |port| parse("PORT", &port))?;
    let mut options = Options {
        port,
        engine: Engine::Loop,
        trace: None,
        has_metrics: false,
        prints_limits: false,
        limits: Limits::default(),
    };
    let limits = &mut options.limits;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--help" {
            println!("{USAGE}");
            std::process::exit(0);
        }
        if name == "--metrics" {
            if !cfg!(feature = "metrics") {
                return Err("--metrics needs the feature metrics".to_owned());
            }
            options.has_metrics = true;
            continue;
        }
        if name == "--limits" {
            options.prints_limits = true;
            continue;
        }
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} needs a value"))?;
        let seconds = || parse(&name, &value).map(Duration::from_secs);
        match name.as_str() {
            "--port" => options.port = parse(&name, &value)?,
            "--engine" => {
                options.engine = value.parse().map_err(|error| format!("{name}: {error}"))?;
            }
            "--record" => options.trace = Some(value.into()),
            "--first-byte-timeout" => limits.first_byte_timeout = seconds()?,
            "--header-timeout" => limits.header_timeout = seconds()?,
            "--body-timeout" => limits.body_timeout = seconds()?,
            "--handler-timeout" => limits.handler_timeout = seconds()?,
            "--write-timeout" => limits.write_timeout = seconds()?,
            "--keepalive-timeout" => limits.keep_alive_timeout = seconds()?,
            "--ping-after" => limits.ping_after = seconds()?,
            "--pong-timeout" => limits.pong_timeout = seconds()?,
            "--close-timeout" => limits.close_timeout = seconds()?,
            "--connections-max" => limits.budget.connections_max = Some(parse(&name, &value)?),
            "--connections-per-peer-max" => {
                limits.connections_per_peer_max = Some(parse(&name, &value)?);
            }
            "--accept-rate-max" => limits.accept_rate_max = Some(parse(&name, &value)?),
            "--refusal" => {
                limits.refusal = match value.as_str() {
                    "answer" => Refusal::Answer,
                    "drop" => Refusal::Drop,
                    _ => return Err(format!("{name}: {value:?} is neither answer nor drop")),
                };
            }
            "--memory-limit" => limits.budget.bytes_max = parse(&name, &value)?,
            "--body-limit" => limits.body_bytes_max = parse(&name, &value)?,
            "--ws-limit" => {
                let bytes = parse(&name, &value)?;
                limits.websocket.message_bytes_max = bytes;
                // Conformance suites send the longest messages in fragments of 256 bytes.
                let fragments = u32::try_from(bytes / 256).unwrap_or(u32::MAX);
                limits.websocket.fragments_max = limits.websocket.fragments_max.max(fragments);
            }
            _ => return Err(format!("unknown argument {name}")),
        }
    }
    Ok(options)
}

fn parse<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{name}: {value:?} is not a number in range"))
}

#[derive(Serialize)]
struct Greeting {
    message: &'static str,
}

fn json(_: &Request, _: &mut State) -> Response {
    match serde_json::to_vec(&Greeting {
        message: "Hello, World!",
    }) {
        Ok(json) => Response::new(json).with_content_type("application/json"),
        Err(_) => Response::of_status(500),
    }
}

/// The body, once it is all here.
fn echo(request: &Request, _: &mut State) -> Response {
    Response::new(request.body().to_vec()).with_content_type("application/octet-stream")
}

/// The body while it comes, of any length.
async fn echo_streamed(mut request: Request, _: Shared<State>) -> Response {
    Response::new(request.take_body()).with_content_type("application/octet-stream")
}

async fn chunked(_: Request, _: Shared<State>) -> Response {
    let (mut sender, body) = Body::channel();
    tourbillon::task::spawn(async move {
        for n in 0..5 {
            if sender.send(format!("part{n}\n")).await.is_err() {
                return;
            }
        }
        sender.finish();
    });
    Response::text(body)
}

fn bytes(request: &Request, _: &mut State) -> Response {
    // Half of what a server holds for all.
    const BYTES_MAX: usize = 1 << 27;
    match request.param("n").and_then(|n| n.parse::<usize>().ok()) {
        Some(n) if n <= BYTES_MAX => Response::text(vec![b'x'; n]),
        _ => Response::of_status(404),
    }
}

async fn sleep(request: Request, _: Shared<State>) -> Response {
    let Some(ms) = request.param("ms").and_then(|ms| ms.parse().ok()) else {
        return Response::of_status(404);
    };
    request.handle().sleep(Duration::from_millis(ms)).await;
    Response::text("awake\n")
}

struct State {
    rooms: Rooms,
}

struct Echo;

impl Socket<State> for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, _: &mut State) {
        peer.send(message);
    }
}

struct Member;

impl Socket<State> for Member {
    fn opened(&mut self, peer: &mut Peer<'_>, state: &mut State) {
        state.rooms.join("room", peer.sender());
    }

    fn message(&mut self, _: &mut Peer<'_>, message: Message<'_>, state: &mut State) {
        state.rooms.publish("room", message);
    }
}

fn app(hub: &Hub) -> App<State> {
    let open_echo = |_: &Request, _: &mut State| Ok(Echo);
    let open_room = |_: &Request, _: &mut State| Ok(Member);
    let app = App::new(State {
        rooms: Rooms::spanning(hub),
    });
    #[cfg(feature = "deflate")]
    let app = app
        .ws_deflate("/ws/deflate", DeflateOptions::own_context(), open_echo)
        .ws_deflate("/ws/deflate/shared", DeflateOptions::default(), open_echo)
        .ws_deflate("/ws/deflate/room", DeflateOptions::default(), open_room);
    app.get(
        "/",
        |_: &Request, _: &mut State| "A yardstick of Tourbillon.\n",
    )
    .get("/plaintext", |_: &Request, _: &mut State| {
        Response::new("Hello, World!").with_content_type("text/plain")
    })
    .get("/json", json)
    .post("/echo", echo)
    .post("/echo/stream", task(echo_streamed).streaming())
    .get("/204", |_: &Request, _: &mut State| 204)
    .get("/304", |_: &Request, _: &mut State| 304)
    .get("/chunked", task(chunked))
    .get("/bytes/{n}", bytes)
    .get("/sleep/{ms}", task(sleep))
    .ws("/ws", open_echo)
    .ws("/ws/echo", open_echo)
    .ws("/room", open_room)
    .ws("/ws/room", open_room)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("yardstick: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("yardstick: {error}");
            ExitCode::FAILURE
        }
    }
}

/// On one loop, with its recorder on.
fn serve_recorded(port: u16, app: App<State>, file: &Path) -> io::Result<()> {
    let mut event_loop = EventLoop::new()?;
    event_loop.record(true);
    let mut ctx = event_loop.ctx();
    let (server, address) = app.listen(&mut ctx, ("127.0.0.1", port))?;
    stop_on_signals(&mut ctx, &server)?;
    println!("listening on {address}");
    event_loop.run()?;
    let mut out = BufWriter::new(File::create(file)?);
    event_loop.recorder().write_trace(&mut out)?;
    out.flush()?;
    let stats = event_loop.stats();
    println!(
        "counted: {{\"turns\":{},\"events\":{},\"visits\":{},\"callbacks\":{},\"timers\":{},\"messages\":{},\"sources\":{}}}",
        stats.turns,
        stats.events,
        stats.visits,
        stats.callbacks,
        stats.timers,
        stats.messages,
        stats.sources,
    );
    Ok(())
}

fn run(options: Options) -> io::Result<()> {
    let Options {
        port,
        engine,
        trace,
        has_metrics,
        prints_limits,
        limits,
    } = options;
    // A room is one room, whatever the number of loops.
    let hub = Hub::new();
    #[cfg(feature = "metrics")]
    let fleet = tourbillon::operations::Fleet::new();
    let make_app = move || {
        let app = app(&hub).limits(limits.clone());
        match has_metrics {
            #[cfg(feature = "metrics")]
            true => app.metrics("/metrics", &fleet),
            _ => app,
        }
    };
    if let Some(file) = trace {
        return serve_recorded(port, make_app(), &file);
    }
    let report = engine.serve_and_tell(("127.0.0.1", port), make_app, |address, limits| {
        println!("listening on {address}");
        if prints_limits {
            print!("{limits}");
        }
    })?;
    println!("stopped: {report}");
    Ok(())
}
