//! What can be seen of models, and what names stand for.

use wrun_protocol::closest::closest;
use wrun_protocol::limits::{MAX_FRAME, MAX_PAGE};
use wrun_protocol::model::{ModelId, ModelRef, ModelTag, ModelVersion};
use wrun_protocol::wire::model::{
    Kept, MAX_SHOWN_NODES, MAX_SHOWN_USES, ModelDetail, ModelRow, ModelUse, ModelUser, NodeModel,
};
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::{Digest, JobId, NodeId, TenantName};

use crate::core::Core;
use crate::state::models::{Held, Model, Registry, Users};
use crate::state::nodes::{node_id, node_ix};

/// About what the models in one answer take together: well below a frame.
const MAX_LISTED: usize = MAX_FRAME / 4;

/// Names with which one is compared that is not there.
const MAX_COMPARED: usize = 256;

/// Tags that an error names.
const MAX_NAMED: usize = 10;

impl Core {
    /// Tags of models in order of tenant, name and tag, those after `after`: of all, or those
    /// that a tenant may use. At most [`MAX_PAGE`], and what fits into a frame.
    pub fn models(
        &self,
        tenant: Option<&TenantName>,
        after: Option<&(ModelId, ModelTag)>,
    ) -> Vec<ModelRow> {
        let models = self.state.models.from(tenant, after.map(|(id, _)| id));
        let tags = models.flat_map(|(id, of)| of.tags.keys().map(move |tag| (id, tag)));
        let is_later = |(id, tag): &(&ModelId, &ModelTag)| {
            after.is_none_or(|(last_id, last_tag)| (*id, *tag) > (last_id, last_tag))
        };
        let rows = tags.filter(is_later).filter_map(|(id, tag)| self.model_row(tenant, id, tag));
        let mut size = 0;
        let fits = |row: &ModelRow| {
            let is_first = size == 0;
            size += weight(&row.version);
            is_first || size <= MAX_LISTED
        };
        rows.take(MAX_PAGE as usize).take_while(fits).collect()
    }

    /// One tag of a model in full, as far as it is there; for a tenant, or for one who may see all.
    pub fn model(
        &self,
        viewer: Option<&TenantName>,
        id: &ModelId,
        tag: &ModelTag,
    ) -> Result<ModelDetail, RequestError> {
        let registry = &self.state.models;
        let caller = viewer.unwrap_or(&id.tenant);
        let visible = viewer.is_none_or(|tenant| registry.may_use(tenant, id));
        let of = registry.get(id).filter(|_| visible);
        let Some(of) = of else { return Err(no_model(registry, caller, id)) };
        let found = registry.tagged(id, tag).zip(self.model_row(viewer, id, tag));
        let Some(((_, held), row)) = found else { return Err(no_tag(caller, id, tag, of)) };
        let is_owner = viewer.is_none_or(|tenant| *tenant == id.tenant);
        let others = |tenant: &&TenantName| viewer.is_some_and(|viewer| viewer != *tenant);
        let users = held.users.iter();
        let used_by_others = users
            .filter(|(tenant, _)| is_owner && others(tenant))
            .map(|(tenant, users)| (tenant.clone(), users.count()));
        let shared_with = of.shared_with.iter().filter(|_| is_owner).cloned();
        Ok(ModelDetail {
            row,
            tags: of.tags.keys().take(MAX_PAGE as usize).cloned().collect(),
            shared_with: shared_with.collect(),
            used_by: self.used_by(viewer, held).take(MAX_SHOWN_USES).collect(),
            used_by_others: used_by_others.collect(),
            nodes: Vec::new(),
            on_nodes: 0,
        })
    }

    /// Nodes that keep a model, those first that have it loaded, at most [`MAX_SHOWN_NODES`]; and
    /// how many do.
    pub fn nodes_with_model(&self, digest: Digest) -> (Vec<(NodeId, NodeModel)>, u64) {
        let keepers = || self.near.keepers(digest);
        let loaded = keepers().filter(|(_, kept)| *kept == Kept::Loaded);
        let stored = keepers().filter(|(_, kept)| *kept == Kept::Stored);
        let shown = loaded.chain(stored).take(MAX_SHOWN_NODES).filter_map(|(ix, kept)| {
            let node = self.state.nodes.get(ix)?.name.clone();
            Some((node_id(ix), NodeModel { node, kept, loaded: None }))
        });
        (shown.collect(), keepers().count() as u64)
    }

    /// What a tag points at that work of a tenant is to name.
    pub fn resolve_model(
        &self,
        tenant: &TenantName,
        model: &ModelRef,
    ) -> Result<(ModelId, ModelVersion), RequestError> {
        let (registry, id) = (&self.state.models, model.id(tenant));
        let of = registry.get(&id).filter(|_| registry.may_use(tenant, &id));
        let Some(of) = of else { return Err(no_model(registry, tenant, &id)) };
        match registry.tagged(&id, &model.tag) {
            Some((_, held)) => Ok((id, held.version.clone())),
            None => Err(no_tag(tenant, &id, &model.tag, of)),
        }
    }

    /// Whose blob a live job may load as a model, and its size; `None` where it names none of that
    /// digest, or it was withdrawn from it.
    pub fn model_of_job(&self, job: JobId, digest: Digest) -> Option<(TenantName, u64)> {
        let (tenant, size) = self.state.models.of_job(job, digest)?;
        Some((tenant.clone(), size))
    }

    /// The same for a node, which must have a task of the job.
    pub fn model_for(&self, node: NodeId, job: JobId, digest: Digest) -> Option<(TenantName, u64)> {
        let node = self.state.nodes.get(node_ix(node))?;
        let has_any = node.tasks.from(job, 0).next().is_some();
        self.model_of_job(job, digest).filter(|_| has_any)
    }

    fn model_row(
        &self,
        viewer: Option<&TenantName>,
        id: &ModelId,
        tag: &ModelTag,
    ) -> Option<ModelRow> {
        let (at, held) = self.state.models.tagged(id, tag)?;
        let uses = match viewer {
            Some(tenant) if *tenant != id.tenant => held.users.get(tenant).map_or(0, Users::count),
            _ => held.uses(),
        };
        let (model, tag, version) = (id.clone(), tag.clone(), held.version.clone());
        Some(ModelRow { model, tag, version, pushed: at.pushed, uses })
    }

    fn used_by<'a>(
        &'a self,
        viewer: Option<&'a TenantName>,
        held: &'a Held,
    ) -> impl Iterator<Item = ModelUse> + 'a {
        let users = held.users.iter();
        let own = users.filter(move |(tenant, _)| viewer.is_none_or(|viewer| viewer == *tenant));
        own.flat_map(|(tenant, users)| {
            self.users(users).map(|by| ModelUse { tenant: tenant.clone(), by })
        })
    }

    /// What a tenant's live work is that uses a version.
    pub(crate) fn users<'a>(&'a self, users: &'a Users) -> impl Iterator<Item = ModelUser> + 'a {
        let jobs = users.jobs.iter().map(|job| {
            if let Some((service, revision)) = self.state.services.of_job(*job) {
                return ModelUser::Service { name: service.name.clone(), revision: *revision };
            }
            match self.state.workflows.get(*job) {
                Some(_) => ModelUser::Workflow(*job),
                None => ModelUser::Job(*job),
            }
        });
        jobs.chain(users.schedules.iter().cloned().map(ModelUser::Schedule))
    }
}

/// About what a version takes in a message.
fn weight(version: &ModelVersion) -> usize {
    let axes = version.spec.batch_axes.keys().map(|tensor| tensor.len() + 8);
    256 + axes.sum::<usize>()
}

/// A model as a user of `caller` names it.
pub(crate) fn called(caller: &TenantName, id: &ModelId) -> String {
    if *caller == id.tenant { id.name.to_string() } else { id.to_string() }
}

/// The one answer for a model that is not there and for one that the tenant may not use.
pub(crate) fn no_model(registry: &Registry, caller: &TenantName, id: &ModelId) -> RequestError {
    let known: Vec<String> =
        registry.from(Some(caller), None).map(|(known, _)| called(caller, known)).collect();
    let name = called(caller, id);
    let of_others = known.iter().find(|known| {
        known.split_once('/').is_some_and(|(_, other)| *caller == id.tenant && other == name)
    });
    let known: Vec<&str> = known.iter().take(MAX_COMPARED).map(String::as_str).collect();
    let near = of_others.map(String::as_str).or_else(|| closest(&name, &known));
    let todo = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`wrun models` lists those there are".to_owned(),
    };
    RequestError::new(ErrorCode::NotFound, format!("there is no model `{name}`; {todo}"))
}

/// A model has no such tag.
pub(crate) fn no_tag(
    caller: &TenantName,
    id: &ModelId,
    tag: &ModelTag,
    of: &Model,
) -> RequestError {
    let mut tags: Vec<String> =
        of.tags.keys().take(MAX_NAMED).map(|known| format!("`{known}`")).collect();
    if let Some(more) = of.tags.len().checked_sub(MAX_NAMED + 1) {
        tags.push(format!("{} more", more + 1));
    }
    let (name, tags) = (called(caller, id), tags.join(", "));
    let text = format!("model `{name}` has no tag `{tag}`; it has {tags}");
    RequestError::new(ErrorCode::NotFound, text)
}
