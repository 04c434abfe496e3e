//! The scheduler as a pure state machine: queue, policy, placement, nodes.
//!
//! Driven as quinn-proto is: [`Core::handle`] takes an [`Input`] and the time,
//! [`Core::poll_effect`] gives what to do, [`Core::poll_timeout`] when to come back.
//! Deciding yields facts, only [`Core::apply`] of a fact changes what is recorded, and
//! recovery is `apply` alone. No I/O, no clock, no threads, no randomness, and nothing
//! whose iteration order could differ from run to run.

pub mod config;
mod core;
mod decide;
pub mod effect;
mod ended;
pub mod fact;
pub mod input;
mod kept_back;
mod outbox;
mod profile;
pub mod reason;
mod rollout;
mod scaling;
mod state;
pub mod views;
pub mod workflow;

pub use config::Config;
pub use core::Core;
pub use decide::remembered::Unlooked;
pub use effect::{Answer, Effect};
pub use ended::EndedJob;
pub use fact::{Fact, Remembered};
pub use input::{Input, Prior, RequestId};
pub use reason::PendingReason;
pub use views::{Counts, JobsQuery};

/// Why a snapshot cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// It was written by a newer wrun.
    #[error(
        "the snapshot has version {0}, which this wrun does not know: use the newer wrun that wrote it"
    )]
    UnknownVersion(u32),
    /// The bytes are not a snapshot.
    #[error("the snapshot cannot be read: {0}")]
    Garbled(String),
}
