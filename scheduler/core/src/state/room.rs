//! Where there is room: what many places have free, so that the emptiest one with enough
//! is found in a few steps, or that there is none.
//!
//! A tree of eight-fold branches. Each branch knows, for each of some amounts of memory,
//! the most CPU of the places under it that have that much memory, and all their classes:
//! whole branches are passed over, also where CPU is free in one place and memory in
//! another. What eight neighbours know stands side by side, amount by amount: a search asks
//! all of them about one amount, and looks at little more than two lines of memory for each
//! step. What a branch knows is a rough copy (memory in MiB): it never misses a place with
//! room, and whether a place that it finds really has it is the caller's to check.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use wrun_protocol::Resources;

const FAN: usize = 8;

/// Every class.
pub(crate) const ANY_CLASS: u64 = u64::MAX;

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

/// What a branch knows of all under it.
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
}

/// Branches that are neighbours, side by side.
#[derive(Clone, Debug, Default)]
struct Row {
    /// By lane, the most CPU of each.
    cpu_milli: [[i32; FAN]; LANES],
    classes: [u64; FAN],
}

impl Row {
    fn of(branches: &[Branch]) -> Self {
        let mut row = Self::default();
        for (place, branch) in branches.iter().enumerate() {
            for (lane, most) in row.cpu_milli.iter_mut().zip(&branch.cpu_milli) {
                if let Some(cpu) = lane.get_mut(place) {
                    *cpu = *most;
                }
            }
            if let Some(classes) = row.classes.get_mut(place) {
                *classes = branch.classes;
            }
        }
        row
    }

    /// What all of them know together.
    fn sum(&self) -> Branch {
        let most = self.cpu_milli.each_ref().map(|lane| lane.iter().fold(0, |a, b| a.max(*b)));
        Branch { cpu_milli: most, classes: self.classes.iter().fold(0, |all, some| all | some) }
    }

    /// One of them knows now what `now` says; brings that up to date to be what all of them
    /// know, who knew `above`. Says whether that has changed.
    fn set(&mut self, place: usize, now: &mut Branch, above: &Branch) -> bool {
        let mut changed = false;
        for ((lane, now), above) in
            self.cpu_milli.iter_mut().zip(&mut now.cpu_milli).zip(&above.cpu_milli)
        {
            let Some(cpu) = lane.get_mut(place) else { continue };
            let before = std::mem::replace(cpu, *now);
            // Mostly another has the most, or this one had less and has less.
            let most = if before == *now || (before < *above && *now <= *above) {
                *above
            } else {
                lane.iter().fold(0, |a, b| a.max(*b))
            };
            changed |= most != *above;
            *now = most;
        }
        if let Some(classes) = self.classes.get_mut(place) {
            *classes = now.classes;
        }
        now.classes = self.classes.iter().fold(0, |all, some| all | some);
        changed | (now.classes != above.classes)
    }

    /// What one of them knows.
    fn get(&self, place: usize) -> Branch {
        let most = self.cpu_milli.each_ref().map(|lane| lane.get(place).copied());
        Branch {
            cpu_milli: most.map(Option::unwrap_or_default),
            classes: self.classes.get(place).copied().unwrap_or_default(),
        }
    }

    /// Whether a change of a place below one of them may change what that one knows.
    fn heeds(&self, place: usize, before: &Room, now: &Room) -> bool {
        let most = |room: &Room| {
            let lane = self.cpu_milli.get(room.lane());
            lane.and_then(|lane| lane.get(place)).copied().unwrap_or_default()
        };
        // A place that has less than the most of its lane has less than that of all before.
        before.classes != now.classes || before.cpu() >= most(before) || now.cpu() > most(now)
    }

    /// By branch, the most CPU that a place below may have which holds what is wanted;
    /// negative where none may.
    fn most_for(&self, wanted: &Wanted) -> [i32; FAN] {
        let mut most = self.cpu_milli.get(wanted.lane).copied().unwrap_or_default();
        let (room, least) = (wanted.room, wanted.room.cpu());
        for (most, classes) in most.iter_mut().zip(&self.classes) {
            *most = if *most >= least && classes & room.classes != 0 { *most } else { -1 };
        }
        most
    }
}

struct Wanted {
    room: Room,
    lane: usize,
}

impl Wanted {
    fn new(room: &Room) -> Self {
        Self { room: *room, lane: room.lane() }
    }
}

/// A place, or the first of a branch, by the CPU that it has or may have: what is larger comes
/// first. Of equal CPU that is the lower place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate(i64);

impl Candidate {
    const NONE: Self = Self(-1);

    fn new(cpu: i32, place: usize) -> Self {
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        Self(i64::from(cpu) << 32 | i64::from(!place))
    }

    fn place(self) -> Option<usize> {
        (self != Self::NONE).then_some(!(self.0 as u32) as usize)
    }
}

/// The best of some, with which of them it is.
fn best_of(all: &[Candidate; FAN]) -> (usize, Candidate) {
    let best = all.iter().fold(Candidate::NONE, |best, other| best.max(*other));
    (all.iter().position(|other| *other == best).unwrap_or_default(), best)
}

/// Places by number, and the branches over them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rooms {
    /// Filled up to whole branches.
    places: Vec<[Room; FAN]>,
    /// Branches over places, then those over rows of these, up to a single row.
    levels: Vec<Vec<Row>>,
    /// What all of them know.
    top: Branch,
}

impl Rooms {
    /// With as many places, in order.
    pub(crate) fn of(places: Vec<Room>) -> Self {
        let mut of = Vec::with_capacity(places.len().div_ceil(FAN).max(1));
        for some in places.chunks(FAN) {
            let mut full = [Room::default(); FAN];
            full.iter_mut().zip(some).for_each(|(place, room)| *place = *room);
            of.push(full);
        }
        let mut branches: Vec<Branch> = of.iter().map(|some| Branch::over_places(some)).collect();
        let mut levels = Vec::new();
        loop {
            let rows: Vec<Row> = branches.chunks(FAN).map(Row::of).collect();
            branches = rows.iter().map(Row::sum).collect();
            levels.push(rows);
            if branches.len() <= 1 {
                let top = branches.first().copied().unwrap_or_default();
                return Self { places: of, levels, top };
            }
        }
    }

    /// The most CPU of any place.
    pub(crate) fn most_cpu(&self) -> u32 {
        self.top.cpu_milli.first().copied().unwrap_or_default().cast_unsigned()
    }

    /// What any place may hold.
    pub(crate) fn reach(&self) -> &Reach {
        &self.top.cpu_milli
    }

    pub(crate) fn set(&mut self, place: usize, room: Room) {
        let (mut at, slot) = (place / FAN, place % FAN);
        if self.places.len() <= at {
            let mut places: Vec<Room> = self.places.iter().flatten().copied().collect();
            places.resize((place + 1).max(places.len() * 2), Room::default());
            *self = Self::of(places);
        }
        let Some(places) = self.places.get_mut(at) else { return };
        let Some(entry) = places.get_mut(slot) else { return };
        let before = std::mem::replace(entry, room);
        let above = self.levels.first().and_then(|level| level.get(at / FAN));
        if before == room || above.is_some_and(|row| !row.heeds(at % FAN, &before, &room)) {
            return;
        }
        let mut now = Branch::over_places(places);
        for level in 0..self.levels.len() {
            let above = self.levels.get(level + 1).and_then(|rows| rows.get(at / FAN / FAN));
            let above = above.map_or(self.top, |row| row.get(at / FAN % FAN));
            let row = self.levels.get_mut(level).and_then(|rows| rows.get_mut(at / FAN));
            if row.is_none_or(|row| !row.set(at % FAN, &mut now, &above)) {
                return;
            }
            at /= FAN;
        }
        self.top = now;
    }

    /// Whether a place may hold what is wanted.
    pub(crate) fn any(&self, wanted: &Room) -> bool {
        let wanted = Wanted::new(wanted);
        self.top.cpu_milli.get(wanted.lane).is_some_and(|most| *most >= wanted.room.cpu())
            && self.any_under(self.levels.len(), 0, &wanted)
    }

    fn any_under(&self, level: usize, at: usize, wanted: &Wanted) -> bool {
        let Some(below) = level.checked_sub(1) else {
            let places = self.places.get(at);
            return places.is_some_and(|some| some.iter().any(|room| room.may_hold(&wanted.room)));
        };
        let Some(row) = self.levels.get(below).and_then(|rows| rows.get(at)) else { return false };
        let most = row.most_for(wanted);
        let mut likely = (at * FAN..).zip(most).filter(|(_, most)| *most >= 0);
        likely.any(|(at, _)| self.any_under(below, at, wanted))
    }

    /// The place with the most CPU, the lowest of equal ones, of those that may hold what
    /// is wanted and that `takes` agrees to.
    pub(crate) fn emptiest(
        &self,
        wanted: &Room,
        mut takes: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let wanted = Wanted::new(wanted);
        let mut best = Candidate::NONE;
        self.search(self.levels.len(), 0, &wanted, &mut best, &mut takes);
        best.place()
    }

    fn search(
        &self,
        level: usize,
        at: usize,
        wanted: &Wanted,
        best: &mut Candidate,
        takes: &mut impl FnMut(usize) -> bool,
    ) {
        let Some(below) = level.checked_sub(1) else {
            return self.search_places(at, wanted, best, takes);
        };
        let Some(row) = self.levels.get(below).and_then(|rows| rows.get(at)) else { return };
        let mut candidates = [Candidate::NONE; FAN];
        let most = row.most_for(wanted);
        for ((candidate, cpu), at) in candidates.iter_mut().zip(most).zip(at * FAN..) {
            if cpu >= 0 {
                *candidate = Candidate::new(cpu, at * FAN.pow(level as u32));
            }
        }
        // The likeliest first, so that the others are mostly passed over.
        loop {
            let (i, likeliest) = best_of(&candidates);
            if likeliest <= *best {
                return;
            }
            self.search(below, at * FAN + i, wanted, best, takes);
            if let Some(done) = candidates.get_mut(i) {
                *done = Candidate::NONE;
            }
        }
    }

    fn search_places(
        &self,
        at: usize,
        wanted: &Wanted,
        best: &mut Candidate,
        takes: &mut impl FnMut(usize) -> bool,
    ) {
        let Some(places) = self.places.get(at) else { return };
        let mut candidates = [Candidate::NONE; FAN];
        for ((candidate, room), place) in candidates.iter_mut().zip(places).zip(at * FAN..) {
            if room.may_hold(&wanted.room) {
                *candidate = Candidate::new(room.cpu(), place);
            }
        }
        // The best first: whoever is asked looks at what is far away in memory.
        loop {
            let (i, next) = best_of(&candidates);
            if next <= *best {
                return;
            }
            if takes(at * FAN + i) {
                *best = next;
                return;
            }
            if let Some(done) = candidates.get_mut(i) {
                *done = Candidate::NONE;
            }
        }
    }

    /// Places that may hold what is wanted, those with the most CPU first, equal ones by
    /// number.
    pub(crate) fn emptiest_first(&self, wanted: Room) -> impl Iterator<Item = usize> {
        let wanted = Wanted::new(&wanted);
        // Of what has as much CPU, a branch comes before the places that follow its first.
        let mut found = BinaryHeap::from([(i32::MAX, Reverse(0), self.levels.len() + 1, 0)]);
        std::iter::from_fn(move || {
            while let Some((_, _, level, at)) = found.pop() {
                let under = at * FAN..;
                match level {
                    0 => return Some(at),
                    1 => {
                        let places = self.places.get(at).into_iter().flatten().zip(under);
                        let holds = places.filter(|(room, _)| room.may_hold(&wanted.room));
                        found.extend(holds.map(|(room, at)| (room.cpu(), Reverse(at), 0, at)));
                    }
                    _ => {
                        let row = self.levels.get(level - 2).and_then(|rows| rows.get(at));
                        let most = row.map(|row| row.most_for(&wanted)).into_iter().flatten();
                        let likely = most.zip(under).filter(|(most, _)| *most >= 0);
                        found.extend(likely.map(|(most, at)| {
                            let first = at * FAN.pow(level as u32 - 1);
                            (most, Reverse(first), level - 1, at)
                        }));
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
