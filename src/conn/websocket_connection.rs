//! A WebSocket as what is spoken on a connection, from the handshake's end on.
//!
//! Connection, WebSocket and handler are one piece of memory, since there may be very many that say nothing. So the
//! connection's type has the handler's in it. But nearly all code is the same for all: what is done to a
//! `Connection<WebSocketLink<H>>` is done to the `Connection<WebSocketLink<dyn WebSocketHandler>>` that it is lent as.
//! Only what nearly every visit does, to take short messages and send an answer, is made for each handler: that saves a
//! tenth of an echo's instructions, and costs some 3 kB of program for each.

use std::hint::cold_path;
use std::io;
use std::ops::Range;
use std::rc::Rc;

use super::connection::{
    Connection, Due, Phase, Progress, Protocol, STEPS_MAX, SoFar, Turn, Visit,
};
use super::deadline::NEVER;
use super::http_link::HttpLink;
use super::server::{Leaving, Shared};
use super::websocket::WebSocketHandler;
use super::websocket_link::{Heard, PONGS_MAX, WebSocketLink};
use super::websocket_settings::WebSocketRules;
use super::wire::Wire;
use crate::event_loop::{Buffers, Ctx, Inspection, Next, Readiness, Source};

/// A connection whose HTTP has ended with a handshake.
pub struct Opening<'o> {
    connection: &'o mut Connection<HttpLink>,
    rules: Rc<WebSocketRules>,
    so_far: SoFar,
}

impl<'o> Opening<'o> {
    pub(super) fn new(
        connection: &'o mut Connection<HttpLink>,
        rules: Rc<WebSocketRules>,
        so_far: SoFar,
    ) -> Self {
        Self {
            connection,
            rules,
            so_far,
        }
    }
}

/// A handler that can be put on a connection: every one.
pub trait OnConnection {
    /// Take over a connection in the midst of a visit, and go on with that. Returns what the connection has become,
    /// and what it wants next.
    fn open(
        self: Box<Self>,
        opening: Opening<'_>,
        ctx: &mut Ctx<'_>,
        buffers: &mut Buffers,
    ) -> (Box<dyn Source>, Next);
}

impl<H: WebSocketHandler + 'static> OnConnection for H {
    fn open(
        self: Box<Self>,
        opening: Opening<'_>,
        ctx: &mut Ctx<'_>,
        buffers: &mut Buffers,
    ) -> (Box<dyn Source>, Next) {
        let before = opening.connection;
        let link = WebSocketLink::new(*self, opening.rules, ctx, before.place);
        let mut connection = Box::new(before.turned_to(link));
        let next = any(&mut connection).open(ctx, buffers, opening.so_far);
        (connection, next)
    }
}

/// A connection, whatever its handler.
fn any<H: WebSocketHandler + 'static>(
    connection: &mut Connection<WebSocketLink<H>>,
) -> &mut Connection<WebSocketLink> {
    connection
}

impl<H: WebSocketHandler + 'static> Source for Connection<WebSocketLink<H>> {
    fn ready(&mut self, ctx: &mut Ctx<'_>, readiness: Readiness) -> Next {
        let is_asked = readiness.intersects(Readiness::TIMER.union(Readiness::WOKEN));
        self.wire.note(readiness);
        if !is_asked && self.wire.may_read() && !self.wire.is_blocked() && self.protocol.is_calm() {
            return match self.with_buffers(ctx, Self::serve) {
                Ok(None) => Next::Wait,
                Ok(Some(next)) => any(self).visit_ended(ctx, Ok(next)),
                Err(error) => any(self).visit_ended(ctx, Err(error)),
            };
        }
        any(self).ready(ctx, readiness)
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>) {
        any(self).close(ctx);
    }

    fn inspect(&self) -> Inspection {
        let connection: &Connection<WebSocketLink> = self;
        connection.describe()
    }
}

impl<H: WebSocketHandler + 'static> Connection<WebSocketLink<H>> {
    /// The usual visit, straight ahead: short messages are read and handled, what the handler sends leaves in one
    /// write, and all is as before: `None`. Whatever turns out otherwise goes on the general way, from where it stands.
    ///
    /// This much is made for each handler anew, with the handler's code in its midst.
    #[inline(always)]
    fn serve(&mut self, ctx: &mut Ctx<'_>, buffers: &mut Buffers) -> io::Result<Option<Next>> {
        let space = buffers.read_into();
        let start = space.start;
        let receive = &mut buffers.receive[space];
        let read = self.wire.fill(ctx, receive)?.bytes();
        let heard = self
            .protocol
            .hear_short(ctx, &mut receive[..read], &mut buffers.cork);
        let input = start..start + read;
        if !heard.is_all {
            return any(self).hear_on(ctx, buffers, input, heard).map(Some);
        }
        let Some(bytes_out) = self.rest(ctx, buffers, true)? else {
            return Ok(None);
        };
        let so_far = SoFar {
            input: input.end..input.end,
            progress: Some(Progress::NeedInput),
            bytes_in: read,
            bytes_out,
            steps_left: STEPS_MAX - heard.messages,
            pongs_left: PONGS_MAX,
        };
        any(self).go_on(ctx, buffers, so_far).map(Some)
    }
}

impl<H: WebSocketHandler + ?Sized> Connection<WebSocketLink<H>> {
    /// The end of such a visit, when all is calm; something came, or nothing: what was written leaves, and nothing
    /// else is left to do, as nearly always. If something is: how much was written.
    #[inline(always)]
    fn rest(
        &mut self,
        ctx: &mut Ctx<'_>,
        buffers: &mut Buffers,
        has_heard: bool,
    ) -> io::Result<Option<usize>> {
        let mut written = 0;
        if self.phase == Phase::Quiet && self.is_undisturbed() {
            let flushed = self.wire.flush(ctx, &mut buffers.cork)?;
            if !flushed.is_blocked {
                if has_heard {
                    // That moves its deadline, too.
                    self.protocol.was_heard(ctx);
                }
                return Ok(None);
            }
            written = flushed.bytes;
        }
        cold_path();
        Ok(Some(written))
    }

    /// The same, by what the visit has come to so far; if something is left to do, that too.
    fn rest_or_go_on(
        &mut self,
        ctx: &mut Ctx<'_>,
        buffers: &mut Buffers,
        so_far: SoFar,
    ) -> io::Result<Next> {
        match self.rest(ctx, buffers, so_far.bytes_in > 0)? {
            None => Ok(Next::Wait),
            Some(bytes_out) => self.go_on(
                ctx,
                buffers,
                SoFar {
                    bytes_out,
                    ..so_far
                },
            ),
        }
    }

    /// The handshake is done, and its answer in the cork.
    fn open(&mut self, ctx: &mut Ctx<'_>, buffers: &mut Buffers, so_far: SoFar) -> Next {
        let shared = Rc::clone(self.protocol.server());
        let whose = (&self.peer, self.place);
        let input = so_far.input.clone();
        let mut visit = Visit::new(ctx, &shared, &mut self.wire, whose, buffers, input);
        self.protocol
            .tell(&mut visit, |socket, peer| socket.opened(peer));
        let next = self.go_on(ctx, buffers, so_far);
        self.visit_ended(ctx, next)
    }

    /// The part of such a visit that is not short messages.
    #[inline(never)]
    fn hear_on(
        &mut self,
        ctx: &mut Ctx<'_>,
        buffers: &mut Buffers,
        input: Range<usize>,
        heard: Heard,
    ) -> io::Result<Next> {
        let read = input.len();
        let shared = Rc::clone(self.protocol.server());
        let link = &mut self.protocol;
        let whose = (&self.peer, self.place);
        let mut visit = Visit::new(ctx, &shared, &mut self.wire, whose, buffers, input);
        visit.input.use_up(heard.bytes);
        visit.steps_left -= heard.messages;
        if link.hear(&mut visit, heard) {
            let so_far = visit.so_far(Progress::NeedInput, read);
            return self.rest_or_go_on(ctx, buffers, so_far);
        }
        let progress = link.speak(&mut visit)?;
        let so_far = visit.so_far(progress, read);
        self.go_on(ctx, buffers, so_far)
    }

    /// The usual visit of one to whom others have sent, straight ahead as [`Connection::serve`]: there is nothing to
    /// read, what they sent leaves in one write, and all is as before.
    #[inline(never)]
    fn deliver(&mut self, ctx: &mut Ctx<'_>, buffers: &mut Buffers) -> io::Result<Next> {
        let shared = Rc::clone(self.protocol.server());
        let link = &mut self.protocol;
        let whose = (&self.peer, self.place);
        let mut visit = Visit::new(ctx, &shared, &mut self.wire, whose, buffers, 0..0);
        let has_left = link.collect_mail(&mut visit)?;
        if has_left && link.is_calm() {
            let so_far = visit.so_far(Progress::NeedInput, 0);
            return self.rest_or_go_on(ctx, buffers, so_far);
        }
        cold_path();
        let progress = match has_left {
            true => link.speak(&mut visit)?,
            false => Progress::Paused,
        };
        let so_far = visit.so_far(progress, 0);
        self.go_on(ctx, buffers, so_far)
    }
}

impl<H: WebSocketHandler + ?Sized> Protocol for WebSocketLink<H> {
    const KIND: &'static str = "websocket";

    fn server(&self) -> &Rc<Shared> {
        self.server()
    }

    fn pump(
        connection: &mut Connection<Self>,
        ctx: &mut Ctx<'_>,
        buffers: &mut Buffers,
    ) -> io::Result<Next> {
        let may_flow = !connection.wire.may_read() && !connection.wire.is_blocked();
        if may_flow && connection.protocol.has_only_mail() {
            return connection.deliver(ctx, buffers);
        }
        let so_far = SoFar::begin(buffers, &connection.protocol.take_spill());
        connection.go_on(ctx, buffers, so_far)
    }

    fn visited(&mut self, readiness: Readiness) {
        self.note(readiness);
    }

    fn begins(&mut self, visit: &mut Visit<'_, '_>) {
        self.tell_dropped(visit);
    }

    fn step(&mut self, visit: &mut Visit<'_, '_>) -> io::Result<Progress> {
        // Nothing is here yet, and there is nothing to do before something is read.
        match visit.input.is_empty() && self.only_reads() {
            true => Ok(Progress::NeedInput),
            false => self.speak(visit),
        }
    }

    fn ended(&mut self) -> bool {
        self.end();
        true
    }

    fn turn(
        connection: &mut Connection<Self>,
        ctx: &mut Ctx<'_>,
        buffers: &mut Buffers,
        turn: Turn,
        mut so_far: SoFar,
    ) -> io::Result<Next> {
        let Turn::Over { linger } = turn else {
            unreachable!("a WebSocket stays one")
        };
        let linger = HttpLink::has_to_linger(linger, &so_far, &connection.wire);
        so_far.input = 0..0;
        connection.protocol.close(ctx);
        let shared = Rc::clone(connection.protocol.server());
        let farewell = HttpLink::farewell(shared, linger);
        let mut farewell = Box::new(connection.turned_to(farewell));
        let next = farewell.go_on(ctx, buffers, so_far);
        let next = farewell.visit_ended(ctx, next);
        Ok(ctx.become_source(farewell, next))
    }

    fn rests(&mut self, input: &[u8], backlog_bytes: usize) {
        self.keep_spill(input);
        self.set_backlog(backlog_bytes);
    }

    fn phase(&self, _: bool, is_blocked: bool) -> Phase {
        match () {
            // First of all: a peer that is closed because it does not read has no more than the time to close.
            () if self.is_closing() => Phase::WebSocketClose,
            () if is_blocked => Phase::Write,
            // What it says is not read.
            () if self.is_paused() => Phase::Untimed,
            () if self.awaits_pong() => Phase::Pong,
            () => Phase::Quiet,
        }
    }

    fn heard(&mut self) {
        self.answered();
    }

    fn patience(&mut self, ctx: &Ctx<'_>, phase: Phase, place: u32) -> Option<u64> {
        match phase {
            Phase::Quiet => {
                self.was_heard(ctx);
                Some(self.ping_after(place))
            }
            Phase::Pong => Some(self.pong_timeout()),
            _ => None,
        }
    }

    fn look_at(&mut self, at: Option<u64>) -> Option<u64> {
        let at = self.look_at(at.unwrap_or(NEVER));
        (at != NEVER).then_some(at)
    }

    fn looks_at(&self, at: u64, phase: Phase, place: u32) -> u64 {
        self.looks_at(at, phase == Phase::Quiet, place)
    }

    fn look(&mut self, ctx: &Ctx<'_>, phase: Phase, place: u32) -> Due {
        self.look(ctx, phase == Phase::Quiet, place)
    }

    fn time_is_up(&mut self, phase: Phase) -> bool {
        let is_quiet = phase == Phase::Quiet;
        if is_quiet {
            self.ping();
        }
        is_quiet
    }

    fn give_up(&mut self, _: bool) -> bool {
        self.give_up();
        false
    }

    fn bytes_held(&self, wire: &Wire) -> usize {
        // What waits counts in full, also what many are sent.
        wire.backlog_bytes() + self.bytes_held()
    }

    fn drains(&mut self, ctx: &Ctx<'_>, _: bool) -> (Leaving, Next) {
        self.go_away(ctx);
        (Leaving::Busy, Next::Wait)
    }

    fn is_closing(&self) -> bool {
        self.is_closing()
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>) {
        self.close(ctx);
    }

    fn describe(&self) -> Inspection {
        let name = self.server().service.route_name(self.route());
        Inspection {
            state: self.state(),
            purpose: name.map(|(_, path)| path),
            paused: self.is_paused(),
            ..Inspection::default()
        }
    }
}
