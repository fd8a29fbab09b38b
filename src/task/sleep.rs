//! Waiting for time to pass, and for a turn.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::event_loop::{CallHandle, Detail, Handle, waits_on};

/// Wait for `delay` from now on the loop that is turning on this thread; as exact as [`Handle::call_later`]. Dropping
/// the future takes its timer back.
///
/// # Panics
/// When no loop is turning on this thread.
pub fn sleep(delay: Duration) -> Sleep {
    Handle::current().sleep(delay)
}

/// As [`sleep`], until the loop's [`Handle::time`] has reached `when`.
///
/// # Panics
/// When no loop is turning on this thread.
pub fn sleep_until(when: Instant) -> Sleep {
    Sleep {
        handle: Handle::current(),
        when,
        timer: None,
    }
}

impl Handle {
    /// As the function [`sleep`], on this loop.
    pub fn sleep(&self, delay: Duration) -> Sleep {
        Sleep {
            handle: self.clone(),
            when: self.time() + delay,
            timer: None,
        }
    }
}

/// See [`sleep`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    handle: Handle,
    when: Instant,
    timer: Option<CallHandle>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match &self.timer {
            Some(timer) if !timer.is_pending() => return Poll::Ready(()),
            // Whoever polls now is the one to wake.
            Some(timer) => {
                timer.cancel();
            }
            None if self.when <= self.handle.now() => return Poll::Ready(()),
            None => {}
        }
        let waker = context.waker().clone();
        self.timer = Some(self.handle.call_at(self.when, move |_| waker.wake()));
        waits_on("timer", Detail::Until(self.when));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = &self.timer {
            timer.cancel();
        }
    }
}

/// Let everything else that is ready run first, the sockets included: the task goes on in the next turn.
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// See [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        context.waker().wake_by_ref();
        waits_on("turn", Detail::None);
        Poll::Pending
    }
}
