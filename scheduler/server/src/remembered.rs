//! Results that are remembered: what is known of a job's tasks, and looking that up for jobs
//! whose turn comes after they were submitted.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use wrun_core::{Remembered, Unlooked};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{IndexRange, JobId, TenantName};

use crate::driver::Command;
use crate::requests::refused;
use crate::shared::Shared;

/// Jobs that are looked up at a time: each may hold the results of all its tasks in memory.
const MAX_AT_ONCE: usize = 4;

/// What is known of the results of these tasks, in order of index.
pub(crate) async fn known(
    shared: &Shared,
    tenant: &TenantName,
    kind: ComponentKind,
    spec: &EncodedSpec,
    tasks: &[IndexRange],
) -> Result<Vec<Remembered>, RequestError> {
    let spec =
        spec.decode().map_err(|error| refused(ErrorCode::InvalidInput, error.to_string()))?;
    let keys = wrun_store::keys(tenant, kind, &spec);
    let tasks = tasks.iter().flat_map(|tasks| tasks.indices());
    let keys: Vec<_> = tasks.map(|index| (index, keys.of_task(index))).collect();
    // What its owner has seen to end must be in the history by now.
    shared.driver.view(|_| ()).await?;
    let mut known = shared.history(move |history| history.remembered(&keys)).await?;
    let mut missing = Vec::new();
    for task in &known {
        if !has_content(shared, tenant, task).await? {
            missing.push(task.index);
        }
    }
    known.retain(|task| missing.binary_search(&task.index).is_err());
    Ok(known)
}

/// Whether everything that the result refers to is still there.
async fn has_content(
    shared: &Shared,
    tenant: &TenantName,
    task: &Remembered,
) -> Result<bool, RequestError> {
    for content in [&task.output, &task.log].into_iter().flatten() {
        if let Content::Blob { digest, size } = content
            && shared.blobs.size(tenant, *digest).await? != Some(*size)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Looks up what the core asks for, until nobody asks any more.
pub(crate) async fn serve(shared: Arc<Shared>, mut due: mpsc::UnboundedReceiver<JobId>) {
    let places = Arc::new(Semaphore::new(MAX_AT_ONCE));
    let mut under_way = JoinSet::new();
    while let Some(job) = due.recv().await {
        while under_way.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let shared = Arc::clone(&shared);
        under_way.spawn(async move {
            let (tasks, known) = look_up(&shared, job).await;
            // A server that stops leaves it to the next one.
            let _ = shared.driver.send(Command::LookedUp { job, tasks, known }).await;
            drop(place);
        });
    }
}

/// Which tasks of the job are to be looked up, and what is known of them. Where the history
/// cannot be read nothing is known: the job runs.
async fn look_up(shared: &Shared, job: JobId) -> (Vec<IndexRange>, Vec<Remembered>) {
    let unlooked = shared.driver.view(move |core| core.unlooked(job)).await.ok().flatten();
    let Some(Unlooked { tenant, kind, spec, tasks }) = unlooked else {
        return (Vec::new(), Vec::new());
    };
    let known = match known(shared, &tenant, kind, &spec, &tasks).await {
        Ok(known) => known,
        Err(error) => {
            tracing::warn!(%job, %error, "its results cannot be looked up: it runs");
            Vec::new()
        }
    };
    (tasks, known)
}
