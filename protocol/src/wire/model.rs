//! What users see of models: the parts of [`super::user::Request`] and
//! [`super::user::Response`] that speak of them.

use serde::{Deserialize, Serialize};

use crate::model::{ModelId, ModelTag, ModelVersion};
use crate::service::ServiceName;
use crate::{Digest, JobId, TenantName, Timestamp};

/// Most uses that are named one by one; of more the number is told.
pub const MAX_SHOWN_USES: usize = 20;

/// Most nodes that are named one by one.
pub const MAX_SHOWN_NODES: usize = 20;

/// What pushing a model came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pushed {
    /// The tag is new.
    New,
    /// The tag pointed there already: nothing has changed.
    Unchanged,
    /// The tag pointed elsewhere.
    Moved {
        /// At these bytes; the same where only the settings are others.
        from: Digest,
    },
}

/// Which models to list, in order of tenant, name and tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFilter {
    /// Of every tenant, admin only; else the caller's own and those shared with it.
    pub all_tenants: bool,
    /// Only those after this one: the next page.
    pub after: Option<(ModelId, ModelTag)>,
}

/// A tag of a model in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRow {
    /// The model.
    pub model: ModelId,
    /// The tag.
    pub tag: ModelTag,
    /// What it points at.
    pub version: ModelVersion,
    /// Since when.
    pub pushed: Timestamp,
    /// How much live work uses that, as far as it is the caller's to see.
    pub uses: u64,
}

/// A tag of a model, as `wrun model show` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelDetail {
    /// As in a listing.
    pub row: ModelRow,
    /// Every tag of the model, in order; at most [`crate::limits::MAX_PAGE`].
    pub tags: Vec<ModelTag>,
    /// Tenants that may use it besides its owner's, in order; the owner alone is told.
    pub shared_with: Vec<TenantName>,
    /// Live work that uses it and is the caller's to see, at most [`MAX_SHOWN_USES`].
    pub used_by: Vec<ModelUse>,
    /// How much live work of other tenants does; the owner alone is told.
    pub used_by_others: Vec<(TenantName, u64)>,
    /// Nodes that have it, those first that have it loaded; at most [`MAX_SHOWN_NODES`].
    pub nodes: Vec<NodeModel>,
    /// How many have it.
    pub on_nodes: u64,
}

/// A model on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeModel {
    /// The node's name.
    pub node: String,
    /// How it is kept there, as the node told last.
    pub kept: Kept,
    /// What the node tells of it, if it has it loaded and answered in time.
    pub loaded: Option<Box<LoadedModel>>,
}

/// How a node keeps a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kept {
    /// On its disk.
    Stored,
    /// Ready to run.
    Loaded,
}

/// A model that a node has loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedModel {
    /// What it must be given, in its own order.
    pub inputs: Vec<ModelTensor>,
    /// What comes out.
    pub outputs: Vec<ModelTensor>,
    /// What runs it.
    pub back_end: String,
    /// On what it runs.
    pub device: String,
    /// Bytes that it takes.
    pub bytes: u64,
    /// Whether its requests are merged.
    pub batching: ModelBatching,
    /// What happened to it since it was loaded; its owner alone is told.
    pub counts: Option<ModelCounts>,
}

/// A tensor that a model takes or gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelTensor {
    /// Its name.
    pub name: String,
    /// The type of its elements, as the interface for guests calls it.
    pub element: String,
    /// Its dimensions, each a number, a name that stands for the same number wherever it is, or
    /// `?` for any; `None`: the model does not say how many there are.
    pub dimensions: Option<Vec<String>>,
}

/// Whether requests for a model are merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelBatching {
    /// By these axes of its tensors.
    Merged(Vec<(String, u32)>),
    /// Each runs alone, and why.
    Alone(String),
}

/// What happened to a model on a node since it was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelCounts {
    /// Guests and requests that hold it now.
    pub users: u64,
    /// Requests that wait now.
    pub waiting: u64,
    /// Requests that it took.
    pub requests: u64,
    /// Requests that were refused, ran out of time or failed.
    pub failed: u64,
    /// How often it ran.
    pub runs: u64,
    /// Thousandths of a request in a run, on average.
    pub batch_milli: u64,
    /// Most requests in a run, rounded up to a power of two less one.
    pub batch_most: u64,
    /// Half of the answers took no longer, in microseconds from the question, rounded up to a
    /// power of two.
    pub latency_p50_us: u64,
    /// The same of 99 in 100.
    pub latency_p99_us: u64,
}

/// Live work that uses a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelUse {
    /// Whose.
    pub tenant: TenantName,
    /// Which.
    pub by: ModelUser,
}

/// What can use a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelUser {
    /// A job.
    Job(JobId),
    /// A revision of a service.
    Service {
        /// Its name.
        name: ServiceName,
        /// The revision.
        revision: u32,
    },
    /// A workflow: one of its steps names the model.
    Workflow(JobId),
    /// A schedule: the jobs that it submits name the model.
    Schedule(String),
}
