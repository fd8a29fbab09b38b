//! A look at the watched loop: taken on its thread as plain data, made into a message on the dial's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::messages::{
    Block, EventTold, Id, Interest, Level, Place, PollTold, QueuedTold, Seen, SlabTold, SlotTold,
    StatsTold, TaskTold, TimerTold, UpcomingTold, WheelTold, ready,
};
use super::turns::{Turns, phase_index};
use crate::event_loop::{
    Ctx, Detail, Recording, Snapshot, SnapshotMax, SourceView, TaskInfo, TimerFor, Upcoming,
};
use crate::parts::wheel::Wheel;

/// Records that one look takes at most: those of some ten thousand small requests. Older ones are left out.
const RECORDS_MAX: u64 = 50_000;
/// A tick of the wheel.
const TICK_NS: u64 = 1_000_000;
/// Digits of the wheel's ticks: a slot of a ring has so many bits' worth of ticks more than one of the ring before.
const DIGIT_BITS: usize = Wheel::<()>::SLOTS.ilog2() as usize;

/// What was seen.
pub(super) struct Look {
    pub(super) snapshot: Snapshot,
    pub(super) recording: Recording,
    /// Where the next look begins to read.
    pub(super) cursor: u64,
}

impl Look {
    /// Look at the loop of `ctx`, and at what was recorded from `cursor` on.
    pub(super) fn take(ctx: &Ctx<'_>, cursor: u64) -> Self {
        let recorder = ctx.recorder();
        let written = recorder.written();
        Self {
            snapshot: ctx.snapshot(SnapshotMax::default()),
            recording: recorder.recording(cursor.max(written.saturating_sub(RECORDS_MAX))),
            cursor: written,
        }
    }

    /// Name the blocks of tasks that are there still: a record has no room for a name.
    pub(super) fn name(&self, block: &mut Block) {
        let of_block = |source: &&SourceView| block.token == Some(Id(source.token));
        let source = self.snapshot.slab.sources.iter().find(of_block);
        let name = source.and_then(|source| source.found.name.as_deref());
        block.name = name.map(str::to_owned);
    }

    /// As a message. `turns` have read the recording.
    pub(super) fn told(&self, turns: &Turns) -> Seen {
        let Self { snapshot, .. } = self;
        let standing = snapshot.standing.as_ref();
        let next = standing.and_then(|standing| standing.next.as_ref());
        Seen {
            phase: next.map(|(phase, _)| phase_index(*phase)),
            next: next.map(|(_, next)| upcoming(next)),
            stats: self.stats(turns),
            ready: self.ready(),
            ready_more: snapshot.ready_more,
            wheel: self.wheel(turns),
            slab: self.slab(),
            poll: self.poll(turns),
            tasks: snapshot
                .tasks
                .tasks
                .iter()
                .map(|it| self.task(it))
                .collect(),
        }
    }

    fn ns(&self, moment: Instant) -> u64 {
        ns(moment.saturating_duration_since(self.snapshot.started))
    }

    fn stats(&self, turns: &Turns) -> StatsTold {
        let stats = &self.snapshot.stats;
        StatsTold {
            turns: stats.turns,
            events: stats.events,
            visits: stats.visits,
            callbacks: stats.callbacks,
            timers: stats.timers,
            messages: stats.messages,
            panics: stats.panics,
            asleep_ns: ns(stats.asleep),
            awake_ns: ns(stats.awake),
            paused_ns: ns(stats.paused),
            lag_ns: ns(stats.lag),
            lag_max_ns: ns(stats.lag_max),
            utilisation: stats.utilisation(),
            sources: stats.sources,
            timers_set: stats.timers_set,
            recorded: self.cursor,
            lost: turns.lost,
        }
    }

    fn ready(&self) -> Vec<QueuedTold> {
        let queued = self.snapshot.ready.iter();
        queued
            .map(|queued| QueuedTold {
                what: upcoming(&queued.what),
                since_ns: queued.since.map(|since| self.ns(since)),
                turn: queued.turn,
            })
            .collect()
    }

    fn wheel(&self, turns: &Turns) -> WheelTold {
        let wheel = &self.snapshot.wheel;
        let level = |level: usize| Level {
            level,
            slots: Wheel::<()>::SLOTS,
            hand: wheel.hand >> (DIGIT_BITS * level) & (Wheel::<()>::SLOTS as u64 - 1),
            ticks_per_slot: 1 << (DIGIT_BITS * level),
            timers: (wheel.timers.iter())
                .filter(|timer| timer.ring == level)
                .map(|timer| {
                    let (what, token, origin) = match timer.whom {
                        TimerFor::Callback(origin) => ("callback", None, Some(Place(origin))),
                        TimerFor::Source(token) => ("deadline", Some(Id(token)), None),
                        TimerFor::Waker => ("waker", None, None),
                    };
                    TimerTold {
                        slot: timer.slot,
                        due_ns: timer.tick.saturating_mul(TICK_NS),
                        what,
                        token,
                        origin,
                    }
                })
                .collect(),
            more: wheel.more[level],
        };
        WheelTold {
            tick_ns: TICK_NS,
            now_tick: wheel.hand,
            levels: (0..Wheel::<()>::RINGS).map(level).collect(),
            set: wheel.set,
            next_ns: wheel.next_tick.map(|tick| tick.saturating_mul(TICK_NS)),
            cascaded: wheel.cascaded,
            cancelled: turns.timers_cancelled,
            fired: self.snapshot.stats.timers,
        }
    }

    fn slab(&self) -> SlabTold {
        let slab = &self.snapshot.slab;
        let slots = slab.sources.iter().map(|source| SlotTold {
            i: source.token.index(),
            g: source.token.generation(),
            kind: source.found.kind,
            state: source.found.state,
            name: source.found.name.as_deref().map(str::to_owned),
            origin: Place(source.origin),
            fd: source.descriptor,
            bytes: source.found.bytes_held,
            paused: source.found.paused,
            deadline_ns: (source.found.deadline_tick).map(|tick| tick.saturating_mul(TICK_NS)),
            age_ns: source.found.created.map(|created| self.ago(created)),
        });
        SlabTold {
            len: slab.len,
            capacity: slab.slots,
            slots: slots.collect(),
            more: slab.more,
        }
    }

    fn poll(&self, turns: &Turns) -> PollTold {
        let (asked_ns, slept_ns) = turns.poll;
        let sources = &self.snapshot.slab.sources;
        let sockets = || sources.iter().filter(|it| it.found.socket.is_some());
        let interests = sockets().map(|source| Interest {
            token: Id(source.token),
            fd: source.descriptor,
            interest: "rw",
        });
        let drained = sockets().map(|source| {
            let token = Id(source.token).to_string();
            (token, source.found.read_drained)
        });
        let events = self.snapshot.events.iter().map(|event| EventTold {
            token: Id(event.token),
            ready: ready(event.readiness),
        });
        PollTold {
            asked_ns,
            slept_ns,
            interests: interests.collect(),
            events: events.collect(),
            drained: drained.collect::<BTreeMap<_, _>>(),
        }
    }

    fn task(&self, task: &TaskInfo) -> TaskTold {
        let waits_on = task.waits_on.filter(|_| task.state != "woken");
        TaskTold {
            token: Id(task.token),
            kind: task.kind,
            name: task.name.as_deref().map(str::to_owned),
            state: task.state,
            waits_on: waits_on.map(|_| self.snapshot.tasks.waits_on(task)),
            wakes: waits_on.map(|waits_on| match waits_on.detail {
                Detail::Until(_) => "timer".to_owned(),
                Detail::Socket(token) => format!("socket {}", Id(token)),
                Detail::Task(token) => format!("task {}", Id(token)),
                _ => waits_on.what.to_owned(),
            }),
            since_ns: task
                .waited
                .map(|waited| self.ns(self.snapshot.at) - ns(waited)),
            age_ns: task.age.map(ns),
            origin: Place(task.origin),
            parent: task.parent.map(Id),
        }
    }

    fn ago(&self, moment: Instant) -> u64 {
        ns(self.snapshot.at.saturating_duration_since(moment))
    }
}

pub(super) fn upcoming(upcoming: &Upcoming) -> UpcomingTold {
    UpcomingTold {
        what: match (upcoming.token, upcoming.work.kind) {
            (Some(_), "task") => "task",
            (Some(_), _) => "visit",
            (None, kind) => kind,
        },
        kind: upcoming.work.kind,
        name: upcoming.work.name.as_deref().map(str::to_owned),
        token: upcoming.token.map(Id),
        origin: Place(upcoming.work.origin),
    }
}

pub(super) fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
