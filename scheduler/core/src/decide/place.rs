//! Which task goes where, first part: tasks that fit what is free now.
//!
//! Groups are served by rank, lines of equal rank in turn, a line's groups by the age of
//! their heads. A group that finds no room is stepped over, never waited for:
//! it is looked at again only on nodes where room came free. Tasks are spread over the
//! nodes with the most free CPU; equal nodes are taken by number.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wrun_protocol::JobId;
use wrun_protocol::scheduling::Arrangement;
use wrun_protocol::wire::worker::{Assignment, Grant};

use super::dispatch::Dispatching;
use super::outlook::Outlook;
use crate::core::Core;
use crate::state::groups::{Glance, Group, GroupIx, Line, Rank};
use crate::state::jobs::NodeIx;
use crate::state::room::{Room, Rooms};

/// Most nodes that one decision spreads over, and most jobs it looks ahead to.
const MAX_SPREAD: usize = 1024;

/// With more than one in so many nodes changed, these get no index of their own.
const FEW: usize = 4;

/// One round of placement.
#[derive(Default)]
pub(crate) struct Round {
    /// What each node is given, applied already, in the order in which it was placed.
    pub(crate) plan: Plan,
    /// The same of tasks that are told what they hold.
    pub(crate) grants: BTreeMap<NodeIx, Vec<(Assignment, Grant)>>,
    /// Nodes that changed before the round, lowest first.
    pub(crate) dirty: Vec<NodeIx>,
    /// What these have free, by place in `dirty`: all that blocked groups look at. `None`
    /// where they are many; then it is what all nodes have.
    fresh: Option<Rooms>,
    /// Groups that found no room in this round.
    pub(crate) blocked: Vec<GroupIx>,
    /// What it knows of time.
    pub(crate) outlook: Outlook,
    /// The gangs it placed, each with what of it is where; one fact for each.
    pub(crate) gangs: Vec<GangParts>,
}

/// Tasks and their nodes.
pub(crate) type Plan = Vec<(NodeIx, Assignment)>;

/// Which of a gang's tasks are where, and what each holds where it is told so.
pub(crate) type GangParts = Vec<(NodeIx, Assignment, Option<Grant>)>;

impl Round {
    /// Whether it placed tasks on the node. To be asked when the plan is in order of nodes.
    pub(crate) fn has_used(&self, ix: NodeIx) -> bool {
        self.plan.binary_search_by_key(&ix, |(used, _)| *used).is_ok()
            || self.grants.contains_key(&ix)
            || self.gangs.iter().flatten().any(|(used, ..)| *used == ix)
    }
}

/// A line's place in a round: who is next after which head.
pub(crate) struct Turn {
    pub(crate) line: Line,
    pub(crate) after: Option<(JobId, GroupIx)>,
}

impl Core {
    pub(crate) fn wants_placement(&self) -> bool {
        !self.state.nodes.dirty.is_empty()
            || !self.state.groups.refilled.is_empty()
            || !self.state.groups.quotas.shrunk.is_empty()
    }

    /// Decides over everything that changed since the last round.
    pub(crate) fn place_tasks(&mut self) {
        self.review_promises();
        let dirty = self.state.nodes.dirty.take();
        let refilled = std::mem::take(&mut self.state.groups.refilled);
        self.wake_parked();
        self.review_pools();
        self.refresh_queue();
        self.rank_queue();
        self.resume_frozen(&dirty);
        self.state.groups.begin_round();
        let few = dirty.len() <= self.state.nodes.len() / FEW;
        let rooms = dirty.iter().map(|ix| self.state.nodes.reindex(*ix));
        let fresh = if few {
            let mut fresh = std::mem::take(&mut self.spare_rooms);
            fresh.refill(rooms);
            Some(fresh)
        } else {
            rooms.for_each(drop);
            self.state.nodes.settle();
            None
        };
        let mut round = Round { dirty, fresh, ..Round::default() };
        self.fill_capacity(&mut round);
        self.fill_backlogs(&mut round, &refilled);
        // What a node is given stays in order.
        round.plan.sort_by_key(|(ix, _)| *ix);
        self.recall_for(&round);
        self.save_promises(&mut round);
        let Round { plan, grants, gangs, blocked, fresh, .. } = round;
        self.spare_rooms = fresh.unwrap_or_default();
        self.dispatch_apart(grants, gangs);
        self.dispatching = Some(Dispatching::new(plan, blocked));
    }

    fn fill_capacity(&mut self, round: &mut Round) {
        if self.fills_apart() {
            return self.fill_apart(round);
        }
        let depth = self.state.rules.policy.backfill.depth as usize;
        let mut above = None;
        while self.any_room(round) {
            let rooms = self.rooms(round);
            let Some(rank) = self.state.groups.likely_rank_below(above, rooms) else { return };
            above = Some(rank);
            let mut turns: VecDeque<Turn> = self.turns(rank);
            while let Some(mut turn) = turns.pop_front() {
                if !self.any_room(round) {
                    return;
                }
                let quantum = if turns.is_empty() { u32::MAX } else { 1 };
                if self.serve(rank, &mut turn, quantum, round) {
                    turns.push_back(turn);
                }
                if round.blocked.len() > depth {
                    return;
                }
            }
        }
    }

    pub(crate) fn turns(&self, rank: Rank) -> VecDeque<Turn> {
        let lines = self.state.groups.lines_in_turn(rank);
        lines.into_iter().map(|line| Turn { line, after: None }).collect()
    }

    /// Whether any group may still find room: an open one anywhere, or a blocked one on a
    /// node that changed.
    pub(crate) fn any_room(&self, round: &Round) -> bool {
        let Some(least) = self.state.groups.least_cpu() else { return false };
        self.state.groups.any_open() || self.rooms(round).most_cpu() >= least
    }

    /// Where a blocked group may fit. Room only shrinks in a round, so that what does not
    /// fit never will.
    fn rooms<'a>(&'a self, round: &'a Round) -> &'a Rooms {
        round.fresh.as_ref().unwrap_or(self.state.nodes.rooms())
    }

    /// Whether the group is worth serving.
    pub(crate) fn may_fit(&self, group: &Glance, round: &Round) -> bool {
        group.may_fit(self.rooms(round))
    }

    pub(crate) fn may_fit_group(&self, group: GroupIx, round: &Round) -> bool {
        self.state.groups.glance(group).is_some_and(|glance| self.may_fit(glance, round))
    }

    /// Places up to `quantum` tasks of the line's next group. `false` when none is left.
    fn serve(&mut self, rank: Rank, turn: &mut Turn, quantum: u32, round: &mut Round) -> bool {
        let rooms = self.rooms(round);
        let next = self.state.groups.next_likely(rank, turn.line, turn.after, rooms);
        let Some(((head, group), next)) = next else { return false };
        let until = self.until(rank, (head, group), next, quantum);
        let placed = self.place_group(group, quantum, until, round);
        self.refresh_queue();
        if placed > 0 {
            self.state.groups.serve_line(turn.line);
        }
        // Room only shrinks in a round: who stands before the group found none and never will,
        // and its next job stands behind the one that is placed.
        if placed == 0 || !self.state.groups.stands_at(group, head) {
            turn.after = Some((head, group));
        }
        true
    }

    /// The job of the group before which another group has its turn: the `next` head of its
    /// line, or one of a rank that the group's younger jobs do not reach.
    pub(crate) fn until(
        &self,
        rank: Rank,
        (head, group): (JobId, GroupIx),
        next: Option<JobId>,
        quantum: u32,
    ) -> Option<JobId> {
        let groups = &self.state.groups;
        // Mostly the group's second job stands behind the next head, wherever ranks end.
        let second = |entry: &Group| entry.ready.second().filter(|_| quantum > 1);
        let reaches = |job: JobId| next.is_none_or(|next| job < next);
        let entry = groups.get(group).filter(|entry| second(entry).is_some_and(reaches));
        let below = entry
            .zip(groups.rank_below(Some(rank)))
            .and_then(|(entry, below)| self.first_below(entry, head, below.saturating_add(1)));
        next.into_iter().chain(below).min()
    }

    /// Places tasks of jobs of the group that are older than `until`; of gangs one.
    pub(crate) fn place_group(
        &mut self,
        group: GroupIx,
        quantum: u32,
        until: Option<JobId>,
        round: &mut Round,
    ) -> u32 {
        let quantum = quantum.min(self.within_limits(group));
        if quantum == 0 {
            return 0;
        }
        if self.is_without_reservation(group) {
            self.block(group, round);
            return 0;
        }
        if self.state.groups.get(group).is_some_and(|group| group.key.gang() > 0) {
            return self.place_gang(group, round);
        }
        if self.state.groups.get(group).is_some_and(|group| group.key.needs_grant()) {
            return self.place_granted(group, quantum, until, round);
        }
        self.state.bring_next_near(group);
        let until = self.same_models_until(group, until);
        let wanted = self.ready_before(group, until, quantum);
        if wanted == 0 {
            return 0;
        }
        let nodes = self.nodes_with_room(group, wanted, round);
        let wanted = if nodes.is_empty() {
            0
        } else {
            self.within_headroom(group, wanted, &nodes, &mut round.outlook)
        };
        if wanted == 0 {
            self.block(group, round);
            return 0;
        }
        let pack = self
            .state
            .groups
            .get(group)
            .is_some_and(|group| group.key.arrangement() == Arrangement::Pack);
        let share = if pack { u32::MAX } else { wanted.div_ceil(nodes.len() as u32) };
        let mut left = wanted;
        for most in [share, u32::MAX] {
            for (ix, room) in &nodes {
                let already = if most == share { 0 } else { share.min(*room) };
                let count = (room - already).min(most).min(left);
                if count > 0 {
                    let assigned = self.assign(*ix, group, count, until, &mut round.plan);
                    self.count_placed(*ix, group, assigned, &mut round.outlook);
                    left -= assigned;
                }
            }
        }
        nodes.iter().for_each(|(ix, _)| self.reindex(*ix, round));
        wanted - left
    }

    /// No node has room for the group.
    pub(crate) fn block(&mut self, group: GroupIx, round: &mut Round) {
        self.state.groups.block(group);
        self.await_pools(group);
        round.blocked.push(group);
    }

    /// Brings what is known of a node's room up to date with what was placed there.
    pub(crate) fn reindex(&mut self, ix: NodeIx, round: &mut Round) {
        let room = self.state.nodes.reindex(ix);
        match &mut round.fresh {
            None => self.state.nodes.settle(),
            Some(fresh) => {
                if let Ok(place) = round.dirty.binary_search(&ix) {
                    fresh.set(place, room);
                }
            }
        }
    }

    /// How many tasks can be placed of jobs older than `until`, counted up to `most`.
    pub(crate) fn ready_before(&self, group: GroupIx, until: Option<JobId>, most: u32) -> u32 {
        let Some(group) = self.state.groups.get(group) else { return 0 };
        let most = u64::from(most);
        let Some(until) = until else { return group.ready_tasks.min(most) as u32 };
        // Mostly every job has one task, and none of them need be looked at.
        if group.ready_tasks == group.ready.len() as u64 {
            return group.ready.before(until).take(MAX_SPREAD.min(most as usize)).count() as u32;
        }
        let mut tasks = 0;
        for job in group.ready.before(until).take(MAX_SPREAD) {
            tasks += self.state.jobs.get(job).map_or(0, |job| u64::from(job.ready_tasks()));
            if tasks >= most {
                break;
            }
        }
        tasks.min(most) as u32
    }

    /// Nodes with room for the group, now and for as long as it takes, the emptiest first,
    /// and for how many tasks each. Those with cards are taken one by one, and only where
    /// there is no other.
    pub(crate) fn nodes_with_room(
        &mut self,
        group: GroupIx,
        tasks: u32,
        round: &mut Round,
    ) -> Vec<(NodeIx, u32)> {
        if self.searches_all(group, round) {
            self.state.nodes.settle();
        }
        if !self.heeds_time(group, round) {
            let plain = self.plain_nodes_with_room(group, tasks, round, |_, room| room);
            if !plain.is_empty() {
                return plain;
            }
            return self.least_in_the_way(group, None).map(|ix| (ix, 1)).into_iter().collect();
        }
        let mut nodes = self.plain_nodes_with_room(group, 1, round, |_, room| room);
        if nodes.is_empty() && self.least_in_the_way(group, None).is_none() {
            return Vec::new();
        }
        let mut outlook = std::mem::take(&mut round.outlook);
        self.promise_blocked(group, round, &mut outlook);
        let mut in_time = |ix, room| self.room_in_time(ix, group, room, &mut outlook);
        // The first that has room now is the first in time too, if it has room then.
        nodes.truncate(usize::from(tasks == 1));
        nodes.iter_mut().for_each(|(ix, room)| *room = in_time(*ix, *room));
        if nodes.first().is_none_or(|(_, room)| *room == 0) {
            nodes = self.plain_nodes_with_room(group, tasks, round, in_time);
        }
        if nodes.is_empty() {
            nodes.extend(self.least_in_the_way(group, Some(&mut outlook)).map(|ix| (ix, 1)));
        }
        round.outlook = outlook;
        nodes
    }

    /// Whether the group looks for room on all nodes. Room only shrinks while placing: what
    /// found none looks at what changed alone. Of a gang, parts may have found some.
    fn searches_all(&self, group: GroupIx, round: &Round) -> bool {
        let partly = |group: &Group| !group.blocked || group.key.gang() > 0;
        round.fresh.is_none() || self.state.groups.get(group).is_none_or(partly)
    }

    /// Of those without cards, and where these do not hold a gang, of the others too; `bound`
    /// says how much of the room may be used.
    fn plain_nodes_with_room(
        &self,
        group_ix: GroupIx,
        tasks: u32,
        round: &Round,
        mut bound: impl FnMut(NodeIx, u32) -> u32,
    ) -> Vec<(NodeIx, u32)> {
        let Some(group) = self.state.groups.get(group_ix) else { return Vec::new() };
        let wanted = Room::new(&group.key.wanted, group.plain);
        let arrangement = group.key.arrangement();
        let gang = group.key.gang() > 0;
        let at_most = match arrangement {
            Arrangement::DifferentNodes => 1,
            _ => u32::MAX,
        };
        let mut room = |ix: NodeIx| {
            let room = self.state.nodes.get(ix).map_or(0, |node| node.room_for(group));
            let room = if room > 0 && self.may_join(group_ix, ix) { room.min(at_most) } else { 0 };
            if room > 0 { bound(ix, room) } else { 0 }
        };
        let (rooms, numbers) = match &round.fresh {
            Some(fresh) if !self.searches_all(group_ix, round) => (fresh, Some(&round.dirty)),
            _ => (self.state.nodes.rooms(), None),
        };
        let number = |place: usize| match numbers {
            Some(numbers) => numbers.get(place).copied().unwrap_or_default(),
            None => place as NodeIx,
        };
        let most = match arrangement {
            Arrangement::SameNode => 1,
            _ if gang => tasks as usize,
            _ => (tasks as usize).min(MAX_SPREAD),
        };
        let mut near = if gang { Vec::new() } else { self.nodes_near(group, most, &mut room) };
        if near.len() >= most {
            return near;
        }
        if arrangement == Arrangement::Pack {
            // The least that is free first: all must be seen.
            let all = rooms.emptiest_first(wanted).map(number).map(|ix| (ix, room(ix)));
            let mut all: Vec<_> = all.filter(|(_, room)| *room > 0).collect();
            all.reverse();
            join(&mut near, all, most);
            return near;
        }
        if most == 1 {
            let least = if gang { tasks } else { 1 };
            // The last that it takes is the one it finds.
            let mut taken = None;
            rooms.emptiest(&wanted, |place| {
                let (ix, room) = (number(place), room(number(place)));
                taken = if room >= least { Some((ix, room)) } else { taken };
                room >= least
            });
            return taken.into_iter().collect();
        }
        if !near.is_empty() {
            let found = rooms.emptiest_first(wanted).map(number).map(|ix| (ix, room(ix)));
            join(&mut near, found.filter(|(_, room)| *room > 0), most);
            return near;
        }
        let found = rooms.emptiest_first(wanted).map(number).map(|ix| (ix, room(ix)));
        let mut found: Vec<_> = found.filter(|(_, room)| *room > 0).take(most).collect();
        let held: u64 = found.iter().map(|(_, room)| u64::from(*room)).sum();
        if gang && held < u64::from(tasks) {
            let carded = self.state.nodes.iter().filter(|(_, node)| node.has_cards());
            let carded = carded.map(|(ix, _)| (ix, room(ix)));
            found.extend(carded.filter(|(_, room)| *room > 0).take(most));
        }
        found
    }

    /// Gives a node up to `count` tasks of jobs of the group that are older than `until`.
    pub(crate) fn assign(
        &mut self,
        ix: NodeIx,
        group: GroupIx,
        count: u32,
        until: Option<JobId>,
        plan: &mut Plan,
    ) -> u32 {
        let mut left = count;
        while left > 0 {
            let Some(entry) = self.state.groups.get(group) else { break };
            let Some(head) = entry.ready.first() else { break };
            if until.is_some_and(|until| head >= until) {
                break;
            }
            let next = self.state.jobs.get(head).and_then(|job| job.next_attempts(head, left));
            let Some(next) = next else { break };
            self.state.place(self.now, ix, next);
            left -= next.tasks.count;
            plan.push((ix, next));
        }
        count - left
    }
}

/// Appends those that are not there, up to `most` in all.
fn join(
    nodes: &mut Vec<(NodeIx, u32)>,
    others: impl IntoIterator<Item = (NodeIx, u32)>,
    most: usize,
) {
    let known: BTreeSet<NodeIx> = nodes.iter().map(|(ix, _)| *ix).collect();
    let new = others.into_iter().filter(|(ix, _)| !known.contains(ix));
    nodes.extend(new.take(most - known.len()));
}
