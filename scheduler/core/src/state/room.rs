//! Where there is room: what many places have free, so that the emptiest one with enough
//! is found in a few steps, or that there is none.
//!
//! Places stand in order, those with the most CPU first, in runs of some dozens. Of each run
//! the most memory of a place and all their classes are known: the first place with as much
//! memory as is wanted is the emptiest that holds it, and nearly all runs before it are
//! passed over by one number, side by side with that of their neighbours. What is known is a
//! rough copy (memory in MiB): it never misses a place with room, and whether a place that it
//! finds really has it is the caller's to check.

use wrun_protocol::Resources;

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

    /// Its CPU, as branches of the queue have it.
    pub(crate) fn cpu(&self) -> i32 {
        i32::try_from(self.cpu_milli).unwrap_or(i32::MAX)
    }

    /// Its memory, as runs have it.
    fn memory(&self) -> i32 {
        i32::try_from(self.memory_mib).unwrap_or(i32::MAX)
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

/// Amounts of memory that branches of the queue tell apart.
pub(crate) const LANES: usize = 24;

/// By amount of memory, the most CPU where there is at least as much. Signed, as that is
/// what processors compare many of at once.
pub(crate) type Reach = [i32; LANES];

/// Most places of a run.
const MOST: usize = 64;
/// Places of each run of many that come at once.
const SOME: usize = MOST / 2;
/// Neighbours that have no more together become one.
const FEW: usize = MOST / 2;
/// Runs that are asked at once how much memory a place of theirs has.
const AT_ONCE: usize = 8;

/// Where a place stands: what has the most CPU first, the lowest of equal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u64);

impl Key {
    fn new(room: &Room, place: usize) -> Self {
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        Self(u64::from(!room.cpu_milli) << 32 | u64::from(place))
    }

    fn cpu_milli(self) -> u32 {
        !((self.0 >> 32) as u32)
    }

    fn place(self) -> usize {
        self.0 as u32 as usize
    }
}

/// A place that takes something.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    memory_mib: u32,
    classes: u64,
}

impl Entry {
    fn new(place: usize, room: &Room) -> Self {
        let key = Key::new(room, place);
        Self { key, memory_mib: room.memory_mib, classes: room.classes }
    }

    fn room(&self) -> Room {
        let (cpu_milli, memory_mib) = (self.key.cpu_milli(), self.memory_mib);
        Room { cpu_milli, memory_mib, classes: self.classes }
    }
}

/// Places by number, and in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rooms {
    places: Vec<Room>,
    /// Those that take something, in order. None is empty.
    runs: Vec<Vec<Entry>>,
    /// By run: what is not after any of its places, the most memory of one, and all their
    /// classes, and maybe some of those that were there.
    firsts: Vec<Key>,
    memory: Vec<i32>,
    classes: Vec<u64>,
    reach: Reach,
}

impl Rooms {
    /// Has those places, in order, in place of all that were there.
    pub(crate) fn refill(&mut self, places: impl Iterator<Item = Room>) {
        self.places.clear();
        self.places.extend(places);
        self.runs.clear();
        self.firsts.clear();
        self.memory.clear();
        self.classes.clear();
        let some = self.places.iter().enumerate().filter(|(_, room)| room.classes != 0);
        let mut entries: Vec<Entry> = some.map(|(place, room)| Entry::new(place, room)).collect();
        entries.sort_unstable_by_key(|entry| entry.key);
        for some in entries.chunks(SOME) {
            self.insert_run(self.runs.len(), some.to_vec());
        }
        self.measure(0, LANES - 1, 0);
    }

    /// With as many places, in order.
    pub(crate) fn of(places: impl Iterator<Item = Room>) -> Self {
        let mut rooms = Self::default();
        rooms.refill(places);
        rooms
    }

    /// The most CPU of any place.
    pub(crate) fn most_cpu(&self) -> u32 {
        self.reach.first().copied().unwrap_or_default().cast_unsigned()
    }

    /// What any place may hold.
    pub(crate) fn reach(&self) -> &Reach {
        &self.reach
    }

    pub(crate) fn set(&mut self, place: usize, room: Room) {
        if self.places.len() <= place {
            self.places.resize(place + 1, Room::default());
        }
        let Some(entry) = self.places.get_mut(place) else { return };
        let before = std::mem::replace(entry, room);
        if before == room {
            return;
        }
        if before.classes != 0 {
            self.take_out(Key::new(&before, place));
        }
        if room.classes != 0 {
            self.enter(Entry::new(place, &room));
        }
        let most = |room: &Room| self.reach.get(room.lane()).copied().unwrap_or_default();
        if before.cpu() >= most(&before) || room.cpu() > most(&room) {
            // Those with more CPU are there still, and those with more memory: what they
            // reach is as it was.
            let cpu = before.cpu().max(room.cpu());
            let from = self.reach.iter().position(|most| *most <= cpu).unwrap_or(LANES);
            let fullest = if before.cpu_milli > room.cpu_milli { &before } else { &room };
            let run = self.run_of(Key::new(fullest, 0));
            self.measure(from, before.lane().max(room.lane()), run);
        }
    }

    /// Works out anew what can be reached from one lane to another; no place before `run` has
    /// as much memory as one of these.
    fn measure(&mut self, from: usize, to: usize, run: usize) {
        let (mut lane, mut run) = (from, run);
        while lane <= to {
            let Some(next) = self.next_run(run, self.runs.len(), least(lane), ANY_CLASS) else {
                break;
            };
            for entry in self.runs.get(next).into_iter().flatten() {
                let room = entry.room();
                if room.memory() >= least(lane) {
                    let upto = room.lane().min(to);
                    let reached = self.reach.get_mut(lane..=upto);
                    reached.into_iter().flatten().for_each(|most| *most = room.cpu());
                    lane = upto + 1;
                }
                if lane > to {
                    return;
                }
            }
            run = next + 1;
        }
        let rest = self.reach.get_mut(lane..=to);
        rest.into_iter().flatten().for_each(|most| *most = 0);
    }

    /// The run that has what stands there, if any has.
    fn run_of(&self, key: Key) -> usize {
        self.firsts.partition_point(|first| *first <= key).saturating_sub(1)
    }

    fn insert_run(&mut self, at: usize, run: Vec<Entry>) {
        let Some(first) = run.first() else { return };
        self.firsts.insert(at, first.key);
        self.runs.insert(at, run);
        self.memory.insert(at, 0);
        self.classes.insert(at, 0);
        self.sum(at);
    }

    /// Looks at a run's places to know what they have.
    fn sum(&mut self, at: usize) {
        let entries = self.runs.get(at).into_iter().flatten();
        let of = entries.fold((0, 0), |(memory, classes), entry| {
            (entry.memory_mib.max(memory), entry.classes | classes)
        });
        if let (Some(memory), Some(classes)) = (self.memory.get_mut(at), self.classes.get_mut(at)) {
            *memory = i32::try_from(of.0).unwrap_or(i32::MAX);
            *classes = of.1;
        }
    }

    fn enter(&mut self, entry: Entry) {
        let at = self.run_of(entry.key);
        let (Some(run), Some(first), Some(memory), Some(classes)) = (
            self.runs.get_mut(at),
            self.firsts.get_mut(at),
            self.memory.get_mut(at),
            self.classes.get_mut(at),
        ) else {
            return self.insert_run(at, vec![entry]);
        };
        let slot = run.partition_point(|other| other.key < entry.key);
        run.insert(slot, entry);
        *first = entry.key.min(*first);
        *memory = entry.room().memory().max(*memory);
        *classes |= entry.classes;
        if run.len() > MOST {
            let later = run.split_off(run.len() / 2);
            self.sum(at);
            self.insert_run(at + 1, later);
        }
    }

    fn take_out(&mut self, key: Key) {
        let at = self.run_of(key);
        let Some(run) = self.runs.get_mut(at) else { return };
        let Ok(slot) = run.binary_search_by_key(&key, |entry| entry.key) else { return };
        let gone = run.remove(slot);
        let left = run.len();
        let next = self.runs.get(at + 1).map_or(MOST, Vec::len);
        if left == 0 {
            self.remove_run(at);
        } else if left + next <= FEW {
            let more = self.remove_run(at + 1);
            self.runs.get_mut(at).into_iter().for_each(|run| run.extend(&more));
            self.sum(at);
        } else if self.memory.get(at).is_some_and(|most| gone.room().memory() >= *most) {
            self.sum(at);
        }
    }

    fn remove_run(&mut self, at: usize) -> Vec<Entry> {
        self.firsts.remove(at);
        self.memory.remove(at);
        self.classes.remove(at);
        self.runs.remove(at)
    }

    /// The first of some runs with a place that may have as much memory, and one of a class.
    fn next_run(&self, from: usize, end: usize, memory: i32, classes: u64) -> Option<usize> {
        let mut at = from;
        loop {
            let (several, _) = self.memory.get(at..end)?.as_chunks::<AT_ONCE>();
            let none = |some: &&[i32; AT_ONCE]| {
                !some.iter().fold(false, |any, most| any | (*most >= memory))
            };
            at += several.iter().take_while(none).count() * AT_ONCE;
            at += self.memory.get(at..end)?.iter().position(|most| *most >= memory)?;
            if self.classes.get(at).is_some_and(|some| some & classes != 0) {
                return Some(at);
            }
            at += 1;
        }
    }

    /// Whether a place may hold what is wanted.
    pub(crate) fn any(&self, wanted: &Room) -> bool {
        self.holding(*wanted).next().is_some()
    }

    /// The place with the most CPU, the lowest of equal ones, of those that may hold what
    /// is wanted and that `takes` agrees to. Places are asked in that order.
    pub(crate) fn emptiest(
        &self,
        wanted: &Room,
        mut takes: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        self.holding(*wanted).find(|place| takes(*place))
    }

    /// Places that may hold what is wanted, those with the most CPU first, equal ones by
    /// number.
    pub(crate) fn emptiest_first(&self, wanted: Room) -> impl Iterator<Item = usize> {
        self.holding(wanted)
    }

    fn holding(&self, wanted: Room) -> impl Iterator<Item = usize> {
        let end = self.firsts.partition_point(|first| first.cpu_milli() >= wanted.cpu_milli);
        let mut from = 0;
        let runs = std::iter::from_fn(move || {
            let next = self.next_run(from, end, wanted.memory(), wanted.classes)?;
            from = next + 1;
            self.runs.get(next)
        });
        let holding = runs.flatten().filter(move |entry| entry.room().may_hold(&wanted));
        holding.map(|entry| entry.key.place())
    }
}

/// The least memory of a lane.
fn least(lane: usize) -> i32 {
    match lane.checked_sub(1) {
        None => 0,
        Some(above) => (64 << (above / 2)) + (32 << (above / 2)) * (above % 2) as i32,
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

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
            let reach = std::array::from_fn(|lane| {
                let enough = places.iter().filter(|room| room.memory() >= least(lane));
                enough.map(Room::cpu).max().unwrap_or_default()
            });
            assert_eq!(*rooms.reach(), reach);
            assert_eq!(*Rooms::of(places.iter().copied()).reach(), reach);
            assert!(rooms.runs.iter().all(|run| (1..=MOST).contains(&run.len())));
        }
        // Where nearly all go, the runs of those that stay become one.
        (0..700).for_each(|place| rooms.set(place, room(next(4000), 100, 1)));
        assert!(rooms.runs.len() > 10);
        (0..700).filter(|place| place % 50 > 0).for_each(|place| rooms.set(place, Room::default()));
        assert_eq!(rooms.runs.len(), 1);
        assert_eq!(rooms.emptiest_first(room(0, 100, ANY_CLASS)).count(), 14);
    }

    #[test]
    fn a_lane_begins_where_its_least_memory_is() {
        for lane in 0..LANES {
            assert_eq!(room(0, least(lane).cast_unsigned(), 1).lane(), lane);
        }
        assert_eq!(room(0, least(1).cast_unsigned() - 1, 1).lane(), 0);
    }
}
