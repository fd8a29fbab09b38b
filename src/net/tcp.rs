//! TCP for tasks: connections that are made, and connections that come in.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use super::Acceptor;
use super::ask::ask_loop;
use super::endpoint::ShortRead;
use super::socket_stream::{Connecting, SocketStream};
use crate::event_loop::{Ctx, Detail, Handle, Socket, Token, waits_on};
use crate::task::coop;

/// Connections that were taken in and wait for [`TcpListener::accept`]; those behind them wait in the kernel.
const WAITING_MAX: usize = 64;

/// A TCP connection, for a task.
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::net::{StreamExt, TcpListener, TcpStream};
/// use tourbillon::task::spawn;
///
/// let mut event_loop = EventLoop::new()?;
/// let answer = event_loop.run_until(async {
///     let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into()).await?;
///     let address = listener.local_addr();
///     spawn(async move {
///         let (mut stream, _) = listener.accept().await?;
///         let mut name = Vec::new();
///         stream.read_to_end(&mut name, 100).await?;
///         stream.write_all(b"Hello, ").await?;
///         stream.write_all(&name).await
///     });
///     let mut stream = TcpStream::connect(address).await?;
///     stream.write_all(b"world").await?;
///     stream.shutdown().await?;
///     let mut answer = Vec::new();
///     stream.read_to_end(&mut answer, 100).await?;
///     std::io::Result::Ok(answer)
/// })??;
/// assert_eq!(answer, b"Hello, world");
/// # std::io::Result::Ok(())
/// ```
pub type TcpStream = SocketStream<SocketAddr>;

impl TcpStream {
    /// Connect to `address`. Dropping the future closes the socket.
    ///
    /// There is no limit to how long it takes but the kernel's, which is minutes: put a timeout around it.
    ///
    /// # Errors
    /// As socket(2) and connect(2).
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::connecting(&Handle::current(), address).await
    }

    pub(super) fn connecting(handle: &Handle, address: SocketAddr) -> Connecting<SocketAddr> {
        let dial = Box::new(move |ctx: &mut Ctx<'_>| ctx.driver().connect(address));
        Connecting::begin(handle, address, ShortRead::Drained, dial)
    }

    /// A stream for a socket of the driver that is connected to `peer` and not registered, such as an [`Acceptor`]
    /// hands out.
    ///
    /// # Errors
    /// When the socket cannot be registered; it is closed then.
    pub fn from_socket(ctx: &mut Ctx<'_>, socket: Socket, peer: SocketAddr) -> io::Result<Self> {
        Self::open(ctx, socket, ShortRead::Drained, peer)
    }

    /// A stream for a connection that was made elsewhere.
    ///
    /// # Errors
    /// As [`crate::event_loop::Driver::adopt`], and `NotConnected` when there is no connection any more.
    pub fn adopt(ctx: &mut Ctx<'_>, stream: std::net::TcpStream) -> io::Result<Self> {
        let peer = stream.peer_addr()?;
        let socket = ctx.driver().adopt(stream)?;
        Self::from_socket(ctx, socket, peer)
    }

    /// Our end.
    ///
    /// # Errors
    /// `NotConnected` when it could not be found out.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.link().local().ok_or(ErrorKind::NotConnected.into())
    }
}

/// What a listener's source and its tasks share.
struct Intake {
    waiting: RefCell<VecDeque<TcpStream>>,
    /// How many more may be taken in.
    room: Rc<Cell<usize>>,
    acceptor: Cell<Option<Waker>>,
}

impl Intake {
    fn push(&self, stream: TcpStream) {
        self.room.set(self.room.get() - 1);
        self.waiting.borrow_mut().push_back(stream);
        if let Some(waker) = self.acceptor.take() {
            waker.wake();
        }
    }

    fn pop(&self) -> Option<TcpStream> {
        self.waiting.borrow_mut().pop_front()
    }
}

/// A listening TCP socket, for a task. At most 64 connections are taken in before they are asked for; the kernel keeps
/// those behind them.
///
/// Dropping it stops listening, and closes the connections that nobody asked for.
pub struct TcpListener {
    handle: Handle,
    token: Token,
    local: SocketAddr,
    intake: Rc<Intake>,
}

impl TcpListener {
    /// Listen on `address`; port 0 picks one. Cancelling it may leave a socket open until the next turn.
    ///
    /// # Errors
    /// As bind(2) and listen(2).
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        ask_loop(move |ctx| Self::listen(ctx, address)).await
    }

    /// As [`TcpListener::bind`], for those who have a [`Ctx`].
    ///
    /// # Errors
    /// As [`TcpListener::bind`].
    pub fn listen(ctx: &mut Ctx<'_>, address: SocketAddr) -> io::Result<Self> {
        let intake = Rc::new(Intake {
            waiting: RefCell::default(),
            room: Rc::new(Cell::new(WAITING_MAX)),
            acceptor: Cell::new(None),
        });
        let theirs = Rc::clone(&intake);
        let on_accept = move |ctx: &mut Ctx<'_>, socket: Socket, peer: SocketAddr| {
            // One that cannot be registered is closed already.
            if let Ok(stream) = TcpStream::from_socket(ctx, socket, peer) {
                theirs.push(stream);
            }
        };
        let (token, local) =
            Acceptor::listen_within(ctx, address, Rc::clone(&intake.room), on_accept)?;
        Ok(Self {
            handle: ctx.handle().clone(),
            token,
            local,
            intake,
        })
    }

    /// Where it listens, with the port that was picked.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Wait for the next connection. Dropping the future loses none.
    ///
    /// # Errors
    /// `NotConnected` when the loop has gone.
    pub async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let stream = poll_fn(|context| self.poll_accept(context)).await?;
        let peer = stream.peer_addr();
        Ok((stream, peer))
    }

    /// As [`TcpListener::accept`], polled.
    ///
    /// # Errors
    /// As [`TcpListener::accept`].
    pub fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        ready!(coop::poll_proceed(context));
        if let Some(stream) = self.intake.pop() {
            let room = self.intake.room.get();
            self.intake.room.set(room + 1);
            if room == 0 {
                // It has stopped taking connections in, and no edge will come for those who wait (rule R4).
                self.handle.mark_dirty(self.token);
            }
            return Poll::Ready(Ok(stream));
        }
        self.intake.acceptor.set(Some(context.waker().clone()));
        waits_on("socket accept", Detail::Socket(self.token));
        Poll::Pending
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        let token = self.token;
        self.handle.call_soon(move |ctx| ctx.close(token));
        while let Some(stream) = self.intake.pop() {
            drop(stream);
        }
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpListener")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}
