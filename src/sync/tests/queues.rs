//! Queues: order, room, and the end of work.

use super::*;
use crate::sim::run;
use crate::sync::{Closed, LifoQueue, PriorityQueue, Queue, SendError, TrySendError};

#[test]
fn a_queue_is_first_in_first_out_and_a_full_one_makes_who_puts_wait() {
    run(async {
        let (queue, log) = (Queue::bounded(2), Log::default());
        let (theirs, noted) = (queue.clone(), log.clone());
        let producer = spawn(async move {
            for number in 0..5 {
                theirs.put(number).await.unwrap();
                noted.note(format!("put {number}"));
            }
        });
        settle().await;
        assert_eq!(log.taken(), "put 0 put 1");
        assert_eq!(
            (queue.len(), queue.is_full(), queue.putters()),
            (2, true, 1)
        );
        assert_eq!(queue.try_put(9), Err(TrySendError::Full(9)));
        for number in 0..5 {
            assert_eq!(queue.get().await, Ok(number));
        }
        producer.await.unwrap();
        assert_eq!(queue.try_get(), Ok(None));
        assert!(queue.is_empty());
    });
}

#[test]
fn those_who_get_are_served_in_their_order_and_nobody_takes_what_was_promised() {
    run(async {
        let (queue, log) = (Queue::unbounded(), Log::default());
        let first = note_when_done(&log, "first", queue.get());
        let second = note_when_done(&log, "second", queue.get());
        settle().await;
        assert_eq!(queue.getters(), 2);
        queue.try_put("a").unwrap();
        queue.try_put("b").unwrap();
        assert_eq!(queue.try_get(), Ok(None), "both are promised");
        assert_eq!(first.await.unwrap(), Ok("a"));
        assert_eq!(second.await.unwrap(), Ok("b"));
        assert_eq!(log.taken(), "first second");
    });
}

#[test]
fn those_who_put_are_served_in_their_order_and_nobody_takes_their_room() {
    run(async {
        let (queue, log) = (Queue::bounded(1), Log::default());
        queue.put(0).await.unwrap();
        let first = note_when_done(&log, "first", queue.put(1));
        settle().await;
        let second = note_when_done(&log, "second", queue.put(2));
        settle().await;
        assert_eq!(queue.try_get(), Ok(Some(0)));
        assert_eq!(
            queue.try_put(9),
            Err(TrySendError::Full(9)),
            "it is promised"
        );
        settle().await;
        assert_eq!(queue.get().await, Ok(1));
        assert_eq!(queue.get().await, Ok(2));
        assert!(first.await.unwrap().is_ok() && second.await.unwrap().is_ok());
        assert_eq!(log.taken(), "first second");
    });
}

#[test]
fn join_waits_until_every_item_is_done_and_not_only_got() {
    run(async {
        let (queue, log) = (Queue::unbounded(), Log::default());
        queue.join().await;
        queue.try_put(1).unwrap();
        queue.try_put(2).unwrap();
        let join = note_when_done(&log, "all done", queue.join());
        for _ in 0..2 {
            settle().await;
            assert_eq!(log.taken(), "");
            queue.get().await.unwrap();
            settle().await;
            assert_eq!(log.taken(), "");
            queue.task_done();
        }
        join.await.unwrap();
        assert_eq!(log.taken(), "all done");
    });
}

#[test]
#[should_panic(expected = "task_done was called more often than items were put in")]
fn task_done_without_a_task_panics() {
    Queue::<()>::unbounded().task_done();
}

#[test]
fn shutdown_lets_what_is_there_be_got_and_nothing_more_in() {
    run(async {
        let queue = Queue::bounded(1);
        queue.put("kept").await.unwrap();
        let putter = spawn(queue.put("refused"));
        settle().await;
        queue.shutdown();
        queue.shutdown();
        assert_eq!(putter.await.unwrap(), Err(SendError("refused")));
        assert_eq!(queue.put("too late").await, Err(SendError("too late")));
        assert_eq!(
            queue.try_put("too late"),
            Err(TrySendError::Closed("too late"))
        );
        assert_eq!(queue.get().await, Ok("kept"));
        assert_eq!(queue.get().await, Err(Closed));
        assert_eq!(queue.try_get(), Err(Closed));
    });
}

#[test]
fn shutdown_ends_those_who_wait_for_items() {
    run(async {
        let queue = Queue::<u32>::unbounded();
        let getters = [spawn(queue.get()), spawn(queue.get())];
        settle().await;
        queue.shutdown();
        for getter in getters {
            assert_eq!(getter.await.unwrap(), Err(Closed));
        }
    });
}

#[test]
fn an_item_that_was_promised_before_the_shutdown_is_got_after_it() {
    run(async {
        let queue = Queue::unbounded();
        let getter = spawn(queue.get());
        settle().await;
        queue.try_put("promised").unwrap();
        queue.shutdown();
        assert_eq!(
            queue.get().await,
            Err(Closed),
            "who comes later does not get it"
        );
        assert_eq!(getter.await.unwrap(), Ok("promised"));
    });
}

#[test]
fn shutdown_now_drops_what_is_there_and_counts_it_as_done() {
    run(async {
        let (queue, held) = (Queue::unbounded(), Rc::new(()));
        for _ in 0..3 {
            queue.try_put(Rc::clone(&held)).unwrap();
        }
        let got = queue.get().await.unwrap();
        let late = spawn(queue.get());
        let join = spawn(queue.join());
        queue.shutdown_now();
        assert_eq!(Rc::strong_count(&held), 2, "ours, and the one that was got");
        assert_eq!(late.await.unwrap(), Err(Closed));
        settle().await;
        assert!(!join.is_finished(), "one was got and is not done");
        drop(got);
        queue.task_done();
        join.await.unwrap();
    });
}

#[test]
fn an_item_whose_drop_uses_the_queue_finds_it_free() {
    struct Asks(Queue<Asks>);

    impl Drop for Asks {
        fn drop(&mut self) {
            assert!(self.0.is_empty() && self.0.is_shut_down());
        }
    }

    let queue = Queue::unbounded();
    queue.try_put(Asks(queue.clone())).unwrap();
    queue.shutdown_now();
}

#[test]
fn a_priority_queue_gives_the_smallest_first_and_equal_ones_in_their_order() {
    run(async {
        /// Only the number counts.
        #[derive(Debug, PartialEq, Eq)]
        struct Job(u32, &'static str);

        impl Ord for Job {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.0.cmp(&other.0)
            }
        }

        impl PartialOrd for Job {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        let queue = PriorityQueue::bounded(10);
        for job in [
            Job(2, "a"),
            Job(1, "b"),
            Job(2, "c"),
            Job(1, "d"),
            Job(0, "e"),
        ] {
            queue.put(job).await.unwrap();
        }
        let mut order = String::new();
        while let Ok(Some(job)) = queue.try_get() {
            order.push_str(job.1);
        }
        assert_eq!(order, "ebdac");
    });
}

#[test]
fn who_waited_at_a_priority_queue_gets_the_smallest_there_is_when_its_turn_comes() {
    run(async {
        let queue = PriorityQueue::unbounded();
        let getter = spawn(queue.get());
        settle().await;
        queue.try_put(2).unwrap();
        queue.try_put(1).unwrap();
        assert_eq!(getter.await.unwrap(), Ok(1));
        assert_eq!(queue.try_get(), Ok(Some(2)));
    });
}

#[test]
fn a_lifo_queue_gives_the_last_first() {
    let queue = LifoQueue::bounded(2);
    queue.try_put(1).unwrap();
    queue.try_put(2).unwrap();
    assert!(queue.is_full());
    assert_eq!(queue.try_get(), Ok(Some(2)));
    assert_eq!(queue.clone().try_get(), Ok(Some(1)));
}

#[test]
fn a_queue_that_is_never_empty_does_not_keep_the_others_from_running() {
    run(async {
        let (queue, log) = (Queue::unbounded(), Log::default());
        note_when_done(&log, "other", async {});
        for _ in 0..1_000 {
            queue.put(()).await.unwrap();
            queue.get().await.unwrap();
        }
        log.note("a thousand items");
        assert_eq!(log.taken(), "other a thousand items");
    });
}
