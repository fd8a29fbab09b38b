//! The messages of `PROTOCOL.md` as types.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::event_loop::{Origin, Readiness, Token, Work};

/// From a page.
#[derive(Deserialize, Debug)]
pub(super) struct FromPage {
    pub(super) id: u64,
    #[serde(flatten)]
    pub(super) wish: Wish,
}

#[derive(Deserialize, Debug)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Wish {
    Control {
        token: String,
    },
    Rate {
        hz: f64,
    },
    Journey {
        token: Id,
    },
    Pause,
    Resume,
    StepTurn,
    StepCallback,
    SlowMotion {
        ms: u64,
    },
    BreakOn {
        #[serde(flatten)]
        wanted: BreakOn,
        on: bool,
    },
    Record {
        on: bool,
    },
    Inject {
        #[serde(flatten)]
        injection: Injection,
    },
    Close {
        token: Id,
    },
    Cancel {
        token: Id,
    },
}

/// `value` may be left out where a break is ended.
#[derive(Clone, Deserialize, Serialize, Debug)]
#[serde(tag = "what", content = "value", rename_all = "snake_case")]
pub(super) enum BreakOn {
    SlowTurn(Option<u64>),
    Connection(Option<Id>),
    State(Option<String>),
    Timer(Option<()>),
    Panic(Option<()>),
}

#[derive(Clone, Copy, Deserialize, Debug)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum Injection {
    Block { ms: u64 },
    Lesson,
    SlowReader { ms: u64 },
    SlowHeaders { count: usize, ms: u64 },
    Connections { count: usize, ms: u64 },
    Reset,
}

/// To a page.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ToPage<'a> {
    Hello(Box<Hello<'a>>),
    Tick(Box<Tick<'a>>),
    Stopped(Stopped<'a>),
    Resumed,
    Finding(FindingTold),
    Answer {
        id: u64,
        ok: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    Journey {
        token: Id,
        steps: Vec<Step>,
    },
}

#[derive(Serialize)]
pub(super) struct Hello<'a> {
    pub(super) version: u32,
    pub(super) may_control: bool,
    pub(super) own_loop: bool,
    pub(super) why_not: Option<&'static str>,
    pub(super) process: Process,
    pub(super) now_ns: u64,
    pub(super) rate_hz: f64,
    pub(super) state: &'static str,
    pub(super) turn: u64,
    pub(super) phases: Vec<PhaseLines>,
    pub(super) turn_source: Option<TurnLines>,
    pub(super) origin_root: &'static str,
    pub(super) sources: Vec<&'static str>,
    pub(super) kinds: &'static [&'static str],
    pub(super) injections: &'static [&'static str],
    pub(super) breaks: &'a [BreakOn],
    pub(super) slow_motion_ms: u64,
}

#[derive(Serialize)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) name: String,
}

/// The source of a phase. Lines count from 1.
#[derive(Serialize)]
pub(super) struct PhaseLines {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) file: &'static str,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// The source of the turn, and in it the call of each phase.
#[derive(Serialize)]
pub(super) struct TurnLines {
    pub(super) file: &'static str,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) calls: Vec<usize>,
}

/// A tick is short while nothing has happened.
#[derive(Serialize)]
pub(super) struct Tick<'a> {
    pub(super) now_ns: u64,
    pub(super) state: &'static str,
    pub(super) turn: u64,
    #[serde(flatten)]
    pub(super) seen: Option<&'a Seen>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) turns: Option<&'a VecDeque<TurnTold>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) skipped: Option<u64>,
}

/// What one look has seen.
#[derive(Serialize)]
pub(super) struct Seen {
    pub(super) phase: Option<usize>,
    pub(super) next: Option<UpcomingTold>,
    pub(super) stats: StatsTold,
    pub(super) ready: Vec<QueuedTold>,
    pub(super) ready_more: usize,
    pub(super) wheel: WheelTold,
    pub(super) slab: SlabTold,
    pub(super) poll: PollTold,
    pub(super) tasks: Vec<TaskTold>,
}

#[derive(Serialize)]
pub(super) struct StatsTold {
    pub(super) turns: u64,
    pub(super) events: u64,
    pub(super) visits: u64,
    pub(super) callbacks: u64,
    pub(super) timers: u64,
    pub(super) messages: u64,
    pub(super) panics: u64,
    pub(super) asleep_ns: u64,
    pub(super) awake_ns: u64,
    pub(super) paused_ns: u64,
    pub(super) lag_ns: u64,
    pub(super) lag_max_ns: u64,
    pub(super) utilisation: f64,
    pub(super) sources: usize,
    pub(super) timers_set: usize,
    pub(super) recorded: u64,
    pub(super) lost: u64,
}

/// A turn that was recorded.
#[derive(Clone, Serialize, Debug, PartialEq)]
pub(super) struct TurnTold {
    pub(super) n: u64,
    pub(super) from_ns: u64,
    pub(super) asleep_ns: u64,
    pub(super) took_ns: u64,
    pub(super) events: u32,
    /// Phase, beginning, duration.
    pub(super) phases: Vec<(usize, u64, u64)>,
    /// When it stood still, and for how long.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) pauses: Vec<(u64, u64)>,
    pub(super) blocks: Vec<Block>,
    pub(super) cut: usize,
}

/// A visit or a callback that was recorded.
#[derive(Clone, Serialize, Debug, PartialEq)]
pub(super) struct Block {
    pub(super) kind: &'static str,
    pub(super) what: &'static str,
    pub(super) name: Option<String>,
    pub(super) token: Option<Id>,
    pub(super) origin: Option<Place>,
    pub(super) from_ns: u64,
    pub(super) took_ns: u64,
    pub(super) phase: Option<usize>,
    pub(super) read: Vec<u64>,
    pub(super) written: Vec<u64>,
    pub(super) blocked: bool,
    pub(super) panicked: bool,
    /// Inside of how many others.
    #[serde(skip)]
    pub(super) depth: u8,
}

#[derive(Clone, Serialize)]
pub(super) struct UpcomingTold {
    pub(super) what: &'static str,
    /// Of a source, as in the slab.
    pub(super) kind: &'static str,
    pub(super) name: Option<String>,
    pub(super) token: Option<Id>,
    pub(super) origin: Place,
}

#[derive(Serialize)]
pub(super) struct QueuedTold {
    #[serde(flatten)]
    pub(super) what: UpcomingTold,
    pub(super) since_ns: Option<u64>,
    pub(super) turn: u64,
}

#[derive(Serialize)]
pub(super) struct WheelTold {
    pub(super) tick_ns: u64,
    pub(super) now_tick: u64,
    pub(super) levels: Vec<Level>,
    pub(super) set: usize,
    pub(super) next_ns: Option<u64>,
    pub(super) cascaded: u64,
    pub(super) cancelled: u64,
    pub(super) fired: u64,
}

#[derive(Serialize)]
pub(super) struct Level {
    pub(super) level: usize,
    pub(super) slots: usize,
    pub(super) hand: u64,
    pub(super) ticks_per_slot: u64,
    pub(super) timers: Vec<TimerTold>,
    pub(super) more: usize,
}

#[derive(Serialize)]
pub(super) struct TimerTold {
    pub(super) slot: usize,
    pub(super) due_ns: u64,
    pub(super) what: &'static str,
    pub(super) token: Option<Id>,
    pub(super) origin: Option<Place>,
}

#[derive(Serialize)]
pub(super) struct SlabTold {
    pub(super) len: usize,
    pub(super) capacity: usize,
    pub(super) slots: Vec<SlotTold>,
    pub(super) more: usize,
}

#[derive(Serialize)]
pub(super) struct SlotTold {
    pub(super) i: u32,
    pub(super) g: u32,
    pub(super) kind: &'static str,
    pub(super) state: &'static str,
    pub(super) name: Option<String>,
    pub(super) origin: Place,
    pub(super) fd: Option<i32>,
    pub(super) bytes: usize,
    pub(super) paused: bool,
    pub(super) deadline_ns: Option<u64>,
    pub(super) age_ns: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct PollTold {
    pub(super) asked_ns: Option<u64>,
    pub(super) slept_ns: u64,
    pub(super) interests: Vec<Interest>,
    pub(super) events: Vec<EventTold>,
    pub(super) drained: BTreeMap<String, bool>,
}

#[derive(Serialize)]
pub(super) struct Interest {
    pub(super) token: Id,
    pub(super) fd: Option<i32>,
    pub(super) interest: &'static str,
}

#[derive(Serialize)]
pub(super) struct EventTold {
    pub(super) token: Id,
    pub(super) ready: &'static str,
}

#[derive(Serialize)]
pub(super) struct TaskTold {
    pub(super) token: Id,
    pub(super) kind: &'static str,
    pub(super) name: Option<String>,
    pub(super) state: &'static str,
    pub(super) waits_on: Option<String>,
    pub(super) wakes: Option<String>,
    pub(super) since_ns: Option<u64>,
    pub(super) age_ns: Option<u64>,
    pub(super) origin: Place,
    pub(super) parent: Option<Id>,
}

#[derive(Serialize)]
pub(super) struct Stopped<'a> {
    pub(super) why: &'static str,
    #[serde(rename = "break")]
    pub(super) broke: Option<String>,
    pub(super) turn: u64,
    pub(super) phase: Option<usize>,
    pub(super) next: Option<UpcomingTold>,
    pub(super) ran: &'a VecDeque<Ran>,
    pub(super) ran_more: u64,
}

/// What ran, and in which turn.
#[derive(Clone, Serialize)]
pub(super) struct Ran {
    pub(super) turn: u64,
    #[serde(flatten)]
    pub(super) block: Block,
}

#[derive(Clone, Serialize)]
pub(super) struct FindingTold {
    pub(super) kind: &'static str,
    pub(super) text: String,
    pub(super) turn: u64,
    pub(super) work: Option<WorkTold>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) took_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) victims: Option<VictimsTold>,
}

#[derive(Clone, Serialize)]
pub(super) struct WorkTold {
    pub(super) kind: &'static str,
    pub(super) name: Option<String>,
    pub(super) origin: Place,
}

#[derive(Clone, Serialize)]
pub(super) struct VictimsTold {
    pub(super) number: usize,
    pub(super) ready: usize,
    pub(super) visits: usize,
    pub(super) timers: usize,
    pub(super) messages: usize,
    pub(super) longest_wait_ns: u64,
}

/// A visit in the journey of a source.
#[derive(Serialize, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) turn: u64,
    pub(super) from_ns: u64,
    pub(super) took_ns: u64,
    pub(super) what: String,
    pub(super) gap_ns: u64,
    pub(super) gap_is: &'static str,
}

/// A token as people read it: `index.generation`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Id(pub(super) Token);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.index(), self.0.generation())
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (index, generation) = text.split_once('.').unwrap_or_default();
        match (index.parse(), generation.parse()) {
            (Ok(index), Ok(generation)) => Ok(Self(Token::new(index, generation))),
            _ => Err(serde::de::Error::custom("a token is index.generation")),
        }
    }
}

/// A place in a program: `src/chat.rs:10:5`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place(pub(super) Origin);

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

impl From<&Work> for WorkTold {
    fn from(work: &Work) -> Self {
        Self {
            kind: work.kind,
            name: work.name.as_deref().map(str::to_owned),
            origin: Place(work.origin),
        }
    }
}

/// What of an event concerns a poller: `r`, `w`, `rw`, and `hup` for an end or an error.
pub(super) fn ready(readiness: Readiness) -> &'static str {
    let has = |bits| readiness.intersects(bits);
    match (has(Readiness::READABLE), has(Readiness::WRITABLE)) {
        _ if has(Readiness::CLOSING) => "hup",
        (true, true) => "rw",
        (true, false) => "r",
        (false, true) => "w",
        (false, false) => "",
    }
}

/// As JSON.
pub(super) fn encode(message: &ToPage<'_>) -> String {
    serde_json::to_string(message).expect("every map here has strings for keys")
}
