//! What stands in a job's way on each node, as placement would see it now: what the node
//! is, what it has left, and what is kept for others. Changes nothing.

use std::collections::BTreeMap;

use wrun_protocol::scheduling::Arrangement;
use wrun_protocol::{JobId, Timestamp};

use crate::core::Core;
use crate::decide::outlook::Outlook;
use crate::profile::FOREVER;
use crate::reason::{Amount, Nodes, PendingReason};
use crate::state::groups::{Group, GroupIx, GroupKey};
use crate::state::jobs::NodeIx;
use crate::state::nodes::Node;

/// Reasons that are told apart; nodes beyond are not counted.
const MAX_REASONS: usize = 64;
/// Nodes that a reason names.
const MAX_NAMED: usize = 3;

/// Nodes by what keeps a job from them.
#[derive(Default)]
pub(super) struct Survey {
    found: BTreeMap<PendingReason, Nodes>,
    /// Some node has described itself.
    pub(super) known: bool,
    /// Nodes that could hold a task were they empty; those of them that take tasks; those
    /// of these that have enough left.
    pub(super) suitable: u32,
    pub(super) ready: u32,
    pub(super) roomy: u32,
    /// CPU of those that take tasks, in thousandths.
    pub(super) cpu_milli: u64,
    /// Tasks for which nodes have enough left, and that may start there by their
    /// arrangement; those of them that get in nobody's way in time.
    pub(super) places: u64,
    pub(super) usable: u64,
    /// Where these may start.
    pub(super) nodes: Vec<(NodeIx, u32)>,
    /// Where a task fits the longest, and for how long in milliseconds, among nodes on
    /// which it would get in the way later.
    pub(super) longest: Option<(u64, String)>,
}

impl Survey {
    fn note(&mut self, reason: PendingReason, name: &str) {
        if self.found.len() >= MAX_REASONS && !self.found.contains_key(&reason) {
            return;
        }
        let named = names_nodes(&reason);
        let nodes = self.found.entry(reason).or_default();
        nodes.count += 1;
        if named && nodes.names.len() < MAX_NAMED {
            nodes.names.push(name.to_owned());
        }
    }

    /// What was found, the reason of most nodes first.
    pub(super) fn reasons(&self) -> Vec<PendingReason> {
        let mut found: Vec<_> = self.found.iter().collect();
        found.sort_by_key(|(_, nodes)| std::cmp::Reverse(nodes.count));
        found.into_iter().map(|(reason, nodes)| reason.clone().on(nodes.clone())).collect()
    }
}

/// Whether it matters which nodes these are.
fn names_nodes(reason: &PendingReason) -> bool {
    use PendingReason::{Cleared, FrozenFirst, NotReady, Promised, Reserved};
    matches!(
        reason,
        NotReady { .. } | Promised { .. } | Reserved { .. } | Cleared { .. } | FrozenFirst { .. }
    )
}

impl Core {
    /// Looks at every node for a task of the job. `outlook` knows the promises that it must
    /// not break.
    pub(super) fn survey(&self, id: JobId, group_ix: GroupIx, outlook: &mut Outlook) -> Survey {
        let mut survey = Survey::default();
        let Some(group) = self.state.groups.get(group_ix) else { return survey };
        for (ix, node) in self.state.nodes.iter().filter(|(_, node)| node.info.is_some()) {
            survey.known = true;
            if let Some(reason) =
                self.why_not(id, (ix, node), (group_ix, group), outlook, &mut survey)
            {
                survey.note(reason, &node.name);
            }
        }
        survey
    }

    /// Why a node takes no task of the job now; `None` where it would.
    fn why_not(
        &self,
        id: JobId,
        (ix, node): (NodeIx, &Node),
        (group_ix, group): (GroupIx, &Group),
        outlook: &mut Outlook,
        survey: &mut Survey,
    ) -> Option<PendingReason> {
        let key = &group.key;
        let nodes = Nodes::default();
        if let Some(reason) = unsuited(node, key) {
            return Some(reason);
        }
        survey.suitable += 1;
        if !node.takes_tasks() {
            return Some(PendingReason::NotReady { nodes });
        }
        survey.ready += 1;
        survey.cpu_milli += u64::from(node.capacity().cpu_milli);
        if let Some(name) = key.reservation() {
            let booking = self.state.reservations.get(name);
            if booking.and_then(|booking| booking.aside(ix, &node.name)).is_none() {
                return Some(PendingReason::OutsideReservation { name: name.to_owned(), nodes });
            }
        }
        let room = node.room_for(group);
        if room == 0 {
            return Some(full(node, key));
        }
        survey.roomy += 1;
        if let Some(group) = self.cleared_for(ix).filter(|other| *other != group_ix) {
            let head = self.state.groups.get(group).and_then(|group| group.ready.first());
            return Some(PendingReason::Cleared { job: head?, nodes });
        }
        if self.is_kept_from(ix, group_ix) {
            return Some(PendingReason::FrozenFirst { nodes });
        }
        if !self.is_arranged(id, ix, key) {
            return Some(PendingReason::Arranged { nodes });
        }
        let room = match key.arrangement() {
            Arrangement::DifferentNodes => 1,
            _ => room,
        };
        survey.places += u64::from(room);
        let in_time = |need| self.need_in_time(ix, group_ix, &need, room, outlook);
        let usable = key.needs().map(in_time).max().unwrap_or_default();
        if usable > 0 {
            survey.usable += u64::from(usable);
            survey.nodes.push((ix, usable));
            return None;
        }
        self.measure(ix, node, key, outlook, survey);
        let end = Timestamp(self.now.0.saturating_add(self.expected_length(group).ms));
        Some(self.in_the_way(ix, node, key, end, outlook))
    }

    /// Whether the arrangement of the job lets another of its tasks onto the node.
    pub(super) fn is_arranged(&self, id: JobId, ix: NodeIx, key: &GroupKey) -> bool {
        if self.state.is_port_taken(id, ix) {
            return false;
        }
        match key.arrangement() {
            Arrangement::SameNode => self.home(id).is_none_or(|home| home == ix),
            Arrangement::DifferentNodes => {
                let node = self.state.nodes.get(ix);
                node.is_none_or(|node| node.tasks.from(id, 0).next().is_none())
            }
            Arrangement::Spread | Arrangement::Pack => true,
        }
    }

    /// For how long a task fits on a node where it would get in the way later.
    fn measure(
        &self,
        ix: NodeIx,
        node: &Node,
        key: &GroupKey,
        outlook: &mut Outlook,
        survey: &mut Survey,
    ) {
        let profile = self.view(ix, node, key.reservation(), outlook);
        let until = profile.map(|profile| profile.until(self.now, &key.wanted));
        // Where amounts are free for ever it is devices that are not.
        let until = until.filter(|until| *until < FOREVER);
        let ms = until.map_or(0, |until| until.0.saturating_sub(self.now.0));
        if ms > 0 && survey.longest.as_ref().is_none_or(|(longest, _)| ms > *longest) {
            survey.longest = Some((ms, node.name.clone()));
        }
    }

    /// What has the node's room before `end`.
    fn in_the_way(
        &self,
        ix: NodeIx,
        node: &Node,
        key: &GroupKey,
        end: Timestamp,
        outlook: &Outlook,
    ) -> PendingReason {
        let nodes = Nodes::default();
        let within = key.reservation();
        let promises = outlook.promises.iter().filter(|promise| {
            promise.within.as_deref() == within
                && promise.start < end
                && promise.parts.iter().any(|(part, _)| *part == ix)
        });
        let promise = promises.min_by_key(|promise| (promise.start, promise.unit.job));
        let bookings = self.state.reservations.of_node(ix, &node.name);
        let others =
            bookings.filter(|(booking, _)| Some(booking.reservation.name.as_str()) != within);
        let windows = others.filter_map(|(booking, _)| {
            let (start, over) = booking.windows(self.now).next()?;
            (start < end).then_some((start, over, &booking.reservation.name))
        });
        match (promise, windows.min()) {
            (Some(promise), window) if window.is_none_or(|(start, ..)| promise.start <= start) => {
                let (job, start) = (promise.unit.job, promise.start);
                PendingReason::Promised { job, start, end: promise.end, nodes }
            }
            (_, Some((start, end, name))) => {
                PendingReason::Reserved { name: name.clone(), start, end, nodes }
            }
            // Its own reservation ends too soon.
            _ => {
                let booking = within.and_then(|name| self.state.reservations.get(name));
                let window = booking.and_then(|booking| booking.windows(self.now).next());
                let (start, end) = window.unwrap_or((self.now, FOREVER));
                let name = within.unwrap_or_default().to_owned();
                PendingReason::Reserved { name, start, end, nodes }
            }
        }
    }
}

/// Why a node could not hold a task were it empty; `None` where it could.
fn unsuited(node: &Node, key: &GroupKey) -> Option<PendingReason> {
    if node.suits(key) {
        return None;
    }
    let (info, nodes) = (node.info.as_ref()?, Nodes::default());
    let partition = key.wishes.as_deref().and_then(|wishes| wishes.partition.clone());
    if !partition.as_ref().map_or(node.by_default, |name| node.partitions.contains(name)) {
        return Some(PendingReason::OutsidePartition { partition, nodes });
    }
    let missing = key.labels.iter().find(|(label, value)| info.labels.get(*label) != Some(value));
    if let Some((label, value)) = missing {
        let (label, value) = (label.clone(), value.clone());
        return Some(PendingReason::LacksLabel { label, value, nodes });
    }
    let mut refused = key.wishes.iter().flat_map(|wishes| &wishes.refused_labels);
    if let Some((label, value)) =
        refused.find(|(label, value)| info.labels.get(*label) == Some(value))
    {
        let (label, value) = (label.clone(), value.clone());
        return Some(PendingReason::RefusedLabel { label, value, nodes });
    }
    Some(match Amount::lacking(&info.capacity, &key.wanted) {
        Some(amount) => PendingReason::TooSmall { amount, nodes },
        None => PendingReason::NotSuited { nodes },
    })
}

/// Why a node that suits the group has no room for it.
fn full(node: &Node, key: &GroupKey) -> PendingReason {
    let nodes = Nodes::default();
    if node.loads.waiting > 0 {
        return PendingReason::OthersFirst { nodes };
    }
    match Amount::lacking(&node.free(), &key.wanted) {
        Some(amount) => PendingReason::Full { amount, nodes },
        None => PendingReason::DevicesTaken { nodes },
    }
}
