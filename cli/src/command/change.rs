//! `wrun hold`, `release`, `requeue`, `retry` and `update`: changes of jobs that live.

use wrun_protocol::JobId;
use wrun_protocol::wire::policy::{JobChange, TaskSet};
use wrun_protocol::wire::user::Request;

use super::{Context, Ended};
use crate::client::Client;
use crate::exit::Exit;
use crate::report::{human, json};
use crate::syntax::policy::{Hold, Release, Requeue, Retry, Update};
use crate::value::Indices;

/// Holds jobs.
pub(crate) async fn hold(context: &Context, args: &Hold) -> Ended {
    each(context, &args.jobs, true, "held").await
}

/// Releases jobs.
pub(crate) async fn release(context: &Context, args: &Release) -> Ended {
    each(context, &args.jobs, false, "released").await
}

/// Goes on after a refusal, and ends with the last one's code.
async fn each(context: &Context, jobs: &[JobId], hold: bool, change: &'static str) -> Ended {
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let mut exit = Exit::Success;
    for job in jobs {
        let request = Request::Change { job: *job, change: JobChange::Hold(hold) };
        let result = client.done(&request).await;
        let done = result.is_ok();
        if let Err(error) = result {
            exit = error.exit();
            context.console.error(&error);
        }
        say(context, *job, change, done)?;
    }
    client.close().await;
    Ok(exit)
}

/// Puts placed tasks back.
pub(crate) async fn requeue(context: &Context, args: &Requeue) -> Ended {
    let tasks = task_set(args.task.as_ref());
    one(context, args.job, vec![Request::Requeue { job: args.job, tasks }], "requeued").await
}

/// Runs failed tasks again.
pub(crate) async fn retry(context: &Context, args: &Retry) -> Ended {
    let tasks = task_set(args.task.as_ref());
    one(context, args.job, vec![Request::Retry { job: args.job, tasks }], "retried").await
}

/// Changes what was submitted.
pub(crate) async fn update(context: &Context, args: &Update) -> Ended {
    let now = human::now();
    let changes = [
        args.priority.map(|priority| JobChange::Priority(priority.0)),
        args.nice.map(|nice| JobChange::Nice(nice.0)),
        args.time_limit.as_ref().map(|limit| JobChange::TimeLimit(limit.0.map(|span| span.ms))),
        args.begin.as_ref().map(|at| JobChange::Begin(at.0.map(|at| at.instant(now)))),
        args.deadline.as_ref().map(|at| JobChange::Deadline(at.0.map(|at| at.instant(now)))),
        args.partition.as_ref().map(|name| JobChange::Partition(name.0.clone())),
        args.qos.as_ref().map(|name| JobChange::Qos(name.0.clone())),
        args.max_running.as_ref().map(|most| JobChange::MaxRunning(most.0.map(|most| most.0))),
    ];
    let requests = changes.into_iter().flatten();
    let requests = requests.map(|change| Request::Change { job: args.job, change }).collect();
    one(context, args.job, requests, "updated").await
}

/// The set of tasks that `--task` names.
pub(crate) fn task_set(indices: Option<&Indices>) -> TaskSet {
    indices.map_or(TaskSet::All, |indices| TaskSet::Ranges(indices.0.clone()))
}

async fn one(context: &Context, job: JobId, requests: Vec<Request>, change: &'static str) -> Ended {
    let client = Client::connect(context.global.credential.as_ref()).await?;
    for request in &requests {
        client.done(request).await?;
    }
    client.close().await;
    say(context, job, change, true)?;
    Ok(Exit::Success)
}

fn say(
    context: &Context,
    job: JobId,
    change: &'static str,
    done: bool,
) -> Result<(), crate::error::Error> {
    if context.console.wants_json() {
        return context.console.json(&json::Changed { job: job.0, change, done });
    }
    if done { context.console.line(format_args!("job {job} is {change}")) } else { Ok(()) }
}
