//! Where there is room: what many places have free, so that the emptiest one with enough
//! is found in a few steps, or that there is none.
//!
//! A tree of eight-fold branches. Each branch knows the most CPU, the most memory and all
//! the classes of the places under it, so that whole branches are passed over. What it
//! knows is a rough copy (memory in MiB): it never misses a place with room, and whether
//! a place that it finds really has it is the caller's to check.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use wrun_protocol::Resources;

const FAN: usize = 8;

/// What a place has free, roughly, or what is asked of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) cpu_milli: u32,
    /// In MiB, rounded down.
    memory_mib: u32,
    /// As bits. A place has those it belongs to, none if it takes nothing; who asks has
    /// those that serve.
    classes: u64,
}

impl Room {
    pub(crate) fn new(amounts: &Resources, classes: u64) -> Self {
        let memory_mib = u32::try_from(amounts.memory >> 20).unwrap_or(u32::MAX);
        Self { cpu_milli: amounts.cpu_milli, memory_mib, classes }
    }

    /// Whether there may be enough.
    pub(crate) fn may_hold(&self, wanted: &Self) -> bool {
        self.cpu_milli >= wanted.cpu_milli
            && self.memory_mib >= wanted.memory_mib
            && self.classes & wanted.classes != 0
    }

    fn or(self, other: &Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.max(other.cpu_milli),
            memory_mib: self.memory_mib.max(other.memory_mib),
            classes: self.classes | other.classes,
        }
    }
}

/// Places by number, and the branches over them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rooms {
    /// The places, then their branches, up to the one root. Each filled up to whole branches.
    levels: Vec<Vec<Room>>,
}

impl Rooms {
    /// With as many places, in order.
    pub(crate) fn of(mut places: Vec<Room>) -> Self {
        let mut rooms = Self::default();
        loop {
            places.resize(places.len().max(1).next_multiple_of(FAN), Room::default());
            let above: Vec<Room> = places.chunks(FAN).map(sum).collect();
            rooms.levels.push(places);
            if above.len() == 1 {
                rooms.levels.push(above);
                return rooms;
            }
            places = above;
        }
    }

    /// What the best place of each resource has.
    pub(crate) fn most(&self) -> Room {
        self.levels.last().and_then(|root| root.first()).copied().unwrap_or_default()
    }

    pub(crate) fn set(&mut self, place: usize, room: Room) {
        if self.levels.first().is_none_or(|places| places.len() <= place) {
            let mut places = self.levels.drain(..).next().unwrap_or_default();
            places.resize((place + 1).max(places.len() * 2), Room::default());
            *self = Self::of(places);
        }
        let (mut at, mut room) = (place, room);
        for level in &mut self.levels {
            let Some(entry) = level.get_mut(at) else { return };
            if *entry == room {
                return;
            }
            *entry = room;
            at /= FAN;
            room = level.chunks(FAN).nth(at).map(sum).unwrap_or_default();
        }
    }

    /// The place with the most CPU, the lowest of equal ones, of those that may hold what
    /// is wanted and that `takes` agrees to.
    pub(crate) fn emptiest(
        &self,
        wanted: &Room,
        mut takes: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let root = self.levels.len().checked_sub(1)?;
        let mut best = None;
        self.search(root, 0, wanted, &mut best, &mut takes);
        best.map(|(_, place)| place)
    }

    fn search(
        &self,
        level: usize,
        at: usize,
        wanted: &Room,
        best: &mut Option<(u32, usize)>,
        takes: &mut impl FnMut(usize) -> bool,
    ) {
        let Some(room) = self.levels.get(level).and_then(|level| level.get(at)) else { return };
        if !room.may_hold(wanted) || best.is_some_and(|(most, _)| room.cpu_milli < most) {
            return;
        }
        let Some(below) = level.checked_sub(1) else {
            let better = best.is_none_or(|(most, place)| room.cpu_milli > most || at < place);
            if better && takes(at) {
                *best = Some((room.cpu_milli, at));
            }
            return;
        };
        let Some(branches) = self.levels.get(below).and_then(|all| all.chunks(FAN).nth(at)) else {
            return;
        };
        // The likeliest first, so that the others are mostly passed over.
        let likeliest = (0..FAN)
            .filter(|i| branches.get(*i).is_some_and(|branch| branch.may_hold(wanted)))
            .max_by_key(|i| (branches.get(*i).map(|branch| branch.cpu_milli), Reverse(*i)));
        let Some(likeliest) = likeliest else { return };
        self.search(below, at * FAN + likeliest, wanted, best, takes);
        for (i, branch) in branches.iter().enumerate().filter(|(i, _)| *i != likeliest) {
            if branch.may_hold(wanted) && best.is_none_or(|(most, _)| branch.cpu_milli >= most) {
                self.search(below, at * FAN + i, wanted, best, takes);
            }
        }
    }

    /// Places that may hold what is wanted, those with the most CPU first, equal ones by
    /// number.
    pub(crate) fn emptiest_first(&self, wanted: Room) -> impl Iterator<Item = usize> {
        let mut found = BinaryHeap::new();
        let root = self.levels.len().saturating_sub(1);
        if self.most().may_hold(&wanted) {
            found.push((self.most().cpu_milli, Reverse(0), root, 0));
        }
        std::iter::from_fn(move || {
            // Of what has as much CPU, a branch comes before the places that follow its first.
            while let Some((_, _, level, at)) = found.pop() {
                let Some(below) = level.checked_sub(1) else { return Some(at) };
                let branches = self.levels.get(below).and_then(|all| all.chunks(FAN).nth(at));
                let branches = branches.unwrap_or_default().iter().zip(at * FAN..);
                found.extend(branches.filter(|(branch, _)| branch.may_hold(&wanted)).map(
                    |(branch, at)| {
                        let first = at * FAN.pow(below as u32);
                        (branch.cpu_milli, Reverse(first), below, at)
                    },
                ));
            }
            None
        })
    }
}

fn sum(branches: &[Room]) -> Room {
    branches.iter().fold(Room::default(), Room::or)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(cpu_milli: u32, memory_mib: u32, classes: u64) -> Room {
        Room { cpu_milli, memory_mib, classes }
    }

    #[test]
    fn the_emptiest_place_comes_first_and_of_equal_ones_the_lowest() {
        let mut rooms = Rooms::default();
        for place in 0..100 {
            rooms.set(place, room(1000 * (place as u32 % 3), 10, 1));
        }
        assert_eq!(rooms.emptiest(&room(500, 10, 1), |_| true), Some(2));
        let three: Vec<usize> = rooms.emptiest_first(room(500, 10, 1)).take(3).collect();
        assert_eq!(three, [2, 5, 8]);
        let all: Vec<usize> = rooms.emptiest_first(room(500, 10, 1)).collect();
        assert_eq!((all.len(), all[32], all[33]), (66, 98, 1));
    }

    /// Against looking at each place, over a few thousand random changes.
    #[test]
    fn what_it_finds_is_what_a_look_at_every_place_finds() {
        let mut random = 7_u32;
        let mut next = move |below: u32| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) % below
        };
        let mut rooms = Rooms::default();
        let mut places = vec![Room::default(); 700];
        for _ in 0..4000 {
            let place = next(700) as usize;
            places[place] = room(next(40), next(40), 1 << next(4));
            rooms.set(place, places[place]);
            let wanted = room(next(45), next(45), u64::from(1 + next(15)));
            let odd = |place: &usize| place % 2 == 1;
            let holds = |(_, room): &(usize, &Room)| room.may_hold(&wanted);
            let mut expected: Vec<(usize, &Room)> =
                places.iter().enumerate().filter(holds).collect();
            expected.sort_by_key(|(place, room)| (Reverse(room.cpu_milli), *place));
            let expected: Vec<usize> = expected.into_iter().map(|(place, _)| place).collect();
            assert_eq!(rooms.emptiest(&wanted, |_| true), expected.first().copied());
            let first_odd = expected.iter().copied().find(odd);
            assert_eq!(rooms.emptiest(&wanted, |place| odd(&place)), first_odd);
            assert_eq!(rooms.emptiest_first(wanted).collect::<Vec<_>>(), expected);
        }
    }
}
