//! One frame: a header read and checked, or a header written and a payload behind it.
//!
//! ```text
//!  first byte            second byte             then, if they are there
//! +-----+------+--------+--------+-------------+-------------------------+----------------------+
//! | FIN | RSV  | opcode | masked | length      | length, when the seven  | masking key, 4 bytes |
//! | 1   | 3    | 4 bits | 1      | 7 bits      | bits say 126: 2 bytes,  |                      |
//! |     |      |        |        |             | or 127: 8 bytes         |                      |
//! +-----+------+--------+--------+-------------+-------------------------+----------------------+
//! ```
//!
//! What these few bytes may not be is refused in the place where they are read. The tests hold every header against
//! `tungstenite`'s codec.

use super::mask::mask;
use super::opcode::{Data, OpCode};
use super::{Message, PeerError, Role};

/// The longest header: two bytes, eight of length, four of masking key.
pub const HEADER_BYTES_MAX: usize = 14;

/// The longest payload of a close, ping or pong (RFC 6455, 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

// The first byte.
const FINAL: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
/// RSV1: the message is compressed (RFC 7692, 6).
const DEFLATED: u8 = 0x40;
const OPCODE_BITS: u8 = 0x0f;
pub(super) const FINAL_TEXT: u8 = FINAL | Data::Text as u8;
pub(super) const FINAL_BINARY: u8 = FINAL | Data::Binary as u8;
// The second byte.
const MASKED: u8 = 0x80;
const LENGTH_BITS: u8 = 0x7f;
/// Two bytes of length follow.
const LENGTH_IN_2: u8 = 126;
/// Eight do.
const LENGTH_IN_8: u8 = 127;

/// The shortest payload whose length takes two bytes.
const LEN_IN_2_MIN: u64 = LENGTH_IN_2 as u64;
/// The shortest whose length takes eight.
const LEN_IN_8_MIN: u64 = 1 << 16;

/// A header that passed.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) opcode: OpCode,
    pub(super) is_final: bool,
    /// The first frame of a compressed message.
    pub(super) is_deflated: bool,
    pub(super) key: Option<[u8; 4]>,
    pub(super) header_len: usize,
    pub(super) payload_len: u64,
}

impl Header {
    /// Read the header at the front of `input`, as it reaches `role`; `None` while it is incomplete. `may_be_deflated`:
    /// it was agreed on that messages may be compressed.
    ///
    /// It is judged when it is whole, in one order of checks, so that the verdict does not depend on how the bytes
    /// came.
    #[inline]
    pub(super) fn parse(
        input: &[u8],
        role: Role,
        may_be_deflated: bool,
    ) -> Result<Option<Self>, PeerError> {
        let [first, second, rest @ ..] = input else {
            return Ok(None);
        };
        let (payload_len, payload_len_min, rest) = match second & LENGTH_BITS {
            LENGTH_IN_2 => {
                let Some((len, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                (u16::from_be_bytes(*len).into(), LEN_IN_2_MIN, rest)
            }
            LENGTH_IN_8 => {
                let Some((len, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                (u64::from_be_bytes(*len), LEN_IN_8_MIN, rest)
            }
            len => (len.into(), 0, rest),
        };
        let (key, rest) = if second & MASKED == 0 {
            (None, rest)
        } else {
            let Some((key, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (Some(*key), rest)
        };

        let opcode = OpCode::from_bits(first & OPCODE_BITS).ok_or(PeerError::ReservedOpcode)?;
        let is_deflated = match first & RESERVED_BITS {
            0 => false,
            bits => is_deflated(bits, opcode, may_be_deflated)?,
        };
        match (role, key) {
            (Role::Server, None) => return Err(PeerError::NotMasked),
            (Role::Client, Some(_)) => return Err(PeerError::Masked),
            _ => {}
        }
        if payload_len >> 63 != 0 {
            return Err(PeerError::LengthTopBit);
        }
        if payload_len < payload_len_min {
            return Err(PeerError::LengthNotMinimal);
        }
        let is_final = first & FINAL != 0;
        if let OpCode::Control(_) = opcode {
            if payload_len > CONTROL_BYTES_MAX as u64 {
                return Err(PeerError::ControlTooLong);
            }
            if !is_final {
                return Err(PeerError::ControlFragmented);
            }
        }
        Ok(Some(Self {
            opcode,
            is_final,
            is_deflated,
            key,
            header_len: input.len() - rest.len(),
            payload_len,
        }))
    }
}

/// What reserved bits mean: only an extension may give them a meaning, and there is one that we may have agreed to. It
/// has one of them, on the first frame of a message (RFC 7692, 6).
#[cold]
fn is_deflated(bits: u8, opcode: OpCode, may_be_deflated: bool) -> Result<bool, PeerError> {
    match (bits, opcode, may_be_deflated) {
        (DEFLATED, OpCode::Data(Data::Text | Data::Binary), true) => Ok(true),
        _ => Err(PeerError::ReservedBits),
    }
}

/// The length of a masked payload, if this second byte of a frame says it: up to 125 bytes.
#[inline(always)]
pub(super) fn short_len(second: u8) -> Option<usize> {
    let is_short = second & MASKED != 0 && second & LENGTH_BITS < LENGTH_IN_2;
    is_short.then_some(usize::from(second & LENGTH_BITS))
}

/// Append one whole frame to `out`, masked if there is a key.
///
/// Made anew for each caller: there the opcode and whether there is a key are known, and most of the choices fall away.
#[inline(always)]
pub(super) fn encode(opcode: OpCode, key: Option<[u8; 4]>, payload: &[u8], out: &mut Vec<u8>) {
    encode_behind(FINAL | opcode.bits(), key, payload, out);
}

/// [`encode`], for a message whose payload is compressed.
#[cfg(feature = "deflate")]
pub(super) fn encode_deflated(data: Data, key: Option<[u8; 4]>, payload: &[u8], out: &mut Vec<u8>) {
    let opcode = OpCode::Data(data).bits();
    encode_behind(FINAL | DEFLATED | opcode, key, payload, out);
}

/// Append what follows on a frame's `first` byte, and that before.
#[inline(always)]
fn encode_behind(first: u8, key: Option<[u8; 4]>, payload: &[u8], out: &mut Vec<u8>) {
    let masked = if key.is_some() { MASKED } else { 0 };
    match payload.len() as u64 {
        len @ ..LEN_IN_2_MIN => out.extend_from_slice(&[first, masked | len as u8]),
        len @ LEN_IN_2_MIN..LEN_IN_8_MIN => {
            let [high, low] = (len as u16).to_be_bytes();
            out.extend_from_slice(&[first, masked | LENGTH_IN_2, high, low]);
        }
        len => {
            out.extend_from_slice(&[first, masked | LENGTH_IN_8]);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
    if let Some(key) = key {
        out.extend_from_slice(&key);
    }
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = key {
        mask(&mut out[start..], key);
    }
}

/// A text message as a server's frame, to be sent to any number of clients: a server's frames carry no mask, so the
/// same bytes serve them all.
///
/// ```
/// use tourbillon::proto::ws::encode_text;
/// assert_eq!(encode_text("Hello"), b"\x81\x05Hello");
/// ```
pub fn encode_text(payload: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES_MAX + payload.len());
    encode_text_into(payload, &mut out);
    out
}

/// A binary message as a server's frame; see [`encode_text`].
pub fn encode_binary(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES_MAX + payload.len());
    encode_binary_into(payload, &mut out);
    out
}

/// The message in a frame that [`encode_text`] or [`encode_binary`] has made.
pub(crate) fn encoded_message(frame: &[u8]) -> Message<'_> {
    let header_len = match frame[1] & LENGTH_BITS {
        LENGTH_IN_2 => 4,
        LENGTH_IN_8 => 10,
        _ => 2,
    };
    let payload = &frame[header_len..];
    match frame[0] {
        FINAL_TEXT => Message::Text(str::from_utf8(payload).expect("it was made of a text")),
        _ => Message::Binary(payload),
    }
}

/// [`encode_text`], appended to `out`.
pub fn encode_text_into(payload: &str, out: &mut Vec<u8>) {
    encode(OpCode::Data(Data::Text), None, payload.as_bytes(), out);
}

/// [`encode_binary`], appended to `out`.
pub fn encode_binary_into(payload: &[u8], out: &mut Vec<u8>) {
    encode(OpCode::Data(Data::Binary), None, payload, out);
}
