//! Counts who is inside: strangers in total and by address, known peers by node or tenant.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use wrun_protocol::{NodeId, TenantName};

use crate::certificate::Peer;
use crate::limits::Limits;

pub(crate) struct Gate {
    strangers: Count<IpAddr>,
    peers: Count<Seat>,
    most_strangers: usize,
    most_per_address: usize,
    most_per_peer: usize,
}

/// Whose connections are counted together: a tenant's users count as one.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Seat {
    Node(NodeId),
    Tenant(TenantName),
}

/// A stranger's place; free again when dropped.
pub(crate) struct StrangerPermit {
    gate: Arc<Gate>,
    address: IpAddr,
}

/// A known peer's place; free again when dropped.
pub(crate) struct PeerPermit {
    gate: Arc<Gate>,
    seat: Option<Seat>,
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            strangers: Count::default(),
            peers: Count::default(),
            most_strangers: limits.anonymous,
            most_per_address: limits.anonymous_per_address,
            most_per_peer: limits.connections_per_peer,
        })
    }

    /// Whether half of the strangers' places are taken.
    pub(crate) fn is_busy(&self) -> bool {
        self.strangers.total() >= self.most_strangers / 2
    }

    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<StrangerPermit> {
        // An IPv6 host has a whole /64 to itself.
        let address = network(address);
        let entered = self.strangers.enter(&address, self.most_per_address, self.most_strangers);
        entered.then(|| StrangerPermit { gate: Arc::clone(self), address })
    }

    pub(crate) fn seat(self: &Arc<Self>, peer: &Peer) -> Option<PeerPermit> {
        let seat = match peer {
            Peer::Node(node) => Some(Seat::Node(*node)),
            Peer::User { tenant, .. } => Some(Seat::Tenant(tenant.clone())),
            Peer::Server | Peer::Anonymous => None,
        };
        let entered = match &seat {
            Some(seat) => self.peers.enter(seat, self.most_per_peer, usize::MAX),
            None => true,
        };
        entered.then(|| PeerPermit { gate: Arc::clone(self), seat })
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        },
        v4 => v4,
    }
}

impl Drop for StrangerPermit {
    fn drop(&mut self) {
        self.gate.strangers.leave(&self.address);
    }
}

impl Drop for PeerPermit {
    fn drop(&mut self) {
        if let Some(seat) = &self.seat {
            self.gate.peers.leave(seat);
        }
    }
}

/// How many are inside, in total and by key. Keys without anyone inside are forgotten.
struct Count<K>(Mutex<(HashMap<K, usize>, usize)>);

impl<K> Default for Count<K> {
    fn default() -> Self {
        Self(Mutex::new((HashMap::new(), 0)))
    }
}

impl<K: Clone + Eq + Hash> Count<K> {
    fn total(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    fn enter(&self, key: &K, most_of_key: usize, most: usize) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = counts.0.get(key).copied().unwrap_or(0);
        if inside >= most_of_key || counts.1 >= most {
            return false;
        }
        counts.0.insert(key.clone(), inside + 1);
        counts.1 += 1;
        true
    }

    fn leave(&self, key: &K) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.1 = counts.1.saturating_sub(1);
        match counts.0.get_mut(key) {
            Some(inside) if *inside > 1 => *inside -= 1,
            _ => drop(counts.0.remove(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Arc<Gate> {
        Gate::new(&Limits {
            anonymous: 4,
            anonymous_per_address: 2,
            connections_per_peer: 1,
            ..Limits::default()
        })
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let gate = gate();
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let inside: Vec<_> = (0..3).filter_map(|_| gate.admit(address(1))).collect();
        assert_eq!(inside.len(), 2);
        assert!(gate.is_busy());
        let others: Vec<_> = (2..9).filter_map(|last| gate.admit(address(last))).collect();
        assert_eq!(others.len(), 2);
        drop((inside, others));
        assert!(!gate.is_busy());
        assert!(gate.strangers.0.lock().unwrap().0.is_empty());
        assert!(gate.admit(address(1)).is_some());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let gate = gate();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let inside: Vec<_> = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"]
            .iter()
            .filter_map(|text| gate.admit(address(text)))
            .collect();
        assert_eq!(inside.len(), 3);
        assert_eq!(network(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }

    #[test]
    fn users_of_one_tenant_count_together() {
        use wrun_protocol::Role;
        let gate = gate();
        let user = |tenant: &str, role| Peer::User { tenant: tenant.parse().unwrap(), role };
        let first = gate.seat(&user("lab", Role::User));
        assert!(first.is_some());
        assert!(gate.seat(&user("lab", Role::Admin)).is_none());
        assert!(gate.seat(&user("other", Role::User)).is_some());
        drop(first);
        assert!(gate.seat(&user("lab", Role::Admin)).is_some());
    }
}
