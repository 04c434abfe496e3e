//! Policy, worked out by hand: the order of the queue, shares, limits and changes of
//! jobs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test: it may stop at what it did not expect"
)]

mod beyond;
mod changes;
mod env;
mod limits;
mod orders;
mod shares;
