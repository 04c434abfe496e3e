//! Models: what their tags point at, with whom they are shared, and which live work uses what.
//!
//! A version is bytes with their settings. It is kept while a tag points at it, and beyond that
//! for as long as live work uses it: moving a tag takes nothing from anyone. What takes it away
//! (removing its last tag, sharing no more) removes the uses as well, so that a use is at the same
//! time the permission to load. Uses are counted as work comes and goes; nothing looks at all jobs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wrun_protocol::model::{Inference, ModelId, ModelTag, ModelVersion};
use wrun_protocol::schedule::Schedule;
use wrun_protocol::{Digest, JobId, TenantName, Timestamp};

use super::State;
use super::schedules::Key;
use super::workflows::Flow;
use crate::fact::Fact;

/// Of a version; never given twice.
pub(crate) type Number = u64;

/// Every model.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Registry {
    /// Versions that there ever were.
    made: Number,
    models: BTreeMap<ModelId, Model>,
    versions: BTreeMap<Number, Held>,
    /// What live jobs and workflows may load, of those that may load any.
    of_job: BTreeMap<JobId, Used>,
    /// What the jobs of schedules may load.
    of_schedule: BTreeMap<Key, BTreeSet<Number>>,
    /// Models that others share with a tenant. Derived.
    #[serde(skip)]
    shared: BTreeMap<TenantName, BTreeSet<ModelId>>,
}

/// One of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Model {
    pub(crate) tags: BTreeMap<ModelTag, Tag>,
    pub(crate) shared_with: BTreeSet<TenantName>,
    /// Derived.
    #[serde(skip)]
    versions: BTreeMap<ModelVersion, Number>,
}

/// Where a tag points.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Tag {
    pub(crate) version: Number,
    pub(crate) pushed: Timestamp,
}

/// A version of a model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) model: ModelId,
    pub(crate) version: ModelVersion,
    /// How many tags point at it. Derived.
    #[serde(skip)]
    pub(crate) tags: usize,
    /// Live work that uses it. Derived.
    #[serde(skip)]
    pub(crate) users: BTreeMap<TenantName, Users>,
}

/// What of a tenant uses a version.
#[derive(Clone, Debug, Default)]
pub(crate) struct Users {
    /// Jobs and workflows.
    pub(crate) jobs: BTreeSet<JobId>,
    pub(crate) schedules: BTreeSet<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Used {
    tenant: TenantName,
    versions: BTreeSet<Number>,
}

impl Users {
    pub(crate) fn count(&self) -> u64 {
        (self.jobs.len() + self.schedules.len()) as u64
    }
}

impl Held {
    /// How much live work uses it.
    pub(crate) fn uses(&self) -> u64 {
        self.users.values().map(Users::count).sum()
    }
}

impl Registry {
    /// Whether there never was any.
    pub(crate) fn is_empty(&self) -> bool {
        self.made == 0
    }

    /// A model that has a tag.
    pub(crate) fn get(&self, id: &ModelId) -> Option<&Model> {
        self.models.get(id).filter(|model| !model.tags.is_empty())
    }

    /// Where a tag points, and since when.
    pub(crate) fn tagged(&self, id: &ModelId, tag: &ModelTag) -> Option<(Tag, &Held)> {
        let tag = *self.models.get(id)?.tags.get(tag)?;
        Some((tag, self.versions.get(&tag.version)?))
    }

    /// Whether a tenant may use a model: its own, or one that was shared with it.
    pub(crate) fn may_use(&self, tenant: &TenantName, id: &ModelId) -> bool {
        *tenant == id.tenant
            || self.models.get(id).is_some_and(|model| model.shared_with.contains(tenant))
    }

    /// Whether work of a tenant may name that version. One that no tag points at any more is
    /// for those who use it already: a schedule's next run, a step of a workflow.
    pub(crate) fn may_name(&self, tenant: &TenantName, id: &ModelId, of: &ModelVersion) -> bool {
        let held = self.models.get(id).and_then(|model| model.versions.get(of));
        let Some(held) = held.and_then(|number| self.versions.get(number)) else { return false };
        held.users.contains_key(tenant) || (held.tags > 0 && self.may_use(tenant, id))
    }

    /// Models that have tags in order of tenant and name, from `from` on: all, or those that a
    /// tenant may use.
    pub(crate) fn from<'a>(
        &'a self,
        tenant: Option<&TenantName>,
        from: Option<&ModelId>,
    ) -> Box<dyn Iterator<Item = (&'a ModelId, &'a Model)> + 'a> {
        let with_tags = |(_, model): &(&ModelId, &Model)| !model.tags.is_empty();
        let Some(tenant) = tenant else {
            let from = from.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Included);
            let all = self.models.range((from, std::ops::Bound::Unbounded));
            return Box::new(all.filter(with_tags));
        };
        let mut ids: BTreeSet<&ModelId> = self.shared.get(tenant).into_iter().flatten().collect();
        ids.extend(self.of_tenant(tenant).map(|(id, _)| id));
        let after = from.cloned();
        let wanted = move |id: &&ModelId| after.as_ref().is_none_or(|from| *id >= from);
        let found = ids.into_iter().filter(wanted);
        Box::new(found.filter_map(|id| self.models.get_key_value(id)).filter(with_tags))
    }

    /// Models of a tenant.
    pub(crate) fn of_tenant<'a>(
        &'a self,
        tenant: &TenantName,
    ) -> impl Iterator<Item = (&'a ModelId, &'a Model)> + use<'a> {
        let tenant = tenant.clone();
        // No name is shorter, and none comes before it.
        let first = "0".parse().ok().map(|name| ModelId { tenant: tenant.clone(), name });
        let range = first.map(|first| self.models.range(first..));
        range.into_iter().flatten().take_while(move |(id, _)| id.tenant == tenant)
    }

    /// Tags of a tenant's models, and versions that no tag points at.
    pub(crate) fn count_of(&self, tenant: &TenantName) -> usize {
        let loose = |model: &Model| {
            let held = model.versions.values().filter_map(|number| self.versions.get(number));
            held.filter(|held| held.tags == 0).count()
        };
        self.of_tenant(tenant).map(|(_, model)| model.tags.len() + loose(model)).sum()
    }

    /// What a live job may load.
    pub(crate) fn digests_of_job(&self, job: JobId) -> impl Iterator<Item = Digest> {
        let used = self.of_job.get(&job);
        let numbers = used.into_iter().flat_map(|used| &used.versions);
        numbers.filter_map(|number| Some(self.versions.get(number)?.version.digest))
    }

    /// Whose blob it is that a live job may load under that digest, and its size.
    pub(crate) fn of_job(&self, job: JobId, digest: Digest) -> Option<(&TenantName, u64)> {
        let mut versions = self.of_job.get(&job)?.versions.iter();
        let held = versions.find_map(|number| {
            self.versions.get(number).filter(|held| held.version.digest == digest)
        })?;
        Some((&held.model.tenant, held.version.size))
    }

    /// Live work of a tenant that uses any version of a model.
    pub(crate) fn uses_by(&self, id: &ModelId, tenant: &TenantName) -> Vec<&Users> {
        let versions = self.models.get(id).into_iter().flat_map(|model| model.versions.values());
        let held = versions.filter_map(|number| self.versions.get(number));
        held.filter_map(|held| held.users.get(tenant)).collect()
    }

    fn push(&mut self, at: Timestamp, id: &ModelId, tag: &ModelTag, version: &ModelVersion) {
        let model = self.models.entry(id.clone()).or_default();
        let number = *model.versions.entry(version.clone()).or_insert(self.made);
        if number == self.made {
            self.made += 1;
            self.versions.insert(number, Held::new(id.clone(), version.clone()));
        }
        let before = model.tags.insert(tag.clone(), Tag { version: number, pushed: at });
        if let Some(held) = self.versions.get_mut(&number) {
            held.tags += 1;
        }
        if let Some(before) = before {
            self.untag(before.version);
        }
    }

    /// A tag is gone, and what only it pointed at.
    fn remove(&mut self, id: &ModelId, tag: &ModelTag) {
        let Some(model) = self.models.get_mut(id) else { return };
        let Some(Tag { version: number, .. }) = model.tags.remove(tag) else { return };
        if model.tags.is_empty() {
            let tenants = std::mem::take(&mut model.shared_with);
            tenants.iter().for_each(|tenant| self.unlist(id, tenant));
        }
        let last = self.versions.get(&number).is_some_and(|held| held.tags == 1);
        if last {
            let tenants = self.versions.get(&number).map(|held| held.users.keys().cloned());
            let tenants: Vec<TenantName> = tenants.into_iter().flatten().collect();
            tenants.iter().for_each(|tenant| self.withdraw(number, tenant));
        }
        self.untag(number);
    }

    fn share(&mut self, id: &ModelId, with: &TenantName) {
        let Some(model) = self.models.get_mut(id) else { return };
        model.shared_with.insert(with.clone());
        self.shared.entry(with.clone()).or_default().insert(id.clone());
    }

    fn unshare(&mut self, id: &ModelId, with: &TenantName) {
        let Some(model) = self.models.get_mut(id) else { return };
        model.shared_with.remove(with);
        let numbers: Vec<Number> = model.versions.values().copied().collect();
        self.unlist(id, with);
        numbers.into_iter().for_each(|number| self.withdraw(number, with));
    }

    fn unlist(&mut self, id: &ModelId, tenant: &TenantName) {
        if let Some(shared) = self.shared.get_mut(tenant) {
            shared.remove(id);
            if shared.is_empty() {
                self.shared.remove(tenant);
            }
        }
    }

    /// A tag points there no more.
    fn untag(&mut self, number: Number) {
        if let Some(held) = self.versions.get_mut(&number) {
            held.tags = held.tags.saturating_sub(1);
        }
        self.drop_loose(number);
    }

    /// What a tenant's live work uses of a version, it may load no more.
    fn withdraw(&mut self, number: Number, tenant: &TenantName) {
        let held = self.versions.get_mut(&number);
        let Some(users) = held.and_then(|held| held.users.remove(tenant)) else { return };
        for job in users.jobs {
            if let Some(used) = self.of_job.get_mut(&job) {
                used.versions.remove(&number);
                if used.versions.is_empty() {
                    self.of_job.remove(&job);
                }
            }
        }
        for name in users.schedules {
            let key = (tenant.clone(), name);
            if let Some(versions) = self.of_schedule.get_mut(&key) {
                versions.remove(&number);
                if versions.is_empty() {
                    self.of_schedule.remove(&key);
                }
            }
        }
        self.drop_loose(number);
    }

    /// Forgets a version that nothing points at and nothing uses.
    fn drop_loose(&mut self, number: Number) {
        let is_loose = |held: &&Held| held.tags == 0 && held.users.is_empty();
        if self.versions.get(&number).filter(is_loose).is_none() {
            return;
        }
        let Some(held) = self.versions.remove(&number) else { return };
        let Some(model) = self.models.get_mut(&held.model) else { return };
        model.versions.remove(&held.version);
        if model.versions.is_empty() {
            self.models.remove(&held.model);
        }
    }

    fn numbers(&self, inference: &Inference) -> BTreeSet<Number> {
        let named = inference.models.iter();
        named
            .filter_map(|of| self.models.get(&of.model)?.versions.get(&of.version))
            .copied()
            .collect()
    }

    /// A job or a workflow lives that names models.
    pub(super) fn enter_job(&mut self, job: JobId, tenant: &TenantName, inference: &Inference) {
        let versions = self.numbers(inference);
        if versions.is_empty() {
            return;
        }
        self.count_job(job, tenant, &versions);
        let used = self.of_job.entry(job);
        let used =
            used.or_insert_with(|| Used { tenant: tenant.clone(), versions: BTreeSet::new() });
        used.versions.extend(versions);
    }

    fn count_job(&mut self, job: JobId, tenant: &TenantName, versions: &BTreeSet<Number>) {
        for number in versions {
            if let Some(held) = self.versions.get_mut(number) {
                held.users.entry(tenant.clone()).or_default().jobs.insert(job);
            }
        }
    }

    fn count_schedule(&mut self, (tenant, name): &Key, versions: &BTreeSet<Number>) {
        for number in versions {
            if let Some(held) = self.versions.get_mut(number) {
                held.users.entry(tenant.clone()).or_default().schedules.insert(name.clone());
            }
        }
    }

    /// A job or a workflow has ended, whatever it was.
    pub(super) fn on_job_ended(&mut self, job: JobId) {
        let Some(Used { tenant, versions }) = self.of_job.remove(&job) else { return };
        for number in versions {
            self.release(number, &tenant, |users| _ = users.jobs.remove(&job));
        }
    }

    pub(super) fn enter_schedule(&mut self, key: &Key, inference: &Inference) {
        self.leave_schedule(key);
        let versions = self.numbers(inference);
        if versions.is_empty() {
            return;
        }
        self.count_schedule(key, &versions);
        self.of_schedule.insert(key.clone(), versions);
    }

    pub(super) fn leave_schedule(&mut self, key: &Key) {
        let Some(versions) = self.of_schedule.remove(key) else { return };
        for number in versions {
            self.release(number, &key.0, |users| _ = users.schedules.remove(&key.1));
        }
    }

    fn release(&mut self, number: Number, tenant: &TenantName, remove: impl FnOnce(&mut Users)) {
        let Some(held) = self.versions.get_mut(&number) else { return };
        if let Some(users) = held.users.get_mut(tenant) {
            remove(users);
            if users.count() == 0 {
                held.users.remove(tenant);
            }
        }
        self.drop_loose(number);
    }

    /// What is derived, after a restart from a snapshot.
    pub(super) fn derive(&mut self) {
        for (number, held) in &self.versions {
            if let Some(model) = self.models.get_mut(&held.model) {
                model.versions.insert(held.version.clone(), *number);
            }
        }
        for (id, model) in &self.models {
            for tag in model.tags.values() {
                if let Some(held) = self.versions.get_mut(&tag.version) {
                    held.tags += 1;
                }
            }
            for tenant in &model.shared_with {
                self.shared.entry(tenant.clone()).or_default().insert(id.clone());
            }
        }
        let (of_job, of_schedule) = (self.of_job.clone(), self.of_schedule.clone());
        for (job, used) in &of_job {
            self.count_job(*job, &used.tenant, &used.versions);
        }
        of_schedule.iter().for_each(|(key, versions)| self.count_schedule(key, versions));
    }
}

impl Held {
    fn new(model: ModelId, version: ModelVersion) -> Self {
        Self { model, version, tags: 0, users: BTreeMap::new() }
    }
}

impl State {
    /// A fact about a model.
    pub(super) fn apply_to_model(&mut self, fact: &Fact) {
        match fact {
            Fact::ModelPushed { at, model, tag, version } => {
                self.models.push(*at, model, tag, version);
            }
            Fact::ModelRemoved { model, tag, .. } => self.models.remove(model, tag),
            Fact::ModelShared { model, with, shared: true, .. } => self.models.share(model, with),
            Fact::ModelShared { model, with, .. } => self.models.unshare(model, with),
            _ => {}
        }
    }

    /// What the jobs of a schedule name, it uses for as long as it is there.
    pub(super) fn enter_models_of_schedule(&mut self, tenant: &TenantName, schedule: &Schedule) {
        if !schedule.spec.may_name_models() {
            return;
        }
        if let Ok(spec) = schedule.spec.decode() {
            let key = (tenant.clone(), schedule.name.clone());
            self.models.enter_schedule(&key, &spec.inference);
        }
    }

    /// What the steps of a workflow name, it uses for as long as it lives: each is submitted when
    /// it is due.
    pub(super) fn enter_models_of_workflow(&mut self, id: JobId, tenant: &TenantName) {
        let Some(flow) = self.workflows.get(id) else { return };
        for inference in named_by_steps(flow) {
            self.models.enter_job(id, tenant, &inference);
        }
    }
}

fn named_by_steps(flow: &Flow) -> Vec<Inference> {
    let jobs = flow.workflow.every_step().map(|(_, step)| &step.job);
    let naming = jobs.filter(|job| job.may_name_models());
    naming.filter_map(|job| Some(job.decode().ok()?.inference)).collect()
}
