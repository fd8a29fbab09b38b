//! Tasks: asyncio's names, on this loop, and what runs when.
//!
//!     cargo run --example 06_tasks
//!
//! Each line begins with the seconds since the start. What to look at:
//!
//! - `create_task` and `call_soon` run nothing at once: both wait in the same queue for the present callback to end, and
//!   run in the order in which they were given.
//! - `gather` takes as long as its slowest part, here 0.3 s, where one after the other takes 0.6 s; and it returns the results
//!   in the order of what it was given, not of the ends.
//! - A timer runs while tasks sleep, and the tasks while others sleep: there is one thread, and nobody keeps it.
//! - What fails or takes too long is a value: a task that panics, one that is aborted, a time limit, a group in which one has
//!   failed and the others were ended.
//!
//! It prints this:
//!
//! ```text
//! 0.0 the loop is running: true
//! 0.0 main: has called nobody yet
//! 0.0 call_soon: before the tasks
//! 0.0 a: begins
//! 0.0 b: begins
//! 0.0 call_soon: after the tasks
//! 0.1 call_later: 0.1 s have passed
//! 0.2 b: ends
//! 0.3 a: ends
//! 0.3 main: a has slept for 0.3 s, b has slept for 0.2 s
//! 0.9 one after the other: 1, 2, 3
//! 1.2 gather: 1, 2, 3
//! 1.2 a task that panics: a task created at examples/06_tasks.rs panicked: on purpose
//! 1.2 a task that is aborted: the task was cancelled
//! 1.3 a time limit of 0.1 s: the time is over
//! 1.4 a group: a task of the group failed: no such file
//! ```
//!
//! A question: `gather` of tasks, or of futures that are none. Which of the two still runs after the first error?

use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tourbillon::event_loop::{EventLoop, get_running_loop};
use tourbillon::task::{TaskGroup, create_task, gather_all, sleep, timeout};

/// A tenth of a second.
const TENTH: Duration = Duration::from_millis(100);

/// Prints lines with the time since it was made.
#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn print(self, line: &str) {
        let elapsed = get_running_loop().time() - self.0;
        println!("{:.1} {line}", elapsed.as_secs_f64());
    }
}

/// Sleep for so many tenths, and return their number.
async fn nap(tenths: u32) -> u32 {
    sleep(TENTH * tenths).await;
    tenths
}

async fn worker(clock: Clock, name: &'static str, tenths: u32) -> String {
    clock.print(&format!("{name}: begins"));
    nap(tenths).await;
    clock.print(&format!("{name}: ends"));
    format!("{name} has slept for 0.{tenths} s")
}

async fn order(clock: Clock) {
    let event_loop = get_running_loop();
    clock.print(&format!("the loop is running: {}", event_loop.is_running()));

    event_loop.call_soon(move |_| clock.print("call_soon: before the tasks"));
    let a = create_task(worker(clock, "a", 3));
    let b = create_task(worker(clock, "b", 2));
    event_loop.call_soon(move |_| clock.print("call_soon: after the tasks"));
    event_loop.call_later(TENTH, move |_| clock.print("call_later: 0.1 s have passed"));
    clock.print("main: has called nobody yet");

    let (a, b) = (a.await, b.await);
    clock.print(&format!(
        "main: {}, {}",
        a.expect("it ends"),
        b.expect("it ends")
    ));
}

async fn together(clock: Clock) {
    let text = |numbers: &[u32]| {
        numbers
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };

    let one_after_the_other = [nap(1).await, nap(2).await, nap(3).await];
    clock.print(&format!(
        "one after the other: {}",
        text(&one_after_the_other)
    ));
    let at_once = gather_all([nap(1), nap(2), nap(3)]).await;
    clock.print(&format!("gather: {}", text(&at_once)));
}

async fn failures(clock: Clock) {
    async fn fails() {
        panic!("on purpose");
    }
    let error = create_task(fails()).await.unwrap_err();
    // Without line and column, which change with this file.
    let text = error.to_string();
    let place = text.find(".rs:").expect("it names its place") + 3;
    let message = text.find(" panicked").expect("it says so");
    clock.print(&format!(
        "a task that panics: {}{}",
        &text[..place],
        &text[message..]
    ));

    let held = Rc::new("a file, a permit, a place in a queue");
    let theirs = Rc::clone(&held);
    let waits = create_task(async move {
        let _held = theirs;
        pending::<()>().await;
    });
    waits.abort();
    let error = waits.await.unwrap_err();
    assert_eq!(Rc::strong_count(&held), 1, "it has dropped what it held");
    clock.print(&format!("a task that is aborted: {error}"));

    let error = timeout(TENTH, nap(9)).await.unwrap_err();
    clock.print(&format!("a time limit of 0.1 s: {error}"));

    let group = TaskGroup::new();
    group.spawn(async { Ok(nap(9).await) });
    group.spawn(async {
        nap(1).await;
        Err("no such file")
    });
    let errors = group.join().await.unwrap_err();
    clock.print(&format!("a group: {errors}"));
}

fn main() -> io::Result<()> {
    let mut event_loop = EventLoop::new()?;
    // It is in the task's result; that it is also printed would be too much here.
    event_loop.on_panic(|_| {});
    std::panic::set_hook(Box::new(|_| {}));
    let clock = Clock(event_loop.time());
    event_loop.run_until(async move {
        order(clock).await;
        together(clock).await;
        failures(clock).await;
    })
}
