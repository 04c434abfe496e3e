//! What the agent needs of a sandbox: the seam at which its tests put executions that
//! end when the test says so. Holds no logic.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use wrun_protocol::Digest;
use wrun_protocol::wire::worker::ComponentKind;
use wrun_sandbox::{
    PrepareError, Prepared, Sandbox, StartError, TaskEvents, TaskHandle, TaskStart,
};

/// Runs components.
pub(crate) trait Executor: Send + Sync + 'static {
    /// A component, ready to be started any number of times.
    type Program: Send + Sync + 'static;
    /// An execution that was started.
    type Handle: Clone + Send + Sync + 'static;

    /// Makes the component in `file` ready, for executions with a seed if `deterministic`.
    fn compile(
        &self,
        digest: Digest,
        deterministic: bool,
        file: PathBuf,
    ) -> impl Future<Output = Result<Arc<Self::Program>, PrepareError>> + Send;

    /// Which interface the component exports.
    fn kind(program: &Self::Program) -> ComponentKind;

    /// Starts one execution; never waits.
    fn start(
        &self,
        program: &Arc<Self::Program>,
        task: TaskStart,
        events: &Arc<dyn TaskEvents>,
    ) -> Result<Self::Handle, StartError>;

    /// The handle of the execution `token` that follows the one of `handle` in its place.
    fn followed_by(handle: Self::Handle, token: u64) -> Self::Handle;

    /// Takes the CPU away, or gives it back.
    fn freeze(handle: &Self::Handle, frozen: bool);

    /// Lets the guest know that it will be stopped at that instant.
    fn notify(handle: &Self::Handle, stops: Instant);

    /// Ends the execution as cancelled.
    fn stop(handle: &Self::Handle);
}

impl Executor for Sandbox {
    type Program = Prepared;
    type Handle = TaskHandle;

    async fn compile(
        &self,
        digest: Digest,
        deterministic: bool,
        file: PathBuf,
    ) -> Result<Arc<Prepared>, PrepareError> {
        let read = move || std::fs::read(file).map(Bytes::from);
        if deterministic {
            self.compile_deterministic(digest, read).await
        } else {
            Self::compile(self, digest, read).await
        }
    }

    fn kind(program: &Prepared) -> ComponentKind {
        program.kind()
    }

    fn start(
        &self,
        program: &Arc<Prepared>,
        task: TaskStart,
        events: &Arc<dyn TaskEvents>,
    ) -> Result<TaskHandle, StartError> {
        Self::start(self, program, task, events)
    }

    fn followed_by(handle: TaskHandle, token: u64) -> TaskHandle {
        handle.followed_by(token)
    }

    fn freeze(handle: &TaskHandle, frozen: bool) {
        if frozen { handle.freeze() } else { handle.thaw() }
    }

    fn notify(handle: &TaskHandle, stops: Instant) {
        handle.notify(stops);
    }

    fn stop(handle: &TaskHandle) {
        handle.stop();
    }
}
