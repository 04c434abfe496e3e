//! Why a server does not start, or stops by itself.

use std::io;
use std::path::PathBuf;

use wrun_net::{IdentityError, ListenError};

/// What stops a server. Each text says what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A setting cannot work.
    #[error("`{setting}`: {problem}")]
    Config {
        /// The setting as flags and files name it.
        setting: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// A file or folder of the data directory cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    DataDir {
        /// `create`, `open`, …
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another server uses the data directory.
    #[error("{} is in use by another wrun server: stop that one, or choose another directory", path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// The cluster's authority, or a certificate, cannot be made or read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The port cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The journal cannot be read. Nothing was changed.
    #[error("{0}")]
    Journal(String),
    /// The journal can no longer be written: the server stopped, so that nothing is
    /// acknowledged that is not durable.
    #[error(
        "the journal cannot be written: {0}; make room or repair the disk and start the server again: everything acknowledged is kept"
    )]
    JournalLost(String),
    /// A snapshot cannot be understood.
    #[error(transparent)]
    Restore(#[from] wrun_core::RestoreError),
    /// The history cannot be kept.
    #[error("{0}")]
    History(String),
    /// The server has stopped; nothing more can be asked of it.
    #[error("the server has stopped")]
    Stopped,
    /// The reason for which the server stopped, as everyone who asks is told.
    #[error(transparent)]
    Ended(#[from] std::sync::Arc<ServerError>),
    /// A request of the embedding program was refused.
    #[error(transparent)]
    Refused(#[from] wrun_protocol::wire::user::RequestError),
}
