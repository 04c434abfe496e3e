//! Rows that are not committed yet, and what each fact does to them. No I/O of its own.

use std::collections::{BTreeMap, HashMap};

use wrun_core::Fact;
use wrun_core::fact::{Next, Success};
use wrun_protocol::task::{Content, Outcome, Usage};
use wrun_protocol::wire::user::{JobState, TaskState};
use wrun_protocol::wire::worker::TaskResult;
use wrun_protocol::{AttemptId, IndexRange, JobId, NodeId, SubmitId, TenantName, Timestamp};

use super::row::{JobRow, TaskRow, add};

/// Ends of neighbouring tasks that were reported within this time share a row, in ms.
const MERGE_MS: u64 = 1000;

/// What a row takes in memory besides its contents, roughly, in bytes.
const ROW_BYTES: usize = 400;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    pub(crate) jobs: BTreeMap<u64, JobRow>,
    /// `None` hides a committed row.
    pub(crate) tasks: BTreeMap<(u64, u32), Option<TaskRow>>,
    pub(crate) submits: HashMap<(SubmitId, TenantName), JobId>,
    /// Jobs that ended in this layer.
    pub(crate) ended: u64,
    /// The last fact's sequence and time.
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    /// Memory held, roughly, in bytes.
    pub(crate) bytes: usize,
}

/// What lies below a layer.
pub(crate) trait Below {
    fn job(&self, job: u64) -> Option<JobRow>;
    /// Keys of rows of the job's tasks that begin in the range.
    fn task_keys(&self, job: u64, tasks: IndexRange) -> Vec<(u64, u32)>;
}

fn size(content: Option<&Content>) -> usize {
    match content {
        Some(Content::Inline(bytes)) => bytes.len(),
        _ => 0,
    }
}

impl Layer {
    pub(crate) fn is_empty(&self) -> bool {
        self.seq == 0 && self.jobs.is_empty()
    }

    pub(crate) fn apply(&mut self, seq: u64, fact: &Fact, below: &impl Below) {
        self.seq = seq;
        self.at = self.at.max(fact.at());
        match fact {
            Fact::JobSubmitted { .. } => {
                if let Some((job, row)) = JobRow::submitted(fact) {
                    self.put_job(job.0, row);
                }
            }
            Fact::Placed { at, tasks, .. } => {
                // For the only task of a job, what its end tells is enough: a write less for
                // each of a million small jobs.
                for assignment in tasks.iter().filter(|of| of.tasks != IndexRange::one(0)) {
                    self.on_placed(*at, assignment.job, below);
                }
            }
            Fact::Succeeded { at, node, tasks } => {
                for success in tasks {
                    self.on_succeeded(*at, *node, success, below);
                }
            }
            Fact::Ended { at, node, attempt, result, next } => {
                self.on_ended(*at, *node, *attempt, result, *next, below);
            }
            Fact::JobCancelled { at, job } => self.end(*at, *job, Some(JobState::Cancelled), below),
            _ => {}
        }
    }

    pub(crate) fn put_job(&mut self, job: u64, row: JobRow) {
        self.bytes += ROW_BYTES + row.spec.as_bytes().len();
        self.jobs.insert(job, row);
    }

    /// The job's row, to change. `None` for a job that history does not know: it was lost.
    fn job(&mut self, job: JobId, below: &impl Below) -> Option<&mut JobRow> {
        if !self.jobs.contains_key(&job.0) {
            let row = below.job(job.0)?;
            self.put_job(job.0, row);
        }
        self.jobs.get_mut(&job.0)
    }

    fn on_placed(&mut self, at: Timestamp, job: JobId, below: &impl Below) {
        if let Some(row) = self.job(job, below)
            && row.started.is_none()
        {
            row.started = Some(at);
            row.state = JobState::Running;
        }
    }

    /// An attempt ended: the job had started by then, about as long ago as it ran.
    fn on_started(&mut self, at: Timestamp, job: JobId, used: &Usage, of: u32, below: &impl Below) {
        let ran_ms = used.wall_us / 1000 / u64::from(of.max(1));
        self.on_placed(Timestamp(at.0.saturating_sub(ran_ms)), job, below);
    }

    fn on_succeeded(&mut self, at: Timestamp, node: NodeId, of: &Success, below: &impl Below) {
        let job = of.tasks.job;
        let row = TaskRow {
            tasks: of.tasks.tasks,
            state: TaskState::Succeeded,
            attempt: of.tasks.attempt,
            node: Some(node),
            ended: at,
            outcome: Some(Outcome::Succeeded),
            usage: of.usage,
            output: None,
            log: None,
        };
        if of.tasks.attempt > 1 {
            // Earlier attempts that were tried again left rows of single tasks.
            for key in below.task_keys(job.0, row.tasks) {
                self.tasks.insert(key, None);
            }
            let (first, end) = ((job.0, row.tasks.first), (job.0, row.tasks.end()));
            self.tasks.range_mut(first..end).for_each(|(_, row)| *row = None);
        }
        self.on_started(at, job, &of.usage, row.tasks.count, below);
        self.count(job, &of.usage, row.tasks.count, 0, below);
        self.put_task(job, row, of.ends_job, below);
        self.end(at, job, of.ends_job, below);
    }

    fn on_ended(
        &mut self,
        at: Timestamp,
        node: NodeId,
        attempt: AttemptId,
        result: &TaskResult,
        next: Next,
        below: &impl Below,
    ) {
        let job = attempt.task.job;
        let success = result.outcome.is_success();
        let (ends_job, state) = match next {
            Next::Retry { .. } => (None, TaskState::Pending),
            Next::Final { ends_job } if success => (ends_job, TaskState::Succeeded),
            Next::Final { ends_job } => (ends_job, TaskState::Failed),
        };
        let (succeeded, failed) = match state {
            TaskState::Pending => (0, 0),
            _ => (u32::from(success), u32::from(!success)),
        };
        self.on_started(at, job, &result.usage, 1, below);
        self.count(job, &result.usage, succeeded, failed, below);
        if failed > 0
            && let Some(row) = self.job(job, below)
        {
            row.failure.get_or_insert_with(|| result.outcome.clone());
        }
        let row = TaskRow {
            tasks: IndexRange::one(attempt.task.index),
            state,
            attempt: attempt.attempt,
            node: Some(node),
            ended: at,
            outcome: Some(result.outcome.clone()),
            usage: result.usage,
            output: result.output.clone(),
            log: result.log.clone(),
        };
        self.bytes += size(row.output.as_ref()) + size(row.log.as_ref());
        self.put_task(job, row, ends_job, below);
        self.end(at, job, ends_job, below);
    }

    fn count(&mut self, job: JobId, used: &Usage, good: u32, bad: u32, below: &impl Below) {
        if let Some(row) = self.job(job, below) {
            add(&mut row.usage, used);
            row.succeeded = row.succeeded.saturating_add(good);
            row.failed = row.failed.saturating_add(bad);
        }
    }

    fn put_task(&mut self, job: JobId, new: TaskRow, ends: Option<JobState>, below: &impl Below) {
        let first = new.tasks.first;
        if let Some(row) = self.job(job, below)
            && ends.is_some()
            && new.tasks == IndexRange::one(0)
            && row.succeeded + row.failed == 1
        {
            // The only task of its job: one row for both.
            row.sole = Some(new);
            return;
        }
        if new.output.is_none()
            && new.log.is_none()
            && let Some((_, Some(before))) =
                self.tasks.range_mut((job.0, 0)..(job.0, first)).next_back()
            && before.tasks.end() == first
            && (before.node, before.attempt) == (new.node, new.attempt)
            && before.state == TaskState::Succeeded
            && new.state == TaskState::Succeeded
            && before.output.is_none()
            && before.log.is_none()
            && new.ended.0.saturating_sub(before.ended.0) < MERGE_MS
        {
            before.tasks.count += new.tasks.count;
            add(&mut before.usage, &new.usage);
            return;
        }
        self.bytes += ROW_BYTES;
        self.tasks.insert((job.0, first), Some(new));
    }

    fn end(&mut self, at: Timestamp, job: JobId, state: Option<JobState>, below: &impl Below) {
        let Some(state) = state else { return };
        let Some(row) = self.job(job, below) else { return };
        let first_time = row.ended.is_none();
        row.state = state;
        row.ended = Some(at);
        let key = (row.submit_id, row.tenant.clone());
        if first_time {
            self.ended += 1;
        }
        self.submits.insert(key, job);
        self.bytes += ROW_BYTES / 2;
    }
}
