//! From one stream to another, with back-pressure: no more is read than was written, but for one buffer.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use super::stream::Stream;

/// One direction.
#[derive(Default)]
struct Pump {
    buffer: Vec<u8>,
    /// How many of them are written.
    start: usize,
    copied: u64,
    ended: bool,
}

impl Pump {
    /// Ready when the end of `from` was passed on to `to`.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        from: &mut (impl Stream + ?Sized),
        to: &mut (impl Stream + ?Sized),
    ) -> Poll<io::Result<()>> {
        while !self.ended {
            while self.start < self.buffer.len() {
                let rest = &self.buffer[self.start..];
                match ready!(to.poll_write(context, rest))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => self.start += written,
                }
            }
            self.copied += self.start as u64;
            self.start = 0;
            self.buffer.clear();
            match from.poll_read_vec(context, &mut self.buffer)? {
                Poll::Ready(0) => self.ended = true,
                Poll::Ready(_) => {}
                Poll::Pending => {
                    // Nothing comes for now: what is there shall not wait for it. The read wakes the task in any case.
                    let _ = to.poll_flush(context)?;
                    return Poll::Pending;
                }
            }
        }
        to.poll_shutdown(context)
    }
}

/// Write to `to` all that comes from `from` until its end, and then end `to`. Returns how many bytes it was.
///
/// Dropping the future may lose what was read and not written, up to 64 KiB.
///
/// # Errors
/// Those of reading and writing.
pub async fn copy(
    from: &mut (impl Stream + ?Sized),
    to: &mut (impl Stream + ?Sized),
) -> io::Result<u64> {
    let mut pump = Pump::default();
    poll_fn(|context| pump.poll(context, from, to)).await?;
    Ok(pump.copied)
}

/// Connect two streams with each other until both have ended: each end is passed on, and the other direction goes on.
/// Returns how many bytes went from `one` to `other`, and back.
///
/// Dropping the future may lose what was read and not written, up to 64 KiB each way.
///
/// # Errors
/// The first one of either direction; the other direction ends with it.
pub async fn copy_bidirectional(
    one: &mut (impl Stream + ?Sized),
    other: &mut (impl Stream + ?Sized),
) -> io::Result<(u64, u64)> {
    let (mut there, mut back) = (Pump::default(), Pump::default());
    poll_fn(|context| {
        let went = there.poll(context, one, other)?;
        let came = back.poll(context, other, one)?;
        match went.is_ready() && came.is_ready() {
            true => Poll::Ready(io::Result::Ok(())),
            false => Poll::Pending,
        }
    })
    .await?;
    Ok((there.copied, back.copied))
}
