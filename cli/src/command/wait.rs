//! `wrun wait`, and following a job to its end as `run` does, too.

mod part;

use std::time::Duration;

use wrun_protocol::JobId;
use wrun_protocol::wire::user::{JobProgress, JobState, Request, Response};

use super::workflow::{self, Found};
use super::{Context, Ended};
use crate::client::{Client, unexpected};
use crate::console::Console;
use crate::error::Error;
use crate::exit::Exit;
use crate::report::progress::JobView;
use crate::report::{human, json};
use crate::syntax::query::Wait;
use part::Part;

/// How often a lost server is looked for again, and how long in between.
const RECONNECTIONS: u32 = 60;
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// Waits until the job has ended.
pub(crate) async fn wait(context: &Context, args: &Wait) -> Ended {
    let mut client = Client::connect(context.global.credential.as_ref()).await?;
    if let Found::Workflow(detail) = workflow::find(&client, args.job).await? {
        if args.task.is_some() {
            return Err(workflow::choose(&detail));
        }
        let ended = workflow::wait(&mut client, context.console, args.job).await;
        client.close().await;
        return ended;
    }
    let mut part = match &args.task {
        Some(indices) => Some(Part::of(&client, args.job, indices).await?),
        None => None,
    };
    let last = follow_some(&mut client, context.console, args.job, part.as_mut()).await?;
    let exit = exit_of(last.state);
    let named = match &args.task {
        Some(indices) => format!("tasks {indices} of job {}", args.job),
        None => format!("job {}", args.job),
    };
    tell_end_of(context.console, args.job, &named, &last, exit)?;
    client.close().await;
    Ok(exit)
}

/// How the command ends for a job that ended so.
pub(crate) fn exit_of(state: JobState) -> Exit {
    match state {
        JobState::Succeeded => Exit::Success,
        JobState::Cancelled => Exit::Cancelled,
        _ => Exit::JobFailed,
    }
}

/// Shows a job's progress until it has ended. The server may restart meanwhile.
pub(crate) async fn follow(
    client: &mut Client,
    console: Console,
    job: JobId,
) -> Result<JobProgress, Error> {
    follow_some(client, console, job, None).await
}

/// The same, of `part` of its tasks where there is one: until they have ended.
async fn follow_some(
    client: &mut Client,
    console: Console,
    job: JobId,
    mut part: Option<&mut Part>,
) -> Result<JobProgress, Error> {
    let mut view = JobView::new(console, job);
    let mut patience = Patience::new(console);
    let ended = loop {
        match watch(client, job, &mut view, part.as_deref_mut()).await {
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

/// Looks for a server that was lost, for a minute at most.
pub(super) struct Patience {
    console: Console,
    left: u32,
}

impl Patience {
    pub(super) fn new(console: Console) -> Self {
        Self { console, left: RECONNECTIONS }
    }

    /// Tries to connect again after `error`, and gives it back where that is in vain.
    pub(super) async fn reconnect(
        &mut self,
        client: &mut Client,
        error: Error,
    ) -> Result<(), Error> {
        if self.left == 0 || error.exit() != Exit::Unavailable {
            return Err(error);
        }
        if self.left == RECONNECTIONS && !self.console.wants_json() {
            self.console.note(format_args!("lost the server ({error}); trying for a minute"));
        }
        self.left -= 1;
        tokio::time::sleep(RECONNECT_AFTER).await;
        if client.reconnect().await.is_ok() {
            self.left = RECONNECTIONS;
        }
        Ok(())
    }
}

async fn watch(
    client: &Client,
    job: JobId,
    view: &mut JobView,
    mut part: Option<&mut Part>,
) -> Result<JobProgress, Error> {
    let mut answers = client.stream(&Request::Watch(job)).await?;
    loop {
        let progress = match answers.one().await? {
            Response::Progress(progress) => progress,
            other => return Err(unexpected(&other)),
        };
        if let Some(part) = &mut part {
            if let Some(ended) = part.look(client).await? {
                return Ok(ended);
            }
        } else if progress.state.is_terminal() {
            return Ok(progress);
        }
        view.show(&progress)?;
    }
}

/// The last line.
pub(crate) fn tell_end(
    console: Console,
    job: JobId,
    last: &JobProgress,
    exit: Exit,
) -> Result<(), Error> {
    tell_end_of(console, job, &format!("job {job}"), last, exit)
}

/// The same of a part of the job, or of all of it: of what is `named` so.
fn tell_end_of(
    console: Console,
    job: JobId,
    named: &str,
    last: &JobProgress,
    exit: Exit,
) -> Result<(), Error> {
    if console.wants_json() {
        return console.json(&json::Event::Ended {
            job: job.0,
            state: human::job_state(last.state),
            tasks: last.tasks.into(),
            failure: last.failure.as_ref().map(json::Outcome::from),
            exit_code: exit.code(),
        });
    }
    let state = human::job_state(last.state);
    console.note(format_args!("{named} {state} ({})", human::counts(&last.tasks)));
    if let Some(failure) = &last.failure {
        let failure = crate::report::table::clean(&human::outcome(failure));
        console.note(format_args!("first failure: {failure}; see `wrun job {job} --state failed`"));
    }
    Ok(())
}
