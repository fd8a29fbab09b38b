//! Reading by lines, and up to a byte: a stream with what was read ahead of what was asked for.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::task::{Context, Poll, ready};

use super::stream::Stream;

/// A stream that can be read by pieces that end with a byte, such as lines.
///
/// What belongs to the next piece stays here until it is asked for: read on from this, or take both apart with
/// [`Buffered::into_parts`].
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::net::{Buffered, StreamExt, TcpListener, TcpStream};
///
/// EventLoop::new()?.run_until(async {
///     let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into()).await?;
///     let mut client = TcpStream::connect(listener.local_addr()).await?;
///     client.write_all(b"one\r\ntwo").await?;
///     client.shutdown().await?;
///     let mut lines = Buffered::new(listener.accept().await?.0);
///     assert_eq!(lines.read_line(100).await?.as_deref(), Some("one"));
///     assert_eq!(lines.read_line(100).await?.as_deref(), Some("two"));
///     assert_eq!(lines.read_line(100).await?, None);
///     std::io::Result::Ok(())
/// })??;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Buffered<S> {
    stream: S,
    ahead: Vec<u8>,
    /// How many of them are used up.
    start: usize,
}

impl<S: Stream> Buffered<S> {
    /// Read `stream` by pieces.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
            start: 0,
        }
    }

    /// The stream, for what is not reading.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream, and what was read ahead.
    pub fn into_parts(mut self) -> (S, Vec<u8>) {
        self.ahead.drain(..self.start);
        (self.stream, self.ahead)
    }

    /// What was read ahead.
    pub fn ahead(&self) -> &[u8] {
        &self.ahead[self.start..]
    }

    /// The first `used` bytes of [`Buffered::ahead`] are used up.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn consume(&mut self, used: usize) {
        assert!(
            used <= self.ahead().len(),
            "more was used up than was there"
        );
        self.start += used;
        if self.start == self.ahead.len() {
            self.ahead.clear();
            self.start = 0;
        }
    }

    /// Read more behind what was read ahead. 0 is the end.
    ///
    /// # Errors
    /// As [`Stream::poll_read`].
    pub fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.ahead.drain(..self.start);
        self.start = 0;
        self.stream.poll_read_vec(context, &mut self.ahead)
    }

    /// The bytes up to the next `last`, with it; or all that is left if the end comes before it: nothing at the end.
    /// Dropping the future loses no byte.
    ///
    /// # Errors
    /// `FileTooLarge` when there are more than `bytes_max` bytes before a `last`; they stay where they are. Otherwise
    /// as [`Stream::poll_read`].
    pub async fn read_until(&mut self, last: u8, bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut searched = 0;
        let length = loop {
            let found = self.ahead()[searched..]
                .iter()
                .position(|&byte| byte == last);
            if let Some(at) = found
                && searched + at < bytes_max
            {
                break searched + at + 1;
            }
            searched = self.ahead().len();
            if searched > bytes_max || found.is_some() {
                return Err(ErrorKind::FileTooLarge.into());
            }
            if poll_fn(|context| self.poll_fill(context)).await? == 0 {
                break searched;
            }
        };
        let piece = self.ahead()[..length].to_vec();
        self.consume(length);
        Ok(piece)
    }

    /// The next line without its end (LF, or CR LF); `None` at the end of the stream. The last one may have no end.
    /// Dropping the future loses no byte.
    ///
    /// # Errors
    /// `FileTooLarge` when the line, with its end, is longer than `bytes_max`; `InvalidData` when it is not UTF-8, and
    /// then it is used up. Otherwise as [`Stream::poll_read`].
    pub async fn read_line(&mut self, bytes_max: usize) -> io::Result<Option<String>> {
        let mut line = self.read_until(b'\n', bytes_max).await?;
        if line.is_empty() {
            return Ok(None);
        }
        if line.ends_with(b"\n") {
            line.pop();
            line.pop_if(|last| *last == b'\r');
        }
        String::from_utf8(line)
            .map(Some)
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    }
}

impl<S: Stream> Stream for Buffered<S> {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.ahead().is_empty() {
            return self.stream.poll_read(context, buffer);
        }
        let length = self.ahead().len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.ahead()[..length]);
        self.consume(length);
        Poll::Ready(Ok(length))
    }

    fn poll_read_vec(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        if self.ahead().is_empty() {
            ready!(self.poll_fill(context))?;
        }
        let length = self.ahead().len();
        buffer.extend_from_slice(self.ahead());
        self.consume(length);
        Poll::Ready(Ok(length))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_write(context, bytes)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(context)
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(context)
    }
}
