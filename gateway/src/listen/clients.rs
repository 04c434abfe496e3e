//! How many connections there are, and of whom.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::GatewayConfig;

/// The connections of a gateway. Looked at once for each.
#[derive(Debug, Default)]
pub(crate) struct Clients(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// A connection that is counted. Dropping it says that it is over.
#[derive(Debug)]
pub(crate) struct Counted {
    clients: Arc<Mutex<Counts>>,
    client: IpAddr,
}

impl Clients {
    /// One more connection of this client; `None`: there are as many as may be.
    pub(super) fn enter(&self, address: IpAddr, config: &GatewayConfig) -> Option<Counted> {
        let client = client(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_client = counts.by_client.get(&client).copied().unwrap_or(0);
        if counts.total >= config.connections || of_client >= config.connections_per_client {
            return None;
        }
        counts.total += 1;
        counts.by_client.insert(client, of_client + 1);
        Some(Counted { clients: Arc::clone(&self.0), client })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total -= 1;
        if let Some(of_client) = counts.by_client.get_mut(&self.client) {
            *of_client -= 1;
            if *of_client == 0 {
                counts.by_client.remove(&self.client);
            }
        }
    }
}

/// Who a connection counts for: of IPv6 whoever has the network, which is 64 bits even for a
/// single household.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use wrun_protocol::NodeId;

    use super::*;

    #[test]
    fn connections_are_bounded_in_total_and_for_each_client() {
        let mut config = GatewayConfig::new(NodeId(1));
        (config.connections, config.connections_per_client) = (3, 2);
        let clients = Clients::default();
        let enter = |address: &str| clients.enter(address.parse().unwrap(), &config);
        let first = enter("2001:db8::1").unwrap();
        let second = enter("2001:db8::ffff:2").unwrap();
        assert!(enter("2001:db8::3").is_none(), "one network is one client");
        let _third = enter("192.0.2.1").unwrap();
        assert!(enter("192.0.2.2").is_none(), "three are all");
        drop(first);
        assert!(enter("::ffff:192.0.2.1").is_some(), "mapped addresses are IPv4");
        drop(second);
        assert_eq!(clients.0.lock().unwrap().by_client.len(), 1);
    }
}
