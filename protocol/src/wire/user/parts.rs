//! What answers to users are made of: jobs, tasks, logs, nodes, and why a request was refused.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::job::EncodedSpec;
use crate::node::{NodeInfo, NodeState};
use crate::task::{Outcome, Usage};
use crate::{IndexRange, JobId, NodeId, Resources, TenantName, Timestamp};

/// Tasks that did not run: another job of the tenant had given their results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedTasks {
    /// Which.
    pub tasks: IndexRange,
    /// The job whose tasks of the same indices gave them.
    pub from: JobId,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    /// The kind, for programs.
    pub code: ErrorCode,
    /// What, where and what to do, for people. One line.
    pub message: String,
}

impl RequestError {
    /// An error of kind `code` with `message`.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Kinds of refusal. The CLI's exit codes follow from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The request cannot be right as it is.
    InvalidInput,
    /// What it names does not exist, or is not the caller's to see.
    NotFound,
    /// The caller's role does not allow it.
    Denied,
    /// No node can ever satisfy it.
    Unsatisfiable,
    /// It does not fit the state of what it names.
    Conflict,
    /// A limit or quota is reached.
    LimitReached,
    /// Not now; trying again can help.
    Unavailable,
    /// The server's disk is full.
    StorageFull,
    /// A fault of wrun's.
    Internal,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// No task has been placed yet.
    Pending,
    /// At least one task has been placed.
    Running,
    /// Every task succeeded.
    Succeeded,
    /// Every task has ended and at least one failed.
    Failed,
    /// Cancelled by a user.
    Cancelled,
}

impl JobState {
    /// Whether it is final.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// What a job in it has done, for people.
    pub fn past(self) -> &'static str {
        match self {
            Self::Pending => "not started",
            Self::Running => "started",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "been cancelled",
        }
    }
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Waits to be placed.
    Pending,
    /// Placed on a node, not known to have started.
    Assigned,
    /// Known to have started.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended otherwise, and no retry is left.
    Failed,
    /// Cancelled by a user.
    Cancelled,
    /// Started, and stands still for the sake of others; goes on later.
    Frozen,
    /// Placed, and told that it will be stopped and put back.
    Stopping,
}

/// How many tasks of a job are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCounts {
    /// Waiting to be placed.
    pub pending: u32,
    /// Placed or running.
    pub running: u32,
    /// Ended well.
    pub succeeded: u32,
    /// Ended otherwise.
    pub failed: u32,
    /// Cancelled.
    pub cancelled: u32,
}

/// A row of `wrun jobs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSummary {
    /// The job.
    pub id: JobId,
    /// Its name; may be empty.
    pub name: String,
    /// Whose it is.
    pub tenant: TenantName,
    /// Where it stands.
    pub state: JobState,
    /// Where its tasks stand.
    pub tasks: TaskCounts,
    /// Its priority.
    pub priority: i32,
    /// When it was accepted.
    pub submitted: Timestamp,
    /// When a task was first placed.
    pub started: Option<Timestamp>,
    /// When the last task ended.
    pub ended: Option<Timestamp>,
}

/// `wrun job ID`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDetail {
    /// What the listing shows.
    pub summary: JobSummary,
    /// As it was accepted.
    pub spec: EncodedSpec,
    /// Of every attempt that has ended.
    pub usage: Usage,
    /// Why tasks wait, if any do.
    pub pending_reason: Option<String>,
    /// The first failure, if any task failed.
    pub failure: Option<Outcome>,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDetail {
    /// Its index.
    pub index: u32,
    /// Where it stands.
    pub state: TaskState,
    /// Attempts so far.
    pub attempts: u32,
    /// The node of the last attempt.
    pub node: Option<NodeId>,
    /// That node's name.
    pub node_name: Option<String>,
    /// When the last attempt was placed.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How the last attempt that ended did so.
    pub outcome: Option<Outcome>,
    /// What that attempt used.
    pub usage: Usage,
    /// What a handler last reported, from 0 to 1000, and its message.
    pub progress: Option<(u16, String)>,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobProgress {
    /// Where it stands.
    pub state: JobState,
    /// Where its tasks stand.
    pub tasks: TaskCounts,
    /// The first failure, if any task failed.
    pub failure: Option<Outcome>,
}

/// Which stream of the guest a chunk comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error, and the log calls of a handler.
    Stderr,
}

/// A piece of a task's log. A stored log is a sequence of such frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogChunk {
    /// Where it comes from.
    pub stream: LogStream,
    /// The bytes as the guest wrote them.
    pub data: Bytes,
}

/// A row of `wrun nodes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSummary {
    /// The node.
    pub id: NodeId,
    /// As it described itself.
    pub info: NodeInfo,
    /// Whether it takes tasks.
    pub state: NodeState,
    /// What its tasks hold.
    pub used: Resources,
    /// Tasks placed there that have not ended.
    pub tasks: u32,
    /// When it was last heard of.
    pub last_seen: Timestamp,
}
