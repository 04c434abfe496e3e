//! Policy, order and reasons, and changes of jobs that live.

use wrun_core::{Core, Input, RequestId};
use wrun_protocol::limits::MAX_PAGE;
use wrun_protocol::policy::Policy;
use wrun_protocol::reservation::Reservation;
use wrun_protocol::wire::policy::{JobChange, ReservationRow, TaskSet};
use wrun_protocol::wire::user::{ErrorCode, RequestError, Response};
use wrun_protocol::{JobId, Role};

use super::{refused, workflows};
use crate::authorise::Caller;
use crate::shared::Shared;

pub(super) async fn on_policy(shared: &Shared) -> Result<Response, RequestError> {
    let policy = shared.driver.view(|core| core.policy().clone()).await?;
    Ok(Response::Policy(Box::new(policy)))
}

pub(super) async fn on_set_policy(
    shared: &Shared,
    caller: &Caller,
    policy: Box<Policy>,
) -> Result<Response, RequestError> {
    shared.driver.ask_done(move |request| Input::SetPolicy { request, policy }).await?;
    audit(caller, "policy set", None);
    Ok(Response::Done)
}

pub(super) async fn on_change(
    shared: &Shared,
    caller: &Caller,
    job: JobId,
    change: JobChange,
) -> Result<Response, RequestError> {
    shared.visible(caller, job).await?;
    if let JobChange::Nice(points) = change {
        caller.may_be_nice(points)?;
    }
    let act = format!("job changed: {change:?}");
    let input = move |request| Input::Change { request, job, change };
    done(shared, job, input).await?;
    audit(caller, &act, Some(job));
    Ok(Response::Done)
}

pub(super) async fn on_priority(
    shared: &Shared,
    caller: &Caller,
    job: JobId,
) -> Result<Response, RequestError> {
    shared.visible(caller, job).await?;
    let detail = shared.driver.view(move |core| core.priority(job)).await?;
    match detail {
        Some(detail) => Ok(Response::Priority(detail)),
        None => Err(over(shared, job).await?),
    }
}

/// A tenant sees its own row; administrators see the tree.
pub(super) async fn on_shares(shared: &Shared, caller: &Caller) -> Result<Response, RequestError> {
    let mut rows = shared.driver.view(|core| core.shares()).await?;
    rows.retain(|row| caller.may_see(&row.tenant));
    Ok(Response::Shares(rows))
}

/// The queue in order; of other tenants' jobs only administrators are told.
pub(super) async fn on_queue(
    shared: &Shared,
    caller: &Caller,
    limit: u32,
) -> Result<Response, RequestError> {
    let limit = limit.clamp(1, MAX_PAGE) as usize;
    // As many jobs are looked at for a tenant as are listed at most for an administrator.
    let tenant = (caller.role != Role::Admin).then(|| caller.tenant.clone());
    let looked_at = if tenant.is_some() { MAX_PAGE as usize } else { limit };
    let list = move |core: &Core| core.queue_of(tenant.as_ref(), looked_at, limit);
    Ok(Response::Queue(shared.driver.view(list).await?))
}

pub(super) async fn on_explain(
    shared: &Shared,
    caller: &Caller,
    job: JobId,
) -> Result<Response, RequestError> {
    shared.visible(caller, job).await?;
    let explanation = shared.driver.view(move |core| core.explain(job)).await?;
    match explanation {
        Some(of) => Ok(Response::Explanation(Box::new(of))),
        None => Err(over(shared, job).await?),
    }
}

pub(super) async fn on_why(
    shared: &Shared,
    caller: &Caller,
    job: JobId,
) -> Result<Response, RequestError> {
    shared.visible(caller, job).await?;
    let why = shared.driver.view(move |core| core.why(job)).await?;
    match why {
        Some(of) => Ok(Response::Why(Box::new(of))),
        None => Err(over(shared, job).await?),
    }
}

pub(super) async fn on_reserve(
    shared: &Shared,
    caller: &Caller,
    reservation: Box<Reservation>,
) -> Result<Response, RequestError> {
    let act = format!("reservation {} made", reservation.name.escape_default());
    shared.driver.ask_done(move |request| Input::Reserve { request, reservation }).await?;
    audit(caller, &act, None);
    Ok(Response::Done)
}

pub(super) async fn on_unreserve(
    shared: &Shared,
    caller: &Caller,
    name: String,
) -> Result<Response, RequestError> {
    let act = format!("reservation {} given up", name.escape_default());
    shared.driver.ask_done(move |request| Input::Unreserve { request, name }).await?;
    audit(caller, &act, None);
    Ok(Response::Done)
}

/// Everyone sees what is set aside and when; for whom, only those it is for and
/// administrators.
pub(super) async fn on_reservations(
    shared: &Shared,
    caller: &Caller,
) -> Result<Response, RequestError> {
    let rows = rows_for(shared, caller).await?;
    Ok(Response::Reservations(rows.into_iter().map(|row| row.reservation).collect()))
}

/// The same, with how many others each is for: one that is for others is not one that is
/// for nobody.
pub(super) async fn on_reservation_rows(
    shared: &Shared,
    caller: &Caller,
) -> Result<Response, RequestError> {
    Ok(Response::ReservationRows(rows_for(shared, caller).await?))
}

async fn rows_for(shared: &Shared, caller: &Caller) -> Result<Vec<ReservationRow>, RequestError> {
    let list = shared.driver.view(|core| core.reservations()).await?;
    let row = |mut reservation: Reservation| {
        let all = reservation.tenants.len();
        reservation.tenants.retain(|tenant| caller.may_see(tenant));
        let others = u32::try_from(all - reservation.tenants.len()).unwrap_or(u32::MAX);
        ReservationRow { reservation, others }
    };
    Ok(list.into_iter().map(row).collect())
}

/// What a user wants done with tasks of a job.
#[derive(Clone, Copy)]
pub(super) enum WithTasks {
    Cancel,
    Requeue,
    Retry,
}

pub(super) async fn on_tasks(
    shared: &Shared,
    caller: &Caller,
    job: JobId,
    tasks: TaskSet,
    what: WithTasks,
) -> Result<Response, RequestError> {
    shared.visible(caller, job).await?;
    let input = move |request| match what {
        WithTasks::Cancel => Input::CancelTasks { request, job, tasks },
        WithTasks::Requeue => Input::Requeue { request, job, tasks },
        WithTasks::Retry => Input::Retry { request, job, tasks },
    };
    done(shared, job, input).await?;
    let act = match what {
        WithTasks::Cancel => "tasks cancelled",
        WithTasks::Requeue => "tasks requeued",
        WithTasks::Retry => "tasks retried",
    };
    audit(caller, act, Some(job));
    Ok(Response::Done)
}

/// Asks the core to do something about a job that the caller may see: where the core does
/// not have it, it is over.
async fn done(
    shared: &Shared,
    job: JobId,
    input: impl FnOnce(RequestId) -> Input + Send + 'static,
) -> Result<(), RequestError> {
    match shared.driver.ask_done(input).await {
        Err(error) if error.code == ErrorCode::NotFound => Err(over(shared, job).await?),
        done => done,
    }
}

/// Why nothing can be done about a job that the core does not have.
async fn over(shared: &Shared, job: JobId) -> Result<RequestError, RequestError> {
    if shared.driver.view(move |core| core.workflow_summary(job).is_some()).await? {
        return Ok(workflows::has_no_tasks(job));
    }
    let again = match workflows::is_workflow(shared, job).await? {
        true => format!("`wrun rerun {job}` runs it again as a new workflow"),
        false => "`wrun submit` runs it again as a new job".to_owned(),
    };
    Ok(refused(ErrorCode::Conflict, format!("job {job} has ended; {again}")))
}

fn audit(caller: &Caller, act: &str, job: Option<JobId>) {
    let job = job.map(|job| job.to_string()).unwrap_or_default();
    tracing::info!(
        target: "wrun::audit",
        tenant = %caller.tenant, role = %caller.role, job, "{act}"
    );
}
