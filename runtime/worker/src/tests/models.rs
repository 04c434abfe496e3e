//! Models that a job names: fetched for it alone, checked, and kept while it is known.

use wrun_protocol::model::{
    Encoding, Inference, ModelGrant, ModelId, ModelSpec, ModelTag, ModelVersion,
};
use wrun_protocol::task::{Failure, Outcome};
use wrun_protocol::wire::model::Kept;
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::wire::worker::{BlobReply, BlobRequest, FromWorker, Report};
use wrun_protocol::{Digest, JobSpec};

use super::scripts::*;

const MODEL: &[u8] = b"a graph";

fn naming(bytes: &[u8]) -> JobSpec {
    let version = ModelVersion {
        digest: digest(bytes),
        size: bytes.len() as u64,
        spec: ModelSpec::new(Encoding::Onnx),
    };
    let model = ModelId { tenant: "shop".parse().unwrap(), name: "vad".parse().unwrap() };
    let grant = ModelGrant { name: "voice".to_owned(), model, tag: ModelTag::default(), version };
    let inference = Inference { models: vec![grant], load: true };
    // Three of them run at once.
    let mut spec = JobSpec { inference, ..spec() };
    spec.resources.cpu_milli = 500;
    spec
}

/// Answers whatever is asked for: the component, or the model as `model` says.
async fn answer(server: &Server, model: Result<&[u8], RequestError>) -> BlobRequest {
    let (request, mut send, _recv) = server.blob_request().await;
    let bytes = match &request {
        BlobRequest::Get { digest: wanted, .. } => {
            assert_eq!(*wanted, digest(COMPONENT));
            Ok(COMPONENT)
        }
        BlobRequest::Model { digest: wanted, .. } => {
            assert_eq!(*wanted, digest(MODEL));
            model
        }
        BlobRequest::Put { .. } => panic!("{request:?}"),
    };
    match bytes {
        Err(error) => send.send(&BlobReply::Refused(error)).await.unwrap(),
        Ok(bytes) => {
            send.send(&BlobReply::Found { size: bytes.len() as u64 }).await.unwrap();
            if !matches!(request, BlobRequest::Model { held: true, .. }) {
                send.write_raw(bytes).await.unwrap();
            }
        }
    }
    send.finish_and_wait().await.unwrap();
    request
}

fn withdrawn() -> RequestError {
    RequestError::new(ErrorCode::NotFound, "job 1 may not load the model")
}

/// A server that has assigned a task of job 1, and answered for its model.
async fn with_model(world: &World, model: Result<&[u8], RequestError>) -> Server {
    let mut server = world.connect().await;
    server.job(1, &naming(MODEL)).await;
    server.assign(1, 0..1).await;
    for _ in 0..2 {
        answer(&server, model.clone()).await;
    }
    server
}

fn files(world: &World, index: u32) -> Vec<Option<Vec<u8>>> {
    world.script.with_task(index, |task| {
        assert!(task.job.load_models);
        let of = task.job.models.iter().inspect(|model| assert_eq!(model.name, "voice"));
        of.map(|model| model.file.as_ref().map(|path| std::fs::read(path).unwrap())).collect()
    })
}

#[tokio::test]
async fn a_model_is_on_disk_when_a_task_starts() {
    let world = World::new().await;
    let _server = with_model(&world, Ok(MODEL)).await;
    world.script.runs(&[(1, 0)]).await;
    assert_eq!(files(&world, 0), [Some(MODEL.to_vec())]);
}

/// The next that is told of models, whatever else is.
async fn told(server: &mut Server) -> Vec<(Digest, Option<Kept>)> {
    loop {
        if let FromWorker::Models(models) = server.next().await {
            return models;
        }
    }
}

#[tokio::test]
async fn the_server_hears_what_is_on_disk_and_again_on_a_new_session() {
    let world = World::new().await;
    let mut server = with_model(&world, Ok(MODEL)).await;
    let stored = vec![(digest(MODEL), Some(Kept::Stored))];
    assert_eq!(told(&mut server).await, stored.clone());
    drop(server);
    let (mut server, attempts) = world.accept().await;
    assert_eq!(attempts.len(), 1, "the task goes on");
    server.welcome().await;
    assert_eq!(told(&mut server).await, stored);
}

#[tokio::test]
async fn bytes_that_do_not_fit_are_no_model() {
    let world = World::new().await;
    let mut server = world.assigned(0..1).await;
    server.job(12, &naming(MODEL)).await;
    server.assign(12, 1..2).await;
    for _ in 0..2 {
        answer(&server, Ok(b"other bytes")).await;
    }
    let mut told = None;
    while told.is_none() {
        for report in server.reports().await.1 {
            if let Report::Ended { result, .. } = report {
                told = Some(result.outcome);
            }
        }
    }
    let Some(Outcome::Failed(Failure::Setup { message })) = told else { panic!("{told:?}") };
    assert!(message.starts_with("models: `voice`: "), "{message}");
    assert!(message.contains("do not fit this digest"), "{message}");
}

#[tokio::test]
async fn the_server_is_asked_for_each_job_though_the_bytes_are_there() {
    let world = World::new().await;
    let mut server = with_model(&world, Ok(MODEL)).await;
    world.script.runs(&[(1, 0)]).await;
    server.job(2, &naming(MODEL)).await;
    server.assign(2, 1..2).await;
    let asked = answer(&server, Ok(MODEL)).await;
    assert!(matches!(asked, BlobRequest::Model { held: true, .. }), "{asked:?}");
    world.script.runs(&[(1, 0), (2, 1)]).await;
    assert_eq!(files(&world, 1), [Some(MODEL.to_vec())]);
    server.job(3, &naming(MODEL)).await;
    server.assign(3, 2..3).await;
    answer(&server, Err(withdrawn())).await;
    world.script.runs(&[(1, 0), (2, 1), (3, 2)]).await;
    assert_eq!(files(&world, 2), [None], "what is on disk for others is not there for it");
}

#[tokio::test]
async fn a_job_whose_model_was_withdrawn_runs_without_it() {
    let world = World::new().await;
    let _server = with_model(&world, Err(withdrawn())).await;
    world.script.runs(&[(1, 0)]).await;
    assert_eq!(files(&world, 0), [None]);
}
