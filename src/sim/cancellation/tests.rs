//! The helper finds what a careless primitive leaves behind, and says where.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use super::*;
use crate::event_loop::Handle;
use crate::task::{sleep, spawn, spawn_named, yield_now};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn it_counts_the_awaits_of_a_future_that_leaves_nothing() {
    let awaits = cancel_at_each_await(|| {
        let victim = async {
            sleep(SECOND).await;
            yield_now().await;
            sleep(SECOND).await;
        };
        (victim, async {})
    });
    assert_eq!(awaits, 3);
    assert_eq!(cancel_at_each_await(|| (async {}, async {})), 0);
}

#[test]
#[should_panic(
    expected = "cancelled in await 1, as soon as it waited, and left 0 sources, 1 timers"
)]
fn it_finds_a_timer_that_nobody_takes_back() {
    cancel_at_each_await(|| {
        let victim = async {
            let timer = Handle::current().call_later(SECOND, |_| {});
            yield_now().await;
            timer.cancel();
        };
        (victim, async {})
    });
}

#[test]
#[should_panic(
    expected = "left 1 sources, 0 timers and 0 sockets:\n  0: task \"forgotten\" created at src"
)]
fn it_finds_a_task_that_nobody_ends() {
    cancel_at_each_await(|| {
        let victim = async {
            yield_now().await;
            spawn_named("forgotten", pending::<()>());
        };
        (victim, async {})
    });
}

#[test]
#[should_panic(
    expected = "cancelled in await 1, when it was to go on: the task \"scenario\" created at"
)]
fn it_finds_a_permit_that_was_handed_to_a_waiter_that_went() {
    /// Hands its one permit to the waiter it wakes, and forgets to take it back from one that goes.
    #[derive(Default)]
    struct Careless {
        free: Cell<bool>,
        waiting: RefCell<VecDeque<(Waker, Rc<Cell<bool>>)>>,
    }

    impl Careless {
        async fn acquire(&self) {
            let got = Rc::new(Cell::new(self.free.take()));
            poll_fn(|context| {
                if got.get() {
                    return Poll::Ready(());
                }
                let waiter = (context.waker().clone(), Rc::clone(&got));
                self.waiting.borrow_mut().push_back(waiter);
                Poll::Pending
            })
            .await;
        }

        fn release(&self) {
            let next = self.waiting.borrow_mut().pop_front();
            match next {
                Some((waker, got)) if Rc::strong_count(&got) > 1 => {
                    got.set(true);
                    waker.wake();
                }
                Some(_) => self.release(),
                None => self.free.set(true),
            }
        }
    }

    cancel_at_each_await(|| {
        let semaphore = Rc::new(Careless::default());
        let (holder, victim) = (Rc::clone(&semaphore), Rc::clone(&semaphore));
        spawn(async move {
            yield_now().await;
            holder.release();
        });
        let victim = async move {
            victim.acquire().await;
            victim.release();
        };
        let afterwards = async move {
            sleep(SECOND).await;
            assert!(semaphore.free.get(), "the permit is back");
        };
        (victim, afterwards)
    });
}

#[test]
#[should_panic(expected = "a scenario that waits 1 times, but not in each run")]
fn it_wants_a_scenario_that_repeats() {
    let runs = Rc::new(Cell::new(0));
    cancel_at_each_await(move || {
        let run = runs.replace(runs.get() + 1);
        let victim = async move {
            if run < 2 {
                yield_now().await;
            }
        };
        (victim, async {})
    });
}
