//! Requests of users, one bidirectional stream each: the client sends one [`Request`],
//! the server answers with [`Response`] frames as the request's doc says, then ends the
//! stream. Raw bytes, where a request says so, follow the frame without framing.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::model::{ModelDetail, ModelFilter, ModelRow, Pushed};
use super::policy::{
    Explanation, JobChange, NodeDetail, PriorityDetail, QueueRow, ReservationRow, ShareRow,
    TaskSet, Why,
};
use super::schedule::{ScheduleFilter, ScheduleId, ScheduleRow};
use super::service::{
    Deployed, GatewayRow, RolloutAction, ScaleTo, ServiceDetail, ServiceRef, ServiceRow,
};
use super::workflow::{JobKind, WorkflowDetail};
use crate::card::CardState;
use crate::inference::NodeInference;
use crate::job::EncodedSpec;
use crate::model::{ModelId, ModelName, ModelRef, ModelTag, ModelVersion};
use crate::node::{NodeInfo, NodeState};
use crate::policy::Policy;
use crate::reservation::Reservation;
use crate::schedule::Schedule;
use crate::service::ServiceId;
use crate::task::{Content, Outcome, Usage};
use crate::workflow::EncodedWorkflow;
use crate::{Digest, IndexRange, JobId, NodeId, Resources, Role, SubmitId, TenantName, Timestamp};

/// What a user asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Who am I, which cluster is this? → [`Response::Hello`].
    Hello,
    /// Submit jobs. Answered when every accepted one is durable → [`Response::Submitted`].
    Submit(Vec<Submission>),
    /// Which of these blobs must be uploaded? → [`Response::Missing`].
    MissingBlobs(Vec<Digest>),
    /// Upload: `size` raw bytes follow → [`Response::Done`] once stored and checked.
    PutBlob {
        /// What the bytes must hash to.
        digest: Digest,
        /// How many follow.
        size: u64,
    },
    /// Download → [`Response::Blob`], then that many raw bytes.
    GetBlob(Digest),
    /// List jobs, newest first → [`Response::Jobs`].
    Jobs(JobFilter),
    /// One job → [`Response::Job`], or for a workflow [`Response::Workflow`].
    Job(JobId),
    /// Tasks of a job in order of index → [`Response::Tasks`].
    Tasks {
        /// The job.
        job: JobId,
        /// Lowest index wanted.
        from: u32,
        /// At most [`crate::limits::MAX_PAGE`].
        limit: u32,
        /// Only tasks in this state.
        state: Option<TaskState>,
    },
    /// Follow a job to its end → [`Response::Progress`] whenever it changes, at most ten
    /// a second, the last with a terminal state.
    Watch(JobId),
    /// The log of a task → [`Response::Log`] chunks, then [`Response::Done`].
    Logs {
        /// The job.
        job: JobId,
        /// The task's index.
        index: u32,
        /// Wait for the task to start and to end, through every attempt.
        follow: bool,
    },
    /// The output of a task that succeeded → [`Response::Output`].
    Output {
        /// The job.
        job: JobId,
        /// The task's index.
        index: u32,
    },
    /// Attach to a job of one task: the client sends [`Stdin`] frames, the server
    /// [`Response::Log`] as it arrives and at the end [`Response::Progress`].
    Attach(JobId),
    /// Cancel → [`Response::Done`] once durable. Cancelling what has ended is refused.
    Cancel(JobId),
    /// List nodes → [`Response::Nodes`].
    Nodes,
    /// Drain a node or take it back into service → [`Response::Done`]. Admin.
    Drain {
        /// Name or id.
        node: String,
        /// `false` takes it back.
        drain: bool,
    },
    /// Forget a lost node → [`Response::Done`]. Admin.
    RemoveNode(String),
    /// A join token → [`Response::Token`]. Admin.
    CreateToken {
        /// How long it is valid, in milliseconds.
        ttl_ms: u64,
    },
    /// A certificate for a user's key → [`Response::Certificate`]. Admin.
    CreateUser {
        /// Whose work it is.
        tenant: TenantName,
        /// What it may do.
        role: Role,
        /// PKCS #10 request, DER; only its key is used.
        csr: Vec<u8>,
        /// How long it is valid, in milliseconds.
        ttl_ms: u64,
    },
    /// The policy → [`Response::Policy`].
    Policy,
    /// Replace the policy as a whole → [`Response::Done`] once durable. Admin.
    SetPolicy(Box<Policy>),
    /// Change a job that has not ended → [`Response::Done`].
    Change {
        /// Which.
        job: JobId,
        /// What.
        change: JobChange,
    },
    /// Cancel tasks of a job → [`Response::Done`]. Tasks that have ended stay as they are.
    CancelTasks {
        /// The job.
        job: JobId,
        /// Which of its tasks.
        tasks: TaskSet,
    },
    /// Stop placed tasks and put them back into the queue → [`Response::Done`].
    Requeue {
        /// The job.
        job: JobId,
        /// Which of its tasks.
        tasks: TaskSet,
    },
    /// Run tasks again that failed or were cancelled → [`Response::Done`].
    Retry {
        /// The job.
        job: JobId,
        /// Which of its tasks.
        tasks: TaskSet,
    },
    /// How a live job's priority comes about → [`Response::Priority`].
    Priority(JobId),
    /// The tree of tenants with shares and usage → [`Response::Shares`].
    Shares,
    /// The order of the queue → [`Response::Queue`], at most this many rows.
    Queue {
        /// At most [`crate::limits::MAX_PAGE`].
        limit: u32,
    },
    /// Why a job waits → [`Response::Explanation`].
    Explain(JobId),
    /// Set resources aside → [`Response::Done`] once durable. Admin.
    Reserve(Box<Reservation>),
    /// Give up a reservation → [`Response::Done`]. Admin.
    Unreserve(String),
    /// Reservations → [`Response::Reservations`].
    Reservations,
    /// List nodes with their devices → [`Response::NodeDetails`].
    NodeDetails,
    /// Submit a job again and again → [`Response::Done`] once durable.
    AddSchedule(Box<Schedule>),
    /// Forget a schedule; its runs stay → [`Response::Done`].
    RemoveSchedule(ScheduleId),
    /// Let a schedule make no runs, or go on from now → [`Response::Done`].
    PauseSchedule {
        /// Which.
        schedule: ScheduleId,
        /// `false` lets it go on.
        pause: bool,
    },
    /// List schedules → [`Response::Schedules`].
    Schedules(ScheduleFilter),
    /// Submit a workflow. Answered when it is durable → [`Response::Submitted`], one answer.
    SubmitWorkflow {
        /// Made by the client; repeating it returns the same workflow.
        id: SubmitId,
        /// The workflow.
        workflow: EncodedWorkflow,
    },
    /// The workflow of that number, or to whose steps that job belongs →
    /// [`Response::Workflow`].
    Workflow(JobId),
    /// Run a workflow again that has ended. What succeeded is reused, unless it is `from` or
    /// comes after something that runs → [`Response::Submitted`], one answer.
    Rerun {
        /// Made by the client; repeating it returns the same workflow.
        id: SubmitId,
        /// The earlier run.
        job: JobId,
        /// A step that runs again though it succeeded.
        from: Option<String>,
    },
    /// What these jobs of a listing are, at most [`crate::limits::MAX_PAGE`] →
    /// [`Response::JobKinds`].
    JobKinds(Vec<JobId>),
    /// Which tasks of a job have results that were remembered → [`Response::Remembered`].
    Remembered {
        /// Which job.
        job: JobId,
        /// Tasks from this index on: the next page.
        from: u32,
    },
    /// Why a job waits and when it is expected to start → [`Response::Why`].
    Why(JobId),
    /// Reservations, told apart by whether others may use them →
    /// [`Response::ReservationRows`].
    ReservationRows,
    /// Deploy a service → [`Response::Deployed`] once durable. The same specification as that
    /// of the revision that is wanted changes nothing.
    Deploy {
        /// Made by the client; repeating it returns the same revision.
        id: SubmitId,
        /// A job with a service in it.
        spec: EncodedSpec,
    },
    /// List services → [`Response::Services`], in order of tenant and name: at most
    /// [`crate::limits::MAX_PAGE`], and no more than a frame holds. An empty page is the last.
    Services {
        /// Of every tenant; admin only.
        all_tenants: bool,
        /// Only services after this one: the next page.
        after: Option<ServiceId>,
    },
    /// One service → [`Response::Service`].
    Service(ServiceRef),
    /// Have another number of replicas → [`Response::Done`] once durable.
    Scale {
        /// Which service.
        service: ServiceRef,
        /// How many.
        to: ScaleTo,
    },
    /// Steer the rollout of a service → [`Response::Done`] once durable.
    Rollout {
        /// Which service.
        service: ServiceRef,
        /// What to do.
        action: RolloutAction,
    },
    /// Take a service down → [`Response::Done`] once durable; its replicas are drained.
    Undeploy(ServiceRef),
    /// Where services can be reached → [`Response::Gateways`].
    Gateways,
    /// Let a tag of one of the caller's models point at a blob that was uploaded →
    /// [`Response::ModelPushed`] once durable.
    PushModel {
        /// The model; it is made where there is none of that name.
        name: ModelName,
        /// The tag; it is moved where it points elsewhere.
        tag: ModelTag,
        /// The blob, and how it is to be run.
        version: ModelVersion,
    },
    /// List models → [`Response::Models`]: at most [`crate::limits::MAX_PAGE`], and no more than a
    /// frame holds. An empty page is the last.
    Models(ModelFilter),
    /// One tag of a model → [`Response::Model`].
    Model(ModelRef),
    /// Remove a tag of a model → [`Response::ModelWithdrawn`] once durable. Refused while live work
    /// uses what no other tag points at.
    RemoveModel {
        /// Which.
        model: ModelRef,
        /// Remove it all the same: that work can load it no more.
        force: bool,
    },
    /// Let another tenant use a model, with all its tags → [`Response::Done`] once durable.
    ShareModel {
        /// Which; its tag does not count.
        model: ModelRef,
        /// Who.
        with: TenantName,
    },
    /// Let it use the model no more → [`Response::ModelWithdrawn`] once durable. Refused while
    /// live work of that tenant uses it.
    UnshareModel {
        /// Which; its tag does not count.
        model: ModelRef,
        /// Who.
        with: TenantName,
        /// Do so all the same: that work can load it no more.
        force: bool,
    },
    /// What these tags point at, at most [`crate::limits::MAX_MODELS_PER_JOB`] of them, each of
    /// which the caller may use → [`Response::ResolvedModels`].
    ResolveModels(Vec<ModelRef>),
    /// How the connected nodes run models → [`Response::NodeInference`]: no more than a frame
    /// holds. An empty page is the last.
    NodeInference {
        /// Only nodes after this one: the next page.
        after: Option<NodeId>,
    },
    /// How the cards of the connected nodes are that have any → [`Response::NodeCards`]: no more
    /// than a frame holds. An empty page is the last.
    NodeCards {
        /// Only nodes after this one: the next page.
        after: Option<NodeId>,
    },
}

/// One job to submit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Made by the client; repeating it returns the same job.
    pub id: SubmitId,
    /// The job.
    pub spec: EncodedSpec,
}

/// Which jobs to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFilter {
    /// Of every tenant; admin only.
    pub all_tenants: bool,
    /// Only in this state.
    pub state: Option<JobState>,
    /// Only jobs older than this one: the next page.
    pub before: Option<JobId>,
    /// At most [`crate::limits::MAX_PAGE`].
    pub limit: u32,
}

/// Sent by a client that is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdin {
    /// More bytes.
    Data(Bytes),
    /// No more.
    End,
}

/// What the server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// The request was refused; nothing has changed.
    Refused(RequestError),
    /// It is done.
    Done,
    /// To [`Request::Hello`].
    Hello {
        /// Version of wrun at the server.
        version: String,
        /// The caller's tenant.
        tenant: TenantName,
        /// The caller's role.
        role: Role,
    },
    /// To [`Request::Submit`], one answer for each submission, in order.
    Submitted(Vec<Result<JobId, RequestError>>),
    /// To [`Request::MissingBlobs`].
    Missing(Vec<Digest>),
    /// To [`Request::GetBlob`]: raw bytes follow.
    Blob {
        /// How many.
        size: u64,
    },
    /// To [`Request::Jobs`].
    Jobs(Vec<JobSummary>),
    /// To [`Request::Job`].
    Job(Box<JobDetail>),
    /// To [`Request::Tasks`].
    Tasks(Vec<TaskDetail>),
    /// To [`Request::Watch`] and [`Request::Attach`].
    Progress(JobProgress),
    /// To [`Request::Logs`] and [`Request::Attach`].
    Log(LogChunk),
    /// To [`Request::Output`].
    Output(Content),
    /// To [`Request::Nodes`].
    Nodes(Vec<NodeSummary>),
    /// To [`Request::CreateToken`]: the secret, and the address workers should use.
    Token {
        /// 32 random bytes, known to nobody else.
        secret: [u8; 32],
        /// When it stops being valid.
        expires: Timestamp,
    },
    /// To [`Request::CreateUser`]: the certificate, DER.
    Certificate(Vec<u8>),
    /// To [`Request::Policy`].
    Policy(Box<Policy>),
    /// To [`Request::Priority`].
    Priority(PriorityDetail),
    /// To [`Request::Shares`], parents before children.
    Shares(Vec<ShareRow>),
    /// To [`Request::Queue`], first to be considered first.
    Queue(Vec<QueueRow>),
    /// To [`Request::Explain`].
    Explanation(Box<Explanation>),
    /// To [`Request::Reservations`].
    Reservations(Vec<Reservation>),
    /// To [`Request::NodeDetails`].
    NodeDetails(Vec<NodeDetail>),
    /// To [`Request::Schedules`].
    Schedules(Vec<ScheduleRow>),
    /// To [`Request::Workflow`], and to [`Request::Job`] of a workflow.
    Workflow(Box<WorkflowDetail>),
    /// To [`Request::JobKinds`], in that order; what the caller may not see counts as a job.
    JobKinds(Vec<JobKind>),
    /// To [`Request::Remembered`], in order of index; at most `MAX_PAGE`.
    Remembered(Vec<RememberedTasks>),
    /// To [`Request::Why`].
    Why(Box<Why>),
    /// To [`Request::ReservationRows`].
    ReservationRows(Vec<ReservationRow>),
    /// To [`Request::Deploy`].
    Deployed(Deployed),
    /// To [`Request::Services`].
    Services(Vec<ServiceRow>),
    /// To [`Request::Service`].
    Service(Box<ServiceDetail>),
    /// To [`Request::Gateways`], in order of nodes.
    Gateways(Vec<GatewayRow>),
    /// To [`Request::PushModel`].
    ModelPushed(Pushed),
    /// To [`Request::Models`].
    Models(Vec<ModelRow>),
    /// To [`Request::Model`].
    Model(Box<ModelDetail>),
    /// To [`Request::RemoveModel`] and [`Request::UnshareModel`].
    ModelWithdrawn {
        /// How much live work can load it no more.
        uses: u64,
    },
    /// To [`Request::ResolveModels`], in that order.
    ResolvedModels(Vec<(ModelId, ModelVersion)>),
    /// To [`Request::NodeInference`], in order of nodes.
    NodeInference(Vec<(NodeId, NodeInference)>),
    /// To [`Request::NodeCards`], in order of nodes; the cards of each in the order of its offer.
    NodeCards(Vec<(NodeId, Vec<CardState>)>),
}

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
