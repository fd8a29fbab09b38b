//! One future on a simulated loop: the short way to test what waits.

use std::future::Future;

use super::{Simulation, World};
use crate::event_loop::EventLoop;
use crate::task::JoinError;

/// Run `future` as a task on a loop of its own, with virtual time: an hour's sleep takes no time. Returns what it came
/// to; tasks that it spawned and left are dropped.
///
/// ```
/// use std::time::Duration;
/// use tourbillon::task::{sleep, spawn};
///
/// // In a function with `#[test]`:
/// tourbillon::sim::run(async {
///     let hour = spawn(sleep(Duration::from_secs(3600)));
///     hour.await.unwrap();
/// });
/// ```
///
/// # Panics
/// When the future panics, with the same message; and when it waits for something that will never happen, with a list
/// of all tasks and what each of them waits on.
#[track_caller]
pub fn run<F: Future<Output: 'static> + 'static>(future: F) -> F::Output {
    let mut simulation = Simulation::new(World::new(0));
    simulation.add("test", EventLoop::with_driver);
    let task = simulation.loop_mut(0).spawn_named("test", future);
    if let Err(failure) = simulation.run_until(|_| task.is_finished()) {
        panic!(
            "{:?}: {}\n{}",
            failure.kind,
            failure.message,
            waiting(&simulation)
        );
    }
    match task.take().expect("it has ended") {
        Ok(output) => output,
        Err(JoinError::Panicked(panicked)) => panic!("{panicked}"),
        Err(JoinError::Cancelled) => unreachable!("nobody else has its handle"),
    }
}

/// Every source of the first loop, a line each.
pub(super) fn waiting(simulation: &Simulation) -> String {
    simulation.loops()[0]
        .census()
        .map(|(token, inspection)| format!("  {}: {inspection}\n", token.index()))
        .collect()
}
