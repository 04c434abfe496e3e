//! Why a job waits, where it stands, and what would change that.

use std::collections::BTreeMap;

use wrun_protocol::wire::policy::{Expectation, Explanation, QueueRow, ReasonRow, Why};
use wrun_protocol::{JobId, TenantName};

use super::forecast::Expected;
use super::order::InOrder;
use super::place::Place;
use super::reasons::Looks;
use crate::core::Core;
use crate::state::groups::{Group, GroupIx, Rank};

impl Core {
    /// Why a live job waits and what would let it start sooner. Costs one step for each
    /// node, and a bounded number of others.
    pub fn explain(&self, id: JobId) -> Option<Explanation> {
        self.why(id).map(|why| why.explanation)
    }

    /// The same, with why nobody can tell when it starts, where that is so.
    pub fn why(&self, id: JobId) -> Option<Why> {
        let job = self.state.jobs.get(id)?;
        let (why, place) = (self.why_waiting(id), self.place_in_queue(id));
        let reasons = self.all_reasons(id, why.as_ref(), place);
        let rows = reasons.iter().map(|reason| ReasonRow {
            code: reason.code().to_owned(),
            text: reason.to_string(),
            nodes: reason.nodes(),
        });
        let (expected, unknown) = match self.expected_start(id) {
            Some(Expected::At(forecast)) => {
                let assumption = forecast.to_string();
                (Some(Expectation { at: forecast.at, assumption }), None)
            }
            Some(Expected::Unknown(why)) => (None, Some(why.to_string())),
            None => (None, None),
        };
        let explanation = Explanation {
            job: id,
            waiting: job.counts().pending,
            position: place.and_then(Place::number),
            reasons: rows.collect(),
            expected,
            advice: why.map(|(first, survey)| self.advice(id, &first, &survey)).unwrap_or_default(),
        };
        Some(Why { explanation, unknown })
    }

    /// The jobs that can be placed, first to be considered first, then those that wait for
    /// a quota; jobs of equal rank by age, though their tenants take turns. The work is
    /// bounded: rows beyond that say so.
    pub fn queue(&self, limit: usize) -> Vec<QueueRow> {
        self.queue_of(None, limit, limit)
    }

    /// The same of one tenant's among the first `looked_at` jobs.
    pub fn queue_of(
        &self,
        tenant: Option<&TenantName>,
        looked_at: usize,
        limit: usize,
    ) -> Vec<QueueRow> {
        let tenant = match tenant.map(|name| self.state.tenants.find(name)) {
            Some(None) => return Vec::new(),
            Some(known) => known,
            None => None,
        };
        let queued = InOrder::of_jobs(self).map(|next| (next.unit.job, next.unit.group));
        let parked = self.state.groups.quotas.all_parked().flat_map(|group| {
            let ready = self.state.groups.get(group).into_iter();
            ready.flat_map(|entry| entry.ready.iter()).map(move |job| (job, group))
        });
        let of_tenant = |(_, group): &(JobId, GroupIx)| {
            let owner = self.state.groups.get(*group).map(|entry| entry.key.tenant);
            tenant.is_none() || owner == tenant
        };
        let found = queued.chain(parked).take(looked_at).filter(of_tenant).take(limit);
        let found: Vec<(JobId, GroupIx)> = found.collect();
        let jobs: Vec<JobId> = found.iter().map(|(job, _)| *job).collect();
        let expected = self.expected_starts(&jobs);
        let (mut reasons, mut looks) = (BTreeMap::new(), Looks::default());
        let rows = found.iter().filter_map(|(job, group)| {
            let reason = reasons.entry(*group).or_insert_with(|| {
                let reason = self.reason_in_list(*job, &mut looks);
                reason.map(|reason| reason.to_string()).unwrap_or_default()
            });
            let row = self.queue_row(*job, *group, reason)?;
            Some(QueueRow { expected: expected.get(job).copied(), ..row })
        });
        rows.collect()
    }

    fn queue_row(&self, id: JobId, group: GroupIx, reason: &str) -> Option<QueueRow> {
        let job = self.state.jobs.get(id)?;
        let entry = self.state.groups.get(group)?;
        let wishes = entry.key.wishes.as_deref();
        Some(QueueRow {
            job: id,
            name: job.spec.encoded().decode().map(|spec| spec.name).unwrap_or_default(),
            tenant: self.state.tenants.get(entry.key.tenant)?.name.clone(),
            partition: wishes.and_then(|wishes| wishes.partition.clone()),
            qos: wishes.and_then(|wishes| wishes.qos.clone()),
            waiting: job.counts().pending,
            priority: self.rank_of(entry, id),
            reason: reason.to_owned(),
            expected: None,
        })
    }

    pub(crate) fn rank_of(&self, group: &Group, job: JobId) -> Rank {
        let submitted = self.state.jobs.get(job).map(|job| job.submitted).unwrap_or_default();
        self.ranking.rank(&self.state.rules, &self.state.groups.lengths, group, submitted)
    }
}
