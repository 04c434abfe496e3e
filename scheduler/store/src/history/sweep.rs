//! Retention: which ended jobs are forgotten, and with them everything of theirs.

use redb::ReadableTable;
use wrun_protocol::Timestamp;

use super::Retention;
use super::file::{Boxed, Meta, Tables};
use super::jobs::{PAGE, Page};
use super::row::JobRow;
use super::submits;

/// Jobs that one commit looks at, besides twice those that it ends.
const LOOK: u64 = 2048;
/// Pages that one commit looks at, besides twice as many as it ends jobs.
const LOOK_PAGES: u64 = LOOK / PAGE;
/// Between looks for jobs that are too old, in ms.
const SWEEP_EVERY_MS: u64 = 60_000;

/// A page of which something is forgotten: jobs with their rows, where those can be read.
struct Victims {
    page: u64,
    jobs: Vec<(u64, Option<JobRow>)>,
}

/// Forgets what is too old or too much. Looks at a bounded number of jobs and goes on there
/// the next time, so that the order of forgetting is nearly, not exactly, that of submission.
/// `new` jobs have just been added, the last of them `at`.
pub(crate) fn sweep(
    tables: &mut Tables<'_>,
    meta: &mut Meta,
    at: Timestamp,
    new: u64,
    retention: &Retention,
) -> Boxed<()> {
    let aged = at.0.saturating_sub(meta.swept.0) >= SWEEP_EVERY_MS;
    if meta.ended <= retention.jobs && meta.sweep_from == 0 && !aged {
        return Ok(());
    }
    if meta.sweep_from == 0 {
        meta.swept = at;
    }
    let victims = choose(tables, meta, at, new, retention)?;
    let mut made = Vec::new();
    for Victims { page, jobs } in victims {
        let numbers: Vec<u64> = jobs.iter().map(|(id, _)| *id).collect();
        tables.jobs.remove(page, &numbers)?;
        for (id, job) in jobs {
            let only_one = job.as_ref().and_then(|job| job.sole.as_ref());
            if let Some(job) = &job {
                made.push((meta.hash(&job.tenant, job.submit_id), id));
                tables.change_ended(job.tenant.as_str(), page, |bits| bits.remove(id))?;
            }
            if job.as_ref().is_none_or(|job| job.spec.has_wishes()) {
                tables.origins.retain_in((id, 0)..=(id, u32::MAX), |_, _| false)?;
            }
            // The first attempt of a job's only task has left no other row.
            if only_one.is_none_or(|task| task.attempt > 1) {
                tables.tasks.retain_in((id, 0)..=(id, u32::MAX), |_, _| false)?;
            }
        }
    }
    submits::remove(&mut tables.submits, made)
}

fn choose(
    tables: &Tables<'_>,
    meta: &mut Meta,
    at: Timestamp,
    new: u64,
    retention: &Retention,
) -> Boxed<Vec<Victims>> {
    let age = wrun_protocol::time::millis(retention.age);
    let (mut victims, mut looked, mut pages) = (Vec::new(), 0, 0);
    let mut rows = tables.jobs.pages.range(meta.sweep_from..)?;
    while looked < LOOK + 2 * new && pages < LOOK_PAGES + 2 * new {
        let Some(entry) = rows.next() else {
            meta.sweep_from = 0;
            break;
        };
        let (key, bytes) = entry?;
        let number = key.value();
        meta.sweep_from = number + 1;
        pages += 1;
        // A page that cannot be read tells nobody anything: it goes.
        let Ok(page) = Page::read(number, bytes.value()) else {
            victims.push(Victims { page: number, jobs: Vec::new() });
            continue;
        };
        let mut jobs = Vec::new();
        for (id, _) in page.jobs() {
            looked += 1;
            let job = page.row(id, &tables.jobs.large).ok().flatten();
            let ended = job.as_ref().map_or(0, |job| job.ended.0);
            if meta.ended > retention.jobs || at.0.saturating_sub(ended) > age {
                meta.ended = meta.ended.saturating_sub(1);
                jobs.push((id, job));
            }
        }
        if !jobs.is_empty() {
            victims.push(Victims { page: number, jobs });
        }
    }
    Ok(victims)
}
