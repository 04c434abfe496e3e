//! The thread that writes: batch, sync, mark, tell. Ends at the first failure.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wrun_core::Fact;

use super::JournalOptions;
use super::error::JournalError;
use super::format::{self, MAX_BATCH, RECORD};
use super::queue::Queue;
use super::snapshot::Snapshots;
use crate::disk::{Disk, DiskFile};

/// The segment that is written to.
pub(crate) struct Open {
    pub(crate) path: PathBuf,
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) salt: u64,
    pub(crate) len: u64,
    /// The next fact's sequence.
    pub(crate) next: u64,
}

pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    open: Open,
    options: JournalOptions,
    queue: Arc<Queue>,
    snapshots: Arc<Snapshots>,
    /// Facts taken from the queue and not written.
    taken: VecDeque<Fact>,
    /// The batch being built, and facts in it.
    batch: Vec<u8>,
    count: u32,
}

pub(crate) fn segment_path(dir: &Path, first_seq: u64) -> PathBuf {
    dir.join(format!("{first_seq:020}.log"))
}

/// Writes a file under another name, then gives it its own: it is there whole or not at all.
pub(crate) fn write_whole(
    disk: &dyn Disk,
    dir: &Path,
    path: &Path,
    parts: &[&[u8]],
) -> Result<(), (&'static str, std::io::Error)> {
    let temporary = path.with_extension("tmp");
    let mut file = disk.create(&temporary).map_err(|error| ("create", error))?;
    for part in parts {
        file.append(part).map_err(|error| ("write", error))?;
    }
    file.sync().map_err(|error| ("sync", error))?;
    drop(file);
    disk.rename(&temporary, path).map_err(|error| ("rename", error))?;
    disk.sync_dir(dir).map_err(|error| ("sync the directory of", error))
}

/// Makes the segment whose first fact is `first_seq`.
pub(crate) fn create_segment(
    disk: &dyn Disk,
    dir: &Path,
    first_seq: u64,
) -> Result<Open, (PathBuf, &'static str, std::io::Error)> {
    let path = segment_path(dir, first_seq);
    // Randomly seeded by the standard library; see `format` for what it is good for.
    let salt = RandomState::new().build_hasher().finish();
    let header = format::segment_header(first_seq, salt);
    write_whole(disk, dir, &path, &[&header])
        .map_err(|(action, error)| (path.clone(), action, error))?;
    let file = disk.open(&path).map_err(|error| (path.clone(), "open", error))?;
    Ok(Open { path, file, salt, len: header.len() as u64, next: first_seq })
}

impl Writer {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        open: Open,
        options: JournalOptions,
        queue: Arc<Queue>,
        snapshots: Arc<Snapshots>,
    ) -> Self {
        Self {
            disk,
            dir: dir.to_owned(),
            open,
            options,
            queue,
            snapshots,
            taken: VecDeque::new(),
            batch: Vec::new(),
            count: 0,
        }
    }

    pub(crate) fn run(mut self) {
        if let Err(error) = self.write_all() {
            tracing::error!(%error, "the journal has failed");
            self.queue.fail(error.clone());
            (self.options.on_durable)(Err(error));
        }
    }

    fn write_all(&mut self) -> Result<(), JournalError> {
        while let Some(batches) = self.queue.take() {
            self.taken.extend(batches.into_iter().flatten());
            while self.count > 0 || !self.taken.is_empty() {
                if self.open.len >= self.options.segment_bytes {
                    self.start_segment()?;
                }
                let carried = self.fill()?;
                self.write_batch()?;
                self.batch.clear();
                self.count = 0;
                if !carried.is_empty() {
                    self.batch = carried;
                    self.count = 1;
                    format::seal(&mut self.batch, 0, self.open.next, 0, self.open.salt);
                }
            }
        }
        // The last mark has not been synced yet.
        self.open.file.sync().map_err(|error| self.failed("sync", &error))
    }

    fn failed(&self, action: &'static str, error: &std::io::Error) -> JournalError {
        JournalError::failed(action, &self.open.path, error)
    }

    /// Adds facts to the batch while they fit. The one that does not is returned, encoded.
    fn fill(&mut self) -> Result<Vec<u8>, JournalError> {
        if self.count == 1 {
            // Carried over, perhaps into a new segment with another salt.
            format::seal(&mut self.batch, 0, self.open.next, 0, self.open.salt);
        }
        while let Some(fact) = self.taken.pop_front() {
            let start = self.batch.len();
            let mut batch = std::mem::take(&mut self.batch);
            batch.extend_from_slice(&[0; RECORD]);
            // Encoding into memory fails for no fact; if it did, the fact could not be kept.
            let too_large = |size| JournalError::TooLarge { size, allowed: MAX_BATCH - RECORD };
            self.batch = postcard::to_extend(&fact, batch).map_err(|_| too_large(0))?;
            let size = self.batch.len() - start;
            if size > MAX_BATCH {
                return Err(too_large(size - RECORD));
            }
            if self.batch.len() > MAX_BATCH {
                return Ok(self.batch.split_off(start));
            }
            let seq = self.open.next + u64::from(self.count);
            format::seal(&mut self.batch, start, seq, self.count, self.open.salt);
            self.count += 1;
        }
        Ok(Vec::new())
    }

    fn write_batch(&mut self) -> Result<(), JournalError> {
        let open = &mut self.open;
        let result = open.file.append(&self.batch).map_err(|error| ("write", error));
        let result = result.and_then(|()| open.file.sync().map_err(|error| ("sync", error)));
        result.map_err(|(action, error)| self.failed(action, &error))?;
        let open = &mut self.open;
        open.len += self.batch.len() as u64;
        open.next += u64::from(self.count);
        let durable = open.next - 1;
        // Before anyone is told, so that what was acknowledged has the mark behind it. It
        // need not be synced: without it a damaged last batch looks like a torn one.
        let mark = format::mark(durable, open.salt);
        let marked = open.file.append(&mark);
        open.len += mark.len() as u64;
        self.queue.on_durable(self.count as usize);
        self.snapshots.on_durable(durable);
        (self.options.on_durable)(Ok(durable));
        marked.map_err(|error| self.failed("write", &error))
    }

    fn start_segment(&mut self) -> Result<(), JournalError> {
        // Nothing but the last segment may have a torn tail.
        self.open.file.sync().map_err(|error| self.failed("sync", &error))?;
        self.open = create_segment(&*self.disk, &self.dir, self.open.next)
            .map_err(|(path, action, error)| JournalError::failed(action, &path, &error))?;
        self.snapshots.on_segment(self.open.next);
        Ok(())
    }
}
