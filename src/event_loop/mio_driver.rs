//! The real driver: this file and the one below it are the only ones that name mio.

mod other;

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::hint::cold_path;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
#[cfg(unix)]
use std::os::fd::{AsRawFd, OwnedFd};
#[cfg(unix)]
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Waker};
use slab::Slab;

use super::EVENTS_MAX;
use super::driver::{
    Clock, Driver, Event, Executor, Group, Notify, Readiness, Signal, Socket, Token, Watch,
};
use super::executor::ThreadPool;
use super::listener::{self, hand_on_nodelay};
use crate::parts::high_water::HighWater;
use other::Other;

/// mio's own token for the waker. No source gets it: its generation would have to wrap around first.
const WAKER: mio::Token = mio::Token(usize::MAX);
/// The same for what tells of children.
const CHILDREN: mio::Token = mio::Token(usize::MAX - 1);

/// Sockets, clock and threads of this machine.
pub struct MioDriver {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    executor: Rc<ThreadPool>,
    sockets: Slab<Entry>,
    high_water: HighWater,
    /// Held so that it can be given up when descriptors run out, see [`Driver::turn_away`].
    reserve: Option<File>,
    /// A handful.
    signals: Vec<(Signal, SignalPipe)>,
    /// Who wants to hear when a child has ended, and how we do.
    children: Vec<Token>,
    child_signal: Option<SignalPipe>,
}

enum Entry {
    Stream(TcpStream),
    Listener {
        listener: TcpListener,
        /// What it accepts has `TCP_NODELAY` already.
        hands_on_nodelay: bool,
    },
    Other(Other),
}

impl MioDriver {
    /// A driver with a poller and a thread pool of its own. No thread is started yet.
    ///
    /// # Errors
    /// When there are no descriptors or memory left.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            waker,
            executor: Rc::new(ThreadPool::default()),
            sockets: Slab::new(),
            high_water: HighWater::default(),
            reserve: reserve(),
            signals: Vec::new(),
            children: Vec::new(),
            child_signal: None,
        })
    }

    fn insert(&mut self, entry: Entry) -> Socket {
        let socket = Socket(self.sockets.insert(entry) as u32);
        self.high_water.rose_to(self.sockets.len());
        socket
    }

    fn stream(&mut self, socket: Socket) -> io::Result<&mut TcpStream> {
        match self.sockets.get_mut(socket.0 as usize) {
            Some(Entry::Stream(stream)) => Ok(stream),
            _ => Err(not_ours()),
        }
    }

    fn other(&mut self, socket: Socket) -> io::Result<&mut Other> {
        match self.sockets.get_mut(socket.0 as usize) {
            Some(Entry::Other(other)) => Ok(other),
            _ => Err(not_ours()),
        }
    }

    #[cfg(unix)]
    fn accept_unix(&mut self, listener: Socket) -> io::Result<(Socket, SocketAddr)> {
        let stream = self.other(listener)?.accept()?;
        let socket = self.insert(Entry::Other(Other::Unix(stream)));
        Ok((socket, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0)))
    }

    #[cfg(not(unix))]
    fn accept_unix(&mut self, _: Socket) -> io::Result<(Socket, SocketAddr)> {
        Err(not_ours())
    }
}

/// A descriptor that costs nothing and says nothing.
fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

pub(super) fn not_ours() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "no such socket is open in this driver",
    )
}

/// Answers leave when they are written, in one piece; Nagle's algorithm would only hold them back. It fails for a peer
/// that has gone already, which the first read will say too.
fn set_nodelay(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
}

fn everything() -> Interest {
    let interest = Interest::READABLE | Interest::WRITABLE;
    // Urgent data makes a read stop short with more behind it, see `Readiness::CLOSING`.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let interest = interest | Interest::PRIORITY;
    interest
}

fn mio_token(token: Token) -> mio::Token {
    mio::Token((token.generation() as usize) << 32 | token.index() as usize)
}

fn readiness_of(event: &mio::event::Event) -> Readiness {
    let is_closing =
        event.is_read_closed() | event.is_write_closed() | event.is_error() | event.is_priority();
    Readiness::READABLE.only_if(event.is_readable())
        | Readiness::WRITABLE.only_if(event.is_writable())
        | Readiness::CLOSING.only_if(is_closing)
}

/// Do `call` again as long as a signal interrupts it.
#[inline(always)]
pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    match call() {
        Ok(done) => Ok(done),
        // Apart, for nearly every call is done with the first.
        Err(error) => {
            cold_path();
            call_again(error, call)
        }
    }
}

#[cold]
fn call_again<T>(mut error: io::Error, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    while error.kind() == io::ErrorKind::Interrupted {
        match call() {
            Err(next) => error = next,
            done => return done,
        }
    }
    Err(error)
}

/// The clocks of this machine.
pub(super) struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Instant {
        Instant::now()
    }
    fn wall_clock(&self) -> SystemTime {
        SystemTime::now()
    }
}

pub(super) fn entropy() -> u64 {
    // std seeds its hash keys from the operating system.
    RandomState::new().build_hasher().finish()
}

pub(super) fn descriptor_limit() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

struct WakerNotify(Arc<Waker>);

impl Notify for WakerNotify {
    fn notify(&self) {
        // Can fail only for want of kernel memory; the loop would then find the message at its next turn.
        let _ = self.0.wake();
    }
}

impl Driver for MioDriver {
    fn clock(&self) -> Rc<dyn Clock> {
        Rc::new(MachineClock)
    }

    fn entropy(&mut self) -> u64 {
        entropy()
    }

    #[inline(always)]
    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            // A signal: that is something that happened.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        let mut child_ended = false;
        for event in &self.events {
            let token = event.token();
            if token == WAKER || token == CHILDREN {
                cold_path();
                child_ended |= token == CHILDREN;
                continue;
            }
            events.push(Event {
                token: Token::new(token.0 as u32, (token.0 >> 32) as u32),
                readiness: readiness_of(event),
            });
        }
        if child_ended && self.child_signal.as_mut().is_some_and(SignalPipe::take) {
            events.extend(self.children.iter().map(|&token| Event {
                token,
                readiness: Readiness::READABLE,
            }));
        }
        Ok(())
    }

    fn notifier(&self) -> Arc<dyn Notify> {
        Arc::new(WakerNotify(Arc::clone(&self.waker)))
    }

    fn executor(&self) -> Rc<dyn Executor> {
        Rc::clone(&self.executor) as Rc<dyn Executor>
    }

    fn listen(&mut self, address: SocketAddr) -> io::Result<Socket> {
        self.adopt_listener(listener::bind(address)?)
    }

    fn adopt_listener(&mut self, listener: std::net::TcpListener) -> io::Result<Socket> {
        listener.set_nonblocking(true)?;
        let (listener, hands_on_nodelay) = hand_on_nodelay(listener);
        Ok(self.insert(Entry::Listener {
            listener: TcpListener::from_std(listener),
            hands_on_nodelay,
        }))
    }

    fn accept(&mut self, listener: Socket) -> io::Result<(Socket, SocketAddr)> {
        let Some(Entry::Listener {
            listener,
            hands_on_nodelay,
        }) = self.sockets.get(listener.0 as usize)
        else {
            return self.accept_unix(listener);
        };
        let (stream, peer) = uninterrupted(|| listener.accept())?;
        if !hands_on_nodelay {
            set_nodelay(&stream);
        }
        Ok((self.insert(Entry::Stream(stream)), peer))
    }

    fn adopt(&mut self, stream: std::net::TcpStream) -> io::Result<Socket> {
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream);
        set_nodelay(&stream);
        Ok(self.insert(Entry::Stream(stream)))
    }

    fn release(&mut self, socket: Socket) -> io::Result<std::net::TcpStream> {
        self.stream(socket)?;
        match self.sockets.remove(socket.0 as usize) {
            Entry::Stream(stream) => Ok(stream.into()),
            Entry::Listener { .. } | Entry::Other(_) => {
                unreachable!("it was a stream just above")
            }
        }
    }

    fn turn_away(&mut self, listener: Socket, limit: usize) -> usize {
        self.reserve = None;
        let mut turned_away = 0;
        while turned_away < limit
            && let Ok((socket, _)) = self.accept(listener)
        {
            self.close(socket);
            turned_away += 1;
        }
        self.reserve = reserve();
        turned_away
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<Socket> {
        let stream = TcpStream::connect(address)?;
        set_nodelay(&stream);
        Ok(self.insert(Entry::Stream(stream)))
    }

    #[cfg(feature = "sockopt")]
    fn connect_from(&mut self, local: SocketAddr, address: SocketAddr) -> io::Result<Socket> {
        let socket = listener::connect_from(local, address)?;
        let stream = TcpStream::from_std(socket);
        set_nodelay(&stream);
        Ok(self.insert(Entry::Stream(stream)))
    }

    #[cfg(unix)]
    fn listen_unix(&mut self, path: &Path) -> io::Result<Socket> {
        let listener = mio::net::UnixListener::bind(path)?;
        Ok(self.insert(Entry::Other(Other::UnixListener(listener))))
    }

    #[cfg(unix)]
    fn connect_unix(&mut self, path: &Path) -> io::Result<Socket> {
        let stream = mio::net::UnixStream::connect(path)?;
        Ok(self.insert(Entry::Other(Other::Unix(stream))))
    }

    #[cfg(unix)]
    fn adopt_unix(&mut self, stream: std::os::unix::net::UnixStream) -> io::Result<Socket> {
        stream.set_nonblocking(true)?;
        let stream = mio::net::UnixStream::from_std(stream);
        Ok(self.insert(Entry::Other(Other::Unix(stream))))
    }

    #[cfg(unix)]
    fn adopt_pipe(&mut self, pipe: OwnedFd, watch: Watch) -> io::Result<Socket> {
        let pipe = Other::pipe(pipe, watch)?;
        Ok(self.insert(Entry::Other(pipe)))
    }

    fn bind_udp(&mut self, address: SocketAddr) -> io::Result<Socket> {
        let socket = mio::net::UdpSocket::bind(address)?;
        Ok(self.insert(Entry::Other(Other::Udp(socket))))
    }

    fn connect_udp(&mut self, socket: Socket, peer: SocketAddr) -> io::Result<()> {
        self.other(socket)?.connect_udp(peer)
    }

    fn send_to(
        &mut self,
        socket: Socket,
        bytes: &[u8],
        peer: Option<SocketAddr>,
    ) -> io::Result<usize> {
        self.other(socket)?.send_to(bytes, peer)
    }

    fn recv_from(&mut self, socket: Socket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.other(socket)?.recv_from(buffer)
    }

    fn join_group(&mut self, socket: Socket, group: Group) -> io::Result<()> {
        self.other(socket)?.join(group)
    }

    fn leave_group(&mut self, socket: Socket, group: Group) -> io::Result<()> {
        self.other(socket)?.leave(group)
    }

    fn register(&mut self, socket: Socket, token: Token) -> io::Result<()> {
        let registry = self.poll.registry();
        match self.sockets.get_mut(socket.0 as usize) {
            Some(Entry::Stream(stream)) => {
                registry.register(stream, mio_token(token), everything())
            }
            Some(Entry::Listener { listener, .. }) => {
                registry.register(listener, mio_token(token), Interest::READABLE)
            }
            Some(Entry::Other(other)) => other.register(registry, mio_token(token)),
            None => Err(not_ours()),
        }
    }

    #[inline(always)]
    fn read(&mut self, socket: Socket, buffer: &mut [u8]) -> io::Result<usize> {
        match self.sockets.get_mut(socket.0 as usize) {
            Some(Entry::Stream(stream)) => uninterrupted(|| stream.read(buffer)),
            _ => {
                cold_path();
                self.other(socket)?.read(buffer)
            }
        }
    }

    #[inline(always)]
    fn write(&mut self, socket: Socket, bytes: &[u8]) -> io::Result<usize> {
        match self.sockets.get_mut(socket.0 as usize) {
            Some(Entry::Stream(stream)) => uninterrupted(|| stream.write(bytes)),
            _ => {
                cold_path();
                self.other(socket)?.write(&[IoSlice::new(bytes)])
            }
        }
    }

    fn write_vectored(&mut self, socket: Socket, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.sockets.get_mut(socket.0 as usize) {
            Some(Entry::Stream(stream)) => uninterrupted(|| stream.write_vectored(slices)),
            _ => self.other(socket)?.write(slices),
        }
    }

    fn shutdown_write(&mut self, socket: Socket) -> io::Result<()> {
        match self.sockets.get_mut(socket.0 as usize) {
            Some(Entry::Stream(stream)) => stream.shutdown(Shutdown::Write),
            _ => self.other(socket)?.shutdown_write(),
        }
    }

    fn take_error(&mut self, socket: Socket) -> io::Result<Option<io::Error>> {
        match self.sockets.get_mut(socket.0 as usize) {
            Some(Entry::Stream(stream)) => stream.take_error(),
            _ => self.other(socket)?.take_error(),
        }
    }

    fn local_addr(&self, socket: Socket) -> io::Result<SocketAddr> {
        match self.sockets.get(socket.0 as usize) {
            Some(Entry::Stream(stream)) => stream.local_addr(),
            Some(Entry::Listener { listener, .. }) => listener.local_addr(),
            Some(Entry::Other(other)) => other.local_addr(),
            None => Err(not_ours()),
        }
    }

    fn close(&mut self, socket: Socket) {
        // Closing the descriptor takes it out of epoll too, since no duplicate of it exists.
        self.sockets.try_remove(socket.0 as usize);
        if self
            .high_water
            .fell_to(self.sockets.len(), self.sockets.capacity())
        {
            self.sockets.shrink_to_fit();
        }
    }

    #[cfg(feature = "sockopt")]
    fn reset(&mut self, socket: Socket) {
        if let Ok(stream) = self.stream(socket) {
            // Without time to linger, close(2) discards what was not sent and resets (socket(7), SO_LINGER).
            let _ = socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
        }
        self.close(socket);
    }

    fn open_sockets(&self) -> usize {
        self.sockets.len()
    }

    #[cfg(unix)]
    fn descriptor_of(&self, socket: Socket) -> Option<i32> {
        match self.sockets.get(socket.0 as usize)? {
            Entry::Stream(stream) => Some(stream.as_raw_fd()),
            Entry::Listener { listener, .. } => Some(listener.as_raw_fd()),
            Entry::Other(other) => other.descriptor(),
        }
    }

    fn descriptor_limit(&self) -> Option<usize> {
        descriptor_limit()
    }

    #[cfg(unix)]
    fn watch_descriptor(
        &mut self,
        fd: std::os::fd::RawFd,
        watch: Watch,
        token: Token,
    ) -> io::Result<()> {
        let interest = match watch {
            Watch::Read => Interest::READABLE,
            Watch::Write => Interest::WRITABLE,
        };
        self.poll
            .registry()
            .register(&mut mio::unix::SourceFd(&fd), mio_token(token), interest)
    }

    #[cfg(unix)]
    fn unwatch_descriptor(&mut self, fd: std::os::fd::RawFd) -> io::Result<()> {
        self.poll
            .registry()
            .deregister(&mut mio::unix::SourceFd(&fd))
    }

    #[cfg(unix)]
    fn pollable_descriptor(&self) -> Option<std::os::fd::RawFd> {
        use std::os::fd::AsRawFd;
        Some(self.poll.as_raw_fd())
    }

    fn watch_signal(&mut self, signal: Signal, token: Token) -> io::Result<()> {
        let pipe = SignalPipe::new(number_of(signal), self.poll.registry(), mio_token(token))?;
        self.signals.retain(|(other, _)| *other != signal);
        self.signals.push((signal, pipe));
        Ok(())
    }

    fn watch_children(&mut self, token: Token) -> io::Result<()> {
        if self.child_signal.is_none() {
            let pipe = SignalPipe::new(CHILD_ENDED, self.poll.registry(), CHILDREN)?;
            self.child_signal = Some(pipe);
        }
        self.children.push(token);
        Ok(())
    }

    fn unwatch_children(&mut self, token: Token) {
        self.children.retain(|&other| other != token);
        if self.children.is_empty() {
            self.child_signal = None;
        }
    }

    fn take_signal(&mut self, signal: Signal) -> bool {
        let mut pipes = self.signals.iter_mut();
        let pipe = pipes.find(|(other, _)| *other == signal);
        pipe.is_some_and(|(_, pipe)| pipe.take())
    }
    fn has_signal(&self) -> bool {
        self.signals.iter().any(|(_, pipe)| pipe.has_come())
    }
}

/// The write end is the signal handler's, which may do little more than write a byte; the read end is the poller's.
#[cfg(unix)]
struct SignalPipe {
    read_end: mio::net::UnixStream,
    /// Something may be in the pipe: so that one can look without reading.
    has_come: Arc<AtomicBool>,
    ids: [signal_hook::SigId; 2],
}

#[cfg(unix)]
const CHILD_ENDED: i32 = signal_hook::consts::SIGCHLD;
#[cfg(not(unix))]
const CHILD_ENDED: i32 = 0;

#[cfg(unix)]
fn number_of(signal: Signal) -> i32 {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
    match signal {
        Signal::Interrupt => SIGINT,
        Signal::Terminate => SIGTERM,
        Signal::Hangup => SIGHUP,
        Signal::User1 => SIGUSR1,
        Signal::User2 => SIGUSR2,
    }
}

#[cfg(not(unix))]
fn number_of(_: Signal) -> i32 {
    0
}

#[cfg(unix)]
impl SignalPipe {
    fn new(number: i32, registry: &mio::Registry, token: mio::Token) -> io::Result<Self> {
        let (read_end, write_end) = std::os::unix::net::UnixStream::pair()?;
        read_end.set_nonblocking(true)?;
        let mut read_end = mio::net::UnixStream::from_std(read_end);
        registry.register(&mut read_end, token, Interest::READABLE)?;
        let has_come = Arc::new(AtomicBool::new(false));
        let ids = [
            signal_hook::flag::register(number, Arc::clone(&has_come))?,
            signal_hook::low_level::pipe::register(number, write_end)?,
        ];
        Ok(Self {
            read_end,
            has_come,
            ids,
        })
    }

    fn has_come(&self) -> bool {
        self.has_come.load(Ordering::Relaxed)
    }

    fn take(&mut self) -> bool {
        self.has_come.store(false, Ordering::Relaxed);
        let mut came = false;
        let mut bytes = [0; 64];
        while uninterrupted(|| self.read_end.read(&mut bytes)).is_ok_and(|n| n > 0) {
            came = true;
        }
        came
    }
}

#[cfg(unix)]
impl Drop for SignalPipe {
    fn drop(&mut self) {
        for id in self.ids {
            signal_hook::low_level::unregister(id);
        }
    }
}

#[cfg(not(unix))]
struct SignalPipe;

#[cfg(not(unix))]
impl SignalPipe {
    fn new(_: i32, _: &mio::Registry, _: mio::Token) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn has_come(&self) -> bool {
        false
    }
    fn take(&mut self) -> bool {
        false
    }
}
