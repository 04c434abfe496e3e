//! Room is made for one group: on which nodes, and by which of their tasks.
//!
//! The nodes are taken that lose least, in the mildest way. For a gang all of its tasks must
//! find room, together with what is free already, or nobody is disturbed. A gang that is
//! stopped is stopped as a whole: what it thereby frees on other nodes counts too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use wrun_protocol::scheduling::Arrangement;
use wrun_protocol::time::millis;
use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::{IndexRange, JobId, TaskId};

use super::holds::{bench_need, bench_need_of};
use super::preempt::Claim;
use super::victims::{Asked, Free, Plan, Victim, Way, plan};
use crate::core::Core;
use crate::fact::RequeueCause;
use crate::state::groups::{GroupIx, GroupKey};
use crate::state::jobs::{NodeIx, Tasks};
use crate::state::need::Need;
use crate::state::nodes::Node;

/// Nodes that one search looks at.
const MAX_NODES: usize = 1024;
/// Tasks of a node that one search looks at.
const MAX_TASKS: usize = 4096;
/// Tasks of a group that room is made for at a time.
const MAX_WANTED: u32 = 256;

/// For whom room is made, and how.
struct Wish<'a> {
    group: GroupIx,
    key: &'a GroupKey,
    need: Need<'a>,
    /// Tasks that room is to be made for.
    tasks: u32,
}

impl Core {
    pub(super) fn make_room_for(&mut self, group: GroupIx) {
        let Some(key) = self.state.groups.get(group).map(|entry| entry.key.clone()) else { return };
        let Ok(allowed) = self.state.groups.may_place(group) else { return };
        let claims = self.preemption.claims.values().filter(|claim| claim.group == group);
        let claimed: u32 = claims.map(|claim| claim.tasks).sum();
        let gang = key.gang() > 0;
        let ready = match self.next_gang(group).filter(|_| gang) {
            Some((_, count)) => count,
            None if gang => 0,
            None => self.ready_before(group, None, MAX_WANTED),
        };
        let tasks = ready.min(allowed).saturating_sub(claimed);
        if tasks == 0 || (gang && claimed > 0) {
            return;
        }
        let sizes = self.state.rules.policy.pools.clone();
        for need in key.needs() {
            let slots = need.devices.map(|devices| self.state.pools.room(devices, &sizes));
            let in_pools = tasks.min(slots.unwrap_or(u32::MAX));
            if in_pools == 0 || (gang && in_pools < tasks) {
                // Those who hold slots may be anywhere: their ends are waited for.
                continue;
            }
            if self.make_room(&Wish { group, key: &key, need, tasks: in_pools }) {
                return;
            }
        }
    }

    /// Returns whether any could be made.
    fn make_room(&mut self, wish: &Wish<'_>) -> bool {
        let gang = wish.key.gang() > 0;
        let whole = gang && wish.key.arrangement() == Arrangement::SameNode;
        let nodes = self.state.nodes.iter().filter(|(ix, node)| self.may_clear(*ix, node, wish));
        let plans = nodes.take(MAX_NODES).filter_map(|(ix, _)| self.plan_on(ix, wish, wish.tasks));
        let mut plans: Vec<Plan> =
            plans.filter(|plan| !whole || plan.tasks == wish.tasks).collect();
        // Others than gangs would have been placed where there is room: something else keeps
        // them waiting there.
        plans.retain(|plan| gang || plan.have == 0);
        plans.sort_by_key(|plan| (plan.way, plan.lost, plan.victims.len(), plan.node));
        let mut wanted = wish.tasks;
        let mut used = Vec::new();
        if gang && !whole {
            let have = plans.iter().map(|plan| plan.have).fold(0, u32::saturating_add);
            let gain = plans.iter().map(Plan::gain).fold(0, u32::saturating_add);
            if have.saturating_add(gain) < wanted {
                return false;
            }
            wanted = wanted.saturating_sub(have);
            used.extend(plans.iter().filter(|plan| plan.have > 0).map(|plan| plan.node));
        }
        let before: BTreeMap<NodeIx, u32> =
            plans.iter().map(|plan| (plan.node, plan.have)).collect();
        let (mut victims, mut done) = (BTreeSet::new(), BTreeSet::new());
        let mut plans: VecDeque<NodeIx> = plans.iter().map(|plan| plan.node).collect();
        while wanted > 0
            && let Some(ix) = plans.pop_front()
        {
            let have = before.get(&ix).copied().unwrap_or_default();
            let most = if whole { wish.tasks } else { wanted.saturating_add(have) };
            // What was planned for more tasks than are left may need fewer victims.
            let again = if done.contains(&ix) { None } else { self.plan_on(ix, wish, most) };
            let enough = |plan: &Plan| plan.tasks > have && (!whole || plan.tasks == most);
            let Some(plan) = again.filter(enough) else { continue };
            let gain = plan.tasks - have;
            wanted = if whole { 0 } else { wanted.saturating_sub(gain) };
            done.insert(ix);
            used.push(ix);
            // What else a gang leaves behind is used first.
            for other in self.carry_out(wish.group, plan, gain, &mut victims) {
                if before.contains_key(&other) {
                    plans.push_front(other);
                }
            }
        }
        if gang && !victims.is_empty() {
            for ix in used {
                let claim = Claim { group: wish.group, tasks: 1, victims: victims.clone() };
                self.preemption.claims.insert(ix, claim);
            }
        }
        !done.is_empty()
    }

    fn may_clear(&self, ix: NodeIx, node: &Node, wish: &Wish<'_>) -> bool {
        let claim = self.preemption.claims.get(&ix);
        node.takes_tasks()
            && node.loads.waiting == 0
            && node.suits(wish.key)
            && claim.is_none_or(|claim| claim.group == wish.group && claim.tasks == 0)
            && self.may_join(wish.group, ix)
            && self.would_start_in_time(ix, node, wish)
    }

    /// Whether a task could run its time there if the node were empty: not into a
    /// reservation.
    fn would_start_in_time(&self, ix: NodeIx, node: &Node, wish: &Wish<'_>) -> bool {
        if self.state.reservations.is_empty() {
            return true;
        }
        let Some(group) = self.state.groups.get(wish.group) else { return false };
        let end = self.now.0.saturating_add(self.expected_length(group).ms);
        let free = self.empty_view(ix, node, wish.key.reservation());
        free.is_some_and(|free| {
            free.room(self.now, wrun_protocol::Timestamp(end), wish.need.resources) > 0
        })
    }

    /// How the node would make room for as many tasks as it can, up to `most`.
    fn plan_on(&self, ix: NodeIx, wish: &Wish<'_>, most: u32) -> Option<Plan> {
        let node = self.state.nodes.get(ix)?;
        let most = match wish.key.arrangement() {
            Arrangement::DifferentNodes => most.min(1),
            _ => most,
        };
        let devices = match wish.need.devices {
            Some(devices) => bench_need(node, devices)?,
            None => Default::default(),
        };
        let mut free = Free { amounts: node.free(), devices: node.stock.bench() };
        // What was told to stop for it already will be free as well.
        if let Some(claim) = self.preemption.claims.get(&ix) {
            let leaving = claim.victims.iter().filter_map(|task| self.victim(node, *task, 0));
            leaving.for_each(|victim| free.give(&victim));
        }
        let (freezable, stoppable) = self.victims(ix, node, wish.key);
        let asked = Asked { amounts: wish.need.resources, devices: &devices };
        plan(ix, &free, asked, most, &freezable, &stoppable)
    }

    /// Tasks of the node that the group may displace, those that lose least first: which may
    /// be frozen, each on its own, and which may be stopped, a gang's together.
    fn victims(&self, ix: NodeIx, node: &Node, by: &GroupKey) -> (Vec<Victim>, Vec<Victim>) {
        let (mut freezable, mut stoppable) = (Vec::new(), Vec::new());
        let mut gangs: BTreeSet<JobId> = BTreeSet::new();
        for (run, placed) in node.tasks.iter().take(MAX_TASKS) {
            let Some(key) = self.key_of(run.job.task(run.tasks.first)) else { continue };
            if !self.state.rules.may_preempt(by, key) {
                continue;
            }
            let elapsed = millis(self.now.since(placed));
            for index in run.tasks.indices().take(MAX_TASKS) {
                let task = run.job.task(index);
                let replica = self.state.services.replica(task);
                if self.state.noticed.contains_key(&task)
                    || self.state.frozen.holds(task)
                    || replica.is_some_and(|replica| replica.drain.is_some())
                {
                    continue;
                }
                let lost = self.lost_by(task, elapsed, key);
                let Some(victim) = self.victim(node, task, lost) else { continue };
                if victim.may_freeze {
                    freezable.push(victim.clone());
                }
                if !key.is_gang() {
                    stoppable.push(victim);
                } else if gangs.insert(run.job) {
                    stoppable.extend(self.gang_victim(ix, node, victim));
                }
            }
        }
        stoppable.sort_by_key(|victim| (victim.lost, victim.task));
        (freezable, stoppable)
    }

    fn victim(&self, node: &Node, task: TaskId, lost: u64) -> Option<Victim> {
        let key = self.key_of(task)?;
        let (attempt, _) = node.tasks.get(task)?;
        let apart = node.stock.of(task);
        let allowed = key.preemptible();
        let stop = match (allowed.checkpoint, allowed.requeue) {
            (true, _) => Some(Way::Checkpoint),
            (false, true) => Some(Way::Requeue),
            (false, false) => None,
        };
        Some(Victim {
            task,
            attempt,
            holds: apart.map_or(key.wanted, |held| held.request.resources),
            devices: apart.and_then(|held| bench_need_of(node, held)).into_iter().collect(),
            // Frozen tasks are counted by what their job asks for first.
            may_freeze: allowed.freeze && apart.is_none_or(|held| held.grant.request == 0),
            stop,
            gang: key.is_gang(),
            lost,
        })
    }

    /// The work of a task that would be lost. What it saved goes on from there.
    fn lost_by(&self, task: TaskId, elapsed: u64, key: &GroupKey) -> u64 {
        let ran = elapsed.saturating_sub(self.state.frozen.lost_ms(task, self.now));
        let saved = self.state.extras.get(&task).is_some_and(|extra| extra.checkpoint.is_some());
        let notice = self.state.rules.policy.preemption.notice_ms;
        let since = if saved { ran.min(notice) } else { ran };
        since.saturating_mul(key.wanted.cpu_milli.into())
    }

    /// All of a gang's tasks on the node as one, which costs the work of the whole gang.
    /// `None` where some of it is being stopped already.
    fn gang_victim(&self, ix: NodeIx, node: &Node, first: Victim) -> Option<Victim> {
        let key = self.key_of(first.task)?;
        let mut all = Victim { lost: 0, devices: Vec::new(), ..first };
        all.holds = <_>::default();
        for (on, task) in self.gang_spots(all.task.job) {
            if self.state.noticed.contains_key(&task) {
                return None;
            }
            let at = self.state.nodes.get(on)?;
            let (_, placed) = at.tasks.get(task)?;
            all.lost += self.lost_by(task, millis(self.now.since(placed)), key);
            if on == ix {
                let here = self.victim(node, task, 0)?;
                all.holds = all.holds.checked_add(&here.holds)?;
                all.devices.extend(here.devices);
            }
        }
        Some(all)
    }

    /// Where each placed task of a gang is.
    fn gang_spots(&self, job: JobId) -> Vec<(NodeIx, TaskId)> {
        let Some(Tasks::Many(array)) = self.state.jobs.get(job).map(|job| &job.tasks) else {
            return Vec::new();
        };
        let spots = array.placed.iter().flat_map(|(run, spot)| {
            run.tasks.indices().map(move |index| (spot.node, run.job.task(index)))
        });
        spots.collect()
    }

    /// Freezes or stops what the plan says. Returns on which other nodes a gang that was
    /// stopped leaves room.
    fn carry_out(
        &mut self,
        group: GroupIx,
        plan: Plan,
        gain: u32,
        all: &mut BTreeSet<TaskId>,
    ) -> BTreeSet<NodeIx> {
        let Plan { way, node: ix, victims, .. } = plan;
        if way == Way::Freeze {
            let tasks: Vec<TaskId> = victims.iter().map(|victim| victim.task).collect();
            self.set_frozen(ix, &tasks, true);
            return BTreeSet::new();
        }
        let mut stopped: Vec<(NodeIx, TaskId)> = Vec::new();
        let notice = Duration::from_millis(self.state.rules.policy.preemption.notice_ms);
        for victim in &victims {
            let spots = match victim.gang {
                true => self.gang_spots(victim.task.job),
                false => vec![(ix, victim.task)],
            };
            let notice = if victim.stop == Some(Way::Checkpoint) { notice } else { Duration::ZERO };
            for (on, task) in &spots {
                let tasks = IndexRange::one(task.index);
                let run = Assignment { job: task.job, attempt: victim.attempt, tasks };
                self.give_notice(&[(*on, run)], notice, RequeueCause::Preempted);
            }
            self.job_changed(victim.task.job);
            stopped.extend(spots);
        }
        let mut beyond = BTreeSet::new();
        for (on, task) in stopped {
            all.insert(task);
            let free = || Claim { group, tasks: 0, victims: BTreeSet::new() };
            let claim = self.preemption.claims.entry(on).or_insert_with(free);
            if claim.group == group {
                claim.victims.insert(task);
                beyond.insert(on);
            }
        }
        beyond.remove(&ix);
        if let Some(claim) = self.preemption.claims.get_mut(&ix) {
            claim.tasks = gain;
        }
        beyond
    }
}
