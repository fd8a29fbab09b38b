//! UDP for tasks: datagrams in, datagrams out. As a stream, the socket's end in the loop and the task's end share two
//! bounded queues; what does not fit into the first stays with the kernel, which drops what it cannot keep.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use super::ask::ask_loop;
use super::link::Fault;
use crate::event_loop::{
    Ctx, Detail, Group, Handle, Inspection, Next, Readiness, Socket, Source, Token, waits_on,
};
use crate::task::coop;

/// Bytes that wait in a queue; one datagram more is let in.
const QUEUE_BYTES_MAX: usize = 64 * 1024;
/// What a datagram costs beside its bytes, so that empty ones are bounded, too.
const DATAGRAM_BYTES: usize = 64;
/// Datagrams received in one visit (rule R3).
const RECEIVES_MAX: usize = 64;

/// Datagrams that wait, with whom they are from or for.
struct Queue<A> {
    datagrams: VecDeque<(Vec<u8>, A)>,
    bytes: usize,
}

impl<A> Default for Queue<A> {
    fn default() -> Self {
        Self {
            datagrams: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<A: Copy> Queue<A> {
    fn is_full(&self) -> bool {
        self.bytes >= QUEUE_BYTES_MAX
    }

    fn push(&mut self, bytes: &[u8], peer: A) {
        self.bytes += bytes.len() + DATAGRAM_BYTES;
        self.datagrams.push_back((bytes.to_vec(), peer));
    }

    fn pop(&mut self) -> Option<(Vec<u8>, A)> {
        let (bytes, peer) = self.datagrams.pop_front()?;
        self.bytes -= bytes.len() + DATAGRAM_BYTES;
        Some((bytes, peer))
    }
}

#[derive(Default)]
struct State {
    inbound: Queue<SocketAddr>,
    /// Without an address: for the peer of `connect`.
    output: Queue<Option<SocketAddr>>,
    /// Told once, by whichever operation comes first.
    fault: Option<Fault>,
}

struct Link {
    handle: Handle,
    socket: Socket,
    token: Cell<Option<Token>>,
    is_marked: Cell<bool>,
    /// The source has stopped receiving for want of room.
    is_paused: Cell<bool>,
    is_closed: Cell<bool>,
    state: RefCell<State>,
    reader: Cell<Option<Waker>>,
    writer: Cell<Option<Waker>>,
}

impl Link {
    fn mark(&self) {
        if let Some(token) = self.token.get()
            && !self.is_marked.replace(true)
        {
            self.handle.mark_dirty(token);
        }
    }

    fn wake(&self) {
        for place in [&self.reader, &self.writer] {
            if let Some(waker) = place.take() {
                waker.wake();
            }
        }
    }

    fn detail(&self) -> Detail {
        self.token.get().map_or(Detail::None, Detail::Socket)
    }

    /// Whether something is wrong.
    fn check(&self) -> io::Result<()> {
        if self.is_closed.get() {
            return Err(ErrorKind::NotConnected.into());
        }
        match self.state.borrow_mut().fault.take() {
            Some(fault) => Err(fault.into()),
            None => Ok(()),
        }
    }
}

/// A UDP socket, for a task.
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::net::UdpSocket;
///
/// let mut event_loop = EventLoop::new()?;
/// event_loop.run_until(async {
///     let mut one = UdpSocket::bind(([127, 0, 0, 1], 0).into()).await?;
///     let mut other = UdpSocket::bind(([127, 0, 0, 1], 0).into()).await?;
///     one.send_to(b"ping", other.local_addr()).await?;
///     let mut buffer = [0; 100];
///     let (length, peer) = other.recv_from(&mut buffer).await?;
///     assert_eq!((&buffer[..length], peer), (&b"ping"[..], one.local_addr()));
///     std::io::Result::Ok(())
/// })??;
/// # std::io::Result::Ok(())
/// ```
pub struct UdpSocket {
    link: Rc<Link>,
    local: SocketAddr,
}

impl UdpSocket {
    /// A socket at `address`; port 0 picks one.
    ///
    /// # Errors
    /// As bind(2), and `Unsupported` on a driver without UDP, such as the simulator's.
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        ask_loop(move |ctx| {
            let socket = ctx.driver().bind_udp(address)?;
            let local = ctx.driver().local_addr(socket);
            let local = local.inspect_err(|_| ctx.driver().close(socket))?;
            let link = Rc::new(Link {
                handle: ctx.handle().clone(),
                socket,
                token: Cell::new(None),
                is_marked: Cell::new(false),
                is_paused: Cell::new(false),
                is_closed: Cell::new(false),
                state: RefCell::default(),
                reader: Cell::new(None),
                writer: Cell::new(None),
            });
            ctx.add_socket(socket, |token| {
                link.token.set(Some(token));
                Box::new(UdpSource::new(Rc::clone(&link)))
            })?;
            Ok(Self { link, local })
        })
        .await
    }

    /// Where it is, with the port that was picked.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// From now on [`UdpSocket::send`] sends to `peer`, and only its datagrams are received.
    ///
    /// # Errors
    /// As connect(2).
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn connect(&mut self, peer: SocketAddr) -> io::Result<()> {
        self.ask(move |ctx, socket| ctx.driver().connect_udp(socket, peer))
            .await
    }

    /// Receive what is sent to `group`, too.
    ///
    /// # Errors
    /// As setsockopt(2).
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn join(&mut self, group: Group) -> io::Result<()> {
        self.ask(move |ctx, socket| ctx.driver().join_group(socket, group))
            .await
    }

    /// End [`UdpSocket::join`].
    ///
    /// # Errors
    /// As setsockopt(2).
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn leave(&mut self, group: Group) -> io::Result<()> {
        self.ask(move |ctx, socket| ctx.driver().leave_group(socket, group))
            .await
    }

    async fn ask(
        &self,
        work: impl FnOnce(&mut Ctx<'_>, Socket) -> io::Result<()> + 'static,
    ) -> io::Result<()> {
        let link = Rc::clone(&self.link);
        ask_loop(move |ctx| match link.is_closed.get() {
            true => Err(ErrorKind::NotConnected.into()),
            false => work(ctx, link.socket),
        })
        .await
    }

    /// Send one datagram to `peer`. Ready when it is queued: it leaves at the end of the turn, and nobody learns
    /// whether it arrives. Dropping the future before that sends nothing.
    ///
    /// # Errors
    /// What became of a datagram before this one: `ConnectionRefused`, and others of sendto(2).
    pub async fn send_to(&mut self, bytes: &[u8], peer: SocketAddr) -> io::Result<()> {
        poll_fn(|context| self.poll_send(context, bytes, Some(peer))).await
    }

    /// As [`UdpSocket::send_to`], to the peer of [`UdpSocket::connect`].
    ///
    /// # Errors
    /// As [`UdpSocket::send_to`].
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        poll_fn(|context| self.poll_send(context, bytes, None)).await
    }

    /// Wait for a datagram; its length, and whom it is from. What does not fit into `buffer` is lost. Dropping the
    /// future loses none.
    ///
    /// # Errors
    /// As [`UdpSocket::send_to`].
    pub async fn recv_from(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        poll_fn(|context| self.poll_recv_from(context, buffer)).await
    }

    /// As [`UdpSocket::send_to`], polled; to the peer of [`UdpSocket::connect`] if none is given.
    ///
    /// # Errors
    /// As [`UdpSocket::send_to`].
    pub fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
        peer: Option<SocketAddr>,
    ) -> Poll<io::Result<()>> {
        ready!(coop::poll_proceed(context));
        self.link.check()?;
        if self.link.state.borrow().output.is_full() {
            drop(self.link.writer.replace(Some(context.waker().clone())));
            waits_on("socket write", self.link.detail());
            return Poll::Pending;
        }
        self.link.state.borrow_mut().output.push(bytes, peer);
        self.link.mark();
        Poll::Ready(Ok(()))
    }

    /// As [`UdpSocket::recv_from`], polled.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`].
    pub fn poll_recv_from(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        ready!(coop::poll_proceed(context));
        let (datagram, is_full) = {
            let inbound = &mut self.link.state.borrow_mut().inbound;
            (inbound.pop(), inbound.is_full())
        };
        if let Some((bytes, peer)) = datagram {
            if !is_full && self.link.is_paused.take() {
                // It has stopped receiving for want of room, and no edge will come for what it left (rule R4).
                self.link.mark();
            }
            let length = bytes.len().min(buffer.len());
            buffer[..length].copy_from_slice(&bytes[..length]);
            return Poll::Ready(Ok((length, peer)));
        }
        self.link.check()?;
        drop(self.link.reader.replace(Some(context.waker().clone())));
        waits_on("socket read", self.link.detail());
        Poll::Pending
    }
}

impl Drop for UdpSocket {
    /// What was queued is sent, if there is room for it at the end of the turn.
    fn drop(&mut self) {
        self.link.is_closed.set(true);
        self.link.mark();
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSocket")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

struct UdpSource {
    link: Rc<Link>,
    read_ready: bool,
    write_ready: bool,
}

impl UdpSource {
    fn new(link: Rc<Link>) -> Self {
        Self {
            link,
            read_ready: true,
            write_ready: true,
        }
    }

    fn send(&mut self, ctx: &mut Ctx<'_>) {
        let mut output = std::mem::take(&mut self.link.state.borrow_mut().output);
        let was_full = output.is_full();
        let mut fault = None;
        while self.write_ready
            && let Some((bytes, peer)) = output.datagrams.front()
        {
            match ctx.send_to(self.link.socket, bytes, *peer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.write_ready = false;
                    break;
                }
                Err(error) => fault = Some(error.into()),
                Ok(_) => {}
            }
            output.pop();
        }
        let has_room = was_full && !output.is_full();
        {
            let state = &mut *self.link.state.borrow_mut();
            state.output = output;
            state.fault = fault.or(state.fault);
        }
        if has_room || fault.is_some() {
            self.link.wake();
        }
    }

    /// Whether there may be more than this visit took.
    fn receive(&mut self, ctx: &mut Ctx<'_>, buffer: &mut [u8]) -> bool {
        for _ in 0..RECEIVES_MAX {
            if !self.read_ready {
                return false;
            }
            if self.link.state.borrow().inbound.is_full() {
                self.link.is_paused.set(true);
                return false;
            }
            match ctx.recv_from(self.link.socket, buffer) {
                Ok((length, peer)) => {
                    let state = &mut *self.link.state.borrow_mut();
                    state.inbound.push(&buffer[..length], peer);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.read_ready = false;
                    return false;
                }
                Err(error) => self.link.state.borrow_mut().fault = Some(error.into()),
            }
            self.link.wake();
        }
        true
    }
}

impl Source for UdpSource {
    fn ready(&mut self, ctx: &mut Ctx<'_>, readiness: Readiness) -> Next {
        self.link.is_marked.set(false);
        if readiness.intersects(Readiness::READABLE | Readiness::CLOSING) {
            self.read_ready = true;
        }
        if readiness.contains(Readiness::WRITABLE) {
            self.write_ready = true;
        }
        self.send(ctx);
        if self.link.is_closed.get() {
            return Next::Close;
        }
        let mut buffers = ctx.lend_buffers();
        let more = self.receive(ctx, &mut buffers.receive);
        ctx.give_back(buffers);
        match more {
            true => Next::Again,
            false => Next::Wait,
        }
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>) {
        ctx.driver().close(self.link.socket);
        self.link.is_closed.set(true);
        self.link.wake();
    }

    fn inspect(&self) -> Inspection {
        let state = self.link.state.borrow();
        Inspection {
            kind: "datagrams",
            state: "open",
            read_drained: !self.read_ready,
            paused: self.link.is_paused.get(),
            bytes_held: state.inbound.bytes + state.output.bytes,
            socket: Some(self.link.socket),
            ..Inspection::default()
        }
    }
}
