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
use super::{Crew, Engine, HitCounts, MakeApp, Running, Tally, Threads};
use crate::conn::{Counts, Crowd, Limits, Server, ShutdownReport};
use crate::event_loop::{
    BlockingDriver, Ctx, EventLoop, Interrupter, Socket, ThreadPool, TurnBudget,
};

/// A thread without a connection for this long ends.
const IDLE: Duration = Duration::from_secs(10);
/// After the deadline of a shutdown: the time to see that it has come.
const GRACE: Duration = Duration::from_secs(1);

/// What the threads of one engine share.
struct Pool<F> {
    make_app: Arc<F>,
    stack_bytes: usize,
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
    /// What was done by threads that have gone since.
    before: Tally,
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
    bytes: AtomicUsize,
    /// As of when its last connection had closed.
    hits: Mutex<HitCounts>,
    /// What it will say at the end; taken by whoever says it.
    reporter: Mutex<Option<Reporter>>,
}

/// A connection on its way to its thread. It was let in; dropped on the way, it leaves.
struct Accepted {
    stream: Option<TcpStream>,
    peer: SocketAddr,
    crowd: Crowd,
}

impl Accepted {
    /// It is there: whoever has the stream sees to it that it leaves.
    fn arrive(mut self) -> Option<TcpStream> {
        self.stream.take()
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        if self.stream.is_some() {
            self.crowd.leave(self.peer.ip());
        }
    }
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
        self.bytes.store(counts.bytes, Ordering::Relaxed);
    }

    fn tally(&self) -> Tally {
        let counts = Counts {
            requests: self.requests.load(Ordering::Relaxed),
            websockets: self.websockets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            ..Counts::default()
        };
        Tally {
            counts,
            hits: *lock(&self.hits),
        }
    }
}

impl<F> Pool<F> {
    /// Have a thread serve a connection. Gives it back when there can be no thread for it.
    fn serve<S: 'static>(self: &Arc<Self>, accepted: Accepted) -> Result<(), Accepted>
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
            .stack_size(self.stack_bytes)
            .spawn(move || worker.run());
        if started.is_ok() {
            return Ok(());
        }
        // Its worker was dropped, and has left.
        let errands = std::mem::take(&mut *lock(&seat.errand));
        errands.connection.map_or(Ok(()), Err)
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
        let Tally { counts, hits } = seat.tally();
        // What was open or held there is no more.
        let counts = Counts {
            requests: counts.requests,
            ..Counts::default()
        };
        seats.before = seats.before + Tally { counts, hits };
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

    /// What the threads have done, and with them the acceptor, whose server has only let in and refused.
    fn tally(&self, acceptor: &Server) -> Tally {
        let seats = lock(&self.seats);
        let mut sum = seats.all.iter().map(|seat| seat.tally()).sum::<Tally>()
            + seats.before
            + Tally::of(acceptor);
        sum.counts.accepted = self.accepted.load(Ordering::Relaxed);
        sum.counts.open = self.crowd.open();
        sum
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
        let app = (pool.make_app)();
        let crowd = pool.crowd.clone();
        let server = app.unseen().into_server(&mut event_loop.ctx(), Some(crowd));
        let mut free_since = None;
        loop {
            if let Some(errands) = seat.take_errands() {
                if let Some(accepted) = errands.connection {
                    free_since = None;
                    let (peer, mut ctx) = (accepted.peer, event_loop.ctx());
                    if let Some(stream) = accepted.arrive() {
                        // An error is that one connection's, which is closed.
                        let _ = server.adopt_admitted(&mut ctx, stream, peer);
                    }
                }
                if let Some(deadline) = errands.shutdown {
                    self.shut_down(&mut event_loop, &server, deadline);
                }
            }
            let is_free = server.counts().open == 0;
            let budget = if is_free {
                TurnBudget::wait_at_most(IDLE)
            } else {
                TurnBudget::default()
            };
            if is_free && free_since.is_none() {
                free_since = Some(event_loop.time());
                *lock(&seat.hits) = HitCounts::of(server.hits());
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

/// The loop that takes connections in, as the engine sees it.
struct Acceptor(Reins);

impl Crew for Acceptor {
    fn begin_shutdown(&self, deadline: Duration) {
        self.0.give(Order::Shutdown(deadline));
    }

    fn tally(&self) -> Tally {
        self.0.tally()
    }

    fn dump_tasks(&self) {
        self.0.give(Order::DumpTasks);
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
        limits: ready.1,
        // A thread waits in its handler, where a debugger sees it.
        dumps_tasks: false,
    })
}

type Ready = (Arc<dyn Crew>, Limits);

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
    let mut app = make_app();
    Engine::Threads(threads).check(&app)?;
    let limits = app.limits_mut();
    limits.find_out(&mut ctx);
    let connections_max = &mut limits.budget.connections_max;
    let at_most = connections_max.unwrap_or(usize::MAX);
    *connections_max = Some(at_most.min(threads.connections_max));
    let server = app.into_server(&mut ctx, None);
    let limits = server.limits().clone();
    let pool = Arc::new(Pool {
        make_app,
        stack_bytes: threads.stack_bytes,
        crowd: server.crowd().clone(),
        executor: ThreadPool::default(),
        gathering: Arc::default(),
        seats: Mutex::default(),
        started: AtomicU64::new(0),
        accepted: AtomicU64::new(0),
    });
    for listener in listeners {
        let (pool, admitting) = (Arc::clone(&pool), server.clone());
        server.listen_for(&mut ctx, listener, move |ctx, socket, peer| {
            give_away(ctx, &admitting, &pool, socket, peer);
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
        Order::Count(tally) => drop(tally.send(ordered.tally(&server))),
        Order::DumpTasks => ctx.dump_tasks(),
    });
    let _ = ready.send(Ok((Arc::new(Acceptor(reins)), limits)));
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
    if !server.admit(ctx, socket, peer) {
        return;
    }
    let Ok(stream) = ctx.driver().release(socket) else {
        ctx.driver().close(socket);
        pool.crowd.leave(peer.ip());
        return;
    };
    let given = pool.serve(Accepted {
        stream: Some(stream),
        peer,
        crowd: pool.crowd.clone(),
    });
    let Err(accepted) = given else { return };
    pool.crowd.leave(peer.ip());
    if let Some(stream) = accepted.arrive()
        && let Ok(socket) = ctx.driver().adopt(stream)
    {
        server.turn_away(ctx, socket);
    }
}

/// Have all threads end, and the loop of `ctx` behind them.
fn shut_down<F: Send + Sync + 'static>(ctx: &mut Ctx<'_>, pool: &Arc<Pool<F>>, deadline: Duration) {
    pool.shut_down(deadline);
    let (cutter, took) = (Arc::clone(pool), deadline.saturating_add(GRACE));
    ctx.call_later(took, move |_| cutter.cut(took));
    pool.gathering.watch(ctx.remote());
}
