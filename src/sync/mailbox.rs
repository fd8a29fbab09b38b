//! The way in from other threads.
//!
//! The channels here live on one thread and pay for no other. A sender for other threads puts its values into a queue
//! beside them, and rings: a small task of the loop, the pump, is woken through the loop's
//! [`Remote`](crate::event_loop::Remote) as any task is that is woken from outside, and sends them on as if it were
//! one more sender of that thread.
//!
//! ```text
//!   RemoteSender ─┐                       other threads │ the loop's thread
//!   RemoteSender ─┴─► queue, bell ──────── wakes ───────┼─► pump ── send ──► the channel
//! ```

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use crossbeam_channel as crossbeam;

use super::error::{SendError, TrySendError};
use super::event::Wait;
use crate::event_loop::{Detail, Handle, waits_on};
use crate::task::coop;

/// A sender of a channel, for other threads. Cheap to clone. Values of one thread arrive in the order in which they
/// were sent.
///
/// Values that were sent and not yet brought into the channel are dropped when the loop ends or the receivers go.
pub struct RemoteSender<T> {
    // Gone before the bell rings for the last time: fields are dropped in this order.
    queue: crossbeam::Sender<T>,
    bell: Rope,
}

/// The waker of the pump.
#[derive(Default)]
struct Bell(Mutex<Option<Waker>>);

impl Bell {
    fn ring(&self) {
        let waker = self.waker().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sender's hold on the bell, which rings when it lets go: the pump ends with the last sender.
#[derive(Clone)]
struct Rope(Arc<Bell>);

impl Drop for Rope {
    fn drop(&mut self) {
        self.0.ring();
    }
}

impl<T> RemoteSender<T> {
    /// Send a value. Blocks the thread while as many values are on their way as the channel has room for; never call
    /// it on the loop's own thread, which could not make room meanwhile.
    ///
    /// # Errors
    /// With the value, when nobody will receive it.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        let sent = self.queue.send(value);
        self.bell.0.ring();
        sent.map_err(|error| SendError(error.0))
    }

    /// Send a value if that can be done without waiting.
    ///
    /// # Errors
    /// With the value, when there is no room, or nobody will receive it.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let sent = self.queue.try_send(value);
        self.bell.0.ring();
        sent.map_err(|error| match error {
            crossbeam::TrySendError::Full(value) => TrySendError::Full(value),
            crossbeam::TrySendError::Disconnected(value) => TrySendError::Closed(value),
        })
    }
}

impl<T> Clone for RemoteSender<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            bell: self.bell.clone(),
        }
    }
}

impl<T> fmt::Debug for RemoteSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSender")
            .field("waiting", &self.queue.len())
            .finish_non_exhaustive()
    }
}

/// The loop's end.
pub(super) struct Mailbox<T> {
    queue: crossbeam::Receiver<T>,
    bell: Arc<Bell>,
}

impl<T> Mailbox<T> {
    /// The next value; `None` when all senders have gone.
    pub(super) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<T>> {
        ready!(coop::poll_proceed(context));
        if let Poll::Ready(value) = self.look() {
            return Poll::Ready(value);
        }
        let waker = context.waker().clone();
        let before = self.bell.waker().replace(waker);
        drop(before);
        // A sender puts its value into the queue and then takes the waker; we leave the waker and then look. One of
        // the two sees the other.
        let seen = self.look();
        if seen.is_pending() {
            waits_on("channel", Detail::None);
        }
        seen
    }

    fn look(&self) -> Poll<Option<T>> {
        match self.queue.try_recv() {
            Ok(value) => Poll::Ready(Some(value)),
            Err(crossbeam::TryRecvError::Disconnected) => Poll::Ready(None),
            Err(crossbeam::TryRecvError::Empty) => Poll::Pending,
        }
    }
}

/// A way from other threads into the loop's, with room for `capacity` values.
pub(super) fn mailbox<T>(capacity: Option<usize>) -> (RemoteSender<T>, Mailbox<T>) {
    let (queue, values) = match capacity {
        Some(capacity) => crossbeam::bounded(capacity),
        None => crossbeam::unbounded(),
    };
    let bell = Arc::new(Bell::default());
    let mailbox = Mailbox {
        queue: values,
        bell: Arc::clone(&bell),
    };
    let sender = RemoteSender {
        queue,
        bell: Rope(bell),
    };
    (sender, mailbox)
}

/// A sender for other threads whose values come to `deliver`, one after the other, on `handle`'s loop: until all
/// clones of it have gone, `deliver` answers `false`, or `closed` happens.
#[track_caller]
pub(super) fn remote_sender<T: Send + 'static>(
    handle: &Handle,
    capacity: Option<usize>,
    mut closed: Wait,
    mut deliver: impl AsyncFnMut(T) -> bool + 'static,
) -> RemoteSender<T> {
    let (sender, mailbox) = mailbox(capacity);
    handle.spawn(async move {
        let mut next = async || {
            poll_fn(|context| match Pin::new(&mut closed).poll(context) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => mailbox.poll_next(context),
            })
            .await
        };
        while let Some(value) = next().await
            && deliver(value).await
        {}
    });
    sender
}
