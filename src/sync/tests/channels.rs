//! Channels: what arrives, and what each end learns of the other.

use std::cell::Cell;

use super::*;
use crate::sim::run;
use crate::sync::broadcast::{self, RecvError};
use crate::sync::{Closed, SendError, TrySendError, mpsc, oneshot, watch};

#[test]
fn a_oneshot_brings_its_value_and_each_end_learns_that_the_other_has_gone() {
    run(async {
        let (sender, receiver) = oneshot::channel();
        let (unsent, lonely) = oneshot::channel::<()>();
        let (refused, gone) = oneshot::channel();
        drop(gone);
        let received = spawn(async { (receiver.await, lonely.await) });
        settle().await;
        assert!(refused.is_closed());
        assert_eq!(refused.send(1), Err(1));
        sender.send("value").unwrap();
        drop(unsent);
        assert_eq!(received.await.unwrap(), (Ok("value"), Err(Closed)));
    });
}

#[test]
fn the_sender_of_a_oneshot_can_wait_until_nobody_wants_its_value() {
    run(async {
        let (mut sender, mut receiver) = oneshot::channel::<u32>();
        let task = spawn(async move { sender.closed().await });
        settle().await;
        assert!(!task.is_finished());
        assert_eq!(receiver.try_recv(), Ok(None));
        drop(receiver);
        task.await.unwrap();

        let (sender, mut receiver) = oneshot::channel();
        sender.send(1).unwrap();
        assert_eq!(receiver.try_recv(), Ok(Some(1)));
        assert_eq!(receiver.try_recv(), Err(Closed));
    });
}

#[test]
fn an_mpsc_channel_keeps_the_order_of_sending_and_ends_with_the_last_sender() {
    run(async {
        let (sender, mut receiver) = mpsc::bounded(2);
        let tasks = [1, 2].map(|number| {
            let sender = sender.clone();
            spawn(async move {
                for round in 0..3 {
                    sender.send(round * 10 + number).await.unwrap();
                }
            })
        });
        drop(sender);
        let mut received = Vec::new();
        while let Ok(value) = receiver.recv().await {
            received.push(value);
        }
        for number in [1, 2] {
            let of_one: Vec<_> = received
                .iter()
                .filter(|value| *value % 10 == number)
                .collect();
            assert_eq!(of_one, [&number, &(10 + number), &(20 + number)]);
        }
        assert_eq!(received.len(), 6);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(receiver.try_recv(), Err(Closed));
    });
}

#[test]
fn the_senders_of_an_mpsc_channel_learn_that_the_receiver_has_gone_and_its_values_are_dropped() {
    run(async {
        let (sender, receiver) = mpsc::bounded(1);
        let value = Rc::new(());
        sender.send(Rc::clone(&value)).await.unwrap();
        let waits = {
            let (sender, value) = (sender.clone(), Rc::clone(&value));
            spawn(async move { sender.send(value).await })
        };
        let closed = {
            let sender = sender.clone();
            spawn(async move { sender.closed().await })
        };
        settle().await;
        drop(receiver);
        assert!(matches!(waits.await.unwrap(), Err(SendError(_))));
        closed.await.unwrap();
        assert!(sender.is_closed());
        assert!(matches!(
            sender.try_send(Rc::clone(&value)),
            Err(TrySendError::Closed(_))
        ));
        assert_eq!(Rc::strong_count(&value), 1);
    });
}

#[test]
fn a_value_that_was_promised_to_a_recv_that_was_dropped_is_there_for_the_next_one() {
    run(async {
        let (sender, mut receiver) = mpsc::unbounded();
        {
            let mut recv = Box::pin(receiver.recv());
            assert!(poll_once(&mut recv).is_pending());
            sender.try_send(1).unwrap();
        }
        assert_eq!(receiver.try_recv(), Ok(Some(1)));
        {
            let mut recv = Box::pin(receiver.recv());
            assert!(poll_once(&mut recv).is_pending());
        }
        sender.try_send(2).unwrap();
        assert_eq!(receiver.recv().await, Ok(2));
        receiver.close();
        assert!(sender.is_closed());
    });
}

#[test]
fn every_receiver_of_a_broadcast_gets_every_value_sent_since_it_came() {
    run(async {
        let (sender, mut early) = broadcast::channel(10);
        assert_eq!(sender.send("a"), Ok(1));
        let mut late = sender.subscribe();
        let waits =
            spawn(async move { (early.recv().await, early.recv().await, early.recv().await) });
        settle().await;
        assert_eq!(sender.send("b"), Ok(2));
        assert_eq!(late.recv().await, Ok("b"));
        drop(sender);
        assert_eq!(
            waits.await.unwrap(),
            (Ok("a"), Ok("b"), Err(RecvError::Closed))
        );
        assert_eq!(late.try_recv(), Err(RecvError::Closed));
    });
}

#[test]
fn a_receiver_of_a_broadcast_that_is_too_slow_is_told_how_many_it_missed_and_goes_on() {
    run(async {
        let (sender, mut slow) = broadcast::channel(3);
        let mut fast = sender.subscribe();
        for number in 0..8 {
            sender.send(number).unwrap();
            assert_eq!(fast.recv().await, Ok(number));
        }
        assert_eq!(slow.len(), 8);
        assert_eq!(slow.recv().await, Err(RecvError::Lagged(5)));
        for number in 5..8 {
            assert_eq!(slow.recv().await, Ok(number));
        }
        assert!(slow.is_empty());
        assert_eq!(slow.try_recv(), Ok(None));
    });
}

#[test]
fn a_broadcast_keeps_no_value_that_nobody_wants_and_does_not_clone_for_the_last() {
    struct Counted(Rc<Cell<u32>>);

    impl Clone for Counted {
        fn clone(&self) -> Self {
            self.0.set(self.0.get() + 1);
            Self(Rc::clone(&self.0))
        }
    }

    let clones = Rc::new(Cell::new(0));
    let (sender, mut one) = broadcast::channel(10);
    let (mut other, mut third) = (sender.subscribe(), sender.subscribe());
    assert!(sender.send(Counted(Rc::clone(&clones))).is_ok());
    assert!(sender.send(Counted(Rc::clone(&clones))).is_ok());
    drop((one.try_recv(), other.try_recv(), third.try_recv()));
    assert_eq!(clones.get(), 2);
    assert_eq!(Rc::strong_count(&clones), 2, "the first was taken by all");
    drop(one);
    drop(other);
    assert_eq!(Rc::strong_count(&clones), 2);
    drop(third);
    assert_eq!(Rc::strong_count(&clones), 1);
    assert_eq!(sender.receivers(), 0);
    assert!(sender.send(Counted(Rc::clone(&clones))).is_err());
    assert_eq!(Rc::strong_count(&clones), 1);
    let mut again = sender.subscribe();
    assert!(sender.send(Counted(clones)).is_ok());
    assert!(again.try_recv().unwrap().is_some());
}

#[test]
fn a_value_that_is_sent_while_the_last_receiver_goes_is_kept_for_a_new_one() {
    /// Subscribes and sends, on the spot, when it is told that nobody receives.
    struct Instead;

    thread_local! {
        static SENDER: RefCell<Option<broadcast::Sender<u32>>> = const { RefCell::new(None) };
        static RECEIVER: RefCell<Option<broadcast::Receiver<u32>>> = const { RefCell::new(None) };
    }

    impl std::task::Wake for Instead {
        fn wake(self: std::sync::Arc<Self>) {
            let sender = SENDER.with_borrow(|sender| sender.clone().unwrap());
            RECEIVER.set(Some(sender.subscribe()));
            assert_eq!(sender.send(7), Ok(1));
        }
    }

    let (sender, last) = broadcast::channel(4);
    SENDER.set(Some(sender.clone()));
    let waker = Waker::from(std::sync::Arc::new(Instead));
    let mut closed = Box::pin(sender.closed());
    assert!(
        closed
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(last);
    assert_eq!(RECEIVER.take().unwrap().try_recv(), Ok(Some(7)));
    SENDER.take();
}

#[test]
fn who_watches_sees_the_newest_value_and_each_change_once() {
    run(async {
        let (sender, mut receiver) = watch::channel(1);
        assert_eq!((*receiver.latest(), receiver.has_changed()), (1, false));
        let mut behind = receiver.clone();
        sender.send(2);
        sender.send(3);
        assert_eq!(*receiver.changed().await.unwrap(), 3);
        let waits = spawn(async move {
            let changed = receiver.changed().await;
            (changed, receiver.changed().await)
        });
        settle().await;
        assert!(!waits.is_finished());
        sender.send(4);
        settle().await;
        assert_eq!(*sender.latest(), 4);
        drop(sender);
        let (changed, ended) = waits.await.unwrap();
        assert_eq!((*changed.unwrap(), ended), (4, Err(Closed)));
        assert!(behind.has_changed());
        assert_eq!(*behind.changed().await.unwrap(), 4, "also after the end");
        assert_eq!(behind.changed().await, Err(Closed));
    });
}

#[test]
fn wait_for_of_a_watch_looks_at_the_value_there_is_and_at_each_change() {
    run(async {
        let (sender, mut receiver) = watch::channel(1);
        assert_eq!(
            receiver
                .wait_for(|value| *value == 1)
                .await
                .map(|value| *value),
            Ok(1)
        );
        let waits = spawn(async move {
            let met = receiver
                .wait_for(|value| *value >= 3)
                .await
                .map(|value| *value);
            (met, receiver.wait_for(|value| *value > 9).await)
        });
        for value in 2..5 {
            settle().await;
            sender.send(value);
        }
        settle().await;
        drop(sender);
        assert_eq!(waits.await.unwrap(), (Ok(3), Err(Closed)));
    });
}

#[test]
fn the_senders_of_a_watch_and_a_broadcast_can_wait_until_nobody_receives() {
    run(async {
        let (watched, watcher) = watch::channel(());
        let (sent, listener) = broadcast::channel::<()>(1);
        let (watched, sent) = (watched.clone(), sent.clone());
        let closed = spawn(async move {
            watched.closed().await;
            sent.closed().await;
        });
        settle().await;
        drop(listener);
        settle().await;
        assert!(!closed.is_finished());
        drop(watcher);
        closed.await.unwrap();
    });
}

#[cfg(feature = "futures")]
#[test]
fn the_receivers_are_streams() {
    use std::future::poll_fn;

    use futures_core::Stream;

    async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
        poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
    }

    run(async {
        let (sender, mut receiver) = mpsc::unbounded();
        sender.try_send(1).unwrap();
        drop(sender);
        assert_eq!(next(&mut receiver).await, Some(1));
        assert_eq!(next(&mut receiver).await, None);

        let (sender, mut receiver) = broadcast::channel(1);
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        drop(sender);
        assert_eq!(next(&mut receiver).await, Some(Err(RecvError::Lagged(1))));
        assert_eq!(next(&mut receiver).await, Some(Ok(2)));
        assert_eq!(next(&mut receiver).await, None);

        let (sender, mut receiver) = watch::channel(1);
        sender.send(2);
        drop(sender);
        assert_eq!(next(&mut receiver).await.as_deref(), Some(&2));
        assert_eq!(next(&mut receiver).await, None);
    });
}
