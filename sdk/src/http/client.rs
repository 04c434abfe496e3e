//! Requests to others: hosts that the service was granted, and services of the cluster.

use std::fmt;
use std::time::Duration;

use http::{StatusCode, Uri};

use super::{Body, Request, Response, platform};

/// Sends a request; its answer is there when its head is. Give the whole URL:
/// `https://HOST/PATH` for a host that the job was granted, `http://NAME.wrun.internal/PATH`
/// for a service of the cluster, which is reached without leaving it.
///
/// # Errors
/// Why there is no answer. An answer of any status is none.
pub async fn send(request: Request) -> Result<Response, SendError> {
    let has_host = request.uri().authority().is_some() && request.uri().scheme().is_some();
    if !has_host {
        let text = format!("`{}` is not a whole URL", request.uri());
        return Err(SendError::new(SendErrorKind::Request, text));
    }
    platform::send(request).await
}

/// Gets what is at a URL.
///
/// # Errors
/// The text is no URL, or why there is no answer.
pub async fn get(url: &str) -> Result<Response, SendError> {
    let uri: Uri = url
        .parse()
        .map_err(|error| SendError::new(SendErrorKind::Request, format!("`{url}`: {error}")))?;
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = uri;
    send(request).await
}

/// Waits. In tests on the build machine it does not.
pub async fn sleep(time: Duration) {
    platform::sleep(time).await;
}

/// Why there is no answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendError {
    kind: SendErrorKind,
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendErrorKind {
    /// It was none that could be sent.
    Request,
    /// The host, or the service, was not granted.
    Denied,
    /// Nobody answered in time.
    TimedOut,
    /// Services call one another in a circle. Only the host of a guest tells of it.
    #[cfg_attr(not(target_family = "wasm"), allow(dead_code, reason = "made by guests only"))]
    Loop,
    /// Anything else.
    Failed,
}

impl SendError {
    pub(super) fn new(kind: SendErrorKind, message: String) -> Self {
        Self { kind, message }
    }

    /// Whether nobody answered in time.
    pub fn is_timeout(&self) -> bool {
        self.kind == SendErrorKind::TimedOut
    }

    /// Whether the service may not reach that host: grant it in the service file.
    pub fn is_denied(&self) -> bool {
        self.kind == SendErrorKind::Denied
    }

    /// What the client of a service gets that fails with this.
    pub(super) fn status(&self) -> StatusCode {
        match self.kind {
            SendErrorKind::Request | SendErrorKind::Denied => StatusCode::INTERNAL_SERVER_ERROR,
            SendErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            SendErrorKind::Loop => StatusCode::LOOP_DETECTED,
            SendErrorKind::Failed => StatusCode::BAD_GATEWAY,
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            SendErrorKind::Request => "the request cannot be sent",
            SendErrorKind::Denied => "the host was not granted",
            SendErrorKind::TimedOut => "no answer in time",
            SendErrorKind::Loop => "services call in a circle",
            SendErrorKind::Failed => "no answer",
        };
        write!(f, "{what}: {}", self.message)
    }
}

impl std::error::Error for SendError {}
