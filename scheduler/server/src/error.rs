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
    /// The system does not let the server use the journal's files.
    #[error("{reason}")]
    JournalDisk {
        /// What failed, where.
        reason: String,
        /// Whether the disk is full.
        disk_full: bool,
    },
    /// The journal can no longer be written: the server stopped, so that nothing is
    /// acknowledged that is not durable.
    #[error(
        "the server stopped, since its journal cannot be written: {reason}; everything acknowledged is kept"
    )]
    JournalLost {
        /// What failed, and what to do.
        reason: String,
        /// Whether the disk is full.
        disk_full: bool,
    },
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

impl ServerError {
    /// Whether a full disk is the reason.
    pub fn is_disk_full(&self) -> bool {
        let full = |source: &io::Error| {
            matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        };
        match self {
            Self::DataDir { source, .. } => full(source),
            Self::Identity(IdentityError::File { source, .. }) => full(source),
            Self::JournalLost { disk_full, .. } | Self::JournalDisk { disk_full, .. } => *disk_full,
            Self::Ended(error) => error.is_disk_full(),
            _ => false,
        }
    }

    /// What a journal's failure is to the server.
    pub(crate) fn lost(error: &wrun_store::JournalError) -> Self {
        Self::JournalLost { reason: error.to_string(), disk_full: error.is_disk_full() }
    }

    /// Why a journal is not opened.
    pub(crate) fn of_opening(error: &wrun_store::OpenError) -> Self {
        match error {
            wrun_store::OpenError::Io { disk_full, .. } => {
                Self::JournalDisk { reason: error.to_string(), disk_full: *disk_full }
            }
            _ => Self::Journal(error.to_string()),
        }
    }
}
