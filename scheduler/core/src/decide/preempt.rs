//! Room for more urgent work: which running tasks make it, in the mildest way that works.
//!
//! A group that found no room and whose class or partition may pre-empt looks for victims.
//! Freezing comes first, where CPU is all that lacks: nothing is lost. Then tasks that may
//! save a checkpoint are told that they will be stopped, then those that may just be put
//! back. Among nodes the one that loses least work is taken, and on it no task that need
//! not go. What is being cleared for a group is not given to others meanwhile; frozen tasks
//! go on before anything that could not have frozen them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wrun_protocol::wire::worker::{Assignment, ToWorker};
use wrun_protocol::{IndexRange, Resources, TaskId, Timestamp};

use crate::core::Core;
use crate::fact::{Fact, RequeueCause};
use crate::state::groups::{GroupIx, GroupKey};
use crate::state::jobs::NodeIx;
use crate::state::nodes::{Node, node_id};
use crate::state::policy::Rules;

/// Nodes that one search looks at.
const MAX_NODES: usize = 1024;
/// Tasks of a node that one search looks at.
const MAX_TASKS: usize = 4096;
/// Tasks of a group that room is made for at a time.
const MAX_WANTED: u32 = 256;

/// What goes on. Not recorded: after a restart the groups that are still blocked look again.
#[derive(Debug, Default)]
pub(crate) struct Preemption {
    /// Groups that found no room and may pre-empt.
    blocked: BTreeSet<GroupIx>,
    /// Nodes that are being cleared.
    claims: BTreeMap<NodeIx, Claim>,
    /// When to search next at the earliest, and whether there is reason to.
    next: Timestamp,
    due: bool,
}

/// A node is being cleared for tasks of a group.
#[derive(Debug)]
struct Claim {
    group: GroupIx,
    tasks: u32,
    victims: BTreeSet<TaskId>,
}

/// How mild it is, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Freeze,
    Checkpoint,
    Requeue,
}

/// A task that may make room.
#[derive(Clone, Copy, Debug)]
struct Victim {
    task: TaskId,
    attempt: u32,
    holds: Resources,
    may_freeze: bool,
    /// How it would be stopped, if it may be.
    stop: Option<Way>,
    /// The work that would be lost, in thousandths of a CPU by milliseconds.
    lost: u64,
}

/// How a node would make room.
struct Plan {
    way: Way,
    lost: u64,
    node: NodeIx,
    tasks: u32,
    victims: Vec<Victim>,
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
        let victims = claims.flat_map(|claim| &claim.victims);
        victims.filter(|task| self.state.noticed.contains_key(task)).count() as u32
    }

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
            self.state.groups.get(*group).is_some_and(|group| {
                group.ready_tasks > 0
                    && node.room_for(&group.key) > 0
                    && self.state.rules.may_preempt(&group.key, key)
            })
        };
        !self.state.noticed.contains_key(&task)
            && node.free().covers(&wanted)
            && !self.preemption.blocked.iter().any(before)
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
        let fresh = self.preemption.blocked.len() > known;
        self.preemption.due = !self.preemption.blocked.is_empty();
        if !self.preemption.due || (self.now < self.preemption.next && !fresh) {
            return;
        }
        self.preemption.due = false;
        self.preemption.next = self.now.after(self.config.preempt_interval);
        let mut groups: Vec<GroupIx> = self.preemption.blocked.iter().copied().collect();
        groups.sort_by_key(|group| self.first_of(*group));
        groups.into_iter().for_each(|group| self.preempt_for_group(group));
    }

    /// Higher classes first, then the older.
    fn first_of(&self, group: GroupIx) -> impl Ord + use<> {
        let entry = self.state.groups.get(group);
        let class = entry.map_or((0, 0), |group| self.state.rules.class_of(&group.key));
        (std::cmp::Reverse(class), entry.and_then(|group| group.ready.first().copied()))
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

    /// Claims end when their victims are gone, or those for whom they are.
    fn forget_settled(&mut self) {
        let state = &self.state;
        let waits =
            |group: &GroupIx| state.groups.get(*group).is_some_and(|group| group.ready_tasks > 0);
        self.preemption.blocked.retain(waits);
        self.preemption.claims.retain(|_, claim| {
            claim.victims.retain(|task| state.noticed.contains_key(task));
            !claim.victims.is_empty() && waits(&claim.group)
        });
    }

    fn preempt_for_group(&mut self, group: GroupIx) {
        let Some(entry) = self.state.groups.get(group) else { return };
        let key = entry.key.clone();
        if key.needs_grant() {
            // Whose end would free the right devices is not known here.
            return;
        }
        let claimed: u32 = self
            .preemption
            .claims
            .values()
            .filter(|claim| claim.group == group)
            .map(|claim| claim.tasks)
            .sum();
        let ready = u32::try_from(entry.ready_tasks).unwrap_or(u32::MAX);
        let mut wanted = ready.min(MAX_WANTED).saturating_sub(claimed);
        if wanted == 0 {
            return;
        }
        let nodes = self.state.nodes.iter().filter(|(ix, node)| {
            node.takes_tasks()
                && node.loads.waiting == 0
                && node.suits(&key)
                && !self.preemption.claims.contains_key(ix)
        });
        let mut plans: Vec<Plan> = nodes
            .take(MAX_NODES)
            .filter_map(|(ix, node)| self.plan(ix, node, &key, wanted))
            .collect();
        plans.sort_by_key(|plan| (plan.way, plan.lost, plan.victims.len(), plan.node));
        let gang = key.wishes.as_ref().map_or(0, |wishes| wishes.gang);
        if plans.iter().map(|plan| plan.tasks).sum::<u32>() < gang {
            return;
        }
        for plan in plans {
            if wanted == 0 {
                break;
            }
            // What was planned for more tasks than are left may need fewer victims.
            let again = self.state.nodes.get(plan.node);
            let again = again.and_then(|node| self.plan(plan.node, node, &key, wanted));
            if let Some(plan) = again {
                wanted -= plan.tasks.min(wanted);
                self.carry_out(group, plan);
            }
        }
    }

    /// How the node would make room for as many tasks as it can, up to `most`.
    fn plan(&self, ix: NodeIx, node: &Node, key: &GroupKey, most: u32) -> Option<Plan> {
        if node.free().times(&key.wanted) > 0 {
            // Something else than room keeps it waiting.
            return None;
        }
        let victims = self.victims(node, key);
        let mut best = None;
        for tasks in 1..=most {
            let Some(plan) = plan_for(ix, node, &key.wanted, tasks, &victims) else { break };
            let milder = best.as_ref().is_none_or(|best: &Plan| plan.way <= best.way);
            if !milder {
                break;
            }
            best = Some(plan);
        }
        best
    }

    /// Tasks of the node that the group may displace, those that lose least first.
    fn victims(&self, node: &Node, by: &GroupKey) -> Vec<Victim> {
        let mut victims = Vec::new();
        for (run, placed) in node.tasks.iter().take(MAX_TASKS) {
            let Some(key) = self.key_of(run.job.task(run.tasks.first)) else { continue };
            if !self.state.rules.may_preempt(by, key) {
                continue;
            }
            let (allowed, gang) = (key.preemptible(), key.is_gang());
            let elapsed = u64::try_from(self.now.since(placed).as_millis()).unwrap_or(u64::MAX);
            for index in run.tasks.indices().take(MAX_TASKS) {
                let task = run.job.task(index);
                let busy = self.state.noticed.contains_key(&task) || self.state.frozen.holds(task);
                if busy {
                    continue;
                }
                let apart = node.stock.of(task);
                let saved =
                    self.state.extras.get(&task).is_some_and(|extra| extra.checkpoint.is_some());
                let stop = match (allowed.checkpoint, allowed.requeue) {
                    // The loss of one would cost a gang the work of all.
                    _ if gang => None,
                    (true, _) => Some(Way::Checkpoint),
                    (false, true) => Some(Way::Requeue),
                    (false, false) => None,
                };
                let notice = self.state.rules.policy.preemption.notice_ms;
                let since = if saved { elapsed.min(notice) } else { elapsed };
                victims.push(Victim {
                    task,
                    attempt: run.attempt,
                    holds: apart.map_or(key.wanted, |held| held.request.resources),
                    // Frozen tasks are counted by what their job asks for first.
                    may_freeze: allowed.freeze && apart.is_none_or(|held| held.grant.request == 0),
                    stop,
                    lost: since.saturating_mul(key.wanted.cpu_milli.into()),
                });
            }
        }
        victims.sort_by_key(|victim| (victim.lost, victim.task));
        victims
    }

    fn carry_out(&mut self, group: GroupIx, plan: Plan) {
        let Plan { way, node: ix, tasks, victims, .. } = plan;
        if way == Way::Freeze {
            let tasks: Vec<TaskId> = victims.iter().map(|victim| victim.task).collect();
            return self.set_frozen(ix, &tasks, true);
        }
        let notice = Duration::from_millis(self.state.rules.policy.preemption.notice_ms);
        for victim in &victims {
            let TaskId { job, index } = victim.task;
            let run = Assignment { job, attempt: victim.attempt, tasks: IndexRange::one(index) };
            let notice = if victim.stop == Some(Way::Checkpoint) { notice } else { Duration::ZERO };
            self.give_notice(&[(ix, run)], notice, RequeueCause::Preempted);
            self.job_changed(job);
        }
        let victims = victims.iter().map(|victim| victim.task).collect();
        self.preemption.claims.insert(ix, Claim { group, tasks, victims });
    }

    /// Freezes tasks of a node, or lets them go on.
    fn set_frozen(&mut self, ix: NodeIx, tasks: &[TaskId], frozen: bool) {
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

    fn key_of(&self, task: TaskId) -> Option<&GroupKey> {
        let group = self.state.jobs.get(task.job)?.group;
        Some(&self.state.groups.get(group)?.key)
    }
}

/// The mildest way in which a node makes room for so many tasks.
fn plan_for(
    node: NodeIx,
    of: &Node,
    each: &Resources,
    tasks: u32,
    victims: &[Victim],
) -> Option<Plan> {
    let wanted = times(each, tasks)?;
    let free = of.free();
    let (way, chosen) = freeze(&free, &wanted, victims)
        .map(|chosen| (Way::Freeze, chosen))
        .or_else(|| stop(&free, &wanted, victims))?;
    let lost = if way == Way::Freeze { 0 } else { chosen.iter().map(|v| v.lost).sum() };
    Some(Plan { way, lost, node, tasks, victims: chosen })
}

/// Tasks to freeze so that `wanted` fits, where only CPU lacks: as few as can be found by
/// taking the largest, and of several that would do alone the smallest.
fn freeze(free: &Resources, wanted: &Resources, victims: &[Victim]) -> Option<Vec<Victim>> {
    let without_cpu = Resources { cpu_milli: 0, ..*wanted };
    if !free.covers(&without_cpu) {
        return None;
    }
    let mut lacking = wanted.cpu_milli.saturating_sub(free.cpu_milli);
    let mut left: Vec<Victim> =
        victims.iter().filter(|victim| victim.may_freeze).copied().collect();
    left.sort_by_key(|victim| (victim.holds.cpu_milli, victim.task));
    let mut chosen = Vec::new();
    while lacking > 0 {
        let largest = left.last()?.holds.cpu_milli;
        let enough = |victim: &Victim| victim.holds.cpu_milli >= largest.min(lacking);
        let victim = left.remove(left.iter().position(enough)?);
        if largest == 0 {
            return None;
        }
        lacking = lacking.saturating_sub(victim.holds.cpu_milli);
        chosen.push(victim);
    }
    Some(chosen)
}

/// Tasks to stop so that `wanted` fits: those that lose least, and none that need not go.
fn stop(free: &Resources, wanted: &Resources, victims: &[Victim]) -> Option<(Way, Vec<Victim>)> {
    let mut chosen: Vec<Victim> = Vec::new();
    let mut room = *free;
    for victim in victims.iter().filter(|victim| victim.stop.is_some()) {
        if room.covers(wanted) {
            break;
        }
        room = room.checked_add(&victim.holds)?;
        chosen.push(*victim);
    }
    if !room.covers(wanted) {
        return None;
    }
    for place in (0..chosen.len()).rev() {
        let without = chosen.get(place).and_then(|victim| room.checked_sub(&victim.holds));
        if let Some(without) = without.filter(|without| without.covers(wanted)) {
            room = without;
            chosen.remove(place);
        }
    }
    let way = chosen.iter().filter_map(|victim| victim.stop).max()?;
    Some((way, chosen))
}

fn times(each: &Resources, count: u32) -> Option<Resources> {
    Some(Resources {
        cpu_milli: each.cpu_milli.checked_mul(count)?,
        memory: each.memory.checked_mul(count.into())?,
        scratch: each.scratch.checked_mul(count.into())?,
        slots: each.slots.checked_mul(count)?,
    })
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

#[cfg(test)]
mod tests {
    use wrun_protocol::JobId;

    use super::*;

    /// Sets of victims of a few sizes, by a small generator of its own.
    fn each_case(mut with: impl FnMut(Resources, Resources, Vec<Victim>)) {
        let mut state = 7u64;
        let mut draw = |below: u32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            ((state >> 33) as u32) % below
        };
        for _ in 0..20_000 {
            let mut of = |most: u32| Resources {
                cpu_milli: 250 * draw(most),
                memory: u64::from(draw(most)),
                scratch: 0,
                slots: 1,
            };
            let (free, wanted) = (of(4), of(12));
            let holds: Vec<Resources> = (0..8).map(|_| of(6)).collect();
            let victims = holds.into_iter().zip(0..).map(|(holds, index)| Victim {
                task: JobId(1).task(index),
                attempt: 1,
                holds,
                may_freeze: draw(4) > 0,
                stop: [None, Some(Way::Checkpoint), Some(Way::Requeue)][draw(3) as usize],
                lost: draw(10).into(),
            });
            let mut victims: Vec<Victim> = victims.collect();
            victims.sort_by_key(|victim| (victim.lost, victim.task));
            with(free, wanted, victims);
        }
    }

    fn room(free: &Resources, chosen: &[Victim], without: Option<usize>) -> Resources {
        let kept = chosen.iter().enumerate().filter(|(place, _)| Some(*place) != without);
        kept.fold(*free, |sum, (_, victim)| sum.checked_add(&victim.holds).unwrap())
    }

    #[test]
    fn no_task_is_stopped_that_need_not_go_and_none_that_must_is_missed() {
        each_case(|free, wanted, victims| {
            let may: Vec<Victim> = victims.iter().filter(|v| v.stop.is_some()).copied().collect();
            let possible = room(&free, &may, None).covers(&wanted) && !free.covers(&wanted);
            let Some((_, chosen)) = stop(&free, &wanted, &victims) else {
                return assert!(!possible, "{free} {wanted} {victims:?}");
            };
            assert!(room(&free, &chosen, None).covers(&wanted));
            assert!(chosen.iter().all(|victim| victim.stop.is_some()));
            for place in 0..chosen.len() {
                assert!(!room(&free, &chosen, Some(place)).covers(&wanted), "{chosen:?}");
            }
        });
    }

    #[test]
    fn no_task_is_frozen_that_need_not_be_and_only_where_cpu_alone_lacks() {
        each_case(|free, wanted, victims| {
            let Some(chosen) = freeze(&free, &wanted, &victims) else { return };
            assert!(free.memory >= wanted.memory && free.slots >= wanted.slots);
            let cpu = |without| room(&free, &chosen, without).cpu_milli;
            assert!(cpu(None) >= wanted.cpu_milli);
            for place in 0..chosen.len() {
                assert!(cpu(Some(place)) < wanted.cpu_milli, "{free} {wanted} {chosen:?}");
            }
        });
    }
}
