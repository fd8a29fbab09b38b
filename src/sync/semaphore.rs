//! So many at a time: a [`Semaphore`] has a number of permits, and who has none waits.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::permits::{Permits, Take};
use crate::event_loop::{Detail, Origin};
use crate::parts::line::Line;
use crate::parts::slab::Key;

/// A number of permits, for as many as may do something at a time: requests under way, connections of a pool. Clones
/// are the same semaphore.
///
/// - First come, first served: a permit that comes back goes to who has waited longest, and nobody who comes later can
///   overtake, [`Semaphore::try_acquire`] included. Who wants many holds up those behind until it has them.
/// - A [`Permit`] comes back when it is dropped, also by a panic or when its task is cancelled.
/// - Dropping the future of [`Semaphore::acquire`] leaves the line. If its permits had been granted already, they go
///   to the next.
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::sync::Semaphore;
///
/// let mut event_loop = EventLoop::new()?;
/// let two_at_a_time = Semaphore::new(2);
/// let task = {
///     let semaphore = two_at_a_time.clone();
///     async move {
///         let _permit = semaphore.acquire().await;
///         semaphore.available()
///     }
/// };
/// assert_eq!(event_loop.run_until(task)?, 1);
/// assert_eq!(two_at_a_time.available(), 2);
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Semaphore(Rc<Shared>);

struct Shared {
    permits: Rc<Permits>,
    /// Where each permit that is out was asked for.
    holders: RefCell<Line<Origin>>,
    forgotten: Cell<usize>,
    /// How many there may be: those it was made with.
    bound: Option<usize>,
}

impl Semaphore {
    /// With `permits` permits; [`Semaphore::add_permits`] may add any number.
    pub fn new(permits: usize) -> Self {
        Self::with_bound(permits, None)
    }

    /// With `permits` permits and never more: [`Semaphore::add_permits`] brings back what was forgotten, and panics on
    /// more. (asyncio's `BoundedSemaphore`.)
    pub fn bounded(permits: usize) -> Self {
        Self::with_bound(permits, Some(permits))
    }

    fn with_bound(permits: usize, bound: Option<usize>) -> Self {
        Self(Rc::new(Shared {
            permits: Permits::new(permits),
            holders: RefCell::new(Line::new()),
            forgotten: Cell::new(0),
            bound,
        }))
    }

    /// A permit, as soon as there is one. The place that calls this is what [`Semaphore::holders`] names.
    #[track_caller]
    pub fn acquire(&self) -> Acquire {
        self.acquire_many(1)
    }

    /// So many permits together, in one [`Permit`], or none.
    ///
    /// # Panics
    /// When a bounded semaphore has not so many: it would wait for ever.
    #[track_caller]
    pub fn acquire_many(&self, permits: usize) -> Acquire {
        assert!(
            self.0.bound.is_none_or(|bound| permits <= bound),
            "a bounded semaphore has no {permits} permits"
        );
        Acquire {
            semaphore: self.clone(),
            permits,
            take: self.0.permits.take(permits),
            origin: Location::caller(),
        }
    }

    /// A permit if one is there and nobody waits for it.
    #[track_caller]
    pub fn try_acquire(&self) -> Option<Permit> {
        self.try_acquire_many(1)
    }

    /// So many permits if they are there and nobody waits.
    #[track_caller]
    pub fn try_acquire_many(&self, permits: usize) -> Option<Permit> {
        let origin = Location::caller();
        self.0
            .permits
            .try_take(permits)
            .then(|| self.permit(permits, origin))
    }

    /// Add permits. They go to those who wait, in their order.
    ///
    /// # Panics
    /// On a bounded semaphore, when more are added than [`Permit::forget`] took.
    pub fn add_permits(&self, permits: usize) {
        let forgotten = self.0.forgotten.get();
        assert!(
            self.0.bound.is_none() || permits <= forgotten,
            "{permits} permits come back to a bounded semaphore that lacks {forgotten}"
        );
        self.0.forgotten.set(forgotten.saturating_sub(permits));
        self.0.permits.give(permits);
    }

    /// How many permits nobody has.
    pub fn available(&self) -> usize {
        self.0.permits.available()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.0.permits.waiting()
    }

    /// Where those who hold permits asked for them, the longest holder first.
    pub fn holders(&self) -> Vec<Origin> {
        self.0.holders.borrow().iter().copied().collect()
    }

    fn longest_holder(&self) -> Option<Origin> {
        self.0.holders.borrow().iter().next().copied()
    }

    fn permit(&self, permits: usize, origin: Origin) -> Permit {
        Permit {
            key: self.0.holders.borrow_mut().push_back(origin),
            semaphore: self.clone(),
            permits,
        }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available", &self.available())
            .field("waiting", &self.waiting())
            .field("bound", &self.0.bound)
            .finish_non_exhaustive()
    }
}

/// See [`Semaphore::acquire`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Acquire {
    semaphore: Semaphore,
    permits: usize,
    take: Take,
    origin: Origin,
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Permit> {
        let this = self.get_mut();
        let semaphore = &this.semaphore;
        let holder = || held_by(semaphore.longest_holder());
        let Ok(()) = ready!(this.take.poll(context, "semaphore", holder));
        Poll::Ready(semaphore.permit(this.permits, this.origin))
    }
}

/// What a task waits for that someone has, if someone has it yet.
pub(super) fn held_by(holder: Option<Origin>) -> Detail {
    holder.map_or(Detail::None, Detail::HeldBy)
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("permits", &self.permits)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// One or several permits of a [`Semaphore`], which come back when this is dropped. It borrows nothing and may be sent
/// through channels or kept in a struct.
#[must_use = "a permit that is dropped has come back"]
pub struct Permit {
    semaphore: Semaphore,
    permits: usize,
    key: Key,
}

impl Permit {
    /// How many permits this is.
    pub fn permits(&self) -> usize {
        self.permits
    }

    /// Do not bring them back. [`Semaphore::add_permits`] does so when the time has come, perhaps from a callback that
    /// could not be given the permit.
    pub fn forget(mut self) {
        let forgotten = &self.semaphore.0.forgotten;
        forgotten.set(forgotten.get() + self.permits);
        self.permits = 0;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let shared = &self.semaphore.0;
        shared.holders.borrow_mut().remove(self.key);
        shared.permits.give(self.permits);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("permits", &self.permits)
            .finish_non_exhaustive()
    }
}
