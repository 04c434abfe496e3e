//! Names of services, and how one service names another in a URL.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::TenantName;

/// Under which a guest reaches services: `NAME.wrun.internal` is one of its own tenant,
/// `NAME.TENANT.wrun.internal` one of another. The top-level domain `internal` is set aside
/// for private use (ICANN board resolution 2024.07.29.06), so that no such name is anybody
/// else's.
pub const SERVICE_DOMAIN: &str = "wrun.internal";

/// The field that counts how often a request went from service to service. What clients and
/// guests say in it is dropped: nodes set it on calls of services by name, gateways pass it on
/// and end what has come too far, which is a circle.
pub const HOPS: &str = "wrun-hops";

/// Calls from service to service behind one request, at most.
pub const MAX_HOPS: u32 = 16;

/// The name of a service: 1 to 63 of `a-z`, `0-9` and `-`, beginning with a letter: a DNS
/// label (RFC 1123). Copies share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(Arc<str>);

/// A service of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceId {
    /// Whose it is.
    pub tenant: TenantName,
    /// Unique among its tenant's.
    pub name: ServiceName,
}

/// The text is not a service's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a service name: use 1 to 63 of a-z, 0-9 and `-`, beginning with a letter")]
pub struct ParseServiceNameError(String);

impl ServiceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ServiceId {
    /// The service that a guest of `caller` means by a host; `None` if that is no name of a
    /// service. Case does not matter, as in every host name.
    pub fn of_host(host: &str, caller: &TenantName) -> Option<Self> {
        let host = host.to_ascii_lowercase();
        let labels = host.strip_suffix(SERVICE_DOMAIN)?.strip_suffix('.')?;
        let (name, tenant) = match labels.split_once('.') {
            Some((name, tenant)) => (name, tenant.parse().ok()?),
            None => (labels, caller.clone()),
        };
        Some(Self { tenant, name: name.parse().ok()? })
    }
}

impl TryFrom<String> for ServiceName {
    type Error = ParseServiceNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // The alphabet is that of tenants, for the same reasons.
        match text.parse::<TenantName>() {
            Ok(_) => Ok(Self(text.into())),
            Err(_) => Err(ParseServiceNameError(text)),
        }
    }
}

impl FromStr for ServiceName {
    type Err = ParseServiceNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(tenant: &str, name: &str) -> ServiceId {
        ServiceId { tenant: tenant.parse().unwrap(), name: name.parse().unwrap() }
    }

    #[test]
    fn a_host_names_a_service_of_the_caller_or_of_another_tenant() {
        let caller = "lab".parse().unwrap();
        let of = |host| ServiceId::of_host(host, &caller);
        assert_eq!(of("thumbs.wrun.internal"), Some(id("lab", "thumbs")));
        assert_eq!(of("Thumbs.Shop.WRUN.internal"), Some(id("shop", "thumbs")));
        for host in ["wrun.internal", ".wrun.internal", "a.b.c.wrun.internal", "xwrun.internal"] {
            assert_eq!(of(host), None, "{host}");
        }
        assert_eq!(of("example.com"), None);
    }

    #[test]
    fn names_are_dns_labels() {
        assert!("api-2".parse::<ServiceName>().is_ok());
        for text in ["", "2api", "Api", "a.b", "a/b"] {
            assert!(text.parse::<ServiceName>().is_err(), "{text}");
        }
    }
}
