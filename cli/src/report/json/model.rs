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
