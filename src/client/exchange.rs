//! One request and its response on one leased connection: sending and reading side by side, under deadlines.

use std::ops::Range;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::body::Upload;
use super::connection::{Connection, Sent};
use super::error::{Error, ErrorKind, Phase, TimeLimit};
use super::leases::Lease;
use super::timeouts::{Deadline, Deadlines, Timeouts};
use super::trace::{TraceEvent, Tracer};
use crate::event_loop::Handle;
use crate::proto::http1::{HeadLimits, IncomingResponse, Misuse, OutgoingRequest};

/// A server that was asked whether it wants the body and says nothing gets it after this long (RFC 9110, 10.1.1 leaves
/// the time to us; curl waits as long).
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Exchange {
    lease: Lease,
    upload: Upload,
    /// Set while a read is waited for.
    read_by: Option<Deadline>,
    /// How much had been read when that began.
    read_before: u64,
    /// Set while a write is.
    write_by: Option<Deadline>,
    /// The body goes out then, whether the server has asked for it or not.
    hurry_at: Option<Instant>,
    is_sent: bool,
    /// Why nothing more was sent: the server may have said something before it stopped reading.
    send_error: Option<Error>,
    terms: Terms,
}

/// What holds for each exchange of a request.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) timeouts: Timeouts,
    pub(super) limits: HeadLimits,
    pub(super) tracer: Tracer,
    /// The connection is not to be used again.
    pub(super) close_after: bool,
}

impl Exchange {
    /// Begin with a lease that has a connection.
    pub(super) fn begin(
        mut lease: Lease,
        request: &OutgoingRequest<'_>,
        mut upload: Upload,
        terms: Terms,
        handle: &Handle,
    ) -> Result<Self, Misuse> {
        let connection = lease.connection();
        connection.begin(request, &mut upload, terms.close_after)?;
        connection.set_flushing(terms.timeouts.write.is_some());
        let expects_continue = request.expects_continue;
        Ok(Self {
            lease,
            upload,
            read_by: None,
            read_before: 0,
            write_by: None,
            hurry_at: expects_continue.then(|| handle.time() + CONTINUE_PATIENCE),
            is_sent: false,
            send_error: None,
            terms,
        })
    }

    /// Send, and read until the head of the final response is there.
    pub(super) fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        head: &mut IncomingResponse,
        deadlines: &mut Deadlines,
    ) -> Poll<Result<(), Error>> {
        self.poll_sending(context, deadlines.handle())?;
        let (connection, limits) = (self.lease.connection(), &self.terms.limits);
        let was_asking = connection.waits_for_continue();
        if let Poll::Ready(result) = connection.poll_head(context, head, limits) {
            self.read_by = None;
            if result.is_ok() && head.status() >= 300 && !self.is_sent {
                // It will not read the rest, or has no use for it (RFC 9112, 9.3).
                self.stop_sending();
            }
            return Poll::Ready(result.map_err(|error| self.first_error(error)));
        }
        if was_asking && !connection.waits_for_continue() {
            self.poll_sending(context, deadlines.handle())?;
        }
        let phase = match self.is_sent {
            true => Phase::Wait,
            false => Phase::Send,
        };
        self.poll_limits(context, deadlines, phase)
    }

    /// Read the next piece of the body, and send on if there is anything left to send. The piece lies in
    /// [`input`](Self::input) until the next call.
    pub(super) fn poll_data(
        &mut self,
        context: &mut Context<'_>,
        head: &mut IncomingResponse,
        deadlines: &mut Deadlines,
    ) -> Poll<Result<Option<Range<usize>>, Error>> {
        // A body that comes without a pause and without end is never waited for.
        if let Some(timeout) = deadlines.total_reached() {
            return Poll::Ready(Err(Error::new(ErrorKind::Timeout(timeout), Phase::Body)));
        }
        self.poll_sending(context, deadlines.handle())?;
        let (connection, limits) = (self.lease.connection(), &self.terms.limits);
        match connection.poll_data(context, head, limits) {
            Poll::Ready(result) => {
                self.read_by = None;
                if let Ok(Some(data)) = &result {
                    let (tracer, bytes) = (&self.terms.tracer, data.len());
                    tracer.tell(deadlines.handle(), || TraceEvent::ChunkReceived { bytes });
                }
                Poll::Ready(result.map_err(|error| self.first_error(error)))
            }
            Poll::Pending => self.poll_limits(context, deadlines, Phase::Body),
        }
    }

    pub(super) fn input(&self, range: Range<usize>) -> &[u8] {
        self.lease.input(range)
    }

    /// Send what can be sent. If that fails because the server reads no more, it is heard out first.
    fn poll_sending(&mut self, context: &mut Context<'_>, handle: &Handle) -> Result<(), Error> {
        while !self.is_sent {
            let hurry = self.hurry_at.is_some_and(|at| at <= handle.now());
            let (connection, tracer) = (self.lease.connection(), &self.terms.tracer);
            let before = connection.bytes_written();
            let polled = connection.poll_send(context, &mut self.upload, hurry);
            let after = connection.bytes_written();
            if before == 0 && after > 0 {
                tracer.tell(handle, || TraceEvent::HeadersSent);
            }
            if after > before {
                self.write_by = None;
            }
            match polled {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(Sent::Piece(bytes))) => {
                    tracer.tell(handle, || TraceEvent::ChunkSent { bytes });
                }
                Poll::Ready(Ok(Sent::All)) => self.is_sent = true,
                Poll::Ready(Err(error)) if matches!(error.kind(), ErrorKind::Io(_)) => {
                    self.send_error = Some(error);
                    self.stop_sending();
                }
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn stop_sending(&mut self) {
        self.lease.connection().give_up_sending(&mut self.upload);
        self.is_sent = true;
    }

    /// If sending failed before reading did, that is why.
    fn first_error(&mut self, error: Error) -> Error {
        self.send_error.take().unwrap_or(error)
    }

    /// Something is waited for: see whether that has taken too long.
    fn poll_limits<T>(
        &mut self,
        context: &mut Context<'_>,
        deadlines: &mut Deadlines,
        phase: Phase,
    ) -> Poll<Result<T, Error>> {
        let handle = deadlines.handle();
        let bytes_read = self.lease.connection().bytes_read();
        if std::mem::replace(&mut self.read_before, bytes_read) != bytes_read {
            self.read_by = None;
        }
        if self.terms.timeouts.sock_read.is_some() && self.read_by.is_none() {
            self.read_by =
                Deadline::set(handle, TimeLimit::SockRead, self.terms.timeouts.sock_read);
        }
        if self.terms.timeouts.write.is_some() && !self.is_sent && self.write_by.is_none() {
            self.write_by = Deadline::set(handle, TimeLimit::Write, self.terms.timeouts.write);
        }
        // While there is something to send, the server owes nothing.
        let read_by = self.read_by.filter(|_| self.is_sent);
        let write_by = self.write_by.filter(|_| !self.is_sent);
        deadlines
            .poll(
                context,
                &[read_by, write_by],
                self.hurry_at.filter(|_| !self.is_sent),
            )
            .map(|timeout| Err(Error::new(ErrorKind::Timeout(timeout), phase)))
    }

    /// Whether the connection came from the pool.
    pub(super) fn is_reused(&self) -> bool {
        self.lease.is_reused()
    }

    /// Whether anything of a response has come.
    pub(super) fn is_answered(&mut self) -> bool {
        !self.lease.connection().is_waiting()
    }

    /// Whether anything of the request was handed over.
    pub(super) fn has_written(&mut self) -> bool {
        self.lease.connection().bytes_written() > 0
    }

    /// The response is complete: back to the pool with the connection, if it may be used again.
    pub(super) fn end(mut self, deadlines: &Deadlines) {
        let kept = self.lease.connection().end_exchange();
        let tracer = &self.terms.tracer;
        tracer.tell(deadlines.handle(), || TraceEvent::Ended { kept });
        if kept {
            self.lease.put_back();
        }
    }

    /// The reader leaves before the end. What is left is skipped if it is here already; otherwise the connection
    /// closes.
    pub(super) fn leave(mut self, head: &mut IncomingResponse, deadlines: &Deadlines) {
        let (connection, limits) = (self.lease.connection(), &self.terms.limits);
        if connection.skip_rest(head, limits) {
            self.end(deadlines);
        }
    }

    /// The connection leaves HTTP.
    pub(super) fn into_connection(self) -> Option<Connection> {
        self.lease.take_connection()
    }
}
