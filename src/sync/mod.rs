//! What tasks of one loop do with each other: take turns, wait for each other, hand things over.
//!
//! | to | take | it gives |
//! | --- | --- | --- |
//! | change something across `await` points, one at a time | [`Lock`] | the value, in a guard |
//! | do something so many at a time | [`Semaphore`] | permits |
//! | wait until something has happened | [`Event`] | nothing |
//! | wait until what a lock protects is as one wants it | [`Condition`] | the lock again |
//! | wait until all have come | [`Barrier`] | one's place in the order of coming |
//! | spread work among workers, and know when it is done | [`Queue`], [`PriorityQueue`], [`LifoQueue`] | items |
//! | answer once | [`oneshot`] | one value |
//! | send to one who receives | [`mpsc`] | each value, in order |
//! | tell everyone everything | [`broadcast`] | each value, to each; or how many were missed |
//! | tell everyone the newest | [`watch`] | the last value |
//!
//! On one thread nothing comes in between two `await`s: a counter needs no lock here, and code that does not wait
//! needs none of this.
//!
//! # What all of them promise
//!
//! - **First come, first served.** Who waits stands in one line, in the order in which the futures were first polled.
//!   What becomes free is handed to the first in line at once and not put up for whoever comes first: nobody
//!   overtakes, not even by a `try_` method, and nobody who was woken finds nothing.
//! - **Cancelling is dropping.** Any future here may be dropped at any `await`. It leaves the line, in constant time
//!   however long the line is. If it had been handed something and was not polled since, the next in line gets that.
//!   No permit, item or notification is lost. Each type's documentation says what becomes of what the future held.
//! - **What is held comes back by itself.** Guards and permits are given back when they are dropped, also by a panic.
//! - **No atomics, no thread.** They live on one thread (and are neither `Send` nor `Sync`); what they cost is a few
//!   counters and a place in a list. They belong to no loop, and a future of theirs may run on any executor of that
//!   thread.
//! - **Other threads** come in by a sender made for them: `remote()` of the channels,
//!   [`oneshot::Sender::into_remote`]. It puts values into a queue of its own and wakes the loop, so that those who
//!   stay on the thread pay nothing for it.
//! - **They give way.** Each spends a unit of the task's [budget](crate::task::coop), so that a task whose queue is
//!   never empty does not keep the others from running. And each says what it waits on, so that a task that hangs can
//!   be seen to: for locks and semaphores, with the place in the sources where the holder took them.
//!
//! Every type is a handle that is cheap to clone, and its clones are the same thing: one is moved into each task.
//!
//! # How it is built
//!
//! Everything stands on two files: `waiters.rs`, the one line there is, and `permits.rs`, a stock of permits with such
//! a line before it. A lock is a stock of one, a queue is its items between a stock of places and a stock of items,
//! and an `mpsc` channel is a queue that knows who is left.

mod audience;
mod barrier;
pub mod broadcast;
mod condition;
mod error;
mod event;
mod lock;
mod mailbox;
pub mod mpsc;
pub mod oneshot;
mod permits;
mod queue;
mod semaphore;
mod waiters;
pub mod watch;

#[cfg(all(test, feature = "sim"))]
mod tests;

pub use barrier::{Arrival, Barrier, Broken};
pub use condition::{Condition, Notified};
pub use error::{Closed, SendError, TrySendError};
pub use event::{Event, Wait};
pub use lock::{Guard, Lock, Locking};
pub use mailbox::RemoteSender;
pub use queue::{Fifo, Get, Lifo, LifoQueue, Order, PriorityQueue, Put, Queue, SmallestFirst};
pub use semaphore::{Acquire, Permit, Semaphore};
