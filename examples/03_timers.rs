//! Timers: set, move, take back, and what happens when the loop is late.
//!
//!     cargo run --example 03_timers
//!
//! Each line is printed by a timer: when it was asked for, counted from the start, and by how much it was late. What to
//! look at:
//!
//! - Two timers of one millisecond run in the order in which they were set.
//! - The timer of 100 ms is moved to 300 ms before it is due, as the time limit of a connection is at every request. It
//!   stays where it is in memory; whoever sets timers by the ten thousand mostly moves them.
//! - The timer of 150 ms is taken back and does not run.
//! - A callback computes for 100 ms, and so the timer of 420 ms is late: one thread does one thing at a time. The loop
//!   measures that as its lag.
//! - None is early.
//!
//! It prints this, with other numbers where it says how late it was:
//!
//! ```text
//! asked for  50 ms, late by  0.3 ms: moves one timer and takes one back
//!     the one of 100 ms is moved: true; it is now asked for 300 ms
//!     the one of 150 ms is taken back: true; cancelled: true; a second time: false
//! asked for 200 ms, late by  0.2 ms: the first of two
//! asked for 200 ms, late by  0.2 ms: the second of two
//! asked for 300 ms, late by  0.4 ms: moved here
//! asked for 400 ms, late by  0.3 ms: computes for 100 ms
//! asked for 420 ms, late by 80.5 ms: had to wait for it
//! 6 timers ran; the largest lag was 80.4 ms
//! ```
//!
//! A question: the lines of 200 ms are asked for with the same `Instant`. What if the second one asked for a tenth of a
//! millisecond less? (The wheel's ticks are whole milliseconds, and never early.)

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use tourbillon::event_loop::{Ctx, EventLoop};

fn main() -> io::Result<()> {
    let mut event_loop = EventLoop::new()?;
    // Everything below counts from here.
    let start = event_loop.time();
    let at = move |ms| start + Duration::from_millis(ms);
    let say = move |ctx: &Ctx<'_>, ms, what: &str| {
        let late = ctx.time().duration_since(at(ms));
        println!(
            "asked for {ms:3} ms, late by {:4.1} ms: {what}",
            in_ms(late)
        );
    };

    let moved = event_loop.call_at(at(100), move |ctx| say(ctx, 300, "moved here"));
    let taken_back = event_loop.call_at(at(150), |_| unreachable!("it was taken back"));

    event_loop.call_at(at(50), move |ctx| {
        say(ctx, 50, "moves one timer and takes one back");
        let is_moved = moved.reset(at(300).duration_since(ctx.time()));
        let asked_for = round_ms(start, moved.when());
        println!("    the one of 100 ms is moved: {is_moved}; it is now asked for {asked_for} ms");
        println!(
            "    the one of 150 ms is taken back: {}; cancelled: {}; a second time: {}",
            taken_back.cancel(),
            taken_back.cancelled(),
            taken_back.cancel()
        );
    });

    event_loop.call_at(at(200), move |ctx| say(ctx, 200, "the first of two"));
    event_loop.call_at(at(200), move |ctx| say(ctx, 200, "the second of two"));

    event_loop.call_at(at(420), move |ctx| {
        say(ctx, 420, "had to wait for it");
        ctx.stop();
    });
    event_loop.call_at(at(400), move |ctx| {
        say(ctx, 400, "computes for 100 ms");
        thread::sleep(Duration::from_millis(100));
    });

    event_loop.run()?;

    let stats = event_loop.stats();
    println!(
        "{} timers ran; the largest lag was {:.1} ms",
        stats.timers,
        in_ms(stats.lag_max)
    );
    Ok(())
}

fn in_ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn round_ms(start: Instant, when: Instant) -> u64 {
    in_ms(when.duration_since(start)).round() as u64
}
