//! WebSockets in both ways: a [`Socket`] whose methods are called, and a [`WebSocket`] that a task reads.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::handler::Task;
use super::state::Shared;
use crate::conn::{
    Accept, CloseReason, Dropped, Peer, Reply, Request, Response, SendOutcome, Sender,
    WebSocketHandler,
};
use crate::event_loop::{Ctx, Handle, Origin, Token};
use crate::proto::ws::{CloseCode, Message, OwnedMessage};

/// One WebSocket's side of the conversation. There is a value for each connection, so its fields are the connection's
/// data.
///
/// ```
/// use tourbillon::web::{App, Message, Peer, Request, Socket};
///
/// struct Echo { echoed: u32 }
///
/// impl Socket<()> for Echo {
///     fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, _: &mut ()) {
///         self.echoed += 1;
///         peer.send(message);
///     }
/// }
/// let app = App::new(()).ws("/echo", |_: &Request, _: &mut ()| Ok(Echo { echoed: 0 }));
/// # drop(app);
/// ```
pub trait Socket<S>: 'static {
    /// The subprotocol that it speaks, when the function that made it chose one among [`Request::subprotocols`]; `None`
    /// leaves it at the first of the route's list that the client asks for, see
    /// [`super::WebSocketSettings::subprotocols`]. Asked once, before the handshake is answered.
    ///
    /// In builds with debug assertions it is a panic to name one that the client did not ask for: it would have to end
    /// the connection. In others the WebSocket is opened without a subprotocol.
    fn subprotocol(&self) -> Option<&'static str> {
        None
    }

    /// The handshake is done: the first moment to send.
    fn opened(&mut self, peer: &mut Peer<'_>, state: &mut S) {
        let _ = (peer, state);
    }

    /// A whole message is here.
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, state: &mut S);

    /// A pong is here.
    fn pong(&mut self, peer: &mut Peer<'_>, payload: &[u8], state: &mut S) {
        let _ = (peer, payload, state);
    }

    /// Messages had to wait for a peer that was slow, and it has taken all of them: the moment to go on with what was
    /// held back because of [`SendOutcome::Queued`] or [`Sender::outbox_bytes`].
    fn drained(&mut self, peer: &mut Peer<'_>, state: &mut S) {
        let _ = (peer, state);
    }

    /// So much was dropped since this was last said, by a policy that drops: see [`super::WhenFull`]. It is said in the
    /// turn after, while the peer may still take nothing: the moment to give it up, or to note what it is to be told
    /// when it has [`drained`](Socket::drained).
    fn dropped(&mut self, peer: &mut Peer<'_>, dropped: Dropped, state: &mut S) {
        let _ = (peer, dropped, state);
    }

    /// The end, whatever it came from; nothing comes after it. The connection has left all its rooms.
    fn closed(&mut self, ctx: &mut Ctx<'_>, reason: &CloseReason, state: &mut S) {
        let _ = (ctx, reason, state);
    }
}

/// What makes WebSockets out of requests:
///
/// - a function `fn(&Request, &mut S) -> Result<impl Socket<S>, Response>`, called on the spot, which may look at the
///   request and refuse;
/// - [`super::task`]`(async fn(WebSocket, Shared<S>))`, for those who accept whoever comes;
/// - [`super::task`]`(async fn(Opening, Shared<S>))`, which looks at the request, awaits what it needs to know, and
///   accepts or refuses, see [`super::Opening`].
///
/// `Gets` is what the function gets: it tells them apart, and is never named.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot open WebSockets of an app whose state is `{S}`",
    note = "called: `fn(&Request, &mut {S}) -> Result<impl Socket<{S}>, Response>`",
    note = "as a task: `task(handler)` with `async fn(WebSocket, Shared<{S}>)` or `async fn(Opening, Shared<{S}>)`"
)]
pub trait Upgrade<S, Gets>: 'static {
    /// Accept or refuse. `subprotocol` is what the route's list comes to for this client, and `origin` where the route
    /// was added.
    fn upgrade(
        &self,
        request: &mut Request,
        state: &Shared<S>,
        subprotocol: Option<&'static str>,
        origin: Origin,
    ) -> Reply;
}

impl<S, F, W> Upgrade<S, Request> for F
where
    S: 'static,
    F: Fn(&Request, &mut S) -> Result<W, Response> + 'static,
    W: Socket<S>,
{
    fn upgrade(
        &self,
        request: &mut Request,
        state: &Shared<S>,
        subprotocol: Option<&'static str>,
        _: Origin,
    ) -> Reply {
        match state.with(|state| self(request, state)) {
            Ok(socket) => {
                let subprotocol = match socket.subprotocol() {
                    Some(own) => checked(request, own.into()),
                    None => subprotocol.map(Cow::Borrowed),
                };
                let socket = Box::new(Called {
                    socket,
                    state: state.clone(),
                });
                Reply::WebSocket(Accept {
                    socket,
                    subprotocol,
                })
            }
            Err(refusal) => Reply::Now(refusal),
        }
    }
}

/// A handler's choice of a subprotocol: none, if it is not one that the client asks for.
///
/// # Panics
/// In that case, in builds with debug assertions.
pub(super) fn checked(
    request: &Request,
    subprotocol: Cow<'static, str>,
) -> Option<Cow<'static, str>> {
    let is_offered = request.subprotocols().any(|name| name == subprotocol);
    debug_assert!(
        is_offered,
        "the subprotocol {subprotocol:?} is not one that the client asked for"
    );
    is_offered.then_some(subprotocol)
}

/// A [`Socket`] with the state it is called with.
struct Called<S, W> {
    socket: W,
    state: Shared<S>,
}

impl<S: 'static, W: Socket<S>> WebSocketHandler for Called<S, W> {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        self.state.with(|state| self.socket.opened(peer, state));
    }

    #[inline]
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        self.state
            .with(|state| self.socket.message(peer, message, state));
    }

    fn pong(&mut self, peer: &mut Peer<'_>, payload: &[u8]) {
        self.state
            .with(|state| self.socket.pong(peer, payload, state));
    }

    fn drained(&mut self, peer: &mut Peer<'_>) {
        self.state.with(|state| self.socket.drained(peer, state));
    }

    fn dropped(&mut self, peer: &mut Peer<'_>, dropped: Dropped) {
        self.state
            .with(|state| self.socket.dropped(peer, dropped, state));
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>, reason: &CloseReason) {
        self.state
            .with(|state| self.socket.closed(ctx, reason, state));
    }
}

/// Messages that wait for a task before their connection is read no further.
const INBOX_MESSAGES_MAX: usize = 64;
/// The same in bytes; the message that goes beyond is still taken.
const INBOX_BYTES_MAX: usize = 64 * 1024;

/// What a connection and its task share.
pub(super) type SharedInbox = Rc<RefCell<Inbox>>;

#[derive(Default)]
pub(super) struct Inbox {
    messages: VecDeque<OwnedMessage>,
    bytes: usize,
    /// The task waits for a message.
    reader: Option<Waker>,
    /// Whoever waits until all is sent.
    writers: Vec<Waker>,
    /// The connection waits for room.
    paused: Option<(Handle, Token)>,
    end: Option<CloseReason>,
    /// The task has gone, and reads no more.
    abandoned: bool,
}

impl Inbox {
    fn is_full(&self) -> bool {
        self.messages.len() >= INBOX_MESSAGES_MAX || self.bytes >= INBOX_BYTES_MAX
    }
}

/// A WebSocket for a task: read it with [`WebSocket::next`]. Dropping it closes it with 1000.
pub struct WebSocket {
    request: Request,
    subprotocol: Option<Cow<'static, str>>,
    sender: Sender,
    inbox: SharedInbox,
}

impl WebSocket {
    pub(super) fn new(
        request: Request,
        subprotocol: Option<Cow<'static, str>>,
        peer: &Peer<'_>,
        inbox: SharedInbox,
    ) -> Self {
        Self {
            request,
            subprotocol,
            sender: peer.sender().clone(),
            inbox,
        }
    }

    /// The next message; `None` when the connection has ended, see [`WebSocket::reason`].
    pub async fn next(&mut self) -> Option<OwnedMessage> {
        poll_fn(|context| {
            let mut inbox = self.inbox.borrow_mut();
            if let Some(message) = inbox.messages.pop_front() {
                inbox.bytes -= Message::from(&message).len();
                let paused = if inbox.is_full() {
                    None
                } else {
                    inbox.paused.take()
                };
                drop(inbox);
                if let Some((handle, token)) = paused {
                    handle.wake(token);
                }
                return Poll::Ready(Some(message));
            }
            if inbox.end.is_some() {
                return Poll::Ready(None);
            }
            inbox.reader = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Send text (`&str`) or bytes (`&[u8]`).
    pub fn send<'m>(&self, message: impl Into<Message<'m>>) -> SendOutcome {
        self.sender.send(message)
    }

    /// As [`WebSocket::send`], with a key, see [`Sender::send_keyed`].
    pub fn send_keyed<'m>(&self, key: &str, message: impl Into<Message<'m>>) -> SendOutcome {
        self.sender.send_keyed(key, message)
    }

    /// Wait until nothing that was sent waits any more, because the peer has taken it, or the connection is closing. A
    /// task that awaits this between its messages is as fast as its peer, and never meets the outbox's limit.
    ///
    /// ```
    /// use tourbillon::web::{Shared, WebSocket};
    ///
    /// async fn numbers(socket: WebSocket, _: Shared<()>) {
    ///     for number in 0..1_000_000 {
    ///         socket.send(&format!("{number}"));
    ///         socket.drained().await;
    ///     }
    /// }
    /// # let _ = numbers;
    /// ```
    pub async fn drained(&self) {
        poll_fn(|context| {
            if !self.sender.is_open() || !self.sender.await_drained() {
                return Poll::Ready(());
            }
            let writers = &mut self.inbox.borrow_mut().writers;
            if !writers
                .iter()
                .any(|writer| writer.will_wake(context.waker()))
            {
                writers.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Begin the closing handshake, see [`Sender::close`].
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.sender.close(code, reason);
    }

    /// The sender, to clone: it can be used while the WebSocket is read.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// The request that opened it.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The subprotocol that was agreed on.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// How it ended, when it has.
    pub fn reason(&self) -> Option<CloseReason> {
        self.inbox.borrow().end.clone()
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        let code = if std::thread::panicking() {
            CloseCode::Error
        } else {
            CloseCode::Normal
        };
        self.sender.close(code, "");
        // Nobody reads what comes now; the connection must not wait for that.
        let (paused, messages) = {
            let mut inbox = self.inbox.borrow_mut();
            inbox.abandoned = true;
            inbox.bytes = 0;
            (inbox.paused.take(), std::mem::take(&mut inbox.messages))
        };
        drop(messages);
        if let Some((handle, token)) = paused {
            handle.wake(token);
        }
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("sender", &self.sender)
            .finish_non_exhaustive()
    }
}

impl<S, F, R> Upgrade<S, WebSocket> for Task<F>
where
    S: 'static,
    F: Fn(WebSocket, Shared<S>) -> R + Clone + 'static,
    R: Future<Output = ()> + 'static,
{
    fn upgrade(
        &self,
        request: &mut Request,
        state: &Shared<S>,
        subprotocol: Option<&'static str>,
        _: Origin,
    ) -> Reply {
        // The handshake is judged by what the request says, so the task gets a copy.
        let (run, state, theirs) = (self.run.clone(), state.clone(), request.clone_head());
        let subprotocol = subprotocol.map(Cow::Borrowed);
        let spoken = subprotocol.clone();
        let start = move |peer: &mut Peer<'_>, inbox: SharedInbox| {
            let socket = WebSocket::new(theirs, spoken, peer, inbox);
            let origin = peer.origin();
            peer.ctx().spawn_from(origin, run(socket, state));
        };
        Reply::WebSocket(Accept {
            socket: Box::new(Read::begun_by(start)),
            subprotocol,
        })
    }
}

type Start = Box<dyn FnOnce(&mut Peer<'_>, SharedInbox)>;

/// Puts messages where a task reads them.
pub(super) struct Read {
    start: Option<Start>,
    inbox: SharedInbox,
}

impl Read {
    /// `start` sees to the task, when the WebSocket is open.
    pub(super) fn begun_by(start: impl FnOnce(&mut Peer<'_>, SharedInbox) + 'static) -> Self {
        Self {
            start: Some(Box::new(start)),
            inbox: SharedInbox::default(),
        }
    }
}

impl WebSocketHandler for Read {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        if let Some(start) = self.start.take() {
            // A task of its own: when the connection ends it lives on, to do what is to be done then.
            start(peer, Rc::clone(&self.inbox));
        }
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        let reader = {
            let mut inbox = self.inbox.borrow_mut();
            if inbox.abandoned {
                return;
            }
            inbox.bytes += message.len();
            inbox.messages.push_back(message.to_owned());
            if inbox.is_full() {
                let ctx = peer.ctx();
                inbox.paused = Some((ctx.handle().clone(), ctx.token()));
            }
            inbox.reader.take()
        };
        reader.into_iter().for_each(Waker::wake);
    }

    fn is_full(&self) -> bool {
        self.inbox.borrow().is_full()
    }

    fn bytes_held(&self) -> usize {
        let inbox = self.inbox.borrow();
        // What waits in one that is not full is soon read, and no visit would say so.
        if inbox.is_full() { inbox.bytes } else { 0 }
    }

    fn give_up(&mut self) {
        let mut inbox = self.inbox.borrow_mut();
        inbox.bytes = 0;
        let messages = std::mem::take(&mut inbox.messages);
        drop(inbox);
        drop(messages);
    }

    fn drained(&mut self, _: &mut Peer<'_>) {
        let writers = std::mem::take(&mut self.inbox.borrow_mut().writers);
        writers.into_iter().for_each(Waker::wake);
    }

    fn closed(&mut self, _: &mut Ctx<'_>, reason: &CloseReason) {
        let (reader, writers) = {
            let mut inbox = self.inbox.borrow_mut();
            inbox.end = Some(reason.clone());
            (inbox.reader.take(), std::mem::take(&mut inbox.writers))
        };
        reader.into_iter().chain(writers).for_each(Waker::wake);
    }
}
