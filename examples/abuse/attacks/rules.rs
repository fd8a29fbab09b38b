//! Requests that break a rule, above all those that two servers in a row could read differently.

use std::thread;
use std::time::Duration;

use super::{Attack, Outcome, Pace, end_of};
use crate::client::{Connection, PATIENCE};
use crate::target::Target;

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "malformed",
        does: "heads that break a rule of RFC 9112, a connection each",
        passes: "each is refused with 4xx or 5xx, or without an answer, and closed within 3 s",
        pace: Pace::Alone,
        run: malformed,
    },
    Attack {
        name: "smuggling",
        does: "CL.TE, TE.CL, lengths and codings that differ or are disguised, each with a second request in the body",
        passes: "each is refused and closed within 3 s, and never answered twice",
        pace: Pace::Alone,
        run: smuggling,
    },
    Attack {
        name: "chunk-lines",
        does: "chunked bodies with lines that break a rule, each with a second request behind it",
        passes: "each is refused, or its answer cut, and closed within 3 s, and never answered twice",
        pace: Pace::Alone,
        run: chunk_lines,
    },
    Attack {
        name: "header-injection",
        does: "line breaks, raw and encoded, in targets and values",
        passes: "no answer has a field or a second answer that the client made up",
        pace: Pace::Alone,
        run: header_injection,
    },
    Attack {
        name: "old-versions",
        does: "HTTP/0.9, HTTP/1.0 with what it does not have, HTTP/2 without asking, HTTP/3.7",
        passes: "one answer at most, and closed within 3 s",
        pace: Pace::Alone,
        run: old_versions,
    },
];

/// For a connection to end.
const END: Duration = Duration::from_secs(3);

struct Case {
    name: &'static str,
    bytes: Vec<u8>,
}

/// Try each on a connection of its own, all at once. `fault` says what is wrong with how one ended.
fn try_all(target: &Target, cases: Vec<Case>, fault: fn(&Connection) -> bool) -> Outcome {
    let count = cases.len();
    let try_one = |case: &Case| {
        let mut connection = match target.connect() {
            Ok(connection) => connection,
            Err(error) => return Some(format!("{}: {error}", case.name)),
        };
        connection.send(&case.bytes, PATIENCE);
        connection.receive_to_end(END);
        fault(&connection).then(|| format!("{}: {}", case.name, end_of(&connection)))
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
    Outcome::of_set(count, &faults)
}

fn is_not_refused(connection: &Connection) -> bool {
    let statuses = connection.statuses();
    connection.end.is_none() || statuses.len() > 1 || statuses.iter().any(|status| *status < 400)
}

fn malformed(target: &Target) -> Outcome {
    let (path, host) = (&target.path, &target.options.host);
    let line = format!("GET {path} HTTP/1.1\r\n");
    let with_host = format!("{line}Host: {host}\r\n");
    let cases = [
        ("no host", format!("{line}\r\n")),
        ("two hosts", format!("{with_host}Host: other\r\n\r\n")),
        ("host with a space", format!("{line}Host: a b\r\n\r\n")),
        ("no target", format!("GET HTTP/1.1\r\nHost: {host}\r\n\r\n")),
        (
            "no method",
            format!(" {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ),
        (
            "two spaces",
            format!("GET  {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ),
        (
            "space in target",
            format!("GET {path} x HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ),
        (
            "method with a colon",
            format!("GE:T {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ),
        (
            "target without a slash",
            format!("GET plaintext HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ),
        (
            "lower-case version",
            format!("GET {path} http/1.1\r\nHost: {host}\r\n\r\n"),
        ),
        (
            "version of two digits",
            format!("GET {path} HTTP/1.10\r\nHost: {host}\r\n\r\n"),
        ),
        ("no colon", format!("{with_host}X-Bad\r\n\r\n")),
        ("no name", format!("{with_host}: x\r\n\r\n")),
        (
            "space before the colon",
            format!("{with_host}X-Bad : x\r\n\r\n"),
        ),
        ("space in a name", format!("{with_host}X Bad: x\r\n\r\n")),
        ("NUL in a name", format!("{with_host}X\0Bad: x\r\n\r\n")),
        ("NUL in a value", format!("{with_host}X-Bad: a\0b\r\n\r\n")),
        (
            "bare CR in a value",
            format!("{with_host}X-Bad: a\rb\r\n\r\n"),
        ),
        ("folded line", format!("{with_host}X-Bad: a\r\n b\r\n\r\n")),
        (
            "space before the first field",
            format!("{line} Host: {host}\r\n\r\n"),
        ),
        (
            "bare CR for a line end",
            format!("GET {path} HTTP/1.1\rHost: {host}\r\n\r\n"),
        ),
        ("not HTTP", "\0\x01\x02\x03 what? \r\n\r\n".to_owned()),
    ];
    let cases = cases.map(|(name, head)| Case {
        name,
        bytes: head.into_bytes(),
    });
    try_all(target, cases.into(), is_not_refused)
}

fn smuggling(target: &Target) -> Outcome {
    let second = String::from_utf8_lossy(&target.get()).into_owned();
    let length = second.len();
    let framings = [
        ("CL.TE", "Content-Length: 5\r\nTransfer-Encoding: chunked"),
        ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
        ("two lengths", "Content-Length: 5\r\nContent-Length: 6"),
        (
            "two lengths, one 0",
            "Content-Length: 0\r\nContent-Length: 5",
        ),
        ("a list of lengths", "Content-Length: 5, 6"),
        ("length +5", "Content-Length: +5"),
        ("length -1", "Content-Length: -1"),
        ("length 0x5", "Content-Length: 0x5"),
        ("length 5 5", "Content-Length: 5 5"),
        ("length 5_0", "Content-Length: 5_0"),
        ("empty length", "Content-Length:"),
        ("length 2^64+5", "Content-Length: 18446744073709551621"),
        ("space after the length's name", "Content-Length : 5"),
        ("TE xchunked", "Transfer-Encoding: xchunked"),
        ("TE \"chunked\"", "Transfer-Encoding: \"chunked\""),
        (
            "TE chunked, identity",
            "Transfer-Encoding: chunked, identity",
        ),
        ("TE chunked, chunked", "Transfer-Encoding: chunked, chunked"),
        (
            "TE chunked twice, one other",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
        ),
        ("TE with VT", "Transfer-Encoding:\x0bchunked"),
        ("TE with NUL", "Transfer-Encoding: chunked\0"),
        ("TE with CR", "Transfer-Encoding:\r chunked"),
        ("TE with a space", "Transfer-Encoding : chunked"),
        ("TE folded", "Transfer-Encoding:\r\n chunked"),
        (
            "TE behind a folded line",
            "X-A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 5",
        ),
        (
            "TE behind a bare CR",
            "X-A: b\rTransfer-Encoding: chunked\r\nContent-Length: 5",
        ),
        (
            "TE in CL's value",
            "Content-Length: 5\rTransfer-Encoding: chunked",
        ),
    ];
    let mut cases: Vec<Case> = (framings.iter())
        .map(|(name, framing)| Case {
            name,
            bytes: format!("{}{framing}\r\n\r\n0\r\n\r\n{second}", target.post_head()).into_bytes(),
        })
        .collect();
    // HTTP/1.0 has no transfer codings. RFC 9112, 6.1.
    let old_head = target.post_head().replacen("HTTP/1.1", "HTTP/1.0", 1);
    let framing =
        format!("Connection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: {length}");
    cases.push(Case {
        name: "TE in HTTP/1.0",
        bytes: format!("{old_head}{framing}\r\n\r\n0\r\n\r\n{second}").into_bytes(),
    });
    try_all(target, cases, is_not_refused)
}

fn chunk_lines(target: &Target) -> Outcome {
    let second = String::from_utf8_lossy(&target.get()).into_owned();
    let bodies = [
        ("bare LF after the size", "5\nhello\r\n0\r\n\r\n"),
        ("bare CR after the size", "5\rhello\r\n0\r\n\r\n"),
        ("bare LF after the data", "5\r\nhello\n0\r\n\r\n"),
        ("nothing after the data", "5\r\nhello0\r\n\r\n"),
        ("more data than its size", "5\r\nhello, world\r\n0\r\n\r\n"),
        ("bare LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ("bare LF at the end", "5\r\nhello\r\n0\n\n"),
        ("size 0x5", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("size +5", "+5\r\nhello\r\n0\r\n\r\n"),
        ("size -5", "-5\r\nhello\r\n0\r\n\r\n"),
        ("size 5g", "5g\r\nhello\r\n0\r\n\r\n"),
        ("size with a space before", " 5\r\nhello\r\n0\r\n\r\n"),
        ("no size", "\r\nhello\r\n0\r\n\r\n"),
        ("size 2^64+5", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("size 2^68-1", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        (
            "trailer without a colon",
            "5\r\nhello\r\n0\r\nX-Bad\r\n\r\n",
        ),
        ("trailer with a bare LF", "5\r\nhello\r\n0\r\nX-A: b\n\r\n"),
    ];
    let cases = bodies.map(|(name, body)| Case {
        name,
        bytes: format!(
            "{}Transfer-Encoding: chunked\r\n\r\n{body}{second}",
            target.post_head()
        )
        .into_bytes(),
    });
    // A server that streams may have begun its answer before the fault came: then it must be seen to be cut.
    try_all(target, cases.into(), |connection| {
        let answers = connection.answers();
        let finals = answers.iter().filter(|answer| answer.status >= 200);
        let is_answered = finals
            .clone()
            .any(|answer| answer.status < 400 && answer.is_whole);
        connection.end.is_none() || finals.count() > 1 || is_answered
    })
}

fn header_injection(target: &Target) -> Outcome {
    let (path, host) = (&target.path, &target.options.host);
    let end = format!(" HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let post = |field: &str| {
        let head = target.post_head();
        format!("{head}{field}\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
    };
    let cases = [
        (
            "encoded in the query",
            format!("GET {path}?x=%0d%0aX-Injected:%20yes{end}"),
        ),
        (
            "encoded in the path",
            format!("GET /%0d%0aX-Injected:%20yes{end}"),
        ),
        (
            "encoded twice",
            format!("GET /%250d%250aX-Injected:%20yes{end}"),
        ),
        (
            "encoded answer",
            format!("GET /%0d%0a%0d%0aHTTP/1.1%20299%20OK%0d%0a%0d%0a{end}"),
        ),
        (
            "wide characters",
            format!("GET /\u{560d}\u{560a}X-Injected:yes{end}"),
        ),
        (
            "CR in the type",
            post("Content-Type: text/plain\rX-Injected: yes"),
        ),
        (
            "NUL in the type",
            post("Content-Type: text/plain\0X-Injected: yes"),
        ),
        (
            "folded type",
            post("Content-Type: text/plain\r\n X-Injected: yes"),
        ),
        (
            "host",
            format!(
                "GET {path} HTTP/1.1\r\nHost: {host}%0d%0aX-Injected:yes\r\nConnection: close\r\n\r\n"
            ),
        ),
    ];
    let cases = cases.map(|(name, request)| Case {
        name,
        bytes: request.into_bytes(),
    });
    try_all(target, cases.into(), |connection| {
        let received = String::from_utf8_lossy(&connection.received).to_lowercase();
        let is_injected = received.split(['\r', '\n']).any(|line| {
            line.trim_start().starts_with("x-injected:") || line.starts_with("http/1.1 299")
        });
        is_injected || connection.statuses().len() > 1 || connection.end.is_none()
    })
}

fn old_versions(target: &Target) -> Outcome {
    let path = &target.path;
    let cases = [
        ("0.9", format!("GET {path}\r\n\r\n")),
        ("1.0", format!("GET {path} HTTP/1.0\r\n\r\n")),
        (
            "1.0 twice",
            format!("GET {path} HTTP/1.0\r\n\r\nGET {path} HTTP/1.0\r\n\r\n"),
        ),
        (
            "1.0 and close",
            format!("GET {path} HTTP/1.0\r\nConnection: close\r\n\r\n"),
        ),
        (
            "1.0 with HTTP/2 offered",
            format!("GET {path} HTTP/1.0\r\nUpgrade: h2c\r\n\r\n"),
        ),
        (
            "2 without asking",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_owned(),
        ),
        ("3.7", format!("GET {path} HTTP/3.7\r\nHost: x\r\n\r\n")),
        (
            "no digits",
            format!("GET {path} HTTP/x.y\r\nHost: x\r\n\r\n"),
        ),
    ];
    let cases = cases.map(|(name, request)| Case {
        name,
        bytes: request.into_bytes(),
    });
    try_all(target, cases.into(), |connection| {
        connection.end.is_none() || connection.statuses().len() > 1
    })
}
