//! Ticks: something to do again and again, at a steady pace.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::coop::poll_proceed;
use super::sleep::Sleep;
use crate::event_loop::Handle;

/// Ticks `period` apart on the loop that is turning on this thread. The first one comes at once.
///
/// ```
/// use std::time::Duration;
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::task::interval;
///
/// let mut event_loop = EventLoop::new()?;
/// event_loop.run_until(async {
///     let mut ticks = interval(Duration::from_millis(2));
///     let first = ticks.tick().await;
///     let third = { ticks.tick().await; ticks.tick().await };
///     assert_eq!(third - first, Duration::from_millis(4));
/// })?;
/// # std::io::Result::Ok(())
/// ```
///
/// # Panics
/// When `period` is zero, or no loop is turning on this thread.
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    interval_at(Handle::current().time(), period)
}

/// As [`interval`], with the first tick at `start`.
///
/// # Panics
/// As [`interval`].
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval has a period");
    Interval {
        sleep: Handle::current().sleep_until(start),
        next: start,
        period,
        missed_ticks: MissedTicks::default(),
        jitter: Duration::ZERO,
        is_first: true,
    }
}

/// What becomes of ticks whose time has passed before they were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTicks {
    /// They come at once, one after another, until the old pace is caught up with: as many ticks as periods.
    #[default]
    Burst,
    /// One comes at once, and the next one a whole period after it: never less than a period between two.
    Delay,
    /// One comes at once, and the next one when the old pace has it: ticks stay on the multiples of the period.
    Skip,
}

/// See [`interval`].
#[derive(Debug)]
pub struct Interval {
    sleep: Sleep,
    /// The next tick's time, without its jitter.
    next: Instant,
    period: Duration,
    missed_ticks: MissedTicks,
    jitter: Duration,
    /// The sleep has not been given a jitter yet.
    is_first: bool,
}

impl Interval {
    /// What becomes of missed ticks. [`MissedTicks::Burst`] unless set.
    pub fn missed_ticks(mut self, missed_ticks: MissedTicks) -> Self {
        self.missed_ticks = missed_ticks;
        self
    }

    /// Let each tick be late by a random part of `jitter`, the first one included, so that those who began together do
    /// not all come together. The pace does not drift: lateness does not add up. Random as [`Handle::random`].
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// The time between two ticks.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Wait for the next tick. Returns the time it was meant for, without jitter.
    ///
    /// Cancelling it loses nothing: the tick comes when it is asked for again.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|context| self.poll_tick(context)).await
    }

    /// As [`Interval::tick`], for those who write a future by hand.
    pub fn poll_tick(&mut self, context: &mut Context<'_>) -> Poll<Instant> {
        if mem::take(&mut self.is_first) && !self.jitter.is_zero() {
            self.set_alarm();
        }
        // One tick after another may be due.
        ready!(poll_proceed(context));
        // Read now: by the turn's own time, a tick that is to come at once would be in the future.
        let now = self.sleep.handle().time();
        if now < self.sleep.when() {
            ready!(Pin::new(&mut self.sleep).poll(context));
        }
        let tick = self.next;
        self.next = self.after(tick, now);
        self.set_alarm();
        Poll::Ready(tick)
    }

    /// Begin anew: the next tick is a period from now.
    pub fn reset(&mut self) {
        self.next = self.sleep.handle().time() + self.period;
        self.is_first = false;
        self.set_alarm();
    }

    /// The tick after `tick`, which is given out `now`.
    fn after(&self, tick: Instant, now: Instant) -> Instant {
        let next = tick + self.period;
        match self.missed_ticks {
            MissedTicks::Burst => next,
            _ if next > now => next,
            MissedTicks::Delay => now + self.period,
            MissedTicks::Skip => {
                let since_last = (now - tick).as_nanos() % self.period.as_nanos();
                let since_last = u64::try_from(since_last).unwrap_or(u64::MAX);
                now + self.period - Duration::from_nanos(since_last)
            }
        }
    }

    fn set_alarm(&mut self) {
        let jitter = match u64::try_from(self.jitter.as_nanos()).unwrap_or(u64::MAX) {
            0 => Duration::ZERO,
            most => Duration::from_nanos(self.sleep.handle().random() % most),
        };
        self.sleep.reset(self.next + jitter);
    }
}
