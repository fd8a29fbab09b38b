//! A name around an operation: how long it took, how much of that it worked, and how it failed if it did.

use std::borrow::Cow;
use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::pin;
use std::time::{Duration, Instant};

use crate::event_loop::{Finding, Handle, Origin, ScopeEnd, ScopeReport};

/// Time an operation, from now on, on the loop that is turning on this thread; and report its failure.
///
/// [`EventLoop::on_finding`](crate::event_loop::EventLoop::on_finding) is told at the end of the turn in which the
/// operation has failed, has panicked or was given up, or was slower than [`Scope::slow_after`]; in debug mode of every
/// end.
///
/// ```
/// use std::time::Duration;
/// use tourbillon::event_loop::{EventLoop, Finding, ScopeEnd};
/// use tourbillon::task::{scope, sleep};
///
/// async fn load(user: u32) -> Result<String, String> {
///     sleep(Duration::from_millis(5)).await;
///     Err(format!("there is no user {user}"))
/// }
///
/// let mut event_loop = EventLoop::new()?;
/// event_loop.on_finding(|finding| {
///     let Finding::Scope(report) = finding else { unreachable!() };
///     assert_eq!(report.end, ScopeEnd::Failed("there is no user 7".to_owned()));
///     assert!(report.took >= Duration::from_millis(5));
/// });
/// let loaded = event_loop.run_until(async { scope("load a user").wait(load(7)).await })?;
/// assert!(loaded.is_err(), "the result is passed on");
/// # std::io::Result::Ok(())
/// ```
///
/// # Panics
/// When no loop is turning on this thread.
#[track_caller]
pub fn scope(name: impl Into<Cow<'static, str>>) -> Scope {
    let handle = Handle::current();
    Scope {
        name: name.into(),
        origin: Location::caller(),
        since: handle.time(),
        busy: Duration::ZERO,
        slow_after: Duration::MAX,
        end: ScopeEnd::Left,
        handle,
    }
}

/// See [`scope`]. One that is dropped before its operation has ended says so.
#[derive(Debug)]
#[must_use = "a scope lasts until it is dropped"]
pub struct Scope {
    name: Cow<'static, str>,
    origin: Origin,
    since: Instant,
    busy: Duration,
    slow_after: Duration,
    end: ScopeEnd,
    handle: Handle,
}

impl Scope {
    /// Report an operation that takes so long even if it succeeds. Unless this is said, none is slow: an operation may
    /// wait for long, and rightly.
    pub fn slow_after(mut self, slow_after: Duration) -> Self {
        self.slow_after = slow_after;
        self
    }

    /// The operation is `future`.
    pub async fn wait<T, E: Display>(
        mut self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut future = pin!(future);
        let result = poll_fn(|context| {
            let began = self.handle.time();
            let polled = future.as_mut().poll(context);
            self.busy += self.handle.time().saturating_duration_since(began);
            polled
        })
        .await;
        self.ended(&result);
        result
    }

    /// The operation is `call`, which does not wait.
    pub fn run<T, E: Display>(mut self, call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let began = self.handle.time();
        let result = call();
        self.busy = self.handle.time().saturating_duration_since(began);
        self.ended(&result);
        result
    }

    fn ended<T, E: Display>(&mut self, result: &Result<T, E>) {
        self.end = match result {
            Ok(_) => ScopeEnd::Done,
            Err(error) => ScopeEnd::Failed(error.to_string()),
        };
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let took = (self.handle.time()).saturating_duration_since(self.since);
        let end = match std::mem::replace(&mut self.end, ScopeEnd::Left) {
            ScopeEnd::Left if std::thread::panicking() => ScopeEnd::Panicked,
            end => end,
        };
        let is_slow = took >= self.slow_after;
        if end != ScopeEnd::Done || is_slow || self.handle.is_debug() {
            self.handle.find(Finding::Scope(ScopeReport {
                name: self.name.clone(),
                origin: self.origin,
                took,
                busy: self.busy,
                end,
                is_slow,
            }));
        }
    }
}
