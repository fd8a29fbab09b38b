//! The app that every engine serves, and the process that serves it.

use std::hint::black_box;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use tourbillon::web::{
    App, Engine, Hub, Message, Peer, Request, Response, Rooms, Shared, Socket, task,
};

/// What a file is long.
pub(crate) const FILE_BYTES: usize = 64 * 1024;

/// Multiplications of `/work`, each waiting for the one before: some 200 µs of a core of about 3 GHz. A number of steps
/// and no time, so that the work is the same in every engine, however busy the machine is.
const WORK_STEPS: u64 = 175_000;

/// Serve with `engine` until the standard input ends, which it does with the process that measures. The address is the
/// one line that is printed.
pub(crate) fn serve(engine: Engine, file: PathBuf) -> io::Result<()> {
    let hub = Hub::new();
    let running = engine.start("127.0.0.1:0", move || app(&hub, &file))?;
    println!("{}", running.address());
    io::stdin().read_to_end(&mut Vec::new())?;
    running.shutdown(Duration::ZERO);
    Ok(())
}

struct State {
    rooms: Rooms,
    file: PathBuf,
}

/// Routes come in pairs where an engine makes a difference to how one would write them: a task that awaits, and a
/// called handler that blocks its thread.
fn app(hub: &Hub, file: &Path) -> App<State> {
    let state = State {
        rooms: Rooms::spanning(hub),
        file: file.to_owned(),
    };
    App::new(state)
        .get("/plaintext", |_: &Request, _: &mut State| "Hello, World!")
        .get("/json", json)
        .get("/work", work)
        .get("/wait/{ms}", task(wait))
        .get("/wait-blocking/{ms}", wait_blocking)
        .get("/file/{ms}", task(send_file))
        .get("/file-blocking/{ms}", send_file_blocking)
        .ws("/echo", |_: &Request, _: &mut State| Ok(Echo))
        .ws("/room", |_: &Request, _: &mut State| Ok(Member))
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

fn work(_: &Request, _: &mut State) -> String {
    let steps = 0..black_box(WORK_STEPS);
    let mix = |sum: u64, step: u64| (sum ^ step).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    steps.fold(1, mix).to_string()
}

fn delay(request: &Request) -> Option<Duration> {
    let ms = request.param("ms")?.parse().ok()?;
    Some(Duration::from_millis(ms))
}

/// Stands for an upstream that answers after so long.
async fn wait(request: Request, _: Shared<State>) -> Response {
    let Some(delay) = delay(&request) else {
        return Response::of_status(404);
    };
    request.handle().sleep(delay).await;
    Response::text("awake\n")
}

fn wait_blocking(request: &Request, _: &mut State) -> Response {
    let Some(delay) = delay(request) else {
        return Response::of_status(404);
    };
    thread::sleep(delay);
    Response::text("awake\n")
}

/// A device that takes `latency` for each file; what it then gives comes from the page cache.
fn read_file(file: &Path, latency: Duration) -> io::Result<Vec<u8>> {
    if !latency.is_zero() {
        thread::sleep(latency);
    }
    std::fs::read(file)
}

fn answer(file: io::Result<Vec<u8>>) -> Response {
    match file {
        Ok(bytes) => Response::new(bytes).with_content_type("application/octet-stream"),
        Err(_) => Response::of_status(500),
    }
}

async fn send_file(request: Request, state: Shared<State>) -> Response {
    let Some(latency) = delay(&request) else {
        return Response::of_status(404);
    };
    let file = state.with(|state| state.file.clone());
    let handle = request.handle();
    match handle.run_in_executor(move || read_file(&file, latency)) {
        Ok(job) => answer(
            job.await
                .unwrap_or_else(|panicked| Err(io::Error::other(panicked.to_string()))),
        ),
        Err(_) => Response::of_status(503),
    }
}

fn send_file_blocking(request: &Request, state: &mut State) -> Response {
    match delay(request) {
        Some(latency) => answer(read_file(&state.file, latency)),
        None => Response::of_status(404),
    }
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
