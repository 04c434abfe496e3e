//! A whole server over a folder of its own, with users and scripted workers on in-memory
//! connections.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod blobs;
mod cluster;
mod disk;
mod harness;
mod isolation;
mod logs;
mod models;
mod restart;
mod services;
mod submit;
mod tasks;
mod workflows;
