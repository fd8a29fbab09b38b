//! Timers and a source beside the server: each runs once, never early, never in its own turn, in order.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tourbillon::event_loop::{CallHandle, Ctx, Handle, Next, Readiness, Source, TimerId};
use tourbillon::sim::World;

use crate::app::Complaints;

const MS: Duration = Duration::from_millis(1);

/// What the timers of one life know together.
pub(crate) struct Timers {
    world: World,
    origin: Instant,
    turn: Rc<Cell<u64>>,
    complaints: Complaints,
    set: RefCell<Vec<Set>>,
    sequence: Cell<u64>,
    /// Turn, tick and sequence of the timer that ran last.
    last: Cell<(u64, u64, u64)>,
    left: Cell<u32>,
}

struct Set {
    handle: Option<CallHandle>,
    when: Instant,
    sequence: u64,
    turn: u64,
    runs: u32,
    cancelled: bool,
}

impl Timers {
    pub(crate) fn start(
        world: &World,
        ctx: &mut Ctx<'_>,
        turn: Rc<Cell<u64>>,
        complaints: Complaints,
    ) -> Rc<Self> {
        let timers = Rc::new(Self {
            world: world.clone(),
            // The loop was made at this moment.
            origin: world.now(),
            turn,
            complaints,
            set: RefCell::default(),
            sequence: Cell::new(0),
            last: Cell::new((0, 0, 0)),
            left: Cell::new(world.range(0..=40) as u32),
        });
        for _ in 0..4 {
            timers.set_one(ctx.handle());
        }
        let ticker = Ticker {
            timers: Rc::clone(&timers),
            timer: None,
            when: world.now(),
            turn: 0,
            closed: false,
            left: world.range(0..=10) as u32,
        };
        ctx.handle().start_source(Box::new(ticker));
        timers
    }

    fn complain(&self, message: String) {
        self.complaints.borrow_mut().push(message);
    }

    fn delay(&self) -> Duration {
        // Many share a tick, some are far apart.
        match self.world.range(0..=3) {
            0 => MS * self.world.range(0..=2) as u32,
            1 => Duration::from_micros(self.world.range(0..=5_000)),
            2 => MS * self.world.range(0..=100) as u32,
            _ => MS * self.world.range(0..=5_000) as u32,
        }
    }

    fn next_sequence(&self) -> u64 {
        self.sequence.set(self.sequence.get() + 1);
        self.sequence.get()
    }

    fn set_one(self: &Rc<Self>, handle: &Handle) {
        if self.left.get() == 0 {
            return;
        }
        self.left.set(self.left.get() - 1);
        let number = self.set.borrow().len();
        let delay = self.delay();
        let when = if self.world.chance(0.2) {
            // In the past, or at this very moment.
            handle.now() - delay.min(handle.now() - self.origin)
        } else {
            handle.time() + delay
        };
        let this = Rc::clone(self);
        let call = handle.call_at(when, move |ctx| this.run(ctx, number));
        self.set.borrow_mut().push(Set {
            handle: Some(call),
            when,
            sequence: self.next_sequence(),
            turn: self.turn.get(),
            runs: 0,
            cancelled: false,
        });
    }

    fn run(self: &Rc<Self>, ctx: &mut Ctx<'_>, number: usize) {
        {
            let mut set = self.set.borrow_mut();
            let timer = &mut set[number];
            timer.runs += 1;
            timer.handle = None;
            if timer.runs > 1 || timer.cancelled {
                self.complain(format!(
                    "timer {number} ran {} times, cancelled {}",
                    timer.runs, timer.cancelled
                ));
            }
            self.is_in_time(
                &format!("timer {number}"),
                ctx.time(),
                timer.when,
                timer.turn,
            );
            // Filed by its tick, or by the next one when that had passed.
            let tick = (timer.when - self.origin).as_nanos().div_ceil(1_000_000) as u64;
            let now = (self.turn.get(), tick, timer.sequence);
            let last = self.last.replace(now);
            let was_past = timer.when <= ctx.now() && last.0 == now.0 && last.1 > tick;
            if last >= now && last.0 == now.0 && !was_past {
                self.complain(format!(
                    "timer {number} (turn, tick, sequence) {now:?} ran after {last:?}"
                ));
            }
        }
        for _ in 0..self.world.range(0..=2) {
            self.set_one(ctx.handle());
        }
        self.disturb_one();
    }

    fn is_in_time(&self, what: &str, now: Instant, when: Instant, turn: u64) {
        if now < when {
            self.complain(format!("{what} ran {:?} early", when - now));
        }
        if turn == self.turn.get() {
            self.complain(format!("{what} ran in the turn that set it"));
        }
    }

    /// Cancel or move one that may have run already, or stand in the ready queue.
    fn disturb_one(&self) {
        let mut set = self.set.borrow_mut();
        let number = self.world.range(0..=set.len() as u64 - 1) as usize;
        let timer = &mut set[number];
        let Some(handle) = &timer.handle else { return };
        match self.world.range(0..=3) {
            0 => {
                if !handle.cancel() || !handle.cancelled() {
                    self.complain(format!("timer {number} was set and could not be cancelled"));
                }
                timer.cancelled = true;
                timer.handle = None;
            }
            1 => {
                if !handle.reset(self.delay()) {
                    self.complain(format!("timer {number} was set and could not be moved"));
                }
                timer.when = handle.when();
                timer.sequence = self.next_sequence();
                timer.turn = self.turn.get();
            }
            _ => {}
        }
    }

    /// After the end: none was forgotten.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        for (number, timer) in self.set.borrow().iter().enumerate() {
            if timer.runs == 0 && !timer.cancelled {
                return Err(format!("timer {number} never ran"));
            }
        }
        Ok(())
    }
}

/// A source that lives on its own timer.
struct Ticker {
    timers: Rc<Timers>,
    timer: Option<TimerId>,
    when: Instant,
    turn: u64,
    closed: bool,
    left: u32,
}

impl Source for Ticker {
    fn ready(&mut self, ctx: &mut Ctx<'_>, readiness: Readiness) -> Next {
        if self.closed {
            self.timers
                .complain("a source was visited after closed".to_owned());
        }
        if readiness.contains(Readiness::TIMER) {
            if self.timer.take().is_none() {
                self.timers
                    .complain("a source's timer came twice".to_owned());
            }
            self.timers
                .is_in_time("a source's timer", ctx.time(), self.when, self.turn);
            self.timers.set_one(ctx.handle());
        }
        if self.left == 0 {
            // Asks to be visited again and ends: the wake must find nobody.
            ctx.wake(ctx.token());
            return Next::Close;
        }
        self.left -= 1;
        self.when = ctx.time() + self.timers.delay();
        self.turn = self.timers.turn.get();
        self.timer = match self.timer {
            Some(timer) => {
                if !ctx.move_timer(timer, self.when) {
                    self.timers
                        .complain("a source's timer was set and did not move".to_owned());
                }
                Some(timer)
            }
            None => Some(ctx.set_timer(ctx.token(), self.when)),
        };
        if self.timers.world.chance(0.2) {
            return Next::Again;
        }
        Next::Wait
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>) {
        if std::mem::replace(&mut self.closed, true) {
            self.timers.complain("a source was closed twice".to_owned());
        }
        if let Some(timer) = self.timer.take() {
            ctx.unset_timer(timer);
        }
    }
}
