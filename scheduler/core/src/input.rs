//! What the driver tells the core. Each variant says who caused it and what the core
//! owes in return.

use wrun_protocol::job::EncodedSpec;
use wrun_protocol::model::{ModelId, ModelName, ModelTag, ModelVersion};
use wrun_protocol::node::NodeInfo;
use wrun_protocol::policy::Policy;
use wrun_protocol::reservation::Reservation;
use wrun_protocol::schedule::Schedule;
use wrun_protocol::scheduling::Offer;
use wrun_protocol::service::ServiceId;
use wrun_protocol::wire::model::Kept;
use wrun_protocol::wire::policy::{JobChange, TaskSet};
use wrun_protocol::wire::service::{ModelLoad, RolloutAction, ScaleTo, ServiceLoad};
use wrun_protocol::wire::user::JobState;
use wrun_protocol::wire::worker::{Assignment, ComponentKind, Report};
use wrun_protocol::workflow::{EncodedWorkflow, Reused};
use wrun_protocol::{
    AttemptId, Digest, IndexRange, JobId, NodeId, SubmitId, TaskId, TenantName, Timestamp,
};

use crate::fact::Remembered;
use crate::workflow::Prepared;

/// Chosen by the driver, echoed in [`crate::Effect::Reply`]. Need not be unique to the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A job that has ended, for one that depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prior {
    /// Which.
    pub job: JobId,
    /// How it ended.
    pub state: JobState,
    /// Whether a task of it was ever placed.
    pub started: bool,
    /// How many tasks it had.
    pub count: u32,
    /// Its tasks that succeeded, in ascending order. Needed only where the new job waits
    /// task by task and not all of them did.
    pub succeeded: Vec<IndexRange>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A user submits → `Reply` with [`crate::Answer::Submitted`], after the fact.
    Submit {
        /// Echoed.
        request: RequestId,
        /// Whose job it is.
        tenant: TenantName,
        /// Repeating it returns the same job.
        id: SubmitId,
        /// As the server found by reading the component.
        kind: ComponentKind,
        /// As the client sent it; checked here.
        spec: EncodedSpec,
        /// Jobs that it depends on and that have ended, as the history tells; of this
        /// tenant, or else the caller may see them.
        ended: Vec<Prior>,
    },
    /// A user submits a job of which results are remembered → `Reply` with
    /// [`crate::Answer::Submitted`], after the facts. Such a job waits for no other.
    SubmitKnown {
        /// Echoed.
        request: RequestId,
        /// Whose job it is.
        tenant: TenantName,
        /// Repeating it returns the same job.
        id: SubmitId,
        /// As the server found by reading the component.
        kind: ComponentKind,
        /// As the client sent it; checked here.
        spec: EncodedSpec,
        /// Results of its tasks, in ascending order, of the same tenant.
        known: Vec<Remembered>,
    },
    /// What came of [`crate::Effect::LookUp`]. Where nothing could be found out, nothing is
    /// known: the tasks run.
    LookedUp {
        /// The job.
        job: JobId,
        /// Its tasks that were looked up.
        tasks: Vec<IndexRange>,
        /// Results of some of them, in ascending order, of the same tenant.
        known: Vec<Remembered>,
    },
    /// A user cancels → `Reply` with [`crate::Answer::Done`].
    Cancel {
        /// Echoed.
        request: RequestId,
        /// Which job; that the caller may see it has been checked.
        job: JobId,
    },
    /// A user cancels some tasks of a job → `Reply` with [`crate::Answer::Done`].
    CancelTasks {
        /// Echoed.
        request: RequestId,
        /// Which job; that the caller may see it has been checked.
        job: JobId,
        /// Which of its tasks; those that have ended stay as they are.
        tasks: TaskSet,
    },
    /// A user lets tasks run again that failed or were cancelled, while their job has
    /// others that have not ended → `Reply` with [`crate::Answer::Done`].
    Retry {
        /// Echoed.
        request: RequestId,
        /// Which job; that the caller may see it has been checked.
        job: JobId,
        /// Which of its tasks; the others stay as they are.
        tasks: TaskSet,
    },
    /// A user stops placed tasks and puts them back into the queue → `Reply` with
    /// [`crate::Answer::Done`].
    Requeue {
        /// Echoed.
        request: RequestId,
        /// Which job; that the caller may see it has been checked.
        job: JobId,
        /// Which of its tasks; the others stay as they are.
        tasks: TaskSet,
    },
    /// A worker said hello → `Welcome` to it.
    NodeConnected {
        /// By its certificate.
        node: NodeId,
        /// As it describes itself.
        info: NodeInfo,
        /// What it has beyond its capacity.
        offer: Offer,
        /// Drawn at its start.
        incarnation: u64,
        /// What it says it still has.
        attempts: Vec<Assignment>,
    },
    /// Its session ended. Its tasks stay until the lease is over.
    NodeDisconnected {
        /// Which.
        node: NodeId,
    },
    /// The worker wants no more tasks.
    NodeDraining {
        /// Which.
        node: NodeId,
    },
    /// The worker has nothing left and goes: its lease ends at once.
    NodeGone {
        /// Which.
        node: NodeId,
    },
    /// The worker's heartbeat → `HeartbeatAck`.
    Heartbeat {
        /// Which.
        node: NodeId,
        /// Its number.
        beat: u64,
    },
    /// Reports of a worker → `Acknowledge` after the facts.
    Reports {
        /// Which.
        node: NodeId,
        /// Number of the first report.
        first: u64,
        /// In order.
        reports: Vec<Report>,
    },
    /// How far an attempt is. Not recorded.
    Progress {
        /// Who says so.
        node: NodeId,
        /// Which attempt.
        attempt: AttemptId,
        /// From 0 to 1000.
        permille: u16,
        /// Said by the guest.
        message: String,
    },
    /// Freeze a running task or let it go on → `Reply` with [`crate::Answer::Done`].
    Freeze {
        /// Echoed.
        request: RequestId,
        /// Which task.
        task: TaskId,
        /// `false` lets it go on.
        frozen: bool,
    },
    /// Drain a node or take it back → `Reply` with [`crate::Answer::Done`].
    SetDrain {
        /// Echoed.
        request: RequestId,
        /// Which node.
        node: NodeId,
        /// `false` takes it back.
        drain: bool,
    },
    /// Forget a lost node → `Reply` with [`crate::Answer::Done`].
    RemoveNode {
        /// Echoed.
        request: RequestId,
        /// Which node.
        node: NodeId,
    },
    /// A join token was made by the driver, who alone has randomness → `Reply` with
    /// [`crate::Answer::Done`].
    CreateToken {
        /// Echoed.
        request: RequestId,
        /// SHA-256 of its secret.
        hash: [u8; 32],
        /// When it stops being valid.
        expires: Timestamp,
    },
    /// A machine shows a token → `Reply` with [`crate::Answer::Joined`].
    Join {
        /// Echoed.
        request: RequestId,
        /// SHA-256 of the secret that it showed.
        token_hash: [u8; 32],
        /// The name it asks for.
        name: String,
    },
    /// A user changes a job that has not ended → `Reply` with [`crate::Answer::Done`].
    Change {
        /// Echoed.
        request: RequestId,
        /// Which job; that the caller may see it, and may do this, has been checked.
        job: JobId,
        /// What; checked here.
        change: JobChange,
    },
    /// An administrator sets resources aside → `Reply` with [`crate::Answer::Done`].
    Reserve {
        /// Echoed.
        request: RequestId,
        /// What, when and for whom; checked here.
        reservation: Box<Reservation>,
    },
    /// An administrator gives a reservation up → `Reply` with [`crate::Answer::Done`].
    Unreserve {
        /// Echoed.
        request: RequestId,
        /// Which.
        name: String,
    },
    /// An administrator replaces the policy → `Reply` with [`crate::Answer::Done`].
    SetPolicy {
        /// Echoed.
        request: RequestId,
        /// The whole of the new one; checked here.
        policy: Box<Policy>,
    },
    /// A user has a job submitted again and again → `Reply` with [`crate::Answer::Done`].
    AddSchedule {
        /// Echoed.
        request: RequestId,
        /// Whose jobs they are.
        tenant: TenantName,
        /// As the server found by reading the component.
        kind: ComponentKind,
        /// As the client sent it; checked here.
        schedule: Box<Schedule>,
    },
    /// A user gives a schedule up → `Reply` with [`crate::Answer::Done`].
    RemoveSchedule {
        /// Echoed.
        request: RequestId,
        /// Whose it is; that the caller may see it has been checked.
        tenant: TenantName,
        /// Its name.
        name: String,
    },
    /// A user has a schedule make no runs, or go on → `Reply` with [`crate::Answer::Done`].
    PauseSchedule {
        /// Echoed.
        request: RequestId,
        /// Whose it is; that the caller may see it has been checked.
        tenant: TenantName,
        /// Its name.
        name: String,
        /// `false` lets it go on.
        pause: bool,
    },
    /// A user submits a workflow → `Reply` with [`crate::Answer::Submitted`], after the fact.
    SubmitWorkflow {
        /// Echoed.
        request: RequestId,
        /// Whose it is.
        tenant: TenantName,
        /// Repeating it returns the same workflow.
        id: SubmitId,
        /// Checked here.
        workflow: EncodedWorkflow,
        /// For each step, as the server found by reading the component.
        kinds: Vec<ComponentKind>,
        /// The earlier run of which it is one more; that the caller may see it has been
        /// checked.
        rerun_of: Option<JobId>,
        /// Steps whose earlier result stands, as the history tells.
        reused: Vec<Reused>,
    },
    /// What came of [`crate::Effect::PrepareStep`]. Nothing is owed.
    StepPrepared {
        /// The workflow.
        workflow: JobId,
        /// Which of its steps.
        step: u16,
        /// Its job, or why there is none.
        prepared: Prepared,
    },
    /// A user deploys a service → `Reply` with [`crate::Answer::Deployed`], after the facts.
    Deploy {
        /// Echoed.
        request: RequestId,
        /// Whose it is.
        tenant: TenantName,
        /// Repeating it returns the same revision.
        id: SubmitId,
        /// As the server found by reading the component.
        kind: ComponentKind,
        /// As the client sent it; checked here.
        spec: EncodedSpec,
    },
    /// A user takes a service down → `Reply` with [`crate::Answer::Done`]. Its replicas are
    /// drained after that.
    Undeploy {
        /// Echoed.
        request: RequestId,
        /// Which; that the caller may see it has been checked.
        service: ServiceId,
    },
    /// A user wants another number of replicas → `Reply` with [`crate::Answer::Done`].
    Scale {
        /// Echoed.
        request: RequestId,
        /// Which; that the caller may see it has been checked.
        service: ServiceId,
        /// How many; checked here.
        to: ScaleTo,
    },
    /// A user steers a rollout → `Reply` with [`crate::Answer::Done`].
    Rollout {
        /// Echoed.
        request: RequestId,
        /// Which; that the caller may see it has been checked.
        service: ServiceId,
        /// What to do.
        action: RolloutAction,
    },
    /// A user lets a tag of a model point at bytes that are stored → `Reply` with
    /// [`crate::Answer::ModelPushed`].
    PushModel {
        /// Echoed.
        request: RequestId,
        /// Whose model it is.
        tenant: TenantName,
        /// Its name.
        name: ModelName,
        /// Which of its tags.
        tag: ModelTag,
        /// Checked here, but for whether the bytes are there.
        version: ModelVersion,
    },
    /// A user removes a tag of a model → `Reply` with [`crate::Answer::ModelWithdrawn`].
    RemoveModel {
        /// Echoed.
        request: RequestId,
        /// Which; that the caller may change it has been checked.
        model: ModelId,
        /// Which of its tags.
        tag: ModelTag,
        /// Though live work uses it.
        force: bool,
    },
    /// A user shares a model → `Reply` with [`crate::Answer::Done`].
    ShareModel {
        /// Echoed.
        request: RequestId,
        /// Which; that the caller may change it has been checked.
        model: ModelId,
        /// Who may use it.
        with: TenantName,
    },
    /// A user shares a model no more → `Reply` with [`crate::Answer::ModelWithdrawn`].
    UnshareModel {
        /// Echoed.
        request: RequestId,
        /// Which; that the caller may change it has been checked.
        model: ModelId,
        /// Who may use it no more.
        with: TenantName,
        /// Though its live work uses it.
        force: bool,
    },
    /// What a node's gateway has seen since it last told. Not recorded; nothing is owed.
    Load {
        /// Whose gateway.
        node: NodeId,
        /// For each service with something to tell.
        loads: Vec<ServiceLoad>,
    },
    /// Which models a node keeps, as far as that has changed. Not recorded; nothing is owed.
    ModelsKept {
        /// Which node.
        node: NodeId,
        /// How it keeps each, `None`: not any more.
        models: Vec<(Digest, Option<Kept>)>,
    },
    /// A node whose task of this gang has waited long for another asks which have not ended →
    /// `Gang` to it, where some have.
    MembersAsked {
        /// Which node.
        node: NodeId,
        /// The gang.
        job: JobId,
    },
    /// What replicas on a node asked of models since it last told. Not recorded; nothing is owed.
    ModelLoad {
        /// Which node.
        node: NodeId,
        /// For each job with something to tell.
        loads: Vec<ModelLoad>,
    },
    /// The instant of [`crate::Core::poll_timeout`] has come. Early or late is harmless.
    Timeout,
}
