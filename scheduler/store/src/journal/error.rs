//! What can go wrong with the journal, and what to do then.

use std::io;
use std::path::{Path, PathBuf};

/// Why the journal takes no facts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// A write or sync failed. Nothing after the last reported sequence is acknowledged,
    /// now or later: the journal must be closed and opened again.
    #[error(
        "the journal could not {action} {}: {}", path.display(),
        if *disk_full { "the disk is full; make room there and start the server again".to_owned() }
        else { format!("{reason}; check the disk and start the server again") }
    )]
    Failed {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the operating system said.
        reason: String,
        /// Whether the disk is full.
        disk_full: bool,
    },
    /// Too many facts wait for the disk; none of the offered ones was taken.
    #[error("{waiting} facts wait for the disk already; try again when they are durable")]
    Full {
        /// Facts that wait.
        waiting: usize,
    },
    /// A fact is larger than a batch may be.
    #[error("a fact takes {size} bytes; at most {allowed} fit a batch of the journal")]
    TooLarge {
        /// Encoded size in bytes.
        size: usize,
        /// The bound in bytes.
        allowed: usize,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    pub(crate) fn failed(action: &'static str, path: &Path, error: &io::Error) -> Self {
        let disk_full = is_full(error);
        Self::Failed { path: path.to_owned(), action, reason: error.to_string(), disk_full }
    }

    /// Whether the disk is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Failed { disk_full: true, .. })
    }
}

/// Why a journal is not opened. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "the journal in {} is in use by another wrun server: stop that one, or choose another data directory", dir.display()
    )]
    InUse {
        /// The journal's directory.
        dir: PathBuf,
    },
    /// The operating system refused.
    #[error(
        "cannot {action} {}: {}", path.display(),
        if *disk_full { "the disk is full; make room there" } else { reason.as_str() }
    )]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        reason: String,
        /// Whether the disk is full.
        disk_full: bool,
    },
    /// Bytes that were durable are not what was written.
    #[error(
        "{} is damaged at byte {offset}: {problem}; facts that were acknowledged are affected, so the server does not start on a guess: restore the journal directory from a backup, or move it away to start an empty cluster", path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// A newer wrun wrote it.
    #[error(
        "{} has version {version}, which this wrun does not know: use the newer wrun that wrote it", path.display()
    )]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// An intact record is no fact that this version of wrun knows.
    #[error(
        "{}, byte {offset}: fact {seq} cannot be read ({reason}): use the newer wrun that wrote it", path.display()
    )]
    UnknownFact {
        /// The file.
        path: PathBuf,
        /// Where the record begins, in bytes.
        offset: u64,
        /// The fact's sequence.
        seq: u64,
        /// What the decoder met.
        reason: String,
    },
    /// A file that must be there is missing.
    #[error(
        "the journal in {} holds no fact {missing}, although later ones are there: restore the missing files from a backup", dir.display()
    )]
    Gap {
        /// The journal's directory.
        dir: PathBuf,
        /// The first sequence that is missing.
        missing: u64,
    },
}

impl OpenError {
    pub(crate) fn io(action: &'static str, path: &Path, error: &io::Error) -> Self {
        let disk_full = is_full(error);
        Self::Io { action, path: path.to_owned(), reason: error.to_string(), disk_full }
    }

    pub(crate) fn corrupt(path: &Path, offset: usize, problem: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), offset: offset as u64, problem: problem.into() }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
