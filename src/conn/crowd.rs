//! How many connections are open in servers that count together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A count of open connections. Cheap to clone; the clones are the same count, on any thread, so that the loops of one
/// engine hold to one [`super::Limits::connections_max`].
#[derive(Clone, Debug, Default)]
pub struct Crowd(Arc<AtomicUsize>);

impl Crowd {
    /// How many are open.
    pub fn open(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Count one more, unless there are `max` already.
    pub(crate) fn enter(&self, max: usize) -> Option<Admission> {
        let more = |open: usize| (open < max).then_some(open + 1);
        let entered = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        entered.ok().map(|_| Admission(self.clone()))
    }
}

/// One connection's part of the count, for as long as it is kept.
#[derive(Debug)]
pub(crate) struct Admission(Crowd);

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
