//! Models: who may push, see and take them away, and which node gets one for which job.

use std::time::Duration;

use wrun_protocol::job::EncodedSpec;
use wrun_protocol::model::{Encoding, Inference, ModelGrant, ModelRef, ModelSpec, ModelVersion};
use wrun_protocol::wire::model::Pushed;
use wrun_protocol::wire::user::{ErrorCode, Request, RequestError, Response};
use wrun_protocol::wire::worker::{BlobReply, BlobRequest};
use wrun_protocol::{Digest, JobId, JobSpec, TenantName};

use crate::harness::*;

const GRAPH: &[u8] = b"a graph";

fn version(digest: Digest, size: usize) -> ModelVersion {
    ModelVersion { digest, size: size as u64, spec: ModelSpec::new(Encoding::Onnx) }
}

fn named(text: &str) -> ModelRef {
    text.parse().unwrap()
}

fn tenant(name: &str) -> TenantName {
    name.parse().unwrap()
}

fn push_request(model: &str, version: ModelVersion) -> Request {
    let ModelRef { name, tag, .. } = named(model);
    Request::PushModel { name, tag, version }
}

async fn push(client: &Client, model: &str) {
    let digest = client.upload(GRAPH).await;
    let pushed = client.ask(push_request(model, version(digest, GRAPH.len()))).await;
    assert_eq!(pushed, Response::ModelPushed(Pushed::New));
}

/// A program that names the model, as the client resolves it.
async fn naming(client: &Client, model: &str) -> Result<JobSpec, RequestError> {
    let reference = named(model);
    let answer = client.ask(Request::ResolveModels(vec![reference.clone()])).await;
    let (model, version) = match answer {
        Response::ResolvedModels(mut resolved) => resolved.remove(0),
        Response::Refused(error) => return Err(error),
        other => panic!("{other:?}"),
    };
    let grant = ModelGrant { name: "m".to_owned(), model, tag: reference.tag, version };
    let inference = Inference { models: vec![grant], load: false };
    Ok(JobSpec { inference, ..client.program().await })
}

async fn get(worker: &Worker, job: JobId, held: bool) -> Result<Vec<u8>, ErrorCode> {
    let request = BlobRequest::Model { job, digest: sha256(GRAPH), held };
    match exchange::<_, BlobReply>(&worker.connection, &request, b"").await {
        (BlobReply::Found { size }, bytes) => {
            assert_eq!(size, GRAPH.len() as u64);
            Ok(bytes)
        }
        (BlobReply::Refused(error), _) => Err(error.code),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_what_was_uploaded_is_pushed() {
    let cluster = Cluster::start().await;
    let (lab, shop) = (cluster.user("lab"), cluster.user("shop"));
    let digest = lab.upload(GRAPH).await;
    let not_there = lab.refusal(push_request("vad", version(Digest([9; 32]), 7))).await;
    assert_eq!(not_there.code, ErrorCode::NotFound);
    let of_another = shop.refusal(push_request("vad", version(digest, 7))).await;
    assert_eq!(of_another.code, ErrorCode::NotFound, "what others uploaded is not there");
    let other_size = lab.refusal(push_request("vad", version(digest, 8))).await;
    assert_eq!(other_size.code, ErrorCode::InvalidInput);
    let mut bad = version(digest, 7);
    bad.spec.max_batch = 0;
    assert_eq!(lab.refusal(push_request("vad", bad)).await.code, ErrorCode::InvalidInput);
}

#[tokio::test]
async fn another_tenants_model_is_not_there_until_it_is_shared() {
    let cluster = Cluster::start().await;
    let (lab, shop) = (cluster.user("lab"), cluster.user("shop"));
    push(&lab, "vad").await;
    let with = tenant("shop");
    let requests = || {
        [
            Request::Model(named("lab/vad")),
            Request::RemoveModel { model: named("lab/vad"), force: true },
            Request::ShareModel { model: named("lab/vad"), with: tenant("shop") },
            Request::UnshareModel { model: named("lab/vad"), with: tenant("shop"), force: true },
            Request::ResolveModels(vec![named("lab/vad")]),
        ]
    };
    for request in requests() {
        let refused = shop.refusal(request.clone()).await;
        assert_eq!(refused.code, ErrorCode::NotFound, "{request:?}");
        let twin = cluster.user("shop").refusal(Request::Model(named("lab/none"))).await;
        assert_eq!(refused.message.replace("vad", "none"), twin.message, "{request:?}");
    }
    let share = Request::ShareModel { model: named("vad"), with };
    assert_eq!(lab.ask(share).await, Response::Done);
    let codes =
        [None, Some(ErrorCode::Denied), Some(ErrorCode::Denied), Some(ErrorCode::Denied), None];
    for (request, code) in requests().into_iter().zip(codes) {
        let answer = shop.ask(request.clone()).await;
        let refused = match answer {
            Response::Refused(error) => Some(error.code),
            _ => None,
        };
        assert_eq!(refused, code, "{request:?}");
    }
}

#[tokio::test]
async fn an_admin_takes_away_what_is_anybodys_and_uses_only_what_is_shared() {
    let cluster = Cluster::start().await;
    let (lab, ops) = (cluster.user("lab"), cluster.admin());
    push(&lab, "vad").await;
    let Response::Model(detail) = ops.ask(Request::Model(named("lab/vad"))).await else { panic!() };
    assert_eq!(detail.row.model.tenant, tenant("lab"));
    assert_eq!(naming(&ops, "lab/vad").await.unwrap_err().code, ErrorCode::NotFound);
    let remove = Request::RemoveModel { model: named("lab/vad"), force: false };
    assert_eq!(ops.ask(remove).await, Response::ModelWithdrawn { uses: 0 });
    assert_eq!(lab.refusal(Request::Model(named("vad"))).await.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_node_gets_a_model_for_a_job_that_names_it_and_that_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    // A node that is lost has no job.
    config.core.lease = Duration::from_secs(3600);
    let server = wrun_server::start(config).await.unwrap();
    let cluster = Cluster { dir, server };
    let (lab, shop) = (cluster.user("lab"), cluster.user("shop"));
    push(&lab, "vad").await;
    lab.ask(Request::ShareModel { model: named("vad"), with: tenant("shop") }).await;
    let mut worker = cluster.worker("a").await;
    let spec = naming(&shop, "lab/vad").await.unwrap();
    let job = shop.submit_as(1, &spec).await.unwrap();
    worker.assigned().await;
    assert_eq!(get(&worker, job, false).await, Ok(GRAPH.to_vec()));
    assert_eq!(get(&worker, job, true).await, Ok(Vec::new()), "it has the bytes");
    // The blob is the owner's: it is no file of the job.
    let file = BlobRequest::Get { job, digest: sha256(GRAPH) };
    let (answer, _) = exchange::<_, BlobReply>(&worker.connection, &file, b"").await;
    assert!(matches!(answer, BlobReply::Refused(error) if error.code == ErrorCode::NotFound));
    assert_eq!(shop.refusal(Request::GetBlob(sha256(GRAPH))).await.code, ErrorCode::NotFound);

    let plain = lab.submit(2).await;
    worker.assigned().await;
    assert_eq!(get(&worker, plain, false).await, Err(ErrorCode::NotFound), "it names no model");
    assert_eq!(get(&worker, JobId(99), false).await, Err(ErrorCode::NotFound));
    let idle = cluster.worker("b").await;
    assert_eq!(get(&idle, job, false).await, Err(ErrorCode::NotFound), "it does not run the job");

    let with = tenant("shop");
    let unshare = |force| Request::UnshareModel { model: named("vad"), with: with.clone(), force };
    assert_eq!(lab.refusal(unshare(false)).await.code, ErrorCode::Conflict);
    assert_eq!(lab.ask(unshare(true)).await, Response::ModelWithdrawn { uses: 1 });
    for held in [false, true] {
        assert_eq!(get(&worker, job, held).await, Err(ErrorCode::NotFound), "it was taken away");
    }
}

#[tokio::test]
async fn models_and_their_uses_are_there_after_a_restart() {
    let cluster = Cluster::start().await;
    let lab = cluster.user("lab");
    push(&lab, "vad").await;
    let spec = naming(&lab, "vad").await.unwrap();
    lab.submit_as(1, &spec).await.unwrap();
    let cluster = cluster.restart().await;
    let lab = cluster.user("lab");
    let Response::Model(detail) = lab.ask(Request::Model(named("vad"))).await else { panic!() };
    assert_eq!(detail.row.uses, 1);
    assert_eq!(naming(&lab, "vad").await.map(|spec| spec.inference), Ok(spec.inference.clone()));
    let again = lab.submit_as(1, &spec).await.unwrap();
    assert_eq!(again, JobId(1), "a repeated submit is the same job");
    let encoded = EncodedSpec::encode(&spec).unwrap();
    assert!(encoded.may_name_models());
}
