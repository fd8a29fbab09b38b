//! The line before every door here: who waits, first in, first out.
//!
//! A waiter is never just woken and left to try its luck. Whoever opens the door *grants* the first in line what it
//! came for: the grant is taken out of the common stock at once and kept at the waiter's place until it is polled. So
//! nobody who comes later can overtake, and there is nothing to try: a waiter that was woken has what it wants.
//!
//! ```text
//!   poll ──► in line ──────────────── grant_first ────────► granted ── poll ──► Ready(grant)
//!              │                      (wakes the waiter)       │
//!              └─ leave: None                                  └─ leave: Some(grant), for the owner to pass on
//! ```
//!
//! A future may be dropped at any time, also between the grant and the poll. Then [`Waiters::leave`] gives the grant
//! back, and the owner of the line gives it to the next: dropping a future is all that cancelling needs, and nothing
//! is lost by it.
//!
//! The cell is borrowed inside one method at a time. Wakers are foreign code (they may poll on the spot, and join this
//! very line), so none is cloned, woken or dropped while it is borrowed.

use std::cell::RefCell;
use std::mem;
use std::task::{Poll, Waker};

use crate::parts::line::Line;
use crate::parts::slab::Key;

/// A line of waiters, each with a wish, who get a grant.
pub(super) struct Waiters<W, G> {
    line: RefCell<Line<Waiter<W, G>>>,
}

enum Waiter<W, G> {
    Waiting(W, Waker),
    /// Out of the line, and not polled since.
    Granted(G),
}

/// A future's place in line. It knows no line: whoever owns both calls [`Waiters::leave`] when it is dropped.
#[derive(Default)]
pub(super) struct Place(Option<Key>);

impl Place {
    /// Whether someone stands there, who may have been granted the wish.
    pub(super) fn is_taken(&self) -> bool {
        self.0.is_some()
    }
}

impl<W: Copy, G: Copy> Waiters<W, G> {
    pub(super) fn new() -> Self {
        Self {
            line: RefCell::new(Line::new()),
        }
    }

    /// Take what was granted; until then stand in line with `wish`, to have `waker` woken. A place that was `Ready`
    /// can be used again.
    pub(super) fn poll(&self, place: &mut Place, wish: W, waker: &Waker) -> Poll<G> {
        let Some(key) = place.0 else {
            let waiter = Waiter::Waiting(wish, waker.clone());
            place.0 = Some(self.line.borrow_mut().push_back(waiter));
            return Poll::Pending;
        };
        let is_known = match self.line.borrow().get(key) {
            Some(Waiter::Waiting(_, known)) => Some(known.will_wake(waker)),
            Some(Waiter::Granted(_)) | None => None,
        };
        match is_known {
            None => self.leave(place).map_or(Poll::Pending, Poll::Ready),
            Some(true) => Poll::Pending,
            Some(false) => {
                let waiter = Waiter::Waiting(wish, waker.clone());
                let mut line = self.line.borrow_mut();
                let before = line.get_mut(key).map(|here| mem::replace(here, waiter));
                drop(line);
                drop(before);
                Poll::Pending
            }
        }
    }

    /// Give up the place, with what was granted to it and not taken.
    pub(super) fn leave(&self, place: &mut Place) -> Option<G> {
        let waiter = self.line.borrow_mut().remove(place.0.take()?);
        match waiter {
            Some(Waiter::Granted(grant)) => Some(grant),
            Some(Waiter::Waiting(..)) | None => None,
        }
    }

    /// What the first in line wants.
    pub(super) fn first(&self) -> Option<W> {
        let line = self.line.borrow();
        match line.get(line.first()?) {
            Some(&Waiter::Waiting(wish, _)) => Some(wish),
            Some(Waiter::Granted(_)) | None => None,
        }
    }

    /// How many wait and were granted nothing yet.
    pub(super) fn len(&self) -> usize {
        self.line.borrow().len()
    }

    /// Grant the first in line its wish, and wake it. `false` when nobody waits.
    pub(super) fn grant_first(&self, grant: G) -> bool {
        let waker = grant_next(&mut self.line.borrow_mut(), grant);
        match waker {
            Some(waker) => {
                waker.wake();
                true
            }
            None => false,
        }
    }

    /// Grant all who wait now their wish, by their number in line. Those who join while they are woken wait for the
    /// next time.
    pub(super) fn grant_all(&self, grant: impl Fn(usize) -> G) {
        let wakers: Vec<Waker> = {
            let mut line = self.line.borrow_mut();
            (0..line.len())
                .filter_map(|number| grant_next(&mut line, grant(number)))
                .collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Put `grant` in the place of the first in line, who is to be woken.
fn grant_next<W, G>(line: &mut Line<Waiter<W, G>>, grant: G) -> Option<Waker> {
    let key = line.first()?;
    line.step_out(key);
    match mem::replace(line.get_mut(key)?, Waiter::Granted(grant)) {
        Waiter::Waiting(_, waker) => Some(waker),
        Waiter::Granted(_) => None,
    }
}
