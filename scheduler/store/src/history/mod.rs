//! The history: what has become of jobs and tasks, on redb. A projection of the journal
//! that may be lost without losing live work; it never stops the server.
//!
//! Facts are applied in order, in memory; a thread of its own commits them in batches,
//! together with the sequence they reach up to. Every row carries a version and a CRC of
//! its own, because redb can return a wrong row for a flipped byte.

mod row;

use std::path::Path;
use std::time::Duration;

use wrun_core::Fact;
use wrun_protocol::wire::user::JobState;
use wrun_protocol::{JobId, SubmitId, TaskId, TenantName};

pub use row::{JobRow, TaskRow};

/// How long ended jobs are kept. Both bounds hold.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Jobs that ended longer ago are forgotten.
    pub age: Duration,
    /// More ended jobs than this are forgotten, those submitted first, first.
    pub jobs: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: Duration::from_secs(30 * 24 * 3600), jobs: 5_000_000 }
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

/// See the module.
pub struct History {}

/// What opening found.
pub struct HistoryOpened {
    /// The history.
    pub history: History,
    /// What the operator should know: an older file was damaged and moved aside.
    pub warning: Option<String>,
}

#[expect(missing_docs, unused_variables, clippy::todo, reason = "skeleton")]
impl History {
    /// Opens the file, or starts it. A damaged one is moved aside, with a warning.
    /// Fails only where no file can be made there at all.
    pub fn open(path: &Path, options: HistoryOptions) -> Result<HistoryOpened, HistoryError> {
        todo!()
    }
    /// Applies the durable fact `seq`; those applied before are ignored. Blocks while more
    /// rows wait to be committed than may.
    pub fn apply(&self, seq: u64, fact: &Fact) {
        todo!()
    }
    /// Puts in the row of a live job that it does not have: after the history was lost and
    /// the journal no longer has the job's submission.
    pub fn adopt(&self, job: JobId, row: JobRow) {
        todo!()
    }
    /// Everything up to this sequence stays in the history even if its last commit is
    /// lost: the journal may forget it. Facts after it must be applied again on opening.
    pub fn applied(&self) -> u64 {
        todo!()
    }
    pub fn job(&self, job: JobId) -> Result<Option<JobRow>, HistoryError> {
        todo!()
    }
    /// Ended jobs, newest first.
    pub fn jobs(&self, filter: &JobsFilter) -> Result<Vec<(JobId, JobRow)>, HistoryError> {
        todo!()
    }
    pub fn task(&self, task: TaskId) -> Result<Option<TaskRow>, HistoryError> {
        todo!()
    }
    /// Rows of tasks with something to tell in order of index; a row stands for a range.
    pub fn tasks(&self, job: JobId, from: u32, limit: u32) -> Result<Vec<TaskRow>, HistoryError> {
        todo!()
    }
    /// An ended job by the client's id of its submission.
    pub fn job_by_submit_id(
        &self,
        tenant: &TenantName,
        id: SubmitId,
    ) -> Result<Option<JobId>, HistoryError> {
        todo!()
    }
    /// Commits everything applied and waits for it.
    pub fn flush(&self) -> Result<(), HistoryError> {
        todo!()
    }
}
