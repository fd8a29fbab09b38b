//! WebSockets in both ways: a [`Socket`] whose methods are called, and a [`WebSocket`] that a task reads.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::handler::Task;
use super::state::Shared;
use crate::conn::{
    CloseReason, Peer, Reply, Request, Response, SendOutcome, Sender, WebSocketHandler,
};
use crate::event_loop::{Ctx, Handle, Token};
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

    /// The end, whatever it came from; nothing comes after it. The connection has left all its rooms.
    fn closed(&mut self, ctx: &mut Ctx<'_>, reason: &CloseReason, state: &mut S) {
        let _ = (ctx, reason, state);
    }
}

/// What makes WebSockets out of requests: a function `fn(&Request, &mut S) -> Result<impl Socket<S>, Response>`,
/// which may look at the request and refuse, or [`super::task`]`(async fn(WebSocket, Shared<S>))`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot open WebSockets of an app whose state is `{S}`",
    note = "called: `fn(&Request, &mut {S}) -> Result<impl Socket<{S}>, Response>`",
    note = "as a task: `task(handler)` with `async fn(WebSocket, Shared<{S}>)`"
)]
pub trait Upgrade<S>: 'static {
    /// Accept or refuse.
    fn upgrade(&self, request: &mut Request, state: &Shared<S>) -> Reply;
}

impl<S, F, W> Upgrade<S> for F
where
    S: 'static,
    F: Fn(&Request, &mut S) -> Result<W, Response> + 'static,
    W: Socket<S>,
{
    fn upgrade(&self, request: &mut Request, state: &Shared<S>) -> Reply {
        match state.with(|state| self(request, state)) {
            Ok(socket) => {
                let socket = Box::new(Called {
                    socket,
                    state: state.clone(),
                });
                Reply::WebSocket {
                    socket,
                    subprotocol: None,
                }
            }
            Err(refusal) => Reply::Now(refusal),
        }
    }
}

/// A [`Socket`] with the state it is called with.
struct Called<S, W> {
    socket: W,
    state: Shared<S>,
}

impl<S, W: Socket<S>> WebSocketHandler for Called<S, W> {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        self.state.with(|state| self.socket.opened(peer, state));
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        self.state
            .with(|state| self.socket.message(peer, message, state));
    }

    fn pong(&mut self, peer: &mut Peer<'_>, payload: &[u8]) {
        self.state
            .with(|state| self.socket.pong(peer, payload, state));
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

#[derive(Default)]
struct Inbox {
    messages: VecDeque<OwnedMessage>,
    bytes: usize,
    /// The task waits for a message.
    reader: Option<Waker>,
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
    sender: Sender,
    inbox: Rc<RefCell<Inbox>>,
}

impl WebSocket {
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

impl<S, F, R> Upgrade<S> for Task<F>
where
    S: 'static,
    F: Fn(WebSocket, Shared<S>) -> R + Clone + 'static,
    R: Future<Output = ()> + 'static,
{
    fn upgrade(&self, request: &mut Request, state: &Shared<S>) -> Reply {
        // The handshake is judged by what the request says, so the task gets a copy.
        let (run, state, theirs) = (self.run.clone(), state.clone(), request.clone_head());
        let start = move |peer: &mut Peer<'_>, inbox| {
            let socket = WebSocket {
                request: theirs,
                sender: peer.sender().clone(),
                inbox,
            };
            let origin = peer.origin();
            peer.ctx().spawn_from(origin, run(socket, state));
        };
        let socket = Box::new(Read {
            start: Some(Box::new(start)),
            inbox: Rc::default(),
        });
        Reply::WebSocket {
            socket,
            subprotocol: None,
        }
    }
}

type Start = Box<dyn FnOnce(&mut Peer<'_>, Rc<RefCell<Inbox>>)>;

/// Puts messages where a task reads them.
struct Read {
    start: Option<Start>,
    inbox: Rc<RefCell<Inbox>>,
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

    fn closed(&mut self, _: &mut Ctx<'_>, reason: &CloseReason) {
        let reader = {
            let mut inbox = self.inbox.borrow_mut();
            inbox.end = Some(reason.clone());
            inbox.reader.take()
        };
        reader.into_iter().for_each(Waker::wake);
    }
}
