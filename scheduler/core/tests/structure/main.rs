//! Structure of work, worked out by hand: parts of arrays, jobs that wait for others,
//! gangs, and work that makes room for more urgent work.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test: it may stop at what it did not expect"
)]

mod arrays;
mod dependencies;
mod env;
mod gangs;
mod preemption;
mod random_workflows;
mod remembered;
mod schedules;
mod thaw;
mod workflow_recovery;
mod workflows;
