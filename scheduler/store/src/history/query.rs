//! What the server asks. Every answer joins the committed rows with those not committed.

use std::collections::BTreeMap;

use wrun_core::Remembered;
use wrun_protocol::limits::MAX_PAGE;
use wrun_protocol::wire::user::JobState;
use wrun_protocol::{Digest, IndexRange, JobId, SubmitId, TaskId, TenantName};

use super::file::{Boxed, Reader, guarded};
use super::jobs::{EndedBits, Page, page_of};
use super::layer::Layer;
use super::row::{self, JobRow, TaskRow};
use super::{History, HistoryError, JobsFilter};

type Answer<T> = Result<T, HistoryError>;

impl History {
    /// A job that has ended.
    ///
    /// # Errors
    /// [`HistoryError::Unreadable`] for a damaged row.
    pub fn job(&self, job: JobId) -> Answer<Option<JobRow>> {
        let state = self.shared.state();
        let layers = [Some(&state.current), state.committing.as_deref()];
        if let Some(row) = layers.into_iter().flatten().find_map(|layer| layer.jobs.get(&job.0)) {
            return row::payload(&row.bytes).map(Some).map_err(HistoryError::Unreadable);
        }
        let reader = state.reader.clone();
        drop(state);
        reader.map_or(Ok(None), |reader| reader.job(job.0)).map_err(HistoryError::Unreadable)
    }

    /// Ended jobs, newest first. Damaged rows are left out.
    ///
    /// # Errors
    /// [`HistoryError::Unreadable`] for a damaged file.
    pub fn jobs(&self, filter: &JobsFilter) -> Answer<Vec<(JobId, JobRow)>> {
        let limit = filter.limit.min(MAX_PAGE) as usize;
        let below = filter.before.map_or(u64::MAX, |job| job.0);
        let mut found = BTreeMap::new();
        let state = self.shared.state();
        for layer in [state.committing.as_deref(), Some(&state.current)].into_iter().flatten() {
            found.extend(in_layer(layer, filter, below, limit));
        }
        let reader = state.reader.clone();
        drop(state);
        if let Some(reader) = reader {
            let committed = match &filter.tenant {
                Some(tenant) => of_tenant(&reader, tenant, filter.state, below, limit),
                None => of_all(&reader, filter.state, below, limit),
            };
            for (id, row) in committed.map_err(HistoryError::Unreadable)? {
                found.entry(id).or_insert(row);
            }
        }
        Ok(found.into_iter().rev().take(limit).map(|(id, row)| (JobId(id), row)).collect())
    }

    /// A task that has a row: it ended, or an attempt of it did.
    ///
    /// # Errors
    /// [`HistoryError::Unreadable`] for a damaged row.
    pub fn task(&self, task: TaskId) -> Answer<Option<TaskRow>> {
        Ok(self
            .tasks(task.job, task.index, 1)?
            .into_iter()
            .find(|row| row.tasks.contains(task.index)))
    }

    /// Rows of a job's tasks that reach to `from` or beyond, in order of index, at most
    /// `limit` and [`MAX_PAGE`]; a row stands for a range. Tasks of an ended job without a
    /// row were cancelled before an attempt of them ended.
    ///
    /// # Errors
    /// [`HistoryError::Unreadable`] for a damaged row.
    pub fn tasks(&self, job: JobId, from: u32, limit: u32) -> Answer<Vec<TaskRow>> {
        let limit = limit.min(MAX_PAGE) as usize;
        if let Some(sole) = self.job(job)?.and_then(|row| row.sole) {
            return Ok(if sole.tasks.end() > from && limit > 0 { vec![sole] } else { Vec::new() });
        }
        let state = self.shared.state();
        let mut over = BTreeMap::new();
        for layer in [state.committing.as_deref(), Some(&state.current)].into_iter().flatten() {
            // The last row that begins at or before `from` may reach to it.
            let start = layer.tasks.range((job.0, 0)..=(job.0, from)).next_back();
            let start = start.map_or((job.0, from), |(key, _)| *key);
            let rows = layer.tasks.range(start..=(job.0, u32::MAX));
            over.extend(rows.take(limit + 1).map(|(key, row)| (key.1, row.clone())));
        }
        let reader = state.reader.clone();
        drop(state);
        let mut rows = BTreeMap::new();
        if let Some(reader) = reader {
            let unreadable = HistoryError::Unreadable;
            // Rows may be hidden by the layers above: as many more are read.
            let more = limit + over.len();
            let first = reader.task_before((job.0, from)).map_err(unreadable)?;
            let rest = reader.tasks((job.0, from)..=(job.0, u32::MAX), more).map_err(unreadable)?;
            rows.extend(first.into_iter().chain(rest).map(|row| (row.tasks.first, Some(row))));
        }
        rows.extend(over);
        let reach = rows.into_values().flatten().filter(|row| row.tasks.end() > from);
        Ok(reach.take(limit).collect())
    }

    /// The remembered results under these keys, each for the task of that index, in order.
    /// Results are remembered when their job has ended; what is not committed yet is first.
    ///
    /// # Errors
    /// [`HistoryError::Unreadable`] for a damaged file.
    pub fn remembered(&self, keys: &[(u32, Digest)]) -> Answer<Vec<Remembered>> {
        // A history that cannot be written knows less, which is no reason to refuse.
        let _ = self.flush();
        let Some(reader) = self.shared.state().reader.clone() else { return Ok(Vec::new()) };
        reader.results(keys).map_err(HistoryError::Unreadable)
    }

    /// The jobs from which tasks of a job have their results, from index `from` on, as runs
    /// of tasks, at most [`MAX_PAGE`].
    ///
    /// # Errors
    /// [`HistoryError::Unreadable`] for a damaged row.
    pub fn origins(&self, job: JobId, from: u32) -> Answer<Vec<(IndexRange, JobId)>> {
        let state = self.shared.state();
        let mut over = BTreeMap::new();
        for layer in [state.committing.as_deref(), Some(&state.current)].into_iter().flatten() {
            let of_job = layer.origins.range((job.0, from)..=(job.0, u32::MAX));
            over.extend(of_job.map(|((_, index), from)| (*index, *from)));
        }
        let reader = state.reader.clone();
        drop(state);
        let mut all: BTreeMap<u32, JobId> = BTreeMap::new();
        if let Some(reader) = reader {
            all.extend(reader.origins(job.0, from).map_err(HistoryError::Unreadable)?);
        }
        all.extend(over);
        let mut runs: Vec<(IndexRange, JobId)> = Vec::new();
        for (index, origin) in all {
            match runs.last_mut() {
                Some((tasks, of)) if tasks.end() == index && *of == origin => tasks.count += 1,
                _ => runs.push((IndexRange::one(index), origin)),
            }
        }
        runs.truncate(MAX_PAGE as usize);
        Ok(runs)
    }

    /// An ended job by the client's id of its submission.
    ///
    /// # Errors
    /// [`HistoryError::Unreadable`] for a damaged file.
    pub fn job_by_submit_id(&self, tenant: &TenantName, id: SubmitId) -> Answer<Option<JobId>> {
        let state = self.shared.state();
        let layers = [Some(&state.current), state.committing.as_deref()];
        if let Some(job) =
            layers.into_iter().flatten().find_map(|layer| layer.submitted(tenant, id))
        {
            return Ok(Some(JobId(job)));
        }
        let reader = state.reader.clone();
        drop(state);
        let Some(reader) = reader else { return Ok(None) };
        let job = reader.submitted(tenant, id).map_err(HistoryError::Unreadable)?;
        Ok(job.map(JobId))
    }
}

fn wanted(tag: u8, tenant: &TenantName, filter: &JobsFilter) -> bool {
    filter.state.is_none_or(|state| row::state_tag(state) == tag)
        && filter.tenant.as_ref().is_none_or(|wanted| wanted == tenant)
}

fn in_layer<'a>(
    layer: &'a Layer,
    filter: &'a JobsFilter,
    below: u64,
    limit: usize,
) -> impl Iterator<Item = (u64, JobRow)> + 'a {
    let rows = layer.jobs.range(..below).rev();
    let rows = rows.filter(|(_, row)| wanted(row.tag, &row.tenant, filter)).take(limit);
    rows.filter_map(|(id, row)| Some((*id, row::payload(&row.bytes).ok()?)))
}

fn of_tenant(
    reader: &Reader,
    tenant: &TenantName,
    state: Option<JobState>,
    below: u64,
    limit: usize,
) -> Result<Vec<(u64, JobRow)>, String> {
    guarded(|| -> Boxed<_> {
        let mut found = Vec::new();
        let pages = (tenant.as_str(), 0)..=(tenant.as_str(), page_of(below));
        for entry in reader.ended.range(pages)?.rev() {
            if found.len() >= limit {
                break;
            }
            let (key, bits) = entry?;
            let number = key.value().1;
            let Some(bytes) = reader.jobs.get(number)? else { continue };
            let Ok(page) = Page::read(number, bytes.value()) else { continue };
            for JobId(id) in EndedBits::read(&bits.value()).jobs(number, state) {
                // The index has no CRC: the row decides.
                if id < below
                    && found.len() < limit
                    && let Ok(Some(row)) = page.row(id, &reader.large)
                    && row.tenant == *tenant
                    && state.is_none_or(|state| state == row.state)
                {
                    found.push((id, row));
                }
            }
        }
        Ok(found)
    })
}

fn of_all(
    reader: &Reader,
    state: Option<JobState>,
    below: u64,
    limit: usize,
) -> Result<Vec<(u64, JobRow)>, String> {
    guarded(|| -> Boxed<_> {
        let mut found = Vec::new();
        for entry in reader.jobs.range(..=page_of(below))?.rev() {
            if found.len() >= limit {
                break;
            }
            let (key, bytes) = entry?;
            let Ok(page) = Page::read(key.value(), bytes.value()) else { continue };
            for (id, tag) in page.jobs().rev() {
                if id < below
                    && found.len() < limit
                    && state.is_none_or(|state| row::state_tag(state) == tag)
                    && let Ok(Some(row)) = page.row(id, &reader.large)
                {
                    found.push((id, row));
                }
            }
        }
        Ok(found)
    })
}
