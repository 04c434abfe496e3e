//! Jobs that come again and again. A schedule's job is checked as a submission is, since
//! its runs are submitted by the core, which looks into no component.

use std::collections::BTreeMap;

use wrun_core::Input;
use wrun_protocol::schedule::Schedule;
use wrun_protocol::wire::schedule::{ScheduleFilter, ScheduleId};
use wrun_protocol::wire::user::{ErrorCode, JobState, RequestError, Response};
use wrun_protocol::{JobId, TenantName};

use super::jobs::page;
use super::{refused, submit};
use crate::authorise::Caller;
use crate::shared::Shared;

pub(super) async fn on_add(
    shared: &Shared,
    caller: &Caller,
    mut schedule: Box<Schedule>,
) -> Result<Response, RequestError> {
    let decoded =
        schedule.check().map_err(|error| refused(ErrorCode::InvalidInput, error.to_string()))?;
    let (kind, spec) = submit::check_job(shared, caller, schedule.spec, decoded).await?;
    schedule.spec = spec;
    let (tenant, name) = (caller.tenant.clone(), schedule.name.clone());
    let add = move |request| Input::AddSchedule { request, tenant, kind, schedule };
    shared.driver.ask_done(add).await?;
    audit(caller, "schedule added", &caller.tenant, &name);
    Ok(Response::Done)
}

pub(super) async fn on_remove(
    shared: &Shared,
    caller: &Caller,
    id: ScheduleId,
) -> Result<Response, RequestError> {
    let (tenant, name) = visible(caller, id)?;
    let (of, called) = (tenant.clone(), name.clone());
    let remove = move |request| Input::RemoveSchedule { request, tenant, name };
    shared.driver.ask_done(remove).await?;
    audit(caller, "schedule removed", &of, &called);
    Ok(Response::Done)
}

pub(super) async fn on_pause(
    shared: &Shared,
    caller: &Caller,
    id: ScheduleId,
    pause: bool,
) -> Result<Response, RequestError> {
    let (tenant, name) = visible(caller, id)?;
    let (of, called) = (tenant.clone(), name.clone());
    let change = move |request| Input::PauseSchedule { request, tenant, name, pause };
    shared.driver.ask_done(change).await?;
    audit(caller, if pause { "schedule paused" } else { "schedule resumed" }, &of, &called);
    Ok(Response::Done)
}

pub(super) async fn on_schedules(
    shared: &Shared,
    caller: &Caller,
    filter: ScheduleFilter,
) -> Result<Response, RequestError> {
    let limit = page(filter.limit)?;
    let tenant = (!filter.all_tenants).then(|| caller.tenant.clone());
    let look = move |core: &wrun_core::Core| {
        core.schedules(tenant.as_ref(), filter.after.as_ref(), limit as usize)
    };
    let mut rows = shared.driver.view(look).await?;
    let last = rows.iter().filter_map(|row| row.last).filter(|last| last.state.is_none());
    let ended = ended(shared, last.map(|last| last.job).collect()).await?;
    for last in rows.iter_mut().filter_map(|row| row.last.as_mut()) {
        last.state = last.state.or_else(|| ended.get(&last.job).copied());
    }
    Ok(Response::Schedules(rows))
}

/// How those jobs ended, as far as it is known.
async fn ended(
    shared: &Shared,
    jobs: Vec<JobId>,
) -> Result<BTreeMap<JobId, JobState>, RequestError> {
    if jobs.is_empty() {
        return Ok(BTreeMap::new());
    }
    let look = move |history: &wrun_store::History| {
        let mut ended = BTreeMap::new();
        for job in jobs {
            ended.extend(history.job(job)?.map(|row| (job, row.summary(job).state)));
        }
        Ok(ended)
    };
    shared.history(look).await
}

/// The schedule that is meant. Another tenant's is not there, except for an admin.
fn visible(caller: &Caller, id: ScheduleId) -> Result<(TenantName, String), RequestError> {
    let tenant = id.tenant.unwrap_or_else(|| caller.tenant.clone());
    if caller.may_see(&tenant) {
        return Ok((tenant, id.name));
    }
    let text =
        format!("there is no schedule `{}`; `wrun schedules` lists those you can see", id.name);
    Err(refused(ErrorCode::NotFound, text))
}

fn audit(caller: &Caller, act: &str, of: &TenantName, schedule: &str) {
    tracing::info!(
        target: "wrun::audit",
        tenant = %caller.tenant, role = %caller.role, %of, schedule, "{act}"
    );
}
