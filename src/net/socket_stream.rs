//! The task's end of a connected socket, whole or as two halves.

use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::endpoint::{Dial, Endpoint, ShortRead};
use super::link::{Link, Phase};
#[cfg(unix)]
use super::link::{Receiving, Sending};
use super::stream::Stream;
use crate::event_loop::{Ctx, Handle, Socket};

/// A connected socket whose peer has an address of type `A`: see [`TcpStream`](super::TcpStream) and
/// [`UnixStream`](super::UnixStream).
///
/// What comes in is read ahead into a buffer of 64 KiB, which holds no memory while it is empty; then the peer has to
/// wait. What is written goes into another one, and leaves at the end of the turn in one system call, however many
/// writes it was. An error comes back from the next operation.
///
/// Dropping it closes the connection in an orderly way: what was written is sent first, within 5 s. As with close(2),
/// the peer sees a reset instead if bytes of it were not read. Nobody learns whether it worked; [`shutdown`] tells.
///
/// [`shutdown`]: super::StreamExt::shutdown
pub struct SocketStream<A> {
    reader: ReadHalf,
    writer: WriteHalf,
    peer: A,
}

impl<A> SocketStream<A> {
    /// A stream for a socket that is connected and not registered.
    pub(super) fn open(
        ctx: &mut Ctx<'_>,
        socket: Socket,
        short_read: ShortRead,
        peer: A,
    ) -> io::Result<Self> {
        let link = Link::new(ctx.handle().clone(), Phase::Open);
        link.set_local(ctx.driver().local_addr(socket).ok());
        ctx.add_socket(socket, |token| {
            link.visited(token);
            Box::new(Endpoint::open(Rc::clone(&link), short_read, socket))
        })?;
        Ok(Self::on(&link, peer))
    }

    fn on(link: &Rc<Link>, peer: A) -> Self {
        Self {
            reader: ReadHalf(Rc::clone(link)),
            writer: WriteHalf(Rc::clone(link)),
            peer,
        }
    }

    pub(super) fn link(&self) -> &Link {
        &self.reader.0
    }

    /// Who is at the other end.
    pub fn peer_addr(&self) -> A
    where
        A: Clone,
    {
        self.peer.clone()
    }

    /// Two halves, for two tasks. The connection is closed when both are dropped; dropping the writer first ends what
    /// we send, as [`Stream::poll_shutdown`] does.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        (self.reader, self.writer)
    }

    /// Close at once: what was written and not sent is lost. The peer sees a reset where the driver can make one: on
    /// this machine with the feature `sockopt`, otherwise only if bytes of it were not read.
    pub fn abort(self) {
        self.link().abort();
    }
}

impl<A: 'static> Stream for SocketStream<A> {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.reader.poll_read(context, buffer)
    }

    fn poll_read_vec(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        self.reader.poll_read_vec(context, buffer)
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writer.poll_write(context, bytes)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.poll_flush(context)
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.poll_shutdown(context)
    }
}

impl<A: fmt::Debug> fmt::Debug for SocketStream<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketStream")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// A connection on its way. Dropping it closes the socket.
pub(super) struct Connecting<A> {
    stream: Option<SocketStream<A>>,
}

impl<A> Connecting<A> {
    /// Make a connection from the socket that `dial` opens, in the loop's next ready step.
    pub(super) fn begin(handle: &Handle, peer: A, short_read: ShortRead, dial: Dial) -> Self {
        let link = Link::new(handle.clone(), Phase::Opening);
        let endpoint = Endpoint::dialling(Rc::clone(&link), short_read, dial);
        handle.start_source(Box::new(endpoint));
        Self {
            stream: Some(SocketStream::on(&link, peer)),
        }
    }
}

impl<A: Unpin> Future for Connecting<A> {
    type Output = io::Result<SocketStream<A>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let stream = self
            .stream
            .as_ref()
            .expect("a connection was awaited after it was made");
        ready!(stream.link().poll_open(context))?;
        Poll::Ready(self.stream.take().ok_or(ErrorKind::NotConnected.into()))
    }
}

/// The link of a pipe's end that is the driver's.
#[cfg(unix)]
fn pipe(ctx: &mut Ctx<'_>, socket: Socket) -> io::Result<(ReadHalf, WriteHalf)> {
    SocketStream::open(ctx, socket, ShortRead::Inconclusive, ()).map(SocketStream::into_split)
}

#[cfg(unix)]
impl ReadHalf {
    /// What reads from a pipe's end. The other half is given up: it has nothing to end.
    pub(crate) fn of_pipe(ctx: &mut Ctx<'_>, socket: Socket) -> io::Result<Self> {
        let (reader, writer) = pipe(ctx, socket)?;
        writer.0.sending_is(Sending::Ended);
        Ok(reader)
    }
}

#[cfg(unix)]
impl WriteHalf {
    /// What writes into a pipe's end. The other half is given up: there is nothing to read.
    pub(crate) fn of_pipe(ctx: &mut Ctx<'_>, socket: Socket) -> io::Result<Self> {
        let (reader, writer) = pipe(ctx, socket)?;
        reader.0.receiving_is(Receiving::Ended);
        Ok(writer)
    }
}

/// What reads of a stream. As a [`Stream`] it is one whose other direction has ended: writing fails with `BrokenPipe`.
pub struct ReadHalf(Rc<Link>);

impl Stream for ReadHalf {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_read(context, buffer)
    }

    fn poll_read_vec(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_read_vec(context, buffer)
    }

    fn poll_write(&mut self, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for ReadHalf {
    fn drop(&mut self) {
        self.0.drop_reader();
    }
}

impl fmt::Debug for ReadHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadHalf").finish_non_exhaustive()
    }
}

/// What writes of a stream. As a [`Stream`] it is one whose other direction has ended: reading is at the end at once.
///
/// Dropping it ends what we send, behind what was written.
pub struct WriteHalf(Rc<Link>);

impl Stream for WriteHalf {
    fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(0))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(context, bytes)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(context)
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(context)
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        self.0.drop_writer();
    }
}

impl fmt::Debug for WriteHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteHalf").finish_non_exhaustive()
    }
}
