//! The queue in virtual time: single cases, and runs of random events against a model.

mod cases;
mod env;
mod random;
