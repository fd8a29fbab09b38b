//! What a turn counted about itself, and what all turns so far add up to.

use std::panic::Location;
use std::time::Duration;

/// Where in the program a callback, source or task was created.
pub type Origin = &'static Location<'static>;

/// The longest single piece of work, and who asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Longest {
    /// How long it held the loop.
    pub took: Duration,
    /// Where it was created; of several visits, the last of them.
    pub origin: Origin,
    /// How many visits were timed together: 1, but when many sockets are ready at once, up to [`TIMED_TOGETHER`].
    pub visits: u32,
}

/// Visits timed with one reading of the clock when a turn has more of them than that. A reading costs a twentieth of
/// what a small request does. When such a group takes a millisecond or more, the next [`TIMED_ALONE`] visits are timed
/// each alone, so that who does it again is named.
pub const TIMED_TOGETHER: u32 = 8;
/// See [`TIMED_TOGETHER`].
pub const TIMED_ALONE: u32 = 10_000;

/// One turn, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Events the driver returned.
    pub events: u32,
    /// Visits to sources, in all steps.
    pub visits: u32,
    /// Callbacks run in step 6.
    pub callbacks: u32,
    /// Timers that came due.
    pub timers: u32,
    /// Messages taken from other threads.
    pub messages: u32,
    /// Time parked in the driver.
    pub asleep: Duration,
    /// How much later than asked the latest of this turn's timers was moved to the ready queue.
    pub lag: Duration,
    /// The longest visit or callback. `None` when nothing ran.
    pub longest: Option<Longest>,
}

impl Turn {
    /// Whether anything ran.
    pub fn did_something(&self) -> bool {
        self.visits + self.callbacks + self.messages + self.timers > 0
    }
}

/// All turns so far. See [`Turn`] for the meaning of what both count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Turns completed.
    pub turns: u64,
    /// Events the driver returned.
    pub events: u64,
    /// Visits to sources.
    pub visits: u64,
    /// Callbacks run.
    pub callbacks: u64,
    /// Timers that came due.
    pub timers: u64,
    /// Messages taken from other threads.
    pub messages: u64,
    /// Panics caught.
    pub panics: u64,
    /// Idle connections that were closed because there were no descriptors left for new ones.
    pub shed: u64,
    /// Connections that were dropped as they came, for the same reason, when none was idle.
    pub turned_away: u64,
    /// Time parked in the driver.
    pub asleep: Duration,
    /// Time neither parked nor paused.
    pub awake: Duration,
    /// Time that the loop has waited for a [`super::Control`].
    pub paused: Duration,
    /// The lag of the last turn in which a timer came due.
    pub lag: Duration,
    /// The largest lag.
    pub lag_max: Duration,
    /// The longest visit or callback.
    pub longest: Option<Longest>,
    /// Sources that the loop holds now.
    pub sources: usize,
    /// Jobs that stand in the ready queue now.
    pub ready: usize,
    /// Timers that are set now.
    pub timers_set: usize,
}

impl Stats {
    /// The part of its time that the loop was not asleep, 0 to 1. Pauses do not count.
    pub fn utilisation(&self) -> f64 {
        let whole = (self.asleep + self.awake).as_secs_f64();
        if whole == 0.0 {
            0.0
        } else {
            self.awake.as_secs_f64() / whole
        }
    }

    pub(super) fn add(&mut self, turn: &Turn) {
        self.turns += 1;
        self.events += u64::from(turn.events);
        self.visits += u64::from(turn.visits);
        self.callbacks += u64::from(turn.callbacks);
        self.timers += u64::from(turn.timers);
        self.messages += u64::from(turn.messages);
        if turn.timers > 0 {
            self.lag = turn.lag;
            self.lag_max = self.lag_max.max(turn.lag);
        }
        // As a rule it is not: so nothing is copied.
        if let Some(longest) = turn.longest
            && self.longest.is_none_or(|before| longest.took > before.took)
        {
            self.longest = turn.longest;
        }
    }
}
