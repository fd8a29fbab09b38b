//! Tasks on the loop: when they are polled, how they end, who hears of it.

use std::cell::Cell;
use std::future::{Future, pending};
use std::rc::Rc;
use std::time::Duration;

use super::manual::manual;
use super::*;
use crate::task::coop::poll_proceed;
use crate::task::{
    BUDGET, JoinError, budget_left, consume_budget, sleep, sleep_until, spawn, yield_now,
};

const MS: Duration = Duration::from_millis(1);

fn turn(event_loop: &mut EventLoop) {
    event_loop.turn(TurnBudget::no_wait()).unwrap();
}

#[test]
fn tasks_are_polled_first_in_the_order_of_spawning_among_the_callbacks() {
    let (mut event_loop, _) = manual();
    let log = log();
    event_loop.call_soon(note(&log, "callback"));
    for name in ["first", "second"] {
        let log = Rc::clone(&log);
        event_loop.spawn(async move { log.borrow_mut().push(name) });
    }
    event_loop.call_soon(note(&log, "callback behind"));
    assert_eq!(taken(&log), [""; 0], "never on the caller's stack");
    turn(&mut event_loop);
    assert_eq!(
        taken(&log),
        ["callback", "first", "second", "callback behind"]
    );
    assert_eq!(event_loop.stats().sources, 0);
}

#[test]
fn a_join_handle_gives_the_result_the_panic_or_the_end() {
    let (mut event_loop, _) = manual();
    event_loop.on_panic(|_| {});
    let value = event_loop.spawn(async { 6 * 7 });
    let panic = event_loop.spawn(async {
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    let aborted = event_loop.spawn(pending::<()>());
    aborted.abort();
    aborted.abort();
    let outcome = event_loop
        .run_until(async { (value.await, panic.await, aborted.await) })
        .unwrap();
    assert_eq!(outcome.0.unwrap(), 42);
    assert!(
        matches!(outcome.1, Err(JoinError::Panicked(panicked)) if panicked.message == "on purpose")
    );
    assert!(matches!(outcome.2, Err(JoinError::Cancelled)));
}

#[test]
fn abort_drops_the_future_with_all_it_holds_and_a_dropped_handle_lets_the_task_run_on() {
    let (mut event_loop, _) = manual();
    let held = Rc::new(());
    let theirs = Rc::clone(&held);
    let task = event_loop.spawn(async move {
        let _held = theirs;
        pending::<()>().await
    });
    turn(&mut event_loop);
    assert!(!task.is_finished());
    task.abort();
    turn(&mut event_loop);
    assert!(task.is_finished());
    assert_eq!(Rc::strong_count(&held), 1);
    task.abort();

    let ran = Rc::new(Cell::new(false));
    let theirs = Rc::clone(&ran);
    drop(event_loop.spawn(async move {
        yield_now().await;
        theirs.set(true);
    }));
    turn(&mut event_loop);
    assert!(!ran.get(), "it yielded");
    turn(&mut event_loop);
    assert!(ran.get());
}

#[test]
fn sleeping_tasks_wake_in_their_order_and_never_early() {
    let (mut event_loop, _) = manual();
    let woken = Rc::new(RefCell::new(Vec::new()));
    let tasks: Vec<_> = [30, 10, 20, 10, 0]
        .into_iter()
        .map(|ms| {
            let woken = Rc::clone(&woken);
            event_loop.spawn(async move {
                let before = Handle::current().time();
                sleep(MS * ms).await;
                assert!(Handle::current().time() >= before + MS * ms);
                sleep_until(before).await;
                woken.borrow_mut().push(ms);
            })
        })
        .collect();
    event_loop
        .run_until(async {
            for task in tasks {
                task.await.unwrap();
            }
        })
        .unwrap();
    assert_eq!(*woken.borrow(), [0, 10, 10, 20, 30]);
}

#[test]
fn a_sleep_that_is_dropped_leaves_no_timer() {
    let (mut event_loop, _) = manual();
    let task = event_loop.spawn(async { sleep(MS).await });
    turn(&mut event_loop);
    assert_eq!(event_loop.stats().timers_set, 1);
    task.abort();
    turn(&mut event_loop);
    assert_eq!(event_loop.stats().timers_set, 0);
}

#[test]
fn run_until_goes_on_where_it_stopped_and_says_when_it_was_interrupted() {
    let (mut event_loop, _) = manual();
    let stopped = event_loop.run_until(async {
        Handle::current().call_soon(|ctx| ctx.stop());
        pending::<()>().await
    });
    assert_eq!(stopped.unwrap_err().kind(), std::io::ErrorKind::Interrupted);
    let nested = event_loop.run_until(async {
        let inner = spawn(async {
            yield_now().await;
            "inner"
        });
        inner.await.unwrap()
    });
    assert_eq!(nested.unwrap(), "inner");
    turn(&mut event_loop);
    assert_eq!(
        event_loop.stats().sources,
        0,
        "the interrupted future was dropped"
    );
}

#[test]
#[should_panic(expected = "on purpose")]
fn run_until_panics_with_the_future() {
    let (mut event_loop, _) = manual();
    event_loop.on_panic(|_| {});
    let fails: std::pin::Pin<Box<dyn Future<Output = ()>>> =
        Box::pin(async { std::panic::resume_unwind(Box::new("on purpose")) });
    let _ = event_loop.run_until(fails);
}

#[test]
fn a_waker_wakes_from_another_thread() {
    let mut event_loop = EventLoop::new().unwrap();
    let mut asked = false;
    let mut thread = None;
    let woken_from = std::future::poll_fn(move |context| {
        if std::mem::replace(&mut asked, true) {
            return std::task::Poll::Ready(thread.take().map(std::thread::JoinHandle::join));
        }
        let waker = context.waker().clone();
        thread = Some(std::thread::spawn(move || waker.wake()));
        std::task::Poll::Pending
    });
    let joined = event_loop.run_until(woken_from).unwrap();
    assert!(joined.unwrap().is_ok());
}

#[test]
fn a_task_says_its_name_where_it_comes_from_what_it_waits_on_and_since_when() {
    let (mut event_loop, _) = manual();
    let start = event_loop.time();
    let line = line!() + 1;
    event_loop.spawn_named("sleeper", async move { sleep_until(start + MS * 5).await });
    turn(&mut event_loop);
    let (_, task) = event_loop.census().next().unwrap();
    assert_eq!(
        (task.kind, task.state, task.name.as_deref()),
        ("task", "waiting", Some("sleeper"))
    );
    assert_eq!(task.origin.map(|origin| origin.line()), Some(line));
    let waits_on = WaitsOn {
        what: "timer",
        detail: Detail::Until(start + MS * 5),
    };
    assert_eq!((task.waits_on, task.waits), (Some(waits_on), 1));
    assert_eq!(task.since, Some(event_loop.now()));
}

#[test]
fn r8_a_task_does_so_many_things_in_one_poll_and_then_the_others_have_their_turn() {
    let (mut event_loop, _) = manual();
    let rounds = Rc::new(Cell::new(0));
    let theirs = Rc::clone(&rounds);
    assert_eq!(budget_left(), None, "no limit outside a task");
    event_loop.spawn(async move {
        loop {
            consume_budget().await;
            theirs.set(theirs.get() + 1);
        }
    });
    for turns in 1..4 {
        turn(&mut event_loop);
        assert_eq!(rounds.get(), BUDGET * turns);
    }
    let (_, task) = event_loop.census().next().unwrap();
    assert_eq!(
        (task.state, task.waits_on.unwrap().what),
        ("woken", "budget")
    );
}

#[test]
fn r8_what_has_to_wait_spends_nothing() {
    let (mut event_loop, _) = manual();
    event_loop.spawn(async {
        let mut sleeps: Vec<_> = (0..500).map(|_| Box::pin(sleep(MS))).collect();
        let all = std::future::poll_fn(move |context| {
            for sleep in &mut sleeps {
                assert!(poll_proceed(context).is_ready());
                assert!(sleep.as_mut().poll(context).is_pending());
            }
            std::task::Poll::<()>::Pending
        });
        all.await
    });
    turn(&mut event_loop);
    let (_, task) = event_loop.census().next().unwrap();
    assert_eq!((task.state, task.waits), ("waiting", 500));
}
