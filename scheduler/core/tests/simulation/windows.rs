//! Reservations drawn at random, and what must hold of them whatever breaks: what has a
//! time limit never runs into a window that is not for it, what has none is told to stop
//! as the window begins, and who has the right to one keeps within it.

use std::collections::BTreeMap;

use wrun_core::{Fact, Input};
use wrun_protocol::reservation::{Reservation, Reserved};
use wrun_protocol::scheduling::Request;
use wrun_protocol::{JobId, NodeId, Resources, Timestamp};

use crate::ledger::{Ledger, Placed};
use crate::model::placements;
use crate::world::World;

/// Windows of one reservation that matter: none of the jobs takes longer.
const AHEAD: u64 = 64;

/// Reservations as the facts tell them.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    pub(crate) booked: BTreeMap<String, (Reservation, Vec<(NodeId, u32)>)>,
}

type Window = (Timestamp, Timestamp);

impl Windows {
    pub(crate) fn of(facts: &[Fact]) -> Self {
        let mut windows = Self::default();
        facts.iter().for_each(|fact| windows.apply(fact));
        windows
    }

    pub(crate) fn apply(&mut self, fact: &Fact) {
        match fact {
            Fact::Reserved { reservation, nodes, .. } => {
                let booked = (reservation.as_ref().clone(), nodes.clone());
                assert!(self.booked.insert(reservation.name.clone(), booked).is_none());
            }
            Fact::Unreserved { name, .. } => assert!(self.booked.remove(name).is_some()),
            _ => {}
        }
    }

    /// What each reservation sets aside of the node.
    fn of_node(&self, node: NodeId, capacity: Resources) -> Vec<(&Reservation, Resources)> {
        let aside = |(reservation, chosen): &(Reservation, Vec<(NodeId, u32)>)| {
            let times = |each: &Resources, count: u32| Resources {
                cpu_milli: each.cpu_milli * count,
                memory: each.memory * u64::from(count),
                scratch: each.scratch * u64::from(count),
                slots: each.slots * count,
            };
            match &reservation.what {
                Reserved::All => Some(capacity),
                Reserved::Nodes(names) => names.contains(&node_name(node)).then_some(capacity),
                Reserved::Amount { each, .. } => {
                    let count = chosen.iter().find(|(of, _)| *of == node)?.1;
                    Some(times(&each.resources, count))
                }
            }
        };
        self.booked.values().filter_map(|booked| Some((&booked.0, aside(booked)?))).collect()
    }

    /// Checks each task that the fact placed against all windows it may meet.
    pub(crate) fn check_placed(
        &self,
        fact: &Fact,
        ledger: &Ledger,
        capacity: impl Fn(NodeId) -> Resources,
    ) {
        for (node, run, _) in placements(fact) {
            let job = &ledger.jobs[&run.job];
            let of_node = self.of_node(node, capacity(node));
            for task in run.tasks.indices().map(|index| run.job.task(index)) {
                let placed = &ledger.placed[&task];
                match &job.reservation {
                    None => self.check_outside(placed, &of_node, ledger, capacity(node), fact),
                    Some(name) => check_inside(name, placed, &of_node, ledger, fact),
                }
            }
        }
    }

    /// In none of the windows until it ends more is held of the node than is left of it.
    fn check_outside(
        &self,
        placed: &Placed,
        of_node: &[(&Reservation, Resources)],
        ledger: &Ledger,
        capacity: Resources,
        fact: &Fact,
    ) {
        let Some(end) = placed.ends else { return };
        for (reservation, _) in of_node {
            for (from, to) in windows(reservation) {
                if from < end && to > placed.at {
                    let at = from.max(placed.at);
                    let left = self.left_at(at, placed.node, capacity, ledger, |other| {
                        other.ends.is_some_and(|ends| ends > at)
                    });
                    assert!(left.is_some(), "runs into {}: {fact:?}", reservation.name);
                }
            }
        }
    }

    /// What is left of the node at that instant beside what is set aside and what is held
    /// by `those` who have no right to it; `None` where these are too much.
    fn left_at(
        &self,
        at: Timestamp,
        node: NodeId,
        capacity: Resources,
        ledger: &Ledger,
        those: impl Fn(&Placed) -> bool,
    ) -> Option<Resources> {
        let mut left = capacity;
        let mut open = Vec::new();
        for (reservation, aside) in self.of_node(node, capacity) {
            if windows(reservation).any(|(from, to)| from <= at && at < to) {
                left = left.checked_sub(&aside)?;
                open.push(reservation.name.as_str());
            }
        }
        let has_right = |job: &JobId| {
            let reservation = ledger.jobs[job].reservation.as_deref();
            reservation.is_some_and(|name| open.contains(&name))
        };
        for (task, other) in ledger.placed.iter().filter(|(_, other)| other.node == node) {
            if !has_right(&task.job) && !other.noticed && !other.frozen && those(other) {
                left = left.checked_sub(&other.holds)?;
            }
        }
        Some(left)
    }

    /// Nothing without right is on a node in a window but what there is room for beside,
    /// what was told to stop, and what should have ended by now.
    pub(crate) fn check_open(
        &self,
        now: Timestamp,
        ledger: &Ledger,
        nodes: impl Iterator<Item = (NodeId, Resources)>,
    ) {
        for (node, capacity) in nodes {
            let of_node = self.of_node(node, capacity);
            let open = |window: Window| window.0 <= now && now < window.1;
            if of_node.iter().any(|(reservation, _)| windows(reservation).any(open)) {
                let still = |other: &Placed| other.ends.is_none_or(|ends| ends > now);
                let left = self.left_at(now, node, capacity, ledger, still);
                assert!(left.is_some(), "at {now:?} node {node} is not clear: {:?}", self.booked);
            }
        }
    }
}

/// One with a right is placed in a window, to end in it, and has only what is set aside.
fn check_inside(
    name: &str,
    placed: &Placed,
    of_node: &[(&Reservation, Resources)],
    ledger: &Ledger,
    fact: &Fact,
) {
    let booked = of_node.iter().find(|(reservation, _)| reservation.name == name);
    let (reservation, aside) = booked.unwrap_or_else(|| panic!("not on its nodes: {fact:?}"));
    let open = windows(reservation).find(|(from, to)| *from <= placed.at && placed.at < *to);
    let (_, to) = open.unwrap_or_else(|| panic!("no window is open: {fact:?}"));
    assert!(placed.ends.is_none_or(|ends| ends <= to), "longer than the window: {fact:?}");
    let mut left = *aside;
    for (task, other) in ledger.placed.iter().filter(|(_, other)| other.node == placed.node) {
        let within = ledger.jobs[&task.job].reservation.as_deref() == Some(name);
        if within && !other.frozen {
            let rest = left.checked_sub(&other.holds);
            left = rest.unwrap_or_else(|| panic!("more than is set aside: {fact:?}"));
        }
    }
}

fn windows(reservation: &Reservation) -> impl Iterator<Item = Window> {
    let every = reservation.every_ms;
    (0..if every.is_some() { AHEAD } else { 1 }).map(move |nth| {
        let shift = every.unwrap_or(0) * nth;
        (Timestamp(reservation.start.0 + shift), Timestamp(reservation.end.0 + shift))
    })
}

pub(crate) fn node_name(node: NodeId) -> String {
    format!("node-{}", node.0)
}

impl World {
    /// Sets something aside: for ann, or for nobody.
    pub(crate) fn reserve(&mut self) {
        let (now, nodes) = (self.now.0, self.workers());
        let random = &mut self.random;
        let start = now + random.pick(&[0, 20, 60, 150]);
        let end = start + random.pick(&[20, 60]);
        let each = Resources { cpu_milli: 500, memory: 64 << 20, scratch: 0, slots: 1 };
        let each = Request { resources: each, ..Request::default() };
        let what = match random.below(3) {
            0 => Reserved::All,
            1 => Reserved::Nodes([node_name(NodeId(1 + random.below(nodes) as u64))].into()),
            _ => Reserved::Amount { each, count: random.pick(&[1, 2]), partition: None },
        };
        let for_ann = random.one_in(2).then(|| "ann".parse().unwrap());
        let reservation = Reservation {
            name: format!("r{}", random.below(3)),
            start: Timestamp(start),
            end: Timestamp(end),
            every_ms: random.pick(&[None, Some(100), Some(300)]),
            what,
            tenants: for_ann.into_iter().collect(),
        };
        let (request, reservation) = (self.request(), Box::new(reservation));
        self.handle(Input::Reserve { request, reservation });
    }

    /// Nothing is set aside any more, and what waits to run inside gives up.
    pub(crate) fn unreserve_all(&mut self) {
        for name in self.windows.booked.keys().cloned().collect::<Vec<_>>() {
            let request = self.request();
            self.handle(Input::Unreserve { request, name });
        }
        let inside = |job: &JobId| self.ledger.jobs[job].reservation.is_some();
        let inside: Vec<JobId> = self.model.live.iter().copied().filter(inside).collect();
        for job in inside {
            let request = self.request();
            self.handle(Input::Cancel { request, job });
        }
    }

    pub(crate) fn unreserve(&mut self) {
        let names: Vec<String> = self.windows.booked.keys().cloned().collect();
        if !names.is_empty() {
            let name = names[self.random.below(names.len())].clone();
            let request = self.request();
            self.handle(Input::Unreserve { request, name });
        }
    }
}
