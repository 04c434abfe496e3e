//! Groups in the order in which they are served, and which of them may fit where there is
//! room: a search passes over all that cannot in a few steps, however many these are.
//!
//! A tree of branches in the order of the queue. Each branch knows, for each of some
//! amounts of memory, the least CPU that a group under it wants which wants that much
//! memory, and how many are blocked. What it knows is rough, as what [`Rooms`] knows is: it
//! never passes over a group that fits, and whether a group fits is told by its wishes.
//!
//! [`Rooms`]: super::room::Rooms

use std::cmp::{Ordering, Reverse};

use wrun_protocol::JobId;

use super::groups::{GroupIx, Standing};
use super::room::{LANES, Reach, Room};

/// Where a group is.
pub(crate) type Place = (Standing, GroupIx);

/// The same in numbers that compare alike, faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    /// Turned round.
    rank: i64,
    /// Line, head and group: the halves of one number, which would be aligned to more.
    rest: [u64; 2],
}

impl Key {
    fn of((standing, group): &Place) -> Self {
        let (line, head) = (u64::from(standing.line), standing.head.0);
        let rest = [line << 32 | head >> 32, head << 32 | u64::from(*group)];
        Self { rank: !standing.rank.0, rest }
    }

    fn place(self) -> Place {
        let [first, last] = self.rest;
        let (rank, line) = (Reverse(!self.rank), (first >> 32) as u32);
        (Standing { rank, line, head: JobId(first << 32 | last >> 32) }, last as GroupIx)
    }

    fn numbers(self) -> (i64, u128) {
        let [first, last] = self.rest;
        (self.rank, u128::from(first) << 64 | u128::from(last))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers().cmp(&other.numbers())
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Most entries of a leaf, and branches of a branch.
const MOST: usize = 32;
/// Neighbours that have no more together become one.
const FEW: usize = MOST / 2;

/// A group in the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    key: Key,
    /// No node has room, other than those where room came free since.
    pub(crate) blocked: bool,
    /// By which amount of memory branches know it, and how much CPU it wants. One that is
    /// not blocked may find room whatever it wants.
    lane: u8,
    cpu: i32,
}

impl Entry {
    pub(crate) fn new(at: &Place, wanted: &Room, blocked: bool) -> Self {
        let (lane, cpu) = if blocked { (wanted.lane(), wanted.cpu()) } else { (0, 0) };
        Self { key: Key::of(at), blocked, lane: lane as u8, cpu }
    }

    pub(crate) fn at(&self) -> Place {
        self.key.place()
    }
}

/// What a branch knows of all under it.
#[derive(Clone, Copy, Debug)]
struct Sum {
    least: Reach,
    blocked: usize,
    count: usize,
}

impl Default for Sum {
    fn default() -> Self {
        Self { least: [i32::MAX; LANES], blocked: 0, count: 0 }
    }
}

impl Sum {
    fn add(&mut self, entry: &Entry) {
        if let Some(least) = self.least.get_mut(usize::from(entry.lane)) {
            *least = entry.cpu.min(*least);
        }
        self.blocked += usize::from(entry.blocked);
        self.count += 1;
    }

    fn add_all(&mut self, other: &Self) {
        for (least, other) in self.least.iter_mut().zip(&other.least) {
            *least = (*least).min(*other);
        }
        self.blocked += other.blocked;
        self.count += other.count;
    }

    fn of_lane(&self, lane: u8) -> i32 {
        self.least.get(usize::from(lane)).copied().unwrap_or(i32::MAX)
    }

    /// Whether anything may fit within what can be reached.
    fn may_fit(&self, reach: &Reach) -> bool {
        let fits = self.least.iter().zip(reach).map(|(least, most)| least <= most);
        fits.fold(false, |any, fits| any | fits)
    }
}

#[derive(Debug)]
struct Branch {
    /// Not after any that it has.
    first: Key,
    sum: Sum,
    below: Below,
}

#[derive(Debug)]
enum Below {
    Entries(Vec<Entry>),
    Branches(Vec<Branch>),
}

impl Branch {
    fn new(first: Key, below: Below) -> Self {
        let mut sum = Sum::default();
        match &below {
            Below::Entries(entries) => entries.iter().for_each(|entry| sum.add(entry)),
            Below::Branches(all) => all.iter().for_each(|branch| sum.add_all(&branch.sum)),
        }
        Self { first, sum, below }
    }

    fn len(&self) -> usize {
        match &self.below {
            Below::Entries(entries) => entries.len(),
            Below::Branches(all) => all.len(),
        }
    }

    /// Adds one that is not there. What becomes too large is split: returns the later half.
    fn insert(&mut self, entry: Entry) -> Option<Self> {
        self.first = self.first.min(entry.key);
        self.sum.add(&entry);
        match &mut self.below {
            Below::Entries(entries) => {
                let place = entries.partition_point(|other| other.key < entry.key);
                entries.insert(place, entry);
            }
            Below::Branches(all) => {
                let place = place_in(all, &entry.key);
                let split = all.get_mut(place).and_then(|branch| branch.insert(entry));
                if let Some(split) = split {
                    all.insert(place + 1, split);
                }
            }
        }
        (self.len() > MOST).then(|| self.split())
    }

    fn split(&mut self) -> Self {
        let middle = self.len() / 2;
        let later = match &mut self.below {
            Below::Entries(entries) => Below::Entries(entries.split_off(middle)),
            Below::Branches(all) => Below::Branches(all.split_off(middle)),
        };
        let first = match &later {
            Below::Entries(entries) => entries.first().map(|entry| entry.key),
            Below::Branches(all) => all.first().map(|branch| branch.first),
        };
        let earlier = std::mem::replace(&mut self.below, Below::Entries(Vec::new()));
        *self = Self::new(self.first, earlier);
        Self::new(first.unwrap_or(self.first), later)
    }

    fn remove(&mut self, at: &Key) -> Option<Entry> {
        let gone = match &mut self.below {
            Below::Entries(entries) => {
                let place = entries.binary_search_by(|entry| entry.key.cmp(at)).ok()?;
                entries.remove(place)
            }
            Below::Branches(all) => {
                let place = place_in(all, at);
                let gone = all.get_mut(place)?.remove(at)?;
                merge(all, place);
                gone
            }
        };
        self.sum.blocked -= usize::from(gone.blocked);
        self.sum.count -= 1;
        if self.sum.of_lane(gone.lane) == gone.cpu {
            let least = self.least_of(gone.lane);
            if let Some(lane) = self.sum.least.get_mut(usize::from(gone.lane)) {
                *lane = least;
            }
        }
        Some(gone)
    }

    fn least_of(&self, lane: u8) -> i32 {
        let least = match &self.below {
            Below::Entries(entries) => {
                let of_lane = entries.iter().filter(|entry| entry.lane == lane);
                of_lane.map(|entry| entry.cpu).min()
            }
            Below::Branches(all) => all.iter().map(|branch| branch.sum.of_lane(lane)).min(),
        };
        least.unwrap_or(i32::MAX)
    }

    /// How many stand before that place.
    fn before(&self, at: &Key) -> usize {
        match &self.below {
            Below::Entries(entries) => entries.partition_point(|entry| entry.key < *at),
            Below::Branches(all) => {
                let place = place_in(all, at);
                let whole = all.iter().take(place).map(|branch| branch.sum.count).sum::<usize>();
                whole + all.get(place).map_or(0, |branch| branch.before(at))
            }
        }
    }

    /// The first that is found, and those behind it that stand side by side with it.
    fn seek(&self, after: Option<&Key>, search: &impl Search) -> Option<&[Entry]> {
        match &self.below {
            Below::Entries(entries) => {
                let from = after.map_or(0, |after| entries.partition_point(|e| e.key <= *after));
                let behind = entries.get(from..)?;
                behind.get(behind.iter().position(|entry| search.is(entry))?..)
            }
            Below::Branches(all) => {
                let from = after.map_or(0, |after| place_in(all, after));
                let mut after = after;
                all.get(from..)?.iter().find_map(|branch| {
                    let after = after.take();
                    search.may_be_under(&branch.sum).then(|| branch.seek(after, search))?
                })
            }
        }
    }
}

/// The branch that has what is at that place, if any has.
fn place_in(all: &[Branch], at: &Key) -> usize {
    all.partition_point(|branch| branch.first <= *at).saturating_sub(1)
}

/// Lets no branch stay that is empty, nor neighbours that are small together.
fn merge(all: &mut Vec<Branch>, place: usize) {
    let len = all.get(place).map_or(0, Branch::len);
    if len == 0 {
        all.remove(place);
        return;
    }
    let next = place + 1;
    if next >= all.len() || len + all.get(next).map_or(0, Branch::len) > FEW {
        return;
    }
    let later = all.remove(next);
    let Some(earlier) = all.get_mut(place) else { return };
    match (&mut earlier.below, later.below) {
        (Below::Entries(entries), Below::Entries(more)) => entries.extend(more),
        (Below::Branches(all), Below::Branches(more)) => all.extend(more),
        _ => return,
    }
    earlier.sum.add_all(&later.sum);
}

/// What is looked for.
trait Search {
    fn may_be_under(&self, sum: &Sum) -> bool;
    fn is(&self, entry: &Entry) -> bool;
}

/// Anything.
struct Any;

impl Search for Any {
    fn may_be_under(&self, _: &Sum) -> bool {
        true
    }

    fn is(&self, _: &Entry) -> bool {
        true
    }
}

struct Fitting<'a, F> {
    reach: &'a Reach,
    is: F,
}

impl<F: Fn(&Entry) -> bool> Search for Fitting<'_, F> {
    fn may_be_under(&self, sum: &Sum) -> bool {
        sum.may_fit(self.reach)
    }

    fn is(&self, entry: &Entry) -> bool {
        let reached = self.reach.get(usize::from(entry.lane));
        reached.is_some_and(|most| *most >= entry.cpu) && (self.is)(entry)
    }
}

struct Blocked<F>(F);

impl<F: Fn(&Entry) -> bool> Search for Blocked<F> {
    fn may_be_under(&self, sum: &Sum) -> bool {
        sum.blocked > 0
    }

    fn is(&self, entry: &Entry) -> bool {
        entry.blocked && (self.0)(entry)
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    root: Option<Branch>,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.root.as_ref().map_or(0, |root| root.sum.count)
    }

    /// How many of them are not blocked.
    pub(crate) fn open(&self) -> usize {
        self.root.as_ref().map_or(0, |root| root.sum.count - root.sum.blocked)
    }

    /// Adds a group that is not there.
    pub(crate) fn insert(&mut self, entry: Entry) {
        let root =
            self.root.get_or_insert_with(|| Branch::new(entry.key, Below::Entries(Vec::new())));
        if let Some(later) = root.insert(entry) {
            let first = root.first;
            let earlier = std::mem::replace(root, Branch::new(first, Below::Branches(Vec::new())));
            *root = Branch::new(first, Below::Branches(vec![earlier, later]));
        }
    }

    /// Takes a group out.
    pub(crate) fn remove(&mut self, at: &Place) {
        let Some(root) = &mut self.root else { return };
        root.remove(&Key::of(at));
        if let Below::Branches(all) = &mut root.below
            && all.len() <= 1
        {
            self.root = all.pop();
        }
    }

    /// How many stand before a place.
    pub(crate) fn before(&self, at: &Place) -> usize {
        self.root.as_ref().map_or(0, |root| root.before(&Key::of(at)))
    }

    fn seek(&self, after: Option<&Place>, search: &impl Search) -> Option<&[Entry]> {
        self.root.as_ref()?.seek(after.map(Key::of).as_ref(), search)
    }

    /// The first after a place.
    pub(crate) fn next(&self, after: Option<&Place>) -> Option<&Entry> {
        self.seek(after, &Any)?.first()
    }

    /// The first of all.
    pub(crate) fn first(&self) -> Option<&Entry> {
        let mut branch = self.root.as_ref()?;
        loop {
            match &branch.below {
                Below::Entries(entries) => return entries.first(),
                Below::Branches(all) => branch = all.first()?,
            }
        }
    }

    /// The last of all.
    pub(crate) fn last(&self) -> Option<&Entry> {
        let mut branch = self.root.as_ref()?;
        loop {
            match &branch.below {
                Below::Entries(entries) => return entries.last(),
                Below::Branches(all) => branch = all.last()?,
            }
        }
    }

    /// The first after a place that may fit within what can be reached, if `is` agrees.
    pub(crate) fn next_fitting(
        &self,
        after: Option<&Place>,
        reach: &Reach,
        is: impl Fn(&Entry) -> bool,
    ) -> Option<&Entry> {
        self.seek(after, &Fitting { reach, is })?.first()
    }

    /// The same, and the one behind it.
    pub(crate) fn next_two(
        &self,
        after: Option<&Place>,
        reach: &Reach,
        is: impl Fn(&Entry) -> bool,
    ) -> Option<(&Entry, Option<&Entry>)> {
        let found = self.seek(after, &Fitting { reach, is })?;
        let first = found.first()?;
        Some((first, found.get(1).or_else(|| self.next(Some(&first.at())))))
    }

    /// The first after a place that is blocked, if `is` agrees.
    pub(crate) fn next_blocked(
        &self,
        after: Option<&Place>,
        is: impl Fn(&Entry) -> bool,
    ) -> Option<&Entry> {
        self.seek(after, &Blocked(is))?.first()
    }

    /// All after a place.
    pub(crate) fn iter(&self, after: Option<Place>) -> impl Iterator<Item = &Entry> {
        std::iter::successors(self.next(after.as_ref()), |entry| self.next(Some(&entry.at())))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::Bound;

    use wrun_protocol::Resources;

    use super::super::room::{ANY_CLASS, Rooms};
    use super::*;

    fn room(cpu_milli: u32, mib: u64) -> Room {
        let amounts = Resources { cpu_milli, memory: mib << 20, ..Resources::default() };
        Room::new(&amounts, ANY_CLASS)
    }

    /// Against a look at every group, over some thousand changes.
    #[test]
    fn what_it_finds_is_what_a_look_at_every_group_finds() {
        let mut random = 5_u32;
        let mut draw = move |below: u32| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) % below
        };
        let mut queue = Queue::default();
        let mut model: BTreeMap<Place, (Room, bool)> = BTreeMap::new();
        for step in 0..30_000_u32 {
            // It grows, then shrinks.
            let comes = draw(16) < if step < 15_000 { 9 } else { 7 };
            if comes || model.is_empty() {
                let rank = Reverse(i64::from(draw(4)));
                let head = JobId(u64::from(step) + u64::from(draw(50)));
                let at = (Standing { rank, line: draw(3), head }, step);
                let wanted = room(draw(40), u64::from(draw(2000)));
                let blocked = draw(4) > 0;
                queue.insert(Entry::new(&at, &wanted, blocked));
                model.insert(at, (wanted, blocked));
            } else {
                let at = *model.keys().nth(draw(model.len() as u32) as usize).unwrap();
                model.remove(&at);
                queue.remove(&at);
            }
            let blocked = model.values().filter(|(_, blocked)| *blocked).count();
            assert_eq!((queue.len(), queue.open()), (model.len(), model.len() - blocked));
            if step % 16 > 0 {
                continue;
            }
            let at = (Standing { rank: Reverse(1), line: 1, head: JobId(step.into()) }, 0);
            assert_eq!(queue.before(&at), model.range(..at).count());
            let rooms = Rooms::of((0..3).map(|_| room(draw(20), u64::from(draw(1000)))));
            let mut after = None;
            let likely = |at: &Place| {
                let (wanted, blocked) = &model[at];
                !blocked || rooms.any(wanted)
            };
            for at in model.keys().filter(|at| likely(at)) {
                let likely = |entry: &Entry| likely(&entry.at());
                let found = queue.next_fitting(after, rooms.reach(), likely);
                assert_eq!(found.map(Entry::at), Some(*at));
                let two = queue.next_two(after, rooms.reach(), likely);
                let two = two.map(|(first, behind)| (first.at(), behind.map(Entry::at)));
                let behind = model.range((Bound::Excluded(at), Bound::Unbounded)).next();
                assert_eq!(two, Some((*at, behind.map(|(at, _)| *at))));
                after = Some(at);
            }
            assert!(queue.next_fitting(after, rooms.reach(), |e| likely(&e.at())).is_none());
            let even = |at: &Place| at.1.is_multiple_of(2);
            let first = model.iter().find(|(at, (_, blocked))| *blocked && even(at));
            let found = queue.next_blocked(None, |entry| even(&entry.at()));
            assert_eq!(found.map(Entry::at), first.map(|(at, _)| *at));
        }
        let all: Vec<Place> = queue.iter(None).map(Entry::at).collect();
        assert_eq!(all, model.keys().copied().collect::<Vec<_>>());
    }

    #[test]
    fn keys_stand_in_the_order_of_places_and_tell_them() {
        let ends = [0, 1, 7, u32::MAX - 1, u32::MAX];
        let heads = [0, 1, u64::from(u32::MAX), 1 << 32, u64::MAX];
        let ranks = [i64::MIN, -1, 0, 1, i64::MAX];
        let places: Vec<Place> = ranks
            .into_iter()
            .flat_map(|rank| ends.map(|line| (rank, line)))
            .flat_map(|(rank, line)| heads.map(|head| (rank, line, head)))
            .flat_map(|(rank, line, head)| {
                let standing = Standing { rank: Reverse(rank), line, head: JobId(head) };
                ends.map(|group| (standing, group))
            })
            .collect();
        for one in &places {
            assert_eq!(Key::of(one).place(), *one);
            for other in &places {
                assert_eq!(Key::of(one).cmp(&Key::of(other)), one.cmp(other));
            }
        }
        assert_eq!(size_of::<Entry>(), 32);
    }

    /// Branches under a branch, itself included.
    fn size(branch: &Branch) -> usize {
        match &branch.below {
            Below::Entries(_) => 1,
            Below::Branches(all) => 1 + all.iter().map(size).sum::<usize>(),
        }
    }

    #[test]
    fn nothing_is_left_of_those_who_went_while_others_queue_up_behind() {
        let mut queue = Queue::default();
        let at = |head| (Standing { rank: Reverse(0), line: 0, head: JobId(head) }, 0);
        for head in 0..20_000 {
            queue.insert(Entry::new(&at(head), &Room::default(), true));
            if head >= 1000 {
                queue.remove(&at(head - 1000));
                assert!(queue.root.as_ref().map_or(0, size) < 8 * 1000 / FEW);
                let ends = (queue.first().map(Entry::at), queue.last().map(Entry::at));
                assert_eq!(ends, (Some(at(head - 999)), Some(at(head))));
            }
        }
        (19_000..20_000).for_each(|head| queue.remove(&at(head)));
        assert!(queue.root.is_none_or(|root| root.len() == 0));
    }
}
