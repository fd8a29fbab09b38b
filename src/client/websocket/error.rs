//! What can go wrong with a WebSocket, and how one ends.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::super::url::UrlError;
use crate::proto::http1::{self, BadField, IncomingResponse};
use crate::proto::ws::{self, BadSubprotocol, CloseCode, PeerError, ResponseError};

/// Why a WebSocket was not opened, or went on no longer.
#[derive(Clone, Debug)]
pub enum WebSocketError {
    /// The URL is none.
    Url(UrlError),
    /// The URL's scheme is neither `ws` nor `wss`, or it has a fragment, which names nothing here (RFC 6455, 3).
    NotWebSocketUrl,
    /// A `wss` URL, and the crate was built without the feature `tls`.
    NoTls,
    /// A header cannot be sent, or belongs to the handshake.
    Field(BadField),
    /// A subprotocol cannot be asked for.
    Subprotocol(BadSubprotocol),
    /// No connection came about, or it broke during the handshake; a name that does not resolve is among these.
    Connect(Arc<io::Error>),
    /// A time limit was reached.
    Timeout(WebSocketTimeout),
    /// What the server answered to the handshake is no HTTP, or broke off.
    Http(http1::PeerError),
    /// The server answered, but with another status than 101.
    Refused(Box<Refusal>),
    /// The server answered with 101, but not to our handshake.
    Handshake(ResponseError),
    /// The server broke the rules of WebSocket, or a limit of ours; it was told so.
    Protocol(PeerError),
    /// It was to be sent what cannot be.
    Misuse(ws::Misuse),
    /// Either side has closed: nothing more can be sent.
    Closed,
    /// The connection ended without a close handshake, of an error or just so (what the RFC calls 1006).
    Lost(Option<Arc<io::Error>>),
}

/// Which limit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WebSocketTimeout {
    /// [`WebSocketBuilder::connect_timeout`](super::WebSocketBuilder::connect_timeout).
    Connect,
    /// [`WebSocketBuilder::close_timeout`](super::WebSocketBuilder::close_timeout).
    Close,
    /// [`WebSocketBuilder::heartbeat`](super::WebSocketBuilder::heartbeat).
    Heartbeat,
}

/// What a server closed with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CloseFrame {
    /// Its code; 1005 when it gave none.
    pub code: CloseCode,
    /// Its reason, for people; often empty.
    pub reason: String,
}

/// The answer of a server that opens no WebSocket.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub(super) head: IncomingResponse,
    pub(super) body: Vec<u8>,
}

impl Refusal {
    /// The status: 101 is never one.
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body, as far as it came; at most 64 KiB of it.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

impl WebSocketError {
    /// Whether another try, later, may go better: it was the network's fault, or the server's, and not ours.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Timeout(_) | Self::Http(_) | Self::Lost(_) | Self::Closed => {
                true
            }
            Self::Refused(refusal) => {
                matches!(refusal.status(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            Self::Protocol(_) => true,
            Self::Url(_)
            | Self::NotWebSocketUrl
            | Self::NoTls
            | Self::Field(_)
            | Self::Subprotocol(_)
            | Self::Handshake(_)
            | Self::Misuse(_) => false,
        }
    }
}

impl fmt::Display for WebSocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::NotWebSocketUrl => {
                f.write_str("a WebSocket's URL begins with ws:// or wss:// and has no fragment")
            }
            Self::NoTls => f.write_str("wss needs the feature `tls`, which was not built in"),
            Self::Field(error) => error.fmt(f),
            Self::Subprotocol(error) => error.fmt(f),
            Self::Connect(error) => write!(f, "no connection: {error}"),
            Self::Timeout(WebSocketTimeout::Connect) => f.write_str("connecting took too long"),
            Self::Timeout(WebSocketTimeout::Close) => {
                f.write_str("the server did not answer our close")
            }
            Self::Timeout(WebSocketTimeout::Heartbeat) => {
                f.write_str("the server did not answer a ping")
            }
            Self::Http(error) => write!(f, "the server's answer to the handshake: {error}"),
            Self::Refused(refusal) => {
                write!(f, "the server answered {} and not 101", refusal.status())
            }
            Self::Handshake(error) => error.fmt(f),
            Self::Protocol(error) => write!(f, "the server broke the protocol: {error}"),
            Self::Misuse(error) => error.fmt(f),
            Self::Closed => f.write_str("the WebSocket is closed"),
            Self::Lost(Some(error)) => write!(f, "the connection was lost: {error}"),
            Self::Lost(None) => f.write_str("the connection ended without a close"),
        }
    }
}

impl std::error::Error for WebSocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(match self {
            Self::Url(error) => error,
            Self::Field(error) => error,
            Self::Subprotocol(error) => error,
            Self::Connect(error) | Self::Lost(Some(error)) => &**error,
            Self::Http(error) => error,
            Self::Handshake(error) => error,
            Self::Protocol(error) => error,
            Self::Misuse(error) => error,
            _ => return None,
        })
    }
}
