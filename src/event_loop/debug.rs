//! Debug mode: what held the loop, since when others had to wait for it, and who waits for what can never come.
//!
//! It can be switched on and off while the loop runs ([`super::Handle::set_debug`]). What is off costs one comparison
//! where a piece of work is timed anyway; a test that counts instructions sees to that.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::control::News;
use super::driver::Token;
use super::incidents::Trouble;
use super::stats::Origin;
use super::waits::WaitsOn;
use super::{EventLoop, Slot};

/// A visit or a callback that takes so long is slow, as for asyncio: what people notice, and much more than any piece
/// of work should take on a thread that serves thousands.
pub const SLOW_THRESHOLD: Duration = Duration::from_millis(100);

/// A piece of work, named for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// `callback`, `handler`, `job`, or the [`super::Inspection::kind`] of a source: `task`, `http`, `listener`, …
    pub kind: &'static str,
    /// Its name, if it was given one.
    pub name: Option<Arc<str>>,
    /// Where in the program it was created.
    pub origin: Origin,
}

impl Work {
    pub(crate) fn new(kind: &'static str, origin: Origin) -> Self {
        Self {
            kind,
            name: None,
            origin,
        }
    }

    pub(super) fn callback(origin: Origin) -> Self {
        Self::new("callback", origin)
    }

    pub(crate) fn handler(origin: Origin) -> Self {
        Self::new("handler", origin)
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "the {} {name:?}", self.kind)?,
            None => write!(f, "a {}", self.kind)?,
        }
        write!(f, " created at {}", self.origin)
    }
}

impl Slot {
    pub(super) fn work(&self) -> Work {
        let inspection = self.source.inspect();
        Work {
            kind: inspection.kind,
            name: inspection.name,
            origin: self.origin,
        }
    }
}

/// Something that debug mode has found. See [`EventLoop::on_finding`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Finding {
    /// Something held the loop for too long.
    Slow(SlowReport),
    /// A task waits for what cannot come.
    Lost(LostTask),
    /// An operation has failed, or has ended in debug mode. See [`crate::task::scope`].
    Scope(ScopeReport),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow(slow) => slow.fmt(f),
            Self::Lost(lost) => lost.fmt(f),
            Self::Scope(scope) => scope.fmt(f),
        }
    }
}

/// A visit or a callback that held the loop for too long, and who had to wait for it.
#[derive(Clone, Debug)]
pub struct SlowReport {
    /// What it was.
    pub work: Work,
    /// How long it held the loop.
    pub took: Duration,
    /// How often what was created there has been slow by now. A task that computes and never waits comes back, again
    /// and again.
    pub times: u32,
    /// Who had to wait.
    pub victims: Victims,
}

impl fmt::Display for SlowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (work, took) = (&self.work, Span(self.took));
        write!(f, "slow: {work} held the loop for {took}")?;
        if self.times > 1 {
            write!(f, ", as {} times before", self.times - 1)?;
        }
        write!(f, "; {}", self.victims)
    }
}

/// Who stood behind a slow piece of work when it had ended. What the sockets have brought meanwhile is not known before
/// the next turn, and not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Victims {
    /// Callbacks, and tasks that were woken, in the ready queue.
    pub ready: usize,
    /// Sources that are to be visited: they have events, or were cut off, or have bytes to send.
    pub visits: usize,
    /// Timers that are due and not in the ready queue yet.
    pub timers: usize,
    /// Messages from other threads that were not taken yet.
    pub messages: usize,
    /// How long the first of them has waited: since it came into the queue, was due, or, for a visit, since the turn
    /// began. When a message arrived is not known.
    pub longest_wait: Duration,
}

impl Victims {
    /// How many they are.
    pub fn number(&self) -> usize {
        self.ready + self.visits + self.timers + self.messages
    }
}

impl fmt::Display for Victims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.number() == 0 {
            return f.write_str("nobody had to wait");
        }
        write!(f, "{} had to wait", self.number())?;
        if self.longest_wait > Duration::ZERO {
            write!(f, ", the first for {}", Span(self.longest_wait))?;
        }
        let groups = [
            (self.ready, "ready"),
            (self.visits, "with I/O"),
            (self.timers, "due"),
            (self.messages, "from other threads"),
        ];
        let there = groups.iter().filter(|(number, _)| *number > 0);
        for ((number, what), before) in there.zip([" ("].into_iter().chain(std::iter::repeat(", ")))
        {
            write!(f, "{before}{number} {what}")?;
        }
        f.write_str(")")
    }
}

/// A task, or another source, that waits and that nothing can wake any more: the future that it waits for did not keep
/// its waker, or whoever kept it has dropped it and not used it. It would wait for ever; only `abort` ends it.
///
/// A future that is meant never to be done looks the same, such as [`std::future::pending`].
#[derive(Clone, Debug)]
pub struct LostTask {
    /// What it is.
    pub work: Work,
    /// What it waits on, as far as its futures have said.
    pub waits_on: Option<WaitsOn>,
    /// How long it has waited.
    pub waited: Duration,
}

impl fmt::Display for LostTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (work, waited) = (&self.work, Span(self.waited));
        write!(f, "lost: {work} has waited for {waited}")?;
        if let Some(waits_on) = self.waits_on {
            write!(f, ", for {waits_on},")?;
        }
        f.write_str(" and nothing can wake it: its last waker was dropped and had not been used")
    }
}

/// How an operation ended, see [`crate::task::scope`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeReport {
    /// The name it was given.
    pub name: Cow<'static, str>,
    /// Where the scope was opened.
    pub origin: Origin,
    /// How long it took.
    pub took: Duration,
    /// For how much of that time it worked, and held the loop. The rest it has waited.
    pub busy: Duration,
    /// Its end.
    pub end: ScopeEnd,
    /// Whether it took longer than it should, by [`crate::task::Scope::slow_after`].
    pub is_slow: bool,
}

/// See [`ScopeReport`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeEnd {
    /// It succeeded.
    Done,
    /// It failed with an error that says so.
    Failed(String),
    /// It panicked.
    Panicked,
    /// It was given up before it had ended: its future was dropped.
    Left,
}

impl fmt::Display for ScopeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_slow {
            f.write_str("slow: ")?;
        }
        let end = match self.end {
            ScopeEnd::Done => "done",
            ScopeEnd::Failed(_) => "failed",
            ScopeEnd::Panicked => "panicked",
            ScopeEnd::Left => "given up",
        };
        let (took, busy) = (Span(self.took), Span(self.busy));
        write!(
            f,
            "scope {:?} opened at {}: {end} after {took}, {busy} of it at work",
            self.name, self.origin
        )?;
        match &self.end {
            ScopeEnd::Failed(error) => write!(f, ": {error}"),
            _ => Ok(()),
        }
    }
}

/// A duration as people say it: `0.4 ms`, `205 ms`, `1.5 s`, `3 min 20 s`, `5 h 7 min`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In whole numbers: to print floating-point ones takes 13 kB of a program.
        let seconds = self.0.as_secs();
        let us = seconds.min(100) * 1_000_000 + u64::from(self.0.subsec_micros());
        let mut with_a_tenth = |unit_us: u64, unit: &str| {
            let tenths = (us * 10 + unit_us / 2) / unit_us;
            write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
        };
        match seconds {
            0 if us < 10_000 => with_a_tenth(1000, "ms"),
            0 => write!(f, "{} ms", (us + 500) / 1000),
            1..100 => with_a_tenth(1_000_000, "s"),
            100..6000 => write!(f, "{} min {} s", seconds / 60, seconds % 60),
            _ => write!(f, "{} h {} min", seconds / 3600, seconds / 60 % 60),
        }
    }
}

type FindingHook = Box<dyn FnMut(&Finding)>;

/// What a loop keeps for debug mode.
pub(super) struct Debugging {
    hook: FindingHook,
    /// How often each was slow. As many as there are places in the program that create something slow.
    slow_times: HashMap<(&'static str, Origin), u32>,
    /// Sources that were reported as lost.
    lost: HashSet<Token>,
    /// When the next pass over all sources may be.
    look_from: Option<Instant>,
    /// How many visits and callbacks there had been at the last.
    looked_after: u64,
}

impl Default for Debugging {
    fn default() -> Self {
        Self {
            // Where nobody reads, nothing is lost.
            hook: Box::new(|finding| drop(writeln!(io::stderr(), "tourbillon: {finding}"))),
            slow_times: HashMap::new(),
            lost: HashSet::new(),
            look_from: None,
            looked_after: 0,
        }
    }
}

impl Debugging {
    pub(super) fn on_finding(&mut self, hook: impl FnMut(&Finding) + 'static) {
        self.hook = Box::new(hook);
    }
}

impl EventLoop {
    /// Let the watchdog know what runs from here on, if there is one.
    #[cold]
    pub(super) fn watch(&self, work: impl FnOnce() -> Work) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.begin(work());
        }
    }

    /// What has begun last has ended and was timed: tell of it if it was slow.
    #[cold]
    pub(super) fn tell_if_slow(&mut self, work: impl FnOnce() -> Work, token: Option<Token>) {
        if self.took_ns >= self.slow_from_ns {
            self.tell_slow(work(), token, Duration::from_nanos(self.took_ns));
        }
        if let Some(watchdog) = &self.watchdog {
            watchdog.end();
        }
    }

    #[cold]
    pub(super) fn handler_ended(&mut self, token: Option<Token>, origin: Origin) {
        self.blame(origin);
        self.tell_if_slow(|| Work::handler(origin), token);
    }

    fn tell_slow(&mut self, work: Work, token: Option<Token>, took: Duration) {
        let times = (self.debugging.slow_times)
            .entry((work.kind, work.origin))
            .or_default();
        *times += 1;
        let slow = SlowReport {
            times: *times,
            victims: self.victims(token),
            work,
            took,
        };
        self.tell(&Finding::Slow(slow));
    }

    /// Who waits, at the end of a piece of work.
    fn victims(&self, visited: Option<Token>) -> Victims {
        let now = self.stamp.at;
        let (ready, ready_since) = self.handle.waiting_jobs(visited);
        let (timers, due_since) = self.handle.overdue_timers(now);
        let visits = self.behind + self.late_events.len() + self.carry.len() + self.handle.dirty();
        let visits_since = (visits > 0).then(|| self.handle.now());
        let first = [ready_since, due_since, visits_since]
            .into_iter()
            .flatten()
            .min();
        Victims {
            ready,
            visits,
            timers,
            messages: self.inbox.len(),
            longest_wait: first
                .map_or(Duration::ZERO, |first| now.saturating_duration_since(first)),
        }
    }

    fn ran(&self) -> u64 {
        self.stats.visits + self.stats.callbacks
    }

    /// When debug mode wants to look for lost sources.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let is_wanted = self.handle.is_debug() && self.debugging.looked_after != self.ran();
        is_wanted.then(|| self.debugging.look_from.unwrap_or(self.handle.now()))
    }

    /// Look for sources that nothing can wake, if it is time to: when anything has run since the last time, and once in
    /// a slow threshold at most.
    #[cold]
    pub(super) fn look_for_lost(&mut self, now: Instant) {
        if self.next_look().is_none_or(|when| when > now) {
            return;
        }
        self.debugging.looked_after = self.ran();
        self.debugging.look_from = Some(now + self.handle.slow_threshold());
        let is_there = |token: &Token| self.sources.contains((*token).into());
        self.debugging.lost.retain(is_there);
        let mut found = Vec::new();
        for (key, slot) in self.sources.iter() {
            let inspection = slot.source.inspect();
            if inspection.is_lost && self.debugging.lost.insert(key.into()) {
                let since = inspection.since.unwrap_or(now);
                found.push(Finding::Lost(LostTask {
                    work: match inspection.origin {
                        Some(origin) if inspection.kind != "task" => Work::handler(origin),
                        _ => slot.work(),
                    },
                    waits_on: inspection.waits_on,
                    waited: now.saturating_duration_since(since),
                }));
            }
        }
        found.iter().for_each(|finding| self.tell(finding));
    }

    /// Tell of what was found during the turn by others than the loop.
    #[cold]
    pub(super) fn tell_findings(&mut self) {
        for finding in self.handle.take_findings() {
            self.tell(&finding);
        }
    }

    pub(super) fn tell(&mut self, finding: &Finding) {
        crate::event!(warn, "{finding}");
        self.keep_incident(Trouble::Finding(finding.clone()));
        (self.debugging.hook)(finding);
        let turn = self.turn_number();
        if let Some(control) = &mut self.control {
            control.tell(&News::Found {
                turn,
                finding: finding.clone(),
            });
        }
    }
}
