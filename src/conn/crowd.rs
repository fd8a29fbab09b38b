//! Who may come in: how many in all, how many from one place, and how fast; for one server, or all of an engine's.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::limits::Limits;

/// A token bucket holds what comes in so long: what came late may come at once.
const BURST: Duration = Duration::from_secs(1);

/// The connections of one server, or of several that count together: the clones are the same crowd, on any thread, so
/// that [`super::Budget::connections_max`], [`Limits::connections_per_peer_max`] and [`Limits::accept_rate_max`] hold
/// for all loops or threads of an engine. A lock is taken when a connection comes and when it goes, and at no other
/// time.
#[derive(Clone)]
pub struct Crowd(Arc<Inner>);

struct Inner {
    connections_max: usize,
    /// With more it is crowded.
    comfortable_max: usize,
    per_peer_max: usize,
    /// A proxy in front of the server is one peer, and on the same machine more often than not.
    spares_loopback: bool,
    accept_rate_max: Option<u32>,
    /// Changed while the door is locked, and read at any time.
    open: AtomicUsize,
    /// Tasks that outlive their connections.
    detached: AtomicUsize,
    door: Mutex<Door>,
}

struct Door {
    /// How many there are of each network; none that has none.
    peers: BTreeMap<Network, usize>,
    bucket: Option<Bucket>,
}

/// Whom a connection comes from, as far as counting goes: an IPv4 address, or the first 64 bits of an IPv6 address,
/// since whoever has one address of such a network has all of them (RFC 6177).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Network(IpAddr);

impl Network {
    fn of(peer: IpAddr) -> Self {
        Self(match peer.to_canonical() {
            IpAddr::V6(address) => {
                let prefix = u128::from(address) >> 64 << 64;
                Ipv6Addr::from(prefix).into()
            }
            address => address,
        })
    }
}

/// Why one is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Full {
    /// [`super::Budget::connections_max`].
    Connections,
    /// [`Limits::connections_per_peer_max`].
    Peer,
    /// [`Limits::accept_rate_max`].
    Rate,
}

impl Crowd {
    /// A crowd of nobody, for as many as `limits` allow; without a [`super::Budget::connections_max`], any number.
    pub fn new(limits: &Limits) -> Self {
        let connections_max = limits.budget.connections_max.unwrap_or(usize::MAX);
        let per_peer_max = limits.connections_per_peer_max;
        Self(Arc::new(Inner {
            connections_max,
            comfortable_max: connections_max / 5 * 4,
            per_peer_max: per_peer_max.unwrap_or((connections_max / 4).max(1)),
            spares_loopback: per_peer_max.is_none(),
            accept_rate_max: limits.accept_rate_max,
            open: AtomicUsize::new(0),
            detached: AtomicUsize::new(0),
            door: Mutex::new(Door {
                peers: BTreeMap::new(),
                bucket: limits.accept_rate_max.map(Bucket::new),
            }),
        }))
    }

    /// `limits`, with those that this crowd was made with.
    pub(super) fn limits_of(&self, mut limits: Limits) -> Limits {
        let inner = &*self.0;
        let connections_max = inner.connections_max;
        limits.budget.connections_max = (connections_max < usize::MAX).then_some(connections_max);
        limits.connections_per_peer_max = (!inner.spares_loopback).then_some(inner.per_peer_max);
        limits.accept_rate_max = inner.accept_rate_max;
        limits
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Whether more than four fifths of the places are taken by connections.
    pub(super) fn is_crowded(&self) -> bool {
        self.open() > self.0.comfortable_max
    }

    /// Let `peer` in, by the clock of the loop that asks. When it leaves, [`Crowd::leave`] has to hear of it.
    pub(super) fn enter(&self, peer: IpAddr, now: Instant) -> Result<(), Full> {
        let inner = &*self.0;
        let mut door = self.door();
        let open = self.open();
        // A task that takes over its connection's place has one before the connection leaves, so that this may be one
        // too many for a moment, and never one too few.
        if open + inner.detached.load(Ordering::Relaxed) >= inner.connections_max {
            return Err(Full::Connections);
        }
        let network = self.network(peer);
        let of_network = network.map_or(0, |network| door.count(network));
        if of_network >= inner.per_peer_max {
            return Err(Full::Peer);
        }
        if door.bucket.as_mut().is_some_and(|bucket| !bucket.take(now)) {
            return Err(Full::Rate);
        }
        if let Some(network) = network {
            door.peers.insert(network, of_network + 1);
        }
        inner.open.store(open + 1, Ordering::Relaxed);
        Ok(())
    }

    /// One from `peer` that was let in has left.
    pub(crate) fn leave(&self, peer: IpAddr) {
        let mut door = self.door();
        if let Some(network) = self.network(peer) {
            match door.count(network) {
                0 | 1 => door.peers.remove(&network),
                count => door.peers.insert(network, count - 1),
            };
        }
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// So many more tasks have no connection, and need the place of one.
    pub(super) fn count_detached(&self, change: isize) {
        // Two's complement: adding -1 takes one away, and the sum wraps to what is meant.
        self.0
            .detached
            .fetch_add(change.cast_unsigned(), Ordering::Relaxed);
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        // Nothing panics while it is held.
        self.0.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whom one from `peer` is counted with, if it is counted.
    fn network(&self, peer: IpAddr) -> Option<Network> {
        let is_spared = self.0.spares_loopback && peer.to_canonical().is_loopback();
        (!is_spared).then(|| Network::of(peer))
    }
}

impl fmt::Debug for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crowd")
            .field("open", &self.open())
            .field("connections_max", &self.0.connections_max)
            .finish_non_exhaustive()
    }
}

impl Door {
    fn count(&self, network: Network) -> usize {
        self.peers.get(&network).copied().unwrap_or(0)
    }
}

/// What one connection takes from a bucket, whose unit is so small that a nanosecond at the slowest rate adds one.
const TOKEN: u64 = 1_000_000_000;

/// Lets through what comes at a rate, and bursts up to a second's worth.
struct Bucket {
    /// Connections a second.
    rate: u32,
    level: u64,
    filled_at: Option<Instant>,
}

impl Bucket {
    fn new(rate: u32) -> Self {
        let rate = rate.max(1);
        Self {
            rate,
            level: Self::filled_in(rate, BURST),
            filled_at: None,
        }
    }

    /// What comes in at `rate` within `time`, which is no longer than a burst.
    fn filled_in(rate: u32, time: Duration) -> u64 {
        // 2^32 * 10^9 at most, which is a quarter of what there is.
        u64::from(rate) * time.as_nanos() as u64
    }

    fn take(&mut self, now: Instant) -> bool {
        // The turns of several loops overlap: one that asks later may have begun its turn earlier.
        let filled_at = self.filled_at.map_or(now, |filled_at| filled_at.max(now));
        let since = filled_at - self.filled_at.replace(filled_at).unwrap_or(filled_at);
        let more = Self::filled_in(self.rate, since.min(BURST));
        self.level = (self.level + more).min(Self::filled_in(self.rate, BURST));
        let is_enough = self.level >= TOKEN;
        if is_enough {
            self.level -= TOKEN;
        }
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::Budget;

    fn crowd(change: impl FnOnce(&mut Limits)) -> Crowd {
        let mut limits = Limits {
            budget: Budget {
                connections_max: Some(8),
                ..Budget::default()
            },
            ..Limits::default()
        };
        change(&mut limits);
        Crowd::new(&limits)
    }

    /// Instants so many milliseconds after the same one.
    fn clock() -> impl Fn(u64) -> Instant {
        let origin = crate::event_loop::EventLoop::new().unwrap().now();
        move |ms| origin + Duration::from_millis(ms)
    }

    fn enter(crowd: &Crowd, peer: &str) -> Result<(), Full> {
        crowd.enter(peer.parse().unwrap(), clock()(0))
    }

    fn leave(crowd: &Crowd, peer: &str) {
        crowd.leave(peer.parse().unwrap());
    }

    #[test]
    fn no_more_may_be_in_than_there_are_places() {
        let crowd = crowd(|_| {});
        for n in 1..=8 {
            assert_eq!(enter(&crowd, &format!("192.0.2.{n}")), Ok(()));
        }
        assert_eq!(enter(&crowd, "192.0.2.9"), Err(Full::Connections));
        assert_eq!(crowd.open(), 8);
        // A task takes over the place of its connection.
        crowd.count_detached(1);
        leave(&crowd, "192.0.2.1");
        assert_eq!(crowd.open(), 7);
        assert_eq!(enter(&crowd, "192.0.2.9"), Err(Full::Connections));
        crowd.count_detached(-1);
        assert_eq!(enter(&crowd, "192.0.2.9"), Ok(()));
    }

    #[test]
    fn it_is_crowded_above_four_fifths() {
        let crowd = crowd(|limits| limits.budget.connections_max = Some(10));
        for n in 1..=10 {
            enter(&crowd, &format!("192.0.2.{n}")).unwrap();
            assert_eq!(crowd.is_crowded(), n > 8);
        }
        assert!(!Crowd::new(&Limits::default()).is_crowded());
    }

    #[test]
    fn threads_count_together() {
        let crowd = crowd(|limits| {
            limits.budget.connections_max = Some(100);
            limits.connections_per_peer_max = Some(20);
        });
        let origin = clock()(0);
        let entered = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (crowd, entered) = (crowd.clone(), &entered);
                scope.spawn(move || {
                    let mine: IpAddr = [192, 0, 2, thread].into();
                    let ours: IpAddr = [203, 0, 113, 1].into();
                    for _ in 0..1_000 {
                        crowd.enter(mine, origin).unwrap();
                        if crowd.enter(ours, origin).is_ok() {
                            entered.fetch_add(1, Ordering::Relaxed);
                        }
                        crowd.leave(mine);
                    }
                });
            }
        });
        assert_eq!(entered.into_inner(), 20);
        assert_eq!(crowd.open(), 20);
        assert_eq!(crowd.door().peers.len(), 1);
    }

    #[test]
    fn by_default_a_quarter_may_come_from_one_place() {
        let crowd = crowd(|_| {});
        assert!(enter(&crowd, "192.0.2.1").is_ok());
        assert!(enter(&crowd, "192.0.2.1").is_ok());
        assert_eq!(enter(&crowd, "192.0.2.1"), Err(Full::Peer));
        assert!(enter(&crowd, "192.0.2.2").is_ok());
        leave(&crowd, "192.0.2.1");
        assert!(enter(&crowd, "192.0.2.1").is_ok());
    }

    #[test]
    fn an_ipv6_network_is_one_place_and_a_mapped_address_an_ipv4_one() {
        let crowd = crowd(|limits| limits.connections_per_peer_max = Some(1));
        assert!(enter(&crowd, "2001:db8:1:2::1").is_ok());
        assert_eq!(enter(&crowd, "2001:db8:1:2:ffff::9"), Err(Full::Peer));
        assert!(enter(&crowd, "2001:db8:1:3::1").is_ok());
        assert!(enter(&crowd, "::ffff:192.0.2.1").is_ok());
        assert_eq!(enter(&crowd, "192.0.2.1"), Err(Full::Peer));
    }

    #[test]
    fn loopback_is_counted_only_when_asked_for() {
        let by_default = crowd(|limits| limits.budget.connections_max = Some(9));
        for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1"].repeat(3) {
            assert_eq!(enter(&by_default, peer), Ok(()));
        }
        let asked = crowd(|limits| limits.connections_per_peer_max = Some(1));
        assert!(enter(&asked, "127.0.0.1").is_ok());
        assert_eq!(enter(&asked, "127.0.0.1"), Err(Full::Peer));
    }

    #[test]
    fn who_has_left_leaves_no_entry() {
        let crowd = crowd(|limits| limits.budget.connections_max = Some(200));
        let peers: Vec<String> = (0..200).map(|n| format!("192.0.2.{n}")).collect();
        for peer in &peers {
            enter(&crowd, peer).unwrap();
        }
        for peer in &peers {
            leave(&crowd, peer);
        }
        assert!(crowd.door().peers.is_empty());
        assert_eq!(crowd.open(), 0);
    }

    #[test]
    fn a_rate_lets_a_second_s_worth_through_at_once_and_then_one_at_a_time() {
        let crowd = crowd(|limits| limits.accept_rate_max = Some(5));
        let clock = clock();
        let at = |ms| {
            let peer = "127.0.0.1".parse().unwrap();
            let mut entered = 0;
            while crowd.enter(peer, clock(ms)).is_ok() {
                crowd.leave(peer);
                entered += 1;
            }
            entered
        };
        assert_eq!([at(1_000), at(1_199), at(1_200)], [5, 0, 1]);
        // Another loop's turn, which began before: no time has passed since, and none passes twice.
        assert_eq!([at(1_100), at(1_200), at(1_399)], [0, 0, 0]);
        assert_eq!([at(1_799), at(1_800), at(9_999)], [2, 1, 5]);
    }

    #[test]
    fn the_highest_rate_does_not_overflow() {
        let mut bucket = Bucket::new(u32::MAX);
        let clock = clock();
        assert!(
            [0, 1, 1_000, u64::from(u32::MAX)]
                .map(clock)
                .into_iter()
                .all(|now| bucket.take(now))
        );
    }

    #[test]
    fn who_is_refused_for_another_reason_costs_no_place() {
        let crowd = crowd(|limits| {
            limits.accept_rate_max = Some(1);
            limits.budget.connections_max = Some(2);
            limits.connections_per_peer_max = Some(1);
        });
        let clock = clock();
        let [one, two, three] =
            ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|peer| peer.parse().unwrap());
        assert!(crowd.enter(one, clock(0)).is_ok());
        assert_eq!(crowd.enter(one, clock(0)), Err(Full::Peer));
        assert_eq!(crowd.enter(two, clock(0)), Err(Full::Rate));
        assert!(crowd.enter(two, clock(1_000)).is_ok());
        assert_eq!(crowd.enter(three, clock(2_000)), Err(Full::Connections));
        crowd.leave(one);
        assert!(crowd.enter(three, clock(2_000)).is_ok());
    }
}
