//! A request being put together, and its way to a response: redirects around retries around one try.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::auth;
use super::body::Body;
use super::error::{Error, ErrorKind, Phase, TimeLimit};
use super::exchange::{Exchange, Terms};
use super::leases::Lease;
use super::multipart::Multipart;
use super::pool::User;
use super::redirect::{Redirection, Redirects};
use super::response::{Hop, Response};
use super::retry::{self, Outcome, RetryPolicy};
use super::session::Client;
use super::timeouts::{Deadline, Deadlines, Timeouts};
use super::trace::{TraceEvent, Tracer};
use super::url::{Scheme, Url, UrlError};
use crate::event_loop::{Handle, Origin};
use crate::proto::http1::{BadField, BodyLength, Fields, IncomingResponse, OutgoingRequest};
use crate::task::{coop, sleep};

/// A request being put together. What is wrong with it shows when it is sent.
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder {
    client: Client,
    parts: Result<Parts, Error>,
}

/// A request that can be sent.
struct Parts {
    method: Cow<'static, str>,
    url: Url,
    /// In place of the URL's.
    host: Option<String>,
    fields: Fields,
    body: Body,
    timeouts: Timeouts,
    redirects: Redirects,
    /// In place of the client's.
    retries: Option<RetryPolicy>,
    expects_continue: bool,
}

impl RequestBuilder {
    pub(super) fn new(
        client: Client,
        method: Cow<'static, str>,
        url: Result<Url, UrlError>,
    ) -> Self {
        let inner = client.inner();
        let parts = match url {
            Ok(url) => Ok(Parts {
                method,
                url,
                host: None,
                fields: inner.fields.clone(),
                body: Body::empty(),
                timeouts: inner.timeouts,
                redirects: inner.redirects,
                retries: None,
                expects_continue: false,
            }),
            Err(fault) => Err(Error::new(ErrorKind::Url(fault), Phase::Request)),
        };
        Self { client, parts }
    }

    fn with(mut self, change: impl FnOnce(&mut Parts)) -> Self {
        if let Ok(parts) = &mut self.parts {
            change(parts);
        }
        self
    }

    fn try_with(mut self, change: impl FnOnce(&mut Parts) -> Result<(), ErrorKind>) -> Self {
        if let Ok(parts) = &mut self.parts
            && let Err(kind) = change(parts)
        {
            self.parts = Err(Error::new(kind, Phase::Request).about(&parts.url));
        }
        self
    }

    /// A header, in place of all of this name, the client's among them.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.try_with(|parts| match name.eq_ignore_ascii_case("host") {
            true => {
                parts.host = Some(value.to_owned());
                Ok(())
            }
            false => parts.fields.set(name, value).map_err(ErrorKind::Field),
        })
    }

    /// A header beside those of this name.
    pub fn append_header(self, name: &str, value: &str) -> Self {
        self.try_with(|parts| parts.fields.push(name, value).map_err(ErrorKind::Field))
    }

    /// Leave out a header that the client has for every request.
    pub fn without_header(self, name: &str) -> Self {
        self.with(|parts| {
            parts.fields.remove(name);
        })
    }

    /// Add pairs to the URL's query, encoded as a form is.
    pub fn query<N: AsRef<str>, V: AsRef<str>>(self, pairs: &[(N, V)]) -> Self {
        self.with(|parts| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| (name.as_ref(), value.as_ref()));
            parts.url = parts.url.with_pairs(pairs);
        })
    }

    /// A body.
    pub fn body(self, body: impl Into<Body>) -> Self {
        self.with(|parts| parts.body = body.into())
    }

    /// A value as JSON, with its content type.
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(self, value: &T) -> Self {
        self.try_with(|parts| {
            parts.body = serde_json::to_vec(value).map_err(ErrorKind::Json)?.into();
            parts
                .content_type("application/json")
                .map_err(ErrorKind::Field)
        })
    }

    /// Pairs as a form, with its content type (`application/x-www-form-urlencoded`).
    pub fn form<N: AsRef<str>, V: AsRef<str>>(self, pairs: &[(N, V)]) -> Self {
        self.try_with(|parts| {
            let mut text = String::new();
            for (name, value) in pairs {
                super::url::push_pair(name.as_ref(), value.as_ref(), &mut text);
            }
            parts.body = text.into();
            let content_type = "application/x-www-form-urlencoded";
            parts.content_type(content_type).map_err(ErrorKind::Field)
        })
    }

    /// A form with files, with its content type (`multipart/form-data`): see [`Client::multipart`].
    pub fn multipart(self, form: Multipart) -> Self {
        self.try_with(|parts| {
            let content_type = form.content_type();
            parts.body = form.into();
            parts.content_type(&content_type).map_err(ErrorKind::Field)
        })
    }

    /// A user name and a password (RFC 7617). They are dropped when a redirect leads to another origin.
    pub fn basic_auth(self, user: &str, password: &str) -> Self {
        self.header("Authorization", &auth::basic(user, password))
    }

    /// A token (RFC 6750). It is dropped when a redirect leads to another origin.
    pub fn bearer_auth(self, token: &str) -> Self {
        self.header("Authorization", &auth::bearer(token))
    }

    /// The limit on the whole of this request, its body included.
    pub fn timeout(self, total: Duration) -> Self {
        self.with(|parts| parts.timeouts.total = Some(total))
    }

    /// All time limits of this request.
    pub fn timeouts(self, timeouts: Timeouts) -> Self {
        self.with(|parts| parts.timeouts = timeouts)
    }

    /// How this request follows redirects.
    pub fn redirects(self, redirects: Redirects) -> Self {
        self.with(|parts| parts.redirects = redirects)
    }

    /// When this request is sent again.
    pub fn retries(self, policy: RetryPolicy) -> Self {
        self.with(|parts| parts.retries = Some(policy))
    }

    /// Ask the server whether it wants the body before it is sent (RFC 9110, 10.1.1). One that says nothing for a
    /// second gets it.
    pub fn expect_continue(self) -> Self {
        self.with(|parts| parts.expects_continue = true)
    }

    /// Send it, and wait for the head of the response.
    ///
    /// Dropping the future gives everything back: its place in the pool or in the queue for one, its timer. A
    /// connection on which something was sent is closed; the server may have acted on it all the same.
    ///
    /// # Errors
    ///
    /// Whatever keeps a response from coming. A status of 400 or above is no error, see
    /// [`Response::error_for_status`].
    ///
    /// # Panics
    ///
    /// When no loop is turning on this thread.
    #[track_caller]
    pub fn send(self) -> impl Future<Output = Result<Response, Error>> {
        let origin = Location::caller();
        async move { send(self.client, self.parts?, origin).await }
    }
}

impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.parts {
            Ok(parts) => f
                .debug_struct("RequestBuilder")
                .field("method", &parts.method)
                .field("url", &parts.url)
                .finish_non_exhaustive(),
            Err(error) => f.debug_tuple("RequestBuilder").field(error).finish(),
        }
    }
}

impl Parts {
    fn content_type(&mut self, value: &str) -> Result<(), BadField> {
        match self.fields.get("Content-Type") {
            Some(_) => Ok(()),
            None => self.fields.push("Content-Type", value),
        }
    }

    /// Whether a body that comes compressed is ours to decode: not where the user has asked for something else, or for
    /// nothing.
    #[cfg(feature = "compression")]
    fn asks_for_our_codings(&self) -> bool {
        self.fields.get("Accept-Encoding") == Some(super::decode::accept_encoding())
    }

    /// Become the request that a redirect asks for.
    fn follow(&mut self, redirection: Redirection) {
        redirection.strip(&mut self.fields);
        if redirection.becomes_get {
            self.method = Cow::Borrowed("GET");
            self.body = Body::empty();
            self.expects_continue = false;
        }
        self.host = None;
        self.url = redirection.url;
    }
}

/// Send a request and follow where it leads.
async fn send(client: Client, mut parts: Parts, origin: Origin) -> Result<Response, Error> {
    let tracer = client.tracer();
    let mut deadlines = Deadlines::begin(Handle::current(), &parts.timeouts);
    let mut history = Vec::new();
    let mut head = client.inner().leases.spare_head();
    loop {
        let sending = Sending {
            client: &client,
            tracer: &tracer,
            origin,
        };
        let tried = sending.retry(&mut parts, &mut head, &mut deadlines).await;
        let followed = tried.and_then(|exchange| {
            let redirection = Redirection::of(
                head.status(),
                head.header_bytes("Location"),
                &parts.method,
                &parts.url,
                &parts.redirects,
                history.len() as u32,
            )?;
            let needs_body = redirection.as_ref().is_some_and(|to| !to.becomes_get);
            if needs_body && !parts.body.is_there() {
                return Err(Error::new(ErrorKind::BodyGone, Phase::Wait));
            }
            Ok((exchange, redirection))
        });
        let (exchange, redirection) = match followed {
            Ok(followed) => followed,
            Err(error) => {
                let error = error.about(&parts.url);
                let handle = deadlines.handle();
                tracer.tell(handle, || TraceEvent::Failed { error: &error });
                client.inner().leases.give_back_head(head);
                return Err(error);
            }
        };
        let Some(redirection) = redirection else {
            #[cfg(feature = "compression")]
            let decodes = parts.asks_for_our_codings();
            let mut response = Response::new(client, parts.url, head, exchange, deadlines);
            response.set_history(history);
            #[cfg(feature = "compression")]
            if decodes {
                response.decode()?;
            }
            return Ok(response);
        };
        exchange.leave(&mut head, &deadlines);
        let to = &redirection.url;
        tracer.tell(deadlines.handle(), || TraceEvent::Redirected { to });
        history.push(Hop {
            status: head.status(),
            url: parts.url.clone(),
        });
        parts.follow(redirection);
    }
}

/// What the tries of a request have in common.
struct Sending<'a> {
    client: &'a Client,
    tracer: &'a Tracer,
    origin: Origin,
}

impl Sending<'_> {
    /// Send it, and again as often as the policy has it.
    async fn retry(
        &self,
        parts: &mut Parts,
        head: &mut IncomingResponse,
        deadlines: &mut Deadlines,
    ) -> Result<Exchange, Error> {
        let inner = self.client.inner();
        let policy = parts.retries.clone();
        let policy = policy.as_ref().unwrap_or(&inner.retries);
        let mut budget = inner.retry_budget.get();
        budget.pay_in(policy);
        inner.retry_budget.set(budget);
        let mut retries = 0;
        loop {
            let tried = self.replay(parts, head, deadlines).await;
            let may_be_repeated =
                policy.max > 0 && retry::is_idempotent(&parts.method) && parts.body.is_there();
            if !may_be_repeated {
                return tried;
            }
            let outcome = match &tried {
                Ok(_) => Outcome::Answered {
                    status: head.status(),
                    retry_after: head.header("Retry-After"),
                },
                Err(error) => Outcome::Failed(error),
            };
            let handle = deadlines.handle().clone();
            let (now, mut budget) = (handle.wall_clock(), inner.retry_budget.get());
            let random = inner.random(now);
            let pause = retry::pause(policy, &mut budget, &outcome, retries, now, random);
            inner.retry_budget.set(budget);
            let Some(pause) = pause else {
                return tried;
            };
            if let Ok(exchange) = tried {
                exchange.leave(head, deadlines);
            }
            self.tracer.tell(&handle, || TraceEvent::Retrying { pause });
            let pausing = async {
                sleep(pause).await;
                Ok(())
            };
            deadlines.run(&[], &Cell::new(Phase::Wait), pausing).await?;
            retries += 1;
        }
    }

    /// Send it, and again at once if it met a connection that its server had closed, where that is safe. Each time one
    /// such connection is used up, so this ends.
    async fn replay(
        &self,
        parts: &mut Parts,
        head: &mut IncomingResponse,
        deadlines: &mut Deadlines,
    ) -> Result<Exchange, Error> {
        loop {
            let lease = self.connect(parts, deadlines).await?;
            let mut exchange = self.begin(parts, lease, deadlines)?;
            let (tracer, handle) = (self.tracer, deadlines.handle().clone());
            let exchanged = poll_fn(|context| exchange.poll_head(context, head, deadlines)).await;
            let Err(error) = exchanged else {
                let status = head.status();
                tracer.tell(&handle, || TraceEvent::HeadersReceived { status });
                #[cfg(feature = "cookies")]
                self.client.inner().keep_cookies(head, &parts.url, &handle);
                return Ok(exchange);
            };
            let (was_written, was_answered) = (exchange.has_written(), exchange.is_answered());
            let may_be_replayed = exchange.is_reused()
                && parts.body.is_there()
                && retry::is_replay_safe(&error, &parts.method, was_written, was_answered);
            if !may_be_replayed {
                return Err(error);
            }
            tracer.tell(&handle, || TraceEvent::Stale);
        }
    }

    /// Come by a connection: an idle one that is still open, or a new one.
    async fn connect(&self, parts: &Parts, deadlines: &mut Deadlines) -> Result<Lease, Error> {
        let (inner, tracer, timeouts) = (self.client.inner(), self.tracer, &parts.timeouts);
        let handle = deadlines.handle().clone();
        let (method, url) = (&*parts.method, &parts.url);
        tracer.tell(&handle, || TraceEvent::Started { method, url });
        let key = inner.dialer.pool_key(url);
        let user = User {
            url: url.clone(),
            origin: self.origin,
        };
        // Most requests get a connection from the pool at once; then no clock is read.
        let connect_by =
            |timeouts: &Timeouts| Deadline::set(&handle, TimeLimit::Connect, timeouts.connect);
        let mut connect_deadline = None;
        let mut lease = match inner.leases.acquire(key, user, &handle) {
            Ok(lease) => lease,
            Err(waiting) => {
                tracer.tell(&handle, || TraceEvent::Queued);
                let began = handle.time();
                connect_deadline = connect_by(timeouts);
                let pool_by = Deadline::set(&handle, TimeLimit::Pool, timeouts.pool);
                let waiting = async { Ok(waiting.await) };
                let phase = Cell::new(Phase::Pool);
                let waited = deadlines
                    .run(&[pool_by, connect_deadline], &phase, waiting)
                    .await;
                let lease = waited.map_err(|error| {
                    // The wait has left the queue, and counted until then.
                    error.with_pool(|| {
                        let mut report = inner.leases.report(key, handle.now());
                        report.waiters += 1;
                        report
                    })
                })?;
                let waited = || handle.time().saturating_duration_since(began);
                tracer.tell(&handle, || TraceEvent::Dequeued { waited: waited() });
                lease
            }
        };
        while lease.has_connection() {
            if poll_fn(|context| poll_usable(context, &mut lease)).await {
                tracer.tell(&handle, || TraceEvent::Reused);
                return Ok(lease);
            }
            tracer.tell(&handle, || TraceEvent::Stale);
            lease.replace();
        }
        let connect_deadline = connect_deadline.or_else(|| connect_by(timeouts));
        let sock_by = Deadline::set(&handle, TimeLimit::SockConnect, timeouts.sock_connect);
        let phase = Cell::new(Phase::Resolve);
        let connecting = inner.dialer.connect(url, &phase, tracer, &handle);
        let limits = [sock_by, connect_deadline];
        let connection = deadlines.run(&limits, &phase, connecting).await?;
        lease.set_connection(connection);
        Ok(lease)
    }

    /// Write the request down on its connection.
    fn begin(
        &self,
        parts: &mut Parts,
        lease: Lease,
        deadlines: &Deadlines,
    ) -> Result<Exchange, Error> {
        let inner = self.client.inner();
        let misused = |misuse| Error::new(ErrorKind::Misuse(misuse), Phase::Request);
        let upload = parts.body.begin();
        let upload = upload.ok_or_else(|| Error::new(ErrorKind::BodyGone, Phase::Request))?;
        let proxy = inner.dialer.proxy_for(&parts.url);
        let proxy = proxy.filter(|_| parts.url.scheme() == Scheme::Http);
        let mut own_fields = OwnFields::new(&parts.fields);
        if let Some(credentials) = parts.url.credentials() {
            own_fields.add("Authorization", || {
                auth::basic(&credentials.user, &credentials.password)
            });
        }
        #[cfg(feature = "cookies")]
        if let Some(cookies) = inner.cookies_for(&parts.url, deadlines.handle()) {
            own_fields.add("Cookie", || cookies);
        }
        if let Some(authorization) = proxy.and_then(|proxy| proxy.authorization()) {
            own_fields.add("Proxy-Authorization", || authorization);
        }
        let length = match parts.body.length() {
            Some(length) => BodyLength::Known(length),
            None => BodyLength::Unknown,
        };
        let request = OutgoingRequest {
            method: &parts.method,
            target: match proxy {
                Some(_) => parts.url.without_fragment(),
                None => parts.url.target(),
            },
            host: parts.host.as_deref().unwrap_or(parts.url.authority()),
            fields: own_fields.fields(),
            length,
            expects_continue: parts.expects_continue && length != BodyLength::Known(0),
        };
        let terms = Terms {
            timeouts: parts.timeouts,
            limits: inner.limits.clone(),
            tracer: self.tracer.clone(),
            close_after: inner.force_close,
        };
        Exchange::begin(lease, &request, upload, terms, deadlines.handle()).map_err(misused)
    }
}

/// The fields of a request, and those that only one of its tries has.
struct OwnFields<'a>(Cow<'a, Fields>);

impl<'a> OwnFields<'a> {
    fn new(fields: &'a Fields) -> Self {
        Self(Cow::Borrowed(fields))
    }

    /// Add a field unless the request has one of this name.
    fn add(&mut self, name: &str, value: impl FnOnce() -> String) {
        if self.0.get(name).is_none() {
            let pushed = self.0.to_mut().push(name, &value());
            pushed.expect("base64 and what a jar keeps hold no control character");
        }
    }

    fn fields(&self) -> &Fields {
        &self.0
    }
}

/// Whether an idle connection may be used. With the task's budget spent nobody can tell: then in the next turn.
fn poll_usable(context: &mut Context<'_>, lease: &mut Lease) -> Poll<bool> {
    if coop::budget_left() == Some(0) {
        return coop::poll_proceed(context).map(|()| false);
    }
    let mut nobody = Context::from_waker(Waker::noop());
    Poll::Ready(lease.connection().is_usable(&mut nobody))
}
