//! What is left of a task for those who wait for it: its result, and a way to end it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::event_loop::{Detail, Handle, Panicked, Token, waits_on};

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

pub(super) struct JoinState<T> {
    outcome: RefCell<Outcome<T>>,
    token: Cell<Option<Token>>,
    aborted: Cell<bool>,
    /// Set by `run_until`: the loop stops when the task has ended in whatever way.
    stop: RefCell<Option<Handle>>,
}

enum Outcome<T> {
    Pending(Option<Waker>),
    Done(Result<T, JoinError>),
    Taken,
}

impl<T> JoinState<T> {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            outcome: RefCell::new(Outcome::Pending(None)),
            token: Cell::new(None),
            aborted: Cell::new(false),
            stop: RefCell::new(None),
        })
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.get()
    }

    pub(super) fn set_token(&self, token: Token) {
        self.token.set(Some(token));
    }

    /// The first outcome counts.
    pub(super) fn finish(&self, result: Result<T, JoinError>) {
        let mut outcome = self.outcome.borrow_mut();
        if let Outcome::Pending(waker) = &mut *outcome {
            let waker = waker.take();
            *outcome = Outcome::Done(result);
            drop(outcome);
            if let Some(waker) = waker {
                waker.wake();
            }
            if let Some(handle) = self.stop.take() {
                handle.stop();
            }
        }
    }

    fn take(&self) -> Option<Result<T, JoinError>> {
        let mut outcome = self.outcome.borrow_mut();
        if !matches!(*outcome, Outcome::Done(_)) {
            return None;
        }
        match std::mem::replace(&mut *outcome, Outcome::Taken) {
            Outcome::Done(result) => Some(result),
            Outcome::Pending(_) | Outcome::Taken => None,
        }
    }
}

/// A task, for those who wait for it. Awaiting it gives its result. Dropping it lets the task run on.
pub struct JoinHandle<T> {
    state: Rc<JoinState<T>>,
    handle: Handle,
}

impl<T> JoinHandle<T> {
    pub(super) fn new(state: Rc<JoinState<T>>, handle: Handle) -> Self {
        Self { state, handle }
    }

    /// End the task at its present await point: its future is dropped in the next ready step, with all it holds. A
    /// task that has ended is not changed. Doing it twice is the same as once.
    pub fn abort(&self) {
        self.state.aborted.set(true);
        // A task that has no token yet was never polled; its first visit will see the mark.
        if let Some(token) = self.state.token.get() {
            self.handle.wake(token);
        }
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        !matches!(*self.state.outcome.borrow(), Outcome::Pending(_))
    }

    pub(super) fn stop_when_done(&self) {
        self.state.stop.replace(Some(self.handle.clone()));
    }

    /// Nobody waits for the end any more.
    pub(super) fn do_not_stop(&self) {
        self.state.stop.replace(None);
    }

    /// The result, once the task has ended; it is there once, for whoever takes it.
    pub fn take(&self) -> Option<Result<T, JoinError>> {
        self.state.take()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    /// # Panics
    /// When polled again after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(result) = self.state.take() {
            return Poll::Ready(result);
        }
        match &mut *self.state.outcome.borrow_mut() {
            Outcome::Pending(waker) => *waker = Some(context.waker().clone()),
            Outcome::Done(_) | Outcome::Taken => panic!("a task's result was taken already"),
        }
        let task = self.state.token.get();
        waits_on("task", task.map_or(Detail::None, Detail::Task));
        Poll::Pending
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}
