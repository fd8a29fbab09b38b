//! The recorder beside what the loop counts, over whole lives of a server; and the trace that is made of it.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use tourbillon::event_loop::{EventLoop, Gauge, Phase, Readiness, Stats, What};

/// What the records add up to.
#[derive(Default)]
pub(crate) struct Tally {
    cursor: u64,
    counted: Stats,
    here: HashSet<tourbillon::event_loop::Token>,
    /// Names of phases since the last turn.
    phases: Vec<Phase>,
    sources: u64,
}

impl Tally {
    /// A turn has ended: take its records, and hold them against what the loop has counted.
    pub(crate) fn check(&mut self, event_loop: &EventLoop) -> Result<(), String> {
        let since = event_loop.recorder().since(self.cursor);
        if since.lost() > 0 {
            return Err(format!("a turn of {} records", since.lost()));
        }
        self.cursor = since.next_cursor();
        for record in since {
            self.take(record.what())?;
        }
        let stats = event_loop.stats();
        let expected = Stats {
            turns: stats.turns,
            events: stats.events,
            visits: stats.visits,
            callbacks: stats.callbacks,
            timers: stats.timers,
            messages: stats.messages,
            panics: stats.panics,
            sources: stats.sources,
            ..Stats::default()
        };
        self.counted.sources = self.here.len();
        if self.counted != expected {
            return Err(format!("recorded {:?}, counted {expected:?}", self.counted));
        }
        if self.sources != stats.sources as u64 {
            return Err(format!("{} sources were measured", self.sources));
        }
        Ok(())
    }

    fn take(&mut self, what: What) -> Result<(), String> {
        let counted = &mut self.counted;
        match what {
            What::Turn { number, .. } => {
                counted.turns += 1;
                if number != counted.turns {
                    return Err(format!("turn {number} is the {}th", counted.turns));
                }
                let order = self.phases.iter().map(|phase| *phase as u8);
                if !order.is_sorted_by(|a, b| a < b) {
                    return Err(format!("phases in this order: {:?}", self.phases));
                }
                self.phases.clear();
            }
            What::Phase { phase, .. } => self.phases.push(phase),
            What::Poll { events, .. } => counted.events += u64::from(events),
            What::Visit { token, .. } => {
                counted.visits += 1;
                if !self.here.contains(&token) {
                    return Err(format!("a visit to nobody: {token:?}"));
                }
            }
            What::Callback { .. } => counted.callbacks += 1,
            What::TimerFired { .. } => counted.timers += 1,
            What::Message => counted.messages += 1,
            What::Panicked { .. } => counted.panics += 1,
            What::Added { token, .. } => {
                let is_new = self.here.insert(token);
                if !is_new {
                    return Err(format!("{token:?} was added twice"));
                }
            }
            What::Removed { token } => {
                let was_there = self.here.remove(&token);
                if !was_there {
                    return Err(format!("{token:?} was removed and not there"));
                }
            }
            What::Gauge {
                gauge: Gauge::Sources,
                value,
            } => self.sources = value,
            _ => {}
        }
        Ok(())
    }
}

/// A trace is as the format wants it: slices nest and have an end, time does not go back, what began on a track ends
/// there, and each arrow has a beginning before its end.
pub(crate) fn check_trace(event_loop: &EventLoop) -> Result<(), String> {
    let mut trace = Vec::new();
    event_loop
        .recorder()
        .write_trace(&mut trace)
        .map_err(|error| error.to_string())?;
    let trace: Value = serde_json::from_slice(&trace).map_err(|error| error.to_string())?;
    let events = trace["traceEvents"].as_array().ok_or("no events")?;
    let mut now = 0.0;
    let mut open: Vec<&str> = Vec::new();
    let mut tracks: HashMap<(&str, &str), Vec<&str>> = HashMap::new();
    let mut arrows = HashSet::new();
    for event in events {
        let text = |field: &str| event[field].as_str().unwrap_or_default();
        let (name, category) = (text("name"), text("cat"));
        let id = event["id2"]["local"].as_str().unwrap_or_default();
        let fault = |what: &str| Err(format!("{what}: {event}"));
        if let Some(time) = event["ts"].as_f64() {
            if time < now {
                return fault("time goes back");
            }
            now = time;
        }
        match text("ph") {
            "B" => {
                let depth = match category {
                    "turn" => 0,
                    "phase" if name == "poll" => 2,
                    "phase" => 1,
                    _ => 2,
                };
                if open.len() < depth || (depth < 2 && open.len() != depth) {
                    return fault("at this depth");
                }
                open.push(name);
            }
            "E" if open.pop().is_some() => {}
            "E" => return fault("nothing is open"),
            "b" => tracks.entry((category, id)).or_default().push(name),
            "e" => {
                let track = tracks.entry((category, id)).or_default();
                if track.pop() != Some(name) {
                    return fault("it is not the last that began there");
                }
            }
            "s" if arrows.insert(event["id"].to_string()) => {}
            "s" => return fault("it began before"),
            "f" if arrows.remove(&event["id"].to_string()) => {}
            "f" => return fault("it never began"),
            "n" | "i" | "C" | "M" => {}
            _ => return fault("an unknown phase"),
        }
    }
    let left = tracks.values().map(Vec::len).sum::<usize>();
    match open.len() + left + arrows.len() {
        0 => Ok(()),
        _ => Err(format!(
            "{open:?}, {left} tracks and {} arrows have no end",
            arrows.len()
        )),
    }
}

#[test]
fn a_life_that_is_recorded_is_the_same_as_one_that_is_not() {
    for seed in 0..40 {
        let recorded = crate::life::live_recorded(seed, true).unwrap();
        assert_eq!(recorded, crate::life::live_recorded(seed, false).unwrap());
    }
}

/// Each wake of a task leads to a visit that says so.
#[test]
fn effects_name_their_causes() {
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.record(true);
    event_loop.call_soon(|ctx| {
        let task = tourbillon::task::spawn(async {
            tourbillon::task::sleep(std::time::Duration::from_millis(2)).await;
            7
        });
        let handle = ctx.handle().clone();
        task.on_done(move |_, seven| {
            assert_eq!(seven.unwrap(), 7);
            handle.stop();
        });
    });
    event_loop.run().unwrap();
    let mut trace = Vec::new();
    event_loop.recorder().write_trace(&mut trace).unwrap();
    let trace: Value = serde_json::from_slice(&trace).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let arrows = |phase: &str| -> Vec<&str> {
        let of_phase = events.iter().filter(|event| event["ph"] == phase);
        of_phase
            .map(|event| event["name"].as_str().unwrap())
            .collect()
    };
    assert_eq!(arrows("f"), ["call", "spawn", "timer", "wake", "call"]);
    let mut begun = arrows("s");
    begun.sort_unstable();
    assert_eq!(begun, ["call", "call", "spawn", "timer", "wake"]);
    let woken = |what| matches!(what, What::Visit { readiness, .. } if readiness.contains(Readiness::WOKEN));
    assert!(
        event_loop
            .recorder()
            .since(0)
            .any(|record| woken(record.what()))
    );
}
