//! x
pub(crate) mod trace;
