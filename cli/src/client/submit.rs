//! Submitting, so that it happens once: each submission carries an id made here, and is
//! repeated under it when the connection is lost before the answer.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::wire::user::{Request, Response, Submission};
use wrun_protocol::{JobId, SubmitId};

use super::{Client, blob, unexpected};
use crate::console::Console;
use crate::error::Error;
use crate::exit::Exit;
use crate::plan::Loaded;

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
    let id = new_id()?;
    let mut waits = WAITS.iter();
    loop {
        let error = match attempt(client, console, job, id).await {
            Ok(job) => return Ok(job),
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
    job: &Loaded,
    id: SubmitId,
) -> Result<JobId, Error> {
    blob::upload(client, console, &job.blobs).await?;
    send(client, id, job.encoded.clone()).await
}

async fn send(client: &Client, id: SubmitId, spec: EncodedSpec) -> Result<JobId, Error> {
    match client.ask(&Request::Submit(vec![Submission { id, spec }])).await? {
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
