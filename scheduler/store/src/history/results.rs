//! Results that are remembered: what a task of a job with `cache` gave, by the key of
//! everything it depended on. A row says what it is the result of and where that was
//! recorded first; besides, rows are listed by age, so that the oldest go first. Losing a
//! row costs a run, nothing else.

use redb::{ReadableTable, ReadableTableMetadata, Table};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use wrun_core::Remembered;
use wrun_protocol::remembered::Keys;
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::TaskState;
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{Digest, JobId, JobSpec, TenantName, Timestamp};

use super::Retention;
use super::file::{Boxed, Tables};
use super::row::{self, JobRow, TaskRow};

/// Rows taken out by one commit, at most, besides as many as it puts in.
const SWEEP: u64 = 4096;

pub(crate) type Key = [u8; 32];

/// When a row was put in, and which.
pub(crate) type Age = (u64, Key);

/// A result as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResultRow {
    /// The job whose task gave it.
    from: JobId,
    /// When that was recorded.
    at: Timestamp,
    output: Option<Content>,
    log: Option<Content>,
}

/// The tables, to be written.
pub(crate) struct Results<'t> {
    pub(crate) rows: Table<'t, Key, &'static [u8]>,
    pub(crate) by_age: Table<'t, Age, ()>,
}

impl Results<'_> {
    fn put(&mut self, key: Key, result: &ResultRow) -> Boxed<()> {
        let before = self.rows.get(key)?.map(|bytes| read(key, bytes.value()));
        // Of a row that cannot be read the entry by age stays, and takes the key with it when
        // its time comes: the result is forgotten early, which costs one run.
        if let Some(Ok(before)) = before {
            self.by_age.remove((before.at.0, key))?;
        }
        self.rows.insert(key, row::encode(&key, 0, result)?.as_slice())?;
        self.by_age.insert((result.at.0, key), ())?;
        Ok(())
    }

    /// Forgets what is too old or too much, oldest first. A bounded part at a time.
    pub(crate) fn sweep(&mut self, at: Timestamp, new: u64, retention: &Retention) -> Boxed<()> {
        let age = wrun_protocol::time::millis(retention.results_age);
        for _ in 0..SWEEP + new {
            let Some((put_in, key)) = self.by_age.first()?.map(|(oldest, _)| oldest.value()) else {
                return Ok(());
            };
            let much = self.rows.len()? > retention.results;
            if !much && at.0.saturating_sub(put_in) <= age {
                return Ok(());
            }
            self.by_age.remove((put_in, key))?;
            self.rows.remove(key)?;
        }
        Ok(())
    }
}

/// The keys of a job's tasks.
pub fn keys(tenant: &TenantName, kind: ComponentKind, spec: &JobSpec) -> Keys {
    Keys::new(tenant, kind, spec, sha256)
}

/// Remembers what the tasks of an ended job gave. Returns how many.
pub(crate) fn put(tables: &mut Tables<'_>, id: u64, job: &JobRow) -> Boxed<u64> {
    let Ok(spec) = job.spec.decode() else { return Ok(0) };
    let keys = keys(&job.tenant, job.kind, &spec);
    let tasks = match &job.sole {
        Some(sole) => vec![sole.clone()],
        None => tables.tasks_of(id)?,
    };
    let mut new = 0;
    for task in tasks.iter().filter(|task| gave_a_result(task)) {
        for index in task.tasks.indices() {
            let (output, log) = (task.output.clone(), task.log.clone());
            let result = ResultRow { from: JobId(id), at: task.ended, output, log };
            tables.results.put(keys.of_task(index).0, &result)?;
            new += 1;
        }
    }
    Ok(new)
}

/// Whether it ran and succeeded; what was only remembered is known already.
fn gave_a_result(task: &TaskRow) -> bool {
    task.state == TaskState::Succeeded && task.attempt > 0
}

/// The result under that key, for the task at `index`.
pub(crate) fn find(
    rows: &impl ReadableTable<Key, &'static [u8]>,
    key: Digest,
    index: u32,
) -> Boxed<Option<Remembered>> {
    let Some(bytes) = rows.get(key.0)? else { return Ok(None) };
    // A damaged row is none.
    let Ok(ResultRow { from, output, log, .. }) = read(key.0, bytes.value()) else {
        return Ok(None);
    };
    Ok(Some(Remembered { index, from, output, log }))
}

fn read(key: Key, bytes: &[u8]) -> Result<ResultRow, String> {
    row::decode(&key, bytes)
}

fn sha256(bytes: &[u8]) -> Digest {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    Digest(hash)
}
