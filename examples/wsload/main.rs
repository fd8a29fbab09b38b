//! Load for any WebSocket server: many connections that talk, listen, or are just there.
//!
//! ```text
//! cargo run --release --example wsload -- echo ws://127.0.0.1:8080/echo --connections 100
//! cargo run --release --example wsload -- broadcast ws://127.0.0.1:8080/room --connections 1000 --rate 10
//! cargo run --release --example wsload -- idle ws://127.0.0.1:8080/echo --connections 10000 --seconds 60
//! cargo run --release --example wsload -- reflect ws://127.0.0.1:9001/runCase?case=1
//! ```
//!
//! A line a second says how it goes, on stderr; a table at the end, on stdout, how it went. `--help` lists what can be
//! set. It loads servers on this machine only, unless forced, and with bounds in count and time. All of it runs on one
//! loop, in one thread: a connection is a task.

mod load;
mod options;

use std::process::ExitCode;

use options::{Command, USAGE};
use tourbillon::event_loop::EventLoop;

fn main() -> ExitCode {
    let command = match Command::parse(std::env::args().skip(1)) {
        Ok(Command::Help) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(command) => command,
        Err(error) => {
            eprintln!("wsload: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut event_loop = match EventLoop::new() {
        Ok(event_loop) => event_loop,
        Err(error) => return failed(&error),
    };
    let ran = match command {
        Command::Help => unreachable!("seen to just above"),
        Command::Reflect(builder) => event_loop.run_until(load::reflect(*builder)),
        Command::Load(options) => event_loop.run_until(load::load(*options)),
    };
    match ran {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("wsload: {error}");
    ExitCode::FAILURE
}
