//! Threads beside the loop, for work that blocks: name lookup, files, foreign drivers, long computations.
//!
//! The pool starts threads when they are needed and lets them go when they are not. A job's result comes back as a
//! value on the loop's thread, and so does its panic.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::Ctx;
use super::debug::Work;
use super::driver::{BlockingJob, Executor};
use super::handle::{CallKey, Handle, Remote};
use super::panic::{Panicked, guarded};
use super::stats::Origin;

/// A thread that had nothing to do for this long ends.
const IDLE: Duration = Duration::from_secs(10);

/// At most as many threads as asyncio's default executor has: enough for waiting, few enough to forget about.
fn threads_max() -> usize {
    thread::available_parallelism()
        .map_or(1, usize::from)
        .saturating_add(4)
        .min(32)
}

/// The real executor: named threads, started on demand, fed by one queue. Cheap to clone; the clones are the same
/// pool.
#[derive(Clone)]
pub struct ThreadPool {
    queue: Sender<BlockingJob>,
    jobs: Receiver<BlockingJob>,
    counts: Arc<Counts>,
    threads_max: usize,
}

#[derive(Default)]
struct Counts {
    threads: AtomicUsize,
    idle: AtomicUsize,
    started: AtomicUsize,
}

impl Default for ThreadPool {
    /// A pool without a limit to its queue.
    fn default() -> Self {
        let (queue, jobs) = crossbeam_channel::unbounded();
        Self {
            queue,
            jobs,
            counts: Arc::default(),
            threads_max: threads_max(),
        }
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool")
            .field("threads", &self.counts.threads)
            .field("queued", &self.jobs.len())
            .finish_non_exhaustive()
    }
}

impl ThreadPool {
    fn start_thread(&self) -> io::Result<()> {
        let (jobs, counts) = (self.jobs.clone(), Arc::clone(&self.counts));
        let number = counts.started.fetch_add(1, Ordering::Relaxed);
        counts.threads.fetch_add(1, Ordering::SeqCst);
        let started = thread::Builder::new()
            .name(format!("tourbillon-worker-{number}"))
            .spawn(move || {
                while let Some(job) = next_job(&jobs, &counts) {
                    job();
                }
            });
        if started.is_err() {
            self.counts.threads.fetch_sub(1, Ordering::SeqCst);
        }
        started.map(drop)
    }
}

/// Wait for a job; `None` ends the thread.
fn next_job(jobs: &Receiver<BlockingJob>, counts: &Counts) -> Option<BlockingJob> {
    counts.idle.fetch_add(1, Ordering::SeqCst);
    let job = jobs.recv_timeout(IDLE);
    counts.idle.fetch_sub(1, Ordering::SeqCst);
    job.ok().or_else(|| {
        counts.threads.fetch_sub(1, Ordering::SeqCst);
        // A job may have been queued between the time-out and the line above, on the strength of this idle thread.
        let late = jobs.try_recv().ok()?;
        counts.threads.fetch_add(1, Ordering::SeqCst);
        Some(late)
    })
}

impl Executor for ThreadPool {
    fn submit(&self, job: BlockingJob) -> io::Result<()> {
        // Queue first and count then: a thread that is about to end looks at the queue after it has left the count.
        self.queue
            .send(job)
            .map_err(|_| io::ErrorKind::BrokenPipe)?;
        let threads = self.counts.threads.load(Ordering::SeqCst);
        if self.counts.idle.load(Ordering::SeqCst) < self.jobs.len() && threads < self.threads_max {
            match self.start_thread() {
                Err(error) if threads == 0 => return Err(error),
                // The threads there are will get to it.
                _ => {}
            }
        }
        Ok(())
    }

    fn queued(&self) -> usize {
        self.jobs.len()
    }
}

const QUEUED: u8 = 0;
const STARTED: u8 = 1;
const CANCELLED: u8 = 2;

struct JobState<T> {
    stage: AtomicU8,
    end: Mutex<End<T>>,
}

struct End<T> {
    result: Option<Result<T, Panicked>>,
    listener: Listener,
}

enum Listener {
    None,
    Callback(CallKey),
    Waker(Waker),
}

impl<T> JobState<T> {
    fn end(&self) -> MutexGuard<'_, End<T>> {
        // Nothing panics while it is held.
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job on the executor. Await it, or give it a callback with [`JobHandle::on_done`].
///
/// Dropping the handle cancels the job while it is queued. A job that runs already runs on, and its result is dropped;
/// [`JobHandle::detach`] says that this is wanted.
#[must_use = "a job whose handle is dropped is cancelled; call `detach` to let it run by itself"]
pub struct JobHandle<T> {
    state: Arc<JobState<T>>,
    handle: Handle,
    /// Names it in the records.
    number: u64,
    detached: bool,
}

impl<T> JobHandle<T> {
    /// Take the job out of the queue. `false` when it is too late: it runs, or has ended.
    pub fn cancel(&self) -> bool {
        self.state
            .stage
            .compare_exchange(QUEUED, CANCELLED, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Whether the result is there (or has been taken).
    pub fn is_finished(&self) -> bool {
        self.state.stage.load(Ordering::SeqCst) == STARTED && self.state.end().result.is_some()
    }

    /// Let the job run by itself; its result will be dropped.
    pub fn detach(mut self) {
        self.detached = true;
    }

    /// The result if it is there; else `waker` is woken when it comes.
    pub(crate) fn take_or_wake(&self, waker: &Waker) -> Option<Result<T, Panicked>> {
        let mut end = self.state.end();
        if end.result.is_none() {
            end.listener = Listener::Waker(waker.clone());
        }
        let result = end.result.take();
        if result.is_some() {
            self.handle.recorder().job_done(self.number);
        }
        result
    }
}

impl<T: 'static> JobHandle<T> {
    /// Call `callback` on the loop's thread, as a callback of its own, when the job has ended.
    #[track_caller]
    pub fn on_done(mut self, callback: impl FnOnce(&mut Ctx<'_>, Result<T, Panicked>) + 'static) {
        self.detached = true;
        let (state, number) = (Arc::clone(&self.state), self.number);
        let key = self.handle.file_call(Box::new(move |ctx: &mut Ctx<'_>| {
            let result = state.end().result.take();
            ctx.recorder().job_done(number);
            if let Some(result) = result {
                callback(ctx, result);
            }
        }));
        let mut end = self.state.end();
        if end.result.is_some() {
            drop(end);
            self.handle.call_filed(key);
        } else {
            end.listener = Listener::Callback(key);
        }
    }
}

impl<T> Drop for JobHandle<T> {
    fn drop(&mut self) {
        if !self.detached {
            self.cancel();
        }
    }
}

impl<T> fmt::Debug for JobHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle")
            .field("stage", &self.state.stage)
            .finish_non_exhaustive()
    }
}

/// Queue `job` on the executor of `handle`'s loop.
pub(super) fn submit<T: Send + 'static>(
    handle: &Handle,
    origin: Origin,
    job: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JobHandle<T>> {
    let state = Arc::new(JobState {
        stage: AtomicU8::new(QUEUED),
        end: Mutex::new(End {
            result: None,
            listener: Listener::None,
        }),
    });
    let (theirs, remote) = (Arc::clone(&state), handle.remote());
    if let Err(error) = handle
        .executor()
        .submit(Box::new(move || run_job(&theirs, &remote, origin, job)))
    {
        // It may have been queued all the same, with no thread to run it now.
        state.stage.store(CANCELLED, Ordering::SeqCst);
        return Err(error);
    }
    Ok(JobHandle {
        state,
        handle: handle.clone(),
        number: handle.recorder().submitted(),
        detached: false,
    })
}

/// On the worker: run the job unless it was cancelled, leave the result, tell who waits.
fn run_job<T>(state: &JobState<T>, remote: &Remote, origin: Origin, job: impl FnOnce() -> T) {
    if state
        .stage
        .compare_exchange(QUEUED, STARTED, Ordering::SeqCst, Ordering::SeqCst)
        .is_err()
    {
        return;
    }
    let result = guarded(origin, job).map_err(|panicked| panicked.of(Work::new("job", origin)));
    let listener = {
        let mut end = state.end();
        end.result = Some(result);
        std::mem::replace(&mut end.listener, Listener::None)
    };
    match listener {
        Listener::None => {}
        Listener::Callback(key) => remote.call_filed(key),
        Listener::Waker(waker) => waker.wake(),
    }
}
