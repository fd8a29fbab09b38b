//! Request bodies: by length, and in chunks (RFC 9112, 6 and 7).
//!
//! Chunk framing is read byte by byte into a few numbers, so nothing of it is ever left for the caller to keep; only a
//! trailer line is waited for. The size line is the busiest door for request smuggling there is, so what stands in it
//! is held to the grammar to the letter.

use super::error::PeerError;
use super::head::HeadLimits;
use super::line::{self, FieldLine};
use super::percent::hex_digit;
use super::server::Step;
use super::swar;

/// How the end of a request's body is known, and how far it is.
#[derive(Clone, Debug)]
pub(super) enum Framing {
    /// So many bytes are left. A request without a body has none left from the start.
    Length(u64),
    Chunked(Chunks),
}

impl Framing {
    /// The next piece of the body; the number is how many bytes of `input` it takes, framing included.
    #[inline]
    pub(super) fn next<'i>(
        &mut self,
        input: &'i [u8],
        limits: &HeadLimits,
    ) -> Result<(usize, Step<'i>), PeerError> {
        match self {
            Self::Length(0) => Ok((0, Step::End)),
            Self::Length(left) => Ok(match take_data(input, left) {
                [] => (0, Step::NeedMore),
                data => (data.len(), Step::Data(data)),
            }),
            Self::Chunked(chunks) => chunks.next(input, limits),
        }
    }
}

/// As much of the front of `input` as belongs to the data of which `left` bytes are missing.
fn take_data<'i>(input: &'i [u8], left: &mut u64) -> &'i [u8] {
    let len = usize::try_from(*left)
        .unwrap_or(usize::MAX)
        .min(input.len());
    *left -= len as u64;
    &input[..len]
}

/// A body in chunks.
#[derive(Clone, Debug)]
pub(super) struct Chunks {
    /// The size being read, then the data bytes missing.
    left: u64,
    /// Extension bytes of the whole message.
    extension_bytes: u32,
    stage: Stage,
}

/// What the next byte belongs to, in the order of a chunk; then the trailers.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Size {
        digits: u8,
    },
    Extension {
        bytes: u32,
        part: Part,
    },
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// `bytes` were used up by complete lines, `searched` hold no line end.
    Trailers {
        bytes: u32,
        searched: u32,
    },
}

/// What the next byte of an extension may continue: `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted ) ] )`.
#[derive(Clone, Copy, Debug)]
enum Part {
    BeforeSemicolon,
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Value,
    Quoted,
    Escaped,
    AfterQuoted,
}

impl Chunks {
    pub(super) const fn new() -> Self {
        Self {
            left: 0,
            extension_bytes: 0,
            stage: Stage::Size { digits: 0 },
        }
    }

    fn next<'i>(
        &mut self,
        input: &'i [u8],
        limits: &HeadLimits,
    ) -> Result<(usize, Step<'i>), PeerError> {
        let mut used = 0;
        loop {
            match self.stage {
                Stage::Data => {
                    let data = take_data(&input[used..], &mut self.left);
                    if self.left == 0 {
                        self.stage = Stage::DataCr;
                    }
                    return Ok(match data {
                        [] => (used, Step::NeedMore),
                        data => (used + data.len(), Step::Data(data)),
                    });
                }
                Stage::Trailers { bytes, searched } => {
                    let (trailers, step) =
                        self.trailers(&input[used..], bytes, searched, limits)?;
                    return Ok((used + trailers, step));
                }
                _ => {
                    let Some(byte) = input.get(used) else {
                        return Ok((used, Step::NeedMore));
                    };
                    self.stage = self.frame(*byte, limits)?;
                    used += 1;
                }
            }
        }
    }

    /// One byte of framing, and the stage behind it.
    fn frame(&mut self, byte: u8, limits: &HeadLimits) -> Result<Stage, PeerError> {
        match (self.stage, byte) {
            (Stage::Size { digits }, byte) if let Some(value) = hex_digit(byte) => {
                // Sixteen digits fill 64 bits; one more would push the first one out.
                if digits == 16 {
                    return Err(PeerError::BadChunkSize);
                }
                self.left = self.left << 4 | u64::from(value);
                Ok(Stage::Size { digits: digits + 1 })
            }
            (Stage::Size { digits: 0 }, _) => Err(PeerError::BadChunkSize),
            (Stage::Size { .. }, b'\r') => Ok(Stage::SizeLf),
            (Stage::Size { .. }, b'\n') => Err(PeerError::BareLf),
            (Stage::Size { .. }, b';' | b' ' | b'\t') => {
                self.extension(0, Part::BeforeSemicolon, byte, limits)
            }
            (Stage::Size { .. }, _) => Err(PeerError::BadChunkSize),
            (Stage::Extension { part, .. }, b'\r') if part.may_end() => Ok(Stage::SizeLf),
            (Stage::Extension { .. }, b'\n') => Err(PeerError::BareLf),
            (Stage::Extension { bytes, part }, byte) => self.extension(bytes, part, byte, limits),
            (Stage::SizeLf, b'\n') if self.left == 0 => Ok(Stage::Trailers {
                bytes: 0,
                searched: 0,
            }),
            (Stage::SizeLf, b'\n') => Ok(Stage::Data),
            (Stage::SizeLf, _) => Err(PeerError::BareCr),
            (Stage::DataCr, b'\r') => Ok(Stage::DataLf),
            (Stage::DataLf, b'\n') => Ok(Stage::Size { digits: 0 }),
            (Stage::DataCr | Stage::DataLf, _) => Err(PeerError::BadChunkEnd),
            (stage @ (Stage::Data | Stage::Trailers { .. }), _) => Ok(stage),
        }
    }

    fn extension(
        &mut self,
        bytes: u32,
        part: Part,
        byte: u8,
        limits: &HeadLimits,
    ) -> Result<Stage, PeerError> {
        let bytes = bytes + 1;
        self.extension_bytes += 1;
        if bytes as usize > limits.chunk_extension_bytes_max
            || self.extension_bytes as usize > limits.chunk_extensions_bytes_max
        {
            return Err(PeerError::ChunkExtensionTooLarge);
        }
        let part = part.next(byte).ok_or(PeerError::BadChunkExtension)?;
        Ok(Stage::Extension { bytes, part })
    }

    /// The trailer section: judged like fields of a head and dropped, since a handler that relied on them could be
    /// told anything behind its back (RFC 9110, 6.5.1 lets us).
    fn trailers<'i>(
        &mut self,
        input: &'i [u8],
        mut bytes: u32,
        mut searched: u32,
        limits: &HeadLimits,
    ) -> Result<(usize, Step<'i>), PeerError> {
        // The empty line that ends the section does not count.
        let bytes_max = limits.trailer_bytes_max.min(1 << 31) + 2;
        let mut used = 0;
        loop {
            let from = used + searched as usize;
            let end = swar::find(&input[from..], b'\n').map(|index| from + index + 1);
            let line_len = end.unwrap_or(input.len()) - used;
            if bytes as usize + line_len > bytes_max {
                return Err(PeerError::TrailerTooLarge);
            }
            let Some(end) = end else {
                self.stage = Stage::Trailers {
                    bytes,
                    searched: line_len as u32,
                };
                return Ok((used, Step::NeedMore));
            };
            let whole = &input[used..end];
            match whole.strip_suffix(b"\r\n").ok_or(PeerError::BareLf)? {
                [] => return Ok((end, Step::End)),
                line => {
                    let field = FieldLine::read(whole).ok_or_else(|| line::fault_of_field(line))?;
                    if line::is_forbidden_in_trailers(field.name) {
                        return Err(PeerError::BadTrailer);
                    }
                }
            }
            bytes += line_len as u32;
            searched = 0;
            used = end;
        }
    }
}

impl Part {
    /// Whether CR may follow.
    fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Value | Self::AfterQuoted)
    }

    /// What may follow `byte`, or `None` if it may not stand here. Control characters may stand nowhere, but for the
    /// tab that the grammar has as whitespace.
    fn next(self, byte: u8) -> Option<Self> {
        let is_text = matches!(byte, b'\t' | b' '..=0x7e | 0x80..);
        match (self, byte) {
            (Self::BeforeSemicolon, b' ' | b'\t') => Some(Self::BeforeSemicolon),
            (Self::BeforeSemicolon, b';') => Some(Self::BeforeName),
            (Self::BeforeName, b' ' | b'\t') => Some(Self::BeforeName),
            (Self::BeforeName | Self::Name, byte) if line::is_token_byte(byte) => Some(Self::Name),
            (Self::Name | Self::AfterName, b' ' | b'\t') => Some(Self::AfterName),
            (Self::Name | Self::AfterName, b';') => Some(Self::BeforeName),
            (Self::Name | Self::AfterName, b'=') => Some(Self::BeforeValue),
            (Self::BeforeValue, b' ' | b'\t') => Some(Self::BeforeValue),
            (Self::BeforeValue, b'"') => Some(Self::Quoted),
            (Self::BeforeValue | Self::Value, byte) if line::is_token_byte(byte) => {
                Some(Self::Value)
            }
            (Self::Quoted, b'"') => Some(Self::AfterQuoted),
            (Self::Quoted, b'\\') => Some(Self::Escaped),
            (Self::Quoted | Self::Escaped, _) if is_text => Some(Self::Quoted),
            (Self::Value | Self::AfterQuoted, b';') => Some(Self::BeforeName),
            (Self::Value | Self::AfterQuoted, b' ' | b'\t') => Some(Self::BeforeSemicolon),
            _ => None,
        }
    }
}
