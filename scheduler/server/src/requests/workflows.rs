//! Workflows: submitted, shown, run again. The job of each step is checked as a submission
//! is, since the core submits it later and looks into no component.

use wrun_core::workflow::{WorkflowRecord, step_of_submit_id};
use wrun_core::{Answer, Input};
use wrun_protocol::wire::user::{ErrorCode, RequestError, Response};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::wire::workflow::WorkflowDetail;
use wrun_protocol::workflow::{EncodedWorkflow, Reused, StepState, Workflow};
use wrun_protocol::{JobId, SubmitId};
use wrun_store::JobRow;

use super::{recorded, refused, submit};
use crate::authorise::{Caller, no_such_job};
use crate::shared::Shared;

/// What a workflow takes from an earlier run.
#[derive(Default)]
struct Earlier {
    rerun_of: Option<JobId>,
    reused: Vec<Reused>,
}

pub(super) async fn on_submit(
    shared: &Shared,
    caller: &Caller,
    id: SubmitId,
    workflow: &EncodedWorkflow,
) -> Result<Response, RequestError> {
    if let Some(job) = submitted(shared, caller, id).await? {
        return Ok(Response::Submitted(vec![Ok(job)]));
    }
    let (decoded, _) =
        workflow.decode().map_err(|error| refused(ErrorCode::InvalidInput, error.to_string()))?;
    let job = submit(shared, caller, id, decoded, Earlier::default()).await?;
    Ok(Response::Submitted(vec![Ok(job)]))
}

/// The ended workflow that this submission made; of a live one the core knows.
async fn submitted(
    shared: &Shared,
    caller: &Caller,
    id: SubmitId,
) -> Result<Option<JobId>, RequestError> {
    let tenant = caller.tenant.clone();
    shared.history(move |history| history.job_by_submit_id(&tenant, id)).await
}

async fn submit(
    shared: &Shared,
    caller: &Caller,
    id: SubmitId,
    mut workflow: Workflow,
    earlier: Earlier,
) -> Result<JobId, RequestError> {
    let mut kinds: Vec<ComponentKind> = Vec::new();
    for step in workflow.steps.iter_mut().chain(&mut workflow.finally) {
        let place = |error: RequestError| {
            refused(error.code, format!("step `{}`: {}", step.name, error.message))
        };
        let decoded = step
            .job
            .decode()
            .map_err(|error| place(refused(ErrorCode::InvalidInput, error.to_string())))?;
        let checked = submit::check_job(shared, caller, step.job.clone(), decoded).await;
        let (kind, job) = checked.map_err(place)?;
        step.job = job;
        kinds.push(kind);
    }
    let encoded = EncodedWorkflow::encode(&workflow)
        .map_err(|error| refused(ErrorCode::InvalidInput, error.to_string()))?;
    let (tenant, Earlier { rerun_of, reused }) = (caller.tenant.clone(), earlier);
    let make = move |request| Input::SubmitWorkflow {
        request,
        tenant,
        id,
        workflow: encoded,
        kinds,
        rerun_of,
        reused,
    };
    match shared.driver.ask(make).await? {
        Answer::Submitted(job) => Ok(job),
        _ => Err(refused(ErrorCode::Internal, "the scheduler gave an answer of another kind")),
    }
}

pub(super) async fn on_workflow(
    shared: &Shared,
    caller: &Caller,
    job: JobId,
) -> Result<Response, RequestError> {
    match find(shared, job).await? {
        Some(detail) if caller.may_see(&detail.summary.tenant) => {
            Ok(Response::Workflow(Box::new(detail)))
        }
        Some(_) => Err(no_such_job(job)),
        None => {
            shared.visible(caller, job).await?;
            let text = format!("job {job} is neither a workflow nor of a workflow's step");
            Err(refused(ErrorCode::NotFound, text))
        }
    }
}

/// The workflow of that number, or to whose steps that job belongs; live or ended.
async fn find(shared: &Shared, job: JobId) -> Result<Option<WorkflowDetail>, RequestError> {
    if let Some(live) = shared.driver.view(move |core| core.workflow(job)).await? {
        return Ok(Some(live));
    }
    let Some(row) = row(shared, job).await? else { return Ok(None) };
    if let Some(record) = row.workflow() {
        return Ok(Some(record.detail(row.summary(job))));
    }
    let Some((workflow, step)) = step_of_submit_id(row.submit_id) else { return Ok(None) };
    let live = shared.driver.view(move |core| core.workflow(workflow)).await?;
    let found = match live {
        Some(live) => Some(live),
        None => recorded::workflow(shared, workflow).await?,
    };
    // Whoever submitted the job may have chosen the id of its submission.
    let is_of = |detail: &WorkflowDetail| {
        let own = detail.steps.get(usize::from(step)).and_then(|step| step.job);
        own == Some(job) && detail.summary.tenant == row.tenant
    };
    Ok(found.filter(is_of))
}

async fn row(shared: &Shared, job: JobId) -> Result<Option<JobRow>, RequestError> {
    shared.history(move |history| history.job(job)).await
}

pub(super) async fn on_rerun(
    shared: &Shared,
    caller: &Caller,
    id: SubmitId,
    job: JobId,
    from: Option<String>,
) -> Result<Response, RequestError> {
    if let Some(job) = submitted(shared, caller, id).await? {
        return Ok(Response::Submitted(vec![Ok(job)]));
    }
    let tenant = shared.visible(caller, job).await?;
    let conflict = |text: String| refused(ErrorCode::Conflict, text);
    if shared.driver.view(move |core| core.job_tenant(job).is_some()).await? {
        let text = format!("job {job} has not ended; wait for its end, or cancel it first");
        return Err(conflict(text));
    }
    let record = row(shared, job).await?.and_then(|row| row.workflow());
    let Some(record) = record else {
        return Err(conflict(format!(
            "job {job} is not a workflow; submit it anew to run it again"
        )));
    };
    if tenant != caller.tenant {
        let text = format!("job {job} is of tenant {tenant}, who alone can run it again");
        return Err(refused(ErrorCode::Denied, text));
    }
    let (workflow, _) = record.open();
    let again = again(&record, &workflow, from.as_deref())?;
    let mut reused = Vec::new();
    for (step, run) in (0..).zip(&record.steps).take(workflow.steps.len()) {
        if again.get(usize::from(step)) != Some(&false) {
            continue;
        }
        if let Some(job) = run.job
            && row(shared, job).await?.is_none()
        {
            let name = workflow.step(step).map_or("", |step| &step.name);
            return Err(conflict(format!(
                "nothing is kept any more of job {job}, which ran step `{name}`: run it again from there, or submit the workflow anew"
            )));
        }
        reused.push(Reused { step, job: run.job, tasks: run.tasks });
    }
    let earlier = Earlier { rerun_of: Some(job), reused };
    let job = submit(shared, caller, id, workflow, earlier).await?;
    Ok(Response::Submitted(vec![Ok(job)]))
}

/// Which steps run again: those that did not succeed, `from`, and all that come after any
/// of them.
fn again(
    record: &WorkflowRecord,
    workflow: &Workflow,
    from: Option<&str>,
) -> Result<Vec<bool>, RequestError> {
    let named = match from {
        None => None,
        Some(name) => Some(workflow.find(name).ok_or_else(|| {
            let names: Vec<&str> =
                workflow.every_step().map(|(_, step)| step.name.as_str()).collect();
            let text = format!("there is no step `{name}`; there are {}", names.join(", "));
            refused(ErrorCode::NotFound, text)
        })?),
    };
    let main = (0..).zip(&record.steps).take(workflow.steps.len());
    let undone =
        main.filter(|(_, run)| !matches!(run.state, StepState::Succeeded | StepState::Reused));
    let mut first: Vec<u16> = undone.map(|(step, _)| step).collect();
    first.extend(named);
    if first.is_empty() {
        let text = "every step succeeded: say from which one to run it again";
        return Err(refused(ErrorCode::Conflict, text));
    }
    Ok(record.open().1.downstream(first))
}

/// Whether that number is a workflow's.
pub(super) async fn is_workflow(shared: &Shared, job: JobId) -> Result<bool, RequestError> {
    if shared.driver.view(move |core| core.workflow_summary(job).is_some()).await? {
        return Ok(true);
    }
    Ok(row(shared, job).await?.is_some_and(|row| row.workflow().is_some()))
}

/// What a workflow is refused with where a job was wanted; otherwise `error`.
pub(super) async fn unless(
    shared: &Shared,
    job: JobId,
    error: RequestError,
) -> Result<RequestError, RequestError> {
    Ok(if is_workflow(shared, job).await? { has_no_tasks(job) } else { error })
}

/// A workflow has steps.
pub(super) fn has_no_tasks(job: JobId) -> RequestError {
    let text = format!(
        "job {job} is a workflow: name the job of one of its steps, as `wrun job {job}` shows them"
    );
    refused(ErrorCode::Conflict, text)
}
