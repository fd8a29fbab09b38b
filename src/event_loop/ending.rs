//! How tasks end, for those who wait for it: what each came to, who is to be told, and whether it is to end at once.
//!
//! All in one slab of the loop and not each beside its task: a task and its handles need no allocation to share, and a
//! task that nobody holds a handle of takes no room in it.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::mem;
use std::task::Waker;

use super::driver::Token;
use super::handle::CallKey;
use super::panic::Panicked;
use crate::parts::slab::{Key, Slab};

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

/// What a task came to. The value's type is known to who asks for it; one without a size takes no allocation.
pub(crate) type TaskResult = Result<Box<dyn Any>, JoinError>;

/// Who is told of an end.
pub(crate) enum Listener {
    Nobody,
    Waker(Waker),
    Callback(CallKey),
}

enum Outcome {
    Pending(Listener),
    Done(Box<dyn Any>),
    /// In a box, so that the others need no room for it.
    Failed(Box<JoinError>),
    Taken,
}

struct Ending {
    outcome: Outcome,
    /// Of the task, from its first poll on.
    token: Option<Token>,
    /// How many handles there are.
    holders: u32,
    is_aborted: bool,
    /// Set by `run_until`: the loop stops when the task has ended in whatever way.
    stops_loop: bool,
}

impl Ending {
    fn is_finished(&self) -> bool {
        !matches!(self.outcome, Outcome::Pending(_))
    }

    /// Nobody asks for the result, and the task need not know that it is to end.
    fn is_useless(&self) -> bool {
        self.holders == 0 && (self.is_finished() || !self.is_aborted)
    }
}

/// Names the end of one task. For the task it is stale when no handle is left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndKey(Key);

impl EndKey {
    /// For the records.
    pub(super) fn to_bits(self) -> u64 {
        Token::from(self.0).to_bits()
    }
}

/// What has to be done when a task has ended.
pub(super) struct Ended {
    pub(super) listener: Listener,
    pub(super) stops_loop: bool,
}

/// The endings of a loop. What is taken out is dropped by the caller, under no borrow: it may be anyone's.
#[derive(Default)]
pub(crate) struct Endings(RefCell<Slab<Ending>>);

impl Endings {
    /// Of a new task with one handle.
    pub(crate) fn add(&self) -> EndKey {
        EndKey(self.0.borrow_mut().insert(Ending {
            outcome: Outcome::Pending(Listener::Nobody),
            token: None,
            holders: 1,
            is_aborted: false,
            stops_loop: false,
        }))
    }

    fn read<R>(&self, key: EndKey, read: impl FnOnce(&Ending) -> R) -> Option<R> {
        self.0.borrow().get(key.0).map(read)
    }

    fn change<R>(&self, key: EndKey, change: impl FnOnce(&mut Ending) -> R) -> Option<R> {
        self.0.borrow_mut().get_mut(key.0).map(change)
    }

    /// There is one more handle.
    pub(crate) fn hold(&self, key: EndKey) {
        self.change(key, |ending| ending.holders += 1);
    }

    /// There is one handle less.
    pub(crate) fn let_go(&self, key: EndKey) {
        let mut endings = self.0.borrow_mut();
        let Some(ending) = endings.get_mut(key.0) else {
            return;
        };
        ending.holders -= 1;
        if ending.is_useless() {
            let gone = endings.remove(key.0);
            drop(endings);
            drop(gone);
        }
    }

    /// The task is about to be polled for the first time. `false` when it was aborted before.
    pub(super) fn begin(&self, key: EndKey, token: Token) -> bool {
        let begin = |ending: &mut Ending| {
            ending.token = Some(token);
            !ending.is_aborted
        };
        self.change(key, begin).unwrap_or(true)
    }

    pub(super) fn is_aborted(&self, key: EndKey) -> bool {
        self.read(key, |ending| ending.is_aborted) == Some(true)
    }

    pub(crate) fn is_finished(&self, key: EndKey) -> bool {
        self.read(key, Ending::is_finished) == Some(true)
    }

    /// The task's token, once it has one.
    pub(crate) fn token(&self, key: EndKey) -> Option<Token> {
        self.read(key, |ending| ending.token).flatten()
    }

    /// Mark a task that has not ended. Returns whom to wake for that: a task that has no token yet was never polled,
    /// and its first visit will see the mark.
    pub(super) fn abort(&self, key: EndKey) -> Option<Token> {
        let abort = |ending: &mut Ending| {
            let is_new = !ending.is_finished() && !mem::replace(&mut ending.is_aborted, true);
            ending.token.filter(|_| is_new)
        };
        self.change(key, abort).flatten()
    }

    pub(crate) fn stop_loop_when_done(&self, key: EndKey, stops_loop: bool) {
        self.change(key, |ending| ending.stops_loop = stops_loop);
    }

    /// The task has ended, in this way. `None` when nobody wants to know.
    pub(super) fn finish(&self, key: EndKey, result: TaskResult) -> Option<Ended> {
        let outcome = match result {
            Ok(value) => Outcome::Done(value),
            Err(error) => Outcome::Failed(Box::new(error)),
        };
        let mut endings = self.0.borrow_mut();
        // The borrow ends before `outcome` when nobody wants it.
        let ending = endings.get_mut(key.0)?;
        let before = mem::replace(&mut ending.outcome, outcome);
        let stops_loop = ending.stops_loop;
        let useless = ending.is_useless();
        let gone = useless.then(|| endings.remove(key.0));
        drop(endings);
        drop(gone);
        match before {
            Outcome::Pending(listener) => Some(Ended {
                listener,
                stops_loop,
            }),
            _ => None,
        }
    }

    /// What the task came to, if it has ended and nobody has asked before.
    pub(crate) fn take(&self, key: EndKey) -> Option<TaskResult> {
        let take = |ending: &mut Ending| match ending.is_finished() {
            true => mem::replace(&mut ending.outcome, Outcome::Taken),
            false => Outcome::Taken,
        };
        match self.change(key, take)? {
            Outcome::Done(value) => Some(Ok(value)),
            Outcome::Failed(error) => Some(Err(*error)),
            Outcome::Pending(_) | Outcome::Taken => None,
        }
    }

    /// Tell `listener` of the end, and nobody else. `false` when it has come already.
    pub(crate) fn listen(&self, key: EndKey, listener: Listener) -> bool {
        let listen = |ending: &mut Ending| match &mut ending.outcome {
            Outcome::Pending(old) => Some(mem::replace(old, listener)),
            _ => None,
        };
        self.change(key, listen).flatten().is_some()
    }

    /// Whether `waker` is told of the end already.
    pub(crate) fn would_wake(&self, key: EndKey, waker: &Waker) -> bool {
        let is_told = |ending: &Ending| match &ending.outcome {
            Outcome::Pending(Listener::Waker(old)) => old.will_wake(waker),
            _ => false,
        };
        self.read(key, is_told) == Some(true)
    }
}
