//! One loop or several, a thread each: the listeners, the apps and the connections of one are no others'.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::gathering::{Gathering, Reporter};
use super::{Crew, Engine, MakeApp, Running, Tally};
use crate::conn::{Crowd, Limits, ShutdownReport};
use crate::event_loop::{Ctx, EventLoop, Inspection, Next, Readiness, Remote, Source, Token};

/// What the engine has to say to one of its loops.
pub(super) enum Order {
    Shutdown(Duration),
    Count(Sender<Tally>),
    DumpTasks,
}

/// The source that takes the engine's orders in a loop.
struct Orders<F> {
    orders: Receiver<Order>,
    obey: F,
}

impl<F: FnMut(&mut Ctx<'_>, Order) + 'static> Source for Orders<F> {
    fn ready(&mut self, ctx: &mut Ctx<'_>, _: Readiness) -> Next {
        while let Ok(order) = self.orders.try_recv() {
            (self.obey)(ctx, order);
        }
        Next::Wait
    }

    fn inspect(&self) -> Inspection {
        Inspection {
            kind: "engine",
            read_drained: true,
            ..Inspection::default()
        }
    }
}

/// The engine's end of it.
pub(super) struct Reins {
    orders: Sender<Order>,
    remote: Remote,
    token: Token,
}

impl Reins {
    pub(super) fn take<F>(ctx: &mut Ctx<'_>, obey: F) -> Self
    where
        F: FnMut(&mut Ctx<'_>, Order) + 'static,
    {
        let (sender, orders) = unbounded();
        Self {
            orders: sender,
            remote: ctx.remote(),
            token: ctx.add_source(|_| Box::new(Orders { orders, obey })),
        }
    }

    /// A loop that has gone takes none, and has none to take.
    pub(super) fn give(&self, order: Order) {
        if self.orders.send(order).is_ok() {
            self.remote.wake(self.token);
        }
    }

    pub(super) fn tally(&self) -> Tally {
        let (sender, tally) = bounded(1);
        self.give(Order::Count(sender));
        tally.recv().unwrap_or_default()
    }
}

/// What a loop's thread says when it is ready.
struct Ready {
    reins: Reins,
    limits: Limits,
    crowd: Crowd,
    dumps_tasks: bool,
}

struct Loops(Vec<Reins>);

impl Crew for Loops {
    fn begin_shutdown(&self, deadline: Duration) {
        for reins in &self.0 {
            reins.give(Order::Shutdown(deadline));
        }
    }

    fn tally(&self) -> Tally {
        self.0.iter().map(Reins::tally).sum()
    }

    fn dump_tasks(&self) {
        self.0.iter().for_each(|reins| reins.give(Order::DumpTasks));
    }
}

pub(super) fn start<S: 'static>(
    engine: Engine,
    (listeners, address): (Vec<Vec<TcpListener>>, SocketAddr),
    make_app: Arc<impl MakeApp<S>>,
) -> io::Result<Running> {
    let gathering = Arc::new(Gathering::default());
    // The first loop's limits are the engine's.
    let mut crowd = None;
    let mut running = Running {
        address,
        crew: Arc::new(Loops(Vec::new())),
        gathering: Arc::clone(&gathering),
        threads: Vec::new(),
        limits: Limits::default(),
        dumps_tasks: false,
    };
    let mut all = Vec::new();
    let mut failed = None;
    for (number, listeners) in listeners.into_iter().enumerate() {
        let (sender, is_ready) = bounded(1);
        let (make_app, theirs, reporter) =
            (Arc::clone(&make_app), crowd.clone(), gathering.expect());
        let thread = thread::Builder::new()
            .name(format!("tourbillon-loop-{number}"))
            .spawn(move || {
                if let Err(error) = run(engine, listeners, &*make_app, theirs, reporter, &sender) {
                    // Once it runs, nobody listens to its errors: it reports what it did, and the others go on.
                    let _ = sender.send(Err(error));
                }
            });
        let ready = thread.and_then(|thread| {
            running.threads.push(thread);
            // A factory that panics has said so on standard error.
            is_ready
                .recv()
                .unwrap_or_else(|_| Err(io::Error::other("a loop's thread ended before it served")))
        });
        match ready {
            Ok(ready) => {
                all.push(ready.reins);
                running.limits = ready.limits;
                running.dumps_tasks = ready.dumps_tasks;
                crowd = Some(ready.crowd);
            }
            Err(error) => failed = failed.or(Some(error)),
        }
        if failed.is_some() {
            break;
        }
    }
    running.crew = Arc::new(Loops(all));
    // Dropped, it ends those loops that began.
    failed.map_or(Ok(running), Err)
}

/// The life of one loop.
fn run<S: 'static>(
    engine: Engine,
    listeners: Vec<TcpListener>,
    make_app: &impl MakeApp<S>,
    crowd: Option<Crowd>,
    mut reporter: Reporter,
    ready: &Sender<io::Result<Ready>>,
) -> io::Result<()> {
    let mut event_loop = EventLoop::new()?;
    let mut ctx = event_loop.ctx();
    let app = make_app();
    engine.check(&app)?;
    let dumps_tasks = app.dumps_tasks();
    let server = app.into_server(&mut ctx, crowd);
    let (limits, crowd) = (server.limits().clone(), server.crowd().clone());
    for listener in listeners {
        server.listen_on(&mut ctx, listener)?;
    }
    let report = Rc::new(Cell::new(ShutdownReport::default()));
    let reported = Rc::clone(&report);
    let reins = Reins::take(&mut ctx, move |ctx, order| match order {
        Order::Shutdown(deadline) => {
            let reported = Rc::clone(&reported);
            server.shutdown(ctx, deadline, move |ctx, report| {
                reported.set(report);
                ctx.stop();
            });
        }
        // Who asked may have gone.
        Order::Count(tally) => drop(tally.send(Tally::of(&server))),
        Order::DumpTasks => ctx.dump_tasks(),
    });
    let _ = ready.send(Ok(Ready {
        reins,
        limits,
        crowd,
        dumps_tasks,
    }));
    let run = event_loop.run();
    reporter.add(report.get());
    run
}
