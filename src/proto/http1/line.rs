//! The rules for one line of a head, and what a field means for its message.
//!
//! Everything here looks at one finished line, its CRLF taken off, and at [`Seen`], the little that must be remembered
//! from the lines before it. So a head can be judged line by line as it comes in, each line once.

use std::hint::cold_path;

use super::error::PeerError;
use super::head::{Method, Span, Version};
use super::percent::hex_digit;
use super::swar;

/// The parts of a request line. Spans count from the line's first byte.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RequestLine {
    pub(super) method: Method,
    pub(super) version: Version,
    /// The target names `https` as its scheme.
    pub(super) is_https: bool,
    pub(super) method_text: Span,
    pub(super) target: Span,
    /// Empty where the target has no path of its own. A query stands behind it, up to the target's end.
    pub(super) path: Span,
    /// The host and port that the target itself names; empty where it names none.
    pub(super) authority: Span,
}

impl RequestLine {
    pub(super) const EMPTY: Self = Self {
        method: Method::Other,
        version: Version::Http11,
        is_https: false,
        method_text: Span::EMPTY,
        target: Span::EMPTY,
        path: Span::EMPTY,
        authority: Span::EMPTY,
    };

    /// The request line (RFC 9112, 3) at the front of `input`, and how many bytes it takes with its CRLF. `None` if it
    /// is incomplete or at fault.
    #[inline(always)]
    pub(super) fn read(input: &[u8]) -> Option<(Self, usize)> {
        let (method, method_len) = if input.starts_with(b"GET ") {
            (Method::Get, b"GET".len())
        } else {
            cold_path();
            let name = &input[..front_len(input, &TOKEN)];
            (Method::from_bytes(name), name.len())
        };
        let (b' ', behind) = input[method_len..].split_first()? else {
            return None;
        };
        // RFC 9112, 3.2: a fragment is never sent. Bytes outside visible ASCII are refused; characters that a URI
        // should have encoded (`|`, `"`, braces) come from real browsers and mean nothing to framing.
        let path_len = front_len(behind, &PATH);
        let mut target_len = path_len;
        if behind.get(path_len) == Some(&b'?') {
            cold_path();
            target_len += front_len(&behind[path_len..], &TARGET);
        }
        let (target, behind) = behind.split_at(target_len);
        let Some((ending, _)) = behind.split_first_chunk() else {
            cold_path();
            return None;
        };
        let version = if ending == b" HTTP/1.1\r\n" {
            Version::Http11
        } else {
            cold_path();
            match ending {
                b" HTTP/1.0\r\n" => Version::Http10,
                _ => return None,
            }
        };
        if method_len == 0 {
            return None;
        }
        let line = Self::new(method, method_len, target, path_len, version)?;
        Some((line, method_len + 1 + target_len + ending.len()))
    }

    /// The request line of these words; `method` is known to be a token, `target` is judged here.
    pub(super) fn of_words(method: &[u8], target: &[u8], version: Version) -> Option<Self> {
        let path_len = front_len(target, &PATH);
        let target_len = path_len + front_len(&target[path_len..], &TARGET);
        let method_len = method.len();
        let method = Method::from_bytes(method);
        let is_sendable = target_len == target.len();
        is_sendable.then(|| Self::new(method, method_len, target, path_len, version))?
    }

    /// The request line of these words; each is known to hold only what it may. `path_len`: where the query begins.
    #[inline(always)]
    fn new(
        method: Method,
        method_len: usize,
        target: &[u8],
        path_len: usize,
        version: Version,
    ) -> Option<Self> {
        // Where the authority lies in the target; the path begins where it ends.
        let (start, end) = if target.first() == Some(&b'/') && method != Method::Connect {
            (0, 0)
        } else {
            cold_path();
            match target {
                b"*" if method == Method::Options => (0, 0),
                _ => authority(method, target, path_len)?,
            }
        };
        let at = method_len + 1;
        Some(Self {
            method,
            version,
            is_https: start == HTTPS.len(),
            method_text: Span::new(0, method_len),
            target: Span::new(at, at + target.len()),
            path: Span::new(at + end, at + path_len),
            authority: Span::new(at + start, at + end),
        })
    }
}

/// Where the authority begins and ends in a target that has one: CONNECT's, or one in absolute form (RFC 9112, 3.2).
/// `None` if there is none, or it is at fault.
#[cold]
fn authority(method: Method, target: &[u8], path_len: usize) -> Option<(usize, usize)> {
    let (start, end, port) = if method == Method::Connect {
        (0, target.len(), Port::Required)
    } else {
        let start = scheme_len(target)?;
        let behind = &target[start..path_len];
        let len = swar::find(behind, b'/').unwrap_or(behind.len());
        (start, start + len, Port::Optional)
    };
    is_authority(&target[start..end], port).then_some((start, end))
}

/// Which fault of a complete request line that [`RequestLine::read`] does not take comes first; its CRLF is taken off.
#[cold]
pub(super) fn fault_of_request_line(line: &[u8]) -> PeerError {
    if line.contains(&b'\r') {
        return PeerError::BareCr;
    }
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(_), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return PeerError::BadRequestLine;
    };
    if !is_token(method) {
        return PeerError::BadMethod;
    }
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => PeerError::BadTarget,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            PeerError::VersionNotSupported
        }
        _ => PeerError::BadVersion,
    }
}

/// A field line (RFC 9112, 5).
pub(super) struct FieldLine<'i> {
    pub(super) name: &'i [u8],
    /// What stands between the colon and the CRLF.
    pub(super) text: &'i [u8],
}

impl<'i> FieldLine<'i> {
    /// The line at the front of `input`. `None` if it is incomplete or at fault.
    #[inline(always)]
    pub(super) fn read(input: &'i [u8]) -> Option<Self> {
        let (name, behind) = input.split_at(front_len(input, &TOKEN));
        let (b':', behind) = behind.split_first()? else {
            return None;
        };
        let (text, ending) = behind.split_at(swar::field_text_len(behind));
        let is_whole = ending.starts_with(b"\r\n") && !name.is_empty();
        is_whole.then_some(Self { name, text })
    }

    /// How many bytes it takes, its CRLF included.
    pub(super) fn len(&self) -> usize {
        self.name.len() + self.text.len() + b":\r\n".len()
    }

    /// The value, without the blanks around it: what else ASCII calls white space cannot stand there.
    pub(super) fn value(&self) -> &'i [u8] {
        self.text.trim_ascii()
    }
}

/// Which fault of a complete field line that [`FieldLine::read`] does not take comes first; its CRLF is taken off.
#[cold]
pub(super) fn fault_of_field(line: &[u8]) -> PeerError {
    if line.first().is_some_and(|first| is_blank(*first)) {
        return PeerError::ObsFold;
    }
    if line.contains(&b'\r') {
        return PeerError::BareCr;
    }
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return PeerError::NoColon;
    };
    let name = &line[..colon];
    if name.last().is_some_and(|last| is_blank(*last)) {
        PeerError::SpaceBeforeColon
    } else if !is_token(name) {
        PeerError::BadFieldName
    } else {
        PeerError::BadFieldValue
    }
}

/// The fields that concern us.
#[derive(Clone, Copy)]
pub(super) enum Known {
    Host,
    Expect,
    Upgrade,
    Connection,
    ContentLength,
    TransferEncoding,
}

impl Known {
    /// Told apart by length first: most fields are none of these.
    #[inline(always)]
    pub(super) fn by_name(name: &[u8]) -> Option<Self> {
        Some(match name.len() {
            4 if is_name(name, b"host") => Self::Host,
            6 if is_name(name, b"expect") => Self::Expect,
            7 if is_name(name, b"upgrade") => Self::Upgrade,
            10 if is_name(name, b"connection") => Self::Connection,
            14 if is_name(name, b"content-length") => Self::ContentLength,
            17 if is_name(name, b"transfer-encoding") => Self::TransferEncoding,
            _ => return None,
        })
    }
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

impl Options {
    /// The options of several lines are one list (RFC 9110, 5.3).
    pub(super) fn add(&mut self, more: Self) {
        self.close |= more.close;
        self.keep_alive |= more.keep_alive;
        self.upgrade |= more.upgrade;
    }
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

    /// The next field, in the order of the head.
    #[inline(always)]
    pub(super) fn field(&mut self, field: &FieldLine<'_>) -> Result<Meaning, PeerError> {
        match Known::by_name(field.name) {
            Some(known) => self.judge(known, field.value()),
            None => Ok(Meaning::Plain),
        }
    }

    /// What a field that concerns us says, by its value without the blanks around it.
    #[inline(never)]
    pub(super) fn judge(&mut self, field: Known, value: &[u8]) -> Result<Meaning, PeerError> {
        match field {
            Known::Host => self.host(value),
            Known::Expect => self.expect(value),
            Known::Upgrade => Ok(Meaning::Upgrade),
            Known::Connection => Ok(Meaning::Connection(connection_options(value))),
            Known::ContentLength => self.length(value),
            Known::TransferEncoding => self.transfer_encoding(value),
        }
    }

    /// The first field is `Host`, in words that were found good in another head.
    pub(super) fn host_again(&mut self) {
        self.host = true;
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

    #[inline(always)]
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
        if self.length {
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
            _ if value.contains(&b',') => Err(PeerError::TwoLengths),
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

const HTTP: &[u8] = b"http://";
const HTTPS: &[u8] = b"https://";

/// How many bytes of `target` its scheme takes, `://` included. We serve two.
fn scheme_len(target: &[u8]) -> Option<usize> {
    let is_of = |scheme: &&[u8]| {
        target
            .get(..scheme.len())
            .is_some_and(|front| front.eq_ignore_ascii_case(scheme))
    };
    [HTTP, HTTPS].into_iter().find(is_of).map(<[u8]>::len)
}

/// Whether an authority must name its port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Port {
    Optional,
    Required,
}

/// Whether `text` is a host that is not empty, then perhaps a port (RFC 3986, 3.2.2 and 3.2.3). User information is
/// refused: RFC 9110, 4.2.4.
#[inline(always)]
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
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit) && is_port(digits),
        _ => false,
    }
}

/// Whether a number is a port's: up to 65,535.
#[inline(always)]
fn is_port(digits: &[u8]) -> bool {
    let tens = |number: u32, digit: &u8| {
        Some(number * 10 + u32::from(digit - b'0')).filter(|number| *number <= 65_535)
    };
    digits.len() < 5 || digits.iter().try_fold(0, tens).is_some()
}

/// How far the registered name or IPv4 address at the front reaches. `None` for a `%` without its two digits.
#[inline(always)]
fn reg_name_len(text: &[u8]) -> Option<usize> {
    let mut len = front_len(text, &REG_NAME);
    while text.get(len) == Some(&b'%') {
        hex_digit(*text.get(len + 1)?)?;
        hex_digit(*text.get(len + 2)?)?;
        len += 3;
        len += front_len(&text[len..], &REG_NAME);
    }
    Some(len)
}

fn is_ipv6_byte(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether the token `name` is `lower`, of letters and hyphens, in any case: in letters the bit 0x20 is the case, and
/// no other character of a token becomes a letter or a hyphen by it.
#[inline(always)]
fn is_name<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    const { assert!(N >= 4 && N <= 24) };
    let Some(name) = name.as_array::<N>() else {
        return false;
    };
    // A few words, of which the last overlaps the one before it: so there is no rest.
    let fours = |at: usize| {
        let word = |of: &[u8; N]| of[at..].first_chunk().map(|four| u32::from_ne_bytes(*four));
        word(name).map(|word| word | 0x2020_2020) == word(lower)
    };
    let eights = |at: usize| {
        let word = |of: &[u8; N]| {
            of[at..]
                .first_chunk()
                .map(|eight| u64::from_ne_bytes(*eight))
        };
        word(name).map(|word| word | 0x2020_2020_2020_2020) == word(lower)
    };
    match N {
        ..8 => fours(0) && fours(N - 4),
        8..=16 => eights(0) && eights(N - 8),
        _ => eights(0) && eights(8) && eights(N - 8),
    }
}

/// Whether `text` is a token (RFC 9110, 5.6.2): one or more characters of names.
pub(in crate::proto) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && front_len(text, &TOKEN) == text.len()
}

#[inline]
pub(in crate::proto) fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// How many bytes at the front of `text` are of a kind.
#[inline(always)]
fn front_len(text: &[u8], kind: &[bool; 256]) -> usize {
    let is_other = |byte: &u8| !kind[*byte as usize];
    let mut len = 0;
    // Eight by eight, so that the end is looked for once for all of them.
    while let Some((eight, _)) = text[len..].split_first_chunk::<8>() {
        match eight.iter().position(is_other) {
            Some(place) => return len + place,
            None => len += 8,
        }
    }
    cold_path();
    let place = text[len..].iter().position(is_other);
    place.map_or(text.len(), |place| len + place)
}

const TOKEN: [bool; 256] = letters_and(b"!#$%&'*+-.^_`|~");
/// Unreserved characters and sub-delimiters of RFC 3986.
const REG_NAME: [bool; 256] = letters_and(b"-._~!$&'()*+,;=");
/// Visible ASCII but `#`.
const TARGET: [bool; 256] = letters_and(b"!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~");
/// The same but `?`, which begins the query.
const PATH: [bool; 256] = letters_and(b"!\"$%&'()*+,-./:;<=>@[\\]^_`{|}~");

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_name_is_known_in_any_case_and_nothing_else_is_taken_for_it() {
        let names = [
            "host",
            "expect",
            "upgrade",
            "connection",
            "content-length",
            "transfer-encoding",
        ];
        let is_known = |name: &[u8]| Known::by_name(name).is_some();
        for name in names {
            assert!(is_known(name.as_bytes()) && is_known(name.to_uppercase().as_bytes()));
            let (shorter, longer) = (&name[1..], format!("{name}s"));
            assert!(!is_known(shorter.as_bytes()) && !is_known(longer.as_bytes()));
            for place in 0..name.len() {
                for byte in (0..=255).filter(|byte| is_token_byte(*byte)) {
                    let mut other = name.as_bytes().to_vec();
                    other[place] = byte;
                    let is_same = other.eq_ignore_ascii_case(name.as_bytes());
                    assert_eq!(is_known(&other), is_same, "{}", other.escape_ascii());
                }
            }
        }
    }
}
