//! What an ONNX file says of itself, read before any back end sees it, in bounded time and
//! memory. Nothing is computed here, and no tensor's content is looked at.

mod outline;
mod types;
mod wire;

pub(crate) use outline::{Declared, Operator, Outline, outline};
pub(crate) use types::detect;
