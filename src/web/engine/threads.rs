//! A thread for each connection, with a loop of its own that has nothing else to do.
//!
//! One loop takes connections in, with all that a listener can meet, and gives each away: to a thread that has none, or
//! to a new one. At the end it is the one that sees to the others.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::gathering::{Gathering, Reporter};
use super::loops::{Order, Reins};
use super::{Crew, Engine, MakeApp, Running, Threads, add};
use crate::conn::{Admission, Counts, Crowd, Server, ShutdownReport};
use crate::event_loop::{BlockingDriver, Budget, Ctx, EventLoop, Interrupter, Socket, ThreadPool};

/// A thread without a connection for this long ends.
const IDLE: Duration = Duration::from_secs(10);
/// After the deadline of a shutdown: the time to see that it has come.
const GRACE: Duration = Duration::from_secs(1);

/// What the threads of one engine share.
struct Pool<F> {
    make_app: Arc<F>,
    threads: Threads,
    connections_max: usize,
    crowd: Crowd,
    executor: ThreadPool,
    gathering: Arc<Gathering>,
    seats: Mutex<Seats>,
    started: AtomicU64,
    accepted: AtomicU64,
}

#[derive(Default)]
struct Seats {
    all: Vec<Arc<Seat>>,
    /// Those whose thread has no connection, the one that got free last at the end.
    free: Vec<Arc<Seat>>,
    /// Requests that threads answered which have gone since.
    requests_before: u64,
    is_ending: bool,
}

/// One thread, as the others see it.
#[derive(Default)]
struct Seat {
    interrupter: Interrupter,
    errand: Mutex<Errands>,
    has_errand: AtomicBool,
    requests: AtomicU64,
    websockets: AtomicUsize,
    /// What it will say at the end; taken by whoever says it.
    reporter: Mutex<Option<Reporter>>,
}

/// A connection on its way to its thread.
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    admission: Admission,
}

/// What a thread is to do next.
#[derive(Default)]
struct Errands {
    connection: Option<Accepted>,
    shutdown: Option<Duration>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seat {
    /// For a thread that has no connection.
    fn give_connection(&self, accepted: Accepted) {
        lock(&self.errand).connection = Some(accepted);
        self.has_errand.store(true, Ordering::Release);
        self.interrupter.wake();
    }

    fn give_deadline(&self, deadline: Duration) {
        lock(&self.errand).shutdown = Some(deadline);
        self.has_errand.store(true, Ordering::Release);
        self.interrupter.interrupt();
    }

    fn take_errands(&self) -> Option<Errands> {
        self.has_errand
            .swap(false, Ordering::Acquire)
            .then(|| std::mem::take(&mut *lock(&self.errand)))
    }

    fn publish(&self, counts: Counts) {
        self.requests.store(counts.requests, Ordering::Relaxed);
        self.websockets.store(counts.websockets, Ordering::Relaxed);
    }
}

impl<F> Pool<F> {
    /// Have a thread serve a connection. Gives it back when there can be no thread for it.
    fn serve<S: 'static>(self: &Arc<Self>, accepted: Accepted) -> Result<(), TcpStream>
    where
        F: MakeApp<S>,
    {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let free = lock(&self.seats).free.pop();
        if let Some(seat) = free {
            seat.give_connection(accepted);
            return Ok(());
        }
        let seat = Arc::new(Seat::default());
        seat.give_connection(accepted);
        *lock(&seat.reporter) = Some(self.gathering.expect());
        lock(&self.seats).all.push(Arc::clone(&seat));
        let worker = Worker {
            pool: Arc::clone(self),
            seat: Arc::clone(&seat),
        };
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let started = thread::Builder::new()
            .name(format!("tourbillon-conn-{number}"))
            .stack_size(self.threads.stack_bytes)
            .spawn(move || worker.run());
        if started.is_ok() {
            return Ok(());
        }
        // Its worker was dropped, and has left.
        let errands = std::mem::take(&mut *lock(&seat.errand));
        match errands.connection {
            Some(accepted) => Err(accepted.stream),
            None => Ok(()),
        }
    }

    /// A thread has no connection any more.
    fn offer(&self, seat: &Arc<Seat>) {
        let mut seats = lock(&self.seats);
        if !seats.is_ending {
            seats.free.push(Arc::clone(seat));
        }
    }

    /// A thread that has no connection is to end. Whether it may: it could have been given one just now.
    fn retire(&self, seat: &Arc<Seat>) -> bool {
        let mut seats = lock(&self.seats);
        let before = seats.free.len();
        seats.free.retain(|free| !Arc::ptr_eq(free, seat));
        seats.free.len() < before
    }

    /// A thread has ended, in whichever way.
    fn leave(&self, seat: &Arc<Seat>) {
        let mut seats = lock(&self.seats);
        seats.free.retain(|free| !Arc::ptr_eq(free, seat));
        seats.all.retain(|one| !Arc::ptr_eq(one, seat));
        seats.requests_before += seat.requests.load(Ordering::Relaxed);
        drop(seats);
        drop(lock(&seat.reporter).take());
    }

    /// Tell all threads to end within `deadline`.
    fn shut_down(&self, deadline: Duration) {
        let mut seats = lock(&self.seats);
        seats.is_ending = true;
        seats.free.clear();
        for seat in &seats.all {
            seat.give_deadline(deadline);
        }
    }

    /// The deadline has passed: cut those who wait for a peer, and wait no more for those in a handler.
    fn cut(&self, took: Duration) {
        for seat in &lock(&self.seats).all {
            seat.interrupter.cut();
            if let Some(mut reporter) = lock(&seat.reporter).take() {
                reporter.add(ShutdownReport {
                    cut: 1,
                    took,
                    ..ShutdownReport::default()
                });
            }
        }
    }

    fn counts(&self) -> Counts {
        let seats = lock(&self.seats);
        let sum = Counts {
            accepted: self.accepted.load(Ordering::Relaxed),
            open: self.crowd.open(),
            requests: seats.requests_before,
            websockets: 0,
        };
        let counts = seats.all.iter().map(|seat| Counts {
            requests: seat.requests.load(Ordering::Relaxed),
            websockets: seat.websockets.load(Ordering::Relaxed),
            ..Counts::default()
        });
        counts.fold(sum, add)
    }
}

/// A thread, as it sees itself.
struct Worker<F> {
    pool: Arc<Pool<F>>,
    seat: Arc<Seat>,
}

impl<F> Drop for Worker<F> {
    fn drop(&mut self) {
        self.pool.leave(&self.seat);
    }
}

impl<F> Worker<F> {
    fn run<S: 'static>(self)
    where
        F: MakeApp<S>,
    {
        let Self { pool, seat } = &self;
        let driver = BlockingDriver::new(pool.executor.clone(), &seat.interrupter);
        let mut event_loop = EventLoop::with_driver(Box::new(driver));
        let mut app = (pool.make_app)();
        // The engine's number of connections, and not this thread's.
        app.limits_mut().connections_max = Some(pool.connections_max);
        let server = app.into_server(&mut event_loop.ctx(), pool.crowd.clone());
        let mut free_since = None;
        loop {
            if let Some(errands) = seat.take_errands() {
                if let Some(Accepted {
                    stream,
                    peer,
                    admission,
                }) = errands.connection
                {
                    free_since = None;
                    let mut ctx = event_loop.ctx();
                    // An error is that one connection's, which is closed.
                    let _ = server.adopt_admitted(&mut ctx, stream, peer, admission);
                }
                if let Some(deadline) = errands.shutdown {
                    self.shut_down(&mut event_loop, &server, deadline);
                }
            }
            let is_free = server.counts().open == 0;
            let budget = if is_free {
                Budget::wait_at_most(IDLE)
            } else {
                Budget::default()
            };
            if is_free && free_since.is_none() {
                free_since = Some(event_loop.time());
                pool.offer(seat);
            }
            // An error is want of kernel memory, and with the loop its connection ends.
            if event_loop.turn(budget).is_err() || event_loop.take_stop() {
                return;
            }
            seat.publish(server.counts());
            let is_tired = free_since.is_some_and(|since| event_loop.time() - since >= IDLE);
            if is_tired && event_loop.is_idle() && pool.retire(seat) {
                return;
            }
        }
    }

    fn shut_down(&self, event_loop: &mut EventLoop, server: &Server, deadline: Duration) {
        let seat = Arc::clone(&self.seat);
        server.shutdown(&mut event_loop.ctx(), deadline, move |ctx, report| {
            if let Some(reporter) = &mut *lock(&seat.reporter) {
                reporter.add(report);
            }
            ctx.stop();
        });
    }
}

struct Acceptor<F> {
    reins: Reins,
    pool: Arc<Pool<F>>,
}

impl<F: Send + Sync> Crew for Acceptor<F> {
    fn begin_shutdown(&self, deadline: Duration) {
        self.reins.give(Order::Shutdown(deadline));
    }

    fn counts(&self) -> Counts {
        self.pool.counts()
    }
}

pub(super) fn start<S: 'static>(
    threads: Threads,
    (mut listeners, address): (Vec<Vec<TcpListener>>, SocketAddr),
    make_app: Arc<impl MakeApp<S>>,
) -> io::Result<Running> {
    let listeners = listeners.pop().unwrap_or_default();
    let gathering = Arc::new(Gathering::default());
    let reporter = gathering.expect();
    let (sender, is_ready) = bounded(1);
    let thread = thread::Builder::new()
        .name("tourbillon-acceptor".to_owned())
        .spawn(move || {
            if let Err(error) = accept(threads, listeners, make_app, reporter, &sender) {
                let _ = sender.send(Err(error));
            }
        })?;
    let ready = is_ready
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("the acceptor ended before it served")))?;
    Ok(Running {
        address,
        crew: ready.0,
        gathering,
        threads: vec![thread],
        shutdown_timeout: ready.1,
    })
}

type Ready = (Box<dyn Crew>, Duration);

/// The life of the loop that takes connections in.
fn accept<S: 'static>(
    threads: Threads,
    listeners: Vec<TcpListener>,
    make_app: Arc<impl MakeApp<S>>,
    mut reporter: Reporter,
    ready: &Sender<io::Result<Ready>>,
) -> io::Result<()> {
    let mut event_loop = EventLoop::new()?;
    let mut ctx = event_loop.ctx();
    // An app of its own, for its limits: it serves nobody.
    let app = make_app();
    Engine::Threads(threads).check(&app)?;
    let server = app.into_server(&mut ctx, Crowd::default());
    let shutdown_timeout = server.limits().shutdown_timeout;
    let pool = Arc::new(Pool {
        make_app,
        threads,
        connections_max: threads.connections_max.min(server.connections_max()),
        crowd: Crowd::default(),
        executor: ThreadPool::default(),
        gathering: Arc::default(),
        seats: Mutex::default(),
        started: AtomicU64::new(0),
        accepted: AtomicU64::new(0),
    });
    for listener in listeners {
        let (pool, refusing) = (Arc::clone(&pool), server.clone());
        server.listen_for(&mut ctx, listener, move |ctx, socket, peer| {
            give_away(ctx, &refusing, &pool, socket, peer);
        })?;
    }
    let ordered = Arc::clone(&pool);
    let reins = Reins::take(&mut ctx, move |ctx, order| match order {
        Order::Shutdown(deadline) => {
            let pool = Arc::clone(&ordered);
            // First the listeners; whoever waits there is given away before they close.
            server.shutdown(ctx, deadline, move |ctx, _| {
                shut_down(ctx, &pool, deadline);
            });
        }
        Order::Count(counts) => drop(counts.send(ordered.counts())),
    });
    let crew = Box::new(Acceptor {
        reins,
        pool: Arc::clone(&pool),
    });
    let _ = ready.send(Ok((crew, shutdown_timeout)));
    let run = event_loop.run();
    reporter.add(pool.gathering.wait());
    run
}

fn give_away<S: 'static>(
    ctx: &mut Ctx<'_>,
    server: &Server,
    pool: &Arc<Pool<impl MakeApp<S>>>,
    socket: Socket,
    peer: SocketAddr,
) {
    let Some(admission) = pool.crowd.enter(pool.connections_max) else {
        server.refuse(ctx, socket);
        return;
    };
    let Ok(stream) = ctx.driver().release(socket) else {
        ctx.driver().close(socket);
        return;
    };
    let given = pool.serve(Accepted {
        stream,
        peer,
        admission,
    });
    if let Err(stream) = given
        && let Ok(socket) = ctx.driver().adopt(stream)
    {
        server.refuse(ctx, socket);
    }
}

/// Have all threads end, and the loop of `ctx` behind them.
fn shut_down<F: Send + Sync + 'static>(ctx: &mut Ctx<'_>, pool: &Arc<Pool<F>>, deadline: Duration) {
    pool.shut_down(deadline);
    let (cutter, took) = (Arc::clone(pool), deadline.saturating_add(GRACE));
    ctx.call_later(took, move |_| cutter.cut(took));
    pool.gathering.watch(ctx.remote());
}
