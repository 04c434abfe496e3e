//! What commands about models print.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use wrun_protocol::wire::model::{self as wire, ModelUser};

/// Models, in order of tenant, name and tag.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Models {
    pub(crate) models: Vec<Model>,
}

/// A tag of a model.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Model {
    /// Whose it is.
    pub(crate) tenant: String,
    pub(crate) name: String,
    pub(crate) tag: String,
    /// SHA-256 in hexadecimal.
    pub(crate) digest: String,
    pub(crate) size: u64,
    /// `onnx`.
    pub(crate) encoding: &'static str,
    /// `any`, `cpu` or `gpu`.
    pub(crate) target: &'static str,
    /// Items that one run computes together, at most.
    pub(crate) max_batch: u32,
    /// How long an item waits for others, at most.
    pub(crate) max_delay_ms: u32,
    /// By which axis items of a batch are told apart, where that was declared, by tensor.
    pub(crate) batch_axes: BTreeMap<String, u32>,
    /// Since when the tag points there.
    pub(crate) pushed_ms: u64,
    /// How much live work uses that: of all tenants to the owner, else of one's own.
    pub(crate) uses: u64,
}

/// A tag of a model in full.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ModelPage {
    #[serde(flatten)]
    pub(crate) model: Model,
    /// Every tag of the model.
    pub(crate) tags: Vec<String>,
    /// Tenants that may use it besides its owner's; the owner alone is told.
    pub(crate) shared_with: Vec<String>,
    /// Live work that uses it, the first of it.
    pub(crate) used_by: Vec<ModelUse>,
    /// How much live work of other tenants does; the owner alone is told.
    pub(crate) used_by_others: Vec<OtherUses>,
    /// Nodes that have it, those first that have it loaded; the first of them.
    pub(crate) nodes: Vec<NodeModel>,
    /// How many have it.
    pub(crate) on_nodes: u64,
}

/// A model on a node.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NodeModel {
    pub(crate) node: String,
    /// `loaded` or `on-disk`.
    pub(crate) node_state: &'static str,
    /// What the node tells of it, if it has it loaded and answered in time.
    pub(crate) loaded: Option<LoadedModel>,
}

/// A model that a node has loaded.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LoadedModel {
    /// What it must be given, in its own order.
    pub(crate) inputs: Vec<ModelTensor>,
    pub(crate) outputs: Vec<ModelTensor>,
    pub(crate) back_end: String,
    pub(crate) device: String,
    /// Memory that it takes, in bytes.
    pub(crate) bytes: u64,
    /// Whether requests are merged into batches.
    pub(crate) is_merged: bool,
    /// By which axis of each tensor, where they are.
    pub(crate) axes: BTreeMap<String, u32>,
    /// Why not, where they are not.
    pub(crate) why_alone: Option<String>,
    /// What happened to it since it was loaded; the owner alone is told.
    pub(crate) counts: Option<ModelCounts>,
}

/// A tensor that a model takes or gives.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ModelTensor {
    pub(crate) name: String,
    /// `fp16`, `fp32`, `fp64`, `bf16`, `u8`, `i32` or `i64`.
    pub(crate) element: String,
    /// Each a number, a name that stands for the same number wherever it is, or `?` for any.
    /// Not there where the model does not say how many there are.
    pub(crate) dimensions: Option<Vec<String>>,
}

/// What happened to a model on a node since it was loaded.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ModelCounts {
    /// Guests and requests that hold it now.
    pub(crate) users: u64,
    /// Requests that wait now.
    pub(crate) waiting: u64,
    /// Requests that it took.
    pub(crate) requests: u64,
    /// Of these, and of those it did not take: refused, out of time, or failed.
    pub(crate) failed: u64,
    /// How often it ran.
    pub(crate) runs: u64,
    /// Requests in a run, on average.
    pub(crate) mean_batch: f64,
    /// Most requests in a run, rounded up to a power of two less one.
    pub(crate) most_batch: u64,
    /// Half of the answers took no longer, rounded up to a power of two.
    pub(crate) latency_p50_us: u64,
    /// The same of 99 in 100.
    pub(crate) latency_p99_us: u64,
}

/// Live work that uses a model.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ModelUse {
    pub(crate) tenant: String,
    /// `job`, `service`, `workflow` or `schedule`.
    pub(crate) kind: &'static str,
    /// Of a job or a workflow: its id.
    pub(crate) job: Option<u64>,
    /// Of a service or a schedule: its name.
    pub(crate) name: Option<String>,
    /// Of a service: the revision.
    pub(crate) revision: Option<u32>,
}

/// How much live work of a tenant uses a model.
#[derive(Serialize, JsonSchema)]
pub(crate) struct OtherUses {
    pub(crate) tenant: String,
    pub(crate) uses: u64,
}

/// A model was pushed.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ModelPushed {
    /// NAME:TAG.
    pub(crate) model: String,
    /// `new`, `unchanged` or `moved`.
    pub(crate) model_state: &'static str,
    pub(crate) digest: String,
    /// Of one that was moved: what the tag pointed at before.
    pub(crate) replaced: Option<String>,
}

/// A model was removed, shared, or is shared no more.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ModelChange {
    pub(crate) model: String,
    /// `removed`, `shared` or `unshared`.
    pub(crate) model_state: &'static str,
    /// With whom it is shared, or no more.
    pub(crate) with: Option<String>,
    /// How much live work can load it no more.
    pub(crate) uses_lost: u64,
}

/// A model that a guest may load by name.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ModelGrant {
    /// What the guest calls it.
    pub(crate) guest_name: String,
    /// TENANT/NAME:TAG, as it was submitted.
    pub(crate) model: String,
    /// SHA-256 in hexadecimal.
    pub(crate) digest: String,
    pub(crate) size: u64,
}

impl From<&wrun_protocol::model::ModelGrant> for ModelGrant {
    fn from(grant: &wrun_protocol::model::ModelGrant) -> Self {
        Self {
            guest_name: grant.name.clone(),
            model: grant.reference().to_string(),
            digest: grant.version.digest.to_string(),
            size: grant.version.size,
        }
    }
}

impl From<&wire::ModelRow> for Model {
    fn from(row: &wire::ModelRow) -> Self {
        let spec = &row.version.spec;
        Self {
            tenant: row.model.tenant.to_string(),
            name: row.model.name.to_string(),
            tag: row.tag.to_string(),
            digest: row.version.digest.to_string(),
            size: row.version.size,
            encoding: spec.encoding.as_str(),
            target: spec.target.as_str(),
            max_batch: spec.max_batch,
            max_delay_ms: spec.max_delay_ms,
            batch_axes: spec.batch_axes.clone(),
            pushed_ms: row.pushed.0,
            uses: row.uses,
        }
    }
}

impl From<&wire::ModelDetail> for ModelPage {
    fn from(detail: &wire::ModelDetail) -> Self {
        let other = |(tenant, uses): &(wrun_protocol::TenantName, u64)| OtherUses {
            tenant: tenant.to_string(),
            uses: *uses,
        };
        Self {
            model: (&detail.row).into(),
            tags: detail.tags.iter().map(ToString::to_string).collect(),
            shared_with: detail.shared_with.iter().map(ToString::to_string).collect(),
            used_by: detail.used_by.iter().map(Into::into).collect(),
            used_by_others: detail.used_by_others.iter().map(other).collect(),
            nodes: detail.nodes.iter().map(Into::into).collect(),
            on_nodes: detail.on_nodes,
        }
    }
}

impl From<&wire::NodeModel> for NodeModel {
    fn from(of: &wire::NodeModel) -> Self {
        let node_state = match of.kept {
            wire::Kept::Loaded => "loaded",
            wire::Kept::Stored => "on-disk",
        };
        let loaded = of.loaded.as_deref().map(Into::into);
        Self { node: of.node.clone(), node_state, loaded }
    }
}

impl From<&wire::LoadedModel> for LoadedModel {
    fn from(of: &wire::LoadedModel) -> Self {
        let (axes, why_alone) = match &of.batching {
            wire::ModelBatching::Merged(axes) => (axes.iter().cloned().collect(), None),
            wire::ModelBatching::Alone(reason) => (BTreeMap::new(), Some(reason.clone())),
        };
        Self {
            inputs: of.inputs.iter().map(Into::into).collect(),
            outputs: of.outputs.iter().map(Into::into).collect(),
            back_end: of.back_end.clone(),
            device: of.device.clone(),
            bytes: of.bytes,
            is_merged: why_alone.is_none(),
            axes,
            why_alone,
            counts: of.counts.as_ref().map(Into::into),
        }
    }
}

impl From<&wire::ModelTensor> for ModelTensor {
    fn from(of: &wire::ModelTensor) -> Self {
        let (name, element) = (of.name.clone(), of.element.clone());
        Self { name, element, dimensions: of.dimensions.clone() }
    }
}

impl From<&wire::ModelCounts> for ModelCounts {
    fn from(of: &wire::ModelCounts) -> Self {
        Self {
            users: of.users,
            waiting: of.waiting,
            requests: of.requests,
            failed: of.failed,
            runs: of.runs,
            mean_batch: of.batch_milli as f64 / 1000.0,
            most_batch: of.batch_most,
            latency_p50_us: of.latency_p50_us,
            latency_p99_us: of.latency_p99_us,
        }
    }
}

impl From<&wire::ModelUse> for ModelUse {
    fn from(of: &wire::ModelUse) -> Self {
        let (kind, job, name, revision) = match &of.by {
            ModelUser::Job(job) => ("job", Some(job.0), None, None),
            ModelUser::Service { name, revision } => {
                ("service", None, Some(name.to_string()), Some(*revision))
            }
            ModelUser::Workflow(job) => ("workflow", Some(job.0), None, None),
            ModelUser::Schedule(name) => ("schedule", None, Some(name.clone()), None),
        };
        Self { tenant: of.tenant.to_string(), kind, job, name, revision }
    }
}
