//! Connections between nodes: one port that only nodes of the cluster reach, and at most one
//! connection that this node makes to another, made when it is first needed and closed when
//! it has been of no use for a while. Either side opens streams on it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;
use wrun_net::{
    ConnectError, Connection, Identity, Limits, ListenError, Listener, Peer, close_code,
};
use wrun_protocol::NodeId;

use super::registry::Gangs;
use super::serve::serve;

/// Streams of one node that are served at once: one for each gang that the two share. A
/// further one waits.
const STREAMS: u32 = 4096;

/// A connection without a stream for this long is closed.
const UNUSED: Duration = Duration::from_secs(60);

/// What a connection between nodes may take. Credit bounds what is sent, and whoever reads
/// never waits, so that the windows bound only what is on its way.
fn limits() -> Limits {
    Limits {
        streams: STREAMS,
        idle: Duration::from_secs(10),
        keep_alive: Duration::from_secs(2),
        connections_per_peer: 8,
        anonymous: 256,
        ..Limits::default()
    }
}

/// See the module.
pub(crate) struct Peers {
    identity: Identity,
    authority: Vec<u8>,
    listener: Listener,
    /// By node; locked while a connection is being made.
    slots: Mutex<HashMap<NodeId, Arc<Slot>>>,
    gangs: std::sync::OnceLock<Weak<Gangs>>,
}

#[derive(Default)]
struct Slot {
    current: tokio::sync::Mutex<Option<Kept>>,
}

#[derive(Clone)]
struct Kept {
    connection: Connection,
    uses: Arc<AtomicUsize>,
}

/// A connection that is kept open while this is held.
pub(super) struct InUse {
    kept: Kept,
}

impl Deref for InUse {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.kept.connection
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.kept.uses.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Kept {
    fn new(connection: Connection) -> Self {
        Self { connection, uses: Arc::default() }
    }

    fn use_it(&self) -> InUse {
        self.uses.fetch_add(1, Ordering::AcqRel);
        InUse { kept: self.clone() }
    }

    fn is_alive(&self) -> bool {
        self.connection.close_reason().is_none()
    }
}

impl Peers {
    /// Listens at `address` (port 0: one chosen by the system). Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// The address cannot be bound, or the identity cannot be used.
    pub(crate) fn bind(
        address: SocketAddr,
        identity: Identity,
        authority: Vec<u8>,
    ) -> Result<Arc<Self>, ListenError> {
        let listener = Listener::bind_for_nodes(address, &identity, &authority, limits())?;
        let (slots, gangs) = (Mutex::default(), std::sync::OnceLock::new());
        Ok(Arc::new(Self { identity, authority, listener, slots, gangs }))
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Serves what other nodes open, for `gangs`, until the last gang table is gone.
    pub(super) fn serve(self: &Arc<Self>, gangs: &Arc<Gangs>) {
        // Set once: there is one table of gangs for one worker.
        let _ = self.gangs.set(Arc::downgrade(gangs));
        let peers = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(alive) = peers.upgrade() {
                let accepted = tokio::time::timeout(UNUSED, alive.listener.accept()).await;
                match accepted {
                    Ok(Some(connection)) => alive.on_accepted(connection),
                    Ok(None) => return,
                    Err(_) => {}
                }
            }
        });
    }

    fn on_accepted(self: &Arc<Self>, connection: Connection) {
        let Peer::Node(node) = *connection.peer() else {
            return connection.close(close_code::DENIED, "only nodes are served here");
        };
        tracing::debug!(%node, address = %connection.remote_address(), "a node has connected");
        let kept = Kept::new(connection);
        if let Ok(mut current) = self.slot(node).current.try_lock()
            && !current.as_ref().is_some_and(Kept::is_alive)
        {
            *current = Some(kept.clone());
        }
        tokio::spawn(accept_streams(self.gangs(), kept, node, false));
    }

    fn gangs(&self) -> Weak<Gangs> {
        self.gangs.get().cloned().unwrap_or_default()
    }

    fn slot(&self, node: NodeId) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(node).or_default())
    }

    /// The connection to that node, made now if there is none.
    pub(super) async fn connection(
        &self,
        node: NodeId,
        address: SocketAddr,
    ) -> Result<InUse, ConnectError> {
        let slot = self.slot(node);
        let mut current = slot.current.lock().await;
        if let Some(kept) = current.as_ref().filter(|kept| kept.is_alive()) {
            return Ok(kept.use_it());
        }
        let (identity, authority) = (&self.identity, &self.authority);
        let made = wrun_net::connect_to_node(node, address, identity, authority, &limits()).await?;
        let kept = Kept::new(made);
        let used = kept.use_it();
        tokio::spawn(accept_streams(self.gangs(), kept.clone(), node, true));
        *current = Some(kept);
        Ok(used)
    }
}

/// Serves the streams that the other side opens. Who has made the connection closes it when
/// nobody has used it for a while; the other side then makes one of its own.
async fn accept_streams(gangs: Weak<Gangs>, kept: Kept, node: NodeId, closes: bool) {
    let places = Arc::new(Semaphore::new(STREAMS as usize));
    let mut was_used = true;
    loop {
        let (send, recv) = match tokio::time::timeout(UNUSED, kept.connection.accept()).await {
            Ok(Ok(streams)) => streams,
            Ok(Err(_)) => return,
            Err(_) => {
                let is_used = kept.uses.load(Ordering::Acquire) > 0;
                if closes && !is_used && !was_used {
                    return kept.connection.close(close_code::DONE, "it was of no use for long");
                }
                was_used = is_used;
                continue;
            }
        };
        was_used = true;
        let Some(gangs) = gangs.upgrade() else {
            return kept.connection.close(close_code::GOING_AWAY, "the worker has ended");
        };
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let used = kept.use_it();
        tokio::spawn(async move {
            serve(&gangs, node, send, recv).await;
            drop((used, place));
        });
    }
}
