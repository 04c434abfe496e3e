//! Which addresses a guest may reach: those of the hosts it was granted, by name or
//! address. An address of this machine, of the link or of a cloud's metadata service is
//! reached only if that very address was granted, whatever a name resolves to. And on
//! which ports it may listen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use wasmtime_wasi::sockets::SocketAddrUse;
use wrun_protocol::job::HostGrant;

/// A task's grants; there is at least one.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    grants: Vec<HostGrant>,
    /// TCP ports on which it may listen.
    ports: Vec<u16>,
}

impl Network {
    /// `None` when nothing is granted.
    pub(crate) fn new(grants: &[HostGrant], ports: &[u16]) -> Option<Arc<Self>> {
        let granted = !grants.is_empty() || !ports.is_empty();
        granted.then(|| Arc::new(Self { grants: grants.to_vec(), ports: ports.to_vec() }))
    }

    /// Whether that host was granted, by the name that the guest uses.
    pub(crate) fn allows_host(&self, host: &str, port: u16) -> bool {
        self.grants.iter().any(|grant| {
            same_host(&grant.host, host) && grant.port.is_none_or(|granted| granted == port)
        })
    }

    /// Whether the guest may look this name up.
    pub(crate) fn allows_name(&self, name: &str) -> bool {
        self.grants.iter().any(|grant| same_host(&grant.host, name))
    }

    /// Whether the guest may use `address` so.
    pub(crate) async fn allows(&self, address: SocketAddr, reason: SocketAddrUse) -> bool {
        match reason {
            SocketAddrUse::TcpBind => is_any(address) || self.ports.contains(&address.port()),
            SocketAddrUse::UdpBind => is_any(address),
            SocketAddrUse::TcpListen => self.ports.contains(&address.port()),
            // Of who connects to a port on which it may listen.
            SocketAddrUse::TcpAccept => !self.ports.is_empty(),
            SocketAddrUse::TcpConnect | SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => {
                self.reaches(address).await
            }
        }
    }

    /// The addresses of a host that the guest names to the node and may reach there. None:
    /// the host is not granted, or leads only where it must not.
    pub(crate) async fn resolve(&self, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        if let Some(ip) = literal(host) {
            let address = SocketAddr::new(ip, port);
            return self.reaches(address).await.then(|| vec![address]);
        }
        if !self.allows_host(host, port) {
            return None;
        }
        let found = tokio::net::lookup_host((host, port)).await.ok()?;
        let mut reached = Vec::new();
        for address in found {
            let own = |grant: &HostGrant| {
                literal(&grant.host) == Some(address.ip().to_canonical())
                    && grant.port.is_none_or(|granted| granted == port)
            };
            if !needs_own_grant(address.ip().to_canonical()) || self.grants.iter().any(own) {
                reached.push(address);
            }
        }
        Some(reached)
    }

    async fn reaches(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let for_port = |grant: &&HostGrant| grant.port.is_none_or(|port| port == address.port());
        if self.grants.iter().filter(for_port).any(|grant| literal(&grant.host) == Some(ip)) {
            return true;
        }
        if needs_own_grant(ip) {
            return false;
        }
        for grant in self.grants.iter().filter(for_port) {
            if literal(&grant.host).is_some() {
                continue;
            }
            let found = tokio::net::lookup_host((grant.host.as_str(), address.port())).await;
            if found.is_ok_and(|mut all| all.any(|found| found.ip().to_canonical() == ip)) {
                return true;
            }
        }
        false
    }
}

/// A socket that connects is first bound to any address and port.
fn is_any(address: SocketAddr) -> bool {
    address.ip().is_unspecified() && address.port() == 0
}

fn same_host(granted: &str, named: &str) -> bool {
    granted.trim_end_matches('.').eq_ignore_ascii_case(named.trim_end_matches('.'))
}

fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// Addresses that a name must not lead to: this machine, the link, metadata services,
/// and what reaches more than one host.
fn needs_own_grant(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => v4_needs_own_grant(ip),
        IpAddr::V6(ip) => v6_needs_own_grant(ip),
    }
}

fn v4_needs_own_grant(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    ip.is_loopback()
        || ip.is_link_local()
        || ip.is_unspecified()
        || ip.is_broadcast()
        || ip.is_multicast()
        || first == 0
        // Shared address space, where some clouds put their metadata service.
        || (first == 100 && (64..128).contains(&second))
        || ip == Ipv4Addr::new(192, 0, 0, 192)
        || ip == Ipv4Addr::new(168, 63, 129, 16)
}

fn v6_needs_own_grant(ip: Ipv6Addr) -> bool {
    let [a, b, _, _, _, _, g, h] = ip.segments();
    // Addresses that carry an IPv4 address lead where that leads.
    let [first, second] = g.to_be_bytes();
    let [third, fourth] = h.to_be_bytes();
    let carried = Ipv4Addr::new(first, second, third, fourth);
    let translated = (a, b) == (0x64, 0xff9b) && v4_needs_own_grant(carried);
    ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || ip.is_unicast_link_local()
        || translated
        || a == 0x2002
        || ip == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(hosts: &[(&str, Option<u16>)]) -> Arc<Network> {
        let grant = |(host, port): &(&str, Option<u16>)| HostGrant {
            host: (*host).to_owned(),
            port: *port,
        };
        Network::new(&hosts.iter().map(grant).collect::<Vec<_>>(), &[]).unwrap()
    }

    async fn connects(network: &Network, address: &str) -> bool {
        network.allows(address.parse().unwrap(), SocketAddrUse::TcpConnect).await
    }

    #[tokio::test]
    async fn an_address_is_reached_only_by_its_own_grant_and_port() {
        let network = granted(&[("192.0.2.7", Some(443)), ("127.0.0.1", None)]);
        assert!(connects(&network, "192.0.2.7:443").await);
        assert!(!connects(&network, "192.0.2.7:80").await);
        assert!(!connects(&network, "192.0.2.8:443").await);
        assert!(connects(&network, "127.0.0.1:9").await);
        assert!(connects(&network, "[::ffff:127.0.0.1]:9").await);
        assert!(!connects(&network, "127.0.0.2:9").await);
    }

    #[tokio::test]
    async fn a_name_does_not_lead_to_this_machine() {
        let network = granted(&[("localhost", None)]);
        assert!(!connects(&network, "127.0.0.1:9").await);
        assert!(!connects(&network, "[::1]:9").await);
    }

    #[tokio::test]
    async fn a_host_that_was_not_granted_is_not_even_looked_up() {
        let network = granted(&[("localhost", Some(80))]);
        assert_eq!(network.resolve("example.com", 80).await, None);
        assert_eq!(network.resolve("localhost", 81).await, None);
        assert_eq!(network.resolve("localhost", 80).await, Some(Vec::new()));
        let both = granted(&[("localhost", None), ("127.0.0.1", None), ("::1", None)]);
        assert!(!both.resolve("localhost", 80).await.unwrap().is_empty());
    }

    #[test]
    fn metadata_and_link_addresses_need_their_own_grant() {
        for text in [
            "169.254.169.254",
            "100.100.100.200",
            "fd00:ec2::254",
            "fe80::1",
            "64:ff9b::a9fe:a9fe",
            "0.0.0.0",
        ] {
            assert!(needs_own_grant(text.parse().unwrap()), "{text}");
        }
        assert!(!needs_own_grant("8.8.8.8".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_guest_listens_on_its_ports_and_on_no_other() {
        let network = Network::new(&[], &[8080]).unwrap();
        for reason in [SocketAddrUse::TcpBind, SocketAddrUse::TcpListen] {
            assert!(network.allows("0.0.0.0:8080".parse().unwrap(), reason).await);
            assert!(network.allows("[::1]:8080".parse().unwrap(), reason).await);
            assert!(!network.allows("0.0.0.0:8081".parse().unwrap(), reason).await);
        }
        let any = "0.0.0.0:0".parse().unwrap();
        assert!(!network.allows(any, SocketAddrUse::TcpListen).await, "a port of the system's");
        assert!(!network.allows("0.0.0.0:8080".parse().unwrap(), SocketAddrUse::UdpBind).await);
        assert!(!connects(&network, "127.0.0.1:8080").await, "listening is not connecting");
    }

    #[tokio::test]
    async fn nobody_listens_without_a_port() {
        let network = granted(&[("192.0.2.7", None)]);
        let any = "0.0.0.0:0".parse().unwrap();
        assert!(network.allows(any, SocketAddrUse::TcpBind).await);
        assert!(!network.allows(any, SocketAddrUse::TcpListen).await);
        let fixed = "0.0.0.0:80".parse().unwrap();
        assert!(!network.allows(fixed, SocketAddrUse::UdpBind).await);
    }
}
