//! What every part of wrun agrees on: identifiers, the job specification, the
//! messages on the wire, limits and the codec that frames them.
//!
//! This crate does no I/O and knows no clock. Types that travel or are stored are
//! plain data with serde derives; enums are only ever added to at their end, because
//! postcard numbers variants by position (see [`codec`]).

pub mod card;
pub mod closest;
pub mod codec;
pub mod cron;
pub mod digest;
pub mod id;
pub mod inference;
pub mod items;
pub mod job;
pub mod limits;
pub mod model;
pub mod node;
pub mod policy;
pub mod remembered;
pub mod reservation;
pub mod resources;
pub mod schedule;
pub mod scheduling;
pub mod service;
pub mod task;
pub mod tenant;
pub mod time;
pub mod wire;
pub mod workflow;

pub use digest::Digest;
pub use id::{AttemptId, IndexRange, JobId, NodeId, SubmitId, TaskId};
pub use job::JobSpec;
pub use resources::Resources;
pub use tenant::{Role, TenantName};
pub use time::Timestamp;
