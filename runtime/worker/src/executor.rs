//! What the agent needs of a sandbox: the seam at which its tests put executions that
//! end when the test says so. Holds no logic.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use wrun_inference::Engine;
use wrun_protocol::Digest;
use wrun_protocol::wire::worker::ComponentKind;
use wrun_sandbox::{
    Body, CallError, PrepareError, Prepared, Replica, ReplicaEvents, ReplicaStart, ReplicaUsage,
    Sandbox, StartError, TaskEvents, TaskHandle, TaskStart,
};

/// Runs components.
pub(crate) trait Executor: Send + Sync + 'static {
    /// A component, ready to be started any number of times.
    type Program: Send + Sync + 'static;
    /// An execution that was started.
    type Handle: Clone + Send + Sync + 'static;
    /// A replica that was opened.
    type Replica: Clone + Send + Sync + 'static;

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

    /// Opens a replica of an HTTP service; never waits.
    fn open_replica(
        &self,
        program: &Arc<Self::Program>,
        replica: ReplicaStart,
        events: Arc<dyn ReplicaEvents>,
    ) -> Result<Self::Replica, StartError>;

    /// Hands it a request; never waits itself.
    fn call(
        replica: &Self::Replica,
        request: Request<Body>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Response<Body>, CallError>> + Send + 'static;

    /// Lets it take no more requests, and waits until those that it took are over.
    fn drain(replica: &Self::Replica) -> impl Future<Output = ()> + Send;

    /// Ends it, and its requests with it.
    fn stop_replica(replica: &Self::Replica);

    /// Takes the CPU away from its instances, or gives it back.
    fn freeze_replica(replica: &Self::Replica, frozen: bool);

    /// What runs models for guests, if anything does.
    fn inference(&self) -> Option<&Engine> {
        None
    }

    /// What it has used.
    fn usage(replica: &Self::Replica) -> ReplicaUsage;
}

impl Executor for Sandbox {
    type Program = Prepared;
    type Handle = TaskHandle;
    type Replica = Replica;

    fn inference(&self) -> Option<&Engine> {
        Self::inference(self)
    }

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

    fn open_replica(
        &self,
        program: &Arc<Prepared>,
        replica: ReplicaStart,
        events: Arc<dyn ReplicaEvents>,
    ) -> Result<Replica, StartError> {
        Self::open_replica(self, program, replica, events)
    }

    fn call(
        replica: &Replica,
        request: Request<Body>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Response<Body>, CallError>> + Send + 'static {
        replica.call(request, deadline)
    }

    async fn drain(replica: &Replica) {
        replica.drain().await;
    }

    fn stop_replica(replica: &Replica) {
        replica.stop();
    }

    fn freeze_replica(replica: &Replica, frozen: bool) {
        if frozen { replica.freeze() } else { replica.thaw() }
    }

    fn usage(replica: &Replica) -> ReplicaUsage {
        replica.usage()
    }
}
