//! The engine as a whole: with a back end that tests direct, and with tract.

#[expect(dead_code, reason = "the encoder is shared with the benchmark")]
#[path = "../../tests/support/onnx.rs"]
pub(crate) mod onnx_file;

mod batching;
mod env;
mod loading;
pub(crate) mod models;
mod requests;
#[cfg(feature = "tract")]
mod tract;
