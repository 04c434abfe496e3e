//! Guests that want everything: each ends with its own clear reason, sees nothing that it
//! was not given, and neither its neighbours nor the heartbeat notice.

mod isolation;
mod limits;
mod sharing;

use harness::{Client, Cluster, Settings, artefacts};
use wrun_protocol::task::{Failure, Outcome};
use wrun_protocol::wire::user::{JobProgress, LogChunk, LogStream, Request, Response};
use wrun_protocol::{JobId, JobSpec, Resources};

/// A cluster whose lease is short: a heartbeat that a guest holds up is noticed.
fn cluster() -> Cluster {
    let text = str::to_owned;
    Cluster::with(Settings { lease: text("1s"), heartbeat: text("100ms"), ..Settings::default() })
}

/// A job of `guest` with 64 MiB of memory, 16 MiB of scratch and ten seconds.
async fn job_of(client: &Client, guest: &str) -> JobSpec {
    let component = artefacts::guest_bytes(guest);
    let mut spec = JobSpec::new(client.upload(&component).await);
    spec.resources = Resources { cpu_milli: 1000, memory: 64 << 20, scratch: 16 << 20, slots: 1 };
    spec.limits.wall_ms = Some(10_000);
    spec
}

/// Runs it and returns how it ended.
async fn run(client: &mut Client, spec: &JobSpec) -> (JobId, JobProgress) {
    let job = client.submit(spec).await;
    let end = client.wait(job).await;
    (job, end)
}

/// Runs what must fail, and returns why it did.
async fn failure_of(client: &mut Client, spec: &JobSpec) -> Failure {
    match run(client, spec).await.1.failure {
        Some(Outcome::Failed(failure)) => failure,
        other => panic!("it should have failed: {other:?}"),
    }
}

/// What a task wrote to standard output.
async fn stdout(client: &Client, job: JobId) -> String {
    let (mut send, mut receive) = client.connection().open().await.unwrap();
    send.send(&Request::Logs { job, index: 0, follow: false }).await.unwrap();
    send.finish().unwrap();
    let mut text = Vec::new();
    while let Some(response) = receive.recv().await.unwrap() {
        match response {
            Response::Log(LogChunk { stream: LogStream::Stdout, data }) => text.extend(data),
            Response::Log(_) => {}
            Response::Done => break,
            other => panic!("unexpected answer: {other:?}"),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}
