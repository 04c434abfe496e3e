//! How long tasks take: as long as they may, or about as long as earlier ones did of the
//! same component and tenant. Learned from facts alone, so that recovery knows it too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wrun_protocol::Digest;
use wrun_protocol::policy::Backfill;

use super::groups::TenantIx;

/// A component's place in the table.
pub(crate) type LengthIx = u32;

/// Components that no live job runs and whose lengths are remembered.
const MAX_REMEMBERED: usize = 4096;

/// How long a task may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Length {
    /// At most so long, in milliseconds.
    Limit(u64),
    /// As long as other tasks of the tenant with that component.
    Like(Digest),
}

/// How long a task is expected to take, in milliseconds, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) ms: u64,
    pub(crate) basis: Basis,
}

/// What an expectation rests on; from firm to loose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Basis {
    /// The time limit: it will not take longer.
    Limit,
    /// Earlier tasks.
    Prediction,
    /// Nothing but the policy's default.
    Default,
}

/// What was seen of one component of one tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Smoothed wall time, in microseconds.
    mean_us: u64,
    /// Smoothed distance from it.
    deviation_us: u64,
    /// Tasks seen; counts to two.
    tasks: u8,
}

#[derive(Debug)]
struct Entry {
    key: (TenantIx, Digest),
    seen: Seen,
    /// Groups that refer to it.
    groups: u32,
    /// Its place among those without a group.
    idle: u64,
}

/// The lengths of every component that live groups run, and of some that did.
#[derive(Debug, Default)]
pub(crate) struct Lengths {
    table: Vec<Entry>,
    vacant: Vec<LengthIx>,
    by_key: BTreeMap<(TenantIx, Digest), LengthIx>,
    /// Those without a group, the one that lost its last group first in front.
    idle: BTreeMap<u64, LengthIx>,
    next_idle: u64,
}

/// What is recorded of one component.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct LengthRecord {
    tenant: TenantIx,
    component: Digest,
    seen: Seen,
    /// Its place among those without a group.
    idle: Option<u32>,
}

impl Seen {
    /// Takes in `count` tasks that took `wall_us` together.
    fn observe(&mut self, wall_us: u64, count: u32) {
        let each = wall_us / u64::from(count.max(1));
        if self.tasks == 0 {
            *self = Self { mean_us: each, deviation_us: each / 2, tasks: 1 };
            return;
        }
        self.tasks = 2;
        // As TCP smooths round trips; many at once count as the eight that this remembers.
        let weight = u64::from(count.clamp(1, 8));
        let distance = self.mean_us.abs_diff(each);
        self.mean_us = (self.mean_us * (8 - weight) + each * weight) / 8;
        self.deviation_us = (self.deviation_us * 3 + distance) / 4;
    }

    /// What few tasks will exceed, in milliseconds.
    fn predicted_ms(&self) -> Option<u64> {
        let us = self.mean_us.saturating_add(self.deviation_us.saturating_mul(2));
        (self.tasks > 0).then_some((us / 1000).max(1))
    }
}

impl Lengths {
    /// A group of tasks of that length was made.
    pub(crate) fn enter(&mut self, tenant: TenantIx, length: Length) -> Option<LengthIx> {
        let Length::Like(component) = length else { return None };
        let key = (tenant, component);
        let ix = match self.by_key.get(&key) {
            Some(ix) => *ix,
            None => self.insert(key),
        };
        let entry = self.table.get_mut(ix as usize)?;
        if entry.groups == 0 {
            self.idle.remove(&entry.idle);
        }
        entry.groups += 1;
        Some(ix)
    }

    fn insert(&mut self, key: (TenantIx, Digest)) -> LengthIx {
        let entry = Entry { key, seen: Seen::default(), groups: 0, idle: 0 };
        let ix = self.vacant.pop().unwrap_or(self.table.len() as LengthIx);
        match self.table.get_mut(ix as usize) {
            Some(slot) => *slot = entry,
            None => self.table.push(entry),
        }
        self.by_key.insert(key, ix);
        ix
    }

    /// A group that referred to it is gone.
    pub(crate) fn leave(&mut self, ix: Option<LengthIx>) {
        let Some((ix, entry)) = ix.and_then(|ix| Some((ix, self.table.get_mut(ix as usize)?)))
        else {
            return;
        };
        entry.groups -= 1;
        if entry.groups > 0 {
            return;
        }
        if entry.seen.tasks == 0 {
            return self.remove(ix);
        }
        self.next_idle += 1;
        entry.idle = self.next_idle;
        self.idle.insert(entry.idle, ix);
        if self.idle.len() > MAX_REMEMBERED
            && let Some((_, oldest)) = self.idle.pop_first()
        {
            self.remove(oldest);
        }
    }

    fn remove(&mut self, ix: LengthIx) {
        if let Some(entry) = self.table.get(ix as usize) {
            self.by_key.remove(&entry.key);
            self.vacant.push(ix);
        }
    }

    /// Everything that was seen, in order of key.
    pub(crate) fn records(&self) -> Vec<LengthRecord> {
        let places: BTreeMap<LengthIx, u32> = self.idle.values().copied().zip(0..).collect();
        let entries =
            self.by_key.values().filter_map(|ix| Some((*ix, self.table.get(*ix as usize)?)));
        let seen = entries.filter(|(_, entry)| entry.seen.tasks > 0);
        let record = |(ix, entry): (LengthIx, &Entry)| {
            let ((tenant, component), idle) = (entry.key, places.get(&ix).copied());
            LengthRecord { tenant, component, seen: entry.seen, idle }
        };
        seen.map(record).collect()
    }

    /// Takes in what was recorded. Every live group has been entered.
    pub(crate) fn restore(&mut self, mut records: Vec<LengthRecord>) {
        records.sort_by_key(|record| record.idle);
        for record in records {
            let key = (record.tenant, record.component);
            let known = self.by_key.get(&key).copied();
            let ix = known.unwrap_or_else(|| self.insert(key));
            let Some(entry) = self.table.get_mut(ix as usize) else { continue };
            entry.seen = record.seen;
            if entry.groups == 0 {
                self.next_idle += 1;
                entry.idle = self.next_idle;
                self.idle.insert(entry.idle, ix);
            }
        }
    }

    /// Tasks ended well.
    pub(crate) fn observe(&mut self, ix: Option<LengthIx>, wall_us: u64, count: u32) {
        if let Some(entry) = ix.and_then(|ix| self.table.get_mut(ix as usize)) {
            entry.seen.observe(wall_us, count);
        }
    }

    /// How long a task is expected to take.
    pub(crate) fn expected(
        &self,
        length: Length,
        ix: Option<LengthIx>,
        backfill: &Backfill,
    ) -> Expected {
        let seen = ix.filter(|_| backfill.predict).and_then(|ix| self.table.get(ix as usize));
        let (ms, basis) = match (length, seen.and_then(|entry| entry.seen.predicted_ms())) {
            (Length::Limit(ms), _) => (ms, Basis::Limit),
            (Length::Like(_), Some(ms)) => (ms, Basis::Prediction),
            (Length::Like(_), None) => (backfill.default_time_ms, Basis::Default),
        };
        Expected { ms: ms.max(1), basis }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKFILL: Backfill = Backfill {
        promises: 1,
        headroom: 0,
        short_ms: 0,
        mode: wrun_protocol::policy::BackfillMode::Easy,
        depth: 1,
        default_time_ms: 60_000,
        predict: true,
    };
    const LIKE: Length = Length::Like(Digest([7; 32]));

    fn expected(lengths: &Lengths, ix: Option<LengthIx>) -> (u64, Basis) {
        let expected = lengths.expected(LIKE, ix, &BACKFILL);
        (expected.ms, expected.basis)
    }

    #[test]
    fn a_task_without_a_limit_is_expected_to_take_what_earlier_ones_took() {
        let mut lengths = Lengths::default();
        let ix = lengths.enter(0, LIKE);
        assert_eq!(expected(&lengths, ix), (60_000, Basis::Default));
        lengths.observe(ix, 8_000_000, 2);
        assert_eq!(expected(&lengths, ix), (8_000, Basis::Prediction), "4 s, give or take 2");
        (0..40).for_each(|_| lengths.observe(ix, 4_000_000, 1));
        assert_eq!(expected(&lengths, ix), (4_000, Basis::Prediction));
        let without = Backfill { predict: false, ..BACKFILL };
        assert_eq!(lengths.expected(LIKE, ix, &without).basis, Basis::Default);
        assert_eq!(lengths.expected(Length::Limit(7), None, &BACKFILL).ms, 7);
    }

    #[test]
    fn what_was_seen_outlives_the_group_and_a_restart_but_not_for_ever() {
        let mut lengths = Lengths::default();
        let ix = lengths.enter(0, LIKE);
        lengths.observe(ix, 1_000_000, 1);
        lengths.leave(ix);
        let mut again = Lengths::default();
        again.restore(lengths.records());
        let ix = again.enter(0, LIKE);
        assert_eq!(expected(&again, ix).1, Basis::Prediction);
        again.leave(ix);
        for other in 0..MAX_REMEMBERED as u32 {
            let ix = again.enter(1 + other, LIKE);
            again.observe(ix, 1_000_000, 1);
            again.leave(ix);
        }
        let ix = again.enter(0, LIKE);
        assert_eq!(expected(&again, ix).1, Basis::Default);
        assert!(again.table.len() <= MAX_REMEMBERED + 2);
    }
}
