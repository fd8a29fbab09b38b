//! One side of one connection: a [`Reader`] for what the peer says, a [`Writer`] for what we say, and between them the
//! close handshake.
//!
//! | link         | the peer's close frame came | we sent ours | what is left to do                            |
//! | ------------ | --------------------------- | ------------ | --------------------------------------------- |
//! | `Open`       | no                          | no           |                                               |
//! | `WeClosed`   | no                          | yes          | read on until theirs comes, or patience ends  |
//! | `TheyClosed` | yes                         | no           | answer with [`Endpoint::close_reply`]         |
//! | `Over`       | yes                         | yes          | the server closes the TCP connection          |

use super::reader::{Hearing, Incoming};
use super::{CloseCode, Misuse, PeerError, Reader, Step, Writer};

/// Which side we are. It decides who masks (RFC 6455, 5.1): a client's frames are masked, a server's are not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// We accepted the connection: frames must come masked and are sent without.
    Server,
    /// We made it: frames must come without a mask and are sent with one.
    Client,
}

/// Where the close handshake is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Link {
    /// Both sides may talk.
    Open,
    /// We said close; the peer may not have heard it yet and may still send messages.
    WeClosed,
    /// The peer has said its last word, be it a close frame, a fault, or the end of the stream. We have not.
    TheyClosed,
    /// Both have. What remains is to close the socket.
    Over,
}

/// How the peer's half of the connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum End {
    /// After the close handshake (RFC 6455, 7.1.4).
    Clean,
    /// Without it: what a program calls close code 1006.
    Cut,
}

/// How much a peer may make us hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WsLimits {
    /// The longest message, in bytes of payload over all its fragments. It is held against the length that a frame
    /// claims, before any of it is stored. Default: 1 MiB, as for a request's body. (Autobahn's section 9 wants 16
    /// MiB.)
    pub message_bytes_max: usize,
    /// How many continuation frames a message may have, empty ones included. Each costs us more than the byte it may
    /// carry. Default: 1,024.
    pub fragments_max: u32,
}

impl Default for WsLimits {
    fn default() -> Self {
        Self {
            message_bytes_max: 1 << 20,
            fragments_max: 1024,
        }
    }
}

/// The WebSocket protocol for one connection.
///
/// 16 bytes, and no other memory but for a message that is in pieces: what has come of it.
///
/// ```
/// use tourbillon::proto::ws::{Endpoint, Role, Step, WsLimits};
///
/// let mut server = Endpoint::new(Role::Server);
/// let limits = WsLimits::default();
/// // "Hello", masked (RFC 6455, 5.7), and the first byte of another frame.
/// let mut input = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x81";
/// let mut output = Vec::new();
///
/// let (reader, writer) = server.split();
/// let (used, step) = reader.next(&mut input, &limits)?;
/// assert_eq!((used, &step), (11, &Step::Text("Hello")));
/// if let Step::Text(text) = step {
///     writer.text(text, &mut output)?;
/// }
/// assert_eq!(output, b"\x81\x05Hello");
///
/// assert_eq!(server.next(&mut input[used..], &limits)?, (0, Step::NeedMore));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Endpoint {
    incoming: Incoming,
    hearing: Hearing,
    writer: Writer,
}

impl Endpoint {
    /// One side of a connection whose handshake is done.
    pub fn new(role: Role) -> Self {
        Self {
            incoming: None,
            hearing: Hearing::new(role),
            writer: Writer::new(role),
        }
    }

    /// It was agreed on that messages may be compressed: those of the peer come as [`Step::Deflated`], for a
    /// [`Deflate`](super::Deflate) to inflate, and what that compresses may be sent. Before, a compressed message is a
    /// fault of the peer.
    pub fn agree_on_deflate(&mut self) {
        self.hearing.agree_on_deflate();
    }

    /// Both halves, to answer a message while it is still borrowed from the first.
    pub fn split(&mut self) -> (Reader<'_>, &mut Writer) {
        let reader = Reader {
            hearing: &mut self.hearing,
            incoming: &mut self.incoming,
        };
        (reader, &mut self.writer)
    }

    /// The sending half.
    pub fn writer(&mut self) -> &mut Writer {
        &mut self.writer
    }

    /// The next thing from the front of `input`; see [`Reader::next`].
    ///
    /// # Errors
    /// What the peer did wrong.
    pub fn next<'a>(
        &'a mut self,
        input: &'a mut [u8],
        limits: &WsLimits,
    ) -> Result<(usize, Step<'a>), PeerError> {
        self.split().0.next(input, limits)
    }

    /// The peer's stream has ended: whether it may. Nothing is read after that.
    pub fn eof(&mut self) -> End {
        let end = match (self.hearing.has_closed(), self.writer.is_closed()) {
            (true, true) => End::Clean,
            _ => End::Cut,
        };
        self.split().0.stop();
        end
    }

    /// Where the close handshake is.
    pub fn link(&self) -> Link {
        match (self.hearing.is_done(), self.writer.is_closed()) {
            (false, false) => Link::Open,
            (false, true) => Link::WeClosed,
            (true, false) => Link::TheyClosed,
            (true, true) => Link::Over,
        }
    }

    /// Whether neither side has closed.
    pub fn is_open(&self) -> bool {
        self.link() == Link::Open
    }

    /// Whether neither side has closed, and no message is in pieces.
    #[inline]
    pub fn is_at_rest(&self) -> bool {
        self.incoming.is_none() && self.is_open()
    }

    /// Whether both sides have said their last word.
    pub fn is_over(&self) -> bool {
        self.link() == Link::Over
    }

    /// Bytes of memory held for a message in pieces; 0 when there is none.
    pub fn bytes_held(&self) -> usize {
        self.incoming.as_ref().map_or(0, |it| it.bytes_held())
    }

    /// See [`Writer::mask_with`].
    pub fn mask_with(&mut self, key: [u8; 4]) -> &mut Self {
        self.writer.mask_with(key);
        self
    }

    /// See [`Writer::text`].
    ///
    /// # Errors
    /// As there.
    pub fn text(&mut self, payload: &str, out: &mut Vec<u8>) -> Result<(), Misuse> {
        self.writer.text(payload, out)
    }

    /// See [`Writer::binary`].
    ///
    /// # Errors
    /// As there.
    pub fn binary(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Misuse> {
        self.writer.binary(payload, out)
    }

    /// See [`Writer::ping`].
    ///
    /// # Errors
    /// As there.
    pub fn ping(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Misuse> {
        self.writer.ping(payload, out)
    }

    /// See [`Writer::pong`].
    ///
    /// # Errors
    /// As there.
    pub fn pong(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Misuse> {
        self.writer.pong(payload, out)
    }

    /// See [`Writer::close`].
    ///
    /// # Errors
    /// As there.
    pub fn close(
        &mut self,
        code: CloseCode,
        reason: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        self.writer.close(code, reason, out)
    }

    /// See [`Writer::close_reply`].
    ///
    /// # Errors
    /// As there.
    pub fn close_reply(
        &mut self,
        code: Option<CloseCode>,
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        self.writer.close_reply(code, out)
    }
}
