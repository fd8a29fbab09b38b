//! How a future that waits says so to the loop: a waker that puts its source into the ready queue, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Wake, Waker};

use super::driver::Token;
use super::handle::Remote;

struct Target {
    remote: Remote,
    /// A token. Constant while anybody else holds the waker.
    token: AtomicU64,
    woken: AtomicBool,
}

impl Wake for Target {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            let token = self.token.load(Ordering::Relaxed);
            self.remote.wake(Token::from_bits(token));
        }
    }
}

/// The waker of one source, for the futures inside it.
pub(crate) struct SourceWaker {
    target: Arc<Target>,
    /// Of `target`.
    waker: Waker,
}

impl SourceWaker {
    pub(crate) fn new(remote: Remote, token: Token) -> Self {
        let target = Arc::new(Target {
            remote,
            token: AtomicU64::new(token.to_bits()),
            woken: AtomicBool::new(false),
        });
        let waker = Waker::from(Arc::clone(&target));
        Self { target, waker }
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Whether it was woken and not visited since.
    pub(crate) fn is_woken(&self) -> bool {
        self.target.woken.load(Ordering::Acquire)
    }

    /// Whether nobody can wake it any more: it was not woken, and no clone of the waker is left.
    pub(crate) fn is_lost(&self) -> bool {
        // One is in here, and one is behind the waker. Who holds another may be about to drop it, but a waker that is
        // gone does not come back.
        Arc::strong_count(&self.target) == 2 && !self.is_woken()
    }

    /// Whether it was woken since the last call.
    pub(crate) fn take_woken(&self) -> bool {
        // Mostly it was not, and to look costs a tenth of a swap.
        self.is_woken() && self.target.woken.swap(false, Ordering::AcqRel)
    }

    /// Whether somebody else still has it and could wake it.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.target) > 2
    }

    /// From now on it is another source's.
    pub(super) fn aim(&self, token: Token) {
        self.target.token.store(token.to_bits(), Ordering::Relaxed);
        self.target.woken.store(false, Ordering::Relaxed);
    }
}
