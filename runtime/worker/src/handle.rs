//! Starting a worker, and what its owner holds of it.

use wrun_protocol::NodeId;

use crate::{WorkerConfig, WorkerError};

/// A running worker. Dropping it stops the worker at once.
#[derive(Debug)]
pub struct WorkerHandle {}

/// Takes the data directory, joins if it must, builds the sandbox and starts the agent,
/// which connects and reconnects on its own from then on.
pub async fn start(config: WorkerConfig) -> Result<WorkerHandle, WorkerError> {
    todo!("{config:?}")
}

impl WorkerHandle {
    /// The node's number in the cluster.
    pub fn node(&self) -> NodeId {
        todo!()
    }

    /// What this machine lacks, in words for the operator; empty when nothing.
    pub fn warnings(&self) -> &[String] {
        todo!()
    }

    /// Hands back what has not started, waits for the rest up to the grace time, hands
    /// back what is left, and ends. Returns when that is done.
    pub async fn drain(&self) {
        todo!()
    }

    /// Stops at once: guests are stopped, nothing is handed back.
    pub fn stop(&self) {
        todo!()
    }

    /// Waits until the worker has ended.
    pub async fn ended(&self) -> Result<(), WorkerError> {
        todo!()
    }
}
