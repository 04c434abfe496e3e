//! Tasks that are frozen for others: they go on as soon as there is room that none may take
//! before them, whatever it was that made it, and are put back where that takes too long.

use std::time::Duration;

use wrun_protocol::wire::worker::{Assignment, ToWorker};
use wrun_protocol::{IndexRange, Resources, TaskId};

use super::outlook::Outlook;
use super::preempt::Claim;
use crate::core::Core;
use crate::fact::{Fact, RequeueCause};
use crate::state::groups::{Group, GroupIx, Groups};
use crate::state::jobs::NodeIx;
use crate::state::nodes::{Node, node_id};

impl Core {
    /// Before anything is placed: frozen tasks go on where there is room again.
    pub(crate) fn resume_frozen(&mut self, dirty: &[NodeIx]) {
        if self.state.frozen.is_empty() {
            return;
        }
        for ix in dirty {
            for task in self.state.frozen.on(*ix).collect::<Vec<_>>() {
                if self.may_go_on(*ix, task) {
                    self.set_frozen(*ix, &[task], false);
                }
            }
        }
    }

    fn may_go_on(&self, ix: NodeIx, task: TaskId) -> bool {
        let (Some(node), Some(key)) = (self.state.nodes.get(ix), self.key_of(task)) else {
            return false;
        };
        let wanted = Resources { cpu_milli: key.wanted.cpu_milli, ..Resources::default() };
        let before = |group: &GroupIx| {
            self.state.groups.get(*group).is_some_and(|entry| {
                self.state.rules.may_preempt(&entry.key, key)
                    && self.may_start_on(ix, node, *group, entry)
            })
        };
        !self.state.noticed.contains_key(&task)
            && node.free().covers(&wanted)
            && !self.preemption.blocked.iter().any(before)
    }

    /// Whether the group waits for nothing but its turn on that node.
    fn may_start_on(&self, ix: NodeIx, node: &Node, group_ix: GroupIx, group: &Group) -> bool {
        let sizes = &self.state.rules.policy.pools;
        let takes = node.loads.waiting == 0 && node.takes_tasks() && node.admits(&group.key);
        group.ready_tasks > 0
            && group.parked.is_none()
            && takes
            && self.state.groups.may_place(group_ix).is_ok()
            && self.may_join(group_ix, ix)
            && group.key.needs().any(|need| {
                let slots = need.devices.map_or(1, |devices| self.state.pools.room(devices, sizes));
                let room = node.room_for_need(&need).min(slots).min(1);
                self.need_in_time(ix, group_ix, &need, room, &mut Outlook::default()) > 0
            })
    }

    /// Groups for which tasks were frozen may have gone, or wait for something else: what is
    /// frozen is looked at again, and what was kept for a group that is no more. At the end of
    /// each event, and of each round.
    pub(crate) fn forget_settled(&mut self) {
        if self.preemption.blocked.is_empty() {
            return;
        }
        let known = self.preemption.blocked.len();
        let groups = &self.state.groups;
        self.preemption.blocked.retain(|group| waits(groups, *group));
        if self.preemption.blocked.len() < known {
            let gone = |_: &NodeIx, claim: &mut Claim| groups.get(claim.group).is_none();
            let kept = self.preemption.claims.extract_if(.., gone).map(|(ix, _)| ix);
            let nodes: Vec<NodeIx> = self.state.frozen.nodes().chain(kept).collect();
            nodes.into_iter().for_each(|ix| self.state.nodes.dirty.insert(ix));
        }
    }

    /// Claims end when their victims are gone, or those for whom they are. After a round,
    /// which gives them what came free. What was kept for a group that is no more is for
    /// others in the next.
    pub(crate) fn forget_claims(&mut self) {
        let state = &mut self.state;
        self.preemption.claims.retain(|ix, claim| {
            claim.victims.retain(|task| state.noticed.contains_key(task));
            let stays = !claim.victims.is_empty() && waits(&state.groups, claim.group);
            if state.groups.get(claim.group).is_none() {
                state.nodes.dirty.insert(*ix);
            }
            stays
        });
    }

    /// Tasks that have been frozen for too long are put back instead.
    pub(crate) fn end_frozen(&mut self) {
        let most = Duration::from_millis(self.state.rules.policy.preemption.max_frozen_ms);
        while let Some((since, task)) = self.state.frozen.oldest()
            && since.after(most) <= self.now
        {
            let placed = self.state.jobs.get(task.job).and_then(|job| job.task(task));
            let Some((attempt, Some(spot))) = placed else { break };
            let run = Assignment { job: task.job, attempt, tasks: IndexRange::one(task.index) };
            self.give_notice(&[(spot.node, run)], Duration::ZERO, RequeueCause::Preempted);
        }
    }

    /// Freezes tasks of a node, or lets them go on.
    pub(super) fn set_frozen(&mut self, ix: NodeIx, tasks: &[TaskId], frozen: bool) {
        let mut runs = Vec::new();
        for task in tasks {
            let placed = self.state.jobs.get(task.job).and_then(|job| job.task(*task));
            let Some((attempt, Some(_))) = placed else { continue };
            runs.push(Assignment { job: task.job, attempt, tasks: IndexRange::one(task.index) });
        }
        self.append(Fact::Frozen { at: self.now, node: node_id(ix), tasks: runs.clone(), frozen });
        for run in runs {
            let attempt = run.job.task(run.tasks.first).attempt(run.attempt);
            self.send(ix, ToWorker::Freeze { attempt, frozen });
            self.job_changed(run.job);
        }
    }

    /// A node is back: what it was told before may not have reached it.
    pub(crate) fn repeat_freezes(&mut self, ix: NodeIx, adopted: &[Assignment]) {
        for run in adopted {
            for (task, frozen) in self.state.frozen.within(*run).collect::<Vec<_>>() {
                self.send(ix, ToWorker::Freeze { attempt: task.attempt(run.attempt), frozen });
            }
        }
    }
}

/// Whether tasks of the group wait for room.
fn waits(groups: &Groups, group: GroupIx) -> bool {
    groups.get(group).is_some_and(|group| group.ready_tasks > 0 && group.parked.is_none())
}
