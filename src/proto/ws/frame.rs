//! One frame: a header read and checked, or a header written and a payload behind it.
//!
//! The layout is `tungstenite`'s [`FrameHeader`]; it reads what is there. What may not be there is refused here: each
//! check of a header that needs no knowledge of the frames before. Reading by hand instead saves 5 ns of the 35 that
//! the echo of 64 bytes costs (`echo_costs` in the tests): not worth a second codec.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use super::mask::mask;
use super::{PeerError, Role};

/// The longest header: two bytes, eight of length, four of masking key.
pub const HEADER_BYTES_MAX: usize = 14;

/// The longest payload of a close, ping or pong (RFC 6455, 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// A header that passed.
pub(super) struct Header {
    pub(super) opcode: OpCode,
    pub(super) is_final: bool,
    pub(super) key: Option<[u8; 4]>,
    pub(super) header_len: usize,
    pub(super) payload_len: u64,
}

impl Header {
    /// Read the header at the front of `input`, as it reaches `role`; `None` while it is incomplete.
    ///
    /// It is judged when it is whole, in one order of checks, so that the verdict does not depend on how the bytes
    /// came.
    pub(super) fn parse(input: &[u8], role: Role) -> Result<Option<Self>, PeerError> {
        let mut cursor = Cursor::new(input);
        let (header, payload_len) = match FrameHeader::parse(&mut cursor) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Ok(None),
            // Reading from memory cannot fail, and an opcode is the only thing that this parser refuses.
            Err(_) => return Err(PeerError::ReservedOpcode),
        };
        let header_len = cursor.position() as usize;

        // Only an extension may give them a meaning, and we agree to none.
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(PeerError::ReservedBits);
        }
        match (role, header.mask) {
            (Role::Server, None) => return Err(PeerError::NotMasked),
            (Role::Client, Some(_)) => return Err(PeerError::Masked),
            _ => {}
        }
        if payload_len >> 63 != 0 {
            return Err(PeerError::LengthTopBit);
        }
        if header_len != header.len(payload_len) {
            return Err(PeerError::LengthNotMinimal);
        }
        if let OpCode::Control(_) = header.opcode {
            if payload_len > CONTROL_BYTES_MAX as u64 {
                return Err(PeerError::ControlTooLong);
            }
            if !header.is_final {
                return Err(PeerError::ControlFragmented);
            }
        }
        Ok(Some(Self {
            opcode: header.opcode,
            is_final: header.is_final,
            key: header.mask,
            header_len,
            payload_len,
        }))
    }
}

/// Append one whole frame to `out`, masked if there is a key.
pub(super) fn encode(opcode: OpCode, key: Option<[u8; 4]>, payload: &[u8], out: &mut Vec<u8>) {
    let header = FrameHeader {
        is_final: true,
        rsv1: false,
        rsv2: false,
        rsv3: false,
        opcode,
        mask: key,
    };
    let len = payload.len() as u64;
    out.reserve(header.len(len) + payload.len());
    header
        .format(len, out)
        .expect("a Vec takes whatever is written to it");
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
    let mut out = Vec::new();
    encode_text_into(payload, &mut out);
    out
}

/// A binary message as a server's frame; see [`encode_text`].
pub fn encode_binary(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_binary_into(payload, &mut out);
    out
}

/// [`encode_text`], appended to `out`.
pub fn encode_text_into(payload: &str, out: &mut Vec<u8>) {
    encode(OpCode::Data(Data::Text), None, payload.as_bytes(), out);
}

/// [`encode_binary`], appended to `out`.
pub fn encode_binary_into(payload: &[u8], out: &mut Vec<u8>) {
    encode(OpCode::Data(Data::Binary), None, payload, out);
}
