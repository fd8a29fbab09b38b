//! Opening a connection: the name, TCP, a proxy's tunnel, TLS.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;

use super::auth;
use super::body::{Body, Upload};
use super::connection::{Connection, Sent};
use super::error::{Error, ErrorKind, Phase};
use super::trace::{TraceEvent, Tracer};
use super::url::{Scheme, Url};
use crate::event_loop::Handle;
use crate::net::{Stream, TcpStream};
use crate::proto::http1::{BodyLength, Fields, HeadLimits, IncomingResponse, OutgoingRequest};

/// How connections are opened.
pub(super) struct Connector {
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

impl Connector {
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
        let failed = |error| Error::new(ErrorKind::Io(error), phase.get());
        let proxy = self.proxy_for(url);
        let to = proxy.map_or(url, |proxy| &proxy.url);
        if url.scheme() == Scheme::Https {
            self.check_tls()?;
        }
        phase.set(Phase::Connect);
        let began = handle.time();
        let (host, port) = (to.host(), to.port());
        tracer.tell(handle, || TraceEvent::Connecting { host, port });
        let mut stream = open(host, port, handle).await.map_err(failed)?;
        let took = || handle.time().saturating_duration_since(began);
        tracer.tell(handle, || TraceEvent::Connected { took: took() });
        if url.scheme() == Scheme::Http {
            return Ok(Connection::new(stream));
        }
        if let Some(proxy) = proxy {
            phase.set(Phase::Proxy);
            stream = self.tunnel(stream, url, proxy).await?;
            tracer.tell(handle, || TraceEvent::Tunnelled);
        }
        phase.set(Phase::Tls);
        self.secure(stream, url, tracer, handle)
            .await
            .map(Connection::new)
    }

    fn check_tls(&self) -> Result<(), Error> {
        Err(Error::new(ErrorKind::NoTls, Phase::Request))
    }

    async fn secure(
        &self,
        _stream: Box<dyn Stream>,
        _url: &Url,
        _tracer: &Tracer,
        _handle: &Handle,
    ) -> Result<Box<dyn Stream>, Error> {
        Err(Error::new(ErrorKind::NoTls, Phase::Request))
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
            while let std::task::Poll::Ready(Ok(Sent::Piece(_))) =
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

/// A TCP connection to a name or an address.
async fn open(host: &str, port: u16, handle: &Handle) -> io::Result<Box<dyn Stream>> {
    let address = match host.parse() {
        Ok(address) => std::net::SocketAddr::new(address, port),
        Err(_) => {
            let name = host.to_owned();
            let job = handle.run_in_executor(move || {
                use std::net::ToSocketAddrs;
                (name.as_str(), port)
                    .to_socket_addrs()
                    .map(|all| all.collect::<Vec<_>>())
            })?;
            let found = job
                .await
                .map_err(|panicked| io::Error::other(panicked.to_string()))??;
            *found.first().ok_or(io::ErrorKind::NotFound)?
        }
    };
    Ok(Box::new(TcpStream::connect(address).await?))
}
