//! The running server.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use wrun_net::{Connection, Credential, JoinToken, Peer};
use wrun_protocol::{Role, TenantName};

use crate::{ServerConfig, ServerError};

/// A running server. Dropping it stops it without waiting; [`Self::shutdown`] waits.
#[derive(Debug)]
pub struct ServerHandle {}

/// Makes the data directory and the cluster's authority where there are none yet.
///
/// # Errors
/// The directory cannot be used, is in use, or holds an authority that cannot be read.
pub fn init(_data_dir: &Path) -> Result<(), ServerError> {
    todo!()
}

/// Recovers the cluster from the data directory and serves it. Must be called within a
/// tokio runtime.
///
/// # Errors
/// See [`ServerError`]: a setting, the data directory, the journal or the port.
pub async fn start(_config: ServerConfig) -> Result<ServerHandle, ServerError> {
    todo!()
}

impl ServerHandle {
    /// Where it listens (UDP).
    pub fn local_addr(&self) -> SocketAddr {
        todo!()
    }

    /// `HOST:PORT` for others: what tokens and credentials carry.
    pub fn advertised(&self) -> String {
        todo!()
    }

    /// SHA-256 of the cluster authority's certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        todo!()
    }

    /// What the operator should know: a journal's tail that was cut, a history that had to be
    /// set aside.
    pub fn warnings(&self) -> &[String] {
        todo!()
    }

    /// A one-time token to join with, durable when returned.
    ///
    /// # Errors
    /// Too many tokens are valid, or the server has stopped.
    pub async fn create_token(&self, _ttl: Duration) -> Result<JoinToken, ServerError> {
        todo!()
    }

    /// A new credential for a user.
    ///
    /// # Errors
    /// The key or certificate cannot be made.
    pub fn credential(
        &self,
        _tenant: &TenantName,
        _role: Role,
        _ttl: Duration,
    ) -> Result<Credential, ServerError> {
        todo!()
    }

    /// A connection to this server within the process, as if `peer` had connected: for
    /// tests and programs that embed a server.
    pub fn connect(&self, _peer: Peer) -> Connection {
        todo!()
    }

    /// Stops: accepts nothing more, makes the journal durable, closes.
    ///
    /// # Errors
    /// The reason, if it had stopped by itself, or the journal could not be closed.
    pub async fn shutdown(self) -> Result<(), ServerError> {
        todo!()
    }

    /// Waits until the server stops by itself, and says why.
    pub async fn ended(&self) -> ServerError {
        todo!()
    }
}
