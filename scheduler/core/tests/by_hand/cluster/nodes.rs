//! Nodes that join, connect, and are lost.

use std::collections::BTreeMap;
use std::time::Duration;

use wrun_core::{Effect, Input, RequestId};
use wrun_protocol::node::NodeInfo;
use wrun_protocol::scheduling::Offer;
use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::{NodeId, Resources};

use super::{Cluster, GIB};

/// What a node has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    capacity: Resources,
    labels: BTreeMap<String, String>,
    offer: Offer,
}

impl Machine {
    /// Of so many CPUs, with 4 GiB of memory for each.
    pub(crate) fn of(cpus: u32) -> Self {
        let (cpu_milli, memory) = (cpus * 1000, u64::from(cpus) * 4 * GIB);
        let capacity = Resources { cpu_milli, memory, scratch: 64 * GIB, slots: 64 };
        Self { capacity, ..Self::default() }
    }

    pub(crate) fn memory(mut self, bytes: u64) -> Self {
        self.capacity.memory = bytes;
        self
    }

    pub(crate) fn labels(mut self, labels: &[(&str, &str)]) -> Self {
        let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned()));
        self.labels = labels.collect();
        self
    }

    pub(crate) fn offering(mut self, offer: Offer) -> Self {
        self.offer = offer;
        self
    }

    /// What such a node says of itself.
    pub(crate) fn info(&self, number: u64) -> NodeInfo {
        let (name, version) = (format!("node-{number}"), String::new());
        NodeInfo { name, capacity: self.capacity, labels: self.labels.clone(), version }
    }
}

impl Cluster {
    /// A node of so many CPUs joins and connects.
    pub(crate) fn node(&mut self, number: u64, cpus: u32) -> Vec<Effect> {
        self.join(number, Machine::of(cpus))
    }

    /// The same with devices.
    pub(crate) fn offering(&mut self, number: u64, cpus: u32, offer: Offer) -> Vec<Effect> {
        self.join(number, Machine::of(cpus).offering(offer))
    }

    pub(crate) fn join(&mut self, number: u64, machine: Machine) -> Vec<Effect> {
        let (info, token_hash) = (machine.info(number), [number as u8; 32]);
        let (request, expires) = (RequestId(0), self.now.after(Duration::from_secs(1)));
        self.handle(Input::CreateToken { request, hash: token_hash, expires });
        self.handle(Input::Join { request, token_hash, name: info.name.clone() });
        self.connect(number, info, machine.offer, 1)
    }

    /// A node connects, and has no attempts.
    pub(crate) fn connect(
        &mut self,
        number: u64,
        info: NodeInfo,
        offer: Offer,
        incarnation: u64,
    ) -> Vec<Effect> {
        let (node, attempts) = (NodeId(number), Vec::new());
        self.handle(Input::NodeConnected { node, info, offer, incarnation, attempts })
    }

    pub(crate) fn disconnect(&mut self, number: u64) -> Vec<Effect> {
        self.handle(Input::NodeDisconnected { node: NodeId(number) })
    }

    /// The node is back and says that it still has these.
    pub(crate) fn reconnect(&mut self, number: u64, attempts: Vec<Assignment>) -> Vec<Effect> {
        let (node, offer) = (NodeId(number), Offer::default());
        let info = self.core.node_info(node).unwrap().clone();
        self.handle(Input::NodeConnected { node, info, offer, incarnation: 1, attempts })
    }

    pub(crate) fn drain(&mut self, number: u64, drain: bool) -> Vec<Effect> {
        let (request, node) = (RequestId(0), NodeId(number));
        self.handle(Input::SetDrain { request, node, drain })
    }

    /// Every node says that it lives.
    pub(super) fn beat(&mut self) {
        for node in self.core.nodes() {
            self.handle(Input::Heartbeat { node: node.id, beat: 1 });
        }
    }
}
