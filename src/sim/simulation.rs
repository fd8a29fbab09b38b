//! The runner: turns the loops of a world in an order drawn from the seed, and lets time pass when all of them sleep.
//!
//! After every step it looks at what must always hold. What it finds is a [`Failure`] that names the seed.

use std::fmt;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use super::network::LOG_LINES_SHOWN;
use super::{LOGGED, World};
use crate::event_loop::{Driver, EventLoop, Token, TurnBudget};

/// What the runner needs of a loop. `EventLoop` is one; a test may bring its own, or a loop with something around it.
pub trait Turning {
    /// One turn, without waiting.
    ///
    /// # Errors
    /// When the loop cannot go on. It fails the simulation.
    fn turn(&mut self) -> io::Result<()>;

    /// When the loop has something to do although no event comes: now or earlier if at once, `None` if never.
    fn next_deadline(&self) -> Option<Instant>;

    /// Whether the source behind `token` does not read on purpose, or waits for a timer to go on. Its unread data is
    /// then no lost edge.
    fn is_paused(&self, token: Token) -> bool;
}

impl Turning for EventLoop {
    fn turn(&mut self) -> io::Result<()> {
        EventLoop::turn(self, TurnBudget::no_wait()).map(drop)
    }

    fn next_deadline(&self) -> Option<Instant> {
        EventLoop::next_deadline(self)
    }

    fn is_paused(&self, token: Token) -> bool {
        self.inspect(token)
            .is_some_and(|inspection| inspection.paused)
    }
}

/// Loops in a world, run until a condition holds.
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::sim::{Simulation, World};
/// use tourbillon::web::{App, Request};
///
/// let mut simulation = Simulation::new(World::new(1));
/// let server = simulation.add("server", EventLoop::with_driver);
/// let app = App::new(()).get("/", |_: &Request, _: &mut ()| "Hello!");
/// app.listen(&mut simulation.loop_mut(server).ctx(), "0.0.0.0:80")?;
///
/// let world = simulation.world().clone();
/// let client = world.connect((world.address("server"), 80));
/// client.send("GET / HTTP/1.1\r\nHost: server\r\n\r\n");
/// simulation.run_until(|_| client.received().ends_with(b"\r\n\r\nHello!"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Simulation<L = EventLoop> {
    world: World,
    loops: Vec<L>,
    /// The number of each loop's driver in the world.
    processes: Vec<usize>,
    oracles: Vec<Oracle<L>>,
    lost_edges_checked: bool,
    limits: StepLimits,
    turns: u64,
    steps: u64,
    /// Turns since something last arrived or time was last let pass.
    busy_turns: u64,
    /// Loops that have work; kept to spare an allocation a step.
    working: Vec<usize>,
}

type OracleCheck<L> = Box<dyn FnMut(&Simulation<L>) -> Result<(), String>>;

struct Oracle<L> {
    name: &'static str,
    check: OracleCheck<L>,
}

/// After how much the runner gives up.
#[derive(Clone, Copy)]
struct StepLimits {
    /// A loop that turns so often while nothing arrives and no time passes will do so for ever.
    busy_turns_max: u64,
    steps_max: u64,
}

/// What one step of a simulation was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The loop with this number turned.
    Turned(usize),
    /// Something on the world's schedule happened.
    Delivered,
    /// All loops sleep, and the clock went to the next thing that happens.
    Jumped,
    /// All loops sleep and nothing will ever happen again, or not before the time the run was to end.
    Idle,
}

/// What went wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FailureKind {
    /// Nothing will ever happen again, and the condition does not hold.
    Deadlock,
    /// The loops turn and turn, and nothing comes of it.
    Livelock,
    /// The oracle of this name objects.
    Oracle(&'static str),
    /// A loop's turn returned an error.
    TurnFailed,
}

/// A failed run, with what is needed to see why.
#[derive(Clone)]
pub struct Failure {
    /// What went wrong.
    pub kind: FailureKind,
    /// The details.
    pub message: String,
    /// The world's seed.
    pub seed: u64,
    /// Virtual time since the world began.
    pub at: Duration,
    /// How many turns the loops made.
    pub turns: u64,
    /// The open sockets, a line each, and the last lines of the log, if there was one.
    pub scene: String,
}

impl<L: Turning> Simulation<L> {
    /// No loops yet, in `world`.
    pub fn new(world: World) -> Self {
        Self {
            world,
            loops: Vec::new(),
            processes: Vec::new(),
            oracles: Vec::new(),
            lost_edges_checked: true,
            limits: StepLimits {
                busy_turns_max: 100_000,
                steps_max: 50_000_000,
            },
            turns: 0,
            steps: 0,
            busy_turns: 0,
            working: Vec::new(),
        }
    }

    /// Put a loop on the host called `host`. Returns its number.
    pub fn add(&mut self, host: &str, make: impl FnOnce(Box<dyn Driver>) -> L) -> usize {
        self.processes
            .push(self.world.network.borrow().process_count());
        let driver = self.world.driver(host);
        self.loops.push(make(driver));
        self.loops.len() - 1
    }

    /// The world.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The loops, in the order they were added.
    pub fn loops(&self) -> &[L] {
        &self.loops
    }

    /// The loop with `number`, to give it something to do.
    ///
    /// # Panics
    /// When [`Simulation::add`] gave out no such number.
    pub fn loop_mut(&mut self, number: usize) -> &mut L {
        &mut self.loops[number]
    }

    /// How many sockets the loop with `number` has open, for comparison with what it believes.
    ///
    /// # Panics
    /// When [`Simulation::add`] gave out no such number.
    pub fn open_sockets(&self, number: usize) -> usize {
        let process = self.processes[number];
        self.world.network.borrow().open_sockets(process)
    }

    /// How many turns all loops made together.
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// Something that must hold after every turn. Its message explains the failure.
    pub fn oracle(
        &mut self,
        name: &'static str,
        check: impl FnMut(&Self) -> Result<(), String> + 'static,
    ) {
        let check = Box::new(check);
        self.oracles.push(Oracle { name, check });
    }

    /// Do not look for sockets that nobody reads. For apps with sources that cannot say when they are paused.
    pub fn allow_undrained(&mut self) {
        self.lost_edges_checked = false;
    }

    /// Give up after so many steps. 50 million unless set.
    pub fn limit_steps(&mut self, steps_max: u64) {
        self.limits.steps_max = steps_max;
    }

    /// Give up when the loops turn so often and nothing arrives and no time passes. 100,000 unless set.
    pub fn limit_busy_turns(&mut self, busy_turns_max: u64) {
        self.limits.busy_turns_max = busy_turns_max;
    }

    /// Run until `condition` holds. It is asked before every step.
    ///
    /// # Errors
    /// A [`Failure`] when an oracle objects, a turn fails, or the condition cannot come to hold any more.
    pub fn run_until(&mut self, mut condition: impl FnMut(&Self) -> bool) -> Result<(), Failure> {
        while !condition(self) {
            if self.step(None)? == Step::Idle {
                let message = "nothing will ever happen again, and the condition does not hold";
                return Err(self.failure(FailureKind::Deadlock, message.to_owned()));
            }
        }
        Ok(())
    }

    /// Run for `duration` of virtual time.
    ///
    /// # Errors
    /// A [`Failure`] when an oracle objects or a turn fails.
    pub fn run_for(&mut self, duration: Duration) -> Result<(), Failure> {
        let end = self.world.now() + duration;
        while self.step(Some(end))? != Step::Idle {}
        self.world.advance_to(end);
        Ok(())
    }

    /// Run until nothing will ever happen again.
    ///
    /// # Errors
    /// A [`Failure`] when an oracle objects or a turn fails. A loop with a timer that always sets itself again is
    /// never idle and ends in [`FailureKind::Livelock`].
    pub fn run_until_idle(&mut self) -> Result<(), Failure> {
        while self.step(None)? != Step::Idle {}
        Ok(())
    }

    /// One step: a turn of a loop that has work, or one thing of the world's that is due, each as likely as the next;
    /// when there is neither, time passes, but not beyond `end`.
    ///
    /// # Errors
    /// A [`Failure`] when an oracle objects or a turn fails.
    pub fn step(&mut self, end: Option<Instant>) -> Result<Step, Failure> {
        self.steps += 1;
        if self.steps > self.limits.steps_max {
            let message = format!("not done after {} steps", self.limits.steps_max);
            return Err(self.failure(FailureKind::Livelock, message));
        }
        self.find_work();
        let is_due = self.world.network.borrow().is_due();
        let choices = self.working.len() + usize::from(is_due);
        if choices == 0 {
            return self.jump(end);
        }
        let choice = match choices {
            1 => 0,
            _ => self.world.network.borrow_mut().pick(choices),
        };
        match self.working.get(choice) {
            Some(&number) => {
                self.turn(number)?;
                Ok(Step::Turned(number))
            }
            None => {
                self.busy_turns = 0;
                self.world.deliver_one();
                Ok(Step::Delivered)
            }
        }
    }

    fn find_work(&mut self) {
        self.working.clear();
        let now = self.world.now();
        let network = self.world.network.borrow();
        for (number, each) in self.loops.iter().enumerate() {
            if network.has_events(self.processes[number])
                || each.next_deadline().is_some_and(|deadline| deadline <= now)
            {
                self.working.push(number);
            }
        }
    }

    fn turn(&mut self, number: usize) -> Result<(), Failure> {
        self.turns += 1;
        self.busy_turns += 1;
        if self.busy_turns > self.limits.busy_turns_max {
            let message = format!(
                "loop {number} turned {} times while nothing arrived and no time passed",
                self.busy_turns
            );
            return Err(self.failure(FailureKind::Livelock, message));
        }
        if let Err(error) = self.loops[number].turn() {
            return Err(self.failure(FailureKind::TurnFailed, format!("loop {number}: {error}")));
        }
        let spent = self.world.network.borrow_mut().turn_time();
        self.world.advance_to(self.world.now() + spent);
        self.consult_oracles()
    }

    fn consult_oracles(&mut self) -> Result<(), Failure> {
        let violation = self.world.network.borrow().violations.first().cloned();
        if let Some(message) = violation {
            return Err(self.failure(FailureKind::Oracle("use of sockets"), message));
        }
        // An oracle looks at the simulation it belongs to, so it steps aside for that long.
        let mut oracles = std::mem::take(&mut self.oracles);
        let objection = oracles.iter_mut().find_map(|oracle| {
            let message = (oracle.check)(self).err()?;
            Some((oracle.name, message))
        });
        self.oracles = oracles;
        match objection {
            Some((name, message)) => Err(self.failure(FailureKind::Oracle(name), message)),
            None => Ok(()),
        }
    }

    /// Everyone sleeps: whoever should not is found now. Then time passes.
    fn jump(&mut self, end: Option<Instant>) -> Result<Step, Failure> {
        self.check_lost_edges()?;
        let deadlines = self.loops.iter().filter_map(Turning::next_deadline);
        let Some(next) = deadlines.chain(self.world.next_event_time()).min() else {
            return Ok(Step::Idle);
        };
        if end.is_some_and(|end| next > end) {
            return Ok(Step::Idle);
        }
        let further = self.world.network.borrow_mut().clock_jump();
        self.busy_turns = 0;
        self.world.advance_to(next + further.unwrap_or_default());
        Ok(Step::Jumped)
    }

    fn check_lost_edges(&self) -> Result<(), Failure> {
        if !self.lost_edges_checked {
            return Ok(());
        }
        for (number, each) in self.loops.iter().enumerate() {
            let undrained = self
                .world
                .network
                .borrow()
                .undrained(self.processes[number]);
            for (socket, token) in undrained {
                if !each.is_paused(token) {
                    let message = format!(
                        "loop {number} sleeps, but s{} ({token:?}) has something to read, \
                         and no event will say so again",
                        socket.0
                    );
                    return Err(self.failure(FailureKind::Oracle("lost edge"), message));
                }
            }
        }
        Ok(())
    }

    fn failure(&self, kind: FailureKind, message: String) -> Failure {
        let network = self.world.network.borrow();
        let mut scene = format!("open sockets:\n{}", network.describe());
        let log = network.log_lines(LOG_LINES_SHOWN);
        if !log.is_empty() {
            scene = format!("{scene}what happened last:\n{}", log.join("\n"));
        }
        Failure {
            kind,
            message,
            seed: network.seed,
            at: network.elapsed(),
            turns: self.turns,
            scene,
        }
    }
}

impl<L> Drop for Simulation<L> {
    /// Actions may hold the world, and the world holds them.
    fn drop(&mut self) {
        if let Ok(mut network) = self.world.network.try_borrow_mut() {
            let schedule = network.take_schedule();
            drop(network);
            drop(schedule);
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            message,
            seed,
            at,
            turns,
            scene,
        } = self;
        write!(
            formatter,
            "SEED={seed}: {kind:?} after {at:?} and {turns} turns: {message}\n{scene}"
        )
    }
}

impl fmt::Debug for Failure {
    /// As [`Display`](fmt::Display): this is what `unwrap` and a failing test print.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for Failure {}

/// Run a test under each of `seeds`. The first seed that fails is run again with a log, and named.
///
/// With the environment variable `SEED` set, only that seed is run, with a log.
///
/// # Panics
/// When a run returns a [`Failure`] or panics, or when `SEED` is not a number.
pub fn check(seeds: Range<u64>, run: impl Fn(u64) -> Result<(), Failure>) {
    if let Ok(seed) = std::env::var("SEED") {
        let seed = seed.parse().expect("SEED is a number");
        LOGGED.set(true);
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed)));
        LOGGED.set(false);
        return conclude(seed, outcome);
    }
    for seed in seeds {
        if let Ok(Ok(())) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            continue;
        }
        eprintln!(
            "SEED={seed} failed; once more, with a log. `SEED={seed} cargo test …` runs it alone."
        );
        LOGGED.set(true);
        let again = catch_unwind(AssertUnwindSafe(|| run(seed)));
        LOGGED.set(false);
        conclude(seed, again);
        panic!(
            "SEED={seed} failed and then did not: the run depends on something besides its seed"
        );
    }
}

fn conclude(seed: u64, outcome: std::thread::Result<Result<(), Failure>>) {
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => panic!("{failure}"),
        Err(panic) => {
            eprintln!("SEED={seed} panicked");
            resume_unwind(panic);
        }
    }
}
