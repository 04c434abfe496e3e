//! Connections between nodes: one port that only nodes of the cluster reach, and at most one
//! connection that this node makes to another, made when it is first needed and closed when
//! it has been of no use for a while. Whoever has made a connection opens the streams on it,
//! and says with the first frame of each what it is for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use wrun_net::{
    Connection, Identity, Limits, ListenError, Listener, Peer, RecvStream, SendStream, close_code,
};
use wrun_protocol::NodeId;
use wrun_protocol::wire::peer::{FromPeer, stream_code};

use crate::gang::{self, Gangs};
use crate::service::Requests;

/// How long a new stream may take to say what it is for.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// After an attempt to connect failed, others fail with it for so long: each would take as
/// long to find out, and a request may go elsewhere meanwhile.
const UNREACHED_FOR: Duration = Duration::from_millis(500);

/// A connection without a stream for this long is closed.
const UNUSED: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct Peers {
    identity: Identity,
    authority: Vec<u8>,
    listener: Listener,
    /// By node; locked while a connection is being made.
    slots: Mutex<HashMap<NodeId, Arc<Slot>>>,
}

#[derive(Default)]
struct Slot {
    current: tokio::sync::Mutex<Current>,
}

#[derive(Default)]
struct Current {
    kept: Option<Kept>,
    failed: Option<Failed>,
}

/// An attempt to connect that failed. Whoever waited for it has failed with it.
struct Failed {
    address: SocketAddr,
    at: Instant,
    why: String,
}

/// A node cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreached(String);

#[derive(Clone)]
struct Kept {
    /// Where it was made to: a node that was started again listens elsewhere.
    address: SocketAddr,
    connection: Connection,
    uses: Arc<AtomicUsize>,
}

/// A connection that is kept open while this is held.
pub(crate) struct InUse {
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
    fn new(address: SocketAddr, connection: Connection) -> Self {
        Self { address, connection, uses: Arc::default() }
    }

    fn use_it(&self) -> InUse {
        self.uses.fetch_add(1, Ordering::AcqRel);
        InUse { kept: self.clone() }
    }

    fn leads_to(&self, address: SocketAddr) -> bool {
        self.address == address && self.connection.close_reason().is_none()
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
        let listener =
            Listener::bind_for_nodes(address, &identity, &authority, Limits::between_nodes())?;
        Ok(Arc::new(Self { identity, authority, listener, slots: Mutex::default() }))
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Serves what other nodes open, for `gangs` and with `requests`, until closed.
    pub(crate) fn serve(self: &Arc<Self>, gangs: &Arc<Gangs>, requests: &Arc<dyn Requests>) {
        let (peers, gangs) = (Arc::clone(self), Arc::downgrade(gangs));
        let requests = Arc::downgrade(requests);
        tokio::spawn(async move {
            while let Some(connection) = peers.listener.accept().await {
                let Peer::Node(node) = *connection.peer() else {
                    connection.close(close_code::DENIED, "only nodes are served here");
                    continue;
                };
                tracing::debug!(%node, address = %connection.remote_address(), "a node connected");
                let served = Served { gangs: gangs.clone(), requests: requests.clone() };
                tokio::spawn(serve_streams(served, connection, node));
            }
        });
    }

    /// Closes every connection, and accepts no more.
    pub(crate) fn close(&self) {
        let why = "the worker has ended";
        self.listener.close_now(close_code::GOING_AWAY, why);
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in slots.values() {
            // One that is being made right now ends with the runtime, or for want of use.
            if let Ok(current) = slot.current.try_lock()
                && let Some(kept) = &current.kept
            {
                kept.connection.close(close_code::GOING_AWAY, why);
            }
        }
    }

    fn slot(&self, node: NodeId) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(node).or_default())
    }

    /// The connection to that node, made now if there is none.
    pub(crate) async fn connection(
        &self,
        node: NodeId,
        address: SocketAddr,
    ) -> Result<InUse, Unreached> {
        let slot = self.slot(node);
        let asked = Instant::now();
        let mut current = slot.current.lock().await;
        if let Some(kept) = current.kept.as_ref().filter(|kept| kept.leads_to(address)) {
            return Ok(kept.use_it());
        }
        if let Some(failed) = current.failed.as_ref().filter(|failed| failed.address == address)
            && asked < failed.at + UNREACHED_FOR
        {
            return Err(Unreached(failed.why.clone()));
        }
        let (identity, authority) = (&self.identity, &self.authority);
        let limits = Limits::between_nodes();
        let made = wrun_net::connect_to_node(node, address, identity, authority, &limits).await;
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                let why = error.to_string();
                let failed = Failed { address, at: Instant::now(), why: why.clone() };
                *current = Current { kept: None, failed: Some(failed) };
                return Err(Unreached(why));
            }
        };
        let kept = Kept::new(address, made);
        let used = kept.use_it();
        tokio::spawn(close_when_unused(kept.clone()));
        *current = Current { kept: Some(kept), failed: None };
        Ok(used)
    }

    /// The node does not answer on its connection: the next use makes another one. Others may
    /// go on with this.
    pub(crate) async fn avoid(&self, node: NodeId) {
        self.slot(node).current.lock().await.kept = None;
    }
}

/// A node on the other side that needs one again makes another.
async fn close_when_unused(kept: Kept) {
    let mut was_used = true;
    loop {
        tokio::select! {
            _ = kept.connection.closed() => return,
            () = tokio::time::sleep(UNUSED) => {}
        }
        let is_used = kept.uses.load(Ordering::Acquire) > 0;
        if !is_used && !was_used {
            return kept.connection.close(close_code::DONE, "it was of no use for long");
        }
        was_used = is_used;
    }
}

/// What streams may be for.
#[derive(Clone)]
struct Served {
    gangs: Weak<Gangs>,
    requests: Weak<dyn Requests>,
}

/// Serves the streams that another node opens on its connection.
async fn serve_streams(served: Served, connection: Connection, node: NodeId) {
    while let Ok((send, recv)) = connection.accept().await {
        let served = served.clone();
        tokio::spawn(async move { serve_stream(&served, node, send, recv).await });
    }
}

async fn serve_stream(served: &Served, node: NodeId, mut send: SendStream, mut recv: RecvStream) {
    let first = tokio::time::timeout(OPEN_WITHIN, recv.recv::<FromPeer>()).await;
    match first {
        Ok(Ok(Some(FromPeer::Open { job, attempt }))) => {
            if let Some(gangs) = served.gangs.upgrade() {
                gang::serve(&gangs, node, (job, attempt), send, recv).await;
            }
        }
        Ok(Ok(Some(FromPeer::Request { attempt }))) => {
            if let Some(requests) = served.requests.upgrade() {
                requests.serve(attempt, send, recv).await;
            }
        }
        _ => send.reset(stream_code::PROTOCOL),
    }
}
