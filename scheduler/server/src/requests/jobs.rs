//! Listings and details: what is live comes from the core, what has ended from the
//! history. Where both know something, the core is right.

use std::collections::BTreeMap;

use wrun_core::JobsQuery;
use wrun_protocol::limits::MAX_PAGE;
use wrun_protocol::wire::user::{
    ErrorCode, JobFilter, JobSummary, RequestError, Response, TaskDetail, TaskState,
};
use wrun_protocol::{JobId, NodeId};

use super::{recorded, refused, workflows};
use crate::authorise::{Caller, no_such_job};
use crate::shared::Shared;

pub(super) async fn on_jobs(
    shared: &Shared,
    caller: &Caller,
    filter: JobFilter,
) -> Result<Response, RequestError> {
    let limit = page(filter.limit)?;
    let tenant = (!filter.all_tenants).then(|| caller.tenant.clone());
    let (state, before) = (filter.state, filter.before);
    let of = tenant.clone();
    let live = shared
        .driver
        .view(move |core| {
            let limit = limit as usize;
            core.jobs(&JobsQuery { tenant: of.as_ref(), state, before, limit })
        })
        .await?;
    let ended = recorded::jobs(shared, tenant, state, before, limit).await?;
    let mut rows: BTreeMap<JobId, JobSummary> =
        ended.into_iter().chain(live).map(|row| (row.id, row)).collect();
    while rows.len() > limit as usize {
        rows.pop_first();
    }
    Ok(Response::Jobs(rows.into_values().rev().collect()))
}

pub(super) async fn on_job(
    shared: &Shared,
    caller: &Caller,
    job: JobId,
) -> Result<Response, RequestError> {
    let live = shared.driver.view(move |core| core.job(job)).await?;
    let detail = match live {
        Some(live) => Some(live),
        None => recorded::job(shared, job).await?,
    };
    match detail {
        Some(detail) if caller.may_see(&detail.summary.tenant) => {
            Ok(Response::Job(Box::new(detail)))
        }
        Some(_) => Err(no_such_job(job)),
        None => workflows::on_workflow(shared, caller, job).await,
    }
}

pub(super) async fn on_tasks(
    shared: &Shared,
    caller: &Caller,
    job: JobId,
    from: u32,
    limit: u32,
    state: Option<TaskState>,
) -> Result<Response, RequestError> {
    let limit = page(limit)?;
    shared.visible(caller, job).await?;
    let live = shared.driver.view(move |core| core.tasks(job, from, limit, state)).await?;
    let ended = recorded::tasks(shared, job, from, limit, state).await?;
    let rows: BTreeMap<u32, TaskDetail> =
        ended.into_iter().chain(live).map(|row| (row.index, row)).collect();
    let mut rows: Vec<_> = rows.into_values().take(limit as usize).collect();
    if rows.is_empty() && workflows::is_workflow(shared, job).await? {
        return Err(workflows::has_no_tasks(job));
    }
    name_nodes(shared, &mut rows).await?;
    Ok(Response::Tasks(rows))
}

/// Nodes are recorded by number; those that the cluster still knows are named.
async fn name_nodes(shared: &Shared, rows: &mut [TaskDetail]) -> Result<(), RequestError> {
    let mut names: BTreeMap<NodeId, Option<String>> =
        rows.iter().filter_map(|row| row.node).map(|node| (node, None)).collect();
    if names.is_empty() {
        return Ok(());
    }
    names = shared
        .driver
        .view(move |core| {
            for (node, name) in &mut names {
                *name = core.node_info(*node).map(|info| info.name.clone());
            }
            names
        })
        .await?;
    for row in rows {
        if row.node_name.is_none() {
            row.node_name = row.node.and_then(|node| names.get(&node).cloned().flatten());
        }
    }
    Ok(())
}

pub(super) fn page(limit: u32) -> Result<u32, RequestError> {
    if (1..=MAX_PAGE).contains(&limit) {
        return Ok(limit);
    }
    Err(refused(ErrorCode::InvalidInput, format!("limit: {limit}; use 1 to {MAX_PAGE}")))
}
