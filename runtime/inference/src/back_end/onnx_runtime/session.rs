//! A model in ONNX Runtime, on one provider.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use ort::environment::Environment;
use ort::ep::{ArenaExtendStrategy, CUDA, ExecutionProviderDispatch, TensorRT, WebGPU};
use ort::logging::LogLevel;
use ort::session::{Session, SessionInputValue};

use super::convert;
use crate::back_end::{Graph, RunError, Stop};
use crate::config::{Limits, Provider};
use crate::onnx::Outline;
use crate::tensor::Tensor;

/// A loaded model.
pub(super) struct OnnxGraph {
    /// The library runs one at a time: its sessions are not safe otherwise, whatever it says.
    session: Mutex<Session>,
    inputs: Vec<(String, bool)>,
    provider: Provider,
    bytes: u64,
    output_bytes: u64,
}

/// What else may run the nodes of a model that its provider cannot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fallback {
    /// The processor.
    Cpu,
    /// Nothing: the model is refused.
    None,
}

/// A session of a model on one provider, that takes `most` bytes of a card's memory, as far as the
/// library can be told.
pub(super) fn open(
    environment: &Environment,
    model: &[u8],
    provider: Provider,
    threads: usize,
    most: usize,
    fallback: Fallback,
) -> Result<Session, String> {
    // An operator's provider that cannot be had is an error here, and not a slow surprise.
    let providers: Vec<ExecutionProviderDispatch> = match provider {
        Provider::Cpu => Vec::new(),
        Provider::Cuda => {
            let cuda = CUDA::default()
                .with_memory_limit(most)
                .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested);
            vec![cuda.build().error_on_failure()]
        }
        Provider::TensorRt => vec![TensorRT::default().build().error_on_failure()],
        Provider::WebGpu => vec![WebGPU::default().build().error_on_failure()],
    };
    let builder = Session::builder(environment).map_err(|error| error.to_string())?;
    // What goes wrong is said in errors; the library would say it again for each trial run.
    let builder = builder.with_log_level(LogLevel::Fatal).map_err(|error| error.to_string())?;
    let mut builder = builder.with_intra_threads(threads).map_err(|error| error.to_string())?;
    if fallback == Fallback::None && provider != Provider::Cpu {
        let none = builder.with_config_entry("session.disable_cpu_ep_fallback", "1");
        builder = none.map_err(|error| error.to_string())?;
    }
    let mut builder =
        builder.with_execution_providers(providers).map_err(|error| error.to_string())?;
    builder.commit_from_memory(model).map_err(|error| error.to_string())
}

pub(super) fn load(
    environment: &Environment,
    model: &Bytes,
    outline: &Outline,
    provider: Provider,
    threads: usize,
    limits: &Limits,
) -> Result<OnnxGraph, String> {
    // The weights once as they are, and once arranged for the provider.
    let bytes = outline.weights.saturating_mul(2);
    let most = bytes.saturating_add(limits.run_bytes);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let session = open(environment, model, provider, threads, most, Fallback::Cpu)?;
    const BOOL: u64 = 9;
    let inputs = outline.inputs.iter().map(|it| (it.name.clone(), it.element.0 == BOOL)).collect();
    let session = Mutex::new(session);
    Ok(OnnxGraph { session, inputs, provider, bytes, output_bytes: limits.request_bytes })
}

impl Graph for OnnxGraph {
    fn device(&self) -> String {
        self.provider.name().to_owned()
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn run(&self, inputs: Vec<Tensor>, _: &Stop) -> Result<Vec<Tensor>, RunError> {
        let mut values = Vec::with_capacity(inputs.len());
        for (tensor, (name, is_bool)) in inputs.iter().zip(&self.inputs) {
            let value = convert::to_value(tensor, *is_bool).map_err(RunError::Failed)?;
            values.push((name.as_str(), SessionInputValue::from(value)));
        }
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = session.run(values).map_err(|error| RunError::Failed(error.to_string()))?;
        let mut tensors = Vec::with_capacity(outputs.len());
        let mut size = 0_u64;
        for value in outputs.values() {
            let tensor = convert::from_value(&value).map_err(RunError::Failed)?;
            size = size.saturating_add(tensor.data().len() as u64);
            tensors.push(tensor);
            let limit = self.output_bytes;
            if size > limit {
                let what = "the sum of the outputs".to_owned();
                return Err(RunError::TooLarge { what, size, limit });
            }
        }
        Ok(tensors)
    }
}

/// The operator that a message of the library says it lacks.
pub(super) fn unknown_operator(message: &str) -> Option<String> {
    let after = |mark: &str| message.split_once(mark).map(|(_, rest)| rest);
    let rest = after("No Op registered for ")
        .or_else(|| after("Could not find an implementation for "))
        .or_else(|| {
            let (before, _) = message.split_once(" is not a registered function/op")?;
            // The name may have its domain before it and its version behind it.
            let version = before.strip_suffix(')').and_then(|name| name.rsplit_once('('));
            version.map_or(before, |(name, _)| name).rsplit([' ', ':']).next()
        })?;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    rest.get(..end).filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_that_a_message_is_about_is_found() {
        for message in [
            "Load model failed: Fatal error: Frobnicate is not a registered function/op",
            "[ShapeInferenceError] No Op registered for Frobnicate with domain_version of 17",
            "Could not find an implementation for Frobnicate(1) node with name ''",
            "Fatal error: ai.onnx:Frobnicate(-1) is not a registered function/op",
        ] {
            assert_eq!(unknown_operator(message).as_deref(), Some("Frobnicate"), "{message}");
        }
        assert_eq!(unknown_operator("out of memory"), None);
    }
}
