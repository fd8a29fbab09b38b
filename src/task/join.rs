//! What is left of a task for those who wait for it: its result, and a way to end it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use super::coop::poll_proceed;
use crate::event_loop::{CallKey, Ctx, Detail, Handle, Panicked, Token, waits_on};

/// Why a task has no result.
#[derive(Clone, Debug)]
pub enum JoinError {
    /// It panicked.
    Panicked(Panicked),
    /// It was aborted, or its loop was dropped.
    Cancelled,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panicked) => panicked.fmt(f),
            Self::Cancelled => f.write_str("the task was cancelled"),
        }
    }
}

impl std::error::Error for JoinError {}

/// What a task and its handles share.
pub(super) struct JoinState<T> {
    outcome: RefCell<Outcome<T>>,
    control: Control,
}

enum Outcome<T> {
    Pending(Listener),
    Done(T),
    /// In a box, so that a task that does not fail needs no room for it.
    Failed(Box<JoinError>),
    Taken,
}

/// Who is told of the end.
enum Listener {
    Nobody,
    Waker(Waker),
    Callback(CallKey),
}

/// The part that does not depend on the result.
struct Control {
    /// Known from the first visit on.
    token: Cell<Option<Token>>,
    is_aborted: Cell<bool>,
    is_finished: Cell<bool>,
    /// Set by `run_until`: the loop stops when the task has ended in whatever way.
    stops_loop: Cell<bool>,
    name: Option<Arc<str>>,
}

impl Control {
    fn abort(&self, handle: &Handle) {
        if self.is_finished.get() || self.is_aborted.replace(true) {
            return;
        }
        // A task that has no token yet was never polled; its first visit will see the mark.
        if let Some(token) = self.token.get() {
            handle.wake(token);
        }
    }
}

impl<T> JoinState<T> {
    pub(super) fn new(name: Option<Arc<str>>) -> Rc<Self> {
        Rc::new(Self {
            outcome: RefCell::new(Outcome::Pending(Listener::Nobody)),
            control: Control {
                token: Cell::new(None),
                is_aborted: Cell::new(false),
                is_finished: Cell::new(false),
                stops_loop: Cell::new(false),
                name,
            },
        })
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.control.is_aborted.get()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.control.is_finished.get()
    }

    pub(super) fn name(&self) -> Option<&Arc<str>> {
        self.control.name.as_ref()
    }

    pub(super) fn set_token(&self, token: Token) {
        self.control.token.set(Some(token));
    }

    /// The task has ended, in this way. To be called once.
    pub(super) fn finish(&self, handle: &Handle, result: Result<T, JoinError>) {
        self.control.is_finished.set(true);
        let outcome = match result {
            Ok(value) => Outcome::Done(value),
            Err(error) => Outcome::Failed(Box::new(error)),
        };
        let before = self.outcome.replace(outcome);
        match before {
            Outcome::Pending(Listener::Waker(waker)) => waker.wake(),
            Outcome::Pending(Listener::Callback(key)) => handle.call_filed(key),
            _ => {}
        }
        if self.control.stops_loop.get() {
            handle.stop();
        }
    }

    fn take(&self) -> Option<Result<T, JoinError>> {
        if !self.is_finished() {
            return None;
        }
        match self.outcome.replace(Outcome::Taken) {
            Outcome::Done(value) => Some(Ok(value)),
            Outcome::Failed(error) => Some(Err(*error)),
            Outcome::Pending(_) | Outcome::Taken => None,
        }
    }

    /// Tell `listener` of the end, and nobody else. `false` when it has come already.
    fn listen(&self, listener: Listener) -> bool {
        let mut outcome = self.outcome.borrow_mut();
        let Outcome::Pending(old) = &mut *outcome else {
            return false;
        };
        let old = mem::replace(old, listener);
        drop(outcome);
        // What is dropped with a waker may be anyone's.
        drop(old);
        true
    }

    fn would_wake(&self, waker: &Waker) -> bool {
        let outcome = self.outcome.borrow();
        matches!(&*outcome, Outcome::Pending(Listener::Waker(old)) if old.will_wake(waker))
    }
}

/// A task, for those who wait for it. Awaiting it gives its result. Dropping it, or cancelling who awaits it, lets the
/// task run on: to end it, [`JoinHandle::abort`] it.
pub struct JoinHandle<T> {
    state: Rc<JoinState<T>>,
    handle: Handle,
}

impl<T> JoinHandle<T> {
    pub(super) fn new(state: Rc<JoinState<T>>, handle: Handle) -> Self {
        Self { state, handle }
    }

    /// End the task at its present await point: its future is dropped in the next ready step, with all it holds, and
    /// not polled again. A task that has ended is not changed. Doing it twice is the same as once.
    ///
    /// Unlike asyncio's `cancel` it cannot be caught, refused or overlooked by the task; what has to be put in order
    /// at the end belongs into a `Drop`.
    pub fn abort(&self) {
        self.state.control.abort(&self.handle);
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.state.is_finished()
    }

    /// What [`super::spawn_named`] called it.
    pub fn name(&self) -> Option<&str> {
        self.state.name().map(|name| &**name)
    }

    /// The result, once the task has ended; it is there once, for whoever takes it.
    pub fn take(&self) -> Option<Result<T, JoinError>> {
        self.state.take()
    }

    pub(super) fn stop_loop_when_done(&self, stops_loop: bool) {
        self.state.control.stops_loop.set(stops_loop);
    }
}

impl<T: 'static> JoinHandle<T> {
    /// Call `callback` with the result when the task has ended, as a callback of its own in the ready step.
    #[track_caller]
    pub fn on_done(self, callback: impl FnOnce(&mut Ctx<'_>, Result<T, JoinError>) + 'static) {
        let state = Rc::clone(&self.state);
        let key = self.handle.file_call(Box::new(move |ctx: &mut Ctx<'_>| {
            if let Some(result) = state.take() {
                callback(ctx, result);
            }
        }));
        if !self.state.listen(Listener::Callback(key)) {
            self.handle.call_filed(key);
        }
    }

    /// A way to end the task for someone who has nothing to do with its result.
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle {
            task: Rc::clone(&self.state) as Rc<dyn AnyTask>,
            handle: self.handle.clone(),
        }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    /// # Panics
    /// When the result was taken already.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(poll_proceed(context));
        if let Some(result) = self.take() {
            return Poll::Ready(result);
        }
        if !self.state.would_wake(context.waker()) {
            let listens = self.state.listen(Listener::Waker(context.waker().clone()));
            assert!(listens, "a task's result was taken already");
        }
        let task = self.state.control.token.get();
        waits_on("task", task.map_or(Detail::None, Detail::Task));
        Poll::Pending
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

/// A task whose result has a type that is not known here.
trait AnyTask {
    fn control(&self) -> &Control;
}

impl<T> AnyTask for JoinState<T> {
    fn control(&self) -> &Control {
        &self.control
    }
}

/// Ends a task, see [`JoinHandle::abort_handle`]. Dropping it changes nothing.
#[derive(Clone)]
pub struct AbortHandle {
    task: Rc<dyn AnyTask>,
    handle: Handle,
}

impl AbortHandle {
    /// As [`JoinHandle::abort`].
    pub fn abort(&self) {
        self.task.control().abort(&self.handle);
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.task.control().is_finished.get()
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}
