//! A WebSocket whose peer never reads, and what becomes of the messages for it.

use std::io::{self, Write};
use std::net::TcpStream;

use tourbillon::event_loop::{Ctx, EventLoop};
use tourbillon::web::{App, Message, Peer, Request, SendOutcome, Sender, Socket};

/// Sends one message a turn until one is refused, and says when the outcome is another than before.
fn talk(ctx: &mut Ctx<'_>, sender: Sender, last: Option<SendOutcome>) {
    let before = sender.outbox_bytes();
    let outcome = sender.send(&[0; 20_000][..]);
    if last != Some(outcome) {
        println!("{outcome:?}: {}", in_words(before));
    }
    match outcome {
        SendOutcome::Sent | SendOutcome::Queued => {
            ctx.call_soon(move |ctx| talk(ctx, sender, Some(outcome)));
        }
        SendOutcome::Dropped | SendOutcome::Closed => ctx.stop(),
    }
}

fn in_words(bytes: usize) -> &'static str {
    match bytes {
        0 => "nothing waits",
        1..=65_536 => "some wait",
        _ => "more than 64 KiB wait",
    }
}

struct Talker;

impl Socket<()> for Talker {
    fn opened(&mut self, peer: &mut Peer<'_>, _: &mut ()) {
        let sender = peer.sender().clone();
        talk(&mut peer.ctx(), sender, None);
    }

    fn message(&mut self, _: &mut Peer<'_>, _: Message<'_>, _: &mut ()) {}
}

pub(crate) fn main() -> io::Result<()> {
    let mut event_loop = EventLoop::new()?;
    let app = App::new(()).ws("/", |_: &Request, _: &mut ()| Ok(Talker));
    let (_, address) = app.listen(&mut event_loop.ctx(), "127.0.0.1:0")?;

    // The kernel accepts and takes the request before the loop has turned once.
    let mut never_reads = TcpStream::connect(address)?;
    never_reads.write_all(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    )?;
    event_loop.run()
}
