//! Models that a job names: on this node's disk before its tasks start, so that a guest that loads
//! one waits for no download, and in the cache for as long as the job is known here.

use futures_util::future::try_join_all;
use wrun_protocol::JobId;
use wrun_protocol::model::ModelGrant;
use wrun_protocol::wire::user::ErrorCode;
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
        let path = file.as_ref().map(|file| file.path().to_owned());
        Ok((GrantedModel { name, version, file: path }, file))
    });
    let (models, pins): (Vec<_>, Vec<_>) = try_join_all(each).await?.into_iter().unzip();
    Ok((models, pins.into_iter().flatten().collect()))
}

fn is_withdrawn(error: &ArtefactError) -> bool {
    let ArtefactError::Blob(BlobError::Refused { error, .. }) = error else { return false };
    error.code == ErrorCode::NotFound
}
