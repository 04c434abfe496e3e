//! Accepts connections, tells who each is of, and turns away who may not be there.

use std::net::SocketAddr;

use crate::connection::Connection;
use crate::error::ListenError;
use crate::identity::Identity;
use crate::limits::Limits;

/// A bound UDP port that serves `wrun/1` and `wrun-join/1`.
pub struct Listener {}

impl Listener {
    /// Binds `address` (port 0: one chosen by the system). Must be called within a tokio runtime.
    pub fn bind(
        address: SocketAddr,
        identity: &Identity,
        authority_der: &[u8],
    ) -> Result<Self, ListenError> {
        Self::bind_with(address, identity, authority_der, Limits::default())
    }
    /// The same with other limits.
    pub fn bind_with(
        _address: SocketAddr,
        _identity: &Identity,
        _authority_der: &[u8],
        _limits: Limits,
    ) -> Result<Self, ListenError> {
        todo!()
    }
    /// The next connection whose peer is known ([`crate::Peer::Anonymous`]: it may only join). `None`
    /// once closed. Safe to cancel.
    pub async fn accept(&self) -> Option<Connection> {
        todo!()
    }
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        todo!()
    }
    /// Closes every connection and accepts no more; waits (a second at most) until peers
    /// have been told.
    pub async fn close(&self, _code: u32, _reason: &str) {
        todo!()
    }
}
