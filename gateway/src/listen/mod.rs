//! Listeners: sockets, and the connections that come in on them, within their limits.

mod clients;
mod connection;
mod framing;
mod guard;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use clients::Clients;
pub(crate) use guard::Open;

use crate::gateway::Shared;
use crate::{ListenConfig, ListenError};
use connection::Incoming;
use tls::Tls;

/// Connections that the system holds ready until they are accepted.
const BACKLOG: u32 = 1024;

/// How long to wait where the system has no socket left.
const NO_SOCKET: Duration = Duration::from_millis(100);

/// Listeners that are open. Dropping it closes them and the connections that came in.
#[derive(Debug)]
pub struct Listening {
    addresses: Vec<SocketAddr>,
    tls: Option<Arc<Tls>>,
    draining: watch::Sender<bool>,
    accepting: JoinSet<()>,
    /// Looks at the files of the certificate. Ends with what it is kept in.
    _watching: JoinSet<()>,
}

pub(crate) async fn listen(
    shared: &Arc<Shared>,
    config: ListenConfig,
) -> Result<Listening, ListenError> {
    let tls = config.tls.map(Tls::open).transpose()?.map(Arc::new);
    let mut listeners = Vec::new();
    for address in config.addresses {
        let refused = |source| ListenError::Bind { address, source };
        listeners.push(bind(address).map_err(refused)?);
    }
    let addresses = listeners.iter().filter_map(|it| it.local_addr().ok()).collect();
    let (draining, seen) = watch::channel(false);
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(Arc::clone(shared), listener, tls.clone(), seen.clone()));
    }
    let mut watching = JoinSet::new();
    if let Some(tls) = &tls {
        watching.spawn(Arc::clone(tls).watch());
    }
    Ok(Listening { addresses, tls, draining, accepting, _watching: watching })
}

impl Listening {
    /// Where it listens, in the order of [`ListenConfig::addresses`].
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Looks at the files of the certificate now instead of within a few seconds.
    pub fn reload(&self) {
        if let Some(tls) = &self.tls {
            tls.reload();
        }
    }

    /// Takes no more connections, tells clients to send no more requests on those that are
    /// open, and waits until the requests under way are over, at most for `grace`.
    pub async fn drain(mut self, grace: Duration) {
        self.draining.send_replace(true);
        let over = async { while self.accepting.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, over).await.is_err() {
            tracing::warn!("requests that did not end in time are broken off");
        }
    }
}

/// An IPv6 address takes IPv6 alone, so that one for each can stand side by side.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let kind = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(kind, socket2::Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    draining: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut stop = draining.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|draining| *draining) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // One that was gone before it was taken costs nothing; else wait.
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(NO_SOCKET).await;
                }
                continue;
            }
        };
        let Some(counted) = shared.clients.enter(address.ip(), &shared.config) else {
            tracing::debug!(%address, "too many connections");
            continue;
        };
        let (shared, tls, draining) = (Arc::clone(&shared), tls.clone(), draining.clone());
        let incoming = Incoming { shared, socket, address, tls, draining };
        connections.spawn(async move {
            incoming.serve().await;
            drop(counted);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}
