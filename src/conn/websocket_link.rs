//! WebSocket on a connection: the machine's events on one side, the socket's messages on the other, and the mail that
//! others sent in between.

use std::io;
use std::rc::Rc;

use super::connection::{Due, Progress, STEPS_MAX, Turn, Visit};
use super::deadline::NEVER;
use super::limits::Hits;
use super::server::Shared;
use super::topics;
use super::websocket::{CloseReason, Collected, Outlet, Peer, Sender, WebSocketHandler};
use super::websocket_settings::{WebSocketRules, spread};
use crate::event_loop::{CORK_BYTES, Caught, Ctx, Readiness, caught, guarded};
use crate::proto::ws::{CloseCode, Endpoint, Link, Message, PeerError, Role, Step, short_message};

/// Pings of one visit that are answered each. Of what comes beyond them only the newest is: who sends pings as fast as
/// may be gets no flood of pongs for it (RFC 6455, 5.5.3). Those that come one by one, or a few together, all have
/// their pongs; Autobahn's case 2.10 counts on that for ten.
pub(super) const PONGS_MAX: u32 = 16;

/// What keeps a WebSocket from being calm, each a bit: all are asked for at once on every visit.
#[derive(Clone, Copy, Default)]
struct Concerns(u8);

impl Concerns {
    const WOKEN: u8 = 1;
    /// The peer did not take everything at once, and the socket is to hear when it has.
    const BEHIND: u8 = 2;
    /// The peer did not follow the rules; once our close frame is out, nothing more is said or heard.
    const REFUSED: u8 = 4;
    /// The peer is to be asked if it is there.
    const PING_DUE: u8 = 8;
    /// It was.
    const PING_SENT: u8 = 16;

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn has(self, concerns: u8) -> bool {
        self.0 & concerns != 0
    }

    fn add(&mut self, concern: u8) {
        self.0 |= concern;
    }

    /// Whether any of them was there, which none is any more.
    fn take(&mut self, concerns: u8) -> bool {
        let had = self.has(concerns);
        self.0 &= !concerns;
        had
    }
}

pub(super) struct WebSocketLink<H: ?Sized = dyn WebSocketHandler> {
    endpoint: Endpoint,
    outlet: Outlet,
    /// What most do not have.
    extra: Option<Box<Extra>>,
    /// When it last sent something, or began to be silent: the tick's lower half.
    heard: u32,
    concerns: Concerns,
    /// Behind all else, in the same piece of memory, whatever its size.
    socket: H,
}

/// What was heard on the short way.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) bytes: usize,
    pub(super) messages: u32,
    /// There was something, nothing of it is left, and all is calm still.
    pub(super) is_all: bool,
    /// It is not calm any more.
    is_disturbed: bool,
    /// The last message was none.
    error: Option<PeerError>,
}

/// What a WebSocket has at times, or by the rules of its route.
#[derive(Default)]
struct Extra {
    /// Input that is incomplete.
    spill: Vec<u8>,
    /// Set when the end is known.
    reason: Option<CloseReason>,
    ages: Option<Ages>,
}

/// Of a WebSocket that may end for no other reason than time, in ticks.
struct Ages {
    /// When the last message came or went.
    last_message: u64,
    /// How long after that it ends.
    idle_timeout: u64,
    /// When it is too old.
    too_old: u64,
    /// The deadline of what it does, which comes before its end or behind.
    deadline: u64,
}

impl<H: WebSocketHandler> WebSocketLink<H> {
    /// The handshake is done, and the socket does not know yet.
    pub(super) fn new(socket: H, rules: Rc<WebSocketRules>, ctx: &Ctx<'_>, place: u32) -> Self {
        #[cfg_attr(
            not(feature = "deflate"),
            expect(unused_mut, reason = "nothing to agree on")
        )]
        let mut endpoint = Endpoint::new(Role::Server);
        #[cfg(feature = "deflate")]
        if rules.deflate.is_some() {
            endpoint.agree_on_deflate();
        }
        rules.server.count_websocket(1);
        rules.server.traffic.opened();
        let extra = rules.has_an_end().then(|| {
            let ages = Ages {
                last_message: ctx.tick(),
                idle_timeout: spread(rules.idle_timeout, place),
                too_old: ctx.tick() + spread(rules.lifetime_max, place),
                deadline: NEVER,
            };
            Box::new(Extra {
                ages: Some(ages),
                ..Extra::default()
            })
        });
        Self {
            endpoint,
            outlet: Outlet::new(rules),
            extra,
            heard: ctx.tick() as u32,
            concerns: Concerns::default(),
            socket,
        }
    }
}

impl<H: WebSocketHandler + ?Sized> WebSocketLink<H> {
    pub(super) fn server(&self) -> &Rc<Shared> {
        &self.outlet.rules.server
    }

    /// The source was visited, and why.
    pub(super) fn note(&mut self, readiness: Readiness) {
        if readiness.contains(Readiness::WOKEN) {
            // At once, and not when it can be written: so that the outbox's limit holds for what is posted, too.
            if let Some(sender) = self.outlet.sender() {
                sender.take_posted();
            }
            self.concerns.add(Concerns::WOKEN);
        }
    }

    /// Tell the socket what was dropped, also while its peer takes nothing.
    #[inline]
    pub(super) fn tell_dropped(&mut self, visit: &mut Visit<'_, '_>) {
        let sender = self.outlet.sender();
        if let Some(dropped) = sender.and_then(Sender::take_untold) {
            self.tell(visit, |socket, peer| socket.dropped(peer, dropped));
        }
    }

    /// Input through the machine to the socket, what it and others sent to output, until there is nothing to do.
    pub(super) fn speak(&mut self, visit: &mut Visit<'_, '_>) -> io::Result<Progress> {
        if let Some(sender) = self.outlet.sender() {
            sender.set_backlog(0);
        }
        if self.concerns.take(Concerns::WOKEN) {
            self.tell(visit, |socket, peer| socket.woken(peer));
        }
        if self.concerns.take(Concerns::PING_DUE) {
            // To one that is closing none is owed.
            let _ = self.endpoint.writer().ping(&[], visit.cork);
            self.concerns.add(Concerns::PING_SENT);
        }
        let progress = self.exchange(visit);
        if let Some(ping) = visit.newest_ping.take() {
            let writer = self.endpoint.writer();
            // As in `next`.
            let _ = writer.pong(visit.input.at(ping), visit.cork);
        }
        progress
    }

    /// Short messages from the front of `input` to the socket, one after the other, as long as all is calm, which it is
    /// at the beginning.
    #[inline(always)]
    pub(super) fn hear_short(
        &mut self,
        ctx: &mut Ctx<'_>,
        input: &mut [u8],
        cork: &mut Vec<u8>,
    ) -> Heard {
        let rules = &*self.outlet.rules;
        let mut peer = Peer {
            ctx: ctx.reborrow(),
            server: &rules.server,
            outlet: &self.outlet,
            writer: self.endpoint.writer(),
            cork,
        };
        // Asked once for all.
        let is_watched = peer.ctx.looks_closely();
        let mut heard = Heard::default();
        loop {
            let rest = &mut input[heard.bytes..];
            let Some((used, message)) = short_message(rest, &rules.messages) else {
                break;
            };
            heard.bytes += used;
            heard.messages += 1;
            let message = match message {
                Ok(message) => message,
                Err(error) => {
                    heard.error = Some(error);
                    break;
                }
            };
            if let Some(ages) = Ages::of(&mut self.extra) {
                ages.last_message = peer.ctx.tick();
            }
            if is_watched {
                peer.ctx.begin_handler(|| rules.origin);
            }
            let told = hand_over(&mut self.socket, &mut peer, message);
            if is_watched {
                peer.ctx.end_handler(|| rules.origin);
            }
            if let Err(caught) = told {
                peer.close_after_panic(&caught.blame(rules.origin));
            }
            // All that a handler can do to its connection.
            if !self.outlet.is_calm() || self.socket.is_full() {
                heard.is_disturbed = true;
                break;
            }
            if heard.bytes == input.len() {
                heard.is_all = true;
                break;
            }
            if heard.messages == STEPS_MAX || peer.cork.len() >= CORK_BYTES {
                break;
            }
        }
        heard
    }

    /// What was not heard `before`, as long as it is whole messages and all is calm. Whether that was all, and all is
    /// calm still; if not, [`WebSocketLink::speak`] goes on.
    pub(super) fn hear(&mut self, visit: &mut Visit<'_, '_>, before: Heard) -> bool {
        if let Some(error) = before.error {
            self.endpoint.eof();
            self.refuse(visit, error);
        }
        if before.is_disturbed || before.error.is_some() {
            return false;
        }
        while !visit.input.is_empty() {
            if visit.steps_left == 0 || visit.cork.len() >= CORK_BYTES || !self.next(visit) {
                return false;
            }
            visit.steps_left -= 1;
            if !self.is_calm() || self.socket.is_full() {
                return false;
            }
        }
        visit.newest_ping.is_none()
    }

    fn exchange(&mut self, visit: &mut Visit<'_, '_>) -> io::Result<Progress> {
        loop {
            let has_left = !self.outlet.has_mail() || self.collect_mail(visit)?;
            if !has_left || !visit.make_room()? {
                return Ok(Progress::Paused);
            }
            if self.concerns.has(Concerns::BEHIND) && !self.catch_up(visit)? {
                return Ok(Progress::Paused);
            }
            let is_refused = self.concerns.has(Concerns::REFUSED);
            if is_refused || self.endpoint.is_over() {
                // RFC 6455, 7.1.1: the server is the one to close first. Lingering lets the peer read our close frame.
                return Ok(Progress::Turn(Turn::Over { linger: is_refused }));
            }
            if visit.steps_left == 0 {
                return Ok(Progress::Again);
            }
            if self.socket.is_full() {
                return Ok(Progress::Paused);
            }
            // Nothing to read, and no message whose memory is to be given up: as behind nearly every message.
            let is_done = visit.input.is_empty() && self.endpoint.bytes_held() == 0;
            if is_done || !self.next(visit) {
                return Ok(Progress::NeedInput);
            }
            visit.steps_left -= 1;
        }
    }

    /// The next thing that the peer has said. Whether there was one.
    #[inline(never)]
    fn next(&mut self, visit: &mut Visit<'_, '_>) -> bool {
        let (reader, writer) = self.endpoint.split();
        let limits = &self.outlet.rules.messages;
        let start = visit.input.range().start;
        let (used, step) = match reader.next(visit.input.bytes_mut(), limits) {
            Ok((used, Step::NeedMore)) => {
                visit.input.use_up(used);
                return false;
            }
            Ok(said) => said,
            Err(error) => {
                self.refuse(visit, error);
                return true;
            }
        };
        let end = start + used;
        let origin = self.outlet.rules.origin;
        if let Step::Text(_) | Step::Binary(_) | Step::Deflated(_) = step
            && let Some(ages) = Ages::of(&mut self.extra)
        {
            ages.last_message = visit.ctx.tick();
        }
        visit.ctx.begin_handler(|| origin);
        let mut peer = Peer {
            ctx: visit.ctx.reborrow(),
            server: visit.shared,
            outlet: &self.outlet,
            writer,
            cork: visit.cork,
        };
        let socket = &mut self.socket;
        // A close that was asked for is on its way: what the peer sent before it heard of it is not delivered.
        let is_open = !peer.writer.is_closed() && self.outlet.is_open();
        let told = match step {
            Step::Text(_) | Step::Binary(_) | Step::Deflated(_) | Step::Pong(_) if !is_open => {
                Ok(())
            }

            Step::Text(text) => hand_over(socket, &mut peer, Message::Text(text)),
            Step::Binary(bytes) => hand_over(socket, &mut peer, Message::Binary(bytes)),
            #[cfg(feature = "deflate")]
            Step::Deflated(message) => {
                visit.shared.traffic.came(message.payload().len());
                // Lent, for the handler may send, and then others compress.
                let mut buffer = visit.shared.deflate_pool.borrow_mut().take_buffer();
                let read = self
                    .outlet
                    .read_deflated(message, visit.shared, &mut buffer);
                let told = match read {
                    Ok(message) => caught(|| socket.message(&mut peer, message)),
                    Err(error) => {
                        visit.ctx.end_handler(|| origin);
                        self.refuse(visit, error);
                        return true;
                    }
                };
                visit.shared.deflate_pool.borrow_mut().put_back(buffer);
                told
            }
            #[cfg(not(feature = "deflate"))]
            Step::Deflated(_) => unreachable!("it was not agreed on"),
            Step::Pong(payload) => caught(|| socket.pong(&mut peer, payload)),
            Step::Ping(payload) => {
                match visit.pongs_left.checked_sub(1) {
                    Some(left) => {
                        visit.pongs_left = left;
                        // After our close frame nothing is owed (RFC 6455, 5.5.1).
                        let _ = peer.writer.pong(payload, peer.cork);
                    }
                    None => visit.newest_ping = Some(end - payload.len()..end),
                }
                Ok(())
            }
            Step::Close(close) => {
                let code = close.map(|(code, _)| code);
                let _ = peer.writer.close_reply(code, peer.cork);
                let reason = &mut self.extra.get_or_insert_default().reason;
                reason.get_or_insert_with(|| {
                    let text = close.map_or_else(String::new, |(_, reason)| reason.to_owned());
                    CloseReason::Peer(code.unwrap_or(CloseCode::Status), text)
                });
                self.outlet.shut();
                Ok(())
            }
            Step::NeedMore => unreachable!("seen to just above"),
        };
        peer.ctx.end_handler(|| origin);
        if let Err(caught) = told {
            peer.close_after_panic(&caught.blame(origin));
        }
        visit.input.use_up(used);
        true
    }

    /// Have the socket told something that the peer did not say.
    pub(super) fn tell(
        &mut self,
        visit: &mut Visit<'_, '_>,
        tell: impl FnOnce(&mut H, &mut Peer<'_>),
    ) {
        let writer = self.endpoint.writer();
        let written = visit.cork.len();
        let mut peer = Peer {
            ctx: visit.ctx.reborrow(),
            server: visit.shared,
            outlet: &self.outlet,
            writer,
            cork: visit.cork,
        };
        let socket = &mut self.socket;
        if let Err(panicked) = guarded(self.outlet.rules.origin, || tell(socket, &mut peer)) {
            peer.close_after_panic(&panicked);
        }
        if visit.cork.len() > written
            && let Some(ages) = Ages::of(&mut self.extra)
        {
            ages.last_message = visit.ctx.tick();
        }
    }

    /// Write what others sent. Whether all of it could be.
    pub(super) fn collect_mail(&mut self, visit: &mut Visit<'_, '_>) -> io::Result<bool> {
        let Some(sender) = self.outlet.sender() else {
            return Ok(true);
        };
        if sender.take_awaited() {
            self.concerns.add(Concerns::BEHIND);
        }
        if let Some(ages) = Ages::of(&mut self.extra)
            && sender.bytes_waiting() > 0
        {
            ages.last_message = visit.ctx.tick();
        }
        let writer = self.endpoint.writer();
        loop {
            match sender.collect_mail(writer, visit.cork) {
                Collected::All => break,
                Collected::Full => visit.flush()?,
                Collected::Large(frame) => visit.wire.flush_with(visit.ctx, visit.cork, frame)?,
            };
            if visit.wire.is_blocked() {
                return Ok(false);
            }
        }
        if writer.is_closed()
            && let Some(code) = sender.close_code()
        {
            let reason = &mut self.extra.get_or_insert_default().reason;
            reason.get_or_insert(CloseReason::Us(code));
        }
        Ok(true)
    }

    /// Nothing waits any more but what is in the cork. When that has gone, too, the socket is told. Whether it has.
    #[cold]
    fn catch_up(&mut self, visit: &mut Visit<'_, '_>) -> io::Result<bool> {
        visit.flush()?;
        if visit.wire.is_blocked() {
            return Ok(false);
        }
        self.concerns.take(Concerns::BEHIND);
        if let Some(sender) = self.outlet.sender() {
            sender.take_awaited();
        }
        if !self.is_closing() {
            self.tell(visit, |socket, peer| socket.drained(peer));
        }
        Ok(true)
    }

    #[cold]
    fn refuse(&mut self, visit: &mut Visit<'_, '_>, error: PeerError) {
        Hits::count(&visit.shared.hits.refused_messages);
        visit.input.clear();
        let writer = self.endpoint.writer();
        let _ = writer.close(error.close_code(), error.reason(), visit.cork);
        let extra = self.extra.get_or_insert_default();
        extra.reason = Some(CloseReason::Us(error.close_code()));
        self.concerns.add(Concerns::REFUSED);
        self.outlet.shut();
    }

    /// Without input there is nothing to do.
    pub(super) fn only_reads(&self) -> bool {
        const ALL_BUT_PING_SENT: u8 = !Concerns::PING_SENT;
        !self.concerns.has(ALL_BUT_PING_SENT) && !self.outlet.has_mail() && self.endpoint.is_open()
    }

    /// Nothing is left from the last visit, nobody wants anything, and the peer is believed to be there: there is
    /// nothing to do but to read.
    #[inline]
    pub(super) fn is_calm(&self) -> bool {
        self.has_no_concern() && self.outlet.is_calm()
    }

    /// All is as if it were calm, but that others have sent something.
    #[inline]
    pub(super) fn has_only_mail(&self) -> bool {
        self.has_no_concern() && self.outlet.sender().is_some_and(Sender::has_only_mail)
    }

    #[inline]
    fn has_no_concern(&self) -> bool {
        self.concerns.is_empty()
            && self.endpoint.is_at_rest()
            && self.extra.as_ref().is_none_or(|extra| extra.is_calm())
    }

    /// Keep input that is incomplete.
    pub(super) fn keep_spill(&mut self, input: &[u8]) {
        if !input.is_empty() {
            let extra = self.extra.get_or_insert_default();
            extra.spill.extend_from_slice(input);
        }
    }

    pub(super) fn take_spill(&mut self) -> Vec<u8> {
        let Some(extra) = &mut self.extra else {
            return Vec::new();
        };
        let spill = std::mem::take(&mut extra.spill);
        if extra.reason.is_none() && extra.ages.is_none() {
            self.extra = None;
        }
        spill
    }

    /// The peer will send no more.
    pub(super) fn end(&mut self) {
        self.endpoint.eof();
        self.concerns.add(Concerns::REFUSED);
    }

    /// Note what could not be written, at the end of a visit.
    pub(super) fn set_backlog(&mut self, bytes: usize) {
        if bytes > 0 {
            self.concerns.add(Concerns::BEHIND);
        }
        if let Some(sender) = self.outlet.sender() {
            sender.set_backlog(bytes);
        }
    }

    /// What the connection does has a deadline, or [`NEVER`]. When it is to look: at that, or at its own end if that is
    /// earlier.
    #[inline]
    pub(super) fn look_at(&mut self, deadline: u64) -> u64 {
        let Some(ages) = Ages::of(&mut self.extra) else {
            return deadline;
        };
        ages.deadline = deadline;
        deadline.min(ages.end().0)
    }

    /// The peer has sent something, and all is as it was: it may be silent anew. To note that is all that is done while
    /// messages come and go; what comes of it is seen to when the connection looks.
    #[inline]
    pub(super) fn was_heard(&mut self, ctx: &Ctx<'_>) {
        self.heard = ctx.tick() as u32;
    }

    /// The end of its silence, which was to be `at` when that was noted last.
    fn quiet_until(&self, at: u64, place: u32) -> u64 {
        let began = at.saturating_sub(self.ping_after(place) + 1);
        at.saturating_add(self.heard.wrapping_sub(began as u32).into())
    }

    fn ages(&self) -> Option<&Ages> {
        self.extra.as_ref()?.ages.as_ref()
    }

    /// When it is to look, which was to be `at`.
    pub(super) fn looks_at(&self, at: u64, is_quiet: bool, place: u32) -> u64 {
        match self.ages() {
            _ if !is_quiet => at,
            None => self.quiet_until(at, place),
            Some(ages) => self.quiet_until(ages.deadline, place).min(ages.end().0),
        }
    }

    /// The connection has come to look, and begins to close if its end is here.
    pub(super) fn look(&mut self, ctx: &Ctx<'_>, is_quiet: bool, place: u32) -> Due {
        if self.is_closing() {
            return Due::Deadline;
        }
        let Some(ages) = self.ages() else {
            return Due::Deadline;
        };
        let now = ctx.tick();
        let deadline = match is_quiet {
            true => self.quiet_until(ages.deadline, place),
            false => ages.deadline,
        };
        let (end, due) = ages.end();
        if end <= now {
            let why = match due {
                Due::Old => "it was open for long enough",
                _ => "no message for too long",
            };
            self.sender(ctx).close(CloseCode::Away, why);
            return due;
        }
        match deadline <= now {
            true => Due::Deadline,
            // Messages have moved its end behind where it was.
            false => Due::Later(deadline.min(end)),
        }
    }

    /// The peer has been silent for long: ask whether it is there, at the next step.
    pub(super) fn ping(&mut self) {
        self.concerns.take(Concerns::PING_SENT);
        self.concerns.add(Concerns::PING_DUE);
        self.outlet.sender().into_iter().for_each(Sender::rest);
    }

    /// The peer has said something, whatever it was.
    pub(super) fn answered(&mut self) {
        self.concerns.take(Concerns::PING_DUE | Concerns::PING_SENT);
    }

    pub(super) fn route(&self) -> u32 {
        self.outlet.rules.route
    }

    /// How long the peer may be silent before it is asked whether it is there, in ticks.
    pub(super) fn ping_after(&self, place: u32) -> u64 {
        spread(self.outlet.rules.ping_after, place)
    }

    /// How long it may be silent then.
    pub(super) fn pong_timeout(&self) -> u64 {
        self.outlet.rules.pong_timeout
    }

    pub(super) fn awaits_pong(&self) -> bool {
        self.concerns.has(Concerns::PING_SENT)
    }

    /// The server is shutting down (RFC 6455, 7.4.1: 1001).
    pub(super) fn go_away(&self, ctx: &Ctx<'_>) {
        let sender = self.sender(ctx);
        sender.close(CloseCode::Away, "the server is going away");
    }

    fn sender(&self, ctx: &Ctx<'_>) -> &Sender {
        self.outlet.sender_for(ctx, !self.has_said_close())
    }

    fn has_said_close(&self) -> bool {
        matches!(self.endpoint.link(), Link::WeClosed | Link::Over)
    }

    /// Our close frame is out, or about to be, and the peer's is not here.
    pub(super) fn is_closing(&self) -> bool {
        !self.outlet.is_open() || self.has_said_close()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.socket.is_full()
    }

    /// But for what the connection has begun to write.
    pub(super) fn bytes_held(&self) -> usize {
        let spill = self
            .extra
            .as_ref()
            .map_or(0, |extra| extra.spill.capacity());
        let waiting = self.outlet.sender().map_or(0, Sender::bytes_waiting);
        let held = self.endpoint.bytes_held() + spill + waiting + self.socket.bytes_held();
        #[cfg(feature = "deflate")]
        let held = held + self.outlet.deflate_bytes_held();
        held
    }

    /// It holds more than can be spared.
    pub(super) fn give_up(&mut self) {
        self.socket.give_up();
    }

    pub(super) fn state(&self) -> &'static str {
        if self.is_closing() { "closing" } else { "open" }
    }

    /// The connection has gone.
    pub(super) fn close(&mut self, ctx: &mut Ctx<'_>) {
        self.outlet.shut();
        if let Some(sender) = self.outlet.sender() {
            topics::leave_all(sender);
        }
        let shared = &self.outlet.rules.server;
        shared.count_websocket(-1);
        let reason = self.extra.take().and_then(|extra| extra.reason);
        let reason = reason.unwrap_or(CloseReason::Lost);
        shared.traffic.closed(match &reason {
            CloseReason::Peer(code, _) | CloseReason::Us(code) => (*code).into(),
            CloseReason::Lost => CloseCode::Abnormal.into(),
        });
        crate::event!(debug, "WebSocket {} closed: {reason:?}", ctx.token());
        let origin = self.outlet.rules.origin;
        if let Err(panicked) = guarded(origin, || self.socket.closed(ctx, &reason)) {
            ctx.report(&panicked);
        }
    }
}

/// Have the socket hear a message.
#[inline(always)]
fn hand_over<H: WebSocketHandler + ?Sized>(
    socket: &mut H,
    peer: &mut Peer<'_>,
    message: Message<'_>,
) -> Result<(), Caught> {
    peer.server.traffic.came(message.len());
    caught(|| socket.message(peer, message))
}

impl Extra {
    /// Nothing is here but what is on nearly every visit.
    fn is_calm(&self) -> bool {
        self.spill.is_empty() && self.reason.is_none()
    }
}

impl Ages {
    /// Those of the WebSocket whose `extra` this is, if it has any.
    #[inline]
    fn of(extra: &mut Option<Box<Extra>>) -> Option<&mut Self> {
        extra.as_mut()?.ages.as_mut()
    }

    /// When it ends if nothing happens, and why.
    fn end(&self) -> (u64, Due) {
        let idle = self.last_message.saturating_add(self.idle_timeout);
        match idle < self.too_old {
            true => (idle, Due::Idle),
            false => (self.too_old, Due::Old),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_at_rest_is_six_words_beside_its_handler() {
        // With a connection's six, a handler of one and the allocator's own, seven times 16 bytes.
        assert_eq!(size_of::<WebSocketLink<[u64; 0]>>(), 48);
    }
}
