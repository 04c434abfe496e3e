//! Submitting, so that it happens once: each submission carries an id made here, and is
//! repeated under it when the connection is lost before the answer.

use std::collections::BTreeMap;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use wrun_protocol::wire::service::Deployed;
use wrun_protocol::wire::user::{Request, Response, Submission};
use wrun_protocol::{Digest, JobId, SubmitId};

use super::{Client, blob, model, unexpected};
use crate::console::Console;
use crate::error::Error;
use crate::exit::Exit;
use crate::plan::{Blob, Loaded};
use crate::workflowfile::LoadedWorkflow;

/// Waits between repetitions: a server that restarts is back within seconds.
const WAITS: [Duration; 6] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// Uploads what is missing and submits. When this returns, the job is durable.
pub(crate) async fn submit(
    client: &mut Client,
    console: Console,
    job: &Loaded,
) -> Result<JobId, Error> {
    let spec = model::pinned(client, job).await?;
    let request = |id| Request::Submit(vec![Submission { id, spec: spec.clone() }]);
    once(client, console, &job.blobs, request, submitted).await
}

/// Uploads what is missing and deploys. When this returns, the revision is durable.
pub(crate) async fn deploy(
    client: &mut Client,
    console: Console,
    service: &Loaded,
) -> Result<Deployed, Error> {
    let spec = model::pinned(client, service).await?;
    let request = |id| Request::Deploy { id, spec: spec.clone() };
    once(client, console, &service.blobs, request, |answer| match answer {
        Response::Deployed(deployed) => Ok(deployed),
        other => Err(unexpected(&other)),
    })
    .await
}

/// The same for a workflow.
pub(crate) async fn submit_workflow(
    client: &mut Client,
    console: Console,
    workflow: &LoadedWorkflow,
) -> Result<JobId, Error> {
    let encoded = model::pinned_steps(client, workflow).await?;
    let request = |id| Request::SubmitWorkflow { id, workflow: encoded.clone() };
    once(client, console, &workflow.blobs, request, submitted).await
}

/// Runs a workflow again; the number of the new run.
pub(crate) async fn rerun(
    client: &mut Client,
    console: Console,
    job: JobId,
    from: Option<&str>,
) -> Result<JobId, Error> {
    let request = |id| Request::Rerun { id, job, from: from.map(str::to_owned) };
    once(client, console, &BTreeMap::new(), request, submitted).await
}

async fn once<T>(
    client: &mut Client,
    console: Console,
    blobs: &BTreeMap<Digest, Blob>,
    request: impl Fn(SubmitId) -> Request,
    accepted: impl Fn(Response) -> Result<T, Error>,
) -> Result<T, Error> {
    let id = new_id()?;
    let mut waits = WAITS.iter();
    loop {
        let error = match attempt(client, console, blobs, &request(id)).await.and_then(&accepted) {
            Ok(accepted) => return Ok(accepted),
            Err(error) => error,
        };
        let Some(wait) = waits.next().filter(|_| error.exit() == Exit::Unavailable) else {
            return Err(error);
        };
        tokio::time::sleep(*wait).await;
        // A failure to connect shows in the next attempt.
        let _ = client.reconnect().await;
    }
}

async fn attempt(
    client: &Client,
    console: Console,
    blobs: &BTreeMap<Digest, Blob>,
    request: &Request,
) -> Result<Response, Error> {
    blob::upload(client, console, blobs).await?;
    client.ask(request).await
}

fn submitted(answer: Response) -> Result<JobId, Error> {
    match answer {
        Response::Submitted(mut answers) if answers.len() == 1 => match answers.pop() {
            Some(Ok(job)) => Ok(job),
            Some(Err(refusal)) => Err(refusal.into()),
            None => Err(unexpected(&Response::Submitted(answers))),
        },
        other => Err(unexpected(&other)),
    }
}

fn new_id() -> Result<SubmitId, Error> {
    let mut id = [0; 16];
    SystemRandom::new()
        .fill(&mut id)
        .map_err(|_| Error::new(Exit::Internal, "the system gives no random bytes"))?;
    Ok(SubmitId(id))
}
