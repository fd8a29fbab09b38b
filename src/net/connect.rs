//! Connections to names: all of a name's addresses are tried, the next one soon after the last, and the first that
//! answers wins (happy eyeballs, RFC 8305).

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use super::Resolver;
use super::endpoint::ShortRead;
use super::socket_stream::Connecting;
use super::tcp::TcpStream;
use crate::event_loop::{Ctx, Handle};
use crate::task::Sleep;

/// How long an attempt may be alone, unless it is set: the recommendation of RFC 8305, 5.
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Where to connect to: a [`SocketAddr`], or a host and a port, as `"example.org:80"` or `("example.org", 80)`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target(Kind);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Kind {
    Address(SocketAddr),
    Name(String, u16),
    /// A text that is neither.
    Unclear(String),
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self(Kind::Address(address))
    }
}

impl From<(IpAddr, u16)> for Target {
    fn from(address: (IpAddr, u16)) -> Self {
        Self(Kind::Address(address.into()))
    }
}

impl From<(&str, u16)> for Target {
    fn from((host, port): (&str, u16)) -> Self {
        Self(Kind::Name(host.to_owned(), port))
    }
}

impl From<&str> for Target {
    fn from(text: &str) -> Self {
        if let Ok(address) = text.parse() {
            return Self(Kind::Address(address));
        }
        Self(match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() => match port.parse() {
                Ok(port) => Kind::Name(host.to_owned(), port),
                Err(_) => Kind::Unclear(text.to_owned()),
            },
            _ => Kind::Unclear(text.to_owned()),
        })
    }
}

impl From<String> for Target {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

/// Makes connections, by a resolver and from an address of your choice.
///
/// ```no_run
/// # async fn f() -> std::io::Result<()> {
/// use tourbillon::net::{Connector, Resolver};
///
/// let connector = Connector::new().resolver(Resolver::new());
/// let first = connector.connect("example.org:80").await?;
/// let second = connector.connect("example.org:80").await?; // asks nobody
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Connector {
    resolver: Resolver,
    local: Option<IpAddr>,
    attempt_delay: Duration,
}

impl Default for Connector {
    /// As [`Connector::new`].
    fn default() -> Self {
        Self::new()
    }
}

impl Connector {
    /// One with a [`Resolver`] of its own.
    pub fn new() -> Self {
        Self {
            resolver: Resolver::new(),
            local: None,
            attempt_delay: ATTEMPT_DELAY,
        }
    }

    /// Find addresses by `resolver`.
    #[must_use]
    pub fn resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = resolver;
        self
    }

    /// Connect from this address of this machine. Addresses of the other family are not tried then. Needs the feature
    /// `sockopt`, or the simulator.
    #[must_use]
    pub fn local_address(mut self, local: IpAddr) -> Self {
        self.local = Some(local);
        self
    }

    /// Begin the next attempt when the last one has taken so long, 250 ms unless set.
    #[must_use]
    pub fn attempt_delay(mut self, attempt_delay: Duration) -> Self {
        self.attempt_delay = attempt_delay;
        self
    }

    /// Connect to `target`. Dropping the future closes what was begun. There is no limit to how long it takes but the
    /// kernel's, which is minutes: put a timeout around it.
    ///
    /// # Errors
    /// `InvalidInput` when `target` is a text that names no port; as [`Resolver::resolve`]; otherwise why the last
    /// attempt failed.
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn connect(&self, target: impl Into<Target>) -> io::Result<TcpStream> {
        match target.into().0 {
            Kind::Address(address) => self.connect_to_any(&[address]).await,
            Kind::Name(host, port) => {
                let found = self.resolver.resolve(&host).await?;
                let addresses: Vec<_> = found.into_iter().map(|ip| (ip, port).into()).collect();
                self.connect_to_any(&addresses).await
            }
            Kind::Unclear(text) => Err(io::Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is neither an address nor a host and a port"),
            )),
        }
    }

    /// Connect to one of `addresses`, those preferred first. The families take turns, and each attempt that fails, or
    /// that has taken [`Connector::attempt_delay`], is followed by the next one. The others are closed when one has
    /// won.
    ///
    /// # Errors
    /// `AddrNotAvailable` when there is no address, or none of the local address' family; otherwise why the last
    /// attempt failed.
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn connect_to_any(&self, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
        let local = self.local;
        let can_reach =
            |address: &&SocketAddr| local.is_none_or(|local| local.is_ipv4() == address.is_ipv4());
        let addresses: Vec<_> = addresses.iter().filter(can_reach).copied().collect();
        Race {
            handle: Handle::current(),
            local,
            attempt_delay: self.attempt_delay,
            to_try: interleaved(&addresses).into(),
            attempts: Vec::new(),
            next: None,
            failed: ErrorKind::AddrNotAvailable.into(),
        }
        .await
    }
}

impl TcpStream {
    /// Connect to a [`SocketAddr`] or to a name with a port, such as `"example.org:80"`; the name is looked up each
    /// time, see [`Connector`] for one with a memory. Otherwise as [`Connector::connect`].
    ///
    /// # Errors
    /// As [`Connector::connect`].
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn connect(target: impl Into<Target>) -> io::Result<Self> {
        Connector::new().connect(target).await
    }
}

/// The families take turns, beginning with the first one's; within each the order stays (RFC 8305, 4).
fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else {
        return Vec::new();
    };
    let is_first = |address: &&SocketAddr| address.is_ipv4() == first.is_ipv4();
    let mut ours = addresses.iter().filter(is_first);
    let mut others = addresses.iter().filter(|address| !is_first(address));
    let mut all = Vec::with_capacity(addresses.len());
    while all.len() < addresses.len() {
        all.extend(ours.next());
        all.extend(others.next());
    }
    all
}

struct Race {
    handle: Handle,
    local: Option<IpAddr>,
    attempt_delay: Duration,
    to_try: VecDeque<SocketAddr>,
    attempts: Vec<Connecting<SocketAddr>>,
    /// When the next attempt begins.
    next: Option<Sleep>,
    failed: io::Error,
}

impl Race {
    fn begin_next(&mut self) {
        let Some(address) = self.to_try.pop_front() else {
            self.next = None;
            return;
        };
        let local = self.local.map(|local| SocketAddr::new(local, 0));
        let dial = Box::new(move |ctx: &mut Ctx<'_>| match local {
            Some(local) => ctx.driver().connect_from(local, address),
            None => ctx.driver().connect(address),
        });
        let attempt = Connecting::begin(&self.handle, address, ShortRead::Drained, dial);
        self.attempts.push(attempt);
        self.next = match self.to_try.is_empty() {
            true => None,
            false => Some(self.handle.sleep(self.attempt_delay)),
        };
    }
}

impl Future for Race {
    type Output = io::Result<TcpStream>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let race = &mut *self;
        if race.attempts.is_empty() {
            race.begin_next();
        }
        let mut at = 0;
        while let Some(attempt) = race.attempts.get_mut(at) {
            match pin!(attempt).poll(context) {
                Poll::Ready(Ok(stream)) => {
                    race.attempts.clear();
                    return Poll::Ready(Ok(stream));
                }
                Poll::Ready(Err(error)) => {
                    drop(race.attempts.remove(at));
                    race.failed = error;
                    race.begin_next();
                }
                Poll::Pending => at += 1,
            }
            if at == race.attempts.len()
                && let Some(next) = &mut race.next
                && pin!(next).poll(context).is_ready()
            {
                race.begin_next();
            }
        }
        match race.attempts.is_empty() {
            true => {
                let failed = std::mem::replace(&mut race.failed, ErrorKind::NotConnected.into());
                Poll::Ready(Err(failed))
            }
            false => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(addresses: &[&str], expected: &[&str]) {
        let parse = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter()
                .map(|text| SocketAddr::new(text.parse().unwrap(), 80))
                .collect()
        };
        assert_eq!(interleaved(&parse(addresses)), parse(expected));
    }

    #[test]
    fn families_take_turns_and_the_first_ones_begins() {
        check(&[], &[]);
        check(&["1.1.1.1"], &["1.1.1.1"]);
        check(
            &["::1", "::2", "::3", "1.1.1.1", "2.2.2.2"],
            &["::1", "1.1.1.1", "::2", "2.2.2.2", "::3"],
        );
        check(&["1.1.1.1", "::1", "::2"], &["1.1.1.1", "::1", "::2"]);
    }

    #[test]
    fn a_target_is_an_address_or_a_host_and_a_port() {
        let kind = |text: &str| Target::from(text).0;
        assert_eq!(kind("[::1]:80"), Kind::Address("[::1]:80".parse().unwrap()));
        assert_eq!(kind("host:80"), Kind::Name("host".to_owned(), 80));
        for unclear in ["host", ":80", "host:", "host:65536", ""] {
            assert_eq!(kind(unclear), Kind::Unclear(unclear.to_owned()));
        }
    }
}
