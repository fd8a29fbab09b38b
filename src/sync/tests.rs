//! What the module promises, one by one, on a simulated loop; what cancelling leaves, at each await; and random
//! operations against models that search their lists.

mod cancelling;
mod channels;
mod models;
mod queues;
mod taking_turns;
mod threads;
mod waiting;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::task::{JoinHandle, spawn, yield_now};

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn note(&self, what: impl ToString) {
        self.0.borrow_mut().push(what.to_string());
    }

    /// What was noted since the last look, on one line.
    fn taken(&self) -> String {
        self.0.take().join(" ")
    }
}

/// Let the other tasks run until they wait.
async fn settle() {
    for _ in 0..10 {
        yield_now().await;
    }
}

/// Poll once, for nobody.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A task that notes `name` once `future` is done.
fn note_when_done<F: Future + 'static>(
    log: &Log,
    name: &'static str,
    future: F,
) -> JoinHandle<F::Output>
where
    F::Output: 'static,
{
    let log = log.clone();
    spawn(async move {
        let output = future.await;
        log.note(name);
        output
    })
}
