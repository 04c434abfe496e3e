//! wasmtime, narrowed in one place: engines, compiled code, host interfaces, limits,
//! metering, and the queue that decides which guest runs next.
//!
//! This crate knows nothing of the network protocol between node and server, stores
//! nothing but compiled code, and never retries: one call to [`Sandbox::start`] is one
//! execution, and [`TaskEvents::ended`] is called for it exactly once.

mod config;
mod error;
mod sandbox;
mod task;

pub use config::SandboxConfig;
pub use error::{PrepareError, SandboxError, StartError};
pub use sandbox::{Prepared, Sandbox, TaskHandle};
pub use task::{CheckpointDone, JobContext, TaskEnd, TaskEvents, TaskInput, TaskStart};
