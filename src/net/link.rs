//! What a task's stream and the source behind it share. A future cannot reach the driver; so a stream is two ends of a
//! [`Link`]: the task takes bytes from it and puts bytes into it, and [`Endpoint`](super::endpoint::Endpoint), the end
//! in the loop's slab, moves them from and to the socket.
//!
//! ```text
//!   task ── Halves ─┐                              ┌─ Endpoint ── socket
//!                   ├─ inbound  (64 KiB) ◄─────────┤   reads in its visit, wakes the reader
//!                   └─ output   (64 KiB) ─────────►┘   writes in step 7, wakes the writer
//! ```
//!
//! The cell below is borrowed and released inside one method each, and neither a waker nor a driver is called
//! meanwhile.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use crate::event_loop::{Detail, Handle, Token, waits_on};
use crate::parts::output::Output;
use crate::task::coop;

/// Bytes that wait for their reader; then the peer has to wait.
pub(super) const INBOUND_BYTES_MAX: usize = 64 * 1024;
/// Bytes that wait to be sent; then the writer has to wait.
pub(super) const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Whoever had to wait goes on when so much is left: not for each byte.
const LOW_WATER: usize = 32 * 1024;
/// An empty buffer larger than this is given back: an idle stream holds none.
const KEPT_BYTES_MAX: usize = 4 * 1024;

/// An error that can be told more than once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    kind: ErrorKind,
    code: Option<i32>,
}

impl Fault {
    pub(super) fn of(kind: ErrorKind) -> Self {
        Self { kind, code: None }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self {
            kind: error.kind(),
            code: error.raw_os_error(),
        }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault.code {
            Some(code) => Self::from_raw_os_error(code),
            None => fault.kind.into(),
        }
    }
}

/// Whether there is a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// On its way.
    Opening,
    Open,
    /// There is none: it could not be made.
    Failed(Fault),
}

/// What became of our sending half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sending {
    Open,
    /// It is to end behind what waits.
    Ending,
    /// The peer was told.
    Ended,
    Broken(Fault),
}

/// What became of the peer's sending half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Receiving {
    Open,
    Ended,
    Broken(Fault),
}

/// What the task wants of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leaving {
    No,
    /// Nobody holds the stream any more: close it when what was written has left.
    AfterFlush,
    /// Close it now, with a reset.
    Now,
}

struct State {
    phase: Phase,
    inbound: Inbound,
    receiving: Receiving,
    output: Output,
    sending: Sending,
    leaving: Leaving,
    reader_gone: bool,
    writer_gone: bool,
}

#[derive(Default)]
struct Inbound {
    bytes: Vec<u8>,
    /// How many of them are read.
    start: usize,
    /// It was full and is not at its low-water mark yet.
    is_full: bool,
}

impl Inbound {
    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.start == self.bytes.len() {
            self.clear();
        } else if self.start > LOW_WATER {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
        self.is_full = self.len() >= INBOUND_BYTES_MAX;
    }

    fn take(&mut self, into: &mut [u8]) -> usize {
        let taken = self.len().min(into.len());
        into[..taken].copy_from_slice(&self.bytes[self.start..self.start + taken]);
        self.start += taken;
        if self.start == self.bytes.len() {
            self.clear();
        }
        taken
    }

    fn take_all(&mut self, into: &mut Vec<u8>) -> usize {
        let taken = self.len();
        if into.is_empty() && self.start == 0 {
            std::mem::swap(&mut self.bytes, into);
        } else {
            into.extend_from_slice(&self.bytes[self.start..]);
        }
        self.clear();
        taken
    }

    fn clear(&mut self) {
        self.start = 0;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
    }

    /// Whether the source may go on, having stopped for want of room. True once.
    fn has_room_again(&mut self) -> bool {
        let has_room = self.is_full && self.len() <= LOW_WATER;
        self.is_full &= !has_room;
        has_room
    }
}

/// See the head of this file.
pub(super) struct Link {
    handle: Handle,
    /// The source, once it was visited.
    token: Cell<Option<Token>>,
    /// The source is marked for step 7.
    is_marked: Cell<bool>,
    /// Our end of the connection, once there is one.
    local: Cell<Option<SocketAddr>>,
    state: RefCell<State>,
    reader: Cell<Option<Waker>>,
    writer: Cell<Option<Waker>>,
}

impl Link {
    pub(super) fn new(handle: Handle, phase: Phase) -> Rc<Self> {
        Rc::new(Self {
            handle,
            token: Cell::new(None),
            is_marked: Cell::new(false),
            local: Cell::new(None),
            state: RefCell::new(State {
                phase,
                inbound: Inbound::default(),
                receiving: Receiving::Open,
                output: Output::new(),
                sending: Sending::Open,
                leaving: Leaving::No,
                reader_gone: false,
                writer_gone: false,
            }),
            reader: Cell::new(None),
            writer: Cell::new(None),
        })
    }

    /// Have the source visited in step 7.
    fn mark(&self) {
        // One that has no token yet was never visited; its first visit will see everything.
        if let Some(token) = self.token.get()
            && !self.is_marked.replace(true)
        {
            self.handle.mark_dirty(token);
        }
    }

    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.local.get()
    }

    pub(super) fn set_local(&self, local: Option<SocketAddr>) {
        self.local.set(local);
    }

    fn detail(&self) -> Detail {
        self.token.get().map_or(Detail::None, Detail::Socket)
    }
}

/// Keep the waker of whoever polls.
fn keep(place: &Cell<Option<Waker>>, context: &Context<'_>) {
    let kept = match place.take() {
        Some(waker) if waker.will_wake(context.waker()) => waker,
        _ => context.waker().clone(),
    };
    place.set(Some(kept));
}

fn wake(place: &Cell<Option<Waker>>) {
    if let Some(waker) = place.take() {
        waker.wake();
    }
}

/// What the task asks for.
impl Link {
    pub(super) fn poll_open(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(coop::poll_proceed(context));
        match self.state.borrow().phase {
            Phase::Open => return Poll::Ready(Ok(())),
            Phase::Failed(fault) => return Poll::Ready(Err(fault.into())),
            Phase::Opening => {}
        }
        keep(&self.writer, context);
        waits_on("socket connect", self.detail());
        Poll::Pending
    }

    pub(super) fn poll_read(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_take(context, |inbound| inbound.take(buffer))
    }

    pub(super) fn poll_read_vec(
        &self,
        context: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        self.poll_take(context, |inbound| inbound.take_all(buffer))
    }

    fn poll_take(
        &self,
        context: &mut Context<'_>,
        take: impl FnOnce(&mut Inbound) -> usize,
    ) -> Poll<io::Result<usize>> {
        ready!(coop::poll_proceed(context));
        let (taken, has_room, receiving) = {
            let state = &mut *self.state.borrow_mut();
            let taken = take(&mut state.inbound);
            (taken, state.inbound.has_room_again(), state.receiving)
        };
        if has_room {
            self.mark();
        }
        if taken > 0 {
            return Poll::Ready(Ok(taken));
        }
        match receiving {
            Receiving::Ended => Poll::Ready(Ok(0)),
            Receiving::Broken(fault) => Poll::Ready(Err(fault.into())),
            Receiving::Open => {
                keep(&self.reader, context);
                waits_on("socket read", self.detail());
                Poll::Pending
            }
        }
    }

    pub(super) fn poll_write(
        &self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(coop::poll_proceed(context));
        let taken = {
            let state = &mut *self.state.borrow_mut();
            match state.sending {
                Sending::Open => {}
                Sending::Ending | Sending::Ended => {
                    return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
                }
                Sending::Broken(fault) => return Poll::Ready(Err(fault.into())),
            }
            let room = OUTPUT_BYTES_MAX.saturating_sub(state.output.len());
            let taken = room.min(bytes.len());
            if taken > 0 {
                state.output.copy(&bytes[..taken]);
            }
            taken
        };
        if taken == 0 && !bytes.is_empty() {
            return self.wait_to_write(context);
        }
        self.mark();
        Poll::Ready(Ok(taken))
    }

    fn wait_to_write<T>(&self, context: &Context<'_>) -> Poll<T> {
        keep(&self.writer, context);
        waits_on("socket write", self.detail());
        Poll::Pending
    }

    pub(super) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(coop::poll_proceed(context));
        let (sending, is_empty) = {
            let state = self.state.borrow();
            (state.sending, state.output.is_empty())
        };
        match sending {
            Sending::Broken(fault) => Poll::Ready(Err(fault.into())),
            _ if is_empty => Poll::Ready(Ok(())),
            _ => self.wait_to_write(context),
        }
    }

    pub(super) fn poll_shutdown(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(coop::poll_proceed(context));
        self.end_sending();
        let sending = self.state.borrow().sending;
        match sending {
            Sending::Broken(fault) => Poll::Ready(Err(fault.into())),
            Sending::Ended => Poll::Ready(Ok(())),
            Sending::Open | Sending::Ending => self.wait_to_write(context),
        }
    }

    fn end_sending(&self) {
        let ends = {
            let sending = &mut self.state.borrow_mut().sending;
            let ends = *sending == Sending::Open;
            if ends {
                *sending = Sending::Ending;
            }
            ends
        };
        if ends {
            self.mark();
        }
    }

    /// Close the connection at once: what was not sent is lost, and the peer sees a reset where the driver can make
    /// one.
    pub(super) fn abort(&self) {
        let fault = Fault::of(ErrorKind::ConnectionAborted);
        {
            let state = &mut *self.state.borrow_mut();
            state.leaving = Leaving::Now;
            state.output.clear();
        }
        self.break_off(fault);
        self.mark();
    }

    pub(super) fn drop_reader(&self) {
        drop(self.reader.take());
        self.state.borrow_mut().reader_gone = true;
        self.leave_if_both_gone();
    }

    /// The writer is the half that says goodbye: dropping it ends what we send.
    pub(super) fn drop_writer(&self) {
        drop(self.writer.take());
        self.state.borrow_mut().writer_gone = true;
        self.end_sending();
        self.leave_if_both_gone();
    }

    fn leave_if_both_gone(&self) {
        let leaves = {
            let state = &mut *self.state.borrow_mut();
            let leaves = state.reader_gone && state.writer_gone && state.leaving == Leaving::No;
            if leaves {
                state.leaving = Leaving::AfterFlush;
                state.inbound = Inbound::default();
            }
            leaves
        };
        if leaves {
            self.mark();
        }
    }
}

/// What the source asks for and tells.
impl Link {
    /// A visit begins.
    pub(super) fn visited(&self, token: Token) {
        self.token.set(Some(token));
        self.is_marked.set(false);
    }

    pub(super) fn leaving(&self) -> Leaving {
        self.state.borrow().leaving
    }

    pub(super) fn sending(&self) -> Sending {
        self.state.borrow().sending
    }

    pub(super) fn receiving(&self) -> Receiving {
        self.state.borrow().receiving
    }

    pub(super) fn opened(&self) {
        self.state.borrow_mut().phase = Phase::Open;
        wake(&self.writer);
    }

    pub(super) fn failed(&self, fault: Fault) {
        self.state.borrow_mut().phase = Phase::Failed(fault);
        self.break_off(fault);
    }

    /// How much may be read: nothing while the buffer is full or not at its low-water mark again.
    pub(super) fn room(&self) -> usize {
        let inbound = &self.state.borrow().inbound;
        match inbound.is_full {
            true => 0,
            false => INBOUND_BYTES_MAX - inbound.len(),
        }
    }

    /// So many bytes wait for the reader and the socket.
    pub(super) fn bytes_held(&self) -> usize {
        let state = self.state.borrow();
        state.inbound.len() + state.output.len()
    }

    /// These have come. Wakes the reader.
    pub(super) fn received(&self, bytes: &[u8]) {
        self.state.borrow_mut().inbound.push(bytes);
        wake(&self.reader);
    }

    /// No more will come.
    pub(super) fn receiving_is(&self, receiving: Receiving) {
        self.state.borrow_mut().receiving = receiving;
        wake(&self.reader);
    }

    /// What waits to be sent, for the time of a visit.
    pub(super) fn take_output(&self) -> Output {
        std::mem::take(&mut self.state.borrow_mut().output)
    }

    /// What is left of it. Wakes the writer when there is room again.
    pub(super) fn put_back_output(&self, output: Output, progress: bool) {
        let has_room = output.len() <= LOW_WATER;
        self.state.borrow_mut().output = output;
        if progress && has_room {
            wake(&self.writer);
        }
    }

    /// Nothing more will be sent.
    pub(super) fn sending_is(&self, sending: Sending) {
        {
            let state = &mut *self.state.borrow_mut();
            state.sending = sending;
            if let Sending::Broken(_) = sending {
                state.output.clear();
            }
        }
        wake(&self.writer);
    }

    /// Neither way goes any further. What has come can still be read.
    pub(super) fn break_off(&self, fault: Fault) {
        {
            let state = &mut *self.state.borrow_mut();
            if state.phase == Phase::Opening {
                state.phase = Phase::Failed(fault);
            }
            if state.receiving == Receiving::Open {
                state.receiving = Receiving::Broken(fault);
            }
            if state.sending != Sending::Ended {
                state.sending = Sending::Broken(fault);
            }
            state.output.clear();
        }
        wake(&self.reader);
        wake(&self.writer);
    }
}
