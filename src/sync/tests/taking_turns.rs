//! Locks and semaphores: who gets it, and in which order.

use super::*;
use crate::sim::run;
use crate::sync::{Lock, Semaphore};
use crate::task::JoinError;

#[test]
fn a_lock_is_given_in_the_order_of_asking() {
    run(async {
        let (lock, log) = (Lock::new(()), Log::default());
        let guard = lock.lock().await;
        let tasks = ["first", "second", "third"].map(|name| {
            let (lock, log) = (lock.clone(), log.clone());
            spawn(async move {
                let _guard = lock.lock().await;
                log.note(name);
                yield_now().await;
            })
        });
        settle().await;
        assert_eq!((log.taken(), lock.waiting()), (String::new(), 3));
        drop(guard);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(log.taken(), "first second third");
        assert!(!lock.is_locked());
    });
}

#[test]
fn a_lock_is_handed_over_so_that_nobody_overtakes_who_has_waited() {
    run(async {
        let (lock, log) = (Lock::new(()), Log::default());
        let guard = lock.lock().await;
        let task = note_when_done(&log, "waited", {
            let lock = lock.clone();
            async move { drop(lock.lock().await) }
        });
        settle().await;
        drop(guard);
        assert!(
            lock.is_locked(),
            "it is the waiter's before that was polled"
        );
        assert!(lock.try_lock().is_none());
        drop(lock.lock().await);
        log.note("came later");
        task.await.unwrap();
        assert_eq!(log.taken(), "waited came later");
    });
}

#[test]
fn a_lock_keeps_what_was_done_to_its_value_even_if_a_task_panics_or_is_aborted() {
    run(async {
        let lock = Lock::new(vec![0]);
        let theirs = lock.clone();
        let panicked = spawn(async move {
            theirs.lock().await.push(1);
            let _guard = theirs.lock().await;
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(matches!(panicked.await, Err(JoinError::Panicked(_))));
        let theirs = lock.clone();
        let aborted = spawn(async move {
            let mut guard = theirs.lock().await;
            guard.push(2);
            std::future::pending::<()>().await;
        });
        settle().await;
        assert!(lock.try_lock().is_none());
        aborted.abort();
        assert_eq!(*lock.lock().await, [0, 1, 2]);
    });
}

#[test]
fn a_lock_tells_where_its_holder_asked_for_it() {
    run(async {
        let lock = Lock::new(());
        assert_eq!(lock.holder(), None);
        let (guard, line) = (lock.lock().await, line!());
        let holder = lock.holder().unwrap();
        assert_eq!((holder.file(), holder.line()), (file!(), line));
        drop(guard);
        assert_eq!(lock.holder(), None);
    });
}

#[test]
#[should_panic(expected = "on lock held since src/sync/tests/taking_turns.rs")]
fn a_task_that_waits_for_a_lock_says_who_has_it() {
    run(async {
        let lock = Lock::new(());
        let _guard = lock.lock().await;
        let _never = lock.lock().await;
    });
}

#[test]
#[should_panic(expected = "on semaphore held since src/sync/tests/taking_turns.rs")]
fn a_task_that_waits_for_a_semaphore_says_who_has_had_it_longest() {
    run(async {
        let semaphore = Semaphore::new(2);
        let _permits = (semaphore.acquire().await, semaphore.acquire().await);
        let _never = semaphore.acquire().await;
    });
}

#[test]
fn a_semaphore_lets_as_many_in_as_it_has_permits() {
    run(async {
        let semaphore = Semaphore::new(3);
        let inside = Rc::new(std::cell::Cell::new((0, 0)));
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (semaphore, inside) = (semaphore.clone(), Rc::clone(&inside));
                spawn(async move {
                    let _permit = semaphore.acquire().await;
                    let (now, most) = inside.get();
                    inside.set((now + 1, most.max(now + 1)));
                    yield_now().await;
                    let (now, most) = inside.get();
                    inside.set((now - 1, most));
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(inside.get(), (0, 3));
        assert_eq!(semaphore.available(), 3);
    });
}

#[test]
fn who_wants_many_permits_is_not_overtaken_by_those_who_want_few() {
    run(async {
        let (semaphore, log) = (Semaphore::new(2), Log::default());
        let held = semaphore.acquire().await;
        let many = note_when_done(&log, "many", semaphore.acquire_many(2));
        settle().await;
        let few = note_when_done(&log, "few", semaphore.acquire());
        settle().await;
        assert_eq!(semaphore.available(), 1);
        assert!(semaphore.try_acquire().is_none(), "it would overtake");
        drop(held);
        drop(many.await.unwrap());
        drop(few.await.unwrap());
        assert_eq!(log.taken(), "many few");
    });
}

#[test]
fn when_who_wants_many_gives_up_those_behind_go_on_with_what_there_is() {
    run(async {
        let semaphore = Semaphore::new(2);
        let _held = semaphore.acquire().await;
        let many = spawn(semaphore.acquire_many(2));
        settle().await;
        let few = spawn(semaphore.acquire());
        settle().await;
        assert!(!few.is_finished());
        many.abort();
        assert_eq!(few.await.unwrap().permits(), 1);
    });
}

#[test]
fn the_holders_of_a_semaphore_are_listed_the_longest_first() {
    run(async {
        let semaphore = Semaphore::new(3);
        let first = semaphore.acquire().await;
        let _second = semaphore.try_acquire().unwrap();
        let _third = semaphore.acquire().await;
        let lines = || -> Vec<u32> { semaphore.holders().iter().map(|at| at.line()).collect() };
        let all = lines();
        assert!(all.is_sorted() && all.len() == 3);
        drop(first);
        assert_eq!(lines(), all[1..]);
    });
}

#[test]
fn forgotten_permits_come_back_when_they_are_added_and_a_bounded_semaphore_takes_no_others() {
    let semaphore = Semaphore::bounded(2);
    semaphore.try_acquire().unwrap().forget();
    assert_eq!((semaphore.available(), semaphore.holders().len()), (1, 0));
    semaphore.add_permits(1);
    assert_eq!(semaphore.available(), 2);
    let more = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| semaphore.add_permits(1)));
    assert!(more.is_err());
    assert_eq!(semaphore.available(), 2);

    let growing = Semaphore::new(0);
    growing.add_permits(2);
    assert_eq!(growing.try_acquire_many(2).unwrap().permits(), 2);
}

#[test]
fn a_task_whose_permits_are_always_there_does_not_keep_the_others_from_running() {
    run(async {
        let (semaphore, log) = (Semaphore::new(1), Log::default());
        note_when_done(&log, "other", async {});
        for _ in 0..1_000 {
            drop(semaphore.acquire().await);
        }
        log.note("a thousand times");
        assert_eq!(log.taken(), "other a thousand times");
    });
}
