//! Tasks: futures on the loop. A task is a [`Source`] without a socket, so the loop needs to know nothing about
//! futures.
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
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::event_loop::{
    Caught, Ctx, Detail, EventLoop, Handle, Inspection, JobHandle, Next, Origin, Panicked,
    Readiness, Source, SourceWaker, Token, Waits, WaitsOn, Work, caught, in_poll, waits_on,
};

pub use coop::{BUDGET, budget_left, consume_budget};
pub use gather::{
    AsCompleted, Either, Gather, GatherAll, ReturnWhen, Waited, as_completed, both, gather,
    gather_all, race, select, wait,
};
pub use group::{GroupError, GroupErrors, Spawner, TaskGroup};
pub use interval::{Interval, MissedTicks, interval, interval_at};
use join::JoinState;
pub use join::{AbortHandle, JoinError, JoinHandle};
pub use scope::{Scope, scope};
pub use sleep::{Sleep, YieldNow, sleep, sleep_until, yield_now};
pub use timeout::{Deadline, Elapsed, timeout, timeout_at};

struct Task<F: Future> {
    /// Dropped when it is done, or cancelled, before anyone who joins hears of it.
    future: Option<Pin<Box<F>>>,
    waker: Option<SourceWaker>,
    join: Rc<JoinState<F::Output>>,
    origin: Origin,
    parent: Option<Token>,
    created: Instant,
    /// What the last poll waits for.
    waits_on: Option<WaitsOn>,
    waits: u32,
    /// Since when, counted in milliseconds from when it was created: many tasks wait, and few are looked at.
    since_ms: u32,
}

impl<F: Future<Output: 'static> + 'static> Source for Task<F> {
    fn ready(&mut self, ctx: &mut Ctx<'_>, _: Readiness) -> Next {
        if self.join.is_aborted() {
            return Next::Close;
        }
        let Some(future) = &mut self.future else {
            return Next::Close;
        };
        let mut first = None;
        let waker = match &self.waker {
            Some(waker) => waker,
            None => {
                self.join.set_token(ctx.token());
                first.insert(ctx.first_waker(ctx.token()))
            }
        };
        // A wake during the poll counts for the next one (rule R8).
        waker.take_woken();
        ctx.set_polled(Some(ctx.token()));
        let (polled, waits) = poll_in_budget(waker, future.as_mut());
        ctx.set_polled(None);
        match polled {
            Ok(Poll::Pending) => {
                if let Some(first) = first {
                    self.waker = Some(ctx.keep_waker(first));
                }
                let age = ctx.now().saturating_duration_since(self.created);
                self.since_ms = u32::try_from(age.as_millis()).unwrap_or(u32::MAX);
                (self.waits_on, self.waits) = (waits.last, waits.count);
                return Next::Wait;
            }
            Ok(Poll::Ready(output)) => self.end(ctx, Ok(output)),
            Err(panic) => {
                let panicked = self.panicked(ctx, panic);
                self.end(ctx, Err(panicked));
            }
        }
        // With the future its clones have gone.
        if let Some(first) = first {
            ctx.give_back_waker(first);
        }
        Next::Close
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>) {
        if !self.join.is_finished() {
            self.end(ctx, Err(JoinError::Cancelled));
        }
    }

    fn inspect(&self) -> Inspection {
        let is_lost = |waker: &SourceWaker| waker.is_lost() && !self.join.is_aborted();
        Inspection {
            kind: "task",
            state: match &self.waker {
                Some(waker) if waker.is_woken() => "woken",
                Some(_) => "waiting",
                None => "new",
            },
            is_lost: self.waker.as_ref().is_some_and(is_lost),
            name: self.join.name().cloned(),
            origin: Some(self.origin),
            parent: self.parent,
            created: Some(self.created),
            waits_on: self.waits_on,
            waits: self.waits,
            since: Some(self.created + Duration::from_millis(self.since_ms.into())),
            ..Inspection::default()
        }
    }
}

impl<F: Future> Task<F> {
    /// Report a panic. It is the task's result, too.
    #[cold]
    fn panicked(&self, ctx: &mut Ctx<'_>, panic: Caught) -> JoinError {
        let panicked = panic.blame(self.origin).of(Work {
            kind: "task",
            name: self.join.name().cloned(),
            origin: self.origin,
        });
        ctx.report(&panicked);
        JoinError::Panicked(panicked)
    }

    /// Drop the future, and then tell who waits for `result`. A panic on the way is the result then.
    fn end(&mut self, ctx: &mut Ctx<'_>, mut result: Result<F::Output, JoinError>) {
        let future = self.future.take();
        if let Err(panic) = caught(|| drop(future)) {
            result = Err(self.panicked(ctx, panic));
        }
        self.join.finish(ctx.handle(), result);
    }
}

/// Poll a future as a task is polled: with a budget, and so that a panic becomes a value. Tells what it waits for.
pub(crate) fn poll_in_budget<F: Future + ?Sized>(
    waker: &SourceWaker,
    future: Pin<&mut F>,
) -> (Result<Poll<F::Output>, Caught>, Waits) {
    let mut context = Context::from_waker(waker.waker());
    in_poll(BUDGET, || caught(|| future.poll(&mut context)))
}

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
        self.start_task(Location::caller(), Some(name.into()), future)
    }

    /// [`Handle::spawn`] for someone else, who is to blame when it panics.
    pub(crate) fn spawn_from<F: Future<Output: 'static> + 'static>(
        &self,
        origin: Origin,
        future: F,
    ) -> JoinHandle<F::Output> {
        self.start_task(origin, None, future)
    }

    fn start_task<F: Future<Output: 'static> + 'static>(
        &self,
        origin: Origin,
        name: Option<Arc<str>>,
        future: F,
    ) -> JoinHandle<F::Output> {
        let join = JoinState::new(name);
        let task = Task {
            future: Some(Box::pin(future)),
            waker: None,
            join: Rc::clone(&join),
            origin,
            parent: self.polled(),
            created: self.now(),
            waits_on: None,
            waits: 0,
            since_ms: 0,
        };
        self.start_source_from(Box::new(task), origin);
        JoinHandle::new(join, self.clone())
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
