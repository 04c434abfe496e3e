//! Tasks through a worker: placed, reported, lost and placed again.

use std::time::{Duration, Instant};

use wrun_protocol::task::{Content, Failure, Outcome, Usage};
use wrun_protocol::wire::user::{
    ErrorCode, JobState, LogStream, Request, Response, TaskDetail, TaskState,
};
use wrun_protocol::wire::worker::{FromWorker, Report, TaskResult, ToWorker};
use wrun_protocol::{JobId, JobSpec};

use crate::harness::*;

async fn tasks(client: &Client, job: JobId, state: Option<TaskState>) -> Vec<TaskDetail> {
    match client.ask(Request::Tasks { job, from: 0, limit: 100, state }).await {
        Response::Tasks(rows) => rows,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_task_runs_and_its_output_is_the_program_s_standard_output() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let mut worker = cluster.worker("a").await;
    let job = client.submit(1).await;
    let ToWorker::Job { job: sent, tenant, .. } = worker.next_of_work().await else {
        panic!("no job")
    };
    assert_eq!((sent, tenant.as_str()), (job, "lab"));
    let assigned = worker.assigned().await;
    assert_eq!(assigned, assignment(job.task(0).attempt(1)));
    let request = Request::Output { job, index: 0 };
    assert_eq!(client.refusal(request.clone()).await.code, ErrorCode::Conflict);
    let chunks = [chunk(LogStream::Stdout, "out"), chunk(LogStream::Stderr, "err")];
    let recorded = Content::Inline(log(&chunks).into());
    worker.succeed(attempt(assigned), Some(recorded)).await;
    let progress = client.end(job).await;
    assert_eq!((progress.state, progress.tasks.succeeded), (JobState::Succeeded, 1));
    let output = client.ask(request).await;
    assert_eq!(output, Response::Output(Content::Inline("out".into())));
    worker.acknowledged(1).await;
    let rows = tasks(&client, job, None).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].state, TaskState::Succeeded);
    assert_eq!(rows[0].node_name.as_deref(), Some("a"));
    let error = client.refusal(Request::Cancel(job)).await;
    assert_eq!(error.code, ErrorCode::Conflict, "{error}");
}

#[tokio::test]
async fn a_long_output_is_a_blob_without_what_went_to_standard_error() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let mut worker = cluster.worker("a").await;
    let job = client.submit(1).await;
    let assigned = worker.assigned().await;
    let text = "0123456789abcdef".repeat(10_000);
    let chunks: Vec<_> =
        (0..20).map(|i| chunk([LogStream::Stdout, LogStream::Stderr][i % 2], &text)).collect();
    let digest = client.upload(&log(&chunks)).await;
    let size = log(&chunks).len() as u64;
    worker.succeed(attempt(assigned), Some(Content::Blob { digest, size })).await;
    client.end(job).await;
    for _ in 0..2 {
        let Response::Output(Content::Blob { digest, size }) =
            client.ask(Request::Output { job, index: 0 }).await
        else {
            panic!("not a blob");
        };
        assert_eq!(size, 1_600_000);
        assert_eq!(client.download(digest).await, text.repeat(10).as_bytes());
    }
}

#[tokio::test]
async fn a_watch_ends_at_once_with_its_job() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let mut worker = cluster.worker("a").await;
    let mut fastest = Duration::MAX;
    for id in 0..5 {
        let job = client.submit(id).await;
        let assigned = worker.assigned().await;
        let mut watch = client.open(&Request::Watch(job)).await;
        assert!(matches!(watch.next().await, Some(Response::Progress(_))));
        let reported = Instant::now();
        worker.succeed(attempt(assigned), None).await;
        let Some(Response::Progress(last)) = watch.next().await else { panic!("no progress") };
        assert_eq!(last.state, JobState::Succeeded);
        fastest = fastest.min(reported.elapsed());
    }
    assert!(fastest < Duration::from_millis(50), "{fastest:?}");
}

#[tokio::test]
async fn a_lost_worker_s_task_runs_elsewhere_and_its_late_result_is_refused() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let mut first = cluster.worker("a").await;
    let job = client.submit(1).await;
    let lost = attempt(first.assigned().await);
    let node = first.node;
    first.vanish();
    let mut second = cluster.worker("b").await;
    let beats = 1..;
    let mut beats = beats.into_iter();
    let again = soon("the second attempt", async {
        loop {
            second.say(&FromWorker::Heartbeat { beat: beats.next().unwrap() }).await;
            let wait = Duration::from_millis(50);
            if let Ok(assigned) = tokio::time::timeout(wait, second.assigned()).await {
                return attempt(assigned);
            }
        }
    })
    .await;
    assert_eq!(again, job.task(0).attempt(2));
    let held = vec![assignment(lost)];
    let (mut late, stale) = Worker::connect(&cluster, node, "a", 1, held).await;
    assert_eq!(stale, [lost]);
    let failure = Outcome::Failed(Failure::Exit { code: 9 });
    let result =
        Box::new(TaskResult { outcome: failure, usage: Usage::default(), output: None, log: None });
    late.report(vec![Report::Ended { attempt: lost, result }]).await;
    late.acknowledged(1).await;
    second.succeed(again, None).await;
    assert_eq!(client.end(job).await.state, JobState::Succeeded);
    let rows = tasks(&client, job, None).await;
    assert_eq!((rows[0].attempts, rows[0].node), (2, Some(second.node)));
}

#[tokio::test]
async fn a_cancelled_job_is_stopped_and_stays_cancelled() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let mut worker = cluster.worker("a").await;
    let job = client.submit(1).await;
    let assigned = worker.assigned().await;
    assert_eq!(client.ask(Request::Cancel(job)).await, Response::Done);
    soon("the stop", async { while worker.next().await != ToWorker::Stop(vec![assigned]) {} })
        .await;
    assert_eq!(client.end(job).await.state, JobState::Cancelled);
    let rows = tasks(&client, job, None).await;
    assert!(rows.iter().all(|row| row.state == TaskState::Cancelled));
    assert_eq!(client.refusal(Request::Cancel(job)).await.code, ErrorCode::Conflict);
}

#[tokio::test]
async fn an_array_shows_live_and_ended_tasks_side_by_side() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let mut worker = cluster.worker("a").await;
    let spec = JobSpec { count: 6, ..client.program().await };
    let job = client.submit_as(1, &spec).await.unwrap();
    let assigned = worker.assigned().await;
    assert_eq!(assigned.tasks.first, 0);
    let ended = wrun_protocol::wire::worker::Assignment {
        tasks: wrun_protocol::IndexRange { first: 0, count: 2 },
        ..assigned
    };
    worker.report(vec![Report::Succeeded { tasks: ended, usage: Usage::default() }]).await;
    worker.acknowledged(1).await;
    let rows = tasks(&client, job, None).await;
    assert_eq!(rows.iter().map(|row| row.index).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    let done = tasks(&client, job, Some(TaskState::Succeeded)).await;
    assert_eq!(done.iter().map(|row| row.index).collect::<Vec<_>>(), [0, 1]);
    let progress = client.job(job).await.summary.tasks;
    assert_eq!(progress.succeeded, 2);
}
