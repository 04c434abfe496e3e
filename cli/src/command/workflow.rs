//! Workflows: shown as a graph, followed to their end, run again; and which job is meant
//! where a step is named.

use std::time::Duration;

use wrun_protocol::JobId;
use wrun_protocol::wire::user::{JobDetail, JobProgress, Request, Response};
use wrun_protocol::wire::workflow::{StepDetail, WorkflowDetail};
use wrun_protocol::workflow::StepState;

use super::process::Signals;
use super::wait::Patience;
use super::{Context, Ended, jobs, output, wait};
use crate::client::{Answers, Client, submit, unexpected};
use crate::console::Console;
use crate::error::Error;
use crate::exit::Exit;
use crate::report::progress::WorkflowView;
use crate::report::table::clean;
use crate::report::{graph, human, json};
use crate::syntax::query::Rerun;
use crate::workflowfile::LoadedWorkflow;

/// How often the tasks of running steps are looked at: the watch tells of steps alone.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A number of `wrun submit`.
pub(crate) enum Found {
    Job(Box<JobDetail>),
    Workflow(Box<WorkflowDetail>),
}

/// What that number is.
pub(crate) async fn find(client: &Client, job: JobId) -> Result<Found, Error> {
    match client.ask(&Request::Job(job)).await? {
        Response::Job(detail) => Ok(Found::Job(detail)),
        Response::Workflow(detail) => Ok(Found::Workflow(detail)),
        other => Err(unexpected(&other)),
    }
}

/// The job of a step, or the job itself where no step is named.
pub(crate) async fn job_of(
    client: &Client,
    job: JobId,
    step: Option<&str>,
) -> Result<JobId, Error> {
    let Some(name) = step else { return Ok(job) };
    let detail = match find(client, job).await? {
        Found::Workflow(detail) => detail,
        Found::Job(_) => {
            let text = format!("job {job} is no workflow, and has no step `{name}`");
            return Err(Error::new(Exit::InvalidInput, text).todo("leave --step out"));
        }
    };
    let Some(step) = detail.steps.iter().find(|step| step.name == name) else {
        let text = format!("workflow {job} has no step `{name}`");
        return Err(Error::new(Exit::NotFound, text).todo(steps(&detail)));
    };
    step.job.ok_or_else(|| {
        let why = step.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let state = step.state.name();
        Error::new(Exit::Conflict, format!("step `{name}` is {state} and has no job{why}"))
            .todo(format!("see `wrun job {job}`"))
    })
}

/// What a command about tasks says that is given a workflow.
pub(crate) fn choose(detail: &WorkflowDetail) -> Error {
    let text = format!("{} is a workflow, and has no tasks of its own", detail.summary.id);
    Error::new(Exit::InvalidInput, text).todo(format!("choose with --step; {}", steps(detail)))
}

fn steps(detail: &WorkflowDetail) -> String {
    let names: Vec<&str> = detail.steps.iter().map(|step| step.name.as_str()).collect();
    format!("its steps are {}", names.join(", "))
}

/// The jobs whose output is the workflow's: of the steps that succeeded and that no other
/// needs, the last one included.
pub(crate) fn results(detail: &WorkflowDetail) -> Vec<JobId> {
    let needed = |place: usize| {
        detail
            .steps
            .iter()
            .any(|step| !step.finally && step.needs.iter().any(|need| usize::from(*need) == place))
    };
    let last = detail.steps.iter().enumerate();
    let last = last.filter(|(place, step)| step.state.is_success() && !needed(*place));
    last.filter_map(|(_, step)| step.job).collect()
}

/// Prints the graph, under what is to say of the whole.
pub(crate) fn show(console: Console, detail: &WorkflowDetail) -> Result<(), Error> {
    if console.wants_json() {
        return console.json(&json::WorkflowPage::from(detail));
    }
    let now = human::now();
    let workflow = &detail.summary;
    let when = |time| format!("{} ({})", human::date(time), human::ago(time, now));
    let mut lines = vec![
        ("workflow", format!("{} {}", workflow.id, workflow.name)),
        ("state", human::job_state(workflow.state).to_owned()),
        ("steps", counts(&detail.steps)),
        ("tenant", workflow.tenant.to_string()),
        ("submitted", when(workflow.submitted)),
    ];
    lines.extend(workflow.started.map(|time| ("started", when(time))));
    lines.extend(workflow.ended.map(|time| ("ended", when(time))));
    lines.push(("took", jobs::took(workflow, now)));
    lines.extend(detail.rerun_of.map(|job| ("rerun of", job.to_string())));
    for (name, value) in lines {
        console.line(format_args!("{name:<11}{}", clean(&value).trim()))?;
    }
    console.line("")?;
    console.line(graph::text(console, detail, now))
}

/// `4 (1 succeeded, 1 running, 2 waiting)`.
fn counts(steps: &[StepDetail]) -> String {
    let mut states: Vec<_> = steps.iter().map(|step| step.state).collect();
    // What is over first, then what comes next.
    states.sort_by_key(|state| match state {
        StepState::Running => (1, StepState::Waiting),
        StepState::Preparing => (2, StepState::Waiting),
        StepState::Waiting => (3, StepState::Waiting),
        over => (0, *over),
    });
    let parts: Vec<String> = states
        .chunk_by(|one, other| one == other)
        .filter_map(|alike| Some(format!("{} {}", alike.len(), alike.first()?.name())))
        .collect();
    format!("{} ({})", steps.len(), parts.join(", "))
}

/// Follows a workflow to its end, showing how its steps stand. The server may restart
/// meanwhile.
pub(crate) async fn follow(
    client: &mut Client,
    console: Console,
    job: JobId,
) -> Result<WorkflowDetail, Error> {
    let mut view = WorkflowView::new(console);
    let mut patience = Patience::new(console);
    let ended = loop {
        match watch(client, job, &mut view).await {
            Ok(last) => break Ok(last),
            Err(error) => {
                if let Err(error) = patience.reconnect(client, error).await {
                    break Err(error);
                }
            }
        }
    };
    view.finish();
    ended
}

async fn watch(
    client: &Client,
    job: JobId,
    view: &mut WorkflowView,
) -> Result<WorkflowDetail, Error> {
    let mut answers = client.stream(&Request::Watch(job)).await?;
    loop {
        let progress = next(&mut answers).await?;
        let detail = match client.ask(&Request::Workflow(job)).await? {
            Response::Workflow(detail) => *detail,
            other => return Err(unexpected(&other)),
        };
        view.show(&detail)?;
        if progress.is_some_and(|progress| progress.state.is_terminal()) {
            return Ok(detail);
        }
    }
}

/// The next word of the watch; `None` where there is none for a while.
async fn next(answers: &mut Answers) -> Result<Option<JobProgress>, Error> {
    match tokio::time::timeout(LOOK_EVERY, answers.one()).await {
        Ok(Ok(Response::Progress(progress))) => Ok(Some(progress)),
        Ok(Ok(other)) => Err(unexpected(&other)),
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// The last line.
pub(crate) fn tell_end(console: Console, detail: &WorkflowDetail, exit: Exit) -> Result<(), Error> {
    let workflow = &detail.summary;
    let (job, state) = (workflow.id, human::job_state(workflow.state));
    if console.wants_json() {
        return console.json(&json::Event::Ended {
            job: job.0,
            state,
            tasks: workflow.tasks.into(),
            failure: None,
            exit_code: exit.code(),
        });
    }
    console.note(format_args!("workflow {job} {state}: {}", counts(&detail.steps)));
    let failed = detail.steps.iter().find(|step| step.state.is_failure() && !step.may_fail);
    if let Some(step) = failed {
        let why = match (&step.why, step.job) {
            (Some(why), _) => why.to_string(),
            (None, Some(job)) => format!("see `wrun job {job}`"),
            (None, None) => step.state.name().to_owned(),
        };
        let name = &step.name;
        console.note(format_args!("first failure: step `{name}`: {}", clean(&why)));
        console.note(format_args!("`wrun rerun {job}` runs it again and reuses what succeeded"));
    }
    Ok(())
}

/// Waits for the end.
pub(crate) async fn wait(client: &mut Client, console: Console, job: JobId) -> Ended {
    let last = follow(client, console, job).await?;
    let exit = wait::exit_of(last.summary.state);
    tell_end(console, &last, exit)?;
    Ok(exit)
}

/// Submits, follows, and prints what the workflow made.
pub(crate) async fn run(context: &Context, workflow: &LoadedWorkflow) -> Ended {
    let console = context.console;
    let mut client = Client::connect(context.global.credential.as_ref()).await?;
    let id = submit::submit_workflow(&mut client, console, workflow).await?;
    if console.wants_json() {
        console.json(&json::Event::Submitted { job: id.0 })?;
    }
    let mut signals = Signals::listen()?;
    let canceller = client.clone();
    let ended = {
        let attached = follow_and_print(&mut client, console, id);
        tokio::pin!(attached);
        tokio::select! {
            ended = &mut attached => ended,
            () = signals.next() => {
                if !console.wants_json() {
                    console.note(format_args!("cancelling workflow {id}; Ctrl-C again to leave at once"));
                }
                signals.unless_again(async {
                    // Refused where it has just ended, which is what was wanted.
                    let _ = canceller.done(&Request::Cancel(id)).await;
                    attached.await
                }).await
            }
        }
    };
    match ended {
        Err(error) if error.exit() == Exit::Unavailable => {
            Err(error.todo(format_args!("the workflow goes on: see `wrun wait {id}`")))
        }
        ended => {
            client.close().await;
            ended
        }
    }
}

async fn follow_and_print(client: &mut Client, console: Console, id: JobId) -> Ended {
    let last = follow(client, console, id).await?;
    print_results(client, console, &last, true).await?;
    let exit = wait::exit_of(last.summary.state);
    tell_end(console, &last, exit)?;
    Ok(exit)
}

/// The outputs of the steps that no other needs.
pub(crate) async fn print_results(
    client: &Client,
    console: Console,
    detail: &WorkflowDetail,
    among_events: bool,
) -> Result<(), Error> {
    for job in results(detail) {
        let Found::Job(child) = find(client, job).await? else { continue };
        for index in 0..super::logs::count_of(&child) {
            output::print_task(client, console, job, index, among_events).await?;
        }
    }
    Ok(())
}

/// Runs it again.
pub(crate) async fn rerun(context: &Context, args: &Rerun) -> Ended {
    let mut client = Client::connect(context.global.credential.as_ref()).await?;
    let console = context.console;
    let id = submit::rerun(&mut client, console, args.job, args.from.as_deref()).await?;
    client.close().await;
    if console.wants_json() {
        console.json(&json::Submitted { job: id.0 })?;
    } else {
        console.line(id)?;
    }
    Ok(Exit::Success)
}
