//! What a user is told of a job that waits or stands still: why, until when, and what would
//! help. Worked out by hand, and a case for each reason there is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test: it may stop at what it did not expect"
)]

#[path = "../policy/env.rs"]
#[allow(dead_code, reason = "not every test drives all of the cluster")]
mod env;

mod codes;
mod expected;
mod in_time;
mod nodes;
mod reasons;
mod stopped;
