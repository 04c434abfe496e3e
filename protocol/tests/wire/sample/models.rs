//! What is said of models.

use wrun_protocol::card::CardState;
use wrun_protocol::inference::{BackEnd, NodeInference, Provider};
use wrun_protocol::model::{
    Encoding, Inference, ModelGrant, ModelId, ModelName, ModelRef, ModelSpec, ModelTag,
    ModelVersion, Target,
};
use wrun_protocol::wire::model::*;

use super::{Sample, Source};

impl Sample for ModelName {
    fn sample(s: &mut Source<'_>) -> Self {
        ["a", "silero-vad", "MiniLM_L6.v2"][usize::from(s.below(3))].parse().unwrap()
    }
}

impl Sample for ModelTag {
    fn sample(s: &mut Source<'_>) -> Self {
        ["latest", "1.2", "A_b-c"][usize::from(s.below(3))].parse().unwrap()
    }
}

structs! {
    ModelId { tenant, name }
    ModelRef { tenant, name, tag }
    ModelSpec { encoding, target, max_batch, max_delay_ms, batch_axes }
    ModelVersion { digest, size, spec }
    ModelGrant { name, model, tag, version }
    Inference { models, load }
    ModelFilter { all_tenants, after }
    ModelRow { model, tag, version, pushed, uses }
    ModelDetail { row, tags, shared_with, used_by, used_by_others, nodes, on_nodes }
    ModelUse { tenant, by }
    NodeModel { node, kept, loaded }
    LoadedModel { inputs, outputs, back_end, device, bytes, batching, counts }
    ModelTensor { name, element, dimensions }
    ModelCounts {
        users, waiting, requests, failed, runs, batch_milli, batch_most, latency_p50_us,
        latency_p99_us
    }
    NodeInference { model_memory, back_ends }
    CardState { found, memory_used, busy_milli }
    BackEnd { name, version, problem, providers }
    Provider { name, problem }
}

enums! {
    Encoding { Onnx }
    Target { Any, Cpu, Gpu }
    Pushed { New, Unchanged, Moved { from } }
    Kept { Stored, Loaded }
    ModelBatching { Merged(axes), Alone(reason) }
    ModelUser { Job(job), Service { name, revision }, Workflow(job), Schedule(name) }
}
