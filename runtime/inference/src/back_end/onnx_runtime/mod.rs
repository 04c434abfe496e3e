//! ONNX Runtime, through the library that is found when it starts. It belongs into a process
//! of its own: the library is native code, and there can be one only.

mod convert;
mod session;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ort::environment::Environment;

use super::{BackEnd, Graph};
use crate::config::{Limits, OnnxRuntimeConfig, Provider, Target};
use crate::error::LoadError;
use crate::onnx::Outline;

/// Its name in messages.
const NAME: &str = "onnxruntime";

/// Where the library is looked for when nobody says where it is; a name alone is left to the
/// system's own search.
const USUAL: [&str; 4] = [
    "libonnxruntime.so",
    "libonnxruntime.so.1",
    "/usr/local/lib/libonnxruntime.so",
    "/opt/onnxruntime/lib/libonnxruntime.so",
];

/// The back end.
pub(crate) struct OnnxRuntime {
    environment: Environment,
    config: OnnxRuntimeConfig,
}

impl OnnxRuntime {
    /// Loads the library; says which were tried and why none will do.
    pub(super) fn start(config: &OnnxRuntimeConfig) -> Result<Self, String> {
        let places = match &config.library {
            Some(library) => vec![library.clone()],
            None => USUAL.map(PathBuf::from).to_vec(),
        };
        let mut reasons = Vec::new();
        for place in &places {
            match ort::init_from(place) {
                Ok(builder) => {
                    let environment = builder.with_telemetry(false).build();
                    let environment = environment.map_err(|error| error.to_string())?;
                    return Ok(Self { environment, config: config.clone() });
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        Err(reasons.join("; "))
    }
}

impl BackEnd for OnnxRuntime {
    fn name(&self) -> &'static str {
        NAME
    }

    fn has(&self, target: Target) -> bool {
        self.config.providers.iter().any(|provider| provider.is(target))
    }

    /// Loads the model on the first provider that will have it.
    fn load(
        &self,
        model: &Bytes,
        outline: &Outline,
        target: Target,
        limits: &Limits,
    ) -> Result<Arc<dyn Graph>, LoadError> {
        let mut reason = None;
        for provider in self.config.providers.iter().filter(|provider| provider.is(target)) {
            let threads = self.config.threads.max(1);
            match session::load(&self.environment, model, outline, *provider, threads, limits) {
                Ok(graph) => return Ok(Arc::new(graph)),
                Err(error) => {
                    tracing::warn!(%error, ?provider, "the provider cannot be had");
                    reason = Some(match reason {
                        None => format!("{}: {error}", provider.name()),
                        Some(before) => format!("{before}; {}: {error}", provider.name()),
                    });
                }
            }
        }
        let problem = reason.ok_or(LoadError::Target(target))?;
        Err(match session::unknown_operator(&problem) {
            Some(operator) => {
                let mut uses = outline.operators.iter();
                let used = uses.find(|used| used.name == operator);
                let (domain, node) = used
                    .map_or_else(Default::default, |used| (used.domain.clone(), used.node.clone()));
                LoadError::UnsupportedOperator { back_end: NAME, operator, domain, node }
            }
            None => LoadError::Failed { back_end: NAME, problem },
        })
    }
}

impl Provider {
    /// As people call it.
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Cuda => "CUDA",
            Self::TensorRt => "TensorRT",
            Self::WebGpu => "WebGPU",
        }
    }
}
