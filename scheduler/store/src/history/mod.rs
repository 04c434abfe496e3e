//! The history: what has become of jobs and tasks, on redb. A projection of the journal
//! that may be lost without losing live work; it never stops the server.
//!
//! It is told nothing of live jobs: what a job was comes with the fact that ends it. Until
//! then it holds rows of those of its tasks that have ended.
//!
//! Facts are applied in order, in memory; a thread of its own commits them in batches,
//! together with the sequence they reach up to. Every row carries a version and a CRC of
//! its own, because redb can return a wrong row for a flipped byte.

mod commit;
mod file;
mod jobs;
mod layer;
mod query;
mod results;
mod row;
mod submits;
mod sweep;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use wrun_core::{EndedJob, Fact};
use wrun_protocol::wire::user::JobState;
use wrun_protocol::{JobId, TenantName, Timestamp};

use commit::Shared;
use file::File;
pub use results::keys;
pub use row::{JobRow, TaskRow};

/// How long ended jobs are kept. Both bounds hold.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Jobs that ended longer ago are forgotten.
    pub age: Duration,
    /// More ended jobs than this are forgotten, those submitted first, first.
    pub jobs: u64,
    /// Remembered results of tasks that are older are forgotten.
    pub results_age: Duration,
    /// More remembered results than this are forgotten, oldest first.
    pub results: u64,
}

impl Default for Retention {
    fn default() -> Self {
        let month = Duration::from_secs(30 * 24 * 3600);
        Self { age: month, jobs: 5_000_000, results_age: month, results: 1_000_000 }
    }
}

/// How the history works.
#[derive(Clone, Copy, Debug)]
pub struct HistoryOptions {
    /// What is kept.
    pub retention: Retention,
    /// A commit begins this long after the first fact it holds, or earlier when it is large.
    pub commit_after: Duration,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self { retention: Retention::default(), commit_after: Duration::from_secs(1) }
    }
}

/// Which ended jobs to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct JobsFilter {
    /// Only of this tenant.
    pub tenant: Option<TenantName>,
    /// Only in this state.
    pub state: Option<JobState>,
    /// Only jobs older than this one: the next page.
    pub before: Option<JobId>,
    /// At most this many, itself at most [`wrun_protocol::limits::MAX_PAGE`].
    pub limit: u32,
}

/// Why the history does not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// A row or the file cannot be read. Live work is not affected.
    #[error(
        "the history cannot be read: {0}; live jobs are not affected: to start it afresh, stop the server, move history.redb away and start again"
    )]
    Unreadable(String),
    /// It cannot be written.
    #[error("the history cannot be written: {0}; live jobs are not affected: check the disk")]
    Unwritable(String),
}

/// See the module. Dropping it commits what was applied.
pub struct History {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What opening found.
pub struct HistoryOpened {
    /// The history.
    pub history: History,
    /// What the operator should know: an older file was damaged and moved aside.
    pub warning: Option<String>,
}

impl History {
    /// Opens the file, or starts it. A damaged one is moved aside, with a warning; the
    /// journal's facts then begin it afresh.
    ///
    /// # Errors
    /// [`HistoryError::Unwritable`] where no file can be made or another process has it.
    pub fn open(path: &Path, options: HistoryOptions) -> Result<HistoryOpened, HistoryError> {
        let (file, warning) = File::open_or_start(path)?;
        let shared = Arc::new(Shared::new(&file, options)?);
        let background = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("wrun-commits".to_owned())
            .spawn(move || background.run(file))
            .map_err(|error| HistoryError::Unwritable(error.to_string()))?;
        let history = Self { shared, thread: Mutex::new(Some(thread)) };
        Ok(HistoryOpened { history, warning })
    }

    /// Whether a fact tells the history anything. The others may be left out of
    /// [`Self::apply`]: [`Self::advance`] stands for them.
    pub fn is_told(fact: &Fact) -> bool {
        matches!(
            fact,
            Fact::Succeeded { .. }
                | Fact::Ended { .. }
                | Fact::JobCancelled { .. }
                | Fact::TasksCancelled { ends_job: Some(_), .. }
                | Fact::WorkflowEnded { .. }
                | Fact::Remembered { .. }
        )
    }

    /// Applies the durable fact `seq`, with the jobs that it ends in the order in which it
    /// names them; facts applied before are ignored. Blocks while more waits to be committed
    /// than may (24 MiB).
    pub fn apply(&self, seq: u64, fact: &Fact, ended: impl IntoIterator<Item = EndedJob>) {
        self.shared.apply(seq, fact, ended.into_iter());
    }

    /// Every fact up to `seq`, which happened at `at`, was applied or tells nothing.
    pub fn advance(&self, seq: u64, at: Timestamp) {
        self.shared.advance(seq, at);
    }

    /// Everything up to this sequence stays in the history even if its last commit is
    /// lost (redb can fall back silently to the one before): the journal may forget it.
    /// On opening, facts after it are applied again.
    pub fn applied(&self) -> u64 {
        self.shared.applied()
    }

    /// The last fact that readers see, be it committed or not: [`Self::apply`] ignores those
    /// up to it.
    pub fn last(&self) -> u64 {
        self.shared.last()
    }

    /// Commits until [`Self::applied`] has reached [`Self::last`], and waits for it.
    ///
    /// # Errors
    /// [`HistoryError::Unwritable`] if it could not be kept.
    pub fn settle(&self) -> Result<(), HistoryError> {
        self.shared.settle()
    }

    /// Commits everything applied so far and waits for it.
    ///
    /// # Errors
    /// [`HistoryError::Unwritable`] if it could not be kept.
    pub fn flush(&self) -> Result<(), HistoryError> {
        self.shared.flush()
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.shared.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The thread catches what could make it panic; there is nothing to add here.
            let _ = thread.join();
        }
    }
}
