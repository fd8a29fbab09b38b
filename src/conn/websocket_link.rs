//! WebSocket on a connection: the machine's events on one side, the socket's messages on the other, and the mail that
//! others sent in between.

use std::io;
use std::rc::Rc;

use super::connection::{Progress, Visit};
use super::limits::Hits;
use super::server::Shared;
use super::topics;
#[cfg(feature = "deflate")]
use super::websocket::SharedDeflate;
use super::websocket::{CloseReason, Collected, Peer, Sender, WebSocketHandler};
use super::websocket_settings::WebSocketRules;
use crate::event_loop::{Ctx, Origin, Panicked, Readiness, caught, guarded};
use crate::proto::ws::{CloseCode, Endpoint, Message, PeerError, Role, Step};

/// Whether the peer was asked if it is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Probe {
    None,
    /// It is to be asked.
    Due,
    /// It was.
    Sent,
}

pub(super) struct WebSocketLink {
    /// Input that is incomplete.
    pub(super) spill: Vec<u8>,
    endpoint: Endpoint,
    socket: Box<dyn WebSocketHandler>,
    sender: Sender,
    origin: Origin,
    woken: bool,
    probe: Probe,
    /// Set when the end is known.
    reason: Option<CloseReason>,
    /// The peer did not follow the rules; once our close frame is out, nothing more is said or heard.
    refused: bool,
}

impl WebSocketLink {
    /// The handshake is done. The socket hears of it in this very visit.
    pub(super) fn open(
        visit: &mut Visit<'_, '_>,
        socket: Box<dyn WebSocketHandler>,
        origin: Origin,
        rules: Rc<WebSocketRules>,
        #[cfg(feature = "deflate")] deflate: Option<SharedDeflate>,
    ) -> Self {
        let mut endpoint = Endpoint::new(Role::Server);
        #[cfg(feature = "deflate")]
        let may_be_deflated = deflate.is_some();
        #[cfg(not(feature = "deflate"))]
        let may_be_deflated = false;
        if may_be_deflated {
            endpoint.agree_on_deflate();
        }
        let sender = Sender::new(
            visit.ctx.token(),
            visit.ctx.handle().clone(),
            visit.shared.clone(),
            rules,
            #[cfg(feature = "deflate")]
            deflate,
        );
        visit.shared.count_websocket(1);
        let mut link = Self {
            spill: Vec::new(),
            endpoint,
            socket,
            sender,
            origin,
            woken: false,
            probe: Probe::None,
            reason: None,
            refused: false,
        };
        link.tell(visit, |socket, peer| socket.opened(peer));
        link
    }

    /// The source was visited, and why.
    pub(super) fn visited(&mut self, readiness: Readiness) {
        if readiness.contains(Readiness::WOKEN) {
            // At once, and not when it can be written: so that the outbox's limit holds for what is posted, too.
            self.sender.take_posted();
            self.woken = true;
        }
    }

    /// Input through the machine to the socket, what it and others sent to output, until there is nothing to do.
    pub(super) fn step(&mut self, visit: &mut Visit<'_, '_>) -> io::Result<Progress> {
        self.sender.set_backlog(0);
        if std::mem::take(&mut self.woken) {
            self.tell(visit, |socket, peer| socket.woken(peer));
        }
        if self.probe == Probe::Due {
            // To one that is closing none is owed.
            let _ = self.endpoint.split().1.ping(&[], visit.cork);
            self.probe = Probe::Sent;
        }
        loop {
            let has_left = !self.sender.has_mail() || self.collect_mail(visit)?;
            if !has_left || !visit.make_room()? {
                return Ok(Progress::Paused);
            }
            if self.refused || self.endpoint.is_over() {
                // RFC 6455, 7.1.1: the server is the one to close first. Lingering lets the peer read our close frame.
                return Ok(Progress::Over {
                    linger: self.refused,
                });
            }
            if visit.steps_left == 0 {
                return Ok(Progress::Again);
            }
            if self.socket.is_full() {
                return Ok(Progress::Paused);
            }
            // Nothing to read, and no message whose memory is to be given up: as behind nearly every message.
            let is_at_rest = visit.input.is_empty() && self.endpoint.bytes_held() == 0;
            if is_at_rest || !self.next(visit) {
                return Ok(Progress::NeedInput);
            }
            visit.steps_left -= 1;
        }
    }

    /// The next thing that the peer has said. Whether there was one.
    fn next(&mut self, visit: &mut Visit<'_, '_>) -> bool {
        let (reader, writer) = self.endpoint.split();
        let limits = &self.sender.rules().messages;
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
        let origin = self.origin;
        visit.ctx.begin_handler(|| origin);
        let mut peer = Peer {
            ctx: visit.ctx.reborrow(),
            sender: &self.sender,
            writer,
            cork: visit.cork,
            origin,
        };
        let socket = &mut self.socket;
        // A close that was asked for is on its way: what the peer sent before it heard of it is not delivered.
        let is_open = self.sender.is_open();
        let told = match step {
            Step::Text(_) | Step::Binary(_) | Step::Deflated(_) | Step::Pong(_) if !is_open => {
                Ok(())
            }

            Step::Text(text) => caught(|| socket.message(&mut peer, Message::Text(text))),
            Step::Binary(bytes) => caught(|| socket.message(&mut peer, Message::Binary(bytes))),
            #[cfg(feature = "deflate")]
            Step::Deflated(message) => {
                // Lent, for the handler may send, and then others compress.
                let mut buffer = visit.shared.deflate_pool.borrow_mut().take_buffer();
                let told = match self.sender.read_deflated(message, &mut buffer) {
                    Ok(message) => caught(|| socket.message(&mut peer, message)),
                    Err(error) => {
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
                // After our close frame nothing is owed (RFC 6455, 5.5.1).
                let _ = peer.writer.pong(payload, peer.cork);
                Ok(())
            }
            Step::Close(close) => {
                let code = close.map(|(code, _)| code);
                let _ = peer.writer.close_reply(code, peer.cork);
                if self.reason.is_none() {
                    let text = close.map_or_else(String::new, |(_, reason)| reason.to_owned());
                    self.reason = Some(CloseReason::Peer(code.unwrap_or(CloseCode::Status), text));
                }
                self.sender.shut();
                Ok(())
            }
            Step::NeedMore => unreachable!("seen to just above"),
        };
        visit.ctx.end_handler(|| origin);
        visit.input.use_up(used);
        if let Err(caught) = told {
            self.close_after_panic(visit, &caught.blame(self.origin));
        }
        true
    }

    /// Have the socket told something that the peer did not say.
    fn tell(
        &mut self,
        visit: &mut Visit<'_, '_>,
        tell: impl FnOnce(&mut dyn WebSocketHandler, &mut Peer<'_>),
    ) {
        let (_, writer) = self.endpoint.split();
        let mut peer = Peer {
            ctx: visit.ctx.reborrow(),
            sender: &self.sender,
            writer,
            cork: visit.cork,
            origin: self.origin,
        };
        let socket = &mut *self.socket;
        if let Err(panicked) = guarded(self.origin, || tell(socket, &mut peer)) {
            self.close_after_panic(visit, &panicked);
        }
    }

    /// A handler that panicked is done with its peer: 1011.
    #[cold]
    fn close_after_panic(&self, visit: &mut Visit<'_, '_>, panicked: &Panicked) {
        visit.ctx.report(panicked);
        self.sender.close(CloseCode::Error, "the handler panicked");
    }

    /// Write what others sent. Whether all of it could be.
    fn collect_mail(&mut self, visit: &mut Visit<'_, '_>) -> io::Result<bool> {
        let (_, writer) = self.endpoint.split();
        loop {
            match self.sender.collect_mail(writer, visit.cork) {
                Collected::All => break,
                Collected::Full => visit.flush()?,
                Collected::Large(frame) => visit.wire.flush_with(visit.ctx, visit.cork, frame)?,
            };
            if visit.wire.is_blocked() {
                return Ok(false);
            }
        }
        if writer.is_closed() && self.reason.is_none() {
            self.reason = self.sender.close_code().map(CloseReason::Us);
        }
        Ok(true)
    }

    fn refuse(&mut self, visit: &mut Visit<'_, '_>, error: PeerError) {
        Hits::count(&visit.shared.hits.refused_messages);
        visit.input.clear();
        let (_, writer) = self.endpoint.split();
        let _ = writer.close(error.close_code(), error.reason(), visit.cork);
        self.reason = Some(CloseReason::Us(error.close_code()));
        self.refused = true;
        self.sender.shut();
    }

    /// Without input there is nothing to do.
    pub(super) fn only_reads(&self) -> bool {
        !self.woken
            && self.probe != Probe::Due
            && !self.sender.has_mail()
            && !self.refused
            && self.endpoint.is_open()
    }

    /// Both sides go on, neither waits for the other, and nothing is held.
    pub(super) fn is_at_rest(&self) -> bool {
        self.probe == Probe::None && self.only_reads() && self.bytes_held() == 0
    }

    /// The peer will send no more.
    pub(super) fn ended(&mut self) {
        self.endpoint.eof();
        self.refused = true;
    }

    /// Note what could not be written, at the end of a visit.
    pub(super) fn set_backlog(&self, bytes: usize) {
        self.sender.set_backlog(bytes);
    }

    /// The peer has been silent for long: ask whether it is there, at the next step.
    pub(super) fn ping(&mut self) {
        self.probe = Probe::Due;
    }

    /// The peer has said something, whatever it was.
    pub(super) fn heard(&mut self) {
        self.probe = Probe::None;
    }

    pub(super) fn rules(&self) -> &WebSocketRules {
        self.sender.rules()
    }

    pub(super) fn awaits_pong(&self) -> bool {
        self.probe == Probe::Sent
    }

    /// The server is shutting down (RFC 6455, 7.4.1: 1001).
    pub(super) fn go_away(&self) {
        self.sender
            .close(CloseCode::Away, "the server is going away");
    }

    /// Our close frame is out, or about to be, and the peer's is not here.
    pub(super) fn is_closing(&self) -> bool {
        !self.sender.is_open()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.socket.is_full()
    }

    pub(super) fn bytes_held(&self) -> usize {
        let held =
            self.endpoint.bytes_held() + self.sender.outbox_bytes() + self.socket.bytes_held();
        #[cfg(feature = "deflate")]
        let held = held + self.sender.deflate_bytes_held();
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
    pub(super) fn closed(mut self, ctx: &mut Ctx<'_>, shared: &Shared) {
        self.sender.shut();
        topics::leave_all(&self.sender);
        shared.count_websocket(-1);
        let reason = self.reason.take().unwrap_or(CloseReason::Lost);
        if let Err(panicked) = guarded(self.origin, || self.socket.closed(ctx, &reason)) {
            ctx.report(&panicked);
        }
    }
}
