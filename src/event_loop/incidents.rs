//! What went wrong lately, kept for people who look later: slow turns with what made them slow, findings of debug mode,
//! panics.
//!
//! The loop keeps the last [`INCIDENTS_MAX`] of them, in any build and whether or not debug mode is on; that costs a
//! comparison a turn and one for each piece of work.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use super::debug::{Finding, Span};
use super::handle::ns_of;
use super::panic::Panicked;
use super::stats::{Longest, Origin, Turn};
use super::{Ctx, EventLoop, SLOW_NS};

/// How many incidents a loop keeps.
pub const INCIDENTS_MAX: usize = 64;
/// How many of a slow turn's pieces are kept.
pub const PIECES_MAX: usize = 3;

/// Something that went wrong, and when.
#[derive(Clone, Debug)]
pub struct Incident {
    /// When it was noticed.
    pub at: Instant,
    /// In which turn. The first is 1.
    pub turn: u64,
    /// What it was.
    pub what: Trouble,
}

/// See [`Incident`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Trouble {
    /// A turn was awake for [`super::Handle::slow_threshold`] or longer. All that was ready in it, and all that came
    /// meanwhile, had to wait.
    SlowTurn(SlowTurn),
    /// Debug mode has found something, or a scope has ended badly.
    Finding(Finding),
    /// Code that the loop has called has panicked.
    Panic(Panicked),
}

impl Trouble {
    /// In a word: `slow turn`, `slow`, `lost`, `scope`, `panic`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SlowTurn(_) => "slow turn",
            Self::Finding(Finding::Slow(_)) => "slow",
            Self::Finding(Finding::Lost(_)) => "lost",
            Self::Finding(Finding::Scope(_)) => "scope",
            Self::Panic(_) => "panic",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SlowTurn(slow) => slow.fmt(f),
            Self::Finding(finding) => finding.fmt(f),
            Self::Panic(panicked) => panicked.fmt(f),
        }
    }
}

/// A turn that was awake for too long.
#[derive(Clone, Debug)]
pub struct SlowTurn {
    /// From when the loop woke up to the end of the last piece of work, without pauses.
    pub took: Duration,
    /// Its longest pieces of a millisecond or more, the longest first: [`PIECES_MAX`] of them. They are named by where
    /// they were created. That of a handler which is called is known when routes are measured
    /// ([`crate::web::App::measure_routes`]) or in debug mode; else it is the server's.
    pub pieces: [Option<Longest>; PIECES_MAX],
    /// What else it did: those behind a long piece had to wait for it.
    pub turn: Turn,
}

impl fmt::Display for SlowTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Turn {
            visits,
            callbacks,
            timers,
            messages,
            lag,
            ..
        } = self.turn;
        write!(
            f,
            "slow turn: {} awake, with {visits} visits, {callbacks} callbacks, {timers} timers, {messages} messages, \
             {} late",
            Span(self.took),
            Span(lag)
        )?;
        for (piece, before) in self
            .pieces
            .iter()
            .flatten()
            .zip(["; longest: "].into_iter().chain(std::iter::repeat(", ")))
        {
            write!(f, "{before}{} {}", Span(piece.took), piece.origin)?;
        }
        Ok(())
    }
}

/// What a loop keeps of it.
pub(super) struct Incidents {
    kept: VecDeque<Incident>,
    /// Long pieces of this turn, the longest first.
    pieces: [Option<Longest>; PIECES_MAX],
    /// A handler inside the piece of work that is going on was to blame for its being long.
    culprit: Option<Origin>,
}

impl Incidents {
    pub(super) fn new() -> Self {
        Self {
            // Now, and not when a busy machine makes a turn slow: that is to cost no allocation, and what is allocated
            // in a burst stands behind what is free after it.
            kept: VecDeque::with_capacity(INCIDENTS_MAX),
            pieces: [None; PIECES_MAX],
            culprit: None,
        }
    }

    /// Whom to blame for a piece of work that was created at `origin`.
    pub(super) fn culprit(&mut self, origin: Origin) -> Origin {
        self.culprit.take().unwrap_or(origin)
    }

    /// A piece of a millisecond or more has ended.
    #[cold]
    pub(super) fn add_piece(&mut self, piece: Longest) {
        let is_shorter = |kept: &Option<Longest>| kept.is_none_or(|kept| kept.took < piece.took);
        if let Some(place) = self.pieces.iter().position(is_shorter) {
            self.pieces[place..].rotate_right(1);
            self.pieces[place] = Some(piece);
        }
    }

    /// Another turn, with no pieces yet.
    pub(super) fn begin_turn(&mut self) {
        self.pieces = [None; PIECES_MAX];
    }

    fn keep(&mut self, incident: Incident) {
        if self.kept.len() == INCIDENTS_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(incident);
    }
}

impl EventLoop {
    /// The last [`INCIDENTS_MAX`] things that went wrong, the oldest first.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.kept.iter()
    }

    #[cold]
    pub(super) fn keep_incident(&mut self, what: Trouble) {
        self.keep_incident_of(self.turn_number(), what);
    }

    fn keep_incident_of(&mut self, turn: u64, what: Trouble) {
        self.incidents.keep(Incident {
            at: self.handle.time(),
            turn,
            what,
        });
    }

    /// It is long ago that the last turn began: has it taken as long, or does somebody turn the loop now and then?
    #[cold]
    pub(super) fn look_for_slow_turn(&mut self) {
        let took = self.awake_in_last_turn();
        if took < self.handle.slow_threshold() {
            return;
        }
        let slow = SlowTurn {
            took,
            pieces: self.incidents.pieces,
            turn: self.turn,
        };
        crate::event!(warn, "{slow}");
        self.keep_incident_of(self.stats.turns, Trouble::SlowTurn(slow));
    }
}

impl Ctx<'_> {
    /// As [`EventLoop::incidents`].
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.event_loop.incidents()
    }

    /// The handler of `origin` has ended at `now`, and was timed: if what is being visited is long by now, it is to
    /// blame.
    pub(crate) fn suspect(&mut self, now: Instant, origin: Origin) {
        let event_loop = &mut *self.event_loop;
        if ns_of(now.saturating_duration_since(event_loop.stamp.at)) >= SLOW_NS {
            event_loop.incidents.culprit.get_or_insert(origin);
        }
    }
}
