//! The simulator against the kernel it imitates, and against loops with bugs that it must find.
//!
//! The probes are those that were run on Linux 6.18; the same questions are put to the simulated driver here.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::event_loop::{Event, Readiness};

const READABLE: Readiness = Readiness::READABLE;
const LISTENER: Token = Token::new(0, 0);
const MS: Duration = Duration::from_millis(1);

// The kernel probes.

/// A server's side of one accepted and registered connection, with the client behind it.
struct Probe {
    world: World,
    driver: Box<dyn Driver>,
    socket: Socket,
    client: Client,
}

const CONNECTION: Token = Token::new(1, 0);

impl Probe {
    /// `before` happens before the accepted socket is registered; the events of the registration are returned.
    fn new(faults: Faults, before: impl FnOnce(&World, &Client)) -> (Self, Vec<String>) {
        let world = World::with_faults(1, faults);
        let mut driver = world.driver("server");
        let listener = driver.listen("0.0.0.0:80".parse().unwrap()).unwrap();
        let client = world.connect((world.address("server"), 80));
        world.settle();
        let (socket, _) = driver.accept(listener).unwrap();
        before(&world, &client);
        driver.register(socket, CONNECTION).unwrap();
        let mut probe = Self {
            world,
            driver,
            socket,
            client,
        };
        let events = probe.events();
        (probe, events)
    }

    fn plain() -> Self {
        Self::new(Faults::none(), |_, _| {}).0
    }

    fn events(&mut self) -> Vec<String> {
        self.world.settle();
        let mut events = Vec::new();
        self.driver.poll(&mut events, None).unwrap();
        events.iter().map(bits).collect()
    }

    fn read(&mut self) -> String {
        let mut buffer = [0; 65_536];
        match self.driver.read(self.socket, &mut buffer) {
            Ok(length) if length > 40 => format!("{length} bytes"),
            Ok(length) => String::from_utf8_lossy(&buffer[..length]).into_owned(),
            Err(error) => format!("{:?}", error.kind()),
        }
    }
}

fn bits(event: &Event) -> String {
    let names = [
        (Readiness::READABLE, "R"),
        (Readiness::WRITABLE, "W"),
        (Readiness::CLOSING, "C"),
    ];
    let set = names
        .iter()
        .filter(|(bit, _)| event.readiness.contains(*bit));
    set.map(|(_, name)| *name).collect()
}

#[test]
fn data_and_end_in_one_event_leave_no_second_event_behind_a_short_read() {
    let mut probe = Probe::plain();
    probe.client.send([b'x'; 100]);
    probe.client.shutdown_write();
    assert_eq!(probe.events(), ["RWC"]);
    assert_eq!(probe.read(), "100 bytes");
    assert!(probe.events().is_empty());
    assert_eq!(probe.read(), "");
}

#[test]
fn an_end_that_comes_after_the_poll_makes_an_event_of_its_own() {
    let mut probe = Probe::plain();
    probe.client.send([b'x'; 100]);
    assert_eq!(probe.events(), ["RW"]);
    probe.client.shutdown_write();
    probe.world.settle();
    assert_eq!(probe.read(), "100 bytes");
    assert_eq!(probe.events(), ["RWC"]);
}

#[test]
fn an_urgent_byte_stops_one_read_and_its_event_says_so() {
    let mut probe = Probe::plain();
    probe.client.send("AAAA");
    probe.client.send_urgent();
    probe.client.send("BBBB");
    assert_eq!(probe.events(), ["RWC"]);
    assert_eq!(probe.read(), "AAAA");
    assert!(probe.events().is_empty());
    assert_eq!(probe.read(), "BBBB");
    assert_eq!(probe.read(), "WouldBlock");
}

#[test]
fn an_urgent_byte_after_the_poll_makes_an_event_of_its_own() {
    let mut probe = Probe::plain();
    probe.client.send("AAAA");
    assert_eq!(probe.events(), ["RW"]);
    probe.client.send_urgent();
    probe.client.send("BBBB");
    assert_eq!(probe.events(), ["RWC"]);
    assert_eq!([probe.read(), probe.read()], ["AAAA", "BBBB"]);
}

#[test]
fn an_urgent_byte_alone_is_an_event_with_nothing_to_read() {
    let mut probe = Probe::plain();
    probe.client.send_urgent();
    assert_eq!(probe.events(), ["RWC"]);
    assert_eq!(probe.read(), "WouldBlock");
    assert!(probe.events().is_empty());
}

#[test]
fn a_freed_descriptor_raises_no_edge_but_accept_works_again() {
    let world = World::new(1);
    let mut driver = world.driver("server");
    let listener = driver.listen("0.0.0.0:80".parse().unwrap()).unwrap();
    driver.register(listener, LISTENER).unwrap();
    world.limit_descriptors("server", Some(3));
    let clients: Vec<Client> = (0..6)
        .map(|_| world.connect((world.address("server"), 80)))
        .collect();
    world.settle();
    assert!(clients.iter().all(Client::was_connected));

    let mut events = Vec::new();
    driver.poll(&mut events, None).unwrap();
    assert_eq!(events.len(), 1, "one edge for all six");
    let (first, _) = driver.accept(listener).unwrap();
    driver.accept(listener).unwrap();
    let emfile = driver.accept(listener).unwrap_err();
    assert_eq!(emfile.raw_os_error(), Some(24));
    assert_eq!(driver.open_sockets(), 3);

    driver.close(first);
    world.settle();
    events.clear();
    driver.poll(&mut events, None).unwrap();
    assert!(events.is_empty(), "{events:?}");
    assert!(driver.accept(listener).is_ok());
    assert_eq!(world.undrained("server"), [(listener, LISTENER)]);
}

#[test]
fn turning_away_closes_the_waiting_ones_and_needs_no_descriptor() {
    let world = World::new(1);
    let mut driver = world.driver("server");
    let listener = driver.listen("0.0.0.0:80".parse().unwrap()).unwrap();
    world.limit_descriptors("server", Some(1));
    let clients: Vec<Client> = (0..3)
        .map(|_| world.connect((world.address("server"), 80)))
        .collect();
    clients[1].send("GET");
    world.settle();
    assert_eq!(driver.turn_away(listener, 2), 2);
    world.settle();
    assert!(clients[0].peer_closed() && clients[1].was_reset());
    assert!(!clients[2].is_over());
    assert_eq!(driver.turn_away(listener, 2), 1);
    assert_eq!(driver.open_sockets(), 1);
}

#[test]
fn closing_with_unread_input_resets_the_peer_and_loses_the_answer() {
    let mut probe = Probe::plain();
    probe.client.send([b'x'; 100]);
    probe.world.settle();
    probe.driver.write(probe.socket, b"answer").unwrap();
    probe.driver.close(probe.socket);
    probe.world.settle();
    assert!(probe.client.was_reset());
    assert_eq!(probe.client.received_len(), 0);
}

#[test]
fn shutting_down_and_draining_gets_the_answer_through() {
    let mut probe = Probe::plain();
    probe.client.send([b'x'; 100]);
    probe.world.settle();
    probe.driver.write(probe.socket, b"answer").unwrap();
    probe.driver.shutdown_write(probe.socket).unwrap();
    assert_eq!(probe.read(), "100 bytes");
    probe.world.settle();
    assert_eq!(probe.client.received(), b"answer");
    assert!(probe.client.peer_closed() && !probe.client.was_reset());
    probe.client.close();
    probe.world.settle();
    assert_eq!(probe.read(), "");
    probe.driver.close(probe.socket);
    assert_eq!(probe.driver.open_sockets(), 1, "the listener");
}

#[test]
fn data_for_a_closed_socket_comes_back_as_a_reset() {
    let mut probe = Probe::plain();
    probe.driver.close(probe.socket);
    probe.world.settle();
    assert!(probe.client.peer_closed() && !probe.client.was_reset());
    probe.client.send("more");
    probe.world.settle();
    assert!(probe.client.was_reset());
}

#[test]
fn a_thousand_sends_that_all_fit_make_no_event() {
    let mut probe = Probe::plain();
    for _ in 0..1_000 {
        assert_eq!(probe.driver.write(probe.socket, b"message").unwrap(), 7);
        assert!(probe.events().is_empty());
    }
    assert_eq!(probe.client.received_len(), 7_000);
}

#[test]
fn a_registration_reports_writable_at_once_with_what_is_there_already() {
    let (_, events) = Probe::new(Faults::none(), |_, _| {});
    assert_eq!(events, ["W"]);
    let (_, events) = Probe::new(Faults::none(), |world, client| {
        client.send("early");
        world.settle();
    });
    assert_eq!(events, ["RW"]);
}

#[test]
fn a_reset_leaves_what_came_before_it_readable_then_is_an_error_once() {
    let mut probe = Probe::plain();
    probe.client.send("last words");
    probe.world.settle();
    probe.client.reset();
    assert_eq!(probe.events(), ["RWC"]);
    let reads = [probe.read(), probe.read(), probe.read()];
    assert_eq!(reads, ["last words", "ConnectionReset", ""]);
    let write = probe.driver.write(probe.socket, b"x").unwrap_err();
    assert_eq!(write.kind(), ErrorKind::BrokenPipe);
    let shutdown = probe.driver.shutdown_write(probe.socket).unwrap_err();
    assert_eq!(shutdown.kind(), ErrorKind::NotConnected);
}

// Faults, one at a time.

#[test]
fn distorted_batches_hold_untrue_stale_split_and_postponed_events() {
    let closed = Token::new(2, 0);
    let batch = |faults: Faults| {
        let (mut probe, _) = Probe::new(Faults::none(), |_, _| {});
        let other = probe.driver.listen("0.0.0.0:81".parse().unwrap()).unwrap();
        probe.driver.register(other, closed).unwrap();
        probe.driver.close(other);
        probe.client.send("data");
        probe.world.settle();
        probe.world.set_faults(faults);
        let mut events = Vec::new();
        probe.driver.poll(&mut events, None).unwrap();
        let text = events
            .iter()
            .map(|event| format!("{}:{}", event.token.index(), bits(event)));
        text.collect::<Vec<_>>().join(" ")
    };
    let none = Faults::none;
    assert_eq!(batch(none()), "1:RW");
    assert_eq!(
        batch(Faults {
            stale: 1.0,
            ..none()
        }),
        "1:RW 2:RWC"
    );
    assert_eq!(
        batch(Faults {
            split: 1.0,
            ..none()
        }),
        "1:W 1:R"
    );
    assert_eq!(
        batch(Faults {
            empty_poll: 1.0,
            ..none()
        }),
        ""
    );
    let mut probe = Probe::plain();
    probe.world.set_faults(Faults {
        spurious: 1.0,
        ..none()
    });
    let untrue: Vec<String> = (0..50).flat_map(|_| probe.events()).collect();
    for expected in ["R", "W", "RW", "RC"] {
        assert!(untrue.iter().any(|event| event == expected), "{untrue:?}");
    }
}

#[test]
fn a_batch_that_was_cut_goes_on_with_the_next_poll_and_an_empty_poll_loses_nothing() {
    for faults in [
        Faults {
            batch_max: Some(1..=1),
            ..Faults::none()
        },
        Faults {
            empty_poll: 0.9,
            ..Faults::none()
        },
    ] {
        let world = World::with_faults(1, faults);
        let mut driver = world.driver("server");
        for port in 1..=5 {
            let listener = driver
                .listen(SocketAddr::from(([0, 0, 0, 0], port)))
                .unwrap();
            driver
                .register(listener, Token::new(port.into(), 0))
                .unwrap();
            world.connect((world.address("server"), port));
        }
        world.settle();
        let (mut events, mut polls) = (Vec::new(), 0);
        while events.len() < 5 {
            driver.poll(&mut events, None).unwrap();
            polls += 1;
        }
        assert!((2..100).contains(&polls), "{polls}");
        let slots: Vec<u32> = events.iter().map(|event| event.token.index()).collect();
        assert_eq!(slots, [1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_write_that_a_fault_cut_short_gets_its_event_when_there_is_room() {
    for (faults, taken) in [
        (
            Faults {
                write_short: 1.0,
                room_us: 700..=700,
                ..Faults::none()
            },
            1..=99,
        ),
        (
            Faults {
                write_blocked: 1.0,
                room_us: 700..=700,
                ..Faults::none()
            },
            0..=0,
        ),
    ] {
        let mut probe = Probe::plain();
        probe.world.set_faults(faults);
        let sent = probe.driver.write(probe.socket, &[b'x'; 100]).unwrap_or(0);
        assert!(taken.contains(&sent), "{sent}");
        let again = probe.driver.write(probe.socket, b"x").unwrap_err();
        assert_eq!(again.kind(), ErrorKind::WouldBlock);
        let before = probe.world.elapsed();
        assert_eq!(probe.events(), ["W"]);
        let waited = probe.world.elapsed() - before;
        assert_eq!(waited, Duration::from_micros(700));
    }
}

#[test]
fn a_reset_in_a_call_is_an_error_here_and_reaches_the_peer() {
    let mut probe = Probe::plain();
    probe.world.set_faults(Faults {
        call_reset: 1.0,
        ..Faults::none()
    });
    assert_eq!(probe.read(), "ConnectionReset");
    assert_eq!(probe.events(), ["RWC"]);
    assert!(probe.client.was_reset());
}

#[test]
fn a_reset_on_the_road_hits_both_ends_and_may_take_unread_bytes_along() {
    for (reset_discards, reads) in [
        (0.0, ["came", "ConnectionReset"]),
        (1.0, ["ConnectionReset", ""]),
    ] {
        let mut probe = Probe::plain();
        probe.client.send("came");
        probe.world.settle();
        probe.world.set_faults(Faults {
            reset: 1.0,
            reset_discards,
            ..Faults::none()
        });
        probe.client.send("did not");
        probe.world.settle();
        assert!(probe.client.was_reset());
        assert_eq!([probe.read(), probe.read()], reads);
    }
}

#[test]
fn an_accept_that_fails_leaves_the_connection_waiting() {
    let world = World::with_faults(
        1,
        Faults {
            accept_error: 1.0,
            ..Faults::none()
        },
    );
    let mut driver = world.driver("server");
    let listener = driver.listen("0.0.0.0:80".parse().unwrap()).unwrap();
    let client = world.connect((world.address("server"), 80));
    world.settle();
    let codes: std::collections::BTreeSet<i32> = (0..100)
        .map(|_| driver.accept(listener).unwrap_err())
        .map(|error| error.raw_os_error().unwrap())
        .collect();
    assert_eq!(codes.len(), 5, "{codes:?}");
    world.set_faults(Faults::none());
    driver.accept(listener).unwrap();
    assert!(client.is_open());
}

#[test]
fn arrivals_in_the_middle_of_a_turn_are_read_and_reported_once_more() {
    let mut probe = Probe::plain();
    probe.world.set_faults(Faults {
        arrival_in_call: 1.0,
        ..Faults::none()
    });
    probe.client.send("just now");
    assert_eq!(probe.read(), "just now");
    assert_eq!(probe.events(), ["W"], "the edge is there, the data is gone");
}

#[test]
fn pieces_stalls_and_urgent_bytes_delay_a_stream_and_leave_it_whole() {
    let (mut probe, _) = Probe::new(
        Faults {
            piece_bytes: Some(1..=7),
            stall: 0.5,
            stall_ms: 10..=10,
            urgent: 0.3,
            fin_apart: 1.0,
            latency_us: 1..=500,
            ..Faults::none()
        },
        |_, _| {},
    );
    let bytes: Vec<u8> = (b'a'..=b'z').collect();
    let began = probe.world.elapsed();
    probe.client.send(&bytes);
    probe.client.shutdown_write();
    let (mut received, mut reads) = (String::new(), 0);
    loop {
        match probe.read().as_str() {
            "" => break,
            "WouldBlock" => {
                let next = probe.world.next_event_time().unwrap();
                probe.world.advance_to(next);
                probe.world.deliver_one();
            }
            some => {
                reads += 1;
                received.push_str(some);
            }
        }
    }
    assert_eq!(received.as_bytes(), bytes);
    assert!(reads >= 4, "{reads}");
    assert!(probe.world.elapsed() - began >= 10 * MS);
}

// Back-pressure, connecting, and the rest of the door.

#[test]
fn a_client_that_does_not_read_fills_its_window_then_our_buffer_then_lets_go() {
    let faults = Faults {
        send_buffer_bytes: 1_000..=1_000,
        receive_buffer_bytes: 500..=500,
        ..Faults::none()
    };
    let (mut probe, _) = Probe::new(faults, |_, _| {});
    probe.client.pause_reading();
    let bytes: Vec<u8> = (0..5_000u32).map(|n| n as u8).collect();
    let mut sent = 0;
    loop {
        match probe.driver.write(probe.socket, &bytes[sent..]) {
            Ok(length) => sent += length,
            Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        probe.events();
    }
    assert_eq!(sent, 1_500, "the peer's buffer and ours");
    assert!(probe.events().is_empty(), "no edge while nobody reads");
    probe.client.resume_reading();
    while sent < bytes.len() {
        assert_eq!(probe.events(), ["W"], "at {sent}");
        while let Ok(length) = probe.driver.write(probe.socket, &bytes[sent..]) {
            sent += length;
            if sent == bytes.len() {
                break;
            }
        }
    }
    probe.world.settle();
    assert_eq!(probe.client.received(), bytes);
}

#[test]
fn a_slow_reader_gets_an_event_for_each_time_its_window_opens() {
    let faults = Faults {
        receive_buffer_bytes: 10..=10,
        ..Faults::none()
    };
    let (mut probe, _) = Probe::new(faults, |_, _| {});
    probe.client.send("0123456789abcdefghij");
    assert_eq!(probe.events(), ["RW"]);
    assert!(probe.client.has_unsent());
    assert_eq!(probe.read(), "0123456789");
    assert_eq!(probe.events(), ["RW"]);
    assert_eq!(probe.read(), "abcdefghij");
    assert!(!probe.client.has_unsent());
}

#[test]
fn a_connection_between_two_loops_reports_writable_when_it_is_made() {
    let world = World::new(1);
    let (mut near, mut far) = (world.driver("near"), world.driver("far"));
    let listener = far.listen("0.0.0.0:0".parse().unwrap()).unwrap();
    let port = far.local_addr(listener).unwrap().port();
    let to = SocketAddr::from((world.address("far"), port));
    let socket = near.connect(to).unwrap();
    near.register(socket, CONNECTION).unwrap();
    let mut events = Vec::new();
    world.set_faults(Faults {
        spurious: 1.0,
        ..Faults::none()
    });
    near.poll(&mut events, None).unwrap();
    assert!(
        events.is_empty(),
        "an untrue event would be a false success"
    );
    world.set_faults(Faults::none());
    assert_eq!(
        near.write(socket, b"early").unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    world.settle();
    near.poll(&mut events, None).unwrap();
    assert_eq!(events.iter().map(bits).collect::<Vec<_>>(), ["W"]);
    assert!(near.take_error(socket).unwrap().is_none());
    let (accepted, from) = far.accept(listener).unwrap();
    assert_eq!(near.local_addr(socket).unwrap(), from);
    near.write(socket, b"hello").unwrap();
    world.settle();
    let mut buffer = [0; 8];
    assert_eq!(far.read(accepted, &mut buffer).unwrap(), 5);
}

#[test]
fn where_nobody_listens_a_connection_is_refused_once() {
    let world = World::new(1);
    let mut driver = world.driver("near");
    let to = SocketAddr::from((world.address("far"), 80));
    let socket = driver.connect(to).unwrap();
    driver.register(socket, CONNECTION).unwrap();
    let client = world.connect(to);
    world.settle();
    let mut events = Vec::new();
    driver.poll(&mut events, None).unwrap();
    assert_eq!(events.iter().map(bits).collect::<Vec<_>>(), ["RWC"]);
    let error = driver.take_error(socket).unwrap().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(driver.take_error(socket).unwrap().is_none());
    assert!(client.was_refused() && !client.was_reset() && !client.was_connected());
}

#[test]
fn a_full_backlog_makes_the_next_one_wait_a_second() {
    let faults = Faults {
        backlog_max: 1..=1,
        ..Faults::none()
    };
    let world = World::with_faults(1, faults);
    let mut driver = world.driver("server");
    let listener = driver.listen("0.0.0.0:80".parse().unwrap()).unwrap();
    let to = (world.address("server"), 80);
    let clients = [world.connect(to), world.connect(to)];
    while !clients[0].was_connected() {
        world.advance_to(world.next_event_time().unwrap());
        world.deliver_one();
    }
    assert!(!clients[1].was_connected());
    while world.elapsed() < 500 * MS {
        world.advance_to(world.next_event_time().unwrap());
        world.deliver_one();
        let _ = driver.accept(listener);
    }
    world.settle();
    assert!(clients[1].was_connected());
    assert!(driver.accept(listener).is_ok());
}

#[test]
fn listening_twice_or_at_a_strange_address_fails_as_bind_does() {
    let world = World::new(1);
    let mut driver = world.driver("server");
    let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
    let first = driver.listen(address).unwrap();
    let twice = driver.listen("0.0.0.0:80".parse().unwrap()).unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::AddrInUse);
    let strange = driver.listen("10.9.9.9:80".parse().unwrap()).unwrap_err();
    assert_eq!(strange.kind(), ErrorKind::AddrNotAvailable);
    assert!(world.driver("another").listen(address).is_ok());
    driver.close(first);
    assert!(driver.listen(address).is_ok());
    let loopback = world.connect(address);
    let from_outside = world.connect((world.address("server"), 80));
    world.settle();
    assert!(loopback.was_connected() && from_outside.was_refused());
}

#[test]
fn a_closed_listener_resets_those_who_wait() {
    let world = World::new(1);
    let mut driver = world.driver("server");
    let listener = driver.listen("0.0.0.0:80".parse().unwrap()).unwrap();
    let client = world.connect((world.address("server"), 80));
    world.settle();
    driver.close(listener);
    driver.close(listener);
    world.settle();
    assert!(client.was_reset());
    assert_eq!(driver.open_sockets(), 0);
    assert!(world.violations().is_empty(), "closing twice is allowed");
}

#[test]
fn a_dropped_driver_closes_its_sockets() {
    let Probe {
        world,
        driver,
        client,
        ..
    } = Probe::plain();
    drop(driver);
    world.settle();
    assert!(client.peer_closed());
    assert_eq!(world.open_sockets("server"), 0);
}

#[test]
fn signals_come_as_events_and_are_taken_once() {
    let world = World::new(1);
    let mut driver = world.driver("server");
    assert!(!world.raise("server", Signal::Terminate));
    driver
        .watch_signal(Signal::Terminate, Token::new(9, 9))
        .unwrap();
    assert!(world.raise("server", Signal::Terminate));
    assert!(!world.raise("elsewhere", Signal::Terminate));
    let mut events = Vec::new();
    driver.poll(&mut events, None).unwrap();
    assert_eq!(
        events,
        [Event {
            token: Token::new(9, 9),
            readiness: READABLE
        }]
    );
    assert!(driver.take_signal(Signal::Terminate));
    assert!(!driver.take_signal(Signal::Terminate));
    assert!(!driver.take_signal(Signal::Hangup));
}

#[test]
fn jobs_run_later_and_their_panics_stay_with_them() {
    let faults = Faults {
        worker_us: 5_000..=5_000,
        ..Faults::none()
    };
    let world = World::with_faults(1, faults);
    let driver = world.driver("server");
    let ran = Arc::new(AtomicUsize::new(0));
    let (executor, notifier) = (driver.executor(), driver.notifier());
    for number in 0..3 {
        let (ran, notifier) = (Arc::clone(&ran), Arc::clone(&notifier));
        let job = Box::new(move || {
            assert_ne!(number, 1, "this job panics on purpose");
            ran.fetch_add(1, Ordering::Relaxed);
            notifier.notify();
        });
        executor.submit(job).unwrap();
    }
    assert_eq!((executor.queued(), ran.load(Ordering::Relaxed)), (3, 0));
    world.settle();
    assert_eq!((executor.queued(), ran.load(Ordering::Relaxed)), (0, 2));
    assert_eq!(world.elapsed(), 5 * MS);
}

#[test]
fn a_lost_worker_drops_its_job_unrun() {
    let faults = Faults {
        worker_lost: 1.0,
        ..Faults::none()
    };
    let world = World::with_faults(1, faults);
    let executor = world.driver("server").executor();
    let held = Arc::new(());
    let inside = Arc::clone(&held);
    executor
        .submit(Box::new(move || panic!("not run: {inside:?}")))
        .unwrap();
    world.settle();
    assert_eq!((Arc::strong_count(&held), executor.queued()), (1, 0));
}

#[test]
fn entropy_repeats_with_the_seed_and_differs_between_drivers() {
    let draw = |seed| {
        let world = World::new(seed);
        [
            world.driver("a").entropy(),
            world.driver("b").entropy(),
            world.range(0..=u64::MAX),
        ]
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    assert_ne!(draw(1)[0], draw(1)[1]);
}

#[test]
fn a_call_on_a_closed_socket_and_a_slot_that_leaks_one_are_violations() {
    let mut probe = Probe::plain();
    let other = probe.driver.listen("0.0.0.0:81".parse().unwrap()).unwrap();
    let next_generation = Token::new(CONNECTION.index(), 1);
    probe.driver.register(other, next_generation).unwrap();
    assert_eq!(probe.world.violations().len(), 1);
    probe.driver.close(probe.socket);
    assert_ne!(probe.read(), "");
    let violations = probe.world.violations();
    assert!(violations[0].contains("still open"), "{violations:?}");
    assert!(violations[1].starts_with("read on s"), "{violations:?}");
}

// Loops, right and wrong.

/// What a loop may forget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// Takes a short read for an empty socket although the event said that the peer is closing.
    NoRereadWhenClosing,
    /// Ends a visit by its budget and waits for an edge that will not come.
    NoCarryList,
    /// Does not try to accept again after an error.
    NoAcceptRetry,
    /// Does not go on writing when there is room again.
    NoWriteAgain,
    /// Leaves sockets of connections that have ended open.
    NeverCloses,
    /// Takes an event that says closing for the end, and does not read what came before it.
    ClosingIsTheEnd,
}

/// A TCP echo server, by hand: what a loop must do, in as few lines as possible.
struct Echo {
    driver: Box<dyn Driver>,
    listener: Socket,
    slots: Vec<Slot>,
    accept_again_at: Option<Instant>,
    accept_ready: bool,
    bug: Bug,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

struct Connection {
    socket: Socket,
    readable: bool,
    closing: bool,
    ended: bool,
    blocked: bool,
    carried: bool,
    output: Vec<u8>,
}

impl Echo {
    fn new(mut driver: Box<dyn Driver>, bug: Bug) -> Self {
        let listener = driver.listen("0.0.0.0:7".parse().unwrap()).unwrap();
        driver.register(listener, LISTENER).unwrap();
        Self {
            driver,
            listener,
            slots: Vec::new(),
            accept_again_at: None,
            accept_ready: false,
            bug,
        }
    }

    fn connections(&self) -> usize {
        let slots = self.slots.iter();
        slots.filter(|slot| slot.connection.is_some()).count()
    }

    fn connection(&mut self, token: Token) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(token.index().checked_sub(1)? as usize)?;
        let connection = slot.connection.as_mut();
        connection.filter(|_| slot.generation == token.generation())
    }

    fn accept(&mut self) {
        self.accept_ready = false;
        self.accept_again_at = None;
        loop {
            match self.driver.accept(self.listener) {
                Ok((socket, _)) => {
                    let free = self.slots.iter().position(|slot| slot.connection.is_none());
                    let index = free.unwrap_or_else(|| {
                        self.slots.push(Slot::default());
                        self.slots.len() - 1
                    });
                    let slot = &mut self.slots[index];
                    slot.generation += 1;
                    slot.connection = Some(Connection {
                        socket,
                        readable: false,
                        closing: false,
                        ended: false,
                        blocked: false,
                        carried: false,
                        output: Vec::new(),
                    });
                    let token = Token::new(index as u32 + 1, slot.generation);
                    self.driver.register(socket, token).unwrap();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) if self.bug == Bug::NoAcceptRetry => return,
                Err(_) => {
                    self.accept_again_at = Some(self.driver.clock().now() + 100 * MS);
                    return;
                }
            }
        }
    }

    /// One visit: at most four reads.
    fn visit(&mut self, index: usize) {
        let Self {
            driver, slots, bug, ..
        } = self;
        let Some(connection) = &mut slots[index].connection else {
            return;
        };
        connection.carried = false;
        for _ in 0..4 {
            if !connection.flush(driver.as_mut()) {
                break;
            }
            if connection.blocked || !connection.readable || connection.ended {
                break;
            }
            let mut buffer = [0; 16];
            match driver.read(connection.socket, &mut buffer) {
                Ok(0) => connection.ended = true,
                Ok(length) => {
                    connection.output.extend(&buffer[..length]);
                    connection.readable = length == buffer.len()
                        || (connection.closing && *bug != Bug::NoRereadWhenClosing);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    connection.readable = false;
                    connection.closing = false;
                }
                Err(_) => {
                    connection.output.clear();
                    connection.ended = true;
                }
            }
        }
        connection.flush(driver.as_mut());
        if connection.ended && connection.output.is_empty() {
            if *bug != Bug::NeverCloses {
                driver.close(connection.socket);
            }
            slots[index].connection = None;
        } else if connection.readable && !connection.blocked && !connection.ended {
            connection.carried = *bug != Bug::NoCarryList;
        }
    }
}

impl Connection {
    /// Returns whether the connection still stands.
    fn flush(&mut self, driver: &mut dyn Driver) -> bool {
        while !self.output.is_empty() && !self.blocked {
            match driver.write(self.socket, &self.output) {
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.blocked = true,
                Err(_) => {
                    self.output.clear();
                    self.ended = true;
                    return false;
                }
            }
        }
        true
    }
}

impl Turning for Echo {
    fn turn(&mut self) -> io::Result<()> {
        let mut events = Vec::new();
        self.driver.poll(&mut events, Some(Duration::ZERO))?;
        let writes_again = self.bug != Bug::NoWriteAgain;
        let closing_is_the_end = self.bug == Bug::ClosingIsTheEnd;
        for event in &events {
            if event.token == LISTENER {
                self.accept_ready = true;
            } else if let Some(connection) = self.connection(event.token) {
                connection.readable |= event.readiness.contains(Readiness::READABLE);
                connection.closing |= event.readiness.contains(Readiness::CLOSING);
                connection.ended |= connection.closing && closing_is_the_end;
                if writes_again && event.readiness.contains(Readiness::WRITABLE) {
                    connection.blocked = false;
                }
                connection.carried = true;
            }
        }
        for index in 0..self.slots.len() {
            let connection = self.slots[index].connection.as_ref();
            if connection.is_some_and(|connection| connection.carried) {
                self.visit(index);
            }
        }
        let due = self
            .accept_again_at
            .is_some_and(|at| at <= self.driver.clock().now());
        if self.accept_ready || due {
            self.accept();
        }
        Ok(())
    }

    fn next_deadline(&self) -> Option<Instant> {
        let carried = self
            .slots
            .iter()
            .filter_map(|slot| slot.connection.as_ref())
            .any(|connection| connection.carried);
        match carried {
            true => Some(self.driver.clock().now()),
            false => self.accept_again_at,
        }
    }

    fn is_paused(&self, token: Token) -> bool {
        if token == LISTENER {
            return self.accept_again_at.is_some();
        }
        let slot = &self.slots[token.index() as usize - 1];
        let connection = slot.connection.as_ref();
        connection.is_some_and(|connection| connection.blocked || connection.ended)
    }
}

/// Four clients send up to 300 bytes each, in pieces, end their half, and want all of it back. Returns the trace.
fn echo(seed: u64, faults: Faults, bug: Bug) -> Result<u64, Failure> {
    let breaks_connections = faults == Faults::drawn(seed);
    let world = World::with_faults(seed, faults);
    let mut simulation = Simulation::new(world.clone());
    simulation.add("server", |driver| Echo::new(driver, bug));
    simulation.oracle("as many sockets as connections", |simulation| {
        let (open, known) = (
            simulation.open_sockets(0),
            simulation.loops()[0].connections(),
        );
        match open == known + 1 {
            true => Ok(()),
            false => Err(format!("{open} sockets, {known} connections")),
        }
    });
    let to = (world.address("server"), 7);
    let clients: Vec<(Client, Vec<u8>)> = (0..4)
        .map(|_| {
            let client = world.connect(to);
            let bytes = world.bytes(world.range(1..=300) as usize);
            if world.chance(0.3) {
                client.pause_reading();
                let later = client.clone();
                world.after(Duration::from_millis(world.range(1..=100)), move |_| {
                    later.resume_reading();
                });
            }
            let half = bytes.len() / 2;
            client.send(&bytes[..half]);
            let (later, rest) = (client.clone(), bytes[half..].to_vec());
            world.after(Duration::from_micros(world.range(0..=5_000)), move |_| {
                later.send(rest);
                later.shutdown_write();
            });
            (client, bytes)
        })
        .collect();
    simulation.run_until(|_| clients.iter().all(|(client, _)| client.is_over()))?;
    for (client, bytes) in &clients {
        if client.peer_closed() || !breaks_connections {
            assert_eq!(&client.received(), bytes, "seed {seed}");
        }
    }
    simulation.run_until_idle()?;
    Ok(world.trace_hash())
}

#[test]
fn every_byte_comes_back_through_any_gentle_faults() {
    check(0..2_000, |seed| {
        echo(seed, Faults::gentle(seed), Bug::None).map(drop)
    });
}

#[test]
fn the_loop_survives_any_faults_and_gives_back_its_sockets() {
    check(0..2_000, |seed| {
        echo(seed, Faults::drawn(seed), Bug::None).map(drop)
    });
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let run = |seed| echo(seed, Faults::drawn(seed), Bug::None).unwrap();
    let first: Vec<u64> = (0..50).map(run).collect();
    let second: Vec<u64> = (0..50).map(run).collect();
    assert_eq!(first, second);
    let mut distinct = first.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), first.len());
}

#[test]
fn each_forgotten_duty_is_found_within_a_few_hundred_seeds() {
    let found = |bug, wanted: fn(&FailureKind) -> bool| {
        let failures = (0..500).filter_map(|seed| {
            let outcome = catch_unwind(|| echo(seed, Faults::gentle(seed), bug));
            match outcome {
                Ok(result) => result.err().map(|failure| failure.kind),
                // Bytes that did not come back.
                Err(_) => Some(FailureKind::Oracle("bytes")),
            }
        });
        let kinds: Vec<FailureKind> = failures.collect();
        assert!(kinds.iter().any(wanted), "{bug:?}: {kinds:?}");
    };
    let lost_edge: fn(&FailureKind) -> bool = |kind| *kind == FailureKind::Oracle("lost edge");
    found(Bug::NoRereadWhenClosing, lost_edge);
    found(Bug::NoCarryList, lost_edge);
    found(Bug::NoAcceptRetry, lost_edge);
    found(Bug::NoWriteAgain, |kind| *kind == FailureKind::Deadlock);
    found(Bug::NeverCloses, |kind| {
        matches!(kind, FailureKind::Oracle(_))
    });
    found(Bug::ClosingIsTheEnd, |kind| {
        *kind == FailureKind::Oracle("bytes")
    });
}

/// A loop that does nothing but count, and wants to at certain times.
struct Clockwork {
    driver: Box<dyn Driver>,
    deadlines: Vec<Instant>,
    turned_at: Rc<RefCell<Vec<Duration>>>,
    world: World,
    stuck: bool,
}

impl Turning for Clockwork {
    fn turn(&mut self) -> io::Result<()> {
        self.driver.poll(&mut Vec::new(), None)?;
        let now = self.driver.clock().now();
        if !self.stuck {
            self.deadlines.retain(|&deadline| deadline > now);
        }
        self.turned_at.borrow_mut().push(self.world.elapsed());
        Ok(())
    }
    fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.iter().min().copied()
    }
    fn is_paused(&self, _: Token) -> bool {
        false
    }
}

fn clockwork(
    faults: Faults,
    deadlines_s: &[u64],
) -> (Simulation<Clockwork>, Rc<RefCell<Vec<Duration>>>) {
    let world = World::with_faults(3, faults);
    let turned_at = Rc::default();
    let mut simulation = Simulation::new(world.clone());
    simulation.add("here", |driver| Clockwork {
        driver,
        deadlines: deadlines_s
            .iter()
            .map(|&s| world.now() + Duration::from_secs(s))
            .collect(),
        turned_at: Rc::clone(&turned_at),
        world: world.clone(),
        stuck: false,
    });
    (simulation, turned_at)
}

#[test]
fn time_goes_from_deadline_to_deadline_whatever_lies_between() {
    let year_s = 365 * 86_400;
    let (mut simulation, turned_at) = clockwork(Faults::none(), &[year_s, 1, 60]);
    simulation.run_for(Duration::from_secs(30)).unwrap();
    assert_eq!(simulation.world().elapsed(), Duration::from_secs(30));
    simulation.run_until_idle().unwrap();
    let expected = [1, 60, year_s].map(Duration::from_secs);
    assert_eq!(*turned_at.borrow(), expected);
}

#[test]
fn a_suspended_machine_wakes_long_after_its_deadline() {
    let faults = Faults {
        clock_jump: 1.0,
        clock_jump_s: 3_600..=3_600,
        ..Faults::none()
    };
    let (mut simulation, turned_at) = clockwork(faults, &[1, 60]);
    simulation.run_until_idle().unwrap();
    assert_eq!(
        *turned_at.borrow(),
        [Duration::from_secs(3_601)],
        "both deadlines passed meanwhile"
    );
}

#[test]
fn a_notified_loop_turns_and_turns_take_time_when_they_are_told_to() {
    let faults = Faults {
        turn_us: 250..=250,
        ..Faults::none()
    };
    let (mut simulation, turned_at) = clockwork(faults, &[]);
    simulation.loop_mut(0).driver.notifier().notify();
    simulation.run_until_idle().unwrap();
    assert_eq!(turned_at.borrow().len(), 1);
    assert_eq!(simulation.world().elapsed(), Duration::from_micros(250));
}

#[test]
fn a_condition_that_can_no_longer_hold_is_a_deadlock_that_names_its_seed() {
    let (mut simulation, _) = clockwork(Faults::none(), &[1]);
    simulation.world().start_log();
    let failure = simulation.run_until(|_| false).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Deadlock);
    let text = failure.to_string();
    assert!(text.starts_with("SEED=3: Deadlock after 1s and 1 turns"));
    assert!(text.contains("driver 0 polled"), "{text}");
}

#[test]
fn a_loop_that_turns_without_end_is_a_livelock() {
    let (mut simulation, _) = clockwork(Faults::none(), &[1]);
    simulation.loop_mut(0).stuck = true;
    simulation.limit_busy_turns(1_000);
    let failure = simulation.run_until(|_| false).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Livelock);

    let (mut simulation, _) = clockwork(Faults::none(), &[1, 2, 3]);
    simulation.limit_steps(3);
    let failure = simulation.run_until_idle().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Livelock);
}

#[test]
fn an_oracle_is_asked_after_every_turn() {
    let (mut simulation, turned_at) = clockwork(Faults::none(), &[1, 2, 3]);
    simulation.oracle("at most two turns", |simulation| match simulation.turns() {
        0..=2 => Ok(()),
        more => Err(format!("{more} turns")),
    });
    let failure = simulation.run_until_idle().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Oracle("at most two turns"));
    assert_eq!(turned_at.borrow().len(), 3);
}

#[test]
fn the_first_failing_seed_is_run_again_with_a_log_and_named() {
    let logged = RefCell::new(Vec::new());
    let run = |seed| {
        let (mut simulation, _) = clockwork(Faults::none(), &[1]);
        simulation.run_for(Duration::from_secs(2))?;
        logged
            .borrow_mut()
            .push((seed, !simulation.world().log().is_empty()));
        simulation.run_until(|_| seed < 2)
    };
    let panic = catch_unwind(AssertUnwindSafe(|| check(0..10, run))).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("Deadlock"), "{message}");
    assert_eq!(
        *logged.borrow(),
        [(0, false), (1, false), (2, false), (2, true)]
    );
}

#[test]
fn actions_that_never_ran_do_not_keep_the_world() {
    let held = Rc::new(());
    let (simulation, _) = clockwork(Faults::none(), &[]);
    let (world, inside) = (simulation.world().clone(), Rc::clone(&held));
    simulation
        .world()
        .after(Duration::from_secs(1), move |_| drop((world, inside)));
    assert_eq!(Rc::strong_count(&held), 2);
    drop(simulation);
    assert_eq!(Rc::strong_count(&held), 1);
}
