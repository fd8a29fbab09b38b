//! What can go wrong: [`PeerError`] is the peer's doing and knows the answer it deserves, [`Misuse`] is ours.

use std::fmt;

/// What the peer did that ends the exchange. The connection closes after the answer, since nobody can say any more
/// where the next request begins.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PeerError {
    /// A line ended at LF alone. RFC 9112, 2.2 leaves us the choice; two readers that choose differently can be played
    /// against each other, so we refuse.
    BareLf,
    /// CR that was not followed by LF (RFC 9112, 2.2).
    BareCr,
    /// An empty line where a request line belongs, beyond the one that RFC 9112, 2.2 asks us to skip.
    EmptyRequestLine,
    /// The request line is not three words with one space between each (RFC 9112, 3).
    BadRequestLine,
    /// The method is not a token (RFC 9110, 9.1).
    BadMethod,
    /// The target has none of the four forms of RFC 9112, 3.2, has the wrong one for its method, or holds a fragment or
    /// a byte outside visible ASCII.
    BadTarget,
    /// The last word of the request line is not `HTTP/digit.digit` (RFC 9112, 2.3).
    BadVersion,
    /// A version other than 1.0 and 1.1.
    VersionNotSupported,
    /// A field line without a colon.
    NoColon,
    /// Whitespace between a field's name and the colon (RFC 9112, 5.1).
    SpaceBeforeColon,
    /// A field's name is empty or not a token.
    BadFieldName,
    /// A control character in a field's value (RFC 9110, 5.5).
    BadFieldValue,
    /// A line that begins with whitespace: the folding that RFC 9112, 5.2 made obsolete, or whitespace before the first
    /// field (2.2).
    ObsFold,
    /// An HTTP/1.1 request without `Host` (RFC 9112, 3.2).
    NoHost,
    /// More than one `Host`.
    TwoHosts,
    /// `Host` is empty or not a host with an optional port.
    BadHost,
    /// Both `Content-Length` and `Transfer-Encoding`, in whatever order: the usual opening of request smuggling
    /// (RFC 9112, 6.3).
    LengthAndChunked,
    /// More than one `Content-Length`, as fields or as a list, even if they agree.
    TwoLengths,
    /// `Content-Length` is not a plain decimal number below 2^64.
    BadLength,
    /// `Transfer-Encoding` more than once, or a list that does not end in one `chunked` (RFC 9112, 6.1).
    BadTransferEncoding,
    /// A transfer coding besides `chunked`; we have none.
    UnknownTransferCoding,
    /// `Transfer-Encoding` in HTTP/1.0, which has none: its framing cannot be trusted (RFC 9112, 6.1).
    ChunkedInHttp10,
    /// `Expect` asks for something other than `100-continue` (RFC 9110, 10.1.1).
    UnknownExpectation,
    /// The request line is longer than [`HeadLimits::line_bytes_max`](super::HeadLimits::line_bytes_max).
    RequestLineTooLong,
    /// A field line is longer than [`HeadLimits::line_bytes_max`](super::HeadLimits::line_bytes_max).
    LineTooLong,
    /// The head is longer than [`HeadLimits::head_bytes_max`](super::HeadLimits::head_bytes_max).
    HeadTooLarge,
    /// More fields than [`HeadLimits::fields_max`](super::HeadLimits::fields_max).
    TooManyFields,
    /// A chunk size that is not one to sixteen hexadecimal digits.
    BadChunkSize,
    /// A chunk extension that RFC 9112, 7.1.1 does not describe, or one with a control character but the tab.
    BadChunkExtension,
    /// More extension bytes than [`HeadLimits`](super::HeadLimits) allows a chunk or a message.
    ChunkExtensionTooLarge,
    /// No CRLF behind a chunk's data.
    BadChunkEnd,
    /// A trailer field that would change framing or routing (RFC 9110, 6.5.1).
    BadTrailer,
    /// More trailer bytes than [`HeadLimits::trailer_bytes_max`](super::HeadLimits::trailer_bytes_max).
    TrailerTooLarge,
    /// The peer stopped sending in the middle of a message.
    Truncated,
    /// The request, or a part of it, took longer than the connection allows. The machine has no clock; the connection
    /// says so through [`Server::refuse`](super::Server::refuse).
    TooSlow,
    /// The body is larger than the connection allows; said through [`Server::refuse`](super::Server::refuse) as well.
    BodyTooLarge,
    /// A response's first line is not a version, a status of three digits from 100, and perhaps a phrase (RFC 9112, 4).
    BadStatusLine,
    /// The status line is longer than [`HeadLimits::line_bytes_max`](super::HeadLimits::line_bytes_max).
    StatusLineTooLong,
    /// Bytes came while no response was due (RFC 9112, 9.2): perhaps the rest of one whose end was misjudged.
    UnaskedResponse,
    /// The peer closed the connection before a response began.
    NoResponse,
    /// 101 to a request that offered no other protocol (RFC 9110, 7.8).
    UnofferedUpgrade,
}

impl PeerError {
    /// The status that answers it. A client answers nothing: what only a response can have wrong gets 502, as a gateway
    /// would say.
    pub const fn status(self) -> u16 {
        match self {
            Self::TooSlow => 408,
            Self::BodyTooLarge => 413,
            Self::RequestLineTooLong => 414,
            Self::UnknownExpectation => 417,
            Self::LineTooLong
            | Self::HeadTooLarge
            | Self::TooManyFields
            | Self::TrailerTooLarge => 431,
            Self::UnknownTransferCoding => 501,
            Self::BadStatusLine
            | Self::StatusLineTooLong
            | Self::UnaskedResponse
            | Self::NoResponse
            | Self::UnofferedUpgrade => 502,
            Self::VersionNotSupported => 505,
            _ => 400,
        }
    }
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BareLf => "a line ends with LF alone",
            Self::BareCr => "CR is not followed by LF",
            Self::EmptyRequestLine => "an empty line stands where a request line belongs",
            Self::BadRequestLine => {
                "the request line is not three words with one space between each"
            }
            Self::BadMethod => "the method is not a token",
            Self::BadTarget => {
                "the request target is malformed, or has the wrong form for its method"
            }
            Self::BadVersion => "the HTTP version is malformed",
            Self::VersionNotSupported => "the HTTP version is neither 1.0 nor 1.1",
            Self::NoColon => "a field line has no colon",
            Self::SpaceBeforeColon => "whitespace stands between a field's name and the colon",
            Self::BadFieldName => "a field's name is not a token",
            Self::BadFieldValue => "a field's value holds a control character",
            Self::ObsFold => "a line of the head begins with whitespace",
            Self::NoHost => "Host is missing",
            Self::TwoHosts => "Host is given twice",
            Self::BadHost => "Host is empty or malformed",
            Self::LengthAndChunked => "both Content-Length and Transfer-Encoding are given",
            Self::TwoLengths => "Content-Length is given twice",
            Self::BadLength => "Content-Length is not a plain decimal number",
            Self::BadTransferEncoding => "Transfer-Encoding does not end in one chunked",
            Self::UnknownTransferCoding => {
                "a transfer coding other than chunked is not implemented"
            }
            Self::ChunkedInHttp10 => "Transfer-Encoding is not part of HTTP/1.0",
            Self::UnknownExpectation => "the only expectation that can be met is 100-continue",
            Self::RequestLineTooLong => "the request line is too long",
            Self::LineTooLong => "a field line is too long",
            Self::HeadTooLarge => "the head is too large",
            Self::TooManyFields => "there are too many fields",
            Self::BadChunkSize => "a chunk size is malformed",
            Self::BadChunkExtension => "a chunk extension is malformed",
            Self::ChunkExtensionTooLarge => "the chunk extensions are too large",
            Self::BadChunkEnd => "a chunk's data does not end with CRLF",
            Self::BadTrailer => "a trailer field would change framing or routing",
            Self::TrailerTooLarge => "the trailer section is too large",
            Self::Truncated => "the message ends in its middle",
            Self::TooSlow => "the request took too long",
            Self::BodyTooLarge => "the body is too large",
            Self::BadStatusLine => "the status line is malformed",
            Self::StatusLineTooLong => "the status line is too long",
            Self::UnaskedResponse => "bytes came while no response was due",
            Self::NoResponse => "the connection ended before a response began",
            Self::UnofferedUpgrade => "101 came, and no other protocol was offered",
        })
    }
}

impl std::error::Error for PeerError {}

/// A call that the machine cannot carry out in the state it is in: a bug on our side of the wire, never the peer's
/// doing. Nothing has been written when it is returned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Misuse {
    /// A response where none is owed: no request was read, or its response has been begun already.
    NotOwed,
    /// Body bytes, or the end of a body, before the response's head or after its end.
    NotInBody,
    /// More body bytes than the head declared.
    BodyTooLong,
    /// The body ended before its declared length. The peer still waits for the rest; only closing helps.
    BodyTooShort,
    /// A status outside 100 to 999.
    BadStatus,
    /// A control character in the content type: it would end the line and begin another.
    BadContentType,
    /// 101 without a request that offered to upgrade.
    NoUpgradeOffered,
    /// A request before the response to the one before was complete, or on a connection that has ended.
    ExchangeUnderWay,
    /// The method is not a token.
    BadMethod,
    /// The target has none of the four forms, or the wrong one for its method (RFC 9112, 3.2).
    BadTarget,
    /// `Host` is not a host with an optional port, or not the one that the target names (RFC 9112, 3.2).
    BadHost,
    /// A field that the client's machine writes itself (`Host`, `Expect`) or cannot stand for (`TE`).
    OwnField,
    /// A body with CONNECT or TRACE (RFC 9110, 9.3.6 and 9.3.8).
    NoBodyAllowed,
    /// An expectation of `100 Continue` without a body (RFC 9110, 10.1.1).
    NothingToContinue,
    /// A body of unknown length to a peer that speaks HTTP/1.0, which has no chunks (RFC 9112, 6.1).
    ChunkedToHttp10,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOwed => "no response is owed",
            Self::NotInBody => "no body is under way",
            Self::BodyTooLong => "the body is longer than was declared",
            Self::BodyTooShort => "the body is shorter than was declared",
            Self::BadStatus => "a status lies between 100 and 999",
            Self::BadContentType => "the content type holds a control character",
            Self::NoUpgradeOffered => "101 answers only a request that offers to upgrade",
            Self::ExchangeUnderWay => "an exchange is under way, or the connection has ended",
            Self::BadMethod => "the method is not a token",
            Self::BadTarget => {
                "the request target is malformed, or has the wrong form for its method"
            }
            Self::BadHost => "Host is malformed, or not the one that the target names",
            Self::OwnField => "a field that the client writes itself, or cannot stand for",
            Self::NoBodyAllowed => "CONNECT and TRACE have no body",
            Self::NothingToContinue => "an expectation without a body",
            Self::ChunkedToHttp10 => "HTTP/1.0 has no chunks for a body of unknown length",
        })
    }
}

impl std::error::Error for Misuse {}
