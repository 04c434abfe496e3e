//! Requests of guests to other services of the cluster, which never leave it: the node
//! that holds the sandbox carries them. And the bodies that requests and answers have
//! between sandbox and node.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

/// Why a body broke off. One that a guest's end broke off is a [`crate::CallError`].
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body as it comes. Whoever does not read it holds back whoever writes it.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// What becomes of a guest's request to a service.
pub type ServiceAnswer =
    Pin<Box<dyn Future<Output = Result<http::Response<Body>, ServiceCallError>> + Send>>;

/// Carries requests to services of the cluster: those to hosts below
/// [`wrun_protocol::service::SERVICE_DOMAIN`] that the job was granted. Dropping the answer
/// gives the request up.
pub trait ServiceCaller: fmt::Debug + Send + Sync {
    /// Sends the request, whose URI is absolute and whose field
    /// [`wrun_protocol::service::HOPS`] is right, whatever the guest said. May be called on any
    /// thread, within the sandbox's own runtime; never waits.
    fn call(&self, request: http::Request<Body>) -> ServiceAnswer;
}

/// Why a service did not answer a guest's request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceCallError {
    /// There is no such service, or none that the caller's tenant can name.
    #[error("no such service")]
    NotFound,
    /// The service lets no other tenant call it.
    #[error("the service may not be called by this tenant")]
    Denied,
    /// No replica could take it in time.
    #[error("the service has no replica for it now")]
    Unavailable,
    /// The time for the answer is over.
    #[error("the service did not answer in time")]
    TimedOut,
    /// Services call one another in a circle.
    #[error("the request went from service to service too often: do they call in a circle?")]
    Loop,
    /// It failed on the way or there.
    #[error("{0}")]
    Failed(String),
}
