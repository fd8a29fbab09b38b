//! What the peer says: frames in, whole messages out.
//!
//! A message that lies whole in the caller's buffer is unmasked where it lies and handed out as a slice of it: no
//! copy, no allocation. One that comes in pieces, be it by its fragments or by the network's cuts, is put together in
//! a buffer that grows with the bytes that came, never with the length that was claimed, and is given up after the
//! message. So is one that is compressed, which is of no use before it is whole.

use std::ops::Range;

use super::frame::{FINAL_BINARY, FINAL_TEXT, Header, short_len};
use super::mask::mask;
use super::opcode::{Control, Data, OpCode};
use super::utf8::Utf8;
use super::{CloseCode, Message, PeerError, Role, WsLimits};

/// What the peer said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A whole message that is compressed, where that was agreed on: [`Endpoint::agree_on_deflate`].
    ///
    /// [`Endpoint::agree_on_deflate`]: super::Endpoint::agree_on_deflate
    Deflated(Deflated<'a>),
    /// A ping of at most 125 bytes, perhaps in the middle of a message. It wants a pong with the same payload.
    Ping(&'a [u8]),
    /// A pong of at most 125 bytes, asked for or not.
    Pong(&'a [u8]),
    /// The peer's close frame, with its code and reason if it gave any: its last word. It wants
    /// [`Writer::close_reply`](super::Writer::close_reply).
    Close(Option<(CloseCode, &'a str)>),
    /// Nothing more before more bytes come.
    NeedMore,
}

/// A whole message as it came, compressed; [`Deflate`](super::Deflate) reads it (feature `deflate`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deflated<'a> {
    pub(super) data: Data,
    pub(super) payload: &'a [u8],
}

impl<'a> Deflated<'a> {
    /// What came, without what the peer left away of its end (RFC 7692, 7.2.1).
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// How many bytes a compressed message may have, of which `bytes_max` may be left when it is inflated: as many, and
/// what the worst compressor adds, five bytes for each block that it does not compress.
pub fn deflated_bytes_max(bytes_max: usize) -> usize {
    bytes_max.saturating_add(bytes_max >> 6).saturating_add(64)
}

/// The receiving half of an [`Endpoint`](super::Endpoint), for one step.
#[derive(Debug)]
pub struct Reader<'e> {
    pub(super) hearing: &'e mut Hearing,
    pub(super) incoming: &'e mut Incoming,
}

/// The data message that is coming in, if it is, or was, in pieces.
pub(super) type Incoming = Option<Box<Assembly>>;

/// What a peer is, and how much of it is still heard.
#[derive(Debug)]
pub(super) struct Hearing {
    role: Role,
    /// It was agreed on that messages may be compressed.
    may_be_deflated: bool,
    speech: Speech,
}

impl Hearing {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            may_be_deflated: false,
            speech: Speech::GoesOn,
        }
    }

    /// Whether the peer's close frame came.
    pub(super) fn has_closed(&self) -> bool {
        self.speech == Speech::Closed
    }

    /// Whether nothing more is read: after a close frame, an error, or the end of the stream.
    pub(super) fn is_done(&self) -> bool {
        self.speech != Speech::GoesOn
    }

    /// See [`Endpoint::agree_on_deflate`](super::Endpoint::agree_on_deflate).
    pub(super) fn agree_on_deflate(&mut self) {
        self.may_be_deflated = true;
    }
}

/// Whether the peer may still speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Speech {
    GoesOn,
    /// Its close frame came.
    Closed,
    /// It broke the protocol, or its stream ended.
    Stopped,
}

/// A message in pieces.
#[derive(Debug)]
pub(super) struct Assembly {
    body: Body,
    continuations: u32,
    place: Place,
}

#[derive(Debug)]
enum Body {
    Text(Utf8),
    Binary(Vec<u8>),
    /// Collected as it comes, and inflated by the caller when it is whole.
    Deflated(Data, Vec<u8>),
}

/// How far into a message we are.
#[derive(Debug)]
enum Place {
    /// In a frame's payload, of which `left` bytes are to come; `key` is turned to the first of them.
    InFrame {
        left: u64,
        key: Option<[u8; 4]>,
        is_final: bool,
    },
    /// Before the header of a continuation, or of a control frame in between.
    BetweenFrames,
    /// Behind it. It was handed out, and the caller may have it borrowed until the next call.
    Whole,
}

/// A [`Step`] that borrows nothing yet.
enum Found {
    /// A whole control frame, or a message of one frame that is all there. Where its payload lies, unmasked, in the
    /// input.
    Frame(OpCode, Range<usize>),
    Assembled,
    NeedMore,
}

impl<'e> Reader<'e> {
    /// The next thing from the front of `input`, and how many bytes of `input` are used up by it. Payload is unmasked
    /// where it lies; bytes that are not used up are left as they were.
    ///
    /// Call it with the rest of the input until it says [`Step::NeedMore`]. That may use up bytes, too: of data
    /// frames all that has come is taken in, and only an incomplete header or an incomplete control frame, at most
    /// 130 bytes, is left, to be presented again with the bytes that follow it. The call also gives up the memory of
    /// the message that the one before handed out.
    ///
    /// After a close frame, an error, or [`Endpoint::eof`](super::Endpoint::eof), input is used up and ignored.
    ///
    /// # Errors
    /// What the peer did wrong: known with the last byte of the frame's header, or with the first byte of a text that
    /// can belong to none.
    pub fn next<'a>(
        mut self,
        input: &'a mut [u8],
        limits: &WsLimits,
    ) -> Result<(usize, Step<'a>), PeerError>
    where
        'e: 'a,
    {
        self.give_up_delivered();
        let (used, found) = self.advance(input, limits).inspect_err(|_| self.stop())?;
        let step = match found {
            Found::Frame(opcode, payload) => {
                let step = read_payload(opcode, &input[payload]).inspect_err(|_| self.stop())?;
                if let Step::Close(_) = step {
                    *self.incoming = None;
                    self.hearing.speech = Speech::Closed;
                }
                step
            }
            Found::Assembled => match self.incoming {
                Some(assembly) => assembly.message(),
                None => unreachable!("found in the message that was put together"),
            },
            Found::NeedMore => Step::NeedMore,
        };
        Ok((used, step))
    }

    /// Read nothing more.
    pub(super) fn stop(&mut self) {
        if !self.hearing.is_done() {
            *self.incoming = None;
            self.hearing.speech = Speech::Stopped;
        }
    }

    fn give_up_delivered(&mut self) {
        if let Some(assembly) = &self.incoming
            && let Place::Whole = assembly.place
        {
            *self.incoming = None;
        }
    }

    /// Go through frames, and through pieces of frames, until something can be handed out or nothing more can be seen.
    fn advance(
        &mut self,
        input: &mut [u8],
        limits: &WsLimits,
    ) -> Result<(usize, Found), PeerError> {
        if self.hearing.is_done() {
            return Ok((input.len(), Found::NeedMore));
        }
        let mut used = 0;
        loop {
            if let Some(assembly) = &mut *self.incoming {
                used += assembly.take_payload(&mut input[used..])?;
                match assembly.place {
                    Place::InFrame { .. } => return Ok((used, Found::NeedMore)),
                    Place::BetweenFrames => {}
                    Place::Whole => return Ok((used, Found::Assembled)),
                }
            }

            let Hearing {
                role,
                may_be_deflated,
                ..
            } = *self.hearing;
            let Some(header) = Header::parse(&input[used..], role, may_be_deflated)? else {
                return Ok((used, Found::NeedMore));
            };
            match (header.opcode, &mut *self.incoming) {
                // It may stand anywhere, also in the middle of a message.
                (OpCode::Control(_), _) => {}
                (OpCode::Data(Data::Continue), Some(assembly)) => {
                    assembly.begin_continuation(&header, limits)?;
                    used += header.header_len;
                    continue;
                }
                (OpCode::Data(Data::Continue), _) => return Err(PeerError::UnexpectedContinuation),
                (OpCode::Data(_), Some(_)) => {
                    return Err(PeerError::ContinuationExpected);
                }
                (OpCode::Data(_), _)
                    if header.payload_len > limits.message_bytes_max as u64
                        && header.is_too_big(limits) =>
                {
                    return Err(PeerError::MessageTooBig);
                }
                (OpCode::Data(_), _) => {}
            }
            // What is compressed is put together in any case: beside inflating it, a copy is nothing.
            if header.is_final
                && !header.is_deflated
                && let Some(payload) = unmask_whole(&header, input, used)
            {
                return Ok((payload.end, Found::Frame(header.opcode, payload)));
            }
            let OpCode::Data(data) = header.opcode else {
                return Ok((used, Found::NeedMore));
            };
            *self.incoming = Some(Box::new(Assembly::begin(data, &header)));
            used += header.header_len;
        }
    }
}

/// The message at the front of `input`, if that is a whole one of a client, of at most 125 bytes, in one frame and not
/// compressed; and how many bytes of `input` it takes. It is unmasked where it lies. What may be wrong with other
/// frames cannot be wrong with such a one, and it is told by two bytes. `None`, and nothing done, for all else: what
/// that is, [`Reader::next`] says.
///
/// To be called for a server's [`Endpoint`](super::Endpoint) that [is at rest](super::Endpoint::is_at_rest).
///
/// # Errors
/// A text that is none. Nothing more may be read then ([`Endpoint::eof`](super::Endpoint::eof)).
#[inline(always)]
pub fn short_message<'a>(
    input: &'a mut [u8],
    limits: &WsLimits,
) -> Option<(usize, Result<Message<'a>, PeerError>)> {
    let (&mut [first, second, ref key @ ..], rest) = input.split_first_chunk_mut::<6>()?;
    let (key, len) = (*key, short_len(second)?);
    let is_text = match first {
        FINAL_TEXT => true,
        FINAL_BINARY => false,
        _ => return None,
    };
    let payload = rest.get_mut(..len)?;
    if len > limits.message_bytes_max {
        return None;
    }
    mask(payload, key);
    let message = match is_text {
        false => Ok(Message::Binary(payload)),
        true => match str::from_utf8(payload) {
            Ok(text) => Ok(Message::Text(text)),
            Err(_) => Err(PeerError::InvalidUtf8),
        },
    };
    Some((6 + len, message))
}

impl Assembly {
    /// Bytes of memory that it holds.
    pub(super) fn bytes_held(&self) -> usize {
        size_of::<Self>() + self.body.capacity()
    }

    fn begin(data: Data, header: &Header) -> Self {
        let body = match data {
            _ if header.is_deflated => Body::Deflated(data, Vec::new()),
            Data::Text => Body::Text(Utf8::default()),
            Data::Binary | Data::Continue => Body::Binary(Vec::new()),
        };
        Self {
            body,
            continuations: 0,
            place: Place::in_frame(header),
        }
    }

    fn begin_continuation(&mut self, header: &Header, limits: &WsLimits) -> Result<(), PeerError> {
        if self.continuations >= limits.fragments_max {
            return Err(PeerError::TooManyFragments);
        }
        // Both are below 2^63.
        if self.body.len() as u64 + header.payload_len > self.body.len_max(limits) {
            return Err(PeerError::MessageTooBig);
        }
        self.continuations += 1;
        self.place = Place::in_frame(header);
        Ok(())
    }

    /// Take in what is there of the present frame's payload, if we are in one. Returns how much it was.
    fn take_payload(&mut self, input: &mut [u8]) -> Result<usize, PeerError> {
        let Place::InFrame {
            left,
            key,
            is_final,
        } = &mut self.place
        else {
            return Ok(0);
        };
        let taken = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
        let piece = &mut input[..taken];
        if let Some(key) = key {
            *key = mask(piece, *key);
        }
        *left -= taken as u64;
        let is_final = *is_final;
        if *left == 0 {
            self.place = if is_final {
                Place::Whole
            } else {
                Place::BetweenFrames
            };
        }
        self.body.push(piece)?;
        if let Place::Whole = self.place {
            self.body.end()?;
        }
        Ok(taken)
    }

    fn message(&self) -> Step<'_> {
        match &self.body {
            Body::Text(text) => Step::Text(text.as_str()),
            Body::Binary(bytes) => Step::Binary(bytes),
            Body::Deflated(data, payload) => Step::Deflated(Deflated {
                data: *data,
                payload,
            }),
        }
    }
}

impl Header {
    /// Whether the first frame of a message, longer than a message may be, is longer than it may come: compressed, it
    /// may be a little longer.
    #[cold]
    fn is_too_big(&self, limits: &WsLimits) -> bool {
        !self.is_deflated || self.payload_len > deflated_bytes_max(limits.message_bytes_max) as u64
    }
}

impl Place {
    fn in_frame(header: &Header) -> Self {
        Self::InFrame {
            left: header.payload_len,
            key: header.key,
            is_final: header.is_final,
        }
    }
}

impl Body {
    fn push(&mut self, piece: &[u8]) -> Result<(), PeerError> {
        match self {
            Self::Text(text) => text.push(piece),
            Self::Binary(bytes) => {
                bytes.extend_from_slice(piece);
                Ok(())
            }
            Self::Deflated(_, bytes) => {
                bytes.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    fn end(&self) -> Result<(), PeerError> {
        match self {
            Self::Text(text) => text.end(),
            Self::Binary(_) => Ok(()),
            Self::Deflated(..) => Ok(()),
        }
    }

    fn len_max(&self, limits: &WsLimits) -> u64 {
        match self {
            Self::Deflated(..) => deflated_bytes_max(limits.message_bytes_max) as u64,
            Self::Text(_) | Self::Binary(_) => limits.message_bytes_max as u64,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::Deflated(_, bytes) => bytes.len(),
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Self::Text(text) => text.capacity(),
            Self::Binary(bytes) => bytes.capacity(),
            Self::Deflated(_, bytes) => bytes.capacity(),
        }
    }
}

/// Where in `input` the payload of the frame at `start` lies, now unmasked; `None`, and nothing done, if it is not
/// all there.
#[inline]
fn unmask_whole(header: &Header, input: &mut [u8], start: usize) -> Option<Range<usize>> {
    let start = start + header.header_len;
    let end = start.checked_add(usize::try_from(header.payload_len).ok()?)?;
    let payload = input.get_mut(start..end)?;
    if let Some(key) = header.key {
        mask(payload, key);
    }
    Some(start..end)
}

/// What a frame says that is no part of another's message.
fn read_payload(opcode: OpCode, payload: &[u8]) -> Result<Step<'_>, PeerError> {
    Ok(match opcode {
        OpCode::Data(Data::Text) => {
            Step::Text(str::from_utf8(payload).map_err(|_| PeerError::InvalidUtf8)?)
        }
        OpCode::Data(Data::Binary | Data::Continue) => Step::Binary(payload),
        OpCode::Control(Control::Ping) => Step::Ping(payload),
        OpCode::Control(Control::Pong) => Step::Pong(payload),
        OpCode::Control(Control::Close) => Step::Close(parse_close(payload)?),
    })
}

/// A close frame's payload: nothing, or a code and a reason (RFC 6455, 5.5.1).
fn parse_close(payload: &[u8]) -> Result<Option<(CloseCode, &str)>, PeerError> {
    match payload {
        [] => Ok(None),
        [_] => Err(PeerError::BadClosePayload),
        [high, low, reason @ ..] => {
            let code = CloseCode::from(u16::from_be_bytes([*high, *low]));
            if !code.is_allowed() {
                return Err(PeerError::BadCloseCode);
            }
            let reason = str::from_utf8(reason).map_err(|_| PeerError::InvalidUtf8)?;
            Ok(Some((code, reason)))
        }
    }
}
