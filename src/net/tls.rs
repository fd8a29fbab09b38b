//! TLS over any [`Stream`], for clients and servers: rustls's machine, which knows no socket, between two polls.
//!
//! The handshake is done before anyone gets a [`TlsStream`]: what is left are two directions that do not depend on each
//! other. Three rules of rustls shape the code. Plaintext is taken out before more ciphertext goes in, or the machine
//! refuses it. What is to be sent is bounded, so that a slow peer costs no more than that. And in the handshake both
//! directions are tried until neither moves.
//!
//! A unit of the budget is spent on what is taken out or in. Waiting is up to the stream below, whose unit comes back.
//!
//! Certificates are checked against the system's clock, which rustls reads by itself.

mod error;
mod settings;

use std::fmt;
use std::future::poll_fn;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, HandshakeKind, ServerConnection};

use super::Stream;
use crate::event_loop::{Detail, waits_on};
use crate::task::coop::poll_proceed;

pub use error::{CertificateFault, TlsError};
pub use settings::{TlsAcceptor, TlsAcceptorBuilder, TlsConnector, TlsConnectorBuilder};

/// How much one write takes; encrypted, it may wait for the stream below. Two full records (RFC 8446, 5.1).
const UNSENT_BYTES_MAX: usize = 2 * 16 * 1024;

/// A stream in TLS, of either role.
///
/// What [`Stream::poll_write`] took and the stream below did not take at once goes on when either direction is polled
/// again: flush before you wait for something else. Dropping it cuts the connection without `close_notify`; shut it
/// down first.
///
/// The end of the stream is the peer's `close_notify`. An end without it is an error, [`TlsError::Truncated`], of the
/// kind `UnexpectedEof`: HTTP that has seen a message's end by its length may take it for an end (RFC 9112, 9.8).
pub struct TlsStream<S> {
    stream: S,
    connection: Connection,
    senders: Arc<Senders>,
    /// Wakes all of `senders`.
    senders_waker: Waker,
    /// What the connection died of: nothing is read or written any more.
    failed: Option<TlsError>,
    is_shut: bool,
}

/// Which of two tasks polls: one that reads, also sends what was left unsent.
#[derive(Clone, Copy)]
enum Direction {
    Read,
    Write,
}

/// Who is to be woken when the stream below takes more: both directions may have something to send, and it knows one
/// waker.
#[derive(Default)]
struct Senders {
    /// By [`Direction`].
    wakers: Mutex<[Option<Waker>; 2]>,
}

impl TlsConnector {
    /// Shake hands with the server at the other end of `stream`, which has to prove that it is `name`: a DNS name, or
    /// an IP address, with or without brackets. It takes one or two round trips, and about 0.2 ms of computing in one
    /// of its polls. Dropping it closes the stream.
    ///
    /// # Errors
    /// A [`TlsError`] inside; or what the stream below died of.
    pub async fn connect<S: Stream>(&self, name: &str, stream: S) -> io::Result<TlsStream<S>> {
        let bare = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'));
        let server = ServerName::try_from(bare.unwrap_or(name).to_owned())
            .map_err(|_| TlsError::BadName(name.to_owned()))?;
        let connection =
            ClientConnection::new(Arc::clone(&self.config), server).map_err(TlsError::from)?;
        TlsStream::shake_hands(stream, connection.into()).await
    }
}

impl TlsAcceptor {
    /// Shake hands with the client at the other end of `stream`. It has no deadline of its own. Dropping it closes the
    /// stream.
    ///
    /// # Errors
    /// A [`TlsError`] inside; or what the stream below died of.
    pub async fn accept<S: Stream>(&self, stream: S) -> io::Result<TlsStream<S>> {
        let connection = ServerConnection::new(Arc::clone(&self.config)).map_err(TlsError::from)?;
        TlsStream::shake_hands(stream, connection.into()).await
    }
}

impl<S: Stream> TlsStream<S> {
    async fn shake_hands(stream: S, mut connection: Connection) -> io::Result<Self> {
        connection.set_buffer_limit(Some(UNSENT_BYTES_MAX));
        let senders = Arc::new(Senders::default());
        let mut stream = Self {
            stream,
            connection,
            senders_waker: Waker::from(Arc::clone(&senders)),
            senders,
            failed: None,
            is_shut: false,
        };
        poll_fn(|context| stream.poll_handshake(context)).await?;
        Ok(stream)
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let sent = self.poll_send(context, Direction::Write)?;
            let is_handshaking = self.connection.is_handshaking();
            if sent.is_ready() && !is_handshaking {
                return Poll::Ready(Ok(()));
            }
            // Also while something is unsent, when rustls would not ask for it: the peer may not take ours before we
            // took theirs.
            if is_handshaking && let Poll::Ready(taken) = self.poll_receive(context)? {
                self.check_alive()?;
                match taken {
                    0 => return Poll::Ready(Err(TlsError::ClosedInHandshake.into())),
                    _ => continue,
                }
            }
            waits_on("tls handshake", Detail::None);
            return Poll::Pending;
        }
    }

    /// Have the stream below take all that is to be sent.
    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        direction: Direction,
    ) -> Poll<io::Result<()>> {
        if self.connection.wants_write() {
            self.senders.add(direction, context.waker());
        }
        let mut context = Context::from_waker(&self.senders_waker);
        while self.connection.wants_write() {
            let mut stream = Polled {
                stream: &mut self.stream,
                context: &mut context,
            };
            match ready!(as_poll(self.connection.write_tls(&mut stream))) {
                Ok(0) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) => {
                    self.hear_last_words(&error);
                    self.check_alive()?;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The peer takes no more. It may have said why before it closed, which tells more than `error` does: TLS 1.3 has a
    /// client write before it hears that its certificate was refused.
    #[cold]
    fn hear_last_words(&mut self, error: &io::Error) {
        let waker = self.senders_waker.clone();
        let context = &mut Context::from_waker(&waker);
        let has_closed = matches!(
            error.kind(),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
        );
        while has_closed
            && self.failed.is_none()
            && matches!(self.poll_receive(context), Poll::Ready(Ok(1..)))
        {}
    }

    /// Take ciphertext from the stream below, and make plaintext of it where a record is complete. Ready with the
    /// number of bytes taken; 0 is the end of the stream below. What is wrong with them is left in `failed`: there may
    /// be plaintext in front of it.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut stream = Polled {
            stream: &mut self.stream,
            context,
        };
        let taken = ready!(as_poll(self.connection.read_tls(&mut stream)))?;
        if let Err(error) = self.connection.process_new_packets() {
            self.failed = Some(error.into());
            // The peer is told why, if it can be done at once. Who waits to write hears of it, too.
            let _ = self.poll_send(context, Direction::Read);
            self.senders_waker.wake_by_ref();
        }
        Poll::Ready(Ok(taken))
    }

    /// Hand plaintext to `take`, which says how much of it it took, as soon as there is some; an empty slice is the
    /// end.
    fn poll_plaintext(
        &mut self,
        context: &mut Context<'_>,
        take: &mut dyn FnMut(&[u8]) -> usize,
    ) -> Poll<io::Result<usize>> {
        // What is unsent may be the question whose answer is waited for here. If it cannot be sent, who writes hears of
        // it; what came before can still be read.
        let _ = self.poll_send(context, Direction::Read);
        loop {
            let mut reader = self.connection.reader();
            match reader.fill_buf() {
                Ok(plaintext) => {
                    ready!(poll_proceed(context));
                    let taken = take(plaintext);
                    reader.consume(taken);
                    return Poll::Ready(Ok(taken));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(Err(TlsError::Truncated.into())),
            }
            self.check_alive()?;
            ready!(self.poll_receive(context))?;
        }
    }

    fn check_alive(&self) -> io::Result<()> {
        match &self.failed {
            Some(error) => Err(error.clone().into()),
            None => Ok(()),
        }
    }

    /// What both sides agreed on by ALPN, if they did.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.connection.alpn_protocol()
    }

    /// The name that the client asked for (SNI); only a server knows one.
    pub fn server_name(&self) -> Option<&str> {
        match &self.connection {
            Connection::Server(connection) => connection.server_name(),
            Connection::Client(_) => None,
        }
    }

    /// The peer's certificate and those that it sent with it, each as DER; none if it sent none.
    pub fn peer_certificates(&self) -> impl Iterator<Item = &[u8]> {
        let certificates = self.connection.peer_certificates().unwrap_or_default();
        certificates.iter().map(|certificate| certificate.as_ref())
    }

    /// Whether this connection took up a session of an earlier one.
    pub fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The stream below.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: Stream> Stream for TlsStream<S> {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_plaintext(context, &mut |plaintext| {
            let taken = plaintext.len().min(buffer.len());
            buffer[..taken].copy_from_slice(&plaintext[..taken]);
            taken
        })
    }

    fn poll_read_vec(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        self.poll_plaintext(context, &mut |plaintext| {
            buffer.extend_from_slice(plaintext);
            plaintext.len()
        })
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_alive()?;
        if self.is_shut {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // What was taken before goes first.
        ready!(self.poll_send(context, Direction::Write))?;
        ready!(poll_proceed(context));
        let taken = self.connection.writer().write(bytes)?;
        match self.poll_send(context, Direction::Write) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_alive()?;
        ready!(self.poll_send(context, Direction::Write))?;
        self.stream.poll_flush(context)
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_alive()?;
        if !self.is_shut {
            self.connection.send_close_notify();
            self.is_shut = true;
        }
        ready!(self.poll_send(context, Direction::Write))?;
        self.stream.poll_shutdown(context)
    }
}

impl<S> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("version", &self.connection.protocol_version())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl Senders {
    fn add(&self, direction: Direction, waker: &Waker) {
        match &mut self.wakers()[direction as usize] {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    fn wakers(&self) -> MutexGuard<'_, [Option<Waker>; 2]> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Senders {
    fn wake(self: Arc<Self>) {
        let wakers = mem::take(&mut *self.wakers());
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

/// The stream below as rustls wants it: what is pending is `WouldBlock`.
struct Polled<'a, 'b, S> {
    stream: &'a mut S,
    context: &'a mut Context<'b>,
}

impl<S: Stream> Read for Polled<'_, '_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        as_result(self.stream.poll_read(self.context, buffer))
    }
}

impl<S: Stream> Write for Polled<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        as_result(self.stream.poll_write(self.context, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        as_result(self.stream.poll_flush(self.context))
    }
}

fn as_result<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

fn as_poll<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

#[cfg(test)]
mod tests;
