//! What commands ask about models, and how names of models become what specifications hold: the
//! server says what a tag points at, and that is pinned.

use wrun_protocol::job::{EncodedSpec, JobSpec};
use wrun_protocol::model::ModelGrant;
use wrun_protocol::wire::model::{ModelFilter, ModelRow};
use wrun_protocol::wire::user::{Request, Response};
use wrun_protocol::workflow::EncodedWorkflow;

use super::{Client, unexpected};
use crate::error::Error;
use crate::exit::Exit;
use crate::plan::{Loaded, ModelSource};
use crate::workflowfile::LoadedWorkflow;

/// All models, of every tenant or those that the caller may use.
pub(crate) async fn list(client: &Client, all_tenants: bool) -> Result<Vec<ModelRow>, Error> {
    let mut rows: Vec<ModelRow> = Vec::new();
    loop {
        let after = rows.last().map(|row| (row.model.clone(), row.tag.clone()));
        let page = match client.ask(&Request::Models(ModelFilter { all_tenants, after })).await? {
            Response::Models(page) => page,
            other => return Err(unexpected(&other)),
        };
        // A page is as long as a frame allows.
        if page.is_empty() {
            return Ok(rows);
        }
        rows.extend(page);
    }
}

/// The specification of a job or a service, with its models as they are now.
pub(crate) async fn pinned(client: &Client, of: &Loaded) -> Result<EncodedSpec, Error> {
    if of.models.is_empty() {
        return Ok(of.encoded.clone());
    }
    with_models(client, of.spec.clone(), &of.models).await
}

/// The same of a workflow, each step for itself.
pub(crate) async fn pinned_steps(
    client: &Client,
    of: &LoadedWorkflow,
) -> Result<EncodedWorkflow, Error> {
    if of.models.iter().all(Vec::is_empty) {
        return Ok(of.encoded.clone());
    }
    let invalid = |error: &dyn std::error::Error| Error::new(Exit::InvalidInput, error);
    let (mut workflow, _) = of.encoded.decode().map_err(|error| invalid(&error))?;
    let steps = workflow.steps.iter_mut().chain(&mut workflow.finally);
    for (step, models) in steps.zip(&of.models).filter(|(_, models)| !models.is_empty()) {
        let spec = step.job.decode().map_err(|error| invalid(&error))?;
        let pinned = with_models(client, spec, models).await;
        step.job = pinned.map_err(|error| error.placed(&format!("step `{}`", step.name)))?;
    }
    EncodedWorkflow::encode(&workflow).map_err(|error| invalid(&error))
}

async fn with_models(
    client: &Client,
    mut spec: JobSpec,
    models: &[ModelSource],
) -> Result<EncodedSpec, Error> {
    let references = models.iter().map(|source| source.model.clone()).collect();
    let resolved = match client.ask(&Request::ResolveModels(references)).await? {
        Response::ResolvedModels(resolved) if resolved.len() == models.len() => resolved,
        other => return Err(unexpected(&other)),
    };
    let grants = models.iter().zip(resolved).map(|(source, (model, version))| ModelGrant {
        name: source.name.clone(),
        model,
        tag: source.model.tag.clone(),
        version,
    });
    spec.inference.models = grants.collect();
    EncodedSpec::encode(&spec).map_err(|error| Error::new(Exit::InvalidInput, error))
}
