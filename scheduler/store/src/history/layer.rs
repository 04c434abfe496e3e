//! Rows that are not committed yet, and what each fact does to them. No I/O of its own.
//!
//! Of a live job there is nothing but rows of tasks that have ended: what the job was comes
//! with the fact that ends it, and its row, which never changes, is kept as it is stored.

use std::collections::{BTreeMap, HashMap};

use wrun_core::fact::{Next, Success};
use wrun_core::{EndedJob, Fact, Remembered};
use wrun_protocol::task::{Content, Outcome, Usage};
use wrun_protocol::wire::user::{JobState, TaskState};
use wrun_protocol::wire::worker::TaskResult;
use wrun_protocol::{AttemptId, IndexRange, JobId, NodeId, SubmitId, TenantName, Timestamp};

use super::row::{self, JobRow, TaskRow, add};

/// Ends of neighbouring tasks that were reported within this time share a row, in ms.
const MERGE_MS: u64 = 1000;

/// What a row takes in memory besides its contents, roughly, in bytes.
const JOB_BYTES: usize = 200;
const TASK_BYTES: usize = 300;
const ORIGIN_BYTES: usize = 50;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    /// Jobs that ended.
    pub(crate) jobs: BTreeMap<u64, EncodedJob>,
    /// `None` hides a committed row.
    pub(crate) tasks: BTreeMap<(u64, u32), Option<TaskRow>>,
    /// From which jobs tasks have remembered results.
    pub(crate) origins: BTreeMap<(u64, u32), JobId>,
    submits: HashMap<SubmitId, u64>,
    /// Jobs of one tenant whose submission has the id of another's.
    namesakes: Vec<u64>,
    /// The last fact's sequence and time.
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    /// Memory held, roughly, in bytes.
    pub(crate) bytes: usize,
    scratch: Vec<u8>,
}

/// A [`JobRow`] as it is stored, and what it is looked for by.
#[derive(Debug)]
pub(crate) struct EncodedJob {
    pub(crate) tag: u8,
    pub(crate) tenant: TenantName,
    pub(crate) submit: SubmitId,
    /// Its tasks' results are to be remembered.
    pub(crate) remembers: bool,
    pub(crate) bytes: Box<[u8]>,
}

/// What lies below a layer.
pub(crate) trait Below {
    /// Keys of rows of the job's tasks that begin in the range.
    fn task_keys(&self, job: u64, tasks: IndexRange) -> Vec<(u64, u32)>;
}

fn size(content: Option<&Content>) -> usize {
    match content {
        Some(Content::Inline(bytes)) => bytes.len(),
        _ => 0,
    }
}

/// The part of a fact that ended tasks, and with them perhaps their job.
struct Ends<'a> {
    succeeded: u32,
    failed: u32,
    usage: &'a Usage,
    failure: Option<&'a Outcome>,
    sole: Option<TaskRow>,
}

impl Layer {
    pub(crate) fn is_empty(&self) -> bool {
        self.seq == 0
    }

    /// Facts up to `seq` are dealt with, or tell nothing.
    pub(crate) fn advance(&mut self, seq: u64, at: Timestamp) {
        self.seq = self.seq.max(seq);
        self.at = self.at.max(at);
    }

    /// `ended` are the jobs that the fact ends, in its order.
    pub(crate) fn apply(
        &mut self,
        seq: u64,
        fact: &Fact,
        mut ended: impl Iterator<Item = EndedJob>,
        below: &impl Below,
    ) {
        self.advance(seq, fact.at());
        match fact {
            Fact::Succeeded { at, node, tasks } => {
                for success in tasks {
                    let job = success.ends_job.and_then(|_| of(&mut ended, success.tasks.job));
                    self.on_succeeded(*at, *node, success, job, below);
                }
            }
            Fact::Ended { at, node, attempt, result, next } => {
                let job = of(&mut ended, attempt.task.job);
                self.on_ended(*at, *node, *attempt, result, *next, job);
            }
            Fact::JobCancelled { at, job } => {
                if let Some(job) = of(&mut ended, *job) {
                    let (number, row) = (job.job, JobRow::of(job, *at, JobState::Cancelled));
                    self.put_job(number, row);
                }
            }
            Fact::TasksCancelled { at, job, ends_job: Some(state), .. }
            | Fact::WorkflowEnded { at, job, state } => {
                if let Some(job) = of(&mut ended, *job) {
                    let (number, row) = (job.job, JobRow::of(job, *at, *state));
                    self.put_job(number, row);
                }
            }
            Fact::Remembered { at, job, tasks, ends_job } => {
                let ended = ends_job.and_then(|state| Some((of(&mut ended, *job)?, state)));
                self.on_remembered(*at, *job, tasks, ended);
            }
            _ => {}
        }
    }

    fn on_remembered(
        &mut self,
        at: Timestamp,
        job: JobId,
        tasks: &[Remembered],
        ended: Option<(EndedJob, JobState)>,
    ) {
        let mut sole = None;
        for known in tasks {
            let row = TaskRow {
                tasks: IndexRange::one(known.index),
                state: TaskState::Succeeded,
                attempt: 0,
                node: None,
                ended: at,
                outcome: Some(Outcome::Succeeded),
                usage: Usage::default(),
                output: known.output.clone(),
                log: known.log.clone(),
            };
            // The job's only task, where the job has no other.
            let alone = ended.as_ref().map(|(ended, _)| ended).filter(|_| tasks.len() == 1);
            sole = self.put_task(job, row, alone);
            self.origins.insert((job.0, known.index), known.from);
            self.bytes += ORIGIN_BYTES;
        }
        if let Some((ended, state)) = ended {
            let (succeeded, usage) = (tasks.len() as u32, &Usage::default());
            let ends = Ends { succeeded, failed: 0, usage, failure: None, sole };
            self.end(at, ended, state, ends);
        }
    }

    fn on_succeeded(
        &mut self,
        at: Timestamp,
        node: NodeId,
        of: &Success,
        ended: Option<EndedJob>,
        below: &impl Below,
    ) {
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
        let sole = self.put_task(job, row, ended.as_ref());
        if let (Some(ended), Some(state)) = (ended, of.ends_job) {
            let (succeeded, usage) = (of.tasks.tasks.count, &of.usage);
            let ends = Ends { succeeded, failed: 0, usage, failure: None, sole };
            self.end(at, ended, state, ends);
        }
    }

    fn on_ended(
        &mut self,
        at: Timestamp,
        node: NodeId,
        attempt: AttemptId,
        result: &TaskResult,
        next: Next,
        ended: Option<EndedJob>,
    ) {
        let success = result.outcome.is_success();
        let (ends_job, state) = match next {
            Next::Retry { .. } | Next::Restart { .. } => (None, TaskState::Pending),
            Next::Final { ends_job } if success => (ends_job, TaskState::Succeeded),
            Next::Final { ends_job } => (ends_job, TaskState::Failed),
        };
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
        let sole = self.put_task(attempt.task.job, row, ended.as_ref());
        if let (Some(ended), Some(state)) = (ended, ends_job) {
            let (succeeded, failed) = (u32::from(success), u32::from(!success));
            let failure = (!success).then_some(&result.outcome);
            let ends = Ends { succeeded, failed, usage: &result.usage, failure, sole };
            self.end(at, ended, state, ends);
        }
    }

    /// Keeps the row of a task, or gives it back where it is the only one of a job that has
    /// `ended`: one row for both.
    fn put_task(&mut self, job: JobId, new: TaskRow, ended: Option<&EndedJob>) -> Option<TaskRow> {
        if ended.is_some_and(|job| job.succeeded + job.failed == 0)
            && new.tasks == IndexRange::one(0)
        {
            return Some(new);
        }
        let first = new.tasks.first;
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
            return None;
        }
        self.bytes += TASK_BYTES + size(new.output.as_ref()) + size(new.log.as_ref());
        self.tasks.insert((job.0, first), Some(new));
        None
    }

    fn end(&mut self, at: Timestamp, job: EndedJob, state: JobState, ends: Ends<'_>) {
        let number = job.job;
        let mut row = JobRow::of(job, at, state);
        row.succeeded = row.succeeded.saturating_add(ends.succeeded);
        row.failed = row.failed.saturating_add(ends.failed);
        add(&mut row.usage, ends.usage);
        row.failure = row.failure.or_else(|| ends.failure.cloned());
        row.sole = ends.sole;
        self.put_job(number, row);
    }

    fn put_job(&mut self, job: JobId, row: JobRow) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        match postcard::to_extend(&row, scratch) {
            Ok(bytes) => {
                let tag = row::state_tag(row.state);
                self.bytes += JOB_BYTES + bytes.len();
                if *self.submits.entry(row.submit_id).or_insert(job.0) != job.0 {
                    self.namesakes.push(job.0);
                }
                let remembers = remembers(&row);
                let JobRow { tenant, submit_id: submit, .. } = row;
                let bytes_of = bytes.as_slice().into();
                let row = EncodedJob { tag, tenant, submit, remembers, bytes: bytes_of };
                self.jobs.insert(job.0, row);
                self.scratch = bytes;
            }
            // Plain data always has an encoding.
            Err(error) => tracing::error!(%job, %error, "a job is not in the history"),
        }
    }

    /// The job that ended in this layer which a submission made.
    pub(crate) fn submitted(&self, tenant: &TenantName, id: SubmitId) -> Option<u64> {
        let first = self.submits.get(&id)?;
        let agrees = |job: &&u64| {
            self.jobs.get(job).is_some_and(|row| row.submit == id && row.tenant == *tenant)
        };
        std::iter::once(first).chain(&self.namesakes).find(agrees).copied()
    }
}

/// Whether results of the job's tasks are to be remembered. Most jobs are not decoded for it.
fn remembers(job: &JobRow) -> bool {
    job.spec.has_wishes() && job.spec.decode().is_ok_and(|spec| spec.scheduling.cache)
}

/// The next of the ended jobs, which the fact says is `job`.
fn of(ended: &mut impl Iterator<Item = EndedJob>, job: JobId) -> Option<EndedJob> {
    ended.next().filter(|ended| ended.job == job)
}
