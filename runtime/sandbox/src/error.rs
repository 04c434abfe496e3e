//! Why something could not be done, one type for each operation. Each text says what,
//! where, and what to do.

use std::path::PathBuf;

/// The sandbox could not be built.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A setting cannot be.
    #[error("`{setting}` of the sandbox: {problem}")]
    Setting {
        /// Field of [`crate::SandboxConfig`].
        setting: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// The engine refused, mostly for lack of address space.
    #[error("the engine cannot be made: {0}; try fewer slots")]
    Engine(String),
    /// The cache's directory or key cannot be used.
    #[error("the cache of compiled components at {path}: {problem}")]
    Cache {
        /// Where.
        path: PathBuf,
        /// What went wrong, and what to do.
        problem: String,
    },
    /// A thread could not be started.
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
}

/// A component could not be made ready to run.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PrepareError {
    /// The bytes could not be had.
    #[error("the component's bytes cannot be read: {0}")]
    Source(String),
    /// It is no component this node can run; the text is that of the component's check.
    #[error("{0}")]
    Component(String),
    /// It parses, but does not compile.
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// An import does not fit what the node gives.
    #[error("the component cannot be linked: {0}")]
    Link(String),
    /// The engine that it needs cannot be made on this node.
    #[error("{0}")]
    Engine(String),
    /// It asks for more memories, tables or core instances than the node's pool has.
    #[error("the component needs {needs} {what}; this node gives an instance at most {most}")]
    TooLarge {
        /// What there is too little of.
        what: &'static str,
        /// How many or how much it needs.
        needs: u64,
        /// What is allowed.
        most: u64,
    },
    /// Too many components wait to be compiled.
    #[error("too many components wait to be compiled on this node; try again")]
    Busy,
    /// The sandbox is closing.
    #[error("the sandbox is closing")]
    Closed,
}

/// A task could not be started. Nothing was run and no event will be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// As many tasks wait for a place as may.
    #[error("{waiting} tasks already wait for a place on this node; try again")]
    Full {
        /// How many wait.
        waiting: usize,
    },
    /// The task asks for what this node cannot give.
    #[error("{0}")]
    Refused(String),
    /// The sandbox is closing.
    #[error("the sandbox is closing")]
    Closed,
}
