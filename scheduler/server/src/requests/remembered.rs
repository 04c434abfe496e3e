//! Results that are remembered: of which jobs they are looked up before the core has them, and
//! what is told of them afterwards.

use wrun_protocol::JobId;
use wrun_protocol::scheduling::Scheduling;
use wrun_protocol::wire::user::{RememberedTasks, RequestError, Response};

use crate::authorise::Caller;
use crate::shared::Shared;

/// Whether a job is submitted with what is remembered. Of one that is to wait that is looked up
/// when its time comes.
pub(super) fn may_be_given(wishes: &Scheduling) -> bool {
    let waits = wishes.hold || wishes.begin.is_some() || !wishes.depends_on.is_empty();
    wishes.cache && !waits
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
