//! Each primitive, cancelled at each of its awaits: before it was handed something, and after.

use std::future::poll_fn;
use std::time::Duration;

use super::*;
use crate::sim::cancel_at_each_await;
use crate::sync::{
    Barrier, Condition, Event, Lock, PriorityQueue, Queue, Semaphore, broadcast, mpsc, oneshot,
    watch,
};
use crate::task::sleep;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_lock_can_be_taken_again_wherever_who_waited_for_it_was_cancelled() {
    let awaits = cancel_at_each_await(|| {
        let lock = Lock::new(0);
        let theirs = lock.clone();
        let holder = spawn(async move {
            let mut guard = theirs.lock().await;
            sleep(SECOND).await;
            *guard += 1;
        });
        let theirs = lock.clone();
        let victim = async move {
            yield_now().await;
            let mut guard = theirs.lock().await;
            yield_now().await;
            *guard += 10;
        };
        (victim, async move {
            holder.await.unwrap();
            let value = *lock.lock().await;
            assert!([1, 11].contains(&value), "done or not done, and no third");
        })
    });
    assert_eq!(awaits, 3);
}

#[test]
fn a_lock_goes_on_to_the_next_in_line_wherever_who_was_before_it_was_cancelled() {
    let awaits = cancel_at_each_await(|| {
        let lock = Lock::new(());
        let guard = lock.try_lock().unwrap();
        let holder = spawn(async move {
            sleep(SECOND).await;
            drop(guard);
        });
        let theirs = lock.clone();
        let victim = async move { drop(theirs.lock().await) };
        let theirs = lock.clone();
        let next = spawn(async move {
            sleep(SECOND / 2).await;
            drop(theirs.lock().await);
        });
        (victim, async move {
            holder.await.unwrap();
            next.await.unwrap();
            assert!(!lock.is_locked());
        })
    });
    assert_eq!(awaits, 1);
}

#[test]
fn the_permits_of_a_semaphore_are_back_wherever_who_waited_for_them_was_cancelled() {
    for wanted in [1, 2, 3] {
        let awaits = cancel_at_each_await(move || {
            let semaphore = Semaphore::bounded(3);
            let held = semaphore.try_acquire_many(3).unwrap();
            let holder = spawn(async move {
                sleep(SECOND).await;
                drop(held);
            });
            let theirs = semaphore.clone();
            let victim = async move {
                let permit = theirs.acquire_many(wanted).await;
                sleep(SECOND).await;
                drop(permit);
            };
            let theirs = semaphore.clone();
            let behind = spawn(async move {
                sleep(SECOND / 2).await;
                drop(theirs.acquire_many(2).await);
            });
            (victim, async move {
                holder.await.unwrap();
                behind.await.unwrap();
                assert_eq!((semaphore.available(), semaphore.waiting()), (3, 0));
                assert!(semaphore.holders().is_empty());
            })
        });
        assert_eq!(awaits, 2);
    }
}

#[test]
fn an_event_wakes_the_others_wherever_one_was_cancelled() {
    let awaits = cancel_at_each_await(|| {
        let event = Event::new();
        let other = spawn(event.wait());
        let victim = event.wait();
        let theirs = event.clone();
        let setter = spawn(async move {
            sleep(SECOND).await;
            theirs.set();
        });
        (victim, async move {
            setter.await.unwrap();
            other.await.unwrap();
            assert_eq!(event.waiting(), 0);
        })
    });
    assert_eq!(awaits, 1);
}

#[test]
fn a_notification_goes_to_the_next_wherever_who_had_it_was_cancelled() {
    let awaits = cancel_at_each_await(|| {
        let (lock, condition) = (Lock::new(0), Condition::new());
        let (theirs, changed) = (lock.clone(), condition.clone());
        let victim = async move {
            let mut guard = changed.wait(theirs.lock().await).await;
            *guard += 1;
            // Has done what it was notified for, and tells of it.
            changed.notify_one();
        };
        let (theirs, changed) = (lock.clone(), condition.clone());
        let other = spawn(async move {
            sleep(SECOND).await;
            let mut guard = changed.wait(theirs.lock().await).await;
            *guard += 1;
        });
        let (theirs, changed) = (lock.clone(), condition.clone());
        let notifier = spawn(async move {
            sleep(2 * SECOND).await;
            // Under the lock: a waiter that is notified has to wait for that, too.
            let guard = theirs.lock().await;
            changed.notify_one();
            sleep(SECOND).await;
            drop(guard);
        });
        (victim, async move {
            notifier.await.unwrap();
            other.await.unwrap();
            assert!([1, 2].contains(&*lock.lock().await));
            assert_eq!(condition.waiting(), 0);
        })
    });
    assert_eq!(awaits, 2);
}

#[test]
fn a_barrier_waits_for_as_many_as_before_wherever_a_party_was_cancelled() {
    let awaits = cancel_at_each_await(|| {
        let barrier = Barrier::new(2);
        let victim = barrier.wait();
        let comes = barrier.clone();
        let last = spawn(async move {
            sleep(SECOND).await;
            comes.wait().await
        });
        (victim, async move {
            if barrier.waiting() == 0 && !last.is_finished() {
                // The victim went before the other one came.
                assert_eq!(barrier.wait().await, Ok(0));
            }
            last.await.unwrap().unwrap();
            assert_eq!(barrier.waiting(), 0);
        })
    });
    assert_eq!(awaits, 1);
}

#[test]
fn a_queue_loses_no_item_wherever_who_gets_was_cancelled() {
    let awaits = cancel_at_each_await(|| {
        let (queue, got) = (Queue::bounded(2), Log::default());
        let (theirs, log) = (queue.clone(), got.clone());
        let victim = async move {
            while let Ok(item) = theirs.get().await {
                log.note(item);
            }
        };
        let theirs = queue.clone();
        let producer = spawn(async move {
            for item in 0..4 {
                sleep(SECOND).await;
                theirs.put(item).await.unwrap();
            }
            theirs.shutdown();
        });
        (victim, async move {
            while let Ok(item) = queue.get().await {
                got.note(item);
            }
            producer.await.unwrap();
            assert_eq!(got.taken(), "0 1 2 3");
        })
    });
    assert_eq!(awaits, 4);
}

#[test]
fn a_queue_has_all_of_its_room_wherever_who_puts_was_cancelled() {
    let awaits = cancel_at_each_await(|| {
        let queue = Queue::bounded(1);
        queue.try_put(0).unwrap();
        let theirs = queue.clone();
        let victim = async move {
            theirs.put(1).await.unwrap();
            theirs.put(2).await.unwrap();
        };
        let theirs = queue.clone();
        let consumer = spawn(async move {
            let mut last = -1;
            // The others' items come in their order, those that were never put are missing.
            while let Ok(item) = theirs.get().await {
                assert!(item > last);
                last = item;
                sleep(SECOND).await;
            }
            last
        });
        (victim, async move {
            queue.put(3).await.unwrap();
            queue.put(4).await.unwrap();
            queue.shutdown();
            assert_eq!(consumer.await.unwrap(), 4);
        })
    });
    assert_eq!(awaits, 2);
}

#[test]
fn a_priority_queue_loses_no_item_and_join_can_be_given_up() {
    let awaits = cancel_at_each_await(|| {
        let queue = PriorityQueue::unbounded();
        let theirs = queue.clone();
        let victim = async move {
            theirs.get().await.unwrap();
            theirs.task_done();
            theirs.join().await;
        };
        let theirs = queue.clone();
        let producer = spawn(async move {
            sleep(SECOND).await;
            theirs.put(2).await.unwrap();
            theirs.put(1).await.unwrap();
            sleep(SECOND).await;
        });
        let theirs = queue.clone();
        let worker = spawn(async move {
            sleep(3 * SECOND).await;
            while let Ok(Some(_)) = theirs.try_get() {
                theirs.task_done();
            }
        });
        (victim, async move {
            producer.await.unwrap();
            worker.await.unwrap();
            queue.join().await;
            assert!(queue.is_empty() && queue.getters() == 0);
        })
    });
    assert_eq!(awaits, 2);
}

#[test]
fn the_ends_of_a_oneshot_can_be_cancelled_wherever_they_wait() {
    let awaits = cancel_at_each_await(|| {
        let (sender, receiver) = oneshot::channel();
        let sends = spawn(async move {
            sleep(SECOND).await;
            let is_wanted = !sender.is_closed();
            assert_eq!(sender.send(1).is_ok(), is_wanted);
        });
        (receiver, async move { sends.await.unwrap() })
    });
    assert_eq!(awaits, 1);
    let awaits = cancel_at_each_await(|| {
        let (mut sender, receiver) = oneshot::channel::<u32>();
        let receives = spawn(async move {
            sleep(SECOND).await;
            drop(receiver);
        });
        let victim = async move { sender.closed().await };
        (victim, async move { receives.await.unwrap() })
    });
    assert_eq!(awaits, 1);
}

#[test]
fn an_mpsc_channel_loses_no_value_wherever_its_recv_was_cancelled() {
    let awaits = cancel_at_each_await(|| {
        let (sender, receiver) = mpsc::bounded(1);
        let sends = spawn(async move {
            for value in 0..3 {
                sleep(SECOND).await;
                sender.send(value).await.unwrap();
            }
        });
        // The receiver outlives the future that receives.
        let receiver = Rc::new(RefCell::new(receiver));
        let received = Log::default();
        let (theirs, log) = (Rc::clone(&receiver), received.clone());
        let victim = async move {
            let next = || poll_fn(|context| theirs.borrow_mut().poll_recv(context));
            while let Ok(value) = next().await {
                log.note(value);
            }
        };
        (victim, async move {
            let next = || poll_fn(|context| receiver.borrow_mut().poll_recv(context));
            while let Ok(value) = next().await {
                received.note(value);
            }
            assert_eq!(received.taken(), "0 1 2");
            sends.await.unwrap();
        })
    });
    assert_eq!(awaits, 3);
}

#[test]
fn a_broadcast_and_a_watch_go_on_for_the_others_wherever_a_receiver_was_cancelled() {
    let awaits = cancel_at_each_await(|| {
        let (sender, mut listener) = broadcast::channel(4);
        let (setter, mut watcher) = watch::channel(0);
        let (mut other, mut other_watcher) = (sender.subscribe(), setter.subscribe());
        let sends = spawn(async move {
            for number in 1..=2 {
                sleep(SECOND).await;
                sender.send(number).unwrap();
                sleep(SECOND).await;
                setter.send(number);
            }
            sleep(SECOND).await;
            sender.receivers()
        });
        let victim = async move {
            for number in 1..=2 {
                assert_eq!(listener.recv().await, Ok(number));
                assert_eq!(*watcher.changed().await.unwrap(), number);
            }
        };
        (victim, async move {
            assert_eq!((other.recv().await, other.recv().await), (Ok(1), Ok(2)));
            assert_eq!(
                *other_watcher.wait_for(|number| *number == 2).await.unwrap(),
                2
            );
            assert_eq!(sends.await.unwrap(), 1, "only the other one is left");
        })
    });
    assert_eq!(awaits, 4);
}
