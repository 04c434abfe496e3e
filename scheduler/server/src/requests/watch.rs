//! Following a job to its end. The first and the last word go out at once; between them
//! there is at most one in a tenth of a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wrun_net::SendStream;
use wrun_protocol::JobId;
use wrun_protocol::wire::user::{JobDetail, JobProgress, JobSummary, RequestError, Response};

use super::{Failure, recorded};
use crate::authorise::{Caller, no_such_job};
use crate::driver::stopping;
use crate::shared::Shared;

/// Least time between two words, but for the last.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn on_watch(
    shared: &Arc<Shared>,
    caller: &Caller,
    job: JobId,
    send: &mut SendStream,
) -> Result<(), Failure> {
    let mut watcher = shared.watchers.watch(job);
    shared.visible(caller, job).await?;
    let mut said = None;
    loop {
        let now = progress(shared, job).await?;
        let over = now.state.is_terminal();
        if said.as_ref() != Some(&now) {
            send.send(&Response::Progress(now.clone())).await?;
            said = Some(now);
        }
        if over {
            return Ok(());
        }
        let earliest = Instant::now() + PAUSE;
        let alive = tokio::select! {
            alive = async { watcher.changed().await && watcher.pause_until(earliest).await } => alive,
            _ = send.stopped() => return Err(Failure::Gone),
        };
        if !alive {
            return Err(stopping().into());
        }
    }
}

/// How far the job is, be it live or in the history.
pub(super) async fn progress(shared: &Shared, job: JobId) -> Result<JobProgress, RequestError> {
    let look = move |core: &wrun_core::Core| (core.job(job), core.workflow_summary(job));
    let detail = match shared.driver.view(look).await? {
        (Some(live), _) => live,
        (None, Some(workflow)) => return Ok(of_workflow(&workflow)),
        (None, None) => match recorded::job(shared, job).await? {
            Some(ended) => ended,
            None => {
                let ended = recorded::workflow(shared, job).await?;
                let ended = ended.ok_or_else(|| no_such_job(job))?;
                return Ok(of_workflow(&ended.summary));
            }
        },
    };
    let JobDetail { summary, failure, .. } = detail;
    Ok(JobProgress { state: summary.state, tasks: summary.tasks, failure })
}

/// Steps in the place of tasks.
fn of_workflow(summary: &JobSummary) -> JobProgress {
    JobProgress { state: summary.state, tasks: summary.tasks, failure: None }
}
