//! Which submission made which job: every live one, and a bounded number of those whose
//! job has ended. History knows the older ones.
//!
//! A live job holds its submission's id itself; what is kept here is a hash of it, so
//! that a million queued jobs do not hold a million ids twice.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use wrun_protocol::{JobId, SubmitId};

use super::groups::TenantIx;
use super::index::Index;

type Key = (SubmitId, TenantIx);

/// No map is ever iterated: its order is that of a hash.
#[derive(Debug)]
pub(crate) struct Submits {
    /// Live jobs by the hash of their submission.
    live: Index,
    /// Live jobs whose number is too large for the index.
    late: BTreeMap<Key, JobId>,
    by_id: HashMap<Key, JobId, BuildHasherDefault<Fold>>,
    /// Those whose job has ended, oldest first.
    ended: VecDeque<Key>,
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
        Self {
            live: Index::new(),
            late: BTreeMap::new(),
            by_id: HashMap::default(),
            ended: VecDeque::new(),
            remembered,
        }
    }

    /// Room for `jobs` live jobs more.
    pub(crate) fn reserve(&mut self, jobs: usize) {
        self.live.reserve(jobs);
    }

    /// The job of a submission. `is_of` says whether a live job was made by it.
    pub(crate) fn find(
        &self,
        tenant: TenantIx,
        id: SubmitId,
        is_of: impl Fn(JobId) -> bool,
    ) -> Option<JobId> {
        let key = (id, tenant);
        let live = self.live.find(hash(&key), is_of);
        live.or_else(|| self.late.get(&key).or_else(|| self.by_id.get(&key)).copied())
    }

    /// A job has come.
    pub(crate) fn enter(&mut self, tenant: TenantIx, id: SubmitId, job: JobId) {
        let key = (id, tenant);
        if !self.live.insert(hash(&key), job) {
            self.late.insert(key, job);
        }
    }

    /// The job has ended: its submission is remembered for a while.
    pub(crate) fn end(&mut self, tenant: TenantIx, id: SubmitId, job: JobId) {
        let key = (id, tenant);
        if !self.live.remove(hash(&key), job) {
            self.late.remove(&key);
        }
        self.enter_ended(tenant, id, job);
    }

    /// Remembers a submission whose job has ended.
    pub(crate) fn enter_ended(&mut self, tenant: TenantIx, id: SubmitId, job: JobId) {
        self.by_id.insert((id, tenant), job);
        self.ended.push_back((id, tenant));
        while self.ended.len() > self.remembered {
            if let Some(oldest) = self.ended.pop_front() {
                self.by_id.remove(&oldest);
            }
        }
    }

    /// Those whose job has ended, oldest first.
    pub(crate) fn ended(&self) -> impl ExactSizeIterator<Item = (SubmitId, TenantIx, JobId)> {
        self.ended.iter().map(|(id, tenant)| {
            (*id, *tenant, self.by_id.get(&(*id, *tenant)).copied().unwrap_or(JobId(0)))
        })
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
        submits.live.insert(hash(&(mine, 0)), JobId(7));
        let made = |job: JobId, id: SubmitId| (job == JobId(7)) == (id == theirs);
        assert_eq!(submits.find(0, mine, |job| made(job, mine)), None);
        submits.enter(0, mine, JobId(8));
        assert_eq!(submits.find(0, mine, |job| made(job, mine)), Some(JobId(8)));
        submits.end(0, mine, JobId(8));
        assert_eq!(submits.live.find(hash(&(mine, 0)), |_| true), Some(JobId(7)));
        assert_eq!(submits.find(0, mine, |job| made(job, mine)), Some(JobId(8)));
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
