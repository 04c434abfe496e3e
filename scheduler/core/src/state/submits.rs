//! Which submission made which job: every live one, and a bounded number of those whose
//! job has ended. History knows the older ones.
//!
//! A live job holds its submission's id itself; what is kept here is a hash of it, so
//! that a million queued jobs do not hold a million ids twice.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::hint::black_box;

use wrun_protocol::{JobId, SubmitId};

use super::groups::TenantIx;
use super::index::{BITS, Index};

type Key = (SubmitId, TenantIx);

/// Numbers in the index from here on are those of submissions whose job has ended.
const ENDED: u64 = 1 << (BITS - 1);

#[derive(Debug)]
pub(crate) struct Submits {
    /// By the hash of the submission: the number of a live job, or which of those that ended
    /// it is, counted from [`ENDED`]. An end changes one entry where it stands: each is far away
    /// in memory.
    index: Index,
    /// Live jobs whose number is too large for the index.
    late: BTreeMap<Key, JobId>,
    /// Those whose job has ended, oldest first.
    ended: VecDeque<(SubmitId, TenantIx, JobId)>,
    /// How many came before the oldest of them; begins anew from 0 when it is [`ENDED`].
    forgotten: u64,
    remembered: usize,
}

fn hash(key: &Key) -> u64 {
    BuildHasherDefault::<Fold>::default().hash_one(key)
}

/// The golden part of 2^64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A hash of ids that clients draw at random: as such they need little mixing.
#[derive(Default)]
struct Fold(u64);

impl Fold {
    fn take_in(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(GOLDEN);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.take_in(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| self.take_in(u64::from(*byte)));
    }

    fn write_u32(&mut self, word: u32) {
        self.take_in(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.take_in(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Submits {
    pub(crate) fn new(remembered: usize) -> Self {
        let (index, late, ended) = (Index::new(), BTreeMap::new(), VecDeque::new());
        Self { index, late, ended, forgotten: 0, remembered }
    }

    /// Room for `jobs` live jobs more.
    pub(crate) fn reserve(&mut self, jobs: usize) {
        self.index.reserve(jobs);
    }

    /// The job of a submission. `is_of` says whether a live job was made by it.
    pub(crate) fn find(
        &self,
        tenant: TenantIx,
        id: SubmitId,
        is_of: impl Fn(JobId) -> bool,
    ) -> Option<JobId> {
        let key = (id, tenant);
        let is_it = |number| match self.ended_at(number) {
            Some((of, by, _)) => (*of, *by) == key,
            None => number < ENDED && is_of(JobId(number)),
        };
        let found = self.index.find(hash(&key), is_it);
        let job = |number| self.ended_at(number).map_or(JobId(number), |(.., job)| *job);
        found.map(job).or_else(|| self.late.get(&key).copied())
    }

    /// Looks where a submission stands whose job is about to end, and where that which may be
    /// forgotten for it.
    pub(super) fn touch(&self, tenant: TenantIx, id: SubmitId) {
        let oldest = self.ended.front().map(|(id, tenant, _)| hash(&(*id, *tenant)));
        black_box(self.index.touch(hash(&(id, tenant))));
        black_box(oldest.map(|hash| self.index.touch(hash)));
    }

    /// A job has come.
    pub(crate) fn enter(&mut self, tenant: TenantIx, id: SubmitId, job: JobId) {
        let key = (id, tenant);
        if job.0 >= ENDED || !self.index.insert(hash(&key), job.0) {
            self.late.insert(key, job);
        }
    }

    /// The job has ended: its submission is remembered for a while.
    pub(crate) fn end(&mut self, tenant: TenantIx, id: SubmitId, job: JobId) {
        let key = (id, tenant);
        let number = self.number(self.ended.len());
        if job.0 >= ENDED || !self.index.replace(hash(&key), job.0, number) {
            self.late.remove(&key);
            self.index.insert(hash(&key), number);
        }
        self.ended.push_back((id, tenant, job));
        self.forget_oldest();
    }

    /// Remembers a submission whose job has ended.
    pub(crate) fn enter_ended(&mut self, tenant: TenantIx, id: SubmitId, job: JobId) {
        self.index.insert(hash(&(id, tenant)), self.number(self.ended.len()));
        self.ended.push_back((id, tenant, job));
        self.forget_oldest();
    }

    fn forget_oldest(&mut self) {
        while self.ended.len() > self.remembered {
            let number = self.number(0);
            let Some((id, tenant, _)) = self.ended.pop_front() else { return };
            self.index.remove(hash(&(id, tenant)), number);
            self.forgotten = (self.forgotten + 1) % ENDED;
        }
    }

    /// The number in the index of one that ended, by its place among them.
    fn number(&self, place: usize) -> u64 {
        ENDED + (self.forgotten + place as u64) % ENDED
    }

    /// What that number in the index says has ended.
    fn ended_at(&self, number: u64) -> Option<&(SubmitId, TenantIx, JobId)> {
        let place = (number.checked_sub(ENDED)? + ENDED - self.forgotten) % ENDED;
        self.ended.get(usize::try_from(place).ok()?)
    }

    /// Those whose job has ended, oldest first.
    pub(crate) fn ended(&self) -> impl ExactSizeIterator<Item = (SubmitId, TenantIx, JobId)> {
        self.ended.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submission_is_found_while_its_job_lives_and_for_a_while_after() {
        let mut submits = Submits::new(1);
        let (one, two) = (SubmitId([1; 16]), SubmitId([2; 16]));
        submits.enter(0, one, JobId(1));
        submits.enter(0, two, JobId(2));
        assert_eq!(submits.find(0, one, |job| job == JobId(1)), Some(JobId(1)));
        assert_eq!(submits.find(1, one, |_| false), None);
        submits.end(0, one, JobId(1));
        assert_eq!(submits.find(0, one, |_| false), Some(JobId(1)));
        submits.end(0, two, JobId(2));
        assert_eq!(submits.find(0, one, |_| false), None);
    }

    #[test]
    fn submissions_with_one_hash_are_told_apart() {
        let mut submits = Submits::new(8);
        let (mine, theirs) = (SubmitId([1; 16]), SubmitId([2; 16]));
        // As if `theirs`, of job 7, had the hash of `mine`.
        submits.index.insert(hash(&(mine, 0)), 7);
        let made = |job: JobId, id: SubmitId| (job == JobId(7)) == (id == theirs);
        assert_eq!(submits.find(0, mine, |job| made(job, mine)), None);
        submits.enter(0, mine, JobId(8));
        assert_eq!(submits.find(0, mine, |job| made(job, mine)), Some(JobId(8)));
        submits.end(0, mine, JobId(8));
        assert!(submits.index.find(hash(&(mine, 0)), |number| number == 7).is_some());
        assert_eq!(submits.find(0, mine, |job| made(job, mine)), Some(JobId(8)));
    }

    #[test]
    fn the_last_that_ended_are_remembered_whatever_their_numbers() {
        let mut submits = Submits::new(3);
        submits.forgotten = ENDED - 5;
        let id = |number: u64| SubmitId(u128::from(number).to_le_bytes());
        for number in 1..=20 {
            submits.enter(0, id(number), JobId(number));
            submits.end(0, id(number), JobId(number));
            for other in 1..=number {
                let found = submits.find(0, id(other), |_| false);
                assert_eq!(found, (other + 3 > number).then_some(JobId(other)));
            }
            assert!(
                submits.ended().map(|(.., job)| job.0).eq(number.saturating_sub(2).max(1)..=number)
            );
        }
    }

    #[test]
    fn a_job_of_the_far_future_is_found_like_any_other() {
        let mut submits = Submits::new(0);
        let (id, job) = (SubmitId([1; 16]), JobId(u64::MAX - 1));
        submits.enter(0, id, job);
        assert_eq!(submits.find(0, id, |_| false), Some(job));
        submits.end(0, id, job);
        assert_eq!(submits.find(0, id, |_| false), None);
    }
}
