//! Why a blob cannot be stored or read.

use std::error::Error;
use std::io;

use wrun_net::{RecvError, SendError};
use wrun_protocol::Digest;
use wrun_protocol::limits::MAX_BLOB;
use wrun_protocol::resources;
use wrun_protocol::wire::user::{ErrorCode, RequestError};

/// A blob cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlobError {
    /// The tenant has no such blob.
    #[error("there is no blob {0}; upload it first")]
    NotFound(Digest),
    /// The bytes are not those that were announced.
    #[error("the bytes hash to {found}, not to {wanted}; upload them again")]
    Mismatch {
        /// As announced.
        wanted: Digest,
        /// As received.
        found: Digest,
    },
    /// Larger than allowed.
    #[error("{}; a blob has at most {}", resources::Bytes(*.size), resources::Bytes(MAX_BLOB))]
    TooLarge {
        /// Its size in bytes.
        size: u64,
    },
    /// The upload ended early.
    #[error("the upload ended after {got} of {size} bytes; upload it again")]
    CutOff {
        /// As announced, in bytes.
        size: u64,
        /// Bytes that came.
        got: u64,
    },
    /// No room.
    #[error("the server's disk is full; ask the operator to make room, then try again")]
    Full,
    /// The disk fails otherwise.
    #[error("the server cannot use its blob store: {0}")]
    Io(#[source] io::Error),
    /// The store fails otherwise.
    #[error("the server cannot use its blob store: {0}")]
    Store(#[source] object_store::Error),
    /// The client's bytes did not come.
    #[error("the upload broke off: {0}")]
    Recv(#[from] RecvError),
    /// The client does not take the bytes.
    #[error("the download broke off: {0}")]
    Send(#[from] SendError),
}

impl From<object_store::Error> for BlobError {
    fn from(error: object_store::Error) -> Self {
        if is_full(&error) { Self::Full } else { Self::Store(error) }
    }
}

/// Whether the disk, or a quota on it, is what failed.
fn is_full(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        let kind = io.map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        // An I/O error passes over the error that it was made of when asked for its source.
        cause = match io.and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

impl From<BlobError> for RequestError {
    fn from(error: BlobError) -> Self {
        let code = match &error {
            BlobError::NotFound(_) => ErrorCode::NotFound,
            BlobError::Mismatch { .. } | BlobError::CutOff { .. } => ErrorCode::InvalidInput,
            BlobError::TooLarge { .. } => ErrorCode::LimitReached,
            BlobError::Full => ErrorCode::StorageFull,
            BlobError::Recv(_) | BlobError::Send(_) => ErrorCode::Unavailable,
            BlobError::Io(_) | BlobError::Store(_) => ErrorCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_known_however_deep_it_hides() {
        let inner = io::Error::other(io::Error::from(io::ErrorKind::StorageFull));
        let error = object_store::Error::Generic { store: "local", source: Box::new(inner) };
        let request = RequestError::from(BlobError::from(error));
        assert_eq!(request.code, ErrorCode::StorageFull);
    }
}
