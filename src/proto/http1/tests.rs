//! The machines from outside: bytes in, events and answers out. Every input is fed whole, byte by byte, cut at every
//! position, and with another request behind it.

mod answers;
mod anything;
mod chunks;
mod client;
mod fields;
mod framing;
mod heads;
mod host;
mod limits;
mod pair;
mod persistence;
mod reading;
mod request_lines;
mod requests;

use super::*;

const DATE: [u8; 29] = *b"Thu, 01 Jan 1970 00:00:00 GMT";

/// A connection on which every request is answered by an empty 200, and what happened on it.
struct Run {
    server: Server,
    head: RequestHead,
    limits: HeadLimits,
    input: Vec<u8>,
    events: Vec<String>,
    heads: Vec<RequestHead>,
    data: Vec<u8>,
    is_over: bool,
    /// Bodies are taken in one, if they can be.
    takes_bodies: bool,
}

impl Run {
    fn new(limits: &HeadLimits, takes_bodies: bool) -> Self {
        Self {
            server: Server::new(),
            head: RequestHead::new(),
            limits: limits.clone(),
            input: Vec::new(),
            events: Vec::new(),
            heads: Vec::new(),
            data: Vec::new(),
            is_over: false,
            takes_bodies,
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while !self.is_over {
            let (used, step) = match self.server.next(&self.input, &mut self.head, &self.limits) {
                Ok(next) => next,
                Err(error) => return self.fault(error),
            };
            let (is_waiting, is_head) = (step == Step::NeedMore, step == Step::Head);
            match step {
                Step::Head => {
                    self.events.push(format!(
                        "head {} {}",
                        self.head.method_str(),
                        self.head.target()
                    ));
                    self.heads.push(self.head.clone());
                }
                Step::Data(data) => self.data.extend_from_slice(data),
                Step::End => self.end(),
                Step::NeedMore => {}
                Step::Paused => panic!("every request is answered at its end"),
            }
            self.input.drain(..used);
            if is_waiting {
                return;
            }
            if is_head
                && self.takes_bodies
                && let Some(body) = self.server.take_body(&self.input, usize::MAX)
            {
                let used = body.len();
                self.data.extend(self.input.drain(..used));
                self.end();
            }
        }
    }

    fn end(&mut self) {
        self.flush_data();
        self.events.push("end".into());
        self.answer();
    }

    fn answer(&mut self) {
        let fields = Fields::new();
        let mut out = Vec::new();
        let answer = ResponseHead {
            status: 200,
            fields: &fields,
            content_type: None,
            length: BodyLength::Known(0),
            date: &DATE,
        };
        self.server.respond(&answer, &mut out).unwrap();
        self.server.end(&mut out).unwrap();
        match self.server.after() {
            After::NextExchange => {}
            After::Close => {
                self.events.push("close".into());
                self.is_over = true;
            }
            after => panic!("{after:?} behind an answered request"),
        }
    }

    fn eof(&mut self) {
        if self.is_over {
            return;
        }
        match self.server.eof() {
            Ok(()) => {
                self.events.push("eof".into());
                assert_eq!(self.server.after(), After::Close);
            }
            Err(error) => self.fault(error),
        }
    }

    fn fault(&mut self, error: PeerError) {
        self.flush_data();
        self.events.push(format!("fault {error:?}"));
        self.is_over = true;
        assert_eq!(
            self.server
                .next(b"GET / HTTP/1.0\r\n\r\n", &mut self.head, &self.limits),
            Err(error)
        );
        assert!(self.server.owes_response());
    }

    fn flush_data(&mut self) {
        if !self.data.is_empty() {
            self.events
                .push(format!("data {}", self.data.escape_ascii()));
            self.data.clear();
        }
    }
}

fn run<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: &HeadLimits,
) -> (String, Vec<RequestHead>) {
    let pieces: Vec<&[u8]> = pieces.into_iter().collect();
    let [by_steps, at_once] = [false, true].map(|takes_bodies| {
        let mut run = Run::new(limits, takes_bodies);
        for piece in &pieces {
            run.feed(piece);
        }
        run.eof();
        (run.events.join(", "), run.heads)
    });
    assert_eq!(at_once, by_steps, "with bodies taken in one");
    by_steps
}

#[track_caller]
fn check_with(limits: &HeadLimits, input: impl AsRef<[u8]>, expected: &str) {
    let input = input.as_ref();
    let whole = run([input], limits);
    assert_eq!(whole.0, expected, "whole");
    assert_eq!(run(input.chunks(1), limits), whole, "byte by byte");
    for cut in 0..=input.len() {
        let (front, back) = input.split_at(cut);
        assert_eq!(run([front, back], limits), whole, "cut at {cut}");
    }
    let behind = b"GET /behind HTTP/1.1\r\nHost: b\r\n\r\n";
    let with_behind = match expected.strip_suffix("eof") {
        Some(front) => format!("{front}head GET /behind, end, eof"),
        None if expected.ends_with("Truncated") => return,
        None => expected.into(),
    };
    assert_eq!(
        run([&[input, behind].concat()[..]], limits).0,
        with_behind,
        "with a request behind"
    );
}

#[track_caller]
fn check(input: impl AsRef<[u8]>, expected: &str) {
    check_with(&HeadLimits::default(), input, expected);
}

/// A request line of these words, and a good `Host`.
#[track_caller]
fn check_request_line(line: &str, expected: &str) {
    check(format!("{line}\r\nHost: h\r\n\r\n"), expected);
}

/// A field line in the middle of an otherwise good head.
#[track_caller]
fn check_field(line: impl AsRef<[u8]>, expected: &str) {
    check(
        [
            b"GET / HTTP/1.1\r\nHost: h\r\n",
            line.as_ref(),
            b"\r\nX-Last: 1\r\n\r\n",
        ]
        .concat(),
        expected,
    );
}

/// A body behind a head that announces chunks.
#[track_caller]
fn check_chunks(body: impl AsRef<[u8]>, expected: &str) {
    let head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(
        [head, body.as_ref()].concat(),
        &format!("head POST /, {expected}"),
    );
}

#[track_caller]
fn head_of(text: &str) -> RequestHead {
    let (events, mut heads) = run([text.as_bytes()], &HeadLimits::default());
    assert_eq!(heads.len(), 1, "{events}");
    heads.remove(0)
}
