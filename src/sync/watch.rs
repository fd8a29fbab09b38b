//! The newest value of something that changes: who looks sees the last one, and who waits learns that there is
//! another.
//!
//! For settings, states, progress: where only the present counts, and a value that was replaced before anyone looked
//! is no loss. Where each one counts, `broadcast` is the channel.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::audience::Audience;
use super::error::Closed;
use super::event::Wait;
use super::mailbox::{RemoteSender, remote_sender};
use super::waiters::Place;
use crate::event_loop::Handle;
use crate::task::coop;

/// A value that changes, and one who looks at it, who has seen `value`.
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::sync::watch;
///
/// let mut event_loop = EventLoop::new()?;
/// let (speed, mut seen) = watch::channel(30);
/// event_loop.call_soon(move |_| {
///     speed.send(50);
///     speed.send(70);
/// });
/// let newest = event_loop.run_until(async move { seen.changed().await })?;
/// assert_eq!(*newest.unwrap(), 70);
/// # std::io::Result::Ok(())
/// ```
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let shared = Rc::new(Shared {
        newest: RefCell::new(Newest {
            value: Rc::new(value),
            version: 0,
        }),
        audience: Audience::new(),
    });
    let receiver = Receiver::new(&shared, 0);
    (Sender(Rc::new(Senders { shared })), receiver)
}

struct Shared<T> {
    newest: RefCell<Newest<T>>,
    audience: Audience,
}

struct Newest<T> {
    value: Rc<T>,
    version: u64,
}

impl<T> Shared<T> {
    fn latest(&self) -> Rc<T> {
        Rc::clone(&self.newest.borrow().value)
    }

    /// The newest value if it is not the one of version `seen`.
    fn next(&self, seen: &mut u64) -> Result<Option<Rc<T>>, Closed> {
        let newest = self.newest.borrow();
        if newest.version != *seen {
            *seen = newest.version;
            return Ok(Some(Rc::clone(&newest.value)));
        }
        match self.audience.is_closed() {
            true => Err(Closed),
            false => Ok(None),
        }
    }
}

/// The end of those who change the value. Clones are more of them.
pub struct Sender<T>(Rc<Senders<T>>);

/// All senders of a value.
struct Senders<T> {
    shared: Rc<Shared<T>>,
}

impl<T> Drop for Senders<T> {
    fn drop(&mut self) {
        self.shared.audience.close();
    }
}

impl<T> Sender<T> {
    /// Put `value` in the place of the last one, and wake those who wait for a change. It is kept when nobody looks,
    /// for those who [subscribe](Sender::subscribe) later.
    pub fn send(&self, value: T) {
        let value = Rc::new(value);
        let before = {
            let mut newest = self.0.shared.newest.borrow_mut();
            newest.version += 1;
            mem::replace(&mut newest.value, value)
        };
        drop(before);
        self.0.shared.audience.announce();
    }

    /// The newest value.
    pub fn latest(&self) -> Rc<T> {
        self.0.shared.latest()
    }

    /// One more who looks, who has seen the newest value.
    pub fn subscribe(&self) -> Receiver<T> {
        let version = self.0.shared.newest.borrow().version;
        Receiver::new(&self.0.shared, version)
    }

    /// How many look.
    pub fn receivers(&self) -> usize {
        self.0.shared.audience.receivers()
    }

    /// Wait until nobody looks. Dropping the future changes nothing.
    pub async fn closed(&self) {
        self.deserted().await;
    }

    fn deserted(&self) -> Wait {
        self.0.shared.audience.deserted().wait_as("channel")
    }

    /// A sender for other threads. Its queue is not bounded. It is closed for good once nobody looks.
    #[track_caller]
    pub fn remote(&self, handle: &Handle) -> RemoteSender<T>
    where
        T: Send + 'static,
    {
        let sender = self.clone();
        remote_sender(handle, None, self.deserted(), async move |value| {
            sender.send(value);
            true
        })
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("receivers", &self.receivers())
            .finish_non_exhaustive()
    }
}

/// The end of one who looks. Clones have seen what it has seen.
pub struct Receiver<T> {
    shared: Rc<Shared<T>>,
    /// The version that was seen.
    seen: u64,
    place: Place,
}

impl<T> Receiver<T> {
    fn new(shared: &Rc<Shared<T>>, seen: u64) -> Self {
        shared.audience.join();
        Self {
            shared: Rc::clone(shared),
            seen,
            place: Place::default(),
        }
    }

    /// The newest value, whether it was seen before or not. It does not count as seen by that.
    pub fn latest(&self) -> Rc<T> {
        self.shared.latest()
    }

    /// Whether there is a value that was not seen.
    pub fn has_changed(&self) -> bool {
        self.shared.newest.borrow().version != self.seen
    }

    /// The newest value, as soon as there is one that was not seen: at once, if it came before. Those in between are
    /// skipped. Dropping the future leaves unseen what was.
    ///
    /// # Errors
    /// When all senders have gone, and the last value was seen.
    pub async fn changed(&mut self) -> Result<Rc<T>, Closed> {
        poll_fn(|context| self.poll_changed(context)).await
    }

    /// As [`Receiver::changed`], for those who poll.
    pub fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<Result<Rc<T>, Closed>> {
        ready!(coop::poll_proceed(context));
        let Self {
            shared,
            seen,
            place,
        } = self;
        let look = || shared.next(seen).transpose();
        shared.audience.poll(place, context, look)
    }

    /// Wait until `is_met` is true of the newest value, which may be at once. That value counts as seen.
    ///
    /// # Errors
    /// When all senders have gone, and it is not true of the last value.
    pub async fn wait_for(&mut self, mut is_met: impl FnMut(&T) -> bool) -> Result<Rc<T>, Closed> {
        let mut value = match self.shared.next(&mut self.seen) {
            Ok(Some(value)) => value,
            Ok(None) | Err(Closed) => self.latest(),
        };
        while !is_met(&value) {
            value = self.changed().await?;
        }
        Ok(value)
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self::new(&self.shared, self.seen)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.audience.leave(&mut self.place);
    }
}

#[cfg(feature = "futures")]
impl<T> futures_core::Stream for Receiver<T> {
    /// Each value that was not seen, of those that stayed long enough.
    type Item = Rc<T>;

    fn poll_next(self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Rc<T>>> {
        self.get_mut().poll_changed(context).map(Result::ok)
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("changed", &self.has_changed())
            .finish_non_exhaustive()
    }
}
