//! Opening a connection: the name, TCP, a proxy's tunnel, TLS.

use std::cell::Cell;
#[cfg(feature = "tls")]
use std::cell::OnceCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::PathBuf;
use std::task::Poll;

use super::auth;
use super::body::{Body, Upload};
use super::connection::{Connection, Sent};
use super::error::{Error, ErrorKind, Phase};
use super::trace::{TraceEvent, Tracer};
use super::url::{Scheme, Url};
use crate::event_loop::Handle;
#[cfg(feature = "tls")]
use crate::net::TlsConnector;
#[cfg(unix)]
use crate::net::UnixStream;
use crate::net::{Connector, Resolver, Stream};
use crate::proto::http1::{BodyLength, Fields, HeadLimits, IncomingResponse, OutgoingRequest};

/// How connections are opened.
pub(super) struct Dialer {
    pub(super) resolver: Resolver,
    pub(super) connector: Connector,
    #[cfg(unix)]
    pub(super) unix_socket: Option<PathBuf>,
    #[cfg(feature = "tls")]
    pub(super) tls: OnceCell<TlsConnector>,
    pub(super) proxy: Option<Proxy>,
    pub(super) limits: HeadLimits,
}

/// An HTTP proxy.
pub(super) struct Proxy {
    pub(super) url: Url,
    /// Hosts that are reached without it, and those below them.
    pub(super) not_for: Vec<String>,
}

impl Proxy {
    /// The value of `Proxy-Authorization`.
    pub(super) fn authorization(&self) -> Option<String> {
        let credentials = self.url.credentials()?;
        Some(auth::basic(&credentials.user, &credentials.password))
    }

    fn is_for(&self, host: &str) -> bool {
        !self.not_for.iter().any(|known| {
            let rest = host.strip_suffix(known.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }
}

impl Dialer {
    /// The proxy that a request for `url` goes through.
    pub(super) fn proxy_for(&self, url: &Url) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|proxy| proxy.is_for(url.host()))
    }

    /// What two requests must share to use the same connection: their origin, or the proxy that takes whole URLs.
    pub(super) fn pool_key<'a>(&'a self, url: &'a Url) -> &'a str {
        match (self.proxy_for(url), url.scheme()) {
            (Some(proxy), Scheme::Http) => proxy.url.origin(),
            _ => url.origin(),
        }
    }

    /// Open a connection over which requests for `url` can be sent. `phase` says how far it has come.
    pub(super) async fn connect(
        &self,
        url: &Url,
        phase: &Cell<Phase>,
        tracer: &Tracer,
        handle: &Handle,
    ) -> Result<Connection, Error> {
        let proxy = self.proxy_for(url);
        if url.scheme() == Scheme::Https && cfg!(not(feature = "tls")) {
            return Err(Error::new(ErrorKind::NoTls, Phase::Request));
        }
        let to = proxy.map_or(url, |proxy| &proxy.url);
        let stream = self.reach(to, phase, tracer, handle).await?;
        if url.scheme() == Scheme::Http {
            return Ok(Connection::new(stream));
        }
        let stream = match proxy {
            None => stream,
            Some(proxy) => {
                phase.set(Phase::Proxy);
                let stream = self.tunnel(stream, url, proxy).await?;
                tracer.tell(handle, || TraceEvent::Tunnelled);
                stream
            }
        };
        phase.set(Phase::Tls);
        let (began, secured) = (handle.time(), self.secure(stream, url).await?);
        let took = || handle.time().saturating_duration_since(began);
        tracer.tell(handle, || TraceEvent::Secured { took: took() });
        Ok(Connection::new(secured))
    }

    /// A connection to the host of `url`, or to the socket that stands for all hosts.
    async fn reach(
        &self,
        url: &Url,
        phase: &Cell<Phase>,
        tracer: &Tracer,
        handle: &Handle,
    ) -> Result<Box<dyn Stream>, Error> {
        let failed = |error| Error::new(ErrorKind::Io(error), phase.get());
        #[cfg(unix)]
        if let Some(path) = &self.unix_socket {
            phase.set(Phase::Connect);
            let began = handle.time();
            let stream = UnixStream::connect(path).await.map_err(failed)?;
            let took = || handle.time().saturating_duration_since(began);
            tracer.tell(handle, || TraceEvent::Connected { took: took() });
            return Ok(Box::new(stream));
        }
        let (host, port) = (url.host(), url.port());
        phase.set(Phase::Resolve);
        let began = handle.time();
        tracer.tell(handle, || TraceEvent::Resolving { host });
        let found = self.resolver.resolve(host).await.map_err(failed)?;
        let addresses: Vec<_> = found
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect();
        let took = || handle.time().saturating_duration_since(began);
        tracer.tell(handle, || TraceEvent::Resolved {
            addresses: &addresses,
            took: took(),
        });
        phase.set(Phase::Connect);
        let began = handle.time();
        match self.connector.connect_to_any(&addresses).await {
            Ok(stream) => {
                let took = || handle.time().saturating_duration_since(began);
                tracer.tell(handle, || TraceEvent::Connected { took: took() });
                Ok(Box::new(stream))
            }
            Err(error) => {
                // The host may have moved.
                self.resolver.forget(host);
                Err(failed(error))
            }
        }
    }

    #[cfg(feature = "tls")]
    async fn secure(&self, stream: Box<dyn Stream>, url: &Url) -> Result<Box<dyn Stream>, Error> {
        let connector = self.tls.get_or_init(TlsConnector::new);
        match connector.connect(url.host(), stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(Error::new(ErrorKind::Io(error), Phase::Tls)),
        }
    }

    #[cfg(not(feature = "tls"))]
    async fn secure(&self, _: Box<dyn Stream>, _: &Url) -> Result<Box<dyn Stream>, Error> {
        Err(Error::new(ErrorKind::NoTls, Phase::Tls))
    }

    /// Have the proxy connect to the server (RFC 9110, 9.3.6).
    async fn tunnel(
        &self,
        stream: Box<dyn Stream>,
        url: &Url,
        proxy: &Proxy,
    ) -> Result<Box<dyn Stream>, Error> {
        let mut connection = Connection::new(stream);
        let mut fields = Fields::new();
        if let Some(authorization) = proxy.authorization() {
            let pushed = fields.push("Proxy-Authorization", &authorization);
            pushed.expect("base64 is a field's value");
        }
        let target = match url.authority() {
            // Here the port is named also if it is the scheme's own.
            bare if !has_port(bare) => format!("{bare}:{}", url.port()),
            full => full.to_owned(),
        };
        let request = OutgoingRequest {
            method: "CONNECT",
            target: &target,
            host: &target,
            fields: &fields,
            length: BodyLength::Known(0),
            expects_continue: false,
        };
        let mut upload = Body::empty().begin().unwrap_or(Upload::Done);
        connection
            .begin(&request, &mut upload, false)
            .map_err(|misuse| Error::new(ErrorKind::Misuse(misuse), Phase::Proxy))?;
        let mut head = IncomingResponse::new();
        poll_fn(|context| {
            // What cannot be sent shows when the answer is read.
            while let Poll::Ready(Ok(Sent::Piece(_))) =
                connection.poll_send(context, &mut upload, true)
            {}
            connection.poll_head(context, &mut head, &self.limits)
        })
        .await
        .map_err(|error| error.in_phase(Phase::Proxy))?;
        match (head.status(), connection.into_stream()) {
            (200..=299, (stream, rest)) if rest.is_empty() => Ok(stream),
            // TLS begins with us: who speaks first is not whom we asked for.
            (200..=299, _) => {
                let why = "bytes came through the tunnel before anything was asked";
                Err(Error::new(
                    ErrorKind::Io(io::Error::other(why)),
                    Phase::Proxy,
                ))
            }
            (status, _) => Err(Error::new(ErrorKind::ProxyRefused(status), Phase::Proxy)),
        }
    }
}

fn has_port(authority: &str) -> bool {
    let behind_host = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    authority[behind_host..].contains(':')
}
