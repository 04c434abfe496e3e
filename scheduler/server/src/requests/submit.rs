//! Submissions: everything that can be checked apart from the core is checked here, on the
//! connection's own task, so that the core's owner spends next to nothing on a job.

use wrun_protocol::job::{EncodedSpec, Input};
use wrun_protocol::limits::MAX_SUBMISSIONS;
use wrun_protocol::scheduling::Dependency;
use wrun_protocol::service::ServiceKind;
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::{ErrorCode, RequestError, Response, Submission};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{Digest, IndexRange, JobId, JobSpec, TenantName, resources};

use super::{depends, refused, remembered};
use crate::authorise::Caller;
use crate::components::Checked;
use crate::driver::Accepted;
use crate::items;
use crate::remembered::known;
use crate::shared::Shared;

/// Submissions checked before others on the same thread get a turn: about a millisecond.
const CHECKED_IN_A_ROW: usize = 256;

/// How often the jobs that a new one waits for are looked at: each may end between two looks.
const MOST_LOOKS: usize = 8;

type Answer = Result<JobId, RequestError>;

/// Submits the jobs, one answer for each; those refused do not hinder the others.
pub(super) async fn on_submit(
    shared: &Shared,
    caller: &Caller,
    submissions: Vec<Submission>,
) -> Result<Response, RequestError> {
    if submissions.len() > MAX_SUBMISSIONS {
        let text = format!("{} jobs in one request; at most {MAX_SUBMISSIONS}", submissions.len());
        return Err(refused(ErrorCode::LimitReached, text));
    }
    let repeated = is_repeated(shared, caller, &submissions).await?;
    let mut answers: Vec<Option<Answer>> = Vec::with_capacity(submissions.len());
    let mut accepted = Vec::with_capacity(submissions.len());
    for (index, submission) in submissions.into_iter().enumerate() {
        if index % CHECKED_IN_A_ROW == CHECKED_IN_A_ROW - 1 {
            tokio::task::yield_now().await;
        }
        let earlier = if repeated { recorded(shared, caller, &submission).await? } else { None };
        answers.push(match earlier {
            Some(job) => Some(Ok(job)),
            None => match check(shared, caller, submission).await {
                Ok((job, depends_on)) if depends_on.is_empty() => {
                    accepted.push(job);
                    None
                }
                Ok((job, depends_on)) => {
                    Some(submit_waiting(shared, caller, job, &depends_on).await)
                }
                Err(error) => Some(Err(error)),
            },
        });
    }
    let mut submitted = shared.driver.submit(caller.tenant.clone(), accepted).await?.into_iter();
    let missing = || Err(refused(ErrorCode::Internal, "the scheduler gave no answer"));
    let answers = answers
        .into_iter()
        .map(|answer| answer.unwrap_or_else(|| submitted.next().unwrap_or_else(missing)))
        .collect();
    Ok(Response::Submitted(answers))
}

/// Whether the history knows the first submission. The core remembers live jobs and a
/// bounded number of ended ones; older repetitions are found in the history. A request is
/// repeated as a whole and was recorded in order, so that its first submission tells
/// whether any need be looked up.
async fn is_repeated(
    shared: &Shared,
    caller: &Caller,
    submissions: &[Submission],
) -> Result<bool, RequestError> {
    match submissions.first() {
        Some(first) => Ok(recorded(shared, caller, first).await?.is_some()),
        None => Ok(false),
    }
}

async fn recorded(
    shared: &Shared,
    caller: &Caller,
    submission: &Submission,
) -> Result<Option<JobId>, RequestError> {
    let (tenant, id) = (caller.tenant.clone(), submission.id);
    shared.history(move |history| history.job_by_submit_id(&tenant, id)).await
}

/// Submits a job that waits for others. One of them may end between the look into the
/// history and the core's: the core then says so, and is asked again.
async fn submit_waiting(
    shared: &Shared,
    caller: &Caller,
    job: Accepted,
    depends_on: &[Dependency],
) -> Answer {
    let mut answer = Err(refused(ErrorCode::Internal, "the scheduler gave no answer"));
    for _ in 0..MOST_LOOKS {
        let ended = depends::priors(shared, caller, depends_on).await?;
        let jobs = vec![Accepted { ended, ..job.clone() }];
        let answers = shared.driver.submit(caller.tenant.clone(), jobs).await?;
        answer = answers.into_iter().next().unwrap_or(answer);
        match &answer {
            Err(error) if error.code == ErrorCode::Unavailable => {}
            _ => break,
        }
    }
    answer
}

async fn check(
    shared: &Shared,
    caller: &Caller,
    submission: Submission,
) -> Result<(Accepted, Vec<Dependency>), RequestError> {
    let Submission { id, spec } = submission;
    let decoded =
        spec.decode().map_err(|error| refused(ErrorCode::InvalidInput, error.to_string()))?;
    let depends_on = decoded.scheduling.depends_on.clone();
    let (looks, count) = (remembered::may_be_given(&decoded.scheduling), decoded.count);
    let (kind, spec) = check_job(shared, caller, spec, decoded).await?;
    let known = if looks {
        let tasks = [IndexRange { first: 0, count }];
        Some(known(shared, &caller.tenant, kind, &spec, &tasks).await?)
    } else {
        None
    };
    Ok((Accepted { id, kind, spec, ended: Vec::new(), known }, depends_on))
}

/// Checks a job; `decoded` is its `spec`.
pub(super) async fn check_job(
    shared: &Shared,
    caller: &Caller,
    spec: EncodedSpec,
    decoded: JobSpec,
) -> Result<(ComponentKind, EncodedSpec), RequestError> {
    if decoded.service.is_some() {
        let text = "it describes a service, and a job is wanted; deploy it with `wrun deploy`";
        return Err(refused(ErrorCode::InvalidInput, text));
    }
    check_spec(shared, caller, spec, decoded).await
}

/// Checks a job, or a service.
pub(super) async fn check_spec(
    shared: &Shared,
    caller: &Caller,
    spec: EncodedSpec,
    decoded: JobSpec,
) -> Result<(ComponentKind, EncodedSpec), RequestError> {
    let tenant = &caller.tenant;
    caller.may_be_nice(decoded.scheduling.nice)?;
    let component = shared.components.check(&shared.blobs, tenant, decoded.component).await?;
    fits(&decoded, &component)?;
    has_blobs(shared, tenant, &decoded).await?;
    let spec = if component.component == decoded.component {
        spec
    } else {
        adapted(decoded, component.component)?
    };
    Ok((component.kind, spec))
}

/// Names the component that a module was adapted to; see [`crate::components`].
fn adapted(mut spec: JobSpec, component: Digest) -> Result<EncodedSpec, RequestError> {
    spec.component = component;
    EncodedSpec::encode(&spec).map_err(|error| refused(ErrorCode::InvalidInput, error.to_string()))
}

fn fits(spec: &JobSpec, component: &Checked) -> Result<(), RequestError> {
    is_of_that_kind(spec, component.kind)?;
    if component.kind == ComponentKind::Handler && spec.input == Input::Attached {
        return Err(refused(
            ErrorCode::InvalidInput,
            "input: a handler takes its input as a whole; give it with `--input FILE`",
        ));
    }
    let each = spec.memory_of_instance();
    if component.initial_memory > each {
        let memory = match spec.instances() {
            1 => resources::Bytes(each).to_string(),
            many => format!("{} for each of {many} instances", resources::Bytes(each)),
        };
        let begins = resources::Bytes(component.initial_memory);
        let text = format!("memory: {memory}, but the component's memories begin with {begins}");
        return Err(refused(ErrorCode::InvalidInput, format!("{text}; ask for more")));
    }
    Ok(())
}

/// A component runs in one way, and the specification says in which it is to run.
fn is_of_that_kind(spec: &JobSpec, kind: ComponentKind) -> Result<(), RequestError> {
    let wanted = spec.service.as_ref().map(|service| &service.kind);
    let problem = match (kind, wanted) {
        (ComponentKind::Command | ComponentKind::Handler, None)
        | (ComponentKind::Command, Some(ServiceKind::Program(_)))
        | (ComponentKind::Http, Some(ServiceKind::Http(_))) => return Ok(()),
        (ComponentKind::Http, None) => {
            "component: it answers HTTP requests, and a job ends; deploy it with `wrun deploy`"
        }
        (ComponentKind::Http, Some(ServiceKind::Program(_))) => {
            "program: the component answers HTTP requests (it exports `wasi:http`); describe it under `http`"
        }
        (ComponentKind::Command, Some(ServiceKind::Http(_))) => {
            "http: the component is a program (it exports `wasi:cli/run`); describe it under `program`"
        }
        (ComponentKind::Handler, Some(_)) => {
            "component: a handler (`wrun:task/handler`) gives one result for one input; submit it with `wrun submit`, or export `wasi:http` or `wasi:cli/run`"
        }
    };
    Err(refused(ErrorCode::InvalidInput, problem))
}

/// Every blob that the job names is there, and as large as it says.
async fn has_blobs(
    shared: &Shared,
    tenant: &TenantName,
    spec: &JobSpec,
) -> Result<(), RequestError> {
    if let Input::Content(Content::Blob { digest, size }) = &spec.input {
        has_blob(shared, tenant, *digest, *size, "input").await?;
    }
    if let Input::Each(items) = &spec.input {
        if let Content::Blob { digest, size } = items {
            has_blob(shared, tenant, *digest, *size, "for_each").await?;
        }
        items::check(&shared.blobs, tenant, items, spec.count).await?;
    }
    for mount in &spec.mounts {
        has_blob(shared, tenant, mount.digest, mount.size, &mount.path).await?;
    }
    Ok(())
}

/// A blob is there, and as large as is said.
pub(super) async fn has_blob(
    shared: &Shared,
    tenant: &TenantName,
    digest: Digest,
    size: u64,
    what: &str,
) -> Result<(), RequestError> {
    match shared.blobs.size(tenant, digest).await? {
        Some(stored) if stored == size => Ok(()),
        Some(stored) => Err(refused(
            ErrorCode::InvalidInput,
            format!("{what}: the blob {digest} has {stored} bytes, not {size}"),
        )),
        None => Err(refused(
            ErrorCode::NotFound,
            format!("{what}: there is no blob {digest}; upload it first"),
        )),
    }
}
