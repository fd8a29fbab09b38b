//! What is known of the loop, and how it is drawn.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use serde_json::Value;

/// The findings that are shown.
const FINDINGS: usize = 6;
/// Of a bar, in characters.
const WIDTH: usize = 40;

/// Numbers that only grow, in milliseconds.
#[derive(Clone, Copy, Default)]
struct Times {
    turns: f64,
    awake: f64,
    asleep: f64,
}

#[derive(Default)]
pub(crate) struct View {
    host: String,
    name: String,
    state: String,
    controls: bool,
    /// Nothing was drawn before this has come.
    is_complete: bool,
    now: Times,
    /// As of the last picture.
    before: Times,
    lag_ms: f64,
    ready: f64,
    /// The longest turn since the last picture, where turns are known.
    turn_ms: Option<f64>,
    connections: BTreeMap<String, usize>,
    /// The slowest route, or piece of work since the last picture: how long it took, and what it is.
    slowest: Option<(f64, String)>,
    findings: VecDeque<String>,
}

/// A number; 0 for what is not there.
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

/// Nanoseconds as milliseconds.
fn ms_of_ns(value: &Value) -> f64 {
    number(value) / 1e6
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl View {
    pub(crate) fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    pub(crate) fn may_control(&mut self) {
        self.controls = true;
    }

    // ---- from a dial ----------------------------------------------------------------------------------------------

    pub(crate) fn hello(&mut self, hello: &Value) {
        let process = &hello["process"];
        self.name = format!("{} ({})", text(&process["name"]), process["pid"]);
    }

    /// A loop that sleeps says no more than that, and all else is as it was.
    pub(crate) fn tick(&mut self, tick: &Value) {
        text(&tick["state"]).clone_into(&mut self.state);
        let stats = &tick["stats"];
        if stats.is_null() {
            return;
        }
        self.now = Times {
            turns: number(&stats["turns"]),
            awake: ms_of_ns(&stats["awake_ns"]),
            asleep: ms_of_ns(&stats["asleep_ns"]),
        };
        self.lag_ms = ms_of_ns(&stats["lag_ns"]);
        self.ready = list(&tick["ready"]).len() as f64 + number(&tick["ready_more"]);
        for turn in list(&tick["turns"]) {
            let took = ms_of_ns(&turn["took_ns"]) - ms_of_ns(&turn["asleep_ns"]);
            self.turn_ms = Some(self.turn_ms.unwrap_or_default().max(took));
            for block in list(&turn["blocks"]) {
                let took = ms_of_ns(&block["took_ns"]);
                if self
                    .slowest
                    .as_ref()
                    .is_none_or(|(slowest, _)| took > *slowest)
                {
                    let what = format!("{} {}", text(&block["what"]), text(&block["origin"]));
                    self.slowest = Some((took, what));
                }
            }
        }
        self.connections.clear();
        let slots = list(&tick["slab"]["slots"]).iter();
        for slot in slots.filter(|slot| ["http", "websocket"].contains(&text(&slot["kind"]))) {
            self.count(slot);
        }
        self.is_complete = true;
    }

    pub(crate) fn found(&mut self, finding: &Value) {
        if self.findings.len() == FINDINGS {
            self.findings.pop_front();
        }
        self.findings.push_back(text(finding).to_owned());
    }

    fn count(&mut self, connection: &Value) {
        let state = format!(
            "{} {}",
            text(&connection["kind"]),
            text(&connection["state"])
        );
        *self.connections.entry(state).or_default() += 1;
    }

    // ---- from operations ------------------------------------------------------------------------------------------

    /// Several loops are shown as one.
    pub(crate) fn census(&mut self, census: &Value) {
        self.now = Times::default();
        (self.lag_ms, self.ready) = (0.0, 0.0);
        self.connections.clear();
        let loops = list(&census["loops"]);
        for one in loops {
            let stats = &one["stats"];
            self.now.turns += number(&stats["turns"]);
            self.now.awake += number(&stats["awake_ms"]);
            self.now.asleep += number(&stats["asleep_ms"]);
            self.lag_ms = self.lag_ms.max(number(&stats["lag_ms"]));
            self.ready += number(&stats["ready"]);
            for connection in list(&one["connections"]) {
                self.count(connection);
            }
        }
        let silent = loops.iter().filter(|one| one["up"] == false).count();
        self.state = match silent {
            0 => "running".to_owned(),
            _ => format!("{silent} of {} loops do not answer", loops.len()),
        };
        self.is_complete = true;
    }

    pub(crate) fn incidents(&mut self, incidents: &Value) {
        self.findings.clear();
        let all = list(&incidents["loops"]).iter();
        let mut all: Vec<_> = all.flat_map(|one| list(&one["incidents"])).collect();
        all.sort_by(|a, b| number(&b["ago_ms"]).total_cmp(&number(&a["ago_ms"])));
        for incident in &all[all.len().saturating_sub(FINDINGS)..] {
            let ago = number(&incident["ago_ms"]) / 1000.0;
            let text = text(&incident["text"]);
            self.findings.push_back(format!("{ago:.0} s ago: {text}"));
        }
    }

    /// The one with the largest 99th percentile, of the lines
    /// `…_quantile_seconds{route="/",method="GET",quantile="0.99"} 0.001`.
    pub(crate) fn slowest_route(&mut self, metrics: &str) {
        let lines = metrics.lines().filter_map(|line| {
            let line =
                line.strip_prefix("tourbillon_http_request_duration_quantile_seconds{route=\"")?;
            let (route, rest) = line.split_once("\",method=\"")?;
            let (method, rest) = rest.split_once('"')?;
            let seconds: f64 = rest.strip_prefix(",quantile=\"0.99\"} ")?.parse().ok()?;
            Some((seconds * 1000.0, format!("{method} {route} (p99)")))
        });
        self.slowest = lines.max_by(|a, b| a.0.total_cmp(&b.0));
    }

    // ---- drawing --------------------------------------------------------------------------------------------------

    /// What has happened since the last picture: turns, and the part of the time at work. A loop of which nothing has
    /// come has slept.
    fn since_before(&mut self) -> (f64, f64) {
        let Times {
            turns,
            awake,
            asleep,
        } = std::mem::replace(&mut self.before, self.now);
        let (worked, slept) = (self.now.awake - awake, self.now.asleep - asleep);
        let utilisation = if worked + slept > 0.0 {
            worked / (worked + slept)
        } else {
            0.0
        };
        (self.now.turns - turns, utilisation)
    }

    fn connections(&self) -> String {
        let number: usize = self.connections.values().sum();
        let mut text = format!("{number} connection{}", if number == 1 { "" } else { "s" });
        for (place, (state, number)) in self.connections.iter().enumerate() {
            let before = if place == 0 { ": " } else { ", " };
            let _ = write!(text, "{before}{number} {state}");
        }
        text
    }

    /// For the end of a pipe.
    pub(crate) fn line(&mut self) -> String {
        let (turns, utilisation) = self.since_before();
        let mut line = format!(
            "{}, {turns} turns, {:.1} % at work, lag {:.1} ms",
            self.state,
            utilisation * 100.0,
            self.lag_ms
        );
        if let Some(turn) = self.turn_ms.take() {
            let _ = write!(line, ", longest turn {turn:.1} ms");
        }
        let _ = write!(line, ", {} ready, {}", self.ready, self.connections());
        if let Some((took, what)) = self.slowest.take() {
            let _ = write!(line, ", slowest {took:.1} ms {what}");
        }
        if let Some(finding) = self.findings.back() {
            let _ = write!(line, ", {finding}");
        }
        line
    }

    /// For a screen: from its top left corner, each line up to its end, and nothing below.
    pub(crate) fn picture(&mut self) -> String {
        let (turns, utilisation) = self.since_before();
        let mut lines = vec![
            format!(
                "{} {} · {} · {turns} turns",
                self.host, self.name, self.state
            ),
            String::new(),
            bar(
                "at work",
                utilisation,
                &format!("{:.1} %", utilisation * 100.0),
            ),
            bar(
                "lag",
                of_time(self.lag_ms),
                &format!("{:.1} ms", self.lag_ms),
            ),
        ];
        if let Some(turn) = self.turn_ms.take() {
            lines.push(bar("longest turn", of_time(turn), &format!("{turn:.1} ms")));
        }
        lines.push(bar("ready", of_count(self.ready), &self.ready.to_string()));
        lines.push(String::new());
        lines.push(self.connections());
        for (state, number) in &self.connections {
            lines.push(bar(state, of_count(*number as f64), &number.to_string()));
        }
        lines.push(String::new());
        if let Some((took, what)) = self.slowest.take() {
            lines.push(format!("slowest: {took:.1} ms  {what}"));
        }
        lines.extend(self.findings.iter().cloned());
        lines.push(String::new());
        lines.push(match self.controls {
            true => "p pause, r resume, s step a turn, c step a callback, each and Enter; Ctrl-C ends",
            false => "Ctrl-C ends",
        }.to_owned());
        let mut picture = "\x1b[H".to_owned();
        for line in lines {
            let _ = write!(picture, "{line}\x1b[K\r\n");
        }
        picture + "\x1b[J"
    }
}

/// How full a bar is for a time: a tenth of a millisecond is nothing, a second all, and each tenfold a quarter.
fn of_time(ms: f64) -> f64 {
    ((ms / 0.1).max(1.0).log10() / 4.0).min(1.0)
}

/// How full it is for a number: 1,000 is all, and each tenfold a third.
fn of_count(count: f64) -> f64 {
    ((count + 1.0).log10() / 3.0).min(1.0)
}

/// A bar in green, yellow or red: by its length, and so by more than its colour.
fn bar(name: &str, full: f64, value: &str) -> String {
    let filled = (full.clamp(0.0, 1.0) * WIDTH as f64).round() as usize;
    let colour = match full {
        ..0.5 => 32,
        ..0.8 => 33,
        _ => 31,
    };
    let (on, off) = match std::env::var_os("NO_COLOR") {
        Some(_) => (String::new(), ""),
        None => (format!("\x1b[{colour}m"), "\x1b[0m"),
    };
    let (bar, rest) = ("█".repeat(filled), "·".repeat(WIDTH - filled));
    format!("{name:<22}{on}{bar}{off}{rest} {value}")
}
