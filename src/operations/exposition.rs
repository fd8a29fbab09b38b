//! Prometheus' text format, version 0.0.4, and OpenMetrics 1.0, which is nearly the same: families of samples, each
//! with its help and its type.
//!
//! Sources: prometheus.io, "Exposition formats"; the OpenMetrics specification 1.0.0, "ABNF" and "Overall structure".

use std::fmt::{Display, Write};
use std::time::Duration;

use crate::metrics::Histogram;

/// Bounds of the buckets that a histogram is shown with, in milliseconds: three for each decade, from half a
/// millisecond to ten seconds, which are the defaults of Prometheus' clients with two below them.
const BOUNDS_US: [u32; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    /// What a request with this `Accept` gets: OpenMetrics if it asks for it by name, as Prometheus does; its own order
    /// and weights say no more than that.
    pub(super) fn wanted(accept: &str) -> Self {
        match accept.contains("application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A label's name and value.
pub(super) type Label<'a> = (&'static str, &'a str);

/// A page that is being written.
pub(super) struct Exposition {
    format: Format,
    text: String,
}

/// One family that is being written: all of its samples stand together.
pub(super) struct Family<'a> {
    page: &'a mut Exposition,
    name: &'static str,
    suffix: &'static str,
}

impl Exposition {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            text: String::with_capacity(16 * 1024),
        }
    }

    /// A number that only grows. `name` without the `_total` that its samples have.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", "_total", help)
    }

    /// A number that goes up and down.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", "", help)
    }

    /// Durations, in seconds.
    pub(super) fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "histogram", "", help)
    }

    fn family(
        &mut self,
        name: &'static str,
        kind: &str,
        suffix: &'static str,
        help: &str,
    ) -> Family<'_> {
        // A counter's family is named as its samples in the older format, and without their suffix in the newer one.
        let shown = match self.format {
            Format::Text => suffix,
            Format::OpenMetrics => "",
        };
        let _ = writeln!(self.text, "# HELP {name}{shown} {}", escaped(help));
        let _ = writeln!(self.text, "# TYPE {name}{shown} {kind}");
        Family {
            page: self,
            name,
            suffix,
        }
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Family<'_> {
    /// One sample.
    pub(super) fn sample(&mut self, labels: &[Label<'_>], value: impl Display) -> &mut Self {
        self.line(self.suffix, labels, value);
        self
    }

    /// A duration, in seconds.
    pub(super) fn seconds(&mut self, labels: &[Label<'_>], value: Duration) -> &mut Self {
        self.sample(labels, value.as_secs_f64())
    }

    /// All samples of a histogram. A bucket may miss what is up to 1/64 shorter than its bound: it is as exact as the
    /// histogram.
    pub(super) fn counted(&mut self, labels: &[Label<'_>], histogram: &Histogram) {
        let mut bucket = |le: &str, count: u64| {
            let labels: Vec<_> = labels.iter().copied().chain([("le", le)]).collect();
            self.line("_bucket", &labels, count);
        };
        for bound in BOUNDS_US {
            let bound = Duration::from_micros(bound.into());
            bucket(
                &format!("{:?}", bound.as_secs_f64()),
                histogram.count_within(bound),
            );
        }
        bucket("+Inf", histogram.count());
        self.line("_sum", labels, histogram.sum().as_secs_f64());
        self.line("_count", labels, histogram.count());
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], value: impl Display) {
        let text = &mut self.page.text;
        let _ = write!(text, "{}{suffix}", self.name);
        for (place, (name, value)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            let _ = write!(text, "{before}{name}=\"{}\"", escaped(value));
        }
        if !labels.is_empty() {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }
}

/// A label's value, or a help, as it stands in the text. (The older format wants no escaped quotes in a help, and there
/// are none.)
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_as_each_format_wants_it() {
        let page = |format| {
            let mut page = Exposition::new(format);
            page.counter("hits", "Of a limit.")
                .sample(&[("limit", "bytes")], 3);
            page.finish()
        };
        assert_eq!(
            page(Format::Text),
            "# HELP hits_total Of a limit.\n# TYPE hits_total counter\nhits_total{limit=\"bytes\"} 3\n"
        );
        assert_eq!(
            page(Format::OpenMetrics),
            "# HELP hits Of a limit.\n# TYPE hits counter\nhits_total{limit=\"bytes\"} 3\n# EOF\n"
        );
    }

    #[test]
    fn what_a_label_must_not_contain_is_escaped() {
        let mut page = Exposition::new(Format::Text);
        page.gauge("x", "A \\ and\na line.")
            .sample(&[("path", "/a\"b\\c\n")], 1.5);
        let text = page.finish();
        assert!(text.contains("# HELP x A \\\\ and\\na line.\n"), "{text}");
        assert!(
            text.ends_with("x{path=\"/a\\\"b\\\\c\\n\"} 1.5\n"),
            "{text}"
        );
    }

    #[test]
    fn the_buckets_of_a_histogram_add_up() {
        let mut histogram = Histogram::new();
        for ms in [0, 1, 3, 60, 20_000] {
            histogram.record(Duration::from_millis(ms));
        }
        let mut page = Exposition::new(Format::Text);
        page.histogram("took_seconds", "It took.")
            .counted(&[("route", "/")], &histogram);
        let text = page.finish();
        for line in [
            "took_seconds_bucket{route=\"/\",le=\"0.0005\"} 1",
            "took_seconds_bucket{route=\"/\",le=\"0.0025\"} 2",
            "took_seconds_bucket{route=\"/\",le=\"0.005\"} 3",
            "took_seconds_bucket{route=\"/\",le=\"10.0\"} 4",
            "took_seconds_bucket{route=\"/\",le=\"+Inf\"} 5",
            "took_seconds_sum{route=\"/\"} 20.064",
            "took_seconds_count{route=\"/\"} 5",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn whoever_asks_for_openmetrics_gets_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(Format::wanted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::wanted("text/html, */*"), Format::Text);
        assert_eq!(Format::wanted(""), Format::Text);
    }
}
