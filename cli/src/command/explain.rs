//! `wrun explain`: why a job waits, and what each step of a workflow waits for.

use wrun_protocol::JobId;
use wrun_protocol::wire::policy::Why;
use wrun_protocol::wire::user::{Request, Response};
use wrun_protocol::wire::workflow::WorkflowDetail;
use wrun_protocol::workflow::StepState;

use super::workflow::{Found, find};
use super::{Context, Ended};
use crate::client::{Client, unexpected};
use crate::error::Error;
use crate::exit::Exit;
use crate::report::explain::{OpenStep, text, workflow_text};
use crate::report::{human, json};
use crate::syntax::policy::Explain;

/// Explains why a job or the steps of a workflow wait.
pub(crate) async fn explain(context: &Context, args: &Explain) -> Ended {
    let console = context.console;
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let workflow = match find(&client, args.job).await? {
        Found::Workflow(detail) => Some(detail),
        Found::Job(_) => None,
    };
    let now = human::now();
    match workflow.filter(|workflow| !workflow.summary.state.is_terminal()) {
        Some(workflow) => {
            let open = open_steps(&client, &workflow).await?;
            if console.wants_json() {
                console.json(&json::WorkflowExplanation::of(&workflow, &open))?;
            } else {
                console.line(workflow_text(&workflow, &open, now))?;
            }
        }
        None => {
            let why = why(&client, args.job).await?;
            if console.wants_json() {
                console.json(&json::Explanation::from(&why))?;
            } else {
                console.line(text(&why, now))?;
            }
        }
    }
    client.close().await;
    Ok(Exit::Success)
}

async fn why(client: &Client, job: JobId) -> Result<Why, Error> {
    match client.ask(&Request::Why(job)).await? {
        Response::Why(why) => Ok(*why),
        other => Err(unexpected(&other)),
    }
}

async fn open_steps<'a>(
    client: &Client,
    workflow: &'a WorkflowDetail,
) -> Result<Vec<OpenStep<'a>>, Error> {
    let mut open = Vec::new();
    for step in workflow.steps.iter().filter(|step| !step.state.is_terminal()) {
        let why = match step.job.filter(|_| step.state == StepState::Running) {
            Some(job) => match why(client, job).await {
                Ok(why) => Some(why),
                // It has ended since the workflow was looked at.
                Err(error) if error.exit() == Exit::Conflict => None,
                Err(error) => return Err(error),
            },
            None => None,
        };
        open.push(OpenStep { step, why });
    }
    Ok(open)
}
