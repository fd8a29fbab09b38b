//! Callbacks, timers, jobs, panics, counters: what is asked of a handle.

use std::cell::Cell;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Wake, Waker};
use std::time::Duration;

use super::manual::{Outside, manual};
use super::*;

const MS: Duration = Duration::from_millis(1);

fn turn(event_loop: &mut EventLoop) -> Turn {
    event_loop.turn(TurnBudget::no_wait()).unwrap()
}

#[test]
fn a_call_can_be_asked_when_it_runs_and_whether_it_has() {
    let (mut event_loop, outside) = manual();
    let when = event_loop.handle().time() + 5 * MS;
    let call = event_loop.call_at(when, |_| {});
    assert_eq!(call.when(), when);
    assert!(call.is_pending() && !call.cancelled());
    assert_eq!(event_loop.next_deadline(), Some(when));
    outside.pass(MS);
    assert!(call.reset(10 * MS));
    assert_eq!(call.when(), when + 6 * MS);
    outside.pass(20 * MS);
    turn(&mut event_loop);
    assert!(!call.is_pending() && !call.cancelled());
    assert!(!call.reset(MS), "it has run");
    assert!(!call.cancel());
    assert_eq!(event_loop.stats().timers_set, 0);
}

#[test]
fn call_soon_can_be_put_off() {
    let (mut event_loop, outside) = manual();
    let log = log();
    let call = event_loop.call_soon(note(&log, "soon"));
    assert!(call.reset(3 * MS));
    turn(&mut event_loop);
    assert_eq!(taken(&log), [""; 0]);
    outside.pass(3 * MS);
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["soon"]);
}

#[test]
fn a_delay_counts_from_the_call_however_stale_the_turns_time_is() {
    let (mut event_loop, outside) = manual();
    let ran = Rc::new(Cell::new(false));
    let (theirs, clock) = (Rc::clone(&ran), Rc::clone(&outside));
    event_loop.call_soon(move |ctx| {
        // Hard work.
        clock.pass(50 * MS);
        assert_eq!(ctx.time() - ctx.now(), 50 * MS);
        ctx.call_later(10 * MS, move |_| theirs.set(true));
    });
    turn(&mut event_loop);
    outside.pass(9 * MS);
    turn(&mut event_loop);
    assert!(!ran.get());
    outside.pass(MS);
    turn(&mut event_loop);
    assert!(ran.get());
}

#[test]
fn the_loop_sleeps_until_its_first_timer_and_no_longer() {
    let (mut event_loop, outside) = manual();
    event_loop.turn(TurnBudget::wait_at_most(7 * MS)).unwrap();
    event_loop.call_later(3 * MS, |_| {});
    let turn = event_loop.turn(TurnBudget::default()).unwrap();
    assert_eq!(*outside.timeouts.borrow(), [Some(7 * MS), Some(3 * MS)]);
    assert_eq!((turn.timers, turn.callbacks, turn.asleep), (1, 1, 3 * MS));
    assert_eq!(event_loop.next_deadline(), None);
}

#[test]
fn a_loop_that_is_awake_is_not_notified_and_one_that_has_messages_does_not_sleep() {
    let (mut event_loop, outside) = manual();
    let remote = event_loop.remote();
    let send_three = move || (0..3).for_each(|_| remote.call_soon_threadsafe(|_| {}).unwrap());
    event_loop.call_soon({
        let send_three = send_three.clone();
        move |_| send_three()
    });
    let notified = || outside.notified.load(Ordering::SeqCst);
    assert_eq!(event_loop.turn(TurnBudget::default()).unwrap().callbacks, 1);
    assert_eq!(notified(), 0, "it is awake");
    assert_eq!(event_loop.next_deadline(), Some(event_loop.handle().time()));
    assert_eq!(event_loop.turn(TurnBudget::default()).unwrap().callbacks, 3);
    assert_eq!(*outside.timeouts.borrow(), [Some(Duration::ZERO); 2]);

    // Between turns whoever turns it may wait for its descriptor.
    send_three();
    assert_eq!(notified(), 1, "once for all");
    assert_eq!(event_loop.turn(TurnBudget::default()).unwrap().callbacks, 3);
    assert_eq!(*outside.timeouts.borrow(), [Some(Duration::ZERO); 3]);
}

#[test]
fn a_loop_that_has_gone_says_so_and_what_waits_in_it_is_dropped() {
    let (event_loop, _) = manual();
    let (remote, handle) = (event_loop.remote(), event_loop.handle().clone());
    let held = std::sync::Arc::new(());
    let (first, second, third) = (held.clone(), held.clone(), held.clone());
    remote.call_soon_threadsafe(move |_| drop(first)).unwrap();
    handle.call_soon(move |_| drop(second));
    handle.call_later(MS, move |_| drop(third));
    drop(event_loop);
    assert_eq!(std::sync::Arc::strong_count(&held), 1);
    assert!(remote.is_gone());
    assert_eq!(remote.call_soon_threadsafe(|_| {}), Err(LoopGone));
    assert_eq!(remote.stop(), Err(LoopGone));
}

#[test]
fn a_job_that_is_cancelled_dropped_or_refused_never_runs_and_a_detached_one_does() {
    let (event_loop, outside) = manual();
    let (sender, ran) = std::sync::mpsc::channel();
    let job = |name: &'static str| {
        let sender = sender.clone();
        event_loop.run_in_executor(move || sender.send(name).unwrap())
    };
    let cancelled = job("cancelled").unwrap();
    assert!(cancelled.cancel());
    drop(job("dropped").unwrap());
    job("detached").unwrap().detach();
    let kept = job("kept").unwrap();
    outside.jobs_max.set(4);
    assert_eq!(
        job("refused").unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    assert!(!kept.is_finished());
    outside.run_jobs();
    assert!(kept.is_finished());
    assert!(!kept.cancel(), "too late");
    assert!(!cancelled.is_finished());
    assert_eq!(ran.try_iter().collect::<Vec<_>>(), ["detached", "kept"]);
}

#[test]
fn on_done_is_called_on_the_loop_whether_the_job_ended_before_or_after_it_was_asked_for() {
    let (mut event_loop, outside) = manual();
    let log = log();
    let (early, late) = (Rc::clone(&log), Rc::clone(&log));
    let job = event_loop.run_in_executor(|| "ended before").unwrap();
    outside.run_jobs();
    job.on_done(move |_, name| early.borrow_mut().push(name.unwrap()));
    let job = event_loop.run_in_executor(|| "ended after").unwrap();
    job.on_done(move |_, name| late.borrow_mut().push(name.unwrap()));
    assert_eq!(taken(&log), [""; 0], "never on the caller's stack");
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["ended before"]);
    outside.run_jobs();
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["ended after"]);
}

/// A panic without a message on standard error.
fn fail(message: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(message))
}

#[test]
fn a_panic_is_reported_with_where_the_code_came_from_and_the_loop_goes_on() {
    let (mut event_loop, outside) = manual();
    let reports = Rc::new(RefCell::new(Vec::new()));
    let theirs = Rc::clone(&reports);
    event_loop.on_panic(move |panicked| theirs.borrow_mut().push(panicked.clone()));
    let log = log();

    let bomb = Visited::and_closed(&log, "closed", |_, _| fail("source"));
    let here = Location::caller().line();
    event_loop.call_soon(|_| fail("callback"));
    event_loop.spawn(async { fail("task") });
    let source = event_loop.ctx().add_source(|_| bomb);
    event_loop.call_soon(note(&log, "the next callback"));
    outside.events(&[(source, Readiness::READABLE)]);
    turn(&mut event_loop);

    assert_eq!(taken(&log), ["the next callback", "closed"]);
    let reports: Vec<_> = reports
        .borrow()
        .iter()
        .map(|panicked| {
            assert!(panicked.origin.file().ends_with("calls.rs"));
            (panicked.message.clone(), panicked.origin.line() - here)
        })
        .collect();
    let expected = [("source", 3), ("callback", 1), ("task", 2)];
    assert_eq!(
        reports,
        expected.map(|(message, line)| (message.to_owned(), line))
    );
    assert_eq!(event_loop.stats().panics, 3);
    assert_eq!(event_loop.stats().sources, 0);
}

#[test]
fn a_panic_in_closed_or_in_a_destructor_is_caught_too() {
    struct Bomb(bool);
    impl Source for Bomb {
        fn ready(&mut self, _: &mut Ctx<'_>, _: Readiness) -> Next {
            Next::Close
        }
        fn closed(&mut self, _: &mut Ctx<'_>) {
            if self.0 {
                fail("closed")
            }
        }
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !self.0 {
                fail("dropped")
            }
        }
    }
    let (mut event_loop, _) = manual();
    let reports = Rc::new(RefCell::new(Vec::new()));
    let theirs = Rc::clone(&reports);
    event_loop.on_panic(move |panicked| theirs.borrow_mut().push(panicked.message.clone()));
    for in_closed in [true, false] {
        event_loop.start_source(Box::new(Bomb(in_closed)));
        turn(&mut event_loop);
    }
    assert_eq!(*reports.borrow(), ["closed", "dropped"]);
}

#[test]
fn a_panic_of_a_foreign_waker_in_the_timers_step_is_caught_and_the_timers_behind_it_fire() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            fail("woken")
        }
    }
    let (mut event_loop, outside) = manual();
    let reports = Rc::new(RefCell::new(Vec::new()));
    let theirs = Rc::clone(&reports);
    event_loop.on_panic(move |panicked| {
        let told = (panicked.message.clone(), panicked.kind);
        theirs.borrow_mut().push(told);
    });
    let log = log();
    let when = event_loop.time() + MS;
    event_loop.wake_at(when, &std::sync::Arc::new(Bomb).into());
    event_loop.call_at(when, note(&log, "the next timer"));
    outside.pass(MS);
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["the next timer"]);
    assert_eq!(*reports.borrow(), [("woken".to_owned(), "waker")]);
    assert_eq!(event_loop.stats().panics, 1);
}

#[test]
fn the_loop_counts_what_it_does_and_who_held_it_longest() {
    let (mut event_loop, outside) = manual();
    let source = event_loop
        .ctx()
        .add_source(|_| Visited::by(|_, _| Next::Wait));
    let clock = Rc::clone(&outside);
    let line = Location::caller().line() + 1;
    event_loop.call_soon(move |_| clock.pass(30 * MS));
    event_loop.call_later(MS, |_| {});
    event_loop.remote().call_soon_threadsafe(|_| {}).unwrap();
    outside.pass(5 * MS);
    outside.events(&[(source, Readiness::READABLE), (source, Readiness::WRITABLE)]);
    let counted = turn(&mut event_loop);
    assert_eq!((counted.events, counted.visits), (2, 2));
    assert_eq!(
        (counted.callbacks, counted.timers, counted.messages),
        (3, 1, 1)
    );
    assert_eq!(counted.lag, 4 * MS);
    let longest = counted.longest.unwrap();
    assert_eq!((longest.took, longest.origin.line()), (30 * MS, line));
    event_loop.turn(TurnBudget::wait_at_most(65 * MS)).unwrap();
    let stats = event_loop.stats();
    assert_eq!((stats.turns, stats.events, stats.callbacks), (2, 2, 3));
    assert_eq!((stats.awake, stats.asleep), (35 * MS, 65 * MS));
    assert!((stats.utilisation() - 0.35).abs() < 1e-9);
    assert_eq!((stats.lag_max, stats.sources), (4 * MS, 1));
    assert_eq!(stats.longest, counted.longest);
}

#[test]
fn time_that_is_nobodys_piece_of_work_is_awake_all_the_same() {
    thread_local! {
        static CLOCK: RefCell<Option<Rc<Outside>>> = const { RefCell::new(None) };
    }
    fn pass(time: Duration) {
        CLOCK.with_borrow(|clock| clock.as_ref().unwrap().pass(time));
    }

    struct SlowWaker;
    impl Wake for SlowWaker {
        fn wake(self: Arc<Self>) {
            pass(10 * MS);
        }
    }

    struct SlowEnd;
    impl Source for SlowEnd {
        fn ready(&mut self, ctx: &mut Ctx<'_>, _: Readiness) -> Next {
            ctx.become_source(Visited::by(|_, _| Next::Wait), Next::Wait)
        }
        fn closed(&mut self, _: &mut Ctx<'_>) {
            pass(20 * MS);
        }
    }
    impl Drop for SlowEnd {
        fn drop(&mut self) {
            pass(40 * MS);
        }
    }

    let (mut event_loop, outside) = manual();
    CLOCK.set(Some(Rc::clone(&outside)));
    let succeeded = event_loop.ctx().add_source(|_| Box::new(SlowEnd));
    let closed = event_loop.ctx().add_source(|_| Box::new(SlowEnd));
    outside.events(&[(succeeded, Readiness::READABLE)]);
    let waker = Waker::from(Arc::new(SlowWaker));
    event_loop.wake_at(event_loop.now() + 500 * MS, &waker);
    event_loop.call_later(700 * MS, move |ctx| ctx.close(closed));
    event_loop.on_panic(|_| pass(5 * MS));
    event_loop.call_later(900 * MS, |_| fail("for the hook"));
    event_loop.call_later(1000 * MS, |ctx| ctx.stop());
    event_loop.run().unwrap();
    let stats = event_loop.stats();
    assert_eq!((stats.awake, stats.asleep), (115 * MS, 885 * MS));
}
