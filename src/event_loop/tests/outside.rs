//! On the real driver: other threads, descriptors, signals, life inside another loop.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;

const LONG: Duration = Duration::from_secs(20);

/// A loop that stops with a panic if a test takes too long.
fn real() -> EventLoop {
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.on_panic(|panicked| panic!("{panicked}"));
    event_loop.call_later(LONG, |_| panic!("nothing happened for too long"));
    event_loop
}

#[test]
fn calls_from_other_threads_all_arrive_in_the_order_of_each_thread() {
    const EACH: usize = 2_000;
    let mut event_loop = real();
    let arrived = Arc::new(std::sync::Mutex::new([0; 4]));
    let left = Arc::new(AtomicUsize::new(4 * EACH));
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (remote, arrived, left) = (event_loop.remote(), arrived.clone(), left.clone());
            std::thread::spawn(move || {
                for number in 0..EACH {
                    let (arrived, left) = (arrived.clone(), left.clone());
                    remote
                        .call_soon_threadsafe(move |ctx| {
                            let next = &mut arrived.lock().unwrap()[thread];
                            assert_eq!(std::mem::replace(next, number + 1), number);
                            if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                                ctx.stop();
                            }
                        })
                        .unwrap();
                }
            })
        })
        .collect();
    event_loop.run().unwrap();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(*arrived.lock().unwrap(), [EACH; 4]);
    assert_eq!(event_loop.stats().messages as usize, 4 * EACH);
}

#[test]
fn a_sleeping_loop_is_notified_once_for_many_messages() {
    struct Counted(Arc<dyn Notify>, Arc<AtomicUsize>);
    impl Notify for Counted {
        fn notify(&self) {
            self.1.fetch_add(1, Ordering::SeqCst);
            self.0.notify();
        }
    }
    // The inbox alone, so that the moment of parking is the test's.
    let notified = Arc::new(AtomicUsize::new(0));
    let driver = MioDriver::new().unwrap();
    let (inbox, remote) = Inbox::new(Arc::new(Counted(driver.notifier(), notified.clone())));
    let send = || remote.call_soon_threadsafe(|_| {}).unwrap();
    inbox.unpark();
    send();
    assert!(!inbox.park(), "there is a message already");
    inbox.unpark();
    assert!(inbox.has_mail());
    inbox.open();
    assert!(inbox.take().is_some() && !inbox.has_mail());
    assert!(inbox.park());
    for _ in 0..100 {
        send();
    }
    assert_eq!(notified.load(Ordering::SeqCst), 1);
    inbox.unpark();
    for _ in 0..100 {
        send();
    }
    assert_eq!(
        notified.load(Ordering::SeqCst),
        1,
        "a loop that is awake is left alone"
    );
    assert_eq!(std::iter::from_fn(|| inbox.take()).count(), 200);
}

#[test]
fn a_message_ends_the_sleep_of_a_loop_without_timers() {
    let mut event_loop = EventLoop::new().unwrap();
    let remote = event_loop.remote();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        remote.stop().unwrap();
    });
    event_loop.run().unwrap();
    thread.join().unwrap();
    assert!(event_loop.stats().asleep >= Duration::from_millis(10));
}

#[test]
fn jobs_run_on_other_threads_and_their_panics_are_values() {
    let mut event_loop = real();
    let here = std::thread::current().id();
    let job = event_loop
        .run_in_executor(|| std::thread::current().id())
        .unwrap();
    let fails = event_loop
        .run_in_executor(|| -> () { std::panic::resume_unwind(Box::new("in a job")) })
        .unwrap();
    let (thread, failed) = event_loop
        .run_until(async { (job.await, fails.await) })
        .unwrap();
    assert_ne!(thread.unwrap(), here);
    let panicked = failed.unwrap_err();
    assert_eq!(panicked.message, "in a job");
    assert!(panicked.origin.file().ends_with("outside.rs"));
    assert_eq!(event_loop.stats().panics, 0);
}

#[test]
fn more_jobs_than_threads_all_run() {
    let mut event_loop = real();
    let jobs: Vec<_> = (0..200_u64)
        .map(|n| event_loop.run_in_executor(move || n).unwrap())
        .collect();
    let sum = event_loop.run_until(async {
        let mut sum = 0;
        for job in jobs {
            sum += job.await.unwrap();
        }
        sum
    });
    assert_eq!(sum.unwrap(), 199 * 200 / 2);
}

#[test]
fn a_foreign_descriptor_is_reported_when_it_becomes_readable_until_its_watch_is_closed() {
    let mut event_loop = real();
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let got = Rc::new(RefCell::new(Vec::new()));
    let sink = Rc::clone(&got);
    let fd = ours.as_raw_fd();
    let token = event_loop
        .ctx()
        .add_reader(fd, move |ctx| {
            let _ = ours.read_to_end(&mut sink.borrow_mut());
            ctx.stop();
        })
        .unwrap();
    assert!(
        event_loop.ctx().add_reader(fd, |_| {}).is_err(),
        "watched already"
    );
    for word in ["hello ", "again"] {
        theirs.write_all(word.as_bytes()).unwrap();
        event_loop.run().unwrap();
    }
    assert_eq!(*got.borrow(), b"hello again");
    event_loop.ctx().close(token);
    event_loop.turn(TurnBudget::no_wait()).unwrap();
    let _ = theirs.write_all(b"nobody reads this");
    assert_eq!(event_loop.turn(TurnBudget::no_wait()).unwrap().events, 0);
    assert!(event_loop.inspect(token).is_none());
}

#[test]
fn a_foreign_descriptor_is_reported_when_it_becomes_writable() {
    let mut event_loop = real();
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let calls = Rc::new(std::cell::Cell::new(0));
    let counted = Rc::clone(&calls);
    let fd = ours.as_raw_fd();
    event_loop
        .ctx()
        .add_writer(fd, move |ctx| {
            counted.set(counted.get() + 1);
            ctx.stop();
        })
        .unwrap();
    event_loop.run().unwrap();
    assert_eq!(calls.get(), 1, "it is writable from the beginning");
    while ours.write(&[0; 4096]).is_ok() {}
    assert_eq!(event_loop.turn(TurnBudget::no_wait()).unwrap().events, 0);
    theirs.set_nonblocking(true).unwrap();
    while theirs.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {}
    event_loop.run().unwrap();
    assert_eq!(calls.get(), 2);
}

#[test]
fn a_signal_is_a_callback_on_the_loop() {
    let mut event_loop = real();
    let calls = Rc::new(std::cell::Cell::new(0));
    let counted = Rc::clone(&calls);
    let watched = event_loop.ctx().on_signal(Signal::User1, move |ctx| {
        counted.set(counted.get() + 1);
        ctx.stop();
    });
    watched.unwrap();
    for _ in 0..2 {
        let pid = std::process::id().to_string();
        assert!(
            Command::new("kill")
                .args(["-USR1", &pid])
                .status()
                .unwrap()
                .success()
        );
        event_loop.run().unwrap();
    }
    assert_eq!(calls.get(), 2);
}

/// A poller that looks at `inner`'s descriptor.
fn loop_around(inner: &EventLoop) -> mio::Poll {
    let outer = mio::Poll::new().unwrap();
    let descriptor = inner.pollable_descriptor().unwrap();
    let mut source = mio::unix::SourceFd(&descriptor);
    let registered = outer
        .registry()
        .register(&mut source, mio::Token(0), mio::Interest::READABLE);
    registered.unwrap();
    outer
}

#[test]
fn a_loop_lives_inside_another_one() {
    let mut inner = EventLoop::new().unwrap();
    let mut outer = loop_around(&inner);
    let log = log();
    let mut events = mio::Events::with_capacity(8);
    let mut rounds = 0;
    let mut drive = |inner: &mut EventLoop, until: &dyn Fn() -> bool| {
        while !until() {
            rounds += 1;
            assert!(rounds < 1_000, "the outer loop spins");
            let wait = inner
                .next_deadline()
                .map(|at| at.saturating_duration_since(Instant::now()));
            outer
                .poll(&mut events, Some(wait.map_or(LONG, |wait| wait.min(LONG))))
                .unwrap();
            inner.turn(TurnBudget::no_wait()).unwrap();
        }
    };

    inner.call_soon(note(&log, "soon"));
    drive(&mut inner, &|| !log.borrow().is_empty());
    inner.call_later(Duration::from_millis(30), note(&log, "later"));
    drive(&mut inner, &|| log.borrow().len() == 2);

    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let seen = Rc::clone(&log);
    let fd = ours.as_raw_fd();
    let read = move |_: &mut Ctx<'_>| {
        let mut byte = [0];
        if ours.read(&mut byte).is_ok_and(|n| n > 0) {
            seen.borrow_mut().push("readable");
        }
    };
    inner.ctx().add_reader(fd, read).unwrap();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        theirs.write_all(b"x").unwrap();
        theirs
    });
    drive(&mut inner, &|| log.borrow().len() == 3);
    drop(thread.join().unwrap());
    assert_eq!(*log.borrow(), ["soon", "later", "readable"]);
}

#[test]
fn a_message_makes_the_descriptor_of_a_loop_inside_another_one_readable() {
    let mut inner = EventLoop::new().unwrap();
    let mut outer = loop_around(&inner);
    let mut events = mio::Events::with_capacity(8);
    let remote = inner.remote();
    // Before its first turn, and behind each of its turns.
    for turns in 0..3 {
        assert_eq!(inner.next_deadline(), None);
        remote.call_soon_threadsafe(|_| {}).unwrap();
        outer.poll(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(!events.is_empty(), "after {turns} turns");
        inner.turn(TurnBudget::no_wait()).unwrap();
        assert_eq!(inner.stats().messages, turns + 1);
    }
    // And behind a run.
    inner.call_soon(|ctx| ctx.stop());
    inner.run().unwrap();
    remote.call_soon_threadsafe(|_| {}).unwrap();
    outer.poll(&mut events, Some(Duration::ZERO)).unwrap();
    assert!(!events.is_empty());
}
