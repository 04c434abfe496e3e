//! From the end of an attempt to what is reported of it: small content travels in the
//! report, large content is uploaded before.

use std::sync::Arc;

use bytes::Bytes;
use wrun_protocol::JobId;
use wrun_protocol::limits::MAX_INLINE;
use wrun_protocol::task::{Content, Failure, Outcome};
use wrun_protocol::wire::worker::TaskResult;
use wrun_sandbox::TaskEnd;

use crate::blobs::{BlobError, Blobs, Source, blocking};
use crate::log::{SpillDir, WholeLog};
use crate::streams::Streams;

/// Longest text of a failure, in bytes: it travels in a report and stands in a journal.
const MAX_TEXT: usize = 16 << 10;

/// The result, if nothing of it has to be uploaded or read from the disk.
pub(crate) fn immediate(
    end: &TaskEnd,
    streams: Option<&Streams>,
    dir: &SpillDir,
) -> Option<TaskResult> {
    let output = match &end.output {
        Some(output) if output.len() > MAX_INLINE => return None,
        output => output.clone().map(Content::Inline),
    };
    let log = match streams {
        Some(streams) if !streams.log.is_small() => return None,
        Some(streams) => match streams.log.whole(dir) {
            Some(WholeLog::Memory(bytes)) if bytes.len() <= MAX_INLINE => {
                Some(Content::Inline(bytes))
            }
            None => None,
            Some(_) => return None,
        },
        None => None,
    };
    Some(TaskResult {
        outcome: end.outcome.clone().shortened(MAX_TEXT),
        usage: end.usage,
        output,
        log,
    })
}

/// The result, with what is large uploaded. What cannot be stored makes the attempt a
/// failure, except for its log, whose loss is only told to the operator.
pub(crate) async fn uploaded(
    blobs: &Blobs,
    job: JobId,
    end: TaskEnd,
    streams: Option<Arc<Streams>>,
    dir: Arc<SpillDir>,
) -> Result<TaskResult, BlobError> {
    let TaskEnd { mut outcome, usage, output } = end;
    let output = match output {
        None => None,
        Some(output) => match store(blobs, job, Source::Memory(output)).await {
            Ok(content) => Some(content),
            Err(BlobError::Stopping) => return Err(BlobError::Stopping),
            Err(error) => {
                let message = format!("it ran, but its output could not be stored: {error}");
                outcome = Outcome::Failed(Failure::Setup { message });
                None
            }
        },
    };
    let log = match streams {
        None => None,
        Some(streams) => match blocking(move || streams.log.whole(&dir)).await? {
            None => None,
            Some(WholeLog::Memory(bytes)) => store_log(blobs, job, Source::Memory(bytes)).await?,
            Some(WholeLog::File(file, size)) => {
                store_log(blobs, job, Source::File(file, size)).await?
            }
        },
    };
    Ok(TaskResult { outcome: outcome.shortened(MAX_TEXT), usage, output, log })
}

async fn store_log(blobs: &Blobs, job: JobId, log: Source) -> Result<Option<Content>, BlobError> {
    match store(blobs, job, log).await {
        Ok(content) => Ok(Some(content)),
        Err(BlobError::Stopping) => Err(BlobError::Stopping),
        Err(error) => {
            tracing::warn!(%job, %error, "the log of a task could not be stored");
            Ok(None)
        }
    }
}

/// `source` as content: inline if small, else uploaded.
pub(crate) async fn store(blobs: &Blobs, job: JobId, source: Source) -> Result<Content, BlobError> {
    match source {
        Source::Memory(bytes) if bytes.len() <= MAX_INLINE => Ok(Content::Inline(bytes)),
        source => {
            let digest = source.digest().await?;
            blobs.put(job, digest, &source).await?;
            Ok(Content::Blob { digest, size: source.size() })
        }
    }
}

/// An attempt that never ran.
pub(crate) fn not_set_up(message: &str) -> TaskResult {
    TaskResult {
        outcome: Outcome::Failed(Failure::Setup { message: message.to_owned() })
            .shortened(MAX_TEXT),
        usage: wrun_protocol::task::Usage::default(),
        output: None,
        log: None,
    }
}

/// What a handler saved, as content of a report.
pub(crate) async fn store_checkpoint(
    blobs: &Blobs,
    job: JobId,
    state: Bytes,
) -> Result<Content, BlobError> {
    store(blobs, job, Source::Memory(state)).await
}
