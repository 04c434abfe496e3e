//! How a gateway reaches replicas, whoever carries the request there.

use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use wrun_protocol::service::ServiceId;
use wrun_protocol::wire::forward::CallFailure;
use wrun_protocol::{AttemptId, NodeId};

use crate::Body;

/// A replica, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its service.
    pub service: ServiceId,
    /// Its revision.
    pub revision: u32,
    /// Which execution of which task it is.
    pub attempt: AttemptId,
    /// Where it is.
    pub node: NodeId,
}

/// What becomes of a request that was sent to a replica. Dropping it gives the request up.
pub type UpstreamFuture =
    Pin<Box<dyn Future<Output = Result<http::Response<Body>, UpstreamError>> + Send>>;

/// Carries requests to replicas, on this node or on another.
pub trait Upstream: Send + Sync + 'static {
    /// Sends the request, whose URI is absolute and whose fields are none for one connection
    /// only; never waits itself. The answer is there when the replica has given its head,
    /// and at the latest at `deadline`; its body follows as it is read. Dropping the future,
    /// or the body before its end, stops the guest.
    fn call(&self, to: Target, request: http::Request<Body>, deadline: Instant) -> UpstreamFuture;
}

/// Why a replica did not answer. As the error of a body: why its answer broke off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct UpstreamError {
    /// What happened.
    pub kind: UpstreamErrorKind,
    /// Whether no guest has seen anything of the request, so that it may go elsewhere
    /// whatever its method is.
    pub never_begun: bool,
}

/// What happened to a request that a replica did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamErrorKind {
    /// The replica handles as many requests as it may: those of other gateways count too.
    #[error("the replica handles as many requests as it may")]
    Busy,
    /// The replica takes no more requests, or is not there any more.
    #[error("the replica takes no more requests")]
    Draining,
    /// Its node cannot be reached, or the connection to it broke.
    #[error("its node cannot be reached: {0}")]
    Unreachable(String),
    /// The deadline is over.
    #[error("no answer within the time for it")]
    TimedOut,
    /// The guest broke off, or gave what is no answer.
    #[error("{0}")]
    Failed(String),
    /// The request is none that a guest can be given.
    #[error("the request cannot be given to a guest: {0}")]
    Request(String),
    /// The body of the request broke off, or was larger than it may be.
    #[error("the body of the request broke off: {0}")]
    Body(String),
}

impl UpstreamErrorKind {
    /// As an error of a request of which no guest has seen anything.
    pub fn before(self) -> UpstreamError {
        UpstreamError { kind: self, never_begun: true }
    }

    /// As an error of a request that a guest may have seen.
    pub fn after(self) -> UpstreamError {
        UpstreamError { kind: self, never_begun: false }
    }
}

impl From<CallFailure> for UpstreamError {
    fn from(failure: CallFailure) -> Self {
        let never_begun = failure.never_begun();
        let kind = match failure {
            CallFailure::Busy => UpstreamErrorKind::Busy,
            CallFailure::NotHere | CallFailure::Draining => UpstreamErrorKind::Draining,
            CallFailure::TimedOut { .. } => UpstreamErrorKind::TimedOut,
            CallFailure::Request { problem } => UpstreamErrorKind::Request(problem),
            CallFailure::Setup { message } | CallFailure::Guest { message } => {
                UpstreamErrorKind::Failed(message)
            }
            CallFailure::Stopped => UpstreamErrorKind::Failed("the replica was stopped".to_owned()),
        };
        Self { kind, never_begun }
    }
}
