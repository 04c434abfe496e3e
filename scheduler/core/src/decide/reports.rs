//! What workers report. Each report is dealt with once, by its number; what speaks of an
//! attempt that the node does not have is refused.

use wrun_protocol::task::{Failure, Outcome, Usage};
use wrun_protocol::wire::worker::{Assignment, Report, TaskResult, ToWorker};
use wrun_protocol::{AttemptId, JobId};

use super::MAX_BATCH;
use crate::core::Core;
use crate::fact::{Fact, RequeueCause, Success};
use crate::state::apply::alone;
use crate::state::jobs::NodeIx;
use crate::state::nodes::node_id;

/// Progress of at most so many tasks is kept; it is of interest to the eye only.
const MAX_PROGRESS: usize = 100_000;
/// Longest message of progress that is kept, in bytes.
const MAX_MESSAGE: usize = 256;

/// Reports of one kind that become one fact.
#[derive(Default)]
struct Batch {
    succeeded: Vec<Success>,
    returned: Vec<Assignment>,
    started: Vec<Assignment>,
    /// Jobs that ended, with the nodes to be told.
    ended: Vec<(JobId, Vec<NodeIx>)>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.succeeded.is_empty() && self.returned.is_empty() && self.started.is_empty()
    }
}

impl Core {
    pub(crate) fn on_reports(&mut self, ix: NodeIx, first: u64, reports: Vec<Report>) {
        let now = self.now;
        let Some(node) = self.state.nodes.get_mut(ix).filter(|node| node.session.connected) else {
            return;
        };
        node.session.last_seen = now;
        let next = node.next_report;
        let end = first.saturating_add(reports.len() as u64);
        let seen = usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut batch = Batch::default();
        for report in reports.into_iter().skip(seen) {
            self.on_report(ix, report, &mut batch);
        }
        self.record(ix, &mut batch);
        if end > next && end > first {
            self.append(Fact::Reported { at: now, node: node_id(ix), report: end - 1 });
        }
        if let Some(report) = end.max(next).checked_sub(1) {
            self.send(ix, ToWorker::Acknowledge { report });
        }
    }

    fn on_report(&mut self, ix: NodeIx, report: Report, batch: &mut Batch) {
        match report {
            Report::Succeeded { tasks, usage } => self.on_succeeded(ix, tasks, usage, batch),
            Report::Ended { attempt, result } => {
                self.record(ix, batch);
                self.on_ended(ix, attempt, result);
            }
            Report::Started(tasks) => {
                if batch.started.is_empty() {
                    self.record(ix, batch);
                }
                let mut runs = Vec::new();
                self.state.held(ix, tasks, |run, ()| runs.push(run));
                for run in runs {
                    self.state.mark_started(self.now, ix, run);
                    self.job_changed(run.job);
                    batch.started.push(run);
                }
            }
            Report::Returned(tasks) => {
                if batch.returned.is_empty() {
                    self.record(ix, batch);
                }
                let mut runs = Vec::new();
                self.state.held(ix, tasks, |run, ()| runs.push(run));
                if let Some(node) = self.state.nodes.get_mut(ix).filter(|_| !runs.is_empty()) {
                    node.session.recalled.clear();
                }
                for run in runs {
                    self.state.requeue(ix, RequeueCause::Returned, run);
                    self.job_changed(run.job);
                    batch.returned.push(run);
                }
            }
            Report::Preempted { attempt, usage: _ } => {
                self.record(ix, batch);
                self.on_preempted(ix, alone(attempt));
            }
            Report::Readied { attempt, state } => {
                self.record(ix, batch);
                self.on_readied(ix, attempt, state);
            }
            Report::Checkpoint { attempt, content } => {
                self.record(ix, batch);
                if self.state.holds(ix, attempt.task, attempt.attempt) {
                    self.append(Fact::Checkpointed { at: self.now, attempt, content });
                }
            }
        }
        let longest = batch.succeeded.len().max(batch.returned.len()).max(batch.started.len());
        if longest >= MAX_BATCH {
            self.record(ix, batch);
        }
    }

    fn on_succeeded(&mut self, ix: NodeIx, tasks: Assignment, usage: Usage, batch: &mut Batch) {
        self.state.bring_near(ix, tasks.job);
        let mut runs = Runs::default();
        self.state.held(ix, tasks, |run, ()| runs.push(run));
        if batch.succeeded.is_empty() {
            self.record(ix, batch);
        }
        let mut usage = Some(usage);
        runs.for_each(|run| {
            if self.state.services.has_job(run.job) {
                self.record(ix, batch);
                return self.on_replicas_succeeded(ix, run, usage.take().unwrap_or_default());
            }
            // A sum cannot be split: the first run that counts has it all.
            let usage = usage.take().unwrap_or_default();
            let ends_job = self.ending(run.job, run.tasks.count, false);
            let success = Success { tasks: run, usage, ends_job };
            self.observe(run.job, usage.wall_us, run.tasks.count);
            if ends_job.is_some() {
                let knowing = self.knowing(run.job);
                if !knowing.is_empty() {
                    batch.ended.push((run.job, knowing));
                }
            }
            self.state.succeed(ix, &success);
            self.job_changed(run.job);
            match batch.succeeded.is_empty() {
                // Mostly it stays the only one.
                true => batch.succeeded = vec![success],
                false => batch.succeeded.push(success),
            }
        });
    }

    fn on_ended(&mut self, ix: NodeIx, attempt: AttemptId, result: Box<TaskResult>) {
        if !self.state.holds(ix, attempt.task, attempt.attempt) {
            return;
        }
        if self.state.services.has_job(attempt.task.job) {
            return self.on_replica_ended(ix, attempt, result);
        }
        self.observe(attempt.task.job, result.usage.wall_us, 1);
        let retry_at = match &result.outcome {
            Outcome::Succeeded => None,
            Outcome::Failed(_) if self.is_broken_gang(attempt.task.job) => {
                return self.give_up(ix, &[alone(attempt)], RequeueCause::Gang);
            }
            // The worker withdrew: not the task's fault, and not its end.
            Outcome::Failed(Failure::NodeLost) => {
                return self.give_up(ix, &[alone(attempt)], RequeueCause::NodeLost);
            }
            Outcome::Failed(failure) => self.retry_policy(attempt.task.job).and_then(|policy| {
                let spent = self.retries_spent(attempt.task);
                let again = policy.covers(failure) && spent < policy.retries;
                let wait = std::time::Duration::from_millis(policy.backoff_before(spent + 1));
                again.then(|| self.now.after(wait))
            }),
        };
        self.end_attempt(ix, attempt, result, retry_at);
    }

    /// Makes a fact of what has been gathered: reports of one kind at a time, so that
    /// facts are in the order in which they were applied.
    fn record(&mut self, ix: NodeIx, batch: &mut Batch) {
        if batch.is_empty() {
            return;
        }
        let (at, node) = (self.now, node_id(ix));
        let Batch { succeeded, returned, started, ended } = std::mem::take(batch);
        if !succeeded.is_empty() {
            self.append_applied(Fact::Succeeded { at, node, tasks: succeeded });
        }
        for (job, knowing) in ended {
            self.send_forget(job, &knowing);
        }
        if !started.is_empty() {
            self.append_applied(Fact::Started { at, node, tasks: started });
        }
        if !returned.is_empty() {
            let cause = RequeueCause::Returned;
            self.append_applied(Fact::Requeued { at, node, cause, tasks: returned });
        }
    }

    /// Learns how long tasks of the job's group take.
    fn observe(&mut self, job: JobId, wall_us: u64, count: u32) {
        let Some(group) = self.state.jobs.get(job).map(|job| job.group) else { return };
        self.state.groups.observe(group, wall_us / u64::from(count.max(1)), count);
    }

    pub(crate) fn on_progress(
        &mut self,
        ix: NodeIx,
        attempt: AttemptId,
        permille: u16,
        mut message: String,
    ) {
        let room = self.state.progress.len() < MAX_PROGRESS
            || self.state.progress.contains_key(&attempt.task);
        if !room || !self.state.holds(ix, attempt.task, attempt.attempt) {
            return;
        }
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        self.state.progress.insert(attempt.task, (permille.min(1000), message));
        self.job_changed(attempt.task.job);
    }
}

/// Runs of a report that count; nearly always one, so that the first needs no allocation.
#[derive(Default)]
struct Runs {
    first: Option<Assignment>,
    more: Vec<Assignment>,
}

impl Runs {
    fn push(&mut self, run: Assignment) {
        match self.first {
            None => self.first = Some(run),
            Some(_) => self.more.push(run),
        }
    }

    fn for_each(self, mut with: impl FnMut(Assignment)) {
        self.first.into_iter().chain(self.more).for_each(&mut with);
    }
}
