//! One value, once, from one task or callback to another on the same loop, or from another thread.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use super::error::{Closed, SendError};
use super::mailbox::{self, mailbox};
use crate::event_loop::{Detail, Handle, waits_on};
use crate::task::coop;

/// A sender and the receiver of what it sends.
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::sync::oneshot;
///
/// let mut event_loop = EventLoop::new()?;
/// let (sender, receiver) = oneshot::channel();
/// event_loop.call_soon(move |_| { let _ = sender.send("hello"); });
/// assert_eq!(event_loop.run_until(receiver)?, Ok("hello"));
/// # std::io::Result::Ok(())
/// ```
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Rc::new(RefCell::new(Shared {
        value: None,
        receiver: None,
        sender: None,
        is_closed: false,
    }));
    (
        Sender {
            shared: Rc::clone(&shared),
        },
        Receiver { shared },
    )
}

struct Shared<T> {
    value: Option<T>,
    /// To be woken when there is a value, or there will be none.
    receiver: Option<Waker>,
    /// To be woken when nobody wants one.
    sender: Option<Waker>,
    /// One of the two ends has gone.
    is_closed: bool,
}

/// See [`channel`].
pub struct Sender<T> {
    shared: Rc<RefCell<Shared<T>>>,
}

impl<T> Sender<T> {
    /// Send.
    ///
    /// # Errors
    /// Gives the value back when the receiver has gone.
    pub fn send(self, value: T) -> Result<(), T> {
        let mut shared = self.shared.borrow_mut();
        if shared.is_closed {
            return Err(value);
        }
        shared.value = Some(value);
        // Dropping `self` wakes the receiver.
        Ok(())
    }

    /// Whether the receiver has gone, so that nobody waits for the value any more.
    pub fn is_closed(&self) -> bool {
        self.shared.borrow().is_closed
    }

    /// Wait until the receiver has gone: what would be sent is not worth working for any more. Dropping the future
    /// changes nothing.
    pub async fn closed(&mut self) {
        poll_fn(|context| self.poll_closed(context)).await;
    }

    /// As [`Sender::closed`], for those who poll.
    pub fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        ready!(coop::poll_proceed(context));
        if self.is_closed() {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        let before = self.shared.borrow_mut().sender.replace(waker);
        drop(before);
        waits_on("channel", Detail::None);
        Poll::Pending
    }

    /// This sender, for another thread.
    #[track_caller]
    pub fn into_remote(mut self, handle: &Handle) -> RemoteSender<T>
    where
        T: Send + 'static,
    {
        let (sender, mailbox) = mailbox(Some(1));
        handle.spawn(async move {
            let closed_or_next = poll_fn(|context| match self.poll_closed(context) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => mailbox.poll_next(context),
            });
            if let Some(value) = closed_or_next.await {
                // A value that comes too late is dropped.
                let _ = self.send(value);
            }
        });
        RemoteSender(sender)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let (receiver, own) = {
            let mut shared = self.shared.borrow_mut();
            shared.is_closed = true;
            (shared.receiver.take(), shared.sender.take())
        };
        drop(own);
        if let Some(receiver) = receiver {
            receiver.wake();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("closed", &self.is_closed())
            .finish()
    }
}

/// A [`Sender`] for another thread. See [`Sender::into_remote`].
#[derive(Debug)]
pub struct RemoteSender<T>(mailbox::RemoteSender<T>);

impl<T> RemoteSender<T> {
    /// Send. Never blocks.
    ///
    /// # Errors
    /// Gives the value back when the receiver or its loop has gone. A receiver that goes while the value is on its way
    /// cannot be told of; the value is dropped then.
    pub fn send(self, value: T) -> Result<(), SendError<T>> {
        // There is room for one, and this is the only one.
        self.0.send(value)
    }
}

/// See [`channel`].
#[must_use = "a receiver that is dropped lets the sender know"]
pub struct Receiver<T> {
    shared: Rc<RefCell<Shared<T>>>,
}

impl<T> Receiver<T> {
    /// The value if it is there.
    ///
    /// # Errors
    /// When the sender was dropped without sending, or the value was received.
    pub fn try_recv(&mut self) -> Result<Option<T>, Closed> {
        let mut shared = self.shared.borrow_mut();
        match shared.value.take() {
            None if shared.is_closed => Err(Closed),
            value => Ok(value),
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Closed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(coop::poll_proceed(context));
        if let Some(received) = self.try_recv().transpose() {
            return Poll::Ready(received);
        }
        let waker = context.waker().clone();
        let before = self.shared.borrow_mut().receiver.replace(waker);
        drop(before);
        waits_on("channel", Detail::None);
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let (value, own, sender) = {
            let mut shared = self.shared.borrow_mut();
            shared.is_closed = true;
            let shared = &mut *shared;
            (
                shared.value.take(),
                shared.receiver.take(),
                shared.sender.take(),
            )
        };
        drop((value, own));
        if let Some(sender) = sender {
            sender.wake();
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}
