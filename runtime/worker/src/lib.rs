//! The node agent: joins a cluster, keeps one session with the server, and runs the
//! tasks it is assigned in the sandbox.
//!
//! One task, the agent (`agent`), owns everything that is decided here; guests run on
//! the sandbox's threads and meet it only in `floor`, where tasks start and end. This
//! crate places nothing and retries nothing: that is the scheduler's. It never runs a
//! guest itself and opens no socket but through `wrun-net`, and for HTTP through its gateway.

mod agent;
mod artefacts;
mod blobs;
mod cards;
mod config;
mod data_dir;
mod error;
mod events;
mod executor;
mod floor;
mod gang;
mod handle;
mod held;
mod inference;
mod items;
mod job;
mod join;
mod lease;
mod link;
mod live;
mod log;
mod models;
mod mounts;
mod outbox;
mod peers;
mod results;
mod service;
mod setup;
mod slots;
mod streams;
#[cfg(test)]
mod tests;

pub use config::{HttpConfig, WorkerConfig};
pub use error::WorkerError;
pub use handle::{WorkerHandle, start};
pub use inference::OWN_LABELS;
pub use wrun_gateway::{AccessLog, AddressRange, TlsFiles};
pub use wrun_inference::{BackEndConfig, Fenced, OnnxRuntimeConfig, Provider, child};
