//! The client against servers that break the rules, over real sockets: each ends in the right error, in bounded time
//! and memory.
//!
//! A server here is a thread with a raw socket that says its bytes to whoever connects, and then closes, resets or goes
//! silent.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tourbillon::client::{Client, ClientBuilder, Error, ErrorKind, Phase, TimeLimit};
use tourbillon::event_loop::EventLoop;
use tourbillon::proto::http1::PeerError;

use crate::support::PATIENCE;

/// What a server does when it has said all.
#[derive(Clone, Copy, Debug)]
enum Then {
    Close,
    /// Close with bytes of the client unread, which sends a reset.
    Reset,
    /// Say nothing more for as long as the client is there.
    Stall,
}

/// Serve connections with `serve` for as long as the test runs.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    // It ends with the process: a thread in accept(2) holds nothing up.
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Read the head of a request.
fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    head
}

fn say(text: impl Into<Vec<u8>>, then: Then) -> SocketAddr {
    let text = text.into();
    server(move |mut stream| {
        if let Then::Reset = then {
            // The rest of the request stays unread.
            let _ = stream.read_exact(&mut [0; 4]);
        } else {
            read_head(&mut stream);
        }
        if stream.write_all(&text).is_ok() {
            match then {
                Then::Close => drop(stream.shutdown(Shutdown::Write)),
                Then::Reset => return,
                Then::Stall => {}
            }
            // Until the client has gone.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    })
}

fn fetch_with(builder: ClientBuilder, address: SocketAddr) -> Result<Vec<u8>, Error> {
    let client = builder.timeout(Duration::from_millis(500)).build().unwrap();
    let began = Instant::now();
    let ours = client.clone();
    let result = EventLoop::new()
        .unwrap()
        .run_until(async move {
            let response = ours.get(format!("http://{address}/")).send().await?;
            response.bytes().await
        })
        .unwrap();
    assert!(began.elapsed() < PATIENCE);
    if result.is_err() {
        assert_eq!(client.pool().open, 0);
    }
    result
}

#[track_caller]
fn fault(address: SocketAddr) -> (Error, String) {
    let error = fetch_with(Client::builder(), address).expect_err("it is refused");
    let text = match error.kind() {
        ErrorKind::Peer(fault) => format!("{fault:?}"),
        ErrorKind::Timeout(timeout) => format!("{:?}", timeout.limit),
        ErrorKind::Io(error) => format!("{:?}", error.kind()),
        other => format!("{other:?}"),
    };
    let text = format!("{text} {:?}", error.phase());
    (error, text)
}

#[test]
fn responses_that_break_the_rules_are_refused_by_name() {
    for (text, then, expected) in [
        ("", Then::Close, "NoResponse Wait"),
        ("HTTP/1.1 200 OK\r\nConte", Then::Close, "Truncated Wait"),
        (
            "HTTP/1.1 100 Continue\r\n\r\n",
            Then::Close,
            "Truncated Wait",
        ),
        ("SSH-2.0-OpenSSH_9\r\n", Then::Stall, "BadStatusLine Wait"),
        ("\0\0\0", Then::Stall, "BadStatusLine Wait"),
        ("HTTP/2 200\r\n\r\n", Then::Stall, "BadStatusLine Wait"),
        (
            "HTTP/3.0 200 OK\r\n\r\n",
            Then::Stall,
            "VersionNotSupported Wait",
        ),
        ("HTTP/1.1 20 OK\r\n\r\n", Then::Stall, "BadStatusLine Wait"),
        ("HTTP/1.1 200 OK\nX: y\n\n", Then::Stall, "BareLf Wait"),
        (
            "HTTP/1.1 200 OK\r\nX y\r\n\r\n",
            Then::Stall,
            "NoColon Wait",
        ),
        (
            "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
            Then::Stall,
            "SpaceBeforeColon Wait",
        ),
        (
            "HTTP/1.1 200 OK\r\n X: y\r\n\r\n",
            Then::Stall,
            "ObsFold Wait",
        ),
        (
            "HTTP/1.1 200 OK\r\nX: y\0z\r\n\r\n",
            Then::Stall,
            "BadFieldValue Wait",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            Then::Stall,
            "BadLength Wait",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            Then::Stall,
            "TwoLengths Wait",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
            Then::Stall,
            "LengthAndChunked Wait",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
            Then::Stall,
            "BadTransferEncoding Wait",
        ),
        (
            "HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n",
            Then::Stall,
            "UnofferedUpgrade Wait",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
            Then::Close,
            "Truncated Body",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
            Then::Close,
            "Truncated Body",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            Then::Close,
            "Truncated Body",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            Then::Stall,
            "BadChunkSize Body",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\n",
            Then::Stall,
            "BadChunkSize Body",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
            Then::Stall,
            "BadChunkEnd Body",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n\r\n",
            Then::Stall,
            "BadTrailer Body",
        ),
        ("", Then::Reset, "ConnectionReset Wait"),
        ("", Then::Stall, "Total Wait"),
        ("HTTP/1.1 200 OK\r\n", Then::Stall, "Total Wait"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
            Then::Stall,
            "Total Body",
        ),
        ("HTTP/1.1 200 OK\r\n\r\nabc", Then::Stall, "Total Body"),
    ] {
        let (_, found) = fault(say(text, then));
        assert_eq!(found, expected, "{text:?} and then {then:?}");
    }
}

#[test]
fn what_is_sent_beyond_a_response_is_no_answer_to_the_next_request() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let address = server(move |mut stream| {
        read_head(&mut stream);
        counter.fetch_add(1, Ordering::Relaxed);
        let smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        let both = format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood{smuggled}");
        let _ = stream.write_all(both.as_bytes());
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let client = Client::new();
    let texts = EventLoop::new().unwrap().run_until(async move {
        let mut texts = Vec::new();
        for _ in 0..3 {
            let response = client.get(format!("http://{address}/")).send().await?;
            texts.push(response.text().await?);
        }
        Ok::<_, Error>(texts)
    });
    assert_eq!(texts.unwrap().unwrap(), ["good"; 3]);
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

/// Sends `begin` and then `again` for as long as the client takes it. Returns how many bytes that were.
fn flood(begin: &'static str, again: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let address = server(move |mut stream| {
        read_head(&mut stream);
        let mut piece = begin.to_owned();
        while counter.load(Ordering::Relaxed) < 1 << 30
            && stream.write_all(piece.as_bytes()).is_ok()
        {
            counter.fetch_add(piece.len(), Ordering::Relaxed);
            piece = again.repeat(1 + 4_096 / again.len());
        }
    });
    (address, sent)
}

#[test]
fn floods_are_ended_after_what_the_limits_allow() {
    // What the sockets' buffers hold may be on its way, and no more.
    const BUFFERED_BYTES_MAX: usize = 16 << 20;
    for (begin, again, expected) in [
        ("HTTP/1.1 200 OK\r\n", "X: y\r\n", "TooManyFields Wait"),
        ("HTTP/1.1 200 OK\r\nX: ", "y", "LineTooLong Wait"),
        ("HTTP/1.1 200 ", "OK", "StatusLineTooLong Wait"),
        (
            "",
            "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n",
            "HeadTooLarge Wait",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "1;a=b\r\nx\r\n",
            "ChunkExtensionTooLarge Body",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            "X: y\r\n",
            "TrailerTooLarge Body",
        ),
    ] {
        let (address, sent) = flood(begin, again);
        let (_, found) = fault(address);
        assert_eq!(found, expected, "{begin:?} and {again:?} again and again");
        let sent = sent.load(Ordering::Relaxed);
        assert!(sent < BUFFERED_BYTES_MAX, "{begin:?}: {sent} bytes");
    }
}

#[test]
fn a_body_without_end_is_ended_where_the_limit_is() {
    for begin in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n",
    ] {
        let (address, sent) = flood(begin, "0123456789");
        let builder = Client::builder().body_bytes_max(1_000_000);
        let error = fetch_with(builder, address).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::BodyTooLarge(1_000_000)),
            "{error}"
        );
        let sent = sent.load(Ordering::Relaxed);
        assert!(sent < 32 << 20, "{sent} bytes");
    }
}

#[test]
fn a_redirect_without_end_is_followed_ten_times() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let address = server(move |mut stream| {
        while read_head(&mut stream).ends_with(b"\r\n\r\n") {
            let n = counter.fetch_add(1, Ordering::Relaxed);
            let head = format!("HTTP/1.1 302 Found\r\nLocation: /{n}\r\nContent-Length: 0\r\n\r\n");
            if stream.write_all(head.as_bytes()).is_err() {
                return;
            }
        }
    });
    let client = Client::new();
    let request = client.get(format!("http://{address}/")).send();
    let error = EventLoop::new()
        .unwrap()
        .run_until(request)
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::TooManyRedirects(10)),
        "{error}"
    );
    assert_eq!(error.url().unwrap().path(), "/9");
    assert_eq!(asked.load(Ordering::Relaxed), 11);
}

#[test]
fn a_redirect_cannot_add_a_header_to_the_next_request() {
    for location in ["/a\tb", "http://a b/", "//", "javascript:alert(1)"] {
        let head =
            format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        let (error, _) = fault(say(head, Then::Stall));
        assert!(
            matches!(error.kind(), ErrorKind::Redirect(_)),
            "{location}: {error}"
        );
    }
}

#[test]
fn bytes_that_come_one_by_one_are_ended_by_the_limit_on_the_whole() {
    let address = server(|mut stream| {
        read_head(&mut stream);
        let text = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(10_000));
        for byte in text.bytes() {
            if stream.write_all(&[byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    // Each byte is in time for this one, all of them are not for the other.
    let builder = Client::builder().sock_read_timeout(Duration::from_secs(5));
    let error = fetch_with(builder, address).unwrap_err();
    let ErrorKind::Timeout(timeout) = error.kind() else {
        panic!("{error}");
    };
    assert_eq!(
        (timeout.limit, error.phase()),
        (TimeLimit::Total, Phase::Wait)
    );
}

#[test]
fn a_server_that_closes_each_connection_at_once_is_an_error_and_not_a_loop() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let address = server(move |mut stream| {
        counter.fetch_add(1, Ordering::Relaxed);
        read_head(&mut stream);
    });
    let error = fetch_with(Client::builder(), address).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Peer(PeerError::NoResponse)),
        "{error}"
    );
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}
