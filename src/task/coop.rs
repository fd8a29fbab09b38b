//! The cooperative budget (rule R8): how much a task may do in one poll before the others have their turn.
//!
//! A future that is always ready, such as a read from a queue that is never empty, does not give the loop back: its
//! task would go on for ever and nothing else would run. So every leaf that may be ready at once asks [`poll_proceed`]
//! first. It spends one unit of [`BUDGET`]; when none is left, it wakes the task, which goes on in the next turn, and
//! is pending.

use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::event_loop::{Detail, spend_unit, units_left, waits_on};

/// Leaf operations in one poll of a task.
pub const BUDGET: u32 = 128;

/// Ask whether the task may do one more thing in this poll. `Ready` spends a unit of the budget, which [`waits_on`]
/// gives back when there was nothing to do; `Pending` has seen to it that the task is polled again in the next turn.
/// Outside a task it is always `Ready`.
///
/// A leaf future begins with it:
///
/// ```
/// # use std::future::Future;
/// # use std::pin::Pin;
/// # use std::task::{Context, Poll, ready};
/// use tourbillon::event_loop::{Detail, waits_on};
/// use tourbillon::task::coop::poll_proceed;
///
/// # struct Next(Option<u32>);
/// impl Future for Next {
///     type Output = u32;
///     fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u32> {
///         ready!(poll_proceed(context));
///         match self.0.take() {
///             Some(value) => Poll::Ready(value),
///             None => {
///                 // Here it keeps the waker.
///                 waits_on("queue", Detail::None);
///                 Poll::Pending
///             }
///         }
///     }
/// }
/// ```
pub fn poll_proceed(context: &mut Context<'_>) -> Poll<()> {
    if spend_unit() {
        return Poll::Ready(());
    }
    context.waker().wake_by_ref();
    waits_on("budget", Detail::None);
    Poll::Pending
}

/// How many leaf operations the task may still do in this poll. `None` outside a task: there is no limit.
pub fn budget_left() -> Option<u32> {
    units_left()
}

/// Spend a unit of the budget: for a task that computes in a loop and waits for nothing. It pauses for a turn after
/// every [`BUDGET`] rounds. Cancelling it loses nothing.
pub async fn consume_budget() {
    poll_fn(poll_proceed).await;
}
