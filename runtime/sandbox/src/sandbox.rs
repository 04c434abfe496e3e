//! The sandbox itself: what the worker holds.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wasmtime::Engine;
use wrun_protocol::Digest;
use wrun_protocol::wire::worker::ComponentKind;

use crate::cache::Cache;
use crate::compiled::{Compiler, Wanted};
use crate::control::Batch;
use crate::engines::{self, Engines, Flavor};
use crate::facts::Facts;
use crate::guests::{Guest, Guests};
use crate::link::{Entry, Linkers, stacks};
use crate::network::Network;
use crate::permits::Demand;
use crate::replica;
use crate::seal::Sealer;
use crate::seat::Seat;
use crate::{
    NextTask, PrepareError, Replica, ReplicaEvents, ReplicaStart, SandboxConfig, SandboxError,
    StartError, TaskEvents, TaskStart,
};

/// Runs components. Cheap to clone. When the last clone goes, every task that still runs
/// ends as cancelled, and then the threads end.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    compiler: Arc<Compiler>,
    guests: Arc<Guests>,
    warnings: Vec<String>,
    memory: u64,
}

/// A component, compiled and linked, ready to be started any number of times.
pub struct Prepared {
    pub(crate) entry: Entry,
    pub(crate) engine: Engine,
    pub(crate) facts: Facts,
    pub(crate) demand: Demand,
}

/// An execution that was started. Dropping it changes nothing, and nothing is changed
/// through it once the execution has ended.
#[derive(Clone)]
pub struct TaskHandle {
    seat: Arc<Seat>,
    token: u64,
}

impl Sandbox {
    /// What runs models for guests, if anything does.
    pub fn inference(&self) -> Option<&wrun_inference::Engine> {
        self.0.guests.inference()
    }

    /// Builds engines and starts the threads.
    ///
    /// # Errors
    /// A setting that cannot be, a cache directory or key that cannot be used, an engine
    /// or thread that the machine refuses.
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        engines::check(&config)?;
        let sealer = Sealer::open(&config.cache_dir)?;
        let cache = Cache::new(&config.cache_dir, sealer, config.cache_bytes);
        let mut warnings = Vec::new();
        let engines = Arc::new(Engines::new(&config, &mut warnings)?);
        let linkers =
            Linkers::new(&engines).map_err(|error| SandboxError::Engine(format!("{error:#}")))?;
        let guests = Guests::start(&config, Arc::clone(&engines))?;
        let threads = config.compile_threads;
        let compiler = Compiler::start(engines, linkers, cache, threads);
        let compiler = compiler.map_err(|error| {
            guests.close();
            SandboxError::Thread(error)
        })?;
        Ok(Self(Arc::new(Inner { compiler, guests, warnings, memory: config.memory })))
    }

    /// What this machine lacks, in words for the operator; empty when nothing.
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// Compiles and links the component, or finds it compiled. Once per digest at a time,
    /// however many ask; `source` is called on a compile thread, and only if this node
    /// has no compiled form. The bytes must be a component: a core module was adapted at
    /// submit.
    ///
    /// # Errors
    /// Why the component cannot run here; each text says what to do.
    pub async fn compile(
        &self,
        digest: Digest,
        source: impl FnOnce() -> io::Result<Bytes> + Send + 'static,
    ) -> Result<Arc<Prepared>, PrepareError> {
        self.0.compiler.prepare(Wanted { digest, deterministic: false }, Box::new(source)).await
    }

    /// The same for executions with a [`TaskStart::seed`].
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub async fn compile_deterministic(
        &self,
        digest: Digest,
        source: impl FnOnce() -> io::Result<Bytes> + Send + 'static,
    ) -> Result<Arc<Prepared>, PrepareError> {
        self.0.compiler.prepare(Wanted { digest, deterministic: true }, Box::new(source)).await
    }

    /// Starts one execution; never waits. It may first queue for a place in the pool.
    ///
    /// # Errors
    /// Nothing was started: too many wait, the task asks for what this node cannot give,
    /// or the sandbox is closing.
    pub fn start(
        &self,
        prepared: &Arc<Prepared>,
        task: TaskStart,
        events: &Arc<dyn TaskEvents>,
    ) -> Result<TaskHandle, StartError> {
        self.check(prepared, &task)?;
        let guests = &self.0.guests;
        let facts = prepared.facts;
        let stacks = stacks(facts, task.job.resources.memory, guests.stack());
        let demand = Demand { stacks, ..prepared.demand };
        let TaskStart { token, job, index, attempt, input, checkpoint, scratch, seed } = task;
        let batch = Arc::new(Batch {
            network: Network::new(&job.network, &job.listen),
            job,
            prepared: Arc::clone(prepared),
            events: Arc::clone(events),
            guests: Arc::clone(guests),
        });
        let first = NextTask { token, index, attempt, input, checkpoint, scratch, seed };
        let make = |number| Arc::new(Seat::new(number, batch, demand, first));
        let seat = guests.enter(make).ok_or(StartError::Closed)?;
        match guests.acquire(facts.flavor, demand, seat.clone()) {
            Ok(true) => seat.clone().on_admitted(),
            Ok(false) => {}
            Err(full) => {
                guests.leave(seat.number);
                return Err(StartError::Full { waiting: full.waiting });
            }
        }
        Ok(TaskHandle { seat, token })
    }

    /// Opens a replica of an HTTP service; never waits. It takes nothing of the pool until
    /// there is a request.
    ///
    /// # Errors
    /// [`StartError::Refused`] for a component that is no HTTP service, or for more than
    /// this node can give; [`StartError::Closed`] when the sandbox is closing.
    pub fn open_replica(
        &self,
        prepared: &Arc<Prepared>,
        replica: ReplicaStart,
        events: Arc<dyn ReplicaEvents>,
    ) -> Result<Replica, StartError> {
        replica::open(&self.0.guests, prepared, replica, events, self.0.memory)
    }

    fn check(&self, prepared: &Prepared, task: &TaskStart) -> Result<(), StartError> {
        let wanted = task.job.resources.memory;
        if wanted > self.0.memory {
            return Err(StartError::Refused(format!(
                "the task asks for {wanted} bytes of memory; this node has {} for tasks",
                self.0.memory
            )));
        }
        if task.seed.is_some() != (prepared.facts.flavor == Flavor::Deterministic) {
            let text = "the component was not compiled for this kind of execution";
            return Err(StartError::Refused(text.to_owned()));
        }
        if task.job.kind != prepared.facts.kind {
            return Err(StartError::Refused(format!(
                "the job expects a {:?}, but the component is a {:?}",
                task.job.kind, prepared.facts.kind
            )));
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.compiler.close();
        self.guests.close();
    }
}

impl Prepared {
    /// Which interface it exports.
    pub fn kind(&self) -> ComponentKind {
        self.facts.kind
    }
}

impl TaskHandle {
    /// The caller's name for the execution.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// The handle of the execution that [`TaskEvents::ended`] named to follow this one. It
    /// may be used before that call has returned.
    #[must_use]
    pub fn followed_by(self, token: u64) -> Self {
        Self { token, ..self }
    }

    /// Takes the CPU away, within 20 ms; a bulk memory operation finishes first.
    /// Everything else stays with the task.
    pub fn freeze(&self) {
        self.seat.freeze(self.token);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.seat.thaw(self.token);
    }

    /// Lets it know that it will be stopped at that instant; who says so stops it.
    pub fn notify(&self, stops: Instant) {
        self.seat.notify(self.token, stops);
    }

    /// Ends it as cancelled, frozen or not, also while it waits for the host. One that
    /// has reached its own end meanwhile keeps its outcome.
    pub fn stop(&self) {
        self.seat.stop(self.token);
    }

    /// Thread CPU time it has used until now, as of the last tick. Zero once another
    /// execution has followed it.
    pub fn cpu_used(&self) -> Duration {
        self.seat.cpu_used(self.token)
    }
}
