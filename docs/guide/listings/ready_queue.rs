//! The ready queue: first in, first out, and what a callback adds runs a turn later.

use std::io;

use tourbillon::event_loop::{Ctx, EventLoop, TurnBudget};

/// Says its name, and asks for the same once more, so many times.
fn again(ctx: &mut Ctx<'_>, times: u32) {
    println!("  again, {times} to go");
    if times > 0 {
        ctx.call_soon(move |ctx| again(ctx, times - 1));
    }
}

pub(crate) fn main() -> io::Result<()> {
    let mut event_loop = EventLoop::new()?;

    event_loop.call_soon(|ctx| again(ctx, 2));
    let unwanted = event_loop.call_soon(|_| println!("  unwanted"));
    event_loop.call_soon(|ctx| {
        println!("  asks for one more");
        ctx.call_soon(|_| println!("  the one more"));
    });
    println!("taken back: {}", unwanted.cancel());

    for name in ["a", "b", "c", "d"] {
        event_loop.call_soon(move |_| println!("  {name}"));
    }
    // At most four in a turn: what is over keeps its place.
    let budget = TurnBudget {
        callbacks: 4,
        ..TurnBudget::no_wait()
    };
    for number in 1..=4 {
        println!("turn {number}");
        let turn = event_loop.turn(budget)?;
        println!("  {} have run", turn.callbacks);
    }
    Ok(())
}
