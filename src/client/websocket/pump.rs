//! The task behind a WebSocket: bytes from the stream to the machine and back, the heartbeat, and the end.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::link::Link;
use super::{Options, WebSocketError, WebSocketTimeout};
use crate::event_loop::{CallHandle, Handle};
use crate::net::Stream;

/// Run it, on the loop that is turning on this thread, until the connection has ended.
pub(super) fn start(link: Rc<Link>, stream: Box<dyn Stream>, input: Vec<u8>, options: &Options) {
    let handle = Handle::current();
    let pump = Pump {
        link,
        stream,
        input,
        output: Vec::new(),
        written: 0,
        broken: None,
        heard: handle.now(),
        ending: None,
        pinged: None,
        timer: None,
        close_timeout: options.close_timeout,
        heartbeat: options.heartbeat,
        handle: handle.clone(),
    };
    // It ends by itself, so nobody waits for it.
    drop(handle.spawn_named("websocket", pump));
}

struct Pump {
    link: Rc<Link>,
    stream: Box<dyn Stream>,
    /// What came and was not taken in: the beginning of a frame, or what there was no room for.
    input: Vec<u8>,
    /// What was fetched of the link; that before `written` has left.
    output: Vec<u8>,
    written: usize,
    /// What writing failed of.
    broken: Option<io::Error>,
    /// When something last came.
    heard: Instant,
    /// When we asked whether the server is there, if nothing came since.
    pinged: Option<Instant>,
    ending: Option<Ending>,
    timer: Option<(Instant, CallHandle)>,
    close_timeout: Duration,
    heartbeat: Option<Duration>,
    handle: Handle,
}

/// We have said our last word.
struct Ending {
    /// When our patience ends.
    deadline: Instant,
    /// The server has said its own, and what is left for it to do is to close (RFC 6455, 7.1.1).
    is_over: bool,
}

impl Future for Pump {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let end = ready!(self.poll_pump(context));
        self.link.gone(end);
        // TLS has a last word of its own. It goes out, or does not, without us.
        let _ = self.stream.poll_shutdown(context);
        Poll::Ready(())
    }
}

impl Pump {
    /// Ready when there is no connection any more: what it ended of, if the close handshake was not made.
    fn poll_pump(&mut self, context: &mut Context<'_>) -> Poll<WebSocketError> {
        self.link.keep_pump(context);
        loop {
            self.link.receive(&mut self.input);
            if self.broken.is_none()
                && let Poll::Ready(Err(error)) = self.poll_write(context)
            {
                // What the server said before, its close frame perhaps, can still be read.
                self.broken = Some(error);
            }
            self.notice_the_end();
            if let Err(limit) = self.check_time(context) {
                return Poll::Ready(WebSocketError::Timeout(limit));
            }
            if self.link.is_full() {
                // Whoever reads wakes us. What TLS took goes out meanwhile: it moves only when it is polled.
                let _ = self.stream.poll_flush(context);
                return Poll::Pending;
            }
            match (self.poll_read(context), self.broken.take()) {
                (Poll::Ready(Ok(0)), None) => return Poll::Ready(WebSocketError::Lost(None)),
                (Poll::Ready(Ok(1..)), broken) => self.broken = broken,
                (Poll::Pending, None) => return Poll::Pending,
                (Poll::Ready(Err(error)), None) | (_, Some(error)) => {
                    return Poll::Ready(WebSocketError::Lost(Some(Arc::new(error))));
                }
            }
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = ready!(self.stream.poll_read_vec(context, &mut self.input))?;
        self.heard = self.handle.now();
        self.pinged = None;
        Poll::Ready(Ok(read))
    }

    /// Ready when all that is to be said has been taken by the stream.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.written == self.output.len() {
                self.output.clear();
                self.written = 0;
                if !self.link.fetch(&mut self.output) {
                    return Poll::Ready(Ok(()));
                }
            }
            let rest = &self.output[self.written..];
            let taken = ready!(self.stream.poll_write(context, rest))?;
            self.written += taken;
            self.link.left(taken);
        }
    }

    /// Once we have said our last word, patience is limited; and once more when the server has said its own.
    fn notice_the_end(&mut self) {
        let is_over = self.link.has_ended();
        let is_known = self
            .ending
            .as_ref()
            .is_some_and(|ending| ending.is_over == is_over);
        if self.link.is_closing() && !is_known {
            let deadline = self.handle.now() + self.close_timeout;
            self.ending = Some(Ending { deadline, is_over });
        }
    }

    /// See whether the time for something has come, and be woken when it will.
    fn check_time(&mut self, context: &Context<'_>) -> Result<(), WebSocketTimeout> {
        let now = self.handle.now();
        let next = match (&self.ending, self.heartbeat) {
            (Some(ending), _) if ending.deadline <= now => {
                return Err(WebSocketTimeout::Close);
            }
            (Some(ending), _) => ending.deadline,
            (None, None) => return Ok(()),
            // Nothing is read, so nothing can be heard.
            (None, Some(_)) if self.link.is_full() => return Ok(()),
            (None, Some(pause)) => match self.pinged {
                Some(pinged) if pinged + pause <= now => {
                    return Err(WebSocketTimeout::Heartbeat);
                }
                Some(pinged) => pinged + pause,
                None if self.heard + pause <= now => {
                    self.pinged = Some(now);
                    // Fails when it is closed, and then another limit holds.
                    let _ = self.link.ping(b"");
                    now + pause
                }
                None => self.heard + pause,
            },
        };
        self.arm(next, context);
        Ok(())
    }

    /// Be polled at `when`. A timer that fires before that costs a poll, one that was moved each time something came
    /// would cost more.
    fn arm(&mut self, when: Instant, context: &Context<'_>) {
        if let Some((set, timer)) = &self.timer {
            if *set <= when && timer.is_pending() {
                return;
            }
            timer.cancel();
        }
        let waker = context.waker().clone();
        let timer = self.handle.call_at(when, move |_| waker.wake());
        self.timer = Some((when, timer));
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        if let Some((_, timer)) = &self.timer {
            timer.cancel();
        }
        // The loop may be going, and those who wait are to hear of it.
        self.link.gone(WebSocketError::Lost(None));
    }
}
