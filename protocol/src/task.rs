//! How an execution ended and what it used.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::scheduling::Dependency;

/// Bytes that travel inside a message when they are few, by reference when they are many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// At most [`crate::limits::MAX_INLINE`] bytes (inputs: `MAX_INLINE_INPUT`).
    Inline(Bytes),
    /// A blob of the tenant's.
    Blob {
        /// Its address.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
}

impl Content {
    /// Size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Blob { size, .. } => *size,
        }
    }
}

/// What one attempt consumed, as its worker measured it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// From start to end, frozen time included, in microseconds.
    pub wall_us: u64,
    /// Thread CPU time of the guest, in microseconds.
    pub cpu_us: u64,
    /// Time spent frozen, in microseconds.
    pub frozen_us: u64,
    /// Highest memory charged at any time, in bytes.
    pub peak_memory: u64,
}

/// The result of one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Exit code 0, or the handler returned its output.
    Succeeded,
    /// Anything else.
    Failed(Failure),
}

/// Why an attempt did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// The program ended with a code other than 0.
    Exit {
        /// As the program gave it; 1 where the interface knows only failure.
        code: i32,
    },
    /// The handler returned its typed error.
    Handler {
        /// The message of the error.
        message: String,
        /// Whether the handler says that trying again can help.
        retryable: bool,
    },
    /// The guest did what WebAssembly forbids: divided by zero, ran into `unreachable`, …
    Trap {
        /// What the engine said, with the guest's frames where it knows them.
        message: String,
    },
    /// A limit of the job was reached.
    Limit {
        /// Which one.
        limit: Limit,
        /// Its value, in the limit's own unit.
        allowed: u64,
    },
    /// The attempt never ran: its component or files could not be had or instantiated.
    Setup {
        /// What went wrong, where, and what to do.
        message: String,
    },
    /// Cancelled by a user.
    Cancelled,
    /// The node was lost or withdrew while it ran, and the job allows no more requeues.
    NodeLost,
    /// It never ran: what it waited for will never be.
    Dependency {
        /// For what.
        on: Dependency,
    },
}

/// Limits that end a task when it reaches them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Limit {
    /// Bytes, over all memories and tables of the instance and what the host holds for it.
    Memory,
    /// Wall time in milliseconds, frozen time excluded.
    WallTime,
    /// Thread CPU time in milliseconds.
    CpuTime,
    /// Bytes of output: a handler's result, or standard output.
    Output,
    /// Bytes written to the log: standard error, standard output of a handler, log calls.
    Log,
    /// Bytes in the scratch directory.
    Scratch,
    /// Handles open at once.
    Handles,
    /// Depth of the guest's stack, in bytes.
    Stack,
    /// Bytes of log a second.
    LogRate,
    /// Guest tasks (fibers) alive at once, for WASI 0.3.
    Fibers,
}

impl Outcome {
    /// Whether this is success.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Succeeded)
    }

    /// The same with at most so many bytes of a failure's text, and a mark where it was cut.
    pub fn shortened(mut self, most: usize) -> Self {
        if let Self::Failed(
            Failure::Handler { message, .. }
            | Failure::Trap { message }
            | Failure::Setup { message },
        ) = &mut self
            && message.len() > most
        {
            message.truncate(message.floor_char_boundary(most));
            message.push_str(" …");
        }
        self
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory limit",
            Self::WallTime => "time limit",
            Self::CpuTime => "CPU time limit",
            Self::Output => "output limit",
            Self::Log => "log limit",
            Self::Scratch => "scratch limit",
            Self::Handles => "limit of open handles",
            Self::Stack => "stack limit",
            Self::LogRate => "log rate limit",
            Self::Fibers => "limit of concurrent guest tasks",
        })
    }
}

impl Limit {
    /// `allowed` in the limit's unit, for people.
    pub fn describe(self, allowed: u64) -> String {
        match self {
            Self::WallTime | Self::CpuTime => {
                format!("{:?}", std::time::Duration::from_millis(allowed))
            }
            Self::Handles | Self::Fibers => allowed.to_string(),
            Self::LogRate => format!("{}/s", crate::resources::Bytes(allowed)),
            _ => crate::resources::Bytes(allowed).to_string(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit { code } => write!(f, "exit code {code}"),
            Self::Handler { message, .. } => write!(f, "the handler returned an error: {message}"),
            Self::Trap { message } => write!(f, "trap: {message}"),
            Self::Limit { limit, allowed } => {
                write!(f, "reached its {limit} of {}", limit.describe(*allowed))
            }
            Self::Setup { message } => write!(f, "could not start: {message}"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Dependency { on } => write!(f, "{on}, for which it waited, will never be"),
            Self::NodeLost => f.write_str("its node was lost, and no requeue is left"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded => f.write_str("succeeded"),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}
