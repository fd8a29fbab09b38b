//! Why a connection is closed, as a number: RFC 6455, 7.4, and what IANA has registered since.

use std::fmt;

/// Why an endpoint closes a WebSocket.
///
/// Every number is one of these, and is the same number again:
///
/// | numbers | RFC 6455, 7.4.2 | here |
/// | --- | --- | --- |
/// | 0 to 999 | not used | [`Bad`](Self::Bad) |
/// | 1000 to 1015 | the protocol itself | those with names; 1004 is `Bad` |
/// | 1016 to 2999 | its revisions and extensions | [`Reserved`](Self::Reserved) |
/// | 3000 to 3999 | libraries and frameworks, registered at IANA | [`Iana`](Self::Iana) |
/// | 4000 to 4999 | applications, by their own agreement | [`Library`](Self::Library) |
/// | 5000 and more | none | `Bad` |
///
/// ```
/// use tourbillon::proto::ws::CloseCode;
///
/// assert_eq!(CloseCode::from(1001), CloseCode::Away);
/// assert_eq!(u16::from(CloseCode::Library(4001)), 4001);
/// assert!(!CloseCode::Status.is_allowed());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CloseCode {
    /// 1000: what the connection was for is done.
    Normal,
    /// 1001: the endpoint goes away, a server that shuts down or a browser that leaves the page.
    Away,
    /// 1002: the other side broke the protocol.
    Protocol,
    /// 1003: a kind of message that the endpoint does not take, binary where it knows text only.
    Unsupported,
    /// 1005: the close frame had no code. For use inside programs: never sent.
    Status,
    /// 1006: the connection ended without a close frame. For use inside programs: never sent.
    Abnormal,
    /// 1007: a message that is not what it says it is, such as text that is not UTF-8.
    Invalid,
    /// 1008: a message against the endpoint's rules; also when no other code fits, or the rule is to stay hidden.
    Policy,
    /// 1009: a message too big to be worked on.
    Size,
    /// 1010: a client misses an extension that it asked for. A server refuses the handshake instead.
    Extension,
    /// 1011: something unexpected keeps the server from doing what it was asked to.
    Error,
    /// 1012, by IANA: the service restarts. Who comes again waits for some random 5 to 30 seconds first.
    Restart,
    /// 1013, by IANA: the service has too much to do. Try another address, or later, when a person asks for it.
    Again,
    /// 1014, by IANA: the endpoint is a gateway, and the server behind it gave it no valid answer.
    BadGateway,
    /// 1015: TLS could not be agreed on. For use inside programs: never sent.
    Tls,
    /// 1016 to 2999: the protocol's, without a meaning so far.
    Reserved(u16),
    /// 3000 to 3999: a library's or framework's, registered at IANA.
    Iana(u16),
    /// 4000 to 4999: the application's own.
    Library(u16),
    /// 0 to 999, 1004, and 5000 and more: no close code.
    Bad(u16),
}

impl CloseCode {
    /// Whether it may stand in a close frame, sent or received. It is the number that counts, whatever the variant.
    #[inline]
    pub const fn is_allowed(self) -> bool {
        matches!(self.number(), 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    const fn number(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::Away => 1001,
            Self::Protocol => 1002,
            Self::Unsupported => 1003,
            Self::Status => 1005,
            Self::Abnormal => 1006,
            Self::Invalid => 1007,
            Self::Policy => 1008,
            Self::Size => 1009,
            Self::Extension => 1010,
            Self::Error => 1011,
            Self::Restart => 1012,
            Self::Again => 1013,
            Self::BadGateway => 1014,
            Self::Tls => 1015,
            Self::Reserved(code) | Self::Iana(code) | Self::Library(code) | Self::Bad(code) => code,
        }
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        match code {
            1000 => Self::Normal,
            1001 => Self::Away,
            1002 => Self::Protocol,
            1003 => Self::Unsupported,
            1005 => Self::Status,
            1006 => Self::Abnormal,
            1007 => Self::Invalid,
            1008 => Self::Policy,
            1009 => Self::Size,
            1010 => Self::Extension,
            1011 => Self::Error,
            1012 => Self::Restart,
            1013 => Self::Again,
            1014 => Self::BadGateway,
            1015 => Self::Tls,
            1016..=2999 => Self::Reserved(code),
            3000..=3999 => Self::Iana(code),
            4000..=4999 => Self::Library(code),
            0..=999 | 1004 | 5000.. => Self::Bad(code),
        }
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.number()
    }
}

impl fmt::Display for CloseCode {
    /// The number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}
