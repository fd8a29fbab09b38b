//! Forms with files: bodies of the type `multipart/form-data` (RFC 7578), written piece by piece.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::io;
use std::task::{Context, Poll, ready};

use super::body::{Body, BodySource};
use crate::proto::http1::Misuse;

/// A form, to be sent as a [`Body`], with its [`content_type`](Self::content_type). If all of it is there, the body can
/// be sent again; if a part is a stream, it cannot.
///
/// ```
/// use tourbillon::client::multipart::{Multipart, Part};
///
/// # fn random() -> [u8; 16] { [0x2a; 16] }
/// let form = Multipart::new(random())
///     .text("name", "Breguet")
///     .part("drawing", Part::bytes(b"\x89PNG".to_vec()).file_name("1801.png").content_type("image/png")?);
/// let boundary = "----tourbillon-2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a";
/// assert_eq!(form.content_type(), format!("multipart/form-data; boundary={boundary}"));
/// let body = tourbillon::client::Body::from(form);
/// # Ok::<(), tourbillon::proto::http1::Misuse>(())
/// ```
pub struct Multipart {
    boundary: String,
    parts: VecDeque<Named>,
    at: At,
}

struct Named {
    name: String,
    part: Part,
}

/// What comes next.
enum At {
    /// The head of a part, or the end.
    Delimiter {
        is_first: bool,
    },
    Content(Content),
    End,
}

/// What one field of a form holds.
pub struct Part {
    content: Content,
    file_name: Option<String>,
    content_type: Option<String>,
}

enum Content {
    Bytes(Vec<u8>),
    Stream {
        /// How much is still to come.
        left: Option<u64>,
        source: Box<dyn BodySource>,
    },
}

impl Multipart {
    /// A form without fields. The line between two parts is made of `entropy`, which has to be random: nobody who can
    /// guess it may choose what a part holds.
    pub fn new(entropy: [u8; 16]) -> Self {
        let mut boundary = String::from("----tourbillon-");
        for byte in entropy {
            write!(boundary, "{byte:02x}").expect("a string takes all");
        }
        Self {
            boundary,
            parts: VecDeque::new(),
            at: At::Delimiter { is_first: true },
        }
    }

    /// Add a field with a text.
    pub fn text(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.part(name, Part::text(value))
    }

    /// Add a field. Several may have the same name.
    pub fn part(mut self, name: impl Into<String>, part: Part) -> Self {
        let name = name.into();
        self.parts.push_back(Named { name, part });
        self
    }

    /// For the field `Content-Type`.
    pub fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// For the field `Content-Length`, before the first piece is taken; `None` if it is not known of one of the parts.
    pub fn length(&self) -> Option<u64> {
        let mut is_first = true;
        let mut total = 0;
        for named in &self.parts {
            total += self.head(named, is_first).len() as u64 + named.part.content.length()?;
            is_first = false;
        }
        Some(total + self.ending(is_first).len() as u64)
    }

    /// The whole.
    ///
    /// # Errors
    /// The form as it was, if one of its parts is a stream.
    pub fn into_bytes(mut self) -> Result<Vec<u8>, Self> {
        let has_stream = |named: &Named| matches!(named.part.content, Content::Stream { .. });
        if self.parts.iter().any(has_stream) {
            return Err(self);
        }
        let mut bytes = Vec::new();
        let mut is_first = true;
        while let Some(named) = self.parts.pop_front() {
            bytes.extend_from_slice(self.head(&named, is_first).as_bytes());
            if let Content::Bytes(content) = named.part.content {
                bytes.extend_from_slice(&content);
            }
            is_first = false;
        }
        bytes.extend_from_slice(self.ending(is_first).as_bytes());
        Ok(bytes)
    }

    /// What stands before the content of a part (RFC 7578, 4; RFC 2046, 5.1.1).
    fn head(&self, named: &Named, is_first: bool) -> String {
        let Named { name, part } = named;
        let mut head = self.delimiter(is_first);
        head.push_str("\r\nContent-Disposition: form-data; name=\"");
        push_escaped(name, &mut head);
        head.push('"');
        if let Some(file_name) = &part.file_name {
            head.push_str("; filename=\"");
            push_escaped(file_name, &mut head);
            head.push('"');
        }
        let of_file = part.file_name.as_ref().map(|_| "application/octet-stream");
        if let Some(content_type) = part.content_type.as_deref().or(of_file) {
            head.push_str("\r\nContent-Type: ");
            head.push_str(content_type);
        }
        head.push_str("\r\n\r\n");
        head
    }

    fn ending(&self, is_first: bool) -> String {
        self.delimiter(is_first) + "--\r\n"
    }

    /// The line break before it is part of it, but for the first (RFC 2046, 5.1.1).
    fn delimiter(&self, is_first: bool) -> String {
        let line_break = if is_first { "" } else { "\r\n" };
        format!("{line_break}--{}", self.boundary)
    }
}

impl BodySource for Multipart {
    /// Never an empty piece. `InvalidData` if a part is longer or shorter than it said.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        loop {
            match &mut self.at {
                At::Delimiter { is_first } => {
                    let is_first = *is_first;
                    let piece = match self.parts.pop_front() {
                        Some(named) => {
                            let head = self.head(&named, is_first);
                            self.at = At::Content(named.part.content);
                            head
                        }
                        None => {
                            self.at = At::End;
                            self.ending(is_first)
                        }
                    };
                    return Poll::Ready(Ok(Some(piece.into_bytes())));
                }
                At::Content(content) => {
                    let piece = ready!(content.poll_chunk(context))?;
                    // A part that is all there is also all that there is of it.
                    if piece.is_none() || matches!(content, Content::Bytes(_)) {
                        self.at = At::Delimiter { is_first: false };
                    }
                    if let Some(piece) = piece.filter(|piece| !piece.is_empty()) {
                        return Poll::Ready(Ok(Some(piece)));
                    }
                }
                At::End => return Poll::Ready(Ok(None)),
            }
        }
    }
}

impl From<Multipart> for Body {
    fn from(form: Multipart) -> Self {
        match form.into_bytes() {
            Ok(bytes) => bytes.into(),
            Err(form) => Self::stream(form.length(), form),
        }
    }
}

impl fmt::Debug for Multipart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.parts.iter().map(|named| &named.name);
        f.debug_list().entries(names).finish()
    }
}

impl Part {
    /// A text, in UTF-8, as a browser sends what was typed.
    pub fn text(value: impl Into<String>) -> Self {
        Self::bytes(value.into())
    }

    /// Bytes.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(Content::Bytes(bytes.into()))
    }

    /// A part that comes piece by piece. With a `length` it has to keep to it; without one the form has none either.
    pub fn stream(length: Option<u64>, source: impl BodySource) -> Self {
        Self::new(Content::Stream {
            left: length,
            source: Box::new(source),
        })
    }

    fn new(content: Content) -> Self {
        Self {
            content,
            file_name: None,
            content_type: None,
        }
    }

    /// It is a file of this name. Unless it is said otherwise, its type is `application/octet-stream`.
    pub fn file_name(mut self, name: impl Into<String>) -> Self {
        self.file_name = Some(name.into());
        self
    }

    /// The type of what it holds. Without one a part that is no file is `text/plain` (RFC 7578, 4.4).
    ///
    /// # Errors
    /// [`Misuse::BadContentType`] for a control character: it would end the line and begin another.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Result<Self, Misuse> {
        let content_type = content_type.into();
        if content_type.contains(char::is_control) {
            return Err(Misuse::BadContentType);
        }
        self.content_type = Some(content_type);
        Ok(self)
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("length", &self.content.length())
            .field("file_name", &self.file_name)
            .field("content_type", &self.content_type)
            .finish()
    }
}

impl Content {
    fn length(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Stream { left, .. } => *left,
        }
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        let (left, source) = match self {
            Self::Bytes(bytes) => return Poll::Ready(Ok(Some(std::mem::take(bytes)))),
            Self::Stream { left, source } => (left, source),
        };
        let piece = ready!(source.poll_chunk(context))?;
        if let Some(left) = left {
            let given = piece.as_ref().map_or(0, Vec::len) as u64;
            let is_over = piece.is_none();
            match left.checked_sub(given) {
                Some(rest) if !is_over || rest == 0 => *left = rest,
                _ => {
                    let why = "a part of the form is not as long as was said";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
                }
            }
        }
        Poll::Ready(Ok(piece))
    }
}

/// As browsers do (HTML, "multipart/form-data encoding algorithm"): what would end the name or the line is
/// percent-encoded, and nothing else, the percent sign included.
fn push_escaped(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '"' => out.push_str("%22"),
            '\r' => out.push_str("%0D"),
            '\n' => out.push_str("%0A"),
            character => out.push(character),
        }
    }
}

#[cfg(test)]
mod tests;
