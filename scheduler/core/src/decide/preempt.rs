//! Room for more urgent work: which running tasks make it, in the mildest way that works.
//!
//! A group that found no room and whose class or partition may pre-empt looks for victims.
//! Freezing comes first, where CPU is all that lacks: nothing is lost. Then tasks that may
//! save a checkpoint are told that they will be stopped, then those that may just be put
//! back. What is being cleared for a group is not given to others meanwhile; frozen tasks
//! go on before anything that could not have frozen them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wrun_protocol::{TaskId, Timestamp};

use crate::core::Core;
use crate::state::groups::{GroupIx, GroupKey};
use crate::state::jobs::NodeIx;
use crate::state::policy::Rules;

/// What goes on. Not recorded: after a restart the groups that are still blocked look again.
#[derive(Debug, Default)]
pub(crate) struct Preemption {
    /// Groups that found no room and may pre-empt.
    pub(super) blocked: BTreeSet<GroupIx>,
    /// Nodes that are being cleared.
    pub(super) claims: BTreeMap<NodeIx, Claim>,
    /// When to search next at the earliest, and whether there is reason to.
    next: Timestamp,
    due: bool,
}

/// A node is being cleared for tasks of a group.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) group: GroupIx,
    pub(super) tasks: u32,
    /// Those whose end it waits for.
    pub(super) victims: BTreeSet<TaskId>,
}

impl Core {
    /// Whether what is free on the node is kept for others than the group.
    pub(crate) fn is_kept_from(&self, ix: NodeIx, group: GroupIx) -> bool {
        if self.preemption.claims.is_empty() && self.state.frozen.is_empty() {
            return false;
        }
        if let Some(claim) = self.preemption.claims.get(&ix) {
            return claim.group != group;
        }
        let Some(key) = self.state.groups.get(group).map(|group| &group.key) else { return false };
        self.state.frozen.on(ix).any(|task| {
            self.key_of(task).is_some_and(|frozen| !self.state.rules.may_preempt(key, frozen))
        })
    }

    /// Whether tasks of the node are frozen or about to be stopped for others, so that
    /// nothing may wait there.
    pub(crate) fn is_clearing(&self, ix: NodeIx) -> bool {
        self.preemption.claims.contains_key(&ix) || self.state.frozen.on(ix).next().is_some()
    }

    /// For which group the node is being cleared.
    pub(crate) fn cleared_for(&self, ix: NodeIx) -> Option<GroupIx> {
        self.preemption.claims.get(&ix).map(|claim| claim.group)
    }

    /// Tasks that were told to stop for the group and have not yet.
    pub(crate) fn making_room_for(&self, group: GroupIx) -> u32 {
        let claims = self.preemption.claims.values().filter(|claim| claim.group == group);
        let victims: BTreeSet<&TaskId> = claims.flat_map(|claim| &claim.victims).collect();
        victims.into_iter().filter(|task| self.state.noticed.contains_key(task)).count() as u32
    }

    /// After everything was placed that could be: makes room for what could not.
    pub(crate) fn preempt_for(&mut self, blocked: &[GroupIx]) {
        if !self.state.rules.any_may_preempt() {
            return;
        }
        let known = self.preemption.blocked.len();
        let may = |group: &&GroupIx| {
            let entry = self.state.groups.get(**group);
            entry.is_some_and(|group| self.state.rules.preempts_at_all(&group.key))
        };
        let more: Vec<GroupIx> = blocked.iter().filter(may).copied().collect();
        self.preemption.blocked.extend(more);
        self.forget_settled();
        self.forget_claims();
        let fresh = self.preemption.blocked.len() > known;
        self.preemption.due = !self.preemption.blocked.is_empty();
        if !self.preemption.due || (self.now < self.preemption.next && !fresh) {
            return;
        }
        self.preemption.due = false;
        self.preemption.next = self.now.after(self.config.preempt_interval);
        let mut groups: Vec<GroupIx> = self.preemption.blocked.iter().copied().collect();
        groups.sort_by_key(|group| self.first_of(*group));
        groups.into_iter().for_each(|group| self.make_room_for(group));
    }

    /// Higher classes first, then the older.
    fn first_of(&self, group: GroupIx) -> impl Ord + use<> {
        let entry = self.state.groups.get(group);
        let class = entry.map_or((0, 0), |group| self.state.rules.class_of(&group.key));
        (std::cmp::Reverse(class), entry.and_then(|group| group.ready.first()))
    }

    /// When there is something to do about pre-emption, if nothing happens before.
    pub(crate) fn preemption_due(&self) -> Option<Timestamp> {
        let search = self.preemption.due.then_some(self.preemption.next);
        let most = Duration::from_millis(self.state.rules.policy.preemption.max_frozen_ms);
        let frozen = self.state.frozen.oldest().map(|(since, _)| since.after(most));
        search.into_iter().chain(frozen).min()
    }

    /// A search was put off, and its time has come.
    pub(crate) fn search_again(&mut self) {
        if self.preemption.due && self.preemption.next <= self.now {
            self.preempt_for(&[]);
        }
    }

    pub(super) fn key_of(&self, task: TaskId) -> Option<&GroupKey> {
        let group = self.state.jobs.get(task.job)?.group;
        Some(&self.state.groups.get(group)?.key)
    }
}

impl Rules {
    /// Whether any class or partition may pre-empt another.
    fn any_may_preempt(&self) -> bool {
        self.policy.qos.iter().any(|qos| !qos.preempts.is_empty())
            || self.policy.partitions.iter().any(|partition| partition.preempts)
    }

    fn preempts_at_all(&self, key: &GroupKey) -> bool {
        self.qos_of(key).is_some_and(|qos| !qos.preempts.is_empty())
            || self.partition_of(key).is_some_and(|partition| partition.preempts)
    }

    /// Priority of its class, then of its partition.
    fn class_of(&self, key: &GroupKey) -> (u32, u32) {
        let qos = self.qos_of(key).map_or(0, |qos| qos.priority);
        (qos, self.partition_of(key).map_or(0, |partition| partition.priority))
    }

    /// Whether tasks of the one may displace tasks of the other.
    pub(crate) fn may_preempt(&self, key: &GroupKey, victim: &GroupKey) -> bool {
        let by_class = || {
            let (qos, of) = (self.qos_of(key)?, self.qos_of(victim)?);
            Some(qos.preempts.contains(&of.name))
        };
        let by_partition = || {
            let (partition, of) = (self.partition_of(key)?, self.partition_of(victim)?);
            Some(partition.preempts && partition.priority > of.priority)
        };
        by_class() == Some(true) || by_partition() == Some(true)
    }
}
