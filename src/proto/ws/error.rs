//! Whose fault it was: the peer's, with the close code it earns, or our own.

use std::fmt;

use super::CloseCode;

/// What the peer did that the protocol does not allow. The connection has failed (RFC 6455, 7.1.7): say
/// [`close_code`](Self::close_code) and hang up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PeerError {
    /// A client's frame came without a mask (RFC 6455, 5.1).
    NotMasked,
    /// A server's frame came with one (RFC 6455, 5.1).
    Masked,
    /// RSV1, RSV2 or RSV3 is set, and no extension was agreed on that gives it a meaning (RFC 6455, 5.2).
    ReservedBits,
    /// Opcode 3 to 7 or 11 to 15 (RFC 6455, 5.2).
    ReservedOpcode,
    /// A close, ping or pong with more than 125 bytes (RFC 6455, 5.5).
    ControlTooLong,
    /// A close, ping or pong that says that it goes on (RFC 6455, 5.5).
    ControlFragmented,
    /// A length written in more bytes than it needs (RFC 6455, 5.2).
    LengthNotMinimal,
    /// A length of 2^63 or more (RFC 6455, 5.2).
    LengthTopBit,
    /// More than [`WsLimits::message_bytes_max`](super::WsLimits::message_bytes_max), by the frame's own claim.
    MessageTooBig,
    /// More than [`WsLimits::fragments_max`](super::WsLimits::fragments_max).
    TooManyFragments,
    /// Text, or the reason in a close frame, that is not UTF-8 (RFC 6455, 8.1).
    InvalidUtf8,
    /// A continuation of no message (RFC 6455, 5.4).
    UnexpectedContinuation,
    /// A new message inside an unfinished one (RFC 6455, 5.4).
    ContinuationExpected,
    /// A close code that may not be sent, or that nobody has given a meaning (RFC 6455, 7.4).
    BadCloseCode,
    /// A close frame of a single byte: half a close code (RFC 6455, 5.5.1).
    BadClosePayload,
    /// A compressed message that is no deflate (RFC 7692, 7.2.2).
    BadDeflate,
}

impl PeerError {
    /// The code to close with: 1002, but 1007 for data that is not what it says it is and 1009 for what is too much
    /// (RFC 6455, 7.4.1; RFC 7692 names no code).
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::InvalidUtf8 => CloseCode::Invalid,
            Self::BadDeflate => CloseCode::Invalid,
            Self::MessageTooBig | Self::TooManyFragments => CloseCode::Size,
            _ => CloseCode::Protocol,
        }
    }

    /// The fault in a few words, short enough for the reason of a close frame.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotMasked => "frame without a mask",
            Self::Masked => "frame with a mask",
            Self::ReservedBits => "reserved bit set",
            Self::ReservedOpcode => "reserved opcode",
            Self::ControlTooLong => "control frame longer than 125 bytes",
            Self::ControlFragmented => "fragmented control frame",
            Self::LengthNotMinimal => "length not in its shortest form",
            Self::LengthTopBit => "length of 2^63 or more",
            Self::MessageTooBig => "message too big",
            Self::TooManyFragments => "message in too many fragments",
            Self::InvalidUtf8 => "text is not UTF-8",
            Self::UnexpectedContinuation => "continuation of no message",
            Self::ContinuationExpected => "new message inside another",
            Self::BadCloseCode => "invalid close code",
            Self::BadClosePayload => "close frame with half a code",
            Self::BadDeflate => "compressed message is no deflate",
        }
    }
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for PeerError {}

/// What we asked of the machine and may not: our own bug, and nothing was written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Misuse {
    /// A frame after our close frame (RFC 6455, 5.5.1).
    AfterClose,
    /// A ping or pong of more than 125 bytes, or a close reason of more than 123 (RFC 6455, 5.5).
    ControlTooLong,
    /// A close code that may not be sent (RFC 6455, 7.4).
    BadCloseCode,
    /// A client's frame without a masking key: see [`Writer::mask_with`](super::Writer::mask_with).
    NoMaskingKey,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AfterClose => "a frame was to follow our close frame",
            Self::ControlTooLong => "control frame longer than 125 bytes",
            Self::BadCloseCode => "a close code that may not be sent",
            Self::NoMaskingKey => "a client's frame needs a masking key",
        })
    }
}

impl std::error::Error for Misuse {}
