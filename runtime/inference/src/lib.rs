//! The inference engine of a node: models, back ends, batching. It is what stands behind
//! `wasi:nn`, and all sandboxes of a node share one.
//!
//! [`Engine::load`] gives a [`Model`], loaded once however many ask for it; [`Model::compute`]
//! queues a request, which is merged with those of other callers where the model allows it.
//! Nothing here blocks the caller's thread: models load and run on threads of the engine.
//!
//! This crate does not know which tenant may use which model, fetches no model by itself and
//! writes nothing to disk. It needs no async runtime: its futures may be polled by any.

#![cfg_attr(
    not(feature = "tract"),
    allow(dead_code, reason = "what back ends use, in a build without any")
)]

mod back_end;
mod batch;
pub mod child;
mod clock;
mod config;
mod device;
mod engine;
mod error;
mod fence;
mod input;
mod load;
mod make;
mod memory;
mod model;
mod onnx;
mod pool;
mod registry;
mod served;
mod signature;
mod stats;
mod tensor;
#[cfg(test)]
mod tests;

pub use batch::axes::{AloneReason, Batching};
pub use config::{
    BackEndConfig, BatchAxes, Config, Encoding, Limits, ModelOptions, OnnxRuntimeConfig, Provider,
    Target, TensorAxes,
};
pub use device::{Card, Device};
pub use engine::{Engine, ModelKey};
pub use error::{
    BusyReason, ComputeError, ErrorCode, FetchError, InputError, LoadError, StartError, UnloadError,
};
pub use fence::Fenced;
pub use model::{Call, Compute, Model};
pub use signature::{Dimension, Signature, TensorSignature};
pub use stats::{EngineStats, Histogram, ModelStats};
pub use tensor::{ElementType, MAX_DIMENSIONS, NamedTensor, Tensor, TensorError};
