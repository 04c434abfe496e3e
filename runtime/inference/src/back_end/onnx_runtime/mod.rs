//! ONNX Runtime, through the library that is found when it starts. It belongs into a process
//! of its own: the library is native code, and there can be one only.

mod convert;
mod library;
mod probe;
mod session;

use std::sync::Arc;

use bytes::Bytes;
use ort::environment::Environment;

use super::{BackEnd, Graph};
use crate::config::{Limits, OnnxRuntimeConfig, Provider, Target};
use crate::error::LoadError;
use crate::onnx::Outline;

/// Its name in messages.
const NAME: &str = "onnxruntime";

/// The back end.
pub(crate) struct OnnxRuntime {
    environment: Environment,
    version: String,
    config: OnnxRuntimeConfig,
}

impl OnnxRuntime {
    /// Loads the library; says which were tried and why none will do.
    pub(super) fn start(config: &OnnxRuntimeConfig) -> Result<Self, String> {
        let library = library::find(config.library.as_deref())?;
        let builder = ort::init_from(&library.place).map_err(|error| error.to_string())?;
        let environment = builder.with_telemetry(false).build();
        let environment = environment.map_err(|error| error.to_string())?;
        Ok(Self { environment, version: library.version, config: config.clone() })
    }
}

impl BackEnd for OnnxRuntime {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> Option<String> {
        Some(self.version.clone())
    }

    fn probe(&self, provider: Provider) -> Result<(), String> {
        probe::run(&self.environment, provider)
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
                    tracing::warn!(provider = provider.name(), %error, "the provider cannot have the model");
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
