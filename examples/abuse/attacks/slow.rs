//! Connections that take their time: each must end at a deadline.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use super::{Attack, Outcome, Pace, end_of};
use crate::client::{Connection, End, PATIENCE};
use crate::target::Target;
use crate::websocket;

/// Enough that one which is forgotten shows, and few enough not to be a flood.
const HELD: usize = 20;

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "no-bytes",
        does: "20 connections that send nothing",
        passes: "closed by the deadline for the first byte",
        pace: Pace::Waiting(|options| options.first_byte_timeout),
        run: |target| hold(target, "", Then::Nothing, target.options.first_byte_timeout),
    },
    Attack {
        name: "slow-headers",
        does: "20 connections that send a head, a byte each 200 ms",
        passes: "closed by the header deadline",
        pace: Pace::Waiting(|options| options.header_timeout),
        run: |target| {
            let opening = format!("{}X-Slow: ", target.post_head());
            hold(
                target,
                &opening,
                Then::Drip(b'a'),
                target.options.header_timeout,
            )
        },
    },
    Attack {
        name: "slow-body",
        does: "20 connections that send a body of 10,000 bytes, a byte each 200 ms",
        passes: "closed by the body deadline",
        pace: Pace::Waiting(|options| options.body_timeout),
        run: |target| {
            let opening = format!("{}Content-Length: 10000\r\n\r\n", target.post_head());
            hold(
                target,
                &opening,
                Then::Drip(b'a'),
                target.options.body_timeout,
            )
        },
    },
    Attack {
        name: "slow-chunked-body",
        does: "20 connections that send a chunked body without end, a byte each 200 ms",
        passes: "closed by the body deadline",
        pace: Pace::Waiting(|options| options.body_timeout),
        run: |target| {
            let chunked = "Transfer-Encoding: chunked\r\n\r\nfffff\r\n";
            let opening = format!("{}{chunked}", target.post_head());
            hold(
                target,
                &opening,
                Then::Drip(b'a'),
                target.options.body_timeout,
            )
        },
    },
    Attack {
        name: "huge-declared-body",
        does: "20 requests that declare 2^62 bytes of body and send 5",
        passes: "refused at once, or closed by the body deadline",
        pace: Pace::Waiting(|options| options.body_timeout),
        run: |target| {
            let declared = "Content-Length: 4611686018427387904\r\n\r\nhello";
            let opening = format!("{}{declared}", target.post_head());
            hold(target, &opening, Then::Nothing, target.options.body_timeout)
        },
    },
    Attack {
        name: "endless-chunked-body",
        does: "20 connections that send 1 MiB each of a chunked body, read what comes, and stop without an end",
        passes: "refused, or closed by the body deadline; memory stays bounded",
        pace: Pace::Waiting(|options| options.body_timeout),
        run: |target| {
            let opening = format!("{}Transfer-Encoding: chunked\r\n\r\n", target.post_head());
            let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
            let flood = Then::Flood(chunk.repeat(256).into_bytes());
            hold(target, &opening, flood, target.options.body_timeout)
        },
    },
    Attack {
        name: "expect-without-body",
        does: "20 requests with Expect: 100-continue whose body never comes",
        passes: "refused, or closed by the body deadline",
        pace: Pace::Waiting(|options| options.body_timeout),
        run: |target| {
            let expect = "Content-Length: 10\r\nExpect: 100-continue\r\n\r\n";
            let opening = format!("{}{expect}", target.post_head());
            hold(target, &opening, Then::Nothing, target.options.body_timeout)
        },
    },
    Attack {
        name: "half-open",
        does: "20 clients that send half a head and then their end of the connection",
        passes: "closed by the header deadline",
        pace: Pace::Waiting(|options| options.header_timeout),
        run: |target| {
            let opening = target.post_head();
            hold(
                target,
                &opening,
                Then::HalfClose,
                target.options.header_timeout,
            )
        },
    },
    Attack {
        name: "half-close",
        does: "20 clients that send a request and at once their end of the connection",
        passes: "closed by the header deadline, with or without its answer",
        pace: Pace::Waiting(|options| options.header_timeout),
        run: |target| {
            let opening = String::from_utf8_lossy(&target.get()).into_owned();
            hold(
                target,
                &opening,
                Then::HalfClose,
                target.options.header_timeout,
            )
        },
    },
    Attack {
        name: "tls-hello",
        does: "20 clients that begin TLS on the plain port",
        passes: "closed by the header deadline, and answered with nothing but an error",
        pace: Pace::Waiting(|options| options.header_timeout),
        run: |target| {
            // A record header, a ClientHello's, and enough of its random bytes.
            let hello =
                "\x16\x03\x01\x00\x75\x01\x00\x00\x71\x03\x03 0123456789abcdef0123456789abcdef";
            hold(target, hello, Then::Nothing, target.options.header_timeout)
        },
    },
    Attack {
        name: "half-handshakes",
        does: "20 WebSocket handshakes without their last line",
        passes: "closed by the header deadline",
        pace: Pace::Waiting(|options| options.header_timeout),
        run: |target| match &target.ws {
            None => Outcome::not_applicable("no WebSocket"),
            Some(path) => {
                let opening = websocket::handshake(target, path);
                hold(
                    target,
                    &opening,
                    Then::Nothing,
                    target.options.header_timeout,
                )
            }
        },
    },
    Attack {
        name: "slow-reading",
        does: "2 clients that ask for a large answer and take 10 bytes a second",
        passes: "cut by the write deadline: reading on then does not bring the whole answer",
        pace: Pace::Waiting(|options| options.write_timeout),
        run: slow_reading,
    },
    Attack {
        name: "idle-keep-alive",
        does: "20 connections that ask once and stay",
        passes: "closed by the keep-alive deadline",
        pace: Pace::Waiting(|options| options.keep_alive_timeout),
        run: |target| {
            let opening = String::from_utf8_lossy(&target.get()).into_owned();
            hold(
                target,
                &opening,
                Then::Nothing,
                target.options.keep_alive_timeout,
            )
        },
    },
    Attack {
        name: "silent-websockets",
        does: "20 WebSockets that are opened and say nothing, nor answer pings",
        passes: "closed by the deadline for silence",
        pace: Pace::Waiting(|options| options.ws_timeout),
        run: |target| match &target.ws {
            None => Outcome::not_applicable("no WebSocket"),
            Some(path) => {
                let opening = format!("{}\r\n", websocket::handshake(target, path));
                hold(target, &opening, Then::Nothing, target.options.ws_timeout)
            }
        },
    },
];

/// What a connection does behind its opening.
enum Then {
    Nothing,
    /// This byte, again and again.
    Drip(u8),
    /// All of this, as fast as it is taken.
    Flood(Vec<u8>),
    HalfClose,
}

/// Hold connections open that began with `opening`: each must have ended by the deadline.
fn hold(target: &Target, opening: &str, then: Then, deadline: Duration) -> Outcome {
    const DRIP_INTERVAL: Duration = Duration::from_millis(200);
    struct Held {
        connection: Connection,
        flooded: usize,
        /// The deadline runs from here.
        since: Instant,
        ended: Option<Duration>,
    }

    let mut all = Vec::new();
    for _ in 0..HELD {
        let mut connection = match target.connect() {
            Ok(connection) => connection,
            Err(error) => return Outcome::new(false, format!("no connection: {error}")),
        };
        connection.send(opening.as_bytes(), PATIENCE);
        if let Then::HalfClose = then {
            connection.half_close();
        }
        connection.set_nonblocking();
        all.push(Held {
            connection,
            flooded: 0,
            since: Instant::now(),
            ended: None,
        });
    }
    let patience = deadline + target.options.slack;
    let mut next_drip = Instant::now();
    loop {
        let now = Instant::now();
        let drips = now >= next_drip;
        if drips {
            next_drip = now + DRIP_INTERVAL;
        }
        let mut waits = false;
        for held in all.iter_mut().filter(|held| held.ended.is_none()) {
            let connection = &mut held.connection;
            match &then {
                Then::Drip(byte) if drips => {
                    connection.try_send(&[*byte]);
                }
                Then::Flood(bytes) if held.flooded < bytes.len() => {
                    let sent = connection.try_send(&bytes[held.flooded..]);
                    held.flooded += sent;
                    if sent > 0 {
                        held.since = now;
                    }
                }
                _ => {}
            }
            while connection.try_receive() > 0 {}
            let waited = now - held.since;
            if connection.end.is_some() {
                held.ended = Some(waited);
            }
            waits |= held.ended.is_none() && waited < patience;
        }
        if !waits {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let last = all.iter().filter_map(|held| held.ended).max();
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for held in &all {
        *ends.entry(end_of(&held.connection)).or_default() += 1;
    }
    let ends: Vec<String> = (ends.iter())
        .map(|(end, count)| format!("{count} {end}"))
        .collect();
    let after = last.map_or(String::new(), |last| {
        format!(" after {:.1} s at most", last.as_secs_f64())
    });
    Outcome::new(
        all.iter().all(|held| held.ended.is_some()),
        format!("{}{after}", ends.join(", ")),
    )
}

fn slow_reading(target: &Target) -> Outcome {
    let Some(path) = &target.large else {
        return Outcome::not_applicable("no large answer");
    };
    let host = &target.options.host;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut readers = Vec::new();
    for _ in 0..2 {
        match target.connect() {
            Ok(mut connection) => {
                connection.send(request.as_bytes(), PATIENCE);
                connection.set_nonblocking();
                readers.push(connection);
            }
            Err(error) => return Outcome::new(false, format!("no connection: {error}")),
        }
    }
    let began = Instant::now();
    while began.elapsed() < target.options.write_timeout + target.options.slack {
        for reader in readers.iter_mut().filter(|reader| reader.end.is_none()) {
            reader.try_receive_byte();
        }
        if readers.iter().all(|reader| reader.end.is_some()) {
            let seconds = began.elapsed().as_secs_f64();
            return Outcome::new(true, format!("cut after {seconds:.1} s"));
        }
        thread::sleep(Duration::from_millis(100));
    }
    // A connection that was closed and not reset shows it behind what the kernel holds.
    let until = Instant::now() + PATIENCE;
    let mut wholes = 0;
    for mut reader in readers {
        while reader.end.is_none() && Instant::now() < until {
            if reader.try_receive() == 0 {
                thread::sleep(Duration::from_millis(1));
            }
        }
        let length = reader.answers().first().and_then(|answer| answer.length);
        let is_whole = length.is_some_and(|length| reader.received_count > length);
        let is_cut = matches!(reader.end, Some(End::Closed | End::Reset)) && !is_whole;
        wholes += usize::from(!is_cut);
    }
    match wholes {
        0 => Outcome::new(true, "cut"),
        _ => Outcome::new(false, format!("{wholes} of 2 went on with their answer")),
    }
}
