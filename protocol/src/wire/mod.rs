//! The messages: between users and the server ([`user`]), between workers and the
//! server ([`worker`]), between workers ([`peer`], [`forward`]), and how a new machine joins
//! ([`join`]).
//!
//! Every enum is only ever added to at its end. The protocol's version is the ALPN that
//! both sides offer; a version and its predecessor work together.

pub mod forward;
pub mod join;
pub mod model;
pub mod peer;
pub mod policy;
pub mod schedule;
pub mod service;
pub mod user;
pub mod worker;
pub mod workflow;

/// ALPN of users and workers, who hold a certificate of the cluster.
pub const ALPN: &[u8] = b"wrun/1";

/// ALPN of a machine that has only a join token.
pub const ALPN_JOIN: &[u8] = b"wrun-join/1";

/// ALPN of nodes that reach each other.
pub const ALPN_PEER: &[u8] = b"wrun-peer/1";
