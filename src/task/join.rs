//! What is left of a task for those who wait for it: its result, and a way to end it.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::coop::poll_proceed;
pub use crate::event_loop::JoinError;
use crate::event_loop::{Ctx, Detail, EndKey, Handle, Listener, waits_on};

/// A task, for those who wait for it. Awaiting it gives its result. Dropping it, or cancelling who awaits it, lets the
/// task run on: to end it, [`JoinHandle::abort`] it.
pub struct JoinHandle<T> {
    /// Held by this handle.
    ending: EndKey,
    name: Option<Arc<str>>,
    handle: Handle,
    result: PhantomData<fn() -> T>,
}

impl<T> JoinHandle<T> {
    pub(super) fn new(ending: EndKey, name: Option<Arc<str>>, handle: Handle) -> Self {
        Self {
            ending,
            name,
            handle,
            result: PhantomData,
        }
    }

    /// End the task at its present await point: its future is dropped in the next ready step, with all it holds, and
    /// not polled again. A task that has ended is not changed. Doing it twice is the same as once.
    ///
    /// Unlike asyncio's `cancel` it cannot be caught, refused or overlooked by the task; what has to be put in order
    /// at the end belongs into a `Drop`.
    pub fn abort(&self) {
        self.handle.abort_task(self.ending);
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.endings().is_finished(self.ending)
    }

    /// What [`super::spawn_named`] called it.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(super) fn stop_loop_when_done(&self, stops_loop: bool) {
        let endings = self.handle.endings();
        endings.stop_loop_when_done(self.ending, stops_loop);
    }

    /// A way to end the task for someone who has nothing to do with its result.
    pub fn abort_handle(&self) -> AbortHandle {
        self.handle.endings().hold(self.ending);
        AbortHandle {
            ending: self.ending,
            handle: self.handle.clone(),
        }
    }
}

impl<T: 'static> JoinHandle<T> {
    /// The result, once the task has ended; it is there once, for whoever takes it.
    pub fn take(&self) -> Option<Result<T, JoinError>> {
        let result = self.handle.endings().take(self.ending)?;
        Some(result.map(|value| {
            let value = value.downcast();
            *value.expect("the task's future and its handle agree on the type")
        }))
    }

    /// Call `callback` with the result when the task has ended, as a callback of its own in the ready step.
    #[track_caller]
    pub fn on_done(self, callback: impl FnOnce(&mut Ctx<'_>, Result<T, JoinError>) + 'static) {
        let (ending, handle) = (self.ending, self.handle.clone());
        let key = handle.file_call(Box::new(move |ctx: &mut Ctx<'_>| {
            if let Some(result) = self.take() {
                callback(ctx, result);
            }
        }));
        if !handle.endings().listen(ending, Listener::Callback(key)) {
            handle.call_filed(key);
        }
    }
}

impl<T: 'static> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    /// # Panics
    /// When the result was taken already.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(poll_proceed(context));
        if let Some(result) = self.take() {
            return Poll::Ready(result);
        }
        let endings = self.handle.endings();
        if !endings.would_wake(self.ending, context.waker()) {
            let listener = Listener::Waker(context.waker().clone());
            let listens = endings.listen(self.ending, listener);
            assert!(listens, "a task's result was taken already");
        }
        let task = endings.token(self.ending);
        waits_on("task", task.map_or(Detail::None, Detail::Task));
        Poll::Pending
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        self.handle.endings().let_go(self.ending);
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("name", &self.name())
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// Ends a task, see [`JoinHandle::abort_handle`]. Dropping it changes nothing.
pub struct AbortHandle {
    /// Held by this handle.
    ending: EndKey,
    handle: Handle,
}

impl AbortHandle {
    /// As [`JoinHandle::abort`].
    pub fn abort(&self) {
        self.handle.abort_task(self.ending);
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.endings().is_finished(self.ending)
    }
}

impl Clone for AbortHandle {
    fn clone(&self) -> Self {
        self.handle.endings().hold(self.ending);
        Self {
            ending: self.ending,
            handle: self.handle.clone(),
        }
    }
}

impl Drop for AbortHandle {
    fn drop(&mut self) {
        self.handle.endings().let_go(self.ending);
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}
