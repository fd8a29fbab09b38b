//! One seed: a server's life from its first connection to its last, and what must hold all the while.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tourbillon::event_loop::{
    CALLBACKS_MAX, EVENTS_MAX, EventLoop, MESSAGES_MAX, Signal, Token, Turn, TurnBudget,
};
use tourbillon::sim::{Failure, FailureKind, Faults, Simulation, Step, Turning, World};
use tourbillon::web::{Server, Shared, ShutdownReport};

use crate::app::{ANSWER_BYTES_MAX, Complaints, State, app};
use crate::http::{Actor, HttpClient};
use crate::recording::{Tally, check_trace};
use crate::rude;
use crate::timers::Timers;
use crate::ws::WsClient;

/// Virtual time in which everyone who behaves is served under faults that leave TCP's promises whole.
const PATIENCE: Duration = Duration::from_secs(300);
/// What a connection may hold: the largest answer on its way, a spilt receive buffer and its growth, a full cork, an
/// outbox with one message more than fits.
const HELD_BYTES_MAX: usize = ANSWER_BYTES_MAX + 6 * 64 * 1024;

/// The loop, with a look at each turn.
pub(crate) struct Watched {
    event_loop: EventLoop,
    turns: Rc<Cell<u64>>,
    last: Turn,
    /// In a life that is recorded.
    tally: Option<Tally>,
}

impl Turning for Watched {
    fn turn(&mut self) -> io::Result<()> {
        self.turns.set(self.turns.get() + 1);
        self.last = self.event_loop.turn(TurnBudget::no_wait())?;
        match &mut self.tally {
            Some(tally) => tally.check(&self.event_loop).map_err(io::Error::other),
            None => Ok(()),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.event_loop.next_deadline()
    }

    fn is_paused(&self, token: Token) -> bool {
        self.event_loop.is_paused(token)
    }
}

/// What two runs of a seed must agree on.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Summary {
    pub(crate) trace: u64,
    pub(crate) turns: u64,
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
}

struct Life {
    simulation: Simulation<Watched>,
    world: World,
    actors: Vec<Box<dyn Actor>>,
    server: Server,
    state: Shared<State>,
    report: Rc<Cell<Option<ShutdownReport>>>,
    /// A shutdown was asked for, and the actors know.
    disturbed: Rc<Cell<bool>>,
    told: bool,
}

/// Run the seed. One in four is recorded.
pub(crate) fn live(seed: u64) -> Result<Summary, Failure> {
    live_recorded(seed, seed % 4 == 1)
}

/// Run the seed, with the loop's recorder on or off.
pub(crate) fn live_recorded(seed: u64, is_recorded: bool) -> Result<Summary, Failure> {
    // The mix is in the seed's lowest digit, so that each kind of life has its share of any range.
    let gentle = !seed.is_multiple_of(3);
    let mut faults = match seed % 10 {
        9 => Faults::none(),
        _ if gentle => Faults::gentle(seed),
        _ => Faults::drawn(seed),
    };
    if seed.is_multiple_of(2) {
        // Who cannot be accepted is turned away; in these lives everyone is served.
        faults.accept_error = 0.0;
    }
    let size_max = size_max(&faults);
    let world = World::with_faults(seed, faults);
    let complaints = Complaints::default();
    let turns = Rc::new(Cell::new(0));
    let mut simulation = Simulation::new(world.clone());
    // A turn that does nothing is no crime; a thousand in a row without anything arriving are.
    simulation.limit_busy_turns(5_000);
    simulation.add("server", |driver| Watched {
        event_loop: EventLoop::with_driver(driver),
        turns: Rc::clone(&turns),
        last: Turn::default(),
        tally: is_recorded.then(Tally::default),
    });

    let event_loop = &mut simulation.loop_mut(0).event_loop;
    event_loop.set_record_capacity(16 * 1024);
    event_loop.record(is_recorded);
    let panics = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&panics);
    event_loop.on_panic(move |panicked| seen.borrow_mut().push(panicked.message.clone()));
    let mut ctx = event_loop.ctx();
    // Where an end of the half counts as the end, those who behave send it behind their last answer.
    let half_close = world.chance(0.5);
    let app = app(Rc::clone(&complaints), half_close);
    let state = app.state();
    let fail = |message: String| failure(&world, 0, FailureKind::Oracle("set-up"), message);
    let (server, _) = app
        .listen(&mut ctx, "0.0.0.0:80")
        .map_err(|error| fail(error.to_string()))?;
    let timers = Timers::start(&world, &mut ctx, Rc::clone(&turns), Rc::clone(&complaints));
    let report = Rc::new(Cell::new(None));
    let disturbed = Rc::new(Cell::new(false));

    // Some servers are told to stop, by a signal or by a callback, at a moment that suits nobody.
    let deadline = Duration::from_millis(*world.pick(&[0, 100, 20_000]));
    let shutdown = {
        let (server, report, disturbed) =
            (server.clone(), Rc::clone(&report), Rc::clone(&disturbed));
        move |ctx: &mut tourbillon::event_loop::Ctx<'_>| {
            disturbed.set(true);
            let report = Rc::clone(&report);
            server.shutdown(ctx, deadline, move |_, did| {
                add_up(&report, did);
            });
        }
    };
    if world.chance(0.25) {
        let moment = Duration::from_millis(world.range(0..=1_500));
        if world.chance(0.5) {
            ctx.on_signal(Signal::Terminate, shutdown)
                .map_err(|error| fail(error.to_string()))?;
            world.after(moment, |world| {
                world.raise("server", Signal::Terminate);
            });
        } else {
            ctx.call_later(moment, shutdown);
        }
    }

    oracles(&mut simulation, &server, &state, &complaints);
    let lenient = !gentle && seed % 10 != 9;
    let mut life = Life {
        simulation,
        world: world.clone(),
        actors: Vec::new(),
        server,
        state,
        report,
        disturbed,
        told: false,
    };
    life.populate(size_max, half_close, lenient);
    life.run(lenient)?;
    let cut = life.shut_down(deadline)?;
    let turns = life.simulation.turns();
    let fail = |name, message| Err(failure(&world, turns, FailureKind::Oracle(name), message));
    // To draw it takes longer than to live it.
    if is_recorded
        && seed % 20 == 1
        && let Err(message) = check_trace(&life.simulation.loops()[0].event_loop)
    {
        return fail("trace", message);
    }
    if let Err(message) = timers.verdict() {
        return fail("timers", message);
    }
    if let Some(message) = panics
        .borrow()
        .iter()
        .find(|message| *message != "on purpose")
    {
        return fail("panics", message.clone());
    }
    if let Some(actor) = life.actors.iter().find(|actor| actor.was_cut())
        && !lenient
        && cut == 0
    {
        let message = format!(
            "no connection was cut, but an answer was: {}",
            actor.describe()
        );
        return fail("expected bytes", message);
    }
    Ok(Summary {
        trace: world.trace_hash(),
        turns,
        requests: life.server.counts().requests,
        elapsed: world.elapsed(),
    })
}

/// Who is told twice to stop reports twice.
fn add_up(report: &Cell<Option<ShutdownReport>>, mut did: ShutdownReport) {
    did.cut += report.get().map_or(0, |before| before.cut);
    report.set(Some(did));
}

/// Bodies are larger where bytes travel in larger pieces, so that each life takes about as long.
fn size_max(faults: &Faults) -> usize {
    let piece = faults
        .piece_bytes
        .as_ref()
        .map_or(usize::MAX, |range| *range.end());
    let grain = piece
        .min(*faults.send_buffer_bytes.end())
        .min(*faults.receive_buffer_bytes.end());
    grain.saturating_mul(60).clamp(150, ANSWER_BYTES_MAX)
}

fn failure(world: &World, turns: u64, kind: FailureKind, message: String) -> Failure {
    let log = world.log();
    let tail = &log[log.len().saturating_sub(10_000)..];
    Failure {
        kind,
        message,
        seed: world.seed(),
        at: world.elapsed(),
        turns,
        scene: format!("{}{}", world.describe(), tail.join("\n")),
    }
}

fn oracles(
    simulation: &mut Simulation<Watched>,
    server: &Server,
    state: &Shared<State>,
    complaints: &Complaints,
) {
    simulation.oracle("bounds of a turn", |simulation| {
        let turn = simulation.loops()[0].last;
        let within = turn.events as usize <= EVENTS_MAX
            && turn.callbacks as usize <= CALLBACKS_MAX
            && turn.messages as usize <= MESSAGES_MAX;
        within.then_some(()).ok_or_else(|| format!("{turn:?}"))
    });
    let state = state.clone();
    simulation.oracle("bounds of a visit", move |simulation| {
        let visits = simulation.loops()[0].last.visits as usize;
        let calls = state.with(|state| std::mem::take(&mut state.calls));
        // The visits of connections just accepted count as well.
        (calls <= 64 * visits)
            .then_some(())
            .ok_or_else(|| format!("{calls} handlers called in {visits} visits"))
    });
    let server = server.clone();
    simulation.oracle("sockets and sources", move |simulation| {
        let (mut listeners, mut connections) = (0, 0);
        for (token, source) in simulation.loops()[0].event_loop.census() {
            match source.kind {
                "listener" => listeners += 1,
                "http" | "websocket" => connections += 1,
                _ => continue,
            }
            if source.bytes_held > HELD_BYTES_MAX {
                return Err(format!("{token:?} holds {} bytes: {source:?}", source.bytes_held));
            }
        }
        let (sockets, counted) = (simulation.open_sockets(0), server.counts().open);
        if sockets != listeners + connections || counted != connections {
            return Err(format!(
                "{sockets} sockets, {listeners} listeners, {connections} connections, {counted} counted"
            ));
        }
        Ok(())
    });
    let complaints = Rc::clone(complaints);
    simulation.oracle("once, in time, in order", move |_| {
        complaints
            .borrow()
            .first()
            .map_or(Ok(()), |complaint| Err(complaint.clone()))
    });
}

impl Life {
    fn populate(&mut self, size_max: usize, half_close: bool, lenient: bool) {
        let world = self.world.clone();
        let server = (world.address("server"), 80);
        for number in 0..world.range(1..=5) as usize {
            let client = world.connect(server);
            let size_max = if world.chance(0.7) {
                size_max.min(3_000)
            } else {
                size_max
            };
            self.actors.push(match world.range(0..=9) {
                0..=3 => Box::new(HttpClient::drawn(
                    &world, client, size_max, half_close, lenient,
                )),
                4..=6 => Box::new(WsClient::drawn(&world, client, number, size_max, lenient)),
                _ => rude::drawn(&world, client, size_max),
            });
        }
    }

    fn failed<T>(&self, name: &'static str, message: String) -> Result<T, Failure> {
        let kind = FailureKind::Oracle(name);
        Err(failure(&self.world, self.simulation.turns(), kind, message))
    }

    fn poll_actors(&mut self) -> Result<(), Failure> {
        if self.disturbed.get() && !self.told {
            self.told = true;
            self.actors.iter_mut().for_each(|actor| actor.disturb());
        }
        for number in 0..self.actors.len() {
            let actor = &mut self.actors[number];
            if let Err(message) = actor.poll(&self.world, &self.state) {
                let who = actor.describe();
                return self.failed("expected bytes", format!("{message}: {who}"));
            }
        }
        Ok(())
    }

    /// Until everyone is served or gone; those who never go are seen off by the shutdown.
    fn run(&mut self, lenient: bool) -> Result<(), Failure> {
        self.poll_actors()?;
        let mut was_idle = false;
        while !self.actors.iter().all(|actor| actor.is_done()) {
            let step = self.simulation.step(None)?;
            if was_idle && step == Step::Idle {
                break;
            }
            was_idle = step == Step::Idle;
            // After turns too: what arrives in one is to be noticed before time jumps.
            self.poll_actors()?;
            if self.world.elapsed() > PATIENCE {
                break;
            }
        }
        if lenient || self.disturbed.get() {
            return Ok(());
        }
        match self
            .actors
            .iter()
            .find(|actor| actor.is_well_behaved() && !actor.is_done())
        {
            Some(actor) => self.failed("liveness", format!("not served: {}", actor.describe())),
            None => Ok(()),
        }
    }

    /// Stop the server if nobody has, and see that nothing is left. Returns how many connections were cut.
    fn shut_down(&mut self, deadline: Duration) -> Result<usize, Failure> {
        if !self.disturbed.replace(true) {
            let report = Rc::clone(&self.report);
            let mut ctx = self.simulation.loop_mut(0).event_loop.ctx();
            self.server
                .shutdown(&mut ctx, deadline, move |_, did| add_up(&report, did));
        }
        // The deadline, and time for whoever is late to notice.
        let patience = self.world.elapsed() + deadline + PATIENCE;
        while self.report.get().is_none() {
            match self.simulation.step(None)? {
                Step::Idle => return self.failed("liveness", "the shutdown has no end".to_owned()),
                Step::Turned(_) => {}
                _ => self.poll_actors()?,
            }
            let lenient = self.world.faults().clock_jump > 0.0;
            if self.world.elapsed() > patience && !lenient {
                return self.failed("liveness", "the shutdown takes too long".to_owned());
            }
        }
        while self.simulation.step(None)? != Step::Idle {
            self.poll_actors()?;
        }
        self.poll_actors()?;
        let left = self.simulation.loops()[0].event_loop.stats();
        let watching = self.simulation.loops()[0].event_loop.census();
        let signals = watching
            .filter(|(_, source)| source.kind == "signal")
            .count();
        let sockets = self.simulation.open_sockets(0);
        let (open, members) = self.state.with(|state| (state.open, state.members()));
        if left.sources != signals || left.timers_set + sockets + open + members > 0 {
            return self.failed(
                "nothing left",
                format!(
                    "{} sources, {} timers, {sockets} sockets, {open} WebSockets and {members} members are left",
                    left.sources - signals,
                    left.timers_set
                ),
            );
        }
        Ok(self.report.get().map_or(0, |report| report.cut))
    }
}
