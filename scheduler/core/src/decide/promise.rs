//! Promises: a group that is blocked and stands first is told from when it will have
//! room, by what is expected of all that runs; what is placed behind it must not be in
//! its way then. This is EASY backfill. Where every blocked group gets a promise it is
//! conservative backfill.
//!
//! A promise is no commitment: it is derived, never recorded, and made anew as things
//! change. It is made only when something would be placed behind a blocked group, so that
//! a full cluster and one without blocked groups pay nothing for it.

use std::collections::BTreeSet;

use wrun_protocol::policy::BackfillMode;
use wrun_protocol::scheduling::Devices;
use wrun_protocol::{JobId, Resources, Timestamp};

use super::outlook::{OVERDUE, Outlook};
use super::place::Round;
use crate::core::Core;
use crate::profile::{Profile, earliest_start};
use crate::state::groups::{Glance, GroupIx, GroupKey, Standing};
use crate::state::jobs::NodeIx;
use crate::state::nodes::Node;

/// Nodes that are searched for a promise, where promises need not be exact: some of all
/// that suit. A start on the best of so many is hardly later than on the best of all.
const MAX_SEARCHED: usize = 256;

/// What promises may cost in each interval: one for each node that is asked whether it
/// suits, and [`VIEW`] for one whose tasks are looked at. Where blocked groups come and go
/// faster, those that stay get their promise in a later interval.
const MAX_EFFORT: usize = 1 << 14;
const VIEW: usize = 8;

/// What is placed, and promised, as a whole: a task, or a gang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) group: GroupIx,
    pub(crate) job: JobId,
    /// Tasks.
    pub(crate) count: u32,
}

/// From when until when a unit will have what it needs, and where.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    pub(crate) unit: Unit,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) each: Resources,
    /// Devices, and slots of pools, of each task.
    pub(crate) devices: Option<Devices>,
    pub(crate) parts: Vec<(NodeIx, u32)>,
    /// In which reservation.
    pub(crate) within: Option<String>,
    /// Its nodes have changed since.
    pub(super) disturbed: bool,
}

/// The promises of the last round that made any. Not recorded.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    made: Timestamp,
    list: Vec<Promise>,
    /// Nodes where something had room and was held back since.
    held: BTreeSet<NodeIx>,
    /// Some node has changed since.
    disturbed: bool,
    /// What has been spent in the interval that began then.
    effort: usize,
    since: Timestamp,
}

impl Promises {
    /// Those that stand, first in the queue first.
    pub(crate) fn standing(&self) -> &[Promise] {
        &self.list
    }

    /// Nothing is promised any more. Returns where something may be placed now that was
    /// held back.
    fn forget(&mut self) -> BTreeSet<NodeIx> {
        self.list.clear();
        self.disturbed = false;
        std::mem::take(&mut self.held)
    }
}

impl Core {
    /// When to look again at what was held back, if nothing happens before.
    pub(crate) fn promises_due(&self) -> Option<Timestamp> {
        if self.promises.held.is_empty() {
            return None;
        }
        // What was to end before has not: others may fit in until it does.
        let soonest = self.promises.made.after(std::time::Duration::from_millis(OVERDUE));
        let start = self.promises.list.iter().map(|promise| promise.start).min();
        let start = start.map(|start| if start > self.promises.made { start } else { soonest });
        let interval = self.config.promise_interval;
        let again = (self.promises.disturbed && !interval.is_zero())
            .then(|| self.promises.made.after(interval));
        start.into_iter().chain(again).min()
    }

    /// Places may have come free in time though nothing happened there.
    pub(crate) fn on_promises_due(&mut self) {
        if self.promises_due().is_some_and(|at| at <= self.now) {
            self.forget_promises();
        }
    }

    /// What was held back for the sake of promises is looked at again.
    pub(crate) fn forget_promises(&mut self) {
        let held = self.promises.forget();
        held.into_iter().for_each(|ix| self.state.nodes.dirty.insert(ix));
    }

    /// Before a round: promises that are too old are made anew in it.
    pub(crate) fn review_promises(&mut self) {
        if self.promises.list.is_empty() && self.promises.held.is_empty() {
            return;
        }
        let dirty = &self.state.nodes.dirty;
        self.promises.disturbed |= !dirty.is_empty();
        let mut changed = false;
        for promise in &mut self.promises.list {
            let touched = promise.parts.iter().any(|(ix, _)| dirty.contains(*ix));
            promise.disturbed |= touched;
            changed |= touched;
        }
        let old = self.now >= self.promises.made.after(self.config.promise_interval);
        let gone = |promise: &Promise| {
            self.unit_of(promise.unit.group, promise.unit.job) != Some(promise.unit)
        };
        let held = if old || self.promises.list.iter().any(gone) {
            self.promises.forget()
        } else if changed {
            std::mem::take(&mut self.promises.held)
        } else {
            return;
        };
        held.into_iter().for_each(|ix| self.state.nodes.dirty.insert(ix));
    }

    /// At the end of a round.
    pub(crate) fn save_promises(&mut self, round: &mut Round) {
        self.promises.held.extend(std::mem::take(&mut round.outlook.held));
        if !round.outlook.promises.is_empty() {
            self.promises.list = std::mem::take(&mut round.outlook.promises);
            return;
        }
        // What was placed there went before the promise.
        for promise in &mut self.promises.list {
            promise.disturbed |= promise.parts.iter().any(|(ix, _)| round.has_used(*ix));
        }
    }

    /// What of a job is placed as a whole, if it waits.
    pub(crate) fn unit_of(&self, group: GroupIx, job: JobId) -> Option<Unit> {
        let entry = self.state.groups.get(group).filter(|entry| entry.ready.contains(job))?;
        let tasks = self.state.jobs.get(job)?;
        let count = if entry.key.gang() > 0 { tasks.ready_tasks() } else { 1 };
        Some(Unit { group, job, count })
    }

    /// Whether nothing blocked stands before the group, as far as the round has found.
    pub(crate) fn comes_before_all_blocked(&self, group: GroupIx, round: &Round) -> bool {
        let outlook = &round.outlook;
        self.state.rules.policy.backfill.mode == BackfillMode::Off
            || (outlook.blocked.is_empty()
                && outlook.promises.is_empty()
                && self.next_blocked(group, round, outlook).is_none())
    }

    /// Whether this round makes no promise, nor keeps one of an earlier round: no blocked
    /// group need be searched for. In a busy queue that is so nearly always.
    pub(crate) fn promises_nothing(&self, outlook: &Outlook) -> bool {
        let none = outlook.promises.is_empty() && self.promises.list.is_empty();
        none && !self.is_new_interval() && self.promises.effort >= MAX_EFFORT
    }

    /// A group would be placed: what is blocked and comes before it gets its promises.
    pub(crate) fn promise_blocked(&mut self, group: GroupIx, round: &Round, outlook: &mut Outlook) {
        let backfill = self.state.rules.policy.backfill;
        let most = match backfill.mode {
            BackfillMode::Off => 0,
            BackfillMode::Easy => backfill.promises,
            BackfillMode::Conservative => backfill.depth,
        };
        while outlook.promises.len() < most as usize
            && let Some((blocked, job)) = self.pop_blocked(group, round, outlook)
        {
            let Some(unit) = self.unit_of(blocked, job) else { continue };
            let renewed = self.renewed(unit, outlook);
            if renewed.is_none() && !self.may_promise() {
                return;
            }
            let promise = renewed.or_else(|| self.promise(unit, outlook));
            // What could start now by all that is known of time waits for something else,
            // which nobody need wait for with it.
            if let Some(promise) = promise.filter(|promise| promise.start > self.now) {
                self.keep(promise, outlook);
            }
        }
    }

    fn pop_blocked(
        &self,
        before: GroupIx,
        round: &Round,
        outlook: &mut Outlook,
    ) -> Option<(GroupIx, JobId)> {
        if self.state.rules.policy.backfill.mode == BackfillMode::Conservative {
            return outlook.blocked.pop_front();
        }
        let (at, group) = self.next_blocked(before, round, outlook)?;
        outlook.considered = Some((at, group));
        Some((group, at.head))
    }

    /// The next blocked group in the queue that was not considered yet.
    fn next_blocked(
        &self,
        before: GroupIx,
        round: &Round,
        outlook: &Outlook,
    ) -> Option<(Standing, GroupIx)> {
        let groups = &self.state.groups;
        let before = groups.get(before).and_then(|entry| entry.standing()).zip(Some(before))?;
        let hopeless = |glance: &Glance| !self.may_fit(glance, round);
        groups.next_blocked(outlook.considered, before, hopeless)
    }

    /// Whether tasks of the group may wait on the node: not where a blocked group was
    /// promised room that it would never find between them, nor before a reservation.
    pub(crate) fn may_wait_in_time(
        &mut self,
        ix: NodeIx,
        group: GroupIx,
        round: &mut Round,
    ) -> bool {
        let groups = &self.state.groups;
        let Some(entry) = groups.get(group) else { return false };
        let key = &entry.key;
        if key.gang() > 0 || key.reservation().is_some() || self.leaves_headroom(entry) {
            return false;
        }
        let wanted = key.wanted;
        let starves = |core: &Self, of: GroupIx| {
            core.state.groups.get(of).is_some_and(|other| starves(&wanted, &other.key))
        };
        let first = self.next_blocked(group, round, &round.outlook);
        if first.is_some_and(|(_, first)| starves(self, first)) {
            let mut outlook = std::mem::take(&mut round.outlook);
            self.promise_blocked(group, round, &mut outlook);
            round.outlook = outlook;
        }
        let mut promises = round.outlook.promises.iter().chain(&self.promises.list);
        let promised = promises.any(|promise| {
            promise.unit.group != group
                && promise.parts.iter().any(|(part, _)| *part == ix)
                && starves(self, promise.unit.group)
        });
        !promised && self.is_clear_of_reservations(ix, group)
    }

    /// Whether what waits on the node would end before a reservation has it.
    fn is_clear_of_reservations(&self, ix: NodeIx, group: GroupIx) -> bool {
        if self.state.reservations.is_empty() {
            return true;
        }
        let entry = self.state.groups.get(group);
        let (Some(group), Some(node)) = (entry, self.state.nodes.get(ix)) else { return false };
        let wait = self.config.backlog.saturating_mul(2);
        let end = self.now.after(wait).0.saturating_add(self.expected_length(group).ms);
        self.state.reservations.of_node(ix, &node.name).all(|(booking, _)| {
            let next = booking.windows(self.now).next();
            next.is_none_or(|(start, _)| start.0 >= end)
        })
    }

    /// The promise of an earlier round, if it can be kept.
    fn renewed(&self, unit: Unit, outlook: &mut Outlook) -> Option<Promise> {
        let promise = self.promises.list.iter().find(|promise| promise.unit == unit)?;
        let nodes: Vec<NodeIx> = promise.parts.iter().map(|(ix, _)| *ix).collect();
        if nodes.iter().any(|ix| self.is_kept_from(*ix, unit.group)) {
            return None;
        }
        if !promise.disturbed {
            return Some(promise.clone());
        }
        if self.state.groups.get(unit.group).is_some_and(|group| self.leaves_headroom(group)) {
            // What it leaves may be on other nodes.
            return None;
        }
        let renewed = self.promise_on(unit, &nodes, outlook)?;
        (renewed.start <= promise.start).then_some(renewed)
    }

    /// Whether a promise may be made still, by what those of this interval have cost.
    fn may_promise(&mut self) -> bool {
        if self.is_new_interval() {
            (self.promises.since, self.promises.effort) = (self.now, 0);
        }
        self.promises.effort < MAX_EFFORT
    }

    /// Whether what was spent on promises counts no more.
    fn is_new_interval(&self) -> bool {
        let interval = self.config.promise_interval;
        interval.is_zero() || self.now >= self.promises.since.after(interval)
    }

    fn promise(&mut self, unit: Unit, outlook: &mut Outlook) -> Option<Promise> {
        let key = &self.state.groups.get(unit.group)?.key;
        let suits = |(ix, node): (NodeIx, &Node)| {
            let usable = node.takes_tasks() && node.suits(key);
            (usable && self.may_join(unit.group, ix)).then_some(ix)
        };
        let nodes: Vec<NodeIx> = if self.config.promise_interval.is_zero() {
            self.state.nodes.iter().filter_map(suits).collect()
        } else {
            let most = MAX_SEARCHED.max(unit.count as usize);
            let mut asked = 0;
            let scattered = self.state.nodes.scattered().inspect(|_| asked += 1);
            let mut nodes: Vec<NodeIx> = scattered.filter_map(suits).take(most).collect();
            nodes.sort_unstable();
            self.promises.effort += asked + nodes.len() * VIEW;
            nodes
        };
        let promise = self.promise_on(unit, &nodes, outlook)?;
        self.promises.made = self.now;
        self.promises.disturbed = false;
        Some(promise)
    }

    /// The earliest start of the unit on those nodes.
    pub(crate) fn promise_on(
        &self,
        unit: Unit,
        nodes: &[NodeIx],
        outlook: &mut Outlook,
    ) -> Option<Promise> {
        let group = self.state.groups.get(unit.group)?;
        if group.key.is_particular() {
            return self.promise_with(unit, nodes, outlook);
        }
        let within = group.key.reservation();
        let length = self.expected_length(group).ms;
        for ix in nodes {
            self.view(*ix, self.state.nodes.get(*ix)?, within, outlook);
        }
        let profiles = nodes.iter().filter_map(|ix| Some((*ix, outlook.seen(*ix, within)?)));
        let profiles: Vec<(NodeIx, &Profile<Resources>)> = profiles.collect();
        let ask = self.ask(group, unit.count, nodes);
        let (start, parts) = earliest_start(&profiles, length, &ask)?;
        Some(Promise {
            unit,
            start,
            end: Timestamp(start.0.saturating_add(length)),
            each: group.key.wanted,
            devices: None,
            parts,
            within: within.map(str::to_owned),
            disturbed: false,
        })
    }
}

/// Whether a stream of tasks that want `wanted` could keep the other from starting for
/// ever: where one of them ends, what wants no more than it can start, but never before
/// others that wait on the node.
fn starves(wanted: &Resources, other: &GroupKey) -> bool {
    other.gang() > 0 || other.needs_grant() || !wanted.covers(&other.wanted)
}
