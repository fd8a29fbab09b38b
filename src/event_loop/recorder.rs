//! The recorder: what the loop did, as fixed-size records in a ring that overwrites its oldest.
//!
//! Switched off, which it is unless [`super::Handle::record`] says otherwise, it costs a branch that is never taken.
//! On, a visit costs a reading of the clock and a store of three words; what happens inside a visit has the visit's
//! time and its place in the order.
//!
//! A piece of work is recorded when it has ended, so its record stands behind those of all that happened in it.
//! [`Record::depth`] says how deep each stands, and so the tree can be built again: a piece of work of depth n holds
//! the records of greater depth that stand before it, back to the last one of depth n or less; a phase holds what
//! stands between the phase before and itself, and a turn likewise. That works even where time stands still, as it does
//! inside the turns of the simulator.

use std::cell::{Cell, OnceCell};
use std::hint::cold_path;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::driver::{Readiness, Token};
use super::handle::{CallKey, Job};
use super::stats::Origin;
use super::{Ctx, EventLoop, Panicked, Slot, Socket, Work};

/// How many records the ring has unless [`super::Handle::set_record_capacity`] says otherwise: 1.5 MiB. At 100,000
/// requests a second that is a fifth of a second; a chat of a thousand people fills it in some minutes.
pub const RECORDS: usize = 64 * 1024;
/// Names that are kept apart: places in the program where work is created. What is beyond them is [`NameId::UNKNOWN`].
pub const NAMES_MAX: usize = (1 << NAME_BITS) - 1;

const KIND_BITS: u32 = 6;
const DEPTH_BITS: u32 = 2;
const AUX_BITS: u32 = 8;
const NAME_BITS: u32 = 12;
const AMOUNT_BITS: u32 = 64 - AUX_BITS - NAME_BITS;
/// Longest that can be told of one thing: nearly 4 h 53 min.
const AMOUNT_MAX: u64 = (1 << AMOUNT_BITS) - 1;
const DEPTH_MAX: u8 = (1 << DEPTH_BITS) - 1;

/// One thing that happened on a loop, in 24 bytes. [`Record::what`] unpacks it.
///
/// ```text
///          63            20 19       8 7      0
/// word 0   time in ns, 56 bits  | depth 2 | kind 6
/// word 1   amount, 44 bits | name, 12 | aux, 8
/// word 2   token, timer, call, job, …
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Record {
    when: u64,
    detail: u64,
    id: u64,
}

const _: () = assert!(size_of::<Record>() == 24);

/// A part of the turn; the steps of [`super::EventLoop::turn`] in their order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Phase {
    /// 1 and 2: asleep in the driver, then the clock is read.
    Park,
    /// 3: sources that have news.
    Visit,
    /// 4: what other threads sent.
    Messages,
    /// 5: timers that are due.
    Timers,
    /// 6: the ready queue.
    Ready,
    /// 7: sources that were given bytes.
    Flush,
    /// 8: sources that have ended.
    Close,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Self; 7] = [
        Self::Park,
        Self::Visit,
        Self::Messages,
        Self::Timers,
        Self::Ready,
        Self::Flush,
        Self::Close,
    ];

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Park => "park",
            Self::Visit => "visit",
            Self::Messages => "messages",
            Self::Timers => "timers",
            Self::Ready => "ready",
            Self::Flush => "flush",
            Self::Close => "close",
        }
    }
}

/// Why something was put into the ready queue.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Why {
    /// Code on the loop's thread asked for it.
    Asked,
    /// A timer came due.
    Timer,
    /// Another thread asked for it.
    Message,
}

impl Why {
    const ALL: [Self; 3] = [Self::Asked, Self::Timer, Self::Message];
}

/// What came of one call that reads or writes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Transfer {
    /// So many bytes. Reading none is the end of the stream.
    Bytes(u64),
    /// Nothing is there to read, or there is no room to write.
    WouldBlock,
    /// It failed.
    Failed,
}

/// What is measured at the end of a turn, and recorded when it has changed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Gauge {
    /// Jobs in the ready queue.
    Ready,
    /// Sources that were cut off and are carried over to the next turn.
    Carry,
    /// Messages from other threads that were not taken yet.
    Inbox,
    /// Sources that the loop holds.
    Sources,
    /// Sockets that are open, listeners included.
    Sockets,
    /// Bytes that a server's connections hold for their peers, as it counts them.
    BytesHeld,
    /// How late the last timers were, in nanoseconds.
    Lag,
}

impl Gauge {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Ready,
        Self::Carry,
        Self::Inbox,
        Self::Sources,
        Self::Sockets,
        Self::BytesHeld,
        Self::Lag,
    ];

    /// In some words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready queue",
            Self::Carry => "carried over",
            Self::Inbox => "inbox",
            Self::Sources => "sources",
            Self::Sockets => "open sockets",
            Self::BytesHeld => "bytes held",
            Self::Lag => "loop lag (ns)",
        }
    }
}

/// Names work in the records: see [`Recorder::name`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct NameId(u16);

impl NameId {
    /// Nothing is known, or there were [`NAMES_MAX`] names already.
    pub const UNKNOWN: Self = Self(0);

    /// Its number, from 1.
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// What a piece of work is, and where in the program it was created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name {
    /// As [`super::Work::kind`]. Of a source, what it was when the recorder first saw one that was created there.
    pub kind: &'static str,
    /// Where it was created; `None` for [`NameId::UNKNOWN`].
    pub origin: Option<Origin>,
}

/// What a [`Record`] says. Times are in nanoseconds, and up to 4 h 52 min; what has taken longer is told as so long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum What {
    /// A turn, from before it slept to its end.
    Turn {
        /// As [`super::Stats::turns`] has counted: the loop's first turn is 1.
        number: u64,
        /// How long it was, asleep or not.
        took_ns: u64,
    },
    /// A part of a turn. One in which nothing happened is left out.
    Phase {
        /// Which.
        phase: Phase,
        /// How long it was.
        took_ns: u64,
    },
    /// The driver waited for events.
    Poll {
        /// How long it was to wait at most; `None`: without limit.
        asked_ns: Option<u64>,
        /// How long it did.
        slept_ns: u64,
        /// How many events it returned.
        events: u32,
    },
    /// A visit to a source. A task's is a poll of it.
    Visit {
        /// Whose.
        token: Token,
        /// Why.
        readiness: Readiness,
        /// What it is.
        name: NameId,
        /// How long it took.
        took_ns: u64,
    },
    /// A callback ran.
    Callback {
        /// As in [`What::Called`].
        call: u64,
        /// What it is.
        name: NameId,
        /// How long it took.
        took_ns: u64,
    },
    /// Something has panicked. It is told when that was caught, which for a visit or a callback is just after it.
    Panicked {
        /// What it is.
        name: NameId,
    },
    /// A source came into the slab.
    Added {
        /// Its slot and generation.
        token: Token,
        /// What it is.
        name: NameId,
    },
    /// A source has ended, and its slot is free.
    Removed {
        /// Its slot and generation.
        token: Token,
    },
    /// A connection is in another state.
    State {
        /// Whose.
        token: Token,
        /// Which: see [`Recorder::state`].
        state: StateId,
    },
    /// Bytes were asked of the driver.
    Read {
        /// By whom; `None`: outside a visit.
        token: Option<Token>,
        /// What came of it.
        transfer: Transfer,
    },
    /// Bytes were given to the driver.
    Wrote {
        /// By whom; `None`: outside a visit.
        token: Option<Token>,
        /// What came of it.
        transfer: Transfer,
    },
    /// A source was put into the ready queue.
    Woken {
        /// Whose visit comes.
        token: Token,
        /// Why.
        why: Why,
    },
    /// A source was given bytes to write, and will be visited in step 7.
    Marked {
        /// Whose visit comes.
        token: Token,
    },
    /// A callback was put into the ready queue.
    Called {
        /// Names it until it has run.
        call: u64,
        /// Why.
        why: Why,
    },
    /// A task was spawned and put into the ready queue.
    Spawned {
        /// Names it until it has ended.
        task: u64,
    },
    /// A task is polled for the first time, in the visit that comes next.
    Began {
        /// As in [`What::Spawned`].
        task: u64,
    },
    /// A timer was set, or moved.
    TimerSet {
        /// Names it until it fires or is cancelled.
        timer: u64,
        /// When it is due, in ticks of the wheel: milliseconds since the loop was made.
        due_tick: u64,
    },
    /// A timer was taken back.
    TimerCancelled {
        /// Which.
        timer: u64,
    },
    /// The wheel's hand came to a slot of a coarser ring, and timers moved to finer ones.
    Cascaded {
        /// How many.
        timers: u64,
    },
    /// A timer came due. Whom it wakes or what it calls stands in the next record.
    TimerFired {
        /// Which.
        timer: u64,
        /// When it was due.
        due_tick: u64,
    },
    /// A message from another thread was taken.
    Message,
    /// A job was given to the executor.
    Submitted {
        /// Counts the jobs of this recorder from 1.
        job: u64,
    },
    /// The result of a job was taken.
    JobDone {
        /// Which.
        job: u64,
    },
    /// A [`super::Control`] has stopped the loop within a turn, or slowed it down: it stood still.
    Paused {
        /// For how long.
        took_ns: u64,
    },
    /// Something that is measured has changed.
    Gauge {
        /// What.
        gauge: Gauge,
        /// To what.
        value: u64,
    },
}

/// Names a connection's state in the records: see [`Recorder::state`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StateId(u8);

impl StateId {
    /// Its number, from 0.
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// The numbers of [`What`]'s kinds. 0 is the record that was never written.
mod kind {
    pub(super) const TURN: u8 = 1;
    pub(super) const PHASE: u8 = 2;
    pub(super) const POLL: u8 = 3;
    pub(super) const VISIT: u8 = 4;
    pub(super) const CALLBACK: u8 = 5;
    pub(super) const PANICKED: u8 = 6;
    pub(super) const ADDED: u8 = 7;
    pub(super) const REMOVED: u8 = 8;
    pub(super) const STATE: u8 = 9;
    pub(super) const READ: u8 = 10;
    pub(super) const WROTE: u8 = 11;
    pub(super) const WOKEN: u8 = 12;
    pub(super) const MARKED: u8 = 13;
    pub(super) const CALLED: u8 = 14;
    pub(super) const SPAWNED: u8 = 15;
    pub(super) const BEGAN: u8 = 16;
    pub(super) const TIMER_SET: u8 = 17;
    pub(super) const TIMER_CANCELLED: u8 = 18;
    pub(super) const CASCADED: u8 = 19;
    pub(super) const TIMER_FIRED: u8 = 20;
    pub(super) const MESSAGE: u8 = 21;
    pub(super) const SUBMITTED: u8 = 22;
    pub(super) const JOB_DONE: u8 = 23;
    pub(super) const GAUGE: u8 = 24;
    pub(super) const PAUSED: u8 = 25;
}

const NO_TOKEN: u64 = u64::MAX;
/// In [`What::Poll`] the id has the time that was asked for, and behind it the number of events.
const EVENTS_BITS: u32 = 16;
const NO_LIMIT: u64 = u64::MAX >> EVENTS_BITS;

/// The parts of a record beside time and depth.
#[derive(Default)]
struct Parts {
    kind: u8,
    aux: u8,
    name: u16,
    amount: u64,
    id: u64,
}

impl Parts {
    #[inline(always)]
    fn of(what: What) -> Self {
        use What::*;
        let id = |kind, id| Self {
            kind,
            id,
            ..Self::default()
        };
        match what {
            Turn { number, took_ns } => Self {
                amount: took_ns,
                ..id(kind::TURN, number)
            },
            Phase { phase, took_ns } => Self {
                kind: kind::PHASE,
                aux: phase as u8,
                amount: took_ns,
                ..Self::default()
            },
            Poll {
                asked_ns,
                slept_ns,
                events,
            } => {
                let asked = asked_ns.map_or(NO_LIMIT, |asked| asked.min(NO_LIMIT - 1));
                let events = u64::from(events).min((1 << EVENTS_BITS) - 1);
                Self {
                    amount: slept_ns,
                    ..id(kind::POLL, asked << EVENTS_BITS | events)
                }
            }
            Visit {
                token,
                readiness,
                name,
                took_ns,
            } => Self {
                kind: kind::VISIT,
                aux: readiness.to_bits(),
                name: name.0,
                amount: took_ns,
                id: token.to_bits(),
            },
            Callback {
                call,
                name,
                took_ns,
            } => Self {
                name: name.0,
                amount: took_ns,
                ..id(kind::CALLBACK, call)
            },
            Panicked { name } => Self {
                name: name.0,
                ..id(kind::PANICKED, 0)
            },
            Added { token, name } => Self {
                name: name.0,
                ..id(kind::ADDED, token.to_bits())
            },
            Removed { token } => id(kind::REMOVED, token.to_bits()),
            State { token, state } => Self {
                aux: state.0,
                ..id(kind::STATE, token.to_bits())
            },
            Read { token, transfer } => Self::of_transfer(kind::READ, token, transfer),
            Wrote { token, transfer } => Self::of_transfer(kind::WROTE, token, transfer),
            Woken { token, why } => Self {
                aux: why as u8,
                ..id(kind::WOKEN, token.to_bits())
            },
            Marked { token } => id(kind::MARKED, token.to_bits()),
            Called { call, why } => Self {
                aux: why as u8,
                ..id(kind::CALLED, call)
            },
            Spawned { task } => id(kind::SPAWNED, task),
            Began { task } => id(kind::BEGAN, task),
            TimerSet { timer, due_tick } => Self {
                amount: due_tick,
                ..id(kind::TIMER_SET, timer)
            },
            TimerCancelled { timer } => id(kind::TIMER_CANCELLED, timer),
            Cascaded { timers } => id(kind::CASCADED, timers),
            TimerFired { timer, due_tick } => Self {
                amount: due_tick,
                ..id(kind::TIMER_FIRED, timer)
            },
            Message => id(kind::MESSAGE, 0),
            Submitted { job } => id(kind::SUBMITTED, job),
            JobDone { job } => id(kind::JOB_DONE, job),
            Paused { took_ns } => Self {
                amount: took_ns,
                ..id(kind::PAUSED, 0)
            },
            Gauge { gauge, value } => Self {
                aux: gauge as u8,
                ..id(kind::GAUGE, value)
            },
        }
    }

    #[inline(always)]
    fn of_transfer(kind: u8, token: Option<Token>, transfer: Transfer) -> Self {
        let (aux, amount) = match transfer {
            Transfer::Bytes(bytes) => (0, bytes),
            Transfer::WouldBlock => (1, 0),
            Transfer::Failed => (2, 0),
        };
        Self {
            kind,
            aux,
            amount,
            id: token.map_or(NO_TOKEN, Token::to_bits),
            name: 0,
        }
    }
}

impl Record {
    #[inline(always)]
    fn new(at_ns: u64, depth: u8, what: What) -> Self {
        let parts = Parts::of(what);
        Self {
            when: at_ns << (KIND_BITS + DEPTH_BITS)
                | u64::from(depth) << KIND_BITS
                | u64::from(parts.kind),
            detail: parts.amount.min(AMOUNT_MAX) << (NAME_BITS + AUX_BITS)
                | u64::from(parts.name) << AUX_BITS
                | u64::from(parts.aux),
            id: parts.id,
        }
    }

    /// When it happened, or began if it has a duration: nanoseconds since the loop was made. What happened inside a
    /// visit or a callback has the time of the last moment that was measured, which is mostly the beginning of that
    /// work.
    pub fn at_ns(self) -> u64 {
        self.when >> (KIND_BITS + DEPTH_BITS)
    }

    /// Inside of how many pieces of work it happened, or is itself: 0 to 3. What is deeper is told as 3.
    pub fn depth(self) -> u8 {
        (self.when >> KIND_BITS) as u8 & DEPTH_MAX
    }

    /// How long it took, if it is something with a duration: a turn, a phase, a poll, a visit, a callback,
    /// a pause.
    pub fn took_ns(self) -> Option<u64> {
        match self.what() {
            What::Turn { took_ns, .. }
            | What::Phase { took_ns, .. }
            | What::Visit { took_ns, .. }
            | What::Callback { took_ns, .. }
            | What::Paused { took_ns } => Some(took_ns),
            What::Poll { slept_ns, .. } => Some(slept_ns),
            _ => None,
        }
    }

    /// What happened.
    pub fn what(self) -> What {
        let aux = self.detail as u8;
        let name = NameId((self.detail >> AUX_BITS) as u16 & NAMES_MAX as u16);
        let amount = self.detail >> (NAME_BITS + AUX_BITS);
        let id = self.id;
        let token = Token::from_bits(id);
        let why = || Why::ALL[usize::from(aux)];
        let transfer = || match aux {
            0 => Transfer::Bytes(amount),
            1 => Transfer::WouldBlock,
            _ => Transfer::Failed,
        };
        let some_token = (id != NO_TOKEN).then_some(token);
        match self.when as u8 & ((1 << KIND_BITS) - 1) {
            kind::TURN => What::Turn {
                number: id,
                took_ns: amount,
            },
            kind::PHASE => What::Phase {
                phase: Phase::ALL[usize::from(aux)],
                took_ns: amount,
            },
            kind::POLL => What::Poll {
                asked_ns: Some(id >> EVENTS_BITS).filter(|asked| *asked != NO_LIMIT),
                slept_ns: amount,
                events: id as u32 & ((1 << EVENTS_BITS) - 1),
            },
            kind::VISIT => What::Visit {
                token,
                readiness: Readiness::from_bits(aux),
                name,
                took_ns: amount,
            },
            kind::CALLBACK => What::Callback {
                call: id,
                name,
                took_ns: amount,
            },
            kind::PANICKED => What::Panicked { name },
            kind::ADDED => What::Added { token, name },
            kind::REMOVED => What::Removed { token },
            kind::STATE => What::State {
                token,
                state: StateId(aux),
            },
            kind::READ => What::Read {
                token: some_token,
                transfer: transfer(),
            },
            kind::WROTE => What::Wrote {
                token: some_token,
                transfer: transfer(),
            },
            kind::WOKEN => What::Woken { token, why: why() },
            kind::MARKED => What::Marked { token },
            kind::CALLED => What::Called {
                call: id,
                why: why(),
            },
            kind::SPAWNED => What::Spawned { task: id },
            kind::BEGAN => What::Began { task: id },
            kind::TIMER_SET => What::TimerSet {
                timer: id,
                due_tick: amount,
            },
            kind::TIMER_CANCELLED => What::TimerCancelled { timer: id },
            kind::CASCADED => What::Cascaded { timers: id },
            kind::TIMER_FIRED => What::TimerFired {
                timer: id,
                due_tick: amount,
            },
            kind::MESSAGE => What::Message,
            kind::SUBMITTED => What::Submitted { job: id },
            kind::JOB_DONE => What::JobDone { job: id },
            kind::PAUSED => What::Paused { took_ns: amount },
            kind::GAUGE => What::Gauge {
                gauge: Gauge::ALL[usize::from(aux)],
                value: id,
            },
            _ => unreachable!("only what was written is read"),
        }
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {} ns", self.what(), self.at_ns())
    }
}

/// It records.
const ON: u8 = 1;
/// It shall record from the next turn on.
const WANTED: u8 = 2;

/// The records of one loop. It is in the loop, and is read between its turns or in a callback.
///
/// ```
/// use tourbillon::event_loop::{EventLoop, TurnBudget, What};
///
/// let mut event_loop = EventLoop::new()?;
/// event_loop.record(true);
/// event_loop.call_soon(|_| ());
/// event_loop.turn(TurnBudget::no_wait())?;
///
/// let ran = event_loop.recorder().since(0).find_map(|record| match record.what() {
///     What::Callback { name, .. } => event_loop.recorder().name(name).origin,
///     _ => None,
/// });
/// assert_eq!(ran.unwrap().file(), file!());
/// # std::io::Result::Ok(())
/// ```
pub struct Recorder {
    /// [`ON`] and [`WANTED`]: one byte, so that a turn has one thing to look at.
    mode: Cell<u8>,
    capacity: Cell<usize>,
    /// The moment that times are counted from.
    started: Instant,
    /// There from the first time on that it is switched on.
    tape: OnceCell<Box<Tape>>,
}

struct Tape {
    /// A power of two of them.
    ring: Box<[Cell<Record>]>,
    /// How many were written, ever.
    written: Cell<u64>,
    /// The last moment that was measured.
    stamp_ns: Cell<u64>,
    turn_from_ns: Cell<u64>,
    phase_from_ns: Cell<u64>,
    /// What was written when the phase began.
    phase_from: Cell<u64>,
    /// Why what joins the ready queue in this phase does so.
    why: Cell<Why>,
    /// How many timers had moved in the wheel.
    cascaded: Cell<u64>,
    /// How many pieces of work run inside one another now, and when each began.
    depth: Cell<u8>,
    begun_ns: [Cell<u64>; DEPTH_MAX as usize + 1],
    jobs: Cell<u64>,
    gauges: [Cell<u64>; Gauge::ALL.len()],
    names: Names,
    /// Kinds of connections, and states.
    states: Cell<Vec<(&'static str, &'static str)>>,
}

impl Recorder {
    pub(super) fn new(started: Instant) -> Self {
        Self {
            mode: Cell::new(0),
            capacity: Cell::new(RECORDS),
            started,
            tape: OnceCell::new(),
        }
    }

    /// Whether it records now.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.mode.get() & ON != 0
    }

    /// How many records were written, those that are overwritten by now included: the cursor behind the newest.
    pub fn written(&self) -> u64 {
        self.tape.get().map_or(0, |tape| tape.written.get())
    }

    /// The records from `cursor` on, oldest first: begin with 0, and go on with [`Since::next_cursor`]. Those that were
    /// overwritten meanwhile are counted in [`Since::lost`].
    pub fn since(&self, cursor: u64) -> Since<'_> {
        let ring = self.tape.get().map_or(&[][..], |tape| &tape.ring[..]);
        let end = self.written();
        let first = end.saturating_sub(ring.len() as u64).max(cursor).min(end);
        Since {
            ring,
            next: first,
            end,
            lost: first.saturating_sub(cursor),
        }
    }

    /// What a name in the records stands for.
    pub fn name(&self, name: NameId) -> Name {
        let tape = self.tape.get();
        tape.and_then(|tape| tape.names.get(name))
            .unwrap_or(Name::UNKNOWN)
    }

    /// What a state in the records stands for: the kind of connection, such as `http` or `websocket`, and its state.
    pub fn state(&self, state: StateId) -> (&'static str, &'static str) {
        let states = self.states();
        states.get(state.index()).copied().unwrap_or_default()
    }

    /// The moment from which [`Record::at_ns`] counts: when the loop was made.
    pub fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn names(&self) -> Vec<Name> {
        let Some(tape) = self.tape.get() else {
            return Vec::new();
        };
        let names = tape.names.names.take();
        tape.names.names.set(names.clone());
        names
    }

    pub(super) fn states(&self) -> Vec<(&'static str, &'static str)> {
        let Some(tape) = self.tape.get() else {
            return Vec::new();
        };
        let states = tape.states.take();
        tape.states.set(states.clone());
        states
    }

    /// So many records from when it is first switched on; rounded up to a power of two.
    pub(super) fn set_capacity(&self, records: usize) {
        self.capacity.set(records);
    }

    /// Switch it on or off: at once between turns, and else from the next turn on, so that no turn is cut.
    pub(super) fn switch(&self, on: bool, in_turn: bool) {
        let mode = self.mode.get() & ON;
        self.mode.set(mode | if on { WANTED } else { 0 });
        if !in_turn {
            self.apply();
        }
    }

    fn apply(&self) {
        let is_wanted = self.mode.get() & WANTED != 0;
        if is_wanted {
            self.tape
                .get_or_init(|| Box::new(Tape::new(self.capacity.get())));
        }
        self.mode.set(if is_wanted { ON | WANTED } else { 0 });
    }

    // ---- for the loop ---------------------------------------------------------------------------------------------

    /// A turn begins. Whether it is recorded.
    #[inline]
    pub(super) fn begin_turn(&self, now: Instant) -> bool {
        self.mode.get() != 0 && self.turn_begun(now)
    }

    #[cold]
    fn turn_begun(&self, now: Instant) -> bool {
        self.apply();
        let Some(tape) = self.tape.get().filter(|_| self.is_on()) else {
            return false;
        };
        let now_ns = self.ns(now);
        tape.stamp_ns.set(now_ns);
        tape.turn_from_ns.set(now_ns);
        tape.phase_from_ns.set(now_ns);
        tape.phase_from.set(tape.written.get());
        true
    }

    /// Something happened, inside of what runs now.
    #[inline]
    pub(super) fn push(&self, what: What) {
        if self.is_on() {
            self.push_now(what);
        }
    }

    #[cold]
    fn push_now(&self, what: What) {
        if let Some(tape) = self.tape.get() {
            tape.push(tape.stamp_ns.get(), what);
        }
    }

    /// A piece of work begins.
    pub(super) fn begin_work(&self) {
        let Some(tape) = self.tape.get().filter(|_| self.is_on()) else {
            return;
        };
        let depth = tape.depth.get();
        tape.begun_ns[usize::from(depth.min(DEPTH_MAX))].set(tape.stamp_ns.get());
        tape.depth.set(depth + 1);
    }

    /// It has ended, at `now`. `what` is told how long it took.
    #[inline]
    pub(super) fn end_work(&self, now: Instant, what: impl FnOnce(u64) -> What) {
        let Some(tape) = self.tape.get().filter(|_| self.is_on()) else {
            return;
        };
        let now_ns = self.ns(now);
        tape.stamp_ns.set(now_ns);
        let depth = tape.depth.get().saturating_sub(1);
        tape.depth.set(depth);
        let begun_ns = tape.begun_ns[usize::from(depth.min(DEPTH_MAX))].get();
        tape.push(begun_ns, what(now_ns.saturating_sub(begun_ns)));
    }

    /// From `since` to `now` the loop has stood still.
    pub(super) fn paused(&self, since: Instant, now: Instant) {
        let Some(tape) = self.tape.get().filter(|_| self.is_on()) else {
            return;
        };
        let (since_ns, now_ns) = (self.ns(since), self.ns(now));
        let took_ns = now_ns.saturating_sub(since_ns);
        tape.push(since_ns, What::Paused { took_ns });
        tape.stamp_ns.set(now_ns);
    }

    /// The driver has returned, at `now`.
    pub(super) fn polled(&self, now: Instant, asked: Option<Duration>, events: usize) {
        let Some(tape) = self.tape.get() else { return };
        let now_ns = self.ns(now);
        let began_ns = tape.turn_from_ns.get();
        let poll = What::Poll {
            asked_ns: asked.map(|asked| u64::try_from(asked.as_nanos()).unwrap_or(u64::MAX)),
            slept_ns: now_ns.saturating_sub(began_ns),
            events: events as u32,
        };
        tape.push(began_ns, poll);
        tape.stamp_ns.set(now_ns);
    }

    /// A phase has ended. One in which nothing was recorded took no time worth a reading of the clock.
    pub(super) fn end_phase(&self, phase: Phase, now: impl FnOnce() -> Instant) {
        let Some(tape) = self.tape.get() else { return };
        tape.why.set(match phase {
            Phase::Visit => Why::Message,
            Phase::Messages => Why::Timer,
            _ => Why::Asked,
        });
        if tape.written.get() == tape.phase_from.get() {
            return;
        }
        let now_ns = self.ns(now());
        let from_ns = tape.phase_from_ns.replace(now_ns);
        tape.stamp_ns.set(now_ns);
        let took_ns = now_ns.saturating_sub(from_ns);
        tape.push(from_ns, What::Phase { phase, took_ns });
        tape.phase_from.set(tape.written.get());
    }

    /// The wheel was asked for what is due. `cascaded` timers have moved in it, ever; the one that fired has a name and
    /// was due at a tick.
    #[cold]
    pub(super) fn popped(&self, cascaded: u64, fired: Option<(u64, u64)>) {
        let Some(tape) = self.tape.get() else { return };
        // What has moved while nothing was recorded is in the first difference.
        let timers = cascaded - tape.cascaded.replace(cascaded);
        if timers > 0 {
            self.push(What::Cascaded { timers });
        }
        if let Some((timer, due_tick)) = fired {
            self.push(What::TimerFired { timer, due_tick });
        }
    }

    /// A job joins the ready queue.
    #[cold]
    pub(super) fn queued(&self, job: &Job) {
        let Some(tape) = self.tape.get() else { return };
        let why = tape.why.get();
        self.push(match job {
            Job::Call(key) => What::Called {
                call: key.to_bits(),
                why,
            },
            Job::Visit(token, _) => What::Woken { token: *token, why },
            // It has no token yet, and no number: its first visit is in the order of the queue.
            Job::Start(..) => return,
            Job::Begin(task) => What::Spawned {
                task: task.number(),
            },
        });
    }

    /// The turn with this `number` has ended. Returns how long it was.
    pub(super) fn end_turn(&self, number: u64) -> Duration {
        let Some(tape) = self.tape.get() else {
            return Duration::ZERO;
        };
        let from_ns = tape.turn_from_ns.get();
        let took_ns = tape.stamp_ns.get().saturating_sub(from_ns);
        tape.push(from_ns, What::Turn { number, took_ns });
        Duration::from_nanos(took_ns)
    }

    /// Something was measured. It is recorded if it has changed.
    pub(super) fn measured(&self, gauge: Gauge, value: u64) {
        let Some(tape) = self.tape.get().filter(|_| self.is_on()) else {
            return;
        };
        if tape.gauges[gauge as usize].replace(value) != value {
            tape.push(tape.stamp_ns.get(), What::Gauge { gauge, value });
        }
    }

    /// The name of work that was created at `origin`. `kind` is asked once for each of them.
    #[inline]
    pub(super) fn name_of(&self, origin: Origin, kind: impl FnOnce() -> &'static str) -> NameId {
        let tape = self.tape.get();
        tape.map_or(NameId::UNKNOWN, |tape| tape.names.find(origin, 0, kind))
    }

    /// The same for a callback. A source may have been created in the same line.
    pub(super) fn callback_name(&self, origin: Origin) -> NameId {
        let tape = self.tape.get();
        tape.map_or(NameId::UNKNOWN, |tape| {
            tape.names.find(origin, 1, || "callback")
        })
    }

    /// A job was submitted. Returns its number; 0 when nothing is recorded.
    pub(super) fn submitted(&self) -> u64 {
        let Some(tape) = self.tape.get().filter(|_| self.is_on()) else {
            return 0;
        };
        let job = tape.jobs.get() + 1;
        tape.jobs.set(job);
        self.push(What::Submitted { job });
        job
    }

    /// The result of the job with this number is taken.
    pub(super) fn job_done(&self, job: u64) {
        if job > 0 {
            self.push(What::JobDone { job });
        }
    }

    #[cold]
    pub(super) fn state_changed(&self, token: Token, kind: &'static str, state: &'static str) {
        let Some(tape) = self.tape.get() else { return };
        let mut states = tape.states.take();
        let known = states.iter().position(|known| *known == (kind, state));
        let index = known.unwrap_or_else(|| {
            states.push((kind, state));
            states.len() - 1
        });
        tape.states.set(states);
        let state = StateId(index.min(usize::from(u8::MAX)) as u8);
        tape.push(tape.stamp_ns.get(), What::State { token, state });
    }

    fn ns(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.started);
        since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos())
    }
}

impl EventLoop {
    /// A piece of work begins.
    pub(super) fn work_begins(&self, work: impl FnOnce() -> Work) {
        self.handle.recorder().begin_work();
        self.watch(work);
    }

    /// A visit begins.
    #[cold]
    pub(super) fn visit_begins(&self, slot: &Slot) {
        self.work_begins(|| slot.work());
    }

    /// A visit has ended and was timed.
    #[cold]
    pub(super) fn visit_ended(&mut self, token: Token, readiness: Readiness, slot: &Slot) {
        self.record_visit(token, readiness, slot.origin, || slot.source.inspect().kind);
        self.tell_if_slow(|| slot.work(), Some(token));
    }

    /// A visit has ended and was timed: record it.
    pub(super) fn record_visit(
        &self,
        token: Token,
        readiness: Readiness,
        origin: Origin,
        kind: impl FnOnce() -> &'static str,
    ) {
        let recorder = self.handle.recorder();
        recorder.end_work(self.stamp.at, |took_ns| What::Visit {
            token,
            readiness,
            name: recorder.name_of(origin, kind),
            took_ns,
        });
    }

    /// A callback has ended and was timed.
    #[cold]
    pub(super) fn callback_ended(&mut self, key: CallKey, origin: Origin) {
        let recorder = self.handle.recorder();
        recorder.end_work(self.stamp.at, |took_ns| What::Callback {
            call: key.to_bits(),
            name: recorder.callback_name(origin),
            took_ns,
        });
        self.tell_if_slow(|| Work::callback(origin), None);
    }

    /// A source came into the slab.
    #[inline]
    pub(super) fn record_added(
        &self,
        token: Token,
        origin: Origin,
        kind: impl FnOnce() -> &'static str,
    ) {
        let recorder = self.handle.recorder();
        if recorder.is_on() {
            let name = recorder.name_of(origin, kind);
            recorder.push(What::Added { token, name });
        }
    }

    #[cold]
    pub(super) fn record_panic(&self, panicked: &Panicked) {
        let recorder = self.handle.recorder();
        let name = recorder.name_of(panicked.origin, || panicked.kind);
        recorder.push(What::Panicked { name });
    }

    /// A phase of the turn has ended.
    #[inline]
    pub(super) fn end_phase(&self, phase: Phase) {
        if self.records {
            self.record_phase(phase);
        }
    }

    #[cold]
    fn record_phase(&self, phase: Phase) {
        let handle = &self.handle;
        handle.recorder().end_phase(phase, || handle.time());
    }

    /// The turn has ended.
    #[inline]
    pub(super) fn end_turn(&mut self) {
        if self.records {
            self.record_turn();
        }
    }

    #[cold]
    fn record_turn(&mut self) {
        let recorder = self.handle.recorder();
        let lag = u64::try_from(self.turn.lag.as_nanos()).unwrap_or(u64::MAX);
        let measured = [
            (Gauge::Ready, self.handle.ready_jobs() as u64),
            (Gauge::Carry, self.carry.len() as u64),
            (Gauge::Inbox, self.inbox.len() as u64),
            (Gauge::Sources, self.sources.len() as u64),
            (Gauge::Sockets, self.driver.open_sockets() as u64),
            (Gauge::Lag, lag),
        ];
        for (gauge, value) in measured {
            recorder.measured(gauge, value);
        }
        let took = recorder.end_turn(self.stats.turns);
        if let Some(mut flights) = self.flights.take() {
            // Waiting for a control is nobody's work either.
            let awake =
                took.saturating_sub(self.turn.asleep + Duration::from_nanos(self.paused_ns));
            (flights.watch_turn)(self, awake);
            self.flights.get_or_insert(flights);
        }
    }
}

impl Ctx<'_> {
    /// [`super::Driver::read`], recorded.
    #[inline(always)]
    pub(crate) fn read(&mut self, socket: Socket, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.event_loop.driver.read(socket, buffer);
        match self.event_loop.records {
            true => {
                cold_path();
                self.record_read(read)
            }
            false => read,
        }
    }

    /// [`super::Driver::write`], recorded.
    #[inline(always)]
    pub(crate) fn write(&mut self, socket: Socket, bytes: &[u8]) -> io::Result<usize> {
        let wrote = self.event_loop.driver.write(socket, bytes);
        match self.event_loop.records {
            true => {
                cold_path();
                self.record_wrote(wrote)
            }
            false => wrote,
        }
    }

    /// [`super::Driver::write_vectored`], recorded.
    #[inline]
    pub(crate) fn write_vectored(
        &mut self,
        socket: Socket,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let wrote = self.event_loop.driver.write_vectored(socket, slices);
        match self.event_loop.records {
            true => {
                cold_path();
                self.record_wrote(wrote)
            }
            false => wrote,
        }
    }

    /// [`super::Driver::send_to`], recorded.
    pub(crate) fn send_to(
        &mut self,
        socket: Socket,
        bytes: &[u8],
        peer: Option<SocketAddr>,
    ) -> io::Result<usize> {
        let sent = self.event_loop.driver.send_to(socket, bytes, peer);
        self.record_wrote(sent)
    }

    /// [`super::Driver::recv_from`], recorded.
    pub(crate) fn recv_from(
        &mut self,
        socket: Socket,
        buffer: &mut [u8],
    ) -> io::Result<(usize, SocketAddr)> {
        let received = self.event_loop.driver.recv_from(socket, buffer);
        let transfer = match &received {
            Ok((length, _)) => Transfer::Bytes(*length as u64),
            Err(error) => Transfer::of_error(error),
        };
        let token = self.token;
        self.recorder().push(What::Read { token, transfer });
        received
    }

    /// What came of reading passes through here. By value: so it can stay in registers.
    #[cold]
    pub(crate) fn record_read(&self, read: io::Result<usize>) -> io::Result<usize> {
        let (token, transfer) = (self.token, Transfer::of(&read));
        self.recorder().push(What::Read { token, transfer });
        read
    }

    /// The same for writing.
    #[cold]
    pub(crate) fn record_wrote(&self, wrote: io::Result<usize>) -> io::Result<usize> {
        let (token, transfer) = (self.token, Transfer::of(&wrote));
        self.recorder().push(What::Wrote { token, transfer });
        wrote
    }

    /// The source that is being visited is a connection of this `kind` in this `state` from now on.
    #[inline]
    pub(crate) fn record_state(&self, kind: &'static str, state: &'static str) {
        if self.event_loop.records
            && let Some(token) = self.token
        {
            self.recorder().state_changed(token, kind, state);
        }
    }

    /// A server's connections hold so many bytes.
    #[inline]
    pub(crate) fn record_bytes_held(&self, bytes: usize) {
        if self.event_loop.records {
            self.recorder().measured(Gauge::BytesHeld, bytes as u64);
        }
    }
}

impl Transfer {
    #[inline]
    fn of(transferred: &io::Result<usize>) -> Self {
        match transferred {
            Ok(bytes) => Self::Bytes(*bytes as u64),
            Err(error) => Self::of_error(error),
        }
    }

    fn of_error(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock => Self::WouldBlock,
            _ => Self::Failed,
        }
    }
}

impl Tape {
    fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1).next_power_of_two();
        Self {
            ring: vec![Cell::new(Record::default()); capacity].into(),
            written: Cell::new(0),
            stamp_ns: Cell::new(0),
            turn_from_ns: Cell::new(0),
            phase_from_ns: Cell::new(0),
            phase_from: Cell::new(0),
            why: Cell::new(Why::Asked),
            cascaded: Cell::new(0),
            depth: Cell::new(0),
            begun_ns: Default::default(),
            jobs: Cell::new(0),
            gauges: Default::default(),
            names: Names::new(),
            states: Cell::default(),
        }
    }

    #[inline]
    fn push(&self, at_ns: u64, what: What) {
        let written = self.written.get();
        let place = written as usize & (self.ring.len() - 1);
        let depth = self.depth.get().min(DEPTH_MAX);
        self.ring[place].set(Record::new(at_ns, depth, what));
        self.written.set(written + 1);
    }
}

/// The records from a cursor on, see [`Recorder::since`].
#[derive(Clone, Debug)]
pub struct Since<'r> {
    ring: &'r [Cell<Record>],
    next: u64,
    end: u64,
    lost: u64,
}

impl Since<'_> {
    /// Where to go on later: behind the last of these records.
    pub fn next_cursor(&self) -> u64 {
        self.end
    }

    /// How many records from the cursor on have been overwritten.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

impl Iterator for Since<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if self.next == self.end {
            return None;
        }
        let place = self.next as usize & (self.ring.len() - 1);
        self.next += 1;
        Some(self.ring[place].get())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.end - self.next) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Since<'_> {}

impl Name {
    pub(super) const UNKNOWN: Self = Self {
        kind: "source",
        origin: None,
    };
}

/// Names by the address of their origin, which is found with a multiplication and, mostly, one look.
struct Names {
    /// A name's key and number. Key 0 is a free place; half of them stay free.
    places: Box<[Cell<(usize, u16)>]>,
    /// The first is [`NameId::UNKNOWN`].
    names: Cell<Vec<Name>>,
}

impl Names {
    const PLACES: usize = 2 * (NAMES_MAX + 1);

    fn new() -> Self {
        Self {
            places: vec![Cell::new((0, 0)); Self::PLACES].into(),
            names: Cell::new(vec![Name::UNKNOWN]),
        }
    }

    fn get(&self, name: NameId) -> Option<Name> {
        let names = self.names.take();
        let found = names.get(name.index()).copied();
        self.names.set(names);
        found
    }

    /// `class` tells apart what may have the same origin: 0 or 1, which no address of a location ends with.
    #[inline]
    fn find(&self, origin: Origin, class: usize, kind: impl FnOnce() -> &'static str) -> NameId {
        let key = std::ptr::from_ref(origin).addr() | class;
        // Fibonacci hashing: Knuth, "The Art of Computer Programming", volume 3, 6.4. The top bits are the best.
        let hash = (key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - NAME_BITS - 1);
        let mut place = hash as usize;
        loop {
            let (known, number) = self.places[place].get();
            if known == key {
                return NameId(number);
            }
            if known == 0 {
                return self.add(place, key, kind(), origin);
            }
            place = (place + 1) % Self::PLACES;
        }
    }

    #[cold]
    fn add(&self, place: usize, key: usize, kind: &'static str, origin: Origin) -> NameId {
        let mut names = self.names.take();
        let number = names.len();
        if number <= NAMES_MAX {
            names.push(Name {
                kind,
                origin: Some(origin),
            });
            self.places[place].set((key, number as u16));
        }
        self.names.set(names);
        match number <= NAMES_MAX {
            true => NameId(number as u16),
            false => NameId::UNKNOWN,
        }
    }
}
