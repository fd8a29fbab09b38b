//! The event loop: park until something happens, visit whom it happened to, run what came due, begin again.
//!
//! This is the file to read first. [`EventLoop::turn`] is one turn, and `take_steps` has its steps; what runs and in
//! which order is decided there and nowhere else. Code that is not the loop's runs in two places only: a visit to a
//! [`Source`] and a callback, and each is a function below that does nothing else. (Hooks for those who look at the
//! loop apart; a loop that is paused obeys its [`Control`] as well.)
//!
//! What a program may rely on (the rules R1 to R11; each is a test):
//!
//! - R1 There is one ready queue, and it is first in, first out. Its order inside a turn: what was left over, what I/O
//!   woke, what other threads sent, what came due.
//! - R2 What is scheduled before step 6 runs in this turn; what is scheduled in step 6 or after it, in the next one,
//!   after its poll. So nothing that reschedules itself can keep the sockets from being read.
//! - R3 Every step is bounded by a count: [`EVENTS_MAX`], [`MESSAGES_MAX`], [`CALLBACKS_MAX`], and each source's own
//!   budget. What is cut off keeps its place.
//! - R4 A source that was cut off, or cannot go on, is carried to the next turn when it asks ([`Next::Again`]): no edge
//!   will come for what it left unread.
//! - R5 A timer is never early, never runs in the turn that set it, and those of one tick run in the order they were
//!   set.
//! - R6 What was cancelled does not run, even if it stood in the ready queue already.
//! - R7 After `closed`, nothing for that source: a token that is stale names nobody.
//! - R8 A woken task stands in the queue once, and may do so much in one poll.
//! - R9 Listeners are visited last.
//! - R10 A connection writes what it owes before it makes more (see `conn`).
//! - R11 `stop` completes the turn.

mod blocking_driver;
mod control;
mod ctx;
mod debug;
mod driver;
mod ending;
mod executor;
mod flight;
mod handle;
mod incidents;
mod listener;
mod mio_driver;
mod panic;
mod platform;
mod recorder;
mod snapshot;
mod source;
mod stats;
mod task;
mod tasks;
mod trace;
mod waits;
mod waker;
mod watch;
mod watchdog;

#[cfg(test)]
mod tests;

use std::fmt;
use std::hint::cold_path;
use std::io;
use std::ops::{Deref, Range};
use std::panic::Location;
use std::time::{Duration, Instant};

pub use blocking_driver::{BlockingDriver, Interrupter};
pub use control::{Break, Control, LOOK_UP, LoopState, News, Standing, StopReason, Upcoming};
pub use ctx::Ctx;
pub(crate) use debug::Span;
pub use debug::{
    Finding, LostTask, SLOW_THRESHOLD, ScopeEnd, ScopeReport, SlowReport, Victims, Work,
};
pub use driver::{
    BadToken, BlockingJob, Clock, Driver, Event, Executor, Group, Notify, Readiness, Signal,
    Socket, Token, Watch,
};
pub use ending::JoinError;
pub(crate) use ending::{EndKey, Listener};
pub use executor::{JobHandle, ThreadPool};
pub use flight::{Cause, FLIGHT_PAUSE, FLIGHTS_MAX, Flight, FlightRecorder};
pub(crate) use handle::CallKey;
pub use handle::{CallHandle, Handle, LoopGone, Remote, get_running_loop};
pub use incidents::{INCIDENTS_MAX, Incident, PIECES_MAX, SlowTurn, Trouble};
pub use listener::{bind, bind_several};
pub use mio_driver::MioDriver;
pub use panic::Panicked;

pub(crate) use panic::{Caught, caught, guarded};
pub use recorder::{
    Gauge, NAMES_MAX, Name, NameId, Phase, RECORDS, Record, Recorder, Since, StateId, Transfer,
    What, Why,
};
pub use snapshot::{
    Queued, SlabView, Snapshot, SnapshotMax, SourceView, TimerFor, TimerView, WheelView,
};
pub use source::{Inspection, Next, Source};
pub use stats::{Longest, Origin, Stats, TIMED_ALONE, TIMED_TOGETHER, Turn};
pub(crate) use task::NewTask;
pub use tasks::{TaskInfo, Tasks};
pub use trace::Recording;
pub(crate) use waits::{BUDGET, Waits, poll_in_budget, spend_unit, units_left};
pub use waits::{Detail, WaitsOn, waits_on};
pub(crate) use waker::SourceWaker;

pub use watchdog::StallReport;

pub use crate::parts::wheel::TimerId;

use crate::parts::high_water::{Burst, free_small_pieces, give_back_list};
use crate::parts::slab::{Key, Slab};
use control::Controlled;
use debug::Debugging;
use flight::Flights;
use handle::{Inbox, Job, Message, Moment, NS_PER_TICK};
use incidents::Incidents;
use platform::Platform;
use watchdog::Watchdog;

/// Events taken from the driver in one turn.
pub const EVENTS_MAX: usize = 1024;
/// Messages from other threads taken in one turn.
pub const MESSAGES_MAX: usize = 1024;
/// Callbacks run in one turn, unless its [`TurnBudget`] or [`Ctx::limit_callbacks`] says less.
pub const CALLBACKS_MAX: usize = 1024;

/// How far one turn may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnBudget {
    /// The longest time to be parked; `None`: until something happens.
    pub wait: Option<Duration>,
    /// The most callbacks to run in step 6; the rest keep their places.
    pub callbacks: usize,
}

impl Default for TurnBudget {
    /// Parked as long as nothing happens, [`CALLBACKS_MAX`] callbacks.
    fn default() -> Self {
        Self {
            wait: None,
            callbacks: CALLBACKS_MAX,
        }
    }
}

impl TurnBudget {
    /// Take what is there and do not wait: for a loop that lives inside another one.
    pub fn no_wait() -> Self {
        Self {
            wait: Some(Duration::ZERO),
            ..Self::default()
        }
    }

    /// Wait no longer than `wait`.
    pub fn wait_at_most(wait: Duration) -> Self {
        Self {
            wait: Some(wait),
            ..Self::default()
        }
    }
}

/// Two buffers that all sources of a loop share, so that an idle connection holds none. See [`Ctx::lend_buffers`].
#[derive(Debug)]
pub struct Buffers {
    /// For reading: all of it may be overwritten; it is no shorter than [`RECEIVE_BYTES`].
    pub receive: Box<[u8]>,
    /// For what a source writes during its visit, so that it leaves in one call. Empty when lent.
    pub cork: Vec<u8>,
    /// Where [`Buffers::read_into`] begins.
    start: usize,
}

impl Default for Buffers {
    fn default() -> Self {
        let mut buffers = Self {
            receive: vec![0; RECEIVE_BYTES + PAGE_BYTES].into_boxed_slice(),
            // At once, so that it does not move to where a burst's memory lies. What is not written to costs nothing.
            cork: Vec::with_capacity(CORK_BYTES + CORK_BYTES / 4),
            start: 0,
        };
        buffers.place();
        buffers
    }
}

/// Where a processor compares addresses to see whether a load needs what a store is about to write, it looks at their
/// places within a page.
const PAGE_BYTES: usize = 4096;

impl Buffers {
    #[cold]
    fn fresh() -> Box<Self> {
        Box::default()
    }

    /// Where to read what will be copied into the cork: there the two lie half a page apart. A copy between places that
    /// are alike within their pages is taken for one that overlaps, and took some 15 times as long for 16 KiB. The
    /// length is [`RECEIVE_BYTES`], wherever it is.
    #[inline]
    pub fn read_into(&self) -> Range<usize> {
        self.start..self.start + RECEIVE_BYTES
    }

    /// The cork is where it has not been before, or may be.
    fn place(&mut self) {
        let (receive, cork) = (self.receive.as_ptr().addr(), self.cork.as_ptr().addr());
        self.start = (cork + PAGE_BYTES / 2).wrapping_sub(receive) % PAGE_BYTES;
    }
}

/// The receive buffer stays in a core's second-level cache, and takes a deep pipeline in one read.
pub const RECEIVE_BYTES: usize = 64 * 1024;
/// A visit flushes its cork at this size; the buffer is allocated with room for one more answer.
pub const CORK_BYTES: usize = 64 * 1024;

/// A group of visits that took so long has one among them that should be known.
const SLOW_NS: u64 = 1_000_000;

/// A source and where it was created.
struct Slot {
    source: Box<dyn Source>,
    origin: Origin,
}

type PanicHook = Box<dyn FnMut(&Panicked)>;

/// A reactor: one thread's sources, timers and callbacks. All methods of [`Handle`] are here too.
///
/// ```
/// use std::time::Duration;
/// use tourbillon::event_loop::EventLoop;
///
/// let mut event_loop = EventLoop::new()?;
/// event_loop.call_later(Duration::from_millis(2), |ctx| ctx.stop());
/// event_loop.call_soon(|_| println!("first"));
/// event_loop.run()?;
/// # std::io::Result::Ok(())
/// ```
pub struct EventLoop {
    driver: Platform,
    sources: Slab<Slot>,
    handle: Handle,
    inbox: Inbox,
    /// `None` while they are lent, and before the first loan.
    buffers: Option<Box<Buffers>>,
    /// Sources that asked for another visit.
    carry: Vec<Token>,
    /// Sources that are visited after the others.
    listeners: Vec<Token>,
    /// Sources whose end has come; step 8 sees to it.
    closing: Vec<(Token, Slot)>,
    /// Sources that were closed by others while they were being visited.
    doomed: Vec<Token>,
    /// Who comes in the place of the source that is being visited, and what it wants.
    successor: Option<(Box<dyn Source>, Next)>,
    /// Sources that want to hear when one has closed.
    waiting_for_close: Vec<Token>,
    on_panic: PanicHook,
    debugging: Debugging,
    incidents: Incidents,
    /// Of sources.
    burst: Burst,
    watchdog: Option<Watchdog>,
    flights: Option<Flights>,
    control: Option<Box<Controlled>>,
    /// A control may want to wait before each visit and callback.
    is_paced: bool,
    /// Jobs of step 6 that are still to come, in a loop that is paced.
    jobs_left: usize,
    /// Waited for a control since the loop was last parked: nobody's work.
    paused_ns: u64,
    /// In this turn each piece of work is timed alone, and one that took so long is reported. [`u64::MAX`], unless in
    /// debug mode.
    slow_from_ns: u64,
    /// In this turn what runs is named before it does, for the watchdog and for debug mode.
    looks_closely: bool,
    /// In this turn what happens is recorded.
    records: bool,
    /// One of these two: visits and callbacks are looked at when they begin and when they have ended.
    observes: bool,
    /// Visits of the present step that are still to come, those to listeners apart.
    behind: usize,
    /// Whatever a turn's budget says.
    callbacks_max: usize,
    stats: Stats,
    /// Time not parked, and parked, in all turns: what `stats` is told of it when somebody asks.
    awake_ns: u64,
    asleep_ns: u64,
    /// The turn that is going on.
    turn: Turn,
    /// When the last piece of work ended, so that one reading of the clock times each.
    stamp: Moment,
    /// How long that piece took.
    took_ns: u64,
    /// How long the longest of this turn has.
    longest_ns: u64,
    /// When the loop woke up in this turn.
    woke: Moment,
    /// Something has run since the stamp that is nobody's piece of work.
    has_run_on: bool,
    /// Visits since then, and how many of them are timed together.
    untimed: u32,
    timed_together: u32,
    /// The last of them.
    last_visited: Origin,
    /// So many visits are still to be timed alone.
    suspicious: u32,
    // Kept for their allocations.
    events: Vec<Event>,
    late_events: Vec<Event>,
    carried: Vec<Token>,
    flushing: Vec<Token>,
}

impl EventLoop {
    /// A loop on this machine's sockets and clock.
    ///
    /// # Errors
    /// When the operating system refuses a poller: no descriptors or memory left.
    pub fn new() -> io::Result<Self> {
        Ok(Self::on(Platform::Machine(MioDriver::new()?)))
    }

    /// A loop on another driver.
    pub fn with_driver(driver: Box<dyn Driver>) -> Self {
        Self::on(Platform::Other(driver))
    }

    fn on(mut driver: Platform) -> Self {
        let (inbox, remote) = Inbox::new(driver.notifier());
        let entropy = driver.entropy();
        let handle = Handle::new(driver.time(), driver.executor(), remote, entropy);
        let stamp = handle.moment();
        Self {
            driver,
            sources: Slab::new(),
            handle,
            inbox,
            buffers: None,
            carry: Vec::new(),
            listeners: Vec::new(),
            closing: Vec::new(),
            doomed: Vec::new(),
            successor: None,
            waiting_for_close: Vec::new(),
            on_panic: Box::new(|panicked| eprintln!("tourbillon: {panicked}")),
            debugging: Debugging::default(),
            incidents: Incidents::new(),
            burst: Burst::default(),
            watchdog: None,
            flights: None,
            control: None,
            is_paced: false,
            jobs_left: 0,
            paused_ns: 0,
            slow_from_ns: u64::MAX,
            looks_closely: false,
            records: false,
            observes: false,
            behind: 0,
            callbacks_max: CALLBACKS_MAX,
            stats: Stats::default(),
            awake_ns: 0,
            asleep_ns: 0,
            turn: Turn::default(),
            stamp,
            woke: stamp,
            has_run_on: true,
            took_ns: 0,
            longest_ns: 0,
            untimed: 0,
            timed_together: 1,
            last_visited: Location::caller(),
            suspicious: 0,
            events: Vec::with_capacity(EVENTS_MAX),
            late_events: Vec::new(),
            carried: Vec::new(),
            flushing: Vec::new(),
        }
    }

    /// Turn until [`Handle::stop`].
    ///
    /// # Errors
    /// When waiting for events fails, which it does not on a healthy machine.
    pub fn run(&mut self) -> io::Result<()> {
        self.tended(|this| {
            while !this.handle.take_stopping() {
                this.take_steps(TurnBudget::default())?;
            }
            Ok(())
        })
    }

    /// Whether [`Handle::stop`] was called since the last time this was asked, for those who turn the loop themselves.
    pub(crate) fn take_stop(&mut self) -> bool {
        self.handle.take_stopping()
    }

    /// One turn.
    ///
    /// # Errors
    /// As [`EventLoop::run`].
    pub fn turn(&mut self, budget: TurnBudget) -> io::Result<Turn> {
        self.tended(|this| this.take_steps(budget))?;
        Ok(self.turn)
    }

    /// Have `turns` taken on this thread: what happens before and behind them is not the loop's.
    fn tended(&mut self, turns: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        let _turning = self.handle.enter();
        // Anything may have been done since the last turn.
        self.has_run_on = true;
        let taken = turns(self);
        self.inbox.leave();
        taken
    }

    /// The eight steps of a turn, on the loop that turns on this thread.
    fn take_steps(&mut self, budget: TurnBudget) -> io::Result<()> {
        let was_running = self.handle.set_running(true);
        if self.control.is_some() {
            self.before_turn();
        }

        let parked = self.park(budget.wait); // 1 and 2: sleep until something happens, then read the clock
        self.visit_sources(); //                3: whom the driver named, who was carried over, listeners last
        self.take_messages(); //                4: what other threads sent joins the ready queue
        self.fire_timers(); //                  5: what is due joins it
        self.run_ready(budget.callbacks); //    6: as many callbacks as stand there now, first in, first out
        self.flush_dirty(); //                  7: one write for each connection that others gave bytes to
        self.close_finished(); //               8: what has ended is closed, and its slot is free again

        if self.handle.has_findings() {
            self.has_run_on = true;
            self.tell_findings();
        }
        self.handle.set_running(was_running);
        self.stats.add(&self.turn);
        self.end_turn();
        parked
    }

    // ---- the steps --------------------------------------------------------------------------------------------

    fn park(&mut self, wait_max: Option<Duration>) -> io::Result<()> {
        self.slow_from_ns = match self.handle.is_debug() {
            true => self.handle.slow_threshold_ns(),
            false => u64::MAX,
        };
        self.looks_closely = self.handle.is_debug() || self.watchdog.is_some();
        // As a rule nothing has run since the last piece of work was timed.
        let before = match self.has_run_on || self.observes || self.looks_closely {
            true => self.handle.moment(),
            false => self.stamp,
        };
        self.records = self.handle.recorder().begin_turn(before.at);
        self.observes = self.looks_closely || self.records;
        let awake_ns = before.ns_since(self.woke);
        if awake_ns >= self.handle.slow_threshold_ns() {
            self.look_for_slow_turn();
        }
        self.incidents.begin_turn();
        if let Some(buffers) = &mut self.buffers {
            buffers.place();
        }
        self.turn = Turn::default();
        self.longest_ns = 0;
        self.awake_ns += awake_ns.saturating_sub(std::mem::take(&mut self.paused_ns));
        if self.handle.is_debug() {
            cold_path();
            self.look_for_lost(before.at);
        }
        let mut nap = self.time_until_work(before);
        if let Some(wait_max) = wait_max {
            cold_path();
            nap = Some(nap.map_or(wait_max, |nap| nap.min(wait_max)));
        }
        if nap != Some(Duration::ZERO) && !self.inbox.park() {
            nap = Some(Duration::ZERO);
        }
        let polled = self.driver.poll(&mut self.events, nap);
        self.inbox.unpark();
        // The only reading of the clock that decides anything in this turn.
        let now = self.handle.moment();
        self.handle.set_now(now);
        self.woke = now;
        self.stamp = now;
        self.has_run_on = false;
        let asleep_ns = now.ns_since(before);
        self.turn.asleep = Duration::from_nanos(asleep_ns);
        // At once, so that whoever looks in the middle of a turn sees all of the time.
        self.asleep_ns += asleep_ns;
        self.turn.events = self.events.len() as u32;
        if let Some(control) = &mut self.control {
            cold_path();
            control.note_events(&self.events);
        }
        if self.records {
            cold_path();
            let recorder = self.handle.recorder();
            recorder.polled(now.at, nap, self.events.len());
        }
        self.end_phase(Phase::Park);
        polled
    }

    fn visit_sources(&mut self) {
        // Sources that were carried over come after the events, so that an event for one of them is part of its visit.
        if !self.carry.is_empty() {
            cold_path();
            std::mem::swap(&mut self.carry, &mut self.carried);
        }
        let named = self.events.len();
        self.begin_timing(named);
        self.behind = named + self.carried.len();
        for place in 0..named {
            let event = self.events[place];
            self.behind -= 1;
            if self.is_listener(event.token) {
                self.late_events.push(event);
            } else {
                self.visit(event.token, event.readiness);
            }
        }
        self.events.clear();
        self.end_timing();

        if !self.carried.is_empty() {
            self.visit_carried();
        }
        if !self.late_events.is_empty() {
            self.visit_late();
        }
        self.end_phase(Phase::Visit);
    }

    // What most turns have none of stands apart from here on: a turn that has little to do is to be a short way.

    #[inline(never)]
    fn visit_carried(&mut self) {
        let mut carried = std::mem::take(&mut self.carried);
        for token in carried.drain(..) {
            self.behind -= 1;
            if self.is_listener(token) {
                self.late_events.push(Event {
                    token,
                    readiness: Readiness::NONE,
                });
            } else {
                self.visit_apart(token, Readiness::NONE);
            }
        }
        give_back_list(&mut carried);
        self.carried = carried;
    }

    #[inline(never)]
    fn visit_late(&mut self) {
        let mut late = std::mem::take(&mut self.late_events);
        self.behind = late.len();
        for event in late.drain(..) {
            self.behind -= 1;
            self.visit_apart(event.token, event.readiness);
        }
        self.late_events = late;
    }

    fn take_messages(&mut self) {
        // Nearly every turn finds nothing.
        if self.inbox.has_mail() {
            self.take_each();
        }
        self.end_phase(Phase::Messages);
    }

    #[inline(never)]
    fn take_each(&mut self) {
        self.inbox.open();
        for _ in 0..MESSAGES_MAX {
            let Some(message) = self.inbox.take() else {
                return;
            };
            self.turn.messages += 1;
            self.handle.recorder().push(What::Message);
            match message {
                Message::Call(callback, origin) => self.handle.call_from(callback, origin),
                Message::Filed(key) => self.handle.call_filed(key),
                Message::Wake(token) => self.handle.wake(token),
                Message::Stop => self.handle.stop(),
            }
        }
        self.inbox.keep_mail();
    }

    fn fire_timers(&mut self) {
        if self.handle.has_due() {
            self.fire_each();
        }
        self.end_phase(Phase::Timers);
    }

    #[inline(never)]
    fn fire_each(&mut self) {
        let Some(first) = self.handle.next_due() else {
            return;
        };
        self.has_run_on = true;
        let (tick, _) = first;
        let due_at = self.handle.instant_of(tick);
        self.turn.lag = self.handle.now().saturating_duration_since(due_at);
        let (fired, panics) = self.handle.fire_timers(first);
        self.turn.timers = fired;
        for panic in panics {
            // Who made it is not known: the place says where the loop woke it.
            self.report_caught(panic, Work::new("waker", Location::caller()));
        }
    }

    fn run_ready(&mut self, callbacks_max: usize) {
        let callbacks_max = callbacks_max.min(self.callbacks_max);
        // Counted before the first one runs: a callback added by a callback waits a turn.
        let jobs = self.handle.ready_jobs().min(callbacks_max);
        if jobs > 0 {
            self.run_jobs(jobs);
        }
        self.end_phase(Phase::Ready);
    }

    #[inline(never)]
    fn run_jobs(&mut self, jobs: usize) {
        self.begin_timing(jobs);
        for done in 0..jobs {
            if self.is_paced {
                self.jobs_left = jobs - done;
                self.before_next_ready();
            }
            match self.handle.next_ready() {
                Some(Job::Call(key)) => self.call(key),
                Some(Job::Visit(token, readiness)) => self.visit_now(token, readiness),
                Some(Job::Start(source, origin)) => {
                    let token = self.sources.reserve().into();
                    self.record_added(token, origin, || source.inspect().kind);
                    self.visit_taken(token, Slot { source, origin }, Readiness::WOKEN);
                }
                Some(Job::Begin(task)) => self.begin(task),
                None => break,
            }
        }
        self.handle.give_back();
        self.end_timing();
    }

    fn flush_dirty(&mut self) {
        if self.handle.has_dirty() {
            self.flush_each();
        }
        self.end_phase(Phase::Flush);
    }

    #[inline(never)]
    fn flush_each(&mut self) {
        let mut flushing = std::mem::take(&mut self.flushing);
        self.handle.swap_dirty(&mut flushing);
        self.begin_timing(flushing.len());
        self.behind = flushing.len();
        for token in flushing.drain(..) {
            self.behind -= 1;
            self.visit(token, Readiness::FLUSH);
        }
        give_back_list(&mut flushing);
        self.flushing = flushing;
        self.end_timing();
    }

    fn close_finished(&mut self) {
        if !self.closing.is_empty() {
            self.close_each();
        }
        self.doomed.clear();
        self.end_phase(Phase::Close);
    }

    #[inline(never)]
    fn close_each(&mut self) {
        self.burst.rose_to(self.sources.len());
        while let Some((token, mut slot)) = self.closing.pop() {
            self.has_run_on = true;
            self.listeners.retain(|listener| *listener != token);
            let work = self.looks_closely.then(|| slot.work());
            if let Some(work) = &work {
                self.watch(|| work.clone());
            }
            let mut ctx = Ctx {
                event_loop: self,
                token: Some(token),
            };
            let closed = caught(|| slot.source.closed(&mut ctx));
            let dropped = caught(|| drop(slot.source));
            self.release(token);
            if let Some(work) = work {
                self.blame(work.origin);
                self.tell_if_slow(|| work, Some(token));
            }
            for waiting in self.waiting_for_close.drain(..) {
                self.handle.wake(waiting);
            }
            if let Err(panic) = closed {
                self.report_caught(panic, Work::new("source", slot.origin));
            }
            if let Err(panic) = dropped {
                self.report_caught(panic, Work::new("source", slot.origin));
            }
        }
        give_back_list(&mut self.closing);
        if self.burst.fell_to(self.sources.len()) {
            self.end_burst();
        }
    }

    /// Most sources have closed, and there were many: nothing is kept of that time.
    #[cold]
    fn end_burst(&mut self) {
        self.has_run_on = true;
        for list in [&mut self.carry, &mut self.carried, &mut self.flushing] {
            list.shrink_to_fit();
        }
        self.late_events.shrink_to_fit();
        self.closing.shrink_to_fit();
        self.handle.end_burst();
        free_small_pieces();
    }

    // ---- the places where other people's code runs --------------------------------------------------------------

    /// Lend the loop to one source, then act on its answer.
    #[inline(always)]
    fn visit(&mut self, token: Token, readiness: Readiness) {
        if self.is_paced {
            self.before_visit(token, readiness);
        }
        self.visit_now(token, readiness);
    }

    /// The same, where few visits are made.
    #[inline(never)]
    fn visit_apart(&mut self, token: Token, readiness: Readiness) {
        self.visit(token, readiness);
    }

    /// The same, wherever the loop may not stop before it.
    #[inline(always)]
    fn visit_now(&mut self, token: Token, readiness: Readiness) {
        // It may have closed earlier, and events, wakes and timers for it are still about: they find nobody.
        let Some(slot) = self.sources.take(token.into()) else {
            return;
        };
        self.visit_taken(token, slot, readiness);
    }

    /// The visit itself, to a source that is in hand.
    #[inline(always)]
    fn visit_taken(&mut self, token: Token, mut slot: Slot, readiness: Readiness) {
        self.turn.visits += 1;
        if self.observes {
            self.visit_begins(&slot);
        }
        let mut ctx = Ctx {
            event_loop: self,
            token: Some(token),
        };
        let next = match caught(|| slot.source.ready(&mut ctx, readiness)) {
            Ok(next) => next,
            Err(panic) => return self.visit_panicked(token, slot, readiness, panic),
        };
        self.work_ended(slot.origin);
        if self.observes {
            self.visit_ended(token, readiness, &slot);
        }
        match next {
            // As nearly always.
            Next::Wait if self.doomed.is_empty() => self.sources.put_back(token.into(), slot),
            next => self.after_visit(token, slot, next),
        }
    }

    /// After a visit: what has become of the source.
    #[cold]
    fn after_visit(&mut self, token: Token, mut slot: Slot, next: Next) {
        let next = match next {
            Next::Become => self.succeed(&mut slot),
            next => next,
        };
        let is_doomed = !self.doomed.is_empty() && self.doomed.contains(&token);
        self.settle(token, slot, if is_doomed { Next::Close } else { next });
    }

    /// It is the source's last one.
    #[cold]
    fn visit_panicked(&mut self, token: Token, slot: Slot, readiness: Readiness, panic: Caught) {
        self.work_ended(slot.origin);
        if self.observes {
            self.visit_ended(token, readiness, &slot);
        }
        self.report_caught(panic, slot.work());
        self.settle(token, slot, Next::Close);
    }

    /// What the source wants next.
    fn settle(&mut self, token: Token, slot: Slot, next: Next) {
        match next {
            Next::Wait => self.sources.put_back(token.into(), slot),
            Next::Again => {
                self.sources.put_back(token.into(), slot);
                self.carry.push(token);
            }
            Next::Close => self.closing.push((token, slot)),
            Next::Become => unreachable!("whoever was to come is here"),
        }
    }

    /// The source that was visited is another one from now on. Returns what that wants.
    #[cold]
    fn succeed(&mut self, slot: &mut Slot) -> Next {
        let Some((source, next)) = self.successor.take() else {
            return Next::Close;
        };
        let before = std::mem::replace(&mut slot.source, source);
        self.has_run_on = true;
        if let Err(panic) = caught(|| drop(before)) {
            self.report_caught(panic, slot.work());
        }
        next
    }

    /// The first visit to a task. Most end in it, and need no more than a token meanwhile.
    fn begin(&mut self, task: NewTask) {
        let token: Token = self.sources.reserve().into();
        self.turn.visits += 1;
        let origin = task.origin();
        let work = self.observes.then(|| task.work());
        if let Some(work) = &work {
            self.record_added(token, origin, || work.kind);
            self.handle.recorder().push(What::Began {
                task: task.number(),
            });
            self.work_begins(|| work.clone());
        }
        let mut ctx = Ctx {
            event_loop: self,
            token: Some(token),
        };
        let begun = caught(|| task.begin(&mut ctx));
        self.work_ended(origin);
        if let Some(work) = work {
            self.record_visit(token, Readiness::NONE, origin, || work.kind);
            self.tell_if_slow(|| work, Some(token));
        }
        match begun {
            Ok(Some(source)) => {
                let next = match self.doomed.contains(&token) {
                    true => Next::Close,
                    false => Next::Wait,
                };
                self.settle(token, Slot { source, origin }, next);
            }
            Ok(None) => self.release(token),
            Err(panic) => {
                self.release(token);
                self.report_caught(panic, Work::new("task", origin));
            }
        }
    }

    /// Run one callback, unless it was cancelled or moved.
    fn call(&mut self, key: CallKey) {
        let Some((callback, origin)) = self.handle.take_call(key) else {
            return;
        };
        self.turn.callbacks += 1;
        if self.observes {
            self.work_begins(|| Work::callback(origin));
        }
        let mut ctx = Ctx {
            event_loop: self,
            token: None,
        };
        let called = caught(|| callback(&mut ctx));
        self.work_ended(origin);
        if self.observes {
            self.callback_ended(key, origin);
        }
        if let Err(panic) = called {
            self.report_caught(panic, Work::callback(origin));
        }
    }

    // ---- what they need -----------------------------------------------------------------------------------------

    /// So many pieces of work follow: many are timed in groups, see [`TIMED_TOGETHER`].
    fn begin_timing(&mut self, pieces: usize) {
        let is_timed_alone = self.suspicious > 0 || self.records || self.slow_from_ns < u64::MAX;
        if pieces > TIMED_TOGETHER as usize && !is_timed_alone {
            self.timed_together = TIMED_TOGETHER;
        }
    }

    fn end_timing(&mut self) {
        self.timed_together = 1;
        if self.untimed > 0 {
            self.blame(self.last_visited);
        }
    }

    /// A piece of work has ended.
    fn work_ended(&mut self, origin: Origin) {
        self.untimed += 1;
        self.last_visited = origin;
        if self.untimed >= self.timed_together {
            self.blame(origin);
        }
    }

    /// Blame the time since the last stamp on `origin`.
    fn blame(&mut self, origin: Origin) {
        let now = self.handle.moment();
        let took_ns = now.ns_since(self.stamp);
        self.stamp = now;
        self.has_run_on = false;
        self.took_ns = took_ns;
        let visits = std::mem::take(&mut self.untimed).max(1);
        self.suspicious = self.suspicious.saturating_sub(visits);
        let mut piece = Longest {
            took: Duration::from_nanos(took_ns),
            origin,
            visits,
        };
        let is_slow = took_ns >= SLOW_NS;
        if is_slow {
            piece.origin = self.incidents.culprit(origin);
            self.incidents.add_piece(piece);
        }
        if took_ns > self.longest_ns || self.turn.longest.is_none() {
            self.longest_ns = took_ns;
            self.turn.longest = Some(piece);
            if is_slow && visits > 1 {
                self.suspicious = TIMED_ALONE;
            }
        }
    }

    #[cold]
    fn report_caught(&mut self, panic: Caught, work: Work) {
        let panicked = panic.blame(work.origin).of(work);
        self.report(&panicked);
    }

    fn report(&mut self, panicked: &Panicked) {
        self.has_run_on = true;
        self.stats.panics += 1;
        let turn = self.turn_number();
        if let Some(control) = &mut self.control {
            control.tell_of_panic(turn, panicked);
        }
        self.record_panic(panicked);
        crate::event!(error, "{panicked}");
        self.keep_incident(Trouble::Panic(panicked.clone()));
        (self.on_panic)(panicked);
    }

    /// How long nothing is to be done, as far as the loop itself knows: `None` when only the outside can bring work.
    fn time_until_work(&self, now: Moment) -> Option<Duration> {
        if self.has_work() {
            return Some(Duration::ZERO);
        }
        if self.handle.is_debug() {
            cold_path();
            return Some(self.next_alarm()?.saturating_duration_since(now.at));
        }
        let due_ns = self.handle.next_timer_tick()?.saturating_mul(NS_PER_TICK);
        Some(Duration::from_nanos(due_ns.saturating_sub(now.ns)))
    }

    /// When time alone brings work.
    fn next_alarm(&self) -> Option<Instant> {
        let tick = self.handle.next_timer_tick();
        let timer = tick.map(|tick| self.handle.instant_of(tick));
        match self.handle.is_debug() {
            true => timer.into_iter().chain(self.next_look()).min(),
            false => timer,
        }
    }

    fn has_work(&self) -> bool {
        self.handle.ready_jobs() > 0
            || !self.carry.is_empty()
            || !self.closing.is_empty()
            || self.handle.has_dirty()
            || self.handle.is_stopping()
            || self.is_stepping()
    }

    fn is_listener(&self, token: Token) -> bool {
        match *self.listeners {
            // As nearly always.
            [only] => only == token,
            _ => self.listeners.contains(&token),
        }
    }

    fn insert(&mut self, make: impl FnOnce(Token) -> Box<dyn Source>, origin: Origin) -> Token {
        let token = self
            .sources
            .insert_with(|key| Slot {
                source: make(key.into()),
                origin,
            })
            .into();
        self.record_added(token, origin, || {
            self.inspect(token).map_or("", |it| it.kind)
        });
        token
    }

    /// The place of a source that is in hand, and has ended, is free.
    fn release(&mut self, token: Token) {
        self.sources.release(token.into());
        self.handle.recorder().push(What::Removed { token });
    }

    /// Drop a source that was never visited.
    fn forget(&mut self, token: Token) {
        self.sources.remove(token.into());
        self.handle.recorder().push(What::Removed { token });
    }

    fn close(&mut self, token: Token) {
        match self.sources.take(token.into()) {
            Some(slot) => self.closing.push((token, slot)),
            // It is being visited, or is closing already, or has gone.
            None => self.doomed.push(token),
        }
    }

    #[inline]
    fn lend_buffers(&mut self) -> Box<Buffers> {
        let mut buffers = match self.buffers.take() {
            Some(buffers) => buffers,
            None => Buffers::fresh(),
        };
        buffers.cork.clear();
        buffers
    }

    // ---- around the turn ------------------------------------------------------------------------------------------

    /// What may be done now, outside a turn: listen, add sources.
    pub fn ctx(&mut self) -> Ctx<'_> {
        Ctx {
            event_loop: self,
            token: None,
        }
    }

    /// The handle, to keep.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// When the loop next has something to do without anyone's help: now, if a callback is ready; `None`, if only the
    /// outside can bring work. With [`EventLoop::pollable_descriptor`] and [`TurnBudget::no_wait`] a loop lives inside
    /// another.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.has_work() || !self.inbox.is_empty() {
            return Some(self.handle.time());
        }
        self.next_alarm()
    }

    /// Whether nothing is left that will happen by itself, or for which somebody waits: no source, callback, timer or
    /// message. The outside can still bring work.
    pub fn is_idle(&self) -> bool {
        self.sources.is_empty() && self.next_deadline().is_none() && !self.handle.has_calls()
    }

    /// A descriptor that another loop can poll for reading: readable when a turn would find events or messages.
    #[cfg(unix)]
    pub fn pollable_descriptor(&self) -> Option<std::os::fd::RawFd> {
        self.driver.pollable_descriptor()
    }

    /// Every source, described. Costs a pass over all of them.
    pub fn census(&self) -> impl Iterator<Item = (Token, Inspection)> {
        self.sources
            .iter()
            .map(|(key, slot)| (key.into(), slot.source.inspect()))
    }

    /// One source, described; `None` when `token` names nobody.
    pub fn inspect(&self, token: Token) -> Option<Inspection> {
        self.sources
            .get(token.into())
            .map(|slot| slot.source.inspect())
    }

    /// Have panics reported to `hook` instead of standard error. The loop goes on in any case.
    pub fn on_panic(&mut self, hook: impl FnMut(&Panicked) + 'static) {
        self.on_panic = Box::new(hook);
    }

    /// Have what debug mode finds, and what [`crate::task::scope`] reports, given to `hook` instead of printed to
    /// standard error. See [`Handle::set_debug`].
    pub fn on_finding(&mut self, hook: impl FnMut(&Finding) + 'static) {
        self.debugging.on_finding(hook);
    }

    /// Have a thread of its own look whether any visit or callback lasts longer than `after`, and tell `hook` of it
    /// while it lasts: after that time, after twice that time and so on, and when it is over. The thread looks four
    /// times in that time, and ends with the loop. A second call replaces the first.
    ///
    /// While there is a watchdog, each visit and callback costs two more readings of the clock and two locks of a mutex
    /// that is hardly ever taken. It needs no debug mode. `hook` must not wait for the loop.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    /// use tourbillon::event_loop::EventLoop;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let mut event_loop = EventLoop::new()?;
    /// # event_loop.on_panic(|panicked| panic!("{panicked}"));
    /// event_loop.start_watchdog(Duration::from_millis(20), move |report| {
    ///     let _ = tell.send(report.to_string());
    /// })?;
    /// event_loop.call_soon(move |ctx| {
    ///     ctx.stop();
    ///     // It blocks until it is named.
    ///     let report = told.recv().unwrap();
    ///     assert!(report.starts_with("stall: a callback created at "), "{report}");
    /// });
    /// event_loop.run()?;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start_watchdog(
        &mut self,
        after: Duration,
        hook: impl FnMut(&StallReport) + Send + 'static,
    ) -> io::Result<()> {
        self.watchdog = Some(Watchdog::start(after, hook)?);
        Ok(())
    }

    /// End the thread that [`EventLoop::start_watchdog`] has started.
    pub fn stop_watchdog(&mut self) {
        self.watchdog = None;
    }

    /// What the loop has counted.
    pub fn stats(&self) -> Stats {
        Stats {
            sources: self.sources.len(),
            ready: self.handle.ready_jobs(),
            timers_set: self.handle.timers_set(),
            awake: Duration::from_nanos(self.awake_ns),
            asleep: Duration::from_nanos(self.asleep_ns),
            ..self.stats
        }
    }
}

impl Deref for EventLoop {
    type Target = Handle;
    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for EventLoop {
    /// Closes every source. What they do then can enqueue, but nothing of it runs.
    fn drop(&mut self) {
        let tokens: Vec<Token> = self.sources.iter().map(|(key, _)| key.into()).collect();
        for token in tokens {
            self.close(token);
        }
        self.close_finished();
        self.handle.clear();
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl From<Key> for Token {
    fn from(key: Key) -> Self {
        Token::new(key.index(), key.generation())
    }
}

impl From<Token> for Key {
    fn from(token: Token) -> Self {
        Key::new(token.index(), token.generation())
    }
}
