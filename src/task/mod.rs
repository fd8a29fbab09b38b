//! Tasks: futures on the loop. A task is a [`Source`] without a socket, so the loop needs to know nothing about
//! futures.
//!
//! The loop holds its tasks strongly: a task runs on when its [`JoinHandle`] is dropped.

mod join;
pub mod oneshot;
mod sleep;
mod waker;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::event_loop::{
    Ctx, EventLoop, Handle, Inspection, JobHandle, Next, Origin, Panicked, Readiness, Source, Work,
    guarded,
};

use join::JoinState;
pub use join::{JoinError, JoinHandle};
pub use sleep::{Sleep, YieldNow, sleep, sleep_until, yield_now};
pub(crate) use waker::SourceWaker;

struct Task<F: Future> {
    // Dropped when it is done, or cancelled, before anyone who joins hears of it.
    future: Option<Pin<Box<F>>>,
    waker: Option<SourceWaker>,
    join: std::rc::Rc<JoinState<F::Output>>,
    origin: Origin,
}

impl<F: Future<Output: 'static> + 'static> Source for Task<F> {
    fn ready(&mut self, ctx: &mut Ctx<'_>, _: Readiness) -> Next {
        if self.join.is_aborted() {
            return Next::Close;
        }
        let waker = self.waker.get_or_insert_with(|| {
            self.join.set_token(ctx.token());
            SourceWaker::new(ctx.remote(), ctx.token())
        });
        let Some(future) = &mut self.future else {
            return Next::Close;
        };
        // A wake during the poll counts for the next one (rule R8).
        waker.take_woken();
        let mut context = Context::from_waker(waker.waker());
        match guarded(self.origin, || future.as_mut().poll(&mut context)) {
            Ok(Poll::Pending) => Next::Wait,
            Ok(Poll::Ready(output)) => {
                self.future = None;
                self.join.finish(Ok(output));
                Next::Close
            }
            Err(panicked) => {
                let panicked = panicked.of(Work::new("task", self.origin));
                ctx.report(&panicked);
                self.join.finish(Err(JoinError::Panicked(panicked)));
                Next::Close
            }
        }
    }

    fn closed(&mut self, _: &mut Ctx<'_>) {
        self.future = None;
        // Has no effect on a task that ended by itself.
        self.join.finish(Err(JoinError::Cancelled));
    }

    fn inspect(&self) -> Inspection {
        Inspection {
            kind: "task",
            state: if self.waker.is_some() {
                "waiting"
            } else {
                "new"
            },
            ..Inspection::default()
        }
    }
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
        self.spawn_from(std::panic::Location::caller(), future)
    }

    /// [`Handle::spawn`] for someone else, who is to blame when it panics.
    pub(crate) fn spawn_from<F: Future<Output: 'static> + 'static>(
        &self,
        origin: Origin,
        future: F,
    ) -> JoinHandle<F::Output> {
        let join = JoinState::new();
        let task = Task {
            future: Some(Box::pin(future)),
            waker: None,
            join: std::rc::Rc::clone(&join),
            origin,
        };
        self.start_source(Box::new(task));
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
        task.stop_when_done();
        self.run()?;
        match task.take() {
            Some(Ok(output)) => Ok(output),
            Some(Err(JoinError::Panicked(panicked))) => panic!("{panicked}"),
            Some(Err(JoinError::Cancelled)) | None => {
                // Its end comes in a later run, which is not to stop there.
                task.do_not_stop();
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
        self.take_or_wake(context.waker())
            .map_or(Poll::Pending, Poll::Ready)
    }
}
