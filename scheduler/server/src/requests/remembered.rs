//! Results that are remembered: looked up before a job is handed to the core, and told of
//! afterwards.

use wrun_core::Remembered;
use wrun_protocol::JobId;
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::scheduling::Scheduling;
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::{ErrorCode, RememberedTasks, RequestError, Response};
use wrun_protocol::wire::worker::ComponentKind;

use super::refused;
use crate::authorise::Caller;
use crate::shared::Shared;

/// Whether a job is given what is remembered: one that is to wait runs when its time comes.
pub(super) fn may_be_given(wishes: &Scheduling) -> bool {
    let waits = wishes.hold || wishes.begin.is_some() || !wishes.depends_on.is_empty();
    wishes.cache && !waits
}

/// What is known of the results of a job's tasks, in order of index.
pub(super) async fn known(
    shared: &Shared,
    caller: &Caller,
    kind: ComponentKind,
    spec: &EncodedSpec,
) -> Result<Vec<Remembered>, RequestError> {
    let spec =
        spec.decode().map_err(|error| refused(ErrorCode::InvalidInput, error.to_string()))?;
    let keys = wrun_store::keys(&caller.tenant, kind, &spec);
    let keys: Vec<_> = (0..spec.count).map(|index| (index, keys.of_task(index))).collect();
    // What this caller has seen to end must be in the history by now.
    shared.driver.view(|_| ()).await?;
    let mut known = shared.history(move |history| history.remembered(&keys)).await?;
    let mut missing = Vec::new();
    for task in &known {
        if !has_content(shared, caller, task).await? {
            missing.push(task.index);
        }
    }
    known.retain(|task| missing.binary_search(&task.index).is_err());
    Ok(known)
}

/// Whether everything that the result refers to is still there.
async fn has_content(
    shared: &Shared,
    caller: &Caller,
    task: &Remembered,
) -> Result<bool, RequestError> {
    for content in [&task.output, &task.log].into_iter().flatten() {
        if let Content::Blob { digest, size } = content
            && shared.blobs.size(&caller.tenant, *digest).await? != Some(*size)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Which tasks of a job have results that were remembered, and whose those are.
pub(super) async fn on_remembered(
    shared: &Shared,
    caller: &Caller,
    job: JobId,
    from: u32,
) -> Result<Response, RequestError> {
    shared.visible(caller, job).await?;
    let origins = shared.history(move |history| history.origins(job, from)).await?;
    let tasks = origins.into_iter().map(|(tasks, from)| RememberedTasks { tasks, from });
    Ok(Response::Remembered(tasks.collect()))
}
