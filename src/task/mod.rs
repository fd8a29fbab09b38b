//! Tasks: futures on the loop. A task that waits is a [`Source`](crate::event_loop::Source) without a socket.
//!
//! The loop holds its tasks strongly: a task runs on when its [`JoinHandle`] is dropped, and ends when its future has,
//! when somebody aborts it, or with the loop. To cancel a future is to drop it; each type says what is lost then.
//!
//! | to | there is |
//! | --- | --- |
//! | run a future beside others | [`spawn`] or [`create_task`], [`spawn_named`], [`TaskGroup`] |
//! | wait for several | [`gather`], [`gather_all`], [`both`], [`wait()`], [`as_completed`] |
//! | wait for one of several | [`race`], [`select`] |
//! | wait for time | [`sleep`], [`sleep_until`], [`interval`] |
//! | limit a wait | [`timeout`], [`timeout_at`], [`Deadline`] |
//! | keep a future from being cancelled | [`shield`] |
//! | let others have their turn | [`yield_now`], [`consume_budget`] |

mod children;
pub mod coop;
mod gather;
mod group;
mod interval;
mod join;
mod scope;
mod sleep;
mod timeout;

use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::event_loop::{
    Detail, EventLoop, Handle, JobHandle, NewTask, Origin, Panicked, waits_on,
};

pub use coop::{BUDGET, budget_left, consume_budget};
pub use gather::{
    AsCompleted, Either, Gather, GatherAll, ReturnWhen, Waited, as_completed, both, gather,
    gather_all, race, select, wait,
};
pub use group::{GroupError, GroupErrors, Spawner, TaskGroup};
pub use interval::{Interval, MissedTicks, interval, interval_at};
pub use join::{AbortHandle, JoinError, JoinHandle};
pub use scope::{Scope, scope};
pub use sleep::{Sleep, YieldNow, sleep, sleep_until, yield_now};
pub use timeout::{Deadline, Elapsed, timeout, timeout_at};

impl Handle {
    /// Run `future` as a task. It is polled for the first time in the ready step, in the order of
    /// [`Handle::call_soon`].
    ///
    /// ```
    /// use tourbillon::event_loop::EventLoop;
    /// let mut event_loop = EventLoop::new()?;
    /// let task = event_loop.spawn(async { 6 * 7 });
    /// let answer = event_loop.run_until(async { task.await.unwrap() })?;
    /// assert_eq!(answer, 42);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn spawn<F: Future<Output: 'static> + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        self.spawn_from(Location::caller(), future)
    }

    /// [`Handle::spawn`], with a name for reports and for [`EventLoop::census`].
    #[track_caller]
    pub fn spawn_named<F: Future<Output: 'static> + 'static>(
        &self,
        name: &str,
        future: F,
    ) -> JoinHandle<F::Output> {
        self.spawn_task(Location::caller(), Some(name.into()), future)
    }

    /// [`Handle::spawn`] for someone else, who is to blame when it panics.
    pub(crate) fn spawn_from<F: Future<Output: 'static> + 'static>(
        &self,
        origin: Origin,
        future: F,
    ) -> JoinHandle<F::Output> {
        self.spawn_task(origin, None, future)
    }

    fn spawn_task<F: Future<Output: 'static> + 'static>(
        &self,
        origin: Origin,
        name: Option<Arc<str>>,
        future: F,
    ) -> JoinHandle<F::Output> {
        let (ending, parent) = (self.endings().add(), self.polled());
        let task = NewTask::new(future, ending, origin, parent, name.clone());
        self.start_task(task);
        JoinHandle::new(ending, name, self.clone())
    }
}

/// [`Handle::spawn`] on the loop that is turning on this thread.
///
/// # Panics
/// When no loop is turning on this thread.
#[track_caller]
pub fn spawn<F: Future<Output: 'static> + 'static>(future: F) -> JoinHandle<F::Output> {
    Handle::current().spawn(future)
}

/// [`spawn`], by asyncio's name.
///
/// # Panics
/// When no loop is turning on this thread.
#[track_caller]
pub fn create_task<F: Future<Output: 'static> + 'static>(future: F) -> JoinHandle<F::Output> {
    Handle::current().spawn(future)
}

/// [`Handle::spawn_named`] on the loop that is turning on this thread.
///
/// # Panics
/// When no loop is turning on this thread.
#[track_caller]
pub fn spawn_named<F: Future<Output: 'static> + 'static>(
    name: &str,
    future: F,
) -> JoinHandle<F::Output> {
    Handle::current().spawn_named(name, future)
}

/// Run `future` to its end whatever becomes of who waits for it: [`spawn`], named for what it is used for. Cancelling
/// who awaits the handle leaves the future running; only [`JoinHandle::abort`] ends it.
///
/// # Panics
/// When no loop is turning on this thread.
#[track_caller]
pub fn shield<F: Future<Output: 'static> + 'static>(future: F) -> JoinHandle<F::Output> {
    Handle::current().spawn(future)
}

impl EventLoop {
    /// Turn until `future` is done, and return what it came to.
    ///
    /// # Errors
    /// `Interrupted` when [`Handle::stop`] came first; otherwise as [`EventLoop::run`].
    ///
    /// # Panics
    /// When the future panics, with the same message.
    #[track_caller]
    pub fn run_until<F: Future<Output: 'static> + 'static>(
        &mut self,
        future: F,
    ) -> io::Result<F::Output> {
        let task = self.spawn(future);
        task.stop_loop_when_done(true);
        self.run()?;
        match task.take() {
            Some(Ok(output)) => Ok(output),
            Some(Err(JoinError::Panicked(panicked))) => panic!("{panicked}"),
            Some(Err(JoinError::Cancelled)) | None => {
                // Its end comes in a later run, which is not to stop there.
                task.stop_loop_when_done(false);
                task.abort();
                Err(io::Error::new(
                    io::ErrorKind::Interrupted,
                    "the loop was stopped before the future was done",
                ))
            }
        }
    }
}

impl<T> Future for JobHandle<T> {
    type Output = Result<T, Panicked>;

    /// Ready when the job has ended. A job that was cancelled never ends.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let done = self.take_or_wake(context.waker());
        if done.is_none() {
            waits_on("executor", Detail::None);
        }
        done.map_or(Poll::Pending, Poll::Ready)
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests;
