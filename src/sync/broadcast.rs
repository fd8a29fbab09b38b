//! Everyone gets everything: each value goes to all who receive, and who is too slow is told how much was missed.
//!
//! The last values stand in a ring, numbered from the first ever sent. A receiver is the number of the value it wants
//! next: ten thousand of them cost ten thousand numbers, and none can make the others, or who sends, wait.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::audience::Audience;
use super::error::SendError;
use super::event::Wait;
use super::mailbox::{RemoteSender, remote_sender};
use super::waiters::Place;
use crate::event_loop::Handle;
use crate::task::coop;

/// A channel that keeps the last `capacity` values for those who have not received them.
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::sync::broadcast::{self, RecvError};
///
/// let mut event_loop = EventLoop::new()?;
/// let (sender, mut one) = broadcast::channel(2);
/// let mut other = sender.subscribe();
/// sender.send("a").unwrap();
/// assert_eq!(other.try_recv(), Ok(Some("a")));
/// sender.send("b").unwrap();
/// sender.send("c").unwrap();
/// assert_eq!(one.try_recv(), Err(RecvError::Lagged(1)), "there was no room for its first");
/// assert_eq!(one.try_recv(), Ok(Some("b")));
/// assert_eq!(event_loop.run_until(async move { other.recv().await })?, Ok("b"));
/// # std::io::Result::Ok(())
/// ```
///
/// # Panics
/// With a capacity of 0.
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a broadcast keeps a value");
    let shared = Rc::new(Shared {
        capacity,
        ring: RefCell::new(Ring {
            values: VecDeque::new(),
            sent: 0,
        }),
        audience: Audience::new(),
    });
    let receiver = Receiver::new(&shared, 0);
    (Sender(Rc::new(Senders { shared })), receiver)
}

struct Shared<T> {
    capacity: usize,
    ring: RefCell<Ring<T>>,
    audience: Audience,
}

impl<T> Shared<T> {
    /// The value of number `next` for one who receives it now. `Ok(None)` when it is yet to be sent.
    fn next(&self, next: &mut u64) -> Result<Option<Rc<T>>, RecvError> {
        let mut ring = self.ring.borrow_mut();
        let oldest = ring.oldest();
        if *next < oldest {
            let missed = oldest - *next;
            *next = oldest;
            return Err(RecvError::Lagged(missed));
        }
        let Some(sent) = ring.at(*next) else {
            return match self.audience.is_closed() {
                true => Err(RecvError::Closed),
                false => Ok(None),
            };
        };
        let value = Rc::clone(&sent.value);
        ring.release(*next);
        *next += 1;
        Ok(Some(value))
    }
}

struct Ring<T> {
    /// The last is number `sent - 1`.
    values: VecDeque<Sent<T>>,
    sent: u64,
}

struct Sent<T> {
    // Shared, so that it can be cloned, which is the user's code, when the ring is not borrowed.
    value: Rc<T>,
    /// How many receivers have yet to take it. No fewer than of the value before it.
    wanted: usize,
}

impl<T> Ring<T> {
    /// The number of the oldest value there is.
    fn oldest(&self) -> u64 {
        self.sent - self.values.len() as u64
    }

    fn at(&mut self, number: u64) -> Option<&mut Sent<T>> {
        let at = number.checked_sub(self.oldest())?;
        self.values.get_mut(usize::try_from(at).ok()?)
    }

    /// One receiver does not want value `number` any more, and none before it. If nobody does, it is taken out.
    fn release(&mut self, number: u64) -> Option<Rc<T>> {
        self.at(number)?.wanted -= 1;
        let unwanted = self.values.pop_front_if(|sent| sent.wanted == 0)?;
        Some(unwanted.value)
    }
}

/// Why there is no next value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvError {
    /// So many values went by: the channel kept newer ones instead. The next one is the oldest that is still there.
    Lagged(u64),
    /// All senders have gone, and all values were received.
    Closed,
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lagged(missed) => write!(f, "too slow: {missed} values were missed"),
            Self::Closed => f.write_str("closed, and nothing is left to receive"),
        }
    }
}

impl std::error::Error for RecvError {}

/// The end that values are put into. Clones are more senders.
pub struct Sender<T>(Rc<Senders<T>>);

/// All senders of a channel.
struct Senders<T> {
    shared: Rc<Shared<T>>,
}

impl<T> Drop for Senders<T> {
    fn drop(&mut self) {
        self.shared.audience.close();
    }
}

impl<T> Sender<T> {
    /// Send a value to all receivers there are. Never waits: when the ring is full, the oldest value goes. Returns how
    /// many will get it, if they are not too slow.
    ///
    /// # Errors
    /// With the value, when there is no receiver.
    pub fn send(&self, value: T) -> Result<usize, SendError<T>> {
        let shared = &self.0.shared;
        let receivers = shared.audience.receivers();
        if receivers == 0 {
            return Err(SendError(value));
        }
        let oldest = {
            let mut ring = shared.ring.borrow_mut();
            let is_full = ring.values.len() == shared.capacity;
            let oldest = if is_full {
                ring.values.pop_front()
            } else {
                None
            };
            ring.values.push_back(Sent {
                value: Rc::new(value),
                wanted: receivers,
            });
            ring.sent += 1;
            oldest
        };
        drop(oldest);
        shared.audience.announce();
        Ok(receivers)
    }

    /// A new receiver, of what is sent from now on.
    pub fn subscribe(&self) -> Receiver<T> {
        let sent = self.0.shared.ring.borrow().sent;
        Receiver::new(&self.0.shared, sent)
    }

    /// How many receivers there are.
    pub fn receivers(&self) -> usize {
        self.0.shared.audience.receivers()
    }

    /// Wait until there is no receiver. Dropping the future changes nothing.
    pub async fn closed(&self) {
        self.deserted().await;
    }

    fn deserted(&self) -> Wait {
        self.0.shared.audience.deserted().wait_as("channel")
    }

    /// A sender for other threads. Its queue is not bounded. It is closed for good once there is no receiver.
    #[track_caller]
    pub fn remote(&self, handle: &Handle) -> RemoteSender<T>
    where
        T: Send + 'static,
    {
        let sender = self.clone();
        remote_sender(handle, None, self.deserted(), async move |value| {
            sender.send(value).is_ok()
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

/// One end that values come out of: all that were sent since it was made.
pub struct Receiver<T> {
    shared: Rc<Shared<T>>,
    /// The number of the value to receive next.
    next: u64,
    place: Place,
}

impl<T> Receiver<T> {
    fn new(shared: &Rc<Shared<T>>, next: u64) -> Self {
        shared.audience.join();
        Self {
            shared: Rc::clone(shared),
            next,
            place: Place::default(),
        }
    }

    /// How many values were sent and not yet received, those that will turn out to be missed included.
    pub fn len(&self) -> u64 {
        self.shared.ring.borrow().sent - self.next
    }

    /// Whether all that was sent was received.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Clone> Receiver<T> {
    /// The next value, as soon as there is one. Dropping the future loses none.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] once when values were missed; the next call goes on behind them. [`RecvError::Closed`]
    /// when all senders have gone and all values were received.
    pub async fn recv(&mut self) -> Result<T, RecvError> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// As [`Receiver::recv`], for those who poll.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Result<T, RecvError>> {
        ready!(coop::poll_proceed(context));
        let Self {
            shared,
            next,
            place,
        } = self;
        let look = || shared.next(next).transpose();
        let received = ready!(shared.audience.poll(place, context, look));
        Poll::Ready(received.map(Rc::unwrap_or_clone))
    }

    /// The next value if there is one.
    ///
    /// # Errors
    /// As [`Receiver::recv`].
    pub fn try_recv(&mut self) -> Result<Option<T>, RecvError> {
        // The last to receive a value need not clone it.
        let value = self.shared.next(&mut self.next)?;
        Ok(value.map(Rc::unwrap_or_clone))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let shared = &self.shared;
        // What is sent from the moment it leaves is not kept for it.
        let (oldest, sent) = {
            let ring = shared.ring.borrow();
            (ring.oldest(), ring.sent)
        };
        shared.audience.leave(&mut self.place);
        for number in self.next.max(oldest)..sent {
            let unwanted = shared.ring.borrow_mut().release(number);
            drop(unwanted);
        }
    }
}

#[cfg(feature = "futures")]
impl<T: Clone> futures_core::Stream for Receiver<T> {
    /// [`RecvError::Lagged`] may come in between; the stream goes on behind it.
    type Item = Result<T, RecvError>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        let received = ready!(self.get_mut().poll_recv(context));
        Poll::Ready(match received {
            Err(RecvError::Closed) => None,
            received => Some(received),
        })
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
