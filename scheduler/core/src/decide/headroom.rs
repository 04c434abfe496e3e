//! Headroom: CPU that tasks expected to run long leave free, so that a short one need not
//! wait for a long one to end.
//!
//! A unit (a task, or a gang) needs it beside its own, for as long as it runs, to start or
//! to be promised a start; it holds only its own. It is a part of the CPU of all nodes that
//! suit the unit, and may be left on any of them: the least that each has free while the
//! unit runs, summed. What is so large that it could never leave that much leaves none; nor
//! does what has waited beyond the age bound: a promise holds no headroom, so that short ones
//! filled in behind it could take it for ever.

use wrun_protocol::{Resources, Timestamp};

use super::outlook::Outlook;
use crate::core::Core;
use crate::profile::{Ask, Beside};
use crate::state::groups::{Group, GroupIx};
use crate::state::jobs::NodeIx;

/// The least amount of CPU.
const LEAST_CPU: Resources = Resources { cpu_milli: 1, memory: 0, scratch: 0, slots: 0 };

/// CPU of several nodes, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
struct Cpu {
    all: u64,
    /// Over the whole time that is asked for.
    free: u64,
}

impl Core {
    /// Whether tasks of the group take long enough to leave headroom. Those in a
    /// reservation do not: what is set aside is theirs.
    pub(crate) fn leaves_headroom(&self, group: &Group) -> bool {
        let backfill = &self.state.rules.policy.backfill;
        backfill.headroom > 0
            && group.key.reservation().is_none()
            && self.expected_length(group).ms > backfill.short_ms
            && !self.is_aged(group)
    }

    /// Whether the group's next job has waited beyond the age bound.
    fn is_aged(&self, group: &Group) -> bool {
        let head = group.ready.first().and_then(|job| self.state.jobs.get(job));
        let waited = head.map(|job| self.ranking.at.0.saturating_sub(job.submitted.0));
        waited.zip(self.state.rules.policy.age_bound_ms).is_some_and(|(ms, bound)| ms >= bound)
    }

    /// How many of `tasks` tasks of the group may start now on nodes that have room for
    /// them; of a gang all or none.
    pub(crate) fn within_headroom(
        &self,
        ix: GroupIx,
        tasks: u32,
        nodes: &[(NodeIx, u32)],
        outlook: &mut Outlook,
    ) -> u32 {
        let group = self.state.groups.get(ix).filter(|group| self.leaves_headroom(group));
        let Some(group) = group else { return tasks };
        let gang = group.key.gang() > 0;
        let cpu = self.cpu_in_time(ix, group, outlook);
        let headroom = self.headroom(group, if gang { tasks } else { 1 }, cpu.all);
        if headroom == 0 {
            return tasks;
        }
        let each = u64::from(group.key.wanted.cpu_milli).max(1);
        let fit = cpu.free.saturating_sub(headroom) / each;
        let fit = u32::try_from(fit).unwrap_or(u32::MAX).min(tasks);
        if fit < tasks {
            outlook.held.extend(nodes.iter().map(|(ix, _)| *ix));
        }
        if gang && fit < tasks { 0 } else { fit }
    }

    /// What `count` tasks of the group that start together ask of those nodes.
    pub(crate) fn ask<'a>(
        &self,
        group: &'a Group,
        count: u32,
        nodes: &[NodeIx],
    ) -> Ask<'a, Resources> {
        let mut beside = None;
        if self.leaves_headroom(group) {
            let nodes = nodes.iter().filter_map(|ix| self.state.nodes.get(*ix));
            let all = nodes.map(|node| u64::from(node.capacity().cpu_milli)).sum();
            let headroom = self.headroom(group, count, all);
            let times = own_cpu(group, count).saturating_add(headroom);
            beside = (headroom > 0).then_some(Beside { need: LEAST_CPU, times });
        }
        Ask { need: &group.key.wanted, count, beside }
    }

    /// What so many tasks of the group leave free of `all` CPU, in thousandths.
    pub(crate) fn headroom(&self, group: &Group, count: u32, all: u64) -> u64 {
        let part = u64::from(self.state.rules.policy.backfill.headroom);
        let headroom = all.saturating_mul(part) / 1_000_000;
        let own = own_cpu(group, count);
        if own == 0 || own.saturating_add(headroom) > all { 0 } else { headroom }
    }

    /// The CPU of all nodes that suit the group, for as long as it takes. What is free now
    /// stays free but where something was promised or set aside.
    fn cpu_in_time(&self, group_ix: GroupIx, group: &Group, outlook: &mut Outlook) -> Cpu {
        let end = Timestamp(self.now.0.saturating_add(self.expected_length(group).ms));
        let suiting = self.state.nodes.iter().filter(|(ix, node)| {
            node.takes_tasks() && node.suits(&group.key) && !self.is_kept_from(*ix, group_ix)
        });
        let mut cpu = Cpu::default();
        for (ix, node) in suiting {
            cpu.all += u64::from(node.capacity().cpu_milli);
            if node.loads.waiting > 0 {
                continue;
            }
            let mut free = node.free().cpu_milli;
            if free > 0 && (outlook.has_promised(ix) || self.is_booked(ix, node)) {
                let profile = self.view(ix, node, None, outlook);
                free = free.min(profile.map_or(0, |free| free.room(self.now, end, &LEAST_CPU)));
            }
            cpu.free += u64::from(free);
        }
        cpu
    }
}

fn own_cpu(group: &Group, count: u32) -> u64 {
    u64::from(group.key.wanted.cpu_milli) * u64::from(count)
}
