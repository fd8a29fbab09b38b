//! The loop's end of a stream: a source behind a connected socket, which fills one buffer and empties another.
//!
//! A visit writes what it owes, reads what there is room for, and wakes who waited (rules R3 and R10): it moves at most
//! what the two buffers hold. While there is no room it does not read, and says so; the reader marks the source when
//! there is, since no edge will come for what was left (rule R4).

use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;
use std::time::Duration;

use super::link::{Fault, Leaving, Link, Receiving, Sending};
use crate::event_loop::{Ctx, Inspection, Next, Readiness, Socket, Source, TimerId};

/// What was written before a stream was dropped has so long to leave.
pub(super) const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// Slices for one call of writev(2).
const SLICES_MAX: usize = 16;

/// What a read that leaves room in its buffer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ShortRead {
    /// All was read (TCP, see [`crate::event_loop::Driver`]).
    Drained,
    /// Nothing.
    Inconclusive,
}

/// Opens the socket that a connection is to be made with.
pub(super) type Dial = Box<dyn FnOnce(&mut Ctx<'_>) -> io::Result<Socket>>;

enum Stage {
    /// Nothing was done yet.
    ToDial(Dial),
    /// The first `WRITABLE` will say that the connection is made.
    Dialled(Socket),
    Open(Socket),
    /// There is no socket.
    Nothing,
}

/// See the head of this file.
pub(super) struct Endpoint {
    link: Rc<Link>,
    stage: Stage,
    short_read: ShortRead,
    read_ready: bool,
    /// A short read proves nothing, see [`Readiness::CLOSING`].
    read_on: bool,
    write_ready: bool,
    flush_deadline: Option<TimerId>,
}

impl Endpoint {
    /// One that will make its connection in its first visit.
    pub(super) fn dialling(link: Rc<Link>, short_read: ShortRead, dial: Dial) -> Self {
        Self::new(link, short_read, Stage::ToDial(dial))
    }

    /// One that has its connection.
    pub(super) fn open(link: Rc<Link>, short_read: ShortRead, socket: Socket) -> Self {
        Self::new(link, short_read, Stage::Open(socket))
    }

    fn new(link: Rc<Link>, short_read: ShortRead, stage: Stage) -> Self {
        Self {
            link,
            stage,
            short_read,
            read_ready: true,
            read_on: false,
            write_ready: true,
            flush_deadline: None,
        }
    }

    fn note(&mut self, readiness: Readiness) {
        if readiness.intersects(Readiness::READABLE | Readiness::CLOSING) {
            self.read_ready = true;
        }
        if readiness.contains(Readiness::CLOSING) {
            self.read_on = true;
        }
        if readiness.contains(Readiness::WRITABLE) {
            self.write_ready = true;
        }
    }

    fn dial(&mut self, ctx: &mut Ctx<'_>, dial: Dial) -> Next {
        let dialled = dial(ctx).and_then(|socket| {
            self.stage = Stage::Dialled(socket);
            let token = ctx.token();
            ctx.driver().register(socket, token)
        });
        match dialled {
            Ok(()) => Next::Wait,
            Err(error) => self.fail(error),
        }
    }

    fn fail(&self, error: io::Error) -> Next {
        self.link.failed(error.into());
        Next::Close
    }

    fn learn_outcome(&mut self, ctx: &mut Ctx<'_>, socket: Socket, readiness: Readiness) -> Next {
        if !readiness.intersects(Readiness::WRITABLE | Readiness::CLOSING) {
            return Next::Wait;
        }
        match ctx.driver().take_error(socket) {
            Ok(None) if readiness.contains(Readiness::WRITABLE) => {
                self.stage = Stage::Open(socket);
                self.link.set_local(ctx.driver().local_addr(socket).ok());
                self.link.opened();
                self.pump(ctx, socket)
            }
            Ok(None) => Next::Wait,
            Ok(Some(error)) | Err(error) => self.fail(error),
        }
    }

    fn pump(&mut self, ctx: &mut Ctx<'_>, socket: Socket) -> Next {
        if let Err(error) = self.flush(ctx, socket) {
            self.link.sending_is(Sending::Broken(error.into()));
        }
        if self.link.leaving() == Leaving::AfterFlush {
            return match self.link.sending() {
                Sending::Open | Sending::Ending => self.wait_for_flush(ctx),
                Sending::Ended | Sending::Broken(_) => Next::Close,
            };
        }
        if let Err(error) = self.fill(ctx, socket) {
            self.link.break_off(error.into());
            return Next::Close;
        }
        match (self.link.receiving(), self.link.sending()) {
            // Both halves have ended: the descriptor is of no use any more.
            (Receiving::Ended, Sending::Ended | Sending::Broken(_)) => Next::Close,
            _ => Next::Wait,
        }
    }

    /// Write what waits until it is gone or the socket takes no more; then end our half, if that is wanted.
    fn flush(&mut self, ctx: &mut Ctx<'_>, socket: Socket) -> io::Result<()> {
        let mut output = self.link.take_output();
        let before = output.len();
        let mut written = Ok(());
        while self.write_ready && !output.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = output.slices(&mut slices);
            match ctx.write_vectored(socket, &slices[..filled]) {
                Ok(sent) => output.advance(sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.write_ready = false,
                Err(error) => {
                    written = Err(error);
                    break;
                }
            }
        }
        let (progress, is_empty) = (output.len() < before, output.is_empty());
        self.link.put_back_output(output, progress);
        written?;
        if is_empty && self.link.sending() == Sending::Ending {
            ctx.driver().shutdown_write(socket)?;
            self.link.sending_is(Sending::Ended);
        }
        Ok(())
    }

    fn wait_for_flush(&mut self, ctx: &mut Ctx<'_>) -> Next {
        if self.flush_deadline.is_none() {
            let (token, when) = (ctx.token(), ctx.now() + FLUSH_TIMEOUT);
            self.flush_deadline = Some(ctx.set_timer(token, when));
        }
        Next::Wait
    }

    /// Read what there is room for.
    fn fill(&mut self, ctx: &mut Ctx<'_>, socket: Socket) -> io::Result<()> {
        if !self.read_ready || self.link.receiving() != Receiving::Open {
            return Ok(());
        }
        let mut buffers = ctx.lend_buffers();
        let filled = self.fill_through(ctx, socket, &mut buffers.receive);
        ctx.give_back(buffers);
        filled
    }

    fn fill_through(
        &mut self,
        ctx: &mut Ctx<'_>,
        socket: Socket,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        while self.read_ready {
            let room = self.link.room().min(buffer.len());
            if room == 0 {
                return Ok(());
            }
            match ctx.read(socket, &mut buffer[..room]) {
                Ok(0) => {
                    self.read_ready = false;
                    self.link.receiving_is(Receiving::Ended);
                }
                Ok(read) => {
                    if read < room && !self.read_on && self.short_read == ShortRead::Drained {
                        self.read_ready = false;
                    }
                    self.link.received(&buffer[..read]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.read_ready = false;
                    self.read_on = false;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Source for Endpoint {
    fn ready(&mut self, ctx: &mut Ctx<'_>, readiness: Readiness) -> Next {
        self.link.visited(ctx.token());
        self.note(readiness);
        if self.link.leaving() == Leaving::Now {
            return Next::Close;
        }
        if readiness.contains(Readiness::TIMER) {
            self.flush_deadline = None;
            return Next::Close;
        }
        match std::mem::replace(&mut self.stage, Stage::Nothing) {
            // Nobody waits for it any more.
            Stage::ToDial(_) if self.link.leaving() != Leaving::No => Next::Close,
            Stage::ToDial(dial) => self.dial(ctx, dial),
            Stage::Dialled(socket) => {
                self.stage = Stage::Dialled(socket);
                match self.link.leaving() {
                    Leaving::No => self.learn_outcome(ctx, socket, readiness),
                    Leaving::AfterFlush | Leaving::Now => Next::Close,
                }
            }
            Stage::Open(socket) => {
                self.stage = Stage::Open(socket);
                self.pump(ctx, socket)
            }
            Stage::Nothing => Next::Close,
        }
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(deadline) = self.flush_deadline.take() {
            ctx.unset_timer(deadline);
        }
        if let Stage::Dialled(socket) | Stage::Open(socket) = self.stage {
            match self.link.leaving() {
                Leaving::Now => ctx.driver().reset(socket),
                Leaving::No | Leaving::AfterFlush => ctx.driver().close(socket),
            }
        }
        // Has no effect on halves that have ended.
        self.link.break_off(Fault::of(ErrorKind::ConnectionAborted));
    }

    fn inspect(&self) -> Inspection {
        let leaving = self.link.leaving() != Leaving::No;
        Inspection {
            kind: "stream",
            state: match &self.stage {
                Stage::ToDial(_) | Stage::Dialled(_) => "connecting",
                Stage::Open(_) if leaving => "flushing",
                Stage::Open(_) => "open",
                Stage::Nothing => "closed",
            },
            read_drained: !self.read_ready,
            paused: leaving || self.link.room() == 0,
            bytes_held: self.link.bytes_held(),
            socket: match self.stage {
                Stage::Dialled(socket) | Stage::Open(socket) => Some(socket),
                Stage::ToDial(_) | Stage::Nothing => None,
            },
            ..Inspection::default()
        }
    }
}
