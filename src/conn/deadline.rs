//! A connection's one place in the timer wheel, moved lazily.
//!
//! Nearly every deadline of a connection is moved before it comes. So moving it later only stores a number; when the
//! entry in the wheel fires at the old time, it is filed again at the new one. Moving it earlier moves the entry at
//! once. So the entry never stands behind the deadline.

use crate::event_loop::{Ctx, TimerId};

/// No deadline.
pub(super) const NEVER: u64 = u64::MAX;

/// A deadline in ticks of the loop (milliseconds).
pub(super) struct Deadline {
    at: u64,
    entry: Option<TimerId>,
}

impl Deadline {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            at: NEVER,
            entry: None,
        }
    }

    /// The deadline is now `at`; `None` for none.
    #[inline(always)]
    pub(super) fn set(&mut self, ctx: &mut Ctx<'_>, at: Option<u64>) {
        let before = std::mem::replace(&mut self.at, at.unwrap_or(NEVER));
        if self.entry.is_none() || self.at < before {
            self.move_entry(ctx);
        }
    }

    /// The entry is to stand where the deadline is.
    #[cold]
    fn move_entry(&mut self, ctx: &mut Ctx<'_>) {
        match self.entry {
            Some(entry) => {
                ctx.move_timer_tick(entry, self.at);
            }
            None if self.at != NEVER => self.file(ctx),
            None => {}
        }
    }

    /// When it comes.
    pub(super) fn at(&self) -> Option<u64> {
        (self.at != NEVER).then_some(self.at)
    }

    /// The entry has fired: has the deadline come, which is now `at`? If it was moved, the entry goes back in.
    pub(super) fn has_come(&mut self, ctx: &mut Ctx<'_>, at: Option<u64>) -> bool {
        self.entry = None;
        self.at = at.unwrap_or(NEVER);
        if self.at == NEVER {
            return false;
        }
        let has_come = self.at <= ctx.tick();
        if has_come {
            self.at = NEVER;
        } else {
            self.file(ctx);
        }
        has_come
    }

    /// The connection is closing: nothing of it stays in the wheel.
    pub(super) fn clear(&mut self, ctx: &mut Ctx<'_>) {
        self.at = NEVER;
        if let Some(entry) = self.entry.take() {
            ctx.unset_timer(entry);
        }
    }

    fn file(&mut self, ctx: &mut Ctx<'_>) {
        let token = ctx.token();
        self.entry = Some(ctx.set_timer_tick(token, self.at));
    }
}
