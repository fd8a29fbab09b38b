//! A TCP echo server on the bare loop: what a `Source` is, and how to handle edges right.
//!
//!     cargo run --example 02_echo            # or with a port; 0 picks one
//!     nc 127.0.0.1 8080                      # elsewhere: what you type comes back; Ctrl-C ends either
//!
//! An edge says only that something *changed*. So a source remembers what it was told (`can_read`, `can_write`) and
//! goes on until the socket itself says `WouldBlock`: no second edge comes for what it left. Look at `echo`:
//!
//! - What is owed goes out before more is read, so a peer that does not read cannot make us hold more than one read.
//! - A write may take a part; the rest waits for the next `WRITABLE`.
//! - After `ROUNDS_MAX` rounds it is the others' turn. `Next::Again` asks for another visit; no edge would bring it.
//!
//! A question: what hangs when `Next::Again` becomes `Next::Wait`, and how much must a client send to see it?
//!
//! It prints `listening on 127.0.0.1:8080`, then a line for each connection that comes.

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use tourbillon::event_loop::{Ctx, Driver, EventLoop, Next, Readiness, Signal, Socket, Source};
use tourbillon::net::Acceptor;

/// Of at most 64 KiB each: the next connection waits some hundred microseconds for them.
const ROUNDS_MAX: u32 = 16;

struct Echo {
    socket: Socket,
    can_read: bool,
    can_write: bool,
    /// Read and not yet sent back.
    owed: Vec<u8>,
}

impl Source for Echo {
    fn ready(&mut self, ctx: &mut Ctx<'_>, readiness: Readiness) -> Next {
        self.can_read |= readiness.intersects(Readiness::READABLE | Readiness::CLOSING);
        self.can_write |= readiness.intersects(Readiness::WRITABLE | Readiness::CLOSING);
        let mut buffers = ctx.lend_buffers();
        let next = self.echo(ctx.driver(), &mut buffers.receive);
        ctx.give_back(buffers);
        // An error is the end of this connection and of nothing else.
        next.unwrap_or(Next::Close)
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>) {
        ctx.driver().close(self.socket);
    }
}

impl Echo {
    fn echo(&mut self, driver: &mut dyn Driver, buffer: &mut [u8]) -> io::Result<Next> {
        for _ in 0..ROUNDS_MAX {
            while !self.owed.is_empty() {
                if !self.can_write {
                    return Ok(Next::Wait);
                }
                match unless_it_would_block(driver.write(self.socket, &self.owed))? {
                    Some(sent) => drop(self.owed.drain(..sent)),
                    None => self.can_write = false,
                }
            }
            if !self.can_read {
                return Ok(Next::Wait);
            }
            match unless_it_would_block(driver.read(self.socket, buffer))? {
                Some(0) => return Ok(Next::Close),
                Some(read) => self.owed.extend_from_slice(&buffer[..read]),
                None => self.can_read = false,
            }
        }
        Ok(Next::Again)
    }
}

fn unless_it_would_block(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn accept(ctx: &mut Ctx<'_>, socket: Socket, peer: std::net::SocketAddr) {
    println!("{peer} is here");
    let echo = Echo {
        socket,
        can_read: false,
        can_write: false,
        owed: Vec::new(),
    };
    // Its first edge comes with the next turn: the socket can be written to.
    if let Err(error) = ctx.add_socket(socket, |_| Box::new(echo)) {
        eprintln!("{peer} cannot be served: {error}");
    }
}

fn main() -> ExitCode {
    let port = std::env::args().nth(1).unwrap_or_else(|| "8080".to_owned());
    let Ok(port) = port.parse() else {
        eprintln!("02_echo: {port:?} is not a port, 0 to 65535\nusage: 02_echo [PORT]");
        return ExitCode::from(2);
    };
    match serve(port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("02_echo: port {port}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(port: u16) -> io::Result<()> {
    let mut event_loop = EventLoop::new()?;
    let mut ctx = event_loop.ctx();
    let (_, address) = Acceptor::listen(&mut ctx, ([127, 0, 0, 1], port).into(), accept)?;
    for signal in [Signal::Interrupt, Signal::Terminate] {
        ctx.on_signal(signal, |ctx| ctx.stop())?;
    }
    println!("listening on {address}");
    event_loop.run()
}
