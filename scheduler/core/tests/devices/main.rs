//! Cards, named resources, pools, alternatives and arrangements, worked out by hand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test: it may stop at what it did not expect, and read clocks and files"
)]

mod arrangement;
mod cards;
mod env;
mod gangs;
mod pools;
mod preemption;
mod time;
