//! Requests of one model in one run: which ones, along which axes, and whether that is right.

pub(crate) mod axes;
pub(crate) mod merge;
pub(crate) mod prove;
pub(crate) mod queue;
mod sample;
mod turns;
