//! Events, conditions and barriers: who goes on, and when.

use super::*;
use crate::sim::run;
use crate::sync::{Barrier, Broken, Condition, Event, Lock};

#[test]
fn an_event_wakes_all_who_wait_in_their_order_even_if_it_is_cleared_at_once() {
    run(async {
        let (event, log) = (Event::new(), Log::default());
        let tasks =
            ["first", "second", "third"].map(|name| note_when_done(&log, name, event.wait()));
        settle().await;
        assert_eq!((log.taken(), event.waiting()), (String::new(), 3));
        event.set();
        event.clear();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(log.taken(), "first second third");
        assert!(poll_once(&mut event.wait()).is_pending());
        event.set();
        event.wait().await;
        assert!(event.is_set());
    });
}

#[test]
fn a_waker_that_joins_the_line_while_it_is_served_waits_for_the_next_time() {
    /// Waits again, on the spot, when it is woken.
    struct Again(std::sync::Mutex<u32>);

    thread_local! {
        static EVENT: Event = Event::new();
        static WAITS: RefCell<Vec<crate::sync::Wait>> = const { RefCell::new(Vec::new()) };
    }

    impl std::task::Wake for Again {
        fn wake(self: std::sync::Arc<Self>) {
            *self.0.lock().unwrap() += 1;
            let waker = Waker::from(std::sync::Arc::clone(&self));
            EVENT.with(Event::clear);
            let mut wait = EVENT.with(Event::wait);
            assert!(
                Pin::new(&mut wait)
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
            WAITS.with_borrow_mut(|waits| waits.push(wait));
        }
    }

    let again = std::sync::Arc::new(Again(std::sync::Mutex::new(0)));
    let waker = Waker::from(std::sync::Arc::clone(&again));
    let mut waits = [EVENT.with(Event::wait), EVENT.with(Event::wait)];
    for wait in &mut waits {
        let _ = Pin::new(wait).poll(&mut Context::from_waker(&waker));
    }
    EVENT.with(Event::set);
    assert_eq!(*again.0.lock().unwrap(), 2);
    assert!(waits.iter_mut().all(|wait| poll_once(wait).is_ready()));
    assert_eq!(EVENT.with(Event::waiting), 2);
    WAITS.take();
}

#[test]
fn a_future_wakes_whoever_polled_it_last() {
    run(async {
        let event = Event::new();
        let mut wait = event.wait();
        assert!(poll_once(&mut wait).is_pending());
        let task = spawn(wait);
        settle().await;
        event.set();
        task.await.unwrap();
    });
}

#[test]
fn a_condition_gives_the_lock_back_while_it_waits_and_ends_with_it() {
    run(async {
        let (lock, condition) = (Lock::new(0), Condition::new());
        let (theirs, changed) = (lock.clone(), condition.clone());
        let task = spawn(async move {
            let guard = changed.wait(theirs.lock().await).await;
            *guard
        });
        settle().await;
        let mut guard = lock.try_lock().expect("nobody has it");
        condition.notify_one();
        settle().await;
        assert!(!task.is_finished(), "it has no lock yet");
        *guard = 7;
        drop(guard);
        assert_eq!(task.await.unwrap(), 7);
        assert!(!lock.is_locked());
    });
}

#[test]
fn a_condition_notifies_one_or_all_in_their_order_and_remembers_nothing() {
    run(async {
        let (lock, condition, log) = (Lock::new(()), Condition::new(), Log::default());
        condition.notify_one();
        let tasks = ["first", "second", "third"].map(|name| {
            let (lock, condition) = (lock.clone(), condition.clone());
            note_when_done(&log, name, async move {
                drop(condition.wait(lock.lock().await).await)
            })
        });
        settle().await;
        assert_eq!((log.taken(), condition.waiting()), (String::new(), 3));
        condition.notify_one();
        settle().await;
        assert_eq!(log.taken(), "first");
        condition.notify_all();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(log.taken(), "second third");
    });
}

#[test]
fn wait_for_looks_again_each_time_and_first_of_all() {
    run(async {
        let (lock, condition) = (Lock::new(1), Condition::new());
        let at_once = condition.wait_for(lock.lock().await, |value| *value == 1);
        drop(at_once.await);
        let (theirs, changed) = (lock.clone(), condition.clone());
        let task = spawn(async move {
            *changed
                .wait_for(theirs.lock().await, |value| *value >= 3)
                .await
        });
        for _ in 0..2 {
            settle().await;
            assert!(!task.is_finished());
            *lock.lock().await += 1;
            condition.notify_one();
        }
        assert_eq!(task.await.unwrap(), 3);
    });
}

#[test]
fn a_waiter_that_looked_before_it_found_the_lock_taken_is_not_overtaken_by_a_change() {
    run(async {
        // The change and the notification come between the look and the wait's first poll: not if the lock is kept
        // till then.
        let (lock, condition) = (Lock::new(false), Condition::new());
        let guard = lock.lock().await;
        let mut wait = condition.wait(guard);
        assert!(lock.try_lock().is_none());
        assert!(poll_once(&mut wait).is_pending());
        *lock.try_lock().unwrap() = true;
        condition.notify_one();
        assert!(*wait.await);
    });
}

#[test]
fn a_barrier_opens_when_all_have_come_and_each_has_a_place_of_its_own() {
    run(async {
        let barrier = Barrier::new(3);
        for _round in 0..2 {
            let others = [spawn(barrier.wait()), spawn(barrier.wait())];
            settle().await;
            assert_eq!(barrier.waiting(), 2);
            assert_eq!(barrier.wait().await, Ok(2));
            let [first, second] = others;
            assert_eq!(
                (first.await.unwrap(), second.await.unwrap()),
                (Ok(0), Ok(1))
            );
            assert_eq!(barrier.waiting(), 0);
        }
    });
}

#[test]
fn a_party_that_leaves_a_barrier_is_waited_for_again() {
    run(async {
        let barrier = Barrier::new(2);
        let left = spawn(barrier.wait());
        settle().await;
        left.abort();
        settle().await;
        let first = spawn(barrier.wait());
        settle().await;
        assert!(!first.is_finished());
        assert_eq!(barrier.wait().await, Ok(1));
        assert_eq!(first.await.unwrap(), Ok(0));
    });
}

#[test]
fn who_comes_to_a_barrier_that_has_just_opened_belongs_to_the_next_round() {
    run(async {
        let barrier = Barrier::new(2);
        let mut first = barrier.wait();
        assert!(poll_once(&mut first).is_pending());
        assert!(poll_once(&mut barrier.wait()).is_ready());
        let mut early = barrier.wait();
        assert!(poll_once(&mut early).is_pending());
        assert_eq!(first.await, Ok(0));
        assert_eq!(barrier.waiting(), 1);
    });
}

#[test]
fn a_barrier_that_is_broken_sends_all_away_until_it_is_reset() {
    run(async {
        let barrier = Barrier::new(2);
        let waits = spawn(barrier.wait());
        settle().await;
        barrier.abort();
        assert_eq!(waits.await.unwrap(), Err(Broken));
        assert_eq!(barrier.wait().await, Err(Broken));
        barrier.reset();
        let waits = spawn(barrier.wait());
        settle().await;
        barrier.reset();
        assert_eq!(waits.await.unwrap(), Err(Broken));
        let waits = spawn(barrier.wait());
        settle().await;
        assert_eq!(barrier.wait().await, Ok(1));
        assert_eq!(waits.await.unwrap(), Ok(0));
    });
}
