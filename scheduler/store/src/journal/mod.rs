//! The journal: a segmented append-only log of facts with group commit.
//!
//! One thread writes: it gathers what arrived while the last `fdatasync` ran, writes it as
//! one batch and syncs it; there are no timers. A second thread writes snapshots and
//! drops what they and the history cover. After a failed write or sync nothing more is
//! ever acknowledged. Nothing here looks into a fact.

mod error;
mod format;
mod queue;
mod recover;
mod snapshot;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use wrun_core::Fact;

pub use error::{JournalError, OpenError};
pub use recover::{Facts, Recovered, TailCut};

use crate::disk::{Disk, DiskLock, RealDisk};
use queue::Queue;
use snapshot::Snapshots;

/// Called by the writer thread: with the sequence up to which everything is durable, or,
/// once and for all, with the failure. Must not block.
pub type OnDurable = Box<dyn Fn(Result<u64, JournalError>) + Send>;

/// How the journal works.
pub struct JournalOptions {
    /// See [`OnDurable`].
    pub on_durable: OnDurable,
    /// A new segment begins when the last has this many bytes.
    pub segment_bytes: u64,
    /// Facts that may wait for the writer; [`JournalError::Full`] above.
    pub max_waiting: usize,
}

impl JournalOptions {
    /// Segments of 64 MiB, at most 2^20 facts waiting.
    pub fn new(on_durable: OnDurable) -> Self {
        Self { on_durable, segment_bytes: 64 << 20, max_waiting: 1 << 20 }
    }
}

/// See the module. Dropping it closes it.
pub struct Journal {
    queue: Arc<Queue>,
    snapshots: Arc<Snapshots>,
    threads: std::sync::Mutex<Vec<JoinHandle<()>>>,
    path: PathBuf,
    lock: std::sync::Mutex<Option<DiskLock>>,
}

impl Journal {
    /// Opens the journal in `dir`, which is made if it is missing, and checks every record.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was changed then.
    pub fn open(dir: &Path, options: JournalOptions) -> Result<(Self, Recovered), OpenError> {
        Self::open_on(Arc::new(RealDisk), dir, options)
    }

    /// [`Journal::open`] over any disk.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: JournalOptions,
    ) -> Result<(Self, Recovered), OpenError> {
        Self::open_restoring(disk, dir, options, <[u8]>::to_vec)
    }

    /// [`Journal::open_on`], but `restore` makes of the newest snapshot what it is for, while
    /// the facts are checked on another thread.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_restoring<T>(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: JournalOptions,
        restore: impl FnOnce(&[u8]) -> T,
    ) -> Result<(Self, Recovered<T>), OpenError> {
        let lock = recover::prepare(&*disk, dir)?;
        let (recovered, last) = recover::recover(&disk, dir, restore)?;
        let queue = Arc::new(Queue::new(recovered.last_seq(), options.max_waiting));
        let snapshots = Arc::new(Snapshots::new(Arc::clone(&disk), dir, &recovered));
        let writer = writer::Writer::new(
            disk,
            dir,
            last,
            options,
            Arc::clone(&queue),
            Arc::clone(&snapshots),
        );
        let background = Arc::clone(&snapshots);
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(run)
                .map_err(|error| OpenError::io("start a thread for", dir, &error))
        };
        let snapshot_thread = spawn("wrun-snapshots", Box::new(move || background.run()))?;
        let journal = Self {
            queue,
            snapshots,
            threads: std::sync::Mutex::new(vec![snapshot_thread]),
            path: dir.to_owned(),
            lock: std::sync::Mutex::new(Some(lock)),
        };
        let thread = spawn("wrun-journal", Box::new(move || writer.run()))?;
        journal.threads().push(thread);
        Ok((journal, recovered))
    }

    /// Hands facts over to the writer and returns the sequence of the last one. Never
    /// blocks for the disk. The order of calls is the order of sequences, from 1.
    ///
    /// # Errors
    /// [`JournalError::Full`] when too many wait: none was taken. [`JournalError::Failed`]
    /// after a failure, [`JournalError::Closed`] after [`Journal::close`].
    pub fn append(&self, facts: Vec<Fact>) -> Result<u64, JournalError> {
        self.queue.push(facts)
    }

    /// Hands over a snapshot of the state after the fact `seq`. It is
    /// written in the background once that fact is durable; only the newest one waits. Segments that it and
    /// [`Journal::forget_up_to`] cover are then dropped. A snapshot that cannot be written
    /// is reported and given up: the facts it would have covered are kept.
    ///
    /// # Errors
    /// [`JournalError::Failed`] after a failure, [`JournalError::Closed`] when closed.
    pub fn snapshot(&self, seq: u64, bytes: Vec<u8>) -> Result<(), JournalError> {
        self.queue.check()?;
        self.snapshots.offer(seq, bytes);
        Ok(())
    }

    /// The history holds everything up to `seq`: segments that a snapshot covers too may go.
    pub fn forget_up_to(&self, seq: u64) {
        self.snapshots.forget_up_to(seq);
    }

    /// Writes out what waits, facts and a snapshot, and stops. Repeating it is harmless.
    ///
    /// # Errors
    /// [`JournalError::Failed`] if not everything is durable.
    pub fn close(&self) -> Result<(), JournalError> {
        self.queue.close();
        let mut threads = std::mem::take(&mut *self.threads());
        // The writer was pushed last; the snapshot's facts must be durable before it.
        while let Some(thread) = threads.pop() {
            if thread.join().is_err() {
                self.queue.fail(JournalError::Failed {
                    path: self.path.clone(),
                    action: "run its thread",
                    reason: "the thread ended unexpectedly".to_owned(),
                    disk_full: false,
                });
            }
            self.snapshots.close();
        }
        // Nothing writes any more: another server may have the directory.
        self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        self.queue.outcome()
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Who cares for the outcome calls `close`.
        let _ = self.close();
    }
}
