//! Who may hold an instance: the pool's parts, counted before a store is built, so that
//! a pool that is full makes a task wait and never fail. First come, first served; what
//! waits is bounded. No threads and no clock here.

use std::collections::VecDeque;

/// An amount of each part of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    pub(crate) components: u32,
    pub(crate) cores: u32,
    pub(crate) memories: u32,
    pub(crate) tables: u32,
    pub(crate) stacks: u32,
}

impl Demand {
    fn checked_sub(self, other: Self) -> Option<Self> {
        Some(Self {
            components: self.components.checked_sub(other.components)?,
            cores: self.cores.checked_sub(other.cores)?,
            memories: self.memories.checked_sub(other.memories)?,
            tables: self.tables.checked_sub(other.tables)?,
            stacks: self.stacks.checked_sub(other.stacks)?,
        })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            components: self.components + other.components,
            cores: self.cores + other.cores,
            memories: self.memories + other.memories,
            tables: self.tables + other.tables,
            stacks: self.stacks + other.stacks,
        }
    }

    /// What of `self` is more than the whole pool `most`: its name, need and bound.
    pub(crate) fn excess(self, most: Self) -> Option<(&'static str, u32, u32)> {
        [
            ("core instances", self.cores, most.cores),
            ("memories", self.memories, most.memories),
            ("tables", self.tables, most.tables),
        ]
        .into_iter()
        .find(|(_, needs, most)| needs > most)
    }
}

/// As many wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) waiting: usize,
}

/// A pool's free parts, and who waits for some.
pub(crate) struct Permits<T> {
    free: Demand,
    waiting: VecDeque<(Demand, T)>,
    most_waiting: usize,
}

impl<T> Permits<T> {
    pub(crate) fn new(pool: Demand, most_waiting: usize) -> Self {
        Self { free: pool, waiting: VecDeque::new(), most_waiting }
    }

    /// Gives `item` back when it has its permit at once; else it waits.
    pub(crate) fn acquire(&mut self, demand: Demand, item: T) -> Result<Option<T>, Full> {
        if self.waiting.is_empty()
            && let Some(free) = self.free.checked_sub(demand)
        {
            self.free = free;
            return Ok(Some(item));
        }
        if self.waiting.len() >= self.most_waiting {
            return Err(Full { waiting: self.waiting.len() });
        }
        self.waiting.push_back((demand, item));
        Ok(None)
    }

    /// Takes `demand` back.
    pub(crate) fn release(&mut self, demand: Demand) {
        self.free = self.free.plus(demand);
    }

    /// The next who waits and fits now; it has its permit. One for which `gone` holds
    /// has left meanwhile and is dropped.
    pub(crate) fn next(&mut self, gone: impl Fn(&T) -> bool) -> Option<T> {
        while let Some((demand, item)) = self.waiting.front() {
            if gone(item) {
                self.waiting.pop_front();
                continue;
            }
            self.free = self.free.checked_sub(*demand)?;
            return self.waiting.pop_front().map(|(_, item)| item);
        }
        None
    }

    /// Everyone who waits; nobody does afterwards.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.waiting.drain(..).map(|(_, item)| item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(cores: u32) -> Demand {
        Demand { cores, ..Demand::default() }
    }

    #[test]
    fn a_small_one_does_not_overtake_a_large_one_that_waits() {
        let mut permits = Permits::new(cores(4), 8);
        assert_eq!(permits.acquire(cores(3), 'a'), Ok(Some('a')));
        assert_eq!(permits.acquire(cores(3), 'b'), Ok(None));
        assert_eq!(permits.acquire(cores(1), 'c'), Ok(None));
        assert_eq!(permits.next(|_| false), None);
        permits.release(cores(3));
        assert_eq!(permits.next(|_| false), Some('b'));
        assert_eq!(permits.next(|_| false), Some('c'));
        assert_eq!(permits.next(|_| false), None);
    }

    #[test]
    fn who_left_takes_nothing() {
        let mut permits = Permits::new(cores(1), 8);
        assert_eq!(permits.acquire(cores(1), 'a'), Ok(Some('a')));
        assert_eq!(permits.acquire(cores(1), 'b'), Ok(None));
        assert_eq!(permits.acquire(cores(1), 'c'), Ok(None));
        permits.release(cores(1));
        assert_eq!(permits.next(|item| *item == 'b'), Some('c'));
    }

    #[test]
    fn waiting_is_bounded() {
        let mut permits = Permits::new(cores(0), 1);
        assert_eq!(permits.acquire(cores(1), 'a'), Ok(None));
        assert_eq!(permits.acquire(cores(1), 'b'), Err(Full { waiting: 1 }));
    }
}
