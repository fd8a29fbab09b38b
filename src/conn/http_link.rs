//! HTTP as what is spoken on a connection: nothing between two requests, all that a request needs while one is here,
//! and the end.

use std::hint::cold_path;
use std::io;
use std::ops::Range;
use std::rc::Rc;

use super::connection::{
    Connection, Phase, Progress, Protocol, STEPS_MAX, SoFar, Turn, Visit, ticks,
};
use super::http::Http;
use super::limits::Hits;
use super::server::{Leaving, Shared};
use super::websocket_connection::Opening;
use super::websocket_link::PONGS_MAX;
use super::wire::Wire;
use crate::event_loop::{Buffers, Ctx, Inspection, Next, Readiness, Source};

/// Lingering ends after so many times the time for silence.
const LINGER_TIMES: u32 = 5;

pub(super) struct HttpLink {
    shared: Rc<Shared>,
    state: State,
}

enum State {
    /// Between two requests. All there is of HTTP is this word: a connection at rest is a socket and a deadline.
    Rest,
    Busy(Box<Http>),
    /// Everything is said; the rest of it is on its way.
    Flushing {
        linger: bool,
    },
    /// Our end is closed; what the peer still sends is thrown away, so that no reset destroys what we said (RFC 9112,
    /// 9.6).
    Lingering(Box<Lingering>),
}

struct Lingering {
    /// What was thrown away so far.
    bytes: usize,
    /// The tick at which it ends in any case.
    until: u64,
}

impl HttpLink {
    /// Nothing was said yet.
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        Self {
            shared,
            state: State::Rest,
        }
    }

    /// Everything is said, in whatever protocol.
    pub(super) fn farewell(shared: Rc<Shared>, linger: bool) -> Self {
        Self {
            shared,
            state: State::Flushing { linger },
        }
    }

    /// What nobody has read yet would turn our close into a reset.
    pub(super) fn has_to_linger(linger: bool, so_far: &SoFar, wire: &Wire) -> bool {
        linger || !so_far.input.is_empty() || wire.may_read()
    }
}

impl Protocol for HttpLink {
    const KIND: &'static str = "http";

    fn server(&self) -> &Rc<Shared> {
        &self.shared
    }

    fn pump(
        connection: &mut Connection<Self>,
        ctx: &mut Ctx<'_>,
        buffers: &mut Buffers,
    ) -> io::Result<Next> {
        let may_read = connection.wire.may_read() && !connection.wire.is_blocked();
        if may_read && matches!(connection.protocol.state, State::Rest) {
            return connection.serve(ctx, buffers);
        }
        cold_path();
        let so_far = match &mut connection.protocol.state {
            State::Busy(http) => SoFar::begin(buffers, &std::mem::take(&mut http.spill)),
            _ => SoFar::begin(buffers, &[]),
        };
        connection.go_on(ctx, buffers, so_far)
    }

    fn step(&mut self, visit: &mut Visit<'_, '_>) -> io::Result<Progress> {
        match &mut self.state {
            // Before something is read there must be someone to take it.
            State::Rest => {
                self.state = State::Busy(self.shared.lend_http());
                Ok(Progress::NeedInput)
            }
            // Nothing is here yet, and there is nothing to do before something is read.
            State::Busy(http) if visit.input.is_empty() && http.only_reads() => {
                Ok(Progress::NeedInput)
            }
            State::Busy(http) => http.step(visit),
            State::Flushing { linger: false } => Ok(Progress::Closed),
            State::Flushing { linger: true } if visit.wire.has_ended() => Ok(Progress::Closed),
            State::Flushing { linger: true } => {
                visit.ctx.driver().shutdown_write(visit.wire.socket())?;
                let limit = self.shared.limits.linger_timeout;
                self.state = State::Lingering(Box::new(Lingering {
                    bytes: 0,
                    until: visit.ctx.tick() + ticks(limit.saturating_mul(LINGER_TIMES)),
                }));
                Ok(Progress::NeedInput)
            }
            State::Lingering(lingering) => {
                lingering.bytes += visit.input.bytes().len();
                visit.input.clear();
                if lingering.bytes > self.shared.limits.linger_bytes_max {
                    Hits::count(&self.shared.hits.linger);
                    return Ok(Progress::Closed);
                }
                Ok(Progress::NeedInput)
            }
        }
    }

    fn ended(&mut self) -> bool {
        match &mut self.state {
            State::Busy(http) => {
                http.ended();
                true
            }
            State::Rest | State::Flushing { .. } | State::Lingering(_) => false,
        }
    }

    fn ends_with_peer(&self) -> bool {
        match &self.state {
            State::Busy(http) => !self.shared.limits.half_close && http.peer_ended(),
            State::Rest | State::Flushing { .. } | State::Lingering(_) => false,
        }
    }

    fn turn(
        connection: &mut Connection<Self>,
        ctx: &mut Ctx<'_>,
        buffers: &mut Buffers,
        turn: Turn,
        mut so_far: SoFar,
    ) -> io::Result<Next> {
        let next = match turn {
            Turn::Over { linger } => {
                let linger = Self::has_to_linger(linger, &so_far, &connection.wire);
                so_far.input = 0..0;
                State::Flushing { linger }
            }
            Turn::Upgrade { .. } => State::Rest,
        };
        let link = &mut connection.protocol;
        if let State::Busy(http) = std::mem::replace(&mut link.state, next) {
            link.shared.take_back(http);
        }
        match turn {
            Turn::Over { .. } => connection.go_on(ctx, buffers, so_far),
            Turn::Upgrade { socket, rules } => {
                let opening = Opening::new(connection, rules, so_far);
                let (source, next) = socket.open(opening, ctx, buffers);
                Ok(ctx.become_source(source, next))
            }
        }
    }

    fn rests(&mut self, input: &[u8], _: usize) {
        match &mut self.state {
            State::Busy(http) if input.is_empty() && http.is_between_requests() => {
                if let State::Busy(http) = std::mem::replace(&mut self.state, State::Rest) {
                    self.shared.keep_spare(http);
                }
            }
            State::Busy(http) => http.spill.extend_from_slice(input),
            State::Rest | State::Flushing { .. } | State::Lingering(_) => {}
        }
    }

    fn takes_leave(&mut self) -> bool {
        let is_idle = matches!(self.state, State::Rest);
        if is_idle {
            self.state = State::Flushing { linger: true };
        }
        is_idle
    }

    fn phase(&self, is_new: bool, is_blocked: bool) -> Phase {
        match &self.state {
            _ if is_blocked => Phase::Write,
            State::Rest if is_new => Phase::FirstByte,
            State::Rest => Phase::Idle,
            State::Busy(http) if http.awaits_body() => Phase::Body,
            State::Busy(http) if http.awaits_head() => Phase::Header,
            State::Busy(http) => match http.handler_timeout(&self.shared) {
                Some(_) => Phase::Handler,
                None => Phase::Untimed,
            },
            State::Flushing { .. } => Phase::Write,
            State::Lingering(_) => Phase::Linger,
        }
    }

    fn patience(&mut self, ctx: &Ctx<'_>, phase: Phase, _: u32) -> Option<u64> {
        match (&self.state, phase) {
            (State::Busy(http), Phase::Handler) => http.handler_timeout(&self.shared).map(ticks),
            (State::Lingering(lingering), Phase::Linger) => {
                let left = lingering.until.saturating_sub(ctx.tick() + 1);
                Some(ticks(self.shared.limits.linger_timeout).min(left))
            }
            _ => None,
        }
    }

    fn time_is_up(&mut self, phase: Phase) -> bool {
        match (&mut self.state, phase) {
            (State::Busy(http), Phase::Header | Phase::Body) => http.too_slow(),
            (State::Busy(http), Phase::Handler) => http.give_up(),
            _ => false,
        }
    }

    fn give_up(&mut self, is_blocked: bool) -> bool {
        match &mut self.state {
            State::Busy(http) => {
                http.forget_body();
                // Behind an answer that is not taken, no other would be.
                !is_blocked && http.give_up()
            }
            State::Rest | State::Flushing { .. } | State::Lingering(_) => false,
        }
    }

    fn bytes_held(&self, wire: &Wire) -> usize {
        match &self.state {
            State::Busy(http) => http.bytes_held(wire.is_blocked()) + wire.backlog_bytes_owned(),
            State::Rest | State::Flushing { .. } => wire.backlog_bytes_owned(),
            State::Lingering(_) => 0,
        }
    }

    fn drains(&mut self, _: &Ctx<'_>, is_blocked: bool) -> (Leaving, Next) {
        match self.state {
            State::Rest if !is_blocked => (Leaving::Idle, Next::Close),
            _ => (Leaving::Busy, Next::Wait),
        }
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>) {
        let gone = State::Flushing { linger: false };
        if let State::Busy(mut http) = std::mem::replace(&mut self.state, gone) {
            http.leave(ctx, &self.shared);
        }
    }

    fn describe(&self) -> Inspection {
        let in_state = |state| Inspection {
            state,
            ..Inspection::default()
        };
        match &self.state {
            State::Rest => Inspection {
                idle_rank: Some(0),
                ..in_state("idle")
            },
            State::Busy(http) => Inspection {
                purpose: http.route(&self.shared),
                paused: !http.awaits_input(),
                ..http.inspect()
            },
            State::Flushing { .. } => Inspection {
                paused: true,
                ..in_state("flushing")
            },
            State::Lingering(_) => in_state("lingering"),
        }
    }
}

impl Connection<HttpLink> {
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
    /// deadline. Whatever turns out otherwise goes on the general way, from where it stands.
    #[inline(always)]
    fn serve(&mut self, ctx: &mut Ctx<'_>, buffers: &mut Buffers) -> io::Result<Next> {
        let input = self.read(ctx, buffers)?;
        let read = input.len();
        let shared = &self.protocol.shared;
        let mut http = shared.lend_http();
        let whose = (&self.peer, self.place);
        let mut visit = Visit::new(ctx, shared, &mut self.wire, whose, buffers, input);
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
            self.protocol.shared.keep_spare(http);
            let flushed = self.wire.flush(ctx, &mut buffers.cork)?;
            if !flushed.is_blocked {
                if steps_left < STEPS_MAX {
                    let at = ctx.tick() + self.protocol.shared.keep_alive_ticks() + 1;
                    self.deadline.set(ctx, Some(at));
                }
                return Ok(Next::Wait);
            }
            bytes_out = flushed.bytes;
        } else {
            cold_path();
            self.protocol.state = State::Busy(http);
        }
        let so_far = SoFar {
            input,
            progress: Some(progress?),
            bytes_in: read,
            bytes_out,
            steps_left,
            pongs_left: PONGS_MAX,
        };
        self.go_on(ctx, buffers, so_far)
    }
}

impl Source for Connection<HttpLink> {
    fn ready(&mut self, ctx: &mut Ctx<'_>, readiness: Readiness) -> Next {
        self.ready(ctx, readiness)
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>) {
        self.close(ctx);
    }

    fn inspect(&self) -> Inspection {
        self.describe()
    }
}
