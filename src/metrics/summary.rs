//! What came of a number of attempts: how many succeeded, how long they took, how many there were a second.

use std::fmt;
use std::time::Duration;

use super::{Counter, Histogram, Memory};

/// Counts attempts, each with its end and its duration.
///
/// ```
/// use std::time::Duration;
/// use tourbillon::metrics::Outcomes;
///
/// let mut outcomes = Outcomes::new();
/// outcomes.success(Duration::from_millis(20));
/// outcomes.failure(Duration::from_millis(40));
/// let summary = outcomes.summary(Duration::from_secs(1));
/// assert_eq!((summary.total, summary.failures), (2, 1));
/// assert_eq!(summary.mean, Some(Duration::from_millis(30)));
/// assert_eq!(summary.throughput, 2.0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    successes: Counter,
    failures: Counter,
    durations: Histogram,
}

impl Outcomes {
    /// No attempts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One has succeeded, and took `duration`.
    pub fn success(&mut self, duration: Duration) {
        self.successes.count();
        self.durations.record(duration);
    }

    /// One has failed, after `duration`.
    pub fn failure(&mut self, duration: Duration) {
        self.failures.count();
        self.durations.record(duration);
    }

    /// Count the attempts of `other`, too.
    pub fn merge(&mut self, other: &Self) {
        self.successes.add(other.successes.get());
        self.failures.add(other.failures.get());
        self.durations.merge(&other.durations);
    }

    /// How long all of them took, those that failed included.
    pub fn durations(&self) -> &Histogram {
        &self.durations
    }

    /// What came of them in `elapsed`, from the beginning of the first to the end of the last by the clock on the
    /// wall; with the memory that the process has now.
    pub fn summary(&self, elapsed: Duration) -> Summary {
        let (successes, failures) = (self.successes.get(), self.failures.get());
        let total = successes + failures;
        Summary {
            total,
            successes,
            failures,
            mean: self.durations.mean(),
            p50: self.durations.p50(),
            p95: self.durations.p95(),
            p99: self.durations.p99(),
            max: self.durations.max(),
            elapsed,
            throughput: throughput(total, elapsed),
            memory: Memory::of_process(),
        }
    }
}

/// How many a second: `count` in `elapsed`. 0 when no time has passed.
///
/// From the time that passed, and not from the sum of the durations: of ten requests at a time, each of which takes a
/// second, there are ten a second.
pub fn throughput(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() {
        return 0.0;
    }
    count as f64 / elapsed.as_secs_f64()
}

/// What came of a number of attempts. Prints itself, a line each. The durations are `None` when there was no attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// All attempts.
    pub total: u64,
    /// Those that succeeded.
    pub successes: u64,
    /// Those that did not.
    pub failures: u64,
    /// The mean duration.
    pub mean: Option<Duration>,
    /// What half of them did not exceed. See [`Histogram::percentile`].
    pub p50: Option<Duration>,
    /// What 95 of 100 did not exceed.
    pub p95: Option<Duration>,
    /// What 99 of 100 did not exceed.
    pub p99: Option<Duration>,
    /// The longest duration.
    pub max: Option<Duration>,
    /// The time in which all this happened.
    pub elapsed: Duration,
    /// Attempts a second.
    pub throughput: f64,
    /// Of the process, when this was made. `None` where it is not known.
    pub memory: Option<Memory>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            total,
            successes,
            failures,
            elapsed,
            throughput,
            ..
        } = self;
        writeln!(
            f,
            "total       {total} ({successes} succeeded, {failures} failed)"
        )?;
        let durations = [
            ("mean", self.mean),
            ("p50", self.p50),
            ("p95", self.p95),
            ("p99", self.p99),
            ("max", self.max),
        ];
        for (name, duration) in durations {
            if let Some(duration) = duration {
                writeln!(f, "{name:<12}{duration:.1?}")?;
            }
        }
        write!(f, "throughput  {throughput:.1}/s over {elapsed:.1?}")?;
        if let Some(memory) = self.memory {
            write!(f, "\nmemory      {memory}")?;
        }
        Ok(())
    }
}
