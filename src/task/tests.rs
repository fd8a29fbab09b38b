//! What tasks and waits promise, on a simulated loop: an hour passes in no time, and what waits for ever is found.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn, ready};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::*;
use crate::sim::{cancel_at_each_await, run};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn now() -> Instant {
    Handle::current().time()
}

/// Notes names in the order in which it was told them.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<&'static str>>>);

impl Log {
    fn note(&self, name: &'static str) {
        self.0.borrow_mut().push(name);
    }

    fn taken(&self) -> Vec<&'static str> {
        self.0.take()
    }

    /// Notes `name` when it is dropped.
    fn drop_of(&self, name: &'static str) -> Dropped {
        Dropped(self.clone(), name)
    }
}

struct Dropped(Log, &'static str);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

fn panics(text: &'static str) {
    std::panic::resume_unwind(Box::new(text));
}

async fn after<T>(seconds: u32, value: T) -> T {
    sleep(SECOND * seconds).await;
    value
}

// ---- tasks and their handles --------------------------------------------------------------------------------------

#[test]
fn on_done_is_called_once_with_the_result_in_the_turn_after_the_end_or_at_once_when_that_was_before()
 {
    run(async {
        let results = Rc::new(RefCell::new(Vec::new()));
        let note = |results: &Rc<RefCell<Vec<_>>>| {
            let results = Rc::clone(results);
            move |_: &mut Ctx<'_>, result: Result<u32, JoinError>| {
                results.borrow_mut().push(result.ok())
            }
        };
        let ended = spawn(async { 1 });
        yield_now().await;
        assert!(ended.is_finished());
        ended.on_done(note(&results));
        spawn(after(1, 2)).on_done(note(&results));
        let aborted = spawn(pending());
        aborted.abort();
        aborted.on_done(note(&results));
        assert!(results.borrow().is_empty(), "never on the caller's stack");
        sleep(SECOND * 2).await;
        assert_eq!(*results.borrow(), [Some(1), None, Some(2)]);
    });
}

#[test]
fn an_aborted_task_drops_what_it_held_before_whoever_joins_hears_of_it() {
    run(async {
        let log = Log::default();
        let held = log.drop_of("dropped");
        let task = spawn(async move {
            let _held = held;
            pending::<()>().await
        });
        yield_now().await;
        let handle = task.abort_handle();
        handle.abort();
        handle.abort();
        assert!(!handle.is_finished(), "it ends in the ready step");
        assert!(matches!(task.await, Err(JoinError::Cancelled)));
        assert_eq!(log.taken(), ["dropped"]);
        assert!(handle.is_finished());
    });
}

#[test]
fn a_task_that_is_aborted_before_its_first_poll_is_never_polled() {
    run(async {
        let task = spawn(async { unreachable!("it was aborted") });
        task.abort();
        assert!(matches!(task.await, Err(JoinError::Cancelled)));
    });
}

#[test]
fn a_task_that_aborts_itself_goes_on_to_its_next_await() {
    run(async {
        let log = Log::default();
        let (handle, theirs) = (Rc::new(Cell::new(None::<AbortHandle>)), log.clone());
        let own = Rc::clone(&handle);
        let task = spawn(async move {
            own.take().unwrap().abort();
            theirs.note("goes on");
            yield_now().await;
            theirs.note("and on");
        });
        handle.set(Some(task.abort_handle()));
        assert!(matches!(task.await, Err(JoinError::Cancelled)));
        assert_eq!(log.taken(), ["goes on"]);
    });
}

#[test]
fn a_panic_in_the_drop_of_a_future_is_a_value_too() {
    struct PanicsWhenDropped;
    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panics("in drop");
        }
    }
    let holds = |held: PanicsWhenDropped, waits: bool| async move {
        let _held = held;
        if waits {
            pending::<()>().await;
        }
    };
    run(async move {
        let aborted = spawn(holds(PanicsWhenDropped, true));
        yield_now().await;
        aborted.abort();
        for task in [aborted, spawn(holds(PanicsWhenDropped, false))] {
            let JoinError::Panicked(panicked) = task.await.unwrap_err() else {
                panic!("it was not cancelled");
            };
            assert_eq!(panicked.message, "in drop");
        }
    });
}

#[test]
fn a_name_is_in_the_handle_and_none_where_none_was_given() {
    run(async {
        assert_eq!(spawn_named("worker", ready(())).name(), Some("worker"));
        assert_eq!(spawn(ready(())).name(), None);
    });
}

#[test]
fn r1_and_r8_tasks_that_are_woken_run_in_the_order_of_the_wakes_each_once_a_turn() {
    run(async {
        let (log, wakers) = (Log::default(), Rc::new(RefCell::new(Vec::new())));
        for name in ["first", "second", "third"] {
            let (log, wakers) = (log.clone(), Rc::clone(&wakers));
            spawn(poll_fn(move |context| {
                log.note(name);
                wakers.borrow_mut().push(context.waker().clone());
                Poll::<()>::Pending
            }));
        }
        yield_now().await;
        assert_eq!(log.taken(), ["first", "second", "third"]);
        let wakers = wakers.take();
        for number in [2, 0, 2, 1, 0] {
            wakers[number].wake_by_ref();
        }
        yield_now().await;
        assert_eq!(log.taken(), ["third", "first", "second"]);
    });
}

// ---- time -----------------------------------------------------------------------------------------------------------

#[test]
fn r5_a_sleep_is_never_early_and_those_of_one_moment_end_in_the_order_they_were_first_polled() {
    run(async {
        let (log, start) = (Log::default(), now());
        for (name, seconds) in [("b", 2), ("c", 2), ("a", 1), ("d", 2)] {
            let log = log.clone();
            spawn(async move {
                sleep_until(start + SECOND * seconds).await;
                assert!(now() >= start + SECOND * seconds);
                log.note(name);
            });
        }
        sleep(SECOND * 3).await;
        assert_eq!(log.taken(), ["a", "b", "c", "d"]);
    });
}

#[test]
fn a_sleep_ends_in_the_turn_in_which_its_timer_is_due() {
    run(async {
        let log = Log::default();
        let theirs = log.clone();
        let task = spawn(async move {
            sleep(SECOND).await;
            theirs.note("task");
        });
        yield_now().await;
        let theirs = log.clone();
        Handle::current().call_later(SECOND, move |ctx| {
            theirs.note("callback");
            let theirs = theirs.clone();
            ctx.call_soon(move |_| theirs.note("the next turn"));
        });
        task.await.unwrap();
        yield_now().await;
        assert_eq!(log.taken(), ["task", "callback", "the next turn"]);
    });
}

#[test]
fn a_sleep_of_no_time_is_a_turn() {
    run(async {
        let log = Log::default();
        let theirs = log.clone();
        Handle::current().call_soon(move |_| theirs.note("another"));
        let before = now();
        sleep(Duration::ZERO).await;
        assert_eq!((log.taken(), now()), (vec!["another"], before));
    });
}

#[test]
fn a_sleep_can_be_moved_in_both_directions_and_begins_anew_when_it_is_over() {
    run(async {
        let start = now();
        let mut nap = pin!(sleep(SECOND * 5));
        for seconds in [7, 3, 4] {
            let polled = poll_fn(|context| Poll::Ready(nap.as_mut().poll(context))).await;
            assert!(polled.is_pending());
            nap.reset(start + SECOND * seconds);
        }
        nap.as_mut().await;
        assert_eq!(now() - start, SECOND * 4);
        nap.reset(start + SECOND * 9);
        nap.await;
        assert_eq!(now() - start, SECOND * 9);
    });
}

#[test]
fn a_sleep_wakes_who_polled_it_last() {
    run(async {
        let mut nap = Box::pin(sleep(SECOND));
        let polled = poll_fn(|context| Poll::Ready(nap.as_mut().poll(context))).await;
        assert!(polled.is_pending());
        spawn(nap).await.unwrap();
    });
}

#[test]
fn an_interval_keeps_its_pace_however_long_the_work_between_its_ticks_takes() {
    run(async {
        let start = now();
        let mut ticks = interval(SECOND * 10);
        for (number, work) in [(0, 3), (1, 9), (2, 1)] {
            assert_eq!(ticks.tick().await - start, SECOND * 10 * number);
            assert_eq!(now() - start, SECOND * 10 * number);
            sleep(SECOND * work).await;
        }
        ticks.reset();
        ticks.tick().await;
        assert_eq!(now() - start, SECOND * 31);
    });
}

#[test]
fn missed_ticks_come_in_a_burst_or_delay_the_others_or_are_skipped_as_was_asked_for() {
    run(async {
        for (missed_ticks, expected) in [
            (MissedTicks::Burst, [0, 35, 35, 35, 40, 50]),
            (MissedTicks::Delay, [0, 35, 45, 55, 65, 75]),
            (MissedTicks::Skip, [0, 35, 40, 50, 60, 70]),
        ] {
            let start = now();
            let mut ticks = interval(SECOND * 10).missed_ticks(missed_ticks);
            let mut came = Vec::new();
            for number in 0..expected.len() {
                ticks.tick().await;
                came.push((now() - start).as_secs());
                if number == 0 {
                    sleep(SECOND * 35).await;
                }
            }
            assert_eq!(came, expected, "{missed_ticks:?}");
        }
    });
}

#[test]
fn jitter_makes_each_tick_late_by_a_part_of_it_without_drift_and_comes_again_under_the_simulator() {
    let lateness = || {
        run(async {
            let start = now();
            let mut ticks = interval(SECOND * 10).jitter(SECOND * 5);
            let mut late = Vec::new();
            for number in 0..20 {
                let meant_for = ticks.tick().await;
                assert_eq!(meant_for, start + SECOND * 10 * number);
                late.push(now() - meant_for);
            }
            late
        })
    };
    let late = lateness();
    assert!(late.iter().all(|late| *late <= SECOND * 5 + MS), "{late:?}");
    assert!(late.iter().max().unwrap() > &(SECOND * 3), "{late:?}");
    assert!(late.iter().min().unwrap() < &(SECOND * 2), "{late:?}");
    assert_eq!(late, lateness());
}

#[test]
fn a_timeout_drops_its_future_before_it_says_that_the_time_is_over() {
    run(async {
        let (log, start) = (Log::default(), now());
        let held = log.drop_of("dropped");
        let slow = async move {
            let _held = held;
            pending::<()>().await
        };
        assert_eq!(timeout(SECOND, slow).await, Err(Elapsed));
        assert_eq!((log.taken(), now() - start), (vec!["dropped"], SECOND));
        assert_eq!(timeout_at(start, pending::<()>()).await, Err(Elapsed));
        assert_eq!(
            timeout_at(start, ready(1)).await,
            Ok(1),
            "what is done has won"
        );
        assert_eq!(timeout(SECOND, sleep(SECOND)).await, Ok(()));
    });
}

#[test]
fn a_deadline_can_be_moved_while_its_future_runs_by_itself_or_by_others_later_or_earlier_or_away() {
    run(async {
        let start = now();
        let at = move |seconds| Some(start + SECOND * seconds);

        let deadline = Deadline::at(at(1));
        let own = deadline.clone();
        let moves_itself = async move {
            own.reschedule(at(3));
            sleep(SECOND * 2).await;
            own.reschedule(None);
            sleep(SECOND * 2).await;
        };
        assert_eq!(deadline.limit(moves_itself).await, Ok(()));
        assert_eq!((now() - start, deadline.is_expired()), (SECOND * 4, false));

        let deadline = Deadline::at(at(20));
        let theirs = deadline.clone();
        spawn(async move {
            sleep(SECOND).await;
            theirs.reschedule(at(6));
        });
        assert_eq!(deadline.limit(pending::<()>()).await, Err(Elapsed));
        assert_eq!((now() - start, deadline.is_expired()), (SECOND * 6, true));
    });
}

#[test]
fn who_waits_within_a_timeout_is_said_to_wait_on_what_is_inside() {
    run(async {
        spawn_named("limited", timeout(SECOND, spawn(sleep(SECOND * 2))));
        yield_now().await;
        yield_now().await;
        let told = Rc::new(RefCell::new(None));
        let theirs = Rc::clone(&told);
        Handle::current().call_soon(move |ctx| {
            let limited = ctx
                .census()
                .find(|(_, task)| task.name.as_deref() == Some("limited"));
            *theirs.borrow_mut() = limited.and_then(|(_, task)| task.waits_on);
        });
        yield_now().await;
        assert_eq!(told.take().unwrap().what, "task");
    });
}

// ---- several ----------------------------------------------------------------------------------------------------------

#[test]
fn gather_returns_values_in_the_order_given_whatever_the_order_of_the_ends() {
    run(async {
        let start = now();
        let values = gather([3, 1, 2].map(|n| async move { Ok::<_, ()>(after(n, n).await) }));
        assert_eq!(values.await, Ok(vec![3, 1, 2]));
        assert_eq!(now() - start, SECOND * 3);
        assert_eq!(
            gather(Vec::<std::future::Ready<Result<(), ()>>>::new()).await,
            Ok(vec![])
        );
    });
}

#[test]
fn gather_fails_at_once_and_drops_futures_but_lets_tasks_run_on() {
    run(async {
        let log = Log::default();
        let child = |n: u32, name: &'static str| {
            let (log, held) = (log.clone(), log.drop_of("dropped"));
            async move {
                let _held = held;
                sleep(SECOND * n).await;
                log.note(name);
                if n == 1 { Err("failed") } else { Ok(n) }
            }
        };
        let start = now();
        assert_eq!(
            gather([child(1, "first"), child(2, "second")]).await,
            Err("failed")
        );
        assert_eq!(now() - start, SECOND);
        assert_eq!(log.taken(), ["first", "dropped", "dropped"]);

        let flat = |task: JoinHandle<_>| async { task.await.unwrap() };
        let tasks = [spawn(child(1, "first")), spawn(child(2, "second"))];
        assert_eq!(gather(tasks.map(flat)).await, Err("failed"));
        sleep(SECOND * 5).await;
        assert_eq!(log.taken(), ["first", "dropped", "second", "dropped"]);
    });
}

#[test]
fn gather_all_returns_every_result_errors_and_panics_included() {
    run(async {
        let results = gather_all([1, 2, 3].map(|n| {
            spawn(async move {
                match after(4 - n, n).await {
                    2 => panics("on purpose"),
                    3 => return Err("odd"),
                    _ => {}
                }
                Ok(n)
            })
        }))
        .await;
        assert!(matches!(results[0], Ok(Ok(1))));
        assert!(matches!(&results[1], Err(JoinError::Panicked(by)) if by.message == "on purpose"));
        assert!(matches!(results[2], Ok(Err("odd"))));
    });
}

#[test]
fn only_the_child_that_was_woken_is_polled() {
    run(async {
        let polls = Rc::new(Cell::new(0));
        let children = (1..=1000).map(|n| {
            let polls = Rc::clone(&polls);
            let mut nap = Box::pin(sleep(SECOND * n));
            poll_fn(move |context| {
                polls.set(polls.get() + 1);
                nap.as_mut().poll(context)
            })
        });
        gather_all(children).await;
        assert_eq!(
            polls.get(),
            2 * 1000,
            "once to begin with, once when it was woken"
        );
    });
}

#[test]
fn r2_children_that_wake_themselves_for_ever_do_not_keep_the_loop() {
    run(async {
        let restless = || async {
            loop {
                yield_now().await;
            }
        };
        let ten_turns = async {
            for _ in 0..10 {
                yield_now().await;
            }
        };
        let first = select(race([restless(), restless()]), ten_turns).await;
        assert_eq!(first, Either::Right(()));
    });
}

#[test]
fn wait_returns_with_the_first_the_first_failure_or_all_and_gives_the_others_back() {
    run(async {
        let tasks = || {
            [3, 1, 2].map(|n| {
                Box::pin(async move {
                    if n == 2 {
                        Err(after(n, n).await)
                    } else {
                        Ok(after(n, n).await)
                    }
                })
            })
        };
        for (return_when, done, pending) in [
            (ReturnWhen::FirstCompleted, vec![(1, Ok(1))], vec![0, 2]),
            (
                ReturnWhen::FirstException,
                vec![(1, Ok(1)), (2, Err(2))],
                vec![0],
            ),
            (
                ReturnWhen::AllCompleted,
                vec![(1, Ok(1)), (2, Err(2)), (0, Ok(3))],
                vec![],
            ),
        ] {
            let waited = wait(tasks(), return_when).await;
            assert_eq!(waited.done, done, "{return_when:?}");
            let numbers: Vec<_> = waited.pending.iter().map(|(number, _)| *number).collect();
            assert_eq!(numbers, pending, "{return_when:?}");
            let rest = wait(
                waited.pending.into_iter().map(|(_, future)| future),
                ReturnWhen::AllCompleted,
            );
            assert_eq!(rest.await.done.len(), numbers.len());
        }
    });
}

#[test]
fn as_completed_gives_each_as_it_comes_and_loses_none_when_it_is_cancelled() {
    run(async {
        let mut results = as_completed([3, 1, 2].map(|n| after(n, n)));
        assert_eq!(timeout(MS, results.next()).await, Err(Elapsed));
        assert_eq!(results.next().await, Some((1, 1)));
        assert_eq!(timeout(MS, results.next()).await, Err(Elapsed));
        assert_eq!((results.next().await, results.left()), (Some((2, 2)), 1));
        assert_eq!(results.next().await, Some((0, 3)));
        assert_eq!(results.next().await, None);
    });
}

#[test]
fn race_and_select_drop_who_has_lost_and_the_first_given_wins_a_tie() {
    run(async {
        let log = Log::default();
        let runner = |n: u32, name| {
            let held = log.drop_of(name);
            async move {
                let _held = held;
                after(n, n).await
            }
        };
        assert_eq!(race([runner(2, "slow"), runner(1, "fast")]).await, (1, 1));
        assert_eq!(log.taken(), ["fast", "slow"]);
        assert_eq!(race([ready(1), ready(2)]).await, (0, 1));
        assert_eq!(
            select(runner(1, "left"), runner(1, "right")).await,
            Either::Left(1)
        );
        assert_eq!(
            select(runner(2, "left"), pending::<()>()).await,
            Either::Left(2)
        );
        assert_eq!(both(after(2, 'a'), after(1, 2)).await, ('a', 2));
    });
}

// ---- groups -------------------------------------------------------------------------------------------------------------

#[test]
fn a_group_gives_the_results_of_all_in_the_order_of_spawning_also_of_those_that_its_tasks_spawned()
{
    run(async {
        let group = TaskGroup::<u32, ()>::new();
        let spawner = group.spawner();
        group.spawn(async move {
            spawner.spawn(async { Ok(after(5, 30).await) });
            Ok(after(2, 10).await)
        });
        group.spawn(async { Ok(after(1, 20).await) });
        let aborted = group.spawn_named("aborted", pending());
        aborted.abort();
        assert_eq!(group.join().await.unwrap(), [10, 20, 30]);
    });
}

#[test]
fn one_failure_in_a_group_ends_the_others_and_join_waits_for_their_end_and_returns_every_error() {
    run(async {
        let (log, start) = (Log::default(), now());
        let group = TaskGroup::<(), String>::new();
        for n in [2, 1, 1] {
            let held = log.drop_of("dropped");
            group.spawn(async move {
                let _held = held;
                after(n, ()).await;
                Err(format!("after {n} s"))
            });
        }
        group.spawn(async {
            sleep(SECOND).await;
            panics("on purpose");
            Ok(())
        });
        let spawner = group.spawner();
        let errors = group.join().await.unwrap_err();
        assert_eq!(now() - start, SECOND);
        assert_eq!(log.taken(), ["dropped"; 3]);
        assert_eq!(
            errors.to_string(),
            "a task of the group failed: after 1 s, and 2 others"
        );
        let failures: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert!(
            failures[2].ends_with("panicked: on purpose"),
            "{failures:?}"
        );

        let late = spawner.spawn(async { unreachable!("the group has failed") });
        yield_now().await;
        yield_now().await;
        assert!(late.is_finished());
    });
}

#[test]
fn a_group_that_is_dropped_ends_its_tasks() {
    run(async {
        let log = Log::default();
        let held = log.drop_of("dropped");
        let group = TaskGroup::<(), ()>::new();
        group.spawn(async move {
            let _held = held;
            pending().await
        });
        yield_now().await;
        drop(group);
        yield_now().await;
        yield_now().await;
        assert_eq!(log.taken(), ["dropped"]);
    });
}

// ---- cancellation, wherever they wait -----------------------------------------------------------------------------------

#[test]
fn waits_for_time_leave_no_timer_wherever_they_are_cancelled() {
    let awaits = cancel_at_each_await(|| {
        let victim = async {
            sleep(SECOND).await;
            sleep(Duration::ZERO).await;
            sleep_until(now() + SECOND).await;
            yield_now().await;
            let mut ticks = interval(SECOND).jitter(MS * 10);
            ticks.tick().await;
            ticks.tick().await;
            let _ = timeout(SECOND, pending::<()>()).await;
            let _ = timeout(SECOND * 2, sleep(SECOND)).await;
            let deadline = Deadline::after(SECOND);
            let own = deadline.clone();
            let moves_itself = async move {
                yield_now().await;
                own.reschedule(Some(now() + SECOND * 5));
                sleep(SECOND * 2).await;
            };
            deadline.limit(moves_itself).await.unwrap();
        };
        (victim, async {})
    });
    assert!(awaits >= 10, "{awaits}");
}

#[test]
fn who_waits_for_a_task_can_be_cancelled_and_the_task_runs_on() {
    let awaits = cancel_at_each_await(|| {
        let done = Rc::new(Cell::new(0));
        let count = |seconds: u32| {
            let done = Rc::clone(&done);
            async move {
                sleep(SECOND * seconds).await;
                done.set(done.get() + 1);
            }
        };
        let (task, shielded) = (spawn(count(1)), shield(count(2)));
        let victim = async {
            task.await.unwrap();
            shielded.await.unwrap();
        };
        let afterwards = async move {
            sleep(SECOND * 3).await;
            assert_eq!(done.get(), 2);
        };
        (victim, afterwards)
    });
    assert_eq!(awaits, 2);
}

#[test]
fn waits_for_several_drop_them_all_wherever_they_are_cancelled() {
    let awaits = cancel_at_each_await(|| {
        let held = Rc::new(());
        let theirs = Rc::clone(&held);
        let child = move |n: u32| {
            let held = Rc::clone(&theirs);
            async move {
                sleep(SECOND * n).await;
                drop(held);
                if n == 4 { Err(n) } else { Ok(n) }
            }
        };
        let all = move || [3, 1, 4, 2].map(&child);
        let victim = async move {
            gather(all()).await.unwrap_err();
            gather_all(all()).await;
            let waited = wait(all(), ReturnWhen::FirstCompleted).await;
            let pending = waited.pending.into_iter().map(|(_, future)| future);
            wait(pending, ReturnWhen::FirstException).await;
            let mut results = as_completed(all());
            while results.next().await.is_some() {}
            drop(results);
            race(all()).await.1.unwrap();
            let [a, b, c, d] = all();
            select(a, b).await;
            both(c, d).await.0.unwrap_err();
        };
        let afterwards = async move { assert_eq!(Rc::strong_count(&held), 1) };
        (victim, afterwards)
    });
    assert!(awaits >= 16, "{awaits}");
}

#[test]
fn a_group_leaves_no_task_wherever_it_is_cancelled() {
    let awaits = cancel_at_each_await(|| {
        let victim = async {
            let group = TaskGroup::<u32, u32>::new();
            let spawner = group.spawner();
            group.spawn(async move {
                sleep(SECOND).await;
                spawner.spawn(after(1, Ok(2)));
                Ok(1)
            });
            assert_eq!(group.join().await.unwrap(), [1, 2]);
            let group = TaskGroup::<u32, u32>::new();
            group.spawn(after(3, Ok(1)));
            group.spawn(after(1, Err(2)));
            group.join().await.unwrap_err();
        };
        (victim, async {})
    });
    assert!(awaits >= 4, "{awaits}");
}

#[test]
fn a_job_is_taken_back_while_it_is_queued() {
    let awaits = cancel_at_each_await(|| {
        let victim = async {
            let job = Handle::current().run_in_executor(|| 6 * 7).unwrap();
            assert_eq!(job.await.unwrap(), 42);
        };
        (victim, async {})
    });
    assert_eq!(awaits, 1);
}
