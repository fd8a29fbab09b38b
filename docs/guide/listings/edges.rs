//! An edge comes once: a source that leaves bytes in its socket hears nothing more of them.

use std::io::{self, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use tourbillon::event_loop::{Ctx, EventLoop, Next, Readiness, Socket, Source, TurnBudget};

/// Reads four bytes in a visit, and then waits or asks for another one.
struct FourAtATime {
    socket: Socket,
    then: Next,
}

impl Source for FourAtATime {
    fn ready(&mut self, ctx: &mut Ctx<'_>, readiness: Readiness) -> Next {
        let why = match readiness.contains(Readiness::READABLE) {
            true => "an edge",
            false => "no edge",
        };
        let mut four = [0; 4];
        match ctx.driver().read(self.socket, &mut four) {
            Ok(n) => {
                println!("  {why}: read {}", four[..n].escape_ascii());
                self.then
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                println!("  {why}: nothing left");
                Next::Wait
            }
            Err(_) => Next::Close,
        }
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>) {
        ctx.driver().close(self.socket);
    }
}

/// A source on one end of a connection, with ten bytes to read, and the loop turned a few times.
fn ten_bytes(then: Next) -> io::Result<()> {
    let mut event_loop = EventLoop::new()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut peer = TcpStream::connect(listener.local_addr()?)?;
    peer.set_nodelay(true)?;
    peer.write_all(b"0123456789")?;
    let (ours, _) = listener.accept()?;

    let mut ctx = event_loop.ctx();
    let socket = ctx.driver().adopt(ours)?;
    ctx.add_socket(socket, |_| Box::new(FourAtATime { socket, then }))?;
    turns(&mut event_loop)?;
    println!("  the peer sends two more");
    peer.write_all(b"AB")?;
    turns(&mut event_loop)
}

/// Turn until nothing has happened for a while.
fn turns(event_loop: &mut EventLoop) -> io::Result<()> {
    let budget = TurnBudget::wait_at_most(Duration::from_millis(100));
    while event_loop.turn(budget)?.did_something() {}
    Ok(())
}

pub(crate) fn main() -> io::Result<()> {
    println!("reads once, and waits:");
    ten_bytes(Next::Wait)?;
    println!("reads on, turn by turn, until nothing is left:");
    ten_bytes(Next::Again)
}
