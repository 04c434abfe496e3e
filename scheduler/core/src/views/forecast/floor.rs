//! Before when a job starts in no case, whatever room there is: what it waits for within
//! itself, in other jobs, and in quotas.

use wrun_protocol::scheduling::{Dependency, DependsOn};
use wrun_protocol::{JobId, Timestamp};

use super::{MAX_FOLLOWED, Rests, Unknown};
use crate::core::Core;
use crate::reason::{Bound, LimitReached, PendingReason};
use crate::state::groups::{Group, GroupKey};
use crate::state::jobs::Job;
use crate::state::quotas::QuotaIx;

/// Runs of tasks that are looked at for those that count for a quota, and groups and jobs that
/// wait for one.
const MAX_COUNTED: usize = 20_000;

/// An earliest instant, and on what it rests.
pub(super) struct Floor {
    pub(super) at: Timestamp,
    pub(super) rests: Rests,
}

impl Core {
    pub(super) fn floor(&self, id: JobId, job: &Job, followed: u32) -> Result<Floor, Unknown> {
        let plainly = |at| Ok(Floor { at, rests: Rests::Nothing });
        match self.state.kept_back(id, job) {
            Some(PendingReason::Held) => Err(Unknown::Held),
            Some(PendingReason::Deadline { .. }) => Err(Unknown::Deadline),
            Some(PendingReason::Begin { at }) => plainly(at),
            Some(PendingReason::BackOff { until }) => plainly(until),
            Some(PendingReason::Dependency { on }) => self.met(on, followed),
            Some(PendingReason::MaxRunning { .. }) => {
                let first = self.ends_of_job(id, job).min_by_key(|floor| floor.at);
                first.ok_or(Unknown::NoRoom)
            }
            Some(_) => Err(Unknown::NoRoom),
            None => match self.state.groups.may_place(job.group) {
                Ok(_) => plainly(self.now),
                Err((quota, limit)) => self.within_quota(quota, limit, id, job),
            },
        }
    }

    /// When placed tasks of the job are expected to end.
    fn ends_of_job(&self, id: JobId, job: &Job) -> impl Iterator<Item = Floor> {
        let group = self.state.groups.get(job.group);
        let spots = self.state.spots(id).into_iter();
        let runs = spots.filter_map(move |(ix, run)| {
            let node = self.state.nodes.get(ix)?;
            Some(node.tasks.within(id, run.tasks).into_iter())
        });
        runs.flatten().filter_map(move |(_, placed)| {
            let (at, rests) = self.expected_end_of(id, group?, placed);
            Some(Floor { at, rests })
        })
    }

    /// When the job that it depends on is expected to have come that far.
    fn met(&self, on: Dependency, followed: u32) -> Result<Floor, Unknown> {
        let unknown = || Unknown::Dependency(on.job);
        let job = self.state.jobs.get(on.job).ok_or_else(unknown)?;
        let group = self.state.groups.get(job.group).ok_or_else(unknown)?;
        let pending = job.counts().pending;
        let starts = || {
            let followed = followed + 1;
            let next = (followed <= MAX_FOLLOWED).then(|| self.forecast(on.job, job, followed));
            next.and_then(Result::ok).ok_or_else(unknown)
        };
        if on.on == DependsOn::Start {
            return starts().map(|start| Floor { at: start.at, rests: start.rests });
        }
        if pending == 0 {
            let ends = self.ends_of_job(on.job, job);
            let last =
                ends.reduce(|a, b| Floor { at: a.at.max(b.at), rests: a.rests.max(b.rests) });
            return last.ok_or_else(unknown);
        }
        // Of many tasks that still wait, when the last starts is not worked out.
        if pending > 1 && group.key.gang() == 0 {
            return Err(unknown());
        }
        let start = starts()?;
        let (at, rests) = self.expected_end_of(on.job, group, start.at);
        Ok(Floor { at, rests: rests.max(start.rests) })
    }

    /// When enough has ended that a quota leaves room.
    fn within_quota(
        &self,
        quota: QuotaIx,
        limit: LimitReached,
        id: JobId,
        job: &Job,
    ) -> Result<Floor, Unknown> {
        let Some(own) = self.state.groups.get(job.group) else { return Err(Unknown::NoRoom) };
        let mut ends: Vec<(Timestamp, Rests, u64)> = Vec::new();
        let nodes = self.state.nodes.iter();
        let runs = nodes.flat_map(|(_, node)| node.tasks.iter()).take(MAX_COUNTED);
        for (run, placed) in runs {
            let group = self.state.jobs.get(run.job).map(|job| job.group);
            let group = group.and_then(|group| self.state.groups.get(group));
            let Some(group) = group.filter(|group| group.quotas.contains(&quota)) else { continue };
            let (at, rests) = self.expected_end_of(run.job, group, placed);
            let each = amount(&group.key, limit.bound);
            ends.push((at, rests, each.saturating_mul(run.tasks.count.into())));
        }
        ends.sort_unstable();
        let before = self.before_in(quota, id, own);
        let at_once = u64::from(own.key.gang().max(1)).saturating_add(before);
        let needed = amount(&own.key, limit.bound).saturating_mul(at_once);
        let mut missing = limit.used.saturating_add(needed).saturating_sub(limit.most);
        let mut rests = Rests::Nothing;
        for (at, on, freed) in ends {
            rests = rests.max(on);
            missing = missing.saturating_sub(freed);
            if missing == 0 {
                return Ok(Floor { at, rests });
            }
        }
        Err(Unknown::Limit(limit))
    }

    /// Tasks that wait for the quota and go before the job's. All there could be where they
    /// are more than are looked at.
    fn before_in(&self, quota: QuotaIx, id: JobId, own: &Group) -> u64 {
        let rank = self.rank_of(own, id);
        let tasks = |job: JobId| self.state.jobs.get(job).map_or(0, Job::ready_tasks);
        let mut left = MAX_COUNTED;
        let mut before = 0_u64;
        for group in self.state.groups.quotas.parked(quota) {
            let Some(group) = self.state.groups.get(group) else { continue };
            let goes = |job: &JobId| {
                let other = self.rank_of(group, *job);
                other > rank || (other == rank && *job < id)
            };
            let jobs = group.ready.iter().take_while(goes).take(left);
            left = left.saturating_sub(1);
            for job in jobs {
                before = before.saturating_add(tasks(job).into());
                left = left.saturating_sub(1);
            }
            if left == 0 {
                return u64::MAX;
            }
        }
        before
    }
}

/// What a task counts for.
fn amount(key: &GroupKey, bound: Bound) -> u64 {
    match bound {
        Bound::Queued | Bound::Running => 1,
        Bound::Cpu => key.wanted.cpu_milli.into(),
        Bound::Memory => key.wanted.memory,
        Bound::Gpu => {
            let wishes = key.wishes.as_ref();
            wishes.and_then(|wishes| wishes.devices.gpu.as_ref()).map_or(0, |gpu| gpu.milli.into())
        }
    }
}
