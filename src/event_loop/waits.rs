//! The poll that is going on, as the futures at the bottom see it: what is left of its budget, and what they wait for.
//!
//! A loop that stands still looks the same whatever it waits for. So each leaf (a timer, a socket, a lock) calls
//! [`waits_on`] just before it answers `Pending`, and the task around it keeps what was said, for people who look. The
//! budget is that of rule R8; `task::coop` tells what it is for.
//!
//! All of it is in cells of the thread and not of a loop: a poll that turns another loop has another poll inside it.

use std::cell::Cell;
use std::fmt;
use std::time::Instant;

use super::driver::Token;
use super::stats::Origin;

/// What a pending future waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitsOn {
    /// The kind of thing: `timer`, `socket read`, `socket write`, `lock`, `semaphore`, `queue`, `channel`, `task`,
    /// `executor`, `pool`, `event`, `budget`, …
    pub what: &'static str,
    /// Which one.
    pub detail: Detail,
}

/// Which thing of its kind is waited for, as far as it can be said in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing more to say.
    None,
    /// A moment.
    Until(Instant),
    /// The source behind a socket.
    Socket(Token),
    /// Something that was created there.
    MadeAt(Origin),
    /// Something that is held by who took it there.
    HeldBy(Origin),
    /// So many of something: permits that are missing, places before this one.
    Count(u64),
    /// Another task.
    Task(Token),
}

impl fmt::Display for WaitsOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        match self.detail {
            // An instant means nothing to a reader without another one beside it.
            Detail::None | Detail::Until(_) => Ok(()),
            Detail::Socket(token) => write!(f, " of source {}", token.index()),
            Detail::MadeAt(origin) => write!(f, " created at {origin}"),
            Detail::HeldBy(origin) => write!(f, " held since {origin}"),
            Detail::Count(count) => write!(f, " ({count})"),
            Detail::Task(token) => write!(f, " {}", token.index()),
        }
    }
}

/// What was said during one poll.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waits {
    /// By the last one to speak.
    pub(crate) last: Option<WaitsOn>,
    /// How many spoke: a task that waits for several things at once polls several leaves.
    pub(crate) count: u32,
}

const NO_WAITS: Waits = Waits {
    last: None,
    count: 0,
};

/// Outside a poll there is no limit.
const NO_LIMIT: u32 = u32::MAX;

struct PollState {
    budget: Cell<u32>,
    /// The last unit of the budget was spent by a leaf that has not said since that it waits.
    unit_spent: Cell<bool>,
    waits: Cell<Waits>,
}

thread_local! {
    static POLL: PollState = const {
        PollState {
            budget: Cell::new(NO_LIMIT),
            unit_spent: Cell::new(false),
            waits: Cell::new(NO_WAITS),
        }
    };
}

/// Say what the task that is being polled waits on. To be called by a leaf future, just before it answers `Pending`.
/// Does nothing outside a task's poll.
///
/// A unit of the budget that the leaf took before is given back: it has done nothing. Without that, a task that waits
/// for a thousand things would spend its budget on the first of them in every poll, and never come to the others.
pub fn waits_on(what: &'static str, detail: Detail) {
    POLL.with(|poll| {
        let budget = poll.budget.get();
        if budget == NO_LIMIT {
            return;
        }
        if poll.unit_spent.take() {
            poll.budget.set(budget + 1);
        }
        poll.waits.set(Waits {
            last: Some(WaitsOn { what, detail }),
            count: poll.waits.get().count + 1,
        });
    });
}

/// Take a unit of the budget. `false` when none is left.
pub(crate) fn spend_unit() -> bool {
    POLL.with(|poll| match poll.budget.get() {
        NO_LIMIT => true,
        0 => false,
        budget => {
            poll.budget.set(budget - 1);
            poll.unit_spent.set(true);
            true
        }
    })
}

/// What is left of the budget; `None` outside a poll.
pub(crate) fn units_left() -> Option<u32> {
    let budget = POLL.with(|poll| poll.budget.get());
    (budget != NO_LIMIT).then_some(budget)
}

/// Call `poll`, which does not panic, with a budget, and listen to what is said meanwhile.
pub(crate) fn in_poll<R>(budget: u32, poll: impl FnOnce() -> R) -> (R, Waits) {
    let (outer_budget, outer_spent, outer_waits) = POLL.with(|poll| {
        (
            poll.budget.replace(budget),
            poll.unit_spent.replace(false),
            poll.waits.replace(NO_WAITS),
        )
    });
    let polled = poll();
    let waits = POLL.with(|poll| {
        poll.budget.set(outer_budget);
        poll.unit_spent.set(outer_spent);
        poll.waits.replace(outer_waits)
    });
    (polled, waits)
}
