//! Sending a request again: when that is safe, when the policy wants it, and after what pause.

use std::time::{Duration, SystemTime};

use super::error::{Error, ErrorKind, Phase};
use crate::proto::http1::{PeerError, date};

/// When a request that failed is sent again. Only one whose method is idempotent (RFC 9110, 9.2.2) and whose body, if
/// it has one, is there to be sent again.
///
/// The pause before retry `n` is random between half and all of `pause · 2ⁿ⁻¹`, at most `pause_max`, so that those who
/// failed together do not come back together. A `Retry-After` is obeyed if it asks for more, and not waited for if it
/// asks for more than `retry_after_max`.
///
/// The budget bounds what retries add to the load of a server in distress: each request pays in a tenth, each retry
/// takes one out, and without any left none is made.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// How many times a request is sent again at most.
    pub max: u32,
    /// The pause before the first retry.
    pub pause: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// The longest `Retry-After` that is waited for.
    pub retry_after_max: Duration,
    /// The statuses that are worth another try.
    pub statuses: Vec<u16>,
    /// How many retries may be saved up; with which a client begins.
    pub budget: u32,
}

impl Default for RetryPolicy {
    /// Three, from 100 ms to 10 s, for 429, 502, 503, 504, and a budget of ten.
    fn default() -> Self {
        Self {
            max: 3,
            pause: Duration::from_millis(100),
            pause_max: Duration::from_secs(10),
            retry_after_max: Duration::from_secs(30),
            statuses: vec![429, 502, 503, 504],
            budget: 10,
        }
    }
}

impl RetryPolicy {
    /// Send nothing again. (A request that met a pooled connection which its server had closed is sent again all the
    /// same, where that is safe: it never reached anybody.)
    pub fn none() -> Self {
        Self {
            max: 0,
            ..Self::default()
        }
    }

    /// How long to wait before retry `number`, counted from 1. `random` is any number.
    pub(super) fn pause_before(&self, number: u32, random: u64) -> Duration {
        let doubled = self
            .pause
            .saturating_mul(1 << number.saturating_sub(1).min(20));
        let whole = doubled.min(self.pause_max);
        let half = whole / 2;
        // 32 bits are fine enough a grain for a pause.
        half + half.mul_f64(f64::from((random >> 32) as u32) / f64::from(u32::MAX))
    }
}

/// What is left of a policy's budget, in tenths of a retry.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetryBudget(u32);

impl RetryBudget {
    pub(super) fn new(policy: &RetryPolicy) -> Self {
        Self(policy.budget.saturating_mul(10))
    }

    /// A request is sent for the first time.
    pub(super) fn pay_in(&mut self, policy: &RetryPolicy) {
        self.0 = self
            .0
            .saturating_add(1)
            .min(policy.budget.saturating_mul(10));
    }

    fn take(&mut self) -> bool {
        let left = self.0.checked_sub(10);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// What one try came to, as far as a policy cares.
pub(super) enum Outcome<'a> {
    Failed(&'a Error),
    Answered {
        status: u16,
        retry_after: Option<&'a str>,
    },
}

/// How long to wait before the request is sent again, or `None` if it is not. `retries` have been made before, `now` is
/// the time of day.
pub(super) fn pause(
    policy: &RetryPolicy,
    budget: &mut RetryBudget,
    outcome: &Outcome<'_>,
    retries: u32,
    now: SystemTime,
    random: u64,
) -> Option<Duration> {
    if retries >= policy.max {
        return None;
    }
    let asked = match outcome {
        Outcome::Failed(error) if is_transient(error) => None,
        Outcome::Answered {
            status,
            retry_after,
        } if policy.statuses.contains(status) => {
            retry_after.and_then(|text| read_retry_after(text, now))
        }
        _ => return None,
    };
    if asked.is_some_and(|asked| asked > policy.retry_after_max) || !budget.take() {
        return None;
    }
    let own = policy.pause_before(retries + 1, random);
    Some(asked.map_or(own, |asked| asked.max(own)))
}

/// Whether another try may end otherwise.
fn is_transient(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Io(_) => true,
        ErrorKind::Peer(fault) => matches!(fault, PeerError::NoResponse | PeerError::Truncated),
        ErrorKind::ProxyRefused(status) => *status >= 500,
        // A wait for the pool is not shortened by another one, and a total that is spent is spent.
        ErrorKind::Timeout(_) => error.phase() > Phase::Pool,
        _ => false,
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3). Only the form of dates that is not obsolete.
fn read_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(date::read(text)?);
    Some(then.duration_since(now).unwrap_or(Duration::ZERO))
}

/// Whether doing it twice is the same as doing it once (RFC 9110, 9.2.2).
pub(super) fn is_idempotent(method: &str) -> bool {
    matches!(
        method,
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"
    )
}

/// Whether a request that failed on a connection from the pool may go out on another one at once: the connection ended
/// before a byte of a response, as it does when the server closed it while it was idle, and either nothing was written
/// or the method is idempotent (RFC 9110, 9.2.2; RFC 9112, 9.3.1).
pub(super) fn is_replay_safe(
    error: &Error,
    method: &str,
    was_written: bool,
    was_answered: bool,
) -> bool {
    let ended_unanswered = match error.kind() {
        ErrorKind::Peer(fault) => *fault == PeerError::NoResponse,
        ErrorKind::Io(_) => !was_answered,
        _ => false,
    };
    ended_unanswered && (!was_written || is_idempotent(method))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn ask(policy: &RetryPolicy, outcome: &Outcome<'_>, retries: u32) -> Option<Duration> {
        let mut budget = RetryBudget::new(policy);
        pause(policy, &mut budget, outcome, retries, NOW, 0)
    }

    fn answered(status: u16, retry_after: Option<&str>) -> Outcome<'_> {
        Outcome::Answered {
            status,
            retry_after,
        }
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_are_scattered_over_their_upper_half() {
        let policy = RetryPolicy::default();
        let millis = |number, random| policy.pause_before(number, random).as_millis();
        assert_eq!((millis(1, 0), millis(1, u64::MAX)), (50, 100));
        assert_eq!((millis(3, 0), millis(3, u64::MAX)), (200, 400));
        assert_eq!((millis(40, 0), millis(40, u64::MAX)), (5_000, 10_000));
    }

    #[test]
    fn retry_after_is_obeyed_within_reason() {
        let policy = RetryPolicy::default();
        let after = |text| ask(&policy, &answered(503, Some(text)), 0).map(|pause| pause.as_secs());
        assert_eq!(after("7"), Some(7));
        assert_eq!(after("0"), Some(0));
        assert_eq!(after("31"), None);
        assert_eq!(after("99999999999999999999999"), None);
        assert_eq!(after("Thu, 01 Jan 1970 00:00:09 GMT"), Some(9));
        assert_eq!(after("Thu, 01 Jan 1970 00:01:00 GMT"), None);
        assert_eq!(after("soon"), Some(0));
    }

    #[test]
    fn only_what_may_end_otherwise_is_tried_again() {
        let policy = RetryPolicy::default();
        let is_retried =
            |kind, phase| ask(&policy, &Outcome::Failed(&Error::new(kind, phase)), 0).is_some();
        let reset = || ErrorKind::Io(io::ErrorKind::ConnectionReset.into());
        assert!(is_retried(reset(), Phase::Wait));
        assert!(is_retried(
            ErrorKind::Peer(PeerError::NoResponse),
            Phase::Wait
        ));
        assert!(!is_retried(
            ErrorKind::Peer(PeerError::BadStatusLine),
            Phase::Wait
        ));
        assert!(!is_retried(ErrorKind::TooManyRedirects(10), Phase::Wait));
        assert!(ask(&policy, &answered(503, None), 0).is_some());
        assert!(ask(&policy, &answered(500, None), 0).is_none());
        assert!(ask(&policy, &answered(200, None), 0).is_none());
        assert!(ask(&policy, &answered(503, None), 3).is_none());
        assert!(ask(&RetryPolicy::none(), &answered(503, None), 0).is_none());
    }

    #[test]
    fn a_budget_that_is_spent_ends_retries_until_requests_pay_in() {
        let policy = RetryPolicy {
            budget: 2,
            ..RetryPolicy::default()
        };
        let mut budget = RetryBudget::new(&policy);
        let mut try_again = |pays: u32| {
            (0..pays).for_each(|_| budget.pay_in(&policy));
            pause(&policy, &mut budget, &answered(503, None), 0, NOW, 0).is_some()
        };
        assert!(try_again(1));
        assert!(try_again(0));
        assert!(!try_again(0));
        assert!(!try_again(9));
        assert!(try_again(1));
        assert!(!try_again(0));
    }

    #[test]
    fn a_request_is_replayed_only_if_nobody_can_have_acted_on_it_twice() {
        let is_replay_safe = |error: &Error, method, was_written| {
            super::is_replay_safe(error, method, was_written, error.phase() == Phase::Body)
        };
        let none = || Error::new(ErrorKind::Peer(PeerError::NoResponse), Phase::Wait);
        let reset = |phase| Error::new(ErrorKind::Io(io::ErrorKind::ConnectionReset.into()), phase);
        assert!(is_replay_safe(&none(), "GET", true));
        assert!(is_replay_safe(&none(), "PUT", true));
        assert!(!is_replay_safe(&none(), "POST", true));
        assert!(is_replay_safe(&none(), "POST", false));
        assert!(is_replay_safe(&reset(Phase::Send), "GET", true));
        assert!(!is_replay_safe(&reset(Phase::Send), "PATCH", true));
        assert!(!is_replay_safe(&reset(Phase::Body), "GET", true));
        let truncated = Error::new(ErrorKind::Peer(PeerError::Truncated), Phase::Wait);
        assert!(!is_replay_safe(&truncated, "GET", true));
    }
}
