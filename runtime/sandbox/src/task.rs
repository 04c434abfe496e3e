//! What a task is given and what it gives back: plain data and the trait through which
//! the node hears of it. No execution here.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use wrun_protocol::job::{HostGrant, TaskLimits};
use wrun_protocol::model::ModelVersion;
use wrun_protocol::task::{Outcome, Usage};
use wrun_protocol::wire::user::LogStream;
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{JobId, Resources, TenantName};

use crate::LentCards;
use crate::ModelMeter;
use crate::ServiceCaller;
use crate::gang::{GangSeat, TaskMemory};

/// What all tasks of a job have in common.
#[derive(Clone, Debug)]
pub struct JobContext {
    /// The job.
    pub job: JobId,
    /// Whose it is.
    pub tenant: TenantName,
    /// Which interface is called.
    pub kind: ComponentKind,
    /// How many tasks the job has.
    pub count: u32,
    /// Arguments, the program's own name first.
    pub args: Vec<String>,
    /// The environment; `WRUN_*` is added to it.
    pub env: Vec<(String, String)>,
    /// What ends a task.
    pub limits: TaskLimits,
    /// What each task was given of the node: memory and scratch are limits, CPU a share.
    pub resources: Resources,
    /// Directories that the guest sees, read-only: absolute path in the guest, and where
    /// it is on this node.
    pub mounts: Vec<(String, PathBuf)>,
    /// Hosts that the guest may reach.
    pub network: Vec<HostGrant>,
    /// TCP ports on which the guest may listen, on every address.
    pub listen: Vec<u16>,
    /// Carries requests to services of the cluster; `None`: there is nobody who does.
    pub services: Option<Arc<dyn ServiceCaller>>,
    /// The node's cards that the task was given.
    pub cards: Option<Arc<LentCards>>,
    /// Models that the guest may load by name.
    pub models: Vec<GrantedModel>,
    /// The share of its requests in the queue of a model, against those of other tenants.
    pub model_weight: u32,
    /// What its tasks here ask of models.
    pub models_asked: Arc<ModelMeter>,
    /// Whether it may load models from bytes of its own.
    pub load_models: bool,
}

/// A model that a guest may load by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedModel {
    /// What the guest calls it.
    pub name: String,
    /// Whose model it is.
    pub owner: TenantName,
    /// Its bytes, and how they are to be run.
    pub version: ModelVersion,
    /// Where they are on this node, checked against their digest; `None`: the model was withdrawn
    /// from the job, and is not found.
    pub file: Option<PathBuf>,
}

/// What a program reads from standard input, or a handler is given.
#[derive(Debug, Default)]
pub enum TaskInput {
    /// Nothing.
    #[default]
    Empty,
    /// These bytes; not copied for a program.
    Bytes(Bytes),
    /// A file's content.
    File(PathBuf),
    /// Pieces as they come, until the sender is dropped. A handler waits for all of it.
    Stream(mpsc::Receiver<Bytes>),
    /// A file that is still being fetched, or why it cannot be had. The execution begins
    /// when it is there; the time until then counts.
    Later(oneshot::Receiver<Result<std::fs::File, String>>),
}

/// One execution to start.
#[derive(Debug)]
pub struct TaskStart {
    /// Chosen by the caller; names the execution in every event.
    pub token: u64,
    /// What it shares with the other tasks of its job.
    pub job: Arc<JobContext>,
    /// Its place in the array.
    pub index: u32,
    /// Which execution, from 1.
    pub attempt: u32,
    /// Its input.
    pub input: TaskInput,
    /// What an earlier attempt saved last.
    pub checkpoint: Option<Bytes>,
    /// Where its scratch directory is to be. Made when the guest can touch it, and then
    /// removed by the sandbox before [`TaskEvents::ended`]. `None`: it has none.
    pub scratch: Option<PathBuf>,
    /// Makes the execution deterministic: whatever it can observe comes from what it is
    /// given and from this. The component must have been compiled for that.
    pub seed: Option<[u8; 32]>,
}

/// The execution that follows another of the same job in its place: what a
/// [`TaskStart`] has besides the job.
#[derive(Debug)]
pub struct NextTask {
    /// See [`TaskStart::token`]; another one than that of the execution that it follows.
    pub token: u64,
    /// See [`TaskStart::index`].
    pub index: u32,
    /// See [`TaskStart::attempt`].
    pub attempt: u32,
    /// See [`TaskStart::input`].
    pub input: TaskInput,
    /// See [`TaskStart::checkpoint`].
    pub checkpoint: Option<Bytes>,
    /// See [`TaskStart::scratch`].
    pub scratch: Option<PathBuf>,
    /// See [`TaskStart::seed`]; given where it was given for the execution before.
    pub seed: Option<[u8; 32]>,
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskEnd {
    /// Success or the reason of failure.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// What a handler returned; `None` for a program.
    pub output: Option<Bytes>,
}

/// Through this the node hears of its tasks. Called on guest threads: an implementation
/// hands over and returns, it never waits.
pub trait TaskEvents: Send + Sync {
    /// Bytes for the log, already within the task's limits. In the order they were written.
    fn log(&self, token: u64, stream: LogStream, bytes: Bytes);
    /// How far the task says it is, from 0 to 1000, and what it is doing.
    fn progress(&self, token: u64, permille: u16, message: &str);
    /// The state to save. The guest waits until `done` is told.
    fn save_checkpoint(&self, token: u64, state: Bytes, done: CheckpointDone);
    /// The execution is over and everything it held is given back. Called exactly once,
    /// unless [`TaskEvents::hand_over`] is.
    fn ended(&self, token: u64, end: TaskEnd);
    /// Called in place of [`TaskEvents::ended`] where another execution of the same job
    /// may follow at once, which costs a fraction of starting it anew: the one that ended
    /// has given back all but its place in the pool. The handle of the one that follows is
    /// made of that of the one before, by [`crate::TaskHandle::followed_by`].
    fn hand_over(&self, token: u64, end: TaskEnd) -> Option<NextTask> {
        self.ended(token, end);
        None
    }
    /// The task's seat in its gang; `None` if it is not of one. Messages that wait for the
    /// task are charged to `memory`. Asked for once, when the guest first wants it.
    fn gang_seat(&self, token: u64, memory: TaskMemory) -> Option<Arc<dyn GangSeat>> {
        let _ = (token, memory);
        None
    }
    /// After [`TaskEvents::hand_over`] gave nothing: the place is given back too.
    fn vacated(&self) {}
}

/// Tells a guest what became of the checkpoint it saves. Dropping it says that the
/// checkpoint could not be saved.
#[derive(Debug)]
pub struct CheckpointDone(pub(crate) oneshot::Sender<Result<(), String>>);

impl CheckpointDone {
    /// The cluster holds it durably.
    pub fn saved(self) {
        // The guest may have been stopped meanwhile; then nobody waits.
        let _ = self.0.send(Ok(()));
    }

    /// It could not be saved; the guest is told why.
    pub fn unavailable(self, reason: impl Into<String>) {
        let _ = self.0.send(Err(reason.into()));
    }
}
