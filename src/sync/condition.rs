//! Waiting until what a lock protects has become as one wants it: a [`Condition`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::lock::{Guard, Lock, Locking};
use super::waiters::{Place, Waiters};
use crate::event_loop::{Detail, Origin, waits_on};
use crate::task::coop;

/// A line of those who wait for a change of what a [`Lock`] protects. Clones are the same condition.
///
/// - [`Condition::wait`] gives the lock back and joins the line in one step: no change can be missed in between. It
///   ends with the lock.
/// - [`Condition::notify_one`] wakes who has waited longest. When nobody waits, nothing is remembered.
/// - A waiter that was notified must look again whether things are as it wants: another may have come first.
///   [`Condition::wait_for`] does so.
/// - Dropping the future of `wait` leaves the line, and does not take the lock again. If it had been notified, the
///   next in line is notified instead.
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::sync::{Condition, Lock};
///
/// let mut event_loop = EventLoop::new()?;
/// let (stock, changed) = (Lock::new(0), Condition::new());
/// let (theirs, notifier) = (stock.clone(), changed.clone());
/// event_loop.spawn(async move {
///     *theirs.lock().await += 5;
///     notifier.notify_all();
/// });
/// let left = event_loop.run_until(async move {
///     let mut stock = changed.wait_for(stock.lock().await, |stock| *stock >= 3).await;
///     *stock -= 3;
///     *stock
/// })?;
/// assert_eq!(left, 2);
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Condition(Rc<Waiters<(), ()>>);

impl Condition {
    /// One that nobody waits for.
    pub fn new() -> Self {
        Self(Rc::new(Waiters::new()))
    }

    /// Give the lock back, wait to be notified, and take the lock again. The line is joined when the future is polled
    /// first; the lock is kept until then.
    pub fn wait<T>(&self, guard: Guard<T>) -> Notified<T> {
        Notified {
            condition: self.clone(),
            lock: guard.lock().clone(),
            origin: guard.origin(),
            stage: Stage::Begins(guard),
        }
    }

    /// Wait until `is_met` is true of the value, which may be at once.
    pub async fn wait_for<T>(
        &self,
        mut guard: Guard<T>,
        mut is_met: impl FnMut(&mut T) -> bool,
    ) -> Guard<T> {
        while !is_met(&mut guard) {
            guard = self.wait(guard).await;
        }
        guard
    }

    /// Notify who has waited longest, if anyone does. The caller usually has the lock, and need not.
    pub fn notify_one(&self) {
        self.0.grant_first(());
    }

    /// Notify all who wait now. Each goes on when it gets the lock, in the order in which they came.
    pub fn notify_all(&self) {
        self.0.grant_all(|_| ());
    }

    /// How many wait and were not notified.
    pub fn waiting(&self) -> usize {
        self.0.len()
    }
}

impl Default for Condition {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition")
            .field("waiting", &self.waiting())
            .finish()
    }
}

/// See [`Condition::wait`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Notified<T> {
    condition: Condition,
    lock: Lock<T>,
    origin: Origin,
    stage: Stage<T>,
}

enum Stage<T> {
    Begins(Guard<T>),
    InLine(Place),
    /// Notified, and waits for the lock.
    Locks(Locking<T>),
    Ended,
}

// Nothing in it is pinned.
impl<T> Unpin for Notified<T> {}

impl<T> Future for Notified<T> {
    type Output = Guard<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Guard<T>> {
        ready!(coop::poll_proceed(context));
        let this = &mut *self;
        if let Stage::Begins(_) = this.stage {
            let mut place = Place::default();
            // First into the line, then give the lock back.
            let _ = this.condition.0.poll(&mut place, (), context.waker());
            this.stage = Stage::InLine(place);
        } else if let Stage::InLine(place) = &mut this.stage
            && this.condition.0.poll(place, (), context.waker()).is_ready()
        {
            this.stage = Stage::Locks(this.lock.lock_from(this.origin));
        }
        match &mut this.stage {
            Stage::Locks(locking) => {
                let guard = ready!(Pin::new(locking).poll(context));
                this.stage = Stage::Ended;
                Poll::Ready(guard)
            }
            Stage::InLine(_) => {
                waits_on("condition", Detail::None);
                Poll::Pending
            }
            Stage::Begins(_) | Stage::Ended => panic!("polled after it was ready"),
        }
    }
}

impl<T> Drop for Notified<T> {
    fn drop(&mut self) {
        let was_notified = match &mut self.stage {
            Stage::InLine(place) => self.condition.0.leave(place).is_some(),
            Stage::Locks(_) => true,
            Stage::Begins(_) | Stage::Ended => false,
        };
        if was_notified {
            self.condition.notify_one();
        }
    }
}

impl<T> fmt::Debug for Notified<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Begins(_) => "begins",
            Stage::InLine(_) => "waits",
            Stage::Locks(_) => "locks",
            Stage::Ended => "ended",
        };
        f.debug_struct("Notified")
            .field("stage", &stage)
            .finish_non_exhaustive()
    }
}
