//! Engines: the ways to schedule one and the same app.
//!
//! Whatever the engine, it is the same machines, router, handlers, limits and deadlines that run, on the same
//! [`EventLoop`]. What differs is who waits for what: a loop for all of its connections, or a thread for each one of
//! its own. So what a comparison of two engines compares is their scheduling.

mod gathering;
mod loops;
mod threads;

use std::fmt;
use std::io;
use std::iter::Sum;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::ops::Add;
use std::str::FromStr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::app::{App, dump_tasks_on_user1};
use crate::conn::{Counts, Hits, Limits, Server, ShutdownReport};
use crate::event_loop::{Ctx, EventLoop, Signal, bind_several};
use gathering::Gathering;

/// How an app is scheduled.
///
/// An app and its state belong to one thread. So each loop, or thread, makes its own from the factory, and what they
/// share is what the factory captured:
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::time::Duration;
/// use tourbillon::web::{App, Engine, Request};
///
/// let visits = Arc::new(AtomicU64::new(0));
/// let counting = Arc::clone(&visits);
/// let make_app = move || {
///     App::new(Arc::clone(&counting)).get("/", |_: &Request, visits: &mut Arc<AtomicU64>| {
///         format!("You are visitor {}.\n", visits.fetch_add(1, Ordering::Relaxed) + 1)
///     })
/// };
/// let engine: Engine = "loops:2".parse().unwrap();
/// let running = engine.start("127.0.0.1:0", make_app)?;
/// # use std::io::{Read, Write};
/// # let mut client = std::net::TcpStream::connect(running.address())?;
/// # client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
/// # let mut answer = String::new();
/// # client.read_to_string(&mut answer)?;
/// # assert!(answer.ends_with("You are visitor 1.\n"));
/// println!("stopped: {}", running.shutdown(Duration::from_secs(10)));
/// # std::io::Result::Ok(())
/// ```
///
/// As text (`parse` and `to_string`): `loop`, `loops` (one for each core), `loops:4`, `threads`, `threads:1000`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Engine {
    /// One loop on one thread serves all connections.
    #[default]
    Loop,
    /// So many loops, each on a thread of its own and with its own part of the connections. They share nothing but the
    /// count of who is in ([`crate::conn::Crowd`]). With the feature `sockopt` each has its own accept queue
    /// (`SO_REUSEPORT`), and without it they take turns at one, see [`bind_several`].
    Loops(usize),
    /// A thread for each connection, that waits for it alone.
    Threads(Threads),
}

/// The bounds of [`Engine::Threads`].
///
/// An accepted connection gets a thread that has none, or a new one; a thread without a connection for ten seconds
/// ends. It reads and writes with sockets that block, and a request costs it two system calls. Only when something else
/// than its peer can bring it work, a handler that awaits or a sender on another thread, does it wait at a poller, as a
/// loop does.
///
/// An idle connection holds some 55 KiB of resident memory, 16 KiB of it stack (x86-64 Linux, 1,000 of them), against
/// half a KiB in a loop. An acceptor that runs out of descriptors cannot have idle connections closed, as a loop can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Threads {
    /// Connections, and so threads; one too many is refused as by [`super::Limits::refusal`]. Default 1,000.
    /// [`super::Budget::connections_max`] holds as well.
    pub connections_max: usize,
    /// The stack of each thread, in bytes. Default 256 KiB: handlers that recurse or hold large arrays need more. It is
    /// address space: what was never touched is not in memory.
    pub stack_bytes: usize,
}

impl Default for Threads {
    fn default() -> Self {
        Self {
            connections_max: 1000,
            stack_bytes: 256 * 1024,
        }
    }
}

/// A text that is no [`Engine`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownEngine(String);

impl fmt::Display for UnknownEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        write!(
            f,
            "{text:?} is no engine: loop, loops, loops:N, threads or threads:N, with N from 1"
        )
    }
}

impl std::error::Error for UnknownEngine {}

impl FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        let unknown = || UnknownEngine(text.to_owned());
        let (name, number) = match text.split_once(':') {
            None => (text, None),
            Some((name, number)) => {
                let number = number.parse().ok().filter(|number| *number > 0);
                (name, Some(number.ok_or_else(unknown)?))
            }
        };
        match (name, number) {
            ("loop", None) => Ok(Self::Loop),
            ("loops", number) => {
                let cores = || thread::available_parallelism().map_or(1, usize::from);
                Ok(Self::Loops(number.unwrap_or_else(cores)))
            }
            ("threads", number) => {
                let default = Threads::default();
                Ok(Self::Threads(Threads {
                    connections_max: number.unwrap_or(default.connections_max),
                    ..default
                }))
            }
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loop => f.write_str("loop"),
            Self::Loops(number) => write!(f, "loops:{number}"),
            Self::Threads(threads) => write!(f, "threads:{}", threads.connections_max),
        }
    }
}

/// Makes the app of one loop or thread.
trait MakeApp<S>: Fn() -> App<S> + Send + Sync + 'static {}

impl<S, F: Fn() -> App<S> + Send + Sync + 'static> MakeApp<S> for F {}

impl Engine {
    /// Serve on `address` until SIGINT or SIGTERM. The first signal begins a graceful shutdown of all loops and threads
    /// within [`super::Limits::shutdown_timeout`], a second one ends it. On SIGUSR1 each loop prints its tasks, unless
    /// [`App::without_task_dump`] says otherwise; threads have none. [`Engine::Loop`] runs on this thread.
    ///
    /// # Errors
    /// As [`Engine::start`], and when the signals cannot be caught.
    #[track_caller]
    pub fn serve<S: 'static>(
        self,
        address: impl ToSocketAddrs,
        make_app: impl Fn() -> App<S> + Send + Sync + 'static,
    ) -> io::Result<ShutdownReport> {
        self.serve_and_tell(address, make_app, |_, _| {})
    }

    /// As [`Engine::serve`]; `listening` is called once connections are taken in, with the address and its port and the
    /// limits that are in force.
    ///
    /// # Errors
    /// As [`Engine::serve`].
    #[track_caller]
    pub fn serve_and_tell<S: 'static>(
        self,
        address: impl ToSocketAddrs,
        make_app: impl Fn() -> App<S> + Send + Sync + 'static,
        listening: impl FnOnce(SocketAddr, &Limits),
    ) -> io::Result<ShutdownReport> {
        if self == Self::Loop {
            let mut event_loop = EventLoop::new()?;
            let mut ctx = event_loop.ctx();
            let app = make_app();
            if app.dumps_tasks() {
                dump_tasks_on_user1(&mut ctx)?;
            }
            let (server, address) = app.listen(&mut ctx, address)?;
            let report = super::stop_on_signals(&mut ctx, &server)?;
            listening(address, server.limits());
            event_loop.run()?;
            return Ok(report.with(|report| *report));
        }
        let running = self.start(address, make_app)?;
        listening(running.address(), running.limits());
        running.until_signal()
    }

    /// Serve on `address`, on threads of its own: for tests, benches, and programs that do other things as well.
    ///
    /// # Errors
    /// As bind(2): the address is in use, is not this machine's, or needs privileges. `InvalidInput` for no address, or
    /// an engine of no loops. `Unsupported` when the app cannot be served by this engine, see [`App::needs_one_loop`].
    /// Other errors when a thread or a loop cannot be made.
    pub fn start<S: 'static>(
        self,
        address: impl ToSocketAddrs,
        make_app: impl Fn() -> App<S> + Send + Sync + 'static,
    ) -> io::Result<Running> {
        let make_app = Arc::new(make_app);
        match self {
            Self::Loop => loops::start(self, listen(address, 1)?, make_app),
            Self::Loops(0) => Err(invalid("an engine of no loops")),
            Self::Loops(number) => loops::start(self, listen(address, number)?, make_app),
            Self::Threads(threads) => threads::start(threads, listen(address, 1)?, make_app),
        }
    }

    /// Whether it can serve `app`, for a program that listens by itself.
    ///
    /// # Errors
    /// `Unsupported`, with the reason, when the app needs one loop and this engine has several.
    pub fn check<S: 'static>(self, app: &App<S>) -> io::Result<()> {
        match (app.why_one_loop(), self) {
            (None, _) | (_, Self::Loop | Self::Loops(1)) => Ok(()),
            (Some(why), _) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("the engine {self} cannot serve this app, which needs one loop: {why}"),
            )),
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// For each of `number` loops a listener on each of the addresses; and the last address, with its port.
fn listen(
    address: impl ToSocketAddrs,
    number: usize,
) -> io::Result<(Vec<Vec<TcpListener>>, SocketAddr)> {
    let mut sets: Vec<Vec<TcpListener>> = Vec::new();
    sets.resize_with(number, Vec::new);
    let mut local = None;
    for address in address.to_socket_addrs()? {
        let listeners = bind_several(address, number)?;
        local = Some(listeners[0].local_addr()?);
        for (set, listener) in sets.iter_mut().zip(listeners) {
            set.push(listener);
        }
    }
    let local = local.ok_or_else(|| invalid("no address to listen on"))?;
    Ok((sets, local))
}

/// The loops or threads of a running engine, together.
trait Crew: Send + Sync {
    /// Begin a graceful shutdown, or move the deadline of one. The reports come to the [`Gathering`].
    fn begin_shutdown(&self, deadline: Duration);
    /// What all of them have done so far.
    fn tally(&self) -> Tally;
    /// Have all of them print their tasks.
    fn dump_tasks(&self);
}

/// An engine that serves. Dropped, it ends at once.
pub struct Running {
    address: SocketAddr,
    crew: Arc<dyn Crew>,
    gathering: Arc<Gathering>,
    threads: Vec<JoinHandle<()>>,
    limits: Limits,
    /// On SIGUSR1, while it waits for the other signals.
    dumps_tasks: bool,
}

impl Running {
    /// Where it listens, with the port that was picked. Of several addresses, the last.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its loops or threads have done so far, in sum. A thread's requests are in it once they were answered; its
    /// WebSockets too.
    pub fn counts(&self) -> Counts {
        self.crew.tally().counts
    }

    /// The limits that are in force, as [`super::Server::limits`].
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How often each was hit so far, in all loops or threads together: each counter of [`Hits`] with its name. What
    /// happened on a thread's connection is in it once that has closed.
    pub fn hits(&self) -> [(&'static str, u64); Hits::NUMBER] {
        self.crew.tally().hits.0
    }

    /// Stop taking connections in and end all that are open, as [`super::Server::shutdown`] does; wait for it. A called
    /// handler of [`Engine::Threads`] that is still at work one second after the deadline counts as cut, and its thread
    /// is left to end by itself.
    pub fn shutdown(mut self, deadline: Duration) -> ShutdownReport {
        self.end(deadline)
    }

    /// Serve until SIGINT or SIGTERM, as [`Engine::serve`].
    ///
    /// # Errors
    /// When the signals cannot be caught.
    pub fn until_signal(mut self) -> io::Result<ShutdownReport> {
        let mut event_loop = EventLoop::new()?;
        for signal in [Signal::Interrupt, Signal::Terminate] {
            event_loop.ctx().on_signal(signal, |ctx| ctx.stop())?;
        }
        if self.dumps_tasks && cfg!(unix) {
            let crew = Arc::clone(&self.crew);
            let dump = move |_: &mut Ctx<'_>| crew.dump_tasks();
            event_loop.ctx().on_signal(Signal::User1, dump)?;
        }
        event_loop.run()?;
        self.crew.begin_shutdown(self.limits.shutdown_timeout);
        // The loop is stopped by a second signal, or by the last report.
        self.gathering.watch(event_loop.remote());
        event_loop.run()?;
        Ok(self.end(Duration::ZERO))
    }

    fn end(&mut self, deadline: Duration) -> ShutdownReport {
        if !self.gathering.is_complete() {
            self.crew.begin_shutdown(deadline);
        }
        let report = self.gathering.wait();
        for thread in self.threads.drain(..) {
            // Its panic was reported where it happened.
            let _ = thread.join();
        }
        report
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// What one loop or thread has done, or several.
#[derive(Clone, Copy, Default)]
struct Tally {
    counts: Counts,
    hits: HitCounts,
}

impl Tally {
    fn of(server: &Server) -> Self {
        Self {
            counts: server.counts(),
            hits: HitCounts::of(server.hits()),
        }
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (one, two) = (self.counts, other.counts);
        Self {
            counts: Counts {
                accepted: one.accepted + two.accepted,
                open: one.open + two.open,
                bytes: one.bytes + two.bytes,
                requests: one.requests + two.requests,
                websockets: one.websockets + two.websockets,
            },
            hits: self.hits + other.hits,
        }
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::add)
    }
}

/// [`Hits::all`], to be sent and summed up.
#[derive(Clone, Copy)]
struct HitCounts([(&'static str, u64); Hits::NUMBER]);

impl HitCounts {
    fn of(hits: &Hits) -> Self {
        Self(hits.all())
    }
}

impl Default for HitCounts {
    fn default() -> Self {
        Self::of(&Hits::default())
    }
}

impl Add for HitCounts {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        for ((_, one), (_, two)) in self.0.iter_mut().zip(other.0) {
            *one += two;
        }
        self
    }
}
