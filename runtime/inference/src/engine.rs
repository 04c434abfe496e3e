//! The engine: loads models once, keeps them within the node's memory, and tells of them.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::Notify;
use wrun_protocol::inference::NodeInference;
use wrun_protocol::model::ModelVersion;
use wrun_protocol::{Digest, TenantName};

#[cfg(test)]
use crate::back_end::BackEnd;
use crate::back_end::{self, Started};
use crate::clock::Clock;
use crate::config::{Config, Limits, ModelOptions};
use crate::device::{Card, Device};
use crate::error::{ComputeError, FetchError, LoadError, StartError, UnloadError};
use crate::load::{Loaded, Loader};
use crate::make::{Maker, Source};
use crate::memory::Memory;
use crate::model::Model;
use crate::pool::Pool;
use crate::registry::{Flight, Found, Registry, Spot};
use crate::served::Place;
use crate::stats::{EngineStats, ModelStats};

/// The inference engine of a node. Copies are the same one; it ends with the last of them:
/// then its threads end, and what is under way is answered so.
#[derive(Clone)]
pub struct Engine(Arc<Running>);

/// What makes two models one: loaded once, whoever asks. Not the bytes alone: whoever pushes
/// them says how requests are merged, and must not say it for another tenant's requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelKey {
    /// Whose model it is.
    pub owner: TenantName,
    /// The digest of its bytes. Who fetches them checks it.
    pub digest: Digest,
    /// How it is loaded and run.
    pub options: ModelOptions,
}

struct Running {
    maker: Arc<Maker>,
    loader: Arc<Loader>,
    threads: Vec<Pool>,
    clock: Clock,
    limits: Arc<Limits>,
    inputs: Arc<Memory>,
    about: NodeInference,
}

impl ModelKey {
    /// Of a model that its owner pushed.
    pub fn of(owner: &TenantName, version: &ModelVersion) -> Self {
        let options = (&version.spec).into();
        Self { owner: owner.clone(), digest: version.digest, options }
    }
}

impl Engine {
    /// Starts the engine with the configured back ends. Native ones are tried out, which takes
    /// seconds where drivers are slow, and blocks. What cannot be had is logged and passed over;
    /// where that is all there is, loads are refused. See [`Engine::about`].
    pub fn start(config: Config) -> Result<Self, StartError> {
        if config.back_ends.is_empty() {
            return Err(StartError::Zero { setting: "back_ends" });
        }
        let started = back_end::start(&config.back_ends, &config.cards, &config.limits)?;
        Self::assemble(config, started)
    }

    /// Starts the engine with these back ends.
    #[cfg(test)]
    pub(crate) fn with(config: Config, usable: Vec<Arc<dyn BackEnd>>) -> Result<Self, StartError> {
        Self::assemble(config, Started { usable, about: Vec::new() })
    }

    fn assemble(config: Config, started: Started) -> Result<Self, StartError> {
        for (setting, value) in [
            ("threads", config.threads),
            ("loaders", config.loaders),
            ("max_batch", config.max_batch as usize),
        ] {
            if value == 0 {
                return Err(StartError::Zero { setting });
            }
        }
        let limits = Arc::new(config.limits.clone());
        let clock = Clock::start()?;
        let shared = Pool::start("wrun-infer", config.threads)?;
        let each = started.usable.iter().map(|back_end| match back_end.is_alone() {
            true => Pool::start("wrun-infer-one", 1),
            false => Ok(shared.clone()),
        });
        let pools = each.collect::<Result<Vec<_>, _>>()?;
        let loaders = Pool::start("wrun-load-model", config.loaders)?;
        let inputs = Memory::new(limits.waiting_bytes);
        let place = Place {
            pool: shared.clone(),
            clock: clock.clone(),
            limits: Arc::clone(&limits),
            inputs: Arc::clone(&inputs),
            began: Instant::now(),
        };
        let loader = Loader::new(loaders.clone(), clock.clone(), Arc::clone(&limits));
        let registry = Registry::new(config.model_memory, &config.cards);
        let Started { usable: back_ends, about } = started;
        let about = NodeInference { model_memory: config.model_memory, back_ends: about };
        let threads = pools.iter().cloned().chain([shared, loaders]).collect();
        let maker = Arc::new(Maker { back_ends, pools, registry, place, config });
        Ok(Self(Arc::new(Running { maker, loader, threads, clock, limits, inputs, about })))
    }

    /// The model of that key, loaded if it is not yet: once on each device, however many ask at
    /// once. It is where the first back end has it that can, of those on the processor and on
    /// `cards`, which are the caller's for the time: who has several names the one first on which
    /// the model is to be. `name` is for people. `fetch` gives its bytes: it is that of the first
    /// who asks, in whose name the model is loaded, and called on a thread of the engine's, where
    /// it may block. Whether the tenant may use the model is the caller's to know.
    pub async fn load(
        &self,
        tenant: &TenantName,
        name: &str,
        key: &ModelKey,
        cards: &[u16],
        fetch: impl FnOnce() -> Result<Bytes, FetchError> + Send + 'static,
    ) -> Result<Model, LoadError> {
        // Mostly the model is loaded, and nothing is made ready for bringing its file.
        let file = LazyCell::new(|| File::new(fetch));
        let (mut reason, mut refusals) = (None, Vec::new());
        for device in self.0.maker.devices(key.options.target, cards)? {
            let spot = Spot { key: key.clone(), device };
            let flight = || self.flight(tenant, name, &spot, &file);
            let loaded = match self.0.registry().find(&spot, Instant::now(), flight) {
                Found::Loaded(handle) => Ok(handle),
                Found::Loading(flight) => flight.await,
                // Known already, and since when: that is not to begin anew.
                Found::Not(error) => {
                    reason.get_or_insert(error);
                    continue;
                }
            };
            match loaded {
                Ok(handle) => {
                    self.0.registry().refused(refusals, Instant::now());
                    return Ok(Model(handle));
                }
                Err(error) if error.is_of_the_device() => {
                    reason.get_or_insert(error.clone());
                    refusals.push((spot, error));
                }
                Err(error) => return Err(error),
            }
        }
        Err(reason.unwrap_or(LoadError::NoBackEnd))
    }

    /// A guest's own model: never shared, and gone with its last handle. It is where
    /// [`Engine::load`] would have it.
    pub async fn load_bytes(
        &self,
        tenant: &TenantName,
        name: &str,
        options: &ModelOptions,
        cards: &[u16],
        bytes: Bytes,
    ) -> Result<Model, LoadError> {
        let source = Source {
            name: name.to_owned(),
            key: None,
            options: options.clone(),
            limit: self.0.limits.own_model_bytes,
            bytes,
        };
        source.check_size()?;
        let mut reason = None;
        for device in self.0.maker.devices(options.target, cards)? {
            let source = source.clone();
            match self.0.make(tenant, device, || Ok(source)).await {
                Ok(handle) => {
                    self.0.registry().brought(handle.served());
                    return Ok(Model(handle));
                }
                Err(error) if error.is_of_the_device() => _ = reason.get_or_insert(error),
                Err(error) => return Err(error),
            }
        }
        Err(reason.unwrap_or(LoadError::NoBackEnd))
    }

    /// Unloads a model that nobody uses; by force also one that is used, whose requests are
    /// then answered with [`ComputeError::Unloaded`].
    pub fn unload(&self, key: &ModelKey, force: bool) -> Result<(), UnloadError> {
        self.0.registry().unload(key, force)
    }

    /// What is loaded, guests' own models included.
    pub fn models(&self) -> Vec<ModelStats> {
        self.0.registry().all().iter().map(|served| served.stats()).collect()
    }

    /// What there is to tell of a model, for each device on which it is loaded. It is no use of it.
    pub fn model(&self, key: &ModelKey) -> Vec<ModelStats> {
        self.0.registry().of(key).iter().map(|served| served.stats()).collect()
    }

    /// The digests of the models that are loaded, in order; guests' own are not among them.
    pub fn loaded(&self) -> BTreeSet<Digest> {
        self.0.registry().digests()
    }

    /// Notified when a model was loaded or has gone. For one waiter: what happens while nobody
    /// waits is kept as one notice.
    pub fn changed(&self) -> &Notify {
        self.0.registry().changed()
    }

    /// The engine as a whole.
    pub fn stats(&self) -> EngineStats {
        let totals = self.0.registry().totals();
        let memory = self.0.registry().memory(Device::Processor).ok();
        EngineStats {
            models: self.0.registry().all().len(),
            model_bytes: memory.map_or(0, |memory| memory.used()),
            model_memory: memory.map_or(0, |memory| memory.limit()),
            waiting_bytes: self.0.inputs.used(),
            loads: totals.loads,
            evictions: totals.evictions,
        }
    }

    /// What models can be run with here, and why not with what was configured besides.
    pub fn about(&self) -> &NodeInference {
        &self.0.about
    }

    /// The cards that the node lends to tasks.
    pub fn cards(&self) -> &[Card] {
        &self.0.maker.config.cards
    }

    /// Names of the back ends that can be used, in the order in which they are tried.
    pub fn back_ends(&self) -> Vec<&'static str> {
        self.0.maker.back_ends.iter().map(|back_end| back_end.name()).collect()
    }

    fn flight(&self, tenant: &TenantName, name: &str, spot: &Spot, file: &Arc<File>) -> Flight {
        let running = Arc::clone(&self.0);
        let (tenant, name, spot) = (tenant.clone(), name.to_owned(), spot.clone());
        let file = Arc::clone(file);
        let load = async move {
            let limit = running.limits.model_bytes;
            // In its turn, so that few models are in memory that are not loaded yet.
            let key = spot.key.clone();
            let source = move || {
                let (options, bytes) = (key.options.clone(), file.bytes()?);
                Ok(Source { name, key: Some(key), options, limit, bytes })
            };
            let loaded = running.make(&tenant, spot.device, source).await;
            running.registry().landed(spot, &loaded);
            loaded
        };
        load.boxed().shared()
    }
}

impl Running {
    fn registry(&self) -> &Registry {
        &self.maker.registry
    }

    /// Makes a model of its bytes, which it gets on a thread of the loader too.
    async fn make(
        &self,
        tenant: &TenantName,
        device: Device,
        source: impl FnOnce() -> Result<Source, LoadError> + Send + 'static,
    ) -> Loaded {
        let maker = Arc::clone(&self.maker);
        let make = Box::new(move |stop: &back_end::Stop| {
            let source = source()?;
            source.check_size()?;
            maker.make(source, device, stop)
        });
        self.loader.submit(tenant, make)?.await.unwrap_or(Err(LoadError::Stopped))
    }
}

/// The bytes of a model, had when a loader first wants them, and kept for the device that is tried
/// next.
struct File(Mutex<Bring>);

enum Bring {
    First(Option<Box<dyn FnOnce() -> Result<Bytes, FetchError> + Send>>),
    Brought(Result<Bytes, FetchError>),
}

impl File {
    fn new(fetch: impl FnOnce() -> Result<Bytes, FetchError> + Send + 'static) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Bring::First(Some(Box::new(fetch))))))
    }

    fn bytes(&self) -> Result<Bytes, FetchError> {
        let mut bring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *bring {
            Bring::Brought(bytes) => bytes.clone(),
            Bring::First(fetch) => {
                let broke = || Err(FetchError::Failed("it broke off".to_owned()));
                let bytes = fetch.take().map_or_else(broke, |fetch| fetch());
                *bring = Bring::Brought(bytes.clone());
                bytes
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.threads.iter().for_each(Pool::stop);
        self.clock.stop();
        self.registry().clear(&ComputeError::Stopped);
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({:?})", self.back_ends())
    }
}
