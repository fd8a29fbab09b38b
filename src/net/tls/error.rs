//! What goes wrong with TLS, and with whose certificate.

use std::{error, fmt, io};

use rustls::{AlertDescription, CertificateError, Error};

/// Why a TLS connection, or the settings for one, came to nothing. It travels inside an [`io::Error`], where
/// [`TlsError::of`] finds it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// The name to connect to is neither a DNS name nor an IP address.
    BadName(String),
    /// Certificates, a key or roots that cannot be used; says why.
    BadSettings(String),
    /// The peer's certificate is not accepted.
    Certificate {
        /// What is wrong with it.
        fault: CertificateFault,
        /// The same as a sentence, with the names or times in question.
        detail: String,
    },
    /// The peer ended the connection with this alert (RFC 8446, 6.2). 116, `certificate_required`, is the answer to a
    /// client without a certificate; in TLS 1.3 it comes with the first read, when the handshake seems done.
    Refused(u8),
    /// No protocol that one side offers by ALPN is one that the other speaks (RFC 7301, 3.2).
    NoCommonProtocol,
    /// The peer closed the connection before the handshake was done.
    ClosedInHandshake,
    /// The peer closed the connection without saying that it would (`close_notify`): somebody on the way may have cut
    /// off the rest. Harmless if the protocol above knows that its message was complete (RFC 9112, 9.8).
    Truncated,
    /// The peer broke the rules of TLS, or does not speak it; says which or how.
    Protocol(String),
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CertificateFault {
    /// None was sent where one is required.
    Missing,
    /// No chain leads from it to a root that is trusted.
    UnknownIssuer,
    /// It is for other names.
    WrongName,
    /// It was valid.
    Expired,
    /// It will be valid.
    NotYetValid,
    /// Its issuer has revoked it.
    Revoked,
    /// It was not signed by the one it names, or its owner does not hold the key.
    BadSignature,
    /// It is not for this use: a server's for a client, an authority's for a server.
    WrongPurpose,
    /// It cannot be read.
    Malformed,
    /// Anything else: an unknown algorithm or critical extension.
    Unsupported,
}

impl TlsError {
    /// The one inside `error`, if it is about TLS.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    const fn kind(&self) -> io::ErrorKind {
        match self {
            Self::BadName(_) | Self::BadSettings(_) => io::ErrorKind::InvalidInput,
            Self::Certificate { .. } | Self::Protocol(_) | Self::NoCommonProtocol => {
                io::ErrorKind::InvalidData
            }
            Self::Refused(_) => io::ErrorKind::ConnectionAborted,
            Self::ClosedInHandshake | Self::Truncated => io::ErrorKind::UnexpectedEof,
        }
    }
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        Self::new(error.kind(), error)
    }
}

impl From<Error> for TlsError {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidCertificate(fault) => Self::Certificate {
                detail: fault.to_string(),
                fault: CertificateFault::from(&fault),
            },
            Error::NoCertificatesPresented => Self::Certificate {
                detail: "the peer sent none".to_owned(),
                fault: CertificateFault::Missing,
            },
            Error::NoApplicationProtocol
            | Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
                Self::NoCommonProtocol
            }
            Error::AlertReceived(alert) => Self::Refused(alert.into()),
            error => Self::Protocol(error.to_string()),
        }
    }
}

impl From<&CertificateError> for CertificateFault {
    fn from(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::Revoked => Self::Revoked,
            CertificateError::BadSignature => Self::BadSignature,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::WrongPurpose
            }
            CertificateError::BadEncoding => Self::Malformed,
            _ => Self::Unsupported,
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName(name) => write!(f, "{name:?} is neither a DNS name nor an IP address"),
            Self::BadSettings(why) => write!(f, "TLS cannot be set up: {why}"),
            Self::Certificate { fault, detail } => {
                write!(
                    f,
                    "the peer's certificate is not accepted: {fault} ({detail})"
                )
            }
            Self::Refused(alert) => {
                let name = AlertDescription::from(*alert);
                write!(
                    f,
                    "the peer refused the connection: {name:?} (alert {alert})"
                )
            }
            Self::NoCommonProtocol => {
                f.write_str("no protocol that one side offers suits the other")
            }
            Self::ClosedInHandshake => {
                f.write_str("the peer closed the connection in the handshake")
            }
            Self::Truncated => {
                f.write_str("the connection ended without close_notify: it may have been cut short")
            }
            Self::Protocol(what) => write!(f, "TLS failed: {what}"),
        }
    }
}

impl error::Error for TlsError {}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "it is missing",
            Self::UnknownIssuer => "its issuer is not trusted",
            Self::WrongName => "it is for other names",
            Self::Expired => "it has expired",
            Self::NotYetValid => "it is not valid yet",
            Self::Revoked => "it was revoked",
            Self::BadSignature => "its signature is wrong",
            Self::WrongPurpose => "it is not for this use",
            Self::Malformed => "it cannot be read",
            Self::Unsupported => "it asks for what is not supported",
        })
    }
}
