//! Why a gateway does not listen, and why a request has no answer of a replica.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use wrun_protocol::TenantName;
use wrun_protocol::service::ServiceId;

use crate::upstream::UpstreamError;

/// A gateway cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be had.
    #[error("cannot listen for HTTP on {address}: {source}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file of the certificate or of its key cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The access log cannot be opened.
    #[error("cannot write the access log {path}: {source}")]
    AccessLog {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The certificate cannot be used.
    #[error("cannot use the certificate in {certificate} with the key in {key}: {problem}")]
    Certificate {
        /// The file with the chain.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// Why a request has no answer of a replica.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No such service is known here.
    #[error("there is no service {0}")]
    NotFound(ServiceId),
    /// The service does not let this tenant call it.
    #[error("{service} may not be called by services of {caller}: name it in its `callers`")]
    Denied {
        /// Who called.
        caller: TenantName,
        /// What.
        service: ServiceId,
    },
    /// Services call one another in a circle.
    #[error("the request went from service to service {0} times: do they call in a circle?")]
    Loop(u32),
    /// The request's field `wrun-hops`, or its URI, is none.
    #[error("the request is malformed: {0}")]
    Request(String),
    /// The body is larger than the service takes.
    #[error("the body is larger than {limit} bytes, the `max_body` of {service}")]
    BodyTooLarge {
        /// Which service.
        service: ServiceId,
        /// What it takes.
        limit: u64,
    },
    /// The client took too long for the body.
    #[error("the body of the request came too slowly")]
    TooSlow,
    /// The body broke off.
    #[error("the body of the request broke off: {0}")]
    Body(String),
    /// The tenant has as many requests under way at this gateway as it may.
    #[error("{tenant} has {limit} requests under way here, as many as a tenant may")]
    TenantBusy {
        /// Whose service it is.
        tenant: TenantName,
        /// The limit.
        limit: u32,
    },
    /// As many wait for the service as may.
    #[error("{waiting} requests wait for {service}, as many as may")]
    QueueFull {
        /// Which service.
        service: ServiceId,
        /// How many wait.
        waiting: u32,
    },
    /// No replica could take it in time.
    #[error("no replica of {service} could take the request within {waited:?}")]
    NoReplica {
        /// Which service.
        service: ServiceId,
        /// How long it waited.
        waited: Duration,
    },
    /// The time for the answer is over.
    #[error("{service} gave no answer within {timeout:?}")]
    TimedOut {
        /// Which service.
        service: ServiceId,
        /// Its `timeout`.
        timeout: Duration,
    },
    /// A replica got it and did not answer.
    #[error("{service} did not answer: {error}")]
    Failed {
        /// Which service.
        service: ServiceId,
        /// Why.
        error: UpstreamError,
    },
}
