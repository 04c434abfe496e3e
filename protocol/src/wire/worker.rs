//! Between a worker and the server. The worker opens one bidirectional stream, the
//! session, and says [`FromWorker::Hello`]; messages then flow both ways in batches.
//!
//! Assignments and results are grouped by job and given as ranges, so that a task of an
//! array costs a few bytes. Reports of the worker are numbered; it keeps each until the
//! server has acknowledged it, which the server does once what it tells is durable.
//! After a reconnection the worker sends all unacknowledged reports again.
//!
//! Besides the session, the worker opens a bidirectional stream per blob ([`BlobRequest`])
//! and the server one per live log or attachment ([`LiveRequest`]).

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::model::{Kept, LoadedModel};
use super::service::{Endpoints, GatewayAddresses, ModelLoad, Readied, ServiceLoad};
use super::user::LogChunk;
use crate::card::CardState;
use crate::inference::NodeInference;
use crate::job::EncodedSpec;
use crate::model::ModelVersion;
use crate::node::NodeInfo;
use crate::scheduling::Offer;
use crate::service::ServiceId;
use crate::task::{Content, Outcome, Usage};
use crate::{AttemptId, Digest, IndexRange, JobId, NodeId, TaskId, TenantName, Timestamp};

/// What kind of batch component it is, by its exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ComponentKind {
    /// Exports `wasi:cli/run`: a program.
    Command,
    /// Exports `wrun:task/handler`.
    Handler,
    /// Exports `wasi:http/incoming-handler` or `wasi:http/handler`: a service.
    Http,
}

/// From the server, on the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// First, in answer to `Hello`.
    Welcome {
        /// How long after the last acknowledged heartbeat the worker's lease ends, in ms.
        lease_ms: u64,
        /// How often the worker sends a heartbeat, in ms.
        heartbeat_ms: u64,
        /// The server's time.
        now: Timestamp,
        /// Attempts of the `Hello` that were given to others meanwhile: stop them.
        stale: Vec<AttemptId>,
    },
    /// What the tasks of a job are; sent before its first assignment on a session.
    Job {
        /// The job.
        job: JobId,
        /// Whose it is.
        tenant: TenantName,
        /// Which interface to call.
        kind: ComponentKind,
        /// The specification.
        spec: EncodedSpec,
    },
    /// Run these; the worker starts them as its resources allow, in this order.
    Assign(Vec<Assignment>),
    /// Run this one from its checkpoint.
    Resume {
        /// The attempt.
        attempt: AttemptId,
        /// What an earlier attempt saved last.
        checkpoint: Content,
    },
    /// Stop these attempts; their results will be refused. Nothing is reported for them.
    Stop(Vec<Assignment>),
    /// Give back those of these that have not started → [`Report::Returned`] for each.
    Recall(Vec<Assignment>),
    /// No more assignments of this job will come: forget it once its tasks have ended.
    Forget(JobId),
    /// Freeze an attempt, or let it go on.
    Freeze {
        /// The attempt.
        attempt: AttemptId,
        /// `false` lets it go on.
        frozen: bool,
    },
    /// Every report up to this number is durable.
    Acknowledge {
        /// Number of the last such report.
        report: u64,
    },
    /// Answer to a heartbeat.
    HeartbeatAck {
        /// Its number.
        beat: u64,
    },
    /// Run these with another than the job's first request, or with devices.
    AssignWith {
        /// Which.
        tasks: Assignment,
        /// What each of them holds.
        grant: Grant,
    },
    /// Tell the guest that it will be stopped, and stop it when it has saved a checkpoint
    /// or the time is over → [`Report::Preempted`].
    Preempt {
        /// The attempt.
        attempt: AttemptId,
        /// How long it has, in milliseconds.
        notice_ms: u64,
    },
    /// Run this one from its checkpoint, with what it is granted.
    ResumeWith {
        /// The attempt.
        attempt: AttemptId,
        /// What an earlier attempt saved last.
        checkpoint: Content,
        /// What it holds.
        grant: Grant,
    },
    /// Where the tasks of a gang are, so that they can exchange messages; sent before its
    /// assignment, again when one of its nodes has come back, and in answer to
    /// [`FromWorker::AskMembers`]. It takes the place of what was said before of this job: a
    /// task that was named before and is not any more has ended.
    Gang {
        /// The job.
        job: JobId,
        /// Which execution of the gang as a whole: the highest attempt among its tasks.
        attempt: u32,
        /// All of its tasks that have not ended.
        members: Vec<GangMember>,
    },
    /// What gateways need to know of these services. `whole`: there are no others, but for
    /// those in messages that follow.
    Services {
        /// Whether to forget what was known before.
        whole: bool,
        /// In place of what was known of each.
        services: Vec<Endpoints>,
    },
    /// These services are no more.
    ServicesGone(Vec<ServiceId>),
    /// Where nodes listen for others; in place of what was said before of each.
    Nodes(Vec<(NodeId, Option<SocketAddr>)>),
    /// Let this replica go: no new requests, and stop it when those under way are over or the
    /// time is → [`Report::Preempted`].
    Drain {
        /// The replica.
        attempt: AttemptId,
        /// How long it has, in milliseconds.
        within_ms: u64,
    },
}

/// Tasks of a gang that are on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GangMember {
    /// Which; a task's index is its rank.
    pub tasks: IndexRange,
    /// Their own attempt.
    pub attempt: u32,
    /// The node that has them.
    pub node: NodeId,
    /// Where that node listens for other nodes. `None` if it has not said.
    pub address: Option<SocketAddr>,
}

/// What a task holds beyond the job's own [`crate::Resources`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Grant {
    /// Which of the job's requests: 0 is the first, then the alternatives.
    pub request: u8,
    /// The node's cards, by their place in its offer.
    pub gpus: Vec<u16>,
}

/// The same attempt number of a range of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The job.
    pub job: JobId,
    /// Which execution, from 1.
    pub attempt: u32,
    /// Which tasks.
    pub tasks: IndexRange,
}

/// From the worker, on the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// First. Says what it is and what it still runs or holds.
    Hello {
        /// The node.
        info: NodeInfo,
        /// Random, made at the worker's start: tells a reconnection from a restart.
        incarnation: u64,
        /// Attempts that it has, started or not, and whose end it has not reported.
        attempts: Vec<Assignment>,
    },
    /// Reports in order, numbered from `first`.
    Reports {
        /// Number of the first one. Numbers go on across reconnections of one incarnation.
        first: u64,
        /// The reports.
        reports: Vec<Report>,
    },
    /// Not acknowledged, not repeated: what is only of interest now.
    Progress {
        /// The attempt.
        attempt: AttemptId,
        /// How far it is, from 0 to 1000.
        permille: u16,
        /// Said by the guest.
        message: String,
    },
    /// Sent every `heartbeat_ms`.
    Heartbeat {
        /// Number, from 1.
        beat: u64,
    },
    /// The worker wants no more tasks and will go when it has none.
    Draining,
    /// The worker has nothing left and goes now. Its lease ends at once.
    Goodbye,
    /// What the node has beyond its capacity; sent before `Hello` by a worker that has any.
    Offer(Offer),
    /// Where the worker listens for other nodes; sent before `Hello`. An unspecified address
    /// stands for the one from which the server sees it connect.
    Listens(SocketAddr),
    /// What its gateway has seen since it last told. Not acknowledged, not repeated.
    Load(Vec<ServiceLoad>),
    /// Where its gateway takes requests; sent before `Hello` by a worker that has one. An
    /// unspecified address stands for the one from which the server sees it connect.
    Gateway(GatewayAddresses),
    /// Which models it keeps, as far as that has changed. Not acknowledged, not repeated.
    /// A new session begins with none. `None`: not any more.
    Models(Vec<(Digest, Option<Kept>)>),
    /// What replicas have asked of models since it last told. Not acknowledged, not repeated.
    ModelLoad(Vec<ModelLoad>),
    /// How it runs models; sent before `Hello`.
    Inference(NodeInference),
    /// How its cards are, in the order of its offer. Not acknowledged, not repeated.
    Cards(Vec<CardState>),
    /// A task of this gang has waited long for another: which of them have not ended →
    /// [`ToWorker::Gang`], where some have. Not acknowledged, not repeated.
    AskMembers(JobId),
}

/// What a worker must not lose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// These have been running for a while. Sent only for tasks that take long.
    Started(Assignment),
    /// These ended well with nothing to tell: no output, no log. `usage` is their sum.
    Succeeded {
        /// Which.
        tasks: Assignment,
        /// Over all of them.
        usage: Usage,
    },
    /// One ended.
    Ended {
        /// Which attempt.
        attempt: AttemptId,
        /// How it ended, and with what.
        result: Box<TaskResult>,
    },
    /// Given back without having run: recalled, or the worker drains.
    Returned(Assignment),
    /// A checkpoint was saved. The guest's call returns when this is acknowledged.
    Checkpoint {
        /// Which attempt.
        attempt: AttemptId,
        /// What it saved.
        content: Content,
    },
    /// Stopped after a notice, for the sake of another, or drained. A replica that has written
    /// something is reported as [`Report::Ended`], cancelled, with its log.
    Preempted {
        /// Which attempt.
        attempt: AttemptId,
        /// What it used.
        usage: Usage,
    },
    /// How a replica is.
    Readied {
        /// Which.
        attempt: AttemptId,
        /// How.
        state: Readied,
    },
}

/// How one attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Success or the reason of failure.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// What a handler returned. A program's output is the standard output in its log.
    pub output: Option<Content>,
    /// The log: [`LogChunk`] frames one after the other. `None` when nothing was written.
    pub log: Option<Content>,
}

/// Opened by the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlobRequest {
    /// Download a blob that the job may read → [`BlobReply::Found`], then raw bytes.
    Get {
        /// The job for which it is needed.
        job: JobId,
        /// Its address.
        digest: Digest,
    },
    /// Upload a blob for the job's tenant: raw bytes follow → [`BlobReply::Stored`].
    Put {
        /// The job whose task made it.
        job: JobId,
        /// What the bytes hash to.
        digest: Digest,
        /// How many follow.
        size: u64,
    },
    /// Download a model that the job names → [`BlobReply::Found`], then raw bytes. Refused as not
    /// found where it was withdrawn from the job since.
    Model {
        /// The job for which it is needed; a task of it must be on the node.
        job: JobId,
        /// Its address.
        digest: Digest,
        /// The node has the bytes, and asks whether the job may still load them: none follow.
        held: bool,
    },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlobReply {
    /// Raw bytes follow.
    Found {
        /// How many.
        size: u64,
    },
    /// It is stored durably.
    Stored,
    /// It cannot be had or stored.
    Refused(super::user::RequestError),
}

/// Opened by the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LiveRequest {
    /// The log of a running attempt from its beginning, and on as it is written.
    Follow(TaskId),
    /// The same, and the [`super::user::Stdin`] frames that follow feed its standard input.
    Attach(TaskId),
    /// What there is to tell of a model that the node has loaded → [`LiveReply::Model`].
    Model {
        /// Whose model it is.
        owner: TenantName,
        /// Its bytes, and how they are run.
        version: ModelVersion,
    },
}

/// The answer to a [`LiveRequest`]: frames until the attempt ends, then the stream ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LiveReply {
    /// The next piece.
    Log(LogChunk),
    /// The worker does not run it, now or any more: ask for its result.
    NotHere,
    /// To [`LiveRequest::Attach`]: it has started, and from now on its input is taken.
    /// What is sent before may never be read.
    Here,
    /// To [`LiveRequest::Model`]; `None`: it is not loaded.
    Model(Option<Box<LoadedModel>>),
}
