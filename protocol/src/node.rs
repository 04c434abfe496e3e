//! What a node says of itself when it joins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Resources;

/// A node's description; sent again on each connection, since a restart may change it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Chosen by the operator; the host name unless set. Unique in the cluster.
    pub name: String,
    /// What tasks may take together.
    pub capacity: Resources,
    /// Labels that jobs may ask for.
    pub labels: BTreeMap<String, String>,
    /// Version of wrun.
    pub version: String,
}

/// What a node is to the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Connected, takes tasks.
    Ready,
    /// Connected, finishes what it has and takes nothing new.
    Draining,
    /// Not connected, its lease not yet over: its tasks are presumed running.
    Disconnected,
    /// Its lease is over: its attempts are fenced, its tasks run elsewhere.
    Lost,
}
