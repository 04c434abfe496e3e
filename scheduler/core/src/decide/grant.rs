//! Which task goes where, third part: tasks that are told what they hold, because they
//! have devices or a choice of requests. Each is placed on its own, holds what it is
//! granted at once, and never waits in a backlog.

use wrun_protocol::JobId;
use wrun_protocol::scheduling::{Arrangement, Devices, Request};
use wrun_protocol::wire::worker::{Assignment, Grant};

use super::outlook::Outlook;
use super::place::Round;
use crate::core::Core;
use crate::state::groups::{Group, GroupIx, GroupKey};
use crate::state::jobs::{NodeIx, Tasks};
use crate::state::need::Need;
use crate::state::nodes::{Node, PLAIN};
use crate::state::packing::{Chosen, Wanted};
use crate::state::room::Room;
use crate::state::stock::serves;

/// Most tasks of a group that are placed before others have their turn.
const MAX_IN_TURN: u32 = 1024;

impl Core {
    /// Places tasks of jobs of the group that are older than `until`, one by one.
    pub(crate) fn place_granted(
        &mut self,
        group: GroupIx,
        quantum: u32,
        until: Option<JobId>,
        round: &mut Round,
    ) -> u32 {
        let wanted = self.ready_before(group, until, quantum.min(MAX_IN_TURN));
        let long = self.state.groups.get(group).is_some_and(|group| self.leaves_headroom(group));
        let may = match long.then(|| self.choose_grant(group)).flatten() {
            Some((ix, _)) => self.within_headroom(group, wanted, &[(ix, 1)], &mut round.outlook),
            None => wanted,
        };
        let mut placed = 0;
        while placed < may {
            let Some((ix, grant)) = self.choose_grant(group) else { break };
            let entry = self.state.groups.get(group);
            let head = entry.and_then(|entry| entry.ready.first().copied());
            let next = head.and_then(|head| self.state.jobs.get(head)?.next_attempts(head, 1));
            let Some(next) = next else { break };
            self.state.place_with(self.now, ix, next, &grant);
            round.grants.entry(ix).or_default().push((next, grant));
            self.reindex(ix, round);
            placed += 1;
        }
        if placed == 0 && wanted > 0 {
            self.block(group, round);
        }
        placed
    }

    /// The first request of the group that a node can serve now, and with what.
    fn choose_grant(&mut self, group_ix: GroupIx) -> Option<(NodeIx, Grant)> {
        // It is not looked at while it looks.
        let mut packing = std::mem::take(&mut self.state.nodes.packing);
        let found = self.state.groups.get(group_ix).and_then(|group| {
            let sizes = &self.state.rules.policy.pools;
            let of_pools = |need: &Need<'_>| {
                need.devices
                    .is_none_or(|devices| self.state.pools.lacking(devices, sizes).is_none())
            };
            group.key.needs().filter(of_pools).find_map(|need| {
                let of_nodes =
                    |devices: &Devices| devices.gpu.is_some() || !devices.named.is_empty();
                let (node, gpus) = if need.devices.is_none_or(|devices| !of_nodes(devices))
                    && let Some(ix) = self.emptiest_plain(group_ix, &group.key, &need)
                {
                    (ix, Vec::new())
                } else {
                    let wanted = wanted_of(group, &need);
                    let takes = |ix| self.may_take(group_ix, &group.key, ix);
                    let chosen = packing.choose(&wanted, takes)?;
                    let node = self.state.nodes.get(chosen.node)?;
                    (chosen.node, places_of(node, &wanted.request, &chosen))
                };
                Some((node, Grant { request: need.number, gpus }))
            })
        });
        self.state.nodes.packing = packing;
        found
    }

    /// The emptiest node without cards that holds the amounts.
    fn emptiest_plain(&self, group_ix: GroupIx, key: &GroupKey, need: &Need<'_>) -> Option<NodeIx> {
        let room = Room::new(need.resources, PLAIN);
        let takes = |place: usize| {
            let ix = place as NodeIx;
            let allows = |node: &Node| node.free().covers(need.resources) && node.admits(key);
            self.state.nodes.get(ix).is_some_and(allows) && self.may_join(group_ix, ix)
        };
        self.state.nodes.rooms.emptiest(&room, takes).map(|place| place as NodeIx)
    }

    /// A node with cards for a task that wants none, where it is least in the way of those
    /// that do.
    pub(crate) fn least_in_the_way(&mut self, group_ix: GroupIx) -> Option<NodeIx> {
        if self.state.nodes.packing.is_empty() {
            return None;
        }
        let mut packing = std::mem::take(&mut self.state.nodes.packing);
        let chosen = self.state.groups.get(group_ix).and_then(|group| {
            let wanted = wanted_of(group, &group.key.needs().next()?);
            packing.choose(&wanted, |ix| self.may_take(group_ix, &group.key, ix))
        });
        self.state.nodes.packing = packing;
        chosen.map(|chosen| chosen.node)
    }

    fn may_take(&self, group_ix: GroupIx, key: &GroupKey, ix: NodeIx) -> bool {
        self.state.nodes.get(ix).is_some_and(|node| node.admits(key))
            && self.may_join(group_ix, ix)
            && self.runs_into_no_reservation(ix, group_ix)
    }

    fn runs_into_no_reservation(&self, ix: NodeIx, group: GroupIx) -> bool {
        self.state.reservations.is_empty()
            || self.room_in_time(ix, group, 1, &mut Outlook::default()) > 0
    }

    /// Whether the arrangement of the group's job lets another of its tasks onto the node.
    pub(crate) fn may_join(&self, group_ix: GroupIx, ix: NodeIx) -> bool {
        let Some(group) = self.state.groups.get(group_ix) else { return false };
        let here = |job: JobId| {
            let node = self.state.nodes.get(ix);
            node.is_some_and(|node| node.tasks.from(job, 0).next().is_some())
        };
        let joins = match (group.key.arrangement(), group.ready.first().copied()) {
            (Arrangement::SameNode, Some(job)) => self.home(job).is_none_or(|home| home == ix),
            (Arrangement::DifferentNodes, Some(job)) => !here(job),
            _ => true,
        };
        joins && !self.is_kept_from(ix, group_ix)
    }

    /// Where the job has a task.
    pub(crate) fn home(&self, job: JobId) -> Option<NodeIx> {
        match &self.state.jobs.get(job)?.tasks {
            Tasks::One(_) => None,
            Tasks::Many(array) => array.placed.iter().next().map(|(_, spot)| spot.node),
        }
    }

    /// Groups that wait for slots of a pool may find some.
    pub(crate) fn review_pools(&mut self) {
        if !std::mem::take(&mut self.state.pools.freed) {
            return;
        }
        for group in std::mem::take(&mut self.pool_waiters) {
            self.state.groups.unblock(group);
        }
    }

    /// Remembers that the group waits for a pool, if one of its requests does.
    pub(crate) fn await_pools(&mut self, group: GroupIx) {
        let Some(entry) = self.state.groups.get(group) else { return };
        let pools = |need: Need<'_>| need.devices.is_some_and(|devices| !devices.pools.is_empty());
        if entry.key.needs().any(pools) {
            self.pool_waiters.insert(group);
        }
    }

    /// Tells the worker what runs with what.
    pub(crate) fn send_grants(&mut self, ix: NodeIx, tasks: Vec<(Assignment, Grant)>) {
        for (run, grant) in tasks {
            self.job_changed(run.job);
            let last = self.send_job(ix, run.job);
            self.send_grant(ix, run, grant);
            if last {
                self.send(ix, wrun_protocol::wire::worker::ToWorker::Forget(run.job));
            }
        }
    }
}

fn wanted_of(group: &Group, need: &Need<'_>) -> Wanted {
    let devices = need.devices.cloned().unwrap_or_default();
    let refused = group.key.wishes.as_ref().map(|wishes| wishes.refused_labels.clone());
    Wanted {
        request: Request { resources: *need.resources, devices },
        labels: group.key.labels.clone(),
        refused: refused.unwrap_or_default(),
    }
}

/// The chosen cards by their place in the node's offer, the lowest of those that are alike.
fn places_of(node: &Node, request: &Request, chosen: &Chosen) -> Vec<u16> {
    let Some(gpu) = &request.devices.gpu else { return Vec::new() };
    let mut places: Vec<u16> = Vec::new();
    for card in &chosen.cards {
        let cards = node.stock.cards.iter().zip(&node.stock.offer.gpus).zip(0_u16..);
        let alike = cards.filter(|((left, of), _)| {
            (left.milli, left.memory) == (card.milli.into(), card.memory.into())
                && serves(gpu, &of.model)
        });
        places.extend(alike.map(|(_, place)| place).find(|place| !places.contains(place)));
    }
    places
}
