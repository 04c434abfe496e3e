//! Drives the core: connections of users and workers, effects in their order, blobs,
//! authorisation, history.
//!
//! One task owns the core ([`start`] spawns it). Everything else prepares requests for it
//! and carries out what it decides; nothing here decides over jobs. What is acknowledged
//! is durable: an effect leaves the server only after the facts before it are on disk.

mod authorise;
mod blobs;
mod clock;
mod components;
mod config;
mod data_dir;
mod driver;
mod error;
mod gateways;
mod history;
mod items;
mod join;
mod outbox;
mod recovery;
mod remembered;
mod requests;
mod server;
mod session;
mod shared;
mod watchers;
mod workflows;

pub use config::{DEFAULT_PORT, ServerConfig};
pub use error::ServerError;
pub use server::{ServerHandle, credential, init, start, start_on};
