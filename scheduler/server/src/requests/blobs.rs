//! Uploads and downloads of users. A blob is addressed below the caller's own tenant and
//! nowhere else, an admin's as well.

use wrun_net::{RecvStream, SendStream, close_code};
use wrun_protocol::Digest;
use wrun_protocol::limits::MAX_SUBMISSIONS;
use wrun_protocol::wire::user::{ErrorCode, RequestError, Response};

use super::{Failure, refused};
use crate::authorise::Caller;
use crate::blobs::BlobError;
use crate::shared::Shared;

/// Most digests in one question: those of the most files that one job mounts fit.
const MAX_DIGESTS: usize = 2 * MAX_SUBMISSIONS;

pub(super) async fn on_missing(
    shared: &Shared,
    caller: &Caller,
    digests: Vec<Digest>,
) -> Result<Response, RequestError> {
    if digests.len() > MAX_DIGESTS {
        let text = format!("{} digests; ask for at most {MAX_DIGESTS} at once", digests.len());
        return Err(refused(ErrorCode::LimitReached, text));
    }
    let mut missing = Vec::new();
    for digest in digests {
        if shared.blobs.size(&caller.tenant, digest).await?.is_none() && !missing.contains(&digest)
        {
            missing.push(digest);
        }
    }
    Ok(Response::Missing(missing))
}

pub(super) async fn on_put(
    shared: &Shared,
    caller: &Caller,
    digest: Digest,
    size: u64,
    recv: &mut RecvStream,
) -> Result<Response, RequestError> {
    let stored = shared.blobs.receive(&caller.tenant, digest, size, recv).await;
    if stored.is_err() {
        recv.stop(close_code::PROTOCOL);
    }
    stored?;
    Ok(Response::Done)
}

pub(super) async fn on_get(
    shared: &Shared,
    caller: &Caller,
    digest: Digest,
    send: &mut SendStream,
) -> Result<(), Failure> {
    let size = shared.blobs.size(&caller.tenant, digest).await?;
    let size = size.ok_or(BlobError::NotFound(digest))?;
    send.send(&Response::Blob { size }).await?;
    if let Err(error) = shared.blobs.send(&caller.tenant, digest, size, send).await {
        // The client counts raw bytes now: a refusal among them would be taken for content.
        tracing::warn!(%digest, %error, "a download broke off");
        send.reset(close_code::PROTOCOL);
        return Err(Failure::Gone);
    }
    Ok(())
}
