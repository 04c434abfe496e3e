//! Where there is room: what many places have free, so that the emptiest one with enough
//! is found in a few steps, or that there is none.
//!
//! A tree of eight-fold branches. Each branch knows, for each of some amounts of memory,
//! the most CPU of the places under it that have that much memory, and all their classes:
//! whole branches are passed over, also where CPU is free in one place and memory in
//! another. What it knows is a rough copy (memory in MiB): it never misses a place with
//! room, and whether a place that it finds really has it is the caller's to check.

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

    /// Its CPU, as branches have it.
    pub(crate) fn cpu(&self) -> i32 {
        i32::try_from(self.cpu_milli).unwrap_or(i32::MAX)
    }

    /// The last lane whose amount of memory it has.
    pub(crate) fn lane(&self) -> usize {
        // Two lanes for each doubling, from 64 MiB on.
        let Some(bits) = self.memory_mib.checked_ilog2().filter(|bits| *bits >= 6) else {
            return 0;
        };
        let half = (self.memory_mib >> (bits - 1)) & 1;
        (1 + 2 * (bits as usize - 6) + half as usize).min(LANES - 1)
    }
}

/// Amounts of memory that branches tell apart.
pub(crate) const LANES: usize = 24;

/// By amount of memory, the most CPU where there is at least as much. Signed, as that is
/// what processors compare many of at once.
pub(crate) type Reach = [i32; LANES];

/// What a branch knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Branch {
    cpu_milli: Reach,
    classes: u64,
}

impl Branch {
    fn over_places(places: &[Room]) -> Self {
        let mut branch = Self::default();
        for place in places {
            if let Some(most) = branch.cpu_milli.get_mut(place.lane()) {
                *most = place.cpu().max(*most);
            }
            branch.classes |= place.classes;
        }
        let mut most = 0;
        for lane in branch.cpu_milli.iter_mut().rev() {
            most = most.max(*lane);
            *lane = most;
        }
        branch
    }

    fn over(branches: &[Self]) -> Self {
        let mut sum = Self::default();
        for branch in branches {
            for (most, lane) in sum.cpu_milli.iter_mut().zip(&branch.cpu_milli) {
                *most = (*most).max(*lane);
            }
            sum.classes |= branch.classes;
        }
        sum
    }

    /// Whether a change of a place below may change what it knows.
    fn heeds(&self, before: &Room, now: &Room) -> bool {
        let most = |room: &Room| self.cpu_milli.get(room.lane()).copied().unwrap_or_default();
        // A place that has less than the most of its lane has less than that of all before.
        before.classes != now.classes || before.cpu() >= most(before) || now.cpu() > most(now)
    }

    /// The most CPU that a place below may have which holds what is wanted.
    fn most_for(&self, wanted: &Wanted) -> Option<u32> {
        let most = self.cpu_milli.get(wanted.lane).copied().unwrap_or_default();
        let holds = most >= wanted.room.cpu() && self.classes & wanted.room.classes != 0;
        holds.then_some(most.cast_unsigned())
    }
}

struct Wanted {
    room: Room,
    lane: usize,
}

/// Places by number, and the branches over them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rooms {
    /// Filled up to whole branches.
    places: Vec<Room>,
    /// From those over places to the one root.
    levels: Vec<Vec<Branch>>,
}

/// The best place so far, by CPU.
type Best = Option<(u32, usize)>;

impl Rooms {
    /// With as many places, in order.
    pub(crate) fn of(mut places: Vec<Room>) -> Self {
        places.resize(places.len().max(1).next_multiple_of(FAN), Room::default());
        let mut above: Vec<Branch> = places.chunks(FAN).map(Branch::over_places).collect();
        let mut levels = Vec::new();
        while above.len() > 1 {
            above.resize(above.len().next_multiple_of(FAN), Branch::default());
            let next = above.chunks(FAN).map(Branch::over).collect();
            levels.push(std::mem::replace(&mut above, next));
        }
        levels.push(above);
        Self { places, levels }
    }

    /// The most CPU of any place.
    pub(crate) fn most_cpu(&self) -> u32 {
        let root = self.levels.last().and_then(|root| root.first());
        root.and_then(|root| root.cpu_milli.first()).copied().unwrap_or_default().cast_unsigned()
    }

    /// What any place may hold.
    pub(crate) fn reach(&self) -> &Reach {
        let root = self.levels.last().and_then(|root| root.first());
        root.map_or(&[0; LANES], |root| &root.cpu_milli)
    }

    pub(crate) fn set(&mut self, place: usize, room: Room) {
        if self.places.len() <= place {
            let mut places = std::mem::take(&mut self.places);
            places.resize((place + 1).max(places.len() * 2), Room::default());
            *self = Self::of(places);
        }
        let Some(entry) = self.places.get_mut(place) else { return };
        let before = std::mem::replace(entry, room);
        let mut at = place / FAN;
        let above = self.levels.first().and_then(|level| level.get(at));
        if before == room || above.is_some_and(|above| !above.heeds(&before, &room)) {
            return;
        }
        let mut now = Branch::over_places(self.places.chunks(FAN).nth(at).unwrap_or_default());
        for level in &mut self.levels {
            let Some(entry) = level.get_mut(at) else { return };
            if *entry == now {
                return;
            }
            *entry = now;
            at /= FAN;
            now = Branch::over(level.chunks(FAN).nth(at).unwrap_or_default());
        }
    }

    /// Whether a place may hold what is wanted.
    pub(crate) fn any(&self, wanted: &Room) -> bool {
        let wanted = Wanted { room: *wanted, lane: wanted.lane() };
        let root = self.levels.last().and_then(|root| root.first());
        root.is_some_and(|root| root.most_for(&wanted).is_some())
            && self.any_under(self.levels.len(), 0, &wanted)
    }

    fn any_under(&self, level: usize, at: usize, wanted: &Wanted) -> bool {
        let Some(below) = level.checked_sub(2) else {
            let places = self.places.chunks(FAN).nth(at).unwrap_or_default();
            return places.iter().any(|room| room.may_hold(&wanted.room));
        };
        let branches = self.levels.get(below).and_then(|all| all.chunks(FAN).nth(at));
        let mut branches = branches.unwrap_or_default().iter().zip(at * FAN..);
        branches.any(|(branch, at)| {
            branch.most_for(wanted).is_some() && self.any_under(level - 1, at, wanted)
        })
    }

    /// The place with the most CPU, the lowest of equal ones, of those that may hold what
    /// is wanted and that `takes` agrees to.
    pub(crate) fn emptiest(
        &self,
        wanted: &Room,
        mut takes: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let wanted = Wanted { room: *wanted, lane: wanted.lane() };
        let root = self.levels.len().checked_sub(1)?;
        self.levels.last()?.first()?.most_for(&wanted)?;
        let mut best = None;
        self.search(root, 0, &wanted, &mut best, &mut takes);
        best.map(|(_, place)| place)
    }

    fn search(
        &self,
        level: usize,
        at: usize,
        wanted: &Wanted,
        best: &mut Best,
        takes: &mut impl FnMut(usize) -> bool,
    ) {
        let Some(below) = level.checked_sub(1) else {
            return self.search_places(at, wanted, best, takes);
        };
        let Some(branches) = self.levels.get(below).and_then(|all| all.chunks(FAN).nth(at)) else {
            return;
        };
        let mut most = [0; FAN];
        let mut likeliest = None;
        for ((i, branch), most) in branches.iter().enumerate().zip(&mut most) {
            let Some(cpu) = branch.most_for(wanted) else { continue };
            *most = cpu.max(1);
            if likeliest.is_none_or(|(_, before)| cpu > before) {
                likeliest = Some((i, cpu));
            }
        }
        // The likeliest first, so that the others are mostly passed over.
        let Some((likeliest, cpu)) = likeliest else { return };
        if best.is_none_or(|(before, _)| cpu >= before) {
            self.search(below, at * FAN + likeliest, wanted, best, takes);
        }
        for (i, cpu) in most.iter().enumerate().filter(|(i, cpu)| *i != likeliest && **cpu > 0) {
            let first = (at * FAN + i) * FAN.pow(level as u32);
            if best.is_none_or(|(before, place)| *cpu > before || (*cpu == before && first < place))
            {
                self.search(below, at * FAN + i, wanted, best, takes);
            }
        }
    }

    fn search_places(
        &self,
        at: usize,
        wanted: &Wanted,
        best: &mut Best,
        takes: &mut impl FnMut(usize) -> bool,
    ) {
        let places = self.places.chunks(FAN).nth(at).unwrap_or_default();
        let better = |one: (u32, usize), other: Best| {
            other.is_none_or(|(most, place)| one.0 > most || (one.0 == most && one.1 < place))
        };
        // The best first: whoever is asked looks at what is far away in memory.
        let mut refused = [false; FAN];
        loop {
            let mut next: Option<((u32, usize), &mut bool)> = None;
            for ((room, place), refused) in places.iter().zip(at * FAN..).zip(&mut refused) {
                let this = (room.cpu_milli, place);
                if !*refused
                    && better(this, *best)
                    && better(this, next.as_ref().map(|(next, _)| *next))
                    && room.may_hold(&wanted.room)
                {
                    next = Some((this, refused));
                }
            }
            let Some((next, refused)) = next else { return };
            if takes(next.1) {
                *best = Some(next);
                return;
            }
            *refused = true;
        }
    }

    /// Places that may hold what is wanted, those with the most CPU first, equal ones by
    /// number.
    pub(crate) fn emptiest_first(&self, wanted: Room) -> impl Iterator<Item = usize> {
        let wanted = Wanted { room: wanted, lane: wanted.lane() };
        let mut found = BinaryHeap::new();
        let root = self.levels.last().and_then(|root| root.first());
        if let Some(most) = root.and_then(|root| root.most_for(&wanted)) {
            found.push((most, Reverse(0), self.levels.len(), 0));
        }
        std::iter::from_fn(move || {
            // Of what has as much CPU, a branch comes before the places that follow its first.
            while let Some((_, _, level, at)) = found.pop() {
                let under = at * FAN..;
                match level {
                    0 => return Some(at),
                    1 => {
                        let places = self.places.chunks(FAN).nth(at).unwrap_or_default();
                        let holds = places
                            .iter()
                            .zip(under)
                            .filter(|(room, _)| room.may_hold(&wanted.room));
                        found.extend(holds.map(|(room, at)| (room.cpu_milli, Reverse(at), 0, at)));
                    }
                    _ => {
                        let below = self.levels.get(level - 2).map(Vec::as_slice);
                        let branches = below.unwrap_or_default().chunks(FAN).nth(at);
                        for (branch, at) in branches.unwrap_or_default().iter().zip(under) {
                            let first = at * FAN.pow(level as u32 - 1);
                            let most = branch.most_for(&wanted);
                            found.extend(most.map(|most| (most, Reverse(first), level - 1, at)));
                        }
                    }
                }
            }
            None
        })
    }
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
        let memory = [0, 50, 64, 90, 100, 128, 200, 1000, 4096, 5000, 1 << 20];
        for _ in 0..4000 {
            let place = next(700) as usize;
            places[place] = room(next(40), memory[next(11) as usize], 1 << next(4));
            rooms.set(place, places[place]);
            let wanted = room(next(45), memory[next(11) as usize], u64::from(1 + next(15)));
            let odd = |place: &usize| place % 2 == 1;
            let holds = |(_, room): &(usize, &Room)| room.may_hold(&wanted);
            let mut expected: Vec<(usize, &Room)> =
                places.iter().enumerate().filter(holds).collect();
            expected.sort_by_key(|(place, room)| (Reverse(room.cpu_milli), *place));
            let expected: Vec<usize> = expected.into_iter().map(|(place, _)| place).collect();
            assert_eq!(rooms.emptiest(&wanted, |_| true), expected.first().copied());
            assert_eq!(rooms.any(&wanted), !expected.is_empty());
            let first_odd = expected.iter().copied().find(odd);
            assert_eq!(rooms.emptiest(&wanted, |place| odd(&place)), first_odd);
            assert_eq!(rooms.emptiest_first(wanted).collect::<Vec<_>>(), expected);
        }
    }
}
