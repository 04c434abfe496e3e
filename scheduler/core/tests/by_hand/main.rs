//! What the core does, worked out by hand: a few lines each, on a small cluster in virtual
//! time ([`cluster`]).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test: it may stop at what it did not expect, and read clocks and files"
)]

mod basics;
mod cluster;
mod devices;
mod explain;
mod models;
mod policy;
mod services;
mod structure;
mod time;
