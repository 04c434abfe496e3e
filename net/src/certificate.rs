//! What a certificate says: who its holder is and from when to when. Reads only; whether
//! it is genuine has been checked by TLS before.

use wrun_protocol::{NodeId, Role, TenantName};

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
