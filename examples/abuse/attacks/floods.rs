//! Too much of something, as fast as it is taken: each must be refused before the server has taken all of it.

use std::time::{Duration, Instant};

use super::{Attack, Outcome, Pace, end_of, mebibytes};
use crate::client::{Connection, End, PATIENCE};
use crate::target::Target;

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "header-flood",
        does: "a head with fields without end, up to 8 MiB",
        passes: "refused with 4xx or 5xx, or closed, before its end",
        pace: Pace::Alone,
        run: |target| refused(target, &target.post_head(), "X-Flood: yes\r\n", 8 << 20),
    },
    Attack {
        name: "endless-header",
        does: "one field without end, up to 8 MiB",
        passes: "refused with 4xx or 5xx, or closed, before its end",
        pace: Pace::Alone,
        run: |target| {
            let opening = format!("{}X-Endless: ", target.post_head());
            refused(target, &opening, "aaaaaaaaaaaaaaaa", 8 << 20)
        },
    },
    Attack {
        name: "huge-url",
        does: "a URL without end, up to 8 MiB",
        passes: "refused with 4xx or 5xx, or closed, before its end",
        pace: Pace::Alone,
        run: |target| refused(target, "GET /", "aaaaaaaaaaaaaaaa", 8 << 20),
    },
    Attack {
        name: "chunk-extension-flood",
        does: "one chunk extension without end, up to 8 MiB",
        passes: "refused with 4xx or 5xx, or closed, before its end",
        pace: Pace::Alone,
        run: |target| {
            let opening = format!("{}Transfer-Encoding: chunked\r\n\r\n5", target.post_head());
            refused(target, &opening, ";name=value", 8 << 20)
        },
    },
    Attack {
        name: "chunk-size-flood",
        does: "a chunk size with leading zeros without end, up to 8 MiB",
        passes: "refused with 4xx or 5xx, or closed, before its end",
        pace: Pace::Alone,
        run: |target| {
            let opening = format!("{}Transfer-Encoding: chunked\r\n\r\n", target.post_head());
            refused(target, &opening, "0000000000000000", 8 << 20)
        },
    },
    Attack {
        name: "trailer-flood",
        does: "trailers without end, up to 8 MiB",
        passes: "refused with 4xx or 5xx, or closed, before their end",
        pace: Pace::Alone,
        run: |target| {
            let opening = format!(
                "{}Transfer-Encoding: chunked\r\n\r\n0\r\n",
                target.post_head()
            );
            refused(target, &opening, "X-Flood: yes\r\n", 8 << 20)
        },
    },
    Attack {
        name: "empty-line-flood",
        does: "empty lines before a request, up to 8 MiB",
        passes: "refused with 4xx or 5xx, or closed, before their end",
        pace: Pace::Alone,
        run: |target| refused(target, "", "\r\n", 8 << 20),
    },
    Attack {
        name: "pipelining-flood",
        does: "up to 64 MiB of requests on one connection, and not a byte of answer read",
        passes: "the server stops reading within 5 s, or closes",
        pace: Pace::Alone,
        run: pipelining_flood,
    },
];

/// Pour `unit` again and again behind `opening`, reading what comes, until the server ends the connection or
/// `bytes_max` are sent.
pub(super) fn pour(connection: &mut Connection, unit: &[u8], bytes_max: usize) -> usize {
    const WAIT_MAX: Duration = Duration::from_secs(3);
    let block = unit.repeat((64 << 10) / unit.len() + 1);
    let (mut sent, mut at, mut progress) = (0, 0, Instant::now());
    connection.set_nonblocking();
    while sent < bytes_max && connection.end.is_none() && progress.elapsed() < WAIT_MAX {
        let count = connection.try_send(&block[at..]);
        // What is next is always a whole unit or the rest of one.
        at = (at + count) % block.len();
        sent += count;
        while connection.try_receive() > 0 {}
        if count > 0 {
            progress = Instant::now();
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    sent
}

fn refused(target: &Target, opening: &str, unit: &str, bytes_max: usize) -> Outcome {
    let mut connection = match target.connect() {
        Ok(connection) => connection,
        Err(error) => return Outcome::new(false, format!("no connection: {error}")),
    };
    connection.send(opening.as_bytes(), PATIENCE);
    let sent = pour(&mut connection, unit.as_bytes(), bytes_max);
    // A server that streams may have begun its answer before the fault came: then it must be seen to be cut.
    let is_answered = (connection.answers().iter())
        .any(|answer| (200..400).contains(&answer.status) && answer.is_whole);
    let is_refused = connection.end.is_some() && sent < bytes_max && !is_answered;
    let taken = mebibytes(sent as u64);
    Outcome::new(is_refused, format!("{}, {taken} sent", end_of(&connection)))
}

fn pipelining_flood(target: &Target) -> Outcome {
    const BYTES_MAX: usize = 64 << 20;
    let mut connection = match target.connect() {
        Ok(connection) => connection,
        Err(error) => return Outcome::new(false, format!("no connection: {error}")),
    };
    let block = target.get().repeat(1000);
    let (began, mut sent) = (Instant::now(), 0);
    while sent < BYTES_MAX && began.elapsed() < Duration::from_secs(5) {
        let count = connection.send(&block, Duration::from_secs(1));
        sent += count;
        if count < block.len() {
            let how = match connection.end {
                Some(End::Closed | End::Reset) => "closed",
                None => "not read on",
            };
            return Outcome::new(true, format!("{how} after {}", mebibytes(sent as u64)));
        }
    }
    let taken = mebibytes(sent as u64);
    Outcome::new(false, format!("took {taken} and was still reading"))
}
