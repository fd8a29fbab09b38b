//! What a WebSocket's peer may do wrong. RFC 6455, 5 and 10.4.

use std::thread;
use std::time::{Duration, Instant};

use super::{Attack, Outcome, Pace, floods, mebibytes};
use crate::client::{Connection, PATIENCE};
use crate::target::Target;
use crate::websocket::{
    self, BINARY, CLOSE, CONTINUATION, FIN, PING, TEXT, claiming, frame, unmasked,
};

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "ws-fragment-flood",
        does: "a message of fragments without end, up to 32 MiB",
        passes: "closed before its end",
        pace: Pace::Alone,
        run: |target| {
            with_socket(target, |connection| {
                connection.send(&frame(BINARY, b"x"), PATIENCE);
                fragments(connection, &[b'x'; 1024])
            })
        },
    },
    Attack {
        name: "ws-empty-fragments",
        does: "a message of empty fragments without end, up to 8 MiB of them",
        passes: "closed, or taken with bounded memory",
        pace: Pace::Alone,
        run: |target| {
            with_socket(target, |connection| {
                connection.send(&frame(BINARY, b""), PATIENCE);
                let sent = floods::pour(connection, &frame(CONTINUATION, b""), 8 << 20);
                Outcome::new(true, how_it_ended(connection, sent))
            })
        },
    },
    Attack {
        name: "ws-ping-flood",
        does: "up to 16 MiB of pings, and not a byte read",
        passes: "no longer read, closed, or taken with bounded memory",
        pace: Pace::Alone,
        run: |target| with_socket(target, ping_flood),
    },
    Attack {
        name: "ws-echo-flood",
        does: "up to 64 MiB of messages of 32 KiB, and not a byte read",
        passes: "no longer read or closed, or taken with bounded memory",
        pace: Pace::Alone,
        run: |target| {
            with_socket(target, |connection| {
                let message = frame(FIN | BINARY, &[b'x'; 32 << 10]);
                let sent = without_reading(connection, &message, 64 << 20);
                Outcome::new(true, how_it_ended(connection, sent))
            })
        },
    },
    Attack {
        name: "ws-claimed-length",
        does: "frames that claim 2^62, 2^63 - 1 and 2^63 bytes",
        passes: "each closed within 3 s, with 1002, 1008 or 1009 if with a code",
        pace: Pace::Alone,
        run: |target| {
            let cases = [
                ("2^62", claiming(FIN | BINARY, 1 << 62)),
                ("2^63 - 1", claiming(FIN | BINARY, (1 << 63) - 1)),
                ("2^63", claiming(FIN | BINARY, 1 << 63)),
            ];
            each_closed(target, &cases, &[1002, 1008, 1009])
        },
    },
    Attack {
        name: "ws-unmasked",
        does: "frames without a mask",
        passes: "each closed within 3 s, with 1002 if with a code",
        pace: Pace::Alone,
        run: |target| {
            let cases = [
                ("text", unmasked(FIN | TEXT, b"hi")),
                ("ping", unmasked(FIN | PING, b"hi")),
                ("empty", unmasked(FIN | BINARY, b"")),
            ];
            each_closed(target, &cases, &[1002])
        },
    },
    Attack {
        name: "ws-invalid-utf8",
        does: "text that is not UTF-8, also over two fragments",
        passes: "each closed within 3 s, with 1007 if with a code",
        pace: Pace::Alone,
        run: |target| {
            let split = [frame(TEXT, b"\xe2\x82"), frame(FIN | CONTINUATION, b"x")].concat();
            let cases = [
                ("a stray byte", frame(FIN | TEXT, b"\xff")),
                ("a surrogate", frame(FIN | TEXT, b"\xed\xa0\x80")),
                ("too long a form", frame(FIN | TEXT, b"\xc0\xaf")),
                ("cut in a fragment", split),
                ("at the end", frame(FIN | TEXT, b"hi\xe2\x82")),
            ];
            each_closed(target, &cases, &[1007])
        },
    },
    Attack {
        name: "ws-frame-rules",
        does: "frames that break other rules: opcodes, flags, control frames, order, close codes",
        passes: "each closed within 3 s, with 1002 (a close reason that is not UTF-8: 1007) if with a code",
        pace: Pace::Alone,
        run: |target| {
            let cases = [
                ("opcode 3", frame(FIN | 0x3, b"")),
                ("opcode 15", frame(FIN | 0xf, b"")),
                ("RSV1", frame(FIN | 0x40 | TEXT, b"hi")),
                ("RSV3", frame(FIN | 0x10 | TEXT, b"hi")),
                ("fragmented ping", frame(PING, b"hi")),
                ("ping of 126 bytes", frame(FIN | PING, &[b'x'; 126])),
                ("continuation of nothing", frame(FIN | CONTINUATION, b"hi")),
                (
                    "text within a message",
                    [frame(TEXT, b"a"), frame(FIN | TEXT, b"b")].concat(),
                ),
                ("close of one byte", frame(FIN | CLOSE, b"\x03")),
                (
                    "close with 1005",
                    frame(FIN | CLOSE, &1005_u16.to_be_bytes()),
                ),
                ("close with 999", frame(FIN | CLOSE, &999_u16.to_be_bytes())),
                ("close reason", frame(FIN | CLOSE, b"\x03\xe8\xff")),
            ];
            each_closed(target, &cases, &[1002, 1007])
        },
    },
    Attack {
        name: "slow-room-member",
        does: "a member of a room who does not read, while another sends up to 48 MiB to all",
        passes: "the other has each message within 2 s, and the server does not keep all of it for the one who is slow",
        pace: Pace::Alone,
        run: slow_room_member,
    },
];

fn with_socket(target: &Target, attack: fn(&mut Connection) -> Outcome) -> Outcome {
    let Some(path) = &target.ws else {
        return Outcome::not_applicable("no WebSocket");
    };
    match websocket::open(target, path) {
        Ok(mut connection) => attack(&mut connection),
        Err(error) => Outcome::new(false, error.to_string()),
    }
}

fn fragments(connection: &mut Connection, payload: &[u8]) -> Outcome {
    const BYTES_MAX: usize = 32 << 20;
    let sent = floods::pour(connection, &frame(CONTINUATION, payload), BYTES_MAX);
    let is_closed =
        connection.end.is_some() || websocket::close_code(&connection.received).is_some();
    Outcome::new(is_closed, how_it_ended(connection, sent))
}

fn ping_flood(connection: &mut Connection) -> Outcome {
    let sent = without_reading(connection, &frame(FIN | PING, &[b'x'; 125]), 16 << 20);
    Outcome::new(true, how_it_ended(connection, sent))
}

/// Send `frame` again and again until the server takes no more for a second. Answers how many bytes it took.
fn without_reading(connection: &mut Connection, frame: &[u8], bytes_max: usize) -> usize {
    let block = frame.repeat((64 << 10) / frame.len() + 1);
    let mut sent = 0;
    while sent < bytes_max {
        let count = connection.send(&block, Duration::from_secs(1));
        sent += count;
        if count < block.len() {
            break;
        }
    }
    sent
}

fn how_it_ended(connection: &Connection, sent: usize) -> String {
    let end = match (websocket::close_code(&connection.received), connection.end) {
        (Some(code), _) => format!("closed with {code}"),
        (None, Some(_)) => "closed".to_owned(),
        (None, None) => "left open".to_owned(),
    };
    format!("{end}, {} sent", mebibytes(sent as u64))
}

fn each_closed(target: &Target, cases: &[(&str, Vec<u8>)], codes: &[u16]) -> Outcome {
    let Some(path) = &target.ws else {
        return Outcome::not_applicable("no WebSocket");
    };
    let try_one = |(name, bytes): &(&str, Vec<u8>)| {
        let mut connection = match websocket::open(target, path) {
            Ok(connection) => connection,
            Err(error) => return Some(format!("{name}: {error}")),
        };
        connection.send(bytes, PATIENCE);
        match websocket::receive_close(&mut connection, Duration::from_secs(3)) {
            Some(code) if codes.contains(&code) => None,
            Some(code) => Some(format!("{name}: closed with {code}")),
            None if connection.end.is_some() => None,
            None => Some(format!("{name}: left open")),
        }
    };
    let faults: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (cases.iter())
            .map(|case| scope.spawn(move || try_one(case)))
            .collect();
        let results = threads.into_iter().map(|thread| thread.join());
        results
            .flat_map(|result| result.expect("a case does not panic"))
            .collect()
    });
    Outcome::of_set(cases.len(), &faults)
}

fn slow_room_member(target: &Target) -> Outcome {
    const MESSAGES: u64 = 1536;
    let Some(path) = &target.room else {
        return Outcome::not_applicable("no room");
    };
    let (slow, sender) = (websocket::open(target, path), websocket::open(target, path));
    let (Ok(mut slow), Ok(mut sender)) = (slow, sender) else {
        return Outcome::new(false, "no connection");
    };
    let payload = [b'x'; 32 << 10];
    let message = frame(FIN | BINARY, &payload);
    // As the server sends it: a header of four bytes, and no mask.
    let message_bytes = payload.len() as u64 + 4;
    let mut longest = Duration::ZERO;
    for n in 1..=MESSAGES {
        let began = Instant::now();
        sender.send(&message, PATIENCE);
        while sender.received_count < n * message_bytes
            && sender.end.is_none()
            && began.elapsed() < PATIENCE
        {
            sender.receive(PATIENCE.saturating_sub(began.elapsed()));
        }
        longest = longest.max(began.elapsed());
        if sender.received_count < n * message_bytes {
            return match n {
                1 => Outcome::not_applicable("its sender does not get what it sends"),
                _ => Outcome::new(false, format!("message {n} did not come back in 2 s")),
            };
        }
    }
    slow.receive_to_end(Duration::from_secs(1));
    let kept = slow.received_count;
    Outcome::new(
        kept < MESSAGES * message_bytes,
        format!(
            "the slow one got {} of 48; the other waited {:.1} ms at most",
            mebibytes(kept),
            longest.as_secs_f64() * 1e3
        ),
    )
}
