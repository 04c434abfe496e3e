//! A job as this node knows it: its specification, and what was set up for its tasks.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use wrun_inference::Card;
use wrun_protocol::job::{EncodedSpec, Input, OnDisconnect, SpecError};
use wrun_protocol::remembered::Keys;
use wrun_protocol::scheduling::GpuRequest;
use wrun_protocol::service::{HttpService, ProgramService, ServiceKind};
use wrun_protocol::wire::worker::{ComponentKind, Grant};
use wrun_protocol::{JobId, JobSpec, Resources, TenantName};
use wrun_sandbox::{GrantedModel, JobContext, LentCards, ServiceCaller, TaskInput};

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

/// What a task was granted of what its job asks for. Of most tasks that is the first request, and
/// no cards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Granted(Option<Arc<Grant>>);

impl Granted {
    /// Which of the job's requests: 0 is the first, then the alternatives.
    pub(crate) fn request(&self) -> u8 {
        self.0.as_ref().map_or(0, |grant| grant.request)
    }

    /// Which of the node's cards.
    pub(crate) fn cards(&self) -> &[u16] {
        self.0.as_ref().map_or(&[], |grant| &grant.gpus)
    }
}

impl From<Grant> for Granted {
    fn from(grant: Grant) -> Self {
        Self((grant != Grant::default()).then(|| Arc::new(grant)))
    }
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
    /// What a task is told that was granted that. `cards` are those of the node. Tasks that were
    /// granted the job's first request and no cards share it.
    pub(crate) fn context_of(
        &self,
        job: &Job<E>,
        granted: &Granted,
        cards: &[Card],
    ) -> Arc<JobContext> {
        let resources = *job.takes(granted);
        if resources == self.context.resources && granted.cards().is_empty() {
            return self.context.clone();
        }
        let lent = job.gpu(granted).map(|gpu| Arc::new(lent(gpu, granted.cards(), cards)));
        let model_weight = job.model_weight(granted);
        Arc::new(JobContext { resources, cards: lent, model_weight, ..(*self.context).clone() })
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

    /// What a task takes that was granted that. `None` where the job has fewer requests.
    pub(crate) fn request(&self, granted: &Granted) -> Option<&Resources> {
        match usize::from(granted.request()).checked_sub(1) {
            None => Some(&self.spec.resources),
            Some(place) => Some(&self.spec.scheduling.alternatives.get(place)?.resources),
        }
    }

    /// What a task takes.
    pub(crate) fn takes(&self, granted: &Granted) -> &Resources {
        self.request(granted).unwrap_or(&self.spec.resources)
    }

    /// Whether any of its requests is for cards.
    pub(crate) fn may_have_cards(&self) -> bool {
        let scheduling = &self.spec.scheduling;
        let others = scheduling.alternatives.iter().map(|request| &request.devices);
        others.chain([&scheduling.devices]).any(|devices| devices.gpu.is_some())
    }

    /// What a task asked for of cards that was granted that.
    fn gpu(&self, granted: &Granted) -> Option<&GpuRequest> {
        let scheduling = &self.spec.scheduling;
        let devices = match usize::from(granted.request()).checked_sub(1) {
            None => &scheduling.devices,
            Some(place) => &scheduling.alternatives.get(place)?.devices,
        };
        devices.gpu.as_ref()
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
            cards: None,
            model_weight: self.model_weight(&Granted::default()),
            models_asked: Arc::default(),
            load_models: self.spec.inference.load,
        }
    }

    /// In thousandths: the part of a card that a task was given, or of a core where it has none.
    fn model_weight(&self, granted: &Granted) -> u32 {
        self.gpu(granted).map_or(self.takes(granted).cpu_milli, |gpu| gpu.milli).max(1)
    }
}

/// These cards, of each as much memory as was asked for, or the part of it that belongs to the part
/// of the card.
fn lent(gpu: &GpuRequest, granted: &[u16], cards: &[Card]) -> LentCards {
    let of_card = |place: &u16| {
        let all = cards.get(usize::from(*place))?.memory;
        let part = u128::from(all) * u128::from(gpu.milli.min(1000)) / 1000;
        let asked = (gpu.memory > 0).then_some(gpu.memory.min(all));
        Some((*place, asked.unwrap_or(u64::try_from(part).unwrap_or(all))))
    };
    LentCards::new(granted.iter().filter_map(of_card).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(memory: u64) -> Card {
        Card { visible: String::new(), memory }
    }

    #[test]
    fn a_task_has_the_memory_that_it_asked_for_or_its_part_of_the_card() {
        let cards = [card(1000), card(2001)];
        let lent = |milli, memory, granted: &[u16]| {
            let lent = lent(&GpuRequest { milli, memory, models: Vec::new() }, granted, &cards);
            format!("{lent:?}")
        };
        let memory = |memory: &[(u16, u64)]| {
            format!("{:?}", LentCards::new(memory.iter().copied().collect()))
        };
        assert_eq!(lent(500, 0, &[1]), memory(&[(1, 1000)]));
        assert_eq!(lent(500, 300, &[1]), memory(&[(1, 300)]));
        assert_eq!(lent(2000, 0, &[0, 1]), memory(&[(0, 1000), (1, 2001)]));
        assert_eq!(lent(2000, 1500, &[0, 1]), memory(&[(0, 1000), (1, 1500)]));
        assert_eq!(lent(1000, 0, &[7]), memory(&[]), "no such card");
    }
}
