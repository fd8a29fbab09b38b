//! Compressed messages: permessage-deflate (RFC 7692), by zlib in Rust. What is agreed on is in
//! [`extensions`](super::DeflateOptions).
//!
//! A message is deflated as a whole, flushed to a byte, and sent without the last four bytes of the flush, which are
//! always the same (7.2.1); whoever gets it puts them back and inflates (7.2.2). Here that is done with whole messages
//! only, so a compressor or decompressor holds nothing of a message between two calls, and where messages do not refer
//! to those before them, one of each serves all connections of a loop: see [`DeflatePool`].

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::extensions::{Agreement, DeflateOptions, WINDOW_BITS_MIN};
use super::frame::{Header, encode_deflated};
use super::opcode::{Data, OpCode};
use super::{Deflated, Message, Misuse, PeerError, Role, Writer, deflated_bytes_max};

/// What a flush ends with, and no message carries (7.2.1): an empty block without compression, but for its first bits.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// The last block of a stream, without compression and empty. Behind a whole message it is read as that; behind one
/// that broke off inside a block it is not.
const LAST_BLOCK: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];
/// An empty message (7.2.3.6): a flush's first bits.
const EMPTY: u8 = 0x00;

/// The compressors and the decompressor that the connections of one loop share. Each is made when it is first needed: a
/// compressor of 250 to 380 KB for each level and window that is in use, and a decompressor of some 50 KB.
#[derive(Default, Debug)]
pub struct DeflatePool {
    /// An empty one, see [`DeflatePool::take_buffer`].
    buffer: Vec<u8>,
    /// Few: most servers have one set of options, and most clients take the largest window.
    deflaters: Vec<(Setting, Deflater)>,
    inflater: Option<Inflater>,
}

/// What a compressor is made with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Setting {
    level: u8,
    window_bits: u8,
}

/// A buffer larger than this is given back to the system.
const KEPT_BYTES_MAX: usize = 64 * 1024;

impl DeflatePool {
    /// An empty buffer for what is compressed or inflated, which may have memory already. It is lent: see
    /// [`put_back`](Self::put_back). Whoever has it may use the pool meanwhile.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// Give a buffer back. It is kept for the next one who asks, unless it is large.
    pub fn put_back(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= KEPT_BYTES_MAX {
            buffer.clear();
            self.buffer = buffer;
        }
    }

    fn deflater(&mut self, setting: Setting) -> &mut Deflater {
        let known = self.deflaters.iter().position(|(has, _)| *has == setting);
        let at = known.unwrap_or_else(|| {
            self.deflaters.push((setting, Deflater::new(setting)));
            self.deflaters.len() - 1
        });
        &mut self.deflaters[at].1
    }

    fn inflater(&mut self) -> &mut Inflater {
        self.inflater.get_or_insert_with(Inflater::new)
    }
}

/// Compression as one connection agreed on it, for either role.
///
/// ```
/// use tourbillon::proto::ws::{Deflate, DeflateOptions, DeflatePool, Role};
///
/// let options = DeflateOptions { threshold_bytes: 0, ..DeflateOptions::default() };
/// let agreement = options.choose("permessage-deflate").unwrap().unwrap();
/// let mut pool = DeflatePool::default();
/// let mut server = Deflate::new(&agreement, Role::Server, &options);
/// let mut client = Deflate::new(&agreement, Role::Client, &options);
///
/// let (message, mut sent, mut got) = ("tick ".repeat(100), Vec::new(), Vec::new());
/// assert!(server.deflate(message.as_bytes(), &mut pool, &mut sent));
/// assert!(sent.len() < 20);
/// client.inflate(&sent, 1 << 20, &mut pool, &mut got)?;
/// assert_eq!(got, message.as_bytes());
/// # Ok::<(), tourbillon::proto::ws::PeerError>(())
/// ```
#[derive(Debug)]
pub struct Deflate {
    /// `None`: the peer allows no window that we could have, and all is sent as it is.
    setting: Option<Setting>,
    threshold_bytes: u32,
    sending: Context<Deflater>,
    receiving: Context<Inflater>,
}

/// Whose compressor or decompressor a direction uses.
#[derive(Debug)]
enum Context<T> {
    /// The loop's: each message stands for itself.
    Shared,
    /// The connection's own, from the first message on.
    Own(Option<Box<T>>),
}

impl<T> Context<T> {
    fn new(is_kept: bool) -> Self {
        match is_kept {
            true => Self::Own(None),
            false => Self::Shared,
        }
    }
}

/// What two connections must have in common to be sent the same compressed bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DeflateVariant {
    setting: Setting,
    threshold_bytes: u32,
}

impl DeflateVariant {
    /// A server's frame, compressed: the same bytes for all clients of this variant. `None` when it is to be sent as it
    /// is. `frame` is a whole message as [`encode_text`](super::encode_text) and its like make it.
    pub fn compress(&self, frame: &[u8], pool: &mut DeflatePool) -> Option<Vec<u8>> {
        compress(frame, pool, |payload, pool, out| {
            self.deflate(payload, pool, out)
        })
    }

    /// The payload of a message, compressed and appended to `out`. `false`, and nothing appended, when it is to be sent
    /// as it is.
    pub fn deflate(&self, payload: &[u8], pool: &mut DeflatePool, out: &mut Vec<u8>) -> bool {
        if payload.len() < self.threshold_bytes as usize {
            return false;
        }
        let start = out.len();
        let deflater = pool.deflater(self.setting);
        deflater.forget();
        deflater.deflate(payload, out);
        let is_shorter = out.len() - start < payload.len();
        if !is_shorter {
            out.truncate(start);
        }
        is_shorter
    }
}

impl Deflate {
    /// Compression for the side `role` of a connection, as the handshake agreed on it.
    ///
    /// # Panics
    /// When a level or a window of the options is out of its range.
    pub fn new(agreement: &Agreement, role: Role, options: &DeflateOptions) -> Self {
        let options = options.checked();
        let peer = match role {
            Role::Server => Role::Client,
            Role::Client => Role::Server,
        };
        let window_bits = agreement.window_bits(role);
        Self {
            setting: (window_bits >= WINDOW_BITS_MIN).then_some(Setting {
                level: options.level,
                window_bits,
            }),
            threshold_bytes: u32::try_from(options.threshold_bytes).unwrap_or(u32::MAX),
            sending: Context::new(agreement.keeps_context(role)),
            receiving: Context::new(agreement.keeps_context(peer)),
        }
    }

    /// Whether nothing in it belongs to one connection: those who agreed on the same may have one of these together.
    pub fn is_shared(&self) -> bool {
        matches!(
            (&self.sending, &self.receiving),
            (Context::Shared, Context::Shared)
        )
    }

    /// Whether this one will do for whom `other` was made.
    pub fn can_stand_for(&self, other: &Self) -> bool {
        self.is_shared()
            && other.is_shared()
            && (self.setting, self.threshold_bytes) == (other.setting, other.threshold_bytes)
    }

    /// How messages for this connection are compressed, if it is the same for others: `None` for one that keeps a
    /// context of its own, or does not compress.
    pub fn variant(&self) -> Option<DeflateVariant> {
        match (&self.sending, self.setting) {
            (Context::Shared, Some(setting)) => Some(DeflateVariant {
                setting,
                threshold_bytes: self.threshold_bytes,
            }),
            _ => None,
        }
    }

    /// The payload of a message, compressed and appended to `out`. `false`, and nothing appended, when it is to be sent
    /// as it is: it is short, or does not shrink.
    ///
    /// What was compressed must be sent, and in this order: the peer's decompressor follows.
    pub fn deflate(&mut self, payload: &[u8], pool: &mut DeflatePool, out: &mut Vec<u8>) -> bool {
        if let Some(variant) = self.variant() {
            return variant.deflate(payload, pool, out);
        }
        let (Context::Own(own), Some(setting)) = (&mut self.sending, self.setting) else {
            return false;
        };
        if payload.len() < self.threshold_bytes as usize {
            return false;
        }
        // What does not shrink is sent compressed all the same: those that follow may refer to it.
        own.get_or_insert_with(|| Box::new(Deflater::new(setting)))
            .deflate(payload, out);
        true
    }

    /// Write a message, compressed if it is worth it. A client's writer needs its key before, as for every frame.
    ///
    /// # Errors
    /// As [`Writer::text`].
    pub fn write(
        &mut self,
        message: Message<'_>,
        writer: &mut Writer,
        pool: &mut DeflatePool,
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        let mut buffer = pool.take_buffer();
        let is_deflated = self.deflate(message.as_bytes(), pool, &mut buffer);
        let written = match (message, is_deflated) {
            (message, false) => writer.message(message, out),
            (Message::Text(_), true) => writer.deflated(Data::Text, &buffer, out),
            (Message::Binary(_), true) => writer.deflated(Data::Binary, &buffer, out),
        };
        pool.put_back(buffer);
        written
    }

    /// A server's frame, compressed; see [`DeflateVariant::compress`] and [`deflate`](Self::deflate).
    pub fn compress(&mut self, frame: &[u8], pool: &mut DeflatePool) -> Option<Vec<u8>> {
        compress(frame, pool, |payload, pool, out| {
            self.deflate(payload, pool, out)
        })
    }

    /// The message that came compressed, put into `out`, which is empty; see [`inflate`](Self::inflate).
    ///
    /// # Errors
    /// As there; `InvalidUtf8` for text that is none.
    pub fn read<'o>(
        &mut self,
        message: Deflated<'_>,
        bytes_max: usize,
        pool: &mut DeflatePool,
        out: &'o mut Vec<u8>,
    ) -> Result<Message<'o>, PeerError> {
        self.inflate(message.payload, bytes_max, pool, out)?;
        match message.data {
            Data::Text => str::from_utf8(out)
                .map(Message::Text)
                .map_err(|_| PeerError::InvalidUtf8),
            Data::Binary | Data::Continue => Ok(Message::Binary(out)),
        }
    }

    /// The payload of a message that came compressed, appended to `out`.
    ///
    /// # Errors
    /// `MessageTooBig` when there is more of it than `bytes_max`: it is inflated so far and no further. `BadDeflate`
    /// for what is no deflate; where messages stand for themselves, also for what breaks off.
    pub fn inflate(
        &mut self,
        payload: &[u8],
        bytes_max: usize,
        pool: &mut DeflatePool,
        out: &mut Vec<u8>,
    ) -> Result<(), PeerError> {
        match &mut self.receiving {
            Context::Shared => pool.inflater().inflate_alone(payload, bytes_max, out),
            Context::Own(own) => own
                .get_or_insert_with(|| Box::new(Inflater::new()))
                .inflate(payload, bytes_max, out),
        }
    }

    /// Bytes of memory held for the connection alone, about; 0 where all is shared.
    pub fn bytes_held(&self) -> usize {
        let deflater = match (&self.sending, self.setting) {
            // 251 KB for a window of 9 bits, 380 KB for one of 15.
            (Context::Own(Some(_)), Some(setting)) => (248 << 10) + (4 << setting.window_bits),
            _ => 0,
        };
        let inflater = match &self.receiving {
            Context::Own(Some(_)) => 48 << 10,
            _ => 0,
        };
        deflater + inflater
    }
}

/// The frame of a message, with its payload as `deflate` makes it.
fn compress(
    frame: &[u8],
    pool: &mut DeflatePool,
    deflate: impl FnOnce(&[u8], &mut DeflatePool, &mut Vec<u8>) -> bool,
) -> Option<Vec<u8>> {
    let header = Header::parse(frame, Role::Client, false).ok().flatten();
    let Some((OpCode::Data(data), header)) = header.map(|header| (header.opcode, header)) else {
        return None;
    };
    let mut buffer = pool.take_buffer();
    let is_deflated = deflate(&frame[header.header_len..], pool, &mut buffer);
    let compressed = is_deflated.then(|| {
        let mut compressed = Vec::new();
        encode_deflated(data, None, &buffer, &mut compressed);
        compressed
    });
    pool.put_back(buffer);
    compressed
}

/// A compressor that may remember the messages before.
struct Deflater(Compress);

impl Deflater {
    fn new(setting: Setting) -> Self {
        let level = Compression::new(setting.level.into());
        Self(Compress::new_with_window_bits(
            level,
            false,
            setting.window_bits,
        ))
    }

    /// Let the next message stand for itself.
    fn forget(&mut self) {
        self.0.reset();
    }

    fn deflate(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        if payload.is_empty() {
            // zlib has nothing to flush then, and says so.
            out.push(EMPTY);
            return;
        }
        // Enough for what does not shrink, so that one call does it nearly always; and for a flush at one go, which is
        // repeated when it does not fit (zlib.h, deflate).
        out.reserve(deflated_bytes_max(payload.len()));
        let mut rest = payload;
        loop {
            let before = self.0.total_in();
            let status = self.0.compress_vec(rest, out, FlushCompress::Sync);
            // The one error that zlib has for a stream that was not misused is want of room.
            let status = status.expect("a stream that was begun can be deflated");
            rest = &rest[(self.0.total_in() - before) as usize..];
            if rest.is_empty() && (out.len() < out.capacity() || status == Status::BufError) {
                break;
            }
            out.reserve(64);
        }
        debug_assert!(out.ends_with(&TAIL), "a flush ends with an empty block");
        out.truncate(out.len() - TAIL.len());
    }
}

impl std::fmt::Debug for Deflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deflater").finish_non_exhaustive()
    }
}

/// A decompressor that may remember the messages before. Its window is the largest: it serves all peers, and how small
/// theirs is saves us nothing.
struct Inflater(Decompress);

/// Where the input has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// In a stream.
    Within,
    /// Behind its last block.
    Behind,
}

impl Inflater {
    fn new() -> Self {
        Self(Decompress::new(false))
    }

    /// Inflate a message that refers to none before it.
    fn inflate_alone(
        &mut self,
        payload: &[u8],
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), PeerError> {
        self.0.reset(false);
        self.inflate(payload, bytes_max, out)?;
        // It must end where a block does: zlib would wait for the rest for ever, and here none will come.
        let len = out.len();
        match self.feed(&LAST_BLOCK, len, out) {
            Ok(Stop::Behind) => Ok(()),
            _ => Err(PeerError::BadDeflate),
        }
    }

    fn inflate(
        &mut self,
        payload: &[u8],
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), PeerError> {
        let len_max = out.len().saturating_add(bytes_max);
        // 7.2.3.4 has a byte of a new stream behind a last block, so that the tail fits. To those who leave it out we
        // put no tail.
        if self.feed(payload, len_max, out)? == Stop::Within {
            self.feed(&TAIL, len_max, out)?;
        }
        Ok(())
    }

    /// Inflate all of `input`, while `out` has no more than `len_max` bytes.
    fn feed(
        &mut self,
        mut input: &[u8],
        len_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<Stop, PeerError> {
        loop {
            if out.len() == out.capacity() {
                // By as much as there is, as a vector grows; but a byte more than may be is enough to see that it is
                // too much.
                let more = out.len().max(4 * input.len()).max(256);
                out.reserve_exact(more.min(len_max.saturating_add(1) - out.len()));
            }
            let before = self.0.total_in();
            let status = self
                .0
                .decompress_vec(input, out, FlushDecompress::Sync)
                .map_err(|_| PeerError::BadDeflate)?;
            input = &input[(self.0.total_in() - before) as usize..];
            if out.len() > len_max {
                return Err(PeerError::MessageTooBig);
            }
            if status == Status::StreamEnd {
                // A stream may follow on the last block of another, from the next byte on (7.2.3.4). It begins without
                // a memory of the one before.
                self.0.reset(false);
                if input.is_empty() {
                    return Ok(Stop::Behind);
                }
            } else if input.is_empty() && out.len() < out.capacity() {
                return Ok(Stop::Within);
            }
        }
    }
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
