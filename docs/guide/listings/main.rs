//! The programs of the guide, one a chapter, in one binary so that they build quickly.
//!
//!     cargo run --example guide                  # which there are
//!     cargo run --example guide -- small_loop    # one of them
//!
//! The guide quotes them whole, with what they print; `tests/docs.rs` and `tests/examples.rs` compare both. Change one,
//! and run it again: each chapter ends with a question that is answered in this way.

mod edges;
mod ready_queue;
mod slow_reader;
mod small_loop;
mod stepper;
mod waker;
mod wheel;

use std::io;
use std::process::ExitCode;

type Program = (&'static str, fn() -> io::Result<()>);

const PROGRAMS: [Program; 7] = [
    ("small_loop", small_loop::main),
    ("ready_queue", ready_queue::main),
    ("wheel", wheel::main),
    ("edges", edges::main),
    ("waker", waker::main),
    ("slow_reader", slow_reader::main),
    ("stepper", stepper::main),
];

fn main() -> ExitCode {
    let names = PROGRAMS.map(|(name, _)| name).join(", ");
    let Some(asked) = std::env::args().nth(1) else {
        println!("The programs of the guide: {names}");
        return ExitCode::SUCCESS;
    };
    let Some((_, program)) = PROGRAMS.iter().find(|(name, _)| *name == asked) else {
        eprintln!("guide: there is no program {asked:?}, but {names}");
        return ExitCode::from(2);
    };
    match program() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guide: {asked}: {error}");
            ExitCode::FAILURE
        }
    }
}
