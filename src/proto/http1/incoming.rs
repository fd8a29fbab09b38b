//! The head of a response, as a client reads it: its bytes, and where in them each part lies.
//!
//! Each line is judged once, when it is all there, and moved into the head at once. Heads of responses are not read on
//! a server's busy path, so there is one way to read them, and it is the short one.

use std::fmt;

use super::error::PeerError;
use super::head::{HeadLimits, Method, Span, Version};
use super::line::{self, FieldLine, Meaning, Options, Seen};
use super::swar;

/// The head of a response, owned: the bytes as they were sent, and spans over them. Cleared and filled again it
/// allocates nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct IncomingResponse {
    bytes: Vec<u8>,
    /// Names and values.
    fields: Vec<(Span, Span)>,
    line: StatusLine,
    /// Index of a field.
    upgrade: Option<usize>,
    content_length: Option<u64>,
    is_chunked: bool,
    options: Options,
}

impl IncomingResponse {
    /// An empty head: status 0, no field, no allocation.
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            fields: Vec::new(),
            line: StatusLine::EMPTY,
            upgrade: None,
            content_length: None,
            is_chunked: false,
            options: Options {
                close: false,
                keep_alive: false,
                upgrade: false,
            },
        }
    }

    /// Forget the response and keep the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
        self.line = StatusLine::EMPTY;
        self.upgrade = None;
        self.content_length = None;
        self.is_chunked = false;
        self.options = Options::default();
    }

    /// The status: 100 to 999. One that is not known means what the first of its hundred means, and one above 599 what
    /// 500 means (RFC 9110, 15).
    pub fn status(&self) -> u16 {
        self.line.status
    }

    /// The reason phrase, often empty; bytes that are not UTF-8 replaced. It is for people: no program should care.
    pub fn reason(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.line.reason.of(&self.bytes))
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.line.version
    }

    /// Whether the final response is still to come: 1xx but 101 (RFC 9110, 15.2).
    pub fn is_interim(&self) -> bool {
        matches!(self.line.status, 100 | 102..=199)
    }

    /// The value of the first field of this name, whatever its case. `None` as well if the value is not UTF-8; then
    /// [`header_bytes`](Self::header_bytes) has it.
    pub fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.header_bytes(name)?).ok()
    }

    /// The value of the first field of this name, whatever its case, without whitespace around it.
    pub fn header_bytes(&self, name: &str) -> Option<&[u8]> {
        self.headers()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All fields in the order sent, names as sent.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|(name, value)| {
            let name = std::str::from_utf8(name.of(&self.bytes));
            (
                name.expect("names were checked to be ASCII"),
                value.of(&self.bytes),
            )
        })
    }

    /// The declared length in bytes. Of a response to HEAD and of 304 it is that of a body which does not follow.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Whether chunks are declared.
    pub fn is_chunked(&self) -> bool {
        self.is_chunked
    }

    /// Whether the peer keeps the connection, as far as this head says (RFC 9112, 9.3): in HTTP/1.1 unless it says
    /// `close`, in HTTP/1.0 only if it says `keep-alive`.
    pub fn keep_alive(&self) -> bool {
        !self.options.close && (self.line.version == Version::Http11 || self.options.keep_alive)
    }

    /// The protocols in the first `Upgrade` field, if `Connection` lists it: with 101 the one that is spoken from now
    /// on, with 426 those that the peer wants.
    pub fn upgrade(&self) -> Option<&str> {
        let (_, value) = self.fields[self.upgrade?];
        let is_listed = self.options.upgrade && self.line.version == Version::Http11;
        let text = std::str::from_utf8(value.of(&self.bytes)).ok();
        text.filter(|_| is_listed)
    }

    fn push(&mut self, name: Span, value: Span, meaning: Meaning) {
        match meaning {
            // A response has neither host nor expectation.
            Meaning::Plain | Meaning::Host | Meaning::Continue => {}
            Meaning::Length(length) => self.content_length = Some(length),
            Meaning::Chunked => self.is_chunked = true,
            Meaning::Connection(options) => self.options.add(options),
            Meaning::Upgrade => self.upgrade = self.upgrade.or(Some(self.fields.len())),
        }
        self.fields.push((name, value));
    }
}

impl Default for IncomingResponse {
    fn default() -> Self {
        Self::new()
    }
}

/// The head as text, bytes that are not UTF-8 replaced.
impl fmt::Debug for IncomingResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IncomingResponse")
            .field(&String::from_utf8_lossy(&self.bytes))
            .finish()
    }
}

/// The parts of a status line (RFC 9112, 4).
#[derive(Clone, PartialEq, Eq, Debug)]
struct StatusLine {
    version: Version,
    status: u16,
    reason: Span,
}

impl StatusLine {
    const EMPTY: Self = Self {
        version: Version::Http11,
        status: 0,
        reason: Span::EMPTY,
    };

    /// Read a status line, its CRLF taken off. Old servers leave the space out where no phrase follows, which RFC 9112,
    /// 4 lets us take; nothing else is mended.
    fn read(line: &[u8]) -> Result<Self, PeerError> {
        if line.contains(&b'\r') {
            return Err(PeerError::BareCr);
        }
        let (version, rest) = line.split_at_checked(8).ok_or(PeerError::BadStatusLine)?;
        let version = match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err(PeerError::VersionNotSupported);
            }
            _ => return Err(PeerError::BadStatusLine),
        };
        let [
            b' ',
            hundreds @ b'1'..=b'9',
            tens @ b'0'..=b'9',
            ones @ b'0'..=b'9',
            phrase @ ..,
        ] = rest
        else {
            return Err(PeerError::BadStatusLine);
        };
        let digit = |byte: &u8| u16::from(byte - b'0');
        let reason = match phrase {
            [] => Span::EMPTY,
            [b' ', text @ ..] if swar::is_field_text(text) => {
                Span::new(line.len() - text.len(), line.len())
            }
            _ => return Err(PeerError::BadStatusLine),
        };
        Ok(Self {
            version,
            status: 100 * digit(hundreds) + 10 * digit(tens) + digit(ones),
            reason,
        })
    }
}

/// How far the heads of a response have been read: that of the response itself, and before it those of interim ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResponseScan {
    /// Bytes of the lines that were moved into the head at hand.
    bytes: u32,
    /// Bytes of the interim heads before it.
    bytes_before: u32,
    /// How many bytes of the line at hand have been searched for its end.
    searched: u32,
    /// Set with the status line.
    seen: Option<Seen>,
}

/// With what every status line begins. What begins otherwise is known not to be HTTP before its line ends, if it ever
/// does.
const BEGINNING: &[u8] = b"HTTP/";

impl ResponseScan {
    pub(super) const fn new() -> Self {
        Self {
            bytes: 0,
            bytes_before: 0,
            searched: 0,
            seen: None,
        }
    }

    /// Behind an interim head.
    pub(super) const fn behind_interim(self) -> Self {
        Self {
            bytes_before: self.bytes_before + self.bytes,
            ..Self::new()
        }
    }

    /// Whether a byte of the response has been seen, or of an interim one.
    pub(super) fn has_begun(&self) -> bool {
        self.bytes + self.bytes_before + self.searched > 0
    }

    /// Move the lines at the front of `input` into `head`: how many bytes are used up, and whether it is complete.
    pub(super) fn next(
        &mut self,
        input: &[u8],
        head: &mut IncomingResponse,
        method: Method,
        limits: &HeadLimits,
    ) -> Result<(usize, bool), PeerError> {
        let mut used = 0;
        loop {
            let Some(line_len) = self.line_len(&input[used..], limits)? else {
                self.searched = (input.len() - used) as u32;
                return Ok((used, false));
            };
            let line = &input[used..used + line_len];
            if self.seen.is_none() {
                head.clear();
            }
            assert_eq!(
                head.bytes.len(),
                self.bytes as usize,
                "one head is filled for one response"
            );
            let is_complete = self.read_line(line, head, method, limits)?;
            head.bytes.extend_from_slice(line);
            self.bytes += line_len as u32;
            self.searched = 0;
            used += line_len;
            if is_complete {
                return Ok((used, true));
            }
        }
    }

    /// How long the line at the front of `input` is, its end included, if it is all there. If it breaks both bounds,
    /// the one that it breaks first counts.
    fn line_len(&self, input: &[u8], limits: &HeadLimits) -> Result<Option<usize>, PeerError> {
        const BYTES_MAX: usize = 1 << 31;
        let bytes = (self.bytes + self.bytes_before) as usize;
        let in_head = limits.head_bytes_max.min(BYTES_MAX).saturating_sub(bytes);
        let len_max = in_head.min(limits.line_bytes_max);
        let compared = BEGINNING.len().min(len_max).min(input.len());
        if self.seen.is_none() && input[..compared] != BEGINNING[..compared] {
            return Err(PeerError::BadStatusLine);
        }
        let searched = self.searched as usize;
        let end = swar::find(&input[searched..], b'\n').map(|index| searched + index + 1);
        if end.unwrap_or(input.len()) <= len_max {
            Ok(end)
        } else if in_head < limits.line_bytes_max {
            Err(PeerError::HeadTooLarge)
        } else if self.seen.is_none() {
            Err(PeerError::StatusLineTooLong)
        } else {
            Err(PeerError::LineTooLong)
        }
    }

    /// Read one line and say whether the head is complete.
    fn read_line(
        &mut self,
        whole: &[u8],
        head: &mut IncomingResponse,
        method: Method,
        limits: &HeadLimits,
    ) -> Result<bool, PeerError> {
        let line = whole.strip_suffix(b"\r\n").ok_or(PeerError::BareLf)?;
        match (&mut self.seen, line) {
            (None, line) => {
                head.line = StatusLine::read(line)?;
                self.seen = Some(Seen::request_line(head.line.version));
                Ok(false)
            }
            (Some(_), []) => Ok(true),
            (Some(_), _) if head.fields.len() >= limits.fields_max => Err(PeerError::TooManyFields),
            (Some(seen), line) => {
                let field = FieldLine::read(whole).ok_or_else(|| line::fault_of_field(line))?;
                let is = |known: &[u8]| field.name.eq_ignore_ascii_case(known);
                // RFC 9110, 9.3.6: what a response that grants CONNECT says about length is ignored.
                let is_tunnel = method == Method::Connect && matches!(head.line.status, 200..=299);
                let frames = is(b"content-length") || is(b"transfer-encoding");
                // These two are a request's.
                let meaning = match is(b"host") || is(b"expect") || is_tunnel && frames {
                    true => Meaning::Plain,
                    false => seen.field(&field)?,
                };
                let at = self.bytes as usize;
                let value_at = at + line.len() - field.text.trim_ascii_start().len();
                let name = Span::new(at, at + field.name.len());
                let value = Span::new(value_at, value_at + field.value().len());
                head.push(name, value, meaning);
                Ok(false)
            }
        }
    }
}
