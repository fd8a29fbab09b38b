//! The histogram against a sorted list, and the sums of what was counted.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// Durations of all sizes: a bit length, then a number of that length.
fn durations() -> impl Strategy<Value = Vec<u64>> {
    let duration = (0_u32..44).prop_flat_map(|bits| 0..=(1_u64 << bits));
    proptest::collection::vec(duration, 1..300)
}

fn recorded(durations: &[u64]) -> Histogram {
    let mut histogram = Histogram::new();
    for ns in durations {
        histogram.record(Duration::from_nanos(*ns));
    }
    histogram
}

proptest! {
    #[test]
    fn a_percentile_is_that_of_the_sorted_list_but_for_a_128th(
        mut list in durations(),
        percent in 0.0..=100.0_f64,
    ) {
        let histogram = recorded(&list);
        list.sort_unstable();
        for percent in [percent, 0.0, 50.0, 95.0, 99.0, 100.0] {
            let rank = (percent / 100.0 * list.len() as f64).ceil() as usize;
            let exact = list[rank.max(1) - 1];
            let ours = histogram.percentile(percent).unwrap().as_nanos() as u64;
            prop_assert!(ours.abs_diff(exact) <= exact / 128, "{ours} for {exact} at {percent}");
        }
    }

    #[test]
    fn count_sum_mean_and_the_ends_are_exact(list in durations()) {
        let histogram = recorded(&list);
        let sum: u64 = list.iter().sum();
        let count = list.len() as u64;
        prop_assert_eq!(histogram.count(), count);
        prop_assert_eq!(histogram.sum(), Duration::from_nanos(sum));
        prop_assert_eq!(histogram.mean(), Some(Duration::from_nanos(sum / count)));
        prop_assert_eq!(histogram.min(), list.iter().min().copied().map(Duration::from_nanos));
        prop_assert_eq!(histogram.max(), list.iter().max().copied().map(Duration::from_nanos));
    }

    #[test]
    fn two_merged_are_as_one_that_counted_all(one in durations(), other in durations()) {
        let mut merged = recorded(&one);
        merged.merge(&recorded(&other));
        let all = recorded(&[one, other].concat());
        for percent in 0..=100 {
            let percent = f64::from(percent);
            prop_assert_eq!(merged.percentile(percent), all.percentile(percent));
        }
        prop_assert_eq!((merged.count(), merged.sum()), (all.count(), all.sum()));
        prop_assert_eq!((merged.min(), merged.max()), (all.min(), all.max()));
    }
}

#[test]
fn a_histogram_that_counted_nothing_knows_nothing() {
    let mut histogram = Histogram::new();
    histogram.record(MS);
    histogram.clear();
    assert_eq!((histogram.count(), histogram.sum()), (0, Duration::ZERO));
    assert_eq!((histogram.min(), histogram.max()), (None, None));
    assert_eq!((histogram.mean(), histogram.p50()), (None, None));
}

#[test]
fn a_duration_beyond_the_last_bucket_is_counted_and_its_length_is_known() {
    let mut histogram = Histogram::new();
    histogram.record(Duration::MAX);
    histogram.record(MS);
    assert_eq!(
        (histogram.count(), histogram.max()),
        (2, Some(Duration::MAX))
    );
    assert_eq!(histogram.min(), Some(MS));
    let longest = histogram.percentile(100.0).unwrap();
    assert!(longest > Duration::from_secs(4 * 3600));
}

#[test]
fn counters_count_through_shared_references_and_stay_at_their_end() {
    let counter = Counter::new();
    let (one, other) = (&counter, &counter);
    one.count();
    other.add(2);
    assert_eq!((counter.get(), counter.take(), counter.get()), (3, 3, 0));
    counter.add(u64::MAX);
    counter.count();
    assert_eq!(counter.get(), u64::MAX);
}

#[test]
fn throughput_is_by_the_time_that_passed() {
    assert_eq!(throughput(50, Duration::from_secs(2)), 25.0);
    assert_eq!(throughput(50, Duration::ZERO), 0.0);
}

#[test]
fn a_summary_prints_what_came_of_all_attempts() {
    let (mut outcomes, mut others) = (Outcomes::new(), Outcomes::new());
    for _ in 0..98 {
        outcomes.success(10 * MS);
    }
    others.success(10 * MS);
    others.failure(500 * MS);
    outcomes.merge(&others);
    let mut summary = outcomes.summary(Duration::from_secs(2));
    assert_eq!(
        (summary.total, summary.successes, summary.failures),
        (100, 99, 1)
    );
    summary.memory = Some(Memory {
        resident: 3 << 20,
        peak: 4 << 20,
    });
    let expected = "\
total       100 (99 succeeded, 1 failed)
mean        14.9ms
p50         10.0ms
p95         10.0ms
p99         10.0ms
max         500.0ms
throughput  50.0/s over 2.0s
memory      3.0 MiB resident, 4.0 MiB at most";
    assert_eq!(summary.to_string(), expected);
    let nothing = Outcomes::new().summary(Duration::ZERO);
    assert!(
        nothing
            .to_string()
            .starts_with("total       0 (0 succeeded, 0 failed)\nthroughput  0.0/s over 0.0ns")
    );
}
