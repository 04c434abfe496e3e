//! What a certificate says: who its holder is and from when to when. Reads only; whether
//! it is genuine has been checked by TLS before.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wrun_protocol::{NodeId, Role, TenantName};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::error::IdentityError;

/// The name that a server's certificate carries, whatever its host is called: clients
/// trust the cluster's authority, not the DNS.
pub(crate) const SERVER_NAME: &str = "wrun-server";

/// Who is at the other end, as its verified certificate says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A node: `wrun://node/<number>`.
    Node(NodeId),
    /// A user: `wrun://user/<tenant>/<role>`.
    User {
        /// Whose work it is.
        tenant: TenantName,
        /// What it may do.
        role: Role,
    },
    /// The server: the DNS name `wrun-server`.
    Server,
    /// Nobody known; may only join.
    Anonymous,
}

impl Peer {
    /// The URI that stands for it in a certificate, if it has one.
    pub(crate) fn uri(&self) -> Option<String> {
        match self {
            Self::Node(node) => Some(format!("wrun://node/{}", node.0)),
            Self::User { tenant, role } => Some(format!("wrun://user/{tenant}/{role}")),
            Self::Server | Self::Anonymous => None,
        }
    }

    fn from_uri(uri: &str) -> Option<Self> {
        let path = uri.strip_prefix("wrun://")?;
        let mut parts = path.split('/');
        let peer = match (parts.next()?, parts.next()?) {
            ("node", number) => Self::Node(NodeId(number.parse().ok()?)),
            ("user", tenant) => {
                Self::User { tenant: tenant.parse().ok()?, role: parts.next()?.parse().ok()? }
            }
            _ => return None,
        };
        // Only the exact form: two texts for one holder would be two holders somewhere.
        (peer.uri().as_deref() == Some(uri)).then_some(peer)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {node}"),
            Self::User { tenant, role } => write!(f, "{role} of tenant {tenant}"),
            Self::Server => f.write_str("server"),
            Self::Anonymous => f.write_str("machine without a certificate"),
        }
    }
}

/// The fields of a certificate that wrun reads.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) peer: Option<Peer>,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    pub(crate) public_key: Vec<u8>,
    pub(crate) is_authority: bool,
}

impl Certificate {
    pub(crate) fn parse(der: &[u8]) -> Result<Self, IdentityError> {
        let refused = |problem: String| IdentityError::malformed("certificate", problem);
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|error| refused(error.to_string()))?;
        if !rest.is_empty() {
            return Err(refused("bytes are left over after its end".to_owned()));
        }
        let validity = parsed.validity();
        Ok(Self {
            peer: holder(&parsed),
            not_before: instant(validity.not_before.timestamp()),
            not_after: instant(validity.not_after.timestamp()),
            public_key: parsed.public_key().subject_public_key.data.to_vec(),
            is_authority: parsed.is_ca(),
        })
    }

    pub(crate) fn check(&self, now: SystemTime) -> Result<(), IdentityError> {
        if let Ok(since) = now.duration_since(self.not_after) {
            return Err(IdentityError::Expired { since });
        }
        match self.not_before.duration_since(now) {
            Ok(until) if !until.is_zero() => Err(IdentityError::NotYetValid { until }),
            _ => Ok(()),
        }
    }
}

/// The holder, where the certificate names exactly one.
fn holder(certificate: &X509Certificate<'_>) -> Option<Peer> {
    let names = certificate.subject_alternative_name().ok()??;
    let mut holders = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(Peer::from_uri(uri)),
        GeneralName::DNSName(SERVER_NAME) => Some(Some(Peer::Server)),
        _ => None,
    });
    let first = holders.next()??;
    holders.next().is_none().then_some(first)
}

fn instant(seconds: i64) -> SystemTime {
    u64::try_from(seconds).map_or(UNIX_EPOCH, |seconds| UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_read_back_from_its_uri() {
        let user = Peer::User { tenant: "lab".parse().unwrap(), role: Role::Admin };
        for peer in [user, Peer::Node(NodeId(7))] {
            assert_eq!(Peer::from_uri(&peer.uri().unwrap()), Some(peer));
        }
    }

    #[test]
    fn other_uris_name_nobody() {
        for uri in [
            "",
            "wrun://",
            "wrun://node",
            "wrun://node/",
            "wrun://node/07",
            "wrun://node/+7",
            "wrun://node/7/",
            "wrun://node/7/x",
            "wrun://user/lab",
            "wrun://user/lab/root",
            "wrun://user/Lab/user",
            "wrun://user/lab/user/x",
            "https://node/7",
        ] {
            assert_eq!(Peer::from_uri(uri), None, "{uri}");
        }
    }

    #[test]
    fn garbage_is_no_certificate() {
        for der in [&[][..], &[0x30], &[0x30, 0x82, 0xff, 0xff], b"hello"] {
            assert!(Certificate::parse(der).is_err());
        }
    }
}
