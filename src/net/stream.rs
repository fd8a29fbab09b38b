//! What carries bytes both ways: a socket, TLS over one, a proxy's tunnel. Polled, and the same to all who stand on it.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::task::{Context, Poll};

/// How much [`StreamExt::read_to_end`] and its like read at once when a stream has no buffer to swap.
const PIECE_BYTES: usize = 16 * 1024;

/// Bytes both ways, without an end of their own. Object-safe: `Box<dyn Stream>` is a stream.
///
/// A method that answers `Pending` has done nothing, and wakes the task of its last call when it is worth another try.
/// So dropping the future of one call loses no byte of what comes in, and sends none twice. One task may read while
/// another writes.
pub trait Stream: 'static {
    /// Read what is there, at most `buffer`. 0 is the end of the stream, or an empty buffer.
    ///
    /// # Errors
    /// What the connection died of, once all that came before is read.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>>;

    /// Append what is there to `buffer`; where it is empty, buffers are swapped instead of copied if the stream can. 0
    /// is the end of the stream.
    ///
    /// # Errors
    /// As [`Stream::poll_read`].
    fn poll_read_vec(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        let before = buffer.len();
        buffer.resize(before + PIECE_BYTES, 0);
        let polled = self.poll_read(context, &mut buffer[before..]);
        let read = match &polled {
            Poll::Ready(Ok(read)) => *read,
            _ => 0,
        };
        buffer.truncate(before + read);
        polled
    }

    /// Take some of `bytes` to be sent; 0 only when there are none. What was taken leaves by itself, in order.
    ///
    /// # Errors
    /// `BrokenPipe` after [`Stream::poll_shutdown`]; otherwise what the connection died of.
    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Ready when all that was taken has left: it is the operating system's then, and not yet the peer's.
    ///
    /// # Errors
    /// As [`Stream::poll_write`].
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Flush, then say that we will send no more (FIN; for TLS also close_notify). Reading goes on. Saying it twice is
    /// the same as once.
    ///
    /// # Errors
    /// As [`Stream::poll_write`].
    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl<S: Stream + ?Sized> Stream for Box<S> {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        (**self).poll_read(context, buffer)
    }

    fn poll_read_vec(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        (**self).poll_read_vec(context, buffer)
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        (**self).poll_write(context, bytes)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_flush(context)
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_shutdown(context)
    }
}

/// Every [`Stream`], awaited.
///
/// A future here that is dropped has done what it has done: `read` loses nothing, the others may have moved a part of
/// their bytes, as each says.
#[expect(
    async_fn_in_trait,
    reason = "a loop has one thread; no future on it needs to be Send"
)]
pub trait StreamExt: Stream {
    /// See [`Stream::poll_read`]. Dropping it loses no byte.
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|context| self.poll_read(context, buffer)).await
    }

    /// See [`Stream::poll_read_vec`]. Dropping it loses no byte.
    async fn read_vec(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        poll_fn(|context| self.poll_read_vec(context, buffer)).await
    }

    /// Fill `buffer`. Dropping it leaves what has come in the buffer.
    ///
    /// # Errors
    /// `UnexpectedEof` when the stream ends before; otherwise as [`Stream::poll_read`].
    async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..]).await? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        Ok(())
    }

    /// Append all that comes until the end to `buffer`, at most `bytes_max`. Returns how much. Dropping it leaves what
    /// has come in the buffer.
    ///
    /// # Errors
    /// `FileTooLarge` when there is more than `bytes_max`: `buffer` has all that came until that was known. Otherwise
    /// as [`Stream::poll_read`].
    async fn read_to_end(&mut self, buffer: &mut Vec<u8>, bytes_max: usize) -> io::Result<usize> {
        let mut total = 0;
        loop {
            match self.read_vec(buffer).await? {
                0 => return Ok(total),
                read => total += read,
            }
            if total > bytes_max {
                return Err(ErrorKind::FileTooLarge.into());
            }
        }
    }

    /// See [`Stream::poll_write`]. Dropping it before it is ready sends nothing.
    async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        poll_fn(|context| self.poll_write(context, bytes)).await
    }

    /// Have all of `bytes` taken. Dropping it leaves open how many were.
    ///
    /// # Errors
    /// As [`Stream::poll_write`].
    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.write(rest).await? {
                0 => return Err(ErrorKind::WriteZero.into()),
                written => rest = &rest[written..],
            }
        }
        Ok(())
    }

    /// See [`Stream::poll_flush`]. What was taken leaves also when this is dropped, or never called.
    async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_flush(context)).await
    }

    /// See [`Stream::poll_shutdown`]. A shutdown that was begun goes on when this is dropped.
    async fn shutdown(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_shutdown(context)).await
    }
}

impl<S: Stream + ?Sized> StreamExt for S {}
