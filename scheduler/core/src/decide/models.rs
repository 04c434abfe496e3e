//! Models come and go, are shared, and are named by work. Whoever takes one away that live work
//! uses is told by what, and may insist.

use wrun_protocol::limits::{MAX_MODEL_SHARES, MAX_MODELS_PER_TENANT};
use wrun_protocol::model::{ModelGrant, ModelId, ModelName, ModelTag, ModelVersion};
use wrun_protocol::wire::model::{MAX_SHOWN_USES, ModelUser, Pushed};
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::workflow::Workflow;
use wrun_protocol::{JobSpec, TenantName};

use crate::core::Core;
use crate::effect::Answer;
use crate::fact::Fact;
use crate::state::models::Users;
use crate::views::models::{called, no_model, no_tag};

impl Core {
    pub(crate) fn on_push_model(
        &mut self,
        tenant: TenantName,
        name: ModelName,
        tag: ModelTag,
        version: ModelVersion,
    ) -> Result<Answer, RequestError> {
        version.check().map_err(|error| refused(ErrorCode::InvalidInput, error.to_string()))?;
        let model = ModelId { tenant, name };
        let registry = &self.state.models;
        let before = registry.tagged(&model, &tag).map(|(_, held)| held);
        if before.is_some_and(|before| before.version == version) {
            return Ok(Answer::ModelPushed(Pushed::Unchanged));
        }
        // A tag that moves leaves behind what live work uses and no other tag points at.
        let adds = before.is_none_or(|before| before.tags == 1 && !before.users.is_empty());
        let have = registry.count_of(&model.tenant);
        if adds && have >= MAX_MODELS_PER_TENANT {
            return Err(refused(
                ErrorCode::LimitReached,
                format!(
                    "the tenant has {have} tags of models, counted with versions that live work uses and no tag points at; at most {MAX_MODELS_PER_TENANT} are allowed: remove one with `wrun model rm`"
                ),
            ));
        }
        let pushed = match before {
            None => Pushed::New,
            Some(before) => Pushed::Moved { from: before.version.digest },
        };
        let (at, version) = (self.now, Box::new(version));
        self.append(Fact::ModelPushed { at, model, tag, version });
        Ok(Answer::ModelPushed(pushed))
    }

    pub(crate) fn on_remove_model(
        &mut self,
        model: ModelId,
        tag: ModelTag,
        force: bool,
    ) -> Result<Answer, RequestError> {
        let registry = &self.state.models;
        let Some((_, held)) = registry.tagged(&model, &tag) else {
            return Err(match registry.get(&model) {
                Some(of) => no_tag(&model.tenant, &model, &tag, of),
                None => no_model(registry, &model.tenant, &model),
            });
        };
        let uses = if held.tags == 1 { held.uses() } else { 0 };
        if uses > 0 && !force {
            let users = held.users.iter();
            let text = format!(
                "model `{}:{tag}` is used by {}: wait for their end or cancel them; or remove it with --force, and they can load it no more",
                model.name,
                self.in_words(&model.tenant, users)
            );
            return Err(refused(ErrorCode::Conflict, text));
        }
        self.append(Fact::ModelRemoved { at: self.now, model, tag });
        Ok(Answer::ModelWithdrawn { uses })
    }

    pub(crate) fn on_share_model(
        &mut self,
        model: ModelId,
        with: TenantName,
    ) -> Result<Answer, RequestError> {
        let registry = &self.state.models;
        let Some(of) = registry.get(&model) else {
            return Err(no_model(registry, &model.tenant, &model));
        };
        if with == model.tenant {
            let text = format!("model `{}` is that tenant's own: name another one", model.name);
            return Err(refused(ErrorCode::InvalidInput, text));
        }
        if of.shared_with.contains(&with) {
            return Ok(Answer::Done);
        }
        if of.shared_with.len() >= MAX_MODEL_SHARES {
            let text = format!(
                "model `{}` is shared with {MAX_MODEL_SHARES} tenants, and no more are allowed",
                model.name
            );
            return Err(refused(ErrorCode::LimitReached, text));
        }
        self.append(Fact::ModelShared { at: self.now, model, with, shared: true });
        Ok(Answer::Done)
    }

    pub(crate) fn on_unshare_model(
        &mut self,
        model: ModelId,
        with: TenantName,
        force: bool,
    ) -> Result<Answer, RequestError> {
        let registry = &self.state.models;
        let Some(of) = registry.get(&model) else {
            return Err(no_model(registry, &model.tenant, &model));
        };
        if !of.shared_with.contains(&with) {
            let text = format!("model `{}` is not shared with {with}", model.name);
            return Err(refused(ErrorCode::NotFound, text));
        }
        let uses = registry.uses_by(&model, &with).into_iter().map(Users::count).sum();
        if uses > 0 && !force {
            let text = format!(
                "model `{}` is used by {}: wait for their end; or use --force, and they can load it no more",
                model.name,
                others(&with, uses)
            );
            return Err(refused(ErrorCode::Conflict, text));
        }
        self.append(Fact::ModelShared { at: self.now, model, with, shared: false });
        Ok(Answer::ModelWithdrawn { uses })
    }

    /// Refuses a job that names a model which is not there, or not the tenant's to use.
    pub(crate) fn check_models(
        &self,
        tenant: &TenantName,
        spec: &JobSpec,
    ) -> Result<(), RequestError> {
        spec.inference.models.iter().try_for_each(|grant| self.check_model(tenant, grant))
    }

    /// The same for every step of a workflow.
    pub(super) fn check_models_of_steps(
        &self,
        tenant: &TenantName,
        workflow: &Workflow,
    ) -> Result<(), RequestError> {
        for (_, step) in workflow.every_step().filter(|(_, step)| step.job.may_name_models()) {
            let place = |text: String| format!("step `{}`: {text}", step.name);
            let spec = step
                .job
                .decode()
                .map_err(|error| refused(ErrorCode::InvalidInput, place(error.to_string())))?;
            self.check_models(tenant, &spec)
                .map_err(|error| refused(error.code, place(error.message)))?;
        }
        Ok(())
    }

    fn check_model(&self, tenant: &TenantName, grant: &ModelGrant) -> Result<(), RequestError> {
        let (registry, ModelGrant { model, tag, version, .. }) = (&self.state.models, grant);
        if registry.may_name(tenant, model, version) {
            return Ok(());
        }
        let of = registry.get(model).filter(|_| registry.may_use(tenant, model));
        let Some(of) = of else { return Err(no_model(registry, tenant, model)) };
        if !of.tags.contains_key(tag) {
            return Err(no_tag(tenant, model, tag, of));
        }
        Err(refused(
            ErrorCode::NotFound,
            format!(
                "model `{}:{tag}` was pushed anew and is not {} any more: submit again to use what it is now",
                called(tenant, model),
                version.digest.short()
            ),
        ))
    }

    /// Who uses a version, for its owner, who is told of others' work only how much it is.
    fn in_words<'a>(
        &self,
        owner: &TenantName,
        users: impl Iterator<Item = (&'a TenantName, &'a Users)>,
    ) -> String {
        let mut words = Vec::new();
        for (tenant, users) in users {
            if tenant != owner {
                words.push(others(tenant, users.count()));
                continue;
            }
            let shown = self.users(users).take(MAX_SHOWN_USES);
            words.extend(shown.map(|by| match by {
                ModelUser::Job(job) => format!("job {job}"),
                ModelUser::Service { name, revision } => {
                    format!("revision {revision} of service `{name}`")
                }
                ModelUser::Workflow(job) => format!("workflow {job}"),
                ModelUser::Schedule(name) => format!("schedule `{name}`"),
            }));
            if let Some(more) = users.count().checked_sub(MAX_SHOWN_USES as u64 + 1) {
                words.push(format!("{} more", more + 1));
            }
        }
        words.join(", ")
    }
}

fn others(tenant: &TenantName, uses: u64) -> String {
    let what = if uses == 1 { "job, workflow or schedule" } else { "jobs, workflows or schedules" };
    format!("{uses} {what} of tenant {tenant}")
}

fn refused(code: ErrorCode, text: String) -> RequestError {
    RequestError::new(code, text)
}
