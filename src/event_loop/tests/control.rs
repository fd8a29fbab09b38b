//! A loop that is paused, stepped and asked by another thread. Most tests give their orders beforehand: they are obeyed
//! one by one, where the loop stands.

use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use super::manual::{Outside, manual};
use super::*;

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(20);

type Told = Arc<Mutex<Vec<String>>>;

/// A loop with a control, its outside, and what the control hears.
fn controlled() -> (EventLoop, Rc<Outside>, Control, Told) {
    let (mut event_loop, outside) = manual();
    event_loop.on_panic(|_| {});
    let control = event_loop.attach_control();
    let told = Told::default();
    let heard = Arc::clone(&told);
    let hear = move |news: &News| heard.lock().unwrap().push(told_as(news));
    control.on_news(hear).unwrap();
    (event_loop, outside, control, told)
}

fn told_as(news: &News) -> String {
    match news {
        News::Stopped(why, Standing { turn, next }) => {
            let next = next.as_ref().map(|(phase, next)| {
                let token = next.token.map(|token| token.index());
                format!("{phase:?}: {} {token:?}", next.work.kind)
            });
            format!("{why:?} in {turn} at {}", next.unwrap_or_default())
        }
        News::Resumed => "resumed".to_owned(),
        News::Found { finding, .. } => finding.to_string(),
        News::Panicked { .. } => "panicked".to_owned(),
    }
}

fn heard(told: &Told) -> Vec<String> {
    std::mem::take(&mut told.lock().unwrap())
}

fn turn(event_loop: &mut EventLoop) -> Turn {
    event_loop.turn(TurnBudget::no_wait()).unwrap()
}

/// Have `log` say where it was asked.
fn look(control: &Control, place: &'static str, told: &Told) {
    let told = Arc::clone(told);
    let say = move |ctx: &mut Ctx<'_>| {
        let ran = ctx.stats().turns;
        told.lock().unwrap().push(format!("{place}: {ran} turns"));
    };
    control.order(say).unwrap();
}

#[test]
fn a_paused_loop_steps_whole_turns_and_goes_on() {
    let (mut event_loop, _, control, told) = controlled();
    control.pause().unwrap();
    look(&control, "paused", &told);
    for _ in 0..3 {
        control.step_turn().unwrap();
        look(&control, "stepped", &told);
    }
    control.resume().unwrap();
    assert_eq!(control.state(), LoopState::Running);
    for _ in 0..4 {
        turn(&mut event_loop);
    }
    let expected = [
        "Pause in 1 at ",
        "paused: 0 turns",
        "Step in 2 at ",
        "stepped: 1 turns",
        "Step in 3 at ",
        "stepped: 2 turns",
        "Step in 4 at ",
        "stepped: 3 turns",
        "resumed",
    ];
    assert_eq!(heard(&told), expected);
    assert_eq!(control.turn(), 4);
}

#[test]
fn a_step_takes_what_is_there_and_does_not_sleep() {
    let (mut event_loop, outside, control, _) = controlled();
    event_loop.call_later(50 * MS, |_| {});
    control.pause().unwrap();
    control.step_turn().unwrap();
    control.resume().unwrap();
    event_loop.turn(TurnBudget::default()).unwrap();
    event_loop.turn(TurnBudget::default()).unwrap();
    let timeouts = outside.timeouts.borrow().clone();
    assert_eq!(timeouts[0], Some(Duration::ZERO));
    assert_eq!(timeouts[1], Some(50 * MS));
}

#[test]
fn a_step_of_one_callback_stops_before_each_visit_and_each_callback_in_the_order_of_the_turn() {
    let (mut event_loop, outside, control, told) = controlled();
    let log = log();
    let token = event_loop.ctx().add_source(|_| {
        let log = Rc::clone(&log);
        Visited::by(move |ctx, readiness| {
            if readiness.contains(Readiness::FLUSH) {
                log.borrow_mut().push("flushed");
            } else {
                log.borrow_mut().push("visited");
                let token = ctx.token();
                ctx.mark_dirty(token);
            }
            Next::Wait
        })
    });
    event_loop.call_soon(note(&log, "first")).cancel();
    event_loop.call_soon(note(&log, "second"));
    event_loop.call_soon(note(&log, "third"));
    outside.events(&[(token, Readiness::READABLE)]);
    control.pause().unwrap();
    for _ in 0..5 {
        control.step_callback().unwrap();
    }
    control.resume().unwrap();
    turn(&mut event_loop);
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["visited", "second", "third", "flushed"]);
    let expected = [
        "Pause in 1 at ",
        "Step in 1 at Visit:  Some(0)",
        "Step in 1 at Ready: callback None",
        "Step in 1 at Ready: callback None",
        "Step in 1 at Flush:  Some(0)",
        "Step in 2 at ",
        "resumed",
    ];
    assert_eq!(heard(&told), expected);
}

#[test]
fn a_snapshot_in_the_middle_of_a_turn_shows_who_runs_in_it_and_who_in_the_next() {
    let (mut event_loop, _, control, _) = controlled();
    event_loop.ctx().limit_callbacks(2);
    for _ in 0..5 {
        event_loop.call_soon(|_| {});
    }
    let (send, seen) = mpsc::channel();
    control.pause().unwrap();
    control.step_callback().unwrap();
    control.step_callback().unwrap();
    let see = move |ctx: &mut Ctx<'_>| {
        let snapshot = ctx.snapshot(SnapshotMax::default());
        send.send(snapshot).unwrap();
    };
    control.order(see).unwrap();
    control.resume().unwrap();
    let snapshot = event_loop.snapshot(SnapshotMax::default());
    let turns = |snapshot: &Snapshot| -> Vec<u64> {
        let turn = |queued: &Queued| queued.turn;
        snapshot.ready.iter().map(turn).collect()
    };
    assert_eq!(turns(&snapshot), [1, 1, 2, 2, 3]);
    turn(&mut event_loop);
    let snapshot = seen.recv().unwrap();
    let standing = snapshot.standing.as_ref().unwrap();
    assert_eq!(standing.next.as_ref().unwrap().0, Phase::Ready);
    assert_eq!(turns(&snapshot), [1, 2, 2, 3], "one of two has run");
}

/// A loop that breaks on `wanted`, goes on each time, and says where that was.
fn breaking_on(wanted: Break) -> (EventLoop, Rc<Outside>, Control, Told) {
    let (mut event_loop, outside) = manual();
    event_loop.on_panic(|_| {});
    let (control, told) = (event_loop.attach_control(), Told::default());
    let (heard, resume) = (Arc::clone(&told), control.clone());
    let go_on = move |news: &News| {
        if matches!(news, News::Stopped(..)) {
            heard.lock().unwrap().push(told_as(news));
            resume.resume().unwrap();
        }
    };
    control.on_news(go_on).unwrap();
    control.break_on(wanted).unwrap();
    (event_loop, outside, control, told)
}

#[test]
fn a_break_on_a_source_stops_before_each_visit_to_it() {
    let (mut event_loop, outside, control, told) = breaking_on(Break::Source(Token::new(1, 0)));
    let mut ctx = event_loop.ctx();
    let tokens = [(); 2].map(|()| ctx.add_source(|_| Visited::by(|_, _| Next::Wait)));
    for _ in 0..2 {
        outside.events(&tokens.map(|token| (token, Readiness::READABLE)));
        turn(&mut event_loop);
    }
    control.do_not_break_on(Break::Source(tokens[0])).unwrap();
    outside.events(&tokens.map(|token| (token, Readiness::READABLE)));
    turn(&mut event_loop);
    let source = Break::Source(tokens[1]);
    let stopped = |turn| format!("Break({source:?}) in {turn} at Visit:  Some(1)");
    assert_eq!(heard(&told), [stopped(1), stopped(2)]);
}

#[test]
fn a_break_on_a_slow_turn_stops_after_it() {
    let (mut event_loop, outside, _, told) = breaking_on(Break::SlowTurn(10 * MS));
    for time in [10, 11, 1] {
        let outside = Rc::clone(&outside);
        event_loop.call_soon(move |_| outside.pass(time * MS));
        turn(&mut event_loop);
    }
    assert_eq!(heard(&told), ["Break(SlowTurn(10ms)) in 3 at "]);
}

#[test]
fn a_break_on_a_panic_stops_before_what_runs_next() {
    let (mut event_loop, _, _, told) = breaking_on(Break::Panic);
    event_loop.call_soon(|_| panic!("as ordered"));
    event_loop.call_soon(|_| {});
    event_loop.call_soon(|_| panic!("as ordered, too"));
    turn(&mut event_loop);
    turn(&mut event_loop);
    let expected = [
        "Break(Panic) in 1 at Ready: callback None",
        "Break(Panic) in 2 at ",
    ];
    assert_eq!(heard(&told), expected);
}

#[test]
fn a_break_on_a_timer_stops_once_when_one_has_come_due() {
    let (mut event_loop, outside, control, told) = breaking_on(Break::Timer);
    for _ in 0..2 {
        event_loop.call_later(MS, |_| {});
    }
    turn(&mut event_loop);
    outside.pass(2 * MS);
    turn(&mut event_loop);
    turn(&mut event_loop);
    assert_eq!(heard(&told), ["Break(Timer) in 2 at Ready: callback None"]);
    // What was before is not news to one who asks later.
    control.do_not_break_on(Break::Timer).unwrap();
    control.break_on(Break::Timer).unwrap();
    event_loop.call_soon(|_| {});
    turn(&mut event_loop);
    assert_eq!(heard(&told), [""; 0]);
}

#[test]
fn a_break_on_a_state_stops_when_a_visit_has_brought_a_source_into_it() {
    struct Ripening(u32);
    impl Source for Ripening {
        fn ready(&mut self, _: &mut Ctx<'_>, _: Readiness) -> Next {
            self.0 += 1;
            Next::Again
        }
        fn inspect(&self) -> Inspection {
            Inspection {
                state: if self.0 < 2 { "green" } else { "ripe" },
                ..Inspection::default()
            }
        }
    }
    let (mut event_loop, _, _, told) = breaking_on(Break::State("ripe".to_owned()));
    event_loop.start_source(Box::new(Ripening(0)));
    for _ in 0..4 {
        turn(&mut event_loop);
    }
    // It is taken in and visited in the first turn, and carried over to the second.
    assert_eq!(heard(&told), ["Break(State(\"ripe\")) in 3 at "]);
}

#[test]
fn slow_motion_waits_before_each_piece_and_a_pause_in_it_begins_at_once() {
    let (mut event_loop, _, control, told) = controlled();
    let log = log();
    event_loop.call_soon(note(&log, "first"));
    event_loop.call_soon(note(&log, "second"));
    control.slow_motion(LONG).unwrap();
    let hurry = control.clone();
    let there = thread::spawn(move || {
        // It answers while it waits.
        let standing = |ctx: &mut Ctx<'_>| ctx.standing().cloned();
        let standing = hurry.ask(LONG, standing).unwrap();
        hurry.pause().unwrap();
        hurry.slow_motion(Duration::ZERO).unwrap();
        hurry.resume().unwrap();
        standing
    });
    turn(&mut event_loop);
    let standing = there.join().unwrap();
    // It may have been asked before the turn.
    assert!(standing.is_none_or(|standing| standing.next.is_some()));
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["first", "second"]);
    let told = heard(&told);
    assert!(told[0].starts_with("Pause in 1 at "), "{told:?}");
    assert_eq!(told[1], "resumed");
}

thread_local! {
    /// For orders, which could be given by any thread.
    static OUTSIDE: RefCell<Option<Rc<Outside>>> = const { RefCell::new(None) };
}

#[test]
fn a_pause_is_no_stall_and_nobodys_work_and_timers_are_late_by_it() {
    let (mut event_loop, outside, control, told) = controlled();
    event_loop.set_debug(true);
    event_loop.record(true);
    let (stalled, stalls) = mpsc::channel();
    let tell = move |report: &StallReport| stalled.send(report.to_string()).unwrap();
    event_loop.start_watchdog(100 * MS, tell).unwrap();
    OUTSIDE.set(Some(Rc::clone(&outside)));
    let log = log();
    event_loop.call_later(10 * MS, note(&log, "timer"));
    let (theirs, clock) = (Rc::clone(&log), Rc::clone(&outside));
    event_loop.call_soon(move |_| {
        clock.pass(3 * MS);
        theirs.borrow_mut().push("callback");
    });
    control.pause().unwrap();
    control.step_callback().unwrap();
    let wait = |_: &mut Ctx<'_>| {
        // For the watchdog, and for the loop.
        thread::sleep(250 * MS);
        OUTSIDE.with_borrow(|outside| outside.as_ref().unwrap().pass(500 * MS));
    };
    control.order(wait).unwrap();
    control.resume().unwrap();
    turn(&mut event_loop);
    turn(&mut event_loop);
    event_loop.stop_watchdog();
    assert_eq!(taken(&log), ["callback", "timer"]);
    assert_eq!(stalls.try_iter().collect::<Vec<_>>(), [""; 0]);
    let told = heard(&told);
    assert_eq!(
        told.len(),
        3,
        "stopped twice, resumed, nothing was slow: {told:?}"
    );
    let stats = event_loop.stats();
    assert_eq!((stats.paused, stats.awake), (500 * MS, 3 * MS));
    assert_eq!(stats.lag, 493 * MS);
    assert_eq!(stats.longest.unwrap().took, 3 * MS);
    let took = event_loop
        .recorder()
        .since(0)
        .filter_map(|record| match record.what() {
            What::Callback { took_ns, .. } => Some(took_ns),
            _ => None,
        });
    assert_eq!(took.collect::<Vec<_>>(), [3_000_000, 0]);
}

#[test]
fn what_comes_in_during_a_pause_is_there_afterwards() {
    let (mut event_loop, outside, control, _) = controlled();
    let log = log();
    let (theirs, remote) = (Rc::clone(&log), event_loop.remote());
    let token = event_loop.ctx().add_source(|_| {
        Visited::by(move |_, _| {
            theirs.borrow_mut().push("event");
            Next::Wait
        })
    });
    event_loop.call_soon(note(&log, "callback"));
    outside.events(&[(token, Readiness::READABLE)]);
    control.pause().unwrap();
    let send = move |_: &mut Ctx<'_>| {
        let message = |ctx: &mut Ctx<'_>| ctx.stop();
        remote.call_soon_threadsafe(message).unwrap();
    };
    control.order(send).unwrap();
    control.resume().unwrap();
    event_loop.run().unwrap();
    assert_eq!(taken(&log), ["event", "callback"]);
    assert_eq!(event_loop.stats().messages, 1);
}

#[test]
fn a_loop_goes_on_when_the_last_control_is_dropped() {
    let (mut event_loop, _, control, told) = controlled();
    event_loop.call_soon(|ctx| ctx.stop());
    control.pause().unwrap();
    let waiting = Arc::clone(&told);
    let other = thread::spawn(move || {
        while waiting.lock().unwrap().is_empty() {
            thread::yield_now();
        }
        drop(control);
    });
    event_loop.run().unwrap();
    other.join().unwrap();
    assert_eq!(heard(&told), ["Pause in 1 at "]);
    let control = event_loop.attach_control();
    assert_eq!(control.state(), LoopState::Running);
}

#[test]
fn stop_ends_a_pause_and_the_loop() {
    let (mut event_loop, _, control, told) = controlled();
    control.pause().unwrap();
    let (remote, waiting) = (event_loop.remote(), Arc::clone(&told));
    let other = thread::spawn(move || {
        while waiting.lock().unwrap().is_empty() {
            thread::yield_now();
        }
        remote.stop().unwrap();
    });
    event_loop.run().unwrap();
    other.join().unwrap();
    assert_eq!(heard(&told), ["Pause in 1 at ", "resumed"]);
    drop(event_loop);
    assert!(control.is_gone());
    assert_eq!(control.pause(), Err(LoopGone));
    let error = control.ask(MS, |_| ()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_a_pause_so_that_a_paused_program_can_be_ended() {
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.on_panic(|panicked| panic!("{panicked}"));
    let stop = |ctx: &mut Ctx<'_>| ctx.stop();
    event_loop.ctx().on_signal(Signal::Hangup, stop).unwrap();
    let control = event_loop.attach_control();
    control.pause().unwrap();
    let other = thread::spawn(move || {
        while control.state() != LoopState::Paused {
            thread::yield_now();
        }
        let pid = std::process::id().to_string();
        let mut kill = std::process::Command::new("kill");
        assert!(kill.args(["-HUP", &pid]).status().unwrap().success());
        control
    });
    event_loop.run().unwrap();
    assert_eq!(other.join().unwrap().state(), LoopState::Running);
}

#[test]
fn a_sleeping_loop_is_woken_for_an_order_and_not_for_one_that_can_wait() {
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.on_panic(|panicked| panic!("{panicked}"));
    let control = event_loop.attach_control();
    let other = thread::spawn(move || {
        while control.state() != LoopState::Asleep {
            thread::yield_now();
        }
        let turns = |ctx: &mut Ctx<'_>| ctx.stats().turns;
        let (send, looked) = mpsc::channel();
        let look = move |ctx: &mut Ctx<'_>| send.send(turns(ctx)).unwrap();
        control.order_when_awake(look).unwrap();
        assert!(looked.recv_timeout(30 * MS).is_err(), "it sleeps on");
        let asked = control.ask(LONG, turns).unwrap();
        assert_eq!(looked.recv().unwrap(), asked, "the first was first");
        control.order(|ctx| ctx.stop()).unwrap();
        asked
    });
    event_loop.run().unwrap();
    assert_eq!(other.join().unwrap(), 1);
    assert_eq!(event_loop.stats().callbacks, 0, "an order is no callback");
}

#[test]
fn an_order_that_panics_is_reported_and_the_loop_goes_on() {
    let (mut event_loop, _, control, told) = controlled();
    control.order(|_| panic!("as ordered")).unwrap();
    turn(&mut event_loop);
    assert_eq!(heard(&told), ["panicked"]);
    assert_eq!(event_loop.stats().panics, 1);
}
