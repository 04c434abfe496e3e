//! `wrun schedule` and `wrun schedules`.

use wrun_protocol::Timestamp;
use wrun_protocol::limits::MAX_PAGE;
use wrun_protocol::schedule::Schedule;
use wrun_protocol::wire::schedule::{LeftOut, ScheduleFilter, ScheduleId, ScheduleRow};
use wrun_protocol::wire::user::{Request, Response};

use super::{Context, Ended};
use crate::client::{Client, blob, model, unexpected};
use crate::error::Error;
use crate::exit::Exit;
use crate::plan::{self, Plan};
use crate::report::table::Listing;
use crate::report::{human, json};
use crate::syntax::schedule::{Add, Named, Schedule as Args, ScheduleCommand, Schedules};

/// Adds, removes, pauses or resumes a schedule.
pub(crate) async fn schedule(context: &Context, args: &Args) -> Ended {
    match &args.command {
        ScheduleCommand::Add(args) => add(context, args).await,
        ScheduleCommand::Remove(named) => {
            change(context, named, Request::RemoveSchedule, "removed").await
        }
        ScheduleCommand::Pause(named) => {
            let pause = |schedule| Request::PauseSchedule { schedule, pause: true };
            change(context, named, pause, "paused").await
        }
        ScheduleCommand::Resume(named) => {
            let resume = |schedule| Request::PauseSchedule { schedule, pause: false };
            change(context, named, resume, "resumed").await
        }
    }
}

async fn add(context: &Context, args: &Add) -> Ended {
    let job = plan::load(Plan::of(&args.work)?, false)?;
    let mut schedule = Schedule {
        name: args.schedule.clone(),
        cron: args.cron.clone(),
        overlap: args.overlap.into(),
        missed: args.missed.into(),
        until: args.until.map(|until| until.instant(human::now())),
        spec: job.encoded.clone(),
    };
    schedule.check().map_err(|error| Error::new(Exit::InvalidInput, error.to_string()))?;
    let client = Client::connect(context.global.credential.as_ref()).await?;
    schedule.spec = model::pinned(&client, &job).await?;
    blob::upload(&client, context.console, &job.blobs).await?;
    client.done(&Request::AddSchedule(Box::new(schedule))).await?;
    client.close().await;
    changed(context, &args.schedule, "added")
}

async fn change(
    context: &Context,
    named: &Named,
    request: impl FnOnce(ScheduleId) -> Request,
    state: &'static str,
) -> Ended {
    let id = ScheduleId { tenant: named.tenant.clone(), name: named.schedule.clone() };
    let client = Client::connect(context.global.credential.as_ref()).await?;
    client.done(&request(id)).await?;
    client.close().await;
    changed(context, &named.schedule, state)
}

fn changed(context: &Context, name: &str, schedule_state: &'static str) -> Ended {
    let schedule = name.to_owned();
    if context.console.wants_json() {
        context.console.json(&json::ScheduleChange { schedule, schedule_state })?;
    } else {
        context.console.line(format_args!("schedule {schedule} is {schedule_state}"))?;
    }
    Ok(Exit::Success)
}

/// Lists schedules.
pub(crate) async fn schedules(context: &Context, args: &Schedules) -> Ended {
    let console = context.console;
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let rows = fetch(&client, args.all).await?;
    client.close().await;
    if console.wants_json() {
        console.json(&json::Schedules { schedules: rows.iter().map(Into::into).collect() })?;
        return Ok(Exit::Success);
    }
    if rows.is_empty() {
        console.note("no schedules");
        return Ok(Exit::Success);
    }
    let columns = ["NAME", "CRON", "NEXT", "LAST", ">JOB", "STATE", "NOTE"];
    let now = human::now();
    let rows = rows.iter().map(|row| (row.tenant.to_string(), cells(row, now)));
    console.line(Listing::by_tenant(console, &columns, args.all, rows))?;
    Ok(Exit::Success)
}

async fn fetch(client: &Client, all_tenants: bool) -> Result<Vec<ScheduleRow>, Error> {
    let mut rows: Vec<ScheduleRow> = Vec::new();
    loop {
        let after = rows.last().map(|row| (row.tenant.clone(), row.name.clone()));
        let filter = ScheduleFilter { all_tenants, after, limit: MAX_PAGE };
        let page = match client.ask(&Request::Schedules(filter)).await? {
            Response::Schedules(page) => page,
            other => return Err(unexpected(&other)),
        };
        let is_last = page.len() < MAX_PAGE as usize;
        rows.extend(page);
        if is_last {
            return Ok(rows);
        }
    }
}

fn cells(row: &ScheduleRow, now: Timestamp) -> Vec<String> {
    let none = || "-".to_owned();
    let next = match row.next {
        Some(next) => human::until(next, now),
        None if row.paused => "paused".to_owned(),
        None => "over".to_owned(),
    };
    let state = row.last.and_then(|last| last.state);
    vec![
        row.name.clone(),
        row.cron.to_string(),
        next,
        row.last.map_or_else(none, |last| human::ago(last.due, now)),
        row.last.map_or_else(none, |last| last.job.to_string()),
        state.map_or_else(none, |state| human::job_state(state).to_owned()),
        note(row, now).unwrap_or_default(),
    ]
}

/// What was left out since the last run.
fn note(row: &ScheduleRow, now: Timestamp) -> Option<String> {
    let LeftOut { due, why } = row.left_out.as_ref()?;
    let is_news = row.last.is_none_or(|last| last.due < *due);
    is_news.then(|| format!("left out {}: {}", human::ago(*due, now), human::why_left_out(why)))
}
