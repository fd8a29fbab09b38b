//! A request, as a handler gets it: head, body, and where it came from.

use std::borrow::Cow;
use std::hint::cold_path;
use std::net::SocketAddr;
use std::ops::Range;

use super::body::Body;
use super::later::Disconnection;
use super::response::Response;
use crate::event_loop::Handle;
use crate::proto::http1::{Method, PeerError, RequestHead, Version, percent_decode, query_pairs};
use crate::proto::ws;

/// Path parameters that a route may have.
pub const PARAMETERS_MAX: usize = 8;
/// What a collected body was put together in serves the next one, if it is no larger.
const BODY_BYTES_KEPT: usize = 4 * 1024;

/// A request. A called handler borrows it; a task owns it.
#[derive(Debug)]
pub struct Request {
    pub(super) head: RequestHead,
    pub(super) body: Body,
    pub(super) peer: SocketAddr,
    handle: Option<Handle>,
    disconnection: Option<Disconnection>,
    /// `None` until it was looked up.
    route: Option<u32>,
    parameters: Parameters,
}

/// How a route names which parts of a path: at most [`PARAMETERS_MAX`].
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    spans: [(&'static str, Range<u32>); PARAMETERS_MAX],
    len: usize,
}

impl Parameters {
    /// Name a part of the path by where it stands.
    ///
    /// # Panics
    /// When there are [`PARAMETERS_MAX`] already.
    pub fn push(&mut self, name: &'static str, span: Range<usize>) {
        self.spans[self.len] = (name, span.start as u32..span.end as u32);
        self.len += 1;
    }

    /// Keep the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Each with its place in the path.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Range<usize>)> {
        let spans = self.spans[..self.len].iter();
        spans.map(|(name, span)| (*name, span.start as usize..span.end as usize))
    }
}

/// Nowhere: the peer of a request that no socket brought.
const NO_PEER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

impl Request {
    /// A request that no socket brought, for tests.
    ///
    /// # Errors
    /// What the server's own machine would say to these bytes from a peer.
    ///
    /// ```
    /// use tourbillon::web::Request;
    /// let request = Request::build("GET", "/search?q=tick", &[("host", "localhost")], "")?;
    /// assert_eq!(request.query("q").as_deref(), Some("tick"));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn build(
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Result<Self, PeerError> {
        Ok(Self {
            head: RequestHead::build(method, target, fields)?,
            body: body.into(),
            ..Self::empty()
        })
    }

    pub(super) fn empty() -> Self {
        Self {
            head: RequestHead::default(),
            body: Body::Empty,
            peer: NO_PEER,
            handle: None,
            disconnection: None,
            route: None,
            parameters: Parameters::default(),
        }
    }

    /// The request, with an empty one left in its place that still says what route it was for.
    pub(crate) fn take(&mut self) -> Self {
        let empty = Self {
            route: self.route,
            ..Self::empty()
        };
        std::mem::replace(self, empty)
    }

    /// The same without its body.
    pub(crate) fn clone_head(&self) -> Self {
        Self {
            head: self.head.clone(),
            body: Body::Empty,
            handle: self.handle.clone(),
            disconnection: self.disconnection.clone(),
            parameters: self.parameters.clone(),
            ..*self
        }
    }

    /// Make it ready for the next request, keeping its allocations.
    pub(super) fn begin(&mut self, handle: &Handle) {
        if !matches!(self.body, Body::Empty) {
            cold_path();
            match &mut self.body {
                Body::Owned(bytes) if bytes.capacity() <= BODY_BYTES_KEPT => bytes.clear(),
                body => *body = Body::Empty,
            }
        }
        self.parameters.truncate(0);
        self.route = None;
        if self.handle.is_none() {
            cold_path();
            self.handle = Some(handle.clone());
        }
    }

    /// The method as sent: `GET`, `POST`, …
    pub fn method(&self) -> &str {
        self.head.method_str()
    }

    /// The path as sent, percent-encoded, without the query.
    pub fn path(&self) -> &str {
        self.head.path()
    }

    /// The first field of this name; `None` also when its value is not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The head, with all that was sent.
    pub fn head(&self) -> &RequestHead {
        &self.head
    }

    /// The part of the path that the route calls `{name}`, decoded; `None` when the route has no such part, or its
    /// bytes are no UTF-8.
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        let (_, span) = self.parameters.iter().find(|(known, _)| *known == name)?;
        percent_decode(&self.path()[span])
    }

    /// The first value of `name` in the query string, decoded as form data.
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        self.queries()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// All names and values of the query string, decoded, in order.
    pub fn queries(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        query_pairs(self.head.query().unwrap_or_default())
    }

    /// The value of the first cookie of this name, as sent (RFC 6265, 4.2.1).
    ///
    /// ```
    /// use tourbillon::web::Request;
    /// let request = Request::build("GET", "/", &[("host", "a"), ("cookie", "theme=dark; session=x1")], "")?;
    /// assert_eq!(request.cookie("session"), Some("x1"));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// Names and values of all cookies, in order. What is not text, or has no `=`, is left out.
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values("cookie")
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| {
                (
                    name.trim_matches([' ', '\t']),
                    value.trim_matches([' ', '\t']),
                )
            })
    }

    /// The subprotocols that the client of a WebSocket asks for, what it likes best first (RFC 6455, 4.1). Their
    /// letters' case counts. What is no token is left out.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.values("sec-websocket-protocol")
            .flat_map(ws::subprotocols)
    }

    /// The first of `known`, in the server's order, among [`Request::subprotocols`].
    pub fn choose_subprotocol<'k>(&self, known: &[&'k str]) -> Option<&'k str> {
        let is_offered = |name: &str| self.subprotocols().any(|offered| offered == name);
        known.iter().copied().find(|name| is_offered(name))
    }

    /// Whether it asks for a WebSocket in the way that it must (RFC 6455, 4.2.1).
    ///
    /// # Errors
    /// The answer that says what is missing or wrong: 400, 405 or 426.
    pub fn websocket_handshake(&self) -> Result<ws::Accepted, Response> {
        let head = &self.head;
        if head.has_body() {
            // To which of the two protocols would it belong?
            let response = Response::text("a WebSocket handshake has no body\n");
            return Err(response.with_status(400));
        }
        // The machine has read all `Connection` fields, and knows whether one of them lists the upgrade.
        let header = |name: &str| match name {
            "connection" => head.upgrade().map(|_| "upgrade"),
            name => head.header(name),
        };
        let is_get = head.method() == Method::Get;
        let judged = ws::check_request(is_get, head.version() == Version::Http11, header);
        judged.map_err(|error| {
            let mut response = Response::text(format!("{error}\n")).with_status(error.status());
            for (name, value) in error.fields() {
                // The machine adds `Connection` to go with `Upgrade`.
                let _ = response.try_header(name, value);
            }
            response
        })
    }

    /// The values of all fields of this name, whatever its case, as far as they are text.
    pub(crate) fn values<'n>(&self, name: &'n str) -> impl Iterator<Item = &str> + use<'_, 'n> {
        let fields = self.head.headers();
        fields
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .filter_map(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// The body's bytes. Empty for a route that streams its body: see [`Request::take_body`].
    pub fn body(&self) -> &[u8] {
        self.body.as_bytes().unwrap_or_default()
    }

    /// Memory that its body holds.
    pub(super) fn body_bytes(&self) -> usize {
        match &self.body {
            Body::Owned(bytes) => bytes.capacity(),
            _ => 0,
        }
    }

    /// The body as text, if it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.body()).ok()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// A 400 with what is wrong, to be returned as it is.
    #[cfg(feature = "json")]
    pub fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, super::Response> {
        serde_json::from_slice(self.body()).map_err(|error| {
            super::Response::text(format!("the body is not the JSON expected: {error}\n"))
                .with_status(400)
        })
    }

    /// The body, taken out: for a streaming route, where the bytes come from.
    pub fn take_body(&mut self) -> Body {
        std::mem::take(&mut self.body)
    }

    /// Who sent it. The address of the nearest hop: behind a proxy, the proxy.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Say which loop serves a request that no socket brought.
    pub(crate) fn serve_on(&mut self, handle: &Handle) {
        self.handle = Some(handle.clone());
    }

    /// The loop that serves it.
    ///
    /// # Panics
    /// For a request of [`Request::build`] outside a turn, unless a [`crate::web::TestApp`] answers it.
    pub fn handle(&self) -> Handle {
        self.handle.clone().unwrap_or_else(Handle::current)
    }

    /// Whether its peer has gone. Known to a task whose route says so ([`super::OnDisconnect::Notify`]); for all others
    /// it is `false`.
    pub fn is_disconnected(&self) -> bool {
        self.disconnection
            .as_ref()
            .is_some_and(Disconnection::is_here)
    }

    /// Wait until its peer has gone. For those to whom that is not told, as [`Request::is_disconnected`] says, it waits
    /// for ever.
    pub async fn disconnected(&self) {
        match &self.disconnection {
            Some(disconnection) => disconnection.wait().await,
            None => std::future::pending().await,
        }
    }

    /// What tells this request that its peer has gone: for the [`super::Later`] that answers it.
    pub fn disconnection(&mut self) -> Disconnection {
        self.disconnection.get_or_insert_default().clone()
    }

    /// To look up which of its service's routes the request is for: the head, and the parameters to fill, none yet.
    #[inline]
    pub fn to_route(&mut self) -> (&RequestHead, &mut Parameters) {
        self.parameters.truncate(0);
        (&self.head, &mut self.parameters)
    }

    /// Note the number of the route that was found.
    pub fn set_route(&mut self, route: u32) {
        self.route = Some(route);
    }

    /// The number that the service knows the request's route by; 0 when it has noted none.
    pub fn route(&self) -> u32 {
        self.route.unwrap_or(0)
    }

    /// Whether its service has got so far as to note its route.
    pub(super) fn has_route(&self) -> bool {
        self.route.is_some()
    }
}
