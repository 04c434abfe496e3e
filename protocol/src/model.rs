//! What a model is to the cluster: a blob with a name and a tag, how it is to be run, and what a
//! job says of those that its guests may use. Nothing here reads a model.
//!
//! A name and a tag can be moved to other bytes at any time; what a job uses never changes. So
//! names are resolved before a job is submitted, and its specification holds the digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::job::SpecError;
use crate::limits::{
    MAX_BATCH_AXIS, MAX_BATCH_TENSORS, MAX_MODEL, MAX_MODEL_BATCH, MAX_MODEL_DELAY_MS,
    MAX_MODELS_PER_JOB, MAX_NAME, MAX_TENSOR_NAME,
};
use crate::resources::Bytes;

mod name;
#[cfg(test)]
mod tests;

pub use name::{ModelId, ModelName, ModelRef, ModelTag, ParseModelError};

/// How the bytes of a model are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// An ONNX graph, in one file.
    Onnx,
}

/// What a model is to run on.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Whatever the node has, the fastest first.
    #[default]
    Any,
    /// The node's processor.
    Cpu,
    /// A GPU; never the processor.
    Gpu,
}

/// How a model is to be run. Said when it is pushed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelSpec {
    /// How its bytes are to be read.
    pub encoding: Encoding,
    /// What it is to run on.
    pub target: Target,
    /// Items that one run computes together, at most; 1: each alone.
    pub max_batch: u32,
    /// How long an item waits for others at most, in milliseconds; nothing waits while no other
    /// item is there.
    pub max_delay_ms: u32,
    /// By which axis the items of a batch are told apart, for each tensor by name: every output, and
    /// each input that has one. Where this is empty it is for the node to find out.
    pub batch_axes: BTreeMap<String, u32>,
}

/// What a tag points at: bytes, and how they are to be run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelVersion {
    /// A blob of the tenant's who owns the model.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// How it is to be run.
    pub spec: ModelSpec,
}

/// A model that the guests of a job may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelGrant {
    /// What a guest says to `load-by-name`.
    pub name: String,
    /// The model; of another tenant where that has shared it.
    pub model: ModelId,
    /// The tag by which it was found, for people: it may be moved at any time.
    pub tag: ModelTag,
    /// What the tag pointed at then.
    pub version: ModelVersion,
}

/// What a job says of inference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inference {
    /// Models that its guests may load by name.
    pub models: Vec<ModelGrant>,
    /// Whether its guests may load models from bytes of their own.
    pub load: bool,
}

/// Why a model is refused as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ModelError {
    /// What of it, as the flags of `wrun model push` name it.
    pub field: &'static str,
    /// What is wrong and what is allowed.
    pub problem: String,
}

impl Encoding {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
        }
    }
}

impl Target {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        }
    }
}

impl ModelSpec {
    /// Items of a batch, unless something else is said.
    pub const DEFAULT_BATCH: u32 = 16;

    /// How long an item waits, unless something else is said.
    pub const DEFAULT_DELAY_MS: u32 = 2;

    /// With everything but the encoding at its default.
    pub fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            target: Target::Any,
            max_batch: Self::DEFAULT_BATCH,
            max_delay_ms: Self::DEFAULT_DELAY_MS,
            batch_axes: BTreeMap::new(),
        }
    }

    fn check(&self) -> Result<(), ModelError> {
        ensure((1..=MAX_MODEL_BATCH).contains(&self.max_batch), "max-batch", || {
            format!("{}; use 1 to {MAX_MODEL_BATCH}", self.max_batch)
        })?;
        ensure(self.max_delay_ms <= MAX_MODEL_DELAY_MS, "max-delay", || {
            format!("{} ms; at most {} s", self.max_delay_ms, MAX_MODEL_DELAY_MS / 1000)
        })?;
        ensure(self.batch_axes.len() <= MAX_BATCH_TENSORS, "batch-axis", || {
            format!("{} tensors; at most {MAX_BATCH_TENSORS}", self.batch_axes.len())
        })?;
        for (tensor, axis) in &self.batch_axes {
            let named = !tensor.is_empty()
                && tensor.len() <= MAX_TENSOR_NAME
                && !tensor.chars().any(char::is_control);
            ensure(named, "batch-axis", || {
                format!(
                    "`{}`: a tensor's name has 1 to {MAX_TENSOR_NAME} bytes",
                    tensor.escape_debug()
                )
            })?;
            ensure(*axis <= MAX_BATCH_AXIS, "batch-axis", || {
                format!("`{tensor}`: axis {axis}; use 0 to {MAX_BATCH_AXIS}, counted from 0")
            })?;
        }
        Ok(())
    }
}

impl ModelVersion {
    /// Checks every field against its bounds. Says nothing of whether the blob is there.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self) -> Result<(), ModelError> {
        ensure(self.size > 0, "file", || "it is empty, and no model is".to_owned())?;
        ensure(self.size <= MAX_MODEL, "file", || {
            format!("{}; a model has at most {}", Bytes(self.size), Bytes(MAX_MODEL))
        })?;
        self.spec.check()
    }
}

impl Inference {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.models.is_empty() && !self.load
    }

    /// Checks every field against its bounds.
    pub(crate) fn check(&self) -> Result<(), SpecError> {
        let refused = |problem| SpecError::Field { field: "models", problem };
        if self.models.len() > MAX_MODELS_PER_JOB {
            let problem = format!("{}; at most {MAX_MODELS_PER_JOB}", self.models.len());
            return Err(refused(problem));
        }
        for (place, grant) in self.models.iter().enumerate() {
            let name = &grant.name;
            if !is_guest_name(name) {
                let problem = format!(
                    "`{}`: what a guest calls a model has 1 to {MAX_NAME} bytes without control characters",
                    name.escape_debug()
                );
                return Err(refused(problem));
            }
            if self.models.iter().take(place).any(|before| before.name == *name) {
                let problem = format!(
                    "two models are called `{name}` by the guest: call one of them otherwise, as in `OTHER={}`",
                    grant.reference()
                );
                return Err(refused(problem));
            }
            grant.version.check().map_err(|error| refused(format!("`{name}`: {error}")))?;
        }
        Ok(())
    }
}

impl ModelGrant {
    /// Which model, as a user of any tenant may write it.
    pub fn reference(&self) -> ModelRef {
        let ModelId { tenant, name } = self.model.clone();
        ModelRef { tenant: Some(tenant), name, tag: self.tag.clone() }
    }
}

/// Whether a guest may call a model that.
pub fn is_guest_name(text: &str) -> bool {
    crate::scheduling::is_name(text)
}

fn ensure(
    holds: bool,
    field: &'static str,
    problem: impl FnOnce() -> String,
) -> Result<(), ModelError> {
    if holds { Ok(()) } else { Err(ModelError { field, problem: problem() }) }
}
