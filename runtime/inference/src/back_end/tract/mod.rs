//! tract, in this process: pure Rust, ONNX, on the processor. A model is prepared once for
//! all sizes of its dimensions where tract can do that, else once for each.

mod convert;
mod load;
mod memory;
mod plan;

use std::sync::Arc;

use bytes::Bytes;

use super::{BackEnd, Graph};
use crate::config::{Limits, Target};
use crate::error::LoadError;
use crate::onnx::Outline;

/// Its name in messages and in the configuration.
const NAME: &str = "tract";

/// The back end. It keeps nothing between models but what operators it has.
pub(super) struct Tract {
    onnx: tract_onnx::Onnx,
}

impl Default for Tract {
    fn default() -> Self {
        Self { onnx: tract_onnx::onnx() }
    }
}

impl BackEnd for Tract {
    fn name(&self) -> &'static str {
        NAME
    }

    fn has(&self, target: Target) -> bool {
        matches!(target, Target::Any | Target::Cpu)
    }

    fn load(
        &self,
        model: &Bytes,
        outline: &Outline,
        _: Target,
        limits: &Limits,
    ) -> Result<Arc<dyn Graph>, LoadError> {
        load::load(&self.onnx, model, outline, limits)
    }
}
