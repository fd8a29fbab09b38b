//! The page for Prometheus: which numbers there are, under which names.
//!
//! Names follow Prometheus' conventions: `tourbillon_` before what is ours, base units at the end (`_seconds`,
//! `_bytes`), `_total` behind what only grows. What a loop or its server has is shown for each loop, with the label
//! `loop`; what routes have is added up over the loops, since each of them has a histogram. The process' numbers have
//! the names that Prometheus' own client libraries gave them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::exposition::{Exposition, Format};
use super::report::LoopReport;
use crate::conn::RouteCounts;
use crate::metrics::Process;

type Reports = [(u32, Option<LoopReport>)];

/// A number of a loop's report: its name, what it is, and where it stands.
type Number = (&'static str, &'static str, fn(&LoopReport) -> f64);

const LOOP_COUNTERS: &[Number] = &[
    ("tourbillon_loop_turns", "Turns of the loop.", |it| {
        it.stats.turns as f64
    }),
    (
        "tourbillon_loop_events",
        "Events that the poller returned.",
        |it| it.stats.events as f64,
    ),
    (
        "tourbillon_loop_visits",
        "Visits to sources: connections, listeners, tasks.",
        |it| it.stats.visits as f64,
    ),
    (
        "tourbillon_loop_callbacks",
        "Callbacks that were run.",
        |it| it.stats.callbacks as f64,
    ),
    (
        "tourbillon_loop_timers_fired",
        "Timers that came due.",
        |it| it.stats.timers as f64,
    ),
    (
        "tourbillon_loop_messages",
        "Messages that came from other threads.",
        |it| it.stats.messages as f64,
    ),
    ("tourbillon_loop_panics", "Panics that were caught.", |it| {
        it.stats.panics as f64
    }),
    (
        "tourbillon_loop_asleep_seconds",
        "Time that the loop slept in the poller.",
        |it| it.stats.asleep.as_secs_f64(),
    ),
    (
        "tourbillon_loop_awake_seconds",
        "Time that the loop was at work.",
        |it| it.stats.awake.as_secs_f64(),
    ),
    (
        "tourbillon_loop_paused_seconds",
        "Time that the loop was paused by whoever controls it.",
        |it| it.stats.paused.as_secs_f64(),
    ),
    (
        "tourbillon_loop_records",
        "Records that the recorder has written.",
        |it| it.recorded as f64,
    ),
    (
        "tourbillon_server_accepted",
        "Connections that were taken in.",
        |it| it.counts.accepted as f64,
    ),
    (
        "tourbillon_server_requests",
        "Requests that were answered.",
        |it| it.counts.requests as f64,
    ),
    (
        "tourbillon_websocket_opened",
        "WebSockets that were opened.",
        |it| it.websockets.opened as f64,
    ),
    (
        "tourbillon_websocket_received_messages",
        "Messages that came over WebSockets.",
        |it| it.websockets.messages_in as f64,
    ),
    (
        "tourbillon_websocket_received_bytes",
        "Bytes of those messages, as they came.",
        |it| it.websockets.bytes_in as f64,
    ),
    (
        "tourbillon_websocket_sent_messages",
        "Messages to the members of rooms and other peers.",
        |it| it.websockets.messages_out as f64,
    ),
    (
        "tourbillon_websocket_sent_bytes",
        "Bytes of those messages.",
        |it| it.websockets.bytes_out as f64,
    ),
];

const LOOP_GAUGES: &[Number] = &[
    (
        "tourbillon_loop_lag_seconds",
        "How late the latest timer was in the last turn that had any.",
        |it| it.stats.lag.as_secs_f64(),
    ),
    (
        "tourbillon_loop_lag_max_seconds",
        "How late any timer ever was.",
        |it| it.stats.lag_max.as_secs_f64(),
    ),
    (
        "tourbillon_loop_longest_work_seconds",
        "How long the longest visit or callback ever held the loop.",
        |it| {
            it.stats
                .longest
                .map_or(0.0, |longest| longest.took.as_secs_f64())
        },
    ),
    (
        "tourbillon_loop_utilisation_ratio",
        "The part of its time that the loop was at work, since it began.",
        |it| it.stats.utilisation(),
    ),
    ("tourbillon_loop_ready", "Jobs in the ready queue.", |it| {
        it.stats.ready as f64
    }),
    ("tourbillon_loop_timers", "Timers that are set.", |it| {
        it.stats.timers_set as f64
    }),
    (
        "tourbillon_server_connections_max",
        "Connections that may be open, in all loops of an engine together.",
        |it| it.connections_max.map_or(f64::INFINITY, |max| max as f64),
    ),
    (
        "tourbillon_server_held_bytes",
        "Bytes held for connections.",
        |it| it.counts.bytes as f64,
    ),
    (
        "tourbillon_server_held_max_bytes",
        "How many may be held.",
        |it| it.bytes_max as f64,
    ),
];

/// The whole page.
pub(super) fn page(format: Format, reports: &Reports, process: &Process) -> String {
    let mut page = Exposition::new(format);
    let numbered: Vec<(String, &LoopReport)> = (reports.iter())
        .filter_map(|(number, report)| Some((number.to_string(), report.as_ref()?)))
        .collect();
    let mut up = page.gauge(
        "tourbillon_loop_up",
        "Whether the loop has answered within a second.",
    );
    for (number, report) in reports {
        up.sample(&[("loop", &number.to_string())], u8::from(report.is_some()));
    }
    for (name, help, read) in LOOP_COUNTERS {
        let mut family = page.counter(name, help);
        for (number, report) in &numbered {
            family.sample(&[("loop", number)], Float(read(report)));
        }
    }
    for (name, help, read) in LOOP_GAUGES {
        let mut family = page.gauge(name, help);
        for (number, report) in &numbered {
            family.sample(&[("loop", number)], Float(read(report)));
        }
    }
    states(&mut page, &numbered);
    routes(&mut page, &numbered);
    self::process(&mut page, process);
    page.gauge(
        "tourbillon_build_info",
        "Which version of the framework serves.",
    )
    .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.finish()
}

/// What each loop has several of.
fn states(page: &mut Exposition, numbered: &[(String, &LoopReport)]) {
    let mut sources = page.gauge(
        "tourbillon_loop_sources",
        "What the loop holds, by kind and state.",
    );
    for (number, report) in numbered {
        for ((kind, state), count) in &report.sources {
            sources.sample(&[("loop", number), ("kind", kind), ("state", state)], count);
        }
    }
    let mut connections = page.gauge(
        "tourbillon_server_connections",
        "Open connections, by what they speak and do.",
    );
    for (number, report) in numbered {
        for ((kind, state), count) in &report.connections {
            connections.sample(&[("loop", number), ("kind", kind), ("state", state)], count);
        }
    }
    let mut hits = page.counter(
        "tourbillon_server_limit_hits",
        "How often each limit was hit.",
    );
    for (number, report) in numbered {
        for (limit, count) in report.hits {
            hits.sample(&[("loop", number), ("limit", limit)], count);
        }
    }
    // Of the limits, those that keep connections out.
    let mut refused = page.counter(
        "tourbillon_server_refused",
        "Connections that were not taken in.",
    );
    for (number, report) in numbered {
        for (limit, count) in report.hits {
            if ["connections", "connections_per_peer", "accept_rate"].contains(&limit) {
                refused.sample(&[("loop", number), ("limit", limit)], count);
            }
        }
    }
    let mut closes = page.counter(
        "tourbillon_websocket_closed",
        "WebSockets that have ended, by close code.",
    );
    for (number, report) in numbered {
        for (code, count) in &report.websockets.closes {
            closes.sample(&[("loop", number), ("code", &code.to_string())], count);
        }
    }
}

/// What routes have done, added up over the loops.
fn routes(page: &mut Exposition, numbered: &[(String, &LoopReport)]) {
    let mut routes: BTreeMap<(&str, &str), RouteCounts> = BTreeMap::new();
    for route in numbered.iter().flat_map(|(_, report)| &report.routes) {
        let sum = routes.entry((&route.path, route.method)).or_default();
        sum.merge(&route.counts);
    }
    let mut durations = page.histogram(
        "tourbillon_http_request_duration_seconds",
        "From the turn in which a request's head was complete to its answer's last byte; no route: route=\"\".",
    );
    for ((path, method), counts) in &routes {
        durations.counted(&[("route", path), ("method", method)], &counts.latency);
    }
    let mut quantiles = page.gauge(
        "tourbillon_http_request_duration_quantile_seconds",
        "What that share of all requests of a route did not exceed, to 0.8 %, since the server began.",
    );
    for ((path, method), counts) in &routes {
        for (quantile, percent) in [
            ("0.5", 50.0),
            ("0.95", 95.0),
            ("0.99", 99.0),
            ("0.999", 99.9),
        ] {
            if let Some(duration) = counts.latency.percentile(percent) {
                let labels = [
                    ("route", *path),
                    ("method", *method),
                    ("quantile", quantile),
                ];
                quantiles.seconds(&labels, duration);
            }
        }
    }
    let mut answers = page.counter(
        "tourbillon_http_answers",
        "Answers, by the class of their status.",
    );
    for ((path, method), counts) in &routes {
        for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"]
            .iter()
            .zip(counts.answers)
        {
            answers.sample(
                &[("route", path), ("method", method), ("status", class)],
                count,
            );
        }
    }
    let in_flight = page.gauge(
        "tourbillon_http_requests_in_flight",
        "Requests that were begun and not answered yet, by route; the scrape is one.",
    );
    sum_by_route(
        in_flight,
        numbered.iter().map(|(_, report)| &report.in_flight),
    );
    let open = page.gauge(
        "tourbillon_websocket_open",
        "WebSockets that are open, by route.",
    );
    sum_by_route(
        open,
        numbered.iter().map(|(_, report)| &report.websockets_open),
    );
}

fn sum_by_route<'r>(
    mut family: super::exposition::Family<'_>,
    of_loops: impl Iterator<Item = &'r BTreeMap<Arc<str>, usize>>,
) {
    let mut sums: BTreeMap<&str, usize> = BTreeMap::new();
    for (route, count) in of_loops.flatten() {
        *sums.entry(route).or_default() += count;
    }
    for (route, count) in sums {
        family.sample(&[("route", route)], count);
    }
}

fn process(page: &mut Exposition, process: &Process) {
    if let Some(cpu) = process.cpu {
        page.counter(
            "process_cpu_seconds",
            "Processor time used, by the process and in the kernel.",
        )
        .seconds(&[], cpu);
    }
    let memory = process.memory;
    let gauges = [
        (
            "process_resident_memory_bytes",
            "Memory in RAM.",
            memory.map(|memory| memory.resident as f64),
        ),
        (
            "process_resident_memory_max_bytes",
            "The most that ever was.",
            memory.map(|memory| memory.peak as f64),
        ),
        (
            "process_open_fds",
            "Open descriptors.",
            process.descriptors.map(|open| open as f64),
        ),
        (
            "process_max_fds",
            "How many there may be.",
            process.descriptors_max.map(|most| most as f64),
        ),
        (
            "process_threads",
            "Threads.",
            process.threads.map(|threads| threads as f64),
        ),
        (
            "process_start_time_seconds",
            "When the process began, in seconds since 1970.",
            process.started,
        ),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            page.gauge(name, help).sample(&[], Float(value));
        }
    }
}

/// A number as both formats write it: infinity is `+Inf`.
struct Float(f64);

impl std::fmt::Display for Float {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            value => value.fmt(f),
        }
    }
}
