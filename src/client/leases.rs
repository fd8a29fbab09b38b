//! The pool as tasks see it: a lease that gives itself back, the wait for one, and the janitor.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::error::PoolReport;
use super::pool::{Acquired, Effects, Place, Pool, PoolLimits, Ticket, User};
use crate::event_loop::{Detail, Handle, waits_on};
use crate::proto::http1::IncomingResponse;
use crate::task::{JoinHandle, sleep_until};

/// How long the janitor looks on where no connection will be due.
const ROUND: Duration = Duration::from_secs(60);
/// Heads of responses that are kept to be filled again.
const SPARE_HEADS_MAX: usize = 16;

/// A pool that all clones of a client share.
#[derive(Clone)]
pub(super) struct Leases(Rc<Shared>);

struct Shared {
    pool: RefCell<Pool<Box<Connection>>>,
    janitor: Cell<Option<JoinHandle<()>>>,
    /// Woken when an idle connection has something to say.
    janitor_waker: RefCell<Option<Waker>>,
    spare_heads: RefCell<Vec<IncomingResponse>>,
}

impl Leases {
    pub(super) fn new(limits: PoolLimits) -> Self {
        Self(Rc::new(Shared {
            pool: RefCell::new(Pool::new(limits)),
            janitor: Cell::new(None),
            janitor_waker: RefCell::new(None),
            spare_heads: RefCell::default(),
        }))
    }

    /// Ask for a connection to `host`, an origin: at once, or as a wait.
    pub(super) fn acquire(
        &self,
        host: &str,
        user: User,
        handle: &Handle,
    ) -> Result<Lease, Waiting> {
        let (mut closed, now) = (Vec::new(), handle.now());
        let acquired = self
            .0
            .pool
            .borrow_mut()
            .acquire(host, user, now, &mut closed);
        drop(closed);
        self.lease(acquired, handle).map_err(|ticket| Waiting {
            leases: self.clone(),
            handle: handle.clone(),
            ticket: Some(ticket),
        })
    }

    fn lease(&self, acquired: Acquired<Box<Connection>>, handle: &Handle) -> Result<Lease, Ticket> {
        let (place, connection) = match acquired {
            Acquired::Idle(place, connection) => (place, Some(connection)),
            Acquired::Room(place) => (place, None),
            Acquired::Wait(ticket) => return Err(ticket),
        };
        Ok(Lease {
            is_reused: connection.is_some(),
            leases: self.clone(),
            handle: handle.clone(),
            place,
            connection,
            is_over: false,
        })
    }

    /// Who has what, for those who wait for `host`.
    pub(super) fn report(&self, host: &str, now: Instant) -> PoolReport {
        self.0.pool.borrow().report(host, now)
    }

    /// How many connections are open or being opened, how many of them are idle, and how many wait for one.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        self.0.pool.borrow().counts()
    }

    /// Close all that is idle.
    pub(super) fn clear_idle(&self, now: Instant) {
        self.0.change(|pool, effects| pool.clear_idle(now, effects));
    }

    /// An empty head to read a response into.
    pub(super) fn spare_head(&self) -> IncomingResponse {
        self.0.spare_heads.borrow_mut().pop().unwrap_or_default()
    }

    /// Done with this head.
    pub(super) fn give_back_head(&self, mut head: IncomingResponse) {
        let mut spare = self.0.spare_heads.borrow_mut();
        if spare.len() < SPARE_HEADS_MAX {
            head.clear();
            spare.push(head);
        }
    }
}

impl Shared {
    fn change<T>(
        &self,
        act: impl FnOnce(&mut Pool<Box<Connection>>, &mut Effects<Box<Connection>>) -> T,
    ) -> T {
        let mut effects = Effects::new();
        let result = act(&mut self.pool.borrow_mut(), &mut effects);
        effects.carry_out();
        result
    }

    /// Close what has been idle for too long or was closed by its peer. The janitor is woken when another one is.
    fn sweep(&self, now: Instant, context: &mut Context<'_>) {
        self.change(|pool, effects| {
            pool.sweep(now, |connection| connection.is_usable(context), effects);
        });
    }

    /// See to it that idle connections are looked after.
    fn keep_janitor(shared: &Rc<Self>, handle: &Handle) {
        let janitor = shared
            .janitor
            .take()
            .filter(|janitor| !janitor.is_finished());
        let janitor = janitor.unwrap_or_else(|| handle.spawn(tidy(Rc::downgrade(shared))));
        shared.janitor.set(Some(janitor));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(janitor) = self.janitor.take() {
            janitor.abort();
        }
    }
}

/// Close idle connections when they are due, and at once when their peers have closed them. It ends when none is idle
/// at the end of a round, and not before: in a busy pool connections are idle now and then, and it need not begin each
/// time.
async fn tidy(shared: Weak<Shared>) {
    loop {
        let now = Handle::current().now();
        let due = shared
            .upgrade()
            .and_then(|shared| shared.pool.borrow().next_sweep());
        let mut due = sleep_until(due.unwrap_or(now + ROUND));
        let is_empty = poll_fn(|context| {
            let is_due = Pin::new(&mut due).poll(context).is_ready();
            let Some(shared) = shared.upgrade() else {
                return Poll::Ready(true);
            };
            shared.janitor_waker.replace(Some(context.waker().clone()));
            shared.sweep(Handle::current().now(), context);
            let (_, idle, _) = shared.pool.borrow().counts();
            match is_due {
                true => Poll::Ready(idle == 0),
                false => Poll::Pending,
            }
        });
        if is_empty.await {
            return;
        }
    }
}

/// The wait for a connection. Dropping it leaves the queue; what had been granted goes to the next.
pub(super) struct Waiting {
    leases: Leases,
    handle: Handle,
    ticket: Option<Ticket>,
}

impl Future for Waiting {
    type Output = Lease;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Lease> {
        let ticket = self.ticket.as_ref().expect("it was not ready before");
        let fetched = self
            .leases
            .0
            .pool
            .borrow_mut()
            .fetch(ticket, context.waker());
        let Some(acquired) = fetched else {
            let (_, _, waiting) = self.leases.counts();
            waits_on("pool", Detail::Count(waiting as u64));
            return Poll::Pending;
        };
        self.ticket = None;
        let lease = self.leases.lease(acquired, &self.handle);
        Poll::Ready(lease.unwrap_or_else(|_| unreachable!("a ticket is not exchanged for another")))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let now = self.handle.now();
            let shared = &self.leases.0;
            shared.change(|pool, effects| pool.leave(&ticket, now, effects));
        }
    }
}

/// The right to one connection, and the connection when there is one. Dropping it closes the connection.
pub(super) struct Lease {
    leases: Leases,
    handle: Handle,
    place: Place,
    connection: Option<Box<Connection>>,
    is_reused: bool,
    /// The place was given back.
    is_over: bool,
}

impl Lease {
    /// Whether its connection came from the pool.
    pub(super) fn is_reused(&self) -> bool {
        self.is_reused
    }

    pub(super) fn has_connection(&self) -> bool {
        self.connection.is_some()
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("it has been connected")
    }

    /// See [`Connection::input`].
    pub(super) fn input(&self, range: Range<usize>) -> &[u8] {
        let connection = self.connection.as_ref();
        connection.expect("it has been connected").input(range)
    }

    pub(super) fn set_connection(&mut self, connection: Connection) {
        self.connection = Some(Box::new(connection));
    }

    /// Its connection was found closed: another idle one in its stead, if there is any.
    pub(super) fn replace(&mut self) {
        self.connection = None;
        let now = self.handle.now();
        let shared = &self.leases.0;
        self.connection = shared.change(|pool, effects| pool.replace(self.place, now, effects));
        self.is_reused = self.connection.is_some();
    }

    /// Its connection may be used again.
    pub(super) fn put_back(mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let shared = &self.leases.0;
        let waker = shared.janitor_waker.borrow().clone();
        let waker = waker.as_ref().unwrap_or(Waker::noop());
        if connection.is_usable(&mut Context::from_waker(waker)) {
            self.is_over = true;
            let now = self.handle.now();
            shared.change(|pool, effects| pool.put_back(self.place, connection, now, effects));
            Shared::keep_janitor(shared, &self.handle);
        }
    }

    /// The connection leaves the pool, and its place is free.
    pub(super) fn take_connection(mut self) -> Option<Connection> {
        self.connection.take().map(|connection| *connection)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.connection = None;
        if !self.is_over {
            let now = self.handle.now();
            let shared = &self.leases.0;
            shared.change(|pool, effects| pool.release(self.place, now, effects));
        }
    }
}
