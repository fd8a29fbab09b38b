//! How long things took, in memory that does not grow: a histogram with buckets that widen with what they count.
//!
//! To know the 95th percentile of a million durations one need not keep a million numbers, if 3.91 s will do for 3.90
//! s. So durations are counted in buckets: 64 for each doubling, so that each is at most a 64th as wide as what it
//! counts.
//!
//! ```text
//!   nanoseconds   0 1 2 … 63 │ 64 65 … 127 │ 128 130 … 254 │ 256 260 … 508 │ …   up to 2^44 (4.9 hours)
//!   width              1     │      1      │       2       │       4       │ …
//! ```
//!
//! The bucket of a number follows from its highest set bit and the six bits below it, so counting is a shift and an
//! addition. (This is HdrHistogram's layout, and Prometheus' native one in its idea.)

use std::fmt;
use std::time::Duration;

/// Buckets for each doubling, as a power of two.
const BITS: u32 = 6;
const BUCKETS_A_DOUBLING: usize = 1 << BITS;
/// What is longer than 2^44 ns counts as that.
const LONGEST_BITS: u32 = 44;
const LONGEST: u64 = (1 << LONGEST_BITS) - 1;
const BUCKETS: usize = (LONGEST_BITS - BITS + 1) as usize * BUCKETS_A_DOUBLING;

/// Counts durations, and tells how they are spread. 20 KiB, whatever it counts.
///
/// Counts, sum, shortest and longest are exact. A percentile is off by at most 1/128 of itself (0.8 %), and by nothing
/// below 128 ns. Durations over 4.9 hours are counted as 4.9 hours, but for sum, shortest and longest.
///
/// ```
/// use std::time::Duration;
/// use tourbillon::metrics::Histogram;
///
/// let mut answers = Histogram::new();
/// for ms in 1..=100 {
///     answers.record(Duration::from_millis(ms));
/// }
/// assert_eq!(answers.mean(), Some(Duration::from_micros(50_500)));
/// assert_eq!(answers.max(), Some(Duration::from_millis(100)));
/// let p95 = answers.percentile(95.0).unwrap();
/// assert!(p95.abs_diff(Duration::from_millis(95)) < Duration::from_millis(1));
/// ```
#[derive(Clone)]
pub struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    sum_ns: u128,
    min: Duration,
    max: Duration,
}

impl Histogram {
    /// One that has counted nothing.
    pub fn new() -> Self {
        Self {
            buckets: vec![0; BUCKETS].into_boxed_slice(),
            count: 0,
            sum_ns: 0,
            min: Duration::MAX,
            max: Duration::ZERO,
        }
    }

    /// Count one duration.
    pub fn record(&mut self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(ns.min(LONGEST))] += 1;
        self.count += 1;
        self.sum_ns += duration.as_nanos();
        self.min = self.min.min(duration);
        self.max = self.max.max(duration);
    }

    /// Count what `other` has counted, too: of another loop, or of the last minute.
    pub fn merge(&mut self, other: &Self) {
        for (ours, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *ours += theirs;
        }
        self.count += other.count;
        self.sum_ns += other.sum_ns;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Forget everything.
    pub fn clear(&mut self) {
        self.buckets.fill(0);
        self.count = 0;
        self.sum_ns = 0;
        self.min = Duration::MAX;
        self.max = Duration::ZERO;
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The shortest. `None` when nothing was counted.
    pub fn min(&self) -> Option<Duration> {
        (self.count > 0).then_some(self.min)
    }

    /// The longest. `None` when nothing was counted.
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then_some(self.max)
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos_u128(self.sum_ns)
    }

    /// The arithmetic mean. `None` when nothing was counted.
    pub fn mean(&self) -> Option<Duration> {
        let mean = self.sum_ns.checked_div(u128::from(self.count))?;
        Some(Duration::from_nanos_u128(mean))
    }

    /// The duration that `percent` of all were not longer than: the smallest such one of those that were counted (the
    /// *nearest rank*), off by at most 1/128. `None` when nothing was counted.
    ///
    /// # Panics
    /// When `percent` is not between 0 and 100.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        assert!(
            (0.0..=100.0).contains(&percent),
            "{percent} is no percentage"
        );
        let rank = (percent / 100.0 * self.count as f64).ceil() as u64;
        let rank = rank.clamp(1, self.count.max(1));
        let mut counted = 0;
        let bucket = self.buckets.iter().position(|count| {
            counted += count;
            counted >= rank
        })?;
        let middle = Duration::from_nanos(middle_of(bucket));
        Some(middle.clamp(self.min, self.max))
    }

    /// How many were not longer than `limit`, by the buckets that lie below it as a whole: what is up to 1/64 shorter
    /// than `limit` may be missing.
    pub fn count_within(&self, limit: Duration) -> u64 {
        let ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        if ns >= LONGEST {
            return self.count;
        }
        // The bucket of the first number that is too long, and all below it.
        self.buckets[..bucket_of(ns + 1)].iter().sum()
    }

    /// Half of all were not longer.
    pub fn p50(&self) -> Option<Duration> {
        self.percentile(50.0)
    }

    /// 95 of 100 were not longer.
    pub fn p95(&self) -> Option<Duration> {
        self.percentile(95.0)
    }

    /// 99 of 100 were not longer.
    pub fn p99(&self) -> Option<Duration> {
        self.percentile(99.0)
    }

    /// 999 of 1,000 were not longer.
    pub fn p999(&self) -> Option<Duration> {
        self.percentile(99.9)
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count)
            .field("p50", &self.p50())
            .field("p95", &self.p95())
            .field("p99", &self.p99())
            .field("max", &self.max())
            .finish_non_exhaustive()
    }
}

/// The bucket that counts `ns`, which is at most [`LONGEST`].
fn bucket_of(ns: u64) -> usize {
    // Numbers below two times 64 stand alone in their buckets; each doubling shifts one more bit away.
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(BITS + 1);
    ((shift as usize) << BITS) + (ns >> shift) as usize
}

/// The middle of what a bucket counts, which is not the middle of what it has counted.
fn middle_of(bucket: usize) -> u64 {
    let shift = (bucket >> BITS).saturating_sub(1);
    let first = ((bucket - (shift << BITS)) as u64) << shift;
    let width = 1 << shift;
    first + (width - 1) / 2
}
