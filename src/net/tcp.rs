//! TCP for tasks: connections, and listeners that take them in. (`connect` makes them.)

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;

use super::Acceptor;
use super::ask::ask_loop;
use super::endpoint::ShortRead;
use super::socket_listener::{Intake, SocketListener};
use super::socket_stream::SocketStream;
use crate::event_loop::{Ctx, Socket};

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

/// A listening TCP socket, for a task.
pub type TcpListener = SocketListener<SocketAddr>;

impl TcpListener {
    /// Listen on `address`; port 0 picks one. A socket that was opened for a future that was dropped is closed again.
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
        let intake = Intake::new();
        let theirs = Rc::clone(&intake);
        let on_accept = move |ctx: &mut Ctx<'_>, socket: Socket, peer: SocketAddr| {
            theirs.push(TcpStream::from_socket(ctx, socket, peer));
        };
        let (token, local) = Acceptor::listen_within(ctx, address, intake.room(), on_accept)?;
        Ok(Self::new(ctx, token, local, intake))
    }
}
