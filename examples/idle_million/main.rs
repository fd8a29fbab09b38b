//! A million WebSockets that say nothing, on one loop of our server, in a world in memory.
//!
//!     cargo run --release --features sim --example idle_million -- [--connections N]
//!
//! No machine lets a process have a million sockets unless it is told to, and the kernel takes some 4 KB for each. In
//! the simulated world there is no kernel, and the server is the same: it accepts a million connections, answers their
//! handshakes, holds them for half a minute of its time, pings each of them, and sends one message to all.
//!
//! What to look at:
//!
//! - The world is run twice, in two processes. The second time no server is in it, only sockets that are read and
//!   written (`crowd::Bare`). What the first holds beyond the second is what the server needs for a WebSocket.
//! - `the longest turn` is the work that everyone else would have waited for behind that message. A part of it is the
//!   simulator's network: the second run shows how much.
//!
//! It needs 2 GB of memory for a million, and a minute or two. A question: the news leaves in one turn, to however
//! many. What would it take to let others in between? (To publish in pieces, a callback for each thousand members. The
//! room would then have to keep what is published meanwhile in its order, and who joins and leaves meanwhile in mind.)

mod crowd;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crowd::{Bare, Crowd, Host, Served, Turns};
use tourbillon::metrics::Memory;
use tourbillon::sim::World;

const USAGE: &str = "usage: idle_million [--connections N]";
const CONNECTIONS_MAX: usize = 4_000_000;
/// Long enough that each is pinged, and none twice: a server does so after 22 to 30 seconds, to each at its own time.
const HOLD_SECONDS: u32 = 31;

struct Options {
    connections: usize,
    /// The run without a server: said by the first process to the second.
    is_bare: bool,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        connections: 1_000_000,
        is_bare: false,
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bare" => options.is_bare = true,
            "--connections" => {
                let value = arguments.next().ok_or("--connections needs a value")?;
                let number = value.parse().ok();
                let number = number.filter(|number| (1..=CONNECTIONS_MAX).contains(number));
                options.connections = number.ok_or_else(|| {
                    format!("--connections: {value:?} is not from 1 to {CONNECTIONS_MAX}")
                })?;
            }
            _ => return Err(format!("unknown argument {argument}")),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("idle_million: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let connections = options.connections;
    let ran = match options.is_bare {
        true => measure(connections, Bare::new).map(|measured| {
            let Measured {
                resident, turns, ..
            } = measured;
            println!("{resident} {}", turns.longest.as_micros());
        }),
        false => compare(connections),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("idle_million: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What became of a crowd at a host.
struct Measured {
    /// What the process has grown by, in bytes.
    resident: u64,
    opened: Duration,
    held: Duration,
    turns: Turns,
}

fn measure<H: Host>(
    connections: usize,
    make: impl FnOnce(&World) -> H,
) -> Result<Measured, String> {
    let resident = || {
        let memory = Memory::of_process();
        memory
            .map(|memory| memory.resident)
            .ok_or("the system does not say what a process holds")
    };
    let world = crowd::world();
    let (mut host, mut crowd) = (make(&world), Crowd::new(&world));
    let (before, began) = (resident()?, Instant::now());
    crowd.join(&mut host, connections);
    let opened = began.elapsed();
    crowd.hold(&mut host, HOLD_SECONDS);
    let held = began.elapsed() - opened;
    let after = resident()?;
    let turns = host.publish();
    let became = [host.held(), crowd.pinged(), crowd.informed()];
    if became != [connections; 3] {
        let [held, pinged, informed] = became;
        return Err(format!(
            "of {connections}, {held} are held, {pinged} were pinged, and {informed} heard the news"
        ));
    }
    Ok(Measured {
        resident: after.saturating_sub(before),
        opened,
        held,
        turns,
    })
}

/// With our server here, and without it in a process of its own.
fn compare(connections: usize) -> Result<(), String> {
    let Measured {
        resident,
        opened,
        held,
        turns,
    } = measure(connections, Served::new)?;
    let each = |bytes: u64| bytes / connections as u64;
    println!(
        "{connections} WebSockets opened in {opened:.1?}, held and pinged in {held:.1?}, all told the news"
    );
    println!(
        "published in {} turns, {:.1?} in all; the longest turn {:.1?}",
        turns.count, turns.total, turns.longest
    );
    let bare = bare(connections)?;
    println!("the network alone writes the news in {:.1?}", bare.longest);
    println!(
        "memory for each: {} bytes resident, of which the simulated network {}, and the server {}",
        each(resident),
        each(bare.resident),
        each(resident.saturating_sub(bare.resident))
    );
    Ok(())
}

/// What the process without a server tells.
struct Alone {
    resident: u64,
    longest: Duration,
}

fn bare(connections: usize) -> Result<Alone, String> {
    let itself = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(itself);
    command.args(["--bare", "--connections", &connections.to_string()]);
    let output = command.output().map_err(|error| error.to_string())?;
    let told = String::from_utf8_lossy(&output.stdout);
    let mut numbers = told.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(resident)), Some(Ok(micros))) => Ok(Alone {
            resident,
            longest: Duration::from_micros(micros),
        }),
        _ => Err(format!(
            "the run without a server: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}
