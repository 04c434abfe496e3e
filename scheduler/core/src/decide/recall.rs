//! Work that waits on one node and would be better elsewhere is asked back: where another
//! node has room for it, where something of a higher class waits, and where a node drains.
//! The class of a group ([`class`]) is what of its rank neither time nor usage changes, so
//! that work does not go to and fro between groups that differ by their age alone.
//! What has started stays: the worker gives back only what has not.

use std::collections::BTreeSet;

use wrun_protocol::wire::worker::{Assignment, ToWorker};

use super::MAX_BATCH;
use crate::core::Core;
use crate::decide::place::Round;
use crate::decide::rank::class;
use crate::state::groups::GroupIx;
use crate::state::jobs::NodeIx;

/// Which groups have a backlog where, lowest class first.
pub(crate) type Backlogs = BTreeSet<(i64, GroupIx, NodeIx)>;

/// Backlogs that one search looks at.
const MAX_LOOKED_AT: usize = 256;
/// Nodes that are asked for one blocked group at a time.
const MAX_ASKED: usize = 64;
/// A backlog shorter than this is done before it could run elsewhere, in nanoseconds.
const NOT_WORTH_MOVING: u64 = 20_000_000;

impl Core {
    pub(crate) fn recall_for(&mut self, round: &Round) {
        let gangs = round.gangs.iter().flatten().map(|(ix, ..)| ix);
        let planned = round.plan.chunk_by(|(a, _), (b, _)| a == b).flat_map(<[_]>::first);
        for ix in round.dirty.iter().chain(planned.map(|(ix, _)| ix)).chain(gangs) {
            self.sync_backlogs(*ix);
        }
        if self.backlogs.is_empty() {
            return;
        }
        round.blocked.iter().for_each(|group| self.recall_for_blocked(*group));
        round.dirty.iter().for_each(|ix| self.recall_for_idle(*ix));
    }

    /// Brings the index of backlogs up to date with a node.
    fn sync_backlogs(&mut self, ix: NodeIx) {
        let Some(node) = self.state.nodes.get_mut(ix) else { return };
        if node.loads.waiting == 0 && node.session.backlogged.is_empty() {
            return;
        }
        let loads = node.loads.by_group.iter().filter(|(_, load)| load.waiting > 0);
        let now: BTreeSet<(i64, GroupIx)> = if node.takes_tasks() {
            let rules = &self.state.rules;
            let class = |group| self.state.groups.get(group).map(|group| class(rules, &group.key));
            loads.filter_map(|(group, _)| Some((class(group)?, group))).collect()
        } else {
            BTreeSet::new()
        };
        if now == node.session.backlogged {
            return;
        }
        let before = std::mem::replace(&mut node.session.backlogged, now.clone());
        for (class, group) in before.difference(&now) {
            self.backlogs.remove(&(*class, *group, ix));
        }
        for (class, group) in now.difference(&before) {
            self.backlogs.insert((*class, *group, ix));
        }
    }

    /// The node is gone: nothing can be asked of it.
    pub(crate) fn clear_backlogs(&mut self, ix: NodeIx) {
        let Some(node) = self.state.nodes.get_mut(ix) else { return };
        for (class, group) in std::mem::take(&mut node.session.backlogged) {
            self.backlogs.remove(&(class, group, ix));
        }
    }

    /// Something of a higher class waits: what waits below it on nodes that suit it goes back.
    fn recall_for_blocked(&mut self, blocked: GroupIx) {
        let Some(group) = self.state.groups.get(blocked) else { return };
        let most = usize::try_from(group.ready_tasks).unwrap_or(MAX_ASKED).min(MAX_ASKED);
        let above = class(&self.state.rules, &group.key);
        let below = self.backlogs.iter().take_while(|(class, ..)| *class < above);
        let suits = |ix| self.state.nodes.get(ix).is_some_and(|node| node.suits(&group.key));
        let asked: Vec<(GroupIx, NodeIx)> = below
            .take(MAX_LOOKED_AT)
            .filter(|(_, _, ix)| suits(*ix))
            .map(|(_, of, ix)| (*of, *ix))
            .take(most)
            .collect();
        for (group, ix) in asked {
            self.recall(ix, group, u32::MAX);
        }
    }

    /// What waits on the node with a lower class goes back.
    pub(crate) fn recall_below(&mut self, ix: NodeIx, above: i64) {
        let Some(node) = self.state.nodes.get(ix) else { return };
        let loads = node.loads.by_group.iter().filter(|(_, load)| load.waiting > 0);
        let below = loads.map(|(group, _)| group).filter(|group| {
            let group = self.state.groups.get(*group);
            group.is_some_and(|group| class(&self.state.rules, &group.key) < above)
        });
        for group in below.collect::<Vec<_>>() {
            self.recall(ix, group, u32::MAX);
        }
    }

    /// The node has room and the queue nothing for it: half of the longest backlog that
    /// it could take over goes back.
    fn recall_for_idle(&mut self, idle: NodeIx) {
        let Some(node) = self.state.nodes.get(idle) else { return };
        let mut best: Option<(u32, GroupIx, NodeIx)> = None;
        for (_, group, ix) in self.backlogs.iter().rev().take(MAX_LOOKED_AT) {
            let Some(entry) = self.state.groups.get(*group) else { continue };
            let Some(busy) = self.state.nodes.get(*ix).filter(|_| *ix != idle) else { continue };
            let waiting = busy.loads.by_group.get(*group).map_or(0, |load| load.waiting);
            let longer = best.is_none_or(|(most, ..)| waiting > most);
            if longer && busy.session.recalled.is_empty() && node.room_for(entry) > 0 {
                best = Some((waiting, *group, *ix));
            }
        }
        let worth = |ix| {
            self.state.nodes.get(ix).is_some_and(|busy| self.backlog_ns(busy) > NOT_WORTH_MOVING)
        };
        if let Some((waiting, group, ix)) = best.filter(|(_, _, ix)| worth(*ix)) {
            self.recall(ix, group, waiting.div_ceil(2));
        }
    }

    /// Asks for up to `most` waiting tasks of a group, the last assigned first.
    fn recall(&mut self, ix: NodeIx, group: GroupIx, most: u32) {
        let Some(node) = self.state.nodes.get(ix).filter(|node| node.session.connected) else {
            return;
        };
        let waiting = node.loads.by_group.get(group).map_or(0, |load| load.waiting);
        let mut left = most.min(waiting);
        let mut asked = Vec::new();
        let is_of_group = |tasks: &Assignment| {
            self.state.jobs.get(tasks.job).is_some_and(|job| job.group == group)
        };
        for (mut run, _) in node.tasks.iter().rev().filter(|(tasks, _)| is_of_group(tasks)) {
            if left == 0 || asked.len() >= MAX_BATCH {
                break;
            }
            let count = left.min(run.tasks.count);
            run.tasks.first += run.tasks.count - count;
            run.tasks.count = count;
            left -= count;
            if !node.session.recalled.contains(&run.job.task(run.tasks.first)) {
                asked.push(run);
            }
        }
        if asked.is_empty() {
            return;
        }
        if let Some(node) = self.state.nodes.get_mut(ix) {
            for run in &asked {
                node.session.recalled.extend(run.tasks.indices().map(|index| run.job.task(index)));
            }
        }
        self.send(ix, ToWorker::Recall(asked));
    }

    /// Asks for everything that has not started.
    pub(crate) fn recall_all(&mut self, ix: NodeIx) {
        let Some(node) = self.state.nodes.get(ix) else { return };
        let tasks: Vec<Assignment> = node.tasks.iter().map(|(tasks, _)| tasks).collect();
        for batch in tasks.chunks(MAX_BATCH) {
            self.send(ix, ToWorker::Recall(batch.to_vec()));
        }
    }
}
