//! From names to addresses, with a memory: getaddrinfo(3) blocks, so it runs on the executor, and what it found is good
//! for a while.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, ToSocketAddrs};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use super::ask::on_executor;
use crate::event_loop::{Detail, Handle, waits_on};
use crate::task::coop;

/// How long what was found is believed, unless it is set: getaddrinfo(3) does not tell what the zone says.
pub const TIME_TO_LIVE: Duration = Duration::from_secs(300);
/// Names that are remembered, unless it is set.
pub const NAMES_MAX: usize = 1_000;

type Lookup = dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>>>>;

/// Finds the addresses of names, and remembers them. Clones share one memory. For one loop.
///
/// All who ask for a name while it is looked up wait for one lookup; it goes on when they are dropped, and what it
/// finds is remembered. A failure is told to those who wait and is not remembered.
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::net::Resolver;
///
/// let resolver = Resolver::new();
/// resolver.set_override("db.internal", ["10.0.0.7".parse().unwrap()]);
/// let found = EventLoop::new()?.run_until(async move { resolver.resolve("db.internal").await })??;
/// assert_eq!(found, ["10.0.0.7".parse::<std::net::IpAddr>().unwrap()]);
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Resolver(Rc<Shared>);

struct Shared {
    lookup: Box<Lookup>,
    time_to_live: Cell<Duration>,
    names_max: Cell<usize>,
    overrides: RefCell<BTreeMap<String, Vec<IpAddr>>>,
    names: RefCell<BTreeMap<String, Name>>,
}

enum Name {
    Known {
        addresses: Vec<IpAddr>,
        until: Instant,
    },
    Asked(Rc<Answer>),
}

/// What a lookup will come to.
#[derive(Default)]
struct Answer {
    result: RefCell<Option<Result<Vec<IpAddr>, Refusal>>>,
    waiting: RefCell<Vec<Waker>>,
}

/// An error that can be told to several.
#[derive(Clone)]
struct Refusal {
    kind: ErrorKind,
    message: String,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self {
            kind: error.kind(),
            message: error.to_string(),
        }
    }
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.kind, refusal.message)
    }
}

impl Default for Resolver {
    /// As [`Resolver::new`].
    fn default() -> Self {
        Self::new()
    }
}

impl Resolver {
    /// One that asks the system, by getaddrinfo(3): `/etc/hosts`, the name servers, and what else it is set up for.
    pub fn new() -> Self {
        Self::with_lookup(ask_system)
    }

    /// One that asks `lookup`, for other ways to find names, and for tests. It is called once for all who ask at once.
    pub fn with_lookup<F>(lookup: impl Fn(String) -> F + 'static) -> Self
    where
        F: Future<Output = io::Result<Vec<IpAddr>>> + 'static,
    {
        Self(Rc::new(Shared {
            lookup: Box::new(move |host| Box::pin(lookup(host))),
            time_to_live: Cell::new(TIME_TO_LIVE),
            names_max: Cell::new(NAMES_MAX),
            overrides: RefCell::default(),
            names: RefCell::default(),
        }))
    }

    /// Believe what is found from now on for so long. Zero: ask each time.
    pub fn set_time_to_live(&self, time_to_live: Duration) {
        self.0.time_to_live.set(time_to_live);
    }

    /// Remember at most so many names; the one that would be forgotten first makes room for a new one. Names that are
    /// being looked up do not count: there are no more of them than were asked for.
    pub fn set_names_max(&self, names_max: usize) {
        self.0.names_max.set(names_max);
    }

    /// From now on `host` has these addresses, and nobody is asked.
    pub fn set_override(&self, host: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        let addresses = addresses.into_iter().collect();
        self.0.overrides.borrow_mut().insert(key(host), addresses);
    }

    /// Ask again for `host` the next time, for instance when none of its addresses answered.
    pub fn forget(&self, host: &str) {
        let mut names = self.0.names.borrow_mut();
        if let Some(Name::Known { .. }) = names.get(&key(host)) {
            names.remove(&key(host));
        }
    }

    /// How many names are remembered or being looked up.
    pub fn names(&self) -> usize {
        self.0.names.borrow().len()
    }

    /// The addresses of `host`, in the order in which the system prefers them (RFC 6724), at least one. An address is
    /// its own. Dropping the future leaves the lookup to the others.
    ///
    /// # Errors
    /// `NotFound` when there is no address; otherwise what the lookup says.
    ///
    /// # Panics
    /// When no loop is turning on this thread and somebody must be asked.
    pub async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.trim_matches(['[', ']']).parse() {
            return Ok(vec![address]);
        }
        let host = key(host);
        if let Some(addresses) = self.0.overrides.borrow().get(&host) {
            return Ok(addresses.clone());
        }
        let answer = match self.0.recall(&host) {
            Some(Name::Known { addresses, .. }) => return Ok(addresses),
            Some(Name::Asked(answer)) => answer,
            None => self.ask(host),
        };
        Ok(Waiting(answer).await?)
    }

    /// Begin a lookup.
    fn ask(&self, host: String) -> Rc<Answer> {
        let answer = Rc::<Answer>::default();
        let asked = Name::Asked(Rc::clone(&answer));
        self.0.names.borrow_mut().insert(host.clone(), asked);
        let asking = Asking {
            shared: Rc::clone(&self.0),
            host,
            answer: Rc::clone(&answer),
        };
        let handle = Handle::current();
        handle.clone().spawn_named("name lookup", async move {
            let found = (asking.shared.lookup)(asking.host.clone()).await;
            let found = found.and_then(|addresses| match addresses.is_empty() {
                true => Err(io::Error::new(
                    ErrorKind::NotFound,
                    format!("{} has no address", asking.host),
                )),
                false => Ok(addresses),
            });
            asking.end(found.map_err(Refusal::from), handle.now());
        });
        answer
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("names", &self.names())
            .finish_non_exhaustive()
    }
}

/// Names do not differ by case (RFC 4343).
fn key(host: &str) -> String {
    host.to_ascii_lowercase()
}

async fn ask_system(host: String) -> io::Result<Vec<IpAddr>> {
    on_executor(move || {
        let found = (host.as_str(), 0).to_socket_addrs()?;
        Ok(found.map(|address| address.ip()).collect())
    })
    .await
}

impl Shared {
    /// What is known of `host` now.
    fn recall(&self, host: &str) -> Option<Name> {
        let mut names = self.names.borrow_mut();
        match names.get(host)? {
            Name::Known { addresses, until } => {
                if *until > Handle::current().now() {
                    return Some(Name::Known {
                        addresses: addresses.clone(),
                        until: *until,
                    });
                }
                names.remove(host);
                None
            }
            Name::Asked(answer) => Some(Name::Asked(Rc::clone(answer))),
        }
    }

    fn remember(&self, host: String, addresses: Vec<IpAddr>, now: Instant) {
        let names = &mut *self.names.borrow_mut();
        let until = |name: &Name| match name {
            Name::Known { until, .. } => Some(*until),
            Name::Asked(_) => None,
        };
        while names.values().filter_map(until).count() >= self.names_max.get().max(1) {
            let known = names
                .iter()
                .filter_map(|(host, name)| Some((until(name)?, host)));
            let Some(first) = known.min().map(|(_, host)| host.clone()) else {
                break;
            };
            names.remove(&first);
        }
        let until = now + self.time_to_live.get();
        names.insert(host, Name::Known { addresses, until });
    }
}

/// A lookup under way. However it ends, nobody waits for ever.
struct Asking {
    shared: Rc<Shared>,
    host: String,
    answer: Rc<Answer>,
}

impl Asking {
    fn end(&self, result: Result<Vec<IpAddr>, Refusal>, now: Instant) {
        self.shared.names.borrow_mut().remove(&self.host);
        if let Ok(addresses) = &result
            && !self.shared.time_to_live.get().is_zero()
        {
            self.shared
                .remember(self.host.clone(), addresses.clone(), now);
        }
        self.tell(result);
    }

    fn tell(&self, result: Result<Vec<IpAddr>, Refusal>) {
        self.answer.result.replace(Some(result));
        for waker in self.answer.waiting.take() {
            waker.wake();
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if self.answer.result.borrow().is_none() {
            self.shared.names.borrow_mut().remove(&self.host);
            self.tell(Err(io::Error::from(ErrorKind::Interrupted).into()));
        }
    }
}

/// Waits for an [`Answer`].
struct Waiting(Rc<Answer>);

impl Future for Waiting {
    type Output = Result<Vec<IpAddr>, Refusal>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(coop::poll_proceed(context));
        if let Some(result) = &*self.0.result.borrow() {
            return Poll::Ready(result.clone());
        }
        let waker = context.waker().clone();
        let mut waiting = self.0.waiting.borrow_mut();
        if !waiting.iter().any(|other| other.will_wake(&waker)) {
            waiting.push(waker);
        }
        drop(waiting);
        waits_on("name lookup", Detail::None);
        Poll::Pending
    }
}
