//! The loop, controlled from another thread: paused, stepped, slowed down, asked.
//!
//! A loop that is paused waits *inside* its turn, either between two turns or right before a visit or a callback, for
//! orders on a channel of their own. Nothing else runs meanwhile; sockets stay open, and what comes in waits in the
//! kernel. Timers are late afterwards, as [`super::Stats::lag`] says. So this works on the real loop with its real
//! sockets, in any build, and what is seen is what runs.
//!
//! A pause ends when it is ended, when the last [`Control`] is dropped, when [`super::Handle::stop`] or a signal that
//! the program watches asks for something (a loop that is paused can still be ended by Ctrl+C), and takes no longer to
//! notice these than [`LOOK_UP`].

use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::debug::{Finding, Work};
use super::driver::{Clock, Event, Readiness, Token};
use super::handle::{Described, LoopGone, Remote, ns_of};
use super::mio_driver::MachineClock;
use super::panic::{Panicked, caught};
use super::recorder::Phase;
use super::stats::Origin;
use super::{Ctx, EventLoop, Turn};

/// How often a paused loop looks whether a signal or [`super::Handle::stop`] ends its pause.
pub const LOOK_UP: Duration = Duration::from_millis(50);
/// So many of a turn's events are kept for those who look.
const EVENTS_NOTED_MAX: usize = 200;

/// What makes a loop stop by itself. There is one of each kind at most, see [`Control::break_on`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Break {
    /// After a turn that was awake for so long.
    SlowTurn(Duration),
    /// Before a visit to this source.
    Source(Token),
    /// When a visit has brought its source into this state, by the name that [`super::Inspection::state`] gives it.
    State(String),
    /// When a timer has come due: before what runs next.
    Timer,
    /// When a panic was caught: before what runs next.
    Panic,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SlowTurn(_) => f.write_str("slow turn"),
            Self::Source(token) => write!(f, "source {}.{}", token.index(), token.generation()),
            Self::State(state) => write!(f, "state {state}"),
            Self::Timer => f.write_str("timer"),
            Self::Panic => f.write_str("panic"),
        }
    }
}

/// Why a loop has stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// [`Control::pause`].
    Pause,
    /// [`Control::step_turn`] or [`Control::step_callback`] is done.
    Step,
    /// This has come about.
    Break(Break),
}

/// What runs next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upcoming {
    /// What it is.
    pub work: Work,
    /// The source that is to be visited; `None` for what is none, or none yet.
    pub token: Option<Token>,
}

/// Where a loop stands that is paused, or in slow motion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The turn: the one that is going on, or else the one that comes next. The first is 1.
    pub turn: u64,
    /// The step that is going on, and what runs next in it. `None` between two turns.
    pub next: Option<(Phase, Upcoming)>,
}

/// What a control hears of, on the loop's thread, as it happens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum News {
    /// The loop has stopped.
    Stopped(StopReason, Standing),
    /// It goes on.
    Resumed,
    /// Debug mode has found something. [`EventLoop::on_finding`] hears of it, too.
    Found {
        /// In which turn.
        turn: u64,
        /// What.
        finding: Finding,
    },
    /// A panic was caught. [`EventLoop::on_panic`] hears of it, too.
    Panicked {
        /// In which turn.
        turn: u64,
        /// The report, as it would be printed.
        report: String,
    },
}

/// What a loop is doing, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopState {
    /// It turns, or nobody turns it.
    Running,
    /// It is parked: it waits in the driver for something to happen.
    Asleep,
    /// A control has stopped it.
    Paused,
}

type Order = Box<dyn FnOnce(&mut EventLoop) + Send>;
type NewsHook = Box<dyn FnMut(&News) + Send>;

/// Controls one loop, from any thread. Cheap to clone; when the last clone is dropped, the loop goes on as if there had
/// never been one.
///
/// ```
/// use std::time::Duration;
/// use tourbillon::event_loop::EventLoop;
///
/// let mut event_loop = EventLoop::new()?;
/// # event_loop.on_panic(|panicked| panic!("{panicked}"));
/// let control = event_loop.attach_control();
/// let other = std::thread::spawn(move || {
///     control.pause().unwrap();
///     let patience = Duration::from_secs(20);
///     let turns = control.ask(patience, |ctx| ctx.stats().turns).unwrap();
///     control.step_turn().unwrap();
///     assert_eq!(control.ask(patience, |ctx| ctx.stats().turns).unwrap(), turns + 1);
///     control.order(|ctx| ctx.stop()).unwrap();
///     control.resume().unwrap();
/// });
/// event_loop.run()?;
/// other.join().unwrap();
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Control(Arc<Shared>);

struct Shared {
    orders: Sender<Order>,
    remote: Remote,
    started: Instant,
    paused: AtomicBool,
    /// The turn that is going on or, between two, the one that comes next.
    turn: AtomicU64,
}

impl Control {
    /// Stop when the turn that is going on is complete; in slow motion, before what runs next. A loop that sleeps is
    /// woken for that.
    ///
    /// # Errors
    /// [`LoopGone`] when the loop was dropped, as for all orders.
    pub fn pause(&self) -> Result<(), LoopGone> {
        self.send(|event_loop| {
            if let Some(control) = &mut event_loop.control {
                // In slow motion, a turn may take minutes.
                let stop = match control.standing {
                    Some(_) => Stop::Piece,
                    None => Stop::Turn,
                };
                if !control.pace.is_stopped {
                    control.pace.stop_at = Some((stop, StopReason::Pause));
                }
            }
        })
    }

    /// Go on.
    ///
    /// # Errors
    /// As [`Control::pause`].
    pub fn resume(&self) -> Result<(), LoopGone> {
        self.send(|event_loop| event_loop.pace(Pace::resume))
    }

    /// Go on until the turn is complete: one whole turn if the loop stands between two. It does not sleep in it: it
    /// takes what is there.
    ///
    /// # Errors
    /// As [`Control::pause`].
    pub fn step_turn(&self) -> Result<(), LoopGone> {
        self.send(|event_loop| event_loop.pace(|pace| pace.step(Stop::Turn)))
    }

    /// Go on to the next place where a visit or a callback begins, or to the end of the turn if there is none: so what
    /// stands as [`Standing::next`] runs, and then the loop stands before what comes behind it. What a visit does on
    /// its own stack is part of it: a listener visits whom it has just accepted.
    ///
    /// # Errors
    /// As [`Control::pause`].
    pub fn step_callback(&self) -> Result<(), LoopGone> {
        self.send(|event_loop| event_loop.pace(|pace| pace.step(Stop::Piece)))
    }

    /// Wait so long before each visit and callback; `Duration::ZERO` ends it.
    ///
    /// # Errors
    /// As [`Control::pause`].
    pub fn slow_motion(&self, wait: Duration) -> Result<(), LoopGone> {
        self.send(move |event_loop| event_loop.pace(|pace| pace.slow_motion = wait))
    }

    /// Stop by itself when `wanted` comes about, each time. It takes the place of another one of its kind.
    ///
    /// # Errors
    /// As [`Control::pause`].
    pub fn break_on(&self, wanted: Break) -> Result<(), LoopGone> {
        self.send(move |event_loop| {
            let (panics, timers) = (event_loop.stats.panics, event_loop.timers_fired());
            if let Some(control) = &mut event_loop.control {
                control.pace.forget(&wanted);
                control.pace.breaks.push(wanted);
                (control.panics, control.timers) = (panics, timers);
            }
        })
    }

    /// End [`Control::break_on`] for what is of the kind of `unwanted`.
    ///
    /// # Errors
    /// As [`Control::pause`].
    pub fn do_not_break_on(&self, unwanted: Break) -> Result<(), LoopGone> {
        self.send(move |event_loop| event_loop.pace(|pace| pace.forget(&unwanted)))
    }

    /// Run `order` on the loop's thread: between two turns, or while it is paused or slowed down, wherever it stands.
    /// It is not part of a turn, and no callback: the loop is woken for it, but counts nothing.
    ///
    /// # Errors
    /// As [`Control::pause`].
    #[track_caller]
    pub fn order(&self, order: impl FnOnce(&mut Ctx<'_>) + Send + 'static) -> Result<(), LoopGone> {
        let origin = Location::caller();
        self.send(move |event_loop| event_loop.obey(order, origin))
    }

    /// As [`Control::order`], but let a loop that sleeps sleep on: so the one who only looks changes nothing. See
    /// [`Control::state`] for whether it does.
    ///
    /// # Errors
    /// As [`Control::pause`].
    #[track_caller]
    pub fn order_when_awake(
        &self,
        order: impl FnOnce(&mut Ctx<'_>) + Send + 'static,
    ) -> Result<(), LoopGone> {
        let origin = Location::caller();
        self.push(move |event_loop| event_loop.obey(order, origin))
    }

    /// As [`Control::order`], and wait for the answer.
    ///
    /// # Errors
    /// `NotConnected` when the loop was dropped, or `question` has panicked; `TimedOut` when it does not answer within
    /// `patience`: something holds it. On the loop's own thread it always does.
    #[track_caller]
    pub fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        question: impl FnOnce(&mut Ctx<'_>) -> T + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = crossbeam_channel::bounded(1);
        // Who has asked may have gone.
        self.order(move |ctx| drop(answer.send(question(ctx))))
            .map_err(|gone| io::Error::new(io::ErrorKind::NotConnected, gone))?;
        answered
            .recv_timeout(patience)
            .map_err(|error| match error {
                RecvTimeoutError::Disconnected => io::Error::new(
                    io::ErrorKind::NotConnected,
                    "the event loop gives no answer",
                ),
                RecvTimeoutError::Timeout => {
                    io::Error::new(io::ErrorKind::TimedOut, "the event loop does not answer")
                }
            })
    }

    /// Have `hook` told what happens, on the loop's thread, as long as a control is there; and those told already, too.
    ///
    /// # Errors
    /// As [`Control::pause`].
    pub fn on_news(&self, hook: impl FnMut(&News) + Send + 'static) -> Result<(), LoopGone> {
        self.send(move |event_loop| {
            if let Some(control) = &mut event_loop.control {
                control.hooks.push(Box::new(hook));
            }
        })
    }

    /// What the loop is doing now. By the time anyone reads it, it may do something else.
    pub fn state(&self) -> LoopState {
        match self.0.paused.load(Ordering::Acquire) {
            true => LoopState::Paused,
            false if self.0.remote.is_parked() => LoopState::Asleep,
            false => LoopState::Running,
        }
    }

    /// The turn that is going on or, between two, the one that comes next. The first is 1.
    pub fn turn(&self) -> u64 {
        self.0.turn.load(Ordering::Acquire)
    }

    /// When the loop was made.
    pub fn started(&self) -> Instant {
        self.0.started
    }

    /// Whether the loop was dropped.
    pub fn is_gone(&self) -> bool {
        self.0.remote.is_gone()
    }

    /// The loop, to send it callbacks.
    pub fn remote(&self) -> &Remote {
        &self.0.remote
    }

    fn push(&self, order: impl FnOnce(&mut EventLoop) + Send + 'static) -> Result<(), LoopGone> {
        self.0.orders.send(Box::new(order)).map_err(|_| LoopGone)
    }

    fn send(&self, order: impl FnOnce(&mut EventLoop) + Send + 'static) -> Result<(), LoopGone> {
        self.push(order)?;
        self.0.remote.ring();
        Ok(())
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("state", &self.state())
            .field("turn", &self.turn())
            .finish_non_exhaustive()
    }
}

/// Where to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Before the next turn.
    Turn,
    /// Before the next visit or callback, or the next turn.
    Piece,
}

/// How the loop goes.
#[derive(Default)]
struct Pace {
    is_stopped: bool,
    stop_at: Option<(Stop, StopReason)>,
    /// This turn is a step: it takes what is there, and does not sleep.
    is_stepping: bool,
    slow_motion: Duration,
    breaks: Vec<Break>,
}

impl Pace {
    fn resume(&mut self) {
        self.is_stopped = false;
        self.is_stepping = false;
        self.stop_at = None;
    }

    fn step(&mut self, stop: Stop) {
        self.is_stopped = false;
        self.is_stepping = true;
        self.stop_at = Some((stop, StopReason::Step));
    }

    fn forget(&mut self, unwanted: &Break) {
        let kind = std::mem::discriminant(unwanted);
        self.breaks
            .retain(|wanted| std::mem::discriminant(wanted) != kind);
    }

    /// Whether anything may have to happen before a visit or a callback.
    fn is_set(&self) -> bool {
        self.stop_at.is_some() || !self.slow_motion.is_zero() || !self.breaks.is_empty()
    }
}

/// What a loop keeps of its control.
pub(super) struct Controlled {
    orders: Receiver<Order>,
    shared: Weak<Shared>,
    hooks: Vec<NewsHook>,
    pace: Pace,
    /// Where the loop stands while it waits.
    standing: Option<Standing>,
    /// The last source that was visited, and whether it was in the state of [`Break::State`] before.
    visited: Option<(Token, bool)>,
    /// See [`super::Snapshot::events`].
    events: Vec<Event>,
    /// The panics and the timers that [`Break::Panic`] and [`Break::Timer`] know of.
    panics: u64,
    timers: u64,
}

impl Controlled {
    /// Tell of `news`.
    pub(super) fn tell(&mut self, news: &News) {
        for hook in &mut self.hooks {
            hook(news);
        }
    }

    /// Tell of a panic.
    #[cold]
    pub(super) fn tell_of_panic(&mut self, turn: u64, panicked: &Panicked) {
        self.tell(&News::Panicked {
            turn,
            report: panicked.to_string(),
        });
    }

    /// The driver has returned with `events`.
    pub(super) fn note_events(&mut self, events: &[Event]) {
        self.events.clear();
        let shown = events.iter().take(EVENTS_NOTED_MAX);
        self.events.extend(shown);
    }

    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    /// See [`Ctx::standing`].
    pub(super) fn standing(&self) -> Option<&Standing> {
        self.standing.as_ref()
    }

    fn set_paused(&self, paused: bool) {
        if let Some(shared) = self.shared.upgrade() {
            shared.paused.store(paused, Ordering::Release);
        }
    }
}

impl EventLoop {
    /// A control for other threads, see [`Control`]. While one is there, a turn costs some nanoseconds more; while
    /// there was none, a branch. All that are attached to a loop are clones of one.
    pub fn attach_control(&mut self) -> Control {
        let attached = self.control.as_ref();
        if let Some(shared) = attached.and_then(|control| control.shared.upgrade()) {
            return Control(shared);
        }
        let (sender, orders) = crossbeam_channel::unbounded();
        let shared = Arc::new(Shared {
            orders: sender,
            remote: self.handle.remote(),
            started: self.handle.instant_of(0),
            paused: AtomicBool::new(false),
            turn: AtomicU64::new(self.stats.turns + 1),
        });
        self.control = Some(Box::new(Controlled {
            orders,
            shared: Arc::downgrade(&shared),
            hooks: Vec::new(),
            pace: Pace::default(),
            standing: None,
            visited: None,
            events: Vec::new(),
            panics: 0,
            timers: 0,
        }));
        Control(shared)
    }

    /// A turn is about to begin, on a loop that has a control: see whether the last one was to be stopped at, obey what
    /// was ordered meanwhile, and wait if it is to wait.
    #[cold]
    pub(super) fn before_turn(&mut self) {
        self.has_run_on = true;
        self.turn = Turn::default();
        let shared = self
            .control
            .as_ref()
            .map(|control| control.shared.upgrade());
        if let Some(Some(shared)) = shared {
            shared.turn.store(self.turn_number(), Ordering::Release);
        }
        let took = self.awake_in_last_turn();
        self.look_for_breaks(|wanted| matches!(wanted, Break::SlowTurn(limit) if took > *limit));
        // As many as are there now: who gives orders without end does not keep the loop from turning.
        self.inbox.answer_ring();
        let Some(control) = &self.control else { return };
        let orders = control.orders.clone();
        // As many as are there now: who gives orders without end does not keep the loop from turning.
        let mut left = orders.len();
        while self.pace_is(|pace| pace.stop_at.is_none()) && left > 0 {
            left -= 1;
            let Ok(order) = orders.try_recv() else { break };
            order(self);
        }
        if self.pace_is(|pace| pace.stop_at.is_some()) {
            self.stop_here(None);
        }
        if !orders.is_empty() {
            self.inbox.do_not_sleep();
        }
        let Some(control) = &mut self.control else {
            return;
        };
        self.is_paced = control.pace.is_set();
        if control.shared.strong_count() == 0 {
            self.let_go();
        }
    }

    /// A visit is about to begin, in a loop that may have to wait for it.
    #[cold]
    pub(super) fn before_visit(&mut self, token: Token, readiness: Readiness) {
        let phase = match readiness.contains(Readiness::FLUSH) {
            true => Phase::Flush,
            false => Phase::Visit,
        };
        // It may have closed earlier.
        if let Some(slot) = self.sources.get(token.into()) {
            let work = slot.work();
            self.before_piece(phase, work, Some(token));
        }
    }

    /// The first in the ready queue is about to run, in a loop that may have to wait for it.
    #[cold]
    pub(super) fn before_next_ready(&mut self) {
        let first = self.handle.first_ready();
        if let Some(Upcoming { work, token }) = first.and_then(|first| self.upcoming(first)) {
            self.before_piece(Phase::Ready, work, token);
        }
    }

    /// What a place in the ready queue will come to; `None` when its source has gone.
    pub(super) fn upcoming(&self, described: Described) -> Option<Upcoming> {
        Some(match described {
            Described::New(work) => Upcoming { work, token: None },
            Described::Source(token) => Upcoming {
                work: self.sources.get(token.into())?.work(),
                token: Some(token),
            },
        })
    }

    fn before_piece(&mut self, phase: Phase, work: Work, token: Option<Token>) {
        self.look_for_breaks(|wanted| matches!(wanted, Break::Source(it) if Some(*it) == token));
        let next = Some((phase, Upcoming { work, token }));
        if self.pace_is(|pace| matches!(pace.stop_at, Some((Stop::Piece, _)))) {
            self.stop_here(next);
        } else if self.pace_is(|pace| !pace.slow_motion.is_zero()) {
            self.slow_down(next);
        }
        let state = self.state_to_break_on();
        let is_in_state = |token| (token, self.state_of(token) == state);
        let visited = token.filter(|_| state.is_some()).map(is_in_state);
        if let Some(control) = &mut self.control {
            control.visited = visited;
            self.is_paced = control.pace.is_set();
        }
    }

    /// Whether a turn must take what is there and not sleep.
    pub(super) fn is_stepping(&self) -> bool {
        self.pace_is(|pace| pace.is_stepping)
    }

    /// Stop at the next place if anything has come about that was to be stopped at; `here` says so of those that depend
    /// on the place.
    fn look_for_breaks(&mut self, here: impl Fn(&Break) -> bool) {
        let (panics, timers) = (self.stats.panics, self.timers_fired());
        let Some(control) = &self.control else { return };
        let has_come = |wanted: &&Break| match wanted {
            Break::SlowTurn(_) | Break::Source(_) => here(wanted),
            Break::State(state) => control.visited.is_some_and(|(token, was_in_it)| {
                !was_in_it && self.state_of(token) == Some(state.as_str())
            }),
            Break::Timer => timers > control.timers,
            Break::Panic => panics > control.panics,
        };
        let found = control.pace.breaks.iter().find(has_come).cloned();
        if let Some(control) = &mut self.control {
            control.visited = None;
            (control.panics, control.timers) = (panics, timers);
            if let Some(found) = found {
                control.pace.stop_at = Some((Stop::Piece, StopReason::Break(found)));
            }
        }
    }

    /// Wait until an order lets the loop go on, or there is nobody left to give one.
    fn stop_here(&mut self, next: Option<(Phase, Upcoming)>) {
        let since = self.begin_waiting(next);
        let Some(control) = &mut self.control else {
            return;
        };
        control.pace.is_stopped = true;
        control.pace.is_stepping = false;
        let why = control
            .pace
            .stop_at
            .take()
            .map_or(StopReason::Pause, |(_, why)| why);
        control.set_paused(true);
        if let Some(standing) = control.standing.clone() {
            control.tell(&News::Stopped(why, standing));
        }
        let orders = control.orders.clone();
        while self.pace_is(|pace| pace.is_stopped) {
            match orders.recv_timeout(LOOK_UP) {
                Ok(order) => order(self),
                Err(RecvTimeoutError::Timeout) if self.is_wanted_elsewhere() => {
                    self.pace(Pace::resume);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.let_go(),
            }
        }
        self.end_waiting(since);
        if let Some(control) = &mut self.control {
            control.set_paused(false);
            if control.pace.stop_at.is_none() {
                control.tell(&News::Resumed);
            }
        }
    }

    /// Wait as long as slow motion says, and obey meanwhile. A pause that is ordered now begins here.
    fn slow_down(&mut self, next: Option<(Phase, Upcoming)>) {
        let since = self.begin_waiting(next.clone());
        let Some(control) = &self.control else { return };
        let orders = control.orders.clone();
        // By this machine's clock, as the channel waits: whatever the loop's driver says.
        let begun = MachineClock.now();
        loop {
            let left = self.control.as_ref().map_or(Duration::ZERO, |control| {
                let wait = control.pace.slow_motion;
                wait.saturating_sub(MachineClock.now() - begun)
            });
            if left.is_zero() || self.is_wanted_elsewhere() {
                break;
            }
            match orders.recv_timeout(left.min(LOOK_UP)) {
                Ok(order) => order(self),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.let_go(),
            }
            if self.pace_is(|pace| matches!(pace.stop_at, Some((Stop::Piece, _)))) {
                self.end_waiting(since);
                return self.stop_here(next);
            }
        }
        self.end_waiting(since);
    }

    /// From here on the time is nobody's work.
    fn begin_waiting(&mut self, next: Option<(Phase, Upcoming)>) -> Instant {
        if self.untimed > 0 {
            self.blame(self.last_visited);
        }
        let standing = Standing {
            turn: self.turn_number(),
            next,
        };
        if let Some(control) = &mut self.control {
            control.standing = Some(standing);
        }
        self.handle.time()
    }

    fn end_waiting(&mut self, since: Instant) {
        let stood = self
            .control
            .as_mut()
            .and_then(|control| control.standing.take());
        self.stamp = self.handle.moment();
        // Within a turn: before one there is nothing that it would have to be told from.
        if stood.is_some_and(|stood| stood.next.is_some()) {
            self.handle.recorder().paused(since, self.stamp.at);
        }
        let waited = self.stamp.at.saturating_duration_since(since);
        self.paused_ns += ns_of(waited);
        self.stats.paused += waited;
    }

    /// Whether somebody asks for something that a loop must be turning for.
    fn is_wanted_elsewhere(&self) -> bool {
        self.handle.is_stopping() || self.inbox.is_asked_to_stop() || self.driver.has_signal()
    }

    fn obey(&mut self, order: impl FnOnce(&mut Ctx<'_>), origin: Origin) {
        let mut ctx = self.ctx();
        if let Err(panic) = caught(|| order(&mut ctx)) {
            self.report_caught(panic, Work::new("order", origin));
        }
    }

    fn pace(&mut self, change: impl FnOnce(&mut Pace)) {
        if let Some(control) = &mut self.control {
            change(&mut control.pace);
        }
    }

    fn pace_is(&self, is_so: impl FnOnce(&Pace) -> bool) -> bool {
        self.control
            .as_ref()
            .is_some_and(|control| is_so(&control.pace))
    }

    /// Nobody controls this loop any more.
    fn let_go(&mut self) {
        self.control = None;
        self.is_paced = false;
    }

    /// The turn that is going on or, between two, the one that comes next.
    pub(super) fn turn_number(&self) -> u64 {
        self.stats.turns + 1
    }

    /// For how long the last turn was awake, up to its last piece of work.
    pub(super) fn awake_in_last_turn(&self) -> Duration {
        let awake_ns = self.stamp.ns_since(self.woke);
        Duration::from_nanos(awake_ns.saturating_sub(self.paused_ns))
    }

    fn timers_fired(&self) -> u64 {
        self.stats.timers + u64::from(self.turn.timers)
    }

    fn state_of(&self, token: Token) -> Option<&'static str> {
        self.inspect(token).map(|found| found.state)
    }

    fn state_to_break_on(&self) -> Option<&str> {
        let breaks = &self.control.as_ref()?.pace.breaks;
        breaks.iter().find_map(|wanted| match wanted {
            Break::State(state) => Some(state.as_str()),
            _ => None,
        })
    }
}

impl Ctx<'_> {
    /// As [`EventLoop::attach_control`].
    pub fn attach_control(&mut self) -> Control {
        self.event_loop.attach_control()
    }

    /// Where the loop stands, if it is paused or waits in slow motion: for those who are asked meanwhile.
    pub fn standing(&self) -> Option<&Standing> {
        self.event_loop.control.as_ref()?.standing()
    }
}
