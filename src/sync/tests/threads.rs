//! Senders for other threads, with real ones.

use std::thread;

use super::*;
use crate::event_loop::{EventLoop, Handle};
use crate::sync::{Closed, TrySendError, broadcast, mpsc, oneshot, watch};

#[test]
fn an_mpsc_channel_brings_what_threads_send_in_the_order_of_each() {
    let mut event_loop = EventLoop::new().unwrap();
    for capacity in [Some(4), None] {
        let received = event_loop
            .run_until(async move {
                let (sender, mut receiver) = match capacity {
                    Some(capacity) => mpsc::bounded(capacity),
                    None => mpsc::unbounded(),
                };
                let remote = sender.remote(&Handle::current());
                drop(sender);
                let threads = [0, 1, 2].map(|thread| {
                    let remote = remote.clone();
                    thread::spawn(move || {
                        for number in 0..1_000 {
                            remote.send((thread, number)).unwrap();
                        }
                    })
                });
                drop(remote);
                let mut received = [0; 3];
                // Ends with the last of the senders.
                while let Ok((thread, number)) = receiver.recv().await {
                    assert_eq!(received[thread], number);
                    received[thread] += 1;
                }
                for thread in threads {
                    thread.join().unwrap();
                }
                received
            })
            .unwrap();
        assert_eq!(received, [1_000; 3]);
    }
}

#[test]
fn a_thread_learns_that_nobody_receives() {
    let mut event_loop = EventLoop::new().unwrap();
    let remote = event_loop
        .run_until(async {
            let (sender, receiver) = mpsc::bounded::<u32>(1);
            let remote = sender.remote(&Handle::current());
            settle().await;
            drop(receiver);
            settle().await;
            remote
        })
        .unwrap();
    assert!(matches!(remote.try_send(1), Err(TrySendError::Closed(1))));
    assert!(remote.send(2).is_err());

    let (sender, _receiver) = mpsc::unbounded::<u32>();
    let remote = sender.remote(event_loop.handle());
    drop(event_loop);
    assert!(remote.send(3).is_err(), "the loop has gone");
}

#[test]
fn a_thread_that_may_not_wait_is_told_that_there_is_no_room() {
    let mut event_loop = EventLoop::new().unwrap();
    let (sender, mut receiver) = mpsc::bounded(1);
    let remote = sender.remote(event_loop.handle());
    drop(sender);
    // The loop does not turn.
    remote.try_send(1).unwrap();
    assert!(matches!(remote.try_send(2), Err(TrySendError::Full(2))));
    drop(remote);
    let received =
        event_loop.run_until(async move { (receiver.recv().await, receiver.recv().await) });
    assert_eq!(received.unwrap(), (Ok(1), Err(Closed)));
}

#[test]
fn a_oneshot_brings_a_value_from_a_thread_or_tells_that_there_will_be_none() {
    let mut event_loop = EventLoop::new().unwrap();
    let received = event_loop
        .run_until(async {
            let handle = Handle::current();
            let (sender, receiver) = oneshot::channel();
            let (unsent, lonely) = oneshot::channel::<()>();
            let (sender, unsent) = (sender.into_remote(&handle), unsent.into_remote(&handle));
            let thread = thread::spawn(move || {
                sender.send("from afar").unwrap();
                drop(unsent);
            });
            let received = (receiver.await, lonely.await);
            thread.join().unwrap();
            received
        })
        .unwrap();
    assert_eq!(received, (Ok("from afar"), Err(Closed)));
}

#[test]
fn the_thread_of_a_oneshot_learns_that_nobody_wants_its_value() {
    let mut event_loop = EventLoop::new().unwrap();
    let remote = event_loop
        .run_until(async {
            let (sender, receiver) = oneshot::channel();
            let remote = sender.into_remote(&Handle::current());
            settle().await;
            drop(receiver);
            settle().await;
            remote
        })
        .unwrap();
    assert!(remote.send(1).is_err());
}

#[test]
fn broadcasts_and_watched_values_can_come_from_threads() {
    let mut event_loop = EventLoop::new().unwrap();
    event_loop
        .run_until(async {
            let handle = Handle::current();
            let (sender, mut all) = broadcast::channel(100);
            let (setter, mut newest) = watch::channel(0);
            let (remote, remote_setter) = (sender.remote(&handle), setter.remote(&handle));
            drop((sender, setter));
            let thread = thread::spawn(move || {
                for number in 1..=50 {
                    remote.send(number).unwrap();
                    remote_setter.send(number).unwrap();
                }
            });
            for number in 1..=50 {
                assert_eq!(all.recv().await, Ok(number));
            }
            assert_eq!(all.recv().await, Err(broadcast::RecvError::Closed));
            let mut last = 0;
            while let Ok(value) = newest.changed().await {
                assert!(*value > last, "never an older one");
                last = *value;
            }
            assert_eq!(last, 50);
            thread.join().unwrap();
        })
        .unwrap();
}
