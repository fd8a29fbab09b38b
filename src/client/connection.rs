//! One connection to a server: a stream with HTTP's machine on it, driven by polls. It knows neither pool nor time.

use std::io;
use std::ops::Range;
use std::task::{Context, Poll, Waker, ready};

use super::body::Upload;
use super::error::{Error, ErrorKind, Phase};
use crate::net::Stream;
use crate::proto::http1::{
    After, Client as Machine, HeadLimits, IncomingResponse, Misuse, OutgoingRequest, PeerError,
    ResponseStep,
};
use crate::task::coop;

/// A body of at most so many bytes leaves in one write with its head; a larger one is not copied.
const JOINED_BYTES_MAX: usize = 16 * 1024;
/// A buffer of an idle connection that is larger than this is given back.
const KEPT_BYTES_MAX: usize = 4 * 1024;

pub(super) struct Connection {
    stream: Box<dyn Stream>,
    machine: Machine,
    /// What was read; that before `taken` has been used.
    input: Vec<u8>,
    taken: usize,
    /// What is to be written; that before `written` has been.
    output: Vec<u8>,
    written: usize,
    /// How many bytes of the exchange at hand were handed to the stream.
    bytes_written: u64,
    /// And how many were read from it.
    bytes_read: u64,
    /// What the stream took is to be waited for until it has left.
    is_flushing: bool,
}

/// A piece of a request's progress, for those who trace it.
pub(super) enum Sent {
    /// So many bytes of the body.
    Piece(usize),
    All,
}

impl Connection {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            machine: Machine::new(),
            input: Vec::new(),
            taken: 0,
            output: Vec::new(),
            written: 0,
            bytes_written: 0,
            bytes_read: 0,
            is_flushing: false,
        }
    }

    /// Whether an idle connection may be used: its peer has neither closed it nor sent what nobody asked for. `context`
    /// is woken when that changes.
    pub(super) fn is_usable(&mut self, context: &mut Context<'_>) -> bool {
        // What it says there is of no interest, and cannot be put back.
        self.machine.is_idle() && self.stream.poll_read(context, &mut [0]).is_pending()
    }

    /// Write the head of a request into the buffer, and its body if that is small.
    pub(super) fn begin(
        &mut self,
        request: &OutgoingRequest<'_>,
        upload: &mut Upload,
        close_after: bool,
    ) -> Result<(), Misuse> {
        self.bytes_written = 0;
        self.bytes_read = 0;
        if close_after {
            self.machine.close_after_this();
        }
        self.machine.request(request, &mut self.output)?;
        if let Upload::Bytes { payload, .. } = upload {
            let bytes = payload.bytes();
            if bytes.len() <= JOINED_BYTES_MAX && !request.expects_continue {
                self.machine.body(bytes, &mut self.output)?;
                self.machine.end(&mut self.output)?;
                *upload = Upload::Done;
            }
        }
        Ok(())
    }

    /// Hand the request to the stream, one piece of a streamed body at a time. Pending also while the server is to say
    /// whether it wants the body, unless `hurry`.
    pub(super) fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        upload: &mut Upload,
        hurry: bool,
    ) -> Poll<Result<Sent, Error>> {
        ready!(self.poll_output(context))?;
        if !matches!(upload, Upload::Done) && self.machine.waits_for_continue() && !hurry {
            return Poll::Pending;
        }
        match upload {
            Upload::Bytes { payload, sent } => {
                let bytes = payload.bytes();
                if sent.is_none() {
                    // Its length is declared, so that nothing frames it.
                    let started = self.machine.body_frame_start(bytes.len(), &mut self.output);
                    started.map_err(misused)?;
                }
                let sent = sent.get_or_insert(0);
                while *sent < bytes.len() {
                    let polled = self.stream.poll_write(context, &bytes[*sent..]);
                    let taken = taken(ready!(polled))?;
                    *sent += taken;
                    self.bytes_written += taken as u64;
                }
                let bytes = bytes.len();
                self.end_request()?;
                *upload = Upload::Done;
                Poll::Ready(Ok(Sent::Piece(bytes)))
            }
            Upload::Stream(source) => {
                // A source of empty pieces would go on for ever.
                ready!(coop::poll_proceed(context));
                match ready!(source.poll_chunk(context)) {
                    Ok(Some(piece)) => {
                        let framed = self.machine.body(&piece, &mut self.output);
                        framed.map_err(misused)?;
                        Poll::Ready(Ok(Sent::Piece(piece.len())))
                    }
                    Ok(None) => {
                        self.end_request()?;
                        *upload = Upload::Done;
                        self.poll_send(context, upload, hurry)
                    }
                    Err(error) => {
                        Poll::Ready(Err(Error::new(ErrorKind::Upload(error), Phase::Send)))
                    }
                }
            }
            Upload::Done if self.is_flushing => self
                .stream
                .poll_flush(context)
                .map_ok(|()| Sent::All)
                .map_err(|error| failed(error, Phase::Send)),
            Upload::Done => Poll::Ready(Ok(Sent::All)),
        }
    }

    /// Wait until what was handed over has left, for those who put a limit on it. Otherwise it leaves by itself, and
    /// nobody is woken for that.
    pub(super) fn set_flushing(&mut self, is_flushing: bool) {
        self.is_flushing = is_flushing;
    }

    fn end_request(&mut self) -> Result<(), Error> {
        self.machine.end(&mut self.output).map_err(misused)
    }

    fn poll_output(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while self.written < self.output.len() {
            let rest = &self.output[self.written..];
            let taken = taken(ready!(self.stream.poll_write(context, rest)))?;
            self.written += taken;
            self.bytes_written += taken as u64;
        }
        self.output.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Read until the head of the final response is complete.
    pub(super) fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        head: &mut IncomingResponse,
        limits: &HeadLimits,
    ) -> Poll<Result<(), Error>> {
        loop {
            let step = self.machine.next(&self.input[self.taken..], head, limits);
            let (used, step) = step.map_err(|fault| faulty(fault, Phase::Wait))?;
            self.taken += used;
            match step {
                ResponseStep::Head => return Poll::Ready(Ok(())),
                ResponseStep::Interim => {}
                ResponseStep::NeedMore => ready!(self.poll_fill(context, Phase::Wait))?,
                ResponseStep::Data(_) | ResponseStep::End | ResponseStep::Paused => {
                    unreachable!("a head comes before its body")
                }
            }
        }
    }

    /// Read the next piece of the body. It lies in [`input`](Self::input) until the next call. `None` behind the last.
    pub(super) fn poll_data(
        &mut self,
        context: &mut Context<'_>,
        head: &mut IncomingResponse,
        limits: &HeadLimits,
    ) -> Poll<Result<Option<Range<usize>>, Error>> {
        loop {
            let step = self.machine.next(&self.input[self.taken..], head, limits);
            let (used, step) = step.map_err(|fault| faulty(fault, Phase::Body))?;
            self.taken += used;
            match step {
                // It is the last of what was used up; what framed it came before.
                ResponseStep::Data(data) => {
                    return Poll::Ready(Ok(Some(self.taken - data.len()..self.taken)));
                }
                ResponseStep::NeedMore => {}
                ResponseStep::End | ResponseStep::Paused => return Poll::Ready(Ok(None)),
                ResponseStep::Head | ResponseStep::Interim => {
                    unreachable!("a body comes behind its head")
                }
            }
            ready!(self.poll_fill(context, Phase::Body))?;
        }
    }

    pub(super) fn input(&self, range: Range<usize>) -> &[u8] {
        &self.input[range]
    }

    /// Read more into the buffer, or tell the machine that there is no more.
    fn poll_fill(&mut self, context: &mut Context<'_>, phase: Phase) -> Poll<Result<(), Error>> {
        self.input.drain(..self.taken);
        self.taken = 0;
        match ready!(self.stream.poll_read_vec(context, &mut self.input)) {
            Ok(0) => Poll::Ready(self.machine.eof().map_err(|fault| faulty(fault, phase))),
            Ok(bytes) => {
                self.bytes_read += bytes as u64;
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(failed(error, phase))),
        }
    }

    /// What is left of the request will not be sent: the connection cannot be used for another.
    pub(super) fn give_up_sending(&mut self, upload: &mut Upload) {
        *upload = Upload::Done;
        self.output.clear();
        self.written = 0;
        self.machine.close_after_this();
    }

    /// Whether a response is due and nothing of it has come. Not to be asked about a fault of the server's.
    pub(super) fn is_waiting(&self) -> bool {
        self.machine.is_waiting()
    }

    /// How many bytes of the request were handed to the stream.
    pub(super) fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// How many bytes of the response were read from the stream.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Whether the server was asked whether it wants the body, and has not said so.
    pub(super) fn waits_for_continue(&self) -> bool {
        self.machine.waits_for_continue()
    }

    /// The exchange is over as far as its reader cares: whether the connection may be used for another.
    pub(super) fn end_exchange(&mut self) -> bool {
        let is_empty = self.taken == self.input.len() && self.output.is_empty();
        if !is_empty || self.machine.after() != After::NextExchange {
            return false;
        }
        for buffer in [&mut self.input, &mut self.output] {
            buffer.clear();
            if buffer.capacity() > KEPT_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
        self.taken = 0;
        true
    }

    /// The reader leaves before the end: whether all that is missing was there, so that the exchange is over.
    pub(super) fn skip_rest(&mut self, head: &mut IncomingResponse, limits: &HeadLimits) -> bool {
        // Reading on costs less than a new connection up to here.
        const SKIPPED_BYTES_MAX: usize = 64 * 1024;
        let mut context = Context::from_waker(Waker::noop());
        let mut skipped = 0;
        while skipped <= SKIPPED_BYTES_MAX {
            match self.poll_data(&mut context, head, limits) {
                Poll::Ready(Ok(Some(data))) => skipped += data.len(),
                Poll::Ready(Ok(None)) => return true,
                Poll::Ready(Err(_)) | Poll::Pending => return false,
            }
        }
        false
    }

    /// The connection belongs to another protocol now: its stream, and what was read of it.
    pub(super) fn into_stream(mut self) -> (Box<dyn Stream>, Vec<u8>) {
        self.input.drain(..self.taken);
        (self.stream, self.input)
    }
}

/// What a write has come to. A stream takes at least a byte of what it is given.
fn taken(polled: io::Result<usize>) -> Result<usize, Error> {
    match polled {
        Ok(0) => Err(failed(io::ErrorKind::WriteZero.into(), Phase::Send)),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(failed(error, Phase::Send)),
    }
}

fn failed(error: io::Error, phase: Phase) -> Error {
    Error::new(ErrorKind::Io(error), phase)
}

fn faulty(fault: PeerError, phase: Phase) -> Error {
    Error::new(ErrorKind::Peer(fault), phase)
}

fn misused(misuse: Misuse) -> Error {
    Error::new(ErrorKind::Misuse(misuse), Phase::Send)
}
