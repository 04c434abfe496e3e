//! Promises to tasks with devices or a choice of requests, and to gangs that are to lie on
//! one node or on different ones: of each request the earliest start, and of these the
//! first.

use wrun_protocol::Timestamp;
use wrun_protocol::scheduling::{Arrangement, Devices};

use super::holds::bench_need;
use super::outlook::Outlook;
use super::promise::{Promise, Unit};
use crate::core::Core;
use crate::profile::{Beside, Sum, earliest_together, lesser};
use crate::state::groups::{Group, GroupKey};
use crate::state::jobs::NodeIx;
use crate::state::need::{Need, of_nodes};

/// How many fit on each node, by the instant from which.
type RoomsOf = Vec<(NodeIx, Vec<(Timestamp, u32)>)>;

impl GroupKey {
    /// Whether a promise takes more than amounts that may be on any nodes.
    pub(super) fn is_particular(&self) -> bool {
        let arranged =
            matches!(self.arrangement(), Arrangement::SameNode | Arrangement::DifferentNodes);
        self.needs_grant() || (self.gang() > 0 && arranged)
    }
}

impl Core {
    /// The earliest start of the unit on those nodes by any of its requests; of equal ones
    /// by the preferred.
    pub(super) fn promise_with(
        &self,
        unit: Unit,
        nodes: &[NodeIx],
        outlook: &mut Outlook,
    ) -> Option<Promise> {
        let group = self.state.groups.get(unit.group)?;
        let needs = group.key.needs();
        let promises =
            needs.filter_map(|need| self.promise_need(unit, group, &need, nodes, outlook));
        let promises: Vec<Promise> = promises.collect();
        promises.into_iter().min_by_key(|promise| promise.start)
    }

    fn promise_need(
        &self,
        unit: Unit,
        group: &Group,
        need: &Need<'_>,
        nodes: &[NodeIx],
        outlook: &mut Outlook,
    ) -> Option<Promise> {
        let length = self.expected_length(group).ms;
        let mut rooms: RoomsOf = Vec::new();
        for ix in nodes {
            let room = self.rooms_of(*ix, group, need, length, outlook);
            rooms.extend(room.map(|room| (*ix, self.arranged(group, unit.count, room))));
        }
        let besides = self.besides(unit, group, need, nodes, outlook);
        let (start, parts) = earliest_together(&rooms, unit.count, besides)?;
        Some(Promise {
            unit,
            start,
            end: Timestamp(start.0.saturating_add(length)),
            each: *need.resources,
            devices: need.devices.cloned(),
            parts,
            within: group.key.reservation().map(str::to_owned),
            disturbed: false,
        })
    }

    /// How many tasks the node holds for so long; `None` where it never could.
    fn rooms_of(
        &self,
        ix: NodeIx,
        group: &Group,
        need: &Need<'_>,
        length: u64,
        outlook: &mut Outlook,
    ) -> Option<Vec<(Timestamp, u32)>> {
        let node = self.state.nodes.get(ix)?;
        let profile = self.view(ix, node, group.key.reservation(), outlook)?;
        let rooms = profile.rooms(length, need.resources);
        let Some(devices) = need.devices.filter(|devices| of_nodes(devices)) else {
            return Some(rooms);
        };
        let taken = bench_need(node, devices)?;
        let bench = self.bench_view(ix, node, outlook).bench_rooms(length, &taken);
        Some(lesser(&rooms, &bench))
    }

    /// What of the room counts, by how a gang's tasks are to lie.
    fn arranged(
        &self,
        group: &Group,
        count: u32,
        mut rooms: Vec<(Timestamp, u32)>,
    ) -> Vec<(Timestamp, u32)> {
        let counts = |room: u32| match group.key.arrangement() {
            Arrangement::SameNode if room < count => 0,
            Arrangement::DifferentNodes => room.min(1),
            _ => room,
        };
        rooms.iter_mut().for_each(|(_, room)| *room = counts(*room));
        rooms
    }

    /// What must be free at the same time: slots of pools, and headroom.
    fn besides(
        &self,
        unit: Unit,
        group: &Group,
        need: &Need<'_>,
        nodes: &[NodeIx],
        outlook: &mut Outlook,
    ) -> Vec<Sum> {
        let length = self.expected_length(group).ms;
        let pools = need.devices.iter().flat_map(|devices: &&Devices| &devices.pools);
        let mut besides = Vec::new();
        for (pool, slots) in pools {
            let rooms = self.pool_view(pool, outlook).rooms(length, slots);
            besides.push(Sum::of(std::iter::once(rooms.as_slice()), unit.count.into()));
        }
        if let Some(Beside { need, times }) = self.ask(group, unit.count, nodes).beside {
            let within = group.key.reservation();
            let profiles = nodes.iter().filter_map(|ix| Some((*ix, outlook.seen(*ix, within)?)));
            let profiles: Vec<_> = profiles.collect();
            besides.push(Sum::over(&profiles, length, &need, times));
        }
        besides
    }
}
