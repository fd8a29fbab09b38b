//! A client's side of a connection, bounded in bytes and time, that may send whatever it likes.
//!
//! It knows enough of HTTP to tell one answer from the next, and forgives nothing there: what it cannot take apart is
//! no answer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// For a connection to open, and for an ordinary answer to an ordinary request.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// What is kept of what a server sends: the rest is counted and thrown away.
const KEPT_BYTES_MAX: usize = 256 << 10;

pub(crate) struct Connection {
    stream: TcpStream,
    pub(crate) received: Vec<u8>,
    pub(crate) received_count: u64,
    pub(crate) end: Option<End>,
}

/// How the server ended a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    Closed,
    Reset,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::new(),
            received_count: 0,
            end: None,
        })
    }

    /// Send as much of `bytes` as the server takes in `patience`. Answers how many that were.
    pub(crate) fn send(&mut self, bytes: &[u8], patience: Duration) -> usize {
        let until = Instant::now() + patience;
        let mut sent = 0;
        while sent < bytes.len() && self.end.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let wait = self.stream.set_write_timeout(Some(left));
            match wait.and_then(|()| self.stream.write(&bytes[sent..])) {
                Ok(count) => sent += count,
                Err(error) if is_retry(&error) => {}
                Err(_) => self.end = Some(End::Reset),
            }
        }
        sent
    }

    /// Take what comes, waiting for it no longer than `patience`. Answers how many bytes that were.
    pub(crate) fn receive(&mut self, patience: Duration) -> usize {
        if self.end.is_some() {
            return 0;
        }
        let mut buffer = [0; 16 << 10];
        // A time-out of nothing is an error to std.
        let patience = patience.max(Duration::from_micros(1));
        let wait = self.stream.set_read_timeout(Some(patience));
        let read = wait.and_then(|()| self.stream.read(&mut buffer));
        self.took(read, &buffer)
    }

    fn took(&mut self, read: io::Result<usize>, buffer: &[u8]) -> usize {
        match read {
            Ok(0) => self.end = Some(End::Closed),
            Ok(count) => {
                let room = KEPT_BYTES_MAX - self.received.len();
                (self.received).extend_from_slice(&buffer[..count.min(room)]);
                self.received_count += count as u64;
                return count;
            }
            Err(error) if is_retry(&error) => {}
            Err(_) => self.end = Some(End::Reset),
        }
        0
    }

    /// Receive until the server ends the connection, or for `patience`.
    pub(crate) fn receive_to_end(&mut self, patience: Duration) {
        let until = Instant::now() + patience;
        while self.end.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.receive(left);
        }
    }

    /// Receive one answer, and forget what came before.
    pub(crate) fn answer(&mut self, patience: Duration) -> Option<Answer> {
        self.received.clear();
        let until = Instant::now() + patience;
        loop {
            let answers = answers(&self.received, self.end == Some(End::Closed));
            if let Some(last) = answers.last().copied()
                && last.is_whole
                && last.status >= 200
            {
                return Some(last);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.end.is_some() {
                return None;
            }
            self.receive(left);
        }
    }

    /// Never wait from here on: `try_send` and `try_receive` do what can be done at once.
    pub(crate) fn set_nonblocking(&mut self) {
        if self.stream.set_nonblocking(true).is_err() {
            self.end = Some(End::Reset);
        }
    }

    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> usize {
        if self.end.is_some() {
            return 0;
        }
        match self.stream.write(bytes) {
            Ok(count) => count,
            Err(error) if is_retry(&error) => 0,
            // What the server said before it stopped listening may still be there to read.
            Err(_) => {
                while self.try_receive() > 0 {}
                self.end = self.end.or(Some(End::Reset));
                0
            }
        }
    }

    pub(crate) fn try_receive(&mut self) -> usize {
        if self.end.is_some() {
            return 0;
        }
        let mut buffer = [0; 16 << 10];
        let read = self.stream.read(&mut buffer);
        self.took(read, &buffer)
    }

    /// Take one byte, if one is there.
    pub(crate) fn try_receive_byte(&mut self) {
        let mut byte = [0];
        let read = self.stream.read(&mut byte);
        self.took(read, &byte);
    }

    /// Wait until an answer has begun to come, and leave it where it is: a socket closed with bytes unread is reset.
    pub(crate) fn peek(&mut self, patience: Duration) -> bool {
        let wait = self.stream.set_read_timeout(Some(patience));
        let peeked = wait.and_then(|()| self.stream.peek(&mut [0]));
        peeked.is_ok_and(|count| count > 0)
    }

    /// Say that nothing more will be sent.
    pub(crate) fn half_close(&mut self) {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            self.end = Some(End::Reset);
        }
    }

    pub(crate) fn answers(&self) -> Vec<Answer> {
        answers(&self.received, self.end == Some(End::Closed))
    }

    /// The final status codes that came, in order.
    pub(crate) fn statuses(&self) -> Vec<u16> {
        let statuses = self.answers().into_iter().map(|answer| answer.status);
        statuses.filter(|status| *status >= 200).collect()
    }
}

fn is_retry(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Of the body, where the head says so.
    pub(crate) length: Option<u64>,
    /// To the last byte of its body.
    pub(crate) is_whole: bool,
}

/// The answers at the front of `bytes`, each with a body, as every answer to GET and POST may have.
fn answers(bytes: &[u8], is_closed: bool) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut rest = bytes;
    while let Some(head_length) = find(rest, b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&rest[..head_length]).to_lowercase();
        rest = &rest[head_length + 4..];
        let status = (head.strip_prefix("http/1."))
            .and_then(|line| line.get(2..5))
            .and_then(|digits| digits.parse().ok());
        let Some(status) = status else { break };
        let length = (head.lines()).find_map(|line| {
            let value = line.strip_prefix("content-length:")?;
            value.trim().parse::<u64>().ok()
        });
        let is_chunked = (head.lines())
            .any(|line| line.starts_with("transfer-encoding:") && line.ends_with("chunked"));
        let body_length = match length {
            _ if status < 200 || status == 204 || status == 304 => Some(0),
            _ if is_chunked => chunked_length(rest),
            Some(length) => usize::try_from(length)
                .ok()
                .filter(|length| *length <= rest.len()),
            None => Some(rest.len()).filter(|_| is_closed),
        };
        answers.push(Answer {
            status,
            length,
            is_whole: body_length.is_some(),
        });
        match body_length {
            Some(length) => rest = &rest[length..],
            None => break,
        }
    }
    answers
}

/// Of a chunked body with its end; `None` while it has none.
fn chunked_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line_length = find(&bytes[at..], b"\r\n")?;
        let line = std::str::from_utf8(&bytes[at..at + line_length]).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        at += line_length + 2;
        if size == 0 {
            // No answer here has trailers.
            return bytes.get(at..at + 2).map(|_| at + 2);
        }
        at = at.checked_add(size)?.checked_add(2)?;
        bytes.get(..at)?;
    }
}

pub(crate) fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
