//! Who may have a connection, and which: hard limits, queues, idle connections, holders. It knows neither sockets nor
//! futures; connections are values, time comes in as an argument.
//!
//! Connections that are held, idle, and being opened count alike, so the limits are limits on sockets. Three rules:
//!
//! 1. After each call nobody waits who could have a connection. So a newcomer who can have one overtakes nobody.
//! 2. Who has waited longest of those who can have one gets it: the connection that became free if it leads to their
//!    host, else room for a new one, for which the connection that has been idle longest is closed if need be.
//! 3. Of several idle connections to a host the one used last is taken: the others grow old and are closed.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::error::{Held, PoolReport};
use super::url::Url;
use crate::event_loop::Origin;
use crate::parts::slab::{Key, Slab};

/// What bounds a pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolLimits {
    /// Connections in all; 0 for no limit.
    pub(super) limit: usize,
    /// Connections to one origin; 0 for no limit.
    pub(super) limit_per_host: usize,
    /// How long one may be idle.
    pub(super) keepalive_timeout: Duration,
    /// How long after it was opened one may be used again.
    pub(super) age_max: Option<Duration>,
}

/// Connections of type `C`.
pub(super) struct Pool<C> {
    limits: PoolLimits,
    hosts: HashMap<Rc<str>, Host>,
    /// Held, idle, and being opened.
    open: usize,
    idle: IdleList<C>,
    holders: Slab<Holder>,
    /// The first in line of each host whose own limit is not in its way, by when they came.
    first_in_line: BTreeMap<u64, Rc<str>>,
    waiting: usize,
    /// For those who do not wait any more and have not yet fetched it.
    granted: HashMap<u64, (Place, Option<C>)>,
    next_number: u64,
}

#[derive(Default)]
struct Host {
    /// Held, idle, and being opened.
    open: usize,
    /// The one used last stands last.
    idle: Vec<Key>,
    /// By when they came.
    waiters: BTreeMap<u64, Waiter>,
    /// Under which number it stands in `first_in_line`.
    in_line: Option<u64>,
}

struct Waiter {
    user: User,
    waker: Option<Waker>,
}

struct Holder {
    host: Rc<str>,
    user: User,
    since: Instant,
    /// When the connection was opened; of one that is being opened, when that began.
    opened: Instant,
}

/// On whose behalf a connection is held.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) url: Url,
    /// Where in the program it was asked for.
    pub(super) origin: Origin,
}

/// The right to one connection. Give it back with [`Pool::put_back`] or [`Pool::release`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place(Key);

/// A place in the queue. Give it back with [`Pool::leave`], or have it [`fetch`](Pool::fetch)ed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ticket {
    host: Rc<str>,
    number: u64,
}

/// What became of a wish for a connection.
#[derive(Debug)]
pub(super) enum Acquired<C> {
    /// This one, which was idle: it may have been closed by the peer.
    Idle(Place, C),
    /// There is room: open one.
    Room(Place),
    Wait(Ticket),
}

impl<C> Pool<C> {
    pub(super) fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            hosts: HashMap::new(),
            open: 0,
            idle: IdleList::new(),
            holders: Slab::new(),
            first_in_line: BTreeMap::new(),
            waiting: 0,
            granted: HashMap::new(),
            next_number: 0,
        }
    }

    /// Ask for a connection to `host`, an origin. What had to be closed for it, or was too old, goes into `closed`.
    pub(super) fn acquire(
        &mut self,
        host: &str,
        user: User,
        now: Instant,
        closed: &mut Vec<C>,
    ) -> Acquired<C> {
        let host = self.host_key(host);
        if let Some(idle) = self.take_idle(&host, now, closed) {
            let place = self.hold(&host, user, now, idle.opened);
            return Acquired::Idle(place, idle.connection);
        }
        if self.has_room(&host) {
            return Acquired::Room(self.take_room(&host, user, now, closed));
        }
        let number = self.next_number;
        self.next_number += 1;
        let waiter = Waiter { user, waker: None };
        self.host_mut(&host).waiters.insert(number, waiter);
        self.waiting += 1;
        self.stand_in_line(&host);
        Acquired::Wait(Ticket { host, number })
    }

    /// What a ticket has brought, or `None` if it is still to come; then `waker` is woken.
    pub(super) fn fetch(&mut self, ticket: &Ticket, waker: &Waker) -> Option<Acquired<C>> {
        if let Some((place, connection)) = self.granted.remove(&ticket.number) {
            return Some(match connection {
                Some(connection) => Acquired::Idle(place, connection),
                None => Acquired::Room(place),
            });
        }
        let host = self.host_mut(&ticket.host);
        let waiter = host.waiters.get_mut(&ticket.number);
        let waiter = waiter.expect("a ticket is fetched once");
        match &mut waiter.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        None
    }

    /// Wait no more. What the ticket had brought goes to the next.
    pub(super) fn leave(&mut self, ticket: &Ticket, now: Instant, effects: &mut Effects<C>) {
        match self.granted.remove(&ticket.number) {
            Some((place, Some(connection))) => self.put_back(place, connection, now, effects),
            Some((place, None)) => self.release(place, now, effects),
            None => {
                let host = self.host_mut(&ticket.host);
                if host.waiters.remove(&ticket.number).is_some() {
                    self.waiting -= 1;
                    self.stand_in_line(&ticket.host);
                    self.forget_host(&ticket.host);
                }
            }
        }
    }

    /// The connection of `place` was found closed: another idle one in its stead, if there is any. Without one, `place`
    /// is room to open one.
    pub(super) fn replace(
        &mut self,
        place: Place,
        now: Instant,
        effects: &mut Effects<C>,
    ) -> Option<C> {
        let host = Rc::clone(&self.holder(place).host);
        let Some(idle) = self.take_idle(&host, now, &mut effects.closed) else {
            self.holder_mut(place).opened = now;
            return None;
        };
        self.holder_mut(place).opened = idle.opened;
        self.count_closed(&host);
        self.serve(now, effects);
        Some(idle.connection)
    }

    /// `connection` may be used again.
    pub(super) fn put_back(
        &mut self,
        place: Place,
        connection: C,
        now: Instant,
        effects: &mut Effects<C>,
    ) {
        let opened = self.holder(place).opened;
        if self.limits.keepalive_timeout.is_zero() || self.is_too_old(opened, now) {
            effects.closed.push(connection);
            return self.release(place, now, effects);
        }
        let holder = self.holders.remove(place.0).expect("a place is held");
        let idle = Idle {
            connection,
            host: Rc::clone(&holder.host),
            opened,
            since: now,
        };
        let key = self.idle.push(idle);
        self.host_mut(&holder.host).idle.push(key);
        if self.waiting > 0 {
            self.stand_in_line(&holder.host);
            self.serve(now, effects);
        }
    }

    /// The connection of `place` is closed, or was never opened.
    pub(super) fn release(&mut self, place: Place, now: Instant, effects: &mut Effects<C>) {
        let holder = self.holders.remove(place.0).expect("a place is held");
        self.count_closed(&holder.host);
        self.serve(now, effects);
    }

    /// Close what has been idle for too long, and what `is_open` says is closed.
    pub(super) fn sweep(
        &mut self,
        now: Instant,
        mut is_open: impl FnMut(&mut C) -> bool,
        effects: &mut Effects<C>,
    ) {
        let mut next = self.idle.oldest;
        while let Some(key) = next {
            let entry = self.idle.entries.get_mut(key).expect("a link leads to one");
            next = entry.newer;
            let idle = &mut entry.idle;
            let is_due = now.saturating_duration_since(idle.since) >= self.limits.keepalive_timeout;
            if is_due || !is_open(&mut idle.connection) {
                let idle = self.remove_idle(key);
                effects.closed.push(idle.connection);
                self.count_closed(&idle.host);
            }
        }
        self.serve(now, effects);
    }

    /// When the connection that has been idle longest is due to be closed.
    pub(super) fn next_sweep(&self) -> Option<Instant> {
        let oldest = self.idle.entries.get(self.idle.oldest?)?;
        oldest.idle.since.checked_add(self.limits.keepalive_timeout)
    }

    /// Close all that is idle.
    pub(super) fn clear_idle(&mut self, now: Instant, effects: &mut Effects<C>) {
        self.sweep(now, |_| false, effects);
    }

    /// Who has what, for those who wait for `host`.
    pub(super) fn report(&self, host: &str, now: Instant) -> PoolReport {
        let counts = self.hosts.get(host);
        let mut holders = 0;
        let mut longest: Option<&Holder> = None;
        // Who waits because of the limit on all connections waits for the holders of all of them.
        let is_host_full = self.limits.limit_per_host > 0
            && counts.is_some_and(|host| host.open >= self.limits.limit_per_host);
        for holder in self.holders.iter().map(|(_, holder)| holder) {
            if is_host_full && *holder.host != *host {
                continue;
            }
            holders += 1;
            if longest.is_none_or(|longest| holder.since < longest.since) {
                longest = Some(holder);
            }
        }
        PoolReport {
            host: host.to_owned(),
            is_host_full,
            limit: match is_host_full {
                true => self.limits.limit_per_host,
                false => self.limits.limit,
            },
            holders,
            waiters: match is_host_full {
                true => counts.map_or(0, |host| host.waiters.len()),
                false => self.waiting,
            },
            longest: longest.map(|holder| Held {
                url: holder.user.url.clone(),
                origin: holder.user.origin,
                duration: now.saturating_duration_since(holder.since),
            }),
        }
    }

    /// How many connections are open or being opened, how many of them are idle, and how many wait for one.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        (self.open, self.idle.entries.len(), self.waiting)
    }

    fn host_key(&mut self, host: &str) -> Rc<str> {
        match self.hosts.get_key_value(host) {
            Some((key, _)) => Rc::clone(key),
            None => {
                let key: Rc<str> = host.into();
                self.hosts.insert(Rc::clone(&key), Host::default());
                key
            }
        }
    }

    fn host_mut(&mut self, host: &str) -> &mut Host {
        self.hosts
            .get_mut(host)
            .expect("a host with a place or a ticket is known")
    }

    fn holder(&self, place: Place) -> &Holder {
        self.holders.get(place.0).expect("a place is held")
    }

    fn holder_mut(&mut self, place: Place) -> &mut Holder {
        self.holders.get_mut(place.0).expect("a place is held")
    }

    fn hold(&mut self, host: &Rc<str>, user: User, now: Instant, opened: Instant) -> Place {
        Place(self.holders.insert(Holder {
            host: Rc::clone(host),
            user,
            since: now,
            opened,
        }))
    }

    /// Whether a connection to `host` may be opened, perhaps for that of another.
    fn has_room(&self, host: &str) -> bool {
        let limits = &self.limits;
        let open = self.hosts.get(host).map_or(0, |host| host.open);
        (limits.limit_per_host == 0 || open < limits.limit_per_host)
            && (limits.limit == 0 || self.open < limits.limit || self.idle.oldest.is_some())
    }

    /// A place for a connection that is to be opened. There is room, perhaps where another one is idle.
    fn take_room(
        &mut self,
        host: &Rc<str>,
        user: User,
        now: Instant,
        closed: &mut Vec<C>,
    ) -> Place {
        if self.limits.limit > 0 && self.open >= self.limits.limit {
            let oldest = self.idle.oldest.expect("there is room");
            let idle = self.remove_idle(oldest);
            self.count_closed(&idle.host);
            closed.push(idle.connection);
        }
        self.open += 1;
        self.host_mut(host).open += 1;
        self.hold(host, user, now, now)
    }

    /// The idle connection to `host` that was used last. Those that are too old are closed.
    fn take_idle(&mut self, host: &str, now: Instant, closed: &mut Vec<C>) -> Option<Idle<C>> {
        loop {
            let key = *self.host_mut(host).idle.last()?;
            let idle = self.remove_idle(key);
            let idle_for = now.saturating_duration_since(idle.since);
            if idle_for < self.limits.keepalive_timeout && !self.is_too_old(idle.opened, now) {
                return Some(idle);
            }
            // Its host stays known: it is about to have a place.
            self.open -= 1;
            self.host_mut(host).open -= 1;
            closed.push(idle.connection);
        }
    }

    fn is_too_old(&self, opened: Instant, now: Instant) -> bool {
        let age = now.saturating_duration_since(opened);
        self.limits.age_max.is_some_and(|age_max| age >= age_max)
    }

    fn remove_idle(&mut self, key: Key) -> Idle<C> {
        let idle = self.idle.remove(key);
        let keys = &mut self.host_mut(&idle.host).idle;
        // It is the last one that is taken, or the first one that is closed, but for those that peers close.
        let at = match keys.last() == Some(&key) {
            true => keys.len() - 1,
            false => keys.iter().position(|known| *known == key).expect("listed"),
        };
        keys.remove(at);
        idle
    }

    fn count_closed(&mut self, host: &Rc<str>) {
        self.open -= 1;
        self.host_mut(host).open -= 1;
        self.stand_in_line(host);
        self.forget_host(host);
    }

    fn forget_host(&mut self, host: &Rc<str>) {
        let counts = self.host_mut(host);
        if counts.open == 0 && counts.waiters.is_empty() {
            self.hosts.remove(host);
        }
    }

    /// Put the first of those who wait for `host` in line, or nobody while its own limit is in the way.
    fn stand_in_line(&mut self, host: &Rc<str>) {
        let limit = self.limits.limit_per_host;
        let counts = self.host_mut(host);
        let is_blocked = limit > 0 && counts.open >= limit && counts.idle.is_empty();
        let first = counts.waiters.first_key_value().map(|(number, _)| *number);
        let first = first.filter(|_| !is_blocked);
        let before = std::mem::replace(&mut counts.in_line, first);
        if before == first {
            return;
        }
        if let Some(number) = before {
            self.first_in_line.remove(&number);
        }
        if let Some(number) = first {
            self.first_in_line.insert(number, Rc::clone(host));
        }
    }

    /// Give what there is to those who wait, in the order in which they came.
    fn serve(&mut self, now: Instant, effects: &mut Effects<C>) {
        while let Some((&number, host)) = self.first_in_line.first_key_value() {
            let host = Rc::clone(host);
            let idle = self.take_idle(&host, now, &mut effects.closed);
            if idle.is_none() && !self.has_room(&host) {
                return;
            }
            let waiter = self.host_mut(&host).waiters.remove(&number);
            let waiter = waiter.expect("who stands in line waits");
            self.waiting -= 1;
            let granted = match idle {
                Some(idle) => {
                    let place = self.hold(&host, waiter.user, now, idle.opened);
                    (place, Some(idle.connection))
                }
                None => {
                    let closed = &mut effects.closed;
                    (self.take_room(&host, waiter.user, now, closed), None)
                }
            };
            self.stand_in_line(&host);
            self.granted.insert(number, granted);
            effects.woken.extend(waiter.waker);
        }
    }
}

/// What a call wants done when the pool is no longer borrowed: both run code that may come back to it.
pub(super) struct Effects<C> {
    /// To be dropped.
    pub(super) closed: Vec<C>,
    /// To be woken.
    pub(super) woken: Vec<Waker>,
}

impl<C> Effects<C> {
    pub(super) const fn new() -> Self {
        Self {
            closed: Vec::new(),
            woken: Vec::new(),
        }
    }

    /// Do it.
    pub(super) fn carry_out(self) {
        self.woken.into_iter().for_each(Waker::wake);
    }
}

struct Idle<C> {
    connection: C,
    host: Rc<str>,
    opened: Instant,
    since: Instant,
}

/// Idle connections in the order in which they became so. Nothing is allocated for one that comes and goes.
struct IdleList<C> {
    entries: Slab<Entry<C>>,
    oldest: Option<Key>,
    newest: Option<Key>,
}

struct Entry<C> {
    idle: Idle<C>,
    older: Option<Key>,
    newer: Option<Key>,
}

impl<C> IdleList<C> {
    fn new() -> Self {
        Self {
            entries: Slab::new(),
            oldest: None,
            newest: None,
        }
    }

    fn push(&mut self, idle: Idle<C>) -> Key {
        let key = self.entries.insert(Entry {
            idle,
            older: self.newest,
            newer: None,
        });
        match self.newest.and_then(|newest| self.entries.get_mut(newest)) {
            Some(newest) => newest.newer = Some(key),
            None => self.oldest = Some(key),
        }
        self.newest = Some(key);
        key
    }

    fn remove(&mut self, key: Key) -> Idle<C> {
        let entry = self.entries.remove(key).expect("an idle one is listed");
        match entry.older.and_then(|older| self.entries.get_mut(older)) {
            Some(older) => older.newer = entry.newer,
            None => self.oldest = entry.newer,
        }
        match entry.newer.and_then(|newer| self.entries.get_mut(newer)) {
            Some(newer) => newer.older = entry.older,
            None => self.newest = entry.older,
        }
        entry.idle
    }
}

#[cfg(test)]
mod tests;
