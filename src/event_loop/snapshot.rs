//! The loop at one moment, as plain data: what stands in its queues, its wheel and its slab. For people who look.
//!
//! Nothing here is kept up to date, and nothing is counted for it: a snapshot is a pass over what is there, as long as
//! [`SnapshotMax`] lets it be.

use std::time::Instant;

use super::control::{Standing, Upcoming};
use super::driver::{Event, Token};
use super::source::Inspection;
use super::stats::{Origin, Stats};
use super::tasks::Tasks;
use super::{CALLBACKS_MAX, Ctx, EventLoop, Phase};
use crate::parts::wheel::Wheel;

/// How much of each a [`Snapshot`] has at most; it says how much more there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotMax {
    /// In the ready queue.
    pub ready: usize,
    /// Timers.
    pub timers: usize,
    /// Sources.
    pub sources: usize,
}

impl Default for SnapshotMax {
    /// As much as people can look at: 200, 500 and 2,000.
    fn default() -> Self {
        Self {
            ready: 200,
            timers: 500,
            sources: 2_000,
        }
    }
}

/// A loop at one moment. See [`EventLoop::snapshot`].
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The moment.
    pub at: Instant,
    /// When the loop was made: tick 0 of its wheel.
    pub started: Instant,
    /// The turn that is going on or, between two, the one that comes next. The first is 1.
    pub turn: u64,
    /// Where it stands, if it is paused or waits in slow motion.
    pub standing: Option<Standing>,
    /// What it has counted.
    pub stats: Stats,
    /// The ready queue, first in, first out.
    pub ready: Vec<Queued>,
    /// How many more stand in it.
    pub ready_more: usize,
    /// The timers.
    pub wheel: WheelView,
    /// The sources.
    pub slab: SlabView,
    /// What the driver saw when the loop was parked last, at most 200 of them. Only for a loop with a
    /// [`super::Control`].
    pub events: Vec<Event>,
    /// Sources that asked for another visit, and get it in the next turn.
    pub carry: Vec<Token>,
    /// Sources that were given bytes to send, and are visited in step 7.
    pub dirty: Vec<Token>,
    /// Every task, and what it waits on.
    pub tasks: Tasks,
}

/// One place in the ready queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// What will run.
    pub what: Upcoming,
    /// Since when it stands there. Known in debug mode.
    pub since: Option<Instant>,
    /// The turn in which it will run, as the queue stands now.
    pub turn: u64,
}

/// The timer wheel. See [`crate::parts::wheel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WheelView {
    /// The tick that the hand shows: whole milliseconds since the loop was made.
    pub hand: u64,
    /// Some timers, ring by ring and slot by slot.
    pub timers: Vec<TimerView>,
    /// How many are left out, of each ring.
    pub more: [usize; Wheel::<()>::RINGS],
    /// How many are set.
    pub set: usize,
    /// How many moves from a coarser ring to a finer one there were.
    pub cascaded: u64,
    /// The tick for which the loop wakes by itself: the next deadline or the next cascade, whichever is first.
    pub next_tick: Option<u64>,
}

/// A timer with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerView {
    /// The ring, from 0, the finest.
    pub ring: usize,
    /// The slot in it.
    pub slot: usize,
    /// When it is due.
    pub tick: u64,
    /// Whom it is for.
    pub whom: TimerFor,
}

/// Whom a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerFor {
    /// A callback that was created there.
    Callback(Origin),
    /// A source, which has its deadline then.
    Source(Token),
    /// A future that sleeps.
    Waker,
}

/// The slab.
#[derive(Clone, Debug)]
pub struct SlabView {
    /// Slots that are in use.
    pub len: usize,
    /// Slots that are there.
    pub slots: usize,
    /// Some sources, by slot.
    pub sources: Vec<SourceView>,
    /// How many are left out.
    pub more: usize,
}

/// A source in its slot.
#[derive(Clone, Debug)]
pub struct SourceView {
    /// Its slot and generation.
    pub token: Token,
    /// Where it was created.
    pub origin: Origin,
    /// What it says of itself.
    pub found: Inspection,
    /// The descriptor of its socket, where there are descriptors.
    pub descriptor: Option<i32>,
}

impl EventLoop {
    /// The loop as it is now, or as much of it as `max` says. Costs a pass over all timers, and over all sources for
    /// the tasks among them.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tourbillon::event_loop::{EventLoop, SnapshotMax};
    ///
    /// let mut event_loop = EventLoop::new()?;
    /// event_loop.call_soon(|_| {});
    /// event_loop.call_later(Duration::from_secs(1), |_| {});
    /// let snapshot = event_loop.snapshot(SnapshotMax::default());
    /// assert_eq!(snapshot.ready[0].what.work.kind, "callback");
    /// assert_eq!(snapshot.ready[0].turn, 1);
    /// // A second is too far for the ring of milliseconds.
    /// assert_eq!(snapshot.wheel.timers[0].ring, 1);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn snapshot(&self, max: SnapshotMax) -> Snapshot {
        let (turn, control) = (self.turn_number(), self.control.as_deref());
        let standing = control.and_then(|control| control.standing()).cloned();
        let (ready, ready_more) = self.ready_view(max.ready, standing.as_ref());
        Snapshot {
            at: self.handle.time(),
            started: self.handle.instant_of(0),
            turn,
            standing,
            stats: self.stats(),
            ready,
            ready_more,
            wheel: self.handle.wheel_view(max.timers),
            slab: self.slab_view(max.sources),
            events: control.map_or_else(Vec::new, |control| control.events().to_vec()),
            carry: self.carry.clone(),
            dirty: self.handle.dirty_list(),
            tasks: self.tasks(),
        }
    }

    fn ready_view(&self, max: usize, standing: Option<&Standing>) -> (Vec<Queued>, usize) {
        let phase = standing.and_then(|standing| Some(standing.next.as_ref()?.0));
        // So many run in the turn that is going on, or comes next; and so many in each one behind it.
        let now = match phase {
            None | Some(Phase::Park | Phase::Visit | Phase::Messages | Phase::Timers) => {
                self.callbacks_max
            }
            Some(Phase::Ready) => self.jobs_left,
            Some(Phase::Flush | Phase::Close) => 0,
        };
        let later = self.callbacks_max.min(CALLBACKS_MAX);
        let turn_of = |place: usize| {
            let turns = match place.checked_sub(now) {
                None => 0,
                Some(behind) => 1 + behind / later,
            };
            self.turn_number() + turns as u64
        };
        let queue = self.handle.queued();
        let more = queue.len().saturating_sub(max);
        let shown = queue.into_iter().take(max);
        let ready = shown.filter_map(|(place, described, since)| {
            Some(Queued {
                what: self.upcoming(described)?,
                since,
                turn: turn_of(place),
            })
        });
        (ready.collect(), more)
    }

    fn slab_view(&self, max: usize) -> SlabView {
        let shown = self.sources.iter().take(max);
        let sources: Vec<_> = shown
            .map(|(key, slot)| {
                let found = slot.source.inspect();
                SourceView {
                    token: key.into(),
                    origin: found.origin.unwrap_or(slot.origin),
                    descriptor: found
                        .socket
                        .and_then(|socket| self.driver.descriptor_of(socket)),
                    found,
                }
            })
            .collect();
        SlabView {
            len: self.sources.len(),
            slots: self.sources.slots(),
            more: self.sources.len().saturating_sub(sources.len()),
            sources,
        }
    }
}

impl Ctx<'_> {
    /// As [`EventLoop::snapshot`]. The source that is being visited is in nobody's slot, and left out.
    pub fn snapshot(&self, max: SnapshotMax) -> Snapshot {
        self.event_loop.snapshot(max)
    }
}
