//! What the page's lesson runs on the watched loop: a few callbacks and timers whose order follows from the rules at
//! the head of `event_loop/mod.rs`. Step through them, and say which comes next before it does.
//!
//! The answer, turn by turn: `from_another_thread` was posted and joins the queue in step 4, behind `first` and
//! `second`, which stand there already (R1). `third` is asked for by `first`, in step 6, and waits for the next turn
//! (R2), and so does `timer_of_nothing`, due at once: it joins the queue in the next turn's step 5, behind `third`
//! (R5).
//! `cancelled` never runs (R6). `timer_of_5_ms` comes when its time has come.

use std::time::Duration;

use crate::event_loop::{Ctx, LoopGone, Remote};

/// Put them on the loop.
pub(super) fn begin(ctx: &Ctx<'_>) {
    ctx.call_soon(first);
    ctx.call_soon(cancelled).cancel();
    ctx.call_soon(second);
    ctx.call_later(Duration::from_millis(5), timer_of_5_ms);
}

/// The one from another thread.
pub(super) fn post(remote: &Remote) -> Result<(), LoopGone> {
    remote.call_soon_threadsafe(from_another_thread)
}

fn first(ctx: &mut Ctx<'_>) {
    ctx.call_later(Duration::ZERO, timer_of_nothing);
    ctx.call_soon(third);
}

fn second(_: &mut Ctx<'_>) {}

fn third(_: &mut Ctx<'_>) {}

fn cancelled(_: &mut Ctx<'_>) {}

fn timer_of_nothing(_: &mut Ctx<'_>) {}

fn timer_of_5_ms(_: &mut Ctx<'_>) {}

fn from_another_thread(_: &mut Ctx<'_>) {}
