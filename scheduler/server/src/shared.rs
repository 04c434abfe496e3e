//! What every connection of the server works with.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wrun_net::{Authority, Connection};
use wrun_protocol::card::CardState;
use wrun_protocol::inference::NodeInference;
use wrun_protocol::limits::MAX_FRAME;
use wrun_protocol::wire::service::GatewayAddresses;
use wrun_protocol::wire::user::RequestError;
use wrun_protocol::{JobId, NodeId, TenantName};
use wrun_store::History;

use crate::ServerConfig;
use crate::authorise::{Caller, no_such_job};
use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::components::Components;
use crate::driver::Driver;
use crate::history::Opening;
use crate::watchers::Watchers;

/// See the module.
pub(crate) struct Shared {
    pub(crate) config: ServerConfig,
    pub(crate) authority: Authority,
    pub(crate) clock: Clock,
    pub(crate) driver: Driver,
    pub(crate) blobs: Blobs,
    pub(crate) components: Components,
    pub(crate) history: Opening,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) nodes: Nodes,
    /// One permit for each request that is served.
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) connections: Connections,
}

impl Shared {
    /// Reads the history, apart from the threads that serve connections.
    pub(crate) async fn history<T: Send + 'static>(
        &self,
        read: impl FnOnce(&History) -> Result<T, wrun_store::HistoryError> + Send + 'static,
    ) -> Result<T, RequestError> {
        self.history.read(read).await
    }

    /// Whose job it is, be it live or in the history.
    pub(crate) async fn tenant_of(&self, job: JobId) -> Result<Option<TenantName>, RequestError> {
        let tenant = move |core: &wrun_core::Core| core.job_tenant(job).cloned();
        // Nodes ask this of live jobs, and are not to wait for the history after a restart.
        if let Some(tenant) = self.driver.view_live(tenant).await? {
            return Ok(Some(tenant));
        }
        let live = self.driver.view(tenant).await?;
        if live.is_some() {
            return Ok(live);
        }
        let row = self.history(move |history| history.job(job)).await?;
        Ok(row.map(|row| row.tenant))
    }

    /// Whose job it is, if the caller may see it; refused as unknown otherwise.
    pub(crate) async fn visible(
        &self,
        caller: &Caller,
        job: JobId,
    ) -> Result<TenantName, RequestError> {
        match self.tenant_of(job).await? {
            Some(tenant) if caller.may_see(&tenant) => Ok(tenant),
            _ => Err(no_such_job(job)),
        }
    }
}

/// Every connection that is served, so that the server can end them and know when the
/// last one no longer uses what is on disk.
pub(crate) struct Connections {
    tasks: Mutex<Option<JoinSet<()>>>,
}

impl Connections {
    pub(crate) fn new() -> Self {
        Self { tasks: Mutex::new(Some(JoinSet::new())) }
    }

    /// Serves one more, unless the server has ended.
    pub(crate) fn spawn(&self, serve: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tasks) = tasks.as_mut() {
            while tasks.try_join_next().is_some() {}
            tasks.spawn(serve);
        }
    }

    /// Ends all of them, and waits until they are gone.
    pub(crate) async fn end(&self) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
    }
}

/// Bytes of what nodes said that one answer holds.
const MAX_LISTED: usize = MAX_FRAME / 4;

/// Bytes of how a card is, in a message: at least as many as it takes.
const MAX_CARD: usize = 32;

/// The nodes that have a session: their connections, for logs and attachments, and what they
/// said of themselves that is only true while they are there.
#[derive(Default)]
pub(crate) struct Nodes {
    connected: Mutex<BTreeMap<NodeId, Connected>>,
}

/// A node that has a session.
pub(crate) struct Connected {
    pub(crate) session: u64,
    pub(crate) connection: Connection,
    /// Where its gateway takes requests.
    pub(crate) gateway: GatewayAddresses,
    /// How it runs models, if it said.
    pub(crate) inference: Option<NodeInference>,
    /// How its cards are, as it said last.
    pub(crate) cards: Vec<CardState>,
}

impl Nodes {
    /// A session has begun. The connection of an older one is of no use any more.
    pub(crate) fn insert(&self, node: NodeId, connected: Connected) {
        let older = self.lock().insert(node, connected);
        if let Some(Connected { connection, .. }) = older {
            connection.close(wrun_net::close_code::REPLACED, "the node has connected again");
        }
    }

    /// A session has ended.
    pub(crate) fn remove(&self, node: NodeId, session: u64) {
        let mut connected = self.lock();
        if connected.get(&node).is_some_and(|current| current.session == session) {
            connected.remove(&node);
        }
    }

    /// The node's connection.
    pub(crate) fn connection(&self, node: NodeId) -> Option<Connection> {
        self.lock().get(&node).map(|connected| connected.connection.clone())
    }

    /// The nodes that have a gateway, and where it takes requests.
    pub(crate) fn gateways(&self) -> Vec<(NodeId, GatewayAddresses)> {
        let connected = self.lock();
        let all = connected.iter().map(|(node, connected)| (*node, connected.gateway.clone()));
        all.filter(|(_, gateway)| *gateway != GatewayAddresses::default()).collect()
    }

    /// How nodes said that they run models: those after this one, as many as a frame holds.
    pub(crate) fn inference(&self, after: Option<NodeId>) -> Vec<(NodeId, NodeInference)> {
        self.said(after, |node| node.inference.as_ref(), NodeInference::bytes)
    }

    /// How the cards are of nodes that have any: those after this one, as many as a frame holds.
    pub(crate) fn cards(&self, after: Option<NodeId>) -> Vec<(NodeId, Vec<CardState>)> {
        self.said(
            after,
            |node| Some(&node.cards).filter(|cards| !cards.is_empty()),
            |cards| cards.len() * MAX_CARD,
        )
    }

    /// How the cards of a node are now.
    pub(crate) fn set_cards(&self, node: NodeId, session: u64, cards: Vec<CardState>) {
        if let Some(connected) = self.lock().get_mut(&node).filter(|it| it.session == session) {
            connected.cards = cards;
        }
    }

    /// What the nodes after this one said, as much as a frame holds.
    fn said<T: Clone>(
        &self,
        after: Option<NodeId>,
        what: impl Fn(&Connected) -> Option<&T>,
        bytes: impl Fn(&T) -> usize,
    ) -> Vec<(NodeId, T)> {
        let connected = self.lock();
        let later = (after.map_or(Unbounded, Excluded), Unbounded);
        let all = connected.range::<NodeId, _>(later);
        let said = all.filter_map(|(node, connected)| Some((*node, what(connected)?)));
        let mut room = MAX_LISTED;
        // The first always fits: what a node says is bounded.
        let fits = |(_, said): &(NodeId, &T)| {
            let has_room = room > 0;
            room = room.saturating_sub(bytes(said));
            has_room
        };
        said.take_while(fits).map(|(node, said)| (node, said.clone())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, Connected>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
