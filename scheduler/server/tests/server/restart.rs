//! The server goes and comes back while tasks run.

use wrun_protocol::task::Content;
use wrun_protocol::wire::user::{JobState, LogStream, Request, Response};

use crate::harness::*;

#[tokio::test]
async fn a_task_that_ran_on_is_adopted_and_does_not_run_again() {
    let cluster = Cluster::start().await;
    let mut worker = cluster.worker("a").await;
    let job = cluster.user("lab").submit(1).await;
    let running = attempt(worker.assigned().await);
    let node = worker.node;
    let cluster = cluster.restart().await;
    let (mut worker, stale) =
        Worker::connect(&cluster, node, "a", 1, vec![assignment(running)]).await;
    assert_eq!(stale, []);
    let client = cluster.user("lab");
    assert_eq!(client.job(job).await.summary.tasks.running, 1);
    worker.succeed(running, None).await;
    assert_eq!(client.end(job).await.state, JobState::Succeeded);
}

#[tokio::test]
async fn a_result_reported_again_after_a_restart_is_recorded_once() {
    let cluster = Cluster::start().await;
    let mut worker = cluster.worker("a").await;
    let client = cluster.user("lab");
    let job = client.submit(1).await;
    let ran = attempt(worker.assigned().await);
    let recorded = Content::Inline(log(&[chunk(LogStream::Stdout, "once")]).into());
    worker.succeed(ran, Some(recorded.clone())).await;
    client.end(job).await;
    let node = worker.node;
    let cluster = cluster.restart().await;
    let (mut worker, _) = Worker::connect(&cluster, node, "a", 1, Vec::new()).await;
    worker.number_reports_from(1);
    worker.succeed(ran, Some(recorded)).await;
    worker.acknowledged(1).await;
    let client = cluster.user("lab");
    assert_eq!(client.job(job).await.summary.tasks.succeeded, 1);
    let output = client.ask(Request::Output { job, index: 0 }).await;
    assert_eq!(output, Response::Output(Content::Inline("once".into())));
}

#[tokio::test]
async fn a_stopped_server_tells_those_who_wait() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let job = client.submit(1).await;
    let mut watch = client.open(&Request::Watch(job)).await;
    assert!(matches!(watch.next().await, Some(Response::Progress(_))));
    cluster.server.shutdown().await.unwrap();
    let Some(Response::Refused(error)) = watch.next().await else { panic!("not told") };
    assert!(error.message.contains("stopping"), "{error}");
    assert!(wrun_server::start(config(cluster.dir.path())).await.is_ok());
}

#[tokio::test]
async fn two_servers_never_share_a_folder() {
    let cluster = Cluster::start().await;
    let second = wrun_server::start(config(cluster.dir.path())).await;
    assert!(matches!(second, Err(wrun_server::ServerError::InUse { .. })));
}

#[tokio::test]
async fn snapshots_taken_on_the_way_leave_nothing_out() {
    let dir = tempfile::tempdir().unwrap();
    let often = |dir: &std::path::Path| {
        let mut config = config(dir);
        config.snapshot_facts = 5;
        config
    };
    let server = wrun_server::start(often(dir.path())).await.unwrap();
    let mut cluster = Cluster { dir, server };
    let mut submitted = Vec::new();
    for round in 0..3 {
        let client = cluster.user("lab");
        for id in 0..20 {
            submitted.push(client.submit(round * 20 + id).await);
        }
        cluster.server.shutdown().await.unwrap();
        let server = wrun_server::start(often(cluster.dir.path())).await.unwrap();
        cluster = Cluster { dir: cluster.dir, server };
    }
    let client = cluster.user("lab");
    for (id, job) in submitted.iter().enumerate() {
        assert_eq!(client.job(*job).await.summary.state, JobState::Pending);
        assert_eq!(client.submit(id as u8).await, *job);
    }
}
