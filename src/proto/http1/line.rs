//! The rules for one line of a head, and what a field means for its message.
//!
//! Everything here looks at one finished line, its CRLF taken off, and at [`Seen`], the little that must be remembered
//! from the lines before it. So a head can be judged line by line as it comes in, each line once.

use super::error::PeerError;
use super::head::{Method, Span, Version};
use super::percent::hex_digit;

/// The parts of a request line. Spans count from the line's first byte.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RequestLine {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) method_text: Span,
    pub(super) target: Span,
    /// Empty where the target has no path of its own.
    pub(super) path: Span,
    /// Behind the `?`, if there is one.
    pub(super) query: Option<Span>,
    /// The host and port that the target itself names.
    pub(super) authority: Option<Span>,
}

impl RequestLine {
    pub(super) const EMPTY: Self = Self {
        method: Method::Other,
        version: Version::Http11,
        method_text: Span::EMPTY,
        target: Span::EMPTY,
        path: Span::EMPTY,
        query: None,
        authority: None,
    };

    /// Read a request line (RFC 9112, 3), its CRLF taken off.
    pub(super) fn read(line: &[u8]) -> Result<Self, PeerError> {
        if line.contains(&b'\r') {
            return Err(PeerError::BareCr);
        }
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(PeerError::BadRequestLine);
        };
        if !is_token(method) {
            return Err(PeerError::BadMethod);
        }
        let version = match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err(PeerError::VersionNotSupported);
            }
            _ => return Err(PeerError::BadVersion),
        };
        Self::new(method, target, version)
    }

    /// The request line of these three words; `method` is known to be a token, `target` is judged here.
    #[inline]
    pub(super) fn new(method: &[u8], target: &[u8], version: Version) -> Result<Self, PeerError> {
        let method_text = Span::new(0, method.len());
        let method = Method::from_bytes(method);
        let at = method_text.end() + 1;
        // RFC 9112, 3.2: a fragment is never sent. Bytes outside visible ASCII are refused; characters that a URI
        // should have encoded (`|`, `"`, braces) come from real browsers and mean nothing to framing.
        let is_sendable = |byte: u8| matches!(byte, b'!'..=b'~') && byte != b'#';
        if !all(target, is_sendable) {
            return Err(PeerError::BadTarget);
        }
        let question = target.iter().position(|byte| *byte == b'?');
        let path_end = question.unwrap_or(target.len());
        // Where the path begins, and the authority before it.
        let (path_start, authority) = match (method, target) {
            (Method::Connect, _) if is_authority(target, Port::Required) => {
                (path_end, Some((0, target.len())))
            }
            (Method::Connect, _) => return Err(PeerError::BadTarget),
            (_, [b'/', ..]) | (Method::Options, b"*") => (0, None),
            _ => {
                let start = scheme_len(target).ok_or(PeerError::BadTarget)?;
                let behind = &target[start..path_end];
                let end = start
                    + behind
                        .iter()
                        .position(|byte| *byte == b'/')
                        .unwrap_or(behind.len());
                if !is_authority(&target[start..end], Port::Optional) {
                    return Err(PeerError::BadTarget);
                }
                (end, Some((start, end)))
            }
        };
        Ok(Self {
            method,
            version,
            method_text,
            target: Span::new(at, at + target.len()),
            path: Span::new(at + path_start, at + path_end),
            query: question.map(|question| Span::new(at + question + 1, at + target.len())),
            authority: authority.map(|(start, end)| Span::new(at + start, at + end)),
        })
    }
}

/// The name and value of a field line (RFC 9112, 5), its CRLF taken off; spans count from the line's first byte.
pub(super) fn read_field(line: &[u8]) -> Result<(Span, Span), PeerError> {
    if is_blank(line[0]) {
        return Err(PeerError::ObsFold);
    }
    if line.contains(&b'\r') {
        return Err(PeerError::BareCr);
    }
    let colon = line
        .iter()
        .position(|byte| *byte == b':')
        .ok_or(PeerError::NoColon)?;
    let name = &line[..colon];
    if name.last().is_some_and(|last| is_blank(*last)) {
        return Err(PeerError::SpaceBeforeColon);
    }
    if !is_token(name) {
        return Err(PeerError::BadFieldName);
    }
    let is_text = |byte: u8| matches!(byte, b'\t' | b' '..=0x7e | 0x80..);
    let value = &line[colon + 1..];
    if !all(value, is_text) {
        return Err(PeerError::BadFieldValue);
    }
    let start = value
        .iter()
        .position(|byte| !is_blank(*byte))
        .unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(|byte| !is_blank(*byte))
        .map_or(start, |last| last + 1);
    Ok((
        Span::new(0, colon),
        Span::new(colon + 1 + start, colon + 1 + end),
    ))
}

/// What a field says about its message, where that matters to framing or to the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    /// Nothing that concerns us.
    Plain,
    Host,
    Length(u64),
    Chunked,
    Connection(Options),
    Continue,
    Upgrade,
}

/// The connection options that we know (RFC 9110, 7.6.1).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Options {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
}

/// What must be remembered of the lines before to judge the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    version: Version,
    host: bool,
    length: bool,
    transfer_encoding: bool,
}

impl Seen {
    /// Behind a request line of `version`.
    pub(super) const fn request_line(version: Version) -> Self {
        Self {
            version,
            host: false,
            length: false,
            transfer_encoding: false,
        }
    }

    /// The next field, in the order of the head. Told apart by length first: most fields are none of these.
    #[inline]
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) -> Result<Meaning, PeerError> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value),
            6 if name.eq_ignore_ascii_case(b"expect") => self.expect(value),
            7 if name.eq_ignore_ascii_case(b"upgrade") => Ok(Meaning::Upgrade),
            10 if name.eq_ignore_ascii_case(b"connection") => {
                Ok(Meaning::Connection(connection_options(value)))
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(value),
            _ => Ok(Meaning::Plain),
        }
    }

    /// The end of the head.
    #[inline]
    pub(super) fn end(&self) -> Result<(), PeerError> {
        if self.version == Version::Http11 && !self.host {
            Err(PeerError::NoHost)
        } else {
            Ok(())
        }
    }

    fn host(&mut self, value: &[u8]) -> Result<Meaning, PeerError> {
        if self.host {
            return Err(PeerError::TwoHosts);
        }
        self.host = true;
        if is_authority(value, Port::Optional) {
            Ok(Meaning::Host)
        } else {
            Err(PeerError::BadHost)
        }
    }

    fn length(&mut self, value: &[u8]) -> Result<Meaning, PeerError> {
        if self.transfer_encoding {
            return Err(PeerError::LengthAndChunked);
        }
        // RFC 9110, 8.6 allows a list of equal lengths to be mended; whoever sends one has been attacked or attacks.
        if self.length || value.contains(&b',') {
            return Err(PeerError::TwoLengths);
        }
        self.length = true;
        // `str::parse` would take a sign.
        let digit = |length: u64, byte: &u8| match byte {
            b'0'..=b'9' => length.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
            _ => None,
        };
        match value.iter().try_fold(0, digit) {
            Some(length) if !value.is_empty() => Ok(Meaning::Length(length)),
            _ => Err(PeerError::BadLength),
        }
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<Meaning, PeerError> {
        if self.version == Version::Http10 {
            return Err(PeerError::ChunkedInHttp10);
        }
        if self.length {
            return Err(PeerError::LengthAndChunked);
        }
        if self.transfer_encoding {
            return Err(PeerError::BadTransferEncoding);
        }
        self.transfer_encoding = true;
        if value.eq_ignore_ascii_case(b"chunked") {
            return Ok(Meaning::Chunked);
        }
        // RFC 9112, 6.3: without chunked at the end the length cannot be known (400); with it and other codings before
        // it the message is sound, and we merely cannot read it (501; RFC 9112, 6.1).
        let mut codings = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
        if codings.next_back().is_some_and(is_chunked)
            && codings.all(|coding| is_token(coding) && !is_chunked(coding))
        {
            Err(PeerError::UnknownTransferCoding)
        } else {
            Err(PeerError::BadTransferEncoding)
        }
    }

    fn expect(&self, value: &[u8]) -> Result<Meaning, PeerError> {
        // RFC 9110, 10.1.1: HTTP/1.0 has no expectations, and we must ignore what looks like one.
        if self.version == Version::Http10 {
            return Ok(Meaning::Plain);
        }
        // RFC 9110, 5.6.1.2: empty elements of a list are read over.
        let mut expectations = value
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|expectation| !expectation.is_empty());
        expectations.try_fold(Meaning::Plain, |_, expectation| {
            match expectation.eq_ignore_ascii_case(b"100-continue") {
                true => Ok(Meaning::Continue),
                false => Err(PeerError::UnknownExpectation),
            }
        })
    }
}

/// Whether a trailer field of this `name` would change what the head has settled: framing, routing, or the connection
/// (RFC 9110, 6.5.1).
pub(super) fn is_forbidden_in_trailers(name: &[u8]) -> bool {
    [
        "content-length",
        "transfer-encoding",
        "host",
        "connection",
        "upgrade",
        "expect",
        "te",
        "trailer",
    ]
    .iter()
    .any(|forbidden| name.eq_ignore_ascii_case(forbidden.as_bytes()))
}

fn connection_options(value: &[u8]) -> Options {
    let mut options = Options::default();
    for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        match option.len() {
            5 => options.close |= option.eq_ignore_ascii_case(b"close"),
            10 => options.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive"),
            7 => options.upgrade |= option.eq_ignore_ascii_case(b"upgrade"),
            _ => {}
        }
    }
    options
}

/// How many bytes of `target` its scheme takes, `://` included. We serve two.
fn scheme_len(target: &[u8]) -> Option<usize> {
    let is_scheme = |len: usize, scheme: &[u8]| {
        target
            .get(..len)
            .is_some_and(|front| front.eq_ignore_ascii_case(scheme))
    };
    if is_scheme(7, b"http://") {
        Some(7)
    } else if is_scheme(8, b"https://") {
        Some(8)
    } else {
        None
    }
}

/// Whether an authority must name its port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Port {
    Optional,
    Required,
}

/// Whether `text` is a host that is not empty, then perhaps a port (RFC 3986, 3.2.2 and 3.2.3). User information is
/// refused: RFC 9110, 4.2.4.
fn is_authority(text: &[u8], port: Port) -> bool {
    let host_len = match text {
        [b'[', inside @ ..] => match inside.iter().position(|byte| *byte == b']') {
            Some(len) if len > 0 && inside[..len].iter().all(|byte| is_ipv6_byte(*byte)) => len + 2,
            _ => return false,
        },
        _ => match reg_name_len(text) {
            Some(len) if len > 0 => len,
            _ => return false,
        },
    };
    match &text[host_len..] {
        [] => port == Port::Optional,
        [b':'] => port == Port::Optional,
        [b':', digits @ ..] => {
            let digit = |port: u32, byte: &u8| {
                byte.is_ascii_digit()
                    .then(|| port * 10 + u32::from(byte - b'0'))
                    .filter(|port| *port <= 65_535)
            };
            digits.iter().try_fold(0, digit).is_some()
        }
        _ => false,
    }
}

/// How far the registered name or IPv4 address at the front reaches: to the end or to a colon.
fn reg_name_len(text: &[u8]) -> Option<usize> {
    let mut index = 0;
    while let Some(&byte) = text.get(index) {
        match byte {
            byte if REG_NAME[byte as usize] => index += 1,
            b':' => break,
            b'%' => {
                hex_digit(*text.get(index + 1)?)?;
                hex_digit(*text.get(index + 2)?)?;
                index += 3;
            }
            _ => return None,
        }
    }
    Some(index)
}

/// Whether every byte is of a kind. `Iterator::all` may stop early, so it goes byte by byte; this goes sixteen at a
/// time.
#[inline]
pub(super) fn all(bytes: &[u8], is: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |all, byte| all & is(*byte))
}

fn is_ipv6_byte(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether `text` is a token (RFC 9110, 5.6.2): one or more characters of names.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_token_byte(*byte))
}

#[inline]
pub(super) fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

const TOKEN: [bool; 256] = letters_and(b"!#$%&'*+-.^_`|~");
/// Unreserved characters and sub-delimiters of RFC 3986.
const REG_NAME: [bool; 256] = letters_and(b"-._~!$&'()*+,;=");

/// ASCII letters and digits, and `others`.
const fn letters_and(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
}
