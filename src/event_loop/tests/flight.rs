//! The flight recorder: each of its causes is kept, once, with what led to it; files are named and bounded.

use std::fs;
use std::path::PathBuf;

use super::manual::manual;
use super::*;

const MS: Duration = Duration::from_millis(1);

type Kept = Rc<RefCell<Vec<Flight>>>;

/// A flight recorder that keeps here what it has.
fn keeping() -> (FlightRecorder, Kept) {
    let kept = Kept::default();
    let keep = Rc::clone(&kept);
    let recorder = FlightRecorder::with_hook(move |flight| keep.borrow_mut().push(flight));
    (recorder, kept)
}

fn causes(kept: &Kept) -> Vec<Cause> {
    kept.borrow().iter().map(|flight| flight.cause).collect()
}

fn turn(event_loop: &mut EventLoop) {
    event_loop.turn(TurnBudget::no_wait()).unwrap();
}

#[test]
fn a_slow_turn_is_kept_and_one_that_slept_for_long_is_not() {
    let (mut event_loop, outside) = manual();
    let (recorder, kept) = keeping();
    event_loop
        .start_flight_recorder(recorder.slow_turn(50 * MS))
        .unwrap();
    event_loop.call_later(90 * MS, |ctx| ctx.stop());
    event_loop.run().unwrap();
    let clock = Rc::clone(&outside);
    event_loop.call_soon(move |_| clock.pass(49 * MS));
    turn(&mut event_loop);
    assert_eq!(causes(&kept), []);

    let clock = Rc::clone(&outside);
    event_loop.call_soon(move |_| clock.pass(50 * MS));
    turn(&mut event_loop);
    assert_eq!(causes(&kept), [Cause::SlowTurn(50 * MS)]);
    let last = kept.borrow()[0].recording.records().last().unwrap().what();
    let What::Turn { number, .. } = last else {
        panic!("the turn that is to blame comes last: {last:?}");
    };
    assert_eq!(number, event_loop.stats().turns);
}

#[test]
fn a_panic_is_kept_with_the_turn_in_which_it_was_caught() {
    let (mut event_loop, _) = manual();
    event_loop.on_panic(|_| {});
    let (recorder, kept) = keeping();
    event_loop.start_flight_recorder(recorder).unwrap();
    event_loop.call_soon(|_| panic!("on purpose"));
    turn(&mut event_loop);
    turn(&mut event_loop);
    assert_eq!(causes(&kept), [Cause::Panic]);
    let kept = kept.borrow();
    let is_panic = |record: &Record| matches!(record.what(), What::Panicked { .. });
    assert!(kept[0].recording.records().iter().any(is_panic));
}

#[test]
fn flights_follow_one_another_with_a_pause() {
    let (mut event_loop, outside) = manual();
    let (recorder, kept) = keeping();
    event_loop
        .start_flight_recorder(recorder.slow_turn(MS).pause(100 * MS))
        .unwrap();
    for _ in 0..25 {
        let clock = Rc::clone(&outside);
        event_loop.call_soon(move |_| clock.pass(10 * MS));
        turn(&mut event_loop);
    }
    assert_eq!(kept.borrow().len(), 3);
    // Switched off, or ended, it keeps nothing.
    outside.pass(1_000 * MS);
    event_loop.record(false);
    let clock = Rc::clone(&outside);
    event_loop.call_soon(move |_| clock.pass(10 * MS));
    turn(&mut event_loop);
    event_loop.record(true);
    event_loop.stop_flight_recorder();
    event_loop.call_soon(move |_| outside.pass(10 * MS));
    turn(&mut event_loop);
    assert_eq!(kept.borrow().len(), 3);
}

#[test]
fn so_many_records_are_copied_at_most_and_so_many_files_left() {
    let folder = std::env::temp_dir().join(format!("tourbillon-flights-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (mut event_loop, outside) = manual();
    let recorder = FlightRecorder::in_folder(&folder)
        .slow_turn(MS)
        .pause(Duration::ZERO)
        .records_max(20)
        .files_max(2);
    event_loop.start_flight_recorder(recorder).unwrap();
    for _ in 0..5 {
        let clock = Rc::clone(&outside);
        event_loop.call_soon(move |_| clock.pass(10 * MS));
        turn(&mut event_loop);
    }
    outside.run_jobs();
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let begin = format!("tourbillon-{}-", std::process::id());
        assert!(
            name.starts_with(&begin) && name.ends_with("-slow.json"),
            "{name}"
        );
        let trace: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        assert_eq!(trace["otherData"]["records"], 20);
    }
    fs::remove_dir_all(folder).unwrap();
}

/// The signal of a real process, so it has one test of its own that nobody else's signals disturb.
#[cfg(unix)]
#[test]
fn sigusr2_is_kept() {
    let mut event_loop = EventLoop::new().unwrap();
    let (recorder, kept) = keeping();
    event_loop.start_flight_recorder(recorder).unwrap();
    let kill = |ctx: &mut Ctx<'_>| {
        let process = std::process::id().to_string();
        let mut kill = std::process::Command::new("kill");
        assert!(kill.args(["-USR2", &process]).status().unwrap().success());
        ctx.stop();
    };
    event_loop.call_soon(kill);
    event_loop.run().unwrap();
    while kept.borrow().is_empty() {
        event_loop
            .turn(TurnBudget::wait_at_most(10_000 * MS))
            .unwrap();
    }
    assert_eq!(causes(&kept), [Cause::Signal]);
}
