//! The sandbox itself: what the worker holds.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wrun_protocol::Digest;
use wrun_protocol::wire::worker::ComponentKind;

use crate::{PrepareError, SandboxConfig, SandboxError, StartError, TaskEvents, TaskStart};

/// Runs components. Cheap to clone; the last clone to go stops the threads.
#[derive(Clone)]
pub struct Sandbox {}

/// A component, compiled and linked, ready to be started any number of times.
pub struct Prepared {}

/// An execution that was started. Dropping it changes nothing.
#[derive(Clone)]
pub struct TaskHandle {}

impl Sandbox {
    /// Builds engines and starts the threads.
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        todo!("{config:?}")
    }

    /// What this machine lacks, in words for the operator; empty when nothing.
    pub fn warnings(&self) -> &[String] {
        todo!()
    }

    /// Compiles and links the component, or finds it compiled. Once per digest at a time,
    /// however many ask; `source` is called on a compile thread, and only if this node
    /// has no compiled form.
    pub async fn compile(
        &self,
        digest: Digest,
        source: impl FnOnce() -> io::Result<Bytes> + Send + 'static,
    ) -> Result<Arc<Prepared>, PrepareError> {
        let _ = (digest, source);
        todo!()
    }

    /// Starts one execution; never waits. It may first queue for a place in the pool.
    pub fn start(
        &self,
        prepared: &Arc<Prepared>,
        task: TaskStart,
        events: &Arc<dyn TaskEvents>,
    ) -> Result<TaskHandle, StartError> {
        let _ = (prepared, task, events);
        todo!()
    }
}

impl Prepared {
    /// Which interface it exports.
    pub fn kind(&self) -> ComponentKind {
        todo!()
    }
}

impl TaskHandle {
    /// The caller's name for the execution.
    pub fn token(&self) -> u64 {
        todo!()
    }

    /// Takes the CPU away, within 20 ms. Everything else stays with the task.
    pub fn freeze(&self) {
        todo!()
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        todo!()
    }

    /// Ends it as cancelled, frozen or not, also while it waits for the host.
    pub fn stop(&self) {
        todo!()
    }

    /// Thread CPU time it has used until now.
    pub fn cpu_used(&self) -> Duration {
        todo!()
    }
}
