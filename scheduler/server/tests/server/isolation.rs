//! One tenant cannot see, name or steer the work of another: every request, one by one.

use wrun_protocol::wire::user::{ErrorCode, JobFilter, Request, Response};
use wrun_protocol::{Digest, JobId};

use crate::harness::*;

/// Every request that names a job.
fn about(job: JobId) -> Vec<Request> {
    vec![
        Request::Job(job),
        Request::Tasks { job, from: 0, limit: 10, state: None },
        Request::Watch(job),
        Request::Logs { job, index: 0, follow: false },
        Request::Logs { job, index: 0, follow: true },
        Request::Output { job, index: 0 },
        Request::Attach(job),
        Request::Cancel(job),
    ]
}

async fn jobs(client: &Client, all_tenants: bool) -> Vec<JobId> {
    let filter = JobFilter { all_tenants, limit: 100, ..JobFilter::default() };
    match client.ask(Request::Jobs(filter)).await {
        Response::Jobs(rows) => rows.into_iter().map(|row| row.id).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn another_tenant_s_job_is_not_found_live_and_ended() {
    let cluster = Cluster::start().await;
    let (lab, other) = (cluster.user("lab"), cluster.user("other"));
    let live = lab.submit(1).await;
    let mut worker = cluster.worker("a").await;
    let first = worker.assigned().await;
    let ended = lab.submit(2).await;
    let second = worker.assigned().await;
    worker.succeed(attempt(second), None).await;
    lab.end(ended).await;
    for job in [live, ended] {
        let unknown = JobId(job.0 + 1000);
        for (request, twin) in about(job).into_iter().zip(about(unknown)) {
            let refused = other.refusal(request.clone()).await;
            assert_eq!(refused.code, ErrorCode::NotFound, "{request:?}");
            let of_unknown = other.refusal(twin).await;
            let same = refused.message.replace(&job.to_string(), "N");
            assert_eq!(same, of_unknown.message.replace(&unknown.to_string(), "N"));
        }
    }
    assert_eq!(jobs(&other, false).await, []);
    assert_eq!(jobs(&lab, false).await, [ended, live]);
    assert_eq!(jobs(&cluster.admin(), true).await, [ended, live]);
    assert_eq!(first.job, live);
    let Response::Job(_) = cluster.admin().ask(Request::Job(live)).await else {
        panic!("an admin sees every tenant's work");
    };
}

#[tokio::test]
async fn another_tenant_s_blobs_are_missing_not_denied() {
    let cluster = Cluster::start().await;
    let (lab, other) = (cluster.user("lab"), cluster.user("other"));
    let digest = lab.upload(b"secret").await;
    assert_eq!(other.refusal(Request::GetBlob(digest)).await.code, ErrorCode::NotFound);
    let question = Request::MissingBlobs(vec![digest, Digest([0; 32])]);
    assert_eq!(other.ask(question).await, Response::Missing(vec![digest, Digest([0; 32])]));
    let spec = lab.program().await;
    let error = other.submit_as(1, &spec).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn what_runs_the_cluster_is_for_admins() {
    let cluster = Cluster::start().await;
    let all = JobFilter { all_tenants: true, limit: 1, ..JobFilter::default() };
    for request in [
        Request::Drain { node: "a".into(), drain: true },
        Request::RemoveNode("a".into()),
        Request::CreateToken { ttl_ms: 1000 },
        Request::Jobs(all),
    ] {
        let refused = cluster.user("lab").refusal(request.clone()).await;
        assert_eq!(refused.code, ErrorCode::Denied, "{request:?}");
    }
}
