//! Where is it stuck? Every task of a loop with what it waits on, as a table, in any build.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::debug::Span;
use super::driver::{Signal, Token};
use super::stats::Origin;
use super::waits::{Detail, WaitsOn};
use super::{Ctx, EventLoop, Remote};

/// One task, or another source that runs futures, such as a connection whose handler is at work.
#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// Names it on its loop.
    pub token: Token,
    /// `task`, or another [`super::Inspection::kind`].
    pub kind: &'static str,
    /// Its name, if it was given one.
    pub name: Option<Arc<str>>,
    /// `woken`: it will be polled; `waiting`; `lost`: it waits, and nothing can wake it.
    pub state: &'static str,
    /// How long ago it was polled first, which is in the turn in which it was spawned, or in the next one.
    pub age: Option<Duration>,
    /// Where it was spawned.
    pub origin: Origin,
    /// The task that has spawned it, which may have ended.
    pub parent: Option<Token>,
    /// What it waits on, as far as its futures have said. Of several things the last one that was polled.
    pub waits_on: Option<WaitsOn>,
    /// For how many things it waits.
    pub waits: u32,
    /// For how long: since its last poll.
    pub waited: Option<Duration>,
}

/// What a loop has to do, at one moment: every task, and how many other sources there are.
///
/// It prints as a table. A task stands under the one that has spawned it:
///
/// ```text
/// 4 tasks, 1 timer, 2 other sources: 1 listener, 1 signal
/// task      state    age     waits on             for     created at
/// report    waiting  1.2 s   task fetch           800 ms  src/main.rs:20:9
/// ├─ fetch  waiting  1.2 s   timer, due in 20 ms  400 ms  src/main.rs:31:17
/// └─ #5     woken    800 ms  -                    800 ms  src/main.rs:35:17
/// #7        lost     900 ms  event                900 ms  src/main.rs:40:5
/// ```
#[derive(Clone, Debug)]
pub struct Tasks {
    /// In the order in which they were spawned.
    pub tasks: Vec<TaskInfo>,
    /// Other sources: how many there are of each kind in each state.
    pub others: BTreeMap<(&'static str, &'static str), usize>,
    /// Tasks and other sources that have been given to the loop and have not had their first visit. The table leaves
    /// them out.
    pub starting: usize,
    /// Timers that are set.
    pub timers: usize,
    /// When that was so.
    pub at: Instant,
}

impl EventLoop {
    /// Every task, and what it waits on. Costs a pass over all sources.
    pub fn tasks(&self) -> Tasks {
        let at = self.handle.time();
        let mut tasks = Vec::new();
        let mut others = BTreeMap::new();
        for (key, slot) in self.sources.iter() {
            let found = slot.source.inspect();
            // Only what runs a future says when that began.
            if found.created.is_none() {
                *others.entry((found.kind, found.state)).or_default() += 1;
                continue;
            }
            let ago = |then: Instant| at.saturating_duration_since(then);
            tasks.push(TaskInfo {
                token: key.into(),
                kind: found.kind,
                name: found.name,
                state: if found.is_lost { "lost" } else { found.state },
                age: found.created.map(ago),
                origin: found.origin.unwrap_or(slot.origin),
                parent: found.parent,
                waits_on: found.waits_on,
                waits: found.waits,
                waited: found.since.map(ago),
            });
        }
        tasks.sort_unstable_by_key(|task| (std::cmp::Reverse(task.age), task.token));
        Tasks {
            tasks,
            others,
            starting: self.handle.starting(),
            timers: self.handle.timers_set(),
            at,
        }
    }
}

impl Ctx<'_> {
    /// As [`EventLoop::tasks`].
    pub fn tasks(&self) -> Tasks {
        self.event_loop.tasks()
    }

    /// Print [`EventLoop::tasks`] to standard error each time `signal` comes. [`crate::web::App::serve`] does so on
    /// [`Signal::User1`].
    ///
    /// # Errors
    /// When the signal cannot be caught here.
    #[track_caller]
    pub fn dump_tasks_on(&mut self, signal: Signal) -> io::Result<Token> {
        self.on_signal(signal, |ctx| ctx.dump_tasks())
    }

    /// Print [`EventLoop::tasks`] to standard error.
    pub fn dump_tasks(&self) {
        // In one piece, among what other threads print. Where nobody reads, nothing is lost.
        let _ = io::stderr().write_all(self.tasks().to_string().as_bytes());
    }
}

impl Remote {
    /// As [`EventLoop::tasks`], from another thread. It waits for the loop to answer, in its next turn.
    ///
    /// # Errors
    /// `NotConnected` when the loop was dropped; `TimedOut` when it does not answer within `patience`: something holds
    /// it, see [`EventLoop::start_watchdog`]. On the loop's own thread it always does.
    pub fn tasks(&self, patience: Duration) -> io::Result<Tasks> {
        let (answer, answered) = crossbeam_channel::bounded(1);
        // Who has asked may have gone.
        let asked = self.call_soon_threadsafe(move |ctx| drop(answer.send(ctx.tasks())));
        asked.map_err(|gone| io::Error::new(io::ErrorKind::NotConnected, gone))?;
        answered
            .recv_timeout(patience)
            .map_err(|_| match self.is_gone() {
                true => io::Error::new(io::ErrorKind::NotConnected, super::LoopGone),
                false => io::Error::new(io::ErrorKind::TimedOut, "the event loop does not answer"),
            })
    }
}

impl TaskInfo {
    /// Its name, or its number.
    fn label(&self) -> String {
        match &self.name {
            Some(name) => name.to_string(),
            None if self.kind == "task" => format!("#{}", self.token.index()),
            None => format!("{} #{}", self.kind, self.token.index()),
        }
    }
}

impl Tasks {
    /// The rows as a tree, each under the one that has spawned it: what to draw before its name, and its place.
    fn tree(&self) -> Vec<(String, usize)> {
        // One by one: to collect them would bring a sort of its own into every program.
        let mut places = BTreeMap::new();
        for (place, task) in self.tasks.iter().enumerate() {
            places.insert(task.token, place);
        }
        let mut children: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
        for (place, task) in self.tasks.iter().enumerate() {
            // A parent that has ended leaves roots.
            let parent = task.parent.and_then(|parent| places.get(&parent));
            children.entry(parent.copied()).or_default().push(place);
        }
        let mut rows = Vec::new();
        self.branch(None, "", &children, &mut rows);
        rows
    }

    fn branch(
        &self,
        parent: Option<usize>,
        indent: &str,
        children: &BTreeMap<Option<usize>, Vec<usize>>,
        rows: &mut Vec<(String, usize)>,
    ) {
        let siblings = children.get(&parent).map_or(&[][..], Vec::as_slice);
        for (nth, place) in siblings.iter().enumerate() {
            let is_last = nth + 1 == siblings.len();
            let (mark, below) = match (parent, is_last) {
                (None, _) => ("", ""),
                (Some(_), true) => ("└─ ", "   "),
                (Some(_), false) => ("├─ ", "│  "),
            };
            rows.push((format!("{indent}{mark}"), *place));
            self.branch(Some(*place), &format!("{indent}{below}"), children, rows);
        }
    }

    /// What `task` waits on, in words.
    pub(crate) fn waits_on(&self, task: &TaskInfo) -> String {
        let Some(waits_on) = task.waits_on.filter(|_| task.state != "woken") else {
            return "-".to_owned();
        };
        let mut text = match waits_on.detail {
            Detail::Until(when) => match when.saturating_duration_since(self.at) {
                Duration::ZERO => format!("{}, due", waits_on.what),
                rest => format!("{}, due in {}", waits_on.what, Span(rest)),
            },
            Detail::Task(token) => match self.tasks.iter().find(|task| task.token == token) {
                Some(awaited) => format!("{} {}", waits_on.what, awaited.label()),
                None => waits_on.what.to_owned(),
            },
            _ => waits_on.to_string(),
        };
        if task.waits > 1 {
            let _ = write!(text, ", {} more", task.waits - 1);
        }
        text
    }
}

impl fmt::Display for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |number: usize| if number == 1 { "" } else { "s" };
        let (tasks, timers) = (self.tasks.len(), self.timers);
        let others = self.others.values().sum::<usize>();
        write!(
            f,
            "{tasks} task{}, {timers} timer{}, {others} other source{}",
            plural(tasks),
            plural(timers),
            plural(others)
        )?;
        for (place, ((kind, state), number)) in self.others.iter().enumerate() {
            let before = if place == 0 { ": " } else { ", " };
            let kind = if kind.is_empty() { "unnamed" } else { kind };
            write!(f, "{before}{number} {kind}")?;
            if !state.is_empty() {
                write!(f, " {state}")?;
            }
        }
        if self.starting > 0 {
            write!(f, "; {} about to start", self.starting)?;
        }
        writeln!(f)?;
        if self.tasks.is_empty() {
            return Ok(());
        }

        let time =
            |time: Option<Duration>| time.map_or("-".to_owned(), |time| Span(time).to_string());
        let heads = ["task", "state", "age", "waits on", "for", "created at"].map(str::to_owned);
        let mut rows = vec![heads];
        for (branch, place) in self.tree() {
            let task = &self.tasks[place];
            rows.push([
                branch + &task.label(),
                task.state.to_owned(),
                time(task.age),
                self.waits_on(task),
                time(task.waited),
                task.origin.to_string(),
            ]);
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..5).filter_map(width).collect();
        for row in &rows {
            for (cell, width) in row.iter().zip(&widths) {
                write!(f, "{cell:width$}  ")?;
            }
            writeln!(f, "{}", row[5])?;
        }
        Ok(())
    }
}
