//! One value, once, from one task or callback to another on the same loop.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A sender and the receiver of what it sends.
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::task::oneshot;
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
        waker: None,
        closed: false,
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
    waker: Option<Waker>,
    /// One of the two ends has gone.
    closed: bool,
}

/// The sender was dropped without sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sender was dropped without sending")
    }
}

impl std::error::Error for Closed {}

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
        if shared.closed {
            return Err(value);
        }
        shared.value = Some(value);
        // Dropping `self` wakes the receiver.
        Ok(())
    }

    /// Whether the receiver has gone, so that nobody waits for the value any more.
    pub fn is_closed(&self) -> bool {
        self.shared.borrow().closed
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut shared = self.shared.borrow_mut();
            shared.closed = true;
            shared.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
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

/// See [`channel`].
#[must_use = "a receiver that is dropped lets the sender know"]
pub struct Receiver<T> {
    shared: Rc<RefCell<Shared<T>>>,
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Closed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut shared = self.shared.borrow_mut();
        if let Some(value) = shared.value.take() {
            return Poll::Ready(Ok(value));
        }
        if shared.closed {
            return Poll::Ready(Err(Closed));
        }
        shared.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut shared = self.shared.borrow_mut();
        shared.closed = true;
        let value = shared.value.take();
        drop(shared);
        drop(value);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}
