//! How to test your own server in a world in memory: several loops and clients under one seed, virtual time, faults.
//!
//! Run it: `cargo run --release --features sim --example simulate -- [--seed N] [--seeds N] [--trace FILE]`
//!
//! What to look at:
//!
//! - `counter` and `front` are ordinary sources and apps; nothing in them knows that it is simulated. `counter` is a
//!   server of its own that keeps a number; `front` is the web app that your users would meet.
//! - `one_life` is a test: it builds the world from a seed, lets clients come and go over two days, and asks for what
//!   must hold. Two days of virtual time take milliseconds, because time passes only when everyone sleeps.
//! - The first life runs with faults that are chosen, to see one of them; the others draw theirs from the seed.
//! - With `--break` the app has a bug on purpose: it forgets that a visitor may go while a job runs for him. Look for
//!   the line with `SEED=`: that seed fails again, each time in the same way. Run it alone with `--seed`.
//! - `--trace FILE` records what the two loops do in the last life, the one that failed if one has, and writes it as a
//!   trace that ui.perfetto.dev opens. Its time is virtual.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tourbillon::event_loop::{EventLoop, Recording};
use tourbillon::sim::{Client, Failure, FailureKind, Faults, Simulation, World};
use tourbillon::web::{App, Request, Server, Shared, task};

const HOUR: Duration = Duration::from_secs(3_600);
const USAGE: &str = "usage: simulate [--seed N] [--seeds N] [--break] [--trace FILE]";

/// What the app is about: visits, and the work that is under way for them.
#[derive(Default)]
struct Desk {
    visits: u64,
    at_work: i64,
}

/// Leaves the desk when it goes, in whatever way.
struct Visit(Shared<Desk>);

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.with(|desk| desk.at_work -= 1);
    }
}

/// The web app: each visit is counted, and takes a while of work that blocks.
fn front(is_broken: bool) -> App<Desk> {
    let visit = move |request: Request, desk: Shared<Desk>| async move {
        let number = desk.with(|desk| {
            desk.visits += 1;
            desk.at_work += 1;
            desk.visits
        });
        let visit = (!is_broken).then(|| Visit(desk.clone()));
        let done = request.handle().run_in_executor(move || number);
        let answer = done.map_err(|_| 503_u16)?.await.map_err(|_| 500_u16)?;
        if visit.is_none() {
            // The bug: a visitor who goes while the job runs takes this future along, and never gets here.
            desk.with(|desk| desk.at_work -= 1);
        }
        Ok::<_, u16>(format!("visit {answer}\n"))
    };
    App::new(Desk::default()).get("/", task(visit))
}

/// A second server on a machine of its own, to show that a world may have several.
fn counter() -> App<u64> {
    let count = |_: &Request, count: &mut u64| {
        *count += 1;
        count.to_string()
    };
    App::new(0).post("/count", count)
}

/// What a life came to.
struct Lived {
    virtual_time: Duration,
    turns: u64,
    answered: usize,
}

/// Live the life of a seed. If it fails or is the last one, and there is a trace to write, write it.
fn one_life(seed: u64, options: &Options) -> Result<Lived, Failure> {
    let faults = if seed == 1 {
        byte_by_byte()
    } else {
        Faults::drawn(seed)
    };
    let world = World::with_faults(seed, faults);
    let mut simulation = Simulation::new(world.clone());
    for host in ["front", "counter"] {
        let number = simulation.add(host, EventLoop::with_driver);
        simulation.loop_mut(number).record(options.trace.is_some());
    }
    let lived = live(seed, &world, &mut simulation, options.is_broken);
    let is_told = lived.is_err() || seed + 1 == options.end();
    if let Some(file) = &options.trace
        && is_told
        && let Err(error) = write_trace(file, simulation.loops())
    {
        eprintln!("simulate: {}: {error}", file.display());
    }
    lived
}

fn write_trace(file: &PathBuf, loops: &[EventLoop]) -> io::Result<()> {
    let recordings: Vec<Recording> = loops
        .iter()
        .map(|each| each.recorder().recording(0))
        .collect();
    let mut out = BufWriter::new(File::create(file)?);
    let named = [("front", &recordings[0]), ("counter", &recordings[1])];
    Recording::write_traces(&named, &mut out)?;
    out.flush()
}

fn live(
    seed: u64,
    world: &World,
    simulation: &mut Simulation,
    is_broken: bool,
) -> Result<Lived, Failure> {
    let app = front(is_broken);
    let desk = app.state();
    let (server, _) = app
        .listen(&mut simulation.loop_mut(0).ctx(), "0.0.0.0:80")
        .expect("nobody else listens in this world");
    counter()
        .listen(&mut simulation.loop_mut(1).ctx(), "0.0.0.0:90")
        .expect("nor here");

    // An oracle is asked after every turn.
    simulation.oracle("sockets are sources", |simulation| {
        let front = &simulation.loops()[0];
        let has_socket = |kind| matches!(kind, "listener" | "http" | "websocket");
        let sources = front
            .census()
            .filter(|(_, source)| has_socket(source.kind))
            .count();
        let sockets = simulation.open_sockets(0);
        (sockets == sources)
            .then_some(())
            .ok_or_else(|| format!("{sockets} sockets, {sources} sources"))
    });

    // Visitors all through two days, each at a moment and with manners that follow from the seed.
    let answered = Rc::new(Cell::new(0));
    for _ in 0..world.range(5..=30) {
        let moment = Duration::from_secs(world.range(0..=48 * 3_600));
        let (answered, patience) = (Rc::clone(&answered), world.range(0..=200));
        world.after(moment, move |world| visit(world, patience, answered));
    }
    simulation.run_for(48 * HOUR)?;

    // The end: a graceful shutdown, and then nothing may be left.
    let is_over = shut_down(simulation, &server);
    simulation.run_until(|_| is_over.get())?;
    simulation.run_for(HOUR)?;
    let at_work = desk.with(|desk| desk.at_work);
    if at_work != 0 {
        return Err(Failure {
            kind: FailureKind::Oracle("nobody is left at the desk"),
            message: format!("{at_work} visits never ended"),
            seed,
            at: world.elapsed(),
            turns: simulation.turns(),
            scene: world.log().join("\n"),
        });
    }
    Ok(Lived {
        virtual_time: world.elapsed(),
        turns: simulation.turns(),
        answered: answered.get(),
    })
}

/// Somebody comes, asks both servers, and goes after `patience` milliseconds, answered or not.
fn visit(world: &World, patience: u64, answered: Rc<Cell<usize>>) {
    let front = world.connect((world.address("front"), 80));
    front.send("GET / HTTP/1.1\r\nHost: front\r\n\r\n");
    let counter = world.connect((world.address("counter"), 90));
    counter.send("POST /count HTTP/1.1\r\nHost: counter\r\nContent-Length: 0\r\n\r\n");
    world.after(Duration::from_millis(patience), move |_| {
        let is_answer = |client: &Client| {
            client.with_received(|bytes| bytes.starts_with(b"HTTP/1.1 200 OK\r\n"))
        };
        answered.set(
            answered.get()
                + [&front, &counter]
                    .into_iter()
                    .filter(|client| is_answer(client))
                    .count(),
        );
        front.reset();
        counter.close();
    });
}

fn shut_down(simulation: &mut Simulation, server: &Server) -> Rc<Cell<bool>> {
    let is_over = Rc::new(Cell::new(false));
    let done = Rc::clone(&is_over);
    let mut ctx = simulation.loop_mut(0).ctx();
    server.shutdown(&mut ctx, Duration::from_secs(10), move |_, _| {
        done.set(true)
    });
    is_over
}

/// One fault, chosen: every byte travels by itself, and jobs take a while.
fn byte_by_byte() -> Faults {
    Faults {
        piece_bytes: Some(1..=1),
        worker_us: 50_000..=100_000,
        ..Faults::none()
    }
}

struct Options {
    first: u64,
    seeds: u64,
    is_broken: bool,
    trace: Option<PathBuf>,
}

impl Options {
    /// The seed behind the last one.
    fn end(&self) -> u64 {
        self.first.saturating_add(self.seeds)
    }
}

fn options() -> Option<Options> {
    let mut options = Options {
        first: 1,
        seeds: 200,
        is_broken: false,
        trace: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seed" => {
                options.first = arguments.next()?.parse().ok()?;
                options.seeds = 1;
            }
            "--seeds" => options.seeds = arguments.next()?.parse().ok()?,
            "--break" => options.is_broken = true,
            "--trace" => options.trace = Some(arguments.next()?.into()),
            _ => return None,
        }
    }
    Some(options)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let begun = Instant::now();
    let mut total = Lived {
        virtual_time: Duration::ZERO,
        turns: 0,
        answered: 0,
    };
    for seed in options.first..options.end() {
        match one_life(seed, &options) {
            Ok(lived) => {
                total.virtual_time += lived.virtual_time;
                total.turns += lived.turns;
                total.answered += lived.answered;
            }
            // A failure prints its seed first.
            Err(failure) => {
                println!("{failure}");
                println!(
                    "again: cargo run --release --features sim --example simulate -- --seed {seed}{}",
                    if options.is_broken { " --break" } else { "" }
                );
                return ExitCode::FAILURE;
            }
        }
    }
    println!(
        "{} seeds: {} hours of virtual time, {} turns, {} answers, in {} ms",
        options.seeds,
        total.virtual_time.as_secs() / 3_600,
        total.turns,
        total.answered,
        begun.elapsed().as_millis()
    );
    ExitCode::SUCCESS
}
