//! Unix sockets for tasks: connections to other processes of this machine, by a path instead of an address.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::Acceptor;
use super::ask::ask_loop;
use super::endpoint::ShortRead;
use super::socket_listener::{Intake, SocketListener};
use super::socket_stream::{Connecting, SocketStream};
use crate::event_loop::{Ctx, Handle, Socket};

/// A connection over a Unix socket, for a task. Its peer's address is a path, if it has one: a client has none.
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::net::{StreamExt, UnixStream};
///
/// let mut event_loop = EventLoop::new()?;
/// let heard = event_loop.run_until(async {
///     let (mut here, mut there) = UnixStream::pair().await?;
///     here.write_all(b"hello").await?;
///     let mut heard = [0; 5];
///     there.read_exact(&mut heard).await?;
///     std::io::Result::Ok(heard)
/// })??;
/// assert_eq!(&heard, b"hello");
/// # std::io::Result::Ok(())
/// ```
pub type UnixStream = SocketStream<Option<PathBuf>>;

impl UnixStream {
    /// Connect to the socket at `path`. Dropping the future closes it.
    ///
    /// # Errors
    /// As connect(2); `WouldBlock` when the listener's queue is full, and `Unsupported` on a driver without Unix
    /// sockets.
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let peer = Some(path.clone());
        let dial = Box::new(move |ctx: &mut Ctx<'_>| ctx.driver().connect_unix(&path));
        Connecting::begin(&Handle::current(), peer, ShortRead::Inconclusive, dial).await
    }

    /// Two streams that are connected with each other.
    ///
    /// # Errors
    /// As socketpair(2), and [`UnixStream::adopt`].
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = std::os::unix::net::UnixStream::pair()?;
        ask_loop(move |ctx| Ok((Self::adopt(ctx, one)?, Self::adopt(ctx, other)?))).await
    }

    /// A stream for a connection that was made elsewhere.
    ///
    /// # Errors
    /// As [`crate::event_loop::Driver::adopt_unix`].
    pub fn adopt(ctx: &mut Ctx<'_>, stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        let peer = stream.peer_addr()?;
        let peer = peer.as_pathname().map(Path::to_owned);
        let socket = ctx.driver().adopt_unix(stream)?;
        Self::open(ctx, socket, ShortRead::Inconclusive, peer)
    }
}

/// A listening Unix socket, for a task.
pub type UnixListener = SocketListener<Option<PathBuf>>;

impl UnixListener {
    /// Listen at `path`, which nothing may have yet. The file stays when the listener is dropped: whoever made it
    /// removes it.
    ///
    /// # Errors
    /// As bind(2): `AddrInUse` also for a file that a former listener has left. `Unsupported` on a driver without Unix
    /// sockets.
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        ask_loop(move |ctx| Self::listen(ctx, &path)).await
    }

    /// As [`UnixListener::bind`], for those who have a [`Ctx`].
    ///
    /// # Errors
    /// As [`UnixListener::bind`].
    pub fn listen(ctx: &mut Ctx<'_>, path: &Path) -> io::Result<Self> {
        let intake = Intake::new();
        let theirs = Rc::clone(&intake);
        let on_accept = move |ctx: &mut Ctx<'_>, socket: Socket, _: SocketAddr| {
            theirs.push(UnixStream::open(ctx, socket, ShortRead::Inconclusive, None));
        };
        let token = Acceptor::listen_unix_within(ctx, path, intake.room(), on_accept)?;
        Ok(Self::new(ctx, token, Some(path.to_owned()), intake))
    }
}
