//! A body on its way between a connection and a handler, in pieces, with back-pressure: whoever is ahead waits.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::event_loop::{Handle, Token};

/// Why a body did not come to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyError {
    /// Its sender went before its end: the peer vanished, a handler was dropped.
    Truncated,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body's sender went before its end")
    }
}

impl std::error::Error for BodyError {}

/// Nobody will read what is sent: the peer has gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disconnected;

impl fmt::Display for Disconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer has gone")
    }
}

impl std::error::Error for Disconnected {}

/// Who is to be told that the other end has moved.
enum Waiter {
    Task(Waker),
    Source(Handle, Token),
}

impl Waiter {
    fn wake(self) {
        match self {
            Self::Task(waker) => waker.wake(),
            Self::Source(handle, token) => handle.wake(token),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Finished,
    Truncated,
}

struct Pipe {
    chunks: VecDeque<Vec<u8>>,
    bytes: usize,
    bytes_max: usize,
    stage: Stage,
    has_reader: bool,
    reader: Option<Waiter>,
    writer: Option<Waiter>,
}

/// The two ends of a body. Up to `bytes_max` bytes wait in it before its sender has to.
pub fn body_channel(bytes_max: usize) -> (BodySender, BodyReader) {
    let pipe = Rc::new(RefCell::new(Pipe {
        chunks: VecDeque::new(),
        bytes: 0,
        bytes_max,
        stage: Stage::Open,
        has_reader: true,
        reader: None,
        writer: None,
    }));
    (
        BodySender {
            pipe: Rc::clone(&pipe),
        },
        BodyReader { pipe },
    )
}

/// The end of a body that bytes are put into. Dropped without [`BodySender::finish`], the body counts as truncated, and
/// its reader is told so: a chunked answer is then cut off instead of ended.
pub struct BodySender {
    pipe: Rc<RefCell<Pipe>>,
}

impl BodySender {
    /// Send a piece; waits while too much is on its way already.
    ///
    /// # Errors
    /// [`Disconnected`] when the reader has gone.
    pub async fn send(&mut self, chunk: impl Into<Vec<u8>>) -> Result<(), Disconnected> {
        poll_fn(|context| self.poll_ready(context)).await?;
        self.push(chunk.into());
        Ok(())
    }

    /// This was all.
    pub fn finish(self) {
        self.end(Stage::Finished);
    }

    /// Whether the reader has gone.
    pub fn is_disconnected(&self) -> bool {
        !self.pipe.borrow().has_reader
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Disconnected>> {
        let mut pipe = self.pipe.borrow_mut();
        if !pipe.has_reader {
            return Poll::Ready(Err(Disconnected));
        }
        if pipe.bytes < pipe.bytes_max {
            return Poll::Ready(Ok(()));
        }
        pipe.writer = Some(Waiter::Task(context.waker().clone()));
        Poll::Pending
    }

    /// Add a piece, however full the pipe is: the caller asks [`BodySender::is_full`] first.
    pub(super) fn push(&self, chunk: Vec<u8>) {
        let reader = {
            let mut pipe = self.pipe.borrow_mut();
            if !pipe.has_reader || chunk.is_empty() {
                return;
            }
            pipe.bytes += chunk.len();
            pipe.chunks.push_back(chunk);
            pipe.reader.take()
        };
        reader.into_iter().for_each(Waiter::wake);
    }

    /// Whether more would be too much; then `token` is woken when there is room.
    pub(super) fn is_full(&self, handle: &Handle, token: Token) -> bool {
        let mut pipe = self.pipe.borrow_mut();
        let full = pipe.has_reader && pipe.bytes >= pipe.bytes_max;
        if full {
            pipe.writer = Some(Waiter::Source(handle.clone(), token));
        }
        full
    }

    /// Bytes that wait for the reader.
    pub(super) fn bytes(&self) -> usize {
        self.pipe.borrow().bytes
    }

    /// Whether the reader is behind.
    pub(super) fn is_over_full(&self) -> bool {
        let pipe = self.pipe.borrow();
        pipe.has_reader && pipe.bytes >= pipe.bytes_max
    }

    fn end(&self, stage: Stage) {
        let reader = {
            let mut pipe = self.pipe.borrow_mut();
            if pipe.stage != Stage::Open {
                return;
            }
            pipe.stage = stage;
            pipe.reader.take()
        };
        reader.into_iter().for_each(Waiter::wake);
    }
}

impl Drop for BodySender {
    fn drop(&mut self) {
        self.end(Stage::Truncated);
    }
}

impl fmt::Debug for BodySender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodySender")
            .field("bytes", &self.pipe.borrow().bytes)
            .finish_non_exhaustive()
    }
}

/// What a look into a pipe found.
pub(super) enum Pull {
    Chunk(Vec<u8>),
    End,
    Truncated,
    Wait,
}

/// The end of a body that bytes come out of.
pub struct BodyReader {
    pipe: Rc<RefCell<Pipe>>,
}

impl BodyReader {
    /// The next piece, or `None` at the end.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] when the end will not come.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, BodyError> {
        poll_fn(
            |context| match self.pull(|| Waiter::Task(context.waker().clone())) {
                Pull::Chunk(chunk) => Poll::Ready(Ok(Some(chunk))),
                Pull::End => Poll::Ready(Ok(None)),
                Pull::Truncated => Poll::Ready(Err(BodyError::Truncated)),
                Pull::Wait => Poll::Pending,
            },
        )
        .await
    }

    /// Bytes that wait here; if nobody looks for them, those that may come to wait meanwhile.
    pub(super) fn bytes(&self, is_left_alone: bool) -> usize {
        let pipe = self.pipe.borrow();
        let least = if is_left_alone { pipe.bytes_max } else { 0 };
        pipe.bytes.max(least)
    }

    /// The next piece for a connection, which is woken when there is one.
    pub(super) fn pull_for(&self, handle: &Handle, token: Token) -> Pull {
        self.pull(|| Waiter::Source(handle.clone(), token))
    }

    fn pull(&self, waiter: impl FnOnce() -> Waiter) -> Pull {
        let mut pipe = self.pipe.borrow_mut();
        let Some(chunk) = pipe.chunks.pop_front() else {
            return match pipe.stage {
                Stage::Finished => Pull::End,
                Stage::Truncated => Pull::Truncated,
                Stage::Open => {
                    pipe.reader = Some(waiter());
                    Pull::Wait
                }
            };
        };
        pipe.bytes -= chunk.len();
        let writer = if pipe.bytes < pipe.bytes_max {
            pipe.writer.take()
        } else {
            None
        };
        drop(pipe);
        writer.into_iter().for_each(Waiter::wake);
        Pull::Chunk(chunk)
    }
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        let (writer, chunks) = {
            let mut pipe = self.pipe.borrow_mut();
            pipe.has_reader = false;
            pipe.bytes = 0;
            (pipe.writer.take(), std::mem::take(&mut pipe.chunks))
        };
        drop(chunks);
        writer.into_iter().for_each(Waiter::wake);
    }
}

impl fmt::Debug for BodyReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyReader")
            .field("bytes", &self.pipe.borrow().bytes)
            .finish_non_exhaustive()
    }
}
