//! Drives the core: connections of users and workers, effects in their order, blobs,
//! authorisation, history.
//!
//! One task owns the core ([`start`] spawns it). Everything else prepares requests for it
//! and carries out what it decides; nothing here decides over jobs. What is acknowledged
//! is durable: an effect leaves the server only after the facts before it are on disk.

mod clock;
mod config;
mod error;
mod outbox;
mod server;
mod watchers;

pub use config::{DEFAULT_PORT, ServerConfig};
pub use error::ServerError;
pub use server::{ServerHandle, init, start};
