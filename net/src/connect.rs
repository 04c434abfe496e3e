//! Connecting to a server.

use crate::connection::Connection;
use crate::error::ConnectError;
use crate::identity::Identity;
use crate::limits::Limits;

/// Connects to the server at `HOST:PORT` and checks that it is of this authority (DER).
/// When this returns, the server has accepted `identity`.
pub async fn connect(
    server: &str,
    identity: &Identity,
    authority_der: &[u8],
) -> Result<Connection, ConnectError> {
    connect_with(server, identity, authority_der, &Limits::default()).await
}

/// The same with other limits.
pub async fn connect_with(
    _server: &str,
    _identity: &Identity,
    _authority_der: &[u8],
    _limits: &Limits,
) -> Result<Connection, ConnectError> {
    todo!()
}

/// Connects without an identity, to join: the server must be of the authority with this
/// fingerprint.
pub async fn connect_to_join(
    _server: &str,
    _fingerprint: [u8; 32],
) -> Result<Connection, ConnectError> {
    todo!()
}
