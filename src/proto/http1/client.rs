//! The client's side of an HTTP/1.1 connection, as a machine: two states and a verdict, as the server's.
//!
//! | writing | on | becomes | | reading | on | becomes |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | `Idle` | request | `Body(sending)` | | `Idle` | request | `Head` |
//! | `Body(s)` | `end` | `Sent` | | `Head` | 1xx | `Head` |
//! | `Sent` | `after()` = next | `Idle` | | `Head` | final head | `Body(framing)`, `UntilClose` |
//! | | | | | `Body(f)` | last byte of `f` | `Done` |
//! | | | | | `UntilClose` | eof | `Body`, with none left |
//! | | | | | `Done` | `after()` = next | `Idle` |
//! | | | | | any | peer error | `Broken` |
//! | | | | | `Idle`, `Done` | eof | `Closed` |
//!
//! Reading and writing go on side by side: a response may come before its request has been sent whole. There is one
//! exchange at a time; requests are not pipelined, since a connection that ends early would leave nobody knowing which
//! of them were carried out (RFC 9112, 9.3.2 has the rules for those who do).

use super::body::{Chunks, Framing};
use super::error::{Misuse, PeerError};
use super::head::{HeadLimits, Method, Version};
use super::incoming::{IncomingResponse, ResponseScan};
use super::line::{self, Known, Meaning, RequestLine, Seen};
use super::response::{self, BodyLength, Fields};
use super::server::{After, Persist, Step};

/// One connection's HTTP/1.1 from the client's end: what has been written of the request at hand, what has been read of
/// its response, and whether the connection goes on. No buffer.
///
/// ```
/// use tourbillon::proto::http1::{
///     After, BodyLength, Client, Fields, HeadLimits, IncomingResponse, OutgoingRequest, ResponseStep,
/// };
///
/// let (mut client, mut head, limits) = (Client::new(), IncomingResponse::new(), HeadLimits::default());
/// let (fields, mut out) = (Fields::new(), Vec::new());
/// let request = OutgoingRequest {
///     method: "POST", target: "/greet", host: "example.com", fields: &fields, length: BodyLength::Known(3),
///     expects_continue: false,
/// };
/// client.request(&request, &mut out)?;
/// client.body(b"Ann", &mut out)?;
/// client.end(&mut out)?;
/// assert_eq!(out, b"POST /greet HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3\r\n\r\nAnn");
///
/// let input = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
/// assert_eq!(client.next(input, &mut head, &limits)?, (38, ResponseStep::Head));
/// assert_eq!((head.status(), head.content_length()), (200, Some(2)));
/// assert_eq!(client.next(&input[38..], &mut head, &limits)?, (2, ResponseStep::Data(b"hi")));
/// assert_eq!(client.next(b"", &mut head, &limits)?, (0, ResponseStep::End));
/// assert_eq!(client.after(), After::NextExchange);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client {
    reading: Reading,
    writing: Writing,
    persist: Persist,
    exchange: Exchange,
    /// The peer has answered in HTTP/1.0: it may not know chunks.
    is_peer_http10: bool,
}

#[derive(Debug)]
enum Reading {
    /// No response is due.
    Idle,
    Head(ResponseScan),
    Body(Framing),
    UntilClose,
    /// The response is complete; what follows belongs to nothing, or to another protocol.
    Done,
    Broken(PeerError),
    Closed,
}

#[derive(Debug)]
enum Writing {
    Idle,
    Body(Sending),
    Sent,
}

/// How the body of the request at hand goes out.
#[derive(Clone, Copy, Debug)]
enum Sending {
    /// So many bytes are left.
    Length(u64),
    Chunked,
}

/// What must be known of the request at hand to read its response.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    method: Method,
    offers_upgrade: bool,
    /// The request asked for `100 Continue`, and nothing has come yet that settles it.
    waits_for_continue: bool,
}

impl Exchange {
    const NONE: Self = Self {
        method: Method::Other,
        offers_upgrade: false,
        waits_for_continue: false,
    };
}

/// What is said in front of a request's body. The machine adds what frames it.
#[derive(Clone, Copy, Debug)]
pub struct OutgoingRequest<'a> {
    /// A token; case matters.
    pub method: &'a str,
    /// The target in the form that its method and its receiver want (RFC 9112, 3.2): a path with perhaps a query; to a
    /// proxy a whole URI; with CONNECT a host and a port; `*` with OPTIONS.
    pub target: &'a str,
    /// The value of `Host`: the URI's host, and its port if it has one. The same as in the target if that names one.
    pub host: &'a str,
    /// The fields, without `Host`, `Expect` and `TE`. With `Upgrade` among them, 101 may be the answer.
    pub fields: &'a Fields,
    /// The body's length; `Known(0)` if there is none.
    pub length: BodyLength,
    /// Ask the peer to say whether it wants the body before it is sent (RFC 9110, 10.1.1); see
    /// [`Client::waits_for_continue`].
    pub expects_continue: bool,
}

impl OutgoingRequest<'_> {
    /// Refuse what cannot be written, or would be read as something else.
    fn check(&self) -> Result<RequestLine, Misuse> {
        if !line::is_token(self.method.as_bytes()) {
            return Err(Misuse::BadMethod);
        }
        let (method, target) = (self.method.as_bytes(), self.target.as_bytes());
        let line =
            RequestLine::of_words(method, target, Version::Http11).ok_or(Misuse::BadTarget)?;
        let host = self.host.as_bytes();
        let mut seen = Seen::request_line(Version::Http11);
        if seen.judge(Known::Host, host) != Ok(Meaning::Host) {
            return Err(Misuse::BadHost);
        }
        // RFC 9112, 3.2: where the target names an authority, `Host` is the same.
        if line.authority.len() > 0
            && line
                .authority
                .of(format!("{} {}", self.method, self.target).as_bytes())
                != host
        {
            return Err(Misuse::BadHost);
        }
        // `TE` would have to be listed in `Connection`, and asks for what we do not read.
        if self.fields.has_any(&["Host", "Expect", "TE"]) {
            return Err(Misuse::OwnField);
        }
        match (line.method, self.length) {
            (_, BodyLength::Known(0)) if self.expects_continue => Err(Misuse::NothingToContinue),
            (_, BodyLength::Known(0)) => Ok(line),
            (Method::Connect | Method::Trace, _) => Err(Misuse::NoBodyAllowed),
            _ => Ok(line),
        }
    }
}

/// What the peer has answered next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResponseStep<'i> {
    /// The head of an interim response (1xx but 101) is complete, and in the caller's [`IncomingResponse`]. The final
    /// one is still to come.
    Interim,
    /// The head of the final response is complete, and in the caller's [`IncomingResponse`].
    Head,
    /// Bytes of the body, never none: a slice of the input, framing taken off.
    Data(&'i [u8]),
    /// The response is complete. Comes once for every final head, also without a body.
    End,
    /// There is no more in this input. Keep what was not used up, and show it again with more behind it.
    NeedMore,
    /// The response is complete and not done with: ask [`Client::after`] before going on.
    Paused,
}

impl Client {
    /// At the start of a connection.
    pub const fn new() -> Self {
        Self {
            reading: Reading::Idle,
            writing: Writing::Idle,
            persist: Persist::KeepAlive,
            exchange: Exchange::NONE,
            is_peer_http10: false,
        }
    }

    /// Write the head of a request, and begin an exchange with it. The body follows by [`body`](Self::body) and
    /// [`end`](Self::end); the latter is due also without a body.
    ///
    /// What the request says about the connection follows from [`close_after_this`](Self::close_after_this), called
    /// before. No body and a method that usually has one makes `Content-Length: 0` (RFC 9110, 8.6).
    ///
    /// # Errors
    ///
    /// [`Misuse::ExchangeUnderWay`], also if the connection has ended; and whatever is wrong with the request.
    pub fn request(
        &mut self,
        request: &OutgoingRequest<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        if !matches!(self.reading, Reading::Idle) {
            return Err(Misuse::ExchangeUnderWay);
        }
        let line = request.check()?;
        if self.is_peer_http10 && request.length == BodyLength::Unknown {
            return Err(Misuse::ChunkedToHttp10);
        }
        let offers_upgrade = request.fields.has_upgrade();
        for part in [
            request.method,
            " ",
            request.target,
            " HTTP/1.1\r\nHost: ",
            request.host,
            "\r\n",
        ] {
            out.extend_from_slice(part.as_bytes());
        }
        let has_usually_a_body = matches!(line.method, Method::Post | Method::Put | Method::Patch);
        let sending = match request.length {
            BodyLength::Known(0) if !has_usually_a_body => Sending::Length(0),
            BodyLength::Known(length) => {
                out.extend_from_slice(b"Content-Length: ");
                response::write_decimal(length, out);
                out.extend_from_slice(b"\r\n");
                Sending::Length(length)
            }
            BodyLength::Unknown => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
                Sending::Chunked
            }
        };
        if request.expects_continue {
            out.extend_from_slice(b"Expect: 100-continue\r\n");
        }
        out.extend_from_slice(match (self.persist, offers_upgrade) {
            (Persist::KeepAlive, false) => b"",
            (Persist::KeepAlive, true) => b"Connection: upgrade\r\n",
            (Persist::Close | Persist::Upgrade, false) => b"Connection: close\r\n",
            (Persist::Close | Persist::Upgrade, true) => b"Connection: close, upgrade\r\n",
        });
        out.extend_from_slice(request.fields.as_bytes());
        out.extend_from_slice(b"\r\n");
        self.reading = Reading::Head(ResponseScan::new());
        self.writing = Writing::Body(sending);
        self.exchange = Exchange {
            method: line.method,
            offers_upgrade,
            waits_for_continue: request.expects_continue,
        };
        Ok(())
    }

    /// Write bytes of the body, with what frames them.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotInBody`], [`Misuse::BodyTooLong`].
    pub fn body(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Misuse> {
        if self.body_frame_start(chunk.len(), out)? {
            out.extend_from_slice(chunk);
            self.body_frame_end(out);
        }
        Ok(())
    }

    /// Write what stands before `len` body bytes that the caller will send itself; then must come the bytes, then
    /// [`body_frame_end`](Self::body_frame_end). False if `len` is 0, which in chunks would mean the end.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotInBody`], [`Misuse::BodyTooLong`].
    pub fn body_frame_start(&mut self, len: usize, out: &mut Vec<u8>) -> Result<bool, Misuse> {
        let Writing::Body(sending) = &mut self.writing else {
            return Err(Misuse::NotInBody);
        };
        match sending {
            Sending::Length(left) => {
                *left = left.checked_sub(len as u64).ok_or(Misuse::BodyTooLong)?;
            }
            Sending::Chunked if len > 0 => response::write_chunk_size(len, out),
            Sending::Chunked => {}
        }
        self.exchange.waits_for_continue &= len == 0;
        Ok(len > 0)
    }

    /// Write what stands behind body bytes that the caller sent itself.
    pub fn body_frame_end(&mut self, out: &mut Vec<u8>) {
        if matches!(self.writing, Writing::Body(Sending::Chunked)) {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// The request is complete.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotInBody`]; [`Misuse::BodyTooShort`] if more was declared, and then only closing helps.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Misuse> {
        match &self.writing {
            Writing::Body(Sending::Length(left)) if *left > 0 => return Err(Misuse::BodyTooShort),
            Writing::Body(Sending::Length(_)) => {}
            Writing::Body(Sending::Chunked) => out.extend_from_slice(b"0\r\n\r\n"),
            Writing::Idle | Writing::Sent => return Err(Misuse::NotInBody),
        }
        self.writing = Writing::Sent;
        Ok(())
    }

    /// The next thing that the peer has said, taken from the front of `input`, and how many bytes of it are used up.
    /// Used bytes must not be shown again; this holds with every step, [`ResponseStep::NeedMore`] included. The others
    /// must be shown again, unchanged, with whatever came behind them: at most one line.
    ///
    /// Go on until it answers [`ResponseStep::NeedMore`] or [`ResponseStep::Paused`], also when the input has run out:
    /// the end of a response needs no bytes of its own. `head` is filled line by line: lend the same one until a head
    /// is complete.
    ///
    /// # Errors
    ///
    /// The peer broke a rule or a limit, or spoke without being asked. What it said cannot be trusted any more: close.
    /// Every further call returns the same.
    pub fn next<'i>(
        &mut self,
        input: &'i [u8],
        head: &mut IncomingResponse,
        limits: &HeadLimits,
    ) -> Result<(usize, ResponseStep<'i>), PeerError> {
        let method = self.exchange.method;
        let result = match &mut self.reading {
            // RFC 9112, 9.2: what comes without a request is no response.
            Reading::Idle if input.is_empty() => Ok((0, ResponseStep::NeedMore)),
            Reading::Idle => Err(PeerError::UnaskedResponse),
            Reading::Head(scan) => match scan.next(input, head, method, limits) {
                Ok((used, true)) => self.begin(head).map(|step| (used, step)),
                Ok((used, false)) => Ok((used, ResponseStep::NeedMore)),
                Err(error) => Err(error),
            },
            Reading::Body(framing) => framing.next(input, limits).map(|(used, step)| match step {
                Step::Data(data) => (used, ResponseStep::Data(data)),
                Step::NeedMore => (used, ResponseStep::NeedMore),
                Step::End | Step::Head | Step::Paused => {
                    self.reading = Reading::Done;
                    (used, ResponseStep::End)
                }
            }),
            Reading::UntilClose if input.is_empty() => Ok((0, ResponseStep::NeedMore)),
            Reading::UntilClose => Ok((input.len(), ResponseStep::Data(input))),
            Reading::Done | Reading::Closed => return Ok((0, ResponseStep::Paused)),
            Reading::Broken(error) => return Err(*error),
        };
        result.inspect_err(|error| self.refuse(*error))
    }

    /// The peer will send no more. Call it once [`next`](Self::next) has answered [`ResponseStep::NeedMore`], or
    /// [`ResponseStep::Paused`] with no input left. If it says that this was in order, call `next` once more: a
    /// response without framing ends here, and says so with [`ResponseStep::End`]. (That nothing of it is missing
    /// nobody can know.)
    ///
    /// # Errors
    ///
    /// [`PeerError::NoResponse`] if none had begun, so that the request may be sent again where its method allows that
    /// (RFC 9112, 9.3.1). [`PeerError::Truncated`] if it stopped in the middle. After a fault, that fault.
    pub fn eof(&mut self) -> Result<(), PeerError> {
        self.close_after_this();
        let fault = match &self.reading {
            Reading::Broken(error) => *error,
            Reading::Head(scan) if !scan.has_begun() => PeerError::NoResponse,
            Reading::UntilClose | Reading::Body(Framing::Length(0)) => {
                self.reading = Reading::Body(Framing::Length(0));
                return Ok(());
            }
            Reading::Head(_) | Reading::Body(_) => PeerError::Truncated,
            Reading::Idle | Reading::Done | Reading::Closed => {
                self.reading = Reading::Closed;
                return Ok(());
            }
        };
        self.refuse(fault);
        Err(fault)
    }

    /// Read no further because of `fault`, which only the caller can see: [`PeerError::TooSlow`],
    /// [`PeerError::BodyTooLarge`]. Does nothing if there was a fault before.
    #[cold]
    pub fn refuse(&mut self, fault: PeerError) {
        if !matches!(self.reading, Reading::Broken(_)) {
            self.reading = Reading::Broken(fault);
            self.close_after_this();
        }
    }

    /// Whether the body should wait: the peer was asked whether it wants it, and has neither said `100 Continue` nor
    /// answered. Not for ever: it may never say so (RFC 9110, 10.1.1). A final answer settles it too; then send the
    /// body all the same, or [`close_after_this`](Self::close_after_this).
    pub fn waits_for_continue(&self) -> bool {
        self.exchange.waits_for_continue
    }

    /// Whether no exchange is under way: the keep-alive deadline runs, and the connection may be closed at any time.
    pub fn is_idle(&self) -> bool {
        matches!(self.reading, Reading::Idle)
    }

    /// Whether a response is due and nothing of it has come, not even an interim one.
    pub fn is_waiting(&self) -> bool {
        matches!(&self.reading, Reading::Head(scan) if !scan.has_begun())
    }

    /// Whether the request's head has been written and its end has not.
    pub fn is_writing_body(&self) -> bool {
        matches!(self.writing, Writing::Body(_))
    }

    /// The connection closes when the exchange at hand is over. Called before [`request`](Self::request), the request
    /// says so.
    pub fn close_after_this(&mut self) {
        self.persist = self.persist.max(Persist::Close);
    }

    /// Where the connection stands: whether another exchange may follow, its bytes belong to another protocol, or it
    /// is to be closed. [`After::NextExchange`] as well if none is under way.
    ///
    /// A response may be complete before its request is. Then this answers [`After::NotYet`] until
    /// [`end`](Self::end), or [`After::Close`] if either side wants to close: what is left of the body is then not to
    /// be sent any more (RFC 9112, 9.3 and 9.6).
    pub fn after(&mut self) -> After {
        match (&self.reading, &self.writing, self.persist) {
            (Reading::Done, Writing::Sent, Persist::KeepAlive) => {
                *self = Self {
                    is_peer_http10: self.is_peer_http10,
                    ..Self::new()
                };
                After::NextExchange
            }
            (Reading::Done | Reading::Closed, Writing::Sent, Persist::Upgrade) => After::Upgraded,
            (Reading::Done, _, Persist::Close) | (Reading::Broken(_) | Reading::Closed, ..) => {
                After::Close
            }
            (Reading::Idle, ..) => After::NextExchange,
            _ => After::NotYet,
        }
    }

    /// A head was read: what follows it (RFC 9112, 6.3).
    fn begin(&mut self, head: &IncomingResponse) -> Result<ResponseStep<'static>, PeerError> {
        let Reading::Head(scan) = self.reading else {
            unreachable!("a head was read");
        };
        self.is_peer_http10 = head.version() == Version::Http10;
        if head.is_interim() {
            self.exchange.waits_for_continue &= head.status() != 100;
            self.reading = Reading::Head(scan.behind_interim());
            return Ok(ResponseStep::Interim);
        }
        self.exchange.waits_for_continue = false;
        if !head.keep_alive() {
            self.close_after_this();
        }
        let none = Reading::Body(Framing::Length(0));
        self.reading = match (self.exchange.method, head.status()) {
            (_, 101) if !self.exchange.offers_upgrade => return Err(PeerError::UnofferedUpgrade),
            (_, 101) | (Method::Connect, 200..=299) => {
                self.persist = Persist::Upgrade;
                none
            }
            (Method::Head, _) | (_, 204 | 304) => none,
            _ if head.is_chunked() => Reading::Body(Framing::Chunked(Chunks::new())),
            _ => match head.content_length() {
                Some(length) => Reading::Body(Framing::Length(length)),
                None => {
                    self.close_after_this();
                    Reading::UntilClose
                }
            },
        };
        Ok(ResponseStep::Head)
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}
