//! What can go wrong with a request: one error with a kind, the phase it happened in, and the URL.

use std::fmt;
use std::io;
use std::time::Duration;

use super::url::{Url, UrlError};
use crate::event_loop::Origin;
use crate::proto::http1::{BadField, Misuse, PeerError};

/// Why a request came to nothing. One word wide.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    phase: Phase,
    url: Option<Url>,
}

impl Error {
    pub(super) fn new(kind: ErrorKind, phase: Phase) -> Self {
        Self(Box::new(Inner {
            kind,
            phase,
            url: None,
        }))
    }

    /// Say which URL it was about, unless that is known already.
    pub(super) fn about(mut self, url: &Url) -> Self {
        self.0.url.get_or_insert_with(|| url.clone());
        self
    }

    /// The same in another phase.
    pub(super) fn in_phase(mut self, phase: Phase) -> Self {
        self.0.phase = phase;
        self
    }

    /// Say who had the connections that were waited for.
    pub(super) fn with_pool(mut self, report: impl FnOnce() -> PoolReport) -> Self {
        if let ErrorKind::Timeout(timeout) = &mut self.0.kind {
            timeout.pool = Some(Box::new(report()));
        }
        self
    }

    /// What happened.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// What was being done.
    pub fn phase(&self) -> Phase {
        self.0.phase
    }

    /// The URL that was being fetched: after redirects, the last one. `None` if none could be read.
    pub fn url(&self) -> Option<&Url> {
        self.0.url.as_ref()
    }

    /// Whether a time limit ended it.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Timeout(_))
    }

    /// Whether no connection to the server, or to the proxy, came about.
    pub fn is_connect(&self) -> bool {
        (Phase::Resolve..=Phase::Tls).contains(&self.0.phase)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.kind)?;
        if self.0.phase != Phase::Request {
            write!(f, ", {}", self.0.phase)?;
        }
        match &self.0.url {
            Some(url) => write!(f, " ({url})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(match &self.0.kind {
            ErrorKind::Url(error) | ErrorKind::Redirect(error) => error,
            ErrorKind::Field(error) => error,
            ErrorKind::Misuse(error) => error,
            ErrorKind::Peer(error) => error,
            ErrorKind::Io(error) | ErrorKind::Upload(error) | ErrorKind::Decode(error) => error,
            #[cfg(feature = "json")]
            ErrorKind::Json(error) => error,
            _ => return None,
        })
    }
}

/// What happened.
#[derive(Debug)]
pub enum ErrorKind {
    /// The URL is none.
    Url(UrlError),
    /// A header cannot be sent.
    Field(BadField),
    /// The request cannot be sent as it is: a method that is no token, a body with TRACE.
    Misuse(Misuse),
    /// A time limit was reached.
    Timeout(Timeout),
    /// Connecting, reading or writing failed; a name that does not resolve and a certificate that does not convince
    /// are among these.
    Io(io::Error),
    /// The server broke the rules of HTTP or a limit of ours, or went away before its response was complete.
    Peer(PeerError),
    /// An `https` URL, and the crate was built without the feature `tls`.
    NoTls,
    /// The proxy answered CONNECT with this status.
    ProxyRefused(u16),
    /// More redirects than the client follows: this many.
    TooManyRedirects(u32),
    /// A redirect to what is no URL of HTTP.
    Redirect(UrlError),
    /// A redirect from `https` to `http`, which the client does not follow unless told so.
    InsecureRedirect,
    /// The request would have to be sent again, by a redirect that keeps its method or by a retry, and its body is a
    /// stream, of which a part has gone.
    BodyGone,
    /// The request's body could not be produced.
    Upload(io::Error),
    /// The response's body is larger than this many bytes, decoded; see
    /// [`ClientBuilder::body_bytes_max`](super::ClientBuilder::body_bytes_max).
    BodyTooLarge(u64),
    /// The body does not follow its `Content-Encoding`.
    Decode(io::Error),
    /// The body is not UTF-8.
    NotUtf8,
    /// A value that could not be written as JSON, or a body that is not the JSON asked for.
    #[cfg(feature = "json")]
    Json(serde_json::Error),
    /// A status of 400 or above, for those who ask for it:
    /// [`Response::error_for_status`](super::Response::error_for_status).
    Status(u16),
}

impl ErrorKind {
    /// Its name in one word, for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Url(_) => "UrlError",
            Self::Field(_) => "FieldError",
            Self::Misuse(_) => "RequestError",
            Self::Timeout(_) => "TimeoutError",
            Self::Io(_) => "IoError",
            Self::Peer(_) => "ProtocolError",
            Self::NoTls => "NoTlsError",
            Self::ProxyRefused(_) => "ProxyError",
            Self::TooManyRedirects(_) | Self::Redirect(_) | Self::InsecureRedirect => {
                "RedirectError"
            }
            Self::BodyGone => "BodyGoneError",
            Self::Upload(_) => "UploadError",
            Self::BodyTooLarge(_) => "BodyTooLargeError",
            Self::Decode(_) => "DecodeError",
            Self::NotUtf8 => "TextError",
            #[cfg(feature = "json")]
            Self::Json(_) => "JsonError",
            Self::Status(_) => "StatusError",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::Field(error) => error.fmt(f),
            Self::Misuse(error) => error.fmt(f),
            Self::Timeout(timeout) => timeout.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Peer(error) => error.fmt(f),
            Self::NoTls => f.write_str("https needs the feature `tls`, which was not built in"),
            Self::ProxyRefused(status) => write!(f, "the proxy answered CONNECT with {status}"),
            Self::TooManyRedirects(limit) => write!(f, "more than {limit} redirects"),
            Self::Redirect(error) => write!(f, "a redirect leads nowhere: {error}"),
            Self::InsecureRedirect => f.write_str("a redirect leads from https to http"),
            Self::BodyGone => f.write_str("the request must be sent again, and its body cannot be"),
            Self::Upload(error) => write!(f, "the request's body failed: {error}"),
            Self::BodyTooLarge(max) => write!(f, "the body is larger than {max} bytes"),
            Self::Decode(error) => write!(f, "the body cannot be decoded: {error}"),
            Self::NotUtf8 => f.write_str("the body is not UTF-8"),
            #[cfg(feature = "json")]
            Self::Json(error) => write!(f, "JSON: {error}"),
            Self::Status(status) => write!(f, "the server answered {status}"),
        }
    }
}

/// What was being done, in the order in which a request comes by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// The request was being put together.
    Request,
    /// It waited for a connection.
    Pool,
    /// The host's name was being looked up.
    Resolve,
    /// A connection was being opened.
    Connect,
    /// The proxy was asked for a tunnel.
    Proxy,
    /// The TLS handshake.
    Tls,
    /// The request was being sent.
    Send,
    /// The response's head was awaited.
    Wait,
    /// The response's body was being read.
    Body,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "while the request was put together",
            Self::Pool => "while waiting for a connection",
            Self::Resolve => "while looking up the host's name",
            Self::Connect => "while connecting",
            Self::Proxy => "while asking the proxy",
            Self::Tls => "during the TLS handshake",
            Self::Send => "while sending the request",
            Self::Wait => "while waiting for the response",
            Self::Body => "while reading the body",
        })
    }
}

/// A time limit that was reached.
#[derive(Clone, Debug)]
pub struct Timeout {
    /// Which one.
    pub limit: TimeLimit,
    /// How long that was.
    pub after: Duration,
    /// Who had the connections, if it was one that was waited for.
    pub pool: Option<Box<PoolReport>>,
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timed out after {:?} ({})", self.after, self.limit)?;
        match &self.pool {
            Some(pool) => write!(f, ": {pool}"),
            None => Ok(()),
        }
    }
}

/// The time limits of [`Timeouts`](super::Timeouts), by their names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TimeLimit {
    /// The whole, redirects and body included.
    Total,
    /// From the wish for a connection until there is one.
    Connect,
    /// The wait for a place in the pool.
    Pool,
    /// Opening one connection, its TLS included.
    SockConnect,
    /// The pause between two reads.
    SockRead,
    /// The time in which the peer takes no byte.
    Write,
}

impl fmt::Display for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Total => "total",
            Self::Connect => "connect",
            Self::Pool => "pool",
            Self::SockConnect => "sock_connect",
            Self::SockRead => "sock_read",
            Self::Write => "write",
        })
    }
}

/// Who had the connections that somebody waited for in vain.
#[derive(Clone, Debug)]
pub struct PoolReport {
    /// The origin that was to be connected to.
    pub host: String,
    /// Whether it was `limit_per_host` that was reached; else it was `limit`.
    pub is_host_full: bool,
    /// That limit.
    pub limit: usize,
    /// How many hold a connection that counts towards it.
    pub holders: usize,
    /// How many wait with this one, itself included.
    pub waiters: usize,
    /// Who has held one for the longest time.
    pub longest: Option<Held>,
}

/// One who holds a connection.
#[derive(Clone, Debug)]
pub struct Held {
    /// What it fetches.
    pub url: Url,
    /// Where in the program it was sent.
    pub origin: Origin,
    /// For how long.
    pub duration: Duration,
}

impl fmt::Display for PoolReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            limit,
            holders,
            waiters,
            ..
        } = self;
        match self.is_host_full {
            true => write!(f, "limit_per_host {limit} is reached for {host}")?,
            false => write!(f, "limit {limit} is reached")?,
        }
        write!(f, ", {holders} held, {waiters} waiting")?;
        match &self.longest {
            Some(held) => write!(
                f,
                ", the longest for {:?} by {} from {}",
                held.duration, held.url, held.origin
            ),
            None => Ok(()),
        }
    }
}
