//! Numbers of things by their hash, at 8 bytes an entry: a table of 24 bits of the hash and 40
//! bits of the number. It says which it may be; who asks knows how to tell, because the thing
//! itself holds what was hashed.
//!
//! Open addressing. Entries stand in the order of their hashes, as far as there is room, so
//! that growing is one pass from end to end.

/// Bits of a number.
pub(crate) const BITS: u32 = 40;
const HASH_BITS: u32 = 64 - BITS;
/// Not a number of anything: numbers are 1 at least.
const EMPTY: u64 = 0;
const LEAST: usize = 1 << 4;

#[derive(Debug)]
pub(crate) struct Index {
    /// A power of two of them.
    slots: Vec<u64>,
    len: usize,
}

/// Whether a number fits into an entry.
fn fits(number: u64) -> bool {
    number != 0 && number < 1 << BITS
}

fn entry(hash: u64, number: u64) -> u64 {
    (hash >> BITS << BITS) | number
}

fn number_of(entry: u64) -> u64 {
    entry & ((1 << BITS) - 1)
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { slots: vec![EMPTY; LEAST], len: 0 }
    }

    fn mask(&self) -> usize {
        self.slots.len() - 1
    }

    /// Where an entry belongs.
    fn home(&self, entry: u64) -> usize {
        let (hash, bits) = ((entry >> BITS) as usize, self.slots.len().trailing_zeros());
        if bits <= HASH_BITS { hash >> (HASH_BITS - bits) } else { hash << (bits - HASH_BITS) }
    }

    fn at(&self, slot: usize) -> u64 {
        self.slots.get(slot & self.mask()).copied().unwrap_or(EMPTY)
    }

    fn set(&mut self, slot: usize, entry: u64) {
        let slot = slot & self.mask();
        if let Some(place) = self.slots.get_mut(slot) {
            *place = entry;
        }
    }

    /// Room for so many more.
    pub(crate) fn reserve(&mut self, more: usize) {
        // At most three quarters are taken, so that a search ends soon.
        let wanted = (self.len + more).saturating_mul(4).div_ceil(3) + 1;
        if wanted > self.slots.len() {
            let grown = vec![EMPTY; wanted.next_power_of_two()];
            let before = std::mem::replace(&mut self.slots, grown);
            before.into_iter().filter(|entry| *entry != EMPTY).for_each(|entry| self.put(entry));
        }
    }

    fn put(&mut self, entry: u64) {
        let mut slot = self.home(entry);
        while self.at(slot) != EMPTY {
            slot += 1;
        }
        self.set(slot, entry);
    }

    /// Adds one. `false` where its number is too large for this table.
    pub(crate) fn insert(&mut self, hash: u64, number: u64) -> bool {
        if !fits(number) {
            return false;
        }
        if self.slot_of(entry(hash, number)).is_none() {
            self.reserve(1);
            self.put(entry(hash, number));
            self.len += 1;
        }
        true
    }

    /// Has another number of the same hash in place of one. Says whether that was there.
    pub(crate) fn replace(&mut self, hash: u64, number: u64, by: u64) -> bool {
        let slot = self.slot_of(entry(hash, number)).filter(|_| fits(number) && fits(by));
        slot.inspect(|slot| self.set(*slot, entry(hash, by))).is_some()
    }

    fn slot_of(&self, wanted: u64) -> Option<usize> {
        let mut slot = self.home(wanted);
        loop {
            match self.at(slot) {
                EMPTY => return None,
                found if found == wanted => return Some(slot & self.mask()),
                _ => slot += 1,
            }
        }
    }

    /// A number of this hash for which `is_it` holds.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u64) -> bool) -> Option<u64> {
        let mut slot = self.home(hash);
        loop {
            match self.at(slot) {
                EMPTY => return None,
                found if found >> BITS == hash >> BITS && is_it(number_of(found)) => {
                    return Some(number_of(found));
                }
                _ => slot += 1,
            }
        }
    }

    /// Looks where what has this hash stands first; whether anything does.
    pub(super) fn touch(&self, hash: u64) -> bool {
        self.at(self.home(hash)) != EMPTY
    }

    /// Takes one out. Says whether it was there.
    pub(crate) fn remove(&mut self, hash: u64, number: u64) -> bool {
        let wanted = fits(number).then(|| entry(hash, number));
        let Some(mut hole) = wanted.and_then(|wanted| self.slot_of(wanted)) else { return false };
        self.len -= 1;
        // Those behind it move up where that brings them closer to home.
        let mut slot = hole + 1;
        loop {
            let found = self.at(slot);
            if found == EMPTY {
                break;
            }
            let from_home = slot.wrapping_sub(self.home(found)) & self.mask();
            if from_home >= (slot.wrapping_sub(hole) & self.mask()) {
                self.set(hole, found);
                hole = slot;
            }
            slot += 1;
        }
        self.set(hole, EMPTY);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Spreads numbers over all bits; every eighth shares its hash with another.
    fn hash(number: u64) -> u64 {
        (number - u64::from(number % 8 == 7)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn it_holds_what_a_map_holds_whatever_comes_and_goes() {
        let (mut index, mut model, mut random) = (Index::new(), BTreeMap::new(), 1_u64);
        for round in 0..20_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = 1 + (random >> 40) % 700;
            // It grows for a while, then shrinks.
            let comes = (random >> 20) % 16 < if round < 10_000 { 10 } else { 6 };
            if comes && model.contains_key(&number) {
                assert!(index.replace(hash(number), number, 1000));
                assert!(!index.replace(hash(number), number, 1001));
                assert!(index.replace(hash(number), 1000, number));
            } else if comes {
                assert!(index.insert(hash(number), number));
                model.insert(number, hash(number));
            } else {
                let was_there = model.remove(&number).is_some();
                assert_eq!(index.remove(hash(number), number), was_there);
            }
            assert_eq!(index.len, model.len());
        }
        for number in 1..=700 {
            let found = index.find(hash(number), |found| found == number);
            assert_eq!(found.is_some(), model.contains_key(&number));
        }
    }

    #[test]
    fn entries_at_the_end_go_on_at_the_beginning() {
        let mut index = Index::new();
        (1..=10).for_each(|job| assert!(index.insert(u64::MAX, job)));
        assert!(index.remove(u64::MAX, 1));
        for job in 2..=10 {
            assert_eq!(index.find(u64::MAX, |found| found == job), Some(job));
        }
        assert!(!index.insert(0, 1 << BITS), "larger than an entry can say");
    }
}
