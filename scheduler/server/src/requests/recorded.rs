//! What the history knows, in the words of the protocol. Logs are read piece by piece: a
//! log may be larger than the server's memory.

use bytes::{Buf, Bytes, BytesMut};
use wrun_protocol::codec::{HEADER, decode, frame_size};
use wrun_protocol::limits::MAX_PAGE;
use wrun_protocol::task::{Content, Usage};
use wrun_protocol::wire::user::{
    ErrorCode, JobDetail, JobState, JobSummary, LogChunk, RequestError, TaskDetail, TaskState,
};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::wire::workflow::WorkflowDetail;
use wrun_protocol::{Digest, JobId, TaskId, TenantName, Timestamp};
use wrun_store::{History, HistoryError, JobRow, JobsFilter, TaskRow};

use super::logs::is_over;
use super::refused;
use crate::blobs::Blobs;
use crate::shared::Shared;

/// A task's last attempt that ended, and what it left.
pub(crate) struct RecordedTask {
    pub(crate) detail: TaskDetail,
    pub(super) output: Option<Content>,
    pub(super) log: Option<Content>,
    /// Whether its output is the standard output in its log.
    pub(super) is_program: bool,
}

/// A job that has ended, and is no workflow.
pub(super) async fn job(shared: &Shared, job: JobId) -> Result<Option<JobDetail>, RequestError> {
    let row = shared.history(move |history| history.job(job)).await?;
    let row = row.filter(|row| row.workflow().is_none());
    Ok(row.map(|row| JobDetail {
        summary: row.summary(job),
        spec: row.spec,
        usage: row.usage,
        pending_reason: None,
        failure: row.failure,
    }))
}

/// A workflow that has ended.
pub(super) async fn workflow(
    shared: &Shared,
    job: JobId,
) -> Result<Option<WorkflowDetail>, RequestError> {
    let row = shared.history(move |history| history.job(job)).await?;
    Ok(row.and_then(|row| Some(row.workflow()?.detail(row.summary(job)))))
}

pub(super) async fn jobs(
    shared: &Shared,
    tenant: Option<TenantName>,
    state: Option<JobState>,
    before: Option<JobId>,
    limit: u32,
) -> Result<Vec<JobSummary>, RequestError> {
    let filter = JobsFilter { tenant, state, before, limit };
    let rows = shared.history(move |history| history.jobs(&filter)).await?;
    Ok(rows.into_iter().map(|(id, row)| row.summary(id)).collect())
}

pub(crate) async fn task(
    shared: &Shared,
    task: TaskId,
) -> Result<Option<RecordedTask>, RequestError> {
    let found =
        shared.history(move |history| Ok((history.job(task.job)?, history.task(task)?))).await?;
    let recorded = |row: TaskRow, kind: ComponentKind| RecordedTask {
        detail: row.detail(task.index),
        output: row.output,
        log: row.log,
        is_program: kind == ComponentKind::Command,
    };
    Ok(match found {
        (Some(job), Some(row)) => Some(recorded(row, job.kind)),
        (Some(job), None) if task.index < job.count() => {
            let detail = never_ended(task.index, job.ended);
            let is_program = job.kind == ComponentKind::Command;
            Some(RecordedTask { detail, output: None, log: None, is_program })
        }
        (None, Some(row)) => kind(shared, task.job).await?.map(|kind| recorded(row, kind)),
        (_, None) => None,
    })
}

/// Which interface a job exports that had not ended a moment ago.
async fn kind(shared: &Shared, job: JobId) -> Result<Option<ComponentKind>, RequestError> {
    let live = shared.driver.view(move |core| core.job_kind(job)).await?;
    if live.is_some() {
        return Ok(live);
    }
    let row = shared.history(move |history| history.job(job)).await?;
    Ok(row.map(|row| row.kind))
}

/// A task of an ended job that has no row: it was cancelled before an attempt of it ended.
fn never_ended(index: u32, ended: Timestamp) -> TaskDetail {
    TaskDetail {
        index,
        state: TaskState::Cancelled,
        attempts: 0,
        node: None,
        node_name: None,
        started: None,
        ended: Some(ended),
        outcome: None,
        usage: Usage::default(),
        progress: None,
    }
}

/// Tasks that have ended, each with its own row, and where the next page of rows begins.
pub(crate) async fn tasks(
    shared: &Shared,
    job: JobId,
    from: u32,
    limit: u32,
    state: Option<TaskState>,
) -> Result<Vec<TaskDetail>, RequestError> {
    if state.is_some_and(|state| !is_over(state)) {
        return Ok(Vec::new());
    }
    shared.history(move |history| ended_tasks(history, job, from, limit as usize, state)).await
}

/// Reads pages of rows, each of which may stand for many tasks, until `limit` tasks are found.
fn ended_tasks(
    history: &History,
    job: JobId,
    from: u32,
    limit: usize,
    state: Option<TaskState>,
) -> Result<Vec<TaskDetail>, HistoryError> {
    // Between the rows of an ended job lie tasks that were cancelled. Of a live job the rows
    // are all there is.
    let ended = history.job(job)?;
    let count = ended.as_ref().map_or(u32::MAX, JobRow::count);
    let gaps = ended.map(|job| job.ended);
    let wanted = |found: TaskState| is_over(found) && state.is_none_or(|state| state == found);
    let mut found: Vec<TaskDetail> = Vec::new();
    let mut next = from;
    while next < count && found.len() < limit {
        let rows = history.tasks(job, next, MAX_PAGE)?;
        let reach = rows.last().map_or(count, |last| last.tasks.end()).max(next + 1);
        for row in &rows {
            let first = row.tasks.first.max(next);
            if let Some(ended) = gaps.filter(|_| wanted(TaskState::Cancelled)) {
                let room = limit - found.len();
                found.extend((next..first).take(room).map(|index| never_ended(index, ended)));
            }
            if wanted(row.state) {
                let room = limit - found.len();
                found.extend((first..row.tasks.end()).take(room).map(|index| row.detail(index)));
            }
            next = row.tasks.end().max(next);
        }
        if let Some(ended) = gaps.filter(|_| rows.is_empty() && wanted(TaskState::Cancelled)) {
            let room = limit - found.len();
            found.extend((next..count).take(room).map(|index| never_ended(index, ended)));
        }
        next = reach;
    }
    Ok(found)
}

/// Reads a recorded log chunk by chunk.
pub(super) struct LogReader<'a> {
    blobs: &'a Blobs,
    tenant: &'a TenantName,
    source: Option<(Digest, u64)>,
    offset: u64,
    buffer: BytesMut,
}

impl<'a> LogReader<'a> {
    pub(super) fn open(blobs: &'a Blobs, tenant: &'a TenantName, log: &Content) -> Self {
        let (source, buffer) = match log {
            Content::Inline(bytes) => (None, BytesMut::from(bytes.as_ref())),
            Content::Blob { digest, size } => (Some((*digest, *size)), BytesMut::new()),
        };
        Self { blobs, tenant, source, offset: 0, buffer }
    }

    /// The next chunk; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<LogChunk>, RequestError> {
        if !self.fill(HEADER).await? {
            return Ok(None);
        }
        let header = self.buffer.get(..HEADER).and_then(|bytes| bytes.try_into().ok());
        let size = frame_size(header.unwrap_or_default()).map_err(|error| damaged(&error))?;
        if !self.fill(HEADER + size).await? {
            return Err(damaged(&"it ends in the middle of a chunk"));
        }
        self.buffer.advance(HEADER);
        let payload: Bytes = self.buffer.split_to(size).freeze();
        decode(&payload).map(Some).map_err(|error| damaged(&error))
    }

    /// Reads on until `wanted` bytes are at hand. `false` at a clean end.
    async fn fill(&mut self, wanted: usize) -> Result<bool, RequestError> {
        while self.buffer.len() < wanted {
            let piece = match self.source {
                Some((digest, size)) => {
                    self.blobs.read(self.tenant, digest, self.offset, size).await?
                }
                None => Bytes::new(),
            };
            if piece.is_empty() {
                if self.buffer.is_empty() {
                    return Ok(false);
                }
                return Err(damaged(&"it ends in the middle of a chunk"));
            }
            self.offset += piece.len() as u64;
            self.buffer.extend_from_slice(&piece);
        }
        Ok(true)
    }
}

fn damaged(problem: &dyn std::fmt::Display) -> RequestError {
    refused(ErrorCode::Internal, format!("the recorded log is damaged: {problem}"))
}
