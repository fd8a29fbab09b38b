//! An app: routes, state, limits, and how it is served.

use std::fmt;
use std::hint::cold_path;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::handler::Handler;
use super::router::{ANY, Match, Path, Router, name_of};
use super::socket::Upgrade;
use super::state::Shared;
use super::test_app::TestApp;
use crate::conn::{
    BodyPlan, Crowd, Limits, Origins, Reply, Request, Response, Server, Service, ShutdownReport,
    WebSocketSettings,
};
use crate::event_loop::{Ctx, EventLoop, Origin, Signal};
#[cfg(feature = "deflate")]
use crate::proto::ws::DeflateOptions;

/// Routes and the state their handlers share.
///
/// ```no_run
/// use tourbillon::web::{App, Request};
///
/// fn hello(request: &Request, visits: &mut u64) -> String {
///     *visits += 1;
///     format!("Hello, {}! You are visitor {visits}.\n", request.param("name").unwrap_or_default())
/// }
///
/// let report = App::new(0).get("/hello/{name}", hello).serve("127.0.0.1:8080")?;
/// println!("stopped: {report}");
/// # std::io::Result::Ok(())
/// ```
pub struct App<S> {
    router: Router,
    routes: Vec<Route<S>>,
    state: Shared<S>,
    limits: Limits,
    why_one_loop: Option<&'static str>,
    dumps_tasks: bool,
    measures_routes: bool,
    /// Who wants to know of its server, each by a number of its own.
    on_serve: Vec<(usize, OnServe)>,
    /// The paths of the routes, for reports.
    names: Vec<Arc<str>>,
}

type OnServe = Box<dyn FnOnce(&mut Ctx<'_>, &Server)>;

struct Route<S> {
    method: &'static str,
    path: Path,
    answer: Answer<S>,
    streams_body: bool,
    origin: Origin,
    /// How its WebSockets are kept.
    websocket: Option<Box<WebSocketSettings>>,
}

enum Answer<S> {
    Handler(Box<dyn Handler<S>>),
    WebSocket(Box<Open<S>>),
}

/// An [`Upgrade`], whatever it gets.
type Open<S> = dyn Fn(&mut Request, &Shared<S>, Option<&'static str>, Origin) -> Reply;

impl<S: 'static> App<S> {
    /// An app without routes.
    pub fn new(state: S) -> Self {
        Self {
            router: Router::default(),
            routes: Vec::new(),
            state: Shared::new(state),
            limits: Limits::default(),
            why_one_loop: None,
            dumps_tasks: true,
            measures_routes: false,
            on_serve: Vec::new(),
            names: Vec::new(),
        }
    }

    /// Serve within `limits` instead of the defaults. They print themselves, a line each; [`Server::limits`] has them
    /// while they are in force, and [`Server::hits`] how often each was hit.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use tourbillon::web::{App, Budget, Limits};
    ///
    /// let limits = Limits {
    ///     handler_timeout: Duration::from_secs(5),
    ///     budget: Budget { bytes_max: 64 << 20, ..Budget::default() },
    ///     ..Limits::default()
    /// };
    /// print!("{limits}");
    /// App::new(()).limits(limits).serve("127.0.0.1:8080")?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Say that all connections must be served by one loop, and why, in a few words. An engine of several refuses to
    /// start then, instead of serving something else than was meant.
    ///
    /// ```
    /// use tourbillon::web::{App, Engine, Request};
    ///
    /// let make_app = || {
    ///     App::new(0)
    ///         .needs_one_loop("it counts its visitors")
    ///         .get("/", |_: &Request, visits: &mut u32| { *visits += 1; visits.to_string() })
    /// };
    /// let refused = Engine::Loops(2).start("127.0.0.1:0", make_app).unwrap_err();
    /// assert_eq!(
    ///     refused.to_string(),
    ///     "the engine loops:2 cannot serve this app, which needs one loop: it counts its visitors"
    /// );
    /// ```
    pub fn needs_one_loop(mut self, why: &'static str) -> Self {
        self.why_one_loop = Some(why);
        self
    }

    /// Leave SIGUSR1 to the program. Without this, [`App::serve`] and [`super::Engine::serve`] print every task and
    /// what it waits on to standard error when that signal comes, see [`Ctx::dump_tasks_on`]. They do so in any build,
    /// since it is in production that one asks where a program is stuck.
    pub fn without_task_dump(mut self) -> Self {
        self.dumps_tasks = false;
        self
    }

    /// Measure how long the requests of each route take, and count their answers by status: [`Server::route_counts`]
    /// tells. It costs a reading of the clock for each answer, some tens of nanoseconds, and 20 KiB for each route that
    /// is asked for.
    ///
    /// It also makes slow turns ([`crate::event_loop::SlowTurn`]) name the route whose called handler was slow.
    pub fn measure_routes(mut self) -> Self {
        self.measures_routes = true;
        self
    }

    /// Have `hook` called once it is served, with the loop and the server. Of several with one number the first counts.
    #[cfg(feature = "metrics")]
    pub(crate) fn on_serve(
        mut self,
        number: usize,
        hook: impl FnOnce(&mut Ctx<'_>, &Server) + 'static,
    ) -> Self {
        if !self.on_serve.iter().any(|(other, _)| *other == number) {
            self.on_serve.push((number, Box::new(hook)));
        }
        self
    }

    /// It serves one connection at a time, on a loop that nobody looks at.
    pub(super) fn unseen(mut self) -> Self {
        self.on_serve.clear();
        self
    }

    pub(super) fn dumps_tasks(&self) -> bool {
        self.dumps_tasks
    }

    pub(super) fn why_one_loop(&self) -> Option<&'static str> {
        self.why_one_loop
    }

    pub(super) fn limits_mut(&mut self) -> &mut Limits {
        &mut self.limits
    }

    /// The state, for callbacks and tasks that are not handlers.
    pub fn state(&self) -> Shared<S> {
        self.state.clone()
    }

    /// Answer GET, and HEAD without the body. In a path, `{name}` stands for one segment and `{*name}` for the rest.
    ///
    /// # Panics
    /// When the path is not well formed, or the route is there already. So do the methods below.
    #[track_caller]
    pub fn get(self, path: &'static str, handler: impl Handler<S>) -> Self {
        self.route("GET", path, handler)
    }

    /// Answer POST.
    #[track_caller]
    pub fn post(self, path: &'static str, handler: impl Handler<S>) -> Self {
        self.route("POST", path, handler)
    }

    /// Answer PUT.
    #[track_caller]
    pub fn put(self, path: &'static str, handler: impl Handler<S>) -> Self {
        self.route("PUT", path, handler)
    }

    /// Answer PATCH.
    #[track_caller]
    pub fn patch(self, path: &'static str, handler: impl Handler<S>) -> Self {
        self.route("PATCH", path, handler)
    }

    /// Answer DELETE.
    #[track_caller]
    pub fn delete(self, path: &'static str, handler: impl Handler<S>) -> Self {
        self.route("DELETE", path, handler)
    }

    /// Answer every method.
    #[track_caller]
    pub fn any(self, path: &'static str, handler: impl Handler<S>) -> Self {
        self.route(ANY, path, handler)
    }

    /// Answer `method`, in capital letters as it is sent.
    #[track_caller]
    pub fn route(self, method: &'static str, path: &'static str, handler: impl Handler<S>) -> Self {
        self.add(
            method,
            path,
            Answer::Handler(Box::new(handler)),
            Location::caller(),
        )
    }

    /// Open WebSockets: for pages of the server's own origin, and for all who are no browser, see [`Origins`].
    #[track_caller]
    pub fn ws<G: 'static>(self, path: &'static str, upgrade: impl Upgrade<S, G>) -> Self {
        let open = move |request: &mut Request, state: &Shared<S>, subprotocol, origin| {
            upgrade.upgrade(request, state, subprotocol, origin)
        };
        self.add(
            "GET",
            path,
            Answer::WebSocket(Box::new(open)),
            Location::caller(),
        )
    }

    /// Open WebSockets that are kept as `settings` say, and not as the server's limits do.
    ///
    /// # Panics
    /// As [`App::get`]; and when the settings are not in order, see [`WebSocketSettings`].
    #[track_caller]
    pub fn ws_with<G: 'static>(
        self,
        path: &'static str,
        settings: WebSocketSettings,
        upgrade: impl Upgrade<S, G>,
    ) -> Self {
        settings.check();
        let mut app = self.ws(path, upgrade);
        if let Some(route) = app.routes.last_mut() {
            route.websocket = Some(Box::new(settings));
        }
        app
    }

    /// Open WebSockets whose messages may be compressed, if the client agrees (permessage-deflate).
    ///
    /// ```
    /// use tourbillon::proto::ws::DeflateOptions;
    /// use tourbillon::web::{App, Message, Peer, Request, Socket};
    ///
    /// struct Echo;
    /// impl Socket<()> for Echo {
    ///     fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, _: &mut ()) {
    ///         peer.send(message);
    ///     }
    /// }
    /// let app = App::new(())
    ///     .ws_deflate("/echo", DeflateOptions::default(), |_: &Request, _: &mut ()| Ok(Echo));
    /// # drop(app);
    /// ```
    ///
    /// # Panics
    /// As [`App::ws_with`].
    #[cfg(feature = "deflate")]
    #[track_caller]
    pub fn ws_deflate<G: 'static>(
        self,
        path: &'static str,
        options: DeflateOptions,
        upgrade: impl Upgrade<S, G>,
    ) -> Self {
        let settings = WebSocketSettings {
            deflate: Some(options),
            ..WebSocketSettings::default()
        };
        self.ws_with(path, settings, upgrade)
    }

    /// Take in all routes of `inner`, each under `prefix`: what `inner` answers at `/x` is answered here at `prefix/x`.
    /// They keep the state of `inner`. Everything else of it is left behind: this app's limits hold for both.
    ///
    /// Where `inner` answers GET at `/`, so that its pages can name each other by relative paths, a request for
    /// `prefix` alone is sent there.
    ///
    /// ```
    /// use tourbillon::web::{App, Request};
    ///
    /// let shop = App::new(Vec::<String>::new())
    ///     .get("/", |_: &Request, orders: &mut Vec<String>| format!("{} orders", orders.len()))
    ///     .post("/orders/{item}", |request: &Request, orders: &mut Vec<String>| {
    ///         orders.push(request.param("item").unwrap_or_default().into_owned());
    ///     });
    /// let app = App::new(()).get("/", |_: &Request, _: &mut ()| "ours").mount("/shop", shop);
    ///
    /// let mut test = app.into_test()?;
    /// assert_eq!(test.get("/shop").header("location"), Some("shop/"));
    /// test.post("/shop/orders/tea", "");
    /// assert_eq!(test.get("/shop/").body().as_bytes(), Some(&b"1 orders"[..]));
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Panics
    /// When `prefix` is not well formed: it begins with a slash, does not end with one, and has no parameters. When a
    /// route is there already.
    #[track_caller]
    pub fn mount<T: 'static>(mut self, prefix: &'static str, inner: App<T>) -> Self {
        assert!(
            !prefix.ends_with('/') && prefix.split('/').all(|segment| name_of(segment).is_none()),
            "the prefix {prefix:?} ends with a slash, or has a parameter"
        );
        let mut has_root = false;
        for route in inner.routes {
            has_root |= route.path.is_root() && ["GET", ANY].contains(&route.method);
            self.add_route(route.under(prefix, &inner.state));
        }
        if !has_root {
            return self;
        }
        let (_, last) = prefix.rsplit_once('/').unwrap_or_default();
        self.get(prefix, move |_: &Request, _: &mut S| {
            Response::of_status(308).with_header("location", &format!("{last}/"))
        })
    }

    #[track_caller]
    fn add(
        mut self,
        method: &'static str,
        path: &'static str,
        answer: Answer<S>,
        origin: Origin,
    ) -> Self {
        let streams_body = matches!(&answer, Answer::Handler(handler) if handler.streams_body());
        self.add_route(Route {
            method,
            path: Path::new(path),
            answer,
            streams_body,
            origin,
            websocket: None,
        });
        self
    }

    #[track_caller]
    fn add_route(&mut self, route: Route<S>) {
        let number = self.routes.len() as u32;
        self.router.add(route.method, &route.path, number);
        self.names.push(route.path.to_string().into());
        self.routes.push(route);
    }

    /// Serve on `address` until SIGINT or SIGTERM, on a loop of its own. The first signal begins a graceful shutdown
    /// within [`Limits::shutdown_timeout`], a second one ends it. On SIGUSR1 it prints its tasks, unless
    /// [`App::without_task_dump`] says otherwise.
    ///
    /// # Errors
    /// When the address cannot be listened on: in use, not this machine's, not allowed, or not an address.
    #[track_caller]
    pub fn serve(self, address: impl ToSocketAddrs) -> io::Result<ShutdownReport> {
        let mut event_loop = EventLoop::new()?;
        let mut ctx = event_loop.ctx();
        if self.dumps_tasks {
            dump_tasks_on_user1(&mut ctx)?;
        }
        let (server, _) = self.listen(&mut ctx, address)?;
        let report = stop_on_signals(&mut ctx, &server)?;
        event_loop.run()?;
        Ok(report.with(|report| *report))
    }

    /// Serve on `address` on the loop of `ctx`. Returns the server, to shut it down, and the address with its port.
    ///
    /// # Errors
    /// As [`App::serve`].
    #[track_caller]
    pub fn listen(
        self,
        ctx: &mut Ctx<'_>,
        address: impl ToSocketAddrs,
    ) -> io::Result<(Server, SocketAddr)> {
        let server = self.into_server(ctx, None);
        let mut local = None;
        for address in address.to_socket_addrs()? {
            local = Some(server.listen(ctx, address)?);
        }
        let local = local.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on")
        })?;
        Ok((server, local))
    }

    /// As [`App::listen`], on a listener that was made elsewhere: by a service manager that hands over its descriptor,
    /// or by a program that binds first and gives up its privileges then.
    ///
    /// ```
    /// use std::net::TcpListener;
    /// use tourbillon::event_loop::EventLoop;
    /// use tourbillon::web::{App, Request};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let mut event_loop = EventLoop::new()?;
    /// let app = App::new(()).get("/", |_: &Request, _: &mut ()| "Hello!");
    /// let (server, address) = app.listen_on(&mut event_loop.ctx(), listener)?;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As [`crate::event_loop::Driver::adopt_listener`].
    #[track_caller]
    pub fn listen_on(
        self,
        ctx: &mut Ctx<'_>,
        listener: TcpListener,
    ) -> io::Result<(Server, SocketAddr)> {
        let server = self.into_server(ctx, None);
        let local = server.listen_on(ctx, listener)?;
        Ok((server, local))
    }

    /// A server that does not listen yet. Its connections count in `crowd`, or by themselves.
    #[track_caller]
    pub(super) fn into_server(mut self, ctx: &mut Ctx<'_>, crowd: Option<Crowd>) -> Server {
        let limits = self.limits.clone();
        let hooks = std::mem::take(&mut self.on_serve);
        let server = match crowd {
            Some(crowd) => Server::counting_in(ctx, Rc::new(self), limits, crowd),
            None => Server::new(ctx, Rc::new(self), limits),
        };
        for (_, hook) in hooks {
            hook(ctx, &server);
        }
        server
    }

    /// The app without a socket, for tests.
    ///
    /// # Errors
    /// When the operating system refuses a loop.
    pub fn into_test(self) -> io::Result<TestApp> {
        let handler_timeout = self.limits.handler_timeout;
        TestApp::new(Rc::new(self), handler_timeout)
    }
}

/// On SIGINT or SIGTERM, shut `server` down gracefully, within its [`Limits::shutdown_timeout`], and stop the loop; on
/// a second one at once. What it did is in the returned state when the loop has stopped.
///
/// # Errors
/// When the signals cannot be caught.
pub fn stop_on_signals(ctx: &mut Ctx<'_>, server: &Server) -> io::Result<Shared<ShutdownReport>> {
    let report = Shared::new(ShutdownReport::default());
    let calls = Shared::new(0_u32);
    for signal in [Signal::Interrupt, Signal::Terminate] {
        let (server, report, calls) = (server.clone(), report.clone(), calls.clone());
        ctx.on_signal(signal, move |ctx| {
            let is_first = calls.with(|calls| std::mem::replace(calls, 1) == 0);
            let deadline = if is_first {
                server.limits().shutdown_timeout
            } else {
                Duration::ZERO
            };
            let report = report.clone();
            server.shutdown(ctx, deadline, move |ctx, did| {
                report.with(|report| *report = did);
                ctx.stop();
            });
        })?;
    }
    Ok(report)
}

/// See [`App::without_task_dump`]. Where there is no such signal, nothing is printed.
pub(super) fn dump_tasks_on_user1(ctx: &mut Ctx<'_>) -> io::Result<()> {
    if cfg!(unix) {
        ctx.dump_tasks_on(Signal::User1)?;
    }
    Ok(())
}

impl<S: 'static> App<S> {
    /// Look up the request's route, and note it there. Without one: what is to be said instead.
    #[inline(always)]
    fn find_route(&self, request: &mut Request) -> Result<&Route<S>, Response> {
        let (head, parameters) = request.to_route();
        match self.router.find(head, parameters) {
            Match::Route(route) => {
                request.set_route(route);
                Ok(&self.routes[route as usize])
            }
            Match::OtherMethod(allow) => {
                cold_path();
                Err(other_method(request, &allow))
            }
            Match::Nothing => {
                cold_path();
                Err(Response::of_status(404))
            }
        }
    }
}

/// The answer to a method that a path does not have; `allow` are those that it has.
#[cold]
fn other_method(request: &Request, allow: &str) -> Response {
    let status = match request.method() {
        // RFC 9110, 9.3.7: what can be done here.
        "OPTIONS" => 204,
        _ => 405,
    };
    Response::of_status(status).with_header("allow", allow)
}

impl<S: 'static> Route<S> {
    /// The same for an app with another state, which is not asked for.
    fn under<T: 'static>(self, prefix: &'static str, state: &Shared<S>) -> Route<T> {
        let state = state.clone();
        let answer = match self.answer {
            Answer::Handler(handler) => Answer::Handler(Box::new(Mounted { handler, state })),
            Answer::WebSocket(open) => Answer::WebSocket(Box::new(
                move |request: &mut Request, _: &Shared<T>, subprotocol, origin| {
                    open(request, &state, subprotocol, origin)
                },
            )),
        };
        Route {
            method: self.method,
            path: self.path.under(prefix),
            answer,
            streams_body: self.streams_body,
            origin: self.origin,
            websocket: self.websocket,
        }
    }

    #[inline]
    fn call(&self, ctx: &mut Ctx<'_>, request: &mut Request, state: &Shared<S>) -> Reply {
        match &self.answer {
            Answer::Handler(handler) => handler.call(ctx, request, state),
            Answer::WebSocket(open) => {
                cold_path();
                self.open(open, request, state)
            }
        }
    }

    /// A request for a WebSocket: what the route says of it comes before what its handler says.
    #[inline(never)]
    fn open(&self, open: &Open<S>, request: &mut Request, state: &Shared<S>) -> Reply {
        let (origins, subprotocols) = match &self.websocket {
            Some(settings) => (&settings.origins, settings.subprotocols.as_slice()),
            None => (&Origins::Same, &[][..]),
        };
        if let Err(refusal) = origins.check(request) {
            return Reply::Now(refusal);
        }
        let subprotocol = request.choose_subprotocol(subprotocols);
        open(request, state, subprotocol, self.origin)
    }
}

/// A handler with the state of the app that it comes from.
struct Mounted<S> {
    handler: Box<dyn Handler<S>>,
    state: Shared<S>,
}

impl<S: 'static, T: 'static> Handler<T> for Mounted<S> {
    fn call(&self, ctx: &mut Ctx<'_>, request: &mut Request, _: &Shared<T>) -> Reply {
        self.handler.call(ctx, request, &self.state)
    }

    fn streams_body(&self) -> bool {
        self.handler.streams_body()
    }
}

impl<S: 'static> Service for App<S> {
    fn plan(&self, request: &mut Request) -> BodyPlan {
        match self.find_route(request) {
            Ok(route) if route.streams_body => BodyPlan::Stream,
            Ok(_) => BodyPlan::Whole {
                bytes_max: self.limits.body_bytes_max,
            },
            Err(refusal) => BodyPlan::Refuse(refusal),
        }
    }

    fn call(&self, ctx: &mut Ctx<'_>, request: &mut Request) -> Reply {
        self.routes[request.route() as usize].call(ctx, request, &self.state)
    }

    fn answer(&self, ctx: &mut Ctx<'_>, request: &mut Request) -> Reply {
        match self.find_route(request) {
            Ok(route) => route.call(ctx, request, &self.state),
            Err(refusal) => Reply::Now(refusal),
        }
    }

    fn origin(&self, route: u32) -> Origin {
        self.routes[route as usize].origin
    }

    fn route_name(&self, route: u32) -> Option<(&'static str, Arc<str>)> {
        let route = route as usize;
        Some((self.routes[route].method, Arc::clone(&self.names[route])))
    }

    fn measures_routes(&self) -> bool {
        self.measures_routes
    }

    fn websocket(&self, route: u32) -> Option<&WebSocketSettings> {
        self.routes[route as usize].websocket.as_deref()
    }
}

impl<S> fmt::Debug for App<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("routes", &self.routes.len())
            .finish_non_exhaustive()
    }
}
