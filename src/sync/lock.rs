//! One at a time: a [`Lock`] keeps a value that may be worked on across `await` points.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::permits::{Permits, Take};
use super::semaphore::held_by;
use crate::event_loop::Origin;

/// A value that one task at a time may have, for as long as it likes: also while it waits for something else. Clones
/// are the same lock. (asyncio's `Lock`; `Lock::new(())` is one without a value.)
///
/// Code that does not wait needs none: on one thread nothing comes in between. A lock is for a sequence with an
/// `await` in it that others may not see half done.
///
/// - First come, first served: who drops the guard hands the lock to who has waited longest. Nobody who comes later
///   can overtake, [`Lock::try_lock`] included.
/// - The guard is given back when it is dropped, also by a panic or when its task is cancelled; what the value was
///   changed to until then stays. There is no poisoning.
/// - Dropping the future of [`Lock::lock`] leaves the line. If the lock had been handed to it, the next one gets it.
/// - A task that locks twice waits for itself, for ever.
///
/// The lock hands the value itself over and not a reference to it, so a guard borrows nothing. A large value that
/// should not be moved stands in a `Box`.
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::sync::Lock;
///
/// let mut event_loop = EventLoop::new()?;
/// let lock = Lock::new(vec!["first"]);
/// let theirs = lock.clone();
/// event_loop.run_until(async move { theirs.lock().await.push("second") })?;
/// assert_eq!(*lock.try_lock().unwrap(), ["first", "second"]);
/// # std::io::Result::Ok(())
/// ```
pub struct Lock<T = ()>(Rc<Shared<T>>);

struct Shared<T> {
    /// There is one.
    permits: Rc<Permits>,
    /// Here, unless a guard has it.
    value: Cell<Option<T>>,
    holder: Cell<Option<Origin>>,
}

impl<T> Lock<T> {
    /// A lock that nobody has.
    pub fn new(value: T) -> Self {
        Self(Rc::new(Shared {
            permits: Permits::new(1),
            value: Cell::new(Some(value)),
            holder: Cell::new(None),
        }))
    }

    /// The value, as soon as nobody else has it. The place that calls this is what [`Lock::holder`] names.
    #[track_caller]
    pub fn lock(&self) -> Locking<T> {
        self.lock_from(Location::caller())
    }

    /// For one who is known to have asked there.
    pub(super) fn lock_from(&self, origin: Origin) -> Locking<T> {
        Locking {
            lock: self.clone(),
            take: self.0.permits.take(1),
            origin,
        }
    }

    /// The value if nobody has it and nobody waits for it.
    #[track_caller]
    pub fn try_lock(&self) -> Option<Guard<T>> {
        let origin = Location::caller();
        self.0.permits.try_take(1).then(|| self.guard(origin))
    }

    /// Whether someone has it, or is about to.
    pub fn is_locked(&self) -> bool {
        self.0.permits.available() == 0
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.0.permits.waiting()
    }

    /// Where who has it asked for it.
    pub fn holder(&self) -> Option<Origin> {
        self.0.holder.get()
    }

    fn guard(&self, origin: Origin) -> Guard<T> {
        self.0.holder.set(Some(origin));
        Guard {
            value: self.0.value.take(),
            lock: self.clone(),
            origin,
        }
    }
}

impl<T> Clone for Lock<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: Default> Default for Lock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("holder", &self.holder())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

/// See [`Lock::lock`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Locking<T> {
    lock: Lock<T>,
    take: Take,
    origin: Origin,
}

impl<T> Future for Locking<T> {
    type Output = Guard<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Guard<T>> {
        let this = self.get_mut();
        let lock = &this.lock;
        let Ok(()) = ready!(this.take.poll(context, "lock", || held_by(lock.holder())));
        Poll::Ready(lock.guard(this.origin))
    }
}

impl<T> fmt::Debug for Locking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locking")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// The value of a [`Lock`], which goes to the next in line when this is dropped.
#[must_use = "a guard that is dropped has unlocked"]
pub struct Guard<T> {
    /// `None` only while it is dropped.
    value: Option<T>,
    lock: Lock<T>,
    origin: Origin,
}

const HAS_VALUE: &str = "a guard has the value until it is dropped";

impl<T> Guard<T> {
    pub(super) fn lock(&self) -> &Lock<T> {
        &self.lock
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }
}

impl<T> Deref for Guard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect(HAS_VALUE)
    }
}

impl<T> DerefMut for Guard<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect(HAS_VALUE)
    }
}

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        let shared = &self.lock.0;
        shared.value.set(self.value.take());
        shared.holder.set(None);
        shared.permits.give(1);
    }
}

impl<T: fmt::Debug> fmt::Debug for Guard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(&**self).finish()
    }
}
