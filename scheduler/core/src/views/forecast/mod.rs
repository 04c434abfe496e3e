//! When the next task of a job that waits is expected to start, and what that rests on.
//!
//! What stands before it in the queue is planned in order, each at the earliest instant at
//! which it fits by all that is known of time, and then the job itself. That is what
//! placement does if nothing else arrives, but for what it fills in. The work is bounded:
//! what lies behind more than that is said to be too far to tell. Changes nothing.

mod floor;
mod plan;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use wrun_protocol::{JobId, Timestamp};

use self::plan::Plan;
use super::order::InOrder;
use crate::core::Core;
use crate::decide::promise::Unit;
use crate::reason::LimitReached;
use crate::state::jobs::Job;

/// Dependencies that are followed from one job to the next.
const MAX_FOLLOWED: u32 = 8;

/// When the next task of a job starts, as far as it can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Then.
    At(Forecast),
    /// Nobody can tell.
    Unknown(Unknown),
}

/// An expected start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// When.
    pub at: Timestamp,
    /// Nodes are kept for it from then on.
    pub promised: bool,
    /// The weakest of what it rests on.
    pub rests: Rests,
    /// The policy's time for tasks of which nothing is known, in milliseconds.
    pub default_ms: u64,
    /// One in so many nodes and tasks was looked at.
    pub one_in: u64,
}

/// What an expectation rests on, from firm to loose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rests {
    /// On nothing that has to end.
    #[default]
    Nothing,
    /// On time limits.
    Limits,
    /// On how long earlier tasks took.
    Earlier,
    /// On the policy's time for tasks of which nothing is known.
    Default,
    /// On a task of this job, which runs longer than was expected and has no time limit.
    Overdue(JobId),
}

/// Why nobody can tell when a job starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// A user holds it.
    Held,
    /// It could not end before its deadline.
    Deadline,
    /// A quota, or the nodes that are ready, could never hold what starts at once.
    Beyond,
    /// No node that takes tasks suits it.
    NoNode,
    /// By all that is known it never finds room.
    NoRoom,
    /// It depends on a job of which nobody can tell when it comes that far.
    Dependency(JobId),
    /// When enough of what counts for a quota ends cannot be told.
    Limit(LimitReached),
    /// A task of this job has to end first. It has no time limit, and runs longer than was
    /// expected.
    Overdue(JobId),
    /// It stands behind more than is looked at.
    TooFar {
        /// Tasks and gangs that were looked at.
        looked_at: u64,
    },
}

impl Core {
    /// When the next task of a live job is expected to start. `None` where none waits. The
    /// work is bounded, whatever the queue.
    pub fn expected_start(&self, id: JobId) -> Option<Expected> {
        let job = self.state.jobs.get(id)?;
        if job.counts().pending == 0 {
            return None;
        }
        Some(self.forecast(id, job, 0).map_or_else(Expected::Unknown, Expected::At))
    }

    fn forecast(&self, id: JobId, job: &Job, followed: u32) -> Result<Forecast, Unknown> {
        let group = self.state.groups.get(job.group).ok_or(Unknown::NoNode)?;
        if self.beyond_all(&group.key, &group.quotas).is_some() {
            return Err(Unknown::Beyond);
        }
        let floor = self.floor(id, job, followed)?;
        let mut plan = Plan::new(self);
        if !plan.has_nodes_for(job.group) {
            return Err(Unknown::NoNode);
        }
        let (own, queued) = (self.rank_of(group, id), group.queues(id));
        let promises = self.promises.standing();
        let promised = promises.iter().any(|it| it.unit.job == id && it.start > self.now);
        // What it was promised does not hang on what is before it.
        for ahead in InOrder::of_tasks(self).take_while(|_| !promised) {
            let Unit { job: other, .. } = ahead.unit;
            if other == id || ahead.rank < own || (ahead.rank == own && !queued && other > id) {
                break;
            }
            plan.place(ahead.unit)?;
        }
        let count = if group.key.gang() > 0 { job.counts().pending } else { 1 };
        let unit = Unit { group: job.group, job: id, count };
        let planned = plan.last(unit, floor.at)?;
        let rests = planned.rests.max(floor.rests);
        if let Rests::Overdue(job) = rests {
            return Err(Unknown::Overdue(job));
        }
        Ok(Forecast {
            at: planned.start.max(floor.at),
            promised: planned.promised,
            rests,
            default_ms: self.state.rules.policy.backfill.default_time_ms,
            one_in: plan.one_in(),
        })
    }

    /// When the next task of each of these jobs is expected to start, as far as can be told
    /// of those in the queue.
    pub(super) fn expected_starts(&self, jobs: &[JobId]) -> BTreeMap<JobId, Timestamp> {
        let mut wanted: BTreeSet<JobId> = jobs.iter().copied().collect();
        let mut starts = BTreeMap::new();
        let mut plan = Plan::new(self);
        for next in InOrder::of_tasks(self) {
            if wanted.is_empty() {
                break;
            }
            let asked = wanted.remove(&next.unit.job);
            let Ok(planned) = plan.step(next.unit, asked) else { break };
            if let Some(planned) = planned.filter(|_| asked)
                && !matches!(planned.rests, Rests::Overdue(_))
            {
                starts.insert(next.unit.job, planned.start);
            }
        }
        starts
    }
}
