//! Which submission made which job: every live one, and a bounded number of those whose
//! job has ended. History knows the older ones.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};

use wrun_protocol::{JobId, SubmitId};

use super::groups::TenantIx;

/// Never iterated: its order is that of a hash.
type ById = HashMap<(SubmitId, TenantIx), JobId, BuildHasherDefault<DefaultHasher>>;

#[derive(Debug)]
pub(crate) struct Submits {
    by_id: ById,
    /// Those whose job has ended, oldest first.
    ended: VecDeque<(SubmitId, TenantIx)>,
    remembered: usize,
}

impl Submits {
    pub(crate) fn new(remembered: usize) -> Self {
        Self { by_id: ById::default(), ended: VecDeque::new(), remembered }
    }

    pub(crate) fn find(&self, tenant: TenantIx, id: SubmitId) -> Option<JobId> {
        self.by_id.get(&(id, tenant)).copied()
    }

    pub(crate) fn enter(&mut self, tenant: TenantIx, id: SubmitId, job: JobId) {
        self.by_id.insert((id, tenant), job);
    }

    /// The job has ended: its submission is remembered for a while.
    pub(crate) fn end(&mut self, tenant: TenantIx, id: SubmitId) {
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
