//! How the gateway reaches replicas: those here directly, others over the connection to
//! their node.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use http::Request;
use tokio::time::timeout_at;
use wrun_gateway::{Body, Target, Upstream, UpstreamErrorKind, UpstreamFuture, forward};
use wrun_protocol::NodeId;

use super::Replicas;
use crate::executor::Executor;
use crate::peers::Peers;

/// See the module.
pub(crate) struct Carrier<E: Executor> {
    node: NodeId,
    replicas: Arc<Replicas<E>>,
    peers: Option<Arc<Peers>>,
    /// Where other nodes listen, as the server last said.
    nodes: RwLock<HashMap<NodeId, SocketAddr>>,
}

impl<E: Executor> Carrier<E> {
    /// That of `node`, which reaches others through `peers`.
    pub(crate) fn new(node: NodeId, replicas: Arc<Replicas<E>>, peers: Option<Arc<Peers>>) -> Self {
        Self { node, replicas, peers, nodes: RwLock::default() }
    }

    /// Where nodes listen; in place of what was known of each.
    pub(crate) fn on_nodes(&self, said: Vec<(NodeId, Option<SocketAddr>)>) {
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        for (node, address) in said {
            match address {
                Some(address) => drop(nodes.insert(node, address)),
                None => drop(nodes.remove(&node)),
            }
        }
    }

    fn address(&self, node: NodeId) -> Option<SocketAddr> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).get(&node).copied()
    }
}

impl<E: Executor> Upstream for Carrier<E> {
    fn call(&self, to: Target, request: Request<Body>, deadline: Instant) -> UpstreamFuture {
        if to.node == self.node {
            let replicas = Arc::clone(&self.replicas);
            return Box::pin(
                async move { Ok(replicas.call(to.attempt, request, deadline).await?) },
            );
        }
        let unreachable = |why: String| UpstreamErrorKind::Unreachable(why).before();
        let way = self.peers.clone().zip(self.address(to.node));
        Box::pin(async move {
            let said = || unreachable(format!("{} has not said where it listens", to.node));
            let (peers, address) = way.ok_or_else(said)?;
            let connecting = timeout_at(deadline.into(), peers.connection(to.node, address)).await;
            let connection = connecting
                .map_err(|_| UpstreamErrorKind::TimedOut.before())?
                .map_err(|error| unreachable(error.to_string()))?;
            forward::call(connection, to.attempt, request, deadline).await
        })
    }
}
