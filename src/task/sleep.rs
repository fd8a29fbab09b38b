//! Waiting for time to pass, and for a turn.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::event_loop::{Detail, Handle, TimerId, waits_on};

/// Wait for `delay` from now on the loop that is turning on this thread; as exact as [`Handle::call_later`]. No delay
/// at all is a turn, as [`yield_now`].
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
    Handle::current().sleep_until(when)
}

impl Handle {
    /// As the function [`sleep`], on this loop.
    pub fn sleep(&self, delay: Duration) -> Sleep {
        self.sleep_until(self.time() + delay)
    }

    /// As the function [`sleep_until`], on this loop.
    pub fn sleep_until(&self, when: Instant) -> Sleep {
        Sleep {
            handle: self.clone(),
            when,
            stage: Stage::New,
        }
    }
}

/// See [`sleep`]. Cancelling it takes its timer back.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    handle: Handle,
    when: Instant,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Not polled yet.
    New,
    /// The time had passed when it was polled first; one turn is still to pass.
    Yielded,
    /// Polled, and waits for this timer or has seen it fire.
    Set(TimerId),
}

impl Sleep {
    /// When it ends.
    pub fn when(&self) -> Instant {
        self.when
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// End at `when` instead. A sleep that is over begins anew.
    pub fn reset(&mut self, when: Instant) {
        self.when = when;
        match self.stage {
            Stage::Set(timer) if self.handle.move_timer_to(timer, when) => {}
            _ => self.stage = Stage::New,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.stage {
            Stage::New if self.when <= self.handle.now() => {
                self.stage = Stage::Yielded;
                context.waker().wake_by_ref();
            }
            Stage::New => {
                self.stage = Stage::Set(self.handle.wake_at(self.when, context.waker()));
            }
            // Whoever polls now is the one to wake.
            Stage::Set(timer) if self.handle.wake_instead(timer, context.waker()) => {}
            Stage::Set(_) | Stage::Yielded => return Poll::Ready(()),
        }
        waits_on("timer", Detail::Until(self.when));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Stage::Set(timer) = self.stage {
            self.handle.cancel_timer(timer);
        }
    }
}

/// Let everything else that is ready run first, the sockets included: the task goes on in the next turn.
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// See [`yield_now`]. Cancelling it loses nothing.
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
