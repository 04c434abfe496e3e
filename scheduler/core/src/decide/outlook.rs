//! What is free of nodes over time, as one round of placement sees it: what runs, until
//! it is expected to end; what reservations set aside; what was promised to blocked
//! groups. Made on demand, and kept up with what the round places.

use std::collections::{BTreeMap, BTreeSet};

use wrun_protocol::scheduling::Devices;
use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::{Resources, TaskId, Timestamp};

use super::backfill::Blocked;
use super::holds::{bench_need, bench_need_of};
use super::promise::Promise;
use crate::core::Core;
use crate::profile::{Amounts, Bench, FOREVER, Profile, Slots};
use crate::state::groups::{Group, GroupIx, Standing};
use crate::state::jobs::NodeIx;
use crate::state::length::{Basis, Expected};
use crate::state::need::{Need, of_nodes};
use crate::state::nodes::Node;
use crate::state::reservations::{Aside, Booking};

/// How long something that is overdue is expected to take still, at first, in
/// milliseconds; twice as long each time that this too is over.
pub(crate) const OVERDUE: u64 = 1000;

/// A node as seen by those in a reservation, or by all others.
type View = (NodeIx, Option<String>);

/// What a round knows of time.
#[derive(Default)]
pub(crate) struct Outlook {
    profiles: BTreeMap<View, Profile<Resources>>,
    /// The devices of nodes, and pools, as far as they were looked at.
    benches: BTreeMap<NodeIx, Profile<Bench>>,
    pools: BTreeMap<String, Profile<Slots>>,
    /// Jobs that found no room, where all of them are promised a start.
    pub(crate) blocked: Blocked,
    /// The place in the queue up to which blocked groups have been considered for a
    /// promise.
    pub(crate) considered: Option<(Standing, GroupIx)>,
    /// The promises that what comes later must not break.
    pub(crate) promises: Vec<Promise>,
    promised: BTreeSet<NodeIx>,
    promised_pools: BTreeSet<String>,
    /// Nodes where something had room and was held back.
    pub(crate) held: BTreeSet<NodeIx>,
}

impl Outlook {
    /// The profile of a node that was looked at.
    pub(crate) fn seen(&self, ix: NodeIx, within: Option<&str>) -> Option<&Profile<Resources>> {
        self.profiles.get(&(ix, within.map(str::to_owned)))
    }

    /// Whether something of the node was promised.
    pub(crate) fn has_promised(&self, ix: NodeIx) -> bool {
        self.promised.contains(&ix)
    }

    /// Whether slots of a pool were promised that the task takes some of.
    pub(crate) fn has_promised_slots(&self, devices: &Devices) -> bool {
        devices.pools.keys().any(|pool| self.promised_pools.contains(pool))
    }
}

impl Core {
    /// How long a task of the group is expected to take.
    pub(crate) fn expected_length(&self, group: &Group) -> Expected {
        let backfill = &self.state.rules.policy.backfill;
        self.state.groups.lengths.expected(group.key.length, group.length, backfill)
    }

    /// When something that began at `from` and is expected to take `ms` ends. What is
    /// overdue is given a little longer each time.
    pub(crate) fn expected_end(&self, from: Timestamp, ms: u64) -> Timestamp {
        let end = from.0.saturating_add(ms);
        let Some(over) = self.now.0.checked_sub(end) else { return Timestamp(end) };
        let doubled = (over / OVERDUE + 1).checked_next_power_of_two().unwrap_or(u64::MAX);
        Timestamp(end.saturating_add(doubled.saturating_mul(OVERDUE)))
    }

    /// From now on nothing may break the promise.
    pub(crate) fn keep(&self, promise: Promise, outlook: &mut Outlook) {
        for (ix, count) in &promise.parts {
            outlook.promised.insert(*ix);
            if let Some(profile) = outlook.profiles.get_mut(&(*ix, promise.within.clone())) {
                profile.take(promise.start, promise.end, &promise.each, *count);
            }
            if let Some(bench) = outlook.benches.get_mut(ix) {
                self.take_promised(*ix, &promise, bench);
            }
        }
        for (pool, slots) in promise.devices.iter().flat_map(|devices| &devices.pools) {
            outlook.promised_pools.insert(pool.clone());
            if let Some(profile) = outlook.pools.get_mut(pool) {
                profile.take(promise.start, promise.end, slots, promise.unit.count);
            }
        }
        outlook.promises.push(promise);
    }

    /// Takes out of a node's devices what was promised of them.
    fn take_promised(&self, ix: NodeIx, promise: &Promise, bench: &mut Profile<Bench>) {
        let need = promise.devices.as_ref().zip(self.state.nodes.get(ix));
        let Some(need) = need.and_then(|(devices, node)| bench_need(node, devices)) else { return };
        for (_, count) in promise.parts.iter().filter(|(part, _)| *part == ix) {
            bench.take_for(promise.start, promise.end, &need, *count);
        }
    }

    /// Tasks of the group were placed on the node just now.
    pub(crate) fn count_placed(
        &self,
        ix: NodeIx,
        group: GroupIx,
        count: u32,
        outlook: &mut Outlook,
    ) {
        if outlook.profiles.is_empty() {
            return;
        }
        let Some(group) = self.state.groups.get(group) else { return };
        self.count_held(ix, group, &group.key.wanted, count, outlook);
    }

    fn count_held(
        &self,
        ix: NodeIx,
        group: &Group,
        each: &Resources,
        count: u32,
        outlook: &mut Outlook,
    ) {
        let view = (ix, group.key.reservation().map(str::to_owned));
        if let Some(profile) = outlook.profiles.get_mut(&view) {
            let end = Timestamp(self.now.0.saturating_add(self.expected_length(group).ms));
            profile.take(self.now, end, each, count);
        }
    }

    /// A task of the group was placed on the node just now with what was granted to it.
    pub(crate) fn count_granted(
        &self,
        ix: NodeIx,
        group: GroupIx,
        task: TaskId,
        outlook: &mut Outlook,
    ) {
        let Outlook { profiles, benches, pools, .. } = outlook;
        if profiles.is_empty() && benches.is_empty() && pools.is_empty() {
            return;
        }
        let Some(group) = self.state.groups.get(group) else { return };
        let Some(node) = self.state.nodes.get(ix) else { return };
        let Some(holding) = node.stock.of(task) else { return };
        let end = Timestamp(self.now.0.saturating_add(self.expected_length(group).ms));
        if let Some((bench, need)) = benches.get_mut(&ix).zip(bench_need_of(node, holding)) {
            bench.take(self.now, end, &need, 1);
        }
        for (pool, slots) in &holding.request.devices.pools {
            if let Some(profile) = pools.get_mut(pool) {
                profile.take(self.now, end, slots, 1);
            }
        }
        self.count_held(ix, group, &holding.request.resources, 1, outlook);
    }

    /// Whether what was placed at `from` is stopped by its time limit before `by`: if that
    /// is the limit it was placed with, and did not stand still while it was frozen.
    pub(crate) fn surely_ends_by(
        &self,
        group: &Group,
        run: Assignment,
        from: Timestamp,
        by: Timestamp,
    ) -> bool {
        let length = self.expected_length(group);
        let changed = self.state.relimited.get(&run.job);
        length.basis == Basis::Limit
            && from.0.saturating_add(length.ms) <= by.0
            && changed.is_none_or(|changed| *changed < from)
            && self.state.frozen.within(run).next().is_none()
    }

    /// How many of `room` tasks of the group, which the node has room for now, would
    /// break no promise and run into no reservation.
    pub(crate) fn room_in_time(
        &self,
        ix: NodeIx,
        group: GroupIx,
        room: u32,
        outlook: &mut Outlook,
    ) -> u32 {
        let Some(entry) = self.state.groups.get(group) else { return 0 };
        if !entry.key.needs_grant() {
            let need = Need { number: 0, resources: &entry.key.wanted, devices: None };
            return self.need_in_time(ix, group, &need, room, outlook);
        }
        let rooms = entry.key.needs().map(|need| {
            let room =
                self.state.nodes.get(ix).map_or(0, |node| node.room_for_need(&need).min(room));
            self.need_in_time(ix, group, &need, room, outlook)
        });
        rooms.max().unwrap_or_default()
    }

    /// The same of tasks that are served by one of their requests. Pools are apart
    /// ([`Self::slots_in_time`]).
    pub(crate) fn need_in_time(
        &self,
        ix: NodeIx,
        group: GroupIx,
        need: &Need<'_>,
        room: u32,
        outlook: &mut Outlook,
    ) -> u32 {
        let Some(group) = self.state.groups.get(group) else { return 0 };
        if room == 0 || (outlook.promised.is_empty() && self.state.reservations.is_empty()) {
            return room;
        }
        let Some(node) = self.state.nodes.get(ix) else { return 0 };
        let within = group.key.reservation();
        if within.is_none() && !outlook.has_promised(ix) && !self.is_booked(ix, node) {
            return room;
        }
        let end = Timestamp(self.now.0.saturating_add(self.expected_length(group).ms));
        let free = self.view(ix, node, within, outlook);
        let mut free = free.map_or(0, |profile| profile.room(self.now, end, need.resources));
        if free > 0
            && outlook.has_promised(ix)
            && let Some(devices) = need.devices.filter(|devices| of_nodes(devices))
        {
            let need = bench_need(node, devices);
            let least = self.bench_view(ix, node, outlook).least(self.now, end);
            let by_devices = least.zip(need).map_or(0, |(least, need)| least.times(&need));
            free = free.min(by_devices);
        }
        if free < room {
            outlook.held.insert(ix);
        }
        room.min(free)
    }

    /// How many tasks of the group find slots of their pools that were promised to nobody.
    pub(crate) fn slots_in_time(
        &self,
        group: &Group,
        devices: &Devices,
        outlook: &mut Outlook,
    ) -> u32 {
        let end = Timestamp(self.now.0.saturating_add(self.expected_length(group).ms));
        let pools = devices.pools.iter();
        let rooms = pools.map(|(pool, slots)| match outlook.promised_pools.contains(pool) {
            true => self.pool_view(pool, outlook).room(self.now, end, slots),
            false => u32::MAX,
        });
        rooms.fold(u32::MAX, u32::min)
    }

    /// What is free of a node's devices for the whole of a task's time, from now on.
    pub(crate) fn bench_in_time(
        &self,
        ix: NodeIx,
        group: &Group,
        outlook: &mut Outlook,
    ) -> Option<Bench> {
        let end = Timestamp(self.now.0.saturating_add(self.expected_length(group).ms));
        self.bench_view(ix, self.state.nodes.get(ix)?, outlook).least(self.now, end)
    }

    /// What is free of a node's devices, promises taken out.
    pub(crate) fn bench_view<'a>(
        &self,
        ix: NodeIx,
        node: &Node,
        outlook: &'a mut Outlook,
    ) -> &'a Profile<Bench> {
        let Outlook { benches, promises, .. } = outlook;
        benches.entry(ix).or_insert_with(|| {
            let mut bench = self.bench(node);
            promises.iter().for_each(|promise| self.take_promised(ix, promise, &mut bench));
            bench
        })
    }

    /// What is free of a pool, promises taken out.
    pub(crate) fn pool_view<'a>(&self, name: &str, outlook: &'a mut Outlook) -> &'a Profile<Slots> {
        let Outlook { pools, promises, .. } = outlook;
        pools.entry(name.to_owned()).or_insert_with(|| {
            let mut profile = self.pool(name);
            for promise in promises.iter() {
                let slots = promise.devices.as_ref().and_then(|devices| devices.pools.get(name));
                if let Some(slots) = slots {
                    profile.take(promise.start, promise.end, slots, promise.unit.count);
                }
            }
            profile
        })
    }

    /// The node's profile as seen from a reservation, or from outside; `None` where the
    /// reservation has nothing of the node.
    pub(crate) fn view<'a>(
        &self,
        ix: NodeIx,
        node: &Node,
        within: Option<&str>,
        outlook: &'a mut Outlook,
    ) -> Option<&'a Profile<Resources>> {
        let view = (ix, within.map(str::to_owned));
        if !outlook.profiles.contains_key(&view) {
            let mut profile = match within {
                None => self.profile_outside(ix, node),
                Some(name) => self.profile_within(ix, node, name)?,
            };
            let promises = outlook.promises.iter().filter(|promise| promise.within == view.1);
            for promise in promises {
                for (_, count) in promise.parts.iter().filter(|(part, _)| *part == ix) {
                    profile.take(promise.start, promise.end, &promise.each, *count);
                }
            }
            outlook.profiles.insert(view.clone(), profile);
        }
        outlook.profiles.get(&view)
    }

    /// Whether a reservation sets something of the node aside, now or later.
    pub(crate) fn is_booked(&self, ix: NodeIx, node: &Node) -> bool {
        self.state.reservations.of_node(ix, &node.name).next().is_some()
    }

    /// What is free for those outside of reservations.
    fn profile_outside(&self, ix: NodeIx, node: &Node) -> Profile<Resources> {
        let mut held = Vec::new();
        // What runs in a window holds what is set aside; what is left of it afterwards
        // holds what is everyone's.
        let mut outlasting = Vec::new();
        for (within, hold) in self.holds(node) {
            let booking = within.and_then(|name| self.state.reservations.get(&name));
            let open = booking.filter(|booking| booking.aside(ix, &node.name).is_some());
            match open.and_then(|booking| booking.open(self.now)) {
                None => held.push(hold),
                Some((_, over)) => outlasting.push((over, hold)),
            }
        }
        let capacity = node.capacity();
        let mut profile = Profile::new(self.now, capacity, held);
        for (over, hold) in outlasting {
            profile.take(over, hold.end, &hold.need, hold.count);
        }
        for (booking, aside) in self.state.reservations.of_node(ix, &node.name) {
            self.set_aside(booking, aside, &capacity, &mut profile);
        }
        self.ice(ix, node).iter().for_each(|ice| ice.take_from(self.now, &mut profile));
        profile
    }

    /// What would be free of the node if nothing ran there.
    pub(crate) fn empty_view(
        &self,
        ix: NodeIx,
        node: &Node,
        within: Option<&str>,
    ) -> Option<Profile<Resources>> {
        let capacity = node.capacity();
        let mut profile = Profile::new(self.now, capacity, Vec::new());
        let Some(name) = within else {
            for (booking, aside) in self.state.reservations.of_node(ix, &node.name) {
                self.set_aside(booking, aside, &capacity, &mut profile);
            }
            return Some(profile);
        };
        let booking = self.state.reservations.get(name)?;
        let aside = booking.aside(ix, &node.name)?.of(&capacity);
        let (_, over) = booking.open(self.now)?;
        let mut profile = Profile::new(self.now, aside, Vec::new());
        profile.take(over, FOREVER, &aside, 1);
        Some(profile)
    }

    fn set_aside(
        &self,
        booking: &Booking,
        aside: Aside,
        capacity: &Resources,
        profile: &mut Profile<Resources>,
    ) {
        let amount = aside.of(capacity);
        let mut windows = booking.windows(self.now).peekable();
        while let Some((start, end)) = windows.next() {
            let last = windows.peek().is_none() && booking.reservation.every_ms.is_some();
            profile.take(start.max(self.now), if last { FOREVER } else { end }, &amount, 1);
        }
    }

    /// What of that which a reservation sets aside is free.
    fn profile_within(&self, ix: NodeIx, node: &Node, name: &str) -> Option<Profile<Resources>> {
        let booking = self.state.reservations.get(name)?;
        let aside = booking.aside(ix, &node.name)?.of(&node.capacity());
        let holds = self.holds(node).into_iter();
        let holds = holds.filter(|(within, _)| within.as_deref() == Some(name));
        let mut profile = Profile::new(self.now, aside, holds.map(|(_, hold)| hold).collect());
        let ice = self.ice(ix, node).into_iter();
        let ice = ice.filter(|ice| ice.within.as_deref() == Some(name));
        ice.for_each(|ice| ice.take_from(self.now, &mut profile));
        let mut shut = self.now;
        for (start, end) in booking.windows(self.now) {
            profile.take(shut, start, &aside, 1);
            shut = end;
        }
        profile.take(shut, FOREVER, &aside, 1);
        Some(profile)
    }
}
