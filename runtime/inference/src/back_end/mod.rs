//! What loads and runs models. A back end is called on threads of the engine, may take long
//! and may fail; it knows nothing of queues, tenants and batches.

mod guard;
#[cfg(feature = "ort")]
mod onnx_runtime;
#[cfg(feature = "tract")]
mod tract;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wrun_protocol::inference;

use crate::child::{Command, InChild, TriedOut, probe};
use crate::config::{BackEndConfig, Limits, OnnxRuntimeConfig, Provider, Target};
use crate::device::{Card, Device};
use crate::error::{LoadError, StartError};
use crate::onnx::Outline;
use crate::tensor::{ElementType, Tensor};

/// Loads models.
pub(crate) trait BackEnd: Send + Sync {
    /// Its name, for messages.
    fn name(&self) -> &'static str;

    /// The version of the library behind it, where it has one.
    fn version(&self) -> Option<String> {
        None
    }

    /// Whether models can be run on that provider here; why not, where they cannot.
    fn probe(&self, provider: Provider) -> Result<(), String> {
        if provider == Provider::Cpu { Ok(()) } else { Err("it runs on the processor".to_owned()) }
    }

    /// Where its models are.
    fn device(&self) -> Device {
        Device::Processor
    }

    /// Whether it does one thing at a time, whatever model that is for: then it has a thread of its
    /// own, and who waits for it keeps no thread from others.
    fn is_alone(&self) -> bool {
        false
    }

    /// Whether it has what a model shall run on.
    fn has(&self, target: Target) -> bool;

    /// Loads a model that was looked over before.
    fn load(
        &self,
        model: &Bytes,
        outline: &Outline,
        target: Target,
        limits: &Limits,
    ) -> Result<Arc<dyn Graph>, LoadError>;
}

/// A loaded model. Several threads may run it at once.
pub(crate) trait Graph: Send + Sync {
    /// On what it runs.
    fn device(&self) -> String;

    /// Bytes that it takes on its device, as far as the back end can tell.
    fn bytes(&self) -> u64;

    /// Bytes that it takes of this machine's memory beside those.
    fn bytes_beside(&self) -> u64 {
        0
    }

    /// How many runs can go on at once; what waits for more than that had better wait in the
    /// queue, where it may find company.
    fn at_once(&self) -> usize {
        usize::MAX
    }

    /// Whether what a run takes is known from the sizes of its inputs: else it may end the process
    /// that runs it.
    fn is_bounded(&self) -> bool {
        true
    }

    /// Whether each new combination of sizes of the inputs costs a preparation, so that there
    /// had better be few.
    fn prepares_each_size(&self) -> bool {
        false
    }

    /// Makes itself ready for inputs of these sizes, and says whether what a run of them takes is
    /// known.
    fn prepare(&self, _: &Sizes, _: &Stop) -> Result<bool, RunError> {
        Ok(self.is_bounded())
    }

    /// Computes the outputs, in the model's order, from the inputs, in the model's order, whose
    /// names, types and shapes were checked. Looks at `stop` now and then.
    fn run(&self, inputs: Vec<Tensor>, stop: &Stop) -> Result<Vec<Tensor>, RunError>;
}

/// The type and the dimensions of each input.
pub(crate) type Sizes = Vec<(ElementType, Box<[u32]>)>;

/// Says that nobody wants the result of a run any more.
#[derive(Debug, Default)]
pub(crate) struct Stop(AtomicBool);

/// A run has no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RunError {
    /// It was stopped.
    Stopped,
    /// It makes something too large.
    TooLarge { what: String, size: u64, limit: u64 },
    /// It failed, with what the back end says.
    Failed(String),
}

impl Stop {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The back ends that were configured.
pub(crate) struct Started {
    /// Those that can be used, in their order.
    pub(crate) usable: Vec<Arc<dyn BackEnd>>,
    /// All of them, and what is wrong with those that cannot.
    pub(crate) about: Vec<inference::BackEnd>,
}

/// Starts what is configured. A native back end is tried out first, each of its providers by a
/// run: what cannot be had here is said now, once, and left out.
///
/// A native library has one process for the processor and one for each card, so that what a
/// driver does to the models on one card is nothing to those on another.
pub(crate) fn start(
    configs: &[BackEndConfig],
    cards: &[Card],
    limits: &Limits,
) -> Result<Started, StartError> {
    let mut started = Started { usable: Vec::new(), about: Vec::new() };
    for config in configs {
        match config {
            BackEndConfig::TractHere => {
                started.usable.push(start_here(config)?);
                started.about.push(about_tract());
            }
            BackEndConfig::Tract => {
                let here = start_here(config)?;
                let (command, config) = (this_program()?, BackEndConfig::TractHere);
                started.usable.push(Arc::new(TriedOut::new(here, command, config, limits)));
                started.about.push(about_tract());
            }
            BackEndConfig::OnnxRuntime(_) if !cfg!(feature = "ort") => {
                return Err(StartError::NotBuilt { back_end: "ort" });
            }
            BackEndConfig::OnnxRuntime(runtime) => {
                let about = probe_onnx_runtime(runtime, cards.len(), limits)?;
                if about.is_usable() {
                    let is_usable = |provider: &&Provider| {
                        about.usable().any(|usable| usable.name == provider.name())
                    };
                    let providers: Vec<Provider> =
                        runtime.providers.iter().filter(is_usable).copied().collect();
                    let runtime = OnnxRuntimeConfig { providers, ..runtime.clone() };
                    start_onnx_runtime(&runtime, cards, limits, &mut started.usable)?;
                }
                started.about.push(about);
            }
        }
    }
    Ok(started)
}

fn this_program() -> Result<Command, StartError> {
    Command::this_program().map_err(StartError::Program)
}

/// What of it can be had here. WebGPU takes a card by itself: where there are several it cannot be
/// held to the one that a task was given.
fn probe_onnx_runtime(
    runtime: &OnnxRuntimeConfig,
    cards: usize,
    limits: &Limits,
) -> Result<inference::BackEnd, StartError> {
    let (takes_any, tried): (Vec<Provider>, Vec<Provider>) =
        runtime.providers.iter().partition(|it| cards > 1 && **it == Provider::WebGpu);
    let config = BackEndConfig::OnnxRuntime(runtime.clone());
    let mut about = probe(&this_program()?, "onnxruntime", &config, &tried, limits);
    about.providers.extend(takes_any.into_iter().map(|provider| {
        let name = provider.name().to_owned();
        let problem = format!("it cannot be told which of the node's {cards} cards to take");
        inference::Provider { name, problem: Some(problem) }
    }));
    Ok(about)
}

/// One back end for the providers before, between and behind the processor each, and of those that
/// run on cards one for each card: they are tried in the order of the providers.
fn start_onnx_runtime(
    runtime: &OnnxRuntimeConfig,
    cards: &[Card],
    limits: &Limits,
    back_ends: &mut Vec<Arc<dyn BackEnd>>,
) -> Result<(), StartError> {
    let is_cpu = |provider: Provider| provider == Provider::Cpu;
    for providers in runtime.providers.chunk_by(|one, next| is_cpu(*one) == is_cpu(*next)) {
        let providers = providers.to_vec();
        let devices: Vec<(Device, Command)> = if providers.contains(&Provider::Cpu) {
            vec![(Device::Processor, this_program()?)]
        } else if cards.is_empty() {
            vec![(Device::Unlisted, this_program()?)]
        } else {
            let each = (0..).zip(cards).map(|(place, card): (u16, _)| {
                Ok((Device::Card(place), this_program()?.on_card(&card.visible)))
            });
            each.collect::<Result<_, StartError>>()?
        };
        for (device, command) in devices {
            let runtime = OnnxRuntimeConfig { providers: providers.clone(), ..runtime.clone() };
            let config = BackEndConfig::OnnxRuntime(runtime);
            let back_end = InChild::new("onnxruntime", device, command, config, limits);
            back_ends.push(Arc::new(back_end));
        }
    }
    Ok(())
}

fn about_tract() -> inference::BackEnd {
    let cpu = Provider::Cpu.name().to_owned();
    inference::BackEnd {
        name: "tract".to_owned(),
        version: None,
        problem: None,
        providers: vec![inference::Provider { name: cpu, problem: None }],
    }
}

/// A back end in this process, which is the child for those that have one.
pub(crate) fn start_here(config: &BackEndConfig) -> Result<Arc<dyn BackEnd>, StartError> {
    match config {
        #[cfg(feature = "tract")]
        BackEndConfig::Tract | BackEndConfig::TractHere => Ok(Arc::new(tract::Tract::default())),
        #[cfg(not(feature = "tract"))]
        BackEndConfig::Tract | BackEndConfig::TractHere => {
            Err(StartError::NotBuilt { back_end: "tract" })
        }
        #[cfg(feature = "ort")]
        BackEndConfig::OnnxRuntime(config) => {
            let started = onnx_runtime::OnnxRuntime::start(config).map_err(StartError::Library)?;
            Ok(Arc::new(started))
        }
        #[cfg(not(feature = "ort"))]
        BackEndConfig::OnnxRuntime(_) => Err(StartError::NotBuilt { back_end: "ort" }),
    }
}
