//! What is shared, all in one file: the loop's queues behind a same-thread [`Handle`] that can only enqueue, and the
//! inbox behind a [`Remote`] that any thread may hold.
//!
//! The cells below are borrowed and released inside one method each; no code that we did not write runs under a
//! borrow.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::hint::cold_path;
use std::io;
use std::num::NonZeroU32;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender};

use super::Ctx;
use super::debug::{Finding, SLOW_THRESHOLD, Work};
use super::driver::{Executor, Notify, Readiness, Token};
use super::ending::{EndKey, Endings, Listener, TaskResult};
use super::executor::{self, JobHandle};
use super::panic::{Caught, caught};
use super::platform::Time;
use super::recorder::{Recorder, What};
use super::snapshot::{TimerFor, TimerView, WheelView};
use super::source::Source;
use super::stats::Origin;
use super::task::NewTask;
use super::waker::SourceWaker;
use crate::parts::high_water::give_back_queue;
use crate::parts::slab::{Key, Slab};
use crate::parts::wheel::{TimerId, Wheel};

/// A callback as the loop keeps it.
pub(crate) type Callback = Box<dyn FnOnce(&mut Ctx<'_>)>;

/// Names a filed callback, on any thread. Stale once the callback has run or was cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CallKey(Key);

impl CallKey {
    /// For the records.
    pub(super) fn to_bits(self) -> u64 {
        Token::from(self.0).to_bits()
    }
}

/// A place in the ready queue.
pub(super) enum Job {
    /// Run a filed callback, if it is still there and was not moved to a later time.
    Call(CallKey),
    /// Visit a source.
    Visit(Token, Readiness),
    /// Take a new source in and visit it.
    Start(Box<dyn Source>, Origin),
    /// Poll a new task for the first time.
    Begin(NewTask),
}

/// A place in the ready queue, for people who look.
pub(super) enum Described {
    /// A source is visited.
    Source(Token),
    /// A callback, or what is not a source yet.
    New(Work),
}

/// The source that a waker of nobody wakes.
const NOBODY: Token = Token::new(u32::MAX, 0);

/// Whom a timer in the wheel is for. By numbers of four bytes: so the entry of a timer is 32.
pub(super) enum Due {
    Call(CallKey),
    /// The key of its token.
    Source(Key),
    /// A future that sleeps: it need not go through a callback, and so is woken in the turn in which it is due. Its
    /// waker has this place among [`Core::sleepers`].
    Sleeper(u32),
}

const _: () = assert!(Wheel::<Due>::ENTRY_BYTES == 32);

struct FiledCall {
    run: Callback,
    origin: Origin,
    /// Set while the call waits in the wheel, not in the ready queue.
    timer: Option<TimerId>,
}

pub(super) struct Core {
    time: Time,
    executor: Rc<dyn Executor>,
    remote: Remote,
    /// The moment tick 0 of the wheel began.
    origin: Instant,
    /// Constant within a turn.
    now: Cell<Instant>,
    /// `now` in ticks.
    tick: Cell<u64>,
    running: Cell<bool>,
    /// The task that is being polled.
    polled: Cell<Option<Token>>,
    stopping: Cell<bool>,
    debug: Cell<bool>,
    slow_threshold_ns: Cell<u64>,
    findings: RefCell<Vec<Finding>>,
    random: Cell<u64>,
    recorder: Recorder,
    /// For a task's first poll, see [`Handle::first_waker`]. Away only during one.
    spare_waker: Cell<Option<SourceWaker>>,
    ready: RefCell<Ready>,
    calls: RefCell<Slab<FiledCall>>,
    endings: Endings,
    wheel: RefCell<Wheel<Due>>,
    /// The wakers of timers in the wheel that have one.
    sleepers: RefCell<slab::Slab<Waker>>,
    dirty: RefCell<Vec<Token>>,
    /// See [`Handle::next_flush`].
    next_flush: Cell<NonZeroU32>,
}

/// The ready queue, and in debug mode since when each stands in it.
#[derive(Default)]
struct Ready {
    jobs: VecDeque<Job>,
    since: Option<VecDeque<Instant>>,
}

impl Ready {
    fn push(&mut self, job: Job, since: impl FnOnce() -> Instant) {
        self.jobs.push_back(job);
        if let Some(times) = &mut self.since {
            times.push_back(since());
        }
    }

    fn pop(&mut self) -> Option<Job> {
        if let Some(times) = &mut self.since {
            times.pop_front();
        }
        self.jobs.pop_front()
    }
}

thread_local! {
    /// The loop that is turning on this thread, so that a waker can tell a local wake from one that must cross
    /// threads.
    static TURNING: RefCell<Option<Handle>> = const { RefCell::new(None) };
}

/// A loop's queues, for code on its thread: callbacks, tasks, connections. Cheap to clone; can enqueue, and nothing
/// else.
///
/// A handle does not keep the loop alive; what is enqueued after the loop was dropped never runs.
#[derive(Clone)]
pub struct Handle(Rc<Core>);

impl Handle {
    pub(super) fn new(
        time: Time,
        executor: Rc<dyn Executor>,
        remote: Remote,
        entropy: u64,
    ) -> Self {
        let now = time.now();
        let spare_waker = SourceWaker::new(remote.clone(), NOBODY);
        Self(Rc::new(Core {
            time,
            executor,
            remote,
            origin: now,
            now: Cell::new(now),
            tick: Cell::new(0),
            running: Cell::new(false),
            polled: Cell::new(None),
            stopping: Cell::new(false),
            debug: Cell::new(false),
            slow_threshold_ns: Cell::new(ns_of(SLOW_THRESHOLD)),
            findings: RefCell::default(),
            random: Cell::new(entropy),
            recorder: Recorder::new(now),
            spare_waker: Cell::new(Some(spare_waker)),
            ready: RefCell::default(),
            calls: RefCell::new(Slab::new()),
            endings: Endings::default(),
            wheel: RefCell::new(Wheel::new()),
            sleepers: RefCell::default(),
            dirty: RefCell::default(),
            next_flush: Cell::new(NonZeroU32::MIN),
        }))
    }

    /// The handle of the loop that is turning on this thread.
    ///
    /// # Panics
    /// When none is.
    #[track_caller]
    pub fn current() -> Self {
        Self::try_current().expect("no event loop is turning on this thread")
    }

    /// The handle of the loop that is turning on this thread, if one is.
    pub fn try_current() -> Option<Self> {
        TURNING.with(|turning| turning.borrow().clone())
    }

    /// Run `callback` once, in this turn's ready step if that has not begun, else in the next turn's. Callbacks run
    /// in the order in which they were given (rules R1 and R2), and never on the caller's stack.
    #[track_caller]
    pub fn call_soon(&self, callback: impl FnOnce(&mut Ctx<'_>) + 'static) -> CallHandle {
        let key = self.file_call(Box::new(callback));
        self.call_filed(key);
        self.call_handle(key, self.now())
    }

    /// Run `callback` once, `delay` from the moment of this call: never earlier, later by less than a tick of 1 ms
    /// plus the driver's own millisecond, and behind whatever keeps the loop busy then. Timers of one tick run in the
    /// order in which they were set. A timer never runs in the turn that set it (rule R5).
    ///
    /// The delay counts from a fresh reading of the clock, since the turn's own time may be stale by as long as the
    /// turn has taken.
    #[track_caller]
    pub fn call_later(
        &self,
        delay: Duration,
        callback: impl FnOnce(&mut Ctx<'_>) + 'static,
    ) -> CallHandle {
        self.call_at(self.time() + delay, callback)
    }

    /// Run `callback` once when [`Handle::time`] has reached `when`. A time in the past means the next turn.
    /// Otherwise as [`Handle::call_later`].
    #[track_caller]
    pub fn call_at(
        &self,
        when: Instant,
        callback: impl FnOnce(&mut Ctx<'_>) + 'static,
    ) -> CallHandle {
        let key = self.file_call(Box::new(callback));
        self.set_call_timer(key, when);
        self.call_handle(key, when)
    }

    /// Run `job` on a thread that may block, see [`JobHandle`]. Threads start when needed, at most `cpus + 4` or 32.
    ///
    /// # Errors
    /// When no thread can be started, or the driver's executor is bounded and full.
    ///
    /// ```
    /// use tourbillon::event_loop::EventLoop;
    /// let mut event_loop = EventLoop::new()?;
    /// event_loop.run_in_executor(|| 6 * 7)?.on_done(|ctx, answer| {
    ///     assert_eq!(answer.unwrap(), 42);
    ///     ctx.stop();
    /// });
    /// event_loop.run()?;
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn run_in_executor<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JobHandle<T>> {
        executor::submit(self, Location::caller(), job)
    }

    /// End [`super::EventLoop::run`] when the current turn is complete, steps 7 and 8 included (rule R11).
    pub fn stop(&self) {
        self.0.stopping.set(true);
    }

    /// Monotonic time, read now.
    pub fn time(&self) -> Instant {
        self.0.time.now()
    }

    /// The turn's own time: read once, after parking, and constant until the next turn.
    pub fn now(&self) -> Instant {
        self.0.now.get()
    }

    /// The turn's own time in ticks of the timer wheel: whole milliseconds since the loop was made.
    pub(crate) fn tick(&self) -> u64 {
        self.0.tick.get()
    }

    /// The time of day, read now.
    pub fn wall_clock(&self) -> SystemTime {
        self.0.time.wall_clock()
    }

    /// A number that nobody plans on, for jitter and backoff. It follows from the driver's entropy, so under the
    /// simulator it comes again with the seed. Not for secrets.
    pub fn random(&self) -> u64 {
        // SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
        let state = self.0.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Whether the loop is inside [`super::EventLoop::run`] or a turn.
    pub fn is_running(&self) -> bool {
        self.0.running.get()
    }

    /// A handle for other threads.
    pub fn remote(&self) -> Remote {
        self.0.remote.clone()
    }

    /// Visit `token`'s source with [`Readiness::WOKEN`] in the ready step.
    pub fn wake(&self, token: Token) {
        self.push(Job::Visit(token, Readiness::WOKEN));
    }

    /// Visit `token`'s source with [`Readiness::FLUSH`] in step 7 of this turn. The caller sees to it that a source
    /// that is marked already is not marked again.
    pub fn mark_dirty(&self, token: Token) {
        self.0.recorder.push(What::Marked { token });
        self.0.dirty.borrow_mut().push(token);
    }

    /// The number of the step 7 in which what is marked now is visited: another one as soon as that has begun.
    pub(crate) fn next_flush(&self) -> NonZeroU32 {
        self.0.next_flush.get()
    }

    /// Whether both are of the same loop.
    pub(crate) fn is_of_same_loop(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Take `source` in and give it its first visit, in the ready step, in the order of [`Handle::call_soon`].
    #[track_caller]
    pub fn start_source(&self, source: Box<dyn Source>) {
        self.start_source_from(source, Location::caller());
    }

    /// [`Handle::start_source`] for someone else, who has created it.
    pub(crate) fn start_source_from(&self, source: Box<dyn Source>, origin: Origin) {
        self.push(Job::Start(source, origin));
    }

    /// Poll a new task for the first time, in the ready step, in the order of [`Handle::call_soon`].
    pub(crate) fn start_task(&self, task: NewTask) {
        self.push(Job::Begin(task));
    }

    /// What is left of the tasks for those who wait for them.
    pub(crate) fn endings(&self) -> &Endings {
        &self.0.endings
    }

    /// End a task in the next ready step, unless it has ended.
    pub(crate) fn abort_task(&self, ending: EndKey) {
        if let Some(token) = self.endings().abort(ending) {
            self.wake(token);
        }
    }

    /// A task has ended: tell who waits for it.
    pub(super) fn finish(&self, ending: EndKey, result: TaskResult) {
        let Some(ended) = self.endings().finish(ending, result) else {
            return;
        };
        if ended.stops_loop {
            self.stop();
        }
        match ended.listener {
            Listener::Nobody => {}
            Listener::Waker(waker) => waker.wake(),
            Listener::Callback(key) => self.call_filed(key),
        }
    }

    /// Switch debug mode on or off, while the loop runs or before it does; from the next turn on it is so. In debug
    /// mode the loop times each visit and callback alone, and tells [`super::EventLoop::on_finding`] of those that are
    /// slow and of tasks that nothing can wake.
    ///
    /// It costs some readings of the clock and a pass over all sources now and then. Switched off it costs nothing
    /// that can be measured.
    pub fn set_debug(&self, on: bool) {
        if self.0.debug.replace(on) == on {
            return;
        }
        let mut ready = self.0.ready.borrow_mut();
        ready.since = on.then(|| std::iter::repeat_n(self.time(), ready.jobs.len()).collect());
    }

    /// Whether debug mode is on.
    pub fn is_debug(&self) -> bool {
        self.0.debug.get()
    }

    /// Switch the recorder on or off, see [`Recorder`]. During a turn this counts from the next one on. What was
    /// recorded before it was switched off can still be read, and its memory stays with the loop.
    pub fn record(&self, on: bool) {
        self.0.recorder.switch(on, self.is_running());
    }

    /// How many records the recorder is to keep, rounded up to a power of two; [`super::RECORDS`] unless set. A record
    /// takes 24 bytes. To be said before it is switched on for the first time: after that it changes nothing.
    pub fn set_record_capacity(&self, records: usize) {
        self.0.recorder.set_capacity(records);
    }

    /// What the loop did last, if it was told to [`Handle::record`].
    pub fn recorder(&self) -> &Recorder {
        &self.0.recorder
    }

    /// How long a visit or a callback may take before debug mode reports it as slow; [`SLOW_THRESHOLD`] unless set.
    /// Kept in nanoseconds: 584 years at most.
    pub fn set_slow_threshold(&self, threshold: Duration) {
        self.0.slow_threshold_ns.set(ns_of(threshold));
    }

    /// See [`Handle::set_slow_threshold`].
    pub fn slow_threshold(&self) -> Duration {
        Duration::from_nanos(self.slow_threshold_ns())
    }

    pub(super) fn slow_threshold_ns(&self) -> u64 {
        self.0.slow_threshold_ns.get()
    }

    /// Have the loop tell of `finding` at the end of the turn.
    pub(crate) fn find(&self, finding: Finding) {
        self.0.findings.borrow_mut().push(finding);
    }

    /// Wake `waker` when [`Handle::time`] has reached `when`, as exact as [`Handle::call_at`].
    pub(crate) fn wake_at(&self, when: Instant, waker: &Waker) -> TimerId {
        // Who clones it may do anything, in between.
        let waker = waker.clone();
        let place = self.0.sleepers.borrow_mut().insert(waker);
        self.insert_timer(self.tick_after(when), Due::Sleeper(place as u32))
    }

    /// Have a timer of [`Handle::wake_at`] wake `waker` from now on. `false` when it has fired.
    pub(crate) fn wake_instead(&self, timer: TimerId, waker: &Waker) -> bool {
        let place = match self.0.wheel.borrow_mut().get_mut(timer) {
            Some(Due::Sleeper(place)) => *place as usize,
            _ => return false,
        };
        if !self.0.sleepers.borrow()[place].will_wake(waker) {
            let new = waker.clone();
            let old = std::mem::replace(&mut self.0.sleepers.borrow_mut()[place], new);
            // What is dropped with it may be anyone's.
            drop(old);
        }
        true
    }

    /// Move a timer. `false` when it has fired.
    pub(crate) fn move_timer_to(&self, timer: TimerId, when: Instant) -> bool {
        self.reset_timer(timer, self.tick_after(when))
    }

    /// A waker for the first poll of `token`'s future. It is to be kept ([`Handle::keep_waker`]) when the future
    /// waits, and else given back ([`Handle::give_back_waker`]): most tasks end in their first poll, and need no waker
    /// of their own.
    pub(crate) fn first_waker(&self, token: Token) -> SourceWaker {
        match self.0.spare_waker.take() {
            Some(spare) => {
                spare.aim(token);
                spare
            }
            None => SourceWaker::new(self.remote(), token),
        }
    }

    /// The waker of [`Handle::first_waker`] stays with its source.
    pub(crate) fn keep_waker(&self, waker: SourceWaker) -> SourceWaker {
        self.put_spare_waker(None);
        waker
    }

    /// The waker of [`Handle::first_waker`] is not needed any more.
    pub(crate) fn give_back_waker(&self, waker: SourceWaker) {
        self.put_spare_waker(Some(waker).filter(|waker| !waker.is_shared()));
    }

    fn put_spare_waker(&self, spare: Option<SourceWaker>) {
        // There is always one, so that a driver knows how many of those who can call its loop are the loop itself.
        let spare = spare.unwrap_or_else(|| SourceWaker::new(self.remote(), NOBODY));
        self.0.spare_waker.set(Some(spare));
    }

    // What follows is for the loop and its executor.

    #[track_caller]
    pub(crate) fn file_call(&self, run: Callback) -> CallKey {
        let origin = Location::caller();
        CallKey(self.0.calls.borrow_mut().insert(FiledCall {
            run,
            origin,
            timer: None,
        }))
    }

    /// A callback that another thread sent, with where it was sent from.
    pub(super) fn call_from(&self, run: Callback, origin: Origin) {
        let key = CallKey(self.0.calls.borrow_mut().insert(FiledCall {
            run,
            origin,
            timer: None,
        }));
        self.call_filed(key);
    }

    pub(crate) fn call_filed(&self, key: CallKey) {
        self.push(Job::Call(key));
    }

    fn push(&self, job: Job) {
        self.push_since(job, || self.time());
    }

    fn push_since(&self, job: Job, since: impl FnOnce() -> Instant) {
        let recorder = &self.0.recorder;
        if recorder.is_on() {
            recorder.queued(&job);
        }
        self.0.ready.borrow_mut().push(job, since);
    }

    fn call_handle(&self, key: CallKey, when: Instant) -> CallHandle {
        CallHandle {
            handle: self.clone(),
            key,
            when: Cell::new(when),
            cancelled: Cell::new(false),
        }
    }

    fn set_call_timer(&self, key: CallKey, when: Instant) {
        let tick = self.tick_after(when);
        if let Some(call) = self.0.calls.borrow_mut().get_mut(key.0) {
            match call.timer {
                Some(timer) => {
                    self.reset_timer(timer, tick);
                }
                None => call.timer = Some(self.insert_timer(tick, Due::Call(key))),
            }
        }
    }

    fn insert_timer(&self, tick: u64, due: Due) -> TimerId {
        let due_tick = self.timer_tick(tick);
        let id = self.0.wheel.borrow_mut().insert(due_tick, due);
        let timer = id.to_bits();
        self.0.recorder.push(What::TimerSet { timer, due_tick });
        id
    }

    /// The first tick that is not before `when`: a timer filed there is never early.
    pub(super) fn tick_after(&self, when: Instant) -> u64 {
        let since = when.saturating_duration_since(self.0.origin);
        // 2^64 ms are half a billion years.
        u64::try_from(since.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    /// `tick`, or the first one that comes after this turn (rule R5): the wheel itself comes to this turn's tick in
    /// step 5, and I/O sets timers before that.
    fn timer_tick(&self, tick: u64) -> u64 {
        tick.max(self.tick().saturating_add(1))
    }

    pub(super) fn instant_of(&self, tick: u64) -> Instant {
        self.0.origin + Duration::from_millis(tick)
    }

    /// Read the clock. Not inlined: three places of a turn do, and code that they share is sooner at hand.
    #[inline(never)]
    pub(super) fn moment(&self) -> Moment {
        let at = self.time();
        let since = at.saturating_duration_since(self.0.origin);
        let ns = ns_of(since);
        Moment { at, ns }
    }

    pub(super) fn set_now(&self, now: Moment) {
        self.0.now.set(now.at);
        self.0.tick.set(now.ns / NS_PER_TICK);
    }

    pub(super) fn set_running(&self, running: bool) -> bool {
        self.0.running.replace(running)
    }

    /// The task that is being polled. One that is spawned now is its child.
    pub(crate) fn polled(&self) -> Option<Token> {
        self.0.polled.get()
    }

    pub(crate) fn set_polled(&self, token: Option<Token>) {
        self.0.polled.set(token);
    }

    pub(super) fn take_stopping(&self) -> bool {
        self.0.stopping.take()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.0.stopping.get()
    }

    pub(super) fn executor(&self) -> &dyn Executor {
        &*self.0.executor
    }

    pub(super) fn ready_jobs(&self) -> usize {
        self.0.ready.borrow().jobs.len()
    }

    pub(super) fn next_ready(&self) -> Option<Job> {
        self.0.ready.borrow_mut().pop()
    }

    /// The callback of a job that has come to the front; `None` when it was cancelled, or moved to a later time.
    pub(super) fn take_call(&self, key: CallKey) -> Option<(Callback, Origin)> {
        let mut calls = self.0.calls.borrow_mut();
        if calls.get(key.0)?.timer.is_some() {
            return None;
        }
        calls.remove(key.0).map(|call| (call.run, call.origin))
    }

    /// Move what is due to the ready queue, in the order (tick, sequence), `first` first. Returns how many, and the
    /// panics of those who were woken.
    pub(super) fn fire_timers(&self, first: (u64, Due)) -> (u32, Vec<Caught>) {
        let (mut fired, mut panics) = (0, Vec::new());
        let mut next = Some(first);
        while let Some((due_tick, due)) = next {
            fired += 1;
            let since = || self.instant_of(due_tick);
            let push = |job| self.push_since(job, since);
            match due {
                Due::Source(key) => push(Job::Visit(key.into(), Readiness::TIMER)),
                Due::Call(key) => {
                    if let Some(call) = self.0.calls.borrow_mut().get_mut(key.0) {
                        call.timer = None;
                    }
                    push(Job::Call(key));
                }
                // Mostly it puts a task into the queue, but it may be anyone's and may panic: so nothing is borrowed.
                Due::Sleeper(place) => {
                    let waker = self.0.sleepers.borrow_mut().remove(place as usize);
                    if let Err(panic) = caught(|| waker.wake()) {
                        panics.push(panic);
                    }
                }
            }
            next = self.next_due();
        }
        (fired, panics)
    }

    /// Whether the wheel has something to do by this turn's tick: a timer that is due, or some to file anew.
    #[inline]
    pub(super) fn has_due(&self) -> bool {
        self.0.wheel.borrow_mut().come_to(self.tick())
    }

    /// The wheel's next, and when it was due, if that is at this turn's tick or before.
    pub(super) fn next_due(&self) -> Option<(u64, Due)> {
        let mut wheel = self.0.wheel.borrow_mut();
        let popped = wheel.pop_due_named(self.tick());
        if self.0.recorder.is_on() {
            cold_path();
            let fired = popped
                .as_ref()
                .map(|(id, due_tick, _)| (id.to_bits(), *due_tick));
            self.0.recorder.popped(wheel.cascaded(), fired);
        }
        popped.map(|(_, due_tick, due)| (due_tick, due))
    }

    pub(super) fn next_timer_tick(&self) -> Option<u64> {
        self.0.wheel.borrow().next_expiry()
    }

    /// How many sources in the ready queue are to be taken in.
    pub(super) fn starting(&self) -> usize {
        let ready = self.0.ready.borrow();
        let is_start = |job: &&Job| matches!(job, Job::Start(..) | Job::Begin(_));
        ready.jobs.iter().filter(is_start).count()
    }

    /// The first in the ready queue, described; `None` when it will not run.
    pub(super) fn first_ready(&self) -> Option<Described> {
        let ready = self.0.ready.borrow();
        self.describe(ready.jobs.front()?)
    }

    /// What stands in the ready queue and will run: its place, what it is, and in debug mode since when it stands
    /// there.
    pub(super) fn queued(&self) -> Vec<(usize, Described, Option<Instant>)> {
        let ready = self.0.ready.borrow();
        let since = |place| Some(*ready.since.as_ref()?.get(place)?);
        let jobs = ready.jobs.iter().enumerate();
        jobs.filter_map(|(place, job)| Some((place, self.describe(job)?, since(place))))
            .collect()
    }

    fn describe(&self, job: &Job) -> Option<Described> {
        Some(match job {
            Job::Call(key) => {
                let calls = self.0.calls.borrow();
                let call = calls.get(key.0).filter(|call| call.timer.is_none())?;
                Described::New(Work::callback(call.origin))
            }
            Job::Visit(token, _) => Described::Source(*token),
            Job::Start(_, origin) => Described::New(Work::new("source", origin)),
            Job::Begin(task) => Described::New(task.work()),
        })
    }

    /// How many in the ready queue wait for their turn and will get it, and in debug mode since when the first one
    /// does. But not `visited`, which has only queued itself again.
    pub(super) fn waiting_jobs(&self, visited: Option<Token>) -> (usize, Option<Instant>) {
        let calls = self.0.calls.borrow();
        let will_run = |job: &Job| match job {
            Job::Call(key) => calls.get(key.0).is_some_and(|call| call.timer.is_none()),
            Job::Visit(token, _) => Some(*token) != visited,
            Job::Start(..) | Job::Begin(_) => true,
        };
        let ready = self.0.ready.borrow();
        let number = ready.jobs.iter().filter(|job| will_run(job)).count();
        let times = ready.since.iter().flatten();
        let of_those = times.zip(&ready.jobs).filter(|(_, job)| will_run(job));
        (number, of_those.map(|(since, _)| *since).min())
    }

    /// How many timers are due at `now` and still in the wheel, and when the first of them was. Takes a pass over all.
    pub(super) fn overdue_timers(&self, now: Instant) -> (usize, Option<Instant>) {
        let now = ns_of(now.saturating_duration_since(self.0.origin)) / NS_PER_TICK;
        let wheel = self.0.wheel.borrow();
        let due = wheel
            .iter()
            .map(|(tick, _)| tick)
            .filter(|tick| *tick <= now);
        let (number, first) = due.fold((0, u64::MAX), |(number, first), tick| {
            (number + 1, first.min(tick))
        });
        (number, (number > 0).then(|| self.instant_of(first)))
    }

    /// The wheel, with `max` timers of it.
    pub(super) fn wheel_view(&self, max: usize) -> WheelView {
        let (wheel, calls) = (self.0.wheel.borrow(), self.0.calls.borrow());
        let mut view = WheelView {
            hand: wheel.hand(),
            timers: Vec::new(),
            more: Default::default(),
            set: wheel.len(),
            cascaded: wheel.cascaded(),
            next_tick: wheel.next_expiry(),
        };
        for filed in wheel.filed() {
            let whom = match filed.value {
                Due::Call(key) => match calls.get(key.0) {
                    Some(call) => TimerFor::Callback(call.origin),
                    None => continue,
                },
                Due::Source(key) => TimerFor::Source((*key).into()),
                Due::Sleeper(_) => TimerFor::Waker,
            };
            match view.timers.len() < max {
                true => view.timers.push(TimerView {
                    ring: filed.ring,
                    slot: filed.slot,
                    tick: filed.tick,
                    whom,
                }),
                false => view.more[filed.ring] += 1,
            }
        }
        view
    }

    pub(super) fn has_calls(&self) -> bool {
        !self.0.calls.borrow().is_empty()
    }

    pub(super) fn timers_set(&self) -> usize {
        self.0.wheel.borrow().len()
    }

    pub(super) fn set_source_timer(&self, token: Token, tick: u64) -> TimerId {
        self.insert_timer(tick, Due::Source(token.into()))
    }

    pub(super) fn reset_timer(&self, timer: TimerId, tick: u64) -> bool {
        let due_tick = self.timer_tick(tick);
        let is_set = self.0.wheel.borrow_mut().reset(timer, due_tick);
        if is_set {
            let timer = timer.to_bits();
            self.0.recorder.push(What::TimerSet { timer, due_tick });
        }
        is_set
    }

    pub(crate) fn cancel_timer(&self, timer: TimerId) -> bool {
        let due = self.0.wheel.borrow_mut().cancel(timer);
        if let Some(Due::Sleeper(place)) = &due {
            let waker = self.0.sleepers.borrow_mut().remove(*place as usize);
            // What is dropped with it may be anyone's.
            drop(waker);
        }
        if due.is_some() {
            let timer = timer.to_bits();
            self.0.recorder.push(What::TimerCancelled { timer });
        }
        due.is_some()
    }

    /// The loop is being dropped: so is everything that waits. What it captured may hold this handle.
    pub(super) fn clear(&self) {
        let core = &self.0;
        let ready = std::mem::take(&mut *core.ready.borrow_mut());
        let calls = core.calls.replace(Slab::new());
        let wheel = core.wheel.replace(Wheel::new());
        let sleepers = core.sleepers.take();
        drop((ready, calls, wheel, sleepers));
    }

    /// Keep no more memory for the ready queue than it needs from day to day.
    pub(super) fn give_back(&self) {
        give_back_queue(&mut self.0.ready.borrow_mut().jobs);
    }

    /// Keep no more for them than they need now.
    pub(super) fn end_burst(&self) {
        self.0.ready.borrow_mut().jobs.shrink_to_fit();
        self.0.dirty.borrow_mut().shrink_to_fit();
        self.0.sleepers.borrow_mut().shrink_to_fit();
    }

    pub(super) fn has_dirty(&self) -> bool {
        self.dirty() > 0
    }

    /// How many sources have bytes to send in step 7.
    pub(super) fn dirty(&self) -> usize {
        self.0.dirty.borrow().len()
    }

    pub(super) fn dirty_list(&self) -> Vec<Token> {
        self.0.dirty.borrow().clone()
    }

    pub(super) fn has_findings(&self) -> bool {
        !self.0.findings.borrow().is_empty()
    }

    pub(super) fn take_findings(&self) -> Vec<Finding> {
        std::mem::take(&mut *self.0.findings.borrow_mut())
    }

    /// Swap the list of dirty sources for the empty `list`: their flush begins.
    pub(super) fn swap_dirty(&self, list: &mut Vec<Token>) {
        let next = |number: NonZeroU32| number.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.0.next_flush.update(next);
        std::mem::swap(&mut *self.0.dirty.borrow_mut(), list);
    }

    /// Say that this loop turns on this thread, until the guard is dropped. `None` when that is known.
    pub(super) fn enter(&self) -> Option<Turning> {
        TURNING.with(|turning| {
            let mut turning = turning.borrow_mut();
            let is_known = turning
                .as_ref()
                .is_some_and(|known| Rc::ptr_eq(&known.0, &self.0));
            (!is_known).then(|| Turning {
                outer: turning.replace(self.clone()),
            })
        })
    }
}

/// [`Handle::current`], by asyncio's name.
///
/// # Panics
/// When no loop is turning on this thread.
#[track_caller]
pub fn get_running_loop() -> Handle {
    Handle::current()
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("ready", &self.ready_jobs())
            .field("timers", &self.timers_set())
            .finish_non_exhaustive()
    }
}

/// A reading of the clock.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) at: Instant,
    /// How long after the loop was made, in nanoseconds: the loop reckons with numbers, for it does so all the time.
    pub(super) ns: u64,
}

impl Moment {
    /// How long it is after `earlier`, in nanoseconds.
    #[inline]
    pub(super) fn ns_since(self, earlier: Self) -> u64 {
        self.ns.saturating_sub(earlier.ns)
    }
}

/// In nanoseconds, of which 64 bits are enough for 584 years.
#[inline]
pub(super) fn ns_of(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// A tick of the timer wheel.
pub(super) const NS_PER_TICK: u64 = 1_000_000;

/// See [`Handle::enter`].
pub(super) struct Turning {
    outer: Option<Handle>,
}

impl Drop for Turning {
    fn drop(&mut self) {
        TURNING.with(|turning| *turning.borrow_mut() = self.outer.take());
    }
}

/// One scheduled callback, to cancel it or to move it. Dropping it changes nothing.
#[derive(Debug)]
pub struct CallHandle {
    handle: Handle,
    key: CallKey,
    when: Cell<Instant>,
    cancelled: Cell<bool>,
}

impl CallHandle {
    /// The callback will not run, not even if it is due in this very turn; what it captured is dropped now (rule R6).
    /// `false` when it has run already or was cancelled before. Costs the same however many timers there are.
    pub fn cancel(&self) -> bool {
        let core = &self.handle.0;
        let call = core.calls.borrow_mut().remove(self.key.0);
        let Some(call) = call else { return false };
        if let Some(timer) = call.timer {
            self.handle.cancel_timer(timer);
        }
        self.cancelled.set(true);
        true
    }

    /// Whether [`CallHandle::cancel`] came in time.
    pub fn cancelled(&self) -> bool {
        self.cancelled.get()
    }

    /// Whether the callback is still to come.
    pub fn is_pending(&self) -> bool {
        self.handle.0.calls.borrow().contains(self.key.0)
    }

    /// When it was asked to run: for `call_soon`, the time of the turn that asked.
    pub fn when(&self) -> Instant {
        self.when.get()
    }

    /// Run `delay` from now instead, in place and without allocating. `false` when it has run already or was
    /// cancelled.
    pub fn reset(&self, delay: Duration) -> bool {
        let when = self.handle.time() + delay;
        if !self.is_pending() {
            return false;
        }
        self.handle.set_call_timer(self.key, when);
        self.when.set(when);
        true
    }
}

// ---- other threads ----------------------------------------------------------------------------------------------

/// What another thread can send.
pub(super) enum Message {
    Call(Box<dyn FnOnce(&mut Ctx<'_>) + Send>, Origin),
    Filed(CallKey),
    Wake(Token),
    Stop,
}

/// What the loop and the other threads tell each other, as bits of one word: so there is one order of it, for all.
struct Mark;

impl Mark {
    /// The loop sleeps, or is about to.
    const PARKED: u8 = 1;
    /// Nobody turns the loop now.
    const UNTENDED: u8 = 1 << 1;
    /// In both cases, who has news for the loop wakes its driver.
    const AWAY: u8 = Self::PARKED | Self::UNTENDED;
    /// Messages were sent since the loop last began to take them.
    const MAIL: u8 = 1 << 2;
    /// Somebody wants the loop to look up who has no message for it.
    const RUNG: u8 = 1 << 3;
    /// Either is a reason not to sleep.
    const ANY: u8 = Self::MAIL | Self::RUNG;
}

struct Doorbell {
    sender: Sender<Message>,
    /// See [`Mark`].
    marks: AtomicU8,
    closed: AtomicBool,
    /// There is a [`Message::Stop`] among the messages.
    asked_to_stop: AtomicBool,
}

/// A loop, for other threads. Cheap to clone.
///
/// Messages of one thread arrive in the order in which they were sent. A loop that is awake is never signalled, and
/// one that is parked, or that nobody turns now, once, however many messages come: a wake-up costs a system call, a
/// message some nanoseconds.
#[derive(Clone)]
pub struct Remote {
    bell: Arc<Doorbell>,
    /// Here and not behind the bell, so that a driver can see how many hold it, see
    /// [`super::Driver::notifier`].
    notifier: Arc<dyn Notify>,
}

/// The loop has gone; what was to be sent is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopGone;

impl fmt::Display for LoopGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the event loop has gone")
    }
}

impl std::error::Error for LoopGone {}

impl Remote {
    /// Run `callback` on the loop's thread, after the I/O of the turn that finds it. The queue is not bounded.
    ///
    /// # Errors
    /// [`LoopGone`] when the loop was dropped. A message can still be lost after an `Ok`, if the loop is dropped
    /// before it gets to it.
    #[track_caller]
    pub fn call_soon_threadsafe(
        &self,
        callback: impl FnOnce(&mut Ctx<'_>) + Send + 'static,
    ) -> Result<(), LoopGone> {
        self.post(Message::Call(Box::new(callback), Location::caller()))
    }

    /// As [`Handle::set_debug`], on the loop's thread.
    ///
    /// # Errors
    /// [`LoopGone`] when the loop was dropped.
    #[track_caller]
    pub fn set_debug(&self, on: bool) -> Result<(), LoopGone> {
        self.call_soon_threadsafe(move |ctx| ctx.set_debug(on))
    }

    /// As [`Handle::stop`].
    ///
    /// # Errors
    /// [`LoopGone`] when the loop was dropped.
    pub fn stop(&self) -> Result<(), LoopGone> {
        self.bell.asked_to_stop.store(true, Ordering::Release);
        self.post(Message::Stop)
    }

    /// Visit `token`'s source with [`Readiness::WOKEN`]. On the loop's own thread, during a turn, this takes the
    /// short way straight to the ready queue.
    pub fn wake(&self, token: Token) {
        let local = TURNING.with(|turning| match &*turning.borrow() {
            Some(handle) if Arc::ptr_eq(&handle.0.remote.bell, &self.bell) => {
                handle.wake(token);
                true
            }
            _ => false,
        });
        if !local {
            // A loop that has gone has no source to wake.
            let _ = self.post(Message::Wake(token));
        }
    }

    /// Whether the loop was dropped.
    pub fn is_gone(&self) -> bool {
        self.bell.closed.load(Ordering::Acquire)
    }

    pub(super) fn call_filed(&self, key: CallKey) {
        let _ = self.post(Message::Filed(key));
    }

    fn post(&self, message: Message) -> Result<(), LoopGone> {
        if self.is_gone() || self.bell.sender.send(message).is_err() {
            return Err(LoopGone);
        }
        self.tell(Mark::MAIL);
        Ok(())
    }

    /// Wake the loop, if it sleeps, without a message: it is to look up.
    pub(super) fn ring(&self) {
        self.tell(Mark::RUNG);
    }

    /// Whether the loop waits in its driver.
    pub(super) fn is_parked(&self) -> bool {
        self.bell.marks.load(Ordering::Relaxed) & Mark::PARKED != 0
    }

    /// The message, if it is that, is in the queue. The loop marks itself as parked in the same word before it sleeps:
    /// either it sees the news then, or the mark is seen here.
    fn tell(&self, news: u8) {
        let before = self.bell.marks.fetch_or(news, Ordering::AcqRel);
        // Behind other news the loop is awake already, or being woken.
        if before & Mark::AWAY != 0 && before & Mark::ANY == 0 {
            self.notifier.notify();
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("waiting", &self.bell.sender.len())
            .finish_non_exhaustive()
    }
}

/// The loop's end of the queue.
pub(super) struct Inbox {
    receiver: Receiver<Message>,
    bell: Arc<Doorbell>,
}

impl Inbox {
    pub(super) fn new(notifier: Arc<dyn Notify>) -> (Self, Remote) {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let bell = Arc::new(Doorbell {
            sender,
            marks: AtomicU8::new(Mark::UNTENDED),
            closed: AtomicBool::new(false),
            asked_to_stop: AtomicBool::new(false),
        });
        (
            Self {
                receiver,
                bell: Arc::clone(&bell),
            },
            Remote { bell, notifier },
        )
    }

    /// From here on news wakes the driver. `false` when there is some already, so that the loop must not sleep.
    pub(super) fn park(&self) -> bool {
        let before = self.bell.marks.fetch_or(Mark::PARKED, Ordering::AcqRel);
        before & Mark::ANY == 0
    }

    /// The loop is awake, and turns.
    pub(super) fn unpark(&self) {
        // Nobody else sets these marks: a turn that did not park does not pay for it.
        if self.bell.marks.load(Ordering::Relaxed) & Mark::AWAY != 0 {
            self.bell.marks.fetch_and(!Mark::AWAY, Ordering::AcqRel);
        }
    }

    /// Nobody turns the loop from here on, until it is turned again. Whoever does may be another loop, which looks at
    /// [`super::EventLoop::pollable_descriptor`]: what comes meanwhile is to be seen there.
    pub(super) fn leave(&self) {
        self.bell.marks.fetch_or(Mark::UNTENDED, Ordering::AcqRel);
    }

    /// Who has rung is heard.
    pub(super) fn answer_ring(&self) {
        self.bell.marks.fetch_and(!Mark::RUNG, Ordering::AcqRel);
    }

    /// As if somebody had rung.
    pub(super) fn do_not_sleep(&self) {
        self.bell.marks.fetch_or(Mark::RUNG, Ordering::AcqRel);
    }

    /// Whether a [`Message::Stop`] waits.
    pub(super) fn is_asked_to_stop(&self) -> bool {
        self.bell.asked_to_stop.load(Ordering::Acquire)
    }

    /// Whether messages may be there. Costs a look at one number.
    #[inline]
    pub(super) fn has_mail(&self) -> bool {
        self.bell.marks.load(Ordering::Relaxed) & Mark::MAIL != 0
    }

    /// The messages that are there are about to be taken: what is sent from here on is mail again. Each message that
    /// was told of before this is seen by [`Inbox::take`].
    pub(super) fn open(&self) {
        self.bell.marks.fetch_and(!Mark::MAIL, Ordering::AcqRel);
    }

    /// Not all messages were taken.
    pub(super) fn keep_mail(&self) {
        self.bell.marks.fetch_or(Mark::MAIL, Ordering::AcqRel);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.receiver.len()
    }

    pub(super) fn take(&self) -> Option<Message> {
        let message = self.receiver.try_recv().ok();
        if matches!(message, Some(Message::Stop)) {
            self.bell.asked_to_stop.store(false, Ordering::Release);
        }
        message
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.bell.closed.store(true, Ordering::Release);
        // What was sent and not taken is dropped here, on the loop's thread.
        while self.take().is_some() {}
    }
}
