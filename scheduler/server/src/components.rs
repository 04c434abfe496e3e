//! What a submitted component is: read, checked and classified once per tenant and
//! digest, then remembered.
//!
//! A core module for WASI preview 1 is adapted to a component here. The adapted bytes are
//! a blob of their own; the specification that is recorded names their digest in place of
//! the module's, so that nodes fetch by digest what they run and can check it, and need to
//! know nothing of adaptation. Adapting the same bytes again gives the same digest.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use wrun_component::Kind;
use wrun_protocol::limits::MAX_COMPONENT;
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{Digest, TenantName, resources};

use crate::blobs::{BlobError, Blobs};

/// Most components that are remembered.
const MAX_REMEMBERED: usize = 16_384;

/// Most components that are read and checked at once: each may take hundreds of MB.
const MAX_AT_ONCE: usize = 2;

/// A component that can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Which interface to call.
    pub(crate) kind: ComponentKind,
    /// What nodes run: the submitted bytes, or the component they were adapted to.
    pub(crate) component: Digest,
    /// Its initial memory in bytes: a job with less can never start.
    pub(crate) initial_memory: u64,
}

type Verdict = Result<Checked, RequestError>;

/// The components that were checked.
#[derive(Debug)]
pub(crate) struct Components {
    verdicts: Mutex<HashMap<Digest, HashMap<TenantName, Verdict>>>,
    at_once: tokio::sync::Semaphore,
}

impl Components {
    pub(crate) fn new() -> Self {
        Self { verdicts: Mutex::default(), at_once: tokio::sync::Semaphore::new(MAX_AT_ONCE) }
    }

    /// What the tenant's blob `digest` is. Reads it the first time.
    pub(crate) async fn check(
        &self,
        blobs: &Blobs,
        tenant: &TenantName,
        digest: Digest,
    ) -> Verdict {
        if let Some(verdict) = self.remembered(tenant, digest) {
            return verdict;
        }
        let _permit = self.at_once.acquire().await;
        if let Some(verdict) = self.remembered(tenant, digest) {
            return verdict;
        }
        let bytes = match blobs.read_all(tenant, digest, MAX_COMPONENT).await {
            Ok(bytes) => bytes,
            Err(error) => return Err(unreadable(digest, error)),
        };
        let verdict = match tokio::task::spawn_blocking(move || inspect(bytes)).await {
            Ok(Ok(found)) => Ok(found.store(blobs, tenant, digest).await?),
            Ok(Err(refused)) => Err(refused),
            Err(panic) => return Err(faulty(digest, &panic)),
        };
        self.remember(tenant, digest, verdict.clone());
        verdict
    }

    /// The verdict of an earlier check.
    pub(crate) fn remembered(&self, tenant: &TenantName, digest: Digest) -> Option<Verdict> {
        let verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        verdicts.get(&digest)?.get(tenant).cloned()
    }

    fn remember(&self, tenant: &TenantName, digest: Digest, verdict: Verdict) {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if verdicts.len() >= MAX_REMEMBERED {
            verdicts.clear();
        }
        verdicts.entry(digest).or_default().insert(tenant.clone(), verdict);
    }
}

/// What was found in the bytes.
struct Found {
    kind: ComponentKind,
    initial_memory: u64,
    adapted: Option<Bytes>,
}

impl Found {
    async fn store(
        self,
        blobs: &Blobs,
        tenant: &TenantName,
        submitted: Digest,
    ) -> Result<Checked, RequestError> {
        let component = match self.adapted {
            Some(adapted) => blobs.put(tenant, adapted).await?,
            None => submitted,
        };
        Ok(Checked { kind: self.kind, component, initial_memory: self.initial_memory })
    }
}

fn inspect(bytes: Bytes) -> Result<Found, RequestError> {
    let prepared = wrun_component::prepare(&bytes).map_err(|error| {
        RequestError::new(ErrorCode::InvalidInput, format!("component: {error}"))
    })?;
    let kind = match prepared.inspected.kind {
        Kind::Command => ComponentKind::Command,
        Kind::Handler => ComponentKind::Handler,
        Kind::Http => ComponentKind::Http,
    };
    let adapted = match prepared.component {
        Cow::Borrowed(_) => None,
        Cow::Owned(adapted) => Some(Bytes::from(adapted)),
    };
    Ok(Found { kind, initial_memory: prepared.inspected.initial_memory, adapted })
}

fn unreadable(digest: Digest, error: BlobError) -> RequestError {
    match error {
        BlobError::NotFound(_) => RequestError::new(
            ErrorCode::NotFound,
            format!("component: there is no blob {digest}; upload it first"),
        ),
        BlobError::TooLarge { size } => RequestError::new(
            ErrorCode::LimitReached,
            format!(
                "component: {}; at most {} are allowed; strip its debug information",
                resources::Bytes(size),
                resources::Bytes(MAX_COMPONENT)
            ),
        ),
        other => other.into(),
    }
}

fn faulty(digest: Digest, error: &tokio::task::JoinError) -> RequestError {
    tracing::error!(%digest, %error, "checking a component failed");
    RequestError::new(ErrorCode::Internal, format!("component {digest} could not be checked"))
}
