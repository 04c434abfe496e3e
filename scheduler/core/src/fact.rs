//! What happened: the records of the journal.
//!
//! State changes only by [`crate::Core::apply`] of a fact, live and at recovery alike.
//! [`Fact`] is versioned by growth: variants are added at its end, none is ever edited
//! or moved, so that a newer wrun reads every older journal (the golden file in the
//! tests holds the encoding). A fact says what was decided, never why; nothing here
//! decides anything.

use serde::{Deserialize, Serialize};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::model::{ModelId, ModelTag, ModelVersion};
use wrun_protocol::node::NodeInfo;
use wrun_protocol::policy::Policy;
use wrun_protocol::reservation::Reservation;
use wrun_protocol::schedule::Schedule;
use wrun_protocol::scheduling::{Dependency, Offer};
use wrun_protocol::service::ServiceId;
use wrun_protocol::task::{Content, Usage};
use wrun_protocol::wire::policy::JobChange;
use wrun_protocol::wire::schedule::WhyLeftOut;
use wrun_protocol::wire::service::{Readied, RolledBackBy, ScaleTo, ScaledBy};
use wrun_protocol::wire::user::JobState;
use wrun_protocol::wire::worker::{Assignment, ComponentKind, Grant, TaskResult};
use wrun_protocol::workflow::{EncodedWorkflow, Reused, StepReason, StepState};
use wrun_protocol::{AttemptId, IndexRange, JobId, NodeId, SubmitId, TenantName, Timestamp};

/// One thing that happened. `at` is the server's time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// A join token was made.
    TokenCreated {
        /// When.
        at: Timestamp,
        /// SHA-256 of its secret.
        hash: [u8; 32],
        /// When it stops being valid.
        expires: Timestamp,
    },
    /// A machine became a node; the token is used up.
    NodeJoined {
        /// When.
        at: Timestamp,
        /// Its number.
        node: NodeId,
        /// The name it asked for.
        name: String,
        /// Hash of the token it showed.
        token: [u8; 32],
    },
    /// A node connected with a new description or a new incarnation.
    NodeConnected {
        /// When.
        at: Timestamp,
        /// Which.
        node: NodeId,
        /// As it describes itself.
        info: Box<NodeInfo>,
        /// Drawn by the worker at its start.
        incarnation: u64,
    },
    /// The node's lease is over, or it said goodbye: its attempts are fenced. For each
    /// of them a [`Fact::Requeued`] or [`Fact::Ended`] follows.
    NodeLost {
        /// When.
        at: Timestamp,
        /// Which.
        node: NodeId,
    },
    /// An administrator drained the node or took it back.
    NodeDrained {
        /// When.
        at: Timestamp,
        /// Which.
        node: NodeId,
        /// `false` when it was taken back.
        drain: bool,
    },
    /// A lost node was forgotten.
    NodeRemoved {
        /// When.
        at: Timestamp,
        /// Which.
        node: NodeId,
    },
    /// A job was accepted.
    JobSubmitted {
        /// When.
        at: Timestamp,
        /// Its number.
        job: JobId,
        /// Whose it is.
        tenant: TenantName,
        /// The client's id of the submission.
        id: SubmitId,
        /// Which interface it exports.
        kind: ComponentKind,
        /// The specification, as accepted.
        spec: EncodedSpec,
    },
    /// Attempts were given to a node.
    Placed {
        /// When.
        at: Timestamp,
        /// Where.
        node: NodeId,
        /// Which. No two overlap.
        tasks: Vec<Assignment>,
    },
    /// Attempts are known to run.
    Started {
        /// When this was reported.
        at: Timestamp,
        /// Where.
        node: NodeId,
        /// Which.
        tasks: Vec<Assignment>,
    },
    /// Tasks ended well with nothing to tell.
    Succeeded {
        /// When this was reported.
        at: Timestamp,
        /// Where.
        node: NodeId,
        /// Which, in order.
        tasks: Vec<Success>,
    },
    /// One attempt ended and has something to tell. A task whose node was lost and that
    /// has no requeue left ends here too, as `Failure::NodeLost`.
    Ended {
        /// When this was reported.
        at: Timestamp,
        /// Where.
        node: NodeId,
        /// Which.
        attempt: AttemptId,
        /// How, and with what.
        result: Box<TaskResult>,
        /// What becomes of the task.
        next: Next,
    },
    /// Attempts will never end: their tasks wait again, from now.
    Requeued {
        /// When.
        at: Timestamp,
        /// Where they were placed.
        node: NodeId,
        /// Why.
        cause: RequeueCause,
        /// Which.
        tasks: Vec<Assignment>,
    },
    /// A checkpoint of a running attempt; it replaces the one before.
    Checkpointed {
        /// When this was reported.
        at: Timestamp,
        /// Which attempt saved it.
        attempt: AttemptId,
        /// What it saved.
        content: Content,
    },
    /// A user cancelled the job: every task that had not ended is cancelled, and the
    /// job has ended.
    JobCancelled {
        /// When.
        at: Timestamp,
        /// Which.
        job: JobId,
    },
    /// Every report of the node's present incarnation up to this number has been dealt with.
    Reported {
        /// When.
        at: Timestamp,
        /// Which node.
        node: NodeId,
        /// Number of the last report.
        report: u64,
    },
    /// An administrator replaced the policy.
    PolicySet {
        /// When.
        at: Timestamp,
        /// The whole of the new one.
        policy: Box<Policy>,
    },
    /// A node said what it has beyond its capacity.
    NodeOffered {
        /// When.
        at: Timestamp,
        /// Which.
        node: NodeId,
        /// What.
        offer: Offer,
    },
    /// A user changed a job that had not ended.
    JobChanged {
        /// When.
        at: Timestamp,
        /// Which.
        job: JobId,
        /// What.
        change: JobChange,
    },
    /// Some tasks of a job were cancelled.
    TasksCancelled {
        /// When.
        at: Timestamp,
        /// Which job.
        job: JobId,
        /// Which of its tasks, none of which had ended.
        tasks: Vec<IndexRange>,
        /// The final state of the job, where these were its last tasks.
        ends_job: Option<JobState>,
    },
    /// Tasks of a live job that had failed or were cancelled wait again.
    TasksRetried {
        /// When.
        at: Timestamp,
        /// Which, with their last attempt.
        tasks: Vec<Assignment>,
    },
    /// Attempts were given to a node with another than the job's first request, or with
    /// devices.
    PlacedWith {
        /// When.
        at: Timestamp,
        /// Where.
        node: NodeId,
        /// Which, and what each holds.
        tasks: Vec<(Assignment, Grant)>,
    },
    /// Attempts were frozen, or go on.
    Frozen {
        /// When.
        at: Timestamp,
        /// Where.
        node: NodeId,
        /// Which.
        tasks: Vec<Assignment>,
        /// `false` when they go on.
        frozen: bool,
    },
    /// An attempt was told that it will be stopped.
    Noticed {
        /// When.
        at: Timestamp,
        /// Where.
        node: NodeId,
        /// Which.
        attempt: AttemptId,
        /// When it is stopped at the latest.
        until: Timestamp,
    },
    /// Resources were set aside.
    Reserved {
        /// When.
        at: Timestamp,
        /// What.
        reservation: Box<Reservation>,
        /// The nodes that the core chose, with how many requests on each, where it chose.
        nodes: Vec<(NodeId, u32)>,
    },
    /// A reservation was given up, or its last window is over.
    Unreserved {
        /// When.
        at: Timestamp,
        /// Which.
        name: String,
    },
    /// What a job waits for has happened, or never will.
    DependencySettled {
        /// When.
        at: Timestamp,
        /// Which job waits.
        job: JobId,
        /// For what.
        on: Dependency,
        /// For which of its tasks; `None`: for all.
        tasks: Option<IndexRange>,
        /// `false`: it never will.
        met: bool,
    },
    /// A job is to be submitted again and again.
    ScheduleAdded {
        /// When. It is due from then on.
        at: Timestamp,
        /// Whose it is.
        tenant: TenantName,
        /// Which interface the job's component exports.
        kind: ComponentKind,
        /// What and when.
        schedule: Box<Schedule>,
    },
    /// A schedule was given up. Its runs stay.
    ScheduleRemoved {
        /// When.
        at: Timestamp,
        /// Whose it was.
        tenant: TenantName,
        /// Its name.
        name: String,
    },
    /// A schedule makes no runs for now, or goes on.
    SchedulePaused {
        /// When. What was due before is not made up for.
        at: Timestamp,
        /// Whose it is.
        tenant: TenantName,
        /// Its name.
        name: String,
        /// `false` when it goes on.
        paused: bool,
    },
    /// A schedule was due.
    ScheduleDue {
        /// When this was dealt with.
        at: Timestamp,
        /// Whose it is.
        tenant: TenantName,
        /// Its name.
        name: String,
        /// When it was due. It is due next at the first time after.
        due: Timestamp,
        /// The job that was submitted before this fact, or why none was.
        run: Result<JobId, WhyLeftOut>,
    },
    /// A gang was placed, all of its tasks: the journal never ends amid it.
    GangPlaced {
        /// When.
        at: Timestamp,
        /// Which of the tasks are where, and what each of these holds where it is told so.
        parts: Vec<(NodeId, Assignment, Option<Grant>)>,
    },
    /// A workflow was accepted.
    WorkflowSubmitted {
        /// When.
        at: Timestamp,
        /// Its number, of the same sequence as those of jobs.
        job: JobId,
        /// Whose it is.
        tenant: TenantName,
        /// The client's id of the submission.
        id: SubmitId,
        /// The workflow, as accepted.
        workflow: Box<EncodedWorkflow>,
        /// Which interface the component of each step exports.
        kinds: Vec<ComponentKind>,
        /// The earlier run of which it is one more.
        rerun_of: Option<JobId>,
        /// Steps whose earlier result stands.
        reused: Vec<Reused>,
    },
    /// The job of a step was submitted by the fact before this one, or by an earlier one.
    StepStarted {
        /// When.
        at: Timestamp,
        /// The workflow.
        workflow: JobId,
        /// Which of its steps.
        step: u16,
        /// The step's job.
        job: JobId,
    },
    /// A step has ended, or never begins.
    StepEnded {
        /// When.
        at: Timestamp,
        /// The workflow.
        workflow: JobId,
        /// Which of its steps.
        step: u16,
        /// How.
        state: StepState,
        /// Why so, where its job does not say.
        why: Option<StepReason>,
    },
    /// A user cancelled the workflow: only its last step begins from now on.
    WorkflowCancelled {
        /// When.
        at: Timestamp,
        /// Which.
        job: JobId,
    },
    /// Every step has ended.
    WorkflowEnded {
        /// When.
        at: Timestamp,
        /// Which.
        job: JobId,
        /// How.
        state: JobState,
    },
    /// Results of tasks that wait were known from before: they have succeeded without
    /// having been placed.
    Remembered {
        /// When.
        at: Timestamp,
        /// Whose.
        job: JobId,
        /// Which, in ascending order.
        tasks: Vec<Remembered>,
        /// The final state of the job, where these were its last tasks.
        ends_job: Option<JobState>,
    },
    /// A service was deployed: this revision of it is wanted from now on. Its job was
    /// accepted, and all of its tasks, the replicas, sleep.
    ServiceDeployed {
        /// When.
        at: Timestamp,
        /// Which service.
        service: ServiceId,
        /// The number of the revision.
        revision: u32,
        /// The job's number.
        job: JobId,
        /// The client's id of the deployment.
        id: SubmitId,
        /// Which interface it exports.
        kind: ComponentKind,
        /// The specification, as accepted.
        spec: EncodedSpec,
    },
    /// A user takes a service down: no replica of it is wanted any more. It is gone when the
    /// jobs of its revisions have ended.
    ServiceUndeployed {
        /// When.
        at: Timestamp,
        /// Which.
        service: ServiceId,
    },
    /// A user said how many replicas a service may have.
    ServiceScaleSet {
        /// When.
        at: Timestamp,
        /// Which.
        service: ServiceId,
        /// How many.
        to: ScaleTo,
    },
    /// Another number of replicas of a service is wanted.
    ServiceScaled {
        /// When.
        at: Timestamp,
        /// Which.
        service: ServiceId,
        /// How many now, of whatever revisions.
        to: u32,
        /// Why.
        why: ScaledBy,
    },
    /// Replicas that slept wait to be placed.
    ReplicasWoken {
        /// When.
        at: Timestamp,
        /// The job of their revision.
        job: JobId,
        /// Which.
        replicas: Vec<IndexRange>,
    },
    /// Replicas sleep, wherever they were. The attempts of those on nodes are fenced.
    ReplicasSlept {
        /// When.
        at: Timestamp,
        /// The job of their revision.
        job: JobId,
        /// Which.
        replicas: Vec<IndexRange>,
    },
    /// A replica can have requests, or is not to have any for now.
    ReplicaReadied {
        /// When this was reported.
        at: Timestamp,
        /// Where.
        node: NodeId,
        /// Which.
        attempt: AttemptId,
        /// How it is.
        state: Readied,
    },
    /// A replica gets no new requests, and was told to go when those under way are over.
    ReplicaDraining {
        /// When.
        at: Timestamp,
        /// Where.
        node: NodeId,
        /// Which.
        attempt: AttemptId,
        /// When it is stopped at the latest.
        until: Timestamp,
    },
    /// A rollout goes on, or no further.
    RolloutMoved {
        /// When.
        at: Timestamp,
        /// Of which service.
        service: ServiceId,
        /// Stages that are behind it.
        step: u32,
        /// When the goal of the one that it is in was reached.
        reached: Option<Timestamp>,
        /// Whether a user lets it go no further.
        paused: bool,
    },
    /// The revision that is wanted has taken the place of all others.
    RolledOut {
        /// When.
        at: Timestamp,
        /// Of which service.
        service: ServiceId,
        /// Which.
        revision: u32,
    },
    /// An earlier revision is wanted in place of the one that was.
    RolledBack {
        /// When.
        at: Timestamp,
        /// Of which service.
        service: ServiceId,
        /// The revision that is wanted now.
        to: u32,
        /// Why.
        why: RolledBackBy,
    },
    /// What is remembered of these tasks' results was looked up: those that did not succeed by
    /// that may be placed.
    LookedUp {
        /// When.
        at: Timestamp,
        /// Whose.
        job: JobId,
        /// Which.
        tasks: Vec<IndexRange>,
    },
    /// A tag of a model points at this from now on. What it pointed at before is kept for the live
    /// work that uses it.
    ModelPushed {
        /// When.
        at: Timestamp,
        /// The model; it may be new.
        model: ModelId,
        /// The tag; it may be new.
        tag: ModelTag,
        /// The bytes, and how they are run.
        version: Box<ModelVersion>,
    },
    /// A tag of a model is no more. What no other tag of the model points at can be loaded no
    /// more, whoever uses it.
    ModelRemoved {
        /// When.
        at: Timestamp,
        /// Which model.
        model: ModelId,
        /// Which tag.
        tag: ModelTag,
    },
    /// Another tenant may use a model, or may do so no more: then its live work can load the model
    /// no more.
    ModelShared {
        /// When.
        at: Timestamp,
        /// Which model.
        model: ModelId,
        /// Who.
        with: TenantName,
        /// `false` when it may do so no more.
        shared: bool,
    },
}

/// A result that was known from before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The task.
    pub index: u32,
    /// The job whose task of the same index gave it.
    pub from: JobId,
    /// What a handler returned.
    pub output: Option<Content>,
    /// The log of the attempt that succeeded then.
    pub log: Option<Content>,
}

/// A run of tasks that ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Success {
    /// Which attempts.
    pub tasks: Assignment,
    /// What they used together.
    pub usage: Usage,
    /// The final state of the job, where these were its last tasks.
    pub ends_job: Option<JobState>,
}

/// What becomes of a task after an attempt of it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Next {
    /// The task has ended as the attempt did.
    Final {
        /// The final state of the job, where this was its last task.
        ends_job: Option<JobState>,
    },
    /// It runs again.
    Retry {
        /// Not before this instant.
        not_before: Timestamp,
    },
    /// It is a replica, and is started again.
    Restart {
        /// Not before this instant.
        not_before: Timestamp,
        /// How often it has ended in a row without having run for long.
        failures: u32,
        /// It was never ready, and had had its time for that.
        late: bool,
    },
}

/// Why an attempt was given up without an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequeueCause {
    /// The node gave it back without having started it. Costs nothing.
    Returned,
    /// The node, or its knowledge of the attempt, was lost. Counts as a requeue.
    NodeLost,
    /// Stopped for the sake of another job. Costs nothing; a checkpoint is kept.
    Preempted,
    /// Stopped and put back at a user's wish. Costs nothing.
    Requested,
    /// Stopped because another task of its gang failed or was lost. Costs nothing.
    Gang,
}

impl Fact {
    /// When it happened.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::TokenCreated { at, .. }
            | Self::NodeJoined { at, .. }
            | Self::NodeConnected { at, .. }
            | Self::NodeLost { at, .. }
            | Self::NodeDrained { at, .. }
            | Self::NodeRemoved { at, .. }
            | Self::JobSubmitted { at, .. }
            | Self::Placed { at, .. }
            | Self::Started { at, .. }
            | Self::Succeeded { at, .. }
            | Self::Ended { at, .. }
            | Self::Requeued { at, .. }
            | Self::Checkpointed { at, .. }
            | Self::JobCancelled { at, .. }
            | Self::Reported { at, .. }
            | Self::PolicySet { at, .. }
            | Self::NodeOffered { at, .. }
            | Self::JobChanged { at, .. }
            | Self::TasksCancelled { at, .. }
            | Self::TasksRetried { at, .. }
            | Self::PlacedWith { at, .. }
            | Self::Frozen { at, .. }
            | Self::Noticed { at, .. }
            | Self::Reserved { at, .. }
            | Self::Unreserved { at, .. }
            | Self::DependencySettled { at, .. }
            | Self::ScheduleAdded { at, .. }
            | Self::ScheduleRemoved { at, .. }
            | Self::SchedulePaused { at, .. }
            | Self::ScheduleDue { at, .. }
            | Self::GangPlaced { at, .. }
            | Self::WorkflowSubmitted { at, .. }
            | Self::StepStarted { at, .. }
            | Self::StepEnded { at, .. }
            | Self::WorkflowCancelled { at, .. }
            | Self::WorkflowEnded { at, .. }
            | Self::Remembered { at, .. }
            | Self::ServiceDeployed { at, .. }
            | Self::ServiceUndeployed { at, .. }
            | Self::ServiceScaleSet { at, .. }
            | Self::ServiceScaled { at, .. }
            | Self::ReplicasWoken { at, .. }
            | Self::ReplicasSlept { at, .. }
            | Self::ReplicaReadied { at, .. }
            | Self::ReplicaDraining { at, .. }
            | Self::RolloutMoved { at, .. }
            | Self::RolledOut { at, .. }
            | Self::RolledBack { at, .. }
            | Self::LookedUp { at, .. }
            | Self::ModelPushed { at, .. }
            | Self::ModelRemoved { at, .. }
            | Self::ModelShared { at, .. } => *at,
        }
    }
}
