//! A server: listeners, the connections they took in, and what these share.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant, UNIX_EPOCH};

use slab::Slab;

use super::connection::Connection;
use super::crowd::{Admission, Crowd};
use super::limits::{Hits, Limits};
use super::request::Request;
use super::service::Service;
use crate::event_loop::{CallHandle, Ctx, Origin, Readiness, Socket, Token};
use crate::net::Acceptor;
use crate::proto::http1::date;

/// Descriptors that are left to the rest of the program.
const DESCRIPTORS_LEFT: usize = 64;
/// The answer to a connection that is one too many.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Connection: close\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n";
/// Keep-alive is cut to this when connections run short.
const SHORT_KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What all connections of a server share.
pub(super) struct Shared {
    pub(super) service: Rc<dyn Service>,
    pub(super) limits: Limits,
    pub(super) hits: Hits,
    connections_max: usize,
    crowd: Crowd,
    origin: Origin,
    /// A request that the connections hand around, so that none is made for each.
    scratch: Cell<Option<Box<Request>>>,
    connections: RefCell<Slab<Member>>,
    listeners: RefCell<Vec<Token>>,
    date: Cell<[u8; 29]>,
    date_until: Cell<Option<Instant>>,
    counts: Cell<Counts>,
    drain: RefCell<Option<Drain>>,
    draining: Cell<bool>,
}

/// A connection, for those who see to all of them.
struct Member {
    token: Token,
    leaving: Leaving,
    _admission: Admission,
}

/// How a connection ends in a graceful shutdown, each in one way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// It was not asked yet.
    Unasked,
    /// It has something to finish.
    Busy,
    /// It had nothing to do when it was asked.
    Idle,
    /// It has come to its own end.
    Finished,
    /// The deadline was before that.
    Cut,
}

/// What a server has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections taken in.
    pub accepted: u64,
    /// Connections open now.
    pub open: usize,
    /// Requests answered.
    pub requests: u64,
    /// WebSockets open now.
    pub websockets: usize,
}

/// What a graceful shutdown did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Connections that were idle and closed at once.
    pub idle: usize,
    /// Connections and WebSockets that came to their own end in time.
    pub finished: usize,
    /// Those that were cut at the deadline.
    pub cut: usize,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            idle,
            finished,
            cut,
            took,
        } = self;
        write!(
            f,
            "{idle} idle closed, {finished} finished, {cut} cut, in {} ms",
            took.as_millis()
        )
    }
}

/// Who is told when a shutdown is over.
type Done = Box<dyn FnOnce(&mut Ctx<'_>, ShutdownReport)>;

struct Drain {
    since: Instant,
    report: ShutdownReport,
    deadline: CallHandle,
    done: Vec<Done>,
}

/// A server on one loop. Cheap to clone; the clones are the same server.
#[derive(Clone)]
pub struct Server(Rc<Shared>);

impl Server {
    /// A server that answers with `service` within `limits`. It listens when [`Server::listen`] is called.
    #[track_caller]
    pub fn new(ctx: &mut Ctx<'_>, service: Rc<dyn Service>, limits: Limits) -> Self {
        Self::counting_in(ctx, service, limits, Crowd::default())
    }

    /// As [`Server::new`], for servers on several loops whose connections count together.
    #[track_caller]
    pub fn counting_in(
        ctx: &mut Ctx<'_>,
        service: Rc<dyn Service>,
        limits: Limits,
        crowd: Crowd,
    ) -> Self {
        let connections_max = limits.connections_max.unwrap_or_else(|| {
            let descriptors = ctx.driver().descriptor_limit();
            descriptors.map_or(usize::MAX, |descriptors| {
                descriptors.saturating_sub(DESCRIPTORS_LEFT).max(1)
            })
        });
        Self(Rc::new(Shared {
            service,
            limits,
            hits: Hits::default(),
            connections_max,
            crowd,
            origin: Location::caller(),
            scratch: Cell::new(None),
            connections: RefCell::default(),
            listeners: RefCell::default(),
            date: Cell::new([b' '; 29]),
            date_until: Cell::new(None),
            counts: Cell::default(),
            drain: RefCell::new(None),
            draining: Cell::new(false),
        }))
    }

    /// Take connections on `address` as well; port 0 picks one. Returns the address.
    ///
    /// # Errors
    /// As bind(2): the address is in use, is not this machine's, or needs privileges.
    #[track_caller]
    pub fn listen(&self, ctx: &mut Ctx<'_>, address: SocketAddr) -> io::Result<SocketAddr> {
        let (token, local) = Acceptor::listen(ctx, address, self.taking_in())?;
        self.0.listeners.borrow_mut().push(token);
        Ok(local)
    }

    /// As [`Server::listen`], on a listener that was made elsewhere, a service manager's for one. Returns its address.
    ///
    /// # Errors
    /// As [`crate::event_loop::Driver::adopt_listener`].
    #[track_caller]
    pub fn listen_on(&self, ctx: &mut Ctx<'_>, listener: TcpListener) -> io::Result<SocketAddr> {
        let (token, local) = Acceptor::listen_on(ctx, listener, self.taking_in())?;
        self.0.listeners.borrow_mut().push(token);
        Ok(local)
    }

    fn taking_in(&self) -> impl FnMut(&mut Ctx<'_>, Socket, SocketAddr) + use<> {
        let shared = Rc::clone(&self.0);
        move |ctx, socket, peer| {
            if let Some(token) = Shared::accept(&shared, ctx, socket, peer) {
                // The request is often there already.
                ctx.visit(token, Readiness::READABLE);
            }
        }
    }

    /// Have every connection on `listener` given to `take` instead of served here; [`Server::shutdown`] closes the
    /// listener with the others.
    pub(crate) fn listen_for(
        &self,
        ctx: &mut Ctx<'_>,
        listener: TcpListener,
        take: impl FnMut(&mut Ctx<'_>, Socket, SocketAddr) + 'static,
    ) -> io::Result<SocketAddr> {
        let (token, local) = Acceptor::listen_on(ctx, listener, take)?;
        self.0.listeners.borrow_mut().push(token);
        Ok(local)
    }

    /// Serve a connection that was accepted elsewhere. Above [`Limits::connections_max`] it is answered with 503.
    ///
    /// # Errors
    /// As [`crate::event_loop::Driver::adopt`].
    pub fn adopt(&self, ctx: &mut Ctx<'_>, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let socket = ctx.driver().adopt(stream)?;
        if let Some(token) = Shared::accept(&self.0, ctx, socket, peer) {
            ctx.wake(token);
        }
        Ok(())
    }

    /// As [`Server::adopt`], for a connection that is counted, on a driver that reads nothing of it before its first
    /// poll: so no handler runs in here.
    pub(crate) fn adopt_admitted(
        &self,
        ctx: &mut Ctx<'_>,
        stream: TcpStream,
        peer: SocketAddr,
        admission: Admission,
    ) -> io::Result<()> {
        let socket = ctx.driver().adopt(stream)?;
        if let Some(token) = Shared::admit(&self.0, ctx, socket, peer, admission) {
            ctx.visit(token, Readiness::NONE);
        }
        Ok(())
    }

    /// How many connections may be open.
    pub(crate) fn connections_max(&self) -> usize {
        self.0.connections_max
    }

    /// Tell one connection too many to come again.
    pub(crate) fn refuse(&self, ctx: &mut Ctx<'_>, socket: Socket) {
        self.0.refuse(ctx, socket);
    }

    /// Stop taking connections; close those that are idle at once, let those that are busy finish (with `Connection:
    /// close`), send 1001 to WebSockets; what is left after `deadline` is cut. Then `done` is called with what
    /// happened. A second call while the first is under way moves the deadline.
    pub fn shutdown(
        &self,
        ctx: &mut Ctx<'_>,
        deadline: Duration,
        done: impl FnOnce(&mut Ctx<'_>, ShutdownReport) + 'static,
    ) {
        let shared = &self.0;
        if let Some(drain) = &mut *shared.drain.borrow_mut() {
            drain.deadline.reset(deadline);
            drain.done.push(Box::new(done));
            return;
        }
        shared.draining.set(true);
        let cutter = Rc::clone(shared);
        let deadline = ctx.call_later(deadline, move |ctx| cutter.cut(ctx));
        let report = ShutdownReport::default();
        let drain = Drain {
            since: ctx.now(),
            report,
            deadline,
            done: vec![Box::new(done)],
        };
        *shared.drain.borrow_mut() = Some(drain);
        // As a callback of its own: whoever calls may be a handler, and taking connections in calls handlers.
        let shared = Rc::clone(shared);
        ctx.call_soon(move |ctx| {
            for listener in shared.listeners.take() {
                // Whoever has connected already is served, as far as the listener's budget goes.
                ctx.visit(listener, Readiness::READABLE);
                ctx.close(listener);
            }
            for token in shared.tokens() {
                ctx.wake(token);
            }
            shared.finish_drain(ctx);
        });
    }

    /// What the server has done so far.
    pub fn counts(&self) -> Counts {
        Counts {
            open: self.0.connections.borrow().len(),
            ..self.0.counts.get()
        }
    }

    /// The limits that are in force.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// How often each was hit.
    pub fn hits(&self) -> &Hits {
        &self.0.hits
    }

    /// The server for its own app's state, which would keep itself in memory with a [`Server`].
    ///
    /// ```
    /// use tourbillon::event_loop::EventLoop;
    /// use tourbillon::web::{App, Request, WeakServer};
    ///
    /// fn open(_: &Request, server: &mut WeakServer) -> String {
    ///     let open = server.upgrade().map_or(0, |server| server.counts().open);
    ///     format!("{open} connections")
    /// }
    /// let app = App::new(WeakServer::default()).get("/", open);
    /// let state = app.state();
    /// let mut event_loop = EventLoop::new()?;
    /// let (server, _) = app.listen(&mut event_loop.ctx(), "127.0.0.1:0")?;
    /// state.with(|state| *state = server.downgrade());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn downgrade(&self) -> WeakServer {
        WeakServer(Rc::downgrade(&self.0))
    }
}

/// See [`Server::downgrade`]. The default is a server that is not there yet.
#[derive(Clone, Default)]
pub struct WeakServer(Weak<Shared>);

impl WeakServer {
    /// The server, as long as it listens or has connections.
    pub fn upgrade(&self) -> Option<Server> {
        self.0.upgrade().map(Server)
    }
}

impl fmt::Debug for WeakServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WeakServer").field(&self.upgrade()).finish()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("counts", &self.counts())
            .field("hits", &self.0.hits)
            .finish_non_exhaustive()
    }
}

impl Member {
    fn leave(&mut self, leaving: Leaving) {
        self.leaving = match (self.leaving, leaving) {
            // It was busy when it was asked, and is done.
            (Leaving::Busy, Leaving::Idle) => Leaving::Finished,
            (Leaving::Unasked | Leaving::Busy, leaving) => leaving,
            (settled, _) => settled,
        };
    }
}

impl Shared {
    /// Take a connection in, or refuse it. It has to be visited.
    fn accept(
        shared: &Rc<Self>,
        ctx: &mut Ctx<'_>,
        socket: Socket,
        peer: SocketAddr,
    ) -> Option<Token> {
        match shared.crowd.enter(shared.connections_max) {
            Some(admission) => Self::admit(shared, ctx, socket, peer, admission),
            None => {
                shared.refuse(ctx, socket);
                None
            }
        }
    }

    fn admit(
        shared: &Rc<Self>,
        ctx: &mut Ctx<'_>,
        socket: Socket,
        peer: SocketAddr,
        admission: Admission,
    ) -> Option<Token> {
        let place = shared.connections.borrow().vacant_key();
        let connection = Connection::new(Rc::clone(shared), socket, peer, place as u32);
        // An error here is want of kernel memory: this connection is closed, others may fare better.
        let token = ctx.add_socket(socket, |_| Box::new(connection)).ok()?;
        shared.connections.borrow_mut().insert(Member {
            token,
            leaving: Leaving::Unasked,
            _admission: admission,
        });
        shared.count(|counts| counts.accepted += 1);
        Some(token)
    }

    fn refuse(&self, ctx: &mut Ctx<'_>, socket: Socket) {
        Hits::count(&self.hits.connections);
        // Best effort, in one write: whoever does not get it sees the close. A request that is here already is
        // taken from the socket, since a close over unread input would be a reset.
        let mut buffers = ctx.lend_buffers();
        let _ = ctx.driver().read(socket, &mut buffers.receive);
        ctx.give_back(buffers);
        let _ = ctx.driver().write(socket, BUSY);
        ctx.driver().close(socket);
    }

    /// A connection has closed.
    pub(super) fn remove(&self, ctx: &mut Ctx<'_>, place: u32) {
        let member = self.connections.borrow_mut().try_remove(place as usize);
        if !self.draining.get() {
            return;
        }
        if let (Some(member), Some(drain)) = (member, &mut *self.drain.borrow_mut()) {
            match member.leaving {
                Leaving::Idle => drain.report.idle += 1,
                Leaving::Cut => drain.report.cut += 1,
                Leaving::Unasked | Leaving::Busy | Leaving::Finished => drain.report.finished += 1,
            }
        }
        self.finish_drain(ctx);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Note how a connection leaves in a shutdown. What settles it first counts.
    pub(super) fn note_leaving(&self, place: u32, leaving: Leaving) {
        if let Some(member) = self.connections.borrow_mut().get_mut(place as usize) {
            member.leave(leaving);
        }
    }

    fn cut(&self, ctx: &mut Ctx<'_>) {
        for (_, member) in self.connections.borrow_mut().iter_mut() {
            member.leave(Leaving::Cut);
        }
        for token in self.tokens() {
            ctx.close(token);
        }
        self.finish_drain(ctx);
    }

    fn finish_drain(&self, ctx: &mut Ctx<'_>) {
        if !self.connections.borrow().is_empty() {
            return;
        }
        let Some(drain) = self.drain.take() else {
            return;
        };
        drain.deadline.cancel();
        let report = ShutdownReport {
            took: ctx.time().saturating_duration_since(drain.since),
            ..drain.report
        };
        for done in drain.done {
            ctx.call_soon(move |ctx| done(ctx, report));
        }
    }

    fn tokens(&self) -> Vec<Token> {
        self.connections
            .borrow()
            .iter()
            .map(|(_, member)| member.token)
            .collect()
    }

    pub(super) fn take_scratch(&self) -> Box<Request> {
        self.scratch
            .take()
            .unwrap_or_else(|| Box::new(Request::empty()))
    }

    pub(super) fn put_scratch(&self, request: Box<Request>) {
        self.scratch.set(Some(request));
    }

    /// The `Date` of now: formatted once a second.
    pub(super) fn date(&self, ctx: &Ctx<'_>) -> [u8; 29] {
        let now = ctx.now();
        if self.date_until.get().is_none_or(|until| until <= now) {
            let since = ctx
                .wall_clock()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            self.date.set(date::format(since.as_secs()));
            let left =
                Duration::from_secs(1) - Duration::from_nanos(u64::from(since.subsec_nanos()));
            self.date_until.set(Some(now + left));
        }
        self.date.get()
    }

    pub(super) fn keep_alive_timeout(&self) -> Duration {
        let timeout = self.limits.keep_alive_timeout;
        let crowded = self.crowd.open() > self.connections_max / 5 * 4;
        if crowded {
            timeout.min(SHORT_KEEP_ALIVE)
        } else {
            timeout
        }
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    pub(super) fn count_exchange(&self) {
        self.count(|counts| counts.requests += 1);
    }

    pub(super) fn count_websocket(&self, change: isize) {
        self.count(|counts| counts.websockets = counts.websockets.wrapping_add_signed(change));
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }
}
