//! A plan of what starts when, made one after the other and never recorded.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use wrun_protocol::{JobId, Timestamp};

use super::{Rests, Unknown};
use crate::core::Core;
use crate::decide::outlook::Outlook;
use crate::decide::promise::{Promise, Unit};
use crate::state::groups::{Group, GroupIx};
use crate::state::jobs::NodeIx;
use crate::state::length::Basis;
use crate::state::nodes::Node;

/// Nodes that are looked at. Of more, one in so many, and as many of the tasks ahead.
const MAX_NODES: usize = 512;
/// Steps over what is free of nodes over time, in one plan: a look at a node costs one, and
/// one more for all that was planned on it. Some 10 ms on the core's thread at the worst
/// (`benches/explaining.rs`).
const MAX_LOOKS: usize = 8_000;
/// Tasks and gangs ahead that are planned.
const MAX_PLANNED: u64 = 4096;
/// Runs of tasks of one node whose ends are looked at one by one.
const MAX_RUNS: usize = 1024;

/// Where a task of a group fits at the earliest: instants that may have become later since,
/// with how often the node had been planned for.
type Starts = BinaryHeap<Reverse<(Timestamp, NodeIx, u32)>>;

/// When something starts, and on what that rests.
pub(super) struct Planned {
    pub(super) start: Timestamp,
    pub(super) rests: Rests,
    pub(super) promised: bool,
}

/// When something of a node ends, and on what that rests.
#[derive(Clone, Copy)]
struct End {
    at: Timestamp,
    rests: Rests,
}

pub(super) struct Plan<'a> {
    core: &'a Core,
    outlook: Outlook,
    /// Those that take tasks, or some of them.
    nodes: Vec<NodeIx>,
    /// One in so many.
    one_in: u64,
    starts: BTreeMap<GroupIx, Starts>,
    /// How often each node was planned for.
    planned_on: BTreeMap<NodeIx, u32>,
    ends: BTreeMap<NodeIx, Vec<End>>,
    looks: usize,
    seen: u64,
    planned: u64,
}

impl<'a> Plan<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        let ready = core.state.nodes.iter().filter(|(_, node)| node.takes_tasks());
        let mut nodes: Vec<NodeIx> = ready.map(|(ix, _)| ix).collect();
        let one_in = nodes.len().div_ceil(MAX_NODES).max(1);
        nodes = nodes.into_iter().step_by(one_in).collect();
        Self {
            core,
            outlook: Outlook::default(),
            nodes,
            one_in: one_in as u64,
            starts: BTreeMap::new(),
            planned_on: BTreeMap::new(),
            ends: BTreeMap::new(),
            looks: 0,
            seen: 0,
            planned: 0,
        }
    }

    pub(super) fn one_in(&self) -> u64 {
        self.one_in
    }

    pub(super) fn has_nodes_for(&self, group: GroupIx) -> bool {
        !self.nodes_of(group, None).is_empty()
    }

    /// Plans something that comes before what is asked for.
    pub(super) fn place(&mut self, unit: Unit) -> Result<(), Unknown> {
        self.step(unit, false).map(|_| ())
    }

    /// Plans the next in order. Where only some nodes are looked at, only some of what waits
    /// is planned; of the others nothing is said unless it is `asked` for.
    pub(super) fn step(&mut self, unit: Unit, asked: bool) -> Result<Option<Planned>, Unknown> {
        self.seen += 1;
        let counts = self.seen.is_multiple_of(self.one_in);
        if !counts && !asked {
            return Ok(None);
        }
        if self.planned >= MAX_PLANNED || self.looks >= MAX_LOOKS {
            return Err(Unknown::TooFar { looked_at: self.seen - 1 });
        }
        self.planned += 1;
        let Some((promise, promised)) = self.earliest(unit) else { return Ok(None) };
        let rests = self.rests_of(&promise);
        let start = promise.start;
        if counts {
            self.keep(unit, promise, rests);
        }
        Ok(Some(Planned { start, rests, promised }))
    }

    /// Plans what was asked for, not to start before `floor`.
    pub(super) fn last(&mut self, unit: Unit, floor: Timestamp) -> Result<Planned, Unknown> {
        let (mut promise, mut promised) = self.earliest(unit).ok_or(Unknown::NoRoom)?;
        if promise.start < floor {
            let nodes = self.nodes_of(unit.group, Some(unit.job));
            self.bar(&promise, &nodes, floor);
            promise = self.together(unit, &nodes).ok_or(Unknown::NoRoom)?;
            promised = false;
        }
        let rests = self.rests_of(&promise);
        Ok(Planned { start: promise.start, rests, promised })
    }

    /// Where and when it fits at the earliest, and whether that was promised.
    fn earliest(&mut self, unit: Unit) -> Option<(Promise, bool)> {
        let core = self.core;
        let promised = core.promises.standing().iter().find(|promise| promise.unit == unit);
        if let Some(promise) = promised.filter(|promise| promise.start > core.now) {
            return Some((promise.clone(), true));
        }
        let group = core.state.groups.get(unit.group)?;
        let alone = unit.count == 1
            && !core.leaves_headroom(group)
            && !group.key.needs_grant()
            && group.key.wishes.as_deref().is_none_or(|wishes| wishes.job.is_none());
        let found = if alone {
            let ix = self.first_node(unit.group, group)?;
            self.count_look(ix);
            core.promise_on(unit, &[ix], &mut self.outlook)
        } else {
            let nodes = self.nodes_of(unit.group, Some(unit.job));
            self.together(unit, &nodes)
        };
        found.map(|promise| (promise, false))
    }

    fn together(&mut self, unit: Unit, nodes: &[NodeIx]) -> Option<Promise> {
        (0..4).for_each(|_| nodes.iter().for_each(|ix| self.count_look(*ix)));
        // Where only some nodes are looked at, so is only some of a gang.
        let some = u64::from(unit.count).div_ceil(self.one_in);
        let unit = Unit { count: u32::try_from(some).unwrap_or(u32::MAX), ..unit };
        self.core.promise_on(unit, nodes, &mut self.outlook)
    }

    fn count_look(&mut self, ix: NodeIx) {
        self.looks += 1 + self.planned_on.get(&ix).copied().unwrap_or(0) as usize;
    }

    /// Nodes that suit a group, and to which a job's arrangement lets it go.
    fn nodes_of(&self, group: GroupIx, job: Option<JobId>) -> Vec<NodeIx> {
        let core = self.core;
        let Some(entry) = core.state.groups.get(group) else { return Vec::new() };
        let suits = |ix: &NodeIx| {
            let node = core.state.nodes.get(*ix);
            node.is_some_and(|node| node.suits(&entry.key))
                && !core.is_kept_from(*ix, group)
                && job.is_none_or(|job| core.is_arranged(job, *ix, &entry.key))
        };
        self.nodes.iter().copied().filter(suits).collect()
    }

    /// The node where a task of the group starts first. What was found before holds as a
    /// bound: whatever is planned only makes starts later.
    fn first_node(&mut self, ix: GroupIx, group: &Group) -> Option<NodeIx> {
        let length = self.core.expected_length(group).ms;
        if !self.starts.contains_key(&ix) {
            let mut found = Starts::new();
            for node in self.nodes_of(ix, None) {
                let planned = self.planned_on.get(&node).copied().unwrap_or(0);
                let at = self.start_on(node, group, length);
                found.extend(at.map(|at| Reverse((at, node, planned))));
            }
            self.starts.insert(ix, found);
        }
        loop {
            let Reverse((at, node, planned)) = self.starts.get_mut(&ix)?.pop()?;
            let now = self.planned_on.get(&node).copied().unwrap_or(0);
            let again = if planned == now { Some(at) } else { self.start_on(node, group, length) };
            if let Some(again) = again {
                self.starts.get_mut(&ix)?.push(Reverse((again, node, now)));
            }
            if planned == now {
                return Some(node);
            }
        }
    }

    fn start_on(&mut self, ix: NodeIx, group: &Group, length: u64) -> Option<Timestamp> {
        self.count_look(ix);
        let node = self.core.state.nodes.get(ix)?;
        let profile = self.core.view(ix, node, group.key.reservation(), &mut self.outlook)?;
        profile.earliest(length, &group.key.wanted, 1)
    }

    fn keep(&mut self, unit: Unit, promise: Promise, rests: Rests) {
        let own = self
            .core
            .state
            .groups
            .get(unit.group)
            .map(|group| rests_on(self.core.expected_length(group).basis));
        let end = End { at: promise.end, rests: rests.max(own.unwrap_or_default()) };
        for (ix, _) in &promise.parts {
            *self.planned_on.entry(*ix).or_default() += 1;
            self.ends_of(*ix).push(end);
        }
        self.core.keep(promise, &mut self.outlook);
    }

    /// Nothing starts on the nodes before `floor`.
    fn bar(&mut self, like: &Promise, nodes: &[NodeIx], floor: Timestamp) {
        for ix in nodes {
            let Some(node) = self.core.state.nodes.get(*ix) else { continue };
            let mut bar = like.clone();
            (bar.start, bar.end) = (self.core.now, floor);
            (bar.each, bar.parts, bar.devices) = (node.capacity(), vec![(*ix, 1)], None);
            self.core.keep(bar, &mut self.outlook);
        }
    }

    /// What has to end before it starts, at its weakest.
    fn rests_of(&mut self, promise: &Promise) -> Rests {
        let mut rests = Rests::Nothing;
        if promise.start <= self.core.now {
            return rests;
        }
        for (ix, _) in &promise.parts {
            let ends = self.ends_of(*ix).iter().filter(|end| end.at <= promise.start);
            rests = ends.map(|end| end.rests).fold(rests, Rests::max);
        }
        rests
    }

    fn ends_of(&mut self, ix: NodeIx) -> &mut Vec<End> {
        let core = self.core;
        self.ends.entry(ix).or_insert_with(|| {
            let node = core.state.nodes.get(ix);
            node.map(|node| ends(core, node)).unwrap_or_default()
        })
    }
}

/// When each run of tasks on a node is expected to end.
fn ends(core: &Core, node: &Node) -> Vec<End> {
    let runs = node.tasks.iter().take(MAX_RUNS);
    let ends = runs.filter_map(|(run, placed)| {
        let group = core.state.groups.get(core.state.jobs.get(run.job)?.group)?;
        let (at, rests) = core.expected_end_of(run.job, group, placed);
        Some(End { at, rests })
    });
    ends.collect()
}

impl Core {
    /// When tasks that were placed then are expected to end, and on what that rests.
    pub(super) fn expected_end_of(
        &self,
        job: JobId,
        group: &Group,
        placed: Timestamp,
    ) -> (Timestamp, Rests) {
        let expected = self.expected_length(group);
        let overdue = placed.0.saturating_add(expected.ms) <= self.now.0;
        let rests = match expected.basis {
            Basis::Limit => Rests::Limits,
            _ if overdue => Rests::Overdue(job),
            basis => rests_on(basis),
        };
        (self.expected_end(placed, expected.ms), rests)
    }
}

fn rests_on(basis: Basis) -> Rests {
    match basis {
        Basis::Limit => Rests::Limits,
        Basis::Prediction => Rests::Earlier,
        Basis::Default => Rests::Default,
    }
}
