//! Counting what happens and how long it takes, in memory that does not grow: for a client that sweeps over a list of
//! URLs, a route of a server, a queue.
//!
//! - [`Histogram`] counts durations and knows their percentiles.
//! - [`Counter`] counts, through a shared reference.
//! - [`Outcomes`] is both, for things that succeed or fail, and makes a [`Summary`] of it.
//! - [`Memory`] and [`Process`] are what the kernel says of the process.
//!
//! Nothing here reads a clock: who measures has one (a loop's [`Handle::time`](crate::event_loop::Handle::time)), and
//! a test has a virtual one.

mod histogram;
mod memory;
mod process;
mod summary;

#[cfg(test)]
mod tests;

use std::cell::Cell;

pub use histogram::Histogram;
pub use memory::Memory;
pub use process::Process;
pub use summary::{Outcomes, Summary, throughput};

/// A number that only grows, of things that happened. For one thread; several may count through references to it.
#[derive(Clone, Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    /// One that has counted nothing.
    pub const fn new() -> Self {
        Self(Cell::new(0))
    }

    /// One more.
    pub fn count(&self) {
        self.add(1);
    }

    /// `more` more. At 2^64 - 1 it stays there.
    pub fn add(&self, more: u64) {
        self.0.set(self.0.get().saturating_add(more));
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.get()
    }

    /// How many so far, and begin anew: for one who reports each minute.
    pub fn take(&self) -> u64 {
        self.0.take()
    }
}
