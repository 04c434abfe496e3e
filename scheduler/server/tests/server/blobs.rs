//! Blobs of users and of nodes.

use wrun_protocol::limits::MAX_BLOB;
use wrun_protocol::wire::user::{ErrorCode, Request, Response};
use wrun_protocol::wire::worker::{BlobReply, BlobRequest};
use wrun_protocol::{Digest, JobId};

use crate::harness::*;

#[tokio::test]
async fn what_is_uploaded_comes_back_and_is_missing_no_more() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let bytes: Vec<u8> = (0..3 << 20).map(|i: u32| (i * 31) as u8).collect();
    let digest = sha256(&bytes);
    let unknown = Digest([9; 32]);
    let question = Request::MissingBlobs(vec![digest, unknown]);
    assert_eq!(client.ask(question.clone()).await, Response::Missing(vec![digest, unknown]));
    assert_eq!(client.upload(&bytes).await, digest);
    assert_eq!(client.ask(question).await, Response::Missing(vec![unknown]));
    assert_eq!(client.download(digest).await, bytes);
}

#[tokio::test]
async fn a_false_digest_and_an_absurd_size_are_refused() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let digest = Digest([1; 32]);
    let mut answers = client.open(&Request::PutBlob { digest, size: 4 }).await;
    answers.send.write_raw(b"four").await.unwrap();
    let Some(Response::Refused(error)) = answers.next().await else { panic!("not refused") };
    assert_eq!(error.code, ErrorCode::InvalidInput);
    let error = client.refusal(Request::PutBlob { digest, size: MAX_BLOB + 1 }).await;
    assert_eq!(error.code, ErrorCode::LimitReached);
    assert_eq!(client.refusal(Request::GetBlob(digest)).await.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_node_reads_and_writes_blobs_of_the_job_s_tenant() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let worker = cluster.worker("a").await;
    let job = client.submit(1).await;
    let component = sha256(&command());
    let (answer, bytes) = exchange::<_, BlobReply>(
        &worker.connection,
        &BlobRequest::Get { job, digest: component },
        b"",
    )
    .await;
    assert_eq!(answer, BlobReply::Found { size: command().len() as u64 });
    assert_eq!(bytes, command());
    let digest = sha256(b"output");
    let put = BlobRequest::Put { job, digest, size: 6 };
    let (answer, _) = exchange::<_, BlobReply>(&worker.connection, &put, b"output").await;
    assert_eq!(answer, BlobReply::Stored);
    assert_eq!(client.download(digest).await, b"output");
    let other = cluster.user("other");
    assert_eq!(other.refusal(Request::GetBlob(digest)).await.code, ErrorCode::NotFound);
    let unknown = BlobRequest::Get { job: JobId(99), digest };
    let (answer, _) = exchange::<_, BlobReply>(&worker.connection, &unknown, b"").await;
    assert!(matches!(answer, BlobReply::Refused(error) if error.code == ErrorCode::NotFound));
}
