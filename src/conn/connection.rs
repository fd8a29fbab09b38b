//! One accepted connection as a source: its life from the first byte to the close, whatever it speaks in between.
//!
//! A visit is [`Connection::pump`]. Nearly every one takes a straight road, [`Connection::serve_http`] or
//! [`Connection::serve_websocket`]: read, let the protocol take it and make output, write, and all is as before. The
//! general way is [`Connection::go_on`]: the same in any order, again and again, within a budget. What the bytes mean
//! is the business of [`Http`] and [`WebSocketLink`]; when time is up, of [`Phase`].

use std::hint::cold_path;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::ops::Range;
use std::rc::Rc;

use super::deadline::{Deadline, NEVER};
use super::http::Http;
use super::limits::{CENTURY, Hits};
use super::server::{Leaving, Shared};
use super::websocket_link::{Due, PONGS_MAX, WebSocketLink};
use super::wire::{Fill, Wire};
use crate::event_loop::{Buffers, CORK_BYTES, Ctx, Inspection, Next, Readiness, Socket, Source};

/// Requests or messages handled in one visit: more than a usual pipeline, and the next connection waits well under a
/// millisecond.
const STEPS_MAX: u32 = 64;
/// Bytes read in one visit.
const READ_BYTES_MAX: usize = 256 * 1024;
/// Lingering ends after so many times the time for silence.
const LINGER_TIMES: u32 = 5;

/// What a protocol made of its input.
pub(super) enum Progress {
    /// It needs more input.
    NeedInput,
    /// It can do nothing before something else has moved: a handler, a body, the peer's reading.
    Paused,
    /// The visit's budget is used up.
    Again,
    /// Everything is said. `linger`: the peer may still be sending, and must have time to read our last words.
    Over { linger: bool },
    /// HTTP has ended, and this goes on.
    Upgrade(Box<WebSocketLink>),
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

impl Visit<'_, '_> {
    /// Say whose visit it is.
    #[inline]
    pub(super) fn write_peer(&self, address: &mut SocketAddr) {
        match self.peer {
            PeerAddr::V4(peer) => *address = SocketAddr::V4(*peer),
            PeerAddr::V6(_) => *address = self.peer.get(self.shared),
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
        self.wire.flush(self.ctx, self.cork)
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

enum Protocol {
    /// HTTP, between two requests. All there is of it is this word: a connection at rest is a socket and a deadline.
    Rest,
    Http(Box<Http>),
    WebSocket(Box<WebSocketLink>),
    /// Everything is said; the rest of it is on its way.
    Flushing {
        linger: bool,
    },
    /// Our end is closed; what the peer still sends is thrown away, so that no reset destroys what we said (RFC 9112,
    /// 9.6).
    Lingering(Box<Lingering>),
}

impl Protocol {
    fn kind(&self) -> &'static str {
        match self {
            Self::WebSocket(_) => "websocket",
            Self::Rest | Self::Http(_) | Self::Flushing { .. } | Self::Lingering(_) => "http",
        }
    }
}

struct Lingering {
    /// What was thrown away so far.
    bytes: usize,
    /// The tick at which it ends in any case.
    until: u64,
}

/// Which deadline runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
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
struct SoFar {
    /// What of the receive buffer is input that was not used up.
    input: Range<usize>,
    /// What the protocol made of it, if it was asked.
    progress: Option<Progress>,
    bytes_in: usize,
    bytes_out: usize,
    /// As in [`Visit`].
    steps_left: u32,
    pongs_left: u32,
}

impl SoFar {
    /// A visit begins, with so many bytes of input that the last one left.
    fn new(input_len: usize) -> Self {
        Self {
            input: 0..input_len,
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

pub(super) struct Connection {
    shared: Rc<Shared>,
    wire: Wire,
    protocol: Protocol,
    deadline: Deadline,
    phase: Phase,
    /// Nothing was asked yet.
    is_new: bool,
    /// The server knows of bytes that are held here.
    holds: bool,
    place: u32,
    peer: PeerAddr,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let PeerAddr::V6(number) = self.peer {
            self.shared.forget_long_address(number);
        }
    }
}

/// The peer's address in a quarter of the space: every connection has one, and nearly all are IPv4.
enum PeerAddr {
    V4(SocketAddrV4),
    /// Kept by the server.
    V6(u32),
}

impl PeerAddr {
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

impl Connection {
    pub(super) fn new(shared: Rc<Shared>, socket: Socket, peer: SocketAddr, place: u32) -> Self {
        Self {
            peer: PeerAddr::keep(peer, &shared),
            shared,
            wire: Wire::new(socket),
            protocol: Protocol::Rest,
            deadline: Deadline::new(),
            phase: Phase::Untimed,
            is_new: true,
            holds: false,
            place,
        }
    }

    /// One visit. A straight road says what it has left to do, and the general way goes on with that.
    fn pump(&mut self, ctx: &mut Ctx<'_>, buffers: &mut Buffers) -> io::Result<Next> {
        let may_read = self.wire.may_read() && !self.wire.is_blocked();
        let so_far = match &mut self.protocol {
            Protocol::Rest if may_read => self.serve_http(ctx, buffers)?,
            Protocol::WebSocket(link) if may_read && link.only_reads() && !link.has_leftovers() => {
                self.serve_websocket(ctx, buffers)?
            }
            protocol => {
                let spill = match protocol {
                    Protocol::Http(http) => std::mem::take(&mut http.spill),
                    Protocol::WebSocket(link) => link.take_spill(),
                    _ => Vec::new(),
                };
                buffers.receive[..spill.len()].copy_from_slice(&spill);
                Some(SoFar::new(spill.len()))
            }
        };
        match so_far {
            None => Ok(Next::Wait),
            Some(so_far) => self.go_on(ctx, buffers, so_far),
        }
    }

    /// Read once. Where in the receive buffer it lies.
    #[inline(always)]
    fn read(&mut self, ctx: &mut Ctx<'_>, buffers: &mut Buffers) -> io::Result<Range<usize>> {
        let space = buffers.read_into();
        let start = space.start;
        let read = self.wire.fill(ctx, &mut buffers.receive[space])?.bytes();
        Ok(start..start + read)
    }

    /// The usual visit of a connection at rest, straight ahead: something is read, it is whole requests, they are
    /// answered on the spot, the answers leave in one write, and the connection is at rest as before but for its
    /// deadline. Then there is nothing left, `None`. Whatever turns out otherwise goes on the general way, from where
    /// it stands.
    fn serve_http(
        &mut self,
        ctx: &mut Ctx<'_>,
        buffers: &mut Buffers,
    ) -> io::Result<Option<SoFar>> {
        let input = self.read(ctx, buffers)?;
        let read = input.len();
        let mut http = self.shared.lend_http();
        let mut visit = Visit {
            ctx,
            shared: &self.shared,
            wire: &mut self.wire,
            input: Input::holding(&mut buffers.receive, input),
            cork: &mut buffers.cork,
            peer: &self.peer,
            place: self.place,
            steps_left: STEPS_MAX,
            pongs_left: PONGS_MAX,
            newest_ping: None,
        };
        let progress = match read {
            0 => Ok(Progress::NeedInput),
            _ => http.step(&mut visit),
        };
        let (input, steps_left) = (visit.input.range(), visit.steps_left);
        let is_at_rest = matches!(progress, Ok(Progress::NeedInput))
            && input.is_empty()
            && http.is_between_requests()
            && self.phase == Phase::Idle
            && self.is_undisturbed();
        let mut bytes_out = 0;
        if is_at_rest {
            self.shared.keep_spare(http);
            bytes_out = self.wire.flush(ctx, &mut buffers.cork)?;
            if !self.wire.is_blocked() {
                if steps_left < STEPS_MAX {
                    self.time_anew(ctx, self.shared.keep_alive_ticks());
                }
                return Ok(None);
            }
        } else {
            cold_path();
            self.protocol = Protocol::Http(http);
        }
        Ok(Some(SoFar {
            input,
            progress: Some(progress?),
            bytes_in: read,
            bytes_out,
            steps_left,
            pongs_left: PONGS_MAX,
        }))
    }

    /// As [`Connection::serve_http`], for a WebSocket: whole messages are read and handled, and what its handler sends
    /// leaves in one write.
    fn serve_websocket(
        &mut self,
        ctx: &mut Ctx<'_>,
        buffers: &mut Buffers,
    ) -> io::Result<Option<SoFar>> {
        let input = self.read(ctx, buffers)?;
        let read = input.len();
        let Protocol::WebSocket(link) = &mut self.protocol else {
            unreachable!("the caller has seen to that")
        };
        let mut visit = Visit {
            ctx,
            shared: &self.shared,
            wire: &mut self.wire,
            input: Input::holding(&mut buffers.receive, input),
            cork: &mut buffers.cork,
            peer: &self.peer,
            place: self.place,
            steps_left: STEPS_MAX,
            pongs_left: PONGS_MAX,
            newest_ping: None,
        };
        let progress = match read {
            0 => Progress::NeedInput,
            _ => link.step(&mut visit)?,
        };
        let (input, steps_left, pongs_left) =
            (visit.input.range(), visit.steps_left, visit.pongs_left);
        let is_at_rest = matches!(progress, Progress::NeedInput)
            && input.is_empty()
            && link.is_at_rest()
            && self.phase == Phase::Quiet
            && self.is_undisturbed();
        let mut bytes_out = 0;
        if is_at_rest {
            bytes_out = self.wire.flush(ctx, &mut buffers.cork)?;
            if !self.wire.is_blocked() {
                if read > 0
                    && let Protocol::WebSocket(link) = &mut self.protocol
                {
                    let at = link.look_at(ctx.tick() + link.ping_after(self.place) + 1);
                    self.deadline.set(ctx, Some(at));
                }
                return Ok(None);
            }
        }
        cold_path();
        Ok(Some(SoFar {
            input,
            progress: Some(progress),
            bytes_in: read,
            bytes_out,
            steps_left,
            pongs_left,
        }))
    }

    /// Nothing more is to be read, and nobody wants anything of the connection.
    #[inline]
    fn is_undisturbed(&self) -> bool {
        !self.wire.may_read() && !self.wire.has_ended() && !self.holds && !self.shared.is_draining()
    }

    /// The time for what is to come next begins now.
    #[inline]
    fn time_anew(&mut self, ctx: &mut Ctx<'_>, ticks: u64) {
        self.deadline.set(ctx, Some(ctx.tick() + ticks + 1));
    }

    /// The general way, from the beginning of a visit or from where another way has ended.
    fn go_on(
        &mut self,
        ctx: &mut Ctx<'_>,
        buffers: &mut Buffers,
        so_far: SoFar,
    ) -> io::Result<Next> {
        let mut first = so_far.progress;
        let mut read_left = READ_BYTES_MAX - so_far.bytes_in;
        let mut visit = Visit {
            ctx,
            shared: &self.shared,
            wire: &mut self.wire,
            input: Input::holding(&mut buffers.receive, so_far.input),
            cork: &mut buffers.cork,
            peer: &self.peer,
            place: self.place,
            steps_left: so_far.steps_left,
            pongs_left: so_far.pongs_left,
            newest_ping: None,
        };
        let mut written = so_far.bytes_out;
        if first.is_none() {
            if let Protocol::WebSocket(link) = &mut self.protocol {
                link.tell_dropped(&mut visit);
            }
            // Old bytes leave before new ones are made; while they cannot, nothing is read either (rule R10).
            written += visit.flush()?;
        }
        let next = loop {
            if visit.wire.is_blocked() && first.is_none() {
                break Next::Wait;
            }
            let progress = match &mut self.protocol {
                _ if let Some(progress) = first.take() => progress,
                // Before something is read there must be someone to take it.
                Protocol::Rest => {
                    self.protocol = Protocol::Http(self.shared.lend_http());
                    Progress::NeedInput
                }
                // Nothing is here yet, and there is nothing to do before something is read.
                Protocol::Http(http) if visit.input.is_empty() && http.only_reads() => {
                    Progress::NeedInput
                }
                Protocol::WebSocket(link) if visit.input.is_empty() && link.only_reads() => {
                    Progress::NeedInput
                }
                Protocol::Http(http) => http.step(&mut visit)?,
                Protocol::WebSocket(link) => link.step(&mut visit)?,
                Protocol::Flushing { linger: false } => break Next::Close,
                Protocol::Flushing { linger: true } => {
                    if visit.wire.has_ended() {
                        break Next::Close;
                    }
                    visit.ctx.driver().shutdown_write(visit.wire.socket())?;
                    let limit = self
                        .shared
                        .limits
                        .linger_timeout
                        .saturating_mul(LINGER_TIMES);
                    self.protocol = Protocol::Lingering(Box::new(Lingering {
                        bytes: 0,
                        until: visit.ctx.tick() + ticks(limit),
                    }));
                    Progress::NeedInput
                }
                Protocol::Lingering(lingering) => {
                    lingering.bytes += visit.input.bytes().len();
                    visit.input.clear();
                    if lingering.bytes > self.shared.limits.linger_bytes_max {
                        Hits::count(&self.shared.hits.linger);
                        break Next::Close;
                    }
                    Progress::NeedInput
                }
            };
            if let Progress::Upgrade(link) = progress {
                let over = std::mem::replace(&mut self.protocol, Protocol::WebSocket(link));
                if let Protocol::Http(http) = over {
                    self.shared.take_back(http);
                }
                written += visit.flush()?;
                continue;
            }
            written += visit.flush()?;
            match progress {
                // What came before the peer's end was all used up: only now is it the protocol's end, too.
                Progress::NeedInput if visit.wire.has_ended() => {
                    match &mut self.protocol {
                        Protocol::Http(http) => http.ended(),
                        Protocol::WebSocket(link) => link.ended(),
                        Protocol::Rest | Protocol::Flushing { .. } | Protocol::Lingering(_) => {
                            break Next::Close;
                        }
                    }
                    continue;
                }
                Progress::NeedInput if visit.wire.may_read() && !visit.wire.is_blocked() => {}
                // All is sent that was made, and the peer's end has come before the rest.
                Progress::Paused if visit.wire.has_ended() && !visit.wire.is_blocked() => {
                    match &self.protocol {
                        Protocol::Http(http)
                            if !self.shared.limits.half_close && http.peer_ended() =>
                        {
                            break Next::Close;
                        }
                        _ => break Next::Wait,
                    }
                }
                // Whoever waits for a handler wants to know whether the peer is still there.
                Progress::Paused if visit.wire.has_news_of_end() => {}
                Progress::NeedInput | Progress::Paused => break Next::Wait,
                Progress::Again => break Next::Again,
                Progress::Upgrade(_) => unreachable!("seen to just above"),
                Progress::Over { linger } => {
                    let flushing = Protocol::Flushing {
                        // What is left unread would turn our close into a reset.
                        linger: linger || !visit.input.is_empty() || visit.wire.may_read(),
                    };
                    visit.input.clear();
                    match std::mem::replace(&mut self.protocol, flushing) {
                        Protocol::Http(http) => self.shared.take_back(http),
                        Protocol::WebSocket(link) => link.closed(visit.ctx, &self.shared),
                        Protocol::Rest | Protocol::Flushing { .. } | Protocol::Lingering(_) => {}
                    }
                    continue;
                }
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
        match &mut self.protocol {
            Protocol::Http(http) if visit.input.is_empty() && http.is_between_requests() => {
                let rested = std::mem::replace(&mut self.protocol, Protocol::Rest);
                if let Protocol::Http(http) = rested {
                    self.shared.keep_spare(http);
                }
            }
            Protocol::Http(http) => http.spill.extend_from_slice(visit.input.bytes()),
            Protocol::WebSocket(link) => {
                link.keep_spill(visit.input.bytes());
                link.set_backlog(self.wire.backlog_bytes());
            }
            Protocol::Rest | Protocol::Flushing { .. } | Protocol::Lingering(_) => {}
        }
        let progress = written + steps as usize > 0;
        let next = match next {
            // Its last answer is on its way, without word that the server is shutting down: the peer may go on.
            Next::Wait if progress && self.shared.is_draining() && self.is_idle() => {
                self.protocol = Protocol::Flushing { linger: true };
                Next::Again
            }
            next => next,
        };
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
        let limits = &self.shared.limits;
        if let Protocol::WebSocket(link) = &mut self.protocol
            && moved.bytes_in > 0
        {
            link.heard();
        }
        let phase = match &self.protocol {
            // First of all: a peer that is closed because it does not read has no more than the time to close.
            Protocol::WebSocket(link) if link.is_closing() => Phase::WebSocketClose,
            _ if self.wire.is_blocked() => Phase::Write,
            Protocol::Rest if self.is_new => Phase::FirstByte,
            Protocol::Rest => Phase::Idle,
            Protocol::Http(http) => {
                if http.awaits_body() {
                    Phase::Body
                } else if http.awaits_head() {
                    Phase::Header
                } else if http.handler_timeout(&self.shared).is_some() {
                    Phase::Handler
                } else {
                    Phase::Untimed
                }
            }
            // What it says is not read.
            Protocol::WebSocket(link) if link.is_paused() => Phase::Untimed,
            Protocol::WebSocket(link) if link.awaits_pong() => Phase::Pong,
            Protocol::WebSocket(_) => Phase::Quiet,
            Protocol::Flushing { .. } => Phase::Write,
            Protocol::Lingering(_) => Phase::Linger,
        };
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
        ctx.record_state(self.protocol.kind(), phase.name());
        // The turn's time may be stale by as long as the turn took; one tick more makes up for the part of a tick.
        let after = |timeout| ctx.tick() + ticks(timeout) + 1;
        let at = match (phase, &self.protocol) {
            (Phase::Linger, Protocol::Lingering(lingering)) => {
                Some(after(limits.linger_timeout).min(lingering.until))
            }
            (Phase::Handler, Protocol::Http(http)) => http.handler_timeout(&self.shared).map(after),
            (Phase::FirstByte, _) => Some(after(limits.first_byte_timeout)),
            (Phase::Header, _) => Some(after(limits.header_timeout)),
            (Phase::Body, _) => Some(after(limits.body_timeout)),
            (Phase::Write, _) => Some(after(limits.write_timeout)),
            (Phase::Quiet, Protocol::WebSocket(link)) => {
                Some(ctx.tick() + link.ping_after(self.place) + 1)
            }
            (Phase::Pong, Protocol::WebSocket(link)) => Some(ctx.tick() + link.pong_timeout() + 1),
            (Phase::Idle | Phase::Linger, _) => {
                Some(ctx.tick() + self.shared.keep_alive_ticks() + 1)
            }
            (Phase::WebSocketClose, _) => Some(after(limits.close_timeout)),
            (Phase::Handler | Phase::Quiet | Phase::Pong | Phase::Untimed, _) => None,
        };
        let at = match &mut self.protocol {
            // The time to close is the last.
            Protocol::WebSocket(link) if phase != Phase::WebSocketClose => {
                let at = link.look_at(at.unwrap_or(NEVER));
                (at != NEVER).then_some(at)
            }
            _ => at,
        };
        self.deadline.set(ctx, at);
    }

    /// The deadline has come. Whether the connection goes on, to say so to its peer.
    fn time_is_up(&mut self, ctx: &mut Ctx<'_>) -> bool {
        let hits = &self.shared.hits;
        if let Protocol::WebSocket(link) = &mut self.protocol {
            match link.look(ctx, &self.shared) {
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
        match (&mut self.protocol, self.phase) {
            (Protocol::Http(http), Phase::Header | Phase::Body) => http.too_slow(),
            (Protocol::Http(http), Phase::Handler) => http.give_up(),
            (Protocol::WebSocket(link), Phase::Quiet) => {
                link.ping();
                true
            }
            _ => false,
        }
    }
}

/// A limit in ticks of the loop.
pub(super) fn ticks(timeout: std::time::Duration) -> u64 {
    let timeout = timeout.min(CENTURY);
    timeout.as_secs() * 1000 + u64::from(timeout.subsec_millis())
}

impl Source for Connection {
    fn ready(&mut self, ctx: &mut Ctx<'_>, readiness: Readiness) -> Next {
        self.wire.note(readiness);
        if readiness.contains(Readiness::TIMER) {
            match self.deadline.has_come(ctx) {
                true if self.time_is_up(ctx) => {}
                true => {
                    crate::event!(
                        debug,
                        "connection {}: its time for {:?} is up",
                        ctx.token(),
                        self.phase
                    );
                    self.shared.note_leaving(self.place, Leaving::Finished);
                    return Next::Close;
                }
                // It was moved since, and its entry is where it belongs now.
                false => return Next::Wait,
            }
        }
        if readiness.contains(Readiness::WOKEN)
            && self.shared.take_condemned(self.place)
            && !self.give_up()
        {
            return Next::Close;
        }
        if let Protocol::WebSocket(link) = &mut self.protocol {
            link.visited(readiness);
        }
        let mut buffers = ctx.lend_buffers();
        let next = self.pump(ctx, &mut buffers);
        buffers.cork.clear();
        ctx.give_back(buffers);
        // An error of the socket is the end of the connection, and there is no one left to tell but the log.
        let next = next.unwrap_or_else(|error| {
            crate::event!(debug, "connection {}: {error}", ctx.token());
            Next::Close
        });
        if self.shared.is_draining() {
            return self.drain(ctx, next);
        }
        next
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>) {
        crate::event!(
            debug,
            "connection {} of {} closed in {:?}",
            ctx.token(),
            self.peer.get(&self.shared),
            self.phase
        );
        self.deadline.clear(ctx);
        ctx.driver().close(self.wire.socket());
        self.shared
            .remove(ctx, self.place, self.peer.get(&self.shared).ip());

        // A handler that is still at work is dropped, or goes on without us.
        let protocol = std::mem::replace(&mut self.protocol, Protocol::Flushing { linger: false });
        match protocol {
            Protocol::Http(mut http) => http.leave(ctx, &self.shared),
            Protocol::WebSocket(link) => link.closed(ctx, &self.shared),
            Protocol::Rest | Protocol::Flushing { .. } | Protocol::Lingering(_) => {}
        }
    }

    fn inspect(&self) -> Inspection {
        let idle_rank = match &self.protocol {
            // The deadline orders the idle as well as the moment they became so, and is there already. One that was
            // never used may have been accepted just now: its request is on the road.
            Protocol::Rest if self.is_idle() && !self.is_new => self.deadline.at(),
            _ => None,
        };
        let in_state = |state| Inspection {
            state,
            ..Inspection::default()
        };
        let (kind, inner, busy) = match &self.protocol {
            Protocol::Rest => ("http", in_state("idle"), false),
            Protocol::Http(http) => ("http", http.inspect(), !http.awaits_input()),
            Protocol::WebSocket(link) => ("websocket", in_state(link.state()), link.is_paused()),
            Protocol::Flushing { .. } => ("http", in_state("flushing"), true),
            Protocol::Lingering(_) => ("http", in_state("lingering"), false),
        };
        let purpose = match &self.protocol {
            Protocol::Http(http) => http.route(&self.shared),
            Protocol::WebSocket(link) => {
                let name = self.shared.service.route_name(link.route());
                name.map(|(_, path)| path)
            }
            Protocol::Rest | Protocol::Flushing { .. } | Protocol::Lingering(_) => None,
        };
        Inspection {
            kind,
            phase: self.phase.name(),
            purpose,
            peer: Some(self.peer.get(&self.shared)),
            read_drained: !self.wire.may_read(),
            paused: busy || self.wire.is_blocked(),
            bytes_held: self.bytes_held(),
            socket: Some(self.wire.socket()),
            deadline_tick: self.deadline.at(),
            idle_rank,
            ..inner
        }
    }
}

impl Connection {
    /// The server is shutting down: what comes of `next`, the end of an ordinary visit.
    fn drain(&mut self, ctx: &mut Ctx<'_>, next: Next) -> Next {
        let (leaving, next) = match (&self.protocol, next) {
            (_, Next::Close) => (Leaving::Finished, Next::Close),
            (Protocol::Rest, Next::Wait) if self.is_idle() => (Leaving::Idle, Next::Close),
            (Protocol::WebSocket(link), Next::Wait) => {
                link.go_away(ctx, &self.shared);
                (Leaving::Busy, Next::Wait)
            }
            (_, next) => (Leaving::Busy, next),
        };
        self.shared.note_leaving(self.place, leaving);
        let is_closing = matches!(&self.protocol, Protocol::WebSocket(link) if link.is_closing());
        if is_closing && self.phase != Phase::WebSocketClose {
            self.set_deadline(ctx, &Moved::default());
        }
        next
    }

    /// Nothing of a request is here, and every answer has left.
    fn is_idle(&self) -> bool {
        matches!(&self.protocol, Protocol::Rest) && !self.wire.is_blocked()
    }

    /// Tell the server what is held here, if that is or was anything.
    fn account(&mut self, ctx: &Ctx<'_>) {
        let bytes = self.bytes_held();
        if self.holds || bytes > 0 {
            self.holds = bytes > 0;
            self.shared.hold(ctx, self.place, bytes);
        }
    }

    /// Memory that is held for the peer, see [`super::Budget::bytes_max`].
    fn bytes_held(&self) -> usize {
        match &self.protocol {
            Protocol::Http(http) => {
                http.bytes_held(self.wire.is_blocked()) + self.wire.backlog_bytes_owned()
            }
            // What waits counts in full, also what many are sent.
            Protocol::WebSocket(link) => self.wire.backlog_bytes() + link.bytes_held(),
            Protocol::Rest | Protocol::Flushing { .. } => self.wire.backlog_bytes_owned(),
            Protocol::Lingering(_) => 0,
        }
    }

    /// It holds more than can be spared. Whether the connection goes on, to say so to its peer.
    fn give_up(&mut self) -> bool {
        match &mut self.protocol {
            Protocol::Http(http) => {
                http.forget_body();
                // Behind an answer that is not taken, no other would be.
                !self.wire.is_blocked() && http.give_up()
            }
            Protocol::WebSocket(link) => {
                link.give_up();
                false
            }
            Protocol::Rest | Protocol::Flushing { .. } | Protocol::Lingering(_) => false,
        }
    }
}
