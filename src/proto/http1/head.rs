//! The head of a request: its bytes, and where in them each part lies.
//!
//! A head is read line by line, by the rules in `line.rs`, and kept as its bytes and where its lines begin. One that is
//! all there is read in one stroke. Of one that comes in pieces each line is judged once, as soon as it is complete,
//! and when the last has come all are read. A head with a fault is judged as if it had come in pieces: whatever the
//! cuts, the first offending line decides.

use std::fmt;
use std::hint::cold_path;

use super::error::PeerError;
use super::line::{self, FieldLine, Known, Meaning, Options, RequestLine, Seen};
use super::swar;

/// Bounds on what is read before a handler sees anything. Hitting one is the peer's error, with its own name and
/// status.
///
/// A bound is reached at the same byte however the input was cut. Bounds above 2^31 bytes count as 2^31.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    /// Request line and fields together, line ends included. Default 16 KiB, as Node's; else 431. Of a response, the
    /// interim ones before it count too, so that they cannot come without end.
    pub head_bytes_max: usize,
    /// One line, its CRLF included. Default 8 KiB, as nginx's buffers; else 414 for the request line, 431 for a field.
    pub line_bytes_max: usize,
    /// Fields in a head. Default 100, as hyper's; else 431.
    pub fields_max: usize,
    /// Extension bytes of one chunk. Default 256: nobody uses them but attackers (CVE-2023-39326); else 400.
    pub chunk_extension_bytes_max: usize,
    /// Extension bytes of all chunks of a message. Default 16 KiB, as Node's (CVE-2024-22019); else 400.
    pub chunk_extensions_bytes_max: usize,
    /// The trailer section, line ends included. Default 8 KiB; else 431.
    pub trailer_bytes_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            head_bytes_max: 16 * 1024,
            line_bytes_max: 8 * 1024,
            fields_max: 100,
            chunk_extension_bytes_max: 256,
            chunk_extensions_bytes_max: 16 * 1024,
            trailer_bytes_max: 8 * 1024,
        }
    }
}

/// The version of a request. Ours is always 1.1 (RFC 9110, 2.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Version {
    /// HTTP/1.0: no chunks, no expectations, and the connection closes unless the peer asks for more.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A request's method (RFC 9110, 9.3; PATCH: RFC 5789). Case matters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`: the answer has no body.
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// `PATCH`
    Patch,
    /// `CONNECT`: the target is a host and a port.
    Connect,
    /// `TRACE`
    Trace,
    /// Any other; [`RequestHead::method_str`] has its name.
    Other,
}

impl Method {
    /// The method of this name.
    #[inline(always)]
    pub fn from_bytes(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"PATCH" => Self::Patch,
            b"CONNECT" => Self::Connect,
            b"TRACE" => Self::Trace,
            _ => Self::Other,
        }
    }

    /// The method's name; empty for [`Method::Other`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Connect => "CONNECT",
            Self::Trace => "TRACE",
            Self::Other => "",
        }
    }
}

/// Where a part lies in the bytes of a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(super) const EMPTY: Self = Self { start: 0, end: 0 };

    /// Heads are bounded far below 4 GiB.
    #[inline]
    pub(super) const fn new(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    pub(super) const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    #[inline]
    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }
}

/// The head of a request, owned: the bytes as they were sent, and where in them its lines begin. Cleared and filled
/// again it allocates nothing, so one can serve a connection, or a pool of them a loop.
///
/// ```
/// use tourbillon::proto::http1::{Method, RequestHead};
/// let head = RequestHead::build("GET", "/users/7?full", &[("Accept", "text/html")])?;
/// assert_eq!(head.method(), Method::Get);
/// assert_eq!((head.path(), head.query()), ("/users/7", Some("full")));
/// assert_eq!(head.header("accept"), Some("text/html"));
/// # Ok::<(), tourbillon::proto::http1::PeerError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RequestHead {
    bytes: Vec<u8>,
    /// Where each field line begins. What in it is name and what value is seen when somebody asks.
    fields: Vec<u32>,
    line: RequestLine,
    /// The lines of these two fields, their ends included.
    host: Span,
    upgrade: Span,
    content_length: Option<u64>,
    is_chunked: bool,
    expects_continue: bool,
    options: Options,
}

impl RequestHead {
    /// An empty head: no method, no target, no field, no allocation.
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            fields: Vec::new(),
            line: RequestLine::EMPTY,
            host: Span::EMPTY,
            upgrade: Span::EMPTY,
            content_length: None,
            is_chunked: false,
            expects_continue: false,
            options: Options {
                close: false,
                keep_alive: false,
                upgrade: false,
            },
        }
    }

    /// The head that a peer would have sent with these words and fields, in HTTP/1.1, for tests of what works on heads.
    /// `Host: localhost` is added if no `Host` is among `fields`.
    ///
    /// # Errors
    ///
    /// Whatever [`Server::next`](super::Server::next) would have found wrong with it under the default limits; a line
    /// break in an argument too, since it would begin another line.
    pub fn build(method: &str, target: &str, fields: &[(&str, &str)]) -> Result<Self, PeerError> {
        let breaks_line = |text: &str| text.contains(['\r', '\n']);
        if breaks_line(method) || breaks_line(target) {
            return Err(PeerError::BadRequestLine);
        }
        if fields
            .iter()
            .any(|(name, value)| breaks_line(name) || breaks_line(value))
        {
            return Err(PeerError::BadFieldValue);
        }
        let mut text = format!("{method} {target} HTTP/1.1\r\n");
        if !fields
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            text.push_str("Host: localhost\r\n");
        }
        for (name, value) in fields {
            for part in [name, ": ", value, "\r\n"] {
                text.push_str(part);
            }
        }
        text.push_str("\r\n");
        let mut head = Self::new();
        match Scan::new().next(text.as_bytes(), &mut head, &HeadLimits::default())? {
            (_, true) => Ok(head),
            (_, false) => Err(PeerError::Truncated),
        }
    }

    /// Forget the request and keep the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
        self.line = RequestLine::EMPTY;
        self.forget_fields();
    }

    /// The method.
    #[inline]
    pub fn method(&self) -> Method {
        self.line.method
    }

    /// The method's name as sent.
    pub fn method_str(&self) -> &str {
        self.text(self.line.method_text)
    }

    /// The target as sent; visible ASCII.
    pub fn target(&self) -> &str {
        self.text(self.line.target)
    }

    /// The target's path, still percent-encoded, without the query: of an absolute-form target its path, `/` if that is
    /// empty; `*` for `OPTIONS *`; empty for CONNECT.
    #[inline]
    pub fn path(&self) -> &str {
        ascii(self.path_bytes())
    }

    /// [`path`](Self::path) as bytes, which costs less: no one checks again that they are text.
    #[inline]
    pub fn path_bytes(&self) -> &[u8] {
        match self.line.path.of(&self.bytes) {
            b"" => self.empty_path(),
            path => path,
        }
    }

    #[cold]
    fn empty_path(&self) -> &[u8] {
        match self.line.method {
            Method::Connect => b"",
            _ => b"/",
        }
    }

    /// What stands behind the target's first `?`, still encoded; see [`query_pairs`](super::query_pairs).
    pub fn query(&self) -> Option<&str> {
        let Span { end: start, .. } = self.line.path;
        let Span { end, .. } = self.line.target;
        let is_there = start < end;
        is_there.then(|| self.text(Span::new(start as usize + 1, end as usize)))
    }

    /// Whether the target is a whole URI under `https`.
    #[inline]
    pub fn is_https(&self) -> bool {
        self.line.is_https
    }

    /// The version.
    #[inline]
    pub fn version(&self) -> Version {
        self.line.version
    }

    /// The value of the first field of this name, whatever its case. `None` as well if the value is not UTF-8; then
    /// [`header_bytes`](Self::header_bytes) has it.
    pub fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.header_bytes(name)?).ok()
    }

    /// The value of the first field of this name, whatever its case, without whitespace around it.
    pub fn header_bytes(&self, name: &str) -> Option<&[u8]> {
        let name = name.as_bytes();
        let has_name = |line: &&[u8]| {
            line.get(name.len()) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name)
        };
        let line = self.lines().find(has_name)?;
        // A name with a colon in it is none.
        let (known, value) = name_and_value(line);
        (known.len() == name.len()).then_some(value)
    }

    /// All fields in the order sent, names as sent.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines().map(|line| {
            let (name, value) = name_and_value(line);
            (ascii(name), value)
        })
    }

    /// The field lines, their ends included.
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let behind_last = self.bytes.len().saturating_sub(b"\r\n".len());
        let starts = self.fields.iter().map(|start| *start as usize);
        let ends = starts.clone().skip(1).chain([behind_last]);
        starts.zip(ends).map(|(start, end)| &self.bytes[start..end])
    }

    /// The host that the request is for, with its port if it has one: the target's own if it names one, else `Host`
    /// (RFC 9112, 3.2.2). Empty if an HTTP/1.0 request names none.
    pub fn host(&self) -> &str {
        match self.text(self.line.authority) {
            "" => ascii(self.value(self.host)),
            authority => authority,
        }
    }

    /// The declared length of the body in bytes.
    #[inline]
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Whether the body comes in chunks.
    #[inline]
    pub fn is_chunked(&self) -> bool {
        self.is_chunked
    }

    /// Whether a body follows. One in chunks may still turn out empty.
    #[inline]
    pub fn has_body(&self) -> bool {
        self.is_chunked || self.content_length.is_some_and(|length| length > 0)
    }

    /// Whether the peer waits for `100 Continue` before it sends the body.
    #[inline]
    pub fn expects_continue(&self) -> bool {
        if !self.expects_continue {
            return false;
        }
        cold_path();
        self.has_body()
    }

    /// Whether the peer wants the connection kept (RFC 9112, 9.3): in HTTP/1.1 unless it says `close`, in HTTP/1.0 only
    /// if it says `keep-alive`.
    #[inline]
    pub fn keep_alive(&self) -> bool {
        !self.options.close && (self.line.version == Version::Http11 || self.options.keep_alive)
    }

    /// The protocols that the peer offers to go over to: the first `Upgrade` field, if `Connection` lists it. `None` in
    /// HTTP/1.0 (RFC 9110, 7.8), and for a request with a body, since two readers may disagree about which protocol the
    /// body belongs to.
    #[inline]
    pub fn upgrade(&self) -> Option<&str> {
        if !self.options.upgrade {
            return None;
        }
        cold_path();
        self.listed_upgrade()
    }

    /// The same when `Connection` lists it.
    #[cold]
    fn listed_upgrade(&self) -> Option<&str> {
        let is_offered =
            self.upgrade != Span::EMPTY && self.line.version == Version::Http11 && !self.has_body();
        is_offered.then(|| std::str::from_utf8(self.value(self.upgrade)).ok())?
    }

    /// The value of the field whose line this is; empty where there is none.
    fn value(&self, line: Span) -> &[u8] {
        match line.of(&self.bytes) {
            [] => &[],
            line => name_and_value(line).1,
        }
    }

    #[inline]
    fn text(&self, span: Span) -> &str {
        ascii(span.of(&self.bytes))
    }

    fn forget_fields(&mut self) {
        self.host = Span::EMPTY;
        self.upgrade = Span::EMPTY;
        self.content_length = None;
        self.is_chunked = false;
        self.expects_continue = false;
        self.options = Options::default();
    }

    /// Keep what the field at `line` says.
    #[inline(always)]
    fn note(&mut self, line: Span, meaning: Meaning) {
        match meaning {
            Meaning::Plain => {}
            Meaning::Host => self.host = line,
            Meaning::Length(length) => self.content_length = Some(length),
            Meaning::Chunked => self.is_chunked = true,
            Meaning::Connection(options) => self.options.add(options),
            Meaning::Continue => self.expects_continue = true,
            // The first.
            Meaning::Upgrade if self.upgrade == Span::EMPTY => self.upgrade = line,
            Meaning::Upgrade => {}
        }
    }

    /// Fill from the front of `input`: how many bytes the head takes. `None` if it is incomplete, at fault, or beyond a
    /// limit: then [`Scan`] says which, and nothing is here.
    ///
    /// The rules for lines are inlined here, and this nowhere: its callers need their registers for other things.
    #[inline(never)]
    fn fill(&mut self, input: &[u8], limits: &HeadLimits) -> Option<usize> {
        let len = self.read(input, limits);
        if len.is_none() {
            cold_path();
            self.clear();
        }
        len
    }

    #[inline(always)]
    fn read(&mut self, input: &[u8], limits: &HeadLimits) -> Option<usize> {
        let host_before = self.host;
        self.fields.clear();
        self.forget_fields();
        let mut at;
        (self.line, at) = RequestLine::read(input)?;
        if at > limits.line_bytes_max {
            cold_path();
            return None;
        }
        let mut seen = Seen::request_line(self.line.version);
        // Host should come first (RFC 9110, 7.2), and nearly every request names it in the words of the one before:
        // what was good then is good now.
        if host_before != Span::EMPTY
            && input[at..].starts_with(host_before.of(&self.bytes))
            && host_before.len() <= limits.line_bytes_max
            && limits.fields_max > 0
        {
            seen.host_again();
            self.fields.push(at as u32);
            self.host = Span::new(at, at + host_before.len());
            at += host_before.len();
        } else {
            cold_path();
        }
        while !input[at..].starts_with(b"\r\n") {
            let field = FieldLine::read(&input[at..])?;
            let len = field.len();
            if len > limits.line_bytes_max || self.fields.len() == limits.fields_max {
                return None;
            }
            self.fields.push(at as u32);
            if let Some(known) = Known::by_name(field.name) {
                let meaning = seen.judge(known, field.value()).ok()?;
                self.note(Span::new(at, at + len), meaning);
            }
            at += len;
        }
        let len = at + 2;
        if len > limits.head_bytes_max || seen.end().is_err() {
            cold_path();
            return None;
        }
        self.bytes.clear();
        self.bytes.extend_from_slice(&input[..len]);
        Some(len)
    }
}

impl Default for RequestHead {
    fn default() -> Self {
        Self::new()
    }
}

/// The name and the value in a field line that was found good, without what stands around them.
fn name_and_value(line: &[u8]) -> (&[u8], &[u8]) {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, behind) = line.split_at(colon.expect("each field line has a colon"));
    (name, behind[1..].trim_ascii())
}

/// The head as text, bytes that are not UTF-8 replaced.
impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestHead")
            .field(&String::from_utf8_lossy(&self.bytes))
            .finish()
    }
}

/// What of a head is text.
fn ascii(text: &[u8]) -> &str {
    std::str::from_utf8(text).expect("it was checked to be ASCII")
}

/// How far an incomplete head has been judged. The caller shows the same bytes again, grown; none is judged twice, so a
/// head that comes byte by byte costs what one in a piece costs (CVE-2023-43669 is the quadratic way).
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan {
    /// Where the line begins that is not complete yet.
    line_start: u32,
    /// How many bytes have been searched for its end.
    searched: u32,
    fields: u32,
    /// Set with the request line.
    seen: Option<Seen>,
    skipped_empty_line: bool,
}

impl Scan {
    pub(super) const fn new() -> Self {
        Self {
            line_start: 0,
            searched: 0,
            fields: 0,
            seen: None,
            skipped_empty_line: false,
        }
    }

    /// Whether a byte of a head has been seen. (An empty line before it is none.)
    pub(super) fn has_begun(&self) -> bool {
        self.searched > 0
    }

    /// The head at the front of `input`: how many bytes are used up, and whether `head` has been filled.
    #[inline(always)]
    pub(super) fn next(
        &mut self,
        input: &[u8],
        head: &mut RequestHead,
        limits: &HeadLimits,
    ) -> Result<(usize, bool), PeerError> {
        let skipped = match input {
            [b'\r' | b'\n', ..] => self.skip_empty_line(input)?,
            _ => 0,
        };
        let input = &input[skipped..];
        if input.is_empty() {
            return Ok((skipped, false));
        }
        let len = match self.searched {
            0 => head.fill(input, limits),
            _ => None,
        };
        match len {
            Some(len) => Ok((skipped + len, true)),
            None => match self.next_by_lines(input, head, limits)? {
                Some(len) => Ok((skipped + len, true)),
                None => Ok((skipped, false)),
            },
        }
    }

    /// The empty line that RFC 9112, 2.2 tells servers to skip before a request line, if it stands at the front.
    /// Only one: a peer that went on sending them would never reach the header deadline.
    #[cold]
    fn skip_empty_line(&mut self, input: &[u8]) -> Result<usize, PeerError> {
        match input {
            [b'\n', ..] => Err(PeerError::BareLf),
            [b'\r', b'\n', ..] if self.skipped_empty_line => Err(PeerError::EmptyRequestLine),
            [b'\r', b'\n', rest @ ..] => {
                *self = Self {
                    skipped_empty_line: true,
                    ..Self::new()
                };
                Ok(2 + self.skip_empty_line(rest)?)
            }
            [b'\r', _, ..] => Err(PeerError::BareCr),
            _ => Ok(0),
        }
    }

    #[cold]
    fn next_by_lines(
        &mut self,
        input: &[u8],
        head: &mut RequestHead,
        limits: &HeadLimits,
    ) -> Result<Option<usize>, PeerError> {
        let len = self.judge(input, limits)?;
        if len.is_some() {
            let filled = head.fill(input, limits);
            debug_assert_eq!(filled, len, "what was judged line by line is read so too");
        }
        Ok(len)
    }

    /// Judge the lines that have become complete. What is known at an earlier byte is said first: the first byte, then
    /// a size, then what the whole line says.
    fn judge(&mut self, input: &[u8], limits: &HeadLimits) -> Result<Option<usize>, PeerError> {
        // The one fault seen before a line is complete: a TLS hello has no line ends, and should not wait for a
        // timeout.
        if input
            .first()
            .is_some_and(|first| *first != b'\r' && !line::is_token_byte(*first))
        {
            return Err(PeerError::BadMethod);
        }
        loop {
            let start = self.line_start as usize;
            let from = self.searched as usize;
            let end = swar::find(&input[from..], b'\n').map(|index| from + index + 1);
            self.check_sizes(end.unwrap_or(input.len()), limits)?;
            let Some(end) = end else {
                self.searched = input.len() as u32;
                return Ok(None);
            };
            let whole = &input[start..end];
            let line = whole.strip_suffix(b"\r\n").ok_or(PeerError::BareLf)?;
            match (&mut self.seen, line) {
                (None, line) => {
                    let (line, _) = RequestLine::read(whole)
                        .ok_or_else(|| line::fault_of_request_line(line))?;
                    self.seen = Some(Seen::request_line(line.version));
                }
                (Some(seen), []) => {
                    seen.end()?;
                    return Ok(Some(end));
                }
                (Some(_), _) if self.fields as usize >= limits.fields_max => {
                    return Err(PeerError::TooManyFields);
                }
                (Some(seen), line) => {
                    let field = FieldLine::read(whole).ok_or_else(|| line::fault_of_field(line))?;
                    seen.field(&field)?;
                    self.fields += 1;
                }
            }
            self.line_start = end as u32;
            self.searched = end as u32;
        }
    }

    /// The current line reaches to `end` at least. If it breaks both bounds, the one that it broke first counts.
    fn check_sizes(&self, end: usize, limits: &HeadLimits) -> Result<(), PeerError> {
        const BYTES_MAX: usize = 1 << 31;
        let start = self.line_start as usize;
        let line_end_max = start.saturating_add(limits.line_bytes_max);
        let head_end_max = limits.head_bytes_max.min(BYTES_MAX);
        if end <= line_end_max.min(head_end_max) {
            Ok(())
        } else if head_end_max < line_end_max {
            Err(PeerError::HeadTooLarge)
        } else if start == 0 {
            Err(PeerError::RequestLineTooLong)
        } else {
            Err(PeerError::LineTooLong)
        }
    }
}
