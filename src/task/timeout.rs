//! Limits of time for futures, which can be moved while they run.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::sleep::Sleep;
use crate::event_loop::Handle;

/// Run `future` for `limit` at most, from now. When that has passed it is dropped, with all it holds.
///
/// A future that is done in the very turn in which its time is over has won. Cancelling the timeout cancels the
/// future.
///
/// ```
/// use std::time::Duration;
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::task::{Elapsed, sleep, timeout};
///
/// let mut event_loop = EventLoop::new()?;
/// event_loop.run_until(async {
///     let limit = Duration::from_millis(2);
///     assert_eq!(timeout(limit, async { 42 }).await, Ok(42));
///     assert_eq!(timeout(limit, sleep(Duration::from_secs(60))).await, Err(Elapsed));
/// })?;
/// # std::io::Result::Ok(())
/// ```
///
/// # Panics
/// When no loop is turning on this thread.
pub fn timeout<F: Future>(
    limit: Duration,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> {
    timeout_at(Handle::current().time() + limit, future)
}

/// As [`timeout`], until [`Handle::time`] has reached `when`.
///
/// # Panics
/// When no loop is turning on this thread.
pub fn timeout_at<F: Future>(
    when: Instant,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> {
    let deadline = Deadline::at(Some(when));
    async move { deadline.limit(future).await }
}

/// The time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time is over")
    }
}

impl std::error::Error for Elapsed {}

/// A limit of time that can be moved while the future runs that it limits: by the future itself, or by others. A clone
/// is the same deadline.
///
/// ```
/// use std::time::Duration;
/// use tourbillon::event_loop::{EventLoop, Handle};
/// use tourbillon::task::{Deadline, sleep};
///
/// let mut event_loop = EventLoop::new()?;
/// event_loop.run_until(async {
///     let deadline = Deadline::after(Duration::from_millis(2));
///     let extended = deadline.clone();
///     let work = async move {
///         extended.reschedule(None); // it has got what it needs and may take its time
///         sleep(Duration::from_millis(4)).await;
///     };
///     assert!(deadline.limit(work).await.is_ok());
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Deadline(Rc<Shared>);

struct Shared {
    when: Cell<Option<Instant>>,
    /// Of the future that is limited.
    waker: Cell<Option<Waker>>,
    is_expired: Cell<bool>,
}

impl Deadline {
    /// `limit` from now on the loop that is turning on this thread.
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub fn after(limit: Duration) -> Self {
        Self::at(Some(Handle::current().time() + limit))
    }

    /// At `when`; `None` is never.
    pub fn at(when: Option<Instant>) -> Self {
        Self(Rc::new(Shared {
            when: Cell::new(when),
            waker: Cell::new(None),
            is_expired: Cell::new(false),
        }))
    }

    /// When it is, `None` for never.
    pub fn when(&self) -> Option<Instant> {
        self.0.when.get()
    }

    /// Move it to `when`; `None` is never. Has no effect once it has ended a future.
    pub fn reschedule(&self, when: Option<Instant>) {
        self.0.when.set(when);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }

    /// Whether it has ended a future.
    pub fn is_expired(&self) -> bool {
        self.0.is_expired.get()
    }

    /// Run `future` until the deadline at most, see [`timeout`]. One future at a time.
    ///
    /// # Errors
    /// [`Elapsed`] when it took longer; it was dropped then.
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn limit<F: Future>(&self, future: F) -> Result<F::Output, Elapsed> {
        let handle = Handle::current();
        let mut future = pin!(future);
        let mut alarm: Option<Sleep> = None;
        poll_fn(|context| {
            // Before the future, so that the future has the last word on what the task waits on.
            let is_over = self.poll_alarm(&handle, &mut alarm, context);
            let before = self.when();
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            let is_over = match self.when() == before {
                true => is_over,
                false => self.poll_alarm(&handle, &mut alarm, context),
            };
            self.0.is_expired.set(is_over);
            if is_over {
                return Poll::Ready(Err(Elapsed));
            }
            self.0.waker.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await
    }

    /// Whether it has come. Otherwise the task is woken when it does.
    fn poll_alarm(
        &self,
        handle: &Handle,
        alarm: &mut Option<Sleep>,
        context: &mut Context<'_>,
    ) -> bool {
        let Some(when) = self.when() else {
            *alarm = None;
            return false;
        };
        if when <= handle.now() {
            return true;
        }
        let alarm = alarm.get_or_insert_with(|| handle.sleep_until(when));
        if alarm.when() != when {
            alarm.reset(when);
        }
        Pin::new(alarm).poll(context).is_ready()
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadline")
            .field("when", &self.when())
            .field("expired", &self.is_expired())
            .finish_non_exhaustive()
    }
}
