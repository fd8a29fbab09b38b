//! How long things may take, and one timer for all of them.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::error::{Error, ErrorKind, Phase, TimeLimit, Timeout};
use crate::event_loop::{CallHandle, Handle};

/// Time limits of a request. `None` is no limit. The names, and what each is about, are aiohttp's where it has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// The whole, from sending to the last byte of the body, redirects and retries included: 300 s.
    pub total: Option<Duration>,
    /// From the wish for a connection until there is one: the wait for a place, and opening it. None.
    pub connect: Option<Duration>,
    /// The wait for a place in the pool alone. None.
    pub pool: Option<Duration>,
    /// Opening one connection: the name, TCP, a proxy's tunnel, TLS. 30 s.
    pub sock_connect: Option<Duration>,
    /// The longest pause between two reads while a response is awaited. None.
    pub sock_read: Option<Duration>,
    /// The longest time in which the server takes no byte of what is to be sent. None.
    pub write: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            total: Some(Duration::from_secs(300)),
            connect: None,
            pool: None,
            sock_connect: Some(Duration::from_secs(30)),
            sock_read: None,
            write: None,
        }
    }
}

impl Timeouts {
    /// No limit at all: for what may last for ever.
    pub const NONE: Self = Self {
        total: None,
        connect: None,
        pool: None,
        sock_connect: None,
        sock_read: None,
        write: None,
    };
}

/// A moment by which something must have happened, and the limit it comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    when: Instant,
    limit: TimeLimit,
    after: Duration,
}

impl Deadline {
    /// `after` from now.
    pub(super) fn set(handle: &Handle, limit: TimeLimit, after: Option<Duration>) -> Option<Self> {
        let after = after?;
        Some(Self {
            when: handle.time().checked_add(after)?,
            limit,
            after,
        })
    }

    fn reached(&self) -> Timeout {
        Timeout {
            limit: self.limit,
            after: self.after,
            pool: None,
        }
    }
}

/// The deadlines of one request. However many there are, one timer runs: it is set when something has to be waited
/// for, and moved only when an earlier one comes up, so that a request that is answered in time sets it once.
pub(super) struct Deadlines {
    handle: Handle,
    total: Option<Deadline>,
    timer: Option<Timer>,
}

struct Timer {
    call: CallHandle,
    when: Instant,
    waker: Waker,
}

impl Deadlines {
    /// The request begins.
    pub(super) fn begin(handle: Handle, timeouts: &Timeouts) -> Self {
        Self {
            total: Deadline::set(&handle, TimeLimit::Total, timeouts.total),
            handle,
            timer: None,
        }
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ready when the first of `deadlines`, or the total, has passed; to be polled after what they are for was pending.
    /// The task is woken then, and also at `wake_at`.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        deadlines: &[Option<Deadline>],
        wake_at: Option<Instant>,
    ) -> Poll<Timeout> {
        let all = deadlines.iter().chain([&self.total]).flatten();
        let first = all.min_by_key(|deadline| deadline.when);
        if let Some(first) = first.filter(|first| first.when <= self.handle.now()) {
            return Poll::Ready(first.reached());
        }
        let when = [first.map(|first| first.when), wake_at]
            .into_iter()
            .flatten()
            .min();
        if let Some(when) = when {
            self.arm(when, context.waker());
        }
        Poll::Pending
    }

    /// The limit on the whole, if it has passed: for what need not be waited for and still has to end.
    pub(super) fn total_reached(&self) -> Option<Timeout> {
        let total = self.total.filter(|total| total.when <= self.handle.now());
        total.map(|total| total.reached())
    }

    /// The result of `future`, or the first of `deadlines` that passed, in the phase that it was in.
    pub(super) async fn run<T>(
        &mut self,
        deadlines: &[Option<Deadline>],
        phase: &Cell<Phase>,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => self
                .poll(context, deadlines, None)
                .map(|timeout| Err(Error::new(ErrorKind::Timeout(timeout), phase.get()))),
        })
        .await
    }

    fn arm(&mut self, when: Instant, waker: &Waker) {
        if let Some(timer) = &self.timer {
            // One that comes too early only costs another poll.
            let is_early = timer.when <= when && timer.call.is_pending();
            if is_early && timer.waker.will_wake(waker) {
                return;
            }
            timer.call.cancel();
        }
        let woken = waker.clone();
        self.timer = Some(Timer {
            call: self.handle.call_at(when, move |_| woken.wake()),
            when,
            waker: waker.clone(),
        });
    }
}

impl Drop for Deadlines {
    fn drop(&mut self) {
        if let Some(timer) = &self.timer {
            timer.call.cancel();
        }
    }
}
