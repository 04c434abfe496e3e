//! How a machine becomes a node: it shows a one-time token and a certificate signing
//! request, and is given a certificate. It has checked the server against the cluster
//! CA's fingerprint in the token before it sends anything.

use serde::{Deserialize, Serialize};

use super::user::RequestError;
use crate::NodeId;

/// Sent once on a new bidirectional stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinRequest {
    /// Join as a node.
    Node {
        /// The secret part of the token.
        secret: [u8; 32],
        /// PKCS #10 request, DER; only its key is used.
        csr: Vec<u8>,
        /// The node's name.
        name: String,
    },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinReply {
    /// Accepted. The token is used up.
    Welcome {
        /// The node's number.
        node: NodeId,
        /// Its certificate, DER.
        certificate: Vec<u8>,
        /// The cluster CA's certificate, DER.
        authority: Vec<u8>,
    },
    /// Refused; nothing has changed.
    Refused(RequestError),
}
