//! Requests of users, one bidirectional stream each: the client sends one [`Request`],
//! the server answers with [`Response`] frames as the request's doc says, then ends the
//! stream. Raw bytes, where a request says so, follow the frame without framing.

mod parts;

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
use crate::policy::Policy;
use crate::reservation::Reservation;
use crate::schedule::Schedule;
use crate::service::ServiceId;
use crate::task::Content;
use crate::workflow::EncodedWorkflow;
use crate::{Digest, JobId, NodeId, Role, SubmitId, TenantName, Timestamp};

pub use parts::*;

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
