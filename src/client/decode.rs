//! Bodies that came compressed (`Content-Encoding`, RFC 9110, 8.4), decoded piece by piece. No socket here: bytes in,
//! bytes out.
//!
//! A kilobyte can decode to a megabyte. So no call gives more than [`PIECE_BYTES`], whoever calls has the say when it
//! goes on, and behind the limit on the whole nothing is decoded any more. What lies between two codings of one body is
//! bounded alike.

use std::{error, fmt, io};

#[cfg(feature = "brotli")]
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState, enc::StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};

/// How much one call of [`Decoder::decode`] gives at most.
pub const PIECE_BYTES: usize = 64 * 1024;

/// Codings that may lie on top of each other. More than one is rare; each costs memory, and multiplies what a bomb can
/// do. The number is curl's.
pub const CODINGS_MAX: usize = 5;

/// What waits between two codings of one body.
const BETWEEN_BYTES: usize = 8 * 1024;

/// What a client says in `Accept-Encoding` about the codings that were built in.
pub const fn accept_encoding() -> &'static str {
    if cfg!(feature = "brotli") {
        "gzip, deflate, br"
    } else {
        "gzip, deflate"
    }
}

/// Undoes the codings of one body.
///
/// ```
/// use tourbillon::client::decode::{DecodeError, Decoder};
///
/// fn decode_all(codings: &str, mut coded: &[u8]) -> Result<Vec<u8>, DecodeError> {
///     let mut body = Vec::new();
///     let Some(mut decoder) = Decoder::new(codings, 1_000_000)? else {
///         return Ok(coded.to_vec());
///     };
///     loop {
///         let step = decoder.decode(coded, &mut body)?;
///         coded = &coded[step.taken..];
///         if !step.has_more {
///             break; // Here more of it would be waited for.
///         }
///     }
///     decoder.finish()?;
///     Ok(body)
/// }
///
/// let stored = b"\x78\x01\x01\x02\x00\xfd\xffhi\x01\x3b\x00\xd2";
/// assert_eq!(decode_all("deflate", stored)?, b"hi");
/// assert_eq!(decode_all("deflate", &stored[..9]), Err(DecodeError::Truncated));
/// # Ok::<(), DecodeError>(())
/// ```
pub struct Decoder {
    /// In the order in which they are undone, which is not that of the field.
    stages: Vec<Stage>,
    bytes_max: u64,
}

/// What a call of [`Decoder::decode`] came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// Bytes of the input that were taken. The next call wants those behind them.
    pub taken: usize,
    /// Whether there is more to come without more input: [`PIECE_BYTES`] were given, and the next call goes on.
    pub has_more: bool,
}

impl Decoder {
    /// For a body with this `Content-Encoding`, several fields joined by commas. `bytes_max` bounds what comes out of
    /// it. `None` if there is nothing to decode: no coding but `identity`.
    ///
    /// `deflate` is the zlib format (RFC 9110, 8.4.1.2), and also deflate without its frame, which some servers send
    /// and browsers take.
    ///
    /// # Errors
    /// [`DecodeError::UnknownCoding`], also for `br` without the feature `brotli`; [`DecodeError::TooManyCodings`].
    pub fn new(content_encoding: &str, bytes_max: u64) -> Result<Option<Self>, DecodeError> {
        let mut stages = Vec::new();
        let names = content_encoding.split(',').map(str::trim);
        for name in names.filter(|name| !name.is_empty()).rev() {
            let codec = match name.to_ascii_lowercase().as_str() {
                "identity" => continue,
                "gzip" | "x-gzip" => Codec::Gzip(Gzip::Start),
                "deflate" => Codec::Deflate(Deflate::Start(None)),
                #[cfg(feature = "brotli")]
                "br" => Codec::brotli(),
                _ => return Err(DecodeError::UnknownCoding),
            };
            if stages.len() == CODINGS_MAX {
                return Err(DecodeError::TooManyCodings);
            }
            stages.push(Stage::new(codec));
        }
        Ok((!stages.is_empty()).then_some(Self { stages, bytes_max }))
    }

    /// Decode some of `input` and append what comes of it to `output`, at most [`PIECE_BYTES`].
    ///
    /// # Errors
    /// Any [`DecodeError`]. What was appended until then is part of the body. Of a body that is too large and, further
    /// on, malformed, either may be told: bytes that come together are looked at together.
    pub fn decode(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<Decoded, DecodeError> {
        let last = self.stages.last().expect("there is a coding");
        // One byte more than is allowed is asked for: it tells a body that is just as long from one that is longer.
        let left = (self.bytes_max - last.given).saturating_add(1);
        let room = PIECE_BYTES.min(usize::try_from(left).unwrap_or(PIECE_BYTES));
        let before = output.len();
        output.resize(before + room, 0);
        let mut rest = input;
        let result = pull(
            &mut self.stages,
            self.bytes_max,
            &mut rest,
            &mut output[before..],
        );
        let given = *result.as_ref().unwrap_or(&0);
        output.truncate(before + given);
        result?;
        if self.stages.last().expect("as before").given > self.bytes_max {
            output.pop();
            return Err(DecodeError::TooLarge(self.bytes_max));
        }
        Ok(Decoded {
            taken: input.len() - rest.len(),
            has_more: given == room,
        })
    }

    /// The body's end has come. A body without a byte is an empty one, whatever its coding.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if more belongs to it.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.stages.iter().all(|stage| stage.codec.is_at_end()) {
            true => Ok(()),
            false => Err(DecodeError::Truncated),
        }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.stages.iter().map(|stage| stage.codec.name());
        f.debug_list().entries(names).finish()
    }
}

/// Fill `output` from the last of `stages`, which draw on those before them and in the end on `input`.
fn pull(
    stages: &mut [Stage],
    bytes_max: u64,
    input: &mut &[u8],
    output: &mut [u8],
) -> Result<usize, DecodeError> {
    let (last, before) = stages.split_last_mut().expect("there is a coding");
    if before.is_empty() {
        let (taken, given) = last.decode(input, output)?;
        *input = &input[taken..];
        return Ok(given);
    }
    let mut filled = 0;
    loop {
        let (taken, given) = last.decode_waiting(&mut output[filled..])?;
        filled += given;
        if filled == output.len() {
            return Ok(filled);
        }
        debug_assert!(
            taken == 0 || last.is_drained(),
            "it stops when one of both ends"
        );
        last.waiting.resize(BETWEEN_BYTES, 0);
        last.start = 0;
        let refilled = pull(before, bytes_max, input, &mut last.waiting);
        last.waiting.truncate(*refilled.as_ref().unwrap_or(&0));
        if refilled? == 0 {
            return Ok(filled);
        }
        // What is coded once more is hardly longer than what comes of it. Without a bound it might decode for ever to
        // what decodes to nothing.
        let between_max = bytes_max.saturating_add(bytes_max / 64 + BETWEEN_BYTES as u64);
        if before.last().expect("not empty").given > between_max {
            return Err(DecodeError::TooLarge(bytes_max));
        }
    }
}

/// One coding.
struct Stage {
    codec: Codec,
    /// What came out of it so far.
    given: u64,
    /// What the coding before it gave, and where the part begins that this one has not taken. The first takes from the
    /// caller's input instead.
    waiting: Vec<u8>,
    start: usize,
}

impl Stage {
    const fn new(codec: Codec) -> Self {
        Self {
            codec,
            given: 0,
            waiting: Vec::new(),
            start: 0,
        }
    }

    const fn is_drained(&self) -> bool {
        self.start == self.waiting.len()
    }

    fn decode_waiting(&mut self, output: &mut [u8]) -> Result<(usize, usize), DecodeError> {
        let waiting = std::mem::take(&mut self.waiting);
        let result = self.decode(&waiting[self.start..], output);
        self.waiting = waiting;
        let (taken, given) = result?;
        self.start += taken;
        Ok((taken, given))
    }

    /// Until all of `input` is taken or all of `output` is filled.
    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), DecodeError> {
        let (mut taken, mut given) = (0, 0);
        // It may also have more to give when there is nothing to take.
        while given < output.len() {
            let (more_taken, more_given) =
                self.codec.step(&input[taken..], &mut output[given..])?;
            taken += more_taken;
            given += more_given;
            if more_taken == 0 && more_given == 0 {
                break;
            }
        }
        self.given += given as u64;
        Ok((taken, given))
    }
}

enum Codec {
    Gzip(Gzip),
    Deflate(Deflate),
    #[cfg(feature = "brotli")]
    Brotli(Box<Brotli>),
}

/// Members, one behind the other (RFC 1952, 2.2).
enum Gzip {
    Start,
    Member(Decompress),
    /// Behind a member.
    Behind,
}

enum Deflate {
    /// With the first byte, if it has come: two of them tell which format it is.
    Start(Option<u8>),
    Data(Decompress),
    End,
}

#[cfg(feature = "brotli")]
struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    at: BrotliAt,
}

#[cfg(feature = "brotli")]
#[derive(PartialEq)]
enum BrotliAt {
    Start,
    Data,
    End,
}

impl Codec {
    #[cfg(feature = "brotli")]
    fn brotli() -> Self {
        let alloc = StandardAlloc::default;
        Self::Brotli(Box::new(Brotli {
            // Windows beyond those of RFC 7932 are refused: they would cost up to a gigabyte.
            state: BrotliState::new_strict(alloc(), alloc(), alloc()),
            at: BrotliAt::Start,
        }))
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Gzip(_) => "gzip",
            Self::Deflate(_) => "deflate",
            #[cfg(feature = "brotli")]
            Self::Brotli(_) => "br",
        }
    }

    /// Whether the coded bytes may end here.
    fn is_at_end(&self) -> bool {
        match self {
            Self::Gzip(gzip) => !matches!(gzip, Gzip::Member(_)),
            Self::Deflate(deflate) => matches!(deflate, Deflate::Start(None) | Deflate::End),
            #[cfg(feature = "brotli")]
            Self::Brotli(brotli) => brotli.at != BrotliAt::Data,
        }
    }

    /// Take some of `input` and give something into `output`. If it does neither, it has to have more of one of both.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), DecodeError> {
        match self {
            Self::Gzip(gzip) => gzip.step(input, output),
            Self::Deflate(deflate) => deflate.step(input, output),
            #[cfg(feature = "brotli")]
            Self::Brotli(brotli) => brotli.step(input, output),
        }
    }
}

/// The first byte of each member (RFC 1952, 2.3.1).
const GZIP_MAGIC: u8 = 0x1f;

impl Gzip {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), DecodeError> {
        if let Self::Start | Self::Behind = self {
            match (&self, input.first()) {
                (_, None) => return Ok((0, 0)),
                (Self::Behind, Some(&byte)) if byte != GZIP_MAGIC => {
                    return Err(DecodeError::TrailingBytes);
                }
                _ => *self = Self::Member(Decompress::new_gzip(15)),
            }
        }
        let Self::Member(member) = self else {
            unreachable!("a member has begun")
        };
        let (taken, given, is_end) = inflate(member, input, output, "gzip")?;
        if is_end {
            *self = Self::Behind;
        }
        Ok((taken, given))
    }
}

impl Deflate {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), DecodeError> {
        match self {
            Self::Start(first) => match (*first, input.first()) {
                (_, None) => Ok((0, 0)),
                (None, Some(byte)) => {
                    *first = Some(*byte);
                    Ok((1, 0))
                }
                (Some(first), Some(second)) => {
                    let mut data = Decompress::new(is_zlib_header(first, *second));
                    // The shortest code for a byte has three bits in front of it and eight of its own.
                    let (taken, given, is_end) = inflate(&mut data, &[first], &mut [0], "deflate")?;
                    assert!(
                        (taken, given, is_end) == (1, 0, false),
                        "one byte is too little"
                    );
                    *self = Self::Data(data);
                    self.step(input, output)
                }
            },
            Self::Data(data) => {
                let (taken, given, is_end) = inflate(data, input, output, "deflate")?;
                if is_end {
                    *self = Self::End;
                }
                Ok((taken, given))
            }
            Self::End if input.is_empty() => Ok((0, 0)),
            Self::End => Err(DecodeError::TrailingBytes),
        }
    }
}

/// RFC 1950, 2.2: deflate, a window of at most 32 KiB, and a check of both bytes. Deflate without a frame looks like
/// that only if it begins with a stored block whose padding is not zero, which no encoder writes.
fn is_zlib_header(first: u8, second: u8) -> bool {
    first & 0x0f == 8 && first >> 4 <= 7 && u16::from_be_bytes([first, second]).is_multiple_of(31)
}

/// What was taken, what was given, and whether that was the end.
fn inflate(
    decompress: &mut Decompress,
    input: &[u8],
    output: &mut [u8],
    name: &'static str,
) -> Result<(usize, usize, bool), DecodeError> {
    let before = (decompress.total_in(), decompress.total_out());
    let status = decompress
        .decompress(input, output, FlushDecompress::None)
        .map_err(|_| DecodeError::Malformed(name))?;
    let taken = decompress.total_in() - before.0;
    let given = decompress.total_out() - before.1;
    Ok((taken as usize, given as usize, status == Status::StreamEnd))
}

#[cfg(feature = "brotli")]
impl Brotli {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), DecodeError> {
        match self.at {
            BrotliAt::Start | BrotliAt::End if input.is_empty() => return Ok((0, 0)),
            BrotliAt::End => return Err(DecodeError::TrailingBytes),
            BrotliAt::Start | BrotliAt::Data => self.at = BrotliAt::Data,
        }
        let (mut left, mut taken) = (input.len(), 0);
        let (mut room, mut given, mut total) = (output.len(), 0, 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut taken,
            input,
            &mut room,
            &mut given,
            output,
            &mut total,
            &mut self.state,
        );
        match result {
            BrotliResult::ResultSuccess => self.at = BrotliAt::End,
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultFailure => return Err(DecodeError::Malformed("br")),
        }
        Ok((taken, given))
    }
}

/// Why a body cannot be decoded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DecodeError {
    /// A coding that is not known, or was not built in.
    UnknownCoding,
    /// More than [`CODINGS_MAX`] codings.
    TooManyCodings,
    /// It is not what its coding, which is named, says; or a checksum is wrong.
    Malformed(&'static str),
    /// It ends in its middle.
    Truncated,
    /// It goes on behind its end.
    TrailingBytes,
    /// It decodes to more than so many bytes.
    TooLarge(u64),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCoding => f.write_str("the content coding is not known"),
            Self::TooManyCodings => write!(f, "there are more than {CODINGS_MAX} content codings"),
            Self::Malformed(name) => write!(f, "the body is not the {name} it should be"),
            Self::Truncated => f.write_str("the coded body ends in its middle"),
            Self::TrailingBytes => f.write_str("the coded body goes on behind its end"),
            Self::TooLarge(max) => write!(f, "the body decodes to more than {max} bytes"),
        }
    }
}

impl error::Error for DecodeError {}

impl From<DecodeError> for io::Error {
    fn from(error: DecodeError) -> Self {
        let kind = match error {
            DecodeError::UnknownCoding | DecodeError::TooManyCodings => io::ErrorKind::Unsupported,
            DecodeError::Malformed(_) | DecodeError::TrailingBytes => io::ErrorKind::InvalidData,
            DecodeError::Truncated => io::ErrorKind::UnexpectedEof,
            DecodeError::TooLarge(_) => io::ErrorKind::FileTooLarge,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests;
