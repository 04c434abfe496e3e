//! Rows as they are stored: a version byte, a tag for quick filters, a CRC, then the payload,
//! mostly postcard. Versions are added to, never edited.

use serde::{Deserialize, Serialize};
use wrun_core::EndedJob;
use wrun_core::workflow::WorkflowRecord;
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::task::{Content, Outcome, Usage};
use wrun_protocol::wire::user::{JobState, JobSummary, TaskCounts, TaskDetail, TaskState};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{IndexRange, JobId, NodeId, SubmitId, TenantName, Timestamp};

/// A job that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRow {
    /// Whose it is.
    pub tenant: TenantName,
    /// The client's id of its submission.
    pub submit_id: SubmitId,
    /// Which interface it exports.
    pub kind: ComponentKind,
    /// As accepted; of a workflow, its [record](Self::workflow).
    pub spec: EncodedSpec,
    /// How it ended.
    pub state: JobState,
    /// When it was accepted.
    pub submitted: Timestamp,
    /// When a task was first placed.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Timestamp,
    /// Tasks that ended well.
    pub succeeded: u32,
    /// Tasks that ended otherwise.
    pub failed: u32,
    /// Of every attempt that has ended.
    pub usage: Usage,
    /// The first failure of a task.
    pub failure: Option<Outcome>,
    /// The only task of a job of one task, if it came to an end.
    pub sole: Option<TaskRow>,
}

/// A task, or a range of tasks that ended alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRow {
    /// Which tasks.
    pub tasks: IndexRange,
    /// Where they stand: ended, or pending after an attempt that is tried again.
    pub state: TaskState,
    /// The last attempt that ended.
    pub attempt: u32,
    /// Its node, unless it was never placed.
    pub node: Option<NodeId>,
    /// When its end was reported.
    pub ended: Timestamp,
    /// How it ended; `None` for tasks that were cancelled before they ran to an end.
    pub outcome: Option<Outcome>,
    /// What the tasks of the row used together.
    pub usage: Usage,
    /// What a handler returned.
    pub output: Option<Content>,
    /// The log of the attempt.
    pub log: Option<Content>,
}

impl JobRow {
    /// The row of a job that ended as `state` at `at`; what the fact that ended it tells
    /// besides is not in it yet.
    pub(crate) fn of(job: EndedJob, at: Timestamp, state: JobState) -> Self {
        Self {
            spec: job.spec(),
            tenant: job.tenant,
            submit_id: job.submit_id,
            kind: job.kind,
            state,
            submitted: job.submitted,
            started: job.started,
            ended: at,
            succeeded: job.succeeded,
            failed: job.failed,
            usage: job.usage,
            failure: job.failure,
            sole: None,
        }
    }

    /// What became of the steps, if it is a workflow.
    pub fn workflow(&self) -> Option<WorkflowRecord> {
        WorkflowRecord::of(&self.spec)
    }

    /// Tasks in the job; 1 if the specification cannot be read. A workflow has none.
    pub fn count(&self) -> u32 {
        if WorkflowRecord::is_in(&self.spec) {
            return 0;
        }
        self.spec.decode().map_or(1, |spec| spec.count)
    }

    /// As a listing shows it. `id` is the job's.
    pub fn summary(&self, id: JobId) -> JobSummary {
        let (name, priority, count) = match self.workflow() {
            Some(record) => (record.open().0.name, 0, record.steps.len() as u32),
            None => self.spec.decode().map_or((String::new(), 0, 1), |spec| {
                // What replicas of a service have not come to their end was asleep.
                let ended = self.succeeded.saturating_add(self.failed);
                let count = if spec.service.is_some() { ended } else { spec.count };
                (spec.name, spec.priority, count)
            }),
        };
        let cancelled = count.saturating_sub(self.succeeded).saturating_sub(self.failed);
        JobSummary {
            id,
            name,
            tenant: self.tenant.clone(),
            state: self.state,
            tasks: TaskCounts {
                pending: 0,
                running: 0,
                succeeded: self.succeeded,
                failed: self.failed,
                cancelled,
            },
            priority,
            submitted: self.submitted,
            started: self.started,
            ended: Some(self.ended),
        }
    }
}

impl TaskRow {
    /// The task at `index` as the API shows it. The usage of a range is shared out evenly.
    pub fn detail(&self, index: u32) -> TaskDetail {
        let count = u64::from(self.tasks.count.max(1));
        let usage = Usage {
            wall_us: self.usage.wall_us / count,
            cpu_us: self.usage.cpu_us / count,
            frozen_us: self.usage.frozen_us / count,
            peak_memory: self.usage.peak_memory,
        };
        TaskDetail {
            index,
            state: self.state,
            attempts: self.attempt,
            node: self.node,
            node_name: None,
            started: (self.attempt > 0 && self.tasks.count == 1)
                .then(|| Timestamp(self.ended.0.saturating_sub(self.usage.wall_us / 1000))),
            ended: self.state.is_ended().then_some(self.ended),
            outcome: self.outcome.clone(),
            usage,
            progress: None,
        }
    }
}

/// Version of every row. A row of a newer version is refused like a damaged one.
const VERSION: u8 = 1;
/// Bytes before the payload: version, tag, CRC.
const HEADER: usize = 6;

fn crc(key: &[u8], tag: u8, payload: &[u8]) -> u32 {
    // The key is covered, so that a row that turns up under another key is noticed.
    let head = crc32c::crc32c_append(crc32c::crc32c(key), &[VERSION, tag]);
    crc32c::crc32c_append(head, payload)
}

/// The stored form of what `write` appends. `tag` is what filters look at without decoding.
pub(crate) fn sealed(key: &[u8], tag: u8, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    write(&mut bytes);
    let crc = crc(key, tag, bytes.get(HEADER..).unwrap_or_default());
    if let Some((head, _)) = bytes.split_first_chunk_mut::<HEADER>() {
        let [a, b, c, d] = crc.to_le_bytes();
        *head = [VERSION, tag, a, b, c, d];
    }
    bytes
}

/// The payload of what [`sealed`] made for `key`.
pub(crate) fn unsealed<'a>(key: &[u8], bytes: &'a [u8]) -> Result<&'a [u8], String> {
    let Some(([version, tag, stored @ ..], payload)) = bytes.split_first_chunk::<HEADER>() else {
        return Err("a row is cut short".to_owned());
    };
    if *version != VERSION {
        return Err(format!("a row has version {version}, which this wrun does not know"));
    }
    if *stored != crc(key, *tag, payload).to_le_bytes() {
        return Err("a row does not match its CRC".to_owned());
    }
    Ok(payload)
}

/// The stored form of a value.
pub(crate) fn encode<T: Serialize>(key: &[u8], tag: u8, row: &T) -> Result<Vec<u8>, String> {
    let payload = postcard::to_stdvec(row).map_err(|error| error.to_string())?;
    Ok(sealed(key, tag, |bytes| bytes.extend_from_slice(&payload)))
}

/// Reads what [`encode`] wrote under `key`.
pub(crate) fn decode<T: for<'a> Deserialize<'a>>(key: &[u8], bytes: &[u8]) -> Result<T, String> {
    payload(unsealed(key, bytes)?)
}

/// Reads a value without a header of its own.
pub(crate) fn payload<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, String> {
    wrun_protocol::codec::decode(bytes).map_err(|error| error.to_string())
}

/// A job's state as a tag.
pub(crate) fn state_tag(state: JobState) -> u8 {
    match state {
        JobState::Pending => 0,
        JobState::Running => 1,
        JobState::Succeeded => 2,
        JobState::Failed => 3,
        JobState::Cancelled => 4,
    }
}

/// Adds what another attempt, or range, used.
pub(crate) fn add(sum: &mut Usage, more: &Usage) {
    sum.wall_us = sum.wall_us.saturating_add(more.wall_us);
    sum.cpu_us = sum.cpu_us.saturating_add(more.cpu_us);
    sum.frozen_us = sum.frozen_us.saturating_add(more.frozen_us);
    sum.peak_memory = sum.peak_memory.max(more.peak_memory);
}

trait Ended {
    fn is_ended(&self) -> bool;
}

impl Ended for TaskState {
    fn is_ended(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}
