//! What loads and runs models. A back end is called on threads of the engine, may take long
//! and may fail; it knows nothing of queues, tenants and batches.

mod guard;
#[cfg(feature = "tract")]
mod tract;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::config::{BackEndConfig, Limits, Target};
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
        limits: &Limits,
    ) -> Result<Arc<dyn Graph>, LoadError>;
}

/// A loaded model. Several threads may run it at once.
pub(crate) trait Graph: Send + Sync {
    /// On what it runs.
    fn device(&self) -> String;

    /// Bytes that it takes, as far as the back end can tell.
    fn bytes(&self) -> u64;

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
#[derive(Clone, Debug, PartialEq, Eq)]
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
pub(crate) fn start(configs: &[BackEndConfig]) -> Result<Vec<Arc<dyn BackEnd>>, StartError> {
    configs
        .iter()
        .map(|config| match config {
            #[cfg(feature = "tract")]
            BackEndConfig::Tract => Ok(Arc::new(tract::Tract::default()) as Arc<dyn BackEnd>),
            #[cfg(not(feature = "tract"))]
            BackEndConfig::Tract => Err(StartError::NotBuilt { back_end: "tract" }),
        })
        .collect()
}
