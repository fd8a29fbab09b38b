//! What was written and not yet sent.
//!
//! A socket takes what it has room for; the rest waits here, in order. Two kinds of bytes come in, and each is best
//! kept in its own way. Many small pieces (heads, frames, chunk sizes) are *copied* and joined, so that one buffer
//! and one slice of the next `writev` hold them all. Large bodies, and messages that go to many peers, are *pushed*:
//! queued by reference, however many connections wait to send them.
//!
//! ```text
//!      copy  copy copy            push                  copy
//!    ┌──────────────────┬─────────────────────────┬──────────────────┐
//!    │▒▒▒▒ Owned        │ Shared                  │ Owned        ┊   │◄── joins here, up to 16 KiB
//!    └──────────────────┴─────────────────────────┴──────────────────┘
//!     sent ▲
//!          └ front, slices, advance
//! ```
//!
//! Nothing here knows a socket, and nothing is bounded: whoever fills an `Output` looks at [`Output::len`] and stops
//! when it is over its limit. An `Output` that is empty holds no memory but its own 40 bytes, since most connections
//! have nothing to send most of the time.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

/// Copies are joined to buffers of at most this size. Large enough that a full one is worth a `writev` by itself,
/// small enough that growing one by doubling does not move much.
pub const JOINED_BYTES_MAX: usize = 16 * 1024;

/// Bytes that are sent from where they are.
#[derive(Clone, Debug)]
pub enum Chunk {
    /// Ours alone.
    Owned(Vec<u8>),
    /// Part of the program.
    Static(&'static [u8]),
    /// One message for many.
    Shared(Rc<[u8]>),
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Static(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// A queue of bytes to send.
///
/// ```
/// use std::io::IoSlice;
/// use tourbillon::parts::output::{Chunk, Output};
///
/// let mut output = Output::new();
/// output.copy(b"HTTP/1.1 200 OK\r\n");
/// output.copy(b"Content-Length: 5\r\n\r\n");
/// output.push(Chunk::Static(b"hello"), 0);
///
/// let mut slices = [IoSlice::new(&[]); 8];
/// assert_eq!(output.slices(&mut slices), 2);
/// assert_eq!(&*slices[1], b"hello");
///
/// output.advance(output.len() - 2);
/// assert_eq!(output.front(), b"lo");
/// ```
#[derive(Default)]
pub struct Output {
    /// None of them is sent entirely.
    pieces: VecDeque<Piece>,
    /// Bytes to send in all pieces.
    len: usize,
}

impl Output {
    /// Nothing to send.
    pub const fn new() -> Self {
        Self {
            pieces: VecDeque::new(),
            len: 0,
        }
    }

    /// Queue a copy of `bytes`. It joins the last chunk if that is an owned one and both together are no longer than
    /// [`JOINED_BYTES_MAX`]; otherwise it begins a new one.
    pub fn copy(&mut self, bytes: &[u8]) {
        match self.pieces.back_mut() {
            Some(Piece {
                chunk: Chunk::Owned(last),
                ..
            }) if last.len() + bytes.len() <= JOINED_BYTES_MAX => {
                last.extend_from_slice(bytes);
                self.len += bytes.len();
            }
            _ => self.push(Chunk::Owned(bytes.to_vec()), 0),
        }
    }

    /// Queue `chunk` without its first `skip` bytes, which were sent already.
    ///
    /// # Panics
    /// When `chunk` has fewer bytes than `skip`.
    pub fn push(&mut self, chunk: Chunk, skip: usize) {
        let piece = Piece { chunk, sent: skip };
        let unsent = piece.unsent().len();
        if unsent > 0 {
            self.len += unsent;
            self.pieces.push_back(piece);
        }
    }

    /// How many bytes there are to send.
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many bytes of memory are held for this queue alone: neither those of the program nor those that others hold,
    /// too. Costs a look at each chunk.
    pub fn owned(&self) -> usize {
        let of = |piece: &Piece| match &piece.chunk {
            Chunk::Owned(bytes) => bytes.capacity(),
            Chunk::Static(_) | Chunk::Shared(_) => 0,
        };
        self.pieces.iter().map(of).sum()
    }

    /// Whether all is sent.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first bytes to send, as many as lie together. Empty only when all is sent.
    pub fn front(&self) -> &[u8] {
        self.pieces.front().map_or(&[], Piece::unsent)
    }

    /// The first bytes to send, for a vectored write: fills slices from the start of `into`, none of them empty, and
    /// answers how many.
    pub fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, piece) in into.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece.unsent());
            filled += 1;
        }
        filled
    }

    /// Drop the first `sent` bytes. Chunks are given up as soon as their last byte is sent.
    ///
    /// # Panics
    /// When there are fewer than `sent`.
    pub fn advance(&mut self, sent: usize) {
        assert!(sent <= self.len, "{sent} bytes sent of {}", self.len);
        if sent == self.len {
            return self.clear();
        }
        self.len -= sent;
        let mut left = sent;
        while let Some(front) = self.pieces.front_mut() {
            let unsent = front.unsent().len();
            if left < unsent {
                front.sent += left;
                return;
            }
            left -= unsent;
            self.pieces.pop_front();
        }
    }

    /// Drop everything, and the memory that held it.
    pub fn clear(&mut self) {
        *self = Self::new();
    }
}

/// A chunk, and how much of it is sent.
struct Piece {
    chunk: Chunk,
    sent: usize,
}

impl Piece {
    fn unsent(&self) -> &[u8] {
        &self.chunk.as_ref()[self.sent..]
    }
}

#[cfg(test)]
mod tests;
