//! Work that waits for someone to do it: a [`Queue`] between those who put and those who get, and the same in other
//! orders.
//!
//! A queue is its items between two stocks of [permits](super::permits): one has a permit for each item that nobody
//! was promised, the other for each place that is free. Putting takes a place and gives an item; getting takes an item
//! and gives a place. Fairness and cancellation are those of the permits.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::error::{Closed, SendError, TrySendError};
use super::event::{Event, Wait};
use super::permits::{Permits, Take};
use crate::event_loop::Detail;
use crate::parts::high_water::{give_back_list, give_back_queue};
use crate::task::coop;

/// First in, first out, between any number of tasks that put and any number that get. Clones are the same queue.
/// (asyncio's `Queue`, with its `join`, `task_done` and `shutdown`.)
///
/// - Bounded, it makes those who put wait while it is full: so a fast producer cannot fill the memory.
/// - First come, first served, on both sides. Nobody overtakes, [`Queue::try_put`] and [`Queue::try_get`] included:
///   what was promised to one who waits is no more to be had.
/// - Dropping the future of [`Queue::put`] drops its item, and the place it may have been promised goes to the next.
///   Dropping that of [`Queue::get`] loses no item: an item leaves the queue in the poll that gives it.
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::sync::Queue;
///
/// let mut event_loop = EventLoop::new()?;
/// let queue = Queue::bounded(10);
/// let jobs = queue.clone();
/// event_loop.spawn(async move {
///     while let Ok(job) = jobs.get().await {
///         println!("job {job}");
///         jobs.task_done();
///     }
/// });
/// event_loop.run_until(async move {
///     for job in 0..20 {
///         queue.put(job).await.unwrap();
///     }
///     queue.join().await; // all twenty are done
///     queue.shutdown(); // and the worker ends
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub struct Queue<T, O = Fifo<T>>(Rc<Shared<T, O>>)
where
    O: Order<T>;

struct Shared<T, O: Order<T>> {
    items: RefCell<O>,
    /// A permit for each item that was not promised to one who waits.
    filled: Rc<Permits<Closed>>,
    capacity: Option<usize>,
    /// A permit for each place that was not promised; `None`: there is always room.
    room: Option<Rc<Permits<Closed>>>,
    /// Items that were put and are not done.
    unfinished: Cell<usize>,
    /// Set while `unfinished` is 0.
    finished: Event,
    shut_down: Event,
    what: &'static str,
    kind: PhantomData<T>,
}

impl<T> Queue<T> {
    /// A queue for at most `capacity` items.
    ///
    /// # Panics
    /// With a capacity of 0.
    pub fn bounded(capacity: usize) -> Self {
        Self::with_capacity(Some(capacity), "queue")
    }

    /// A queue that always has room: what keeps it short must be elsewhere.
    pub fn unbounded() -> Self {
        Self::with_capacity(None, "queue")
    }
}

impl<T, O: Order<T>> Queue<T, O> {
    /// One that those who wait at it call `what`.
    pub(super) fn with_capacity(capacity: Option<usize>, what: &'static str) -> Self {
        assert!(capacity != Some(0), "a queue has room for an item");
        let finished = Event::new();
        finished.set();
        Self(Rc::new(Shared {
            items: RefCell::default(),
            filled: Permits::new(0),
            capacity,
            room: capacity.map(Permits::new),
            unfinished: Cell::new(0),
            finished,
            shut_down: Event::new(),
            what,
            kind: PhantomData,
        }))
    }

    /// Put an item in, as soon as there is room.
    ///
    /// # Errors
    /// With the item, when the queue was shut down, before or meanwhile.
    pub fn put(&self, item: T) -> Put<T, O> {
        Put {
            queue: self.clone(),
            item: Some(item),
            room: self.0.room.as_ref().map(|room| room.take(1)),
        }
    }

    /// Put an item in if there is room and nobody waits for it.
    ///
    /// # Errors
    /// With the item, when there is none, or the queue was shut down.
    pub fn try_put(&self, item: T) -> Result<(), TrySendError<T>> {
        if self.is_shut_down() {
            return Err(TrySendError::Closed(item));
        }
        if let Some(room) = &self.0.room
            && !room.try_take(1)
        {
            return Err(TrySendError::Full(item));
        }
        self.push(item);
        Ok(())
    }

    /// Take the next item, as soon as there is one. The future may be polled again for the one after it.
    ///
    /// # Errors
    /// When the queue was shut down and is empty.
    pub fn get(&self) -> Get<T, O> {
        Get {
            queue: self.clone(),
            filled: self.0.filled.take(1),
        }
    }

    /// Take the next item, if there is one that nobody waits for.
    ///
    /// # Errors
    /// When the queue was shut down and is empty.
    pub fn try_get(&self) -> Result<Option<T>, Closed> {
        if self.0.filled.try_take(1) {
            return self.pop().map(Some);
        }
        if self.is_shut_down() && self.is_empty() {
            return Err(Closed);
        }
        Ok(None)
    }

    /// An item that was got has been dealt with. See [`Queue::join`].
    ///
    /// # Panics
    /// When it is called more often than items were put in.
    pub fn task_done(&self) {
        assert!(
            self.0.unfinished.get() > 0,
            "task_done was called more often than items were put in"
        );
        self.finish(1);
    }

    /// Wait until every item that was put in has been got, and [`Queue::task_done`] was called for it. Ready at once
    /// when that is so.
    pub fn join(&self) -> Wait {
        self.0.finished.wait_as("queue join")
    }

    /// Let nothing more in. Those who wait to put get their items back. What is in the queue can still be got, and
    /// then whoever gets or waits to is told that it is [`Closed`].
    pub fn shutdown(&self) {
        if self.is_shut_down() {
            return;
        }
        self.0.shut_down.set();
        if let Some(room) = &self.0.room {
            room.close(Closed);
        }
        self.0.filled.close(Closed);
    }

    /// The same, and drop what is in the queue: it counts as done.
    pub fn shutdown_now(&self) {
        self.shutdown();
        self.0.filled.drain();
        let items = std::mem::take(&mut *self.0.items.borrow_mut());
        self.finish(items.count().min(self.0.unfinished.get()));
        drop(items);
    }

    /// Whether it was shut down.
    pub fn is_shut_down(&self) -> bool {
        self.0.shut_down.is_set()
    }

    /// Wait until it is shut down.
    pub(super) fn wait_shut_down(&self) -> Wait {
        self.0.shut_down.wait_as(self.0.what)
    }

    /// How many items it has, those included that were promised to one who waits.
    pub fn len(&self) -> usize {
        self.0.items.borrow().count()
    }

    /// How many items it may have; `None`: any number.
    pub fn capacity(&self) -> Option<usize> {
        self.0.capacity
    }

    /// Whether it has no item.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether [`Queue::try_put`] would find no room.
    pub fn is_full(&self) -> bool {
        let room = self.0.room.as_ref();
        room.is_some_and(|room| room.available() == 0 || room.waiting() > 0)
    }

    /// How many wait to put.
    pub fn putters(&self) -> usize {
        self.0.room.as_ref().map_or(0, |room| room.waiting())
    }

    /// How many wait to get.
    pub fn getters(&self) -> usize {
        self.0.filled.waiting()
    }

    /// The caller has room for it.
    fn push(&self, item: T) {
        // Comes first, so that nobody who is woken finds the work finished.
        self.0.unfinished.set(self.0.unfinished.get() + 1);
        self.0.finished.clear();
        self.0.items.borrow_mut().push(item);
        self.0.filled.give(1);
    }

    /// The caller has the permit of an item. There is none only when all were dropped since.
    fn pop(&self) -> Result<T, Closed> {
        let item = self.0.items.borrow_mut().pop().ok_or(Closed);
        if let Some(room) = &self.0.room {
            room.give(1);
        }
        item
    }

    fn finish(&self, items: usize) {
        let unfinished = self.0.unfinished.get() - items;
        self.0.unfinished.set(unfinished);
        if unfinished == 0 {
            self.0.finished.set();
        }
    }
}

impl<T, O: Order<T>> Clone for Queue<T, O> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T, O: Order<T>> fmt::Debug for Queue<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("putters", &self.putters())
            .field("getters", &self.getters())
            .field("shut_down", &self.is_shut_down())
            .finish_non_exhaustive()
    }
}

/// See [`Queue::put`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Put<T, O: Order<T> = Fifo<T>> {
    queue: Queue<T, O>,
    item: Option<T>,
    room: Option<Take<Closed>>,
}

// Nothing in it is pinned.
impl<T, O: Order<T>> Unpin for Put<T, O> {}

impl<T, O: Order<T>> Future for Put<T, O> {
    type Output = Result<(), SendError<T>>;

    /// # Panics
    /// When polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let queue = &this.queue;
        match &mut this.room {
            Some(room) => {
                let waiting = || Detail::Count(queue.putters() as u64);
                // Closed or not is asked below: a place may also have been promised before that.
                let _ = ready!(room.poll(context, queue.0.what, waiting));
            }
            None => ready!(coop::poll_proceed(context)),
        }
        let item = this.item.take().expect("polled after it was ready");
        if queue.is_shut_down() {
            return Poll::Ready(Err(SendError(item)));
        }
        queue.push(item);
        Poll::Ready(Ok(()))
    }
}

impl<T, O: Order<T>> fmt::Debug for Put<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Put").finish_non_exhaustive()
    }
}

/// See [`Queue::get`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Get<T, O: Order<T> = Fifo<T>> {
    queue: Queue<T, O>,
    filled: Take<Closed>,
}

impl<T, O: Order<T>> Get<T, O> {
    pub(super) fn queue(&self) -> &Queue<T, O> {
        &self.queue
    }

    /// Leave the line, if it stands there.
    pub(super) fn leave(&mut self) {
        self.filled.leave();
    }
}

impl<T, O: Order<T>> Future for Get<T, O> {
    type Output = Result<T, Closed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let queue = &this.queue;
        let waiting = || Detail::Count(queue.getters() as u64);
        let taken = ready!(this.filled.poll(context, queue.0.what, waiting));
        Poll::Ready(taken.and_then(|()| queue.pop()))
    }
}

impl<T, O: Order<T>> fmt::Debug for Get<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get").finish_non_exhaustive()
    }
}

/// In which order items leave a queue: [`Fifo`], [`Lifo`] or [`SmallestFirst`].
pub trait Order<T>: Default {
    /// Put an item in.
    fn push(&mut self, item: T);
    /// Take the next one out.
    fn pop(&mut self) -> Option<T>;
    /// How many there are.
    fn count(&self) -> usize;
}

/// First in, first out.
pub struct Fifo<T>(VecDeque<T>);

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Order<T> for Fifo<T> {
    fn push(&mut self, item: T) {
        self.0.push_back(item);
    }

    fn pop(&mut self) -> Option<T> {
        let item = self.0.pop_front();
        give_back_queue(&mut self.0);
        item
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}

/// Last in, first out.
pub struct Lifo<T>(Vec<T>);

impl<T> Default for Lifo<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Order<T> for Lifo<T> {
    fn push(&mut self, item: T) {
        self.0.push(item);
    }

    fn pop(&mut self) -> Option<T> {
        let item = self.0.pop();
        give_back_list(&mut self.0);
        item
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}

/// The smallest first.
pub struct SmallestFirst<T> {
    heap: BinaryHeap<Ranked<T>>,
    pushed: u64,
}

/// Greatest is who leaves first: the smallest item, and of equal ones the earliest.
struct Ranked<T> {
    item: T,
    number: u64,
}

impl<T: Ord> Ord for Ranked<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_item = other.item.cmp(&self.item);
        by_item.then_with(|| other.number.cmp(&self.number))
    }
}

impl<T: Ord> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: Ord> Eq for Ranked<T> {}

impl<T: Ord> Default for SmallestFirst<T> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            pushed: 0,
        }
    }
}

impl<T: Ord> Order<T> for SmallestFirst<T> {
    fn push(&mut self, item: T) {
        let number = self.pushed;
        self.pushed += 1;
        self.heap.push(Ranked { item, number });
    }

    fn pop(&mut self) -> Option<T> {
        self.heap.pop().map(|ranked| ranked.item)
    }

    fn count(&self) -> usize {
        self.heap.len()
    }
}

/// A [`Queue`] that gives the smallest item first, and of equal ones the earliest. Has all methods of a queue; the
/// item is chosen when it is given, not when it is promised, so one who has waited gets the smallest there is by then.
///
/// ```
/// use tourbillon::sync::PriorityQueue;
///
/// let queue = PriorityQueue::unbounded();
/// queue.try_put((2, "later")).unwrap();
/// queue.try_put((1, "first")).unwrap();
/// assert_eq!(queue.try_get(), Ok(Some((1, "first"))));
/// ```
///
/// # Panics
/// When an item's `Ord` uses the queue that it stands in.
#[derive(Debug)]
pub struct PriorityQueue<T: Ord>(Queue<T, SmallestFirst<T>>);

impl<T: Ord> PriorityQueue<T> {
    /// See [`Queue::bounded`].
    ///
    /// # Panics
    /// With a capacity of 0.
    pub fn bounded(capacity: usize) -> Self {
        Self(Queue::with_capacity(Some(capacity), "queue"))
    }

    /// See [`Queue::unbounded`].
    pub fn unbounded() -> Self {
        Self(Queue::with_capacity(None, "queue"))
    }
}

impl<T: Ord> Clone for PriorityQueue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Ord> Deref for PriorityQueue<T> {
    type Target = Queue<T, SmallestFirst<T>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// A [`Queue`] that gives the item first that came last: a stack. Has all methods of a queue.
#[derive(Debug)]
pub struct LifoQueue<T>(Queue<T, Lifo<T>>);

impl<T> LifoQueue<T> {
    /// See [`Queue::bounded`].
    ///
    /// # Panics
    /// With a capacity of 0.
    pub fn bounded(capacity: usize) -> Self {
        Self(Queue::with_capacity(Some(capacity), "queue"))
    }

    /// See [`Queue::unbounded`].
    pub fn unbounded() -> Self {
        Self(Queue::with_capacity(None, "queue"))
    }
}

impl<T> Clone for LifoQueue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for LifoQueue<T> {
    type Target = Queue<T, Lifo<T>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
