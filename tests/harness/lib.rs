//! What the whole-system tests and the benchmarks share: real `wrun` processes on
//! loopback, with folders and ports of their own, stopped when a test ends however it ends.
//!
//! Everything is reached as a user reaches it: through the binary ([`Cluster::wrun`]) or
//! over QUIC with the user's credential ([`Client`]).

pub mod artefacts;
pub mod client;
pub mod cluster;
pub mod http;
pub mod library;
pub mod models;
pub mod process;
pub mod random;

pub use client::Client;
pub use cluster::{Cluster, Settings};
pub use process::Process;
