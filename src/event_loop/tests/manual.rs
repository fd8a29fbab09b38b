//! A driver on which nothing happens unless the test says so: its clock moves when the loop sleeps, its events are
//! those that were put there, its jobs run when they are told to.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::super::driver::{BlockingJob, Watch};
use super::*;

/// The test's end of a [`ManualDriver`].
pub(super) struct Outside {
    pub(super) now: Cell<Instant>,
    /// What the next polls return.
    pub(super) batches: RefCell<VecDeque<Vec<Event>>>,
    /// What the loop was ready to sleep for, poll by poll.
    pub(super) timeouts: RefCell<Vec<Option<Duration>>>,
    pub(super) jobs: RefCell<VecDeque<BlockingJob>>,
    pub(super) jobs_max: Cell<usize>,
    pub(super) notified: Arc<AtomicUsize>,
    sockets: Cell<u32>,
}

impl Outside {
    /// The next poll returns these.
    pub(super) fn events(&self, events: &[(Token, Readiness)]) {
        let event = |&(token, readiness)| Event { token, readiness };
        self.batches
            .borrow_mut()
            .push_back(events.iter().map(event).collect());
    }

    pub(super) fn pass(&self, time: Duration) {
        self.now.set(self.now.get() + time);
    }

    pub(super) fn run_jobs(&self) {
        let jobs = self.jobs.take();
        jobs.into_iter().for_each(|job| job());
    }
}

pub(super) fn manual() -> (EventLoop, Rc<Outside>) {
    let outside = Rc::new(Outside {
        now: Cell::new(Instant::now()),
        batches: RefCell::default(),
        timeouts: RefCell::default(),
        jobs: RefCell::default(),
        jobs_max: Cell::new(usize::MAX),
        notified: Arc::default(),
        sockets: Cell::new(0),
    });
    let driver = Box::new(ManualDriver(Rc::clone(&outside)));
    (EventLoop::with_driver(driver), outside)
}

struct ManualDriver(Rc<Outside>);

struct ManualClock(Rc<Outside>);

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.0.now.get()
    }
    fn wall_clock(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

struct Counter(Arc<AtomicUsize>);

impl Notify for Counter {
    fn notify(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Shelf(Rc<Outside>);

impl Executor for Shelf {
    fn submit(&self, job: BlockingJob) -> io::Result<()> {
        if self.0.jobs.borrow().len() >= self.0.jobs_max.get() {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.0.jobs.borrow_mut().push_back(job);
        Ok(())
    }
    fn queued(&self) -> usize {
        self.0.jobs.borrow().len()
    }
}

fn none<T>() -> io::Result<T> {
    Err(ErrorKind::Unsupported.into())
}

impl Driver for ManualDriver {
    fn clock(&self) -> Rc<dyn Clock> {
        Rc::new(ManualClock(Rc::clone(&self.0)))
    }
    fn entropy(&mut self) -> u64 {
        4
    }
    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        self.0.timeouts.borrow_mut().push(timeout);
        match self.0.batches.borrow_mut().pop_front() {
            Some(batch) => events.extend(batch),
            // Nothing comes: it sleeps to the end. Without an end it would sleep for ever; a test wants to go on.
            None => self.0.pass(timeout.unwrap_or_default()),
        }
        Ok(())
    }
    fn notifier(&self) -> Arc<dyn Notify> {
        Arc::new(Counter(Arc::clone(&self.0.notified)))
    }
    fn executor(&self) -> Rc<dyn Executor> {
        Rc::new(Shelf(Rc::clone(&self.0)))
    }
    fn listen(&mut self, _: SocketAddr) -> io::Result<Socket> {
        self.0.sockets.set(self.0.sockets.get() + 1);
        Ok(Socket(self.0.sockets.get()))
    }
    fn accept(&mut self, _: Socket) -> io::Result<(Socket, SocketAddr)> {
        none()
    }
    fn turn_away(&mut self, _: Socket, _: usize) -> usize {
        0
    }
    fn connect(&mut self, _: SocketAddr) -> io::Result<Socket> {
        none()
    }
    fn register(&mut self, _: Socket, _: Token) -> io::Result<()> {
        Ok(())
    }
    fn read(&mut self, _: Socket, _: &mut [u8]) -> io::Result<usize> {
        none()
    }
    fn write(&mut self, _: Socket, _: &[u8]) -> io::Result<usize> {
        none()
    }
    fn write_vectored(&mut self, _: Socket, _: &[IoSlice<'_>]) -> io::Result<usize> {
        none()
    }
    fn shutdown_write(&mut self, _: Socket) -> io::Result<()> {
        none()
    }
    fn take_error(&mut self, _: Socket) -> io::Result<Option<io::Error>> {
        none()
    }
    fn local_addr(&self, _: Socket) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 80)))
    }
    fn close(&mut self, _: Socket) {}
    fn open_sockets(&self) -> usize {
        0
    }
    fn descriptor_limit(&self) -> Option<usize> {
        None
    }
    #[cfg(unix)]
    fn watch_descriptor(&mut self, _: std::os::fd::RawFd, _: Watch, _: Token) -> io::Result<()> {
        none()
    }
    #[cfg(unix)]
    fn unwatch_descriptor(&mut self, _: std::os::fd::RawFd) -> io::Result<()> {
        none()
    }
    #[cfg(unix)]
    fn pollable_descriptor(&self) -> Option<std::os::fd::RawFd> {
        None
    }
    fn watch_signal(&mut self, _: Signal, _: Token) -> io::Result<()> {
        Ok(())
    }
    fn take_signal(&mut self, _: Signal) -> bool {
        true
    }
}
