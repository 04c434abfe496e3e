//! The output of a task that succeeded.
//!
//! A handler's is what it returned. A program's is the standard output in its log: when
//! that is short it is answered directly; otherwise it is stored as a blob of the
//! tenant's, addressed by its digest, for the client to download. Asking again finds the
//! same blob.

use bytes::{Bytes, BytesMut};
use ring::digest::{Context, SHA256};
use wrun_protocol::limits::MAX_INLINE;
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::{ErrorCode, LogStream, RequestError, Response, TaskState};
use wrun_protocol::{TaskId, TenantName};

use super::logs::{Place, locate};
use super::recorded::{LogReader, RecordedTask};
use super::refused;
use crate::authorise::Caller;
use crate::blobs;
use crate::shared::Shared;

pub(super) async fn on_output(
    shared: &Shared,
    caller: &Caller,
    task: TaskId,
) -> Result<Response, RequestError> {
    let tenant = shared.visible(caller, task.job).await?;
    let Place::Ended(ended) = locate(shared, task).await? else {
        let text = format!("task {task} has not ended; `wrun wait {}` waits for it", task.job);
        return Err(refused(ErrorCode::Conflict, text));
    };
    if ended.detail.state != TaskState::Succeeded {
        let how = ended
            .detail
            .outcome
            .map_or("was cancelled".to_owned(), |outcome| format!("did not succeed: {outcome}"));
        let text = format!("task {task} {how}; `wrun logs` shows what it wrote");
        return Err(refused(ErrorCode::Conflict, text));
    }
    Ok(Response::Output(of_recorded(shared, &tenant, *ended).await?))
}

/// The output of a task that succeeded.
pub(crate) async fn of_recorded(
    shared: &Shared,
    tenant: &TenantName,
    task: RecordedTask,
) -> Result<Content, RequestError> {
    match (task.output, task.log) {
        (Some(output), _) => Ok(output),
        (None, Some(log)) if task.is_program => standard_output(shared, tenant, &log).await,
        (None, _) => Ok(Content::Inline(Bytes::new())),
    }
}

/// Reads the log twice where it is long: once for the size and the digest, once to write
/// the blob below its name.
async fn standard_output(
    shared: &Shared,
    tenant: &TenantName,
    log: &Content,
) -> Result<Content, RequestError> {
    let mut reader = LogReader::open(&shared.blobs, tenant, log);
    let mut hash = Context::new(&SHA256);
    let mut size = 0;
    let mut short = BytesMut::new();
    while let Some(chunk) = reader.next().await? {
        if chunk.stream == LogStream::Stdout {
            hash.update(&chunk.data);
            size += chunk.data.len() as u64;
            if size <= MAX_INLINE as u64 {
                short.extend_from_slice(&chunk.data);
            }
        }
    }
    if size <= MAX_INLINE as u64 {
        return Ok(Content::Inline(short.freeze()));
    }
    let digest = blobs::digest(hash.finish());
    if shared.blobs.size(tenant, digest).await?.is_none() {
        let mut reader = LogReader::open(&shared.blobs, tenant, log);
        let mut writer = shared.blobs.writer(tenant, digest);
        while let Some(chunk) = reader.next().await? {
            if chunk.stream == LogStream::Stdout {
                writer.write(&chunk.data).await?;
            }
        }
        writer.finish(digest).await?;
        shared.blobs.remember(tenant, digest, size);
    }
    Ok(Content::Blob { digest, size })
}
