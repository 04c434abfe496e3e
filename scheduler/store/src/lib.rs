//! What the server must not lose: the [`Journal`] of facts, with its snapshots, and the
//! [`History`] of what has ended.
//!
//! The journal is the truth: a segmented append-only log with group commit. The history
//! is a projection of it that may be lost without losing live work. Nothing here decides
//! anything about jobs; both are fed with [`wrun_core::Fact`]s in order.

pub mod disk;
pub mod history;
pub mod journal;

pub use history::{
    History, HistoryError, HistoryOpened, HistoryOptions, JobRow, JobsFilter, Retention, TaskRow,
    keys,
};
pub use journal::{Facts, Journal, JournalError, JournalOptions, OpenError, Recovered, TailCut};
