//! What the last step of a workflow is told of the others: a JSON file of what became of each.

use bytes::Bytes;
use serde::Serialize;
use wrun_core::workflow::{Outcomes, Preparation};
use wrun_protocol::job::Mount;
use wrun_protocol::task::{Content, Failure, Outcome};
use wrun_protocol::wire::user::{TaskDetail, TaskState};
use wrun_protocol::wire::workflow::StepDetail;
use wrun_protocol::workflow::OUTCOMES_PATH;

use super::{Hitch, content};
use crate::requests::{recorded_task, recorded_tasks};
use crate::shared::Shared;

/// The file. Its fields are those of `wrun job ID --json`, and some more of each step.
#[derive(Serialize)]
struct File<'a> {
    workflow: u64,
    name: &'a str,
    cancelled: bool,
    steps: Vec<Step<'a>>,
}

#[derive(Serialize)]
struct Step<'a> {
    name: &'a str,
    state: &'static str,
    may_fail: bool,
    job: Option<u64>,
    tasks: Tasks,
    started_ms: Option<u64>,
    ended_ms: Option<u64>,
    why: Option<String>,
    /// The rest is of one task: the first that failed, or else the first.
    task: Option<u32>,
    attempts: Option<u32>,
    exit_code: Option<i32>,
    failure: Option<String>,
}

#[derive(Serialize)]
struct Tasks {
    succeeded: u32,
    failed: u32,
    cancelled: u32,
}

/// The file as a mount. The same facts make the same bytes, before and after a restart.
pub(super) async fn mount(
    shared: &Shared,
    of: &Preparation,
    outcomes: &Outcomes,
) -> Result<Mount, Hitch> {
    let mut steps = Vec::with_capacity(outcomes.steps.len());
    for step in &outcomes.steps {
        let task = telling_task(shared, step).await?;
        steps.push(of_step(step, task.as_ref()));
    }
    let file = File {
        workflow: of.workflow.0,
        name: &outcomes.name,
        cancelled: outcomes.cancelled,
        steps,
    };
    let mut bytes =
        serde_json::to_vec_pretty(&file).map_err(|error| Hitch::failed(error.to_string()))?;
    bytes.push(b'\n');
    let bytes = Content::Inline(Bytes::from(bytes));
    let (digest, size) = content::as_blob(shared, &of.tenant, bytes).await?;
    Ok(Mount { path: OUTCOMES_PATH.to_owned(), digest, size })
}

/// The task that says most about its step; none where the step had no job, or where the history
/// has forgotten it, as it may of an earlier run.
async fn telling_task(shared: &Shared, step: &StepDetail) -> Result<Option<TaskDetail>, Hitch> {
    let Some(job) = step.job else { return Ok(None) };
    if step.tasks.failed > 0 {
        let failed = recorded_tasks(shared, job, 0, 1, Some(TaskState::Failed)).await?;
        if let Some(task) = failed.into_iter().next() {
            return Ok(Some(task));
        }
    }
    Ok(recorded_task(shared, job.task(0)).await?.map(|task| task.detail))
}

fn of_step<'a>(step: &'a StepDetail, task: Option<&TaskDetail>) -> Step<'a> {
    let outcome = task.and_then(|task| task.outcome.as_ref());
    Step {
        name: &step.name,
        state: step.state.name(),
        may_fail: step.may_fail,
        job: step.job.map(|job| job.0),
        tasks: Tasks {
            succeeded: step.tasks.succeeded,
            failed: step.tasks.failed,
            cancelled: step.tasks.cancelled,
        },
        started_ms: step.started.map(|at| at.0),
        ended_ms: step.ended.map(|at| at.0),
        why: step.why.as_ref().map(ToString::to_string),
        task: task.map(|task| task.index),
        attempts: task.map(|task| task.attempts),
        exit_code: match outcome {
            Some(Outcome::Succeeded) => Some(0),
            Some(Outcome::Failed(Failure::Exit { code })) => Some(*code),
            _ => None,
        },
        failure: match outcome {
            Some(Outcome::Failed(failure)) => Some(failure.to_string()),
            _ => None,
        },
    }
}
