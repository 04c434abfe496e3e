//! The nodes: what is recorded of each, what it was last told, and an index of those
//! that take tasks by free CPU. Nothing here decides.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use wrun_protocol::node::{NodeInfo, NodeState};
use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::{JobId, NodeId, Resources, TaskId, Timestamp};

use super::groups::{GroupIx, GroupKey};
use super::jobs::NodeIx;
use super::load::Loads;
use super::span::Spans;

/// A node of the cluster.
#[derive(Debug)]
pub(crate) struct Node {
    /// As it joined; its description may say otherwise later.
    pub(crate) name: String,
    /// `None` until it first connected.
    pub(crate) info: Option<NodeInfo>,
    pub(crate) incarnation: u64,
    /// Number of the incarnation's first report that was not dealt with.
    pub(crate) next_report: u64,
    /// An administrator wants it to take nothing.
    pub(crate) drain: bool,
    /// Its lease is over and it has not connected since.
    pub(crate) lost: bool,
    /// Its attempts, with when they were placed.
    pub(crate) tasks: Spans<Timestamp>,
    pub(crate) task_count: u32,
    pub(crate) loads: Loads,
    pub(crate) session: Session,
}

/// What is known of a node only while the server runs. Not recorded.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) connected: bool,
    pub(crate) last_seen: Timestamp,
    /// The worker itself wants no more.
    pub(crate) draining: bool,
    /// Arrays whose specification it has.
    pub(crate) known: BTreeSet<JobId>,
    /// Attempts it was asked to give back and that have not left it.
    pub(crate) recalled: BTreeSet<TaskId>,
    /// Attempts that its hello did not list: lost, unless a report speaks of them.
    pub(crate) unlisted: Vec<Assignment>,
    /// A lease timer is set for it.
    pub(crate) armed: bool,
    /// Groups with a backlog here and their priority, as the recall knows them.
    pub(crate) backlogged: BTreeSet<(i32, GroupIx)>,
    /// Under which amount of free CPU it is indexed.
    indexed: Option<u32>,
}

impl Node {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            info: None,
            incarnation: 0,
            next_report: 0,
            drain: false,
            lost: false,
            tasks: Spans::default(),
            task_count: 0,
            loads: Loads::default(),
            session: Session::default(),
        }
    }

    pub(crate) fn capacity(&self) -> Resources {
        self.info.as_ref().map(|info| info.capacity).unwrap_or_default()
    }

    pub(crate) fn free(&self) -> Resources {
        self.loads.free(&self.capacity())
    }

    /// Whether it could hold a task of the group if it were empty.
    pub(crate) fn suits(&self, group: &GroupKey) -> bool {
        self.info.as_ref().is_some_and(|info| group.suits(info))
    }

    /// How many tasks of the group it can hold now. None while others wait there first.
    pub(crate) fn room_for(&self, group: &GroupKey) -> u32 {
        if self.loads.waiting == 0 && self.takes_tasks() && self.suits(group) {
            self.free().times(&group.wanted)
        } else {
            0
        }
    }

    /// Whether it is there and takes tasks.
    pub(crate) fn takes_tasks(&self) -> bool {
        self.session.connected && !self.session.draining && !self.drain && !self.lost
    }

    pub(crate) fn state(&self) -> NodeState {
        match (self.lost, self.session.connected) {
            (true, _) => NodeState::Lost,
            (false, false) => NodeState::Disconnected,
            (false, true) if self.drain || self.session.draining => NodeState::Draining,
            (false, true) => NodeState::Ready,
        }
    }
}

/// Every node by number, and which of them take tasks.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    table: Vec<Option<Box<Node>>>,
    /// Nodes that take tasks, by free CPU, then lowest number last.
    by_free: BTreeSet<(u32, Reverse<NodeIx>)>,
    by_name: BTreeMap<String, BTreeSet<NodeIx>>,
    count: usize,
    /// Nodes whose load or state has changed since the last placement.
    pub(crate) dirty: BTreeSet<NodeIx>,
}

/// The number as the table counts, where it can be one of a node.
pub(crate) fn node_ix(node: NodeId) -> NodeIx {
    NodeIx::try_from(node.0).unwrap_or(0)
}

/// The number as everyone else sees it.
pub(crate) fn node_id(node: NodeIx) -> NodeId {
    NodeId(node.into())
}

impl Nodes {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn get(&self, node: NodeIx) -> Option<&Node> {
        self.table.get(node as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, node: NodeIx) -> Option<&mut Node> {
        self.table.get_mut(node as usize)?.as_deref_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeIx, &Node)> {
        let table = self.table.iter().enumerate();
        table.filter_map(|(ix, node)| Some((ix as NodeIx, node.as_deref()?)))
    }

    pub(crate) fn insert(&mut self, ix: NodeIx, node: Node) {
        let slot = ix as usize;
        if self.table.len() <= slot {
            self.table.resize_with(slot + 1, || None);
        }
        self.by_name.entry(node.name.clone()).or_default().insert(ix);
        if let Some(entry) = self.table.get_mut(slot)
            && entry.replace(Box::new(node)).is_none()
        {
            self.count += 1;
        }
    }

    pub(crate) fn remove(&mut self, ix: NodeIx) {
        let Some(node) = self.table.get_mut(ix as usize).and_then(Option::take) else { return };
        self.count -= 1;
        self.dirty.remove(&ix);
        self.unname(&node.name, ix);
        if let Some(free) = node.session.indexed {
            self.by_free.remove(&(free, Reverse(ix)));
        }
    }

    fn unname(&mut self, name: &str, ix: NodeIx) {
        if let Some(named) = self.by_name.get_mut(name) {
            named.remove(&ix);
            if named.is_empty() {
                self.by_name.remove(name);
            }
        }
    }

    /// The node describes itself.
    pub(crate) fn describe(&mut self, ix: NodeIx, info: &NodeInfo) {
        let Some(node) = self.get_mut(ix) else { return };
        node.info = Some(info.clone());
        if node.name != info.name {
            let before = std::mem::replace(&mut node.name, info.name.clone());
            self.unname(&before, ix);
            self.by_name.entry(info.name.clone()).or_default().insert(ix);
        }
    }

    /// The first node of that name.
    pub(crate) fn named(&self, name: &str) -> Option<NodeIx> {
        self.by_name.get(name)?.first().copied()
    }

    /// Puts the node where it belongs in the index.
    pub(crate) fn reindex(&mut self, ix: NodeIx) {
        let Some(node) = self.table.get_mut(ix as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        let room = if node.loads.waiting == 0 { node.free().cpu_milli } else { 0 };
        let now = node.takes_tasks().then_some(room);
        let before = std::mem::replace(&mut node.session.indexed, now);
        if before == now {
            return;
        }
        if let Some(free) = before {
            self.by_free.remove(&(free, Reverse(ix)));
        }
        if let Some(free) = now {
            self.by_free.insert((free, Reverse(ix)));
        }
    }

    /// Nodes that take tasks and have at least `cpu` free, the emptiest first, then by number.
    pub(crate) fn with_free_cpu(&self, cpu: u32) -> impl Iterator<Item = (NodeIx, &Node)> {
        let emptiest_first = self.by_free.range((cpu, Reverse(NodeIx::MAX))..).rev();
        emptiest_first.filter_map(|(_, Reverse(ix))| Some((*ix, self.get(*ix)?)))
    }
}
