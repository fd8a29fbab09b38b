//! The driver that blocks in its one connection: where it waits, and that nothing is slept through there.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::OWN_HOLDERS;
use crate::event_loop::{
    BlockingDriver, Driver, Event, EventLoop, Interrupter, Readiness, Socket, ThreadPool, Token,
};

const TOKEN: Token = Token::new(1, 1);
const LONG: Option<Duration> = Some(Duration::from_secs(10));

/// A driver with a connection, and the peer of it.
fn connected() -> (BlockingDriver, Interrupter, Socket, TcpStream) {
    let interrupter = Interrupter::default();
    let mut driver = BlockingDriver::new(ThreadPool::default(), &interrupter);
    // Stand for those that its loop keeps, one of them in its spare waker: for the whole of the test, as a loop would.
    for _ in 1..OWN_HOLDERS {
        std::mem::forget(driver.notifier());
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_read_timeout(LONG).unwrap();
    let socket = driver.adopt(listener.accept().unwrap().0).unwrap();
    driver.register(socket, TOKEN).unwrap();
    (driver, interrupter, socket, peer)
}

fn poll(driver: &mut BlockingDriver, timeout: Option<Duration>) -> Vec<Event> {
    let mut events = Vec::new();
    driver.poll(&mut events, timeout).unwrap();
    events
}

/// Poll until something is said, and read it.
fn heard(driver: &mut BlockingDriver, socket: Socket) -> Vec<u8> {
    let mut buffer = [0; 100];
    let since = Instant::now();
    loop {
        assert!(since.elapsed() < LONG.unwrap(), "nothing was said");
        match driver.read(socket, &mut buffer) {
            Ok(n) => return buffer[..n].to_vec(),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        poll(driver, LONG);
    }
}

#[test]
fn a_request_is_waited_for_in_the_socket_and_without_a_poller() {
    let (mut driver, _, socket, mut peer) = connected();
    for _ in 0..3 {
        peer.write_all(b"question").unwrap();
        let readable = Event {
            token: TOKEN,
            readiness: Readiness::READABLE,
        };
        assert_eq!(poll(&mut driver, LONG), [readable]);
        let mut buffer = [0; 5];
        assert_eq!(driver.read(socket, &mut buffer).unwrap(), 5);
        assert_eq!(driver.read(socket, &mut buffer).unwrap(), 3);
        assert_eq!(driver.write(socket, b"answer").unwrap(), 6);
        let mut answer = [0; 6];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
    }
    drop(peer);
    let ended = Event {
        token: TOKEN,
        readiness: Readiness::READABLE | Readiness::CLOSING,
    };
    assert_eq!(poll(&mut driver, None), [ended]);
    assert_eq!(driver.read(socket, &mut [0]).unwrap(), 0);
    assert!(driver.poller.is_none());
}

#[test]
fn who_holds_the_bell_can_end_the_wait() {
    let (mut driver, _, socket, mut peer) = connected();
    let bell = driver.notifier();
    let has_rung = Arc::new(AtomicBool::new(false));
    let (let_go, is_to_let_go) = mpsc::channel::<()>();
    let ringing = thread::spawn({
        let has_rung = Arc::clone(&has_rung);
        move || {
            thread::sleep(Duration::from_millis(30));
            has_rung.store(true, Ordering::SeqCst);
            bell.notify();
            // Kept for longer than that, as a task's waker is.
            let _ = is_to_let_go.recv();
        }
    });
    // Moving to the poller brings an event of its own: there is room to write.
    poll(&mut driver, None);
    while !has_rung.load(Ordering::SeqCst) {
        poll(&mut driver, None);
    }
    drop(let_go);
    ringing.join().unwrap();
    assert!(driver.poller.is_some());
    peer.write_all(b"still heard").unwrap();
    assert_eq!(heard(&mut driver, socket), b"still heard");
}

#[test]
fn a_ring_is_not_lost_with_who_rang() {
    let (mut driver, _, _, _peer) = connected();
    let bell = driver.notifier();
    thread::spawn(move || bell.notify()).join().unwrap();
    assert_eq!(poll(&mut driver, None), [], "it returns");
    assert!(driver.poller.is_none());
}

#[test]
fn what_was_received_before_the_poller_took_over_is_read_with_what_came_behind_it() {
    let (mut driver, _, socket, mut peer) = connected();
    peer.write_all(b"first ").unwrap();
    poll(&mut driver, LONG);
    let _bell = driver.notifier();
    peer.write_all(b"second").unwrap();
    while poll(&mut driver, LONG).is_empty() {}
    let mut buffer = [0; 100];
    let n = driver.read(socket, &mut buffer).unwrap();
    assert_eq!(&buffer[..n], b"first second");
    let blocked = driver.read(socket, &mut buffer).unwrap_err();
    assert_eq!(blocked.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_wait_ends_with_its_time_and_one_without_time_reads() {
    let (mut driver, _, socket, mut peer) = connected();
    let since = Instant::now();
    assert_eq!(poll(&mut driver, Some(Duration::from_millis(40))), []);
    assert!(since.elapsed() < Duration::from_secs(5));
    assert_eq!(poll(&mut driver, Some(Duration::ZERO)), []);
    peer.write_all(b"x").unwrap();
    let since = Instant::now();
    while poll(&mut driver, Some(Duration::ZERO)).is_empty() {
        assert!(since.elapsed() < Duration::from_secs(5));
    }
    assert_eq!(heard(&mut driver, socket), b"x");
    assert!(driver.poller.is_none());
}

#[test]
fn a_deadline_that_comes_nearer_costs_few_calls() {
    let (mut driver, _, _, _peer) = connected();
    let mut calls = 0;
    let mut set = None;
    // 75 s of requests, one each millisecond.
    for left in (0..75_000).rev() {
        let timeout = Duration::from_millis(left + 1);
        let connection = driver.only_connection().expect("it is the only one");
        connection.limit_wait(Some(timeout)).unwrap();
        let wait_max = connection.wait_max.expect("a limit");
        assert!(wait_max <= timeout, "a timer would be late");
        calls += u32::from(set.replace(wait_max) != Some(wait_max));
    }
    assert!(calls < 300, "{calls} calls");
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_connection_still_hears_its_peer() {
    let (mut driver, interrupter, socket, mut peer) = connected();
    let interrupting = {
        let interrupter = interrupter.clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            interrupter.interrupt();
        })
    };
    poll(&mut driver, None);
    interrupting.join().unwrap();
    for text in [b"one", b"two"] {
        poll(&mut driver, Some(Duration::ZERO));
        let blocked = driver.read(socket, &mut [0; 10]).unwrap_err();
        assert_eq!(
            blocked.kind(),
            ErrorKind::WouldBlock,
            "our end is not the peer's"
        );
        peer.write_all(text).unwrap();
        assert_eq!(heard(&mut driver, socket), text);
    }
    driver.shutdown_write(socket).unwrap();
    assert_eq!(driver.read(socket, &mut [0; 10]).unwrap(), 0);
}

#[test]
fn who_takes_nothing_is_left_to_the_poller() {
    let (mut driver, _, socket, mut peer) = connected();
    let bytes = vec![b'x'; 1 << 20];
    let mut written = 0;
    let blocked = loop {
        match driver.write(socket, &bytes) {
            Ok(n) => written += n,
            Err(error) => break error,
        }
    };
    assert_eq!(blocked.kind(), ErrorKind::WouldBlock);
    let reading = thread::spawn(move || {
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        received.len()
    });
    let since = Instant::now();
    while !poll(&mut driver, LONG)
        .iter()
        .any(|event| event.readiness.contains(Readiness::WRITABLE))
    {
        assert!(since.elapsed() < LONG.unwrap());
    }
    written += driver.write(socket, b"more").unwrap();
    driver.close(socket);
    assert_eq!(reading.join().unwrap(), written);
}

#[test]
fn a_loop_without_a_connection_waits_for_timers_and_messages() {
    let driver = BlockingDriver::new(ThreadPool::default(), &Interrupter::default());
    let mut event_loop = EventLoop::with_driver(Box::new(driver));
    let remote = event_loop.remote();
    let since = event_loop.time();
    event_loop.call_later(Duration::from_millis(20), move |_| {
        thread::spawn(move || remote.call_soon_threadsafe(|ctx| ctx.stop()).unwrap());
    });
    assert!(!event_loop.is_idle());
    event_loop.run().unwrap();
    assert!(event_loop.time() - since >= Duration::from_millis(20));
    assert!(event_loop.is_idle());
}
