//! The socket of a connection, with what is known of its readiness, and the bytes it would not take yet.
//!
//! The rule of edge-triggered readiness, "go on until `WouldBlock`", is kept in [`Wire::fill`] and [`Wire::flush`] and
//! nowhere else.

use std::hint::cold_path;
use std::io::{self, ErrorKind, IoSlice};

use crate::event_loop::{Ctx, Readiness, Socket};
use crate::parts::output::{Chunk, Output};

/// A chunk from this size on is sent from where it lies; below, a copy into the cork is cheaper than a second slice.
pub(super) const BY_REFERENCE_BYTES: usize = 16 * 1024;
/// Slices for one call of writev(2): a turn's worth of messages, far from its limit of 1,024.
const SLICES_MAX: usize = 32;
/// What says that there may be something to read. With `CLOSING` a short read proves nothing.
const TO_READ: Readiness = Readiness::READABLE.union(Readiness::CLOSING);

/// What reading came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fill {
    /// So many bytes were added.
    Bytes(usize),
    /// Nothing is there; an event will say when there is.
    Blocked,
    /// The peer will send no more.
    End,
}

impl Fill {
    /// How many bytes were added.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Bytes(n) => n,
            Self::Blocked | Self::End => 0,
        }
    }
}

/// What writing came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Flushed {
    pub(super) bytes: usize,
    /// The socket takes no more, and something waits.
    pub(super) is_blocked: bool,
}

impl Flushed {
    /// All has gone.
    fn whole(bytes: usize) -> Self {
        Self {
            bytes,
            is_blocked: false,
        }
    }
}

pub(super) struct Wire {
    socket: Socket,
    /// What the driver saw, until a call finds that it is over.
    ready: Readiness,
    /// The peer will send no more.
    ended: bool,
    /// What the socket would not take. `None` in the life of nearly every connection.
    backlog: Option<Box<Output>>,
}

impl Wire {
    /// A socket that was just accepted: nothing is known, so both directions are tried first.
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            ready: Readiness::READABLE | Readiness::WRITABLE,
            ended: false,
            backlog: None,
        }
    }

    pub(super) fn socket(&self) -> Socket {
        self.socket
    }

    /// Keep what the driver saw.
    pub(super) fn note(&mut self, readiness: Readiness) {
        // What else it says does no harm here.
        self.ready |= readiness;
    }

    pub(super) fn may_read(&self) -> bool {
        self.ready.intersects(TO_READ) && !self.ended
    }

    /// The driver said that something has ended or gone wrong, and it was not read up to that point yet.
    pub(super) fn has_news_of_end(&self) -> bool {
        self.ready.contains(Readiness::CLOSING) && !self.ended
    }

    /// Nothing is to be read now, and more may come.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.ready.intersects(TO_READ) && !self.ended
    }

    /// Whether the peer has ended its half.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether bytes wait for the peer to take others first.
    pub(super) fn is_blocked(&self) -> bool {
        self.backlog.is_some()
    }

    pub(super) fn backlog_bytes(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.len())
    }

    /// Of these, what is nobody else's.
    pub(super) fn backlog_bytes_owned(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.owned())
    }

    /// Read once into `space`, which is not empty.
    ///
    /// On a TCP socket a read that leaves space in the buffer has emptied it, and what comes later raises a new event
    /// (epoll(7), question 9): that saves a call for each request. It proves nothing when the event said that the
    /// peer has ended, or of urgent data: then it is read on.
    #[inline(always)]
    pub(super) fn fill(&mut self, ctx: &mut Ctx<'_>, space: &mut [u8]) -> io::Result<Fill> {
        match ctx.read(self.socket, space) {
            Ok(0) => {
                cold_path();
                self.ended = true;
                self.ready.remove(TO_READ);
                Ok(Fill::End)
            }
            Ok(n) => {
                if n < space.len() && !self.ready.contains(Readiness::CLOSING) {
                    self.ready.remove(Readiness::READABLE);
                }
                Ok(Fill::Bytes(n))
            }
            Err(error) if would_block(&error) => {
                self.ready.remove(TO_READ);
                Ok(Fill::Blocked)
            }
            Err(error) => Err(error),
        }
    }

    /// Write what waits, then `cork`, until all is gone or the socket takes no more. Leaves `cork` empty: what did
    /// not go joins the backlog.
    #[inline(always)]
    pub(super) fn flush(&mut self, ctx: &mut Ctx<'_>, cork: &mut Vec<u8>) -> io::Result<Flushed> {
        if self.backlog.is_none() {
            if cork.is_empty() {
                cold_path();
                return Ok(Flushed::whole(0));
            }
            // Nearly always the only call: everything at once.
            let written = self.write(ctx, cork)?;
            if written == cork.len() {
                cork.clear();
                return Ok(Flushed::whole(written));
            }
            return self.flush_rest(ctx, cork, written);
        }
        self.flush_rest(ctx, cork, 0)
    }

    /// The same when something waits, or so much of `cork` has gone that the rest must.
    #[cold]
    fn flush_rest(
        &mut self,
        ctx: &mut Ctx<'_>,
        cork: &mut Vec<u8>,
        written: usize,
    ) -> io::Result<Flushed> {
        if written < cork.len() {
            self.backlog.get_or_insert_default().copy(&cork[written..]);
        }
        cork.clear();
        let bytes = written + self.flush_backlog(ctx)?;
        Ok(Flushed {
            bytes,
            is_blocked: self.is_blocked(),
        })
    }

    /// As [`Wire::flush`], with `chunk` behind what is in `cork`.
    pub(super) fn flush_with(
        &mut self,
        ctx: &mut Ctx<'_>,
        cork: &mut Vec<u8>,
        chunk: Chunk,
    ) -> io::Result<usize> {
        let backlog = self.backlog.get_or_insert_default();
        backlog.copy(cork);
        backlog.push(chunk, 0);
        cork.clear();
        self.flush_backlog(ctx)
    }

    fn flush_backlog(&mut self, ctx: &mut Ctx<'_>) -> io::Result<usize> {
        let mut written = 0;
        while let Some(backlog) = &mut self.backlog
            && self.ready.contains(Readiness::WRITABLE)
        {
            if backlog.is_empty() {
                self.backlog = None;
                break;
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = backlog.slices(&mut slices);
            match ctx.write_vectored(self.socket, &slices[..filled]) {
                Ok(n) => {
                    backlog.advance(n);
                    written += n;
                }
                Err(error) if would_block(&error) => self.ready.remove(Readiness::WRITABLE),
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    #[inline(always)]
    fn write(&mut self, ctx: &mut Ctx<'_>, bytes: &[u8]) -> io::Result<usize> {
        if !self.ready.contains(Readiness::WRITABLE) {
            cold_path();
            return Ok(0);
        }
        match ctx.write(self.socket, bytes) {
            Err(error) if would_block(&error) => {
                self.ready.remove(Readiness::WRITABLE);
                Ok(0)
            }
            written => written,
        }
    }
}

/// Whether that is no error, but all for now.
#[cold]
fn would_block(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}
