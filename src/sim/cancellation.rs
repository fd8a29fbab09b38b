//! Cancellation at every await: a future that can be dropped anywhere must leave nothing behind anywhere.
//!
//! In Rust a future is cancelled by dropping it, and it can be dropped wherever it waits. What it had taken by then
//! must be given back: permits, places in queues, timers. One test for each such place would be many tests, and the
//! place that was forgotten would have none. So the scenario is run again and again, and each time cancelled one await
//! later.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::run::waiting;
use super::{Simulation, World};
use crate::event_loop::EventLoop;
use crate::task::JoinError;

/// A scenario that goes on longer than this has a timer that sets itself again and again.
const STEPS_MAX: u64 = 1_000_000;

/// Run a scenario again and again, and cancel its first future at each of its awaits in turn, twice: as soon as it
/// waits, and when what it waited for has come but it was not polled yet. That second moment is where a permit that
/// was handed to a waiter gets lost. It is cancelled before its first poll, too, and in the last run not at all.
///
/// `scenario` is called as part of a task on a fresh simulated loop, so it can spawn and set up what it needs. It
/// returns the future to cancel, and another one that is awaited afterwards and asserts that all is as it should be:
/// permits are back, a queue still delivers, a lock can be taken. It also waits for the scenario's other tasks, if
/// there are any: when it has ended, nothing may be left on the loop, no task, timer, callback or socket.
///
/// Returns at how many awaits the future was cancelled, so that a test can say that there were any.
///
/// ```
/// use std::time::Duration;
/// use tourbillon::sim::cancel_at_each_await;
/// use tourbillon::task::sleep;
///
/// let awaits = cancel_at_each_await(|| {
///     let twice = async {
///         sleep(Duration::from_secs(1)).await;
///         sleep(Duration::from_secs(1)).await;
///     };
///     (twice, async {})
/// });
/// assert_eq!(awaits, 2);
/// ```
///
/// # Panics
/// When something is left, when one of the two futures panics, or when something never happens that one of them waits
/// for; with the await, and a list of what is there and what it waits on.
#[track_caller]
pub fn cancel_at_each_await<F, A>(scenario: impl Fn() -> (F, A) + Clone + 'static) -> usize
where
    F: Future + 'static,
    A: Future<Output = ()> + 'static,
{
    run_and_cancel(scenario.clone(), Cut::Woken(0));
    let mut awaits = 0;
    while run_and_cancel(scenario.clone(), Cut::Waiting(awaits + 1)) {
        awaits += 1;
        let again = run_and_cancel(scenario.clone(), Cut::Woken(awaits));
        assert!(
            again,
            "a scenario that waits {awaits} times, but not in each run"
        );
    }
    awaits
}

/// Where a future is cancelled.
#[derive(Clone, Copy)]
enum Cut {
    /// When it has waited so often and now waits: the first await has the number 1.
    Waiting(usize),
    /// When it is about to be polled after so many awaits.
    Woken(usize),
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting(at) => write!(f, "cancelled in await {at}, as soon as it waited"),
            Self::Woken(0) => f.write_str("cancelled before its first poll"),
            Self::Woken(at) => write!(f, "cancelled in await {at}, when it was to go on"),
        }
    }
}

/// Returns whether the future was there long enough to be cancelled.
#[track_caller]
fn run_and_cancel<F, A>(scenario: impl Fn() -> (F, A) + 'static, cut: Cut) -> bool
where
    F: Future + 'static,
    A: Future<Output = ()> + 'static,
{
    let mut simulation = Simulation::new(World::new(0));
    simulation.limit_steps(STEPS_MAX);
    simulation.add("test", EventLoop::with_driver);
    let task = simulation.loop_mut(0).spawn_named("scenario", async move {
        let (victim, afterwards) = scenario();
        let was_cancelled = Victim {
            future: Some(Box::pin(victim)),
            awaits: 0,
            cut,
        }
        .await;
        afterwards.await;
        was_cancelled
    });
    // What has been woken or closed by then may still run, but no time passes.
    let run = simulation
        .run_until(|_| task.is_finished())
        .and_then(|()| simulation.run_for(Duration::ZERO));
    if let Err(failure) = run {
        let waiting = waiting(&simulation);
        panic!("{cut}: {:?}: {}\n{waiting}", failure.kind, failure.message);
    }
    let (event_loop, sockets) = (&simulation.loops()[0], simulation.open_sockets(0));
    let stats = event_loop.stats();
    assert!(
        event_loop.is_idle() && sockets == 0,
        "{cut}, and left {} sources, {} timers and {sockets} sockets:\n{}",
        stats.sources,
        stats.timers_set,
        waiting(&simulation)
    );
    match task.take().expect("it has ended") {
        Ok(was_cancelled) => was_cancelled,
        Err(JoinError::Panicked(panicked)) => panic!("{cut}: {panicked}"),
        Err(JoinError::Cancelled) => unreachable!("nobody else has its handle"),
    }
}

/// A future until it ends or is cancelled. Ready with whether it was cancelled.
struct Victim<F> {
    future: Option<Pin<Box<F>>>,
    /// So many times it was pending.
    awaits: usize,
    cut: Cut,
}

impl<F: Future> Future for Victim<F> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        let (awaits, cut) = (self.awaits, self.cut);
        if matches!(cut, Cut::Woken(at) if at == awaits) {
            self.future = None;
            return Poll::Ready(true);
        }
        let future = self.future.as_mut().expect("it has not ended");
        if future.as_mut().poll(context).is_ready() {
            self.future = None;
            return Poll::Ready(false);
        }
        self.awaits += 1;
        if matches!(cut, Cut::Waiting(at) if at == self.awaits) {
            self.future = None;
            return Poll::Ready(true);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
