//! What tasks gave, as content, as bytes and as blobs.

use bytes::Bytes;
use wrun_core::workflow::Producer;
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::TaskState;
use wrun_protocol::{Digest, TenantName};

use super::Hitch;
use crate::requests::{of_recorded, recorded_task};
use crate::shared::Shared;

/// What a task of a step gave; `None` where it did not succeed.
pub(super) async fn of_task(
    shared: &Shared,
    tenant: &TenantName,
    of: &Producer,
    index: u32,
) -> Result<Option<Content>, Hitch> {
    let Some(job) = of.job else { return Ok(None) };
    let Some(task) = recorded_task(shared, job.task(index)).await? else {
        let text = format!("nothing is kept of job {job}, which ran `{}`", of.name);
        return Err(Hitch::failed(text));
    };
    if task.detail.state != TaskState::Succeeded {
        return Ok(None);
    }
    Ok(Some(of_recorded(shared, tenant, task).await?))
}

/// All of it, where that is at most `most` bytes.
pub(super) async fn read(
    shared: &Shared,
    tenant: &TenantName,
    content: &Content,
    most: u64,
) -> Result<Bytes, Hitch> {
    match content {
        Content::Inline(bytes) => Ok(bytes.clone()),
        Content::Blob { digest, .. } => Ok(shared.blobs.read_all(tenant, *digest, most).await?),
    }
}

/// The same as a blob, which what is mounted must be.
pub(super) async fn as_blob(
    shared: &Shared,
    tenant: &TenantName,
    content: Content,
) -> Result<(Digest, u64), Hitch> {
    match content {
        Content::Blob { digest, size } => Ok((digest, size)),
        Content::Inline(bytes) => {
            let size = bytes.len() as u64;
            Ok((shared.blobs.put(tenant, bytes).await?, size))
        }
    }
}
