//! An opening: a request for a WebSocket, on which a task decides when it has seen enough.
//!
//! The client waits for the answer to its handshake, and the handler's future is the connection's: it has the deadline
//! of every handler, and is dropped when the client goes. With the decision the connection moves on, and what is left
//! of the future becomes a task of its own: the one that reads the WebSocket, or one that nobody waits for.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::handler::Task;
use super::socket::{Read, SharedInbox, Upgrade, WebSocket, checked};
use super::state::Shared;
use crate::conn::{
    Accept, Answer, Disconnected, IntoResponse, Later, Peer, Reply, Request, Response,
};
use crate::event_loop::{Handle, Origin};

/// A request for a WebSocket, for an async handler to accept or refuse. Its handshake is in order, and its `Origin` is
/// one that the route admits.
///
/// ```
/// use tourbillon::web::{App, Opening, Shared, task};
///
/// async fn load_user(session: &str) -> Option<String> {
///     // … ask a database
/// #   Some(session.to_owned())
/// }
///
/// async fn chat(opening: Opening, visits: Shared<u64>) {
///     let session = opening.request().cookie("session").unwrap_or_default().to_owned();
///     let Some(user) = load_user(&session).await else {
///         return opening.refuse((401, "log in first\n"));
///     };
///     visits.with(|visits| *visits += 1);
///     let Ok(mut socket) = opening.accept().await else { return };
///     socket.send(&format!("hello, {user}"));
///     while let Some(message) = socket.next().await {
///         socket.send(&message);
///     }
/// }
/// let app = App::new(0).ws("/chat", task(chat));
/// # drop(app);
/// ```
///
/// Until it is decided:
/// - The client waits, for [`crate::web::Limits::handler_timeout`] or [`Task::timeout`]. Then it is answered 503, and
///   the future is dropped where it stands.
/// - When the client goes, the future is dropped likewise. [`Task::on_disconnect`] has no say in it: to what is to be
///   decided there is no other end.
/// - What the client sends early is kept, as much of it as one read takes in (see
///   [`crate::event_loop::RECEIVE_BYTES`]), and is read by the WebSocket; the rest waits in the client's own buffers.
///
/// A handler that drops it without a decision has made a mistake: the client is answered 500.
pub struct Opening {
    request: Request,
    /// What the route's list comes to.
    subprotocol: Option<&'static str>,
    undecided: Undecided,
}

impl Opening {
    /// The request: its path and parameters, query, headers, cookies.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The subprotocol that [`Opening::accept`] takes: the first of the route's list that the client asks for, see
    /// [`crate::web::WebSocketSettings::subprotocols`].
    pub fn subprotocol(&self) -> Option<&'static str> {
        self.subprotocol
    }

    /// Open the WebSocket.
    ///
    /// # Errors
    /// When the client has gone, or the server is shutting down. A handler meets this only if it has given the opening
    /// to another task: it ends with its client.
    pub async fn accept(self) -> Result<WebSocket, Disconnected> {
        let subprotocol = self.subprotocol.map(Cow::Borrowed);
        self.open(subprotocol).await
    }

    /// Open the WebSocket, and speak `subprotocol` on it: one of those that the client asks for, see
    /// [`Request::subprotocols`].
    ///
    /// # Errors
    /// As [`Opening::accept`].
    ///
    /// # Panics
    /// When the client did not ask for it, in builds with debug assertions: it would have to end the connection. In
    /// others the WebSocket is opened without a subprotocol.
    pub async fn accept_with(
        self,
        subprotocol: impl Into<Cow<'static, str>>,
    ) -> Result<WebSocket, Disconnected> {
        let subprotocol = checked(&self.request, subprotocol.into());
        self.open(subprotocol).await
    }

    async fn open(self, subprotocol: Option<Cow<'static, str>>) -> Result<WebSocket, Disconnected> {
        let desk = self.undecided.decide(Decision::Accept {
            request: Box::new(self.request),
            subprotocol,
        });
        poll_fn(|context| match desk.opened.take() {
            Some(socket) => Poll::Ready(Ok(socket)),
            None if desk.is_abandoned.get() => Poll::Ready(Err(Disconnected)),
            None => {
                desk.opener.set(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    /// Answer with `answer`, as to any other request: its status, headers and body. The connection goes on; what the
    /// handler does after this is a task of its own.
    pub fn refuse(self, answer: impl IntoResponse) {
        self.undecided
            .decide(Decision::Refuse(answer.into_response()));
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("path", &self.request.path())
            .field("subprotocol", &self.subprotocol)
            .finish_non_exhaustive()
    }
}

enum Decision {
    Accept {
        request: Box<Request>,
        subprotocol: Option<Cow<'static, str>>,
    },
    Refuse(Response),
}

/// Over which the handler and its connection hand each other what they have.
#[derive(Default)]
struct Desk {
    decision: Cell<Option<Decision>>,
    /// The connection waits for the decision.
    decided: Cell<Option<Waker>>,
    opened: Cell<Option<WebSocket>>,
    /// The handler waits for its WebSocket.
    opener: Cell<Option<Waker>>,
    /// There will be none.
    is_abandoned: Cell<bool>,
}

impl Desk {
    fn put(&self, decision: Decision) {
        self.decision.set(Some(decision));
        self.decided.take().into_iter().for_each(Waker::wake);
    }
}

/// The handler's side of the desk, as long as there is a decision to make.
struct Undecided(Option<Rc<Desk>>);

impl Undecided {
    fn decide(mut self, decision: Decision) -> Rc<Desk> {
        let desk = self.0.take().expect("only this takes it, and once");
        desk.put(decision);
        desk
    }
}

impl Drop for Undecided {
    fn drop(&mut self) {
        if let Some(desk) = self.0.take() {
            desk.put(Decision::Refuse(Response::of_status(500)));
        }
    }
}

/// The connection's side, as long as it may come to a WebSocket.
struct Promise(Rc<Desk>);

impl Promise {
    fn keep(&self, socket: WebSocket) {
        self.0.opened.set(Some(socket));
        self.0.opener.take().into_iter().for_each(Waker::wake);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.0.is_abandoned.set(true);
        self.0.opener.take().into_iter().for_each(Waker::wake);
    }
}

impl<S, F, R> Upgrade<S, Opening> for Task<F>
where
    S: 'static,
    F: Fn(Opening, Shared<S>) -> R + 'static,
    R: Future<Output = ()> + 'static,
{
    fn upgrade(
        &self,
        request: &mut Request,
        state: &Shared<S>,
        subprotocol: Option<&'static str>,
        origin: Origin,
    ) -> Reply {
        if let Err(refusal) = request.websocket_handshake() {
            return Reply::Now(refusal);
        }
        let desk = Rc::<Desk>::default();
        let opening = Opening {
            // The handshake is answered by what the request says, so the task gets a copy.
            request: request.clone_head(),
            subprotocol,
            undecided: Undecided(Some(Rc::clone(&desk))),
        };
        let handler = Handler {
            run: Some(Box::pin((self.run)(opening, state.clone()))),
            promise: Promise(desk),
            handle: request.handle(),
            origin,
        };
        Reply::Later(Later {
            timeout: self.time_limit(),
            ..Later::new(handler.decide())
        })
    }
}

/// A handler that is to decide.
struct Handler {
    /// `None` when it has returned.
    run: Option<Pin<Box<dyn Future<Output = ()>>>>,
    promise: Promise,
    handle: Handle,
    origin: Origin,
}

impl Handler {
    async fn decide(mut self) -> Answer {
        let decision = poll_fn(|context| {
            let run = self.run.as_mut();
            if run.is_some_and(|run| run.as_mut().poll(context).is_ready()) {
                self.run = None;
            }
            let desk = &self.promise.0;
            desk.decision.take().map_or_else(
                || {
                    // The opening may be with another task.
                    desk.decided.set(Some(context.waker().clone()));
                    Poll::Pending
                },
                Poll::Ready,
            )
        })
        .await;
        self.carry_out(decision)
    }

    fn carry_out(self, decision: Decision) -> Answer {
        let Self {
            run,
            promise,
            handle,
            origin,
        } = self;
        match decision {
            Decision::Refuse(response) => {
                if let Some(run) = run {
                    handle.spawn_from(origin, run);
                }
                Answer::Response(response)
            }
            Decision::Accept {
                request,
                subprotocol,
            } => {
                let spoken = subprotocol.clone();
                let start = move |peer: &mut Peer<'_>, inbox: SharedInbox| {
                    promise.keep(WebSocket::new(*request, spoken, peer, inbox));
                    if let Some(run) = run {
                        handle.spawn_from(peer.origin(), run);
                    }
                };
                Answer::WebSocket(Accept {
                    socket: Box::new(Read::begun_by(start)),
                    subprotocol,
                })
            }
        }
    }
}
