//! Those who receive the same thing, and when there is news for them: what `broadcast` and `watch` share.

use std::cell::Cell;
use std::task::{Context, Poll};

use super::event::Event;
use super::waiters::{Place, Waiters};
use crate::event_loop::{Detail, waits_on};

pub(super) struct Audience {
    receivers: Cell<usize>,
    /// Set while there is no receiver.
    deserted: Event,
    /// All senders have gone.
    is_closed: Cell<bool>,
    waiters: Waiters<(), ()>,
}

impl Audience {
    pub(super) fn new() -> Self {
        Self {
            receivers: Cell::new(0),
            deserted: Event::new(),
            is_closed: Cell::new(false),
            waiters: Waiters::new(),
        }
    }

    pub(super) fn receivers(&self) -> usize {
        self.receivers.get()
    }

    pub(super) fn deserted(&self) -> &Event {
        &self.deserted
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// One more receives.
    pub(super) fn join(&self) {
        self.receivers.set(self.receivers.get() + 1);
        self.deserted.clear();
    }

    /// One fewer receives. It is not counted any more before foreign code runs, which wakers are.
    pub(super) fn leave(&self, place: &mut Place) {
        self.receivers.set(self.receivers.get() - 1);
        self.waiters.leave(place);
        if self.receivers.get() == 0 {
            self.deserted.set();
        }
    }

    /// There is news: all who wait now look again.
    pub(super) fn announce(&self) {
        self.waiters.grant_all(|_| ());
    }

    /// The last sender has gone.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
        self.announce();
    }

    /// Wait for what `look` finds; it is asked at first and after each announcement.
    pub(super) fn poll<R>(
        &self,
        place: &mut Place,
        context: &mut Context<'_>,
        mut look: impl FnMut() -> Option<R>,
    ) -> Poll<R> {
        loop {
            if let Some(found) = look() {
                return Poll::Ready(found);
            }
            if self.waiters.poll(place, (), context.waker()).is_pending() {
                waits_on("channel", Detail::None);
                return Poll::Pending;
            }
        }
    }
}
