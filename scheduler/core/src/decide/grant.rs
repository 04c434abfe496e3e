//! Which task goes where, third part: tasks that are told what they hold, because they
//! have devices or a choice of requests. Each is placed on its own, a gang as a whole;
//! they hold what they are granted at once, and never wait in a backlog.

use std::cell::RefCell;

use wrun_protocol::JobId;
use wrun_protocol::scheduling::{Arrangement, Request};
use wrun_protocol::wire::worker::Grant;

use super::outlook::Outlook;
use super::place::Round;
use crate::core::Core;
use crate::state::groups::{Group, GroupIx, GroupKey};
use crate::state::jobs::{NodeIx, Tasks};
use crate::state::need::{Need, of_nodes};
use crate::state::nodes::Node;
use crate::state::packing::{Chosen, Wanted};
use crate::state::room::Room;
use crate::state::stock::serves;

/// Most tasks of a group that are placed before others have their turn.
const MAX_IN_TURN: u32 = 1024;

/// What a search must leave to promises and reservations; `None` where it need not look.
type InTime<'a> = RefCell<Option<&'a mut Outlook>>;

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
        if wanted == 0 {
            return 0;
        }
        let timed = self.heeds_time(group, round);
        let mut outlook = std::mem::take(&mut round.outlook);
        let mut next = self.choose_grant(group, None);
        if timed && next.is_some() {
            self.promise_blocked(group, round, &mut outlook);
            next = self.choose_grant(group, Some(&mut outlook));
        }
        let long = self.state.groups.get(group).is_some_and(|group| self.leaves_headroom(group));
        let may = match next.as_ref().filter(|_| long) {
            Some((ix, _)) => self.within_headroom(group, wanted, &[(*ix, 1)], &mut outlook),
            None => wanted,
        };
        let mut placed = 0;
        while placed < may
            && let Some((ix, grant)) = next.take()
        {
            let entry = self.state.groups.get(group);
            let head = entry.and_then(|entry| entry.ready.first());
            let task = head.and_then(|head| self.state.jobs.get(head)?.next_attempts(head, 1));
            let Some(task) = task else { break };
            self.state.place_with(self.now, ix, task, &grant);
            self.count_granted(ix, group, task.job.task(task.tasks.first), &mut outlook);
            round.grants.entry(ix).or_default().push((task, grant));
            self.reindex(ix, round);
            placed += 1;
            if placed < may {
                next = self.choose_grant(group, timed.then_some(&mut outlook));
            }
        }
        round.outlook = outlook;
        if placed == 0 {
            self.block(group, round);
        }
        placed
    }

    /// Whether what was promised to others, or is set aside, concerns the group.
    pub(crate) fn heeds_time(&self, group: GroupIx, round: &Round) -> bool {
        !self.state.reservations.is_empty()
            || !(self.promises_nothing(&round.outlook)
                || self.comes_before_all_blocked(group, round))
    }

    /// The first request of the group that a node can serve now, and with what; with an
    /// outlook, so that no promise is broken and no reservation is run into.
    fn choose_grant(
        &mut self,
        group_ix: GroupIx,
        outlook: Option<&mut Outlook>,
    ) -> Option<(NodeIx, Grant)> {
        self.state.nodes.settle();
        // It is not looked at while it looks.
        let mut packing = std::mem::take(&mut self.state.nodes.packing);
        let in_time = RefCell::new(outlook);
        let found = self.state.groups.get(group_ix).and_then(|group| {
            let sizes = &self.state.rules.policy.pools;
            let of_pools = |need: &Need<'_>| {
                need.devices
                    .is_none_or(|devices| self.state.pools.lacking(devices, sizes).is_none())
            };
            group.key.needs().filter(of_pools).find_map(|need| {
                if need.devices.is_none_or(|devices| !of_nodes(devices))
                    && let Some(ix) = self.emptiest_plain(group_ix, &group.key, &need, &in_time)
                {
                    return self.granted(ix, group, &need, Vec::new(), &in_time);
                }
                let wanted = wanted_of(group, &need);
                let takes = |ix| self.may_take(group_ix, &group.key, ix, &need, &in_time);
                let near = self.nodes_with_models(group).into_iter().find_map(|nodes| {
                    packing.choose(&wanted, |ix| nodes.contains(&ix) && takes(ix))
                });
                let chosen = near.or_else(|| packing.choose(&wanted, takes))?;
                let node = self.state.nodes.get(chosen.node)?;
                let places = self.places_in_time(&chosen, node, group, &need, &in_time);
                self.granted(chosen.node, group, &need, places, &in_time)
            })
        });
        self.state.nodes.packing = packing;
        found
    }

    /// The grant, unless slots of its pools were promised to others.
    fn granted(
        &self,
        ix: NodeIx,
        group: &Group,
        need: &Need<'_>,
        gpus: Vec<u16>,
        in_time: &InTime<'_>,
    ) -> Option<(NodeIx, Grant)> {
        if let (Some(devices), Some(outlook)) = (need.devices, in_time.borrow_mut().as_deref_mut())
            && outlook.has_promised_slots(devices)
            && self.slots_in_time(group, devices, outlook) == 0
        {
            outlook.held.insert(ix);
            return None;
        }
        Some((ix, Grant { request: need.number, gpus }))
    }

    /// The chosen cards by their place in the node's offer; others of the node where those
    /// are promised to a blocked group.
    fn places_in_time(
        &self,
        chosen: &Chosen,
        node: &Node,
        group: &Group,
        need: &Need<'_>,
        in_time: &InTime<'_>,
    ) -> Vec<u16> {
        if let Some(outlook) = in_time.borrow_mut().as_deref_mut()
            && outlook.has_promised(chosen.node)
            && let Some(places) = self.cards_in_time(chosen.node, group, need, outlook)
        {
            return places;
        }
        places_of(node, need, chosen)
    }

    /// Cards of the node for one task that are promised to nobody.
    pub(crate) fn cards_in_time(
        &self,
        ix: NodeIx,
        group: &Group,
        need: &Need<'_>,
        outlook: &mut Outlook,
    ) -> Option<Vec<u16>> {
        let devices = need.devices.filter(|devices| of_nodes(devices))?;
        let wanted = super::holds::bench_need(self.state.nodes.get(ix)?, devices)?;
        let chosen = self.bench_in_time(ix, group, outlook)?.choose(&wanted)?;
        Some(chosen.cards.map(|cards| cards.places).unwrap_or_default())
    }

    /// The emptiest node without cards that holds the amounts.
    fn emptiest_plain(
        &self,
        group_ix: GroupIx,
        key: &GroupKey,
        need: &Need<'_>,
        in_time: &InTime<'_>,
    ) -> Option<NodeIx> {
        let classes = self.state.groups.get(group_ix)?.plain;
        let room = Room::new(need.resources, classes);
        let takes = |place: usize| {
            let ix = place as NodeIx;
            let allows = |node: &Node| node.free().covers(need.resources);
            self.state.nodes.get(ix).is_some_and(allows)
                && self.may_take(group_ix, key, ix, need, in_time)
        };
        self.state.nodes.rooms().emptiest(&room, takes).map(|place| place as NodeIx)
    }

    /// A node with cards for a task that wants none, where it is least in the way of those
    /// that do.
    pub(crate) fn least_in_the_way(
        &mut self,
        group_ix: GroupIx,
        outlook: Option<&mut Outlook>,
    ) -> Option<NodeIx> {
        if self.state.nodes.packing.is_empty() {
            return None;
        }
        let mut packing = std::mem::take(&mut self.state.nodes.packing);
        let in_time = RefCell::new(outlook);
        let chosen = self.state.groups.get(group_ix).and_then(|group| {
            let need = group.key.needs().next()?;
            let takes = |ix| self.may_take(group_ix, &group.key, ix, &need, &in_time);
            packing.choose(&wanted_of(group, &need), takes)
        });
        self.state.nodes.packing = packing;
        chosen.map(|chosen| chosen.node)
    }

    fn may_take(
        &self,
        group_ix: GroupIx,
        key: &GroupKey,
        ix: NodeIx,
        need: &Need<'_>,
        in_time: &InTime<'_>,
    ) -> bool {
        let mut in_time = in_time.borrow_mut();
        self.state.nodes.get(ix).is_some_and(|node| node.admits(key))
            && self.may_join(group_ix, ix)
            && in_time
                .as_deref_mut()
                .is_none_or(|outlook| self.need_in_time(ix, group_ix, need, 1, outlook) > 0)
    }

    /// Whether the arrangement of the group's job lets another of its tasks onto the node.
    pub(crate) fn may_join(&self, group_ix: GroupIx, ix: NodeIx) -> bool {
        let Some(group) = self.state.groups.get(group_ix) else { return false };
        let here = |job: JobId| {
            let node = self.state.nodes.get(ix);
            node.is_some_and(|node| node.has_task_of(job))
        };
        let joins = match (group.key.arrangement(), group.ready.first()) {
            (Arrangement::SameNode, Some(job)) => self.home(job).is_none_or(|home| home == ix),
            (Arrangement::DifferentNodes, Some(job)) => !here(job),
            _ => true,
        };
        let job = group.key.wishes.as_ref().and_then(|wishes| wishes.job);
        let port_taken = job.is_some_and(|job| self.state.is_port_taken(job, ix));
        joins && !port_taken && !self.is_kept_from(ix, group_ix)
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
fn places_of(node: &Node, need: &Need<'_>, chosen: &Chosen) -> Vec<u16> {
    let gpu = need.devices.and_then(|devices| devices.gpu.as_ref());
    let Some(gpu) = gpu else { return Vec::new() };
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
