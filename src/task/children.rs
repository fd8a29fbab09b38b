//! Futures that one task waits for together, each with a waker of its own: when one of them is woken, that one is
//! polled and not all.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::event_loop::{Detail, waits_on};

/// Futures by number, in the order in which they were given. Dropping it drops those that have not ended.
pub(super) struct Children<F> {
    /// `None` where it has ended.
    running: Vec<Option<Child<F>>>,
    left: usize,
    /// To be polled now, by number.
    batch: VecDeque<usize>,
    woken: Arc<Woken>,
}

struct Child<F> {
    /// Boxed, since it is pinned and the list is not.
    future: Pin<Box<F>>,
    target: Arc<Target>,
    /// Of `target`.
    waker: Waker,
}

/// What the waker of one child holds.
struct Target {
    number: usize,
    is_listed: AtomicBool,
    woken: Arc<Woken>,
}

/// Who was woken since it was last asked, and whom to tell.
#[derive(Default)]
struct Woken(Mutex<List>);

#[derive(Default)]
struct List {
    numbers: VecDeque<usize>,
    /// Of the task. Taken when it is woken, and put back when it is polled.
    parent: Option<Waker>,
}

impl Woken {
    fn list(&self) -> MutexGuard<'_, List> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Target {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut list = self.woken.list();
        list.numbers.push_back(self.number);
        let parent = list.parent.take();
        drop(list);
        if let Some(parent) = parent {
            parent.wake();
        }
    }
}

impl<F> Children<F> {
    pub(super) fn new(futures: impl IntoIterator<Item = F>) -> Self {
        let woken = Arc::new(Woken::default());
        let running: Vec<_> = (0..)
            .zip(futures)
            .map(|(number, future)| {
                let target = Arc::new(Target {
                    number,
                    // All are polled first without being woken.
                    is_listed: AtomicBool::new(true),
                    woken: Arc::clone(&woken),
                });
                Some(Child {
                    future: Box::pin(future),
                    waker: Waker::from(Arc::clone(&target)),
                    target,
                })
            })
            .collect();
        Self {
            left: running.len(),
            batch: (0..running.len()).collect(),
            running,
            woken,
        }
    }

    /// How many have not ended.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Take out those that have not ended, with their numbers.
    pub(super) fn take_left(&mut self) -> impl Iterator<Item = (usize, Pin<Box<F>>)> + use<F> {
        self.left = 0;
        let running = mem::take(&mut self.running);
        let children = (0..).zip(running);
        children.filter_map(|(number, child)| Some((number, child?.future)))
    }
}

impl<F: Future> Children<F> {
    /// The next one to end, with its number; `None` when all have. Those that were woken together are polled in the
    /// order in which they were woken; who is woken meanwhile has to wait for the next turn, as a task would.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<(usize, F::Output)>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if self.batch.is_empty() {
            mem::swap(&mut self.batch, &mut self.woken.list().numbers);
        }
        while let Some(number) = self.batch.pop_front() {
            // It may have been woken once more before it ended.
            let Some(child) = &mut self.running[number] else {
                continue;
            };
            // A wake during the poll counts for the next one, as for a task.
            child.target.is_listed.store(false, Ordering::Release);
            let mut context = Context::from_waker(&child.waker);
            if let Poll::Ready(output) = child.future.as_mut().poll(&mut context) {
                self.running[number] = None;
                self.left -= 1;
                return Poll::Ready(Some((number, output)));
            }
        }
        if self.left > 1 {
            waits_on("futures", Detail::Count(self.left as u64));
        }
        let mut list = self.woken.list();
        if list.numbers.is_empty() {
            let before = list.parent.replace(context.waker().clone());
            drop(list);
            // What is dropped with a waker may be anyone's.
            drop(before);
        } else {
            drop(list);
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<F> fmt::Debug for Children<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Children")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
