//! Requests through a gateway to replicas that a test stands in for.

mod calls;
pub(crate) mod env;
mod queueing;
mod retries;
mod slow;
