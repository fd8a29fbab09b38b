//! A thread that looks at a loop from outside, and says what holds it while it is being held.
//!
//! A loop that is blocked cannot report anything itself: the report of a slow callback comes when it is over, if ever.
//! So the loop writes down what it is about to run, and a thread looks at that from time to time.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender};

use super::debug::{Span, Work};
use super::driver::Clock;
use super::mio_driver::MachineClock;

/// A visit or a callback that holds the loop now, or held it until just now.
#[derive(Clone, Debug)]
pub struct StallReport {
    /// What it is.
    pub work: Work,
    /// For how long by now, or in all if it is over. By this machine's clock, whatever the loop's driver says.
    pub lasted: Duration,
    /// Whether the loop goes on.
    pub is_over: bool,
}

impl fmt::Display for StallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (work, lasted) = (&self.work, Span(self.lasted));
        match self.is_over {
            false => write!(
                f,
                "stall: {work} has held the loop for {lasted} and still does"
            ),
            true => write!(f, "stall over: {work} held the loop for {lasted}"),
        }
    }
}

/// What runs on the loop, as the watchdog sees it.
struct Running {
    work: Work,
    since: Instant,
    /// When it has lasted so long it is reported next.
    report_at: Duration,
    reported: bool,
}

/// What the loop writes and the thread reads.
#[derive(Default)]
struct Board {
    /// The last one runs, as a part of the one before it.
    running: Vec<Running>,
    /// Stalls that were reported and are over; to be reported as such.
    over: Vec<StallReport>,
}

impl Board {
    /// What is to be told at `now`.
    fn news(&mut self, now: Instant) -> Vec<StallReport> {
        let mut news = std::mem::take(&mut self.over);
        if let Some(running) = self.running.last_mut() {
            let lasted = now.saturating_duration_since(running.since);
            if lasted >= running.report_at {
                running.reported = true;
                running.report_at = lasted * 2;
                news.push(StallReport {
                    work: running.work.clone(),
                    lasted,
                    is_over: false,
                });
            }
        }
        news
    }
}

pub(super) struct Watchdog {
    after: Duration,
    board: Arc<Mutex<Board>>,
    /// `None` when it has ended.
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Watchdog {
    pub(super) fn start(
        after: Duration,
        mut hook: impl FnMut(&StallReport) + Send + 'static,
    ) -> io::Result<Self> {
        let board = Arc::new(Mutex::new(Board::default()));
        let seen = Arc::clone(&board);
        let (end, ended) = crossbeam_channel::bounded(0);
        let pause = (after / 4).max(Duration::from_millis(1));
        let watch = move || {
            loop {
                let is_last = ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout);
                // The hook is called when the board is free again.
                let news = lock(&seen).news(MachineClock.now());
                news.iter().for_each(&mut hook);
                if is_last {
                    return;
                }
            }
        };
        let name = "tourbillon-watchdog".to_owned();
        let thread = thread::Builder::new().name(name).spawn(watch)?;
        Ok(Self {
            after,
            board,
            thread: Some((end, thread)),
        })
    }

    /// `work` begins, as a part of what has begun before and not ended.
    pub(super) fn begin(&self, work: Work) {
        let running = Running {
            work,
            since: MachineClock.now(),
            report_at: self.after,
            reported: false,
        };
        lock(&self.board).running.push(running);
    }

    /// What has begun last has ended.
    pub(super) fn end(&self) {
        let mut board = lock(&self.board);
        if let Some(ended) = board.running.pop()
            && ended.reported
        {
            board.over.push(StallReport {
                work: ended.work,
                lasted: MachineClock.now().saturating_duration_since(ended.since),
                is_over: true,
            });
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.thread.take() {
            drop(end);
            // A hook that has panicked said so itself.
            let _ = thread.join();
        }
    }
}

fn lock(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    // Nothing panics while it is held.
    board.lock().unwrap_or_else(PoisonError::into_inner)
}
