//! Models that a job names: on this node's disk before its tasks start, so that a guest that loads
//! one waits for no download, and in the cache for as long as the job is known here; and what this
//! node tells of the models that it keeps.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use wrun_inference::{Batching, Engine, LoadError, ModelKey, ModelStats, TensorSignature};
use wrun_protocol::model::{ModelGrant, ModelVersion};
use wrun_protocol::wire::model::{Kept, LoadedModel, ModelBatching, ModelCounts, ModelTensor};
use wrun_protocol::wire::user::ErrorCode;
use wrun_protocol::{Digest, JobId, TenantName};
use wrun_sandbox::GrantedModel;

use crate::artefacts::{ArtefactError, Artefacts, Pinned};
use crate::blobs::BlobError;

/// Fetches what a job names. A model that was withdrawn from the job is no reason not to run it:
/// the guest's load fails, if it loads it at all. Any other error is for the user.
pub(crate) async fn obtain(
    artefacts: &Artefacts,
    job: JobId,
    grants: &[ModelGrant],
) -> Result<(Vec<GrantedModel>, Vec<Pinned>), String> {
    let each = grants.iter().map(|grant| async move {
        let file = match artefacts.obtain_model(job, grant.version.digest).await {
            Ok(file) => Some(file),
            Err(error) if is_withdrawn(&error) => {
                tracing::warn!(%job, model = grant.name, %error, "a job runs without a model");
                None
            }
            Err(error) => return Err(format!("models: `{}`: {error}", grant.name)),
        };
        let (name, version) = (grant.name.clone(), grant.version.clone());
        let (owner, path) =
            (grant.model.tenant.clone(), file.as_ref().map(|it| it.path().to_owned()));
        Ok((GrantedModel { name, owner, version, file: path }, file))
    });
    let (models, pins): (Vec<_>, Vec<_>) = try_join_all(each).await?.into_iter().unzip();
    Ok((models, pins.into_iter().flatten().collect()))
}

fn is_withdrawn(error: &ArtefactError) -> bool {
    let ArtefactError::Blob(BlobError::Refused { error, .. }) = error else { return false };
    error.code == ErrorCode::NotFound
}

/// Loads what the replicas of a service will ask for, on the processor or on the cards that one of
/// them was given, so that their first requests do not wait for it. One that cannot be loaded is the service's fault, and said before a request fails by it.
pub(crate) async fn warm(
    engine: &Engine,
    tenant: &TenantName,
    models: &[GrantedModel],
    cards: &[u16],
) -> Result<(), String> {
    for model in models.iter().filter(|model| model.file.is_some()) {
        match model.load(engine, tenant, cards).await {
            Ok(_) => {}
            // Not for good: the guest may find it less busy.
            Err(LoadError::Busy(reason)) => {
                tracing::warn!(model = model.name, %reason, "a model is not loaded ahead");
            }
            Err(error) => return Err(format!("models: `{}`: {error}", model.name)),
        }
    }
    Ok(())
}

/// The models that this node keeps and how, at most `most`: what is loaded, and then what was used
/// last.
pub(crate) fn kept(
    engine: Option<&Engine>,
    artefacts: &Artefacts,
    most: usize,
) -> BTreeMap<Digest, Kept> {
    let loaded = engine.map(Engine::loaded).unwrap_or_default();
    let stored = artefacts.models().into_iter().filter(|digest| !loaded.contains(digest));
    let loaded = loaded.iter().map(|digest| (*digest, Kept::Loaded));
    loaded.chain(stored.map(|digest| (digest, Kept::Stored))).take(most).collect()
}

/// What there is to tell of a model that is loaded.
pub(crate) fn told(
    engine: &Engine,
    owner: &TenantName,
    version: &ModelVersion,
) -> Option<LoadedModel> {
    let mut devices = engine.model(&ModelKey::of(owner, version)).into_iter();
    let mut stats = devices.next()?;
    devices.for_each(|other| add(&mut stats, other));
    let batching = match &stats.batching {
        Batching::Merged(axes) => {
            let named = axes.inputs.iter().chain(&axes.outputs);
            ModelBatching::Merged(named.map(|(name, axis)| (name.clone(), *axis as u32)).collect())
        }
        Batching::Alone(reason) => ModelBatching::Alone(reason.to_string()),
    };
    Some(LoadedModel {
        inputs: stats.signature.inputs.iter().map(tensor).collect(),
        outputs: stats.signature.outputs.iter().map(tensor).collect(),
        back_end: stats.back_end.to_owned(),
        device: stats.device.clone(),
        bytes: stats.bytes,
        batching,
        counts: Some(counts(&stats)),
    })
}

/// The model on another device: what it does there is told in one with what it does here.
fn add(stats: &mut ModelStats, other: ModelStats) {
    stats.device = format!("{}, {}", stats.device, other.device);
    stats.bytes += other.bytes;
    stats.users += other.users;
    stats.waiting += other.waiting;
    stats.requests += other.requests;
    stats.refused += other.refused;
    stats.timeouts += other.timeouts;
    stats.failed += other.failed;
    stats.batch_size.add_all(&other.batch_size);
    stats.latency.add_all(&other.latency);
}

fn tensor(of: &TensorSignature) -> ModelTensor {
    let dimensions = of.dimensions.as_ref();
    ModelTensor {
        name: of.name.clone(),
        element: of.element.to_string(),
        dimensions: dimensions.map(|all| all.iter().map(ToString::to_string).collect()),
    }
}

fn counts(stats: &ModelStats) -> ModelCounts {
    let (sizes, latency) = (&stats.batch_size, &stats.latency);
    ModelCounts {
        users: stats.users as u64,
        waiting: stats.waiting as u64,
        requests: stats.requests,
        failed: stats.refused + stats.timeouts + stats.failed,
        runs: sizes.count(),
        batch_milli: (sizes.sum() * 1000).checked_div(sizes.count()).unwrap_or_default(),
        batch_most: sizes.quantile(1000).saturating_sub(1),
        latency_p50_us: latency.quantile(500),
        latency_p99_us: latency.quantile(990),
    }
}
