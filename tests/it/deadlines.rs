//! Every deadline, shortened: what happens when it comes, and that it is counted. Times are checked from above only,
//! and generously: a machine under load is late, never early.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tourbillon::web::{
    App, Limits, Message, OwnedMessage, Peer, Request, Shared, Socket, WebSocket, task,
};

use crate::support::{Client, FINAL, PING, PONG, Running, TEXT, frame, serve};

const SHORT: Duration = Duration::from_millis(60);

struct Echo;

impl Socket<()> for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, (): &mut ()) {
        peer.send(message);
    }
}

/// Echoes, and naps for long when it is told to the first time.
async fn reader(mut ws: WebSocket, _: Shared<()>) {
    let mut is_rested = false;
    while let Some(OwnedMessage::Text(text)) = ws.next().await {
        if text == "nap" && !std::mem::replace(&mut is_rested, true) {
            ws.request().handle().sleep(SHORT * 5).await;
        }
        ws.send(&text);
    }
}

/// Serve with long limits but for what `shorten` does.
fn server(shorten: impl FnOnce(&mut Limits) + Send + 'static) -> Running {
    async fn tick(mut request: Request, _: Shared<()>) -> &'static str {
        let handle = request.handle();
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        // Wakes the connection all the time, without a byte having come.
        let ticking = async move {
            while !is_done.load(Ordering::SeqCst) {
                handle.sleep(Duration::from_millis(5)).await;
            }
        };
        let mut ticking = Box::pin(ticking);
        let mut body = request.take_body();
        let mut reading = Box::pin(async move { while let Ok(Some(_)) = body.chunk().await {} });
        std::future::poll_fn(move |context| {
            use std::future::Future;
            let _ = ticking.as_mut().poll(context);
            reading.as_mut().poll(context)
        })
        .await;
        done.store(true, Ordering::SeqCst);
        "read"
    }
    async fn late(mut request: Request, _: Shared<()>) -> String {
        let mut body = request.take_body();
        request.handle().sleep(SHORT * 10).await;
        let mut bytes = 0;
        while let Ok(Some(chunk)) = body.chunk().await {
            bytes += chunk.len();
        }
        bytes.to_string()
    }
    async fn nap(request: Request, _: Shared<()>) -> &'static str {
        request.handle().sleep(SHORT * 5).await;
        "rested"
    }
    serve(|| {
        let minute = Duration::from_secs(60);
        let mut limits = Limits {
            first_byte_timeout: minute,
            header_timeout: minute,
            handler_timeout: minute,
            ping_after: minute,
            pong_timeout: minute,
            body_timeout: minute,
            write_timeout: minute,
            keep_alive_timeout: minute,
            linger_timeout: minute,
            ..Limits::default()
        };
        shorten(&mut limits);
        App::new(())
            .limits(limits)
            .get("/fine", |_: &Request, _: &mut ()| "fine")
            .get("/large", |_: &Request, _: &mut ()| vec![b'x'; 50_000_000])
            .post("/length", |request: &Request, _: &mut ()| {
                request.body().len().to_string()
            })
            .post("/tick", task(tick).streaming())
            .post("/late", task(late).streaming())
            .get("/nap", task(nap))
            .get("/long", task(nap).timeout(Duration::MAX))
            .get("/short", task(nap).timeout(SHORT / 2))
            .ws("/ws", |_: &Request, (): &mut ()| Ok(Echo))
            .ws("/reader", task(reader))
    })
}

/// Send a byte of `bytes` every few milliseconds, over and over, until the server has answered.
fn drip(client: &mut Client, bytes: &[u8]) {
    let (answered, mut writer) = (Arc::new(AtomicBool::new(false)), client.stream.try_clone());
    let is_answered = Arc::clone(&answered);
    let bytes = bytes.to_vec();
    let dripping = std::thread::spawn(move || {
        for byte in bytes.iter().cycle() {
            let sent = writer.as_mut().unwrap().write_all(&[*byte]);
            if sent.is_err() || is_answered.load(Ordering::SeqCst) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let answer = client.answer();
    answered.store(true, Ordering::SeqCst);
    dripping.join().unwrap();
    assert_eq!(
        (answer.status, answer.field("connection")),
        (408, Some("close"))
    );
}

#[test]
fn a_head_that_drips_is_answered_with_408() {
    let server = server(|limits| limits.header_timeout = SHORT);
    let mut client = server.connect();
    client.get("/fine");
    assert_eq!(client.answer().text(), "fine");
    client.send("GET / HTTP/1.1\r\nHost: a\r\n");
    drip(&mut client, b"A: b\r\n");
    assert_eq!(server.hits("header_timeout"), 1);
    assert_eq!(server.hits("refused_requests"), 0, "another limit");
}

#[test]
fn a_peer_that_says_nothing_at_all_is_closed_without_a_word() {
    let server = server(|limits| limits.first_byte_timeout = SHORT);
    let mut client = server.connect();
    client.assert_closed();
    assert_eq!(server.hits("first_byte_timeout"), 1);
    server.wait_until_empty();
}

#[test]
fn the_first_byte_ends_one_deadline_and_begins_another() {
    let server = server(|limits| limits.first_byte_timeout = SHORT);
    let mut client = server.connect();
    client.send("G");
    std::thread::sleep(SHORT * 3);
    client.send("ET /fine HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().text(), "fine");
    // The connection is not new any more.
    std::thread::sleep(SHORT * 3);
    client.get("/fine");
    assert_eq!(client.answer().text(), "fine");
    assert_eq!(server.hits("first_byte_timeout"), 0);
}

#[test]
fn a_handler_that_takes_too_long_is_answered_for_with_503() {
    let server = server(|limits| limits.handler_timeout = SHORT);
    let mut client = server.connect();
    // The first one is here, and takes no time.
    client.send("GET /fine HTTP/1.1\r\nHost: a\r\n\r\nGET /nap HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().text(), "fine");
    let answer = client.answer();
    assert_eq!(
        (answer.status, answer.field("connection")),
        (503, Some("close"))
    );
    client.assert_closed();
    assert_eq!(server.hits("handler_timeout"), 1);
    drop(client);
    server.wait_until_empty();
}

#[test]
fn a_route_has_the_timeout_that_it_asks_for() {
    let server = server(|limits| limits.handler_timeout = SHORT);
    let answer = server.get("/long");
    assert_eq!((answer.status, answer.text()), (200, "rested"));
    let server = self::server(|_| {});
    assert_eq!(server.get("/short").status, 503);
    assert_eq!(server.hits("handler_timeout"), 1);
}

#[test]
fn a_handler_waits_for_a_slow_body_without_a_deadline_of_its_own() {
    let server = server(|limits| limits.handler_timeout = SHORT);
    let mut client = server.connect();
    client.send("POST /tick HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n");
    for _ in 0..20 {
        client.send("x");
        std::thread::sleep(SHORT / 4);
    }
    assert_eq!(client.answer().text(), "read");
    assert_eq!(server.hits("handler_timeout"), 0);
}

#[test]
fn a_silent_websocket_is_pinged_and_one_that_answers_stays() {
    let server = server(|limits| limits.ping_after = SHORT);
    for path in ["/ws", "/reader"] {
        let mut ws = server.websocket(path);
        for _ in 0..3 {
            assert_eq!(ws.frame(), (FINAL | PING, Vec::new()), "{path}");
            ws.send(FINAL | PONG, "");
        }
        ws.text("still here");
        while ws.frame() != (FINAL | TEXT, b"still here".to_vec()) {}
    }
    assert!(server.hits("ping_after") >= 6);
    assert_eq!(server.hits("pong_timeout"), 0);
}

#[test]
fn a_websocket_that_does_not_answer_its_ping_is_closed() {
    let server = server(|limits| {
        limits.ping_after = SHORT;
        limits.pong_timeout = SHORT;
    });
    let mut ws = server.websocket("/ws");
    ws.text("hello");
    assert_eq!(ws.read_text(), "hello");
    assert_eq!(ws.frame(), (FINAL | PING, Vec::new()));
    ws.client.assert_closed();
    assert_eq!(
        (server.hits("ping_after"), server.hits("pong_timeout")),
        (1, 1)
    );
    server.wait_until_empty();
    assert_eq!(server.counts().websockets, 0);
}

#[test]
fn a_websocket_whose_handler_is_behind_is_not_held_to_be_silent() {
    let server = server(|limits| {
        limits.ping_after = SHORT;
        limits.pong_timeout = SHORT;
    });
    let mut ws = server.websocket("/reader");
    // Far more than the task takes before it begins to read.
    ws.client.send(frame(FINAL | TEXT, b"nap").repeat(200));
    for _ in 0..200 {
        let mut next = ws.frame();
        while next.0 == FINAL | PING {
            ws.send(FINAL | PONG, "");
            next = ws.frame();
        }
        assert_eq!(next.0, FINAL | TEXT);
    }
    assert_eq!(server.hits("pong_timeout"), 0);
}

#[test]
fn a_pipeline_that_never_ends_between_two_requests_is_not_too_slow() {
    let server = server(|limits| limits.header_timeout = SHORT);
    let mut client = server.connect();
    // There is always the beginning of a head, and never one that takes long.
    client.send("GET /fi");
    let since = std::time::Instant::now();
    while since.elapsed() < SHORT * 5 {
        client.send("ne HTTP/1.1\r\nHost: a\r\n\r\nGET /fi");
        assert_eq!(client.answer().text(), "fine");
    }
    assert_eq!(server.hits("header_timeout"), 0);
}

#[test]
fn a_body_that_stands_still_is_answered_with_408() {
    let server = server(|limits| limits.body_timeout = SHORT);
    for target in ["/length", "/tick", "/fine"] {
        let mut client = server.connect();
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf"
        ));
        let answer = client.answer();
        let expected = if target == "/fine" { 405 } else { 408 };
        assert_eq!(answer.status, expected, "{target}");
        client.assert_closed();
    }
    assert_eq!(server.hits("body_timeout"), 2);
}

#[test]
fn a_body_that_drips_below_the_rate_is_answered_with_408() {
    let server = server(|limits| limits.body_timeout = SHORT);
    for (target, hits) in [("/length", 1), ("/tick", 2)] {
        let mut client = server.connect();
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
        ));
        drip(&mut client, b"x");
        assert_eq!(server.hits("body_timeout"), hits, "{target}");
    }
}

#[test]
fn a_handler_that_reads_its_body_late_is_not_held_against_the_peer() {
    let server = server(|limits| {
        limits.body_timeout = SHORT;
        // More than all of the body in the time that the handler takes.
        limits.body_rate_min = 500_000;
    });
    let mut client = server.connect();
    client.send("POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n");
    client.send("x".repeat(200_000));
    assert_eq!(client.answer().text(), "200000");
    assert_eq!(server.hits("body_timeout"), 0);
}

#[test]
fn a_connection_that_is_not_used_is_closed() {
    let server = server(|limits| limits.keep_alive_timeout = SHORT);
    let mut client = server.connect();
    for _ in 0..3 {
        client.get("/fine");
        assert_eq!(client.answer().text(), "fine");
    }
    client.assert_closed();
    assert_eq!(server.hits("keep_alive_timeout"), 1);
    server.wait_until_empty();
}

#[test]
fn a_peer_that_does_not_take_its_answer_is_closed() {
    let server = server(|limits| limits.write_timeout = SHORT);
    let mut client = server.connect();
    client.get("/large");
    server.wait_until_empty();
    assert_eq!(server.hits("write_timeout"), 1);
    let _ = client.exactly(1);
    server.assert_it_goes_on();
}

#[test]
fn a_peer_that_takes_its_answer_slowly_is_not_closed() {
    // The server hears of what was taken in steps as large as the kernel's buffers: some megabytes each.
    let timeout = Duration::from_secs(1);
    let server = server(move |limits| limits.write_timeout = timeout);
    let mut client = server.connect();
    client.get("/large");
    let length = client.head().field("content-length").unwrap().parse();
    let mut left: usize = length.unwrap();
    let since = std::time::Instant::now();
    while left > 0 {
        let step = left.min(1_000_000);
        client.exactly(step).unwrap();
        left -= step;
        std::thread::sleep(timeout / 25);
    }
    assert!(since.elapsed() > timeout);
    assert_eq!(server.hits("write_timeout"), 0);
}

#[test]
fn a_peer_that_never_ends_after_a_refusal_is_closed() {
    let server = server(|limits| limits.linger_timeout = SHORT);
    let mut client = server.connect();
    client.send("nonsense\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    client.assert_closed();
    server.wait_until_empty();
    assert_eq!(server.hits("linger"), 1);
}
