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

use crate::child::{Command, InChild};
use crate::config::{BackEndConfig, Limits, OnnxRuntimeConfig, Target};
use crate::error::{LoadError, StartError};
use crate::onnx::Outline;
use crate::tensor::Tensor;

/// Loads models.
pub(crate) trait BackEnd: Send + Sync {
    /// Its name, for messages.
    fn name(&self) -> &'static str;

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

    /// Bytes that it takes, as far as the back end can tell.
    fn bytes(&self) -> u64;

    /// How many runs can go on at once; what waits for more than that had better wait in the
    /// queue, where it may find company.
    fn at_once(&self) -> usize {
        usize::MAX
    }

    /// Whether each new combination of sizes of the inputs costs a preparation, so that there
    /// had better be few.
    fn prepares_each_size(&self) -> bool {
        false
    }

    /// Computes the outputs, in the model's order, from the inputs, in the model's order, whose
    /// names, types and shapes were checked. Looks at `stop` now and then.
    fn run(&self, inputs: Vec<Tensor>, stop: &Stop) -> Result<Vec<Tensor>, RunError>;
}

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

/// The back ends that are configured, in their order.
pub(crate) fn start(
    configs: &[BackEndConfig],
    limits: &Limits,
) -> Result<Vec<Arc<dyn BackEnd>>, StartError> {
    let in_child = |name, has: &dyn Fn(Target) -> bool, config: &BackEndConfig| {
        let targets = [Target::Any, Target::Cpu, Target::Gpu, Target::Tpu];
        let targets = targets.into_iter().filter(|target| has(*target)).collect();
        let command = Command::this_program().map_err(StartError::Program)?;
        let (config, limits) = (config.clone(), limits.clone());
        let back_end = InChild::new(name, targets, command, config, limits);
        Ok(Arc::new(back_end) as Arc<dyn BackEnd>)
    };
    let is_cpu = |target: Target| matches!(target, Target::Any | Target::Cpu);
    configs
        .iter()
        .map(|config| match config {
            BackEndConfig::Tract => start_here(config),
            BackEndConfig::TractInChild if !cfg!(feature = "tract") => {
                Err(StartError::NotBuilt { back_end: "tract" })
            }
            BackEndConfig::TractInChild => in_child("tract", &is_cpu, &BackEndConfig::Tract),
            BackEndConfig::OnnxRuntime(_) if !cfg!(feature = "ort") => {
                Err(StartError::NotBuilt { back_end: "ort" })
            }
            BackEndConfig::OnnxRuntime(OnnxRuntimeConfig { providers, .. }) => {
                let has = |target| providers.iter().any(|provider| provider.is(target));
                in_child("onnxruntime", &has, config)
            }
        })
        .collect()
}

/// A back end in this process, which is the child for those that have one.
pub(crate) fn start_here(config: &BackEndConfig) -> Result<Arc<dyn BackEnd>, StartError> {
    match config {
        #[cfg(feature = "tract")]
        BackEndConfig::Tract | BackEndConfig::TractInChild => Ok(Arc::new(tract::Tract::default())),
        #[cfg(not(feature = "tract"))]
        BackEndConfig::Tract | BackEndConfig::TractInChild => {
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
