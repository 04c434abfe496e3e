//! Why a job waits, where it stands, and what would change that.

use std::collections::BTreeMap;

use wrun_protocol::JobId;
use wrun_protocol::wire::policy::{Expectation, Explanation, QueueRow, ReasonRow, Why};

use super::forecast::Expected;
use crate::core::Core;
use crate::state::groups::{Group, GroupIx, Rank};
use crate::state::jobs::Job;

impl Core {
    /// Why a live job waits and what would let it start sooner. Costs one step for each
    /// node and for each job that stands before it.
    pub fn explain(&self, id: JobId) -> Option<Explanation> {
        self.why(id).map(|why| why.explanation)
    }

    /// The same, with why nobody can tell when it starts, where that is so.
    pub fn why(&self, id: JobId) -> Option<Why> {
        let job = self.state.jobs.get(id)?;
        let why = self.why_waiting(id);
        let reasons = self.all_reasons(id, why.as_ref());
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
            position: self.position(id, job),
            reasons: rows.collect(),
            expected,
            advice: why.map(|(first, survey)| self.advice(id, &first, &survey)).unwrap_or_default(),
        };
        Some(Why { explanation, unknown })
    }

    /// The jobs that can be placed, first to be considered first, then those that wait for
    /// a quota; jobs of equal rank by age, though their tenants take turns.
    pub fn queue(&self, limit: usize) -> Vec<QueueRow> {
        let mut found: Vec<(Rank, JobId, GroupIx)> = Vec::new();
        let groups = &self.state.groups;
        for (standing, group) in groups.in_queue() {
            // Heads come by rank: nothing that follows can stand before what is found.
            found.sort_unstable_by_key(|(rank, job, _)| (std::cmp::Reverse(*rank), *job));
            if found.get(limit.saturating_sub(1)).is_some_and(|(r, ..)| *r > standing.rank.0) {
                break;
            }
            let Some(entry) = groups.get(group) else { continue };
            let jobs = entry.ready.iter().take(limit);
            found.extend(jobs.map(|job| (self.rank_of(entry, *job), *job, group)));
        }
        found.sort_unstable_by_key(|(rank, job, _)| (std::cmp::Reverse(*rank), *job));
        if found.len() < limit {
            let parked = groups.in_order().filter_map(|group| Some((group, groups.get(group)?)));
            let parked = parked.filter(|(_, entry)| entry.parked.is_some());
            let jobs = parked.flat_map(|(group, entry)| {
                entry.ready.iter().map(move |job| (self.rank_of(entry, *job), *job, group))
            });
            found.extend(jobs.take(limit));
        }
        found.truncate(limit);
        let jobs: Vec<JobId> = found.iter().map(|(_, job, _)| *job).collect();
        let expected = self.expected_starts(&jobs);
        let mut reasons: BTreeMap<GroupIx, String> = BTreeMap::new();
        let rows = found.iter().filter_map(|(_, job, group)| {
            let row = self.queue_row(*job, *group, &mut reasons)?;
            Some(QueueRow { expected: expected.get(job).copied(), ..row })
        });
        rows.collect()
    }

    fn queue_row(
        &self,
        id: JobId,
        group: GroupIx,
        reasons: &mut BTreeMap<GroupIx, String>,
    ) -> Option<QueueRow> {
        let job = self.state.jobs.get(id)?;
        let entry = self.state.groups.get(group)?;
        let reason = reasons.entry(group).or_insert_with(|| {
            self.pending_reason(id).map(|reason| reason.to_string()).unwrap_or_default()
        });
        let wishes = entry.key.wishes.as_deref();
        Some(QueueRow {
            job: id,
            name: job.spec.encoded().decode().map(|spec| spec.name).unwrap_or_default(),
            tenant: self.state.tenants.get(entry.key.tenant)?.name.clone(),
            partition: wishes.and_then(|wishes| wishes.partition.clone()),
            qos: wishes.and_then(|wishes| wishes.qos.clone()),
            waiting: job.counts().pending,
            priority: self.rank_of(entry, id),
            reason: reason.clone(),
            expected: None,
        })
    }

    pub(crate) fn rank_of(&self, group: &Group, job: JobId) -> Rank {
        let submitted = self.state.jobs.get(job).map(|job| job.submitted).unwrap_or_default();
        self.ranking.rank(&self.state.rules, &self.state.groups.lengths, group, submitted)
    }

    /// The job's place in the queue, from 1; `None` where it is not in it.
    fn position(&self, id: JobId, job: &Job) -> Option<u64> {
        let group = self.state.groups.get(job.group)?;
        group.standing().filter(|_| group.ready.contains(&id))?;
        let own = self.rank_of(group, id);
        let mut before = 0;
        for (standing, ix) in self.state.groups.in_queue() {
            if standing.rank.0 < own {
                break;
            }
            let Some(entry) = self.state.groups.get(ix) else { continue };
            let is_before = |other: &&JobId| {
                let rank = self.rank_of(entry, **other);
                rank > own || (rank == own && **other < id)
            };
            before += match entry.ready.last().filter(is_before) {
                Some(_) => entry.ready.len(),
                None => entry.ready.iter().take_while(is_before).count(),
            };
        }
        Some(before as u64 + 1)
    }
}
