//! Something that has happened, or not yet: an [`Event`] that any number may wait for.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::waiters::{Place, Waiters};
use crate::event_loop::{Detail, waits_on};
use crate::task::coop;

/// A flag that can be waited for. Clones are the same event.
///
/// - [`Event::set`] wakes all who wait, in the order in which they came, and each of them goes on, even if the event
///   is cleared before its turn comes.
/// - Dropping the future of [`Event::wait`] leaves the line and changes nothing else.
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::sync::Event;
///
/// let mut event_loop = EventLoop::new()?;
/// let ready = Event::new();
/// let theirs = ready.clone();
/// event_loop.call_soon(move |_| theirs.set());
/// event_loop.run_until(async move { ready.wait().await })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Event(Rc<Shared>);

struct Shared {
    is_set: Cell<bool>,
    waiters: Waiters<(), ()>,
}

impl Event {
    /// One that is not set.
    pub fn new() -> Self {
        Self(Rc::new(Shared {
            is_set: Cell::new(false),
            waiters: Waiters::new(),
        }))
    }

    /// It has happened. Nobody waits from now on, until [`Event::clear`].
    pub fn set(&self) {
        self.0.is_set.set(true);
        self.0.waiters.grant_all(|_| ());
    }

    /// It is yet to happen.
    pub fn clear(&self) {
        self.0.is_set.set(false);
    }

    /// Whether it has happened.
    pub fn is_set(&self) -> bool {
        self.0.is_set.get()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.0.waiters.len()
    }

    /// Wait until it is set. Ready at once when it is.
    pub fn wait(&self) -> Wait {
        self.wait_as("event")
    }

    /// The same, to be shown as something else.
    pub(super) fn wait_as(&self, what: &'static str) -> Wait {
        Wait {
            event: self.clone(),
            place: Place::default(),
            what,
        }
    }
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("set", &self.is_set())
            .field("waiting", &self.waiting())
            .finish()
    }
}

/// See [`Event::wait`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Wait {
    event: Event,
    place: Place,
    what: &'static str,
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        ready!(coop::poll_proceed(context));
        let this = self.get_mut();
        let shared = &this.event.0;
        if !this.place.is_taken() && shared.is_set.get() {
            return Poll::Ready(());
        }
        let polled = shared.waiters.poll(&mut this.place, (), context.waker());
        if polled.is_pending() {
            waits_on(this.what, Detail::None);
        }
        polled
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.event.0.waiters.leave(&mut self.place);
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait")
            .field("for", &self.what)
            .finish_non_exhaustive()
    }
}
