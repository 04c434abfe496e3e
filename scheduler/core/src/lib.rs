//! The scheduler as a pure state machine: queue, policy, placement, nodes.
//!
//! Driven as quinn-proto is: [`Core::handle`] takes an [`Input`] and the time,
//! [`Core::poll_effect`] gives what to do, [`Core::poll_timeout`] when to come back.
//! Deciding yields facts, only [`Core::apply`] of a fact changes what is recorded, and
//! recovery is `apply` alone. No I/O, no clock, no threads, no randomness, and nothing
//! whose iteration order could differ from run to run.

pub mod config;
pub mod effect;
pub mod fact;
pub mod input;
pub mod reason;

pub use config::Config;
pub use effect::{Answer, Effect};
pub use fact::Fact;
pub use input::{Input, RequestId};
pub use reason::PendingReason;

use wrun_protocol::node::NodeInfo;
use wrun_protocol::wire::user::{
    JobDetail, JobState, JobSummary, NodeSummary, TaskDetail, TaskState,
};
use wrun_protocol::{JobId, NodeId, TaskId, TenantName, Timestamp};

/// The cluster's state and what decides over it.
#[derive(Debug)]
pub struct Core {
    config: Config,
}

/// Why a snapshot cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// It was written by a newer wrun.
    #[error(
        "the snapshot has version {0}, which this wrun does not know: use the newer wrun that wrote it"
    )]
    UnknownVersion(u32),
    /// The bytes are not a snapshot.
    #[error("the snapshot cannot be read: {0}")]
    Garbled(String),
}

/// Which live jobs to list; newest first.
#[derive(Clone, Debug, Default)]
pub struct JobsQuery<'a> {
    /// Only of this tenant.
    pub tenant: Option<&'a TenantName>,
    /// Only in this state.
    pub state: Option<JobState>,
    /// Only jobs older than this one.
    pub before: Option<JobId>,
    /// At most this many.
    pub limit: usize,
}

/// How much there is of what, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs that have not ended.
    pub jobs: u64,
    /// Tasks that wait.
    pub pending: u64,
    /// Tasks placed on nodes.
    pub placed: u64,
    /// Nodes known.
    pub nodes: u64,
    /// Nodes connected.
    pub connected: u64,
}

#[expect(missing_docs, unused_variables, clippy::todo, reason = "skeleton")]
impl Core {
    pub fn new(config: Config) -> Self {
        Self { config }
    }
    pub fn restore(config: Config, snapshot: &[u8]) -> Result<Self, RestoreError> {
        todo!()
    }
    pub fn snapshot(&self) -> Vec<u8> {
        todo!()
    }
    pub fn apply(&mut self, fact: &Fact) {
        todo!()
    }
    pub fn start(&mut self, now: Timestamp) {
        todo!()
    }
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        todo!()
    }
    pub fn poll_effect(&mut self) -> Option<Effect> {
        todo!()
    }
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        todo!()
    }
    pub fn config(&self) -> &Config {
        &self.config
    }
    pub fn job(&self, job: JobId) -> Option<JobDetail> {
        todo!()
    }
    pub fn job_summary(&self, job: JobId) -> Option<JobSummary> {
        todo!()
    }
    pub fn jobs(&self, query: &JobsQuery<'_>) -> Vec<JobSummary> {
        todo!()
    }
    /// Live tasks of a live job in order of index; those that have ended are in history.
    pub fn tasks(
        &self,
        job: JobId,
        from: u32,
        limit: u32,
        state: Option<TaskState>,
    ) -> Vec<TaskDetail> {
        todo!()
    }
    pub fn job_tenant(&self, job: JobId) -> Option<&TenantName> {
        todo!()
    }
    pub fn job_by_submit_id(
        &self,
        tenant: &TenantName,
        id: wrun_protocol::SubmitId,
    ) -> Option<JobId> {
        todo!()
    }
    pub fn pending_reason(&self, job: JobId) -> Option<PendingReason> {
        todo!()
    }
    pub fn task_location(&self, task: TaskId) -> Option<(NodeId, u32, TaskState)> {
        todo!()
    }
    pub fn nodes(&self) -> Vec<NodeSummary> {
        todo!()
    }
    pub fn node(&self, node: NodeId) -> Option<NodeSummary> {
        todo!()
    }
    pub fn node_info(&self, node: NodeId) -> Option<&NodeInfo> {
        todo!()
    }
    /// By name, or by id as `wrun nodes` prints it.
    pub fn node_by_name(&self, name: &str) -> Option<NodeId> {
        todo!()
    }
    pub fn counts(&self) -> Counts {
        todo!()
    }
}
