//! The dial: a page that shows the real loop as it turns, and can pause it and step through it.
//!
//! It watches the loop that serves, with its real sockets, in an ordinary build, and changes nothing about it but what
//! it is told to: phases and callbacks come from the loop's recorder, queues and wheel and slab from snapshots, and the
//! buttons are a [`Control`]. There are two ways to have it:
//!
//! - **Beside the loop**, on a thread and a loop of its own, so that pausing the one leaves the page alive:
//!
//! ```
//! use tourbillon::dial::Dial;
//! use tourbillon::event_loop::EventLoop;
//! use tourbillon::web::{App, Request};
//!
//! let mut event_loop = EventLoop::new()?;
//! let app = App::new(()).get("/", |_: &Request, _: &mut ()| "Hello!");
//! let (_, address) = app.listen(&mut event_loop.ctx(), "127.0.0.1:0")?;
//! let dial = Dial::new(event_loop.attach_control()).server(address).serve("127.0.0.1:0")?;
//! println!("the dial is at {}", dial.url());
//! # event_loop.call_soon(|ctx| ctx.stop());
//! event_loop.run()?;
//! # std::io::Result::Ok(())
//! ```
//!
//! - **Mounted in the app itself** ([`view`]), where it can only look: a loop that is paused answers nobody.
//!
//! # Who may see it, and who may use it
//!
//! The page shows who is connected and what the program does, and its buttons stop the program. So, unless
//! [`Dial::allow_remote`] says otherwise, it is served on loopback addresses only, and answers nobody who calls this
//! machine by another name (DNS rebinding) or comes from another site's page. Whoever sees it may look. Whoever wants
//! to pause, step, inject or close says the token, which [`DialServer::url`] has behind its `#`, where no browser sends
//! it anywhere. See [`crate::web::Guard`].
//!
//! # What it costs
//!
//! Nothing that can be measured while no page is open. With one, debug mode and the recorder are on, and each tick
//! takes a snapshot on the watched loop; what is made of that is made on the dial's own thread.
//!
//! The protocol between the page and the dial is in `PROTOCOL.md` beside this file, for programs as well.

mod desk;
mod inject;
mod lesson;
mod look;
mod messages;
mod page;
mod source;
mod turns;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::thread::{self, JoinHandle};

use crate::conn::{CloseReason, OutboxPolicy, Peer, Request, Response, WebSocketSettings};
use crate::event_loop::{Control, Ctx, EventLoop, Remote, bind};
use crate::proto::ws::Message;
use crate::sync::oneshot;
use crate::web::{App, Guard, Shared, Socket, task};
pub use desk::Desk;
use inject::Clients;

/// How much may wait for a page: many ticks of a loop with thousands of sources. One who lets more wait is gone.
const OUTBOX_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A dial beside the loop that it watches. See the [module](self).
#[derive(Debug)]
pub struct Dial {
    control: Control,
    guard: Guard,
    server: Option<SocketAddr>,
    allows_remote: bool,
}

impl Dial {
    /// A dial for the loop of `control`.
    pub fn new(control: Control) -> Self {
        Self {
            control,
            guard: Guard::new(),
            server: None,
            allows_remote: false,
        }
    }

    /// The address of the server on that loop: against it the page can set clients that misbehave.
    pub fn server(self, address: SocketAddr) -> Self {
        Self {
            server: Some(address),
            ..self
        }
    }

    /// Serve on addresses that other machines reach, and answer those who know the token.
    pub fn allow_remote(self, allows_remote: bool) -> Self {
        Self {
            guard: self.guard.allow_remote(allows_remote),
            allows_remote,
            ..self
        }
    }

    /// Serve the page on `address` from a thread of its own. Port 0 picks one.
    ///
    /// # Errors
    /// When the address cannot be listened on, or no thread or loop can be had; `PermissionDenied` when it is no
    /// loopback address and [`Dial::allow_remote`] was not said.
    pub fn serve(self, address: impl ToSocketAddrs) -> io::Result<DialServer> {
        let Some(address) = address.to_socket_addrs()?.next() else {
            let why = "no address to listen on";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        };
        if !address.ip().is_loopback() && !self.allows_remote {
            let why =
                "the dial is served on loopback addresses only, unless remote ones are allowed";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        let listener = bind(address)?;
        let address = listener.local_addr()?;
        let guard = self.guard.clone();
        let (tell, told) = crossbeam_channel::bounded(1);
        let run = move || match self.listen(listener) {
            Ok(mut event_loop) => {
                let _ = tell.send(Ok(event_loop.remote()));
                // It fails where nothing works any more; the watched loop says so itself.
                let _ = event_loop.run();
            }
            Err(error) => drop(tell.send(Err(error))),
        };
        let name = "tourbillon-dial".to_owned();
        let thread = thread::Builder::new().name(name).spawn(run)?;
        let gone = || io::Error::other("the dial's thread has ended");
        let remote = told.recv().map_err(|_| gone())??;
        Ok(DialServer {
            address,
            guard,
            remote,
            thread: Some(thread),
        })
    }

    fn listen(self, listener: TcpListener) -> io::Result<EventLoop> {
        let mut event_loop = EventLoop::new()?;
        let clients = self.server.map(Clients::of);
        let app = app(Desk::beside(self.guard, self.control, clients));
        app.listen_on(&mut event_loop.ctx(), listener)?;
        Ok(event_loop)
    }
}

/// A dial that is served. It ends when this is dropped; the watched loop goes on then.
pub struct DialServer {
    address: SocketAddr,
    guard: Guard,
    remote: Remote,
    /// `None` when it has ended.
    thread: Option<JoinHandle<()>>,
}

impl DialServer {
    /// Where it is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The page's address with the token: whoever has it may stop the loop.
    pub fn url(&self) -> String {
        format!("http://{}/#token={}", self.address, self.guard.token())
    }
}

impl Drop for DialServer {
    fn drop(&mut self) {
        let _ = self.remote.stop();
        if let Some(thread) = self.thread.take() {
            // Its panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for DialServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret.
        f.debug_struct("DialServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// The page for an app's own loop, to be mounted in it: to look only, since it could not answer while it is paused.
/// Each tick is work of that loop, too, and is shown as such.
///
/// ```
/// use tourbillon::dial;
/// use tourbillon::web::{App, Request};
///
/// let app = App::new(()).get("/", |_: &Request, _: &mut ()| "Hello!").mount("/loop", dial::view());
/// let page = app.into_test()?.get("/loop/");
/// assert_eq!(page.status(), 200);
/// # std::io::Result::Ok(())
/// ```
pub fn view() -> App<Desk> {
    app(Desk::new(Guard::new()))
}

fn app(desk: Desk) -> App<Desk> {
    let app = App::new(desk).get("/", |request: &Request, desk: &mut Desk| {
        guarded(request, desk, || file("index.html"))
    });
    let me = app.state();
    let settings = WebSocketSettings {
        outbox: Some(OutboxPolicy {
            bytes_max: OUTBOX_BYTES_MAX,
            ..OutboxPolicy::default()
        }),
        ..WebSocketSettings::default()
    };
    app.get("/{file}", |request: &Request, desk: &mut Desk| {
        guarded(request, desk, || {
            file(&request.param("file").unwrap_or_default())
        })
    })
    .get("/source/{*path}", |request: &Request, desk: &mut Desk| {
        guarded(request, desk, || {
            match source::file(&request.param("path").unwrap_or_default()) {
                Some(text) => Response::text(text),
                None => Response::of_status(404),
            }
        })
    })
    .get("/trace", task(trace))
    .ws_with(
        "/live",
        settings,
        move |request: &Request, desk: &mut Desk| {
            desk.guard().check_place(request)?;
            Ok(PageSocket {
                desk: me.clone(),
                is_admitted: desk.guard().may_look(request).is_ok(),
            })
        },
    )
}

/// What `answer` says, to those who may look at the place. The page itself tells nothing about the loop.
fn guarded(request: &Request, desk: &Desk, answer: impl FnOnce() -> Response) -> Response {
    let response = match desk.guard().check_place(request) {
        Ok(()) => answer(),
        Err(refusal) => refusal,
    };
    response
        // A program that was built anew is seen at the next visit.
        .with_header("cache-control", "no-cache")
        // Nothing from elsewhere, no script or style inside the pages, and in nobody's frame.
        .with_header(
            "content-security-policy",
            "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        )
        .with_header("x-content-type-options", "nosniff")
        .with_header("referrer-policy", "no-referrer")
}

/// One of the files of the page, which are part of the program.
fn file(name: &str) -> Response {
    match page::FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, content_type, text)) => Response::new(*text).with_content_type(*content_type),
        None => Response::of_status(404),
    }
}

/// What was recorded, as a trace.
async fn trace(request: Request, desk: Shared<Desk>) -> Response {
    if let Err(refusal) = desk.with(|desk| desk.guard().may_look(&request)) {
        return refusal;
    }
    let handle = request.handle();
    let (send, recorded) = oneshot::channel();
    let send = send.into_remote(&handle);
    let me = desk.clone();
    handle.call_soon(move |ctx| {
        let take = move |recording| drop(send.send(recording));
        // Without a loop nothing is sent, which says it.
        let _ = me.with(|desk| desk.fetch_recording(ctx, &me, take));
    });
    let Ok(recording) = recorded.await else {
        return Response::text("the watched loop has gone\n").with_status(503);
    };
    // It takes a while, and others want to be served.
    let write = move || {
        let mut json = Vec::new();
        recording.write_trace(&mut json).map(|()| json)
    };
    let written = match handle.run_in_executor(write) {
        Ok(job) => job.await,
        Err(error) => return Response::text(error.to_string()).with_status(503),
    };
    match written {
        Ok(Ok(json)) => Response::new(json)
            .with_content_type("application/json")
            .with_header("cache-control", "no-store")
            .with_header("content-disposition", "attachment; filename=\"loop.json\""),
        _ => Response::of_status(500),
    }
}

/// A page's WebSocket.
struct PageSocket {
    desk: Shared<Desk>,
    is_admitted: bool,
}

impl Socket<Desk> for PageSocket {
    fn opened(&mut self, peer: &mut Peer<'_>, desk: &mut Desk) {
        desk.open(peer, &self.desk, self.is_admitted);
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, desk: &mut Desk) {
        desk.hear(peer.sender().id(), message);
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>, _: &CloseReason, desk: &mut Desk) {
        desk.leave(ctx.token());
    }
}
