//! Inference: what a guest's run of a model costs over calling the same back end directly; what
//! merging the requests of many guests gains; what a model that many use takes of memory; and a
//! service with a model, beside the server that a user of Python would write.

pub(crate) mod batching;
mod guests;
pub(crate) mod memory;
mod models;
mod native;
mod onnx_runtime;
pub(crate) mod overhead;
pub(crate) mod python;
