//! Back ends in a process of their own: what crashes or hangs there is killed and started
//! anew, and fails nothing but what ran there. A process can hold one native library only,
//! so each has its own; and a model that is not known to behave has one.
//!
//! The child is this very program, called with [`ARGUMENT`]; it has one socket and one
//! region of memory that it shares with its parent, and does one thing at a time.

mod graph;
mod message;
mod probe;
mod process;
mod region;
mod serve;
mod tried_out;

pub(crate) use graph::InChild;
pub(crate) use probe::probe;
pub(crate) use process::Command;
pub use serve::main;
#[cfg(test)]
pub(crate) use serve::serve;
pub(crate) use tried_out::TriedOut;

/// The argument with which a program is a child: its `main` then calls [`main()`] and returns
/// what that returns, before it does anything else.
pub const ARGUMENT: &str = "inference-child";
