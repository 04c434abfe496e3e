//! A job as this node knows it: its specification, and what was set up for its tasks.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use wrun_protocol::job::{EncodedSpec, Input, OnDisconnect, SpecError};
use wrun_protocol::remembered::Keys;
use wrun_protocol::service::{HttpService, ProgramService, ServiceKind};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{JobId, JobSpec, Resources, TenantName};
use wrun_sandbox::{GrantedModel, JobContext, ServiceCaller, TaskInput};

use crate::artefacts::Pinned;
use crate::executor::Executor;
use crate::items::Items;
use crate::mounts::MountTree;

/// One job. Its tasks hold it by `Arc`.
pub(crate) struct Job<E: Executor> {
    pub(crate) id: JobId,
    pub(crate) tenant: TenantName,
    pub(crate) kind: ComponentKind,
    pub(crate) spec: JobSpec,
    /// Set once everything that its tasks need is on this node.
    pub(crate) setup: OnceLock<Setup<E>>,
}

/// What the tasks of a job share while they run.
pub(crate) struct Setup<E: Executor> {
    pub(crate) program: Arc<E::Program>,
    pub(crate) context: Arc<JobContext>,
    pub(crate) input: SharedInput,
    /// Of tasks whose results are remembered.
    pub(crate) keys: Option<Keys>,
    pub(crate) _files: JobFiles,
}

/// What keeps a job's files on disk while it is known here.
#[derive(Default)]
pub(crate) struct JobFiles {
    /// Files in the cache.
    _pins: Vec<Pinned>,
    /// Directories of mounts.
    _mounts: Option<MountTree>,
}

impl JobFiles {
    /// Keeps these.
    pub(crate) fn new(pins: Vec<Pinned>, mounts: Option<MountTree>) -> Self {
        Self { _pins: pins, _mounts: mounts }
    }
}

/// The input, as far as tasks share it.
pub(crate) enum SharedInput {
    Empty,
    Bytes(Bytes),
    File(PathBuf),
    /// Each task has its own, from whoever is attached to it.
    Attached,
    /// Each task has its own, from the items file.
    Each(Arc<Items>),
}

/// What one task is given.
pub(crate) enum GivenInput {
    Ready(TaskInput),
    /// To be read, which takes a look at the disk.
    Item(Arc<Items>, u32),
}

impl GivenInput {
    /// As the sandbox wants it. Not to be called while anything is locked.
    pub(crate) fn read(self) -> TaskInput {
        match self {
            Self::Ready(input) => input,
            Self::Item(items, index) => items.input(index),
        }
    }
}

impl SharedInput {
    /// What task `index` is given; nothing of what a client sends to it.
    pub(crate) fn of_task(&self, index: u32) -> GivenInput {
        GivenInput::Ready(match self {
            Self::Empty | Self::Attached => TaskInput::Empty,
            Self::Bytes(bytes) => TaskInput::Bytes(bytes.clone()),
            Self::File(path) => TaskInput::File(path.clone()),
            Self::Each(items) => return GivenInput::Item(Arc::clone(items), index),
        })
    }
}

impl<E: Executor> Setup<E> {
    /// What the tasks that were granted that request share.
    pub(crate) fn context_of(&self, granted: Option<&Resources>) -> Arc<JobContext> {
        match granted.filter(|granted| **granted != self.context.resources) {
            None => self.context.clone(),
            Some(granted) => {
                Arc::new(JobContext { resources: *granted, ..(*self.context).clone() })
            }
        }
    }

    /// What makes task `index` deterministic, where its result is remembered.
    pub(crate) fn seed_of(&self, index: u32) -> Option<[u8; 32]> {
        Some(self.keys.as_ref()?.seed_of(index).0)
    }

    /// Whether each task has a directory to write to.
    pub(crate) fn wants_scratch(&self) -> bool {
        self.context.resources.scratch > 0
    }
}

impl<E: Executor> Job<E> {
    /// Decodes the specification, which is checked again: it came over the wire.
    pub(crate) fn decode(
        id: JobId,
        tenant: TenantName,
        kind: ComponentKind,
        spec: &EncodedSpec,
    ) -> Result<Self, SpecError> {
        Ok(Self { id, tenant, kind, spec: spec.decode()?, setup: OnceLock::new() })
    }

    /// What a task takes that was granted the job's request of that number: 0 is the first,
    /// then the alternatives. `None` where the job has fewer.
    pub(crate) fn request(&self, granted: u8) -> Option<&Resources> {
        match usize::from(granted).checked_sub(1) {
            None => Some(&self.spec.resources),
            Some(place) => Some(&self.spec.scheduling.alternatives.get(place)?.resources),
        }
    }

    /// What a task takes.
    pub(crate) fn takes(&self, granted: u8) -> &Resources {
        self.request(granted).unwrap_or(&self.spec.resources)
    }

    /// Whether its tasks end when the worker's lease does.
    pub(crate) fn stops_with_lease(&self) -> bool {
        self.spec.on_disconnect == OnDisconnect::Stop
    }

    /// Whether each task reads what an attached client sends.
    pub(crate) fn is_attached(&self) -> bool {
        matches!(self.spec.input, Input::Attached)
    }

    /// Whether its tasks' results are remembered: they must not depend on the outside.
    pub(crate) fn is_deterministic(&self) -> bool {
        self.spec.scheduling.cache
    }

    /// The keys of its tasks, if results are remembered.
    pub(crate) fn keys(&self) -> Option<Keys> {
        let keys = || Keys::new(&self.tenant, self.kind, &self.spec, crate::blobs::sha256);
        self.is_deterministic().then(keys)
    }

    /// How requests are handled, where its tasks are replicas that get any.
    pub(crate) fn http(&self) -> Option<&HttpService> {
        self.spec.service.as_ref()?.http()
    }

    /// How the program is run, where its tasks are replicas of one.
    pub(crate) fn program(&self) -> Option<&ProgramService> {
        match &self.spec.service.as_ref()?.kind {
            ServiceKind::Program(program) => Some(program),
            ServiceKind::Http(_) => None,
        }
    }

    /// What the sandbox is told, with directories that are there by now, and with what
    /// carries requests to services.
    pub(crate) fn context(
        &self,
        mounts: Vec<(String, PathBuf)>,
        models: Vec<GrantedModel>,
        services: Option<Arc<dyn ServiceCaller>>,
    ) -> JobContext {
        let program = self.program();
        let mut limits = self.spec.limits.clone();
        if program.is_some() {
            // It goes on; the newest of what it writes is kept.
            (limits.log_bytes, limits.output_bytes) = (u64::MAX, u64::MAX);
        }
        // The name is not part of the key of a result.
        let unnamed = self.spec.name.is_empty() || self.is_deterministic();
        let name = if unnamed { "main" } else { self.spec.name.as_str() };
        JobContext {
            job: self.id,
            tenant: self.tenant.clone(),
            kind: self.kind,
            count: self.spec.count,
            args: std::iter::once(name.to_owned()).chain(self.spec.args.iter().cloned()).collect(),
            env: self.spec.env.clone(),
            limits,
            resources: self.spec.resources,
            mounts,
            network: self.spec.network.clone(),
            listen: program.map_or_else(Vec::new, |program| program.ports.clone()),
            services,
            models,
            model_weight: self.model_weight(),
            models_asked: Arc::default(),
            load_models: self.spec.inference.load,
        }
    }

    /// In thousandths: the part of a card that a task was given, or of a core where it has none.
    fn model_weight(&self) -> u32 {
        let gpu = self.spec.scheduling.devices.gpu.as_ref();
        gpu.map_or(self.spec.resources.cpu_milli, |gpu| gpu.milli).max(1)
    }
}
