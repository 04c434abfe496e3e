//! Models outlive the processes: what was acknowledged is there after a kill, and so is what live
//! work uses.

use harness::{Client, Cluster, client};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::model::{
    Encoding, Inference, ModelGrant, ModelId, ModelRef, ModelSpec, ModelVersion,
};
use wrun_protocol::wire::model::{ModelDetail, Pushed};
use wrun_protocol::wire::user::{ErrorCode, JobState, Request, Response, Submission};
use wrun_protocol::{JobSpec, TenantName};

use crate::{sleeper, small_job, until};

fn tenant() -> TenantName {
    "main".parse().unwrap()
}

fn named(text: &str) -> ModelRef {
    text.parse().unwrap()
}

async fn push(client: &Client, model: &str, bytes: &[u8]) -> Pushed {
    let digest = client.upload(bytes).await;
    let spec = ModelSpec::new(Encoding::Onnx);
    let version = ModelVersion { digest, size: bytes.len() as u64, spec };
    let ModelRef { name, tag, .. } = named(model);
    match client.ask(&Request::PushModel { name, tag, version }).await.unwrap() {
        Response::ModelPushed(pushed) => pushed,
        other => panic!("{other:?}"),
    }
}

async fn show(client: &Client, model: &str) -> Option<ModelDetail> {
    match client.ask(&Request::Model(named(model))).await.unwrap() {
        Response::Model(detail) => Some(*detail),
        Response::Refused(error) if error.code == ErrorCode::NotFound => None,
        other => panic!("{other:?}"),
    }
}

async fn naming(client: &Client, model: &str, spec: JobSpec) -> JobSpec {
    let reference = named(model);
    let (model, version) = match client.ask(&Request::ResolveModels(vec![reference.clone()])).await
    {
        Ok(Response::ResolvedModels(mut resolved)) => resolved.remove(0),
        other => panic!("{other:?}"),
    };
    let grant = ModelGrant { name: "m".to_owned(), model, tag: reference.tag, version };
    JobSpec { inference: Inference { models: vec![grant], load: false }, ..spec }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_of_models_survives_a_kill_of_the_server() {
    let mut cluster = Cluster::start();
    let mut client = cluster.client().await;
    for number in 0..20_u8 {
        let bytes = [number; 100];
        // Each is acknowledged, then the server dies at once.
        assert_eq!(push(&client, &format!("m{number}"), &bytes).await, Pushed::New);
        if number % 5 == 4 {
            tokio::task::block_in_place(|| cluster.restart_server());
            client.reconnect().await;
        }
    }
    for number in 0..20_u8 {
        let detail = show(&client, &format!("m{number}")).await.expect("it was acknowledged");
        assert_eq!(detail.row.version.digest, client::digest(&[number; 100]));
        assert_eq!(push(&client, &format!("m{number}"), &[number; 100]).await, Pushed::Unchanged);
    }
    let remove = Request::RemoveModel { model: named("m0"), force: false };
    assert_eq!(client.ask(&remove).await, Ok(Response::ModelWithdrawn { uses: 0 }));
    tokio::task::block_in_place(|| cluster.restart_server());
    client.reconnect().await;
    assert_eq!(show(&client, "m0").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_live_work_uses_is_known_after_a_kill_and_goes_to_another_node() {
    let mut cluster = Cluster::start();
    let mut client = cluster.client().await;
    push(&client, "vad", b"the first graph").await;
    let spec = naming(&client, "vad", sleeper(&client, 3_600_000).await).await;
    let job = client.submit(&spec).await;
    push(&client, "vad", b"another graph").await;
    push(&client, "vad:old", b"the first graph").await;
    let runs = async || client.job(job).await.summary.state == JobState::Running;
    until("the job runs", runs).await;
    tokio::task::block_in_place(|| cluster.restart_server());
    client.reconnect().await;
    let detail = show(&client, "vad:old").await.unwrap();
    assert_eq!(detail.row.uses, 1, "{detail:?}");
    let remove = Request::RemoveModel { model: named("vad:old"), force: false };
    match client.ask(&remove).await.unwrap() {
        Response::Refused(error) => assert_eq!(error.code, ErrorCode::Conflict, "{error}"),
        other => panic!("{other:?}"),
    }
    // Its node is lost: another one fetches the model for it.
    tokio::task::block_in_place(|| {
        cluster.add_worker("w2");
        cluster.workers[0].kill();
    });
    let digest = client::digest(b"the first graph");
    let kept = cluster.worker_data("w2").join("artefacts").join(digest.to_string());
    until("the other node has the model", async || kept.exists()).await;
    assert_eq!(std::fs::read(&kept).unwrap(), b"the first graph");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_specification_is_not_believed() {
    let cluster = Cluster::start();
    let mut client = cluster.client().await;
    push(&client, "vad", b"the first graph").await;
    let program = small_job(&client, "noop").await;
    let honest = naming(&client, "vad", program.clone()).await;
    let refused = async |client: &mut Client, change: fn(&mut ModelGrant)| {
        let mut spec = honest.clone();
        spec.inference.models.iter_mut().for_each(change);
        let spec = EncodedSpec::encode(&spec).unwrap();
        let id = client.submit_id();
        match client.ask(&Request::Submit(vec![Submission { id, spec }])).await.unwrap() {
            Response::Submitted(mut answers) => answers.remove(0).unwrap_err().code,
            other => panic!("{other:?}"),
        }
    };
    let other_bytes = refused(&mut client, |of| of.version.digest = client::digest(b"else")).await;
    assert_eq!(other_bytes, ErrorCode::NotFound);
    let other_settings = refused(&mut client, |of| of.version.spec.max_batch = 1024).await;
    assert_eq!(other_settings, ErrorCode::NotFound);
    let other_tenant = refused(&mut client, |of| {
        of.model = ModelId { tenant: "lab".parse().unwrap(), name: of.model.name.clone() };
    });
    assert_eq!(other_tenant.await, ErrorCode::NotFound);
    let job = client.submit(&honest).await;
    assert_eq!(client.wait(job).await.state, JobState::Succeeded);
    assert_eq!(honest.inference.models[0].model.tenant, tenant());
}
