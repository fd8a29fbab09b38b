//! [`Client`]: what all requests share, and how it is set up.

use std::borrow::Cow;
use std::cell::Cell;
#[cfg(feature = "tls")]
use std::cell::OnceCell;
#[cfg(feature = "cookies")]
use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
#[cfg(unix)]
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::connect::{Dialer, Proxy};
#[cfg(feature = "cookies")]
use super::cookies::CookieJar;
use super::error::{Error, ErrorKind, Phase};
use super::leases::Leases;
use super::multipart::Multipart;
use super::pool::PoolLimits;
use super::redirect::Redirects;
use super::request::RequestBuilder;
use super::retry::{RetryBudget, RetryPolicy};
use super::timeouts::Timeouts;
use super::trace::{Hook, Trace, Tracer};
use super::url::IntoUrl;
#[cfg(feature = "cookies")]
use super::url::Url;
use crate::event_loop::Handle;
#[cfg(feature = "tls")]
use crate::net::TlsConnector;
use crate::net::{Connector, Resolver};
#[cfg(feature = "cookies")]
use crate::proto::http1::IncomingResponse;
use crate::proto::http1::{Fields, HeadLimits};

/// An HTTP/1.1 client: a pool of connections, and what every request begins with. Cheap to clone; clones share all of
/// it.
///
/// It belongs to one thread, and works on the loop that is turning there when a request is sent. Dropping a request's
/// future at whatever point gives back what it held; a connection in the middle of an exchange is closed.
///
/// ```no_run
/// use std::time::{Duration, SystemTime};
/// use tourbillon::client::Client;
/// use tourbillon::event_loop::EventLoop;
///
/// let client = Client::builder()
///     .limit(100)
///     .limit_per_host(30)
///     .timeout(Duration::from_secs(60))
///     .header("Accept-Language", "de")
///     .build()?;
/// let mut event_loop = EventLoop::new()?;
/// let text = event_loop.run_until(async move {
///     let response = client.get("http://example.com/").query(&[("q", "a b")]).send().await?;
///     response.error_for_status()?.text().await
/// })??;
/// println!("{text}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Client(Rc<Inner>);

pub(super) struct Inner {
    pub(super) leases: Leases,
    pub(super) dialer: Dialer,
    pub(super) fields: Fields,
    pub(super) timeouts: Timeouts,
    pub(super) redirects: Redirects,
    pub(super) retries: RetryPolicy,
    pub(super) retry_budget: Cell<RetryBudget>,
    pub(super) limits: HeadLimits,
    pub(super) body_bytes_max: u64,
    pub(super) force_close: bool,
    #[cfg(feature = "cookies")]
    jar: RefCell<Option<CookieJar>>,
    hook: Option<Hook>,
    requests: Cell<u64>,
    drawn: Cell<u64>,
}

impl Client {
    /// One with the defaults of [`ClientBuilder`].
    pub fn new() -> Self {
        Self::builder()
            .build()
            .expect("the defaults hold nothing that could be refused")
    }

    /// To set one up.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// A GET request.
    pub fn get(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request("GET", url)
    }

    /// A HEAD request: the response has a head and no body.
    pub fn head(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request("HEAD", url)
    }

    /// A POST request.
    pub fn post(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request("POST", url)
    }

    /// A PUT request.
    pub fn put(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request("PUT", url)
    }

    /// A PATCH request.
    pub fn patch(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request("PATCH", url)
    }

    /// A DELETE request.
    pub fn delete(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request("DELETE", url)
    }

    /// A request with any method; case matters. What is wrong with the URL shows when it is sent.
    pub fn request(
        &self,
        method: impl Into<Cow<'static, str>>,
        url: impl IntoUrl,
    ) -> RequestBuilder {
        RequestBuilder::new(self.clone(), method.into(), url.into_url())
    }

    /// An empty form with files, for [`RequestBuilder::multipart`].
    pub fn multipart(&self) -> Multipart {
        // Its keys come from the system's entropy, and what is hashed with them cannot be guessed.
        let random = RandomState::new();
        let mut entropy = [0; 16];
        for (half, number) in entropy.chunks_exact_mut(8).zip([0_u64, 1]) {
            half.copy_from_slice(&random.hash_one(number).to_ne_bytes());
        }
        Multipart::new(entropy)
    }

    /// Look at the cookies, or change them. `None` if the client keeps none.
    ///
    /// # Panics
    ///
    /// When it is called again from within `look`.
    #[cfg(feature = "cookies")]
    pub fn cookies<T>(&self, look: impl FnOnce(&mut CookieJar) -> T) -> Option<T> {
        self.0.jar.borrow_mut().as_mut().map(look)
    }

    /// How the pool stands.
    pub fn pool(&self) -> PoolCounts {
        let (open, idle, waiting) = self.0.leases.counts();
        PoolCounts {
            open,
            idle,
            waiting,
        }
    }

    /// Close all idle connections.
    pub fn close_idle(&self) {
        if let Some(handle) = Handle::try_current() {
            self.0.leases.clear_idle(handle.now());
        }
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }

    pub(super) fn tracer(&self) -> Tracer {
        Tracer(self.0.hook.as_ref().map(|hook| {
            let id = self.0.requests.get();
            self.0.requests.set(id + 1);
            (Rc::clone(hook), id)
        }))
    }
}

impl Inner {
    /// A number that nobody has to be unable to guess, different each time (SplitMix64).
    pub(super) fn random(&self, now: SystemTime) -> u64 {
        let since = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let drawn = self.drawn.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.drawn.set(drawn);
        let mixed = drawn ^ since.as_nanos() as u64;
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(feature = "cookies")]
impl Inner {
    /// The cookies that a request for `url` has to carry.
    pub(super) fn cookies_for(&self, url: &Url, handle: &Handle) -> Option<String> {
        let mut jar = self.jar.borrow_mut();
        let jar = jar.as_mut().filter(|jar| !jar.is_empty())?;
        jar.header(url, handle.wall_clock())
    }

    /// Keep the cookies that a response from `url` sets. One that may not be set is left out, as browsers do.
    pub(super) fn keep_cookies(&self, head: &IncomingResponse, url: &Url, handle: &Handle) {
        let set = head
            .headers()
            .filter(|(name, _)| name.eq_ignore_ascii_case("Set-Cookie"));
        for text in set.filter_map(|(_, value)| std::str::from_utf8(value).ok()) {
            if let Some(jar) = &mut *self.jar.borrow_mut() {
                let _ = jar.store(text, url, handle.wall_clock());
            }
        }
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("pool", &self.pool())
            .finish_non_exhaustive()
    }
}

/// How many connections a client has, see [`Client::pool`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolCounts {
    /// In use, idle, or being opened.
    pub open: usize,
    /// Of these, idle.
    pub idle: usize,
    /// Requests that wait for one.
    pub waiting: usize,
}

/// Sets up a [`Client`]. The names and defaults are aiohttp's where it has them.
#[must_use = "a builder does nothing until `build`"]
pub struct ClientBuilder {
    pool: PoolLimits,
    timeouts: Timeouts,
    redirects: Redirects,
    retries: RetryPolicy,
    limits: HeadLimits,
    body_bytes_max: u64,
    force_close: bool,
    fields: Fields,
    resolver: Resolver,
    connector: Connector,
    #[cfg(feature = "tls")]
    tls: OnceCell<TlsConnector>,
    #[cfg(unix)]
    unix_socket: Option<PathBuf>,
    #[cfg(feature = "cookies")]
    jar: Option<CookieJar>,
    proxy: Option<Proxy>,
    not_for_proxy: Vec<String>,
    hook: Option<Hook>,
    fault: Option<Error>,
}

impl ClientBuilder {
    fn new() -> Self {
        let mut fields = Fields::new();
        for (name, value) in [
            (
                "User-Agent",
                concat!("tourbillon/", env!("CARGO_PKG_VERSION")),
            ),
            ("Accept", "*/*"),
            #[cfg(feature = "compression")]
            ("Accept-Encoding", super::decode::accept_encoding()),
        ] {
            fields.push(name, value).expect("a field");
        }
        Self {
            pool: PoolLimits {
                limit: 100,
                limit_per_host: 30,
                keepalive_timeout: Duration::from_secs(30),
                age_max: None,
            },
            timeouts: Timeouts::default(),
            redirects: Redirects::default(),
            retries: RetryPolicy::none(),
            limits: HeadLimits::default(),
            body_bytes_max: 64 << 20,
            force_close: false,
            fields,
            resolver: Resolver::new(),
            connector: Connector::new(),
            #[cfg(feature = "tls")]
            tls: OnceCell::new(),
            #[cfg(unix)]
            unix_socket: None,
            #[cfg(feature = "cookies")]
            jar: Some(CookieJar::new()),
            proxy: None,
            not_for_proxy: Vec::new(),
            hook: None,
            fault: None,
        }
    }

    /// How many connections there may be at once, idle ones included: 100; 0 for no limit. Who comes when the limit is
    /// reached waits, first come, first served.
    pub fn limit(mut self, connections: usize) -> Self {
        self.pool.limit = connections;
        self
    }

    /// How many there may be to one host, that is scheme, name and port: 30; 0 for no limit.
    pub fn limit_per_host(mut self, connections: usize) -> Self {
        self.pool.limit_per_host = connections;
        self
    }

    /// How long a connection may be idle before it is closed: 30 s.
    pub fn keepalive_timeout(mut self, timeout: Duration) -> Self {
        self.pool.keepalive_timeout = timeout;
        self
    }

    /// How long after it was opened a connection may be used for another request: for ever. With a limit, changes in
    /// the name service are noticed also by who is never idle.
    pub fn age_max(mut self, age: Duration) -> Self {
        self.pool.age_max = Some(age);
        self
    }

    /// Use no connection twice, and tell servers so: no.
    pub fn force_close(mut self, force_close: bool) -> Self {
        self.force_close = force_close;
        self
    }

    /// All time limits at once; each request may have its own.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// The limit on the whole of a request, its body included: 300 s. See [`Timeouts::total`].
    pub fn timeout(mut self, total: Duration) -> Self {
        self.timeouts.total = Some(total);
        self
    }

    /// See [`Timeouts::connect`].
    pub fn connect_timeout(mut self, connect: Duration) -> Self {
        self.timeouts.connect = Some(connect);
        self
    }

    /// See [`Timeouts::pool`].
    pub fn pool_timeout(mut self, pool: Duration) -> Self {
        self.timeouts.pool = Some(pool);
        self
    }

    /// See [`Timeouts::sock_connect`].
    pub fn sock_connect_timeout(mut self, sock_connect: Duration) -> Self {
        self.timeouts.sock_connect = Some(sock_connect);
        self
    }

    /// See [`Timeouts::sock_read`].
    pub fn sock_read_timeout(mut self, sock_read: Duration) -> Self {
        self.timeouts.sock_read = Some(sock_read);
        self
    }

    /// See [`Timeouts::write`].
    pub fn write_timeout(mut self, write: Duration) -> Self {
        self.timeouts.write = Some(write);
        self
    }

    /// How redirects are followed.
    pub fn redirects(mut self, redirects: Redirects) -> Self {
        self.redirects = redirects;
        self
    }

    /// When requests that failed are sent again: never.
    pub fn retries(mut self, policy: RetryPolicy) -> Self {
        self.retries = policy;
        self
    }

    /// A header of every request, unless the request has its own of this name.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Err(fault) = self.fields.set(name, value) {
            let error = Error::new(ErrorKind::Field(fault), Phase::Request);
            self.fault.get_or_insert(error);
        }
        self
    }

    /// The `User-Agent` of every request: `tourbillon/` and the version.
    pub fn user_agent(self, name: &str) -> Self {
        self.header("User-Agent", name)
    }

    /// Bounds on heads of responses, and on what frames their bodies.
    pub fn head_limits(mut self, limits: HeadLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The largest body, decoded, that is read as a whole: 64 MiB. Who reads it [piece by
    /// piece](super::Response::chunk) may read any.
    pub fn body_bytes_max(mut self, bytes: u64) -> Self {
        self.body_bytes_max = bytes;
        self
    }

    /// How long the addresses of a host are believed: 300 s. Zero asks each time a connection is opened.
    pub fn ttl_dns(self, time_to_live: Duration) -> Self {
        self.resolver.set_time_to_live(time_to_live);
        self
    }

    /// Take these addresses for `host`, and ask nobody.
    pub fn resolve(self, host: &str, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.resolver.set_override(host, addresses);
        self
    }

    /// Look names up with `resolver`, which others may use too. Put it before what changes it: [`ttl_dns`] and
    /// [`resolve`].
    ///
    /// [`ttl_dns`]: Self::ttl_dns
    /// [`resolve`]: Self::resolve
    pub fn resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = resolver;
        self
    }

    /// Connect from this address of this machine; needs the feature `sockopt`. Servers with addresses of the other
    /// family only are not reached then.
    pub fn local_address(mut self, local: IpAddr) -> Self {
        self.connector = self.connector.local_address(local);
        self
    }

    /// Whom to trust with `https`, and as whom to appear: Mozilla's roots, and as nobody.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, connector: TlsConnector) -> Self {
        self.tls = connector.into();
        self
    }

    /// Keep cookies in this jar, or in none: in an empty one.
    #[cfg(feature = "cookies")]
    pub fn cookie_jar(mut self, jar: impl Into<Option<CookieJar>>) -> Self {
        self.jar = jar.into();
        self
    }

    /// Ask for compressed bodies and decode them: yes. A request with an `Accept-Encoding` of its own gets its body as
    /// it comes in any case.
    #[cfg(feature = "compression")]
    pub fn auto_decompress(mut self, decompress: bool) -> Self {
        self.fields.remove("Accept-Encoding");
        match decompress {
            true => self.header("Accept-Encoding", super::decode::accept_encoding()),
            false => self,
        }
    }

    /// Connect to the Unix socket at `path`, whatever host a URL names.
    #[cfg(unix)]
    pub fn unix_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.unix_socket = Some(path.into());
        self
    }

    /// Go through an HTTP proxy: with whole URLs for `http`, through a tunnel (CONNECT) for `https`. A user name and a
    /// password in the URL are for the proxy. Default: none; the environment is not looked at.
    pub fn proxy(mut self, url: impl IntoUrl) -> Self {
        match url.into_url() {
            Ok(url) => {
                self.proxy = Some(Proxy {
                    url,
                    not_for: Vec::new(),
                });
            }
            Err(fault) => {
                let error = Error::new(ErrorKind::Url(fault), Phase::Request);
                self.fault.get_or_insert(error);
            }
        }
        self
    }

    /// Hosts that are reached without the proxy, and all names below them.
    pub fn no_proxy<'a>(mut self, hosts: impl IntoIterator<Item = &'a str>) -> Self {
        let hosts = hosts
            .into_iter()
            .map(|host| host.trim_start_matches('.').to_ascii_lowercase());
        self.not_for_proxy.extend(hosts);
        self
    }

    /// Tell `hook` what happens to each request, as it happens. It runs in the middle of things and should be quick.
    pub fn trace(mut self, hook: impl Fn(&Trace<'_>) + 'static) -> Self {
        self.hook = Some(Rc::new(hook));
        self
    }

    /// Make the client.
    ///
    /// # Errors
    ///
    /// The first header or URL that was refused.
    pub fn build(self) -> Result<Client, Error> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let not_for = self.not_for_proxy;
        Ok(Client(Rc::new(Inner {
            leases: Leases::new(self.pool),
            dialer: Dialer {
                connector: self.connector.resolver(self.resolver.clone()),
                resolver: self.resolver,
                #[cfg(unix)]
                unix_socket: self.unix_socket,
                #[cfg(feature = "tls")]
                tls: self.tls,
                proxy: self.proxy.map(|proxy| Proxy { not_for, ..proxy }),
                limits: self.limits.clone(),
            },
            fields: self.fields,
            timeouts: self.timeouts,
            redirects: self.redirects,
            retry_budget: Cell::new(RetryBudget::new(&self.retries)),
            retries: self.retries,
            limits: self.limits,
            body_bytes_max: self.body_bytes_max,
            force_close: self.force_close,
            #[cfg(feature = "cookies")]
            jar: RefCell::new(self.jar),
            hook: self.hook,
            requests: Cell::new(0),
            drawn: Cell::new(0),
        })))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("pool", &self.pool)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}
