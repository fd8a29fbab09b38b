//! A WebSocket peer that does not read is closed, and gone when its time to close is over.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tourbillon::event_loop::{EventLoop, TurnBudget};
use tourbillon::web::{App, Limits, Message, Peer, Request, SendOutcome, Sender, Socket};

/// The sender of the last WebSocket that opened.
type Last = Option<Sender>;

struct Listener;

impl Socket<Last> for Listener {
    fn opened(&mut self, peer: &mut Peer<'_>, last: &mut Last) {
        *last = Some(peer.sender().clone());
    }

    fn message(&mut self, _: &mut Peer<'_>, _: Message<'_>, _: &mut Last) {}
}

#[test]
fn a_peer_that_does_not_read_has_only_the_time_to_close_not_the_time_to_write() {
    let limits = Limits {
        close_timeout: Duration::from_millis(100),
        write_timeout: Duration::from_secs(60),
        ..Limits::default()
    };
    let app = App::new(None)
        .limits(limits)
        .ws("/", |_: &Request, _: &mut Last| Ok(Listener));
    let last = app.state();
    let mut event_loop = EventLoop::new().expect("a loop");
    let (server, address) = app
        .listen(&mut event_loop.ctx(), "127.0.0.1:0")
        .expect("an address");
    let turn = |event_loop: &mut EventLoop| {
        let budget = TurnBudget::wait_at_most(Duration::from_millis(10));
        event_loop.turn(budget).expect("a turn");
    };

    let mut client = TcpStream::connect(address).expect("a connection");
    client
        .write_all(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .expect("the handshake is sent");
    while last.with(|last| last.is_none()) {
        turn(&mut event_loop);
    }
    let sender = last.with(|last| last.clone()).expect("it has opened");
    let megabyte = vec![0_u8; 1 << 20];
    while sender.send(&megabyte) != SendOutcome::Closed {
        turn(&mut event_loop);
    }

    let full = Instant::now();
    while server.counts().open > 0 {
        assert!(
            full.elapsed() < Duration::from_secs(10),
            "it is still there: {server:?}"
        );
        turn(&mut event_loop);
    }
    assert!(full.elapsed() >= Duration::from_millis(100));
    assert_eq!(server.hits().close_timeout.get(), 1);
    assert_eq!(server.hits().outbox_bytes.get(), 1);
    let mut rest = [0; 12];
    client.read_exact(&mut rest).expect("what it never read");
    assert_eq!(&rest, b"HTTP/1.1 101");
}
