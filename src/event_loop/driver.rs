//! The one door to the outside: the clock, waiting, sockets, entropy, signals, threads for work that blocks.
//!
//! Everything the loop cannot decide by itself comes through [`Driver`]. There are two: `MioDriver` asks the operating
//! system, `sim::SimDriver` a seeded world in memory. Whatever runs on the first runs on the second, byte for byte.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::{BitOr, BitOrAssign};
#[cfg(unix)]
use std::os::fd::OwnedFd;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
#[cfg(unix)]
use std::path::Path;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Names one source of one loop. Holds a slot's index and its generation, so that a token of a source that has gone
/// names nobody, even when the slot is used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Token(u64);

impl Token {
    /// The token of slot `index` in its `generation`.
    pub const fn new(index: u32, generation: u32) -> Self {
        Self((generation as u64) << 32 | index as u64)
    }
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
    pub(super) const fn to_bits(self) -> u64 {
        self.0
    }
    /// The slot.
    pub const fn index(self) -> u32 {
        self.0 as u32
    }
    /// How many sources had the slot before.
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Display for Token {
    /// `index.generation`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index(), self.generation())
    }
}

/// A text that is no [`Token`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadToken;

impl fmt::Display for BadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token is written as index.generation")
    }
}

impl std::error::Error for BadToken {}

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let (index, generation) = text.split_once('.').ok_or(BadToken)?;
        let parse = |number: &str| number.parse().map_err(|_| BadToken);
        Ok(Self::new(parse(index)?, parse(generation)?))
    }
}

/// Why a source is visited: what the driver saw, and what the loop itself has to say. A set of bits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Readiness(u8);

impl Readiness {
    /// Nothing new: the source asked for another visit (`Next::Again`).
    pub const NONE: Self = Self(0);
    /// There may be something to read, or someone to accept.
    pub const READABLE: Self = Self(1);
    /// There may be room to write.
    pub const WRITABLE: Self = Self(2);
    /// The peer closed its sending half or the whole connection, there is an error, or urgent data: a short read
    /// proves nothing, read on until `WouldBlock` or the end (epoll(7), question 9 and its exceptions).
    pub const CLOSING: Self = Self(4);
    /// A waker or a `Handle` asked for this visit.
    pub const WOKEN: Self = Self(8);
    /// The source's deadline entry in the timer wheel has fired.
    pub const TIMER: Self = Self(16);
    /// Somebody else gave the source bytes to write (step 7 of the turn).
    pub const FLUSH: Self = Self(32);

    pub(super) const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }
    pub(super) const fn to_bits(self) -> u8 {
        self.0
    }
    /// These bits if `is_so`, or none.
    pub(super) const fn only_if(self, is_so: bool) -> Self {
        Self(self.0 * is_so as u8)
    }
    /// Whether every bit of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
    /// Whether any bit of `other` is set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
    /// The bits of both.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// Clear every bit of `other`.
    pub const fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }
}

impl BitOr for Readiness {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for Readiness {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// One thing the driver saw while the loop was parked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// The source it is for, as given to [`Driver::register`].
    pub token: Token,
    /// What was seen.
    pub readiness: Readiness,
}

/// A socket of one driver, by the number that the driver gave it. A plain name, like a file descriptor: whoever holds
/// it closes it, once, with [`Driver::close`]; dropping the driver closes the rest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Socket(pub u32);

/// Which way a foreign descriptor is watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watch {
    /// For reading.
    Read,
    /// For writing.
    Write,
}

/// A multicast group, and the interface on which to be in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Group {
    /// An address in 224.0.0.0/4, and an address of the interface; 0.0.0.0 lets the system choose.
    V4(Ipv4Addr, Ipv4Addr),
    /// An address in ff00::/8, and the number of the interface; 0 lets the system choose.
    V6(Ipv6Addr, u32),
}

/// A request from outside that the process end or reload, delivered as a callback.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Signal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM: what `kill` and service managers send.
    Terminate,
    /// SIGHUP: by custom "read your configuration again".
    Hangup,
    /// SIGUSR1: prints the tasks of a program that [`crate::web::App::serve`]s, and is free for all others.
    User1,
    /// SIGUSR2: free for the program.
    User2,
}

/// The two times a program may ask for.
pub trait Clock {
    /// Monotonic time.
    fn now(&self) -> Instant;
    /// The time of day, for `Date` headers and log lines only.
    fn wall_clock(&self) -> SystemTime;
}

/// Wakes a parked loop from any thread.
pub trait Notify: Send + Sync {
    /// Make the loop's current or next [`Driver::poll`] return at once.
    fn notify(&self);
}

/// Work for a thread that may block.
pub type BlockingJob = Box<dyn FnOnce() + Send>;

/// Runs jobs that block, away from the loop's thread.
pub trait Executor {
    /// Queue `job`. It runs once, on some other thread; a job is never run on the caller's stack.
    ///
    /// # Errors
    /// `WouldBlock` when the executor is bounded and its queue is full; other errors when no thread can be started.
    fn submit(&self, job: BlockingJob) -> io::Result<()>;
    /// How many jobs wait in the queue.
    fn queued(&self) -> usize;
}

/// The outside, as one trait object.
///
/// Sockets are non-blocking and behave as under Linux's edge-triggered epoll: each is registered once for both
/// directions; an event says that something *changed*; after it the source goes on until `WouldBlock`, or, for a TCP
/// socket, until a read that did not fill the buffer in a visit without [`Readiness::CLOSING`]. Events may be
/// spurious, and may name a token whose source has gone.
pub trait Driver {
    /// Where time comes from.
    fn clock(&self) -> Rc<dyn Clock>;
    /// 64 bits nobody outside can guess (under the simulator: drawn from the seed).
    fn entropy(&mut self) -> u64;

    /// Wait until something happened, at most `timeout` (`None`: without limit), and append at most 1,024 events.
    /// May return early and empty-handed.
    ///
    /// # Errors
    /// When waiting itself fails; never `Interrupted`.
    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()>;
    /// What other threads use to end a [`Driver::poll`]. The loop asks once and keeps one of these, and each
    /// [`super::Remote`] holds another: so a driver can tell from their number whether anybody could call.
    fn notifier(&self) -> Arc<dyn Notify>;
    /// Where jobs that block are run.
    fn executor(&self) -> Rc<dyn Executor>;

    /// Open a listening TCP socket. Port 0 picks a free one.
    ///
    /// # Errors
    /// As bind(2) and listen(2): the address is in use, not ours, or not allowed.
    fn listen(&mut self, address: SocketAddr) -> io::Result<Socket>;
    /// Take over a listener that was made elsewhere.
    ///
    /// # Errors
    /// `Unsupported` on a driver whose sockets are not this machine's; otherwise as fcntl(2).
    fn adopt_listener(&mut self, listener: TcpListener) -> io::Result<Socket> {
        let _ = listener;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Take one connection from a listener; the new socket has `TCP_NODELAY` and is not registered yet. The peer of a
    /// Unix socket has no such address: it is told as 0.0.0.0:0.
    ///
    /// # Errors
    /// `WouldBlock` when none waits; otherwise as accept(2).
    fn accept(&mut self, listener: Socket) -> io::Result<(Socket, SocketAddr)>;
    /// Take over a connection that was made or accepted elsewhere, as if it came from [`Driver::accept`].
    ///
    /// # Errors
    /// As [`Driver::adopt_listener`].
    fn adopt(&mut self, stream: TcpStream) -> io::Result<Socket> {
        let _ = stream;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Give away a connection that is not registered, for another driver to [`Driver::adopt`]. It does not block.
    ///
    /// # Errors
    /// `Unsupported` on a driver whose sockets are not this machine's; `NotConnected` when there is no such
    /// connection.
    fn release(&mut self, socket: Socket) -> io::Result<TcpStream> {
        let _ = socket;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Out of descriptors: accept and drop at most `limit` waiting connections with the help of a reserved
    /// descriptor, so that peers learn at once that they are not served. Returns how many.
    fn turn_away(&mut self, listener: Socket, limit: usize) -> usize;
    /// Begin a TCP connection. It is made when the first `WRITABLE` event comes and [`Driver::take_error`] has none.
    ///
    /// # Errors
    /// As socket(2) and connect(2).
    fn connect(&mut self, address: SocketAddr) -> io::Result<Socket>;
    /// As [`Driver::connect`], from `local`; its port may be 0.
    ///
    /// # Errors
    /// `Unsupported` on a driver that cannot choose; otherwise as bind(2) and [`Driver::connect`].
    fn connect_from(&mut self, local: SocketAddr, address: SocketAddr) -> io::Result<Socket> {
        let _ = (local, address);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Open a listening Unix socket at `path`, which nothing may have; the file stays when it is closed.
    ///
    /// # Errors
    /// `Unsupported` on a driver without Unix sockets; otherwise as bind(2) and listen(2).
    #[cfg(unix)]
    fn listen_unix(&mut self, path: &Path) -> io::Result<Socket> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Begin a connection to the Unix socket at `path`, as [`Driver::connect`] does.
    ///
    /// # Errors
    /// `Unsupported` on a driver without Unix sockets; `WouldBlock` when the listener's queue is full; otherwise as
    /// connect(2).
    #[cfg(unix)]
    fn connect_unix(&mut self, path: &Path) -> io::Result<Socket> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Take over a Unix socket that was connected elsewhere.
    ///
    /// # Errors
    /// As [`Driver::adopt_listener`].
    #[cfg(unix)]
    fn adopt_unix(&mut self, stream: UnixStream) -> io::Result<Socket> {
        let _ = stream;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Take over one end of a pipe, to read it or to write it. [`Driver::shutdown_write`] closes a pipe's writing end.
    ///
    /// # Errors
    /// As [`Driver::adopt_listener`].
    #[cfg(unix)]
    fn adopt_pipe(&mut self, pipe: OwnedFd, watch: Watch) -> io::Result<Socket> {
        let _ = (pipe, watch);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Open a UDP socket at `address`; port 0 picks a free one.
    ///
    /// # Errors
    /// `Unsupported` on a driver without UDP, as for the calls below; otherwise as bind(2).
    fn bind_udp(&mut self, address: SocketAddr) -> io::Result<Socket> {
        let _ = address;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// From now on the socket sends to `peer` and hears only of it.
    ///
    /// # Errors
    /// As connect(2).
    fn connect_udp(&mut self, socket: Socket, peer: SocketAddr) -> io::Result<()> {
        let _ = (socket, peer);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Send one datagram, to the peer of [`Driver::connect_udp`] if none is given.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room; never `Interrupted`; otherwise as sendto(2).
    fn send_to(
        &mut self,
        socket: Socket,
        bytes: &[u8],
        peer: Option<SocketAddr>,
    ) -> io::Result<usize> {
        let _ = (socket, bytes, peer);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Receive one datagram; what does not fit into `buffer` is lost.
    ///
    /// # Errors
    /// `WouldBlock` when none is there; never `Interrupted`; otherwise as recvfrom(2), such as `ConnectionRefused` for
    /// a datagram that was sent before.
    fn recv_from(&mut self, socket: Socket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let _ = (socket, buffer);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Receive what is sent to `group`, too.
    ///
    /// # Errors
    /// As setsockopt(2) of `IP_ADD_MEMBERSHIP`.
    fn join_group(&mut self, socket: Socket, group: Group) -> io::Result<()> {
        let _ = (socket, group);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// End [`Driver::join_group`].
    ///
    /// # Errors
    /// As setsockopt(2) of `IP_DROP_MEMBERSHIP`.
    fn leave_group(&mut self, socket: Socket, group: Group) -> io::Result<()> {
        let _ = (socket, group);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Report everything that happens to `socket` as events with `token`, until it is closed.
    ///
    /// # Errors
    /// As epoll_ctl(2), mostly for want of memory.
    fn register(&mut self, socket: Socket, token: Token) -> io::Result<()>;
    /// Read into `buffer`; 0 is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; never `Interrupted`; otherwise as recv(2).
    fn read(&mut self, socket: Socket, buffer: &mut [u8]) -> io::Result<usize>;
    /// Write some of `bytes`.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room; never `Interrupted`; otherwise as send(2).
    fn write(&mut self, socket: Socket, bytes: &[u8]) -> io::Result<usize>;
    /// Write some of `slices`, in order, in one call.
    ///
    /// # Errors
    /// As [`Driver::write`].
    fn write_vectored(&mut self, socket: Socket, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Say that we will send no more (FIN), and go on reading.
    ///
    /// # Errors
    /// As shutdown(2).
    fn shutdown_write(&mut self, socket: Socket) -> io::Result<()>;
    /// The pending error of a socket, as `SO_ERROR`; asking clears it.
    ///
    /// # Errors
    /// As getsockopt(2).
    fn take_error(&mut self, socket: Socket) -> io::Result<Option<io::Error>>;
    /// Our end of `socket`.
    ///
    /// # Errors
    /// As getsockname(2).
    fn local_addr(&self, socket: Socket) -> io::Result<SocketAddr>;
    /// Close. Unread input makes the peer see a reset, as with close(2). Closing twice does nothing.
    fn close(&mut self, socket: Socket);
    /// Close, and have the peer see a reset where this driver can make one; otherwise as [`Driver::close`].
    fn reset(&mut self, socket: Socket) {
        self.close(socket);
    }
    /// How many sockets are open, listeners included.
    fn open_sockets(&self) -> usize;
    /// The descriptor of a socket, by its number, for people who look at the process from outside as well. `None` where
    /// there are none.
    fn descriptor_of(&self, socket: Socket) -> Option<i32> {
        let _ = socket;
        None
    }
    /// How many descriptors the process may have open, if there is a limit.
    fn descriptor_limit(&self) -> Option<usize>;

    /// Report readiness of a descriptor that is not ours. It stays the caller's to close, after
    /// [`Driver::unwatch_descriptor`].
    ///
    /// # Errors
    /// `Unsupported` on a driver without descriptors; otherwise as epoll_ctl(2).
    #[cfg(unix)]
    fn watch_descriptor(
        &mut self,
        fd: std::os::fd::RawFd,
        watch: Watch,
        token: Token,
    ) -> io::Result<()>;
    /// End [`Driver::watch_descriptor`].
    ///
    /// # Errors
    /// As epoll_ctl(2).
    #[cfg(unix)]
    fn unwatch_descriptor(&mut self, fd: std::os::fd::RawFd) -> io::Result<()>;
    /// Something to poll from another event loop: readable when a turn would find events. `None` when there is no such
    /// thing.
    #[cfg(unix)]
    fn pollable_descriptor(&self) -> Option<std::os::fd::RawFd>;

    /// From now on `signal` no longer has its default effect; it makes a `READABLE` event for `token` instead.
    ///
    /// # Errors
    /// When the handler cannot be installed, or there are no signals here.
    fn watch_signal(&mut self, signal: Signal, token: Token) -> io::Result<()>;
    /// Whether `signal` has come since the last call.
    fn take_signal(&mut self, signal: Signal) -> bool;
    /// Whether any signal that is watched has come and was not taken.
    fn has_signal(&self) -> bool {
        false
    }

    /// From now on make a `READABLE` event for `token` when a child process of this one may have ended (SIGCHLD),
    /// whichever it was. These come on top of the 1,024 of a [`Driver::poll`].
    ///
    /// # Errors
    /// `Unsupported` on a driver without processes; otherwise as [`Driver::watch_signal`].
    fn watch_children(&mut self, token: Token) -> io::Result<()> {
        let _ = token;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// End [`Driver::watch_children`].
    fn unwatch_children(&mut self, token: Token) {
        let _ = token;
    }
}
