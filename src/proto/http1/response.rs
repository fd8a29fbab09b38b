//! The outgoing half: fields that cannot break out of their line, and the head of a response.

use std::fmt;
use std::hint::cold_path;

use super::date;
use super::error::Misuse;
use super::line::is_token;
use super::status;
use super::swar;

/// Outgoing header fields, kept the way they are sent: one `Name: value` line after the other.
///
/// A field cannot be made to hold a line break or any other control character but the tab, so a value taken from a
/// request cannot add a field or end the head. What frames a message is not for users either: the machine writes
/// `Content-Length`, `Transfer-Encoding`, `Connection` and `Date` itself.
///
/// ```
/// use tourbillon::proto::http1::{BadField, Fields};
/// let mut fields = Fields::default();
/// fields.push("Cache-Control", "no-store")?;
/// assert_eq!(fields.get("cache-control"), Some("no-store"));
/// assert_eq!(fields.push("X-Name", "a\r\nSet-Cookie: b"), Err(BadField::Value));
/// assert_eq!(fields.push("Content-Length", "5"), Err(BadField::Framing));
/// # Ok::<(), BadField>(())
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Fields {
    encoded: Vec<u8>,
    /// Whether `Upgrade` is among them: then `Connection` must list it (RFC 9110, 7.8).
    has_upgrade: bool,
}

impl Fields {
    /// No fields, and no allocation.
    pub const fn new() -> Self {
        Self {
            encoded: Vec::new(),
            has_upgrade: false,
        }
    }

    /// Add a field behind the others, also if there is one of this name.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it; nothing has been added then.
    pub fn push(&mut self, name: &str, value: &str) -> Result<(), BadField> {
        check(name, value)?;
        for part in [name, ": ", value, "\r\n"] {
            self.encoded.extend_from_slice(part.as_bytes());
        }
        self.has_upgrade |= is_upgrade(name);
        Ok(())
    }

    /// Add a field in place of all of this name.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push); nothing has been removed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), BadField> {
        check(name, value)?;
        self.remove(name);
        self.push(name, value)
    }

    /// Remove all fields of this name, whatever its case. Whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        self.has_upgrade &= !is_upgrade(name);
        let len = self.encoded.len();
        let mut at = 0;
        while let Some(line) = self.encoded[at..]
            .split_inclusive(|byte| *byte == b'\n')
            .next()
        {
            let line_len = line.len();
            if self::name(line).eq_ignore_ascii_case(name.as_bytes()) {
                self.encoded.drain(at..at + line_len);
            } else {
                at += line_len;
            }
        }
        self.encoded.len() < len
    }

    /// The value of the first field of this name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut lines = self.lines();
        let line = lines.find(|line| self::name(line).eq_ignore_ascii_case(name.as_bytes()))?;
        Some(split(line).1)
    }

    /// All fields in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines().map(split)
    }

    /// Whether there is a field of one of these names, whatever its case.
    pub(super) fn has_any(&self, names: &[&str]) -> bool {
        self.lines().map(name).any(|name| {
            let is = |known: &&str| name.eq_ignore_ascii_case(known.as_bytes());
            names.iter().any(is)
        })
    }

    pub(super) fn has_upgrade(&self) -> bool {
        self.has_upgrade
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.encoded.split_inclusive(|byte| *byte == b'\n')
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }

    /// Remove all and keep the memory.
    pub fn clear(&mut self) {
        self.encoded.clear();
        self.has_upgrade = false;
    }

    /// The fields as they are sent, each with its CRLF.
    pub fn as_bytes(&self) -> &[u8] {
        &self.encoded
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[inline(always)]
fn check(name: &str, value: &str) -> Result<(), BadField> {
    if !is_token(name.as_bytes()) {
        return Err(BadField::Name);
    }
    if !swar::is_field_text(value.as_bytes()) {
        return Err(BadField::Value);
    }
    let frames = ["Content-Length", "Transfer-Encoding", "Connection", "Date"];
    if frames.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        return Err(BadField::Framing);
    }
    Ok(())
}

fn is_upgrade(name: &str) -> bool {
    name.eq_ignore_ascii_case("upgrade")
}

/// Name and value of a line that [`Fields::push`] wrote.
fn split(line: &[u8]) -> (&str, &str) {
    let text = |part| std::str::from_utf8(part).expect("each line was joined from strings");
    let name = name(line);
    (text(name), text(&line[name.len() + 2..line.len() - 2]))
}

fn name(line: &[u8]) -> &[u8] {
    let colon = swar::find(line, b':').expect("each line has a name, which holds no colon");
    &line[..colon]
}

/// Why a field was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BadField {
    /// The name is not a token (RFC 9110, 5.1).
    Name,
    /// The value holds a line break, NUL, or another control character (RFC 9110, 5.5).
    Value,
    /// The field frames the message or rules the connection, and is written by the machine.
    Framing,
}

impl fmt::Display for BadField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "a field's name is not a token",
            Self::Value => "a field's value holds a control character",
            Self::Framing => "a field that frames the message is written by the machine itself",
        })
    }
}

impl std::error::Error for BadField {}

/// How long a response's body will be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyLength {
    /// So many bytes, no more and no fewer.
    Known(u64),
    /// To be seen: sent in chunks, or to an HTTP/1.0 peer until the connection closes.
    Unknown,
}

/// What is said in front of a response's body. The machine adds what frames it.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// 100 to 999.
    pub status: u16,
    /// The fields. If `Content-Type` is among them, leave `content_type` out.
    pub fields: &'a Fields,
    /// The value of `Content-Type`; no control characters but the tab.
    pub content_type: Option<&'a str>,
    /// The body's length; of a response to HEAD, the length that the same response to GET would have.
    pub length: BodyLength,
    /// The current time, from [`date::format`](super::date::format).
    pub date: &'a [u8; 29],
}

impl ResponseHead<'_> {
    /// Refuse what cannot be written.
    #[inline]
    pub(super) fn check(&self) -> Result<(), Misuse> {
        if !(100..=999).contains(&self.status) {
            return Err(Misuse::BadStatus);
        }
        if !self
            .content_type
            .is_none_or(|text| swar::is_field_text(text.as_bytes()))
        {
            return Err(Misuse::BadContentType);
        }
        Ok(())
    }
}

/// The head of plain answers: status line, `Date`, `Content-Type`, `Content-Length`. It is kept from one answer to the
/// next, since most answers of a server begin as the one before them.
///
/// ```
/// use tourbillon::proto::http1::Preamble;
/// let mut preamble = Preamble::new();
/// preamble.set_date(784_111_777); // in seconds since 1970
/// assert_eq!(preamble.date(), b"Sun, 06 Nov 1994 08:49:37 GMT");
/// ```
#[derive(Debug)]
pub struct Preamble {
    date: [u8; 29],
    /// Of an answer with this type; empty for none.
    content_type: String,
    /// And with a body of so many bytes.
    body_len: usize,
    text: Vec<u8>,
    /// How much of the text stands before the length.
    before_length: usize,
}

impl Preamble {
    /// With the date of 1970-01-01.
    pub fn new() -> Self {
        Self {
            date: date::format(0),
            // Room for nearly every answer from the start: what grows in a burst stands behind all that is free after.
            content_type: String::with_capacity(64),
            body_len: 0,
            text: Vec::with_capacity(256),
            before_length: 0,
        }
    }

    /// The answers that follow are dated `seconds` after 1970-01-01 00:00:00 UTC.
    pub fn set_date(&mut self, seconds: u64) {
        self.date = date::format(seconds);
        self.text.clear();
    }

    /// The date, as the field's value.
    pub fn date(&self) -> &[u8; 29] {
        &self.date
    }

    /// Write a 200 that has no other fields, and its body. False when the type is no field value: then nothing was
    /// written.
    #[inline(always)]
    pub(super) fn write(
        &mut self,
        content_type: Option<&str>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> bool {
        let content_type = content_type.unwrap_or_default();
        let is_at_hand = self.content_type == content_type && !self.text.is_empty();
        if !is_at_hand {
            cold_path();
            if !self.renew(content_type) {
                return false;
            }
        }
        if self.body_len != body.len() {
            cold_path();
            self.set_length(body.len());
        }
        out.extend_from_slice(&self.text);
        out.extend_from_slice(body);
        true
    }

    #[cold]
    fn renew(&mut self, content_type: &str) -> bool {
        if !swar::is_field_text(content_type.as_bytes()) {
            return false;
        }
        self.content_type.clear();
        self.content_type.push_str(content_type);
        self.text.clear();
        self.text.extend_from_slice(b"HTTP/1.1 200 OK\r\nDate: ");
        self.text.extend_from_slice(&self.date);
        if !content_type.is_empty() {
            self.text.extend_from_slice(b"\r\nContent-Type: ");
            self.text.extend_from_slice(content_type.as_bytes());
        }
        self.text.extend_from_slice(b"\r\nContent-Length: ");
        self.before_length = self.text.len();
        self.set_length(self.body_len);
        true
    }

    fn set_length(&mut self, body_len: usize) {
        self.body_len = body_len;
        self.text.truncate(self.before_length);
        write_decimal(body_len as u64, &mut self.text);
        self.text.extend_from_slice(b"\r\n\r\n");
    }
}

impl Default for Preamble {
    fn default() -> Self {
        Self::new()
    }
}

/// What a head says about the body behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Announced {
    Length(u64),
    Chunked,
    Nothing,
}

/// What a head says about the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Connection {
    /// What the version has anyway.
    Default,
    KeepAlive,
    Close,
}

/// Write the head of a final response.
pub(super) fn write_final(
    head: &ResponseHead<'_>,
    announced: Announced,
    connection: Connection,
    out: &mut Vec<u8>,
) {
    write_status_line(head.status, out);
    out.extend_from_slice(b"Date: ");
    out.extend_from_slice(head.date);
    if let Some(content_type) = head.content_type {
        out.extend_from_slice(b"\r\nContent-Type: ");
        out.extend_from_slice(content_type.as_bytes());
    }
    match announced {
        Announced::Length(length) => {
            out.extend_from_slice(b"\r\nContent-Length: ");
            write_decimal(length, out);
        }
        Announced::Chunked => out.extend_from_slice(b"\r\nTransfer-Encoding: chunked"),
        Announced::Nothing => {}
    }
    out.extend_from_slice(match (connection, head.fields.has_upgrade) {
        (Connection::Default, false) => b"",
        (Connection::Default, true) => b"\r\nConnection: upgrade",
        (Connection::KeepAlive, false) => b"\r\nConnection: keep-alive",
        (Connection::KeepAlive, true) => b"\r\nConnection: keep-alive, upgrade",
        (Connection::Close, false) => b"\r\nConnection: close",
        (Connection::Close, true) => b"\r\nConnection: close, upgrade",
    });
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(head.fields.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Write an interim response (1xx): status line and fields, no date, no framing (RFC 9110, 15.2).
pub(super) fn write_interim(head: &ResponseHead<'_>, out: &mut Vec<u8>) {
    write_status_line(head.status, out);
    if head.fields.has_upgrade {
        out.extend_from_slice(b"Connection: upgrade\r\n");
    }
    out.extend_from_slice(head.fields.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Write the answer that makes the connection speak another protocol (101).
pub(super) fn write_switch(head: &ResponseHead<'_>, out: &mut Vec<u8>) {
    write_status_line(head.status, out);
    out.extend_from_slice(b"Connection: upgrade\r\n");
    out.extend_from_slice(head.fields.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_status_line(status: u16, out: &mut Vec<u8>) {
    match status::line(status) {
        Some(line) => out.extend_from_slice(line.as_bytes()),
        None => {
            out.extend_from_slice(b"HTTP/1.1 ");
            write_decimal(u64::from(status), out);
            // RFC 9112, 4: the space stands there even if no phrase follows.
            out.extend_from_slice(b" \r\n");
        }
    }
}

/// Write a chunk's size line.
pub(super) fn write_chunk_size(len: usize, out: &mut Vec<u8>) {
    let mut digits = [0; 18];
    let mut start = 16;
    let mut rest = len;
    digits[16..].copy_from_slice(b"\r\n");
    loop {
        start -= 1;
        digits[start] = b"0123456789abcdef"[rest & 15];
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Write a number in decimal, two digits at a time.
#[inline(always)]
pub(super) fn write_decimal(number: u64, out: &mut Vec<u8>) {
    if (10..100).contains(&number) {
        out.extend_from_slice(&PAIRS[number as usize]);
        return;
    }
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = number;
    while rest >= 100 {
        start -= 2;
        digits[start..start + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    if rest >= 10 {
        start -= 2;
        digits[start..start + 2].copy_from_slice(&PAIRS[rest as usize]);
    } else {
        start -= 1;
        digits[start] = b'0' + rest as u8;
    }
    out.extend_from_slice(&digits[start..]);
}

/// `00` to `99`.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        let powers = (0..20).map(|digits| 10u64.pow(digits));
        for number in powers
            .flat_map(|power| [power - 1, power, power + 1, power.saturating_mul(7)])
            .chain([u64::MAX])
        {
            let mut out = Vec::new();
            write_decimal(number, &mut out);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }

    #[test]
    fn chunk_sizes_are_written_in_hexadecimal() {
        for len in [0, 1, 9, 10, 15, 16, 255, 256, 0xabc_def0, usize::MAX] {
            let mut out = Vec::new();
            write_chunk_size(len, &mut out);
            assert_eq!(out, format!("{len:x}\r\n").into_bytes());
        }
    }

    #[test]
    fn a_field_cannot_hold_a_line_break() {
        let mut fields = Fields::new();
        for value in [
            "a\rb",
            "a\nb",
            "a\r\nb: c",
            "\0",
            "\x7f",
            "\x1b[0m",
            "a\r\n",
        ] {
            assert_eq!(fields.push("X", value), Err(BadField::Value), "{value:?}");
            assert_eq!(fields.set("X", value), Err(BadField::Value), "{value:?}");
        }
        for name in ["", " ", "a b", "a:", "a\r\n", "é", "a\0", "(a)"] {
            assert_eq!(fields.push(name, "x"), Err(BadField::Name), "{name:?}");
        }
        assert!(fields.is_empty());
    }

    #[test]
    fn fields_that_frame_are_refused_whatever_their_case() {
        let mut fields = Fields::new();
        for name in ["content-length", "TRANSFER-ENCODING", "Connection", "date"] {
            assert_eq!(fields.push(name, "x"), Err(BadField::Framing), "{name}");
        }
        assert!(fields.is_empty());
    }

    #[test]
    fn fields_are_found_replaced_and_removed_whatever_their_case() {
        let mut fields = Fields::new();
        fields.push("Vary", "a").unwrap();
        fields.push("Set-Cookie", "b: c").unwrap();
        fields.push("vary", "d\té").unwrap();
        assert_eq!(fields.get("VARY"), Some("a"));
        assert_eq!(
            fields.as_bytes(),
            "Vary: a\r\nSet-Cookie: b: c\r\nvary: d\té\r\n".as_bytes()
        );
        assert_eq!(
            format!("{fields:?}"),
            r#"{"Vary": "a", "Set-Cookie": "b: c", "vary": "d\té"}"#
        );
        fields.set("VaRy", "").unwrap();
        assert_eq!(
            fields.iter().collect::<Vec<_>>(),
            [("Set-Cookie", "b: c"), ("VaRy", "")]
        );
        assert!(fields.remove("set-cookie"));
        assert!(!fields.remove("set-cookie"));
        assert_eq!(fields.as_bytes(), b"VaRy: \r\n");
        fields.clear();
        assert_eq!((fields.is_empty(), fields.get("vary")), (true, None));
    }

    #[test]
    fn a_failed_replacement_removes_nothing() {
        let mut fields = Fields::new();
        fields.push("X", "kept").unwrap();
        assert_eq!(fields.set("X", "\n"), Err(BadField::Value));
        assert_eq!(fields.get("X"), Some("kept"));
    }
}
