//! Debugging: what failed, what blocks, what is stuck, each found by the loop itself.
//!
//!     cargo run --example 10_debugging
//!
//! What to look at, chapter by chapter:
//!
//! - A scope times an operation and says how it failed, and how much of its time it worked and did not wait.
//! - A callback blocks. The watchdog, a thread, names it while it does; debug mode names it when it has ended, with
//!   those who had to wait.
//! - The same work on a thread of the executor: the loop goes on, and nothing is reported.
//! - Several operations are waited for at once, and the errors among the results are values.
//! - A panic is no end of the program. Who panicked is named with the place where it was created.
//! - A table of all tasks: who waits for what, since when, spawned where and by whom. One of them waits for something
//!   that cannot come any more, which debug mode finds by itself.
//!
//! A server that runs shows this table when it gets SIGUSR1. It prints this, with other numbers:
//!
//! ```text
//! 1. A scope
//! ! scope "load a user" opened at examples/10_debugging.rs:117:18: failed after 31 ms, 0.0 ms of it at work: there is no user 7
//!
//! 2. A call that blocks
//! ! stall: a callback created at examples/10_debugging.rs:126:12 has held the loop for 327 ms and still does
//! ! slow: a callback created at examples/10_debugging.rs:126:12 held the loop for 603 ms; 2 had to wait, the first for 603 ms (1 ready, 1 due)
//! ! stall over: a callback created at examples/10_debugging.rs:126:12 held the loop for 603 ms
//!
//! 3. The same on the executor
//! meanwhile the loop goes on
//! it has read all of it
//!
//! 4. Several at once
//! user 1: Ada
//! user 7: there is no user 7
//! user 2: Grace
//!
//! 5. A panic
//! ! panicked at examples/10_debugging.rs:160:62:
//! a user: NoUser(7)
//! ! the task "careless" created at examples/10_debugging.rs:160:16 panicked: a user: NoUser(7)
//! its result: the task "careless" created at examples/10_debugging.rs:160:16 panicked: a user: NoUser(7)
//!
//! 6. Where is it stuck?
//! ! lost: the task "forgetful" created at examples/10_debugging.rs:174:5 has waited for 136 ms and nothing can wake it: its last waker was dropped and had not been used
//! 4 tasks, 2 timers, 0 other sources
//! task          state    age    waits on             for     created at
//! chapters      waiting  2.9 s  timer, due in 20 ms  0.6 ms  examples/10_debugging.rs:78:16
//! ├─ forgetful  lost     1.3 s  -                    1.3 s   examples/10_debugging.rs:174:5
//! └─ report     waiting  1.3 s  task fetch           1.3 s   examples/10_debugging.rs:168:5
//!    └─ fetch   waiting  1.3 s  timer, due in 8.7 s  1.3 s   examples/10_debugging.rs:169:21
//! ```
//!
//! A question: "forgetful" has forgotten to keep its waker. What if it had kept it, and whoever has it never used it?
//! (Then somebody might wake it yet, for all that the loop can know. The table still says since when it waits.)

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::panic;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tourbillon::event_loop::{EventLoop, Handle};
use tourbillon::task::{gather_all, scope, sleep, spawn_named};

const MS: Duration = Duration::from_millis(1);

fn main() -> io::Result<()> {
    // Where it panicked says Rust, and where that was created says the loop. Both to standard output here.
    panic::set_hook(Box::new(|panicked| println!("! {panicked}")));
    let mut event_loop = EventLoop::new()?;
    event_loop.on_panic(|panicked| println!("! {panicked}"));
    event_loop.on_finding(|finding| println!("! {finding}"));
    event_loop.set_debug(true);
    event_loop.set_slow_threshold(200 * MS);
    event_loop.start_watchdog(300 * MS, |report| println!("! {report}"))?;

    event_loop.spawn_named("chapters", async {
        a_scope().await;
        a_call_that_blocks().await;
        the_same_on_the_executor().await;
        several_at_once().await;
        a_panic().await;
        where_is_it_stuck().await;
        Handle::current().stop();
    });
    event_loop.run()
}

#[derive(Debug)]
struct NoUser(u32);

impl fmt::Display for NoUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no user {}", self.0)
    }
}

/// Stands for a query: it waits, and fails for most.
async fn load(user: u32) -> Result<&'static str, NoUser> {
    sleep(30 * MS).await;
    match user {
        1 => Ok("Ada"),
        2 => Ok("Grace"),
        _ => Err(NoUser(user)),
    }
}

/// Stands for all that blocks: a large file, a driver of the old kind, a long computation.
fn read_all() -> &'static str {
    thread::sleep(600 * MS);
    "all of it"
}

async fn a_scope() {
    println!("1. A scope");
    let loaded = scope("load a user").wait(load(7)).await;
    assert!(loaded.is_err(), "what it came to is passed on");
    // What the loop has found it tells at the end of the turn.
    sleep(20 * MS).await;
}

async fn a_call_that_blocks() {
    println!("\n2. A call that blocks");
    let handle = Handle::current();
    handle.call_soon(|_| {
        read_all();
    });
    // Two of those who have to wait for it.
    handle.call_soon(|_| {});
    handle.call_later(100 * MS, |_| {});
    sleep(900 * MS).await;
}

async fn the_same_on_the_executor() {
    println!("\n3. The same on the executor");
    let job = Handle::current().run_in_executor(read_all);
    sleep(100 * MS).await;
    println!("meanwhile the loop goes on");
    match job {
        Ok(job) => println!("it has read {}", job.await.expect("it does not panic")),
        Err(error) => println!("there is no thread for it: {error}"),
    }
}

async fn several_at_once() {
    println!("\n4. Several at once");
    let users = [1, 7, 2];
    let loaded = gather_all(users.map(load)).await;
    for (user, loaded) in users.iter().zip(loaded) {
        match loaded {
            Ok(name) => println!("user {user}: {name}"),
            Err(error) => println!("user {user}: {error}"),
        }
    }
}

async fn a_panic() {
    println!("\n5. A panic");
    let task = spawn_named("careless", async { load(7).await.expect("a user") });
    if let Err(error) = task.await {
        println!("its result: {error}");
    }
}

async fn where_is_it_stuck() {
    println!("\n6. Where is it stuck?");
    spawn_named("report", async {
        let fetch = spawn_named("fetch", sleep(Duration::from_secs(10)));
        sleep(20 * MS).await;
        fetch.await
    });
    // The mistake is that it looks once, and asks nobody to wake it.
    spawn_named("forgetful", poll_fn(|_| Poll::<()>::Pending));
    sleep(1300 * MS).await;
    Handle::current().call_soon(|ctx| print!("{}", ctx.tasks()));
    sleep(20 * MS).await;
}
