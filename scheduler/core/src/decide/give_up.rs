//! Attempts that will never end: their tasks run elsewhere, or fail where they have cost
//! too many nodes.

use wrun_protocol::job::RetryPolicy;
use wrun_protocol::task::{Failure, Outcome, Usage};
use wrun_protocol::wire::user::JobState;
use wrun_protocol::wire::worker::{Assignment, TaskResult};
use wrun_protocol::{JobId, TaskId};

use super::MAX_BATCH;
use crate::core::Core;
use crate::fact::{Fact, Next, RequeueCause};
use crate::state::jobs::{NodeIx, Tasks};
use crate::state::nodes::node_id;

impl Core {
    /// Gives up those of `tasks` that the node still has.
    pub(crate) fn give_up(&mut self, ix: NodeIx, tasks: &[Assignment], cause: RequeueCause) {
        let (broken, tasks): (Vec<Assignment>, Vec<Assignment>) =
            tasks.iter().partition(|tasks| self.is_broken_gang(tasks.job));
        if cause == RequeueCause::NodeLost {
            tasks.iter().for_each(|tasks| self.fail_exhausted(ix, *tasks));
        }
        self.put_back(ix, &tasks, cause);
        if !broken.is_empty() {
            self.put_back(ix, &broken, RequeueCause::Gang);
        }
    }

    fn put_back(&mut self, ix: NodeIx, tasks: &[Assignment], cause: RequeueCause) {
        let mut left = Vec::new();
        for tasks in tasks {
            self.state.held(ix, *tasks, |run, ()| left.push(run));
        }
        for batch in left.chunks(MAX_BATCH) {
            batch.iter().for_each(|tasks| self.job_changed(tasks.job));
            let (at, node, tasks) = (self.now, node_id(ix), batch.to_vec());
            self.append(Fact::Requeued { at, node, cause, tasks });
        }
    }

    /// Fails those that have no requeue left.
    fn fail_exhausted(&mut self, ix: NodeIx, tasks: Assignment) {
        if self.state.services.has_job(tasks.job) {
            // A replica stays, whatever it has cost.
            return;
        }
        let Some(policy) = self.retry_policy(tasks.job) else { return };
        let (first, end) = (tasks.tasks.first, tasks.tasks.end());
        let gang = self.gang_exhausted(tasks.job, &policy);
        let exhausted: Vec<TaskId> = if policy.requeues == 0 || gang == Some(true) {
            tasks.tasks.indices().map(|index| tasks.job.task(index)).collect()
        } else if gang == Some(false) {
            Vec::new()
        } else {
            let extras = self.state.extras.range(tasks.job.task(first)..tasks.job.task(end));
            let spent = extras.filter(|(_, extra)| extra.requeues >= policy.requeues);
            spent.map(|(task, _)| *task).collect()
        };
        for task in exhausted {
            if self.state.holds(ix, task, tasks.attempt) {
                let result = TaskResult {
                    outcome: Outcome::Failed(Failure::NodeLost),
                    usage: Usage::default(),
                    output: None,
                    log: None,
                };
                self.end_attempt(ix, task.attempt(tasks.attempt), Box::new(result), None);
            }
        }
    }

    /// Records the end of an attempt. `retry_at` says when the task runs again, if it does.
    pub(crate) fn end_attempt(
        &mut self,
        ix: NodeIx,
        attempt: wrun_protocol::AttemptId,
        result: Box<TaskResult>,
        retry_at: Option<wrun_protocol::Timestamp>,
    ) {
        let job = attempt.task.job;
        let (at, node) = (self.now, node_id(ix));
        let ends_job = match retry_at {
            Some(_) => None,
            None => self.ending(job, 1, !result.outcome.is_success()),
        };
        let next = match retry_at {
            Some(not_before) => Next::Retry { not_before },
            None => Next::Final { ends_job },
        };
        let knowing = if ends_job.is_some() { self.knowing(job) } else { Vec::new() };
        self.append(Fact::Ended { at, node, attempt, result, next });
        self.send_forget(job, &knowing);
        self.job_changed(job);
    }

    /// The final state of a job, if `count` tasks are its last ones.
    pub(crate) fn ending(&self, job: JobId, count: u32, failed: bool) -> Option<JobState> {
        if self.state.services.has_job(job) {
            // What sleeps has not ended.
            return None;
        }
        let job = self.state.jobs.get(job)?;
        if job.live_tasks() != count {
            return None;
        }
        Some(match &job.tasks {
            Tasks::One(_) if failed => JobState::Failed,
            Tasks::One(_) => JobState::Succeeded,
            Tasks::Many(array) => array.final_state(failed),
        })
    }

    pub(crate) fn retry_policy(&self, job: JobId) -> Option<RetryPolicy> {
        Some(self.state.jobs.get(job)?.spec.encoded().decode().ok()?.retry)
    }
}
