//! What a gateway is given by its operator, and its limits.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use wrun_protocol::NodeId;

/// How a gateway works. [`GatewayConfig::new`] suits most.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// The node on which it is: replicas there go before others that are as free.
    pub node: NodeId,
    /// From where `X-Forwarded-*` and `Forwarded` are believed and passed on. What comes
    /// from elsewhere has them replaced.
    pub trusted_proxies: Vec<AddressRange>,
    /// Whether each request leaves a line, and where.
    pub access_log: AccessLog,
    /// Bytes of a request's head, its target included, at most: 431 above.
    pub head_bytes: u32,
    /// Fields of a request's head, at most: 431 above.
    pub head_fields: usize,
    /// How long a client may take for the head of a request, and for a TLS handshake.
    pub head_time: Duration,
    /// How long a connection is kept without a request.
    pub keep_alive: Duration,
    /// Connections of all listeners, at most; further ones are closed at once.
    pub connections: usize,
    /// Connections from one address, at most; of IPv6 a network of 64 bits is one address.
    pub connections_per_client: usize,
    /// Requests under way for the services of one tenant, at most: 429 above.
    pub requests_per_tenant: u32,
    /// Streams of one connection of HTTP/2 at once, at most.
    pub streams: u32,
    /// Streams that a client may have reset before they were looked at; more close its
    /// connection (CVE-2023-44487).
    pub resets: usize,
    /// Bytes of a body, either way, that are gathered before a replica is asked and after
    /// it has answered, so that slow clients hold none.
    pub gather: usize,
    /// Bytes gathered at once in all requests, at most; above it bodies go through as they come.
    pub gathered: usize,
    /// How long a client may send or take nothing of a body; in all so long too, besides the
    /// time that [`Self::body_rate`] gives.
    pub body_grace: Duration,
    /// Bytes a second at which a client must send or take a body, at least, once the grace is
    /// used up. Only time that was spent waiting for the client counts.
    pub body_rate: u32,
}

/// Whether each request leaves a line, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// No lines.
    #[default]
    Off,
    /// As events of the log, under the target `access`.
    Events,
    /// In a file, a JSON object a line.
    File {
        /// Where. Older ones have `.1` and so on behind.
        path: PathBuf,
        /// A file that has grown beyond this is put aside.
        bytes: u64,
        /// Older files that are kept.
        keep: u32,
    },
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenConfig {
    /// The addresses, each of which must be had. Port 0: the system chooses one. An IPv6
    /// address takes IPv6 alone: list an IPv4 one beside it for both.
    pub addresses: Vec<SocketAddr>,
    /// For HTTPS; `None`: plain HTTP.
    pub tls: Option<TlsFiles>,
}

/// A certificate and its key, in PEM. They are looked at every few seconds: a new pair takes
/// the place of the old one for new connections; a broken one is reported and not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Addresses with a common beginning: `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// As IPv6, IPv4 mapped into it.
    first: u128,
    /// Bits of it that count.
    bits: u32,
}

/// The text is not a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a range of addresses: write an address, or one with `/` and a number of bits"
)]
pub struct ParseRangeError(String);

impl GatewayConfig {
    /// With every limit at its default.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            trusted_proxies: Vec::new(),
            access_log: AccessLog::Off,
            head_bytes: 32 << 10,
            head_fields: 100,
            head_time: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            connections: 16_384,
            connections_per_client: 1024,
            requests_per_tenant: 8192,
            streams: 128,
            resets: 20,
            gather: 64 << 10,
            gathered: 256 << 20,
            body_grace: Duration::from_secs(20),
            body_rate: 1 << 10,
        }
    }
}

impl AddressRange {
    /// Whether the address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let differing = mapped(address) ^ self.first;
        differing.checked_shr(128 - self.bits).unwrap_or(0) == 0
    }
}

impl FromStr for AddressRange {
    type Err = ParseRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseRangeError(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| refused())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| refused())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        if bits > width {
            return Err(refused());
        }
        Ok(Self { first: mapped(address), bits: bits + 128 - width })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Ipv6Addr::from(self.first).to_canonical() {
            IpAddr::V4(address) if self.bits >= 96 => write!(f, "{address}/{}", self.bits - 96),
            _ => write!(f, "{}/{}", Ipv6Addr::from(self.first), self.bits),
        }
    }
}

fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> AddressRange {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_holds_the_addresses_that_begin_as_it_does() {
        let ten = range("10.0.0.0/8");
        assert!(ten.contains("10.9.8.7".parse().unwrap()));
        assert!(ten.contains("::ffff:10.9.8.7".parse().unwrap()), "mapped into IPv6");
        assert!(!ten.contains("11.0.0.1".parse().unwrap()));
        assert!(range("0.0.0.0/0").contains("192.0.2.1".parse().unwrap()));
        assert!(!range("0.0.0.0/0").contains("2001:db8::1".parse().unwrap()));
        assert!(range("::/0").contains("192.0.2.1".parse().unwrap()));
        assert!(range("2001:db8::/32").contains("2001:db8:1::1".parse().unwrap()));
        assert!(range("192.0.2.1").contains("192.0.2.1".parse().unwrap()));
        assert!(!range("192.0.2.1").contains("192.0.2.2".parse().unwrap()));
    }

    #[test]
    fn a_range_is_written_as_it_was_read() {
        for text in ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "0.0.0.0/0", "::/0"] {
            assert_eq!(range(text).to_string(), text);
        }
        for text in ["", "10.0.0.0/33", "10.0.0.0/x", "host", "::/129", "10.0.0/8"] {
            assert!(text.parse::<AddressRange>().is_err(), "{text}");
        }
    }
}
