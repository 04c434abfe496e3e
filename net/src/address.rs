//! `HOST:PORT` as people write it, and the addresses it stands for.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::error::ConnectError;

/// Most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// A host name or IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    host: String,
    port: u16,
}

/// The text is not `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a server's address: {problem}; write HOST:PORT, an IPv6 address in brackets"
)]
pub struct AddressError {
    text: String,
    problem: &'static str,
}

impl ServerAddress {
    /// The host name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every address the host has, each once, in the resolver's order of preference.
    pub(crate) async fn resolve(&self) -> Result<Vec<SocketAddr>, ConnectError> {
        let refused = |problem: String| ConnectError::Resolve { server: self.to_string(), problem };
        let found = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|error| refused(error.to_string()))?;
        let mut addresses = Vec::new();
        for address in found {
            if !addresses.contains(&address) && addresses.len() < MAX_ADDRESSES {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(refused("it has no address".to_owned()));
        }
        Ok(addresses)
    }
}

impl From<SocketAddr> for ServerAddress {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for ServerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |problem| AddressError { text: text.to_owned(), problem };
        let (host, port) = text.rsplit_once(':').ok_or_else(|| refused("the port is missing"))?;
        let host = match host.strip_prefix('[') {
            Some(inner) => ipv6(inner).ok_or_else(|| refused("no IPv6 address in the brackets"))?,
            None if host.contains(':') => return Err(refused("is it an IPv6 address?")),
            None => host,
        };
        check_host(host).map_err(refused)?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(port) if digits && port > 0 => Ok(Self { host: host.to_owned(), port }),
            _ => Err(refused("the port is a number from 1 to 65535")),
        }
    }
}

/// What is between brackets, if it is an IPv6 address (a scope may follow `%`).
fn ipv6(inner: &str) -> Option<&str> {
    let host = inner.strip_suffix(']')?;
    let address = host.split('%').next()?;
    address.parse::<Ipv6Addr>().ok().map(|_| host)
}

fn check_host(host: &str) -> Result<(), &'static str> {
    if host.parse::<IpAddr>().is_ok() || host.contains(':') {
        return Ok(());
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if host.is_empty() {
        Err("the host is missing")
    } else if host.len() > 253 || !host.bytes().all(allowed) {
        Err("the host is no DNS name")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_read_back_what_they_print() {
        for (text, host) in [
            ("localhost:7450", "localhost"),
            ("a.example.org:1", "a.example.org"),
            ("127.0.0.1:65535", "127.0.0.1"),
            ("[::1]:7450", "::1"),
            ("[fe80::1%eth0]:7450", "fe80::1%eth0"),
        ] {
            let address: ServerAddress = text.parse().unwrap();
            assert_eq!(address.host(), host);
            assert_eq!(address.to_string(), text);
        }
        let address = ServerAddress::from(SocketAddr::from(([127, 0, 0, 1], 80)));
        assert_eq!(address.to_string().parse(), Ok(address));
    }

    #[test]
    fn other_text_is_refused_with_what_is_wrong() {
        for (text, problem) in [
            ("", "port is missing"),
            ("host", "port is missing"),
            (":80", "host is missing"),
            ("host:", "number from 1"),
            ("host:0", "number from 1"),
            ("host:+1", "number from 1"),
            ("host:65536", "number from 1"),
            ("::1:80", "IPv6"),
            ("[::1:80", "brackets"),
            ("[host]:80", "brackets"),
            ("a b:80", "DNS name"),
            ("https://host:80", "IPv6"),
        ] {
            let error = text.parse::<ServerAddress>().unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
