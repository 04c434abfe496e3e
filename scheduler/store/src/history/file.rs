//! The redb file: tables, reading, one commit. Says what is wrong; decides nothing.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{
    Database, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};
use serde::{Deserialize, Serialize};
use wrun_core::Remembered;
use wrun_protocol::{Digest, JobId, SubmitId, TenantName, Timestamp};

use super::jobs::{EndedBits, Jobs, Page, page_of};
use super::layer::{EncodedJob, Layer};
use super::row::{self, JobRow, TaskRow};
use super::{HistoryError, Retention, results, submits, sweep};

/// Ended jobs in pages; see [`super::jobs`].
const JOBS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("jobs");
/// Ended jobs whose row is large.
const LARGE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("large");
const TASKS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("tasks");
/// Which jobs of which page ended how, by tenant.
const ENDED: TableDefinition<'_, (&str, u64), [u8; 12]> = TableDefinition::new("ended");
/// See [`submits`].
const SUBMITS: TableDefinition<'_, submits::Key, &[u8]> = TableDefinition::new("submits");
/// See [`results`].
const RESULTS: TableDefinition<'_, results::Key, &[u8]> = TableDefinition::new("results");
const RESULTS_BY_AGE: TableDefinition<'_, results::Age, ()> =
    TableDefinition::new("results_by_age");
/// The jobs from which tasks have remembered results, by job and index.
const ORIGINS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("origins");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const META_KEY: &str = "meta";
/// The form of the tables. Another one is another history.
const FORM: u32 = 2;

/// Memory redb may use for pages, in bytes.
const CACHE: usize = 16 << 20;

/// Stored with every commit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Meta {
    form: u32,
    /// Enters the hashes of submissions.
    salt: u64,
    pub(crate) applied: u64,
    /// Ended jobs in the file.
    pub(crate) ended: u64,
    /// The page where retention looks next, and when it last began from the first.
    pub(crate) sweep_from: u64,
    pub(crate) swept: Timestamp,
}

pub(crate) struct File {
    path: PathBuf,
    db: Database,
    pub(crate) meta: Meta,
}

/// A consistent view of the file.
pub(crate) struct Reader {
    pub(crate) jobs: ReadOnlyTable<u64, &'static [u8]>,
    pub(crate) large: ReadOnlyTable<u64, &'static [u8]>,
    pub(crate) tasks: ReadOnlyTable<(u64, u32), &'static [u8]>,
    pub(crate) ended: ReadOnlyTable<(&'static str, u64), [u8; 12]>,
    submits: ReadOnlyTable<submits::Key, &'static [u8]>,
    results: ReadOnlyTable<results::Key, &'static [u8]>,
    origins: ReadOnlyTable<(u64, u32), &'static [u8]>,
    salt: u64,
}

/// The tables, to be written.
pub(crate) struct Tables<'t> {
    pub(crate) jobs: Jobs<'t>,
    pub(crate) ended: Table<'t, (&'static str, u64), [u8; 12]>,
    pub(crate) submits: Table<'t, submits::Key, &'static [u8]>,
    pub(crate) tasks: Table<'t, (u64, u32), &'static [u8]>,
    pub(crate) results: results::Results<'t>,
    pub(crate) origins: Table<'t, (u64, u32), &'static [u8]>,
    meta: Table<'t, &'static str, &'static [u8]>,
}

/// Runs what may meet a damaged page: redb returns an error or panics then.
pub(crate) fn guarded<T, E: ToString>(run: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("redb met a damaged page".to_owned()),
    }
}

pub(crate) type Boxed<T> = Result<T, Box<dyn std::error::Error>>;

pub(crate) fn task_key(key: (u64, u32)) -> [u8; 12] {
    let mut bytes = [0; 12];
    for (to, from) in
        bytes.iter_mut().zip(key.0.to_le_bytes().into_iter().chain(key.1.to_le_bytes()))
    {
        *to = from;
    }
    bytes
}

impl Meta {
    fn new() -> Self {
        // Randomly seeded by the standard library.
        let salt = RandomState::new().build_hasher().finish();
        let at = Timestamp(0);
        Self { form: FORM, salt, applied: 0, ended: 0, sweep_from: 0, swept: at }
    }

    /// The hash of a submission in this file.
    pub(crate) fn hash(&self, tenant: &TenantName, id: SubmitId) -> u64 {
        submits::hash(self.salt, tenant, id)
    }
}

impl File {
    /// Opens or starts the file; one that cannot be used is moved aside, which the text tells.
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
        let stored = {
            let table = transaction.open_table(META)?;
            let stored = table.get(META_KEY)?;
            stored.map(|bytes| row::decode(META_KEY.as_bytes(), bytes.value())).transpose()?
        };
        let meta = match stored {
            Some(Meta { form, .. }) if form != FORM => {
                return Err(format!("it has form {form}, which this wrun does not know").into());
            }
            Some(meta) => {
                Tables::open(&transaction)?;
                meta
            }
            None => {
                let meta = Meta::new();
                Tables::open(&transaction)?.put_meta(&meta)?;
                meta
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
                large: transaction.open_table(LARGE)?,
                tasks: transaction.open_table(TASKS)?,
                ended: transaction.open_table(ENDED)?,
                submits: transaction.open_table(SUBMITS)?,
                results: transaction.open_table(RESULTS)?,
                origins: transaction.open_table(ORIGINS)?,
                salt: self.meta.salt,
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
            let mut tables = Tables::open(&transaction)?;
            let new = tables.put_jobs(layer, &meta)?;
            tables.put_tasks(layer)?;
            let results = tables.put_results(layer)?;
            tables.results.sweep(layer.at, results, retention)?;
            meta.ended += new;
            meta.applied = meta.applied.max(layer.seq);
            sweep::sweep(&mut tables, &mut meta, layer.at, new, retention)?;
            tables.put_meta(&meta)?;
        }
        transaction.commit()?;
        Ok(meta)
    }
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Boxed<Self> {
        Ok(Self {
            jobs: Jobs {
                pages: transaction.open_table(JOBS)?,
                large: transaction.open_table(LARGE)?,
            },
            ended: transaction.open_table(ENDED)?,
            submits: transaction.open_table(SUBMITS)?,
            tasks: transaction.open_table(TASKS)?,
            results: results::Results {
                rows: transaction.open_table(RESULTS)?,
                by_age: transaction.open_table(RESULTS_BY_AGE)?,
            },
            origins: transaction.open_table(ORIGINS)?,
            meta: transaction.open_table(META)?,
        })
    }

    fn put_meta(&mut self, meta: &Meta) -> Boxed<()> {
        let bytes = row::encode(META_KEY.as_bytes(), 0, meta)?;
        self.meta.insert(META_KEY, bytes.as_slice())?;
        Ok(())
    }

    /// Returns how many jobs are new.
    fn put_jobs(&mut self, layer: &Layer, meta: &Meta) -> Boxed<u64> {
        let jobs: Vec<(u64, &EncodedJob)> = layer.jobs.iter().map(|(id, row)| (*id, row)).collect();
        let mut new = 0;
        for jobs in jobs.chunk_by(|one, other| page_of(one.0) == page_of(other.0)) {
            let page = jobs.first().map_or(0, |(id, _)| page_of(*id));
            new += self.jobs.put(page, jobs)?;
            let mut rest: Vec<&(u64, &EncodedJob)> = jobs.iter().collect();
            while let Some((_, first)) = rest.first() {
                let tenant = first.tenant.as_str();
                self.change_ended(tenant, page, |bits| {
                    let of_tenant = rest.iter().filter(|(_, row)| row.tenant.as_str() == tenant);
                    of_tenant.for_each(|(id, row)| bits.put(*id, row.tag));
                })?;
                rest.retain(|(_, row)| row.tenant.as_str() != tenant);
            }
        }
        let made = jobs.iter().map(|(id, row)| (meta.hash(&row.tenant, row.submit), *id));
        submits::put(&mut self.submits, made.collect())?;
        Ok(new)
    }

    /// Changes which jobs of a page are in the index of a tenant.
    pub(crate) fn change_ended(
        &mut self,
        tenant: &str,
        page: u64,
        change: impl FnOnce(&mut EndedBits),
    ) -> Boxed<()> {
        let stored = self.ended.get((tenant, page))?.map(|bytes| EndedBits::read(&bytes.value()));
        let mut bits = stored.unwrap_or_default();
        change(&mut bits);
        if bits.is_empty() {
            self.ended.remove((tenant, page))?;
        } else {
            self.ended.insert((tenant, page), bits.to_bytes())?;
        }
        Ok(())
    }

    /// Rows of a job's tasks, in order.
    pub(crate) fn tasks_of(&self, job: u64) -> Boxed<Vec<TaskRow>> {
        let mut rows = Vec::new();
        for entry in self.tasks.range((job, 0)..=(job, u32::MAX))? {
            let (key, bytes) = entry?;
            rows.push(row::decode(&task_key(key.value()), bytes.value())?);
        }
        Ok(rows)
    }

    /// Remembers what jobs gave that want it. Returns how many results.
    fn put_results(&mut self, layer: &Layer) -> Boxed<u64> {
        let mut new = 0;
        for (id, job) in layer.jobs.iter().filter(|(_, job)| job.remembers) {
            new += results::put(self, *id, &row::payload(&job.bytes)?)?;
        }
        for (key, from) in &layer.origins {
            let bytes = row::encode(&task_key(*key), 0, from)?;
            self.origins.insert(key, bytes.as_slice())?;
        }
        Ok(new)
    }

    fn put_tasks(&mut self, layer: &Layer) -> Boxed<()> {
        for (key, task) in &layer.tasks {
            match task {
                Some(task) => {
                    let bytes = row::encode(&task_key(*key), 0, task)?;
                    self.tasks.insert(key, bytes.as_slice())?;
                }
                None => drop(self.tasks.remove(key)?),
            }
        }
        Ok(())
    }
}

impl Reader {
    pub(crate) fn job(&self, job: u64) -> Result<Option<JobRow>, String> {
        guarded(|| -> Boxed<_> {
            let number = page_of(job);
            let Some(bytes) = self.jobs.get(number)? else { return Ok(None) };
            Page::read(number, bytes.value())?.row(job, &self.large)
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

    /// The remembered results under these keys, each for the task of that index.
    pub(crate) fn results(&self, keys: &[(u32, Digest)]) -> Result<Vec<Remembered>, String> {
        guarded(|| -> Boxed<_> {
            let mut found = Vec::new();
            for (index, key) in keys {
                found.extend(results::find(&self.results, *key, *index)?);
            }
            Ok(found)
        })
    }

    /// The jobs from which tasks of a job have their results, by index, from `from` on.
    pub(crate) fn origins(&self, job: u64, from: u32) -> Result<Vec<(u32, JobId)>, String> {
        guarded(|| -> Boxed<_> {
            let mut found = Vec::new();
            for entry in self.origins.range((job, from)..=(job, u32::MAX))? {
                let (key, bytes) = entry?;
                let key = key.value();
                found.push((key.1, row::decode(&task_key(key), bytes.value())?));
            }
            Ok(found)
        })
    }

    /// The job that a submission made. The index only says where to look: the row decides.
    pub(crate) fn submitted(
        &self,
        tenant: &TenantName,
        id: SubmitId,
    ) -> Result<Option<u64>, String> {
        let hash = submits::hash(self.salt, tenant, id);
        for job in guarded(|| submits::find(&self.submits, hash))? {
            let row = self.job(job)?;
            if row.is_some_and(|row| row.submit_id == id && row.tenant == *tenant) {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }
}
