//! One accepted connection as a source: its life from the first byte to the close, whatever is spoken on it.
//!
//! A visit is [`Protocol::pump`]. Nearly every one takes a straight road, which each protocol has for itself: read,
//! take it and make output, write, and all is as before. The general way is [`Connection::go_on`]: the same in any
//! order, again and again, within a budget. What the bytes mean is the business of the [`Protocol`]; when time is up,
//! of [`Phase`].
//!
//! A connection and what is spoken on it are one piece of memory. So when it goes over from one protocol to another it
//! becomes another source:
//!
//! ```text
//!   accepted ──► Connection<HttpLink> ── 101 ──► Connection<WebSocketLink>
//!                  │   ▲                            │
//!                  │   └─ all is said, and has to leave
//!                  ▼
//!                closed
//! ```

use std::hint::cold_path;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::Range;
use std::rc::Rc;

use super::deadline::Deadline;
use super::limits::{CENTURY, Hits};
use super::server::{Leaving, Shared};
use super::websocket::WebSocketHandler;
use super::websocket_link::PONGS_MAX;
use super::websocket_settings::WebSocketRules;
use super::wire::{Fill, Wire};
use crate::event_loop::{Buffers, CORK_BYTES, Ctx, Inspection, Next, Readiness, Socket};

/// Requests or messages handled in one visit: more than a usual pipeline, and the next connection waits well under a
/// millisecond.
pub(super) const STEPS_MAX: u32 = 64;
/// Bytes read in one visit.
const READ_BYTES_MAX: usize = 256 * 1024;
/// What a protocol made of its input.
pub(super) enum Progress {
    /// It needs more input.
    NeedInput,
    /// It can do nothing before something else has moved: a handler, a body, the peer's reading.
    Paused,
    /// The visit's budget is used up.
    Again,
    /// There is nothing left to wait for.
    Closed,
    /// It has come to its end, and something else goes on.
    Turn(Turn),
}

/// How a protocol ends before its connection does.
pub(super) enum Turn {
    /// Everything is said. `linger`: the peer may still be sending, and must have time to read our last words.
    Over { linger: bool },
    /// From here on it is a WebSocket.
    Upgrade {
        socket: Box<dyn WebSocketHandler>,
        rules: Rc<WebSocketRules>,
    },
}

/// What a protocol needs during a visit.
pub(super) struct Visit<'v, 'c> {
    pub(super) ctx: &'v mut Ctx<'c>,
    pub(super) shared: &'v Rc<Shared>,
    pub(super) wire: &'v mut Wire,
    pub(super) input: Input<'v>,
    pub(super) cork: &'v mut Vec<u8>,
    peer: &'v PeerAddr,
    /// The connection's, among the server's.
    pub(super) place: u32,
    /// Requests or messages that may still be handled.
    pub(super) steps_left: u32,
    /// Pings that may still be answered one by one.
    pub(super) pongs_left: u32,
    /// Where in the input the last one lies that could not be.
    pub(super) newest_ping: Option<Range<usize>>,
}

impl<'v, 'c> Visit<'v, 'c> {
    /// The visit of the connection that is `whose`: its peer's, and its place among the server's.
    #[inline(always)]
    pub(super) fn new(
        ctx: &'v mut Ctx<'c>,
        shared: &'v Rc<Shared>,
        wire: &'v mut Wire,
        whose: (&'v PeerAddr, u32),
        buffers: &'v mut Buffers,
        input: Range<usize>,
    ) -> Self {
        let (peer, place) = whose;
        Self {
            ctx,
            shared,
            wire,
            input: Input::holding(&mut buffers.receive, input),
            cork: &mut buffers.cork,
            peer,
            place,
            steps_left: STEPS_MAX,
            pongs_left: PONGS_MAX,
            newest_ping: None,
        }
    }

    /// What it has come to: `progress`, of `bytes_in`, with nothing written yet.
    pub(super) fn so_far(&self, progress: Progress, bytes_in: usize) -> SoFar {
        SoFar {
            input: self.input.range(),
            progress: Some(progress),
            bytes_in,
            bytes_out: 0,
            steps_left: self.steps_left,
            pongs_left: self.pongs_left,
        }
    }

    /// Say whose visit it is.
    #[inline]
    pub(super) fn write_peer(&self, address: &mut SocketAddr) {
        match self.peer {
            PeerAddr::V4(peer) => *address = SocketAddr::V4(*peer),
            PeerAddr::V6(_) => {
                cold_path();
                *address = self.peer.get(self.shared);
            }
        }
    }

    /// Flush when the cork is full. Whether more may be written.
    #[inline]
    pub(super) fn make_room(&mut self) -> io::Result<bool> {
        if self.cork.len() >= CORK_BYTES {
            cold_path();
            self.flush()?;
        }
        Ok(!self.wire.is_blocked())
    }

    #[inline(never)]
    pub(super) fn flush(&mut self) -> io::Result<usize> {
        Ok(self.wire.flush(self.ctx, self.cork)?.bytes)
    }
}

/// A window on the loop's receive buffer: what was read and not used up yet.
pub(super) struct Input<'b> {
    buffer: &'b mut [u8],
    start: usize,
    end: usize,
}

impl<'b> Input<'b> {
    /// Begin with these of the buffer's bytes.
    fn holding(buffer: &'b mut [u8], Range { start, end }: Range<usize>) -> Self {
        Self { buffer, start, end }
    }

    pub(super) fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// What lies at `range` of the buffer, used up or not.
    pub(super) fn at(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    pub(super) fn use_up(&mut self, used: usize) {
        self.start += used;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Where the next read goes. Empty only when the buffer is full of input that cannot be used yet.
    fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.buffer[self.end..]
    }

    fn add(&mut self, read: usize) {
        self.end += read;
    }
}

/// What is spoken on a connection, or is left to be done when all was said.
pub(super) trait Protocol {
    /// Its name, for people who look.
    const KIND: &'static str;

    /// The server it is spoken with.
    fn server(&self) -> &Rc<Shared>;

    /// One visit, straight ahead as far as that goes, and the rest of it by [`Connection::go_on`].
    fn pump(
        connection: &mut Connection<Self>,
        ctx: &mut Ctx<'_>,
        buffers: &mut Buffers,
    ) -> io::Result<Next>;

    /// The source is visited, and why.
    fn visited(&mut self, readiness: Readiness) {
        let _ = readiness;
    }

    /// Old bytes are about to leave, new ones are not made yet.
    fn begins(&mut self, visit: &mut Visit<'_, '_>) {
        let _ = visit;
    }

    /// Take input and make output, until there is nothing to do.
    fn step(&mut self, visit: &mut Visit<'_, '_>) -> io::Result<Progress>;

    /// The peer will send no more, and all that it has sent is used up. Whether there is something left to say.
    fn ended(&mut self) -> bool;

    /// The same while the protocol is paused. Whether that is the end.
    fn ends_with_peer(&self) -> bool {
        false
    }

    /// The protocol has ended in the midst of a visit: go on as something else, with what the visit was so far.
    fn turn(
        connection: &mut Connection<Self>,
        ctx: &mut Ctx<'_>,
        buffers: &mut Buffers,
        turn: Turn,
        so_far: SoFar,
    ) -> io::Result<Next>;

    /// The visit is over: keep what was not used up, and note what could not be written.
    fn rests(&mut self, input: &[u8], backlog_bytes: usize);

    /// The server is shutting down, and there is nothing left to write. Whether the connection ends here, which
    /// the protocol then has begun.
    fn takes_leave(&mut self) -> bool {
        false
    }

    /// What it waits for. `is_new`: nothing was asked yet; `is_blocked`: the peer does not take what there is.
    fn phase(&self, is_new: bool, is_blocked: bool) -> Phase;

    /// The peer has sent something, whatever it was.
    fn heard(&mut self) {}

    /// How long it waits, from now on, in those phases for which the server has no limit of its own, in ticks.
    fn patience(&mut self, ctx: &Ctx<'_>, phase: Phase, place: u32) -> Option<u64>;

    /// What it does has a deadline, or none. When the connection is to look: at that, or at its own end if that is
    /// earlier.
    fn look_at(&mut self, at: Option<u64>) -> Option<u64> {
        at
    }

    /// When it is to look, with all that has moved its time since that was `at`.
    fn looks_at(&self, at: u64, phase: Phase, place: u32) -> u64 {
        let _ = (phase, place);
        at
    }

    /// The connection has come to look.
    fn look(&mut self, ctx: &Ctx<'_>, phase: Phase, place: u32) -> Due {
        let _ = (ctx, phase, place);
        Due::Deadline
    }

    /// The phase has lasted too long. Whether the connection goes on, to say so to its peer.
    fn time_is_up(&mut self, phase: Phase) -> bool;

    /// It holds more than can be spared. Whether the connection goes on, to say so to its peer.
    fn give_up(&mut self, is_blocked: bool) -> bool;

    /// Memory that is held for the peer, with what the connection has begun to write.
    fn bytes_held(&self, wire: &Wire) -> usize;

    /// The server is shutting down, and an ordinary visit has ended with nothing to do: what to make of it.
    fn drains(&mut self, ctx: &Ctx<'_>, is_blocked: bool) -> (Leaving, Next);

    /// It has said that it ends.
    fn is_closing(&self) -> bool {
        false
    }

    /// The connection has gone.
    fn closed(&mut self, ctx: &mut Ctx<'_>);

    /// For those who look: its state and its purpose, and whether it is the handler that is waited for.
    fn describe(&self) -> Inspection;
}

/// What has come with a deadline.
pub(super) enum Due {
    /// What it was set for.
    Deadline,
    /// No message came or went for too long: it is being closed.
    Idle,
    /// It was there for too long: it is being closed.
    Old,
    /// Nothing: its times have been moved to this.
    Later(u64),
}

/// Which deadline runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// A connection that was never used: its first byte is awaited.
    FirstByte,
    Header,
    Body,
    Handler,
    Idle,
    Write,
    Linger,
    /// A WebSocket may be silent, but not for ever.
    Quiet,
    /// It was asked whether it is there.
    Pong,
    WebSocketClose,
    /// None: an answer is being streamed, and it is its sender who is silent; or a WebSocket's handler is behind.
    Untimed,
}

impl Phase {
    /// For people who look.
    fn name(self) -> &'static str {
        match self {
            Self::FirstByte => "first byte",
            Self::Header => "header",
            Self::Body => "body",
            Self::Handler => "handler",
            Self::Idle => "idle",
            Self::Write => "write",
            Self::Linger => "linger",
            Self::Quiet => "open",
            Self::Pong => "pong",
            Self::WebSocketClose => "closing",
            Self::Untimed => "untimed",
        }
    }
}

/// What a visit has come to so far.
pub(super) struct SoFar {
    /// What of the receive buffer is input that was not used up.
    pub(super) input: Range<usize>,
    /// What the protocol made of it, if it was asked.
    pub(super) progress: Option<Progress>,
    pub(super) bytes_in: usize,
    pub(super) bytes_out: usize,
    /// As in [`Visit`].
    pub(super) steps_left: u32,
    pub(super) pongs_left: u32,
}

impl SoFar {
    /// A visit begins with the input that the last one has left.
    pub(super) fn begin(buffers: &mut Buffers, spill: &[u8]) -> Self {
        buffers.receive[..spill.len()].copy_from_slice(spill);
        Self {
            input: 0..spill.len(),
            progress: None,
            bytes_in: 0,
            bytes_out: 0,
            steps_left: STEPS_MAX,
            pongs_left: PONGS_MAX,
        }
    }
}

/// What a visit has moved.
#[derive(Default)]
struct Moved {
    bytes_in: usize,
    bytes_out: usize,
    /// Requests or messages handled.
    steps: u32,
}

pub(super) struct Connection<P: Protocol + ?Sized> {
    pub(super) wire: Wire,
    pub(super) deadline: Deadline,
    pub(super) phase: Phase,
    /// Nothing was asked yet.
    is_new: bool,
    /// The server knows of bytes that are held here.
    holds: bool,
    pub(super) place: u32,
    pub(super) peer: PeerAddr,
    pub(super) protocol: P,
}

impl<P: Protocol + ?Sized> Drop for Connection<P> {
    fn drop(&mut self) {
        if let PeerAddr::V6(number) = self.peer {
            self.protocol.server().forget_long_address(number);
        }
    }
}

/// The peer's address in a quarter of the space: every connection has one, and nearly all are IPv4.
pub(super) enum PeerAddr {
    V4(SocketAddrV4),
    /// Kept by the server.
    V6(u32),
}

impl PeerAddr {
    const NOBODY: Self = Self::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

    fn keep(address: SocketAddr, shared: &Shared) -> Self {
        match address {
            SocketAddr::V4(address) => Self::V4(address),
            SocketAddr::V6(address) => Self::V6(shared.keep_long_address(address)),
        }
    }

    fn get(&self, shared: &Shared) -> SocketAddr {
        match self {
            Self::V4(address) => SocketAddr::V4(*address),
            Self::V6(number) => SocketAddr::V6(shared.long_address(*number)),
        }
    }
}

impl<P: Protocol> Connection<P> {
    /// One that was just accepted.
    pub(super) fn new(protocol: P, socket: Socket, peer: SocketAddr, place: u32) -> Self {
        Self {
            wire: Wire::new(socket),
            deadline: Deadline::new(),
            phase: Phase::Untimed,
            is_new: true,
            holds: false,
            place,
            peer: PeerAddr::keep(peer, protocol.server()),
            protocol,
        }
    }
}

impl<P: Protocol + ?Sized> Connection<P> {
    /// The same connection with another protocol. What stays behind is good for nothing but to be dropped.
    pub(super) fn turned_to<Q: Protocol>(&mut self, protocol: Q) -> Connection<Q> {
        let socket = self.wire.socket();
        Connection {
            wire: std::mem::replace(&mut self.wire, Wire::new(socket)),
            deadline: std::mem::replace(&mut self.deadline, Deadline::new()),
            phase: self.phase,
            is_new: self.is_new,
            holds: self.holds,
            place: self.place,
            peer: std::mem::replace(&mut self.peer, PeerAddr::NOBODY),
            protocol,
        }
    }

    /// Nothing more is to be read, and nobody wants anything of the connection.
    #[inline]
    pub(super) fn is_undisturbed(&self) -> bool {
        self.wire.is_at_rest() && !self.holds && !self.protocol.server().is_draining()
    }

    /// The general way, from the beginning of a visit or from where another way has ended.
    pub(super) fn go_on(
        &mut self,
        ctx: &mut Ctx<'_>,
        buffers: &mut Buffers,
        so_far: SoFar,
    ) -> io::Result<Next> {
        let shared = Rc::clone(self.protocol.server());
        let mut first = so_far.progress;
        let mut read_left = READ_BYTES_MAX - so_far.bytes_in;
        let whose = (&self.peer, self.place);
        let mut visit = Visit::new(ctx, &shared, &mut self.wire, whose, buffers, so_far.input);
        visit.steps_left = so_far.steps_left;
        visit.pongs_left = so_far.pongs_left;
        let mut written = so_far.bytes_out;
        if first.is_none() {
            self.protocol.begins(&mut visit);
            // Old bytes leave before new ones are made; while they cannot, nothing is read either (rule R10).
            written += visit.flush()?;
        }
        let next = loop {
            if visit.wire.is_blocked() && first.is_none() {
                break Next::Wait;
            }
            let progress = match first.take() {
                Some(progress) => progress,
                None => self.protocol.step(&mut visit)?,
            };
            if let Progress::Turn(turn) = progress {
                let so_far = SoFar {
                    input: visit.input.range(),
                    progress: None,
                    bytes_in: READ_BYTES_MAX - read_left,
                    bytes_out: written,
                    steps_left: visit.steps_left,
                    pongs_left: visit.pongs_left,
                };
                return P::turn(self, ctx, buffers, turn, so_far);
            }
            written += visit.flush()?;
            match progress {
                // What came before the peer's end was all used up: only now is it the protocol's end, too.
                Progress::NeedInput if visit.wire.has_ended() => {
                    if !self.protocol.ended() {
                        break Next::Close;
                    }
                    continue;
                }
                Progress::NeedInput if visit.wire.may_read() && !visit.wire.is_blocked() => {}
                // All is sent that was made, and the peer's end has come before the rest.
                Progress::Paused if visit.wire.has_ended() && !visit.wire.is_blocked() => {
                    match self.protocol.ends_with_peer() {
                        true => break Next::Close,
                        false => break Next::Wait,
                    }
                }
                // Whoever waits for a handler wants to know whether the peer is still there.
                Progress::Paused if visit.wire.has_news_of_end() => {}
                Progress::NeedInput | Progress::Paused => break Next::Wait,
                Progress::Again => break Next::Again,
                Progress::Closed => break Next::Close,
                Progress::Turn(_) => unreachable!("seen to just above"),
            }
            if read_left == 0 {
                break Next::Again;
            }
            let space = visit.input.space();
            let space_len = space.len().min(read_left);
            if space_len == 0 {
                break Next::Wait;
            }
            match visit.wire.fill(visit.ctx, &mut space[..space_len])? {
                Fill::Bytes(n) => {
                    read_left -= n;
                    visit.input.add(n);
                }
                Fill::Blocked => break Next::Wait,
                Fill::End => {}
            }
        };
        let steps = STEPS_MAX - visit.steps_left;
        self.is_new &= steps == 0;
        let backlog_bytes = visit.wire.backlog_bytes();
        self.protocol.rests(visit.input.bytes(), backlog_bytes);
        let progress = written + steps as usize > 0;
        // Its last answer is on its way, without word that the server is shutting down: the peer may go on.
        let takes_leave = next == Next::Wait
            && progress
            && shared.is_draining()
            && !self.wire.is_blocked()
            && self.protocol.takes_leave();
        let next = if takes_leave { Next::Again } else { next };
        if next != Next::Close {
            let moved = Moved {
                bytes_in: READ_BYTES_MAX - read_left,
                bytes_out: written,
                steps,
            };
            self.set_deadline(ctx, &moved);
            // Between two requests nothing is held.
            if self.holds || self.phase != Phase::Idle {
                self.account(ctx);
            }
        }
        Ok(next)
    }

    /// Which deadline runs now; it runs anew when the phase is new, or when what counts in that phase has moved.
    fn set_deadline(&mut self, ctx: &mut Ctx<'_>, moved: &Moved) {
        if moved.bytes_in > 0 {
            self.protocol.heard();
        }
        let phase = self.protocol.phase(self.is_new, self.wire.is_blocked());
        let was_used = moved.steps > 0;
        let runs_on = match phase {
            // Behind an answer it is another head that is awaited.
            Phase::FirstByte | Phase::Header | Phase::Handler | Phase::Idle => !was_used,
            // It begins when the peer has taken what stood before our close frame.
            Phase::WebSocketClose => moved.bytes_out == 0 || !self.wire.is_blocked(),
            Phase::Write => !was_used && moved.bytes_out == 0,
            // A handler that is woken does not speak for its peer.
            Phase::Body | Phase::Linger => !was_used && moved.bytes_in == 0,
            Phase::Quiet | Phase::Pong => moved.bytes_in == 0,
            Phase::Untimed => false,
        };
        if phase == self.phase && runs_on {
            return;
        }
        self.phase = phase;
        ctx.record_state(P::KIND, phase.name());
        let shared = self.protocol.server();
        let limits = &shared.limits;
        let patience = match phase {
            Phase::FirstByte => Some(ticks(limits.first_byte_timeout)),
            Phase::Header => Some(ticks(limits.header_timeout)),
            Phase::Body => Some(ticks(limits.body_timeout)),
            Phase::Write => Some(ticks(limits.write_timeout)),
            Phase::Idle => Some(shared.keep_alive_ticks()),
            Phase::WebSocketClose => Some(ticks(limits.close_timeout)),
            Phase::Handler | Phase::Linger | Phase::Quiet | Phase::Pong => {
                self.protocol.patience(ctx, phase, self.place)
            }
            Phase::Untimed => None,
        };
        // The turn's time may be stale by as long as the turn took; one tick more makes up for the part of a tick.
        let at = patience.map(|ticks| ctx.tick() + ticks + 1);
        let at = match phase {
            // The time to close is the last.
            Phase::WebSocketClose => at,
            _ => self.protocol.look_at(at),
        };
        self.deadline.set(ctx, at);
    }

    /// The deadline, if there is one.
    fn deadline_at(&self) -> Option<u64> {
        let at = self.deadline.at()?;
        Some(self.protocol.looks_at(at, self.phase, self.place))
    }

    /// The deadline has come. Whether the connection goes on, to say so to its peer.
    fn time_is_up(&mut self, ctx: &mut Ctx<'_>) -> bool {
        let due = self.protocol.look(ctx, self.phase, self.place);
        let hits = &self.protocol.server().hits;
        match due {
            Due::Deadline => {}
            Due::Idle => {
                Hits::count(&hits.websocket_idle_timeout);
                return true;
            }
            Due::Old => {
                Hits::count(&hits.websocket_lifetime_max);
                return true;
            }
            Due::Later(at) => {
                self.deadline.set(ctx, Some(at));
                return true;
            }
        }
        Hits::count(match self.phase {
            Phase::FirstByte => &hits.first_byte_timeout,
            Phase::Header => &hits.header_timeout,
            Phase::Handler => &hits.handler_timeout,
            Phase::Quiet => &hits.ping_after,
            Phase::Pong => &hits.pong_timeout,
            Phase::Body => &hits.body_timeout,
            Phase::Idle => &hits.keep_alive_timeout,
            Phase::Write => &hits.write_timeout,
            Phase::Linger => &hits.linger,
            Phase::WebSocketClose => &hits.close_timeout,
            Phase::Untimed => return true,
        });
        self.protocol.time_is_up(self.phase)
    }

    // ---- as a source --------------------------------------------------------------------------------------------

    /// See [`crate::event_loop::Source::ready`].
    pub(super) fn ready(&mut self, ctx: &mut Ctx<'_>, readiness: Readiness) -> Next {
        self.wire.note(readiness);
        if readiness.contains(Readiness::TIMER) {
            cold_path();
            let at = self.deadline_at();
            match self.deadline.has_come(ctx, at) {
                true if self.time_is_up(ctx) => {}
                true => {
                    crate::event!(
                        debug,
                        "connection {}: its time for {:?} is up",
                        ctx.token(),
                        self.phase
                    );
                    let shared = self.protocol.server();
                    shared.note_leaving(self.place, Leaving::Finished);
                    return Next::Close;
                }
                // It was moved since, and its entry is where it belongs now.
                false => return Next::Wait,
            }
        }
        if readiness.contains(Readiness::WOKEN) {
            cold_path();
            if self.protocol.server().take_condemned(self.place)
                && !self.protocol.give_up(self.wire.is_blocked())
            {
                return Next::Close;
            }
        }
        self.protocol.visited(readiness);
        let next = self.with_buffers(ctx, P::pump);
        self.visit_ended(ctx, next)
    }

    /// Lend it the loop's buffers for what it does.
    #[inline(always)]
    pub(super) fn with_buffers<R>(
        &mut self,
        ctx: &mut Ctx<'_>,
        go: impl FnOnce(&mut Self, &mut Ctx<'_>, &mut Buffers) -> R,
    ) -> R {
        let mut buffers = ctx.lend_buffers();
        let done = go(self, ctx, &mut buffers);
        ctx.give_back(buffers);
        done
    }

    /// What comes of a visit.
    #[inline]
    pub(super) fn visit_ended(&mut self, ctx: &mut Ctx<'_>, next: io::Result<Next>) -> Next {
        // An error of the socket is the end of the connection, and there is no one left to tell but the log.
        let next = next.unwrap_or_else(|error| {
            cold_path();
            crate::event!(debug, "connection {}: {error}", ctx.token());
            Next::Close
        });
        // Who comes in its place has seen to that by itself.
        if self.protocol.server().is_draining() && next != Next::Become {
            return self.drain(ctx, next);
        }
        next
    }

    /// The server is shutting down: what comes of `next`, the end of an ordinary visit.
    #[cold]
    fn drain(&mut self, ctx: &mut Ctx<'_>, next: Next) -> Next {
        let (leaving, next) = match next {
            Next::Close => (Leaving::Finished, Next::Close),
            Next::Wait => self.protocol.drains(ctx, self.wire.is_blocked()),
            next => (Leaving::Busy, next),
        };
        let shared = self.protocol.server();
        shared.note_leaving(self.place, leaving);
        if self.protocol.is_closing() && self.phase != Phase::WebSocketClose {
            self.set_deadline(ctx, &Moved::default());
        }
        next
    }

    /// See [`crate::event_loop::Source::closed`].
    pub(super) fn close(&mut self, ctx: &mut Ctx<'_>) {
        let shared = Rc::clone(self.protocol.server());
        let peer = self.peer.get(&shared);
        crate::event!(
            debug,
            "connection {} of {peer} closed in {:?}",
            ctx.token(),
            self.phase
        );
        self.deadline.clear(ctx);
        ctx.driver().close(self.wire.socket());
        shared.remove(ctx, self.place, peer.ip());
        // A handler that is still at work is dropped, or goes on without us.
        self.protocol.closed(ctx);
    }

    /// See [`crate::event_loop::Source::inspect`].
    pub(super) fn describe(&self) -> Inspection {
        let spoken = self.protocol.describe();
        let is_blocked = self.wire.is_blocked();
        Inspection {
            kind: P::KIND,
            phase: self.phase.name(),
            peer: Some(self.peer.get(self.protocol.server())),
            read_drained: !self.wire.may_read(),
            paused: spoken.paused || is_blocked,
            bytes_held: self.protocol.bytes_held(&self.wire),
            socket: Some(self.wire.socket()),
            deadline_tick: self.deadline_at(),
            // The deadline orders the idle as well as the moment they became so, and is there already. One that was
            // never used may have been accepted just now: its request is on the road.
            idle_rank: spoken
                .idle_rank
                .filter(|_| !self.is_new && !is_blocked)
                .and(self.deadline.at()),
            ..spoken
        }
    }

    /// Tell the server what is held here, if that is or was anything.
    fn account(&mut self, ctx: &Ctx<'_>) {
        let bytes = self.protocol.bytes_held(&self.wire);
        if self.holds || bytes > 0 {
            self.holds = bytes > 0;
            self.protocol.server().hold(ctx, self.place, bytes);
        }
    }
}

/// A limit in ticks of the loop.
pub(super) fn ticks(timeout: std::time::Duration) -> u64 {
    let timeout = timeout.min(CENTURY);
    timeout.as_secs() * 1000 + u64::from(timeout.subsec_millis())
}
