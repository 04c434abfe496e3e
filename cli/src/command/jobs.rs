//! `wrun jobs`: the listing.

use wrun_protocol::limits::MAX_PAGE;
use wrun_protocol::wire::user::{JobFilter, JobSummary, Request, Response};
use wrun_protocol::wire::workflow::JobKind;

use super::{Context, Ended};
use crate::client::{Client, unexpected};
use crate::error::Error;
use crate::exit::Exit;
use crate::report::table::Listing;
use crate::report::{human, json};
use crate::syntax::query::Jobs;

/// Lists jobs, newest first.
pub(crate) async fn jobs(context: &Context, args: &Jobs) -> Ended {
    let console = context.console;
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let jobs = fetch(&client, args).await?;
    let kinds = kinds(&client, &jobs).await?;
    client.close().await;
    if console.wants_json() {
        let rows = jobs.iter().zip(&kinds);
        let jobs = rows.map(|(job, kind)| json::ListedJob::of(job, *kind)).collect();
        console.json(&json::JobList { jobs })?;
        return Ok(Exit::Success);
    }
    if jobs.is_empty() {
        console.note("no jobs");
        return Ok(Exit::Success);
    }
    let mut columns =
        vec![">ID", "NAME", "STATE", ">TASKS", ">ENDED", ">FAILED", "SUBMITTED", ">TOOK"];
    if args.all {
        columns.insert(1, "TENANT");
    }
    // Where there are only jobs, nothing is to be told apart.
    let tells_kind = kinds.iter().any(|kind| *kind != JobKind::Job);
    if tells_kind {
        columns.push("KIND");
    }
    let mut listing = Listing::new(console, &columns);
    let now = human::now();
    for (job, kind) in jobs.iter().zip(&kinds) {
        let mut row = vec![
            job.id.to_string(),
            job.name.clone(),
            human::job_state(job.state).to_owned(),
            human::total(&job.tasks).to_string(),
            human::ended(&job.tasks).to_string(),
            job.tasks.failed.to_string(),
            human::ago(job.submitted, now),
            took(job, now),
        ];
        if args.all {
            row.insert(1, job.tenant.to_string());
        }
        if tells_kind {
            row.push(match kind {
                JobKind::Job => "job".to_owned(),
                JobKind::Workflow => "workflow".to_owned(),
                JobKind::Step(workflow) => format!("step of {workflow}"),
                JobKind::Revision(Some(revision)) => format!("service, revision {revision}"),
                JobKind::Revision(None) => "service".to_owned(),
            });
        }
        listing.row(row);
    }
    console.line(listing.text())?;
    Ok(Exit::Success)
}

/// What each of them is.
async fn kinds(client: &Client, jobs: &[JobSummary]) -> Result<Vec<JobKind>, Error> {
    let mut kinds = Vec::with_capacity(jobs.len());
    for page in jobs.chunks(MAX_PAGE as usize) {
        let ids = page.iter().map(|job| job.id).collect();
        match client.ask(&Request::JobKinds(ids)).await? {
            Response::JobKinds(more) if more.len() == page.len() => kinds.extend(more),
            other => return Err(unexpected(&other)),
        }
    }
    Ok(kinds)
}

/// From the first task's placement to the end, or to now.
pub(crate) fn took(job: &JobSummary, now: wrun_protocol::Timestamp) -> String {
    match job.started {
        Some(started) => match job.ended.unwrap_or(now).since(started) {
            // Instants are known to the millisecond.
            none if none.is_zero() => "<1ms".to_owned(),
            time => human::took(time),
        },
        None => "-".to_owned(),
    }
}

async fn fetch(client: &Client, args: &Jobs) -> Result<Vec<JobSummary>, Error> {
    let mut jobs: Vec<JobSummary> = Vec::new();
    let wanted = args.limit.0 as usize;
    let mut before = args.before;
    while jobs.len() < wanted {
        let limit = u32::try_from(wanted - jobs.len()).unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let state = args.state.map(Into::into);
        let filter = JobFilter { all_tenants: args.all, state, before, limit };
        let page = match client.ask(&Request::Jobs(filter)).await? {
            Response::Jobs(page) => page,
            other => return Err(unexpected(&other)),
        };
        before = page.last().map(|job| job.id);
        let is_last = page.len() < limit as usize;
        jobs.extend(page);
        if is_last || before.is_none() {
            break;
        }
    }
    Ok(jobs)
}
