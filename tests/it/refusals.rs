//! What a peer may not do: each has its status, its close, and an answer that can be read.

use std::io::Write;

use tourbillon::event_loop::EventLoop;
use tourbillon::web::{App, Limits, Message, Peer, Request, Shared, Socket, task};

use crate::support::{Running, handshake, serve};

struct Echo;

impl Socket<()> for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, (): &mut ()) {
        peer.send(message);
    }
}

fn server() -> Running {
    async fn length(mut request: Request, _: Shared<()>) -> String {
        let mut length = 0;
        let mut body = request.take_body();
        while let Ok(Some(chunk)) = body.chunk().await {
            length += chunk.len();
        }
        length.to_string()
    }
    async fn careless(_: Request, _: Shared<()>) -> &'static str {
        "whatever it was"
    }
    serve(|| {
        App::new(())
            .limits(Limits {
                body_bytes_max: 1000,
                ..Limits::default()
            })
            .get("/fine", |_: &Request, _: &mut ()| "fine")
            .post("/length", |request: &Request, _: &mut ()| {
                request.body().len().to_string()
            })
            .post("/stream", task(length).streaming())
            .post("/careless", task(careless).streaming())
            .ws("/ws", |_: &Request, _: &mut ()| Ok(Echo))
    })
}

#[test]
fn a_port_in_use_is_an_error_that_says_so() {
    let server = server();
    let mut event_loop = EventLoop::new().unwrap();
    let listened = App::new(()).listen(&mut event_loop.ctx(), server.address);
    assert_eq!(listened.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    let served = App::new(()).serve(server.address);
    assert_eq!(served.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn an_address_that_is_none_is_an_error() {
    assert!(App::new(()).serve("localhost:no-port").is_err());
    assert!(
        App::new(())
            .serve(&[][..] as &[std::net::SocketAddr])
            .is_err()
    );
}

#[test]
fn malformed_requests_are_answered_with_their_status_and_a_close() {
    let server = server();
    let many_fields = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "A: b\r\n".repeat(200)
    );
    let long_line = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(20_000));
    let long_field = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    for (request, status) in [
        ("GET / HTTP/1.1\n", 400),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: \0\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n", 417),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            501,
        ),
        (
            "POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            400,
        ),
        (
            "POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
            400,
        ),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}", 400),
        (many_fields.as_str(), 431),
        (long_line.as_str(), 414),
        (long_field.as_str(), 431),
    ] {
        let mut client = server.connect();
        client.send(request);
        // The server must not be confused by what the peer goes on to say, nor reset it.
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.answer();
        let begin = &request[..request.len().min(60)];
        assert_eq!(answer.status, status, "{begin:?}");
        assert_eq!(answer.field("connection"), Some("close"), "{begin:?}");
        client.assert_closed();
    }
    assert_eq!(server.hits("refused_requests"), 18);
    server.assert_it_goes_on();
}

#[test]
fn what_came_before_a_malformed_request_is_answered() {
    let server = server();
    let mut client = server.connect();
    client.send("GET /fine HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\n");
    assert_eq!(client.answer().text(), "fine");
    assert_eq!(client.answer().status, 400);
    client.assert_closed();
}

#[test]
fn a_body_that_is_declared_too_large_is_refused_before_it_comes() {
    let server = server();
    let mut client = server.connect();
    client.send("POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n");
    let answer = client.answer();
    assert_eq!(
        (answer.status, answer.field("connection")),
        (413, Some("close"))
    );
    client.assert_closed();
    assert_eq!(server.hits("body_bytes"), 1);
    assert_eq!(server.hits("refused_requests"), 0, "another limit");
}

#[test]
fn a_body_as_large_as_the_limit_is_taken() {
    let server = server();
    let mut client = server.connect();
    client.post("/length", &"x".repeat(1000));
    assert_eq!(client.answer().text(), "1000");
    client.send(format!(
        "POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n{}\r\n0\r\n\r\n",
        "x".repeat(1000)
    ));
    assert_eq!(client.answer().text(), "1000");
}

#[test]
fn the_answer_to_a_body_too_large_is_readable_while_the_client_still_sends() {
    let server = server();
    let body = "x".repeat(100_000);
    for framing in [
        format!("Content-Length: 100000\r\n\r\n{body}"),
        format!("Transfer-Encoding: chunked\r\n\r\n186a0\r\n{body}\r\n0\r\n\r\n"),
    ] {
        let mut client = server.connect();
        let request = format!("POST /length HTTP/1.1\r\nHost: a\r\n{framing}");
        let (first, rest) = request.split_at(5_000);
        client.send(first);
        // The server has answered and closed its end when the rest is sent.
        let answer = client.answer();
        assert_eq!(
            (answer.status, answer.field("connection")),
            (413, Some("close"))
        );
        for piece in rest.as_bytes().chunks(10_000) {
            client.send(piece);
        }
        client.assert_closed();
    }
    server.wait_until("lingering has ended", |server| server.counts().open == 0);
    assert_eq!(server.hits("linger"), 0);
    assert_eq!(server.hits("body_bytes"), 2);
}

#[test]
fn a_body_without_end_that_nobody_wants_is_not_read_without_end() {
    let server = server();
    for target in ["/nowhere", "/careless"] {
        let before = server.hits("linger");
        let mut client = server.connect();
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        ));
        let answer = client.answer();
        assert_eq!(answer.field("connection"), Some("close"), "{target}");
        let piece = [b"2000\r\n".as_slice(), &[b'x'; 0x2000], b"\r\n"].concat();
        let refused = (0..10_000).any(|_| client.stream.write_all(&piece).is_err());
        assert!(refused, "{target}: 80 MB were taken");
        assert_eq!(server.hits("linger"), before + 1, "{target}");
    }
    server.assert_it_goes_on();
}

#[test]
fn wrong_handshakes_are_answered_with_what_is_wrong() {
    let server = server();
    let handshake = handshake("/ws");
    let check = |request: String, status: u16, fields: &[(&str, &str)]| {
        let mut client = server.connect();
        client.send(&request);
        let answer = client.answer();
        assert_eq!(answer.status, status, "{request:?}: {}", answer.text());
        for (name, value) in fields {
            assert_eq!(answer.field(name), Some(*value), "{request:?}");
        }
        assert!(!answer.text().is_empty());
    };
    let needs_upgrade = [
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-version", "13"),
    ];
    check(
        handshake.replace("Upgrade: websocket\r\n", ""),
        426,
        &needs_upgrade,
    );
    check(
        handshake.replace("Version: 13", "Version: 8"),
        426,
        &needs_upgrade,
    );
    check(handshake.replace("Connection: Upgrade\r\n", ""), 400, &[]);
    check(
        handshake.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"),
        400,
        &[],
    );
    check(handshake.replace("HTTP/1.1", "HTTP/1.0"), 400, &[]);
    check(
        handshake
            .replace("GET", "POST")
            .replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n"),
        405,
        &[("allow", "GET, HEAD, OPTIONS")],
    );
    // To which protocol would the body belong?
    check(
        handshake.replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\nhello"),
        400,
        &[],
    );
    assert_eq!(server.counts().websockets, 0);
    assert_eq!(server.reports(), []);
    server.assert_it_goes_on();
}

#[test]
fn a_handshake_may_have_several_connection_fields() {
    let server = server();
    let mut client = server.connect();
    client.send(handshake("/ws").replace("Connection: ", "Connection: keep-alive\r\nConnection: "));
    assert_eq!(client.head().status, 101);
}

#[test]
fn a_handshake_that_failed_leaves_the_connection_for_others() {
    let server = server();
    let mut client = server.connect();
    client.get("/ws");
    assert_eq!(client.answer().status, 426);
    client.get("/fine");
    assert_eq!(client.answer().text(), "fine");
    client.send(handshake("/ws"));
    let answer = client.head();
    assert_eq!(answer.status, 101);
    assert_eq!(answer.field("upgrade"), Some("websocket"));
    assert_eq!(answer.field("connection"), Some("upgrade"));
    assert_eq!(
        answer.field("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
}
