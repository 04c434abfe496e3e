//! What a new job waits for that is over already: the core knows live jobs alone, the
//! history tells it of the others.

use std::collections::BTreeSet;

use wrun_core::input::Prior;
use wrun_protocol::limits::MAX_PAGE;
use wrun_protocol::scheduling::{Dependency, DependsOn};
use wrun_protocol::wire::user::{ErrorCode, RequestError, TaskState};
use wrun_protocol::{IndexRange, JobId};
use wrun_store::JobRow;

use super::refused;
use crate::authorise::Caller;
use crate::shared::Shared;

/// Those of the jobs waited for that have ended. A job that the caller may not see is
/// refused as one that is not there.
pub(super) async fn priors(
    shared: &Shared,
    caller: &Caller,
    depends_on: &[Dependency],
) -> Result<Vec<Prior>, RequestError> {
    let mut priors = Vec::new();
    let jobs: BTreeSet<JobId> = depends_on.iter().map(|on| on.job).collect();
    for job in jobs {
        let unknown = || refused(ErrorCode::NotFound, format!("depends_on: there is no job {job}"));
        shared.visible(caller, job).await.map_err(|error| match error.code {
            ErrorCode::NotFound => unknown(),
            _ => error,
        })?;
        // What a view no longer finds is in the history.
        if shared.driver.view(move |core| core.job_tenant(job).is_some()).await? {
            continue;
        }
        let row = shared.history(move |history| history.job(job)).await?;
        let row = row.ok_or_else(unknown)?;
        let by_task = Dependency { job, on: DependsOn::EachSuccess };
        let succeeded = if depends_on.contains(&by_task) && row.succeeded < row.count() {
            succeeded(shared, job, &row).await?
        } else {
            Vec::new()
        };
        let (state, started, count) = (row.state, row.started.is_some(), row.count());
        priors.push(Prior { job, state, started, count, succeeded });
    }
    Ok(priors)
}

/// The tasks of an ended array that succeeded, in ascending order.
async fn succeeded(
    shared: &Shared,
    job: JobId,
    row: &JobRow,
) -> Result<Vec<IndexRange>, RequestError> {
    let (mut found, mut from, count) = (Vec::new(), 0, row.count());
    while from < count {
        let page = shared.history(move |history| history.tasks(job, from, MAX_PAGE)).await?;
        let Some(last) = page.last() else { break };
        from = last.tasks.end();
        let good = page.iter().filter(|task| task.state == TaskState::Succeeded);
        found.extend(good.map(|task| task.tasks));
    }
    Ok(found)
}
