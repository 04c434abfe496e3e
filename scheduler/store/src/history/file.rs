//! The redb file: tables, reading, one commit. Says what is wrong; decides nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use wrun_protocol::{SubmitId, TenantName, Timestamp};

use super::layer::Layer;
use super::row::{self, JobRow, TaskRow};
use super::{HistoryError, Retention};

const JOBS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("jobs");
const TASKS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("tasks");
/// Ended jobs by tenant; the value is the state's tag.
const ENDED: TableDefinition<'_, (&str, u64), u8> = TableDefinition::new("ended");
const SUBMITS: TableDefinition<'_, (&str, [u8; 16]), u64> = TableDefinition::new("submits");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const META_KEY: &str = "meta";

/// Memory redb may use for pages, in bytes.
const CACHE: usize = 32 << 20;
/// Rows that one commit looks at for retention, besides twice those that it ends.
const SWEEP: u64 = 2048;
/// Between looks for jobs that are too old, in ms.
const SWEEP_EVERY_MS: u64 = 60_000;

/// Stored with every commit.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) applied: u64,
    /// Ended jobs in the file.
    ended: u64,
    /// Where retention looks next, and when it last began from the first job.
    sweep_from: u64,
    swept: Timestamp,
}

pub(crate) struct File {
    path: PathBuf,
    db: Database,
    pub(crate) meta: Meta,
}

/// A consistent view of the file.
pub(crate) struct Reader {
    pub(crate) jobs: ReadOnlyTable<u64, &'static [u8]>,
    pub(crate) tasks: ReadOnlyTable<(u64, u32), &'static [u8]>,
    pub(crate) ended: ReadOnlyTable<(&'static str, u64), u8>,
    pub(crate) submits: ReadOnlyTable<(&'static str, [u8; 16]), u64>,
}

/// Runs what may meet a damaged page: redb returns an error or panics then.
pub(crate) fn guarded<T, E: ToString>(run: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("redb met a damaged page".to_owned()),
    }
}

type Boxed<T> = Result<T, Box<dyn std::error::Error>>;

pub(crate) fn job_key(job: u64) -> [u8; 8] {
    job.to_le_bytes()
}

pub(crate) fn task_key(key: (u64, u32)) -> [u8; 12] {
    let mut bytes = [0; 12];
    for (to, from) in
        bytes.iter_mut().zip(key.0.to_le_bytes().into_iter().chain(key.1.to_le_bytes()))
    {
        *to = from;
    }
    bytes
}

impl File {
    /// Opens or starts the file; a damaged one is moved aside, which the text tells.
    pub(crate) fn open_or_start(path: &Path) -> Result<(Self, Option<String>), HistoryError> {
        let unwritable =
            |reason: String| HistoryError::Unwritable(format!("{}: {reason}", path.display()));
        let existed = path.exists();
        let reason = match guarded(|| Self::open(path)) {
            Ok(file) => return Ok((file, None)),
            Err(reason) => reason,
        };
        // What another process has open is not damaged.
        if !existed || reason.contains("already open") {
            return Err(unwritable(reason));
        }
        let aside = (1..u32::MAX)
            .map(|number| path.with_extension(format!("damaged-{number}")))
            .find(|aside| !aside.exists())
            .unwrap_or_else(|| path.with_extension("damaged"));
        std::fs::rename(path, &aside).map_err(|error| unwritable(error.to_string()))?;
        let file = guarded(|| Self::open(path)).map_err(unwritable)?;
        let warning = format!(
            "the history {} was damaged ({reason}); it was moved to {} and begins afresh: jobs that had ended are not listed any more, live jobs are not affected",
            path.display(),
            aside.display()
        );
        Ok((file, Some(warning)))
    }

    fn open(path: &Path) -> Boxed<Self> {
        let db = Database::builder().set_cache_size(CACHE).create(path)?;
        let transaction = db.begin_write()?;
        let meta = {
            transaction.open_table(JOBS)?;
            transaction.open_table(TASKS)?;
            transaction.open_table(ENDED)?;
            transaction.open_table(SUBMITS)?;
            let table = transaction.open_table(META)?;
            let stored = table.get(META_KEY)?;
            match stored {
                Some(bytes) => row::decode(META_KEY.as_bytes(), bytes.value())?,
                None => Meta::default(),
            }
        };
        transaction.commit()?;
        Ok(Self { path: path.to_owned(), db, meta })
    }

    /// Closes the file and opens it again.
    pub(crate) fn reopen(self) -> Result<(Self, Option<String>), HistoryError> {
        let Self { path, db, .. } = self;
        let _ = guarded(|| {
            drop(db);
            Ok::<_, String>(())
        });
        Self::open_or_start(&path)
    }

    pub(crate) fn reader(&self) -> Result<Reader, String> {
        guarded(|| -> Boxed<Reader> {
            let transaction = self.db.begin_read()?;
            Ok(Reader {
                jobs: transaction.open_table(JOBS)?,
                tasks: transaction.open_table(TASKS)?,
                ended: transaction.open_table(ENDED)?,
                submits: transaction.open_table(SUBMITS)?,
            })
        })
    }

    /// Stores a layer and what it has applied in one transaction; then forgets old jobs.
    pub(crate) fn commit(&mut self, layer: &Layer, retention: &Retention) -> Result<(), String> {
        let meta = guarded(|| self.try_commit(layer, retention))?;
        self.meta = meta;
        Ok(())
    }

    fn try_commit(&self, layer: &Layer, retention: &Retention) -> Boxed<Meta> {
        let mut meta = self.meta;
        let transaction = self.db.begin_write()?;
        {
            let mut jobs = transaction.open_table(JOBS)?;
            let mut ended = transaction.open_table(ENDED)?;
            let mut submits = transaction.open_table(SUBMITS)?;
            // Ids of submissions are random: sorted, neighbours share a page and the way to it.
            let mut made: Vec<(&str, [u8; 16], u64)> = Vec::new();
            for (id, job) in &layer.jobs {
                let tag = row::state_tag(job.state);
                let bytes = row::encode(&job_key(*id), tag, job)?;
                jobs.insert(id, bytes.as_slice())?;
                if job.state.is_terminal() {
                    ended.insert((job.tenant.as_str(), *id), tag)?;
                    made.push((job.tenant.as_str(), job.submit_id.0, *id));
                }
            }
            made.sort_unstable();
            for (tenant, submit, id) in made {
                submits.insert((tenant, submit), id)?;
            }
            let mut tasks = transaction.open_table(TASKS)?;
            for (key, task) in &layer.tasks {
                match task {
                    Some(task) => {
                        let bytes = row::encode(&task_key(*key), 0, task)?;
                        tasks.insert(key, bytes.as_slice())?;
                    }
                    None => drop(tasks.remove(key)?),
                }
            }
            meta.ended += layer.ended;
            meta.applied = meta.applied.max(layer.seq);
            let victims = sweep(&jobs, &mut meta, layer, retention)?;
            for (id, job) in victims {
                jobs.remove(id)?;
                if let Some(job) = job {
                    ended.remove((job.tenant.as_str(), id))?;
                    submits.remove((job.tenant.as_str(), job.submit_id.0))?;
                }
                tasks.retain_in((id, 0)..=(id, u32::MAX), |_, _| false)?;
            }
            let mut table = transaction.open_table(META)?;
            let bytes = row::encode(META_KEY.as_bytes(), 0, &meta)?;
            table.insert(META_KEY, bytes.as_slice())?;
        }
        transaction.commit()?;
        Ok(meta)
    }
}

/// Jobs to forget. Looks at a bounded number of rows and goes on there the next time, so
/// that the order of forgetting is nearly, not exactly, that of submission.
fn sweep(
    jobs: &impl ReadableTable<u64, &'static [u8]>,
    meta: &mut Meta,
    layer: &Layer,
    retention: &Retention,
) -> Boxed<Vec<(u64, Option<JobRow>)>> {
    let mut victims = Vec::new();
    let age = wrun_protocol::time::millis(retention.age);
    let aged = layer.at.0.saturating_sub(meta.swept.0) >= SWEEP_EVERY_MS;
    if meta.ended <= retention.jobs && meta.sweep_from == 0 && !aged {
        return Ok(victims);
    }
    if meta.sweep_from == 0 {
        meta.swept = layer.at;
    }
    let mut rows = jobs.range(meta.sweep_from..)?;
    for _ in 0..SWEEP + 2 * layer.ended {
        let Some(entry) = rows.next() else {
            meta.sweep_from = 0;
            break;
        };
        let (key, value) = entry?;
        let id = key.value();
        meta.sweep_from = id + 1;
        let is_live = row::tag(value.value()).is_none_or(|tag| tag < 2);
        if is_live {
            continue;
        }
        // A row that cannot be read tells nobody anything: it goes first.
        let job: Option<JobRow> = row::decode(&job_key(id), value.value()).ok();
        let ended = job.as_ref().and_then(|job| job.ended).map_or(0, |at| at.0);
        if meta.ended > retention.jobs || layer.at.0.saturating_sub(ended) > age {
            meta.ended = meta.ended.saturating_sub(1);
            victims.push((id, job));
        }
    }
    Ok(victims)
}

impl Reader {
    pub(crate) fn job(&self, job: u64) -> Result<Option<JobRow>, String> {
        guarded(|| -> Boxed<_> {
            let Some(bytes) = self.jobs.get(job)? else { return Ok(None) };
            Ok(Some(row::decode(&job_key(job), bytes.value())?))
        })
    }

    /// Rows of a job's tasks whose first index is in the bounds, in order, at most `limit`.
    pub(crate) fn tasks(
        &self,
        keys: std::ops::RangeInclusive<(u64, u32)>,
        limit: usize,
    ) -> Result<Vec<TaskRow>, String> {
        guarded(|| -> Boxed<_> {
            let mut found = Vec::new();
            for entry in self.tasks.range(keys)?.take(limit) {
                let (key, bytes) = entry?;
                found.push(row::decode(&task_key(key.value()), bytes.value())?);
            }
            Ok(found)
        })
    }

    /// The row that begins last at or before `key`, within its job.
    pub(crate) fn task_before(&self, key: (u64, u32)) -> Result<Option<TaskRow>, String> {
        guarded(|| -> Boxed<_> {
            let Some(entry) = self.tasks.range((key.0, 0)..=key)?.next_back() else {
                return Ok(None);
            };
            let (key, bytes) = entry?;
            Ok(Some(row::decode(&task_key(key.value()), bytes.value())?))
        })
    }

    pub(crate) fn submitted(
        &self,
        tenant: &TenantName,
        id: SubmitId,
    ) -> Result<Option<u64>, String> {
        guarded(|| {
            self.submits.get((tenant.as_str(), id.0)).map(|found| found.map(|id| id.value()))
        })
    }
}
