//! What is set aside, where and when. Decides nothing: which nodes serve a reservation is
//! in the fact that made it.

use std::collections::{BTreeMap, BTreeSet};

use wrun_protocol::reservation::{Reservation, Reserved};
use wrun_protocol::{NodeId, Resources, Timestamp};

use super::jobs::NodeIx;
use super::nodes::{node_id, node_ix};

/// Windows of a recurring reservation that are looked at ahead. Between any two of them
/// lies the same time, so that what fits into none of those never will.
const WINDOWS_AHEAD: u64 = 8;

/// A reservation, and how much of which nodes serves it.
#[derive(Clone, Debug)]
pub(crate) struct Booking {
    pub(crate) reservation: Reservation,
    /// Nodes that were chosen, with how many requests on each.
    pub(crate) chosen: BTreeMap<NodeIx, u32>,
}

/// What of a node is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aside {
    Whole,
    Part(Resources, u32),
}

/// Every reservation by name.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    by_name: BTreeMap<String, Booking>,
    /// Those of all nodes; those of nodes by name; and by number, where these were chosen.
    of_all: BTreeSet<String>,
    of_name: BTreeMap<String, BTreeSet<String>>,
    of_chosen: BTreeMap<NodeIx, BTreeSet<String>>,
}

impl Aside {
    /// As an amount of a node with that capacity.
    pub(crate) fn of(self, capacity: &Resources) -> Resources {
        match self {
            Self::Whole => *capacity,
            Self::Part(each, count) => Resources {
                cpu_milli: each.cpu_milli.saturating_mul(count),
                memory: each.memory.saturating_mul(count.into()),
                scratch: each.scratch.saturating_mul(count.into()),
                slots: each.slots.saturating_mul(count),
            },
        }
    }
}

impl Booking {
    /// What of a node, by number and name, it sets aside.
    pub(crate) fn aside(&self, ix: NodeIx, name: &str) -> Option<Aside> {
        match &self.reservation.what {
            Reserved::All => Some(Aside::Whole),
            Reserved::Nodes(names) => names.contains(name).then_some(Aside::Whole),
            Reserved::Amount { each, .. } => {
                let count = self.chosen.get(&ix)?;
                Some(Aside::Part(each.resources, *count))
            }
        }
    }

    /// The windows that are not over at `now`, soonest first; of a recurring one the next
    /// few.
    pub(crate) fn windows(&self, now: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let Reservation { start, end, every_ms, .. } = self.reservation;
        let every = every_ms.unwrap_or(0);
        let over = match now.0.checked_sub(end.0) {
            Some(since) if every > 0 => since / every + 1,
            Some(_) | None => 0,
        };
        let count = if every > 0 { WINDOWS_AHEAD } else { 1 };
        (over..over.saturating_add(count)).filter_map(move |window| {
            let shift = every.checked_mul(window)?;
            let window = (start.0.checked_add(shift)?, end.0.checked_add(shift)?);
            (window.1 > now.0).then_some((Timestamp(window.0), Timestamp(window.1)))
        })
    }

    /// The window that `now` lies in.
    pub(crate) fn open(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        self.windows(now).next().filter(|(start, _)| *start <= now)
    }

    /// When a window next ends, begins, or is `notice` milliseconds ahead.
    pub(crate) fn next_boundary(&self, now: Timestamp, notice: u64) -> Option<Timestamp> {
        let mut windows = self.windows(now);
        let (start, end) = windows.next()?;
        let soon = |start: Timestamp| Timestamp(start.0.saturating_sub(notice));
        let following = windows.next().map(|(start, _)| start);
        let instants = [Some(soon(start)), Some(start), Some(end), following.map(soon)];
        instants.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Whether a window of this one ever overlaps one of the other.
    pub(crate) fn overlaps(&self, other: &Reservation) -> bool {
        let this = &self.reservation;
        match (this.every_ms, other.every_ms) {
            (None, None) => this.start < other.end && other.start < this.end,
            (Some(every), None) => recurring_meets(this, every, other),
            (None, Some(every)) => recurring_meets(other, every, this),
            (Some(a), Some(b)) => {
                // In the long run their beginnings differ by every multiple of this.
                let step = gcd(a, b).max(1);
                let ahead = (other.start.0 % step + step - this.start.0 % step) % step;
                let (length, other_length) =
                    (this.end.0 - this.start.0, other.end.0 - other.start.0);
                ahead < length || step - ahead < other_length
            }
        }
    }
}

/// Whether a window of the recurring one overlaps the only one of the other.
fn recurring_meets(recurring: &Reservation, every: u64, other: &Reservation) -> bool {
    if other.end <= recurring.start {
        return false;
    }
    // The last window that begins before the other ends is the one that reaches furthest.
    let last = (other.end.0 - 1 - recurring.start.0) / every.max(1);
    recurring.end.0.saturating_add(last.saturating_mul(every)) > other.start.0
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Reservations {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Booking> {
        self.by_name.get(name)
    }

    /// In order of name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Booking> {
        self.by_name.values()
    }

    pub(crate) fn insert(&mut self, reservation: &Reservation, nodes: &[(NodeId, u32)]) {
        let chosen = nodes.iter().map(|(node, count)| (node_ix(*node), *count)).collect();
        let booking = Booking { reservation: reservation.clone(), chosen };
        self.remove(&reservation.name);
        let name = || reservation.name.clone();
        match &reservation.what {
            Reserved::All => {
                self.of_all.insert(name());
            }
            Reserved::Nodes(nodes) => nodes.iter().for_each(|node| {
                self.of_name.entry(node.clone()).or_default().insert(name());
            }),
            Reserved::Amount { .. } => booking.chosen.keys().for_each(|ix| {
                self.of_chosen.entry(*ix).or_default().insert(name());
            }),
        }
        self.by_name.insert(name(), booking);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        if self.by_name.remove(name).is_none() {
            return;
        }
        self.of_all.remove(name);
        let left = |names: &mut BTreeSet<String>| {
            names.remove(name);
            !names.is_empty()
        };
        self.of_name.retain(|_, names| left(names));
        self.of_chosen.retain(|_, names| left(names));
    }

    /// The reservations that set something of a node aside.
    pub(crate) fn of_node<'a>(
        &'a self,
        ix: NodeIx,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a Booking, Aside)> {
        let named = self.of_name.get(name).into_iter().flatten();
        let chosen = self.of_chosen.get(&ix).into_iter().flatten();
        let concerned = self.of_all.iter().chain(named).chain(chosen);
        concerned.filter_map(move |of| {
            let booking = self.by_name.get(of)?;
            Some((booking, booking.aside(ix, name)?))
        })
    }

    /// When a window of any of them next ends, begins, or is `notice` milliseconds ahead.
    pub(crate) fn next_boundary(&self, now: Timestamp, notice: u64) -> Option<Timestamp> {
        self.iter().filter_map(|booking| booking.next_boundary(now, notice)).min()
    }

    /// As if it were made, with no nodes chosen.
    pub(crate) fn book(&self, reservation: &Reservation) -> Booking {
        Booking { reservation: reservation.clone(), chosen: BTreeMap::new() }
    }

    /// As they are recorded.
    pub(crate) fn records(&self) -> Vec<(Reservation, Vec<(NodeId, u32)>)> {
        let nodes = |booking: &Booking| {
            booking.chosen.iter().map(|(ix, count)| (node_id(*ix), *count)).collect()
        };
        self.iter().map(|booking| (booking.reservation.clone(), nodes(booking))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn booking(start: u64, end: u64, every_ms: Option<u64>) -> Booking {
        let reservation = Reservation {
            name: "r".to_owned(),
            start: Timestamp(start),
            end: Timestamp(end),
            every_ms,
            what: Reserved::All,
            tenants: BTreeSet::new(),
        };
        Booking { reservation, chosen: BTreeMap::new() }
    }

    fn naive(booking: &Booking, at: u64) -> bool {
        let Reservation { start, end, every_ms, .. } = booking.reservation;
        match every_ms {
            None => (start.0..end.0).contains(&at),
            Some(every) => at >= start.0 && (at - start.0) % every < end.0 - start.0,
        }
    }

    #[test]
    fn windows_recur_and_the_one_that_is_open_comes_first() {
        let daily = booking(100, 110, Some(24));
        let next: Vec<_> = daily.windows(Timestamp(125)).take(2).map(|(s, e)| (s.0, e.0)).collect();
        assert_eq!(next, [(124, 134), (148, 158)]);
        let next = |now| daily.next_boundary(Timestamp(now), 2).map(|at| at.0);
        assert_eq!([0, 98, 100, 110, 122].map(next), [98, 100, 110, 122, 124].map(Some));
        let once = booking(100, 110, None);
        assert_eq!(once.open(Timestamp(109)), Some((Timestamp(100), Timestamp(110))));
        assert_eq!(
            (once.open(Timestamp(110)), once.next_boundary(Timestamp(110), 2)),
            (None, None)
        );
    }

    #[test]
    fn overlaps_are_found_whatever_recurs() {
        let every = [None, Some(7), Some(10), Some(12)];
        for (start, length, other_start, other_length) in (0..14)
            .flat_map(|a| (1..6).flat_map(move |b| (0..14).map(move |c| (a, b, c, 1 + b % 3))))
        {
            for (a, b) in every.iter().flat_map(|a| every.iter().map(move |b| (*a, *b))) {
                let one = booking(start, start + length, a);
                let other = booking(other_start, other_start + other_length, b);
                let expected = (0..400).any(|at| naive(&one, at) && naive(&other, at));
                assert_eq!(one.overlaps(&other.reservation), expected, "{one:?} {other:?}");
                assert_eq!(other.overlaps(&one.reservation), expected);
                for now in [0, 5, 30] {
                    let open = one.open(Timestamp(now)).is_some();
                    assert_eq!(open, naive(&one, now), "{one:?} at {now}");
                }
            }
        }
    }

    #[test]
    fn each_node_finds_what_concerns_it_and_nothing_that_was_given_up() {
        let mut all = Reservations::default();
        let of = |name: &str, what| Reservation {
            name: name.to_owned(),
            what,
            ..booking(100, 110, None).reservation
        };
        all.insert(&of("maintenance", Reserved::All), &[]);
        all.insert(&of("named", Reserved::Nodes(["n1".to_owned()].into())), &[]);
        let amount = Reserved::Amount { each: <_>::default(), count: 3, partition: None };
        all.insert(&of("amount", amount), &[(NodeId(2), 3)]);
        let found = |all: &Reservations, ix: NodeIx, name: &str| -> Vec<String> {
            let found = all.of_node(ix, name);
            found.map(|(booking, _)| booking.reservation.name.clone()).collect()
        };
        assert_eq!(found(&all, 1, "n1"), ["maintenance", "named"]);
        assert_eq!(found(&all, 2, "n2"), ["maintenance", "amount"]);
        assert_eq!(found(&all, 3, "n3"), ["maintenance"]);
        ["maintenance", "named", "amount"].iter().for_each(|name| all.remove(name));
        assert!(found(&all, 1, "n1").is_empty() && found(&all, 2, "n2").is_empty());
    }
}
