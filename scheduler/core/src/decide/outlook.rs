//! What is free of nodes over time, as one round of placement sees it: what runs, until
//! it is expected to end; what reservations set aside; what was promised to blocked
//! groups. Made on demand, and kept up with what the round places.

use std::collections::{BTreeMap, BTreeSet};

use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::{Resources, Timestamp};

use super::backfill::Blocked;
use super::promise::Promise;
use crate::core::Core;
use crate::profile::{FOREVER, Held, Profile};
use crate::state::groups::{Group, GroupIx, Standing};
use crate::state::jobs::NodeIx;
use crate::state::length::{Basis, Expected};
use crate::state::load::Load;
use crate::state::nodes::Node;
use crate::state::reservations::{Aside, Booking};

/// How long something that is overdue is expected to take still, at first, in
/// milliseconds; twice as long each time that this too is over.
pub(crate) const OVERDUE: u64 = 1000;

/// Runs of tasks on one node that are looked at one by one.
const MAX_RUNS: usize = 1024;

/// A node as seen by those in a reservation, or by all others.
type View = (NodeIx, Option<String>);

/// What a round knows of time.
#[derive(Default)]
pub(crate) struct Outlook {
    profiles: BTreeMap<View, Profile<Resources>>,
    /// Jobs that found no room, where all of them are promised a start.
    pub(crate) blocked: Blocked,
    /// The place in the queue up to which blocked groups have been considered for a
    /// promise.
    pub(crate) considered: Option<(Standing, GroupIx)>,
    /// The promises that what comes later must not break.
    pub(crate) promises: Vec<Promise>,
    promised: BTreeSet<NodeIx>,
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

    /// From now on nothing may break the promise.
    pub(crate) fn keep(&mut self, promise: Promise) {
        for (ix, count) in &promise.parts {
            self.promised.insert(*ix);
            if let Some(profile) = self.profiles.get_mut(&(*ix, promise.within.clone())) {
                profile.take(promise.start, promise.end, &promise.each, *count);
            }
        }
        self.promises.push(promise);
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
        let view = (ix, group.key.reservation().map(str::to_owned));
        if let Some(profile) = outlook.profiles.get_mut(&view) {
            let end = Timestamp(self.now.0.saturating_add(self.expected_length(group).ms));
            profile.take(self.now, end, &group.key.wanted, count);
        }
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
        let Some(group) = self.state.groups.get(group) else { return 0 };
        if room == 0 || (outlook.promised.is_empty() && self.state.reservations.is_empty()) {
            return room;
        }
        let Some(node) = self.state.nodes.get(ix) else { return 0 };
        let within = group.key.reservation();
        if within.is_none() && !outlook.has_promised(ix) && !self.is_booked(ix, node) {
            return room;
        }
        let end = self.now.0.saturating_add(self.expected_length(group).ms);
        let free = self
            .view(ix, node, within, outlook)
            .map_or(0, |profile| profile.room(self.now, Timestamp(end), &group.key.wanted));
        if free < room {
            outlook.held.insert(ix);
        }
        room.min(free)
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
        profile
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
        let holds = self.holds(node).filter(|(within, _)| within.as_deref() == Some(name));
        let mut profile = Profile::new(self.now, aside, holds.map(|(_, hold)| hold).collect());
        let mut shut = self.now;
        for (start, end) in booking.windows(self.now) {
            profile.take(shut, start, &aside, 1);
            shut = end;
        }
        profile.take(shut, FOREVER, &aside, 1);
        Some(profile)
    }

    /// What the node's tasks hold, until when they are expected to, and in which
    /// reservation.
    fn holds(&self, node: &Node) -> impl Iterator<Item = (Option<String>, Held<Resources>)> {
        let hold = |group: &Group, end: Timestamp, count: u32| {
            let within = group.key.reservation().map(str::to_owned);
            (within, Held { end, need: group.key.wanted, count })
        };
        // Which tasks of a group hold and which wait for them is not known: together they
        // take as long as one after the other. So do more than are worth counting.
        let many = node.tasks.runs() > MAX_RUNS;
        let as_one = move |load: &Load| many || load.waiting > 0;
        let placed = node.tasks.iter().filter(move |_| !many).filter_map(move |(run, at)| {
            let of = self.state.jobs.get(run.job)?.group;
            node.loads.by_group.get(&of).filter(|load| !as_one(load))?;
            let group = self.state.groups.get(of)?;
            let end = self.expected_end(at, self.expected_length(group).ms);
            Some(hold(group, end, run.tasks.count))
        });
        let queued = node.loads.by_group.iter().filter(move |(_, load)| as_one(load));
        let queued = queued.filter_map(move |(group, load)| {
            let group = self.state.groups.get(*group)?;
            let rounds = u64::from((load.holding + load.waiting).div_ceil(load.holding.max(1)));
            let length = self.expected_length(group).ms.saturating_mul(rounds);
            Some(hold(group, Timestamp(self.now.0.saturating_add(length)), load.holding))
        });
        placed.chain(queued).collect::<Vec<_>>().into_iter()
    }
}
