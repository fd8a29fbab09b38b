//! Waiting until all have come: a [`Barrier`].

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::waiters::{Place, Waiters};
use crate::event_loop::{Detail, waits_on};
use crate::task::coop;

/// A place where a number of tasks wait for each other, again and again. Clones are the same barrier.
///
/// - When the last of them comes all go on, and the barrier is closed again for the next round. Who comes then belongs
///   to that round, even if the others of the last one have not had their turn yet.
/// - Dropping the future of [`Barrier::wait`] before the last has come takes that one out again: one more is waited
///   for. Dropping it later changes nothing.
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::sync::Barrier;
///
/// let mut event_loop = EventLoop::new()?;
/// let barrier = Barrier::new(2);
/// let theirs = barrier.clone();
/// event_loop.spawn(async move { theirs.wait().await });
/// let place = event_loop.run_until(async move { barrier.wait().await })?;
/// assert_eq!(place, Ok(1));
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Barrier(Rc<Shared>);

struct Shared {
    parties: usize,
    is_broken: Cell<bool>,
    waiters: Waiters<(), Result<usize, Broken>>,
}

/// The barrier was aborted or reset: not all will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the barrier was broken before all had come")
    }
}

impl std::error::Error for Broken {}

impl Barrier {
    /// One where `parties` tasks wait for each other.
    ///
    /// # Panics
    /// With 0 parties.
    pub fn new(parties: usize) -> Self {
        assert!(parties > 0, "a barrier is for someone");
        Self(Rc::new(Shared {
            parties,
            is_broken: Cell::new(false),
            waiters: Waiters::new(),
        }))
    }

    /// Wait until all have come. The result is one's place in the order of coming, from 0: each has another one, so
    /// that one of them can be chosen to do what should be done once.
    ///
    /// # Errors
    /// [`Broken`] when it is aborted, or is reset while one waits.
    pub fn wait(&self) -> Arrival {
        Arrival {
            barrier: self.clone(),
            place: Place::default(),
        }
    }

    /// Send those who wait away with [`Broken`], and begin anew.
    pub fn reset(&self) {
        self.0.is_broken.set(false);
        self.0.waiters.grant_all(|_| Err(Broken));
    }

    /// Send those who wait away with [`Broken`], and whoever comes, until [`Barrier::reset`].
    pub fn abort(&self) {
        self.0.is_broken.set(true);
        self.0.waiters.grant_all(|_| Err(Broken));
    }

    /// Whether it was aborted.
    pub fn is_broken(&self) -> bool {
        self.0.is_broken.get()
    }

    /// How many are waited for in each round.
    pub fn parties(&self) -> usize {
        self.0.parties
    }

    /// How many of them have come.
    pub fn waiting(&self) -> usize {
        self.0.waiters.len()
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("waiting", &self.waiting())
            .field("broken", &self.is_broken())
            .finish()
    }
}

/// See [`Barrier::wait`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Arrival {
    barrier: Barrier,
    place: Place,
}

impl Future for Arrival {
    type Output = Result<usize, Broken>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(coop::poll_proceed(context));
        let this = self.get_mut();
        let shared = &this.barrier.0;
        if !this.place.is_taken() {
            if shared.is_broken.get() {
                return Poll::Ready(Err(Broken));
            }
            let before = shared.waiters.len();
            if before + 1 == shared.parties {
                shared.waiters.grant_all(Ok);
                return Poll::Ready(Ok(before));
            }
        }
        let polled = shared.waiters.poll(&mut this.place, (), context.waker());
        if polled.is_pending() {
            let missing = shared.parties - shared.waiters.len();
            waits_on("barrier", Detail::Count(missing as u64));
        }
        polled
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.barrier.0.waiters.leave(&mut self.place);
    }
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival")
            .field("waits", &self.place.is_taken())
            .finish_non_exhaustive()
    }
}
