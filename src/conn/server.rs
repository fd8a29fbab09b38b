//! A server: listeners, the connections they took in, and what these share.

use std::cell::{Cell, RefCell, RefMut};
use std::fmt;
use std::hint::cold_path;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, TcpListener, TcpStream};
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant, UNIX_EPOCH};

use slab::Slab;

use super::census::{Census, ConnectionInfo};
use super::connection::{Connection, ticks};
use super::crowd::{Crowd, Full};
use super::http::Http;
use super::http_link::HttpLink;
use super::limits::{Hits, Limits, Refusal};
use super::meters::{Meters, RouteReport, Traffic, WebSocketCounts};
use super::service::Service;
use super::wear::Wear;
use super::websocket_settings::WebSocketRules;
use crate::event_loop::{CallHandle, Ctx, Origin, Readiness, Socket, Token};
use crate::net::Acceptor;
use crate::parts::high_water::HighWater;
use crate::proto::http1::Preamble;
#[cfg(feature = "deflate")]
use crate::proto::ws::{Deflate, DeflatePool};

/// The answer to a connection that is one too many.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Connection: close\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n";
/// Keep-alive is cut to this when connections run short.
const SHORT_KEEP_ALIVE_TICKS: u64 = 10_000;
const TICKS_A_SECOND: u64 = 1000;

/// What all connections of a server share.
pub(super) struct Shared {
    pub(super) service: Rc<dyn Service>,
    pub(super) limits: Limits,
    /// [`Limits::keep_alive_timeout`].
    keep_alive_ticks: u64,
    pub(super) hits: Hits,
    crowd: Crowd,
    /// What all connections hold, see [`super::Budget::bytes_max`].
    bytes: Cell<usize>,
    origin: Origin,
    /// Lent to one connection after the other, so that none is made for each request.
    spare_http: Cell<Option<Box<Http>>>,
    connections: RefCell<Slab<Member>>,
    high_water: RefCell<HighWater>,
    /// IPv6 addresses of peers: they are four times as long as others, and rarer.
    long_addresses: RefCell<Slab<SocketAddrV6>>,
    listeners: RefCell<Vec<Token>>,
    preamble: RefCell<Preamble>,
    /// The tick at which it must be formatted anew.
    date_until: Cell<u64>,
    accepted: Cell<u64>,
    requests: Cell<u64>,
    websockets: Cell<usize>,
    pub(super) traffic: Traffic,
    /// What each route does, if that is to be measured.
    meters: Option<Meters>,
    /// What holds for them: one for each route that had any, and for each way in which they compress.
    websocket_rules: RefCell<Vec<Weak<WebSocketRules>>>,
    /// Tasks that outlive their connections.
    detached: Cell<usize>,
    /// What the WebSockets compress with that agreed on no context of their own.
    #[cfg(feature = "deflate")]
    pub(super) deflate_pool: RefCell<DeflatePool>,
    drain: RefCell<Option<Drain>>,
    draining: Cell<bool>,
    wear: Option<RefCell<Wear>>,
    /// An answer may be its connection's last: the server is draining, or connections wear out.
    ends_connections: Cell<bool>,
}

/// A connection, for those who see to all of them.
struct Member {
    token: Token,
    /// Bytes, as of its last visit, or [`CONDEMNED`].
    held: u32,
    leaving: Leaving,
    /// When it came, see [`Member::age`].
    since: [u8; 3],
}

/// Instead of the bytes that a connection holds: too many, its share was given back, and it was woken to hear so.
const CONDEMNED: u32 = u32::MAX;

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
    /// Bytes held for them, see [`super::Budget::bytes_max`].
    pub bytes: usize,
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
    /// The deadline has come: nothing more is waited for.
    is_cut: bool,
    done: Vec<Done>,
}

/// A server on one loop. Cheap to clone; the clones are the same server.
#[derive(Clone)]
pub struct Server(Rc<Shared>);

impl Server {
    /// A server that answers with `service` within `limits`. It listens when [`Server::listen`] is called.
    #[track_caller]
    pub fn new(ctx: &mut Ctx<'_>, service: Rc<dyn Service>, mut limits: Limits) -> Self {
        limits.find_out(ctx);
        let crowd = Crowd::new(&limits);
        Self::counting_in(ctx, service, limits, crowd)
    }

    /// As [`Server::new`], for servers on several loops whose connections count together. How many may come in is as
    /// the limits say that `crowd` was made with.
    #[track_caller]
    pub fn counting_in(
        ctx: &mut Ctx<'_>,
        service: Rc<dyn Service>,
        limits: Limits,
        crowd: Crowd,
    ) -> Self {
        ctx.limit_callbacks(limits.budget.callbacks_max);
        let meters = service.measures_routes().then(Meters::default);
        let wear = Wear::of(&limits);
        Self(Rc::new(Shared {
            service,
            hits: Hits::default(),
            keep_alive_ticks: ticks(limits.keep_alive_timeout),
            ends_connections: Cell::new(wear.is_some()),
            wear: wear.map(RefCell::new),
            limits: crowd.limits_of(limits),
            crowd,
            bytes: Cell::new(0),
            origin: Location::caller(),
            spare_http: Cell::new(None),
            connections: RefCell::default(),
            high_water: RefCell::default(),
            long_addresses: RefCell::default(),
            listeners: RefCell::default(),
            preamble: RefCell::default(),
            date_until: Cell::new(0),
            accepted: Cell::new(0),
            requests: Cell::new(0),
            websockets: Cell::new(0),
            traffic: Traffic::default(),
            meters,
            websocket_rules: RefCell::default(),
            detached: Cell::new(0),
            #[cfg(feature = "deflate")]
            deflate_pool: RefCell::default(),
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
        self.listens(token, local);
        Ok(local)
    }

    /// As [`Server::listen`], on a listener that was made elsewhere, a service manager's for one. Returns its address.
    ///
    /// # Errors
    /// As [`crate::event_loop::Driver::adopt_listener`].
    #[track_caller]
    pub fn listen_on(&self, ctx: &mut Ctx<'_>, listener: TcpListener) -> io::Result<SocketAddr> {
        let (token, local) = Acceptor::listen_on(ctx, listener, self.taking_in())?;
        self.listens(token, local);
        Ok(local)
    }

    fn listens(&self, token: Token, address: SocketAddr) {
        self.0.listeners.borrow_mut().push(token);
        crate::event!(
            info,
            "listening on {address}, within these limits:\n{}",
            self.0.limits
        );
    }

    fn taking_in(&self) -> impl FnMut(&mut Ctx<'_>, Socket, SocketAddr) + use<> {
        let shared = Rc::clone(&self.0);
        move |ctx, socket, peer| {
            if let Some(token) = Shared::accept(&shared, ctx, socket, peer) {
                // The request is often there already, and with it the end.
                ctx.visit(token, Readiness::READABLE);
                ctx.register_late(socket, token);
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

    /// Serve a connection that was accepted elsewhere. One too many is refused as by [`Limits::refusal`].
    ///
    /// # Errors
    /// As [`crate::event_loop::Driver::adopt`].
    pub fn adopt(&self, ctx: &mut Ctx<'_>, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let socket = ctx.driver().adopt(stream)?;
        if let Some(token) = Shared::accept(&self.0, ctx, socket, peer) {
            ctx.register_late(socket, token);
            ctx.wake(token);
        }
        Ok(())
    }

    /// Let one in that another server of the same crowd is to serve, by [`Server::adopt_admitted`]; or refuse it.
    /// Whether it is in: then either that server, or [`Crowd::leave`], must hear of it.
    pub(crate) fn admit(&self, ctx: &mut Ctx<'_>, socket: Socket, peer: SocketAddr) -> bool {
        self.0.admit(ctx, socket, peer)
    }

    /// As [`Server::adopt`], for a connection that was let in, on a driver that reads nothing of it before its first
    /// poll: so no handler runs in here.
    pub(crate) fn adopt_admitted(
        &self,
        ctx: &mut Ctx<'_>,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> io::Result<()> {
        let adopted = ctx.driver().adopt(stream);
        let socket = adopted.inspect_err(|_| self.0.crowd.leave(peer.ip()))?;
        let token = Shared::take_in(&self.0, ctx, socket, peer);
        ctx.register_late(socket, token);
        ctx.visit(token, Readiness::NONE);
        Ok(())
    }

    /// Tell one who was let in, and has left again, that there is no room after all.
    pub(crate) fn turn_away(&self, ctx: &mut Ctx<'_>, socket: Socket) {
        Hits::count(&self.0.hits.connections);
        self.0.turn_away(ctx, socket);
    }

    /// Whom this server's connections count with, for [`Server::counting_in`].
    pub fn crowd(&self) -> &Crowd {
        &self.0.crowd
    }

    /// Stop taking connections; close those that are idle at once, let those that are busy finish (with `Connection:
    /// close`), send 1001 to WebSockets, wait for tasks that outlive their connections ([`super::OnDisconnect`]); what
    /// is left after `deadline` is cut. Then `done` is called with what happened. A second call while the first is
    /// under way moves the deadline.
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
        shared.ends_connections.set(true);
        let open = shared.connections.borrow().len();
        crate::event!(
            info,
            "shutting down within {deadline:?}, {open} connections are open"
        );
        let cutter = Rc::clone(shared);
        let deadline = ctx.call_later(deadline, move |ctx| cutter.cut(ctx));
        let report = ShutdownReport::default();
        let drain = Drain {
            since: ctx.time(),
            report,
            deadline,
            is_cut: false,
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
        let shared = &self.0;
        Counts {
            accepted: shared.accepted.get(),
            open: shared.connections.borrow().len(),
            requests: shared.requests.get(),
            websockets: shared.websockets.get(),
            bytes: shared.bytes.get(),
        }
    }

    /// Every connection, described. Costs a pass over all of them. One that is being visited is not among them: a
    /// handler that is called does not see its own.
    pub fn census(&self, ctx: &mut Ctx<'_>) -> Census {
        let tick = ctx.tick();
        let mut members: Vec<(Token, Duration)> = (self.0.connections.borrow().iter())
            .map(|(_, member)| (member.token, member.age(tick)))
            .collect();
        members.sort_by_key(|(token, age)| (std::cmp::Reverse(*age), *token));
        let describe = |(token, age)| {
            let found = ctx.inspect(token)?;
            let descriptor = found
                .socket
                .and_then(|socket| ctx.driver().descriptor_of(socket));
            ConnectionInfo::new((token, age, tick), descriptor, &found)
        };
        Census {
            connections: members.into_iter().filter_map(describe).collect(),
        }
    }

    /// Close the connection that `token` names. What it has not written yet is lost. `false` when it names none of this
    /// server's.
    pub fn close(&self, ctx: &mut Ctx<'_>, token: Token) -> bool {
        let is_ours = self.0.tokens().contains(&token);
        if is_ours {
            ctx.close(token);
        }
        is_ours
    }

    /// What each route has done so far, and what was answered without one; those that have done nothing are left out.
    /// Empty unless the service says that routes are measured ([`Service::measures_routes`]).
    pub fn route_counts(&self) -> Vec<RouteReport> {
        let meters = self.0.meters.as_ref();
        meters.map_or_else(Vec::new, |meters| meters.reports(&*self.0.service))
    }

    /// What has gone over its WebSockets so far.
    pub fn websocket_counts(&self) -> WebSocketCounts {
        self.0.traffic.counts()
    }

    /// The limits that are in force, with [`super::Budget::connections_max`] as it was found out; and with those of the
    /// crowd, if it counts in one.
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

/// A time in seconds, from that of the loop's beginning on; the lowest 24 bits.
fn short_time(tick: u64) -> [u8; 3] {
    let [low, middle, high, ..] = (tick / TICKS_A_SECOND).to_le_bytes();
    [low, middle, high]
}

impl Member {
    /// Bytes that the server counts as held by it.
    fn held(&self) -> usize {
        match self.held {
            CONDEMNED => 0,
            held => held as usize,
        }
    }

    /// How long it has been there, in whole seconds. Who stays for 194 days looks young again.
    fn age(&self, tick: u64) -> Duration {
        let number = |[low, middle, high]: [u8; 3]| u32::from_le_bytes([low, middle, high, 0]);
        let seconds = number(short_time(tick)).wrapping_sub(number(self.since));
        Duration::from_secs(u64::from(seconds & 0xff_ffff))
    }

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
    /// Take a connection in, or refuse it. It has to be visited, and its socket registered.
    fn accept(
        shared: &Rc<Self>,
        ctx: &mut Ctx<'_>,
        socket: Socket,
        peer: SocketAddr,
    ) -> Option<Token> {
        let is_let_in = shared.admit(ctx, socket, peer);
        is_let_in.then(|| Self::take_in(shared, ctx, socket, peer))
    }

    /// Let `peer` in, where it is counted from now on; or refuse it, for the limit that is against it.
    fn admit(&self, ctx: &mut Ctx<'_>, socket: Socket, peer: SocketAddr) -> bool {
        let hits = if self.is_nearly_full() {
            &self.hits.bytes
        } else {
            match self.crowd.enter(peer.ip(), ctx.now()) {
                Ok(()) => return true,
                Err(Full::Connections) => &self.hits.connections,
                Err(Full::Peer) => &self.hits.connections_per_peer,
                Err(Full::Rate) => &self.hits.accept_rate,
            }
        };
        Hits::count(hits);
        self.turn_away(ctx, socket);
        false
    }

    /// Serve one who was let in, once its socket is registered.
    fn take_in(shared: &Rc<Self>, ctx: &mut Ctx<'_>, socket: Socket, peer: SocketAddr) -> Token {
        let place = shared.connections.borrow().vacant_key();
        let link = HttpLink::new(Rc::clone(shared));
        let connection = Connection::new(link, socket, peer, place as u32);
        if let Some(wear) = &shared.wear {
            wear.borrow_mut().begin(place as u32, ctx.tick());
        }
        let token = ctx.add_source(|_| Box::new(connection));
        let mut connections = shared.connections.borrow_mut();
        connections.insert(Member {
            token,
            held: 0,
            leaving: Leaving::Unasked,
            since: short_time(ctx.tick()),
        });
        shared.high_water.borrow_mut().rose_to(connections.len());
        drop(connections);
        shared.accepted.set(shared.accepted.get() + 1);
        crate::event!(debug, "connection {token} of {peer} accepted");
        token
    }

    fn turn_away(&self, ctx: &mut Ctx<'_>, socket: Socket) {
        if self.limits.refusal == Refusal::Answer {
            // Best effort, in one write: whoever does not get it sees the close. A request that is here already is
            // taken from the socket, since a close over unread input would be a reset.
            let mut buffers = ctx.lend_buffers();
            let _ = ctx.read(socket, &mut buffers.receive);
            ctx.give_back(buffers);
            let _ = ctx.write(socket, BUSY);
        }
        ctx.driver().close(socket);
    }

    /// Keep a peer's address. Returns what [`Shared::long_address`] finds it by.
    pub(super) fn keep_long_address(&self, address: SocketAddrV6) -> u32 {
        self.long_addresses.borrow_mut().insert(address) as u32
    }

    pub(super) fn long_address(&self, number: u32) -> SocketAddrV6 {
        self.long_addresses.borrow()[number as usize]
    }

    pub(super) fn forget_long_address(&self, number: u32) {
        self.long_addresses.borrow_mut().remove(number as usize);
    }

    /// A connection has closed.
    pub(super) fn remove(&self, ctx: &mut Ctx<'_>, place: u32, peer: IpAddr) {
        let mut connections = self.connections.borrow_mut();
        let member = connections.try_remove(place as usize);
        if let Some(member) = &member {
            self.bytes.set(self.bytes.get() - member.held());
            self.crowd.leave(peer);
            if self
                .high_water
                .borrow_mut()
                .fell_to(connections.len(), connections.capacity())
            {
                connections.shrink_to_fit();
                // What it holds has grown with the requests of these connections, among all that was theirs.
                self.spare_http.set(None);
            }
        }
        drop(connections);
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

    /// Whether so much is held that nothing new is begun.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.bytes.get() > self.limits.budget.bytes_max / 8 * 7
    }

    /// A connection's visit has left so many bytes with it. If that is too much, those who hold most have to go.
    pub(super) fn hold(&self, ctx: &Ctx<'_>, place: u32, bytes: usize) {
        let mut connections = self.connections.borrow_mut();
        match connections.get_mut(place as usize) {
            // Its share was given back when it was told to go.
            Some(member) if member.held != CONDEMNED => {
                let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(CONDEMNED - 1);
                let others = self.bytes.get() - member.held();
                self.bytes.set(others + bytes as usize);
                member.held = bytes;
            }
            _ => return,
        }
        // A pass over all, which pays: to get here again, peers must first send as much as the largest had.
        while self.bytes.get() > self.limits.budget.bytes_max
            && let Some((_, largest)) = connections.iter_mut().max_by_key(|(_, one)| one.held())
        {
            Hits::count(&self.hits.bytes);
            self.bytes.set(self.bytes.get() - largest.held());
            largest.held = CONDEMNED;
            ctx.wake(largest.token);
        }
        ctx.record_bytes_held(self.bytes.get());
    }

    /// Whether a connection has to go because of what it holds. It is told once.
    pub(super) fn take_condemned(&self, place: u32) -> bool {
        let mut connections = self.connections.borrow_mut();
        match connections.get_mut(place as usize) {
            Some(member) if member.held == CONDEMNED => {
                member.held = 0;
                true
            }
            _ => false,
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Whether there are answers that are the last of their connections.
    #[inline]
    pub(super) fn ends_connections(&self) -> bool {
        self.ends_connections.get()
    }

    /// A connection answers: whether it ends behind that. To be asked once for each answer.
    pub(super) fn is_last_answer(&self, ctx: &Ctx<'_>, place: u32) -> bool {
        let wears_out = |wear: &RefCell<Wear>| {
            wear.borrow_mut()
                .is_last_answer(place, ctx.tick(), &self.hits)
        };
        self.is_draining() || self.wear.as_ref().is_some_and(wears_out)
    }

    /// Note how a connection leaves in a shutdown. What settles it first counts.
    pub(super) fn note_leaving(&self, place: u32, leaving: Leaving) {
        if let Some(member) = self.connections.borrow_mut().get_mut(place as usize) {
            member.leave(leaving);
        }
    }

    fn cut(&self, ctx: &mut Ctx<'_>) {
        if let Some(drain) = &mut *self.drain.borrow_mut() {
            drain.is_cut = true;
        }
        for (_, member) in self.connections.borrow_mut().iter_mut() {
            member.leave(Leaving::Cut);
        }
        for token in self.tokens() {
            ctx.close(token);
        }
        self.finish_drain(ctx);
    }

    /// End the shutdown, if there is one and it has waited for everyone.
    pub(super) fn finish_drain(&self, ctx: &mut Ctx<'_>) {
        if !self.connections.borrow().is_empty() {
            return;
        }
        let waits = |drain: &mut Drain| drain.is_cut || self.detached.get() == 0;
        let Some(drain) = self.drain.borrow_mut().take_if(waits) else {
            return;
        };
        drain.deadline.cancel();
        let report = ShutdownReport {
            took: ctx.time().saturating_duration_since(drain.since),
            ..drain.report
        };
        crate::event!(info, "shut down: {report}");
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

    /// For a connection at rest to which something comes.
    #[inline(always)]
    pub(super) fn lend_http(&self) -> Box<Http> {
        self.spare_http.take().unwrap_or_else(|| {
            cold_path();
            Box::new(Http::new())
        })
    }

    /// From a connection that is at rest again. One is kept; what a burst of busy connections needed is freed. The one
    /// at the lower address, since the allocator gives back from the top.
    #[inline]
    pub(super) fn keep_spare(&self, http: Box<Http>) {
        let address = |http: &Http| std::ptr::from_ref(http).addr();
        let kept = match self.spare_http.take() {
            None => http,
            Some(spare) => {
                cold_path();
                match address(&spare) < address(&http) {
                    true => spare,
                    false => http,
                }
            }
        };
        self.spare_http.set(Some(kept));
    }

    /// From a connection that speaks HTTP no more.
    pub(super) fn take_back(&self, mut http: Box<Http>) {
        http.renew();
        self.keep_spare(http);
    }

    /// What answers begin with now: the date is formatted once a second.
    #[inline]
    pub(super) fn preamble(&self, ctx: &Ctx<'_>) -> RefMut<'_, Preamble> {
        if self.date_until.get() <= ctx.tick() {
            self.renew_date(ctx);
        }
        self.preamble.borrow_mut()
    }

    #[cold]
    fn renew_date(&self, ctx: &Ctx<'_>) {
        let since = ctx
            .wall_clock()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.preamble.borrow_mut().set_date(since.as_secs());
        let left = 1000 - u64::from(since.subsec_millis());
        self.date_until.set(ctx.tick() + left);
    }

    /// How long a connection may be at rest.
    #[inline]
    pub(super) fn keep_alive_ticks(&self) -> u64 {
        match self.crowd.is_crowded() {
            true => self.keep_alive_ticks.min(SHORT_KEEP_ALIVE_TICKS),
            false => self.keep_alive_ticks,
        }
    }

    /// What holds for a WebSocket of `route`. One that compresses with a context of its own has it for itself.
    pub(super) fn websocket_rules(
        self: &Rc<Self>,
        route: u32,
        origin: Origin,
        #[cfg(feature = "deflate")] deflate: Option<Deflate>,
    ) -> Rc<WebSocketRules> {
        #[cfg(feature = "deflate")]
        let compresses_so = |rules: &WebSocketRules| match (&rules.deflate, &deflate) {
            (None, None) => true,
            (Some(known), Some(deflate)) => known.borrow().can_stand_for(deflate),
            _ => false,
        };
        #[cfg(not(feature = "deflate"))]
        let compresses_so = |_: &WebSocketRules| true;
        let mut all = self.websocket_rules.borrow_mut();
        let is_of = |rules: &Rc<WebSocketRules>| rules.route == route && compresses_so(rules);
        if let Some(rules) = all.iter().filter_map(Weak::upgrade).find(is_of) {
            return rules;
        }
        let settings = self.service.websocket(route);
        #[cfg_attr(not(feature = "deflate"), expect(unused_mut))]
        let mut rules = WebSocketRules::new(self, route, origin, settings);
        #[cfg(feature = "deflate")]
        if let Some(deflate) = deflate {
            let is_shared = deflate.is_shared();
            rules.deflate = Some(RefCell::new(deflate));
            if !is_shared {
                return Rc::new(rules);
            }
        }
        let rules = Rc::new(rules);
        all.retain(|rules| rules.strong_count() > 0);
        all.push(Rc::downgrade(&rules));
        rules
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    pub(super) fn count_exchange(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    /// Measures what each route does, if that is wanted.
    pub(super) fn meters(&self) -> Option<&Meters> {
        self.meters.as_ref()
    }

    pub(super) fn count_websocket(&self, change: isize) {
        self.websockets
            .set(self.websockets.get().wrapping_add_signed(change));
    }

    pub(super) fn count_detached(&self, change: isize) {
        let detached = self.detached.get().wrapping_add_signed(change);
        self.detached.set(detached);
        self.crowd.count_detached(change);
    }
}
