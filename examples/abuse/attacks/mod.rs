//! What an attack is, and the list of them.

mod connections;
mod floods;
mod rules;
mod slow;
mod sockets;

use std::time::Duration;

use crate::client::{Connection, End};
use crate::options::Options;
use crate::target::Target;

pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) does: &'static str,
    pub(crate) passes: &'static str,
    pub(crate) pace: Pace,
    pub(crate) run: fn(&Target) -> Outcome,
}

/// What may run beside an attack.
pub(crate) enum Pace {
    /// Waits for this deadline and does next to nothing meanwhile: beside others of its kind.
    Waiting(fn(&Options) -> Duration),
    /// Makes the server work: by itself.
    Alone,
}

pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) seen: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    Pass,
    Fail,
    /// The server has nothing that could be attacked so.
    NotApplicable,
    /// The deadline is longer than this run.
    NotWaitedFor,
}

impl Outcome {
    pub(crate) fn new(is_good: bool, seen: impl Into<String>) -> Self {
        let verdict = if is_good {
            Verdict::Pass
        } else {
            Verdict::Fail
        };
        let seen = seen.into();
        Self { verdict, seen }
    }

    fn not_applicable(why: &str) -> Self {
        Self {
            verdict: Verdict::NotApplicable,
            seen: why.to_owned(),
        }
    }

    /// All or nothing, over the cases of a set: `faults` has a sentence for each that went wrong.
    fn of_set(cases: usize, faults: &[String]) -> Self {
        match faults {
            [] => Self::new(true, format!("{cases} of {cases}")),
            _ => {
                let good = cases - faults.len();
                Self::new(false, format!("{good} of {cases}; {}", faults.join("; ")))
            }
        }
    }
}

pub(crate) fn all() -> Vec<&'static Attack> {
    [
        slow::ATTACKS,
        floods::ATTACKS,
        connections::ATTACKS,
        rules::ATTACKS,
        sockets::ATTACKS,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a server did with something wrong.
fn end_of(connection: &Connection) -> String {
    let statuses: Vec<String> = (connection.statuses().iter())
        .map(ToString::to_string)
        .collect();
    let statuses = statuses.join(" and ");
    match (connection.end, statuses.as_str()) {
        (Some(End::Closed), "") => "closed".to_owned(),
        (Some(End::Reset), "") => "reset".to_owned(),
        (Some(End::Closed), _) => format!("{statuses} and closed"),
        (Some(End::Reset), _) => format!("{statuses} and reset"),
        (None, "") => "left open".to_owned(),
        (None, _) => format!("{statuses} and left open"),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
