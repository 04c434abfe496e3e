//! `wrun job`: one job on a page.

use wrun_protocol::job::Input;
use wrun_protocol::limits::MAX_PAGE;
use wrun_protocol::resources::Bytes;
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::{
    JobDetail, RememberedTasks, Request, Response, TaskCounts, TaskDetail,
};
use wrun_protocol::{JobId, JobSpec, Timestamp};

use super::workflow::{self, Found};
use super::{Context, Ended, jobs};
use crate::client::{Client, remembered, unexpected};
use crate::console::Console;
use crate::error::Error;
use crate::exit::Exit;
use crate::report::table::{Listing, clean};
use crate::report::{human, json};
use crate::syntax::query::Job;

/// Shows one job.
pub(crate) async fn job(context: &Context, args: &Job) -> Ended {
    let console = context.console;
    let client = Client::connect(context.global.credential.as_ref()).await?;
    if args.priority {
        return priority(context, &client, args.job).await;
    }
    let id = workflow::job_of(&client, args.job, args.step.as_deref()).await?;
    let detail = match workflow::find(&client, id).await? {
        Found::Job(detail) => detail,
        Found::Workflow(detail) => {
            client.close().await;
            workflow::show(console, &detail)?;
            return Ok(Exit::Success);
        }
    };
    let tasks = fetch(&client, id, args).await?;
    let spec = detail.spec.decode().ok();
    let known = remembered::fetch(&client, id, spec.as_ref()).await?;
    client.close().await;
    if console.wants_json() {
        console.json(&page(&detail, spec.as_ref(), &tasks, &known))?;
        return Ok(Exit::Success);
    }
    let now = human::now();
    console.line(head(&detail, spec.as_ref(), &known, now))?;
    if !tasks.is_empty() {
        console.line("")?;
        console.line(table(console, &tasks, &known, now))?;
    }
    if let Some(details) = detail.failure.as_ref().and_then(human::details) {
        console.line("\nfirst failure")?;
        details.lines().try_for_each(|line| console.line(format_args!("  {}", clean(line))))?;
    }
    let total = human::total(&detail.summary.tasks);
    if args.state.is_none() && (tasks.len() as u64) < total && !tasks.is_empty() {
        console.note(format_args!(
            "{} of {total} tasks; more with --limit, --from and --state",
            tasks.len()
        ));
    }
    Ok(Exit::Success)
}

/// How the job's priority comes about, a factor a line.
async fn priority(context: &Context, client: &Client, job: JobId) -> Ended {
    let console = context.console;
    let detail = match client.ask(&Request::Priority(job)).await? {
        Response::Priority(detail) => detail,
        other => return Err(unexpected(&other)),
    };
    client.close().await;
    if console.wants_json() {
        let factors = detail.factors.iter().map(Into::into).collect();
        let total_priority = detail.total;
        console.json(&json::JobPriority { job: job.0, total_priority, factors })?;
        return Ok(Exit::Success);
    }
    let mut listing = Listing::new(console, &["FACTOR", ">VALUE", ">WEIGHT", ">POINTS"]);
    for part in &detail.factors {
        let whole = matches!(part.name.as_str(), "user" | "nice");
        let value = match whole {
            true => part.factor.to_string(),
            false => format!("{:.3}", part.factor as f64 / 1e6),
        };
        let row = [part.name.clone(), value, part.weight.to_string(), part.points.to_string()];
        listing.row(row);
    }
    let total = ["total".to_owned(), String::new(), String::new(), detail.total.to_string()];
    listing.row(total);
    console.line(listing.text())?;
    Ok(Exit::Success)
}

async fn fetch(client: &Client, job: JobId, args: &Job) -> Result<Vec<TaskDetail>, Error> {
    let mut tasks: Vec<TaskDetail> = Vec::new();
    let wanted = args.limit.0 as usize;
    let mut from = args.from;
    while tasks.len() < wanted {
        let limit = u32::try_from(wanted - tasks.len()).unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let state = args.state.map(Into::into);
        let page = match client.ask(&Request::Tasks { job, from, limit, state }).await? {
            Response::Tasks(page) => page,
            other => return Err(unexpected(&other)),
        };
        let Some(last) = page.last().map(|task| task.index) else { break };
        let is_last = page.len() < limit as usize;
        tasks.extend(page);
        match last.checked_add(1) {
            Some(next) if !is_last => from = next,
            _ => break,
        }
    }
    Ok(tasks)
}

fn page(
    detail: &JobDetail,
    spec: Option<&JobSpec>,
    tasks: &[TaskDetail],
    known: &[RememberedTasks],
) -> json::JobPage {
    json::JobPage {
        job: (&detail.summary).into(),
        spec: spec.map(json::Spec::from),
        usage: detail.usage.into(),
        pending_reason: detail.pending_reason.clone(),
        failure: detail.failure.as_ref().map(json::Outcome::from),
        remembered: known.iter().map(Into::into).collect(),
        tasks_shown: tasks.iter().map(json::Task::from).collect(),
    }
}

/// Everything but the tasks: a line for each thing that there is to say.
fn head(
    detail: &JobDetail,
    spec: Option<&JobSpec>,
    known: &[RememberedTasks],
    now: Timestamp,
) -> String {
    let job = &detail.summary;
    let when = |time: Timestamp| format!("{} ({})", human::date(time), human::ago(time, now));
    let mut lines = vec![
        ("job", format!("{} {}", job.id, job.name)),
        ("state", human::job_state(job.state).to_owned()),
        ("tasks", format!("{} ({})", human::total(&job.tasks), counts(&job.tasks, known))),
    ];
    if !known.is_empty() {
        let origins = remembered::origins(known);
        lines.push(("remembered", format!("from {origins}: these results are not of this job")));
    }
    if let Some(reason) = &detail.pending_reason {
        lines.push(("waits for", reason.clone()));
    }
    if let Some(failure) = &detail.failure {
        lines.push(("failure", human::outcome(failure)));
    }
    lines.push(("tenant", job.tenant.to_string()));
    lines.push(("priority", job.priority.to_string()));
    lines.push(("submitted", when(job.submitted)));
    lines.extend(job.started.map(|time| ("started", when(time))));
    lines.extend(job.ended.map(|time| ("ended", when(time))));
    lines.push(("took", jobs::took(job, now)));
    let usage = &detail.usage;
    if usage.wall_us > 0 {
        let micros = std::time::Duration::from_micros;
        lines.push((
            "used",
            format!(
                "{} of CPU over {} of running, at most {} of memory at once",
                human::took(micros(usage.cpu_us)),
                human::took(micros(usage.wall_us)),
                Bytes(usage.peak_memory)
            ),
        ));
    }
    if let Some(spec) = spec {
        lines.extend(described(spec));
    }
    let text: Vec<String> =
        lines.iter().map(|(name, value)| format!("{name:<11}{}", clean(value).trim())).collect();
    text.join("\n")
}

fn counts(tasks: &TaskCounts, known: &[RememberedTasks]) -> String {
    let mut text = human::counts(tasks);
    if !known.is_empty() {
        text += &format!(", {} remembered", remembered::count(known));
    }
    text
}

/// What was asked for; what is at its default is left out.
fn described(spec: &JobSpec) -> Vec<(&'static str, String)> {
    let mut lines =
        vec![("component", spec.component.to_string()), ("each task", spec.resources.to_string())];
    if !spec.args.is_empty() {
        lines.push(("arguments", spec.args.join(" ")));
    }
    for (key, value) in &spec.env {
        lines.push(("env", format!("{key}={value}")));
    }
    match &spec.input {
        Input::Empty => {}
        Input::Content(content) => lines.push(("input", Bytes(Content::size(content)).to_string())),
        Input::Attached => lines.push(("input", "streamed by `wrun run`".to_owned())),
        Input::Each(_) => {
            let items = if spec.count == 1 { "item" } else { "items" };
            lines.push(("input", format!("one of {} {items}", spec.count)));
        }
    }
    match spec.mounts.as_slice() {
        [] => {}
        [one] => lines.push(("mount", one.path.clone())),
        [first, rest @ ..] => {
            lines.push(("mounts", format!("{} and {} more", first.path, rest.len())))
        }
    }
    for model in &spec.inference.models {
        let (digest, reference) = (model.version.digest.short(), model.reference());
        lines.push(("model", format!("{} = {reference} ({digest})", model.name)));
    }
    if spec.inference.load {
        lines.push(("models", "may be loaded from bytes of its own".to_owned()));
    }
    let time = |ms| human::took(std::time::Duration::from_millis(ms));
    lines.extend(spec.limits.wall_ms.map(|ms| ("time limit", time(ms))));
    lines.extend(spec.limits.cpu_ms.map(|ms| ("CPU limit", time(ms))));
    if spec.retry.retries > 0 {
        let retry = &spec.retry;
        lines.push((
            "retries",
            format!("{}, the first after {}", retry.retries, time(retry.backoff_ms)),
        ));
    }
    if spec.scheduling.cache {
        lines.push(("cache", "results are remembered".to_owned()));
    }
    if !spec.labels.is_empty() {
        let labels: Vec<String> =
            spec.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        lines.push(("nodes with", labels.join(",")));
    }
    lines
}

fn table(
    console: Console,
    tasks: &[TaskDetail],
    known: &[RememberedTasks],
    now: Timestamp,
) -> String {
    let columns =
        [">TASK", "STATE", ">ATTEMPTS", "NODE", "STARTED", ">TOOK", ">CPU", ">MEMORY", "RESULT"];
    let mut listing = Listing::new(console, &columns);
    for task in tasks {
        listing.row(row(task, known, now));
    }
    listing.text()
}

fn row(task: &TaskDetail, known: &[RememberedTasks], now: Timestamp) -> [String; 9] {
    let dash = || "-".to_owned();
    let measured = task.usage.wall_us > 0;
    let micros = |us| human::took(std::time::Duration::from_micros(us));
    let took = match (measured, task.started, task.ended) {
        (true, ..) => micros(task.usage.wall_us),
        (_, Some(started), None) => human::took(now.since(started)),
        _ => dash(),
    };
    let node = task.node_name.clone().or_else(|| task.node.map(|node| node.to_string()));
    let result = match (&task.outcome, &task.progress) {
        (Some(outcome), _) if !outcome.is_success() => human::outcome(outcome),
        (None, Some((permille, message))) => {
            format!("{:.1}% {message}", f64::from(*permille) / 10.0)
        }
        _ => known
            .iter()
            .find(|of| of.tasks.contains(task.index))
            .map_or_else(String::new, |of| format!("remembered from job {}", of.from)),
    };
    [
        task.index.to_string(),
        human::task_state(task.state).to_owned(),
        task.attempts.to_string(),
        node.unwrap_or_else(dash),
        task.started.map_or_else(dash, |time| human::ago(time, now)),
        took,
        if measured { micros(task.usage.cpu_us) } else { dash() },
        if measured { Bytes(task.usage.peak_memory).to_string() } else { dash() },
        result,
    ]
}
