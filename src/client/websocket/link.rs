//! What the users of a WebSocket and its pump share: the machine, what is to be sent, and what has come.
//!
//! The cell below is borrowed and released inside one method each, and no waker is called meanwhile.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use super::{CloseFrame, WebSocketBuilder, WebSocketError};
use crate::event_loop::{Detail, waits_on};
use crate::proto::ws::{
    self, CloseCode, Endpoint, MaskKeys, Message, Misuse, Opened, OwnedMessage, PeerError, Role,
    Step, WsLimits,
};
#[cfg(feature = "deflate")]
use crate::proto::ws::{Deflate, DeflatePool, Deflated, Writer};
use crate::task::coop;

/// Messages that wait for whoever reads before the stream is read no further.
const INBOX_MESSAGES_MAX: usize = 64;
/// The same in bytes; the message that goes beyond is still taken.
const INBOX_BYTES_MAX: usize = 64 * 1024;

/// The compressors of all connections of a builder.
#[cfg(feature = "deflate")]
#[derive(Clone, Default, Debug)]
pub(super) struct SharedPool(Rc<RefCell<DeflatePool>>);

/// Compression, as it was agreed on.
#[cfg(feature = "deflate")]
struct Compression {
    deflate: Deflate,
    pool: SharedPool,
}

#[cfg(feature = "deflate")]
impl Compression {
    fn read(&mut self, message: Deflated<'_>, bytes_max: usize) -> Result<OwnedMessage, PeerError> {
        let pool = &mut *self.pool.0.borrow_mut();
        let mut buffer = pool.take_buffer();
        let read = self.deflate.read(message, bytes_max, pool, &mut buffer);
        let read = read.map(|message| message.to_owned());
        pool.put_back(buffer);
        read
    }

    fn write(
        &mut self,
        message: Message<'_>,
        writer: &mut Writer,
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        let pool = &mut *self.pool.0.borrow_mut();
        self.deflate.write(message, writer, pool, out)
    }
}

/// See the head of this file.
pub(super) struct Link(RefCell<State>);

struct State {
    endpoint: Endpoint,
    #[cfg(feature = "deflate")]
    deflate: Option<Compression>,
    mask_keys: MaskKeys,
    limits: WsLimits,
    outbox_bytes_max: usize,
    /// Frames that the pump has not fetched.
    outgoing: Vec<u8>,
    /// Bytes that it has, and the stream has not.
    leaving: usize,
    /// The newest ping that was not answered for want of room. To answer the last one is enough (RFC 6455, 5.5.3).
    ping: Option<Vec<u8>>,
    inbox: VecDeque<OwnedMessage>,
    inbox_bytes: usize,
    close_frame: Option<CloseFrame>,
    /// What the server did wrong, behind the messages of the inbox.
    fault: Option<PeerError>,
    /// How it ended.
    end: Option<Result<(), WebSocketError>>,
    /// There is no connection any more.
    is_gone: bool,
    /// Nobody reads any more.
    is_abandoned: bool,
    pump: Option<Waker>,
    reader: Option<Waker>,
    senders: Vec<Waker>,
}

impl State {
    /// Whether nothing more is to be taken in before a message is read.
    fn is_full(&self) -> bool {
        !self.is_abandoned
            && self.end.is_none()
            && (self.fault.is_some()
                || self.inbox.len() >= INBOX_MESSAGES_MAX
                || self.inbox_bytes >= INBOX_BYTES_MAX)
    }

    fn outbox_bytes(&self) -> usize {
        self.outgoing.len() + self.leaving
    }

    fn has_room(&self) -> bool {
        self.outbox_bytes() < self.outbox_bytes_max
    }

    fn is_open(&self) -> bool {
        self.end.is_none() && !self.is_closing()
    }

    /// Whether we have said our last word.
    fn is_closing(&self) -> bool {
        matches!(self.endpoint.link(), ws::Link::WeClosed | ws::Link::Over)
    }

    /// Why nothing can be sent any more.
    fn why_closed(&self) -> WebSocketError {
        match &self.end {
            Some(Err(error)) => error.clone(),
            _ => WebSocketError::Closed,
        }
    }

    /// Write what `say` says, masked. It fails after our close frame; that is for the caller to know.
    fn say(
        &mut self,
        say: impl FnOnce(&mut Endpoint, &mut Vec<u8>) -> Result<(), Misuse>,
    ) -> Result<(), Misuse> {
        let key = self.mask_keys.next_key();
        say(self.endpoint.mask_with(key), &mut self.outgoing)
    }

    fn send(&mut self, message: Message<'_>) -> Result<(), WebSocketError> {
        if !self.is_open() {
            return Err(self.why_closed());
        }
        let key = self.mask_keys.next_key();
        let (_, writer) = self.endpoint.mask_with(key).split();
        #[cfg(feature = "deflate")]
        if let Some(deflate) = &mut self.deflate {
            return deflate
                .write(message, writer, &mut self.outgoing)
                .map_err(WebSocketError::Misuse);
        }
        writer
            .message(message, &mut self.outgoing)
            .map_err(WebSocketError::Misuse)
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        let code = match code.is_allowed() {
            true => code,
            false => CloseCode::Normal,
        };
        let end = reason.floor_char_boundary(ws::REASON_BYTES_MAX);
        // Fails when it is closed already, and then there is nothing to say.
        let _ = self.say(|endpoint, out| endpoint.close(code, &reason[..end], out));
    }

    /// What is at the front of `input`. How much of it is used up, or `None` when nothing more is to be had of it.
    fn take(&mut self, input: &mut [u8]) -> Option<usize> {
        let (used, step) = match self.endpoint.next(input, &self.limits) {
            Ok(next) => next,
            Err(error) => {
                self.refuse(error);
                return None;
            }
        };
        match step {
            Step::NeedMore => {}
            Step::Text(text) => {
                let message = OwnedMessage::Text(text.to_owned());
                self.take_message(message);
            }
            Step::Binary(bytes) => {
                let message = OwnedMessage::Binary(bytes.to_vec());
                self.take_message(message);
            }
            #[cfg(feature = "deflate")]
            Step::Deflated(message) => {
                let deflate = self.deflate.as_mut().expect("it was agreed on");
                match deflate.read(message, self.limits.message_bytes_max) {
                    Ok(message) => self.take_message(message),
                    Err(error) => {
                        self.refuse(error);
                        return None;
                    }
                }
            }
            #[cfg(not(feature = "deflate"))]
            Step::Deflated(_) => unreachable!("it was not agreed on"),
            Step::Ping(payload) => {
                self.ping = Some(payload.to_vec());
                self.answer_ping();
            }
            Step::Pong(_) => {}
            Step::Close(close) => {
                let (code, reason) = close.unwrap_or((CloseCode::Status, ""));
                self.close_frame = Some(CloseFrame {
                    code,
                    reason: reason.to_owned(),
                });
                let answered = close.map(|(code, _)| code);
                let _ = self.say(|endpoint, out| endpoint.close_reply(answered, out));
                // Both have said their last word, whether or not ours gets there.
                self.end = self.end.take().or(Some(Ok(())));
            }
        }
        match (used, self.endpoint.is_over()) {
            (0, _) | (_, true) => None,
            (used, false) => Some(used),
        }
    }

    fn take_message(&mut self, message: OwnedMessage) {
        if !self.is_abandoned {
            self.inbox_bytes += Message::from(&message).len();
            self.inbox.push_back(message);
        }
    }

    /// The server broke the rules: hear no more, and tell it. What came before is read first, and may be answered.
    fn refuse(&mut self, error: PeerError) {
        self.endpoint.eof();
        self.fault = Some(error);
        if self.inbox.is_empty() {
            self.tell_fault();
        }
    }

    fn tell_fault(&mut self) {
        let Some(error) = self.fault.take() else {
            return;
        };
        let _ = self.say(|endpoint, out| endpoint.close(error.close_code(), error.reason(), out));
        self.end.get_or_insert(Err(WebSocketError::Protocol(error)));
    }

    /// Answer a ping, if there is room: a server that pings and takes nothing must not fill our memory.
    fn answer_ping(&mut self) {
        if self.has_room()
            && let Some(payload) = self.ping.take()
        {
            // After our close frame none is owed.
            let _ = self.say(|endpoint, out| endpoint.pong(&payload, out));
        }
    }
}

/// What the users ask for.
impl Link {
    pub(super) fn open(
        builder: &WebSocketBuilder,
        mask_keys: MaskKeys,
        opened: &Opened,
    ) -> Rc<Self> {
        #[cfg(not(feature = "deflate"))]
        let (endpoint, _) = (Endpoint::new(Role::Client), opened);
        #[cfg(feature = "deflate")]
        let mut endpoint = Endpoint::new(Role::Client);
        #[cfg(feature = "deflate")]
        let deflate = match (&opened.deflate, &builder.deflate) {
            (Some(agreement), Some((options, pool))) => {
                endpoint.agree_on_deflate();
                Some(Compression {
                    deflate: Deflate::new(agreement, Role::Client, options),
                    pool: pool.clone(),
                })
            }
            _ => None,
        };
        Rc::new(Self(RefCell::new(State {
            endpoint,
            #[cfg(feature = "deflate")]
            deflate,
            mask_keys,
            limits: builder.options.limits.clone(),
            outbox_bytes_max: builder.options.outbox_bytes.max(1),
            outgoing: Vec::new(),
            leaving: 0,
            ping: None,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            close_frame: None,
            fault: None,
            end: None,
            is_gone: false,
            is_abandoned: false,
            pump: None,
            reader: None,
            senders: Vec::new(),
        })))
    }

    pub(super) fn poll_recv(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<OwnedMessage>, WebSocketError>> {
        ready!(coop::poll_proceed(context));
        let (message, pump) = {
            let state = &mut *self.0.borrow_mut();
            let was_full = state.is_full();
            let message = match state.inbox.pop_front() {
                Some(message) => {
                    state.inbox_bytes -= Message::from(&message).len();
                    Ok(Some(message))
                }
                None => {
                    state.tell_fault();
                    match &state.end {
                        Some(Ok(())) => Ok(None),
                        Some(Err(error)) => Err(error.clone()),
                        None => {
                            keep(&mut state.reader, context.waker());
                            waits_on("websocket message", Detail::None);
                            return Poll::Pending;
                        }
                    }
                }
            };
            let has_room_again = was_full && !state.is_full();
            (message, has_room_again.then(|| state.pump.take()).flatten())
        };
        wake(pump);
        Poll::Ready(message)
    }

    /// Ready when the connection has ended.
    pub(super) fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        let state = &mut *self.0.borrow_mut();
        if state.is_gone {
            return Poll::Ready(());
        }
        keep(&mut state.reader, context.waker());
        waits_on("websocket end", Detail::None);
        Poll::Pending
    }

    pub(super) async fn send(&self, message: Message<'_>) -> Result<(), WebSocketError> {
        poll_fn(|context| {
            ready!(coop::poll_proceed(context));
            let (sent, pump) = {
                let state = &mut *self.0.borrow_mut();
                if state.is_open() && !state.has_room() {
                    let waker = context.waker();
                    if !state.senders.iter().any(|waiting| waiting.will_wake(waker)) {
                        state.senders.push(waker.clone());
                    }
                    waits_on("websocket room", Detail::Count(state.outbox_bytes() as u64));
                    return Poll::Pending;
                }
                (state.send(message), state.pump.take())
            };
            wake(pump);
            Poll::Ready(sent)
        })
        .await
    }

    pub(super) fn ping(&self, payload: &[u8]) -> Result<(), WebSocketError> {
        self.change(|state| {
            if !state.is_open() {
                return Err(state.why_closed());
            }
            state
                .say(|endpoint, out| endpoint.ping(payload, out))
                .map_err(WebSocketError::Misuse)
        })
    }

    pub(super) fn close(&self, code: CloseCode, reason: &str) {
        self.change(|state| state.close(code, reason));
    }

    /// Close, and throw away what comes.
    pub(super) fn abandon(&self, code: CloseCode) {
        let unread = self.change(|state| {
            state.is_abandoned = true;
            state.inbox_bytes = 0;
            state.tell_fault();
            state.close(code, "");
            std::mem::take(&mut state.inbox)
        });
        drop(unread);
    }

    pub(super) fn close_frame(&self) -> Option<CloseFrame> {
        self.0.borrow().close_frame.clone()
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.borrow().is_open()
    }

    pub(super) fn outbox_bytes(&self) -> usize {
        self.0.borrow().outbox_bytes()
    }

    /// Change something that the pump has to see.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let (changed, pump) = {
            let state = &mut *self.0.borrow_mut();
            (change(state), state.pump.take())
        };
        wake(pump);
        changed
    }
}

/// What the pump asks for and tells.
impl Link {
    /// Wake the pump with this when there is something for it to do.
    pub(super) fn keep_pump(&self, context: &Context<'_>) {
        keep(&mut self.0.borrow_mut().pump, context.waker());
    }

    /// Frames to be written, into an empty buffer. Whether there are any.
    pub(super) fn fetch(&self, output: &mut Vec<u8>) -> bool {
        let state = &mut *self.0.borrow_mut();
        state.answer_ping();
        std::mem::swap(&mut state.outgoing, output);
        state.leaving = output.len();
        !output.is_empty()
    }

    /// The stream has taken so many bytes of what was fetched.
    pub(super) fn left(&self, bytes: usize) {
        let senders = {
            let state = &mut *self.0.borrow_mut();
            state.leaving -= bytes;
            match state.has_room() {
                true => std::mem::take(&mut state.senders),
                false => Vec::new(),
            }
        };
        senders.into_iter().for_each(Waker::wake);
    }

    /// Take in what has come, as far as there is room for messages; what was used is taken away from `input`.
    pub(super) fn receive(&self, input: &mut Vec<u8>) {
        let (reader, senders) = {
            let state = &mut *self.0.borrow_mut();
            let mut used = 0;
            while !state.is_full()
                && let Some(more) = state.take(&mut input[used..])
            {
                used += more;
            }
            match state.end {
                Some(_) => input.clear(),
                None => drop(input.drain(..used)),
            }
            let has_news = !state.inbox.is_empty() || state.end.is_some();
            let reader = has_news.then(|| state.reader.take()).flatten();
            let senders = match state.end {
                Some(_) => std::mem::take(&mut state.senders),
                None => Vec::new(),
            };
            (reader, senders)
        };
        wake(reader);
        senders.into_iter().for_each(Waker::wake);
    }

    /// Whether no message can be taken in before one is read.
    pub(super) fn is_full(&self) -> bool {
        self.0.borrow().is_full()
    }

    /// Whether we have said our last word.
    pub(super) fn is_closing(&self) -> bool {
        self.0.borrow().is_closing()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.borrow().end.is_some()
    }

    /// There is no connection any more; what it ended of, if the close handshake was not made before.
    pub(super) fn gone(&self, error: WebSocketError) {
        let (reader, senders) = {
            let state = &mut *self.0.borrow_mut();
            state.end.get_or_insert(Err(error));
            state.is_gone = true;
            (state.reader.take(), std::mem::take(&mut state.senders))
        };
        wake(reader);
        senders.into_iter().for_each(Waker::wake);
    }
}

fn keep(place: &mut Option<Waker>, waker: &Waker) {
    if !place.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
        *place = Some(waker.clone());
    }
}

fn wake(waker: Option<Waker>) {
    waker.into_iter().for_each(Waker::wake);
}
