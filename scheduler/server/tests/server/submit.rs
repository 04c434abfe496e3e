//! What a submit promises, and what it refuses.

use bytes::Bytes;
use wrun_protocol::job::{EncodedSpec, Input, Mount};
use wrun_protocol::limits::MAX_SUBMISSIONS;
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::{ErrorCode, JobState, Request, Response, Submission};
use wrun_protocol::{Digest, JobId, JobSpec, SubmitId};

use crate::harness::*;

#[tokio::test]
async fn an_acknowledged_job_outlives_the_server() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let spec = JobSpec { name: "keep me".into(), ..client.program().await };
    let job = client.submit_as(1, &spec).await.unwrap();
    let cluster = cluster.restart().await;
    let client = cluster.user("lab");
    let detail = client.job(job).await;
    assert_eq!(detail.summary.name, "keep me");
    assert_eq!(detail.summary.state, JobState::Pending);
    assert_eq!(detail.spec.decode().unwrap(), spec);
    assert_eq!(client.submit_as(1, &spec).await, Ok(job), "a repetition is the same job");
    assert_eq!(client.submit_as(2, &spec).await, Ok(JobId(job.0 + 1)));
}

#[tokio::test]
async fn a_repetition_is_the_same_job_even_after_it_has_ended() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let mut worker = cluster.worker("a").await;
    let job = client.submit(1).await;
    let assigned = worker.assigned().await;
    worker.succeed(attempt(assigned), None).await;
    client.end(job).await;
    assert_eq!(client.submit(1).await, job);
    let other = cluster.user("other").submit(1).await;
    assert_ne!(other, job, "another tenant's ids are its own");
}

#[tokio::test]
async fn a_batch_is_answered_one_by_one() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let good = EncodedSpec::encode(&client.program().await).unwrap();
    let bad = EncodedSpec::from(Bytes::from_static(b"nonsense"));
    let batch = [(1, &good), (2, &bad), (3, &good), (1, &good)];
    let batch = batch.map(|(id, spec)| Submission { id: SubmitId([id; 16]), spec: spec.clone() });
    let Response::Submitted(answers) = client.ask(Request::Submit(batch.to_vec())).await else {
        panic!("not submitted");
    };
    assert_eq!(answers[0], Ok(JobId(1)));
    assert_eq!(answers[1].as_ref().unwrap_err().code, ErrorCode::InvalidInput);
    assert_eq!(answers[2], Ok(JobId(2)));
    assert_eq!(answers[3], Ok(JobId(1)));
}

#[tokio::test]
async fn what_can_never_run_is_refused_by_name() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let program = client.program().await;
    let text = client.upload(b"not a component").await;
    let handler = JobSpec::new(client.upload(&handler()).await);
    let nothing = Digest([7; 32]);
    let blob = |digest, size| Input::Content(Content::Blob { digest, size });
    let cases = [
        (JobSpec::new(nothing), ErrorCode::NotFound, "component"),
        (JobSpec::new(text), ErrorCode::InvalidInput, "WebAssembly"),
        (JobSpec { input: blob(nothing, 3), ..program.clone() }, ErrorCode::NotFound, "input"),
        (JobSpec { input: blob(text, 3), ..program.clone() }, ErrorCode::InvalidInput, "15 bytes"),
        (JobSpec { input: Input::Attached, ..handler }, ErrorCode::InvalidInput, "input"),
        (
            JobSpec {
                mounts: vec![Mount { path: "/data/x".into(), digest: nothing, size: 3 }],
                ..program
            },
            ErrorCode::NotFound,
            "/data/x",
        ),
    ];
    for (index, (spec, code, names)) in cases.into_iter().enumerate() {
        let error = client.submit_as(index as u8, &spec).await.unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(names), "{error}");
    }
    let list = vec![
        Submission { id: SubmitId([0; 16]), spec: EncodedSpec::from(Bytes::new()) };
        MAX_SUBMISSIONS + 1
    ];
    assert_eq!(client.refusal(Request::Submit(list)).await.code, ErrorCode::LimitReached);
}

#[tokio::test]
async fn a_module_for_preview_1_is_recorded_as_the_component_it_was_adapted_to() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let module = client.upload(&preview1()).await;
    let job = client.submit_as(1, &JobSpec::new(module)).await.unwrap();
    let recorded = client.job(job).await.spec.decode().unwrap();
    assert_ne!(recorded.component, module);
    let adapted = client.download(recorded.component).await;
    assert_eq!(sha256(&adapted), recorded.component);
    let again = client.submit_as(2, &JobSpec::new(recorded.component)).await.unwrap();
    assert_eq!(client.job(again).await.spec.decode().unwrap().component, recorded.component);
}
