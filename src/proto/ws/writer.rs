//! What we say: whole frames, appended to the caller's buffer, and nothing after our close frame.

#[cfg(feature = "deflate")]
use super::frame::encode_deflated;
use super::frame::{CONTROL_BYTES_MAX, encode};
use super::opcode::{Control, Data, OpCode};
use super::{CloseCode, Message, Misuse, Role};

/// The longest reason in a close frame, in bytes: the code takes two of the 125 that a control frame may have.
pub const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// The sending half of an [`Endpoint`](super::Endpoint).
///
/// A call that fails has written nothing.
#[derive(Debug)]
pub struct Writer(Voice);

/// How frames are written. (One value for all: there may be very many writers.)
#[derive(Debug)]
enum Voice {
    /// As a server's.
    Plain,
    /// As a client's, which has no key for the next one yet.
    NeedsKey,
    /// As a client's, with this key for the next one.
    Masked([u8; 4]),
    /// Not at all any more.
    Closed,
}

impl Writer {
    pub(super) fn new(role: Role) -> Self {
        Self(match role {
            Role::Server => Voice::Plain,
            Role::Client => Voice::NeedsKey,
        })
    }

    /// The masking key for the next frame, and only that one. A client needs a fresh one for every frame, from a source
    /// that nobody outside can guess (RFC 6455, 10.3); the machine has no such source, so the caller brings it
    /// (`Driver::entropy`). A server masks nothing and ignores it.
    ///
    /// ```
    /// use tourbillon::proto::ws::{Endpoint, Role};
    /// let mut output = Vec::new();
    /// Endpoint::new(Role::Client).mask_with([0x37, 0xfa, 0x21, 0x3d]).text("Hello", &mut output)?;
    /// assert_eq!(output, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    /// # Ok::<(), tourbillon::proto::ws::Misuse>(())
    /// ```
    pub fn mask_with(&mut self, key: [u8; 4]) -> &mut Self {
        if let Voice::NeedsKey | Voice::Masked(_) = self.0 {
            self.0 = Voice::Masked(key);
        }
        self
    }

    /// A text message, in one frame.
    ///
    /// # Errors
    /// `AfterClose`; `NoMaskingKey` for a client.
    #[inline]
    pub fn text(&mut self, payload: &str, out: &mut Vec<u8>) -> Result<(), Misuse> {
        self.frame(OpCode::Data(Data::Text), payload.as_bytes(), out)
    }

    /// A binary message, in one frame.
    ///
    /// # Errors
    /// `AfterClose`; `NoMaskingKey` for a client.
    #[inline]
    pub fn binary(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Misuse> {
        self.frame(OpCode::Data(Data::Binary), payload, out)
    }

    /// A message, in one frame.
    ///
    /// # Errors
    /// `AfterClose`; `NoMaskingKey` for a client.
    #[inline]
    pub fn message(&mut self, message: Message<'_>, out: &mut Vec<u8>) -> Result<(), Misuse> {
        match message {
            Message::Text(text) => self.text(text, out),
            Message::Binary(bytes) => self.binary(bytes, out),
        }
    }

    /// A message of this kind whose payload is compressed already. It must have been agreed on that it may be.
    ///
    /// # Errors
    /// `AfterClose`; `NoMaskingKey` for a client.
    #[cfg(feature = "deflate")]
    pub(super) fn deflated(
        &mut self,
        data: Data,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        let key = self.take_key()?;
        encode_deflated(data, key, payload, out);
        Ok(())
    }

    /// A ping; the peer owes a pong with the same payload.
    ///
    /// # Errors
    /// `AfterClose`; `ControlTooLong` above 125 bytes; `NoMaskingKey` for a client.
    pub fn ping(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Misuse> {
        self.control(Control::Ping, payload, out)
    }

    /// A pong, with the payload of the ping it answers. When several pings came at once, answering the last is enough
    /// (RFC 6455, 5.5.3).
    ///
    /// # Errors
    /// `AfterClose`; `ControlTooLong` above 125 bytes; `NoMaskingKey` for a client.
    pub fn pong(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Misuse> {
        self.control(Control::Pong, payload, out)
    }

    /// Our close frame, and with it our last word: either the beginning of the close handshake, or what
    /// [`PeerError`](super::PeerError) asks for.
    ///
    /// # Errors
    /// `AfterClose`; `BadCloseCode` for a code that may not be sent (1004 to 1006, 1015, or without a meaning);
    /// `ControlTooLong` for a reason above 123 bytes; `NoMaskingKey` for a client.
    pub fn close(
        &mut self,
        code: CloseCode,
        reason: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        if !code.is_allowed() {
            return Err(Misuse::BadCloseCode);
        }
        if reason.len() > REASON_BYTES_MAX {
            return Err(Misuse::ControlTooLong);
        }
        let mut payload = [0; CONTROL_BYTES_MAX];
        let len = 2 + reason.len();
        payload[..2].copy_from_slice(&u16::from(code).to_be_bytes());
        payload[2..len].copy_from_slice(reason.as_bytes());
        self.last_word(&payload[..len], out)
    }

    /// The answer to the peer's close frame, with its own code, or without one if it gave none (RFC 6455, 5.5.1). Does
    /// nothing when our close frame is already out: then the peer's was the answer.
    ///
    /// # Errors
    /// `BadCloseCode` for a code that did not come from a peer; `NoMaskingKey` for a client.
    pub fn close_reply(
        &mut self,
        code: Option<CloseCode>,
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        match (self.is_closed(), code) {
            (true, _) => Ok(()),
            (false, Some(code)) => self.close(code, "", out),
            (false, None) => self.last_word(&[], out),
        }
    }

    /// Whether our close frame is out.
    pub fn is_closed(&self) -> bool {
        matches!(self.0, Voice::Closed)
    }

    fn last_word(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Misuse> {
        self.control(Control::Close, payload, out)?;
        self.0 = Voice::Closed;
        Ok(())
    }

    fn control(
        &mut self,
        control: Control,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        if payload.len() > CONTROL_BYTES_MAX {
            return Err(Misuse::ControlTooLong);
        }
        self.frame(OpCode::Control(control), payload, out)
    }

    #[inline]
    fn frame(&mut self, opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Misuse> {
        if let Voice::Plain = self.0 {
            // Apart from the others, for it is done often.
            encode(opcode, None, payload, out);
            return Ok(());
        }
        self.frame_with_key(opcode, payload, out)
    }

    #[inline(never)]
    fn frame_with_key(
        &mut self,
        opcode: OpCode,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        encode(opcode, self.take_key()?, payload, out);
        Ok(())
    }

    /// The key for the frame that is to be written, which is used up by that.
    fn take_key(&mut self) -> Result<Option<[u8; 4]>, Misuse> {
        match self.0 {
            Voice::Plain => Ok(None),
            Voice::Masked(key) => {
                self.0 = Voice::NeedsKey;
                Ok(Some(key))
            }
            Voice::NeedsKey => Err(Misuse::NoMaskingKey),
            Voice::Closed => Err(Misuse::AfterClose),
        }
    }
}
