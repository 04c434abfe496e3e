//! The engine as a whole: with a back end that tests direct, and with tract.

#[expect(dead_code, reason = "the encoder is shared with other tests")]
#[path = "../../tests/support/onnx.rs"]
pub(crate) mod onnx_file;

mod batching;
mod child;
mod devices;
mod env;
mod loading;
pub(crate) mod models;
#[cfg(feature = "ort")]
mod onnx_runtime;
mod requests;
#[cfg(feature = "tract")]
mod tract;
#[cfg(feature = "tract")]
mod tried_out;
