//! Which rank is on which node, and where that listens, as the server has said.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use wrun_protocol::NodeId;
use wrun_protocol::wire::worker::GangMember;

/// The members of one attempt of a gang.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// By first rank: the rank after the last, their attempt, their node.
    runs: BTreeMap<u32, (u32, u32, NodeId)>,
    addresses: BTreeMap<NodeId, SocketAddr>,
    size: u32,
}

impl Members {
    pub(super) fn new(members: &[GangMember]) -> Self {
        let mut all = Self::default();
        for member in members {
            let end = member.tasks.end();
            all.runs.insert(member.tasks.first, (end, member.attempt, member.node));
            all.size = all.size.max(end);
        }
        all.learn(members);
        all
    }

    /// Nodes may have come back elsewhere; what is not said is as it was.
    pub(super) fn learn(&mut self, members: &[GangMember]) {
        let known = members.iter().filter_map(|member| Some((member.node, member.address?)));
        self.addresses.extend(known);
    }

    /// The ranks that are not among these.
    pub(super) fn not_among(&self, members: &[GangMember]) -> BTreeSet<u32> {
        let mut absent: BTreeSet<u32> = (0..self.size).collect();
        members.iter().flat_map(|member| member.tasks.indices()).for_each(|rank| {
            absent.remove(&rank);
        });
        absent
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// The rank's own attempt, and its node.
    fn of(&self, rank: u32) -> Option<(u32, NodeId)> {
        let (_, (end, attempt, node)) = self.runs.range(..=rank).next_back()?;
        (rank < *end).then_some((*attempt, *node))
    }

    pub(super) fn node(&self, rank: u32) -> Option<NodeId> {
        self.of(rank).map(|(_, node)| node)
    }

    pub(super) fn attempt(&self, rank: u32) -> Option<u32> {
        self.of(rank).map(|(attempt, _)| attempt)
    }

    pub(super) fn has(&self, node: NodeId) -> bool {
        self.runs.values().any(|(_, _, of)| *of == node)
    }

    pub(super) fn address(&self, node: NodeId) -> Option<SocketAddr> {
        self.addresses.get(&node).copied()
    }

    /// The node of every rank, by rank.
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        (0..self.size).filter_map(|rank| self.node(rank)).collect()
    }
}
