//! Operations on part of a live job: its tasks are named by index, and those that the
//! operation does not concern stay as they are.

use std::collections::BTreeMap;
use std::time::Duration;

use wrun_protocol::wire::policy::TaskSet;
use wrun_protocol::wire::user::{ErrorCode, JobState, RequestError};
use wrun_protocol::wire::worker::{Assignment, ToWorker};
use wrun_protocol::{IndexRange, JobId};

use super::MAX_BATCH;
use crate::core::Core;
use crate::effect::Answer;
use crate::fact::{Fact, RequeueCause};
use crate::state::jobs::{Array, NodeIx, Over, Tasks};

impl Core {
    /// Cancels those of `tasks` that have not ended.
    pub(crate) fn on_cancel_tasks(
        &mut self,
        id: JobId,
        tasks: &TaskSet,
    ) -> Result<Answer, RequestError> {
        self.check_no_revision(id)?;
        let Some(ranges) = self.named(id, tasks)? else { return self.on_cancel(id) };
        let Some(Tasks::Many(array)) = self.state.jobs.get(id).map(|job| &job.tasks) else {
            return self.on_cancel(id);
        };
        if array.gang {
            return Err(conflict(format!(
                "job {id} is a gang, whose tasks run together or not at all: cancel the job"
            )));
        }
        let live = ranges.iter().flat_map(|tasks| array.live_within(id, *tasks)).collect();
        let live = joined(live);
        if live.is_empty() {
            return Err(conflict(format!("these tasks of job {id} have ended already")));
        }
        self.cancel_live(id, live);
        Ok(Answer::Done)
    }

    /// Cancels tasks none of which has ended.
    pub(crate) fn cancel_live(&mut self, id: JobId, live: Vec<IndexRange>) {
        let stops = live.iter().flat_map(|tasks| self.placed_within(id, *tasks)).collect();
        let count = live.iter().map(|tasks| tasks.count).sum();
        let ends_job = self.ending_cancelled(id, count);
        let knowing = if ends_job.is_some() { self.knowing(id) } else { Vec::new() };
        let (at, mut left) = (self.now, live);
        while left.len() > MAX_BATCH {
            let rest = left.split_off(MAX_BATCH);
            let tasks = std::mem::replace(&mut left, rest);
            self.append(Fact::TasksCancelled { at, job: id, tasks, ends_job: None });
        }
        self.append(Fact::TasksCancelled { at, job: id, tasks: left, ends_job });
        self.send_stops(stops);
        self.send_forget(id, &knowing);
        self.job_changed(id);
    }

    /// Lets those of `tasks` run again that failed or were cancelled.
    pub(crate) fn on_retry(&mut self, id: JobId, tasks: &TaskSet) -> Result<Answer, RequestError> {
        self.check_no_revision(id)?;
        let ranges = self.named(id, tasks)?.unwrap_or_else(|| vec![ALL]);
        let mut again: Vec<Assignment> = Vec::new();
        if let Some(Tasks::Many(array)) = self.state.jobs.get(id).map(|job| &job.tasks) {
            let over = ranges.iter().flat_map(|tasks| array.over.within(id, *tasks));
            again.extend(over.filter(|(_, over)| *over != Over::Succeeded).map(|(run, _)| run));
        }
        if again.is_empty() {
            return Err(conflict(format!(
                "none of these tasks of job {id} failed or was cancelled"
            )));
        }
        for batch in again.chunks(MAX_BATCH) {
            self.append(Fact::TasksRetried { at: self.now, tasks: batch.to_vec() });
        }
        self.job_changed(id);
        Ok(Answer::Done)
    }

    /// Stops those of `tasks` that are placed and puts them back into the queue.
    pub(crate) fn on_requeue(
        &mut self,
        id: JobId,
        tasks: &TaskSet,
    ) -> Result<Answer, RequestError> {
        self.check_no_revision(id)?;
        let ranges = self.named(id, tasks)?.unwrap_or_else(|| vec![ALL]);
        let runs: Vec<_> = ranges.iter().flat_map(|tasks| self.placed_within(id, *tasks)).collect();
        if runs.is_empty() {
            return Err(conflict(format!(
                "none of these tasks of job {id} is on a node: there is nothing to put back"
            )));
        }
        self.give_notice(&runs, Duration::ZERO, RequeueCause::Requested);
        Ok(Answer::Done)
    }

    pub(crate) fn send_stops(&mut self, runs: Vec<(NodeIx, Assignment)>) {
        let mut stops: BTreeMap<NodeIx, Vec<Assignment>> = BTreeMap::new();
        for (ix, run) in runs {
            stops.entry(ix).or_default().push(run);
        }
        for (ix, tasks) in stops {
            for batch in tasks.chunks(MAX_BATCH) {
                self.send(ix, ToWorker::Stop(batch.to_vec()));
            }
        }
    }

    /// The ranges of a set, checked; `None` for all tasks.
    fn named(&self, id: JobId, tasks: &TaskSet) -> Result<Option<Vec<IndexRange>>, RequestError> {
        let Some(job) = self.state.jobs.get(id) else { return Err(self.not_live(id)) };
        let count = match &job.tasks {
            Tasks::One(_) => 1,
            Tasks::Many(array) => array.count,
        };
        let TaskSet::Ranges(ranges) = tasks else { return Ok(None) };
        let mut end = 0;
        for range in ranges {
            let fits = range.count > 0 && range.first >= end;
            if !fits || range.first.checked_add(range.count).is_none_or(|end| end > count) {
                return Err(RequestError::new(
                    ErrorCode::InvalidInput,
                    format!(
                        "tasks {} to {} of job {id}: name tasks from 0 to {}, in ascending order and none twice",
                        range.first,
                        range.end().saturating_sub(1),
                        count - 1
                    ),
                ));
            }
            end = range.end();
        }
        Ok(Some(ranges.clone()))
    }

    /// Why nothing can be done with a job that is not live.
    pub(crate) fn not_live(&self, id: JobId) -> RequestError {
        if self.state.workflows.get(id).is_some() {
            conflict(format!(
                "job {id} is a workflow: name the job of one of its steps, as `wrun job {id}` shows them"
            ))
        } else if id.0 < self.state.next_job && id.0 > 0 {
            conflict(format!("job {id} has ended already: submit it anew to run it again"))
        } else {
            RequestError::new(ErrorCode::NotFound, format!("there is no job {id}"))
        }
    }

    fn placed_within(&self, id: JobId, tasks: IndexRange) -> Vec<(NodeIx, Assignment)> {
        match self.state.jobs.get(id).map(|job| &job.tasks) {
            Some(Tasks::Many(array)) => {
                let placed = array.placed.within(id, tasks);
                placed.into_iter().map(|(run, spot)| (spot.node, run)).collect()
            }
            Some(Tasks::One(_)) if tasks.contains(0) => self.state.spots(id),
            _ => Vec::new(),
        }
    }

    /// The final state of a job, if `count` cancelled tasks are its last ones.
    fn ending_cancelled(&self, id: JobId, count: u32) -> Option<JobState> {
        let ending = self.ending(id, count, false)?;
        Some(if ending == JobState::Failed { ending } else { JobState::Cancelled })
    }
}

/// Every index there can be.
const ALL: IndexRange = IndexRange { first: 0, count: u32::MAX };

impl Array {
    /// The state in which the array ends when its last task ends, `failed` or not.
    pub(crate) fn final_state(&self, failed: bool) -> JobState {
        if failed || self.counts.failed > 0 {
            JobState::Failed
        } else if self.counts.cancelled > 0 {
            JobState::Cancelled
        } else {
            JobState::Succeeded
        }
    }
}

fn conflict(message: String) -> RequestError {
    RequestError::new(ErrorCode::Conflict, message)
}

/// The indices of runs in ascending order, joined where they touch.
pub(super) fn joined(mut runs: Vec<Assignment>) -> Vec<IndexRange> {
    runs.sort_unstable_by_key(|run| run.tasks.first);
    let mut ranges: Vec<IndexRange> = Vec::new();
    for run in runs {
        match ranges.last_mut().filter(|last| last.end() == run.tasks.first) {
            Some(last) => last.count += run.tasks.count,
            None => ranges.push(run.tasks),
        }
    }
    ranges
}
