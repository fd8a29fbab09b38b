//! The server's side of an HTTP/1.1 connection, as a machine: two states and a verdict.
//!
//! | reading | on | becomes | | writing | on | becomes |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | `Head` | complete head | `Body(framing)` | | `Idle` | head was read, or fault | `Owed` |
//! | `Body(f)` | last byte of `f` | `Done` | | `Owed` | 1xx | `Owed` |
//! | `Done` | `after()` = next | `Head` | | `Owed` | final head | `Body(sending)` |
//! | any | peer error | `Broken` | | `Owed` | 101 | `Sent` |
//! | `Head`, `Done` | eof | `Closed` | | `Body(s)` | `end` | `Sent` |
//! | | | | | `Sent` | `after()` = next | `Idle` |
//!
//! Reading and writing go on side by side: an answer may begin before its request has ended. Whether there is a next
//! exchange is a third matter (`persist`), since any of them may rule it out at any time, and none may rule it in
//! again.

use std::hint::cold_path;

use super::body::{Chunks, Framing};
use super::error::{Misuse, PeerError};
use super::head::{HeadLimits, Method, RequestHead, Scan, Version};
use super::response::{self, Announced, BodyLength, Connection, Preamble, ResponseHead};

/// One connection's HTTP/1.1: what has been read of the request at hand, what has been written of its response, and
/// whether the connection goes on. At most 56 bytes, and no buffer.
///
/// ```
/// use tourbillon::proto::http1::{After, BodyLength, Fields, HeadLimits, RequestHead, ResponseHead, Server, Step};
///
/// let (mut server, mut head, limits) = (Server::new(), RequestHead::new(), HeadLimits::default());
/// let input = b"GET /hello HTTP/1.1\r\nHost: example.com\r\n\r\n";
/// let (used, step) = server.next(input, &mut head, &limits)?;
/// assert_eq!((used, step, head.path()), (input.len(), Step::Head, "/hello"));
/// assert_eq!(server.next(b"", &mut head, &limits)?, (0, Step::End));
///
/// let (fields, mut out) = (Fields::new(), Vec::new());
/// let date = tourbillon::proto::http1::date::format(0);
/// let answer = ResponseHead {
///     status: 200, fields: &fields, content_type: Some("text/plain"), length: BodyLength::Known(2), date: &date,
/// };
/// server.respond(&answer, &mut out)?;
/// server.body(b"hi", &mut out)?;
/// server.end(&mut out)?;
/// assert!(out.ends_with(b"\r\nContent-Length: 2\r\n\r\nhi"));
/// assert_eq!(server.after(), After::NextExchange);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Server {
    reading: Reading,
    writing: Writing,
    persist: Persist,
    exchange: Exchange,
}

#[derive(Debug)]
enum Reading {
    Head(Scan),
    Body(Framing),
    /// The request is complete; what follows belongs to the next exchange, or to another protocol.
    Done,
    Broken(PeerError),
    Closed,
}

#[derive(Debug)]
enum Writing {
    Idle,
    Owed,
    Body(Sending),
    Sent,
}

/// How the body of the response at hand goes out.
#[derive(Clone, Copy, Debug)]
enum Sending {
    /// Not at all, whatever it is: HEAD, 204, 205, 304, or CONNECT that was granted.
    Dropped,
    /// So many bytes are left.
    Length(u64),
    Chunked,
    UntilClose,
}

/// The verdict on the connection. It only ever moves down this list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Persist {
    KeepAlive,
    Close,
    Upgrade,
}

/// What must be known of the request at hand to answer it.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    method: Method,
    version: Version,
    offers_upgrade: bool,
    /// The peer waits for `100 Continue`, and has not been given it.
    owes_continue: bool,
}

impl Exchange {
    /// What may be assumed of a request whose head was never read.
    const UNKNOWN: Self = Self {
        method: Method::Other,
        version: Version::Http11,
        offers_upgrade: false,
        owes_continue: false,
    };
}

/// What the peer has said next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'i> {
    /// A head is complete; the caller's [`RequestHead`] has been filled with it.
    Head,
    /// Bytes of the body, never none: a slice of the input, framing taken off.
    Data(&'i [u8]),
    /// The request is complete. Comes once for every head, also without a body.
    End,
    /// There is no more in this input. Keep what was not used up, and show it again with more behind it.
    NeedMore,
    /// The request is complete and not done with: ask [`Server::after`] before going on.
    Paused,
}

/// Where a connection stands between two exchanges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// The exchange is over and another may follow; the machine has begun anew.
    NextExchange,
    /// Nothing more will be read. Close, gently: the answer must not be lost to a reset (RFC 9112, 9.6).
    Close,
    /// 101 was sent; to a client it came, or CONNECT was granted. The input that was not used up, and all that follows,
    /// belongs to the other protocol.
    Upgraded,
    /// The request, the response or both are unfinished.
    NotYet,
}

impl Server {
    /// At the start of a connection.
    pub const fn new() -> Self {
        Self {
            reading: Reading::Head(Scan::new()),
            writing: Writing::Idle,
            persist: Persist::KeepAlive,
            exchange: Exchange::UNKNOWN,
        }
    }

    /// The next thing that the peer has said, taken from the front of `input`, and how many bytes of it are used up.
    /// Used bytes must not be shown again; this holds with every step, [`Step::NeedMore`] included. The others must be
    /// shown again, unchanged, with whatever came behind them.
    ///
    /// Go on until it answers [`Step::NeedMore`] or [`Step::Paused`], also when the input has run out: the end of a
    /// request needs no bytes of its own. `head` is written when a head is complete, and means nothing before.
    ///
    /// # Errors
    ///
    /// The peer broke a rule or a limit. An answer is owed (unless it is on its way), the connection will close, and
    /// every further call returns the same.
    #[inline(always)]
    pub fn next<'i>(
        &mut self,
        input: &'i [u8],
        head: &mut RequestHead,
        limits: &HeadLimits,
    ) -> Result<(usize, Step<'i>), PeerError> {
        let result = match &mut self.reading {
            Reading::Head(scan) => match scan.next(input, head, limits) {
                Ok((used, true)) => {
                    self.begin(head);
                    Ok((used, Step::Head))
                }
                Ok((used, false)) => Ok((used, Step::NeedMore)),
                Err(error) => Err(error),
            },
            Reading::Body(framing) => framing.next(input, limits),
            Reading::Done | Reading::Closed => {
                cold_path();
                return Ok((0, Step::Paused));
            }
            Reading::Broken(error) => {
                cold_path();
                return Err(*error);
            }
        };
        match result {
            // A peer that sends its body does not wait for leave to send it; nor does one that has sent an empty one.
            Ok((_, Step::End)) => {
                self.reading = Reading::Done;
                self.exchange.owes_continue = false;
            }
            Ok((_, Step::Data(_))) => self.exchange.owes_continue = false,
            Ok(_) => {}
            Err(error) => self.fault(input, error),
        }
        result
    }

    /// Take the [`Step::End`] of a request whose head says that it has no body, when [`next`](Self::next) has answered
    /// its [`Step::Head`]. False when there is a body to be read first.
    #[inline(always)]
    pub fn take_end(&mut self) -> bool {
        let is_end = matches!(self.reading, Reading::Body(Framing::Length(0)));
        if is_end {
            self.reading = Reading::Done;
        } else {
            cold_path();
        }
        is_end
    }

    /// Take the body of a request whose head says how long it is, up to `bytes_max`, if all of it stands at the front
    /// of `input`: [`Step::Data`] and [`Step::End`] in one. These bytes are used up then. `None` when it is another
    /// body, or there is none.
    ///
    /// ```
    /// use tourbillon::proto::http1::{HeadLimits, RequestHead, Server, Step};
    ///
    /// let (mut server, mut head) = (Server::new(), RequestHead::new());
    /// let input = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi!";
    /// let (used, step) = server.next(input, &mut head, &HeadLimits::default())?;
    /// assert!(matches!(step, Step::Head));
    /// assert_eq!(server.take_body(&input[used..used + 1], 10), None, "not all of it is here");
    /// assert_eq!(server.take_body(&input[used..], 1), None, "it is too long");
    /// assert_eq!(server.take_body(&input[used..], 10), Some(&b"hi"[..]));
    /// assert!(!server.is_reading_body());
    /// # Ok::<(), tourbillon::proto::http1::PeerError>(())
    /// ```
    #[inline]
    pub fn take_body<'i>(&mut self, input: &'i [u8], bytes_max: usize) -> Option<&'i [u8]> {
        let Reading::Body(Framing::Length(left @ 1..)) = self.reading else {
            return None;
        };
        let len = usize::try_from(left).ok()?;
        let body = input.get(..len).filter(|_| len <= bytes_max)?;
        self.reading = Reading::Done;
        // A peer that sends its body does not wait for leave to send it.
        self.exchange.owes_continue = false;
        Some(body)
    }

    #[cold]
    fn fault(&mut self, input: &[u8], error: PeerError) {
        // RFC 9110, 9.3.2: an answer to HEAD has no content, also if a later line of its head is at fault.
        let head = input.strip_prefix(b"\r\n").unwrap_or(input);
        if matches!(self.reading, Reading::Head(_)) && head.starts_with(b"HEAD ") {
            self.exchange.method = Method::Head;
        }
        self.refuse(error);
    }

    /// The peer will send no more. Call it once [`next`](Self::next) has answered [`Step::NeedMore`], or
    /// [`Step::Paused`] with no input left: a pipelined request that waits in the input would not be read any more.
    ///
    /// # Errors
    ///
    /// [`PeerError::Truncated`] if it stopped in the middle of a request. After a fault, that fault.
    pub fn eof(&mut self) -> Result<(), PeerError> {
        match &self.reading {
            Reading::Broken(error) => return Err(*error),
            Reading::Head(scan) if !scan.has_begun() => self.reading = Reading::Closed,
            Reading::Head(_) | Reading::Body(_) => {
                self.refuse(PeerError::Truncated);
                return Err(PeerError::Truncated);
            }
            Reading::Done | Reading::Closed => self.reading = Reading::Closed,
        }
        self.close_after_this();
        Ok(())
    }

    /// Read no further because of `fault`, which only the caller can see: [`PeerError::TooSlow`],
    /// [`PeerError::BodyTooLarge`]. An answer is owed from now on, unless it is on its way, and the connection will
    /// close. Does nothing if there was a fault before.
    #[cold]
    pub fn refuse(&mut self, fault: PeerError) {
        if matches!(self.reading, Reading::Broken(_)) {
            return;
        }
        self.reading = Reading::Broken(fault);
        if matches!(self.writing, Writing::Idle) {
            self.writing = Writing::Owed;
        }
        self.close_after_this();
    }

    /// Whether a head has begun and is not complete: the header deadline runs.
    pub fn has_begun(&self) -> bool {
        matches!(&self.reading, Reading::Head(scan) if scan.has_begun())
    }

    /// Whether body bytes are outstanding: the body deadline runs.
    pub fn is_reading_body(&self) -> bool {
        let Reading::Body(framing) = &self.reading else {
            return false;
        };
        cold_path();
        match framing {
            Framing::Length(left) => *left > 0,
            Framing::Chunked(_) => true,
        }
    }

    /// Whether nothing is under way: the keep-alive deadline runs, and the connection may be closed at any time.
    pub fn is_idle(&self) -> bool {
        matches!(&self.reading, Reading::Head(scan) if !scan.has_begun())
            && matches!(self.writing, Writing::Idle)
    }

    /// Whether the response was written to its end.
    pub fn has_responded(&self) -> bool {
        matches!(self.writing, Writing::Sent)
    }

    /// Write `100 Continue`, if the peer still waits for it (RFC 9110, 10.1.1). Whether it did.
    ///
    /// A final response without it, and before any of the body came, closes the connection afterwards: no one can say
    /// whether what the peer sends next is the body after all or another request.
    pub fn continue_100(&mut self, out: &mut Vec<u8>) -> bool {
        let owed = self.exchange.owes_continue && matches!(self.writing, Writing::Owed);
        if owed {
            self.exchange.owes_continue = false;
            out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        owed
    }

    /// Write the head of the response that is owed, with what frames its body and rules the connection. The body
    /// follows by [`body`](Self::body) and [`end`](Self::end).
    ///
    /// A status from 100 to 199 is an interim answer: the final one is still owed, and an HTTP/1.0 peer is sent nothing
    /// (RFC 9110, 15.2). 101 is final, and has no body and no end: [`after`](Self::after) then answers
    /// [`After::Upgraded`]; `fields` must name the protocol in `Upgrade`.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotOwed`], [`Misuse::BadStatus`], [`Misuse::BadContentType`], [`Misuse::NoUpgradeOffered`].
    #[inline]
    pub fn respond(&mut self, head: &ResponseHead<'_>, out: &mut Vec<u8>) -> Result<(), Misuse> {
        if !matches!(self.writing, Writing::Owed) {
            return Err(Misuse::NotOwed);
        }
        head.check()?;
        match head.status {
            101 if !self.exchange.offers_upgrade => return Err(Misuse::NoUpgradeOffered),
            101 => {
                self.persist = Persist::Upgrade;
                self.writing = Writing::Sent;
                response::write_switch(head, out);
            }
            100..=199 if self.exchange.version == Version::Http10 => {}
            100..=199 => {
                self.exchange.owes_continue &= head.status != 100;
                response::write_interim(head, out);
            }
            _ => self.respond_finally(head, out),
        }
        Ok(())
    }

    fn respond_finally(&mut self, head: &ResponseHead<'_>, out: &mut Vec<u8>) {
        if self.exchange.owes_continue {
            self.exchange.owes_continue = false;
            self.close_after_this();
        }
        let is_http10 = self.exchange.version == Version::Http10;
        let (announced, sending) = match (head.status, head.length) {
            // RFC 9110, 8.6: no length with 204 nor with CONNECT granted; with 304 it would have to be that of the 200.
            (200..=299, _) if self.exchange.method == Method::Connect => {
                // What follows would be a tunnel, behind 204 too, and we build none.
                self.close_after_this();
                (Announced::Nothing, Sending::Dropped)
            }
            (204 | 304, _) => (Announced::Nothing, Sending::Dropped),
            (205, _) => (Announced::Length(0), Sending::Dropped),
            (_, BodyLength::Known(length)) => (Announced::Length(length), Sending::Length(length)),
            (_, BodyLength::Unknown) if is_http10 => {
                self.close_after_this();
                (Announced::Nothing, Sending::UntilClose)
            }
            (_, BodyLength::Unknown) => (Announced::Chunked, Sending::Chunked),
        };
        let connection = match self.persist {
            Persist::KeepAlive if is_http10 => Connection::KeepAlive,
            Persist::KeepAlive => Connection::Default,
            Persist::Close | Persist::Upgrade => Connection::Close,
        };
        self.writing = Writing::Body(if self.exchange.method == Method::Head {
            Sending::Dropped
        } else {
            sending
        });
        response::write_final(head, announced, connection, out);
    }

    /// Write a whole answer, if nothing about it or its request is out of the ordinary: a 200 with a body that is here,
    /// to a complete request, on a connection that goes on. False when something is: then nothing was written, and
    /// [`respond`](Self::respond) will do it.
    ///
    /// What it writes is the same; it looks at less on the way.
    #[inline(always)]
    pub fn respond_plainly(
        &mut self,
        preamble: &mut Preamble,
        status: u16,
        content_type: Option<&str>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> bool {
        let is_plain = status == 200
            && matches!(
                (&self.reading, &self.writing, self.persist),
                (Reading::Done, Writing::Owed, Persist::KeepAlive)
            )
            && self.exchange.version == Version::Http11
            && !matches!(self.exchange.method, Method::Head | Method::Connect)
            && preamble.write(content_type, body, out);
        if is_plain {
            self.writing = Writing::Sent;
        } else {
            cold_path();
        }
        is_plain
    }

    /// Write bytes of the body, with what frames them. Where the response has no body they are dropped.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotInBody`], [`Misuse::BodyTooLong`].
    #[inline]
    pub fn body(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Misuse> {
        if self.body_frame_start(chunk.len(), out)? {
            out.extend_from_slice(chunk);
            self.body_frame_end(out);
        }
        Ok(())
    }

    /// Write what stands before `len` body bytes that the caller will send itself, by reference for instance; then must
    /// come the bytes, then [`body_frame_end`](Self::body_frame_end). False if they are not to be sent: there is no
    /// body, or `len` is 0, which in chunks would mean the end.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotInBody`], [`Misuse::BodyTooLong`].
    #[inline]
    pub fn body_frame_start(&mut self, len: usize, out: &mut Vec<u8>) -> Result<bool, Misuse> {
        let Writing::Body(sending) = &mut self.writing else {
            return Err(Misuse::NotInBody);
        };
        match sending {
            Sending::Dropped => return Ok(false),
            Sending::Length(left) => {
                *left = left.checked_sub(len as u64).ok_or(Misuse::BodyTooLong)?
            }
            Sending::Chunked if len > 0 => response::write_chunk_size(len, out),
            Sending::Chunked | Sending::UntilClose => {}
        }
        Ok(len > 0)
    }

    /// Write what stands behind body bytes that the caller sent itself.
    #[inline]
    pub fn body_frame_end(&mut self, out: &mut Vec<u8>) {
        if matches!(self.writing, Writing::Body(Sending::Chunked)) {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// The response is complete.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotInBody`]; [`Misuse::BodyTooShort`] if more was declared, and then the connection must be closed
    /// without further ado: the peer would take the next response for the rest of this one.
    #[inline]
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Misuse> {
        match &self.writing {
            Writing::Body(Sending::Length(left)) if *left > 0 => return Err(Misuse::BodyTooShort),
            Writing::Body(Sending::Chunked) => out.extend_from_slice(b"0\r\n\r\n"),
            Writing::Body(_) => {}
            Writing::Idle | Writing::Owed | Writing::Sent => return Err(Misuse::NotInBody),
        }
        self.writing = Writing::Sent;
        Ok(())
    }

    /// Whether the response's body will be sent. False if there is none to send it, as for HEAD, 204 and 304, so it
    /// need not be produced; [`end`](Self::end) is due all the same. Before the head is written it answers by the
    /// request's method alone.
    #[inline]
    pub fn wants_body(&self) -> bool {
        match &self.writing {
            Writing::Idle | Writing::Sent => false,
            Writing::Owed => self.exchange.method != Method::Head,
            Writing::Body(sending) => !matches!(sending, Sending::Dropped),
        }
    }

    /// Whether a response is owed whose head has not been written.
    #[inline]
    pub fn owes_response(&self) -> bool {
        matches!(self.writing, Writing::Owed)
    }

    /// Whether the response's head has been written and its end has not.
    #[inline]
    pub fn is_writing_body(&self) -> bool {
        matches!(self.writing, Writing::Body(_))
    }

    /// The connection closes when the exchange at hand is over. The response says so, if its head is not yet written.
    #[inline]
    pub fn close_after_this(&mut self) {
        self.persist = self.persist.max(Persist::Close);
    }

    /// Both sides are done: begin anew, give the bytes to another protocol, or close.
    ///
    /// A response may be complete before its request is. Then this answers [`After::NotYet`] until the rest of the
    /// request has been read, or [`close_after_this`](Self::close_after_this) was called to be rid of it.
    #[inline(always)]
    pub fn after(&mut self) -> After {
        let now = (&self.reading, &self.writing, self.persist);
        if let (Reading::Done, Writing::Sent, Persist::KeepAlive) = now {
            *self = Self::new();
            return After::NextExchange;
        }
        cold_path();
        match now {
            (Reading::Done | Reading::Closed, Writing::Sent, Persist::Upgrade) => After::Upgraded,
            (_, Writing::Sent, Persist::Close) | (Reading::Closed, Writing::Idle, _) => {
                After::Close
            }
            (Reading::Broken(_), Writing::Sent, _) => After::Close,
            _ => After::NotYet,
        }
    }

    /// A head was read.
    #[inline(always)]
    fn begin(&mut self, head: &RequestHead) {
        self.reading = Reading::Body(match head.is_chunked() {
            true => {
                cold_path();
                Framing::Chunked(Chunks::new())
            }
            false => Framing::Length(match head.content_length() {
                None => 0,
                Some(length) => {
                    cold_path();
                    length
                }
            }),
        });
        self.writing = Writing::Owed;
        self.exchange = Exchange {
            method: head.method(),
            version: head.version(),
            offers_upgrade: head.upgrade().is_some(),
            owes_continue: head.expects_continue(),
        };
        if !head.keep_alive() {
            cold_path();
            self.close_after_this();
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}
