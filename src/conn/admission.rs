//! Who may come in: how many in all, how many from one place, and how fast.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use super::limits::Limits;

/// A token bucket holds so many seconds' worth: what came late may come at once.
const BURST_SECONDS: u64 = 1;

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

pub(super) struct Admission {
    connections_max: usize,
    per_peer_max: usize,
    /// A proxy in front of the server is one peer, and on the same machine more often than not.
    spares_loopback: bool,
    /// How many there are of each network; none that has none.
    peers: BTreeMap<Network, usize>,
    bucket: Option<Bucket>,
}

impl Admission {
    pub(super) fn new(limits: &Limits) -> Self {
        let connections_max = limits.budget.connections_max.unwrap_or(usize::MAX);
        let per_peer_max = limits.connections_per_peer_max;
        Self {
            connections_max,
            per_peer_max: per_peer_max.unwrap_or((connections_max / 4).max(1)),
            spares_loopback: per_peer_max.is_none(),
            peers: BTreeMap::new(),
            bucket: limits.accept_rate_max.map(Bucket::new),
        }
    }

    /// Let `peer` in where `open` are in already. When it leaves, [`Admission::leave`] has to hear of it.
    pub(super) fn enter(&mut self, peer: IpAddr, open: usize, tick: u64) -> Result<(), Full> {
        if open >= self.connections_max {
            return Err(Full::Connections);
        }
        let network = self.network(peer);
        let of_network = network.map_or(0, |network| self.count(network));
        if of_network >= self.per_peer_max {
            return Err(Full::Peer);
        }
        if self
            .bucket
            .as_mut()
            .is_some_and(|bucket| !bucket.take(tick))
        {
            return Err(Full::Rate);
        }
        if let Some(network) = network {
            self.peers.insert(network, of_network + 1);
        }
        Ok(())
    }

    /// One from `peer` has left.
    pub(super) fn leave(&mut self, peer: IpAddr) {
        if let Some(network) = self.network(peer) {
            match self.count(network) {
                0 | 1 => self.peers.remove(&network),
                count => self.peers.insert(network, count - 1),
            };
        }
    }

    /// Whom one from `peer` is counted with, if it is counted.
    fn network(&self, peer: IpAddr) -> Option<Network> {
        let is_spared = self.spares_loopback && peer.to_canonical().is_loopback();
        (!is_spared).then(|| Network::of(peer))
    }

    fn count(&self, network: Network) -> usize {
        self.peers.get(&network).copied().unwrap_or(0)
    }
}

/// Lets through what comes at a rate, and bursts up to a second's worth. In thousandths of a connection, since ticks
/// are thousandths of a second.
struct Bucket {
    rate: u64,
    level: u64,
    filled_at: Option<u64>,
}

impl Bucket {
    fn new(rate: u32) -> Self {
        let rate = u64::from(rate.max(1));
        Self {
            rate,
            level: rate * BURST_SECONDS * 1_000,
            filled_at: None,
        }
    }

    fn take(&mut self, tick: u64) -> bool {
        let since = tick.saturating_sub(self.filled_at.unwrap_or(tick));
        self.filled_at = Some(tick);
        let full = self.rate * BURST_SECONDS * 1_000;
        self.level = full.min(self.level.saturating_add(since.saturating_mul(self.rate)));
        let is_enough = self.level >= 1_000;
        if is_enough {
            self.level -= 1_000;
        }
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::Budget;

    fn admission(change: impl FnOnce(&mut Limits)) -> Admission {
        let mut limits = Limits {
            budget: Budget {
                connections_max: Some(8),
                ..Budget::default()
            },
            ..Limits::default()
        };
        change(&mut limits);
        Admission::new(&limits)
    }

    fn enter(admission: &mut Admission, peer: &str) -> Result<(), Full> {
        admission.enter(peer.parse().unwrap(), 0, 0)
    }

    #[test]
    fn by_default_a_quarter_may_come_from_one_place() {
        let mut admission = admission(|_| {});
        assert!(enter(&mut admission, "192.0.2.1").is_ok());
        assert!(enter(&mut admission, "192.0.2.1").is_ok());
        assert_eq!(enter(&mut admission, "192.0.2.1"), Err(Full::Peer));
        assert!(enter(&mut admission, "192.0.2.2").is_ok());
        admission.leave("192.0.2.1".parse().unwrap());
        assert!(enter(&mut admission, "192.0.2.1").is_ok());
    }

    #[test]
    fn an_ipv6_network_is_one_place_and_a_mapped_address_an_ipv4_one() {
        let mut admission = admission(|limits| limits.connections_per_peer_max = Some(1));
        assert!(enter(&mut admission, "2001:db8:1:2::1").is_ok());
        assert_eq!(
            enter(&mut admission, "2001:db8:1:2:ffff::9"),
            Err(Full::Peer)
        );
        assert!(enter(&mut admission, "2001:db8:1:3::1").is_ok());
        assert!(enter(&mut admission, "::ffff:192.0.2.1").is_ok());
        assert_eq!(enter(&mut admission, "192.0.2.1"), Err(Full::Peer));
    }

    #[test]
    fn loopback_is_counted_only_when_asked_for() {
        let mut by_default = admission(|_| {});
        for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1"].repeat(3) {
            assert_eq!(enter(&mut by_default, peer), Ok(()));
        }
        let mut asked = admission(|limits| limits.connections_per_peer_max = Some(1));
        assert!(enter(&mut asked, "127.0.0.1").is_ok());
        assert_eq!(enter(&mut asked, "127.0.0.1"), Err(Full::Peer));
    }

    #[test]
    fn who_has_left_leaves_no_entry() {
        let mut admission = admission(|_| {});
        let peers: Vec<String> = (0..200).map(|n| format!("192.0.2.{n}")).collect();
        for peer in &peers {
            enter(&mut admission, peer).unwrap();
        }
        for peer in &peers {
            admission.leave(peer.parse().unwrap());
        }
        assert!(admission.peers.is_empty());
    }

    #[test]
    fn a_rate_lets_a_second_s_worth_through_at_once_and_then_one_at_a_time() {
        let mut admission = admission(|limits| limits.accept_rate_max = Some(5));
        let mut at = |tick| {
            let peer = "127.0.0.1".parse().unwrap();
            let mut entered = 0;
            while admission.enter(peer, 0, tick).is_ok() {
                entered += 1;
            }
            entered
        };
        assert_eq!([at(1_000), at(1_199), at(1_200)], [5, 0, 1]);
        assert_eq!([at(1_799), at(1_800), at(9_999)], [2, 1, 5]);
    }

    #[test]
    fn who_is_refused_for_another_reason_costs_no_place() {
        let mut admission = admission(|limits| {
            limits.accept_rate_max = Some(1);
            limits.connections_per_peer_max = Some(1);
        });
        let peer = "192.0.2.1".parse().unwrap();
        assert_eq!(admission.enter(peer, 8, 0), Err(Full::Connections));
        assert!(admission.enter(peer, 0, 0).is_ok());
        assert_eq!(admission.enter(peer, 0, 0), Err(Full::Peer));
        let other = "192.0.2.2".parse().unwrap();
        assert_eq!(admission.enter(other, 0, 0), Err(Full::Rate));
        assert!(admission.enter(other, 0, 1_000).is_ok());
    }
}
