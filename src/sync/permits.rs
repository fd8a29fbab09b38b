//! A stock of permits and the line before it: what locks, semaphores, queues and channels are made of.
//!
//! Permits are only numbers here. What one means, and that it comes back, is the business of the type around it: a
//! guard of a lock, a place in a queue.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::waiters::{Place, Waiters};
use crate::event_loop::{Detail, waits_on};
use crate::task::coop;

/// Permits that are taken and given back. Once closed, those who would have to wait get an `E` instead; a stock whose
/// `E` has no values is never closed.
pub(super) struct Permits<E = Infallible> {
    available: Cell<usize>,
    closed: Cell<Option<E>>,
    /// Each wants so many.
    waiters: Waiters<usize, Result<(), E>>,
}

impl<E: Copy> Permits<E> {
    pub(super) fn new(available: usize) -> Rc<Self> {
        Rc::new(Self {
            available: Cell::new(available),
            closed: Cell::new(None),
            waiters: Waiters::new(),
        })
    }

    /// How many nobody has, and nobody was promised.
    pub(super) fn available(&self) -> usize {
        self.available.get()
    }

    /// How many stand in line.
    pub(super) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Take `wanted` permits if that overtakes nobody.
    pub(super) fn try_take(&self, wanted: usize) -> bool {
        let can = self.available.get() >= wanted && self.waiters.len() == 0;
        if can {
            self.available.set(self.available.get() - wanted);
        }
        can
    }

    /// Take `wanted` permits, or wait for them. Dropping the future leaves the line.
    pub(super) fn take(self: &Rc<Self>, wanted: usize) -> Take<E> {
        Take {
            permits: Rc::clone(self),
            wanted,
            place: Place::default(),
        }
    }

    /// `count` permits come back, or are new. They go to those who wait, in their order.
    pub(super) fn give(&self, count: usize) {
        self.available
            .set(self.available.get().saturating_add(count));
        self.serve();
    }

    /// Take what nobody has been promised away.
    pub(super) fn drain(&self) {
        self.available.set(0);
    }

    /// From now on nobody waits. What is available can still be taken.
    pub(super) fn close(&self, reason: E) {
        self.closed.set(Some(reason));
        self.waiters.grant_all(|_| Err(reason));
    }

    /// Grant from the front of the line for as long as it can be done. Who wants more than there is holds up those
    /// behind, or it would never get it.
    fn serve(&self) {
        while let Some(wanted) = self.waiters.first()
            && wanted <= self.available.get()
        {
            self.available.set(self.available.get() - wanted);
            self.waiters.grant_first(Ok(()));
        }
    }
}

/// Permits on their way to one who wants them. When it was ready it may be polled again, for as many more.
pub(super) struct Take<E: Copy = Infallible> {
    permits: Rc<Permits<E>>,
    wanted: usize,
    place: Place,
}

impl<E: Copy> Take<E> {
    /// `what` and `detail` are what is told of a task that waits here.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        what: &'static str,
        detail: impl FnOnce() -> Detail,
    ) -> Poll<Result<(), E>> {
        ready!(coop::poll_proceed(context));
        if !self.place.is_taken() {
            if self.permits.try_take(self.wanted) {
                return Poll::Ready(Ok(()));
            }
            if let Some(reason) = self.permits.closed.get() {
                return Poll::Ready(Err(reason));
            }
        }
        let waiters = &self.permits.waiters;
        let polled = waiters.poll(&mut self.place, self.wanted, context.waker());
        match polled {
            Poll::Pending => waits_on(what, detail()),
            // What another was promised and did not take may have come back since.
            Poll::Ready(Err(_)) if self.permits.try_take(self.wanted) => {
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(_) => {}
        }
        polled
    }

    /// Want nothing any more, as when it is dropped. What was granted goes to the next in line.
    pub(super) fn leave(&mut self) {
        if !self.place.is_taken() {
            return;
        }
        match self.permits.waiters.leave(&mut self.place) {
            Some(Ok(())) => self.permits.give(self.wanted),
            // It may have held up those behind it.
            Some(Err(_)) | None => self.permits.serve(),
        }
    }
}

impl<E: Copy> Drop for Take<E> {
    fn drop(&mut self) {
        self.leave();
    }
}
