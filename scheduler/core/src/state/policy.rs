//! The policy in force, with what is looked up in it often.

use std::collections::{BTreeMap, BTreeSet};

use wrun_protocol::policy::{Limits, Partition, Policy, Qos, QueueOrder, TenantPolicy};
use wrun_protocol::{JobSpec, TenantName, Timestamp};

use super::State;
use super::fair_share::ShareTree;
use super::groups::GroupKey;
use super::jobs::NodeIx;

/// The policy as set, and indices into it.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) policy: Policy,
    partitions: BTreeMap<String, usize>,
    qos: BTreeMap<String, usize>,
    tenants: BTreeMap<TenantName, usize>,
    default_partition: Option<usize>,
    limits: bool,
    /// The highest priority of a partition, and of a class; at least 1.
    pub(crate) top_partition: u32,
    pub(crate) top_qos: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self::from(Policy::default())
    }
}

impl From<Policy> for Rules {
    fn from(policy: Policy) -> Self {
        let partitions = policy.partitions.iter().map(|partition| partition.name.clone());
        let classes = policy.qos.iter().map(|qos| qos.name.clone());
        let marked = policy.partitions.iter().position(|partition| partition.default);
        let first = (!policy.partitions.is_empty()).then_some(0);
        let top_partition = policy.partitions.iter().map(|partition| partition.priority).max();
        let top_qos = policy.qos.iter().map(|qos| qos.priority).max();
        let tenants = policy.tenants.iter().map(|tenant| tenant.name.clone());
        Self {
            limits: has_bounds(&policy),
            tenants: tenants.zip(0..).collect(),
            partitions: partitions.zip(0..).collect(),
            qos: classes.zip(0..).collect(),
            default_partition: marked.or(first),
            top_partition: top_partition.unwrap_or(0).max(1),
            top_qos: top_qos.unwrap_or(0).max(1),
            policy,
        }
    }
}

/// Whether anything in the policy has bounds.
fn has_bounds(policy: &Policy) -> bool {
    let tenants = policy.tenants.iter().map(|tenant| &tenant.limits);
    let partitions = policy.partitions.iter().map(|partition| &partition.limits);
    let classes = policy.qos.iter().flat_map(|qos| [&qos.limits, &qos.tenant_limits]);
    tenants.chain(partitions).chain(classes).any(|limits| *limits != Limits::default())
}

impl State {
    /// The tenants' shares and what they have used at `at`, if that is not past.
    pub(crate) fn share_tree(&self, at: Timestamp) -> ShareTree {
        let known = self
            .tenants
            .list
            .iter()
            .zip(0..)
            .map(|(tenant, ix)| (&tenant.name, ix, self.groups.accounts.used(ix, at)));
        ShareTree::new(&self.rules.policy.tenants, known)
    }

    /// Works out anew which nodes are in which partitions.
    pub(super) fn assign_partitions(&mut self) {
        let nodes: Vec<NodeIx> = self.nodes.iter().map(|(ix, _)| ix).collect();
        nodes.into_iter().for_each(|ix| self.assign_partitions_of(ix));
    }

    /// Works out anew of which classes in the index of room nodes are.
    pub(super) fn class_nodes(&mut self) {
        self.groups.labels.grown = false;
        let nodes: Vec<NodeIx> = self.nodes.iter().map(|(ix, _)| ix).collect();
        nodes.into_iter().for_each(|ix| self.nodes.class(ix, &self.groups.labels));
    }

    /// Works out anew in which partitions a node is.
    pub(super) fn assign_partitions_of(&mut self, ix: NodeIx) {
        let Some(node) = self.nodes.get_mut(ix) else { return };
        let info = node.info.as_ref();
        let within = |partition: &&Partition| {
            let unnamed = partition.nodes.is_empty() && partition.labels.is_empty();
            let labels = info.map(|info| &info.labels);
            let labelled = !partition.labels.is_empty()
                && partition.labels.iter().all(|(label, value)| {
                    labels.is_some_and(|labels| labels.get(label) == Some(value))
                });
            unnamed || partition.nodes.contains(&node.name) || labelled
        };
        let names = self.rules.policy.partitions.iter().filter(within);
        let names: BTreeSet<String> = names.map(|partition| partition.name.clone()).collect();
        let default = self.rules.partition(None);
        node.by_default = default.is_none_or(|partition| names.contains(&partition.name));
        node.partitions = names;
    }

    pub(crate) fn apply_policy(&mut self, policy: &Policy) {
        self.groups.accounts.charge_by(policy);
        self.rules = Rules::from(policy.clone());
        self.recount_quotas();
        self.assign_partitions();
        // Which nodes suit what, and what class a backlog is of, may be otherwise now.
        let nodes: Vec<NodeIx> = self.nodes.iter().map(|(ix, _)| ix).collect();
        nodes.into_iter().for_each(|ix| self.nodes.dirty.insert(ix));
    }
}

impl Rules {
    /// The partition of that name; without a name, the default one.
    pub(crate) fn partition(&self, name: Option<&str>) -> Option<&Partition> {
        let place = match name {
            Some(name) => self.partitions.get(name).copied(),
            None => self.default_partition,
        };
        self.policy.partitions.get(place?)
    }

    /// The tenant, if the policy names it.
    pub(crate) fn tenant(&self, name: &TenantName) -> Option<&TenantPolicy> {
        self.policy.tenants.get(*self.tenants.get(name)?)
    }

    /// Whether anything has bounds.
    pub(crate) fn has_limits(&self) -> bool {
        self.limits
    }

    /// The class of service of the tenant's jobs that name none.
    pub(crate) fn default_qos(&self, tenant: &TenantName) -> Option<&str> {
        self.tenant(tenant)?.default_qos.as_deref()
    }

    /// Puts the policy's defaults where the job says nothing.
    pub(crate) fn resolve(&self, tenant: &TenantName, spec: &mut JobSpec) {
        let wishes = &mut spec.scheduling;
        if wishes.qos.is_none() {
            wishes.qos = self.default_qos(tenant).map(ToOwned::to_owned);
        }
        let partition = self.partition(wishes.partition.as_deref());
        if wishes.partition.is_none() {
            wishes.partition = partition.map(|partition| partition.name.clone());
        }
        if spec.limits.wall_ms.is_none() && spec.service.is_none() {
            let qos = wishes.qos.as_deref().and_then(|name| self.qos(name));
            let most = [partition.and_then(|p| p.max_time_ms), qos.and_then(|q| q.max_time_ms)];
            spec.limits.wall_ms = most.into_iter().flatten().min();
        }
    }

    /// Whether ranks change while nothing happens to their groups.
    pub(crate) fn ranks_move(&self) -> bool {
        let weights = &self.policy.weights;
        let learns = self.policy.backfill.predict;
        self.policy.age_bound_ms.is_some()
            || match self.policy.order {
                QueueOrder::Multifactor => {
                    weights.age > 0 || weights.fair_share > 0 || weights.size > 0
                }
                QueueOrder::Fcfs => false,
                QueueOrder::ShortestFirst | QueueOrder::SmallestAreaFirst => learns,
                QueueOrder::Balanced => true,
            }
    }

    /// The class of service of that name.
    pub(crate) fn qos(&self, name: &str) -> Option<&Qos> {
        self.policy.qos.get(*self.qos.get(name)?)
    }

    /// The partition of a group's tasks, where the policy has any.
    pub(crate) fn partition_of(&self, key: &GroupKey) -> Option<&Partition> {
        self.partition(key.wishes.as_ref().and_then(|wishes| wishes.partition.as_deref()))
    }

    /// The class of service of a group's tasks, if they have one.
    pub(crate) fn qos_of(&self, key: &GroupKey) -> Option<&Qos> {
        self.qos(key.wishes.as_ref()?.qos.as_deref()?)
    }
}
