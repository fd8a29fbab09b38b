//! A connection's one place in the timer wheel, moved lazily.
//!
//! Nearly every deadline of a connection is moved before it comes. So moving it later only stores a number; when the
//! entry in the wheel fires at the old time, it is filed again at the new one. Moving it earlier moves the entry at
//! once.

use crate::event_loop::{Ctx, TimerId};

/// A deadline in ticks of the loop (milliseconds).
#[derive(Default)]
pub(super) struct Deadline {
    at: Option<u64>,
    filed: Option<(TimerId, u64)>,
}

impl Deadline {
    /// The deadline is now `at`; `None` for none.
    pub(super) fn set(&mut self, ctx: &mut Ctx<'_>, at: Option<u64>) {
        self.at = at;
        let Some(at) = at else { return };
        match self.filed {
            Some((_, filed_at)) if filed_at <= at => {}
            Some((timer, _)) => {
                ctx.move_timer_tick(timer, at);
                self.filed = Some((timer, at));
            }
            None => self.file(ctx, at),
        }
    }

    /// When it comes.
    pub(super) fn at(&self) -> Option<u64> {
        self.at
    }

    /// The entry has fired: has the deadline come? If it was moved, the entry goes back in.
    pub(super) fn has_come(&mut self, ctx: &mut Ctx<'_>) -> bool {
        self.filed = None;
        match self.at {
            Some(at) if at <= ctx.tick() => {
                self.at = None;
                true
            }
            Some(at) => {
                self.file(ctx, at);
                false
            }
            None => false,
        }
    }

    /// The connection is closing: nothing of it stays in the wheel.
    pub(super) fn clear(&mut self, ctx: &mut Ctx<'_>) {
        self.at = None;
        if let Some((timer, _)) = self.filed.take() {
            ctx.unset_timer(timer);
        }
    }

    fn file(&mut self, ctx: &mut Ctx<'_>, at: u64) {
        let token = ctx.token();
        self.filed = Some((ctx.set_timer_tick(token, at), at));
    }
}
