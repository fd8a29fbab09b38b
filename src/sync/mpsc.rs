//! Many send, one receives: values in the order in which they were sent, to one task.
//!
//! The channel is a [`Queue`] that knows who is left: it is closed when all senders have gone, or the
//! receiver has.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::error::{Closed, TrySendError};
use super::mailbox::{RemoteSender, remote_sender};
use super::queue::{Get, Put, Queue};
use crate::event_loop::Handle;

/// A channel with room for `capacity` values. Who sends more waits until there is room.
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::sync::mpsc;
///
/// let mut event_loop = EventLoop::new()?;
/// let (sender, mut receiver) = mpsc::bounded(1);
/// event_loop.spawn(async move {
///     for number in 1..=3 {
///         sender.send(number).await.unwrap();
///     }
/// });
/// let sum = event_loop.run_until(async move {
///     let mut sum = 0;
///     while let Ok(number) = receiver.recv().await {
///         sum += number;
///     }
///     sum
/// })?;
/// assert_eq!(sum, 6);
/// # std::io::Result::Ok(())
/// ```
///
/// # Panics
/// With a capacity of 0.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    ends(Queue::with_capacity(Some(capacity), "channel"))
}

/// A channel that always has room: what keeps it short must be elsewhere. [`Sender::try_send`] is the way to send
/// there.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    ends(Queue::with_capacity(None, "channel"))
}

fn ends<T>(queue: Queue<T>) -> (Sender<T>, Receiver<T>) {
    let receiver = Receiver { get: queue.get() };
    (Sender(Rc::new(Senders { queue })), receiver)
}

/// The end of a channel that values are put into. Clones are more senders; the channel is closed when the last has
/// gone.
pub struct Sender<T>(Rc<Senders<T>>);

/// All senders of a channel.
struct Senders<T> {
    queue: Queue<T>,
}

impl<T> Drop for Senders<T> {
    fn drop(&mut self) {
        self.queue.shutdown();
    }
}

impl<T> Sender<T> {
    /// Send a value, as soon as there is room. First come, first served. Dropping the future drops the value, unless
    /// it has been sent.
    ///
    /// # Errors
    /// With the value, when the receiver has gone.
    pub fn send(&self, value: T) -> Put<T> {
        self.0.queue.put(value)
    }

    /// Send a value if there is room and nobody waits for it.
    ///
    /// # Errors
    /// With the value, when there is none, or the receiver has gone.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.0.queue.try_put(value)
    }

    /// Whether the receiver has gone.
    pub fn is_closed(&self) -> bool {
        self.0.queue.is_shut_down()
    }

    /// Wait until the receiver has gone. Dropping the future changes nothing.
    pub async fn closed(&self) {
        self.0.queue.wait_shut_down().await;
    }

    /// A sender for other threads. A bounded channel holds at most its capacity for them again.
    #[track_caller]
    pub fn remote(&self, handle: &Handle) -> RemoteSender<T>
    where
        T: Send + 'static,
    {
        let sender = self.clone();
        let queue = &self.0.queue;
        remote_sender(
            handle,
            queue.capacity(),
            queue.wait_shut_down(),
            async move |value| sender.send(value).await.is_ok(),
        )
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
            .field("queue", &self.0.queue)
            .finish()
    }
}

/// The end of a channel that values come out of. When it is dropped, so are the values in the channel.
pub struct Receiver<T> {
    get: Get<T>,
}

impl<T> Receiver<T> {
    /// The next value, as soon as there is one. Dropping the future loses none.
    ///
    /// # Errors
    /// When all senders have gone and all values were received.
    pub async fn recv(&mut self) -> Result<T, Closed> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// As [`Receiver::recv`], for those who poll.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Result<T, Closed>> {
        Pin::new(&mut self.get).poll(context)
    }

    /// The next value if there is one.
    ///
    /// # Errors
    /// As [`Receiver::recv`].
    pub fn try_recv(&mut self) -> Result<Option<T>, Closed> {
        // A value may have been promised to a `recv` that was dropped since.
        self.get.leave();
        self.get.queue().try_get()
    }

    /// Let nothing more be sent. What is in the channel can still be received.
    pub fn close(&mut self) {
        self.get.queue().shutdown();
    }

    /// How many values wait in the channel.
    pub fn len(&self) -> usize {
        self.get.queue().len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.get.queue().is_empty()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.get.queue().shutdown_now();
    }
}

#[cfg(feature = "futures")]
impl<T> futures_core::Stream for Receiver<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.get_mut().poll_recv(context).map(Result::ok)
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("queue", self.get.queue())
            .finish()
    }
}
