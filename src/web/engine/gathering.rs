//! What the loops or threads of an engine report at its end, put together.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::conn::ShutdownReport;
use crate::event_loop::Remote;

/// The sum of the reports, and who waits for it.
#[derive(Default)]
pub(super) struct Gathering {
    gathered: Mutex<Gathered>,
    complete: Condvar,
}

#[derive(Default)]
struct Gathered {
    report: ShutdownReport,
    missing: usize,
    watcher: Option<Remote>,
}

impl Gathering {
    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        // Nothing panics while it is held.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more is to report: when it says so, and else when this is dropped, with nothing to say.
    pub(super) fn expect(self: &Arc<Self>) -> Reporter {
        self.gathered().missing += 1;
        Reporter {
            gathering: Arc::clone(self),
            report: ShutdownReport::default(),
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.gathered().missing == 0
    }

    /// Wait for all of them. What took longest is how long it took.
    pub(super) fn wait(&self) -> ShutdownReport {
        let gathered = self.gathered();
        let gathered = self
            .complete
            .wait_while(gathered, |gathered| gathered.missing > 0)
            .unwrap_or_else(PoisonError::into_inner);
        gathered.report
    }

    /// Stop the loop of `remote` when all are there.
    pub(super) fn watch(&self, remote: Remote) {
        let mut gathered = self.gathered();
        if gathered.missing == 0 {
            // A loop that has gone waits for nothing.
            let _ = remote.stop();
        } else {
            gathered.watcher = Some(remote);
        }
    }

    fn add(&self, report: ShutdownReport) {
        let mut gathered = self.gathered();
        gathered.report = sum(gathered.report, report);
        gathered.missing -= 1;
        if gathered.missing == 0 {
            self.complete.notify_all();
            if let Some(watcher) = gathered.watcher.take() {
                let _ = watcher.stop();
            }
        }
    }
}

/// Reports for one loop, once.
pub(super) struct Reporter {
    gathering: Arc<Gathering>,
    report: ShutdownReport,
}

impl Reporter {
    /// Have `report` in what will be said.
    pub(super) fn add(&mut self, report: ShutdownReport) {
        self.report = sum(self.report, report);
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.gathering.add(self.report);
    }
}

fn sum(a: ShutdownReport, b: ShutdownReport) -> ShutdownReport {
    ShutdownReport {
        idle: a.idle + b.idle,
        finished: a.finished + b.finished,
        cut: a.cut + b.cut,
        took: a.took.max(b.took),
    }
}
