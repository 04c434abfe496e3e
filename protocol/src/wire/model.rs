//! What users see of models: the parts of [`super::user::Request`] and
//! [`super::user::Response`] that speak of them.

use serde::{Deserialize, Serialize};

use crate::model::{ModelId, ModelTag, ModelVersion};
use crate::service::ServiceName;
use crate::{Digest, JobId, TenantName, Timestamp};

/// Most uses that are named one by one; of more the number is told.
pub const MAX_SHOWN_USES: usize = 20;

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
