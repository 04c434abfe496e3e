//! Tasks that are frozen in place for the sake of others: what they do not hold meanwhile,
//! which is their CPU alone. Memory, scratch, slots and devices stay theirs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wrun_protocol::time::millis;
use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::{JobId, TaskId, Timestamp};

use super::State;
use super::groups::{GroupIx, GroupKey};
use super::jobs::NodeIx;
use super::usage::Held;

/// Placed tasks that are frozen or were once.
#[derive(Debug, Default)]
pub(crate) struct Frozen {
    tasks: BTreeMap<TaskId, Ice>,
    /// Those that are frozen now, by node and from when on.
    on: BTreeSet<(NodeIx, Timestamp, TaskId)>,
    /// Those that may be put back instead, by when they were frozen.
    oldest: BTreeSet<(Timestamp, TaskId)>,
    /// How long those were frozen that went on since, in milliseconds.
    lost: BTreeMap<TaskId, u64>,
}

/// One task's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ice {
    pub(crate) node: NodeIx,
    /// Since when it is frozen; `None` when it goes on. A worker that comes back is told
    /// either, since what it was told before may not have reached it.
    pub(crate) since: Option<Timestamp>,
}

impl Frozen {
    /// Whether no placed task was ever frozen.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Whether the task is frozen now.
    pub(crate) fn holds(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|ice| ice.since.is_some())
    }

    /// Since when the task is frozen, if it is.
    pub(crate) fn since(&self, task: TaskId) -> Option<Timestamp> {
        self.tasks.get(&task)?.since
    }

    /// How long the attempt has been frozen so far, in milliseconds.
    pub(crate) fn lost_ms(&self, task: TaskId, now: Timestamp) -> u64 {
        if self.tasks.is_empty() {
            return 0;
        }
        let before = self.lost.get(&task).copied().unwrap_or_default();
        let since = self.since(task).map_or(0, |since| millis(now.since(since)));
        before.saturating_add(since)
    }

    /// How long tasks were frozen that went on since, to be recorded.
    pub(crate) fn lost(&self) -> &BTreeMap<TaskId, u64> {
        &self.lost
    }

    /// As it was recorded.
    pub(crate) fn restore_lost(&mut self, lost: BTreeMap<TaskId, u64>) {
        self.lost = lost;
    }

    /// Those of a node that are frozen now, the longest first.
    pub(crate) fn on(&self, node: NodeIx) -> impl Iterator<Item = TaskId> {
        let from = (node, Timestamp(0), TaskId { job: JobId(0), index: 0 });
        let of_node = self.on.range(from..).take_while(move |(ix, ..)| *ix == node);
        of_node.map(|(_, _, task)| *task)
    }

    /// Nodes that have some.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeIx> {
        self.on.iter().map(|(ix, ..)| *ix)
    }

    /// The one that is frozen longest of those that may be put back instead.
    pub(crate) fn oldest(&self) -> Option<(Timestamp, TaskId)> {
        self.oldest.first().copied()
    }

    /// Those of a job that are frozen now, with where and since when.
    pub(crate) fn of_job(&self, job: JobId) -> impl Iterator<Item = (TaskId, NodeIx, Timestamp)> {
        let tasks = self.tasks.range(job.task(0)..=job.task(u32::MAX));
        tasks.filter_map(|(task, ice)| Some((*task, ice.node, ice.since?)))
    }

    /// Those within a run, with whether they are frozen.
    pub(crate) fn within(&self, run: Assignment) -> impl Iterator<Item = (TaskId, bool)> {
        let range = run.job.task(run.tasks.first)..run.job.task(run.tasks.end());
        self.tasks.range(range).map(|(task, ice)| (*task, ice.since.is_some()))
    }

    /// Every one, to be recorded.
    pub(crate) fn records(&self) -> Vec<(TaskId, Ice)> {
        self.tasks.iter().map(|(task, ice)| (*task, *ice)).collect()
    }
}

impl State {
    /// Attempts are frozen, or go on.
    pub(super) fn freeze(&mut self, at: Timestamp, node: NodeIx, run: Assignment, frozen: bool) {
        for index in run.tasks.indices() {
            let task = run.job.task(index);
            if self.holds(node, task, run.attempt) && self.frozen.holds(task) != frozen {
                let lost = self.frozen.lost_ms(task, at);
                if lost > 0 {
                    self.frozen.lost.insert(task, lost);
                }
                self.set_ice(task, Ice { node, since: frozen.then_some(at) });
                self.nodes.dirty.insert(node);
            }
        }
        self.services.tell_job(run.job);
    }

    pub(super) fn set_ice(&mut self, task: TaskId, ice: Ice) {
        self.melt(task);
        self.frozen.tasks.insert(task, ice);
        if let (Some(since), Some((group, key))) = (ice.since, self.key_of(task)) {
            let (cpu, tenant) = (key.wanted.cpu_milli, key.tenant);
            let may_be_put_back = key.preemptible().requeue;
            self.frozen.on.insert((ice.node, since, task));
            if may_be_put_back {
                self.frozen.oldest.insert((since, task));
            }
            self.groups.accounts.release(tenant, &Held { cpu_milli: cpu.into(), ..<_>::default() });
            self.change_cpu(ice.node, group, cpu, false);
        }
    }

    /// The task holds its CPU again, or leaves its node.
    fn melt(&mut self, task: TaskId) {
        let Some(ice) = self.frozen.tasks.remove(&task) else { return };
        if let (Some(since), Some((group, key))) = (ice.since, self.key_of(task)) {
            let (cpu, tenant) = (key.wanted.cpu_milli, key.tenant);
            self.frozen.on.remove(&(ice.node, since, task));
            self.frozen.oldest.remove(&(since, task));
            self.groups.accounts.hold(tenant, &Held { cpu_milli: cpu.into(), ..<_>::default() });
            self.change_cpu(ice.node, group, cpu, true);
        }
    }

    /// Attempts are about to leave their node.
    pub(super) fn melt_all(&mut self, run: Assignment) {
        let tasks: Vec<TaskId> = self.frozen.within(run).map(|(task, _)| task).collect();
        for task in tasks {
            self.melt(task);
            self.frozen.lost.remove(&task);
        }
    }

    fn change_cpu(&mut self, node: NodeIx, _group: GroupIx, cpu: u32, held: bool) {
        if let Some(node) = self.nodes.get_mut(node) {
            let used = &mut node.loads.used.cpu_milli;
            *used = if held { used.saturating_add(cpu) } else { used.saturating_sub(cpu) };
        }
    }

    /// The task will be stopped in any case: it is not looked at for having been frozen long.
    pub(super) fn forget_oldest(&mut self, task: TaskId) {
        if let Some(since) = self.frozen.tasks.get(&task).and_then(|ice| ice.since) {
            self.frozen.oldest.remove(&(since, task));
        }
    }

    fn key_of(&self, task: TaskId) -> Option<(GroupIx, &GroupKey)> {
        let group = self.jobs.get(task.job)?.group;
        Some((group, &self.groups.get(group)?.key))
    }
}
