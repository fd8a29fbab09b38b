//! A WebSocket, as its handler sees it: messages come to a [`WebSocketHandler`], and go through a [`Peer`] during a
//! visit or a [`Sender`] at any other time.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::num::NonZeroU32;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, PoisonError};

use super::batch::{Batch, Place};
use super::limits::Hits;
use super::outbox::{Dropped, Outbox, Put, Terms};
use super::server::Shared;
use super::topics::Membership;
use super::websocket_connection::OnConnection;
use super::websocket_settings::{OutboxPolicy, WebSocketRules, WhenFull};
use super::wire::BY_REFERENCE_BYTES;
use crate::event_loop::{CORK_BYTES, Ctx, Handle, LoopGone, Origin, Panicked, Remote, Token};
use crate::parts::output::Chunk;
use crate::proto::ws::{self, CloseCode, Message, Writer};
#[cfg(feature = "deflate")]
use crate::proto::ws::{Deflate, DeflateVariant, Deflated, PeerError};

/// A message as a server's frame, for one receiver or many: made once for each way in which they want it.
pub(super) struct Frame {
    plain: Rc<[u8]>,
    #[cfg(feature = "deflate")]
    deflated: Vec<(DeflateVariant, Rc<[u8]>)>,
}

impl Frame {
    pub(super) fn of(message: Message<'_>) -> Self {
        Self::from_plain(match message {
            Message::Text(text) => ws::encode_text(text).into(),
            Message::Binary(bytes) => ws::encode_binary(bytes).into(),
        })
    }

    /// A message that is encoded already, as it goes to those who agreed on nothing.
    pub(super) fn from_plain(plain: Rc<[u8]>) -> Self {
        Self {
            plain,
            #[cfg(feature = "deflate")]
            deflated: Vec::new(),
        }
    }

    pub(super) fn plain(&self) -> &Rc<[u8]> {
        &self.plain
    }

    /// As this peer wants it; for one that keeps a context it is compressed when it leaves, see [`PeerShared::chunk`].
    #[cfg(feature = "deflate")]
    fn for_peer(&mut self, peer: &PeerShared) -> Rc<[u8]> {
        let deflate = peer.rules.deflate.as_ref();
        let variant = deflate.and_then(|deflate| deflate.borrow().variant());
        let Some(variant) = variant else {
            return Rc::clone(&self.plain);
        };
        let known = self.deflated.iter().find(|(known, _)| *known == variant);
        if let Some((_, frame)) = known {
            return Rc::clone(frame);
        }
        let compressed = variant.compress(
            &self.plain,
            &mut peer.rules.server.deflate_pool.borrow_mut(),
        );
        let frame = compressed.map_or_else(|| Rc::clone(&self.plain), Rc::from);
        self.deflated.push((variant, Rc::clone(&frame)));
        frame
    }

    #[cfg(not(feature = "deflate"))]
    fn for_peer(&mut self, _: &PeerShared) -> Rc<[u8]> {
        Rc::clone(&self.plain)
    }
}

/// How a frame is to be sent.
#[derive(Clone, Copy, Default)]
pub(super) struct Delivery<'a> {
    /// Instead of the policy of the receiver's route.
    pub(super) policy: Option<&'a OutboxPolicy>,
    /// See [`WhenFull::KeepLatest`].
    pub(super) key: Option<&'a Rc<str>>,
}

/// How a WebSocket ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// The peer closed, with this code and reason; without a code: 1005.
    Peer(CloseCode, String),
    /// We closed, with this code.
    Us(CloseCode),
    /// The connection broke: no close frame came (what the RFC calls 1006).
    Lost,
}

/// A WebSocket's compression, and perhaps that of others.
#[cfg(feature = "deflate")]
pub(super) type SharedDeflate = RefCell<Deflate>;

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendOutcome {
    /// It will be written in this turn.
    Sent,
    /// It waits behind others, for a peer that is slow.
    Queued,
    /// The outbox was full, and the policy is to drop this one.
    Dropped,
    /// The connection is closed or closing; or the outbox was full, and the policy is to close it.
    Closed,
}

/// What gets a WebSocket's messages. One value for each connection, so its fields are the connection's data.
pub trait WebSocketHandler: OnConnection {
    /// The handshake is done.
    fn opened(&mut self, peer: &mut Peer<'_>) {
        let _ = peer;
    }

    /// A message is here.
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>);

    /// A pong is here: the answer to a ping, or unasked for.
    fn pong(&mut self, peer: &mut Peer<'_>, payload: &[u8]) {
        let _ = (peer, payload);
    }

    /// Messages had to wait for the peer, and it has taken all of them.
    fn drained(&mut self, peer: &mut Peer<'_>) {
        let _ = peer;
    }

    /// So much was dropped since this was last said, see [`WhenFull`].
    fn dropped(&mut self, peer: &mut Peer<'_>, dropped: Dropped) {
        let _ = (peer, dropped);
    }

    /// A waker of the source was woken: time to poll what is polled.
    fn woken(&mut self, peer: &mut Peer<'_>) {
        let _ = peer;
    }

    /// Take no more messages now; the socket wakes its source when it can.
    fn is_full(&self) -> bool {
        false
    }

    /// Bytes of messages that it has taken and not handled, as long as it is full.
    fn bytes_held(&self) -> usize {
        0
    }

    /// The server has no room for what it holds, and is about to close the connection: throw it away.
    fn give_up(&mut self) {}

    /// The end, whatever it came from. The connection is in no room any more.
    fn closed(&mut self, ctx: &mut Ctx<'_>, reason: &CloseReason);
}

/// The peer of the message that is being handled: what is sent here leaves with the answer to everything else that came
/// with it, in one write.
pub struct Peer<'a> {
    pub(super) ctx: Ctx<'a>,
    pub(super) server: &'a Rc<Shared>,
    pub(super) outlet: &'a Outlet,
    pub(super) writer: &'a mut Writer,
    pub(super) cork: &'a mut Vec<u8>,
}

impl Peer<'_> {
    /// Send text (`&str`) or bytes (`&[u8]`).
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> SendOutcome {
        if !self.goes_directly() {
            return self.sender().send(message);
        }
        let message = message.into();
        self.server.traffic.sent(1, message.len());
        #[cfg(feature = "deflate")]
        if let Some(deflate) = &self.outlet.rules.deflate {
            let pool = &mut *self.server.deflate_pool.borrow_mut();
            let deflate = &mut *deflate.borrow_mut();
            return match deflate.write(message, self.writer, pool, self.cork) {
                Ok(()) => SendOutcome::Sent,
                Err(_) => SendOutcome::Closed,
            };
        }
        let written = match message {
            Message::Text(text) => self.writer.text(text, self.cork),
            Message::Binary(bytes) => self.writer.binary(bytes, self.cork),
        };
        if written.is_ok() {
            SendOutcome::Sent
        } else {
            SendOutcome::Closed
        }
    }

    /// As [`Peer::send`], with a key, see [`Sender::send_keyed`].
    pub fn send_keyed<'m>(&mut self, key: &str, message: impl Into<Message<'m>>) -> SendOutcome {
        match self.goes_directly() {
            true => self.send(message),
            false => self.sender().send_keyed(key, message),
        }
    }

    /// What waits goes before this; and a handler that sends without end meets the outbox's limit.
    #[inline]
    fn goes_directly(&self) -> bool {
        self.cork.len() <= CORK_BYTES
            && match self.outlet.sender.get() {
                // If nothing may be sent any more, the writer says so.
                None => true,
                Some(sender) => !sender.has_mail() && !sender.is_blocked() && sender.is_open(),
            }
    }

    /// Send a ping of at most 125 bytes. `false` when it is longer, or the connection is closing.
    pub fn ping(&mut self, payload: &[u8]) -> bool {
        self.writer.ping(payload, self.cork).is_ok()
    }

    /// Begin the closing handshake, behind all that was sent. See [`Sender::close`].
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        self.sender().close(code, reason);
    }

    /// The sender, to keep and to clone.
    pub fn sender(&self) -> &Sender {
        self.outlet.sender_for(&self.ctx, !self.writer.is_closed())
    }

    /// Where the route was added that this WebSocket was opened by.
    pub(crate) fn origin(&self) -> Origin {
        self.outlet.rules.origin
    }

    /// A handler that panicked is done with its peer: 1011.
    #[cold]
    pub(super) fn close_after_panic(&mut self, panicked: &Panicked) {
        self.ctx.report(panicked);
        self.close(CloseCode::Error, "the handler panicked");
    }

    /// The loop.
    pub fn ctx(&mut self) -> Ctx<'_> {
        self.ctx.reborrow()
    }
}

/// The connection's end of its senders. There are none before one is asked for: a connection that only answers what it
/// is sent needs none, and there may be very many of those.
pub(super) struct Outlet {
    sender: OnceCell<Sender>,
    pub(super) rules: Rc<WebSocketRules>,
}

impl Outlet {
    pub(super) fn new(rules: Rc<WebSocketRules>) -> Self {
        Self {
            sender: OnceCell::new(),
            rules,
        }
    }

    /// The sender, if somebody has asked for one.
    #[inline]
    pub(super) fn sender(&self) -> Option<&Sender> {
        self.sender.get()
    }

    /// The sender, for the source that is being visited. `is_open`: our close frame is not out.
    pub(super) fn sender_for(&self, ctx: &Ctx<'_>, is_open: bool) -> &Sender {
        self.sender.get_or_init(|| {
            let (handle, rules) = (ctx.handle().clone(), Rc::clone(&self.rules));
            let sender = Sender::new(ctx.token(), handle, rules);
            sender.0.open.set(is_open);
            sender
        })
    }

    /// Nobody has said to close it.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.sender.get().is_none_or(Sender::is_open)
    }

    /// Nothing was sent but by the handler, and nobody waits for anything.
    #[inline]
    pub(super) fn is_calm(&self) -> bool {
        self.sender.get().is_none_or(Sender::is_calm)
    }

    /// Whether there is something to collect.
    #[inline]
    pub(super) fn has_mail(&self) -> bool {
        self.sender.get().is_some_and(Sender::has_mail)
    }

    /// Nothing more is sent: the connection has ended, or is about to.
    pub(super) fn shut(&self) {
        if let Some(sender) = self.sender.get() {
            sender.shut();
        }
    }

    /// Read a message that came compressed, into `out`.
    #[cfg(feature = "deflate")]
    pub(super) fn read_deflated<'o>(
        &self,
        message: Deflated<'_>,
        server: &Shared,
        out: &'o mut Vec<u8>,
    ) -> Result<Message<'o>, PeerError> {
        let deflate = self.rules.deflate.as_ref().expect("it was agreed on");
        deflate.borrow_mut().read(
            message,
            self.rules.messages.message_bytes_max,
            &mut server.deflate_pool.borrow_mut(),
            out,
        )
    }

    /// Bytes held for compression, for this connection alone.
    #[cfg(feature = "deflate")]
    pub(super) fn deflate_bytes_held(&self) -> usize {
        let deflate = self.rules.deflate.as_ref();
        deflate.map_or(0, |deflate| deflate.borrow().bytes_held())
    }
}

/// How far the mail was moved.
pub(super) enum Collected {
    /// There is none left.
    All,
    /// The cork is full.
    Full,
    /// Next is a large frame, to be sent from where it lies.
    Large(Chunk),
}

/// A peer that takes what it gets can take nothing during a turn. What the turn sends to it may be so many times the
/// limit for what waits: enough for a busy room's turn, and an end to a handler that sends without end.
const TURN_TIMES: usize = 16;
/// What is put aside for a peer that takes nothing is counted again each time it has grown by so much.
const COUNTED_BYTES: usize = 16 * 1024;

pub(super) struct PeerShared {
    token: Token,
    handle: Handle,
    rules: Rc<WebSocketRules>,
    mail: RefCell<Mail>,
    /// What the connection could not write yet, as of its last visit.
    backlog: Cell<usize>,
    /// The connection is in the loop's list for this flush, or was, and is blocked; it will look at its mail by itself.
    marked: Cell<Option<NonZeroU32>>,
    open: Cell<bool>,
    /// Somebody waits until all is written.
    is_awaited: Cell<bool>,
    /// It got the message that is being published, see [`Sender::is_reached`].
    reached: Cell<bool>,
    memberships: RefCell<Vec<Membership>>,
    rare: OnceCell<Box<Rare>>,
}

/// What is to be written.
#[derive(Default)]
struct Mail {
    /// What goes first. Most need none.
    outbox: Option<Box<Outbox>>,
    /// What goes then: the rest of a batch.
    place: Option<Place>,
}

impl Mail {
    fn outbox_bytes(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.bytes())
    }

    /// Whether what comes next is in the batch, if anything comes.
    fn is_outbox_empty(&self) -> bool {
        self.outbox_bytes() == 0
    }

    /// Whether it reads a batch to which more may be added.
    fn reads_on(&self) -> bool {
        let place = self.place.as_ref();
        place.is_some_and(|place| place.batch().is_open())
    }

    /// Nothing is here, but more may come in a batch.
    fn has_caught_up(&self) -> bool {
        let place = self.place.as_ref();
        self.is_outbox_empty() && self.reads_on() && place.is_some_and(Place::is_at_end)
    }

    /// What it reads is not for it alone, and from here on it is not as the others.
    fn end_batch(&self) {
        if let Some(place) = &self.place {
            place.batch().end();
        }
    }

    /// Who has so much to write is not as the others.
    fn end_batch_if_full(&self) {
        if let Some(place) = &self.place
            && self.outbox_bytes() > place.batch().bytes_max()
        {
            place.batch().end();
        }
    }
}

/// What few have.
#[derive(Default)]
struct Rare {
    /// What it was closed with, by us.
    close_code: Cell<Option<CloseCode>>,
    /// The reason for that, until it is written behind all that waits.
    close_reason: Cell<Option<Box<str>>>,
    /// What was dropped.
    dropped: Cell<Dropped>,
    /// Of that, what the handler was not told.
    untold: Cell<Dropped>,
    posted: OnceCell<Arc<Mailbox>>,
}

/// What other threads posted; `None` when nobody will come for it any more.
type Mailbox = Mutex<Option<Vec<Posted>>>;

impl PeerShared {
    /// Something is there to be written: the connection is to look at it in this turn, if it can.
    fn mark(&self) {
        if self.marked.get().is_none() {
            self.mark_for(self.handle.next_flush());
        }
    }

    fn mark_for(&self, flush: NonZeroU32) {
        self.marked.set(Some(flush));
        self.handle.mark_dirty(self.token);
    }

    /// The connection is visited, to say so to its handler.
    fn count_dropped(&self, dropped: Dropped) {
        if dropped == Dropped::default() {
            return;
        }
        let rare = self.rare();
        if rare.untold.get() == Dropped::default() {
            self.handle.wake(self.token);
        }
        rare.dropped.set(rare.dropped.get() + dropped);
        rare.untold.set(rare.untold.get() + dropped);
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    /// What is left to be read of a batch goes to the outbox.
    fn move_batch(&self, mail: &mut Mail) {
        let Some(place) = &mut mail.place else { return };
        let when_full = place.batch().policy_for(self.rules.outbox).when_full;
        while let Some(frame) = self.read(place) {
            let outbox = mail.outbox.get_or_insert_default();
            outbox.push(frame, when_full);
        }
    }

    /// The outbox, for what is to be written behind all that is here.
    fn outbox<'m>(&self, mail: &'m mut Mail) -> &'m mut Outbox {
        self.move_batch(mail);
        mail.outbox.get_or_insert_default()
    }

    /// The next message of a batch.
    fn read(&self, place: &mut Place) -> Option<Rc<[u8]>> {
        let mut frame = place.read()?;
        self.rules.server.traffic.sent(1, frame.plain.len());
        Some(frame.for_peer(self))
    }

    /// The next message to be written.
    fn take(&self) -> Option<Rc<[u8]>> {
        let mail = &mut *self.mail.borrow_mut();
        let sent_alone = mail.outbox.as_mut().and_then(|outbox| outbox.take());
        sent_alone.or_else(|| self.read(mail.place.as_mut()?))
    }

    /// Copy what comes next in a batch, if it is to be written as it stands there: as nearly always, and for each
    /// member of a room. Whether that was all there is.
    #[inline]
    fn copy(&self, cork: &mut Vec<u8>, bytes_max: usize) -> bool {
        #[cfg(feature = "deflate")]
        if self.rules.deflate.is_some() {
            return false;
        }
        let mail = &mut *self.mail.borrow_mut();
        let comes_next = mail.is_outbox_empty();
        match &mut mail.place {
            Some(place) if comes_next => {
                let before = cork.len();
                let copied = place.copy(cork, bytes_max, BY_REFERENCE_BYTES);
                self.rules.server.traffic.sent(copied, cork.len() - before);
                place.is_at_end()
            }
            _ => false,
        }
    }

    /// A frame from the outbox, as it is written.
    fn chunk(&self, frame: Rc<[u8]>) -> Chunk {
        #[cfg(feature = "deflate")]
        if let Some(deflate) = &self.rules.deflate {
            let deflate = &mut *deflate.borrow_mut();
            // The others were compressed when they were sent.
            if deflate.variant().is_none()
                && let Some(frame) =
                    deflate.compress(&frame, &mut self.rules.server.deflate_pool.borrow_mut())
            {
                return Chunk::Owned(frame);
            }
        }
        Chunk::Shared(frame)
    }
}

/// Sends to one WebSocket from anywhere on its loop's thread: callbacks, tasks, other connections' handlers. Cheap to
/// clone. What is sent is written in step 7 of the turn, everything of a turn in one write.
#[derive(Clone)]
pub struct Sender(pub(super) Rc<PeerShared>);

impl Sender {
    fn new(token: Token, handle: Handle, rules: Rc<WebSocketRules>) -> Self {
        Self(Rc::new(PeerShared {
            token,
            handle,
            rules,
            mail: RefCell::default(),
            backlog: Cell::new(0),
            marked: Cell::new(None),
            open: Cell::new(true),
            is_awaited: Cell::new(false),
            reached: Cell::new(false),
            memberships: RefCell::default(),
            rare: OnceCell::new(),
        }))
    }

    /// Send text (`&str`) or bytes (`&[u8]`), see [`SendOutcome`] and [`OutboxPolicy`].
    pub fn send<'m>(&self, message: impl Into<Message<'m>>) -> SendOutcome {
        self.send_as(message.into(), &Delivery::default())
    }

    /// As [`Sender::send`], for one of a series of messages of which the peer needs the latest only: a price, a
    /// position, a state. Where the policy is [`WhenFull::KeepLatest`], at most one message with this key waits;
    /// elsewhere the key means nothing.
    pub fn send_keyed<'m>(&self, key: &str, message: impl Into<Message<'m>>) -> SendOutcome {
        let key = (self.0.rules.outbox.when_full == WhenFull::KeepLatest).then(|| Rc::from(key));
        let how = Delivery {
            key: key.as_ref(),
            ..Delivery::default()
        };
        self.send_as(message.into(), &how)
    }

    fn send_as(&self, message: Message<'_>, how: &Delivery<'_>) -> SendOutcome {
        if !self.is_open() {
            return SendOutcome::Closed;
        }
        self.send_frame(&mut Frame::of(message), how)
    }

    /// Send a frame that others may get too.
    pub(super) fn send_frame(&self, frame: &mut Frame, how: &Delivery<'_>) -> SendOutcome {
        let peer = &*self.0;
        if !peer.open.get() {
            return SendOutcome::Closed;
        }
        let policy = how.policy.unwrap_or(&peer.rules.outbox);
        let backlog = peer.backlog.get();
        if backlog == 0 && how.key.is_none() {
            let mail = &mut *peer.mail.borrow_mut();
            let outbox = peer.outbox(mail);
            if outbox.bytes() <= policy.bytes_max {
                // As nearly always.
                outbox.push(frame.for_peer(peer), policy.when_full);
                peer.rules.server.traffic.sent(1, frame.plain.len());
                peer.mark();
                mail.end_batch_if_full();
                return SendOutcome::Sent;
            }
        }
        self.send_by_terms(frame, how.key, policy, backlog)
    }

    /// Send a frame that may have to wait, or takes others' places.
    #[inline(never)]
    fn send_by_terms(
        &self,
        frame: &mut Frame,
        key: Option<&Rc<str>>,
        policy: &OutboxPolicy,
        backlog: usize,
    ) -> SendOutcome {
        let peer = &*self.0;
        let waits = backlog > 0;
        let terms = Terms {
            key,
            when_full: policy.when_full,
            bytes_max: match waits {
                true => policy.bytes_max,
                false => policy.bytes_max.saturating_mul(TURN_TIMES),
            },
            ahead: backlog,
        };
        let mut dropped = Dropped::default();
        let mut mail = peer.mail.borrow_mut();
        let outbox = peer.outbox(&mut mail);
        let before = outbox.bytes();
        let put = outbox.put(|| frame.for_peer(peer), &terms, &mut dropped);
        let after = outbox.bytes();
        mail.end_batch_if_full();
        drop(mail);
        if put == Put::Dropped {
            dropped.count(frame.plain.len());
        }
        if put != Put::Waits {
            Hits::count(&peer.rules.server.hits.outbox_bytes);
        }
        peer.count_dropped(dropped);
        match put {
            Put::Waits | Put::MadeRoom => {
                peer.rules.server.traffic.sent(1, frame.plain.len());
                peer.mark();
            }
            Put::Dropped => return SendOutcome::Dropped,
            Put::Close => {
                self.close(CloseCode::Again, "the outbox is full");
                return SendOutcome::Closed;
            }
        }
        if !waits {
            return SendOutcome::Sent;
        }
        // It is visited when its peer reads on, which may be never: what is held must be counted before.
        if before / COUNTED_BYTES < after / COUNTED_BYTES {
            peer.handle.wake(peer.token);
        }
        SendOutcome::Queued
    }

    /// Have it read a batch: what is published to a group that it is in. `false` when it is to be sent to by itself.
    pub(super) fn read_from(&self, batch: &Rc<Batch>) -> bool {
        let peer = &*self.0;
        let mail = &mut *peer.mail.borrow_mut();
        if !self.is_open() || self.is_blocked() || mail.reads_on() || !batch.is_of(&peer.handle) {
            return false;
        }
        peer.move_batch(mail);
        let bytes_max = batch.policy_for(peer.rules.outbox).bytes_max;
        if mail.outbox_bytes() > bytes_max {
            return false;
        }
        mail.place = Some(Place::in_front(batch, bytes_max));
        let flush = peer.handle.next_flush();
        if peer.marked.get() != Some(flush) {
            peer.mark_for(flush);
        }
        true
    }

    /// What is added to a batch next is not for this one. Whether it would have read it.
    pub(super) fn pass_over(&self, batch: &Rc<Batch>) -> bool {
        let mail = &mut *self.0.mail.borrow_mut();
        let reads = |place: &Place| Rc::ptr_eq(place.batch(), batch);
        if !mail.place.as_ref().is_some_and(reads) {
            return false;
        }
        self.0.move_batch(mail);
        mail.place.as_mut().expect("it reads").pass_over();
        true
    }

    /// Begin the closing handshake, behind all that was sent; nothing more is sent after this. The reason is cut at 123
    /// bytes. A code that may not be sent (RFC 6455, 7.4) becomes 1000.
    pub fn close(&self, code: CloseCode, reason: &str) {
        if !self.0.open.replace(false) {
            return;
        }
        self.0.mail.borrow().end_batch();
        let code = if code.is_allowed() {
            code
        } else {
            CloseCode::Normal
        };
        let rare = self.0.rare();
        rare.close_code.set(Some(code));
        let mut end = reason.len().min(ws::REASON_BYTES_MAX);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        // One that cannot write is not marked again. It is visited all the same, for its time to close runs now.
        if self.0.marked.get().is_some() {
            self.0.handle.wake(self.0.token);
        }
        rare.close_reason.set(Some(reason[..end].into()));
        self.0.mark();
    }

    /// Whether messages can still be sent.
    pub fn is_open(&self) -> bool {
        self.0.open.get()
    }

    /// Bytes that were sent and that the peer has not taken yet.
    pub fn outbox_bytes(&self) -> usize {
        self.0.backlog.get() + self.bytes_waiting()
    }

    /// What was not sent to this peer, since it was connected, because its outbox was full or something newer took its
    /// place.
    pub fn dropped(&self) -> Dropped {
        let rare = self.0.rare.get();
        rare.map(|rare| rare.dropped.get()).unwrap_or_default()
    }

    /// A name for the connection: no other connection of this loop ever has the same.
    pub fn id(&self) -> Token {
        self.0.token
    }

    /// A sender for other threads.
    pub fn remote(&self) -> RemoteSender {
        RemoteSender {
            posted: Arc::clone(self.0.rare().posted.get_or_init(|| {
                let posted = self.is_open().then(Vec::new);
                Arc::new(Mutex::new(posted))
            })),
            remote: self.0.handle.remote(),
            token: self.0.token,
        }
    }

    /// A sender that does not keep what belongs to the connection in memory after its end.
    pub fn downgrade(&self) -> WeakSender {
        WeakSender(Rc::downgrade(&self.0))
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// Where it is in.
    pub(super) fn memberships(&self) -> &RefCell<Vec<Membership>> {
        &self.0.memberships
    }

    /// A mark for who publishes to several groups: none is set between two publishes.
    pub(super) fn is_reached(&self) -> &Cell<bool> {
        &self.0.reached
    }

    /// Nothing more is sent: the connection has ended, or is about to.
    pub(super) fn shut(&self) {
        self.0.open.set(false);
        self.0.mail.take().end_batch();
        let Some(rare) = self.0.rare.get() else {
            return;
        };
        rare.close_reason.set(None);
        if let Some(posted) = rare.posted.get() {
            *posted.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// What it was closed with, if it was closed here.
    pub(super) fn close_code(&self) -> Option<CloseCode> {
        self.0.rare.get()?.close_code.get()
    }

    /// Note what the connection could not write. What others may be dropped for is dropped, if there is too much now: a
    /// turn may send more than may wait.
    pub(super) fn set_backlog(&self, bytes: usize) {
        let peer = &*self.0;
        peer.backlog.set(bytes);
        let OutboxPolicy {
            bytes_max,
            when_full,
        } = peer.rules.outbox;
        let terms = Terms {
            key: None,
            when_full,
            bytes_max,
            ahead: bytes,
        };
        let mut dropped = Dropped::default();
        if bytes > 0 {
            let mail = &mut *peer.mail.borrow_mut();
            mail.end_batch();
            peer.move_batch(mail);
            mail.place = None;
            if let Some(outbox) = &mut mail.outbox {
                outbox.make_room(&terms, &mut dropped);
            }
        }
        peer.count_dropped(dropped);
    }

    /// Nothing was said for long: what is empty gives its memory up.
    pub(super) fn rest(&self) {
        let mail = &mut *self.0.mail.borrow_mut();
        if mail.is_outbox_empty() {
            mail.outbox = None;
        }
    }

    /// Whether messages wait for the peer to take others first.
    pub(super) fn is_blocked(&self) -> bool {
        self.0.backlog.get() > 0
    }

    /// Bytes of messages that wait behind what the connection has begun to write.
    #[inline]
    pub(super) fn bytes_waiting(&self) -> usize {
        let mail = self.0.mail.borrow();
        mail.outbox_bytes() + mail.place.as_ref().map_or(0, Place::bytes)
    }

    /// Nothing waits, and nobody waits for anything.
    #[inline]
    pub(super) fn is_calm(&self) -> bool {
        self.has_no_concern() && !self.has_mail()
    }

    /// Something waits, and nothing else is to be done.
    #[inline]
    pub(super) fn has_only_mail(&self) -> bool {
        self.has_no_concern() && self.has_mail()
    }

    #[inline]
    fn has_no_concern(&self) -> bool {
        let peer = &*self.0;
        peer.open.get()
            && !peer.is_awaited.get()
            && peer.backlog.get() == 0
            && self.untold().is_none()
    }

    /// What was dropped that the handler was not told of, if anything was.
    #[inline]
    pub(super) fn untold(&self) -> Option<Dropped> {
        let untold = self.0.rare.get()?.untold.get();
        (untold != Dropped::default()).then_some(untold)
    }

    /// Have the handler told, with [`WebSocketHandler::drained`], when all is written. Whether it is not yet.
    pub(crate) fn await_drained(&self) -> bool {
        let waits = self.outbox_bytes() > 0;
        self.0.is_awaited.set(waits);
        waits
    }

    /// Whether that was asked for. It is asked for once.
    pub(super) fn take_awaited(&self) -> bool {
        self.0.is_awaited.take()
    }

    /// The handler is told of what was dropped up to now.
    pub(super) fn take_untold(&self) -> Option<Dropped> {
        let untold = self.untold()?;
        self.0.rare().untold.take();
        Some(untold)
    }

    /// Take what other threads posted into the mail.
    pub(super) fn take_posted(&self) {
        let Some(posted) = self.0.rare.get().and_then(|rare| rare.posted.get()) else {
            return;
        };
        let posted = match &mut *posted.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(posted) => std::mem::take(posted),
            None => return,
        };
        for message in posted {
            match message {
                Posted::Text(text) => {
                    self.send(&text);
                }
                Posted::Binary(bytes) => {
                    self.send(&bytes);
                }
                Posted::Close(code, reason) => self.close(code, &reason),
            }
        }
    }

    /// Whether the connection is to look at its mail. One that has written all of a batch need not, before the flush
    /// that it is marked for.
    #[inline]
    pub(super) fn has_mail(&self) -> bool {
        let flush = self.0.marked.get();
        let is_marked_on = flush == Some(self.0.handle.next_flush());
        flush.is_some() && !(is_marked_on && self.0.mail.borrow().has_caught_up())
    }

    /// Move the mail into `cork`, as far as there is room.
    pub(super) fn collect_mail(&self, writer: &mut Writer, cork: &mut Vec<u8>) -> Collected {
        let peer = &*self.0;
        let offered_bytes_max = peer.rules.offered_bytes_max();
        loop {
            if !writer.is_closed() && peer.copy(cork, offered_bytes_max) {
                break;
            }
            if cork.len() >= offered_bytes_max {
                return Collected::Full;
            }
            let Some(frame) = peer.take() else { break };
            if writer.is_closed() {
                continue;
            }
            let chunk = peer.chunk(frame);
            if chunk.as_ref().len() >= BY_REFERENCE_BYTES {
                return Collected::Large(chunk);
            }
            cork.extend_from_slice(chunk.as_ref());
        }
        let mail = &mut *peer.mail.borrow_mut();
        if !mail.reads_on() {
            mail.place = None;
            peer.marked.set(None);
        }
        if let Some(rare) = peer.rare.get()
            && let (Some(code), Some(reason)) = (rare.close_code.get(), rare.close_reason.take())
        {
            // A peer that has closed already was answered already.
            let _ = writer.close(code, &reason, cork);
        }
        Collected::All
    }
}

impl PartialEq for Sender {
    /// Whether both send to the same connection.
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Sender {}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("token", &self.0.token)
            .field("open", &self.is_open())
            .finish_non_exhaustive()
    }
}

/// See [`Sender::downgrade`].
#[derive(Clone, Debug)]
pub struct WeakSender(Weak<PeerShared>);

impl WeakSender {
    /// The sender, if the connection is still there.
    pub fn upgrade(&self) -> Option<Sender> {
        self.0.upgrade().map(Sender)
    }
}

impl fmt::Debug for PeerShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerShared")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

enum Posted {
    Text(String),
    Binary(Vec<u8>),
    Close(CloseCode, String),
}

/// Sends to one WebSocket from any thread. What it sends is queued without limit until the loop's next turn; from
/// there on the limits of [`Sender::send`] hold.
#[derive(Clone)]
pub struct RemoteSender {
    posted: Arc<Mailbox>,
    remote: Remote,
    token: Token,
}

impl RemoteSender {
    /// Send text.
    ///
    /// # Errors
    /// [`LoopGone`] when the loop was dropped. That the connection has gone is not noticed here.
    pub fn send_text(&self, text: impl Into<String>) -> Result<(), LoopGone> {
        self.post(Posted::Text(text.into()))
    }

    /// Send bytes.
    ///
    /// # Errors
    /// As [`RemoteSender::send_text`].
    pub fn send_binary(&self, bytes: impl Into<Vec<u8>>) -> Result<(), LoopGone> {
        self.post(Posted::Binary(bytes.into()))
    }

    /// As [`Sender::close`].
    ///
    /// # Errors
    /// As [`RemoteSender::send_text`].
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), LoopGone> {
        self.post(Posted::Close(code, reason.to_owned()))
    }

    fn post(&self, message: Posted) -> Result<(), LoopGone> {
        if self.remote.is_gone() {
            return Err(LoopGone);
        }
        let first = {
            let mut posted = self.posted.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(posted) = &mut *posted else {
                return Ok(());
            };
            posted.push(message);
            posted.len() == 1
        };
        // Those behind the first are found with it.
        if first {
            self.remote.wake(self.token);
        }
        Ok(())
    }
}

impl fmt::Debug for RemoteSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSender")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sender_shares_is_small() {
        // With its two counts, and the allocator's word, nine times 16 bytes.
        assert_eq!(size_of::<PeerShared>(), 112);
    }
}
