//! Messages about models, and what specifications say of them.

use wrun_protocol::card::CardState;
use wrun_protocol::inference::{BackEnd, NodeInference, Provider};
use wrun_protocol::model::{
    Encoding, Inference, ModelGrant, ModelId, ModelRef, ModelSpec, ModelVersion, Target,
};
use wrun_protocol::wire::model::{
    Kept, LoadedModel, ModelBatching, ModelCounts, ModelDetail, ModelFilter, ModelRow, ModelTensor,
    ModelUse, ModelUser, NodeModel, Pushed,
};

use wrun_protocol::wire::service::ModelLoad;

use super::*;

fn id() -> ModelId {
    ModelId { tenant: tenant(), name: "silero-vad".parse().unwrap() }
}

fn version() -> ModelVersion {
    let spec = ModelSpec {
        encoding: Encoding::Onnx,
        target: Target::Gpu,
        max_batch: 300,
        max_delay_ms: 2,
        batch_axes: BTreeMap::from([("state".into(), 1)]),
    };
    ModelVersion { digest: DIGEST, size: 70_000, spec }
}

fn named() -> ModelRef {
    ModelRef { tenant: Some(tenant()), name: id().name, tag: "v2".parse().unwrap() }
}

fn row() -> ModelRow {
    ModelRow { model: id(), tag: named().tag, version: version(), pushed: AT, uses: 300 }
}

pub(super) fn inference() -> Inference {
    let grant =
        ModelGrant { name: "vad".into(), model: id(), tag: named().tag, version: version() };
    Inference { models: vec![grant], load: true }
}

fn node_inference() -> NodeInference {
    let problem = Some("no driver".to_owned());
    let providers = vec![
        Provider { name: "cuda".into(), problem: problem.clone() },
        Provider { name: "cpu".into(), problem: None },
    ];
    let onnx_runtime = BackEnd {
        name: "onnxruntime".into(),
        version: Some("1.27.0".into()),
        problem: None,
        providers,
    };
    let tract = BackEnd { name: "tract".into(), version: None, problem, providers: Vec::new() };
    NodeInference { model_memory: 70_000, back_ends: vec![onnx_runtime, tract] }
}

fn cards() -> Vec<CardState> {
    let found = CardState { found: true, memory_used: Some(70_000), busy_milli: Some(300) };
    vec![found, CardState::default()]
}

pub(super) fn requests() -> [Request; 9] {
    let after = Some((id(), named().tag));
    [
        Request::PushModel { name: id().name, tag: named().tag, version: version() },
        Request::Models(ModelFilter { all_tenants: true, after }),
        Request::Model(named()),
        Request::RemoveModel { model: named(), force: true },
        Request::ShareModel { model: named(), with: tenant() },
        Request::UnshareModel { model: named(), with: tenant(), force: true },
        Request::ResolveModels(vec![named()]),
        Request::NodeInference { after: Some(NODE) },
        Request::NodeCards { after: Some(NODE) },
    ]
}

pub(super) fn responses() -> [Response; 7] {
    let by = ModelUser::Job(JOB);
    let detail = ModelDetail {
        row: row(),
        tags: vec![named().tag],
        shared_with: vec![tenant()],
        used_by: vec![ModelUse { tenant: tenant(), by }],
        used_by_others: vec![("shop".parse().unwrap(), 300)],
        nodes: vec![NodeModel {
            node: "n1".into(),
            kept: Kept::Loaded,
            loaded: Some(Box::new(loaded())),
        }],
        on_nodes: 300,
    };
    [
        Response::ModelPushed(Pushed::New),
        Response::Models(vec![row()]),
        Response::Model(Box::new(detail)),
        Response::ModelWithdrawn { uses: 300 },
        Response::ResolvedModels(vec![(id(), version())]),
        Response::NodeInference(vec![(NODE, node_inference())]),
        Response::NodeCards(vec![(NODE, cards())]),
    ]
}

pub(super) fn from_worker() -> [FromWorker; 4] {
    let load = ModelLoad {
        job: JOB,
        over_ms: 1000,
        busy_ms: 3000,
        requests: 300,
        latency: vec![0, 0, 300],
    };
    [
        FromWorker::Models(vec![(DIGEST, Some(Kept::Loaded)), (DIGEST, None)]),
        FromWorker::ModelLoad(vec![load]),
        FromWorker::Inference(node_inference()),
        FromWorker::Cards(cards()),
    ]
}

pub(super) fn asked() -> LiveRequest {
    LiveRequest::Model { owner: tenant(), version: version() }
}

/// A model as the node tells that has it loaded.
pub(super) fn loaded() -> LoadedModel {
    let tensor = |name: &str, dimensions| ModelTensor {
        name: name.into(),
        element: "fp32".into(),
        dimensions,
    };
    LoadedModel {
        inputs: vec![tensor("x", Some(vec!["n".into(), "3".into()]))],
        outputs: vec![tensor("y", None)],
        back_end: "tract".into(),
        device: "CPU".into(),
        bytes: 300,
        batching: ModelBatching::Merged(vec![("x".into(), 1)]),
        counts: Some(ModelCounts { requests: 300, ..ModelCounts::default() }),
    }
}

pub(super) fn add_values(lines: &mut Lines) {
    lines.add_all("model.Encoding", [Encoding::Onnx]);
    lines.add_all("model.Target", [Target::Any, Target::Cpu, Target::Gpu]);
    lines.add_all("model.Kept", [Kept::Stored, Kept::Loaded]);
    let batching = [loaded().batching, ModelBatching::Alone("it was pushed so".into())];
    lines.add_all("model.ModelBatching", batching);
    lines.add_all("model.Pushed", [Pushed::New, Pushed::Unchanged, Pushed::Moved { from: DIGEST }]);
    lines.add_all(
        "model.ModelUser",
        [
            ModelUser::Job(JOB),
            ModelUser::Service { name: "web".parse().unwrap(), revision: 300 },
            ModelUser::Workflow(JOB),
            ModelUser::Schedule("nightly".into()),
        ],
    );
}
