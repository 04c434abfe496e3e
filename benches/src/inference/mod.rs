//! Inference: what a guest's run of a model costs over calling the same back end directly; what
//! merging the requests of many guests gains; what a model that many use takes of memory; and a
//! service with a model, beside the server that a user of Python would write.

mod batching;
mod guests;
mod memory;
mod models;
mod native;
mod onnx_runtime;
mod overhead;
mod python;

use anyhow::Result;

use crate::report::Report;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    memory::measure(report)?;
    python::measure(report)?;
    overhead::measure(report)?;
    batching::measure(report)
}
