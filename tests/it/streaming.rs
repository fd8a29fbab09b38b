//! Bodies that are not all there: whoever is ahead waits, and what waits is bounded.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tourbillon::web::{App, Body, Disconnected, Limits, Request, Response, Shared, task};

use crate::support::{Running, next, serve};

const PIPE: usize = 16 * 1024;
/// What a connection may hold: the pipe, the piece that went beyond it, and a buffer that was read meanwhile.
const HELD_MAX: usize = PIPE + 2 * 64 * 1024;

struct State {
    moved: Arc<AtomicUsize>,
    gate: Arc<AtomicBool>,
    tells: Sender<String>,
}

/// What a test sees of the handlers.
struct Seen {
    server: Running,
    /// Bytes that the handler has got, or sent.
    moved: Arc<AtomicUsize>,
    /// Uploads are read while it is set.
    gate: Arc<AtomicBool>,
    told: Receiver<String>,
}

async fn upload(mut request: Request, state: Shared<State>) -> String {
    let (gate, moved) = state.with(|state| (Arc::clone(&state.gate), Arc::clone(&state.moved)));
    while !gate.load(Ordering::SeqCst) {
        request.handle().sleep(Duration::from_millis(1)).await;
    }
    let mut body = request.take_body();
    let mut length = 0;
    while let Ok(Some(chunk)) = body.chunk().await {
        length += chunk.len();
        moved.fetch_add(chunk.len(), Ordering::SeqCst);
    }
    length.to_string()
}

async fn download(_: Request, state: Shared<State>) -> Response {
    let (mut sender, body) = Body::channel();
    let (moved, tells) = state.with(|state| (Arc::clone(&state.moved), state.tells.clone()));
    tourbillon::task::spawn(async move {
        for _ in 0..4_000 {
            if let Err(Disconnected) = sender.send(vec![b'x'; 10_000]).await {
                assert!(sender.is_disconnected());
                tells.send("disconnected".into()).unwrap();
                return;
            }
            moved.fetch_add(10_000, Ordering::SeqCst);
        }
        sender.finish();
    });
    Response::new(body)
}

async fn echo(mut request: Request, _: Shared<State>) -> Response {
    Response::new(request.take_body())
}

/// Goes on reading the body when the answer is long sent.
async fn accepted(mut request: Request, state: Shared<State>) -> (u16, &'static str) {
    let mut body = request.take_body();
    let tells = state.with(|state| state.tells.clone());
    tourbillon::task::spawn(async move {
        let mut length = 0;
        while let Ok(Some(chunk)) = body.chunk().await {
            length += chunk.len();
        }
        tells.send(length.to_string()).unwrap();
    });
    (202, "will be read")
}

async fn torn(_: Request, _: Shared<State>) -> Response {
    let (mut sender, body) = Body::channel();
    sender.send("half").await.unwrap();
    Response::new(body)
}

/// Five bytes, announced as however many were asked for.
async fn misjudged(request: Request, _: Shared<State>) -> Response {
    let (mut sender, body) = Body::channel();
    sender.send("12345").await.unwrap();
    sender.finish();
    let Body::Stream { reader, .. } = body else {
        unreachable!("a channel is a stream")
    };
    let length = request.query("length").and_then(|n| n.parse().ok());
    Response::new(Body::Stream { reader, length })
}

fn serve_streams() -> Seen {
    let moved = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(AtomicBool::new(true));
    let (tells, told) = channel();
    let state = State {
        moved: Arc::clone(&moved),
        gate: Arc::clone(&gate),
        tells,
    };
    let server = serve(move || {
        App::new(state)
            .limits(Limits {
                pipe_bytes_max: PIPE,
                ..Limits::default()
            })
            .get("/fine", |_: &Request, _: &mut State| "fine")
            .get("/download", task(download))
            .get("/torn", task(torn))
            .get("/misjudged", task(misjudged))
            .post("/upload", task(upload).streaming())
            .post("/accepted", task(accepted).streaming())
            .post("/echo", task(echo).streaming())
    });
    Seen {
        server,
        moved,
        gate,
        told,
    }
}

/// Wait until `count` has stopped above nothing.
#[track_caller]
fn wait_until_it_stands_still(server: &Running, count: &AtomicUsize) {
    let before = AtomicUsize::new(0);
    server.wait_until("it stands still", |_| {
        std::thread::sleep(Duration::from_millis(50));
        let now = count.load(Ordering::SeqCst);
        before.swap(now, Ordering::SeqCst) == now && now > 0
    });
}

#[test]
fn a_streamed_body_comes_whole_in_pieces() {
    let seen = serve_streams();
    let mut client = seen.server.connect();
    for size in [0, 1, 100, 1_000_000] {
        client.post("/upload", &"x".repeat(size));
        assert_eq!(client.answer().text(), size.to_string());
    }
    client.send("POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("5\r\nhello\r\n");
    client.send("5\r\nworld\r\n0\r\n\r\n");
    assert_eq!(client.answer().text(), "10");
    assert_eq!(seen.moved.load(Ordering::SeqCst), 1_000_111);
}

#[test]
fn a_handler_that_does_not_read_holds_its_client_back_and_little_memory() {
    const BODY: usize = 20_000_000;
    let seen = serve_streams();
    seen.gate.store(false, Ordering::SeqCst);
    let mut client = seen.server.connect();
    client.send(format!(
        "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY}\r\n\r\n"
    ));
    let mut writer = client.stream.try_clone().unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let sending = std::thread::spawn(move || {
        for piece in vec![b'x'; BODY].chunks(100_000) {
            writer.write_all(piece).unwrap();
            counter.fetch_add(piece.len(), Ordering::SeqCst);
        }
    });
    wait_until_it_stands_still(&seen.server, &sent);
    assert!(sent.load(Ordering::SeqCst) < BODY);
    for connection in seen.server.connections() {
        assert!(connection.bytes_held <= HELD_MAX, "{connection:?}");
    }
    seen.server.assert_it_goes_on();
    seen.gate.store(true, Ordering::SeqCst);
    assert_eq!(client.answer().text(), BODY.to_string());
    sending.join().unwrap();
}

#[test]
fn a_client_that_does_not_read_holds_the_sender_back_and_little_memory() {
    let seen = serve_streams();
    let mut client = seen.server.connect();
    client.get("/download");
    wait_until_it_stands_still(&seen.server, &seen.moved);
    assert!(seen.moved.load(Ordering::SeqCst) < 40_000_000);
    for connection in seen.server.connections() {
        assert!(
            connection.paused && connection.bytes_held <= HELD_MAX,
            "{connection:?}"
        );
    }
    seen.server.assert_it_goes_on();
    assert_eq!(client.answer().body.len(), 40_000_000);
    client.get("/fine");
    assert_eq!(client.answer().text(), "fine");
}

#[test]
fn a_sender_learns_that_its_client_has_gone() {
    let seen = serve_streams();
    let mut client = seen.server.connect();
    client.get("/download");
    client.exactly(1000).unwrap();
    drop(client);
    assert_eq!(next(&seen.told), "disconnected");
    seen.server.wait_until_empty();
}

#[test]
fn a_body_is_echoed_while_it_comes() {
    let seen = serve_streams();
    let mut client = seen.server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status, 100);
    assert_eq!(client.head().field("transfer-encoding"), Some("chunked"));
    for n in 0..100 {
        let text = format!("{n:04}");
        client.send(format!("4\r\n{text}\r\n"));
        assert_eq!(client.chunk().unwrap().unwrap(), text.as_bytes());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.chunk().unwrap(), None);
    client.get("/fine");
    assert_eq!(client.answer().text(), "fine");
}

#[test]
fn a_large_body_is_echoed_to_a_client_that_sends_and_reads_by_turns() {
    let seen = serve_streams();
    let mut client = seen.server.connect();
    const BODY: usize = 5_000_000;
    let mut writer = client.stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY}\r\n\r\n");
        writer.write_all(head.as_bytes()).unwrap();
        writer.write_all(&vec![b'x'; BODY]).unwrap();
    });
    let answer = client.answer();
    assert_eq!(answer.field("content-length"), Some("5000000"));
    assert!(answer.body == vec![b'x'; BODY]);
    sending.join().unwrap();
}

#[test]
fn a_body_is_read_to_its_end_by_a_task_that_outlives_the_answer() {
    let seen = serve_streams();
    let mut client = seen.server.connect();
    client.send("POST /accepted HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf");
    assert_eq!(client.answer().status, 202);
    client.send("x".repeat(96));
    assert_eq!(next(&seen.told), "100");
    client.assert_closed();
}

#[test]
fn an_answer_whose_sender_is_dropped_is_cut_off_and_not_ended() {
    let seen = serve_streams();
    let mut client = seen.server.connect();
    client.send("GET /fine HTTP/1.1\r\nHost: a\r\n\r\nGET /torn HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().text(), "fine");
    assert_eq!(client.head().field("transfer-encoding"), Some("chunked"));
    assert_eq!(client.chunk().unwrap().unwrap(), b"half");
    assert!(client.chunk().is_err());
    seen.server.wait_until_empty();
    seen.server.assert_it_goes_on();
}

#[test]
fn an_answer_that_is_not_as_long_as_announced_is_cut_off() {
    let seen = serve_streams();
    for (length, comes) in [(5, true), (4, false), (6, false)] {
        let mut client = seen.server.connect();
        client.get(&format!("/misjudged?length={length}"));
        let head = client.head();
        assert_eq!(head.field("content-length"), Some(&*length.to_string()));
        assert_eq!(client.exactly(length).is_ok(), comes, "{length}");
    }
    seen.server.wait_until_empty();
    assert_eq!(seen.server.reports(), []);
    seen.server.assert_it_goes_on();
}

#[test]
fn the_head_of_a_stream_does_not_wait_for_its_body() {
    let seen = serve_streams();
    let mut client = seen.server.connect();
    client.send("HEAD /download HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status, 200);
    assert_eq!(next(&seen.told), "disconnected", "nobody wants the body");
    client.get("/fine");
    assert_eq!(client.answer().text(), "fine");
}
