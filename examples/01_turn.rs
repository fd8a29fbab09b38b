//! The order inside a turn: who runs when, and why a callback may come a turn later than one expects.
//!
//!     cargo run --example 01_turn
//!
//! A callback, a connection, a message from another thread and a timer are all there before the loop turns for the
//! first time. What to look at: all of them run in turn 1, in one order, since each step adds to the one ready queue
//! and step 6 runs that queue first in, first out. What a callback schedules in step 6 runs in turn 2. A timer never
//! runs in the turn that set it, not even one of no delay. Before turn 3 nothing is ready, so the loop sleeps until the
//! last timer. `docs/one-turn.md` walks through the code that does this. It prints:
//!
//! ```text
//! turn 1, step 3: a connection is here
//! turn 1, step 6: asked for before the loop turned
//! turn 1, step 6: asked for in step 3
//! turn 1, step 6: sent by another thread
//! turn 1, step 6: a timer that was due
//! turn 1 is over: 1 event, 1 message, 1 timer, 4 callbacks
//! turn 2, step 6: asked for in step 6 of turn 1
//! turn 2, step 6: a timer of no delay, set in step 6 of turn 1
//! turn 2 is over: 0 events, 0 messages, 1 timer, 2 callbacks
//! turn 3, step 6: a timer of 20 ms, and the loop slept until now
//! turn 3 is over: 0 events, 0 messages, 1 timer, 1 callback
//! ```
//!
//! A question: what changes when `thread::sleep` below is taken out? And when it sleeps for 30 ms?

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use tourbillon::event_loop::{EventLoop, TurnBudget};
use tourbillon::net::Acceptor;

/// Prints lines that name their turn. Can go to another thread, hence the atomic.
#[derive(Clone, Default)]
struct Log(Arc<AtomicU32>);

impl Log {
    fn step(&self, step: u32, what: &str) {
        println!("turn {}, step {step}: {what}", self.turn());
    }

    fn turn(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn next_turn(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn main() -> io::Result<()> {
    let mut event_loop = EventLoop::new()?;
    let log = Log::default();

    // A timer.
    let due = log.clone();
    event_loop.call_later(Duration::from_millis(1), move |_| {
        due.step(6, "a timer that was due");
    });

    // A message from another thread, which ends here, so that the message is there.
    let (remote, sent) = (event_loop.remote(), log.clone());
    let sender = thread::spawn(move || {
        remote.call_soon_threadsafe(move |_| sent.step(6, "sent by another thread"))
    });
    let arrived = sender.join().expect("it does not panic");
    arrived.expect("the loop is there");

    // A connection. The kernel makes it; the loop will be told.
    let accepted = log.clone();
    let (_, address) = Acceptor::listen(
        &mut event_loop.ctx(),
        ([127, 0, 0, 1], 0).into(),
        move |ctx, socket, _| {
            accepted.step(3, "a connection is here");
            let asked = accepted.clone();
            ctx.call_soon(move |_| asked.step(6, "asked for in step 3"));
            ctx.driver().close(socket);
        },
    )?;
    let _client = TcpStream::connect(address)?;

    // A callback, and what it schedules in its turn.
    let first = log.clone();
    event_loop.call_soon(move |ctx| {
        first.step(6, "asked for before the loop turned");
        let (soon, later) = (first.clone(), first.clone());
        ctx.call_later(Duration::ZERO, move |ctx| {
            later.step(6, "a timer of no delay, set in step 6 of turn 1");
            ctx.call_later(Duration::from_millis(20), move |_| {
                later.step(6, "a timer of 20 ms, and the loop slept until now");
            });
        });
        ctx.call_soon(move |_| soon.step(6, "asked for in step 6 of turn 1"));
        // The timer is due when this callback ends, and yet waits for the next turn: step 5 of this one has been.
        thread::sleep(Duration::from_millis(3));
    });

    // As if somebody computed: long enough for the timer to be due.
    thread::sleep(Duration::from_millis(5));

    for _ in 0..3 {
        log.next_turn();
        let turn = event_loop.turn(TurnBudget::default())?;
        println!(
            "turn {} is over: {}, {}, {}, {}",
            log.turn(),
            count(turn.events, "event"),
            count(turn.messages, "message"),
            count(turn.timers, "timer"),
            count(turn.callbacks, "callback"),
        );
    }
    Ok(())
}

fn count(n: u32, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}
