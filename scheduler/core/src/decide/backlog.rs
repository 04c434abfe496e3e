//! Which task goes where, second part: work that waits on a node, so that short tasks
//! never wait for a round trip.
//!
//! A backlog is measured in time: the observed length of the group's tasks by how many
//! of them run at once there. Long tasks, and those whose length nobody knows yet, wait
//! in the queue, where they can still go anywhere; only where others keep a node's
//! backlog full does one of them join it, lest it never gets its turn.

use std::collections::{BTreeSet, VecDeque};

use wrun_protocol::Resources;

use crate::core::Core;
use crate::decide::place::{Round, Turn};
use crate::decide::rank::class;
use crate::state::groups::{Group, GroupIx, Rank};
use crate::state::jobs::NodeIx;
use crate::state::nodes::Node;

/// Nodes of a group that one refill looks at; the others are looked at as they report.
const MAX_REFILLED_NODES: usize = 64;
/// Groups that do not suit a node, stepped over in one line before giving up.
const MAX_UNSUITED: usize = 64;
/// Ranks of the queue that one filling looks at.
const MAX_RANKS: usize = 32;

/// Filling one node's backlog.
struct Filling {
    ix: NodeIx,
    /// Time that the backlog covers already, and may cover, in nanoseconds.
    ahead: u64,
    budget: u64,
    /// Tasks that may still be added.
    room: u32,
    /// The highest class of a group that goes on waiting for the node: nothing of a lower
    /// one may take a place before it.
    above: Option<i64>,
}

impl Core {
    pub(crate) fn fill_backlogs(&mut self, round: &mut Round, refilled: &BTreeSet<GroupIx>) {
        if self.state.groups.queued() == 0 || self.config.max_backlog == 0 {
            return;
        }
        let mut nodes = round.dirty.clone();
        // Where tasks are long, not even the largest node has a backlog, and none is asked.
        let budget = self.backlog_budget();
        let largest = self.state.nodes.largest();
        if !self.backlogs.is_empty() || self.has_short_tasks_for(largest, budget) {
            for group in refilled.iter().filter_map(|group| self.state.groups.get(*group)) {
                nodes.extend(group.on.iter().take(MAX_REFILLED_NODES));
            }
            nodes.sort_unstable();
            nodes.dedup();
        }
        for ix in nodes {
            if self.state.groups.queued() == 0 {
                break;
            }
            self.fill_backlog(ix, round);
        }
    }

    fn fill_backlog(&mut self, ix: NodeIx, round: &mut Round) {
        let Some(node) = self.state.nodes.get(ix) else { return };
        let budget = self.backlog_budget();
        let idle = node.loads.by_group.is_empty();
        if !node.takes_tasks()
            || self.is_clearing(ix)
            || idle
            || !self.may_have_backlog(node, budget)
        {
            return;
        }
        let ahead = self.backlog_ns(node);
        let room = self.config.max_backlog.saturating_sub(node.loads.waiting);
        let mut filling = Filling { ix, ahead, budget, room, above: None };
        let full = ahead > budget / 2 || node.loads.waiting > self.config.max_backlog / 2;
        let mut last = None;
        for _ in 0..MAX_RANKS {
            let Some(rank) = self.state.groups.rank_below(last) else { break };
            last = Some(rank);
            if !full {
                self.fill_from(rank, &mut filling, round);
            }
            filling.above = filling.above.max(self.class_waiting_for(ix, rank));
            let spent = full || filling.room == 0 || filling.ahead >= filling.budget;
            if spent && filling.above.is_some() {
                break;
            }
        }
        if let Some(above) = filling.above {
            self.recall_below(ix, above);
        }
    }

    /// Whether anything may wait on the node, told without a look at the queue: something
    /// does, or there are tasks so short that, as many as it holds, they keep it busy for
    /// less than the budget.
    fn may_have_backlog(&self, node: &Node, budget: u64) -> bool {
        node.loads.waiting > 0 || self.has_short_tasks_for(&node.capacity(), budget)
    }

    /// Whether there are tasks so short that those which run at once on a node of that size
    /// may keep it busy for less than the budget.
    fn has_short_tasks_for(&self, capacity: &Resources, budget: u64) -> bool {
        let groups = &self.state.groups;
        let Some((least, shortest)) = groups.least_cpu().zip(groups.shortest_us()) else {
            return false;
        };
        let at_once = (capacity.cpu_milli / least.max(1)).min(capacity.slots).max(1);
        shortest.saturating_mul(1000) / u64::from(at_once) <= budget
    }

    /// How long the backlog of a node may keep it busy, in nanoseconds.
    fn backlog_budget(&self) -> u64 {
        u64::try_from(self.config.backlog.as_nanos()).unwrap_or(u64::MAX)
    }

    fn fill_from(&mut self, rank: Rank, filling: &mut Filling, round: &mut Round) {
        let mut turns: VecDeque<Turn> = self.turns(rank);
        while let Some(mut turn) = turns.pop_front() {
            if filling.room == 0 || filling.ahead >= filling.budget {
                return;
            }
            let sharers = turns.len() as u32 + 1;
            if self.add_to_backlog(rank, &mut turn, sharers, filling, round) {
                turns.push_back(turn);
            }
        }
    }

    /// Adds tasks of the line's next group. `false` when none is left that may wait here.
    fn add_to_backlog(
        &mut self,
        rank: Rank,
        turn: &mut Turn,
        sharers: u32,
        filling: &mut Filling,
        round: &mut Round,
    ) -> bool {
        for _ in 0..MAX_UNSUITED {
            let groups = &self.state.groups;
            let Some((head, group)) = groups.next_head(rank, turn.line, turn.after) else {
                return false;
            };
            let (count, each) = if self.may_wait_in_time(filling.ix, group, round) {
                self.may_wait(group, sharers, filling)
            } else {
                (0, 0)
            };
            let count = count.min(self.state.groups.may_place(group).unwrap_or(0));
            let next = self.state.groups.next_head(rank, turn.line, Some((head, group)));
            let until = self.until(rank, (head, group), next.map(|(head, _)| head), count);
            let count = if count > 1 { self.ready_before(group, until, count) } else { count };
            let added = match count {
                0 => 0,
                _ => self.assign(filling.ix, group, count, until, &mut round.plan),
            };
            self.refresh_queue();
            if added == 0 {
                turn.after = Some((head, group));
                continue;
            }
            self.state.groups.serve_line(turn.line);
            filling.room -= added.min(filling.room);
            filling.ahead = filling.ahead.saturating_add(each.saturating_mul(added.into()));
            return true;
        }
        false
    }

    /// How many more tasks of the group may wait on the node, and how long each keeps it busy.
    fn may_wait(&self, group: GroupIx, sharers: u32, filling: &Filling) -> (u32, u64) {
        let (Some(entry), Some(node)) =
            (self.state.groups.get(group), self.state.nodes.get(filling.ix))
        else {
            return (0, 0);
        };
        let outclassed = |above| class(&self.state.rules, &entry.key) < above;
        if entry.key.needs_grant()
            || self.state.is_service(&entry.key)
            || !node.suits(&entry.key)
            || filling.above.is_some_and(outclassed)
        {
            return (0, 0);
        }
        let each = self.each_ns(entry, node);
        let left = filling.budget.saturating_sub(filling.ahead);
        if each > filling.budget {
            let here = node.loads.by_group.get(group).map_or(0, |load| load.waiting);
            return (u32::from(node.loads.waiting > 0 && here == 0), each);
        }
        let by_time = u32::try_from(left / each).unwrap_or(u32::MAX).max(1).min(filling.room);
        let here = node.loads.by_group.get(group);
        let nodes = entry.on.len() as u64 + u64::from(here.is_none());
        let fair = u32::try_from(entry.ready_tasks.div_ceil(nodes)).unwrap_or(u32::MAX);
        let here = here.map_or(0, |load| load.waiting);
        let fair = fair.saturating_sub(here);
        let turn = if sharers > 1 { (by_time / (2 * sharers)).max(1) } else { by_time };
        (turn.min(fair), each)
    }

    /// How long one task of the group keeps a place on the node busy, in nanoseconds, by
    /// how many run at once. More than any budget while nobody knows.
    fn each_ns(&self, group: &Group, node: &Node) -> u64 {
        let at_once = node.capacity().times(&group.key.wanted).max(1);
        match group.wall_us {
            Some(wall) => (wall.max(1).saturating_mul(1000) / u64::from(at_once)).max(1),
            None => self.backlog_budget().saturating_add(1),
        }
    }

    /// How long the node's backlog keeps it busy, in nanoseconds.
    pub(crate) fn backlog_ns(&self, node: &Node) -> u64 {
        let loads = node.loads.by_group.iter().filter(|(_, load)| load.waiting > 0);
        let times = loads.filter_map(|(group, load)| {
            let each = self.each_ns(self.state.groups.get(group)?, node);
            Some(each.saturating_mul(load.waiting.into()))
        });
        times.fold(0, u64::saturating_add)
    }

    /// The class of a group of that rank that waits and that the node could hold.
    fn class_waiting_for(&self, ix: NodeIx, rank: Rank) -> Option<i64> {
        let node = self.state.nodes.get(ix)?;
        let groups = self.state.groups.of_rank(rank).take(MAX_UNSUITED);
        let keys = groups.filter_map(|group| Some(&self.state.groups.get(group)?.key));
        let suited = keys.filter(|key| node.suits(key));
        suited.map(|key| class(&self.state.rules, key)).max()
    }
}
