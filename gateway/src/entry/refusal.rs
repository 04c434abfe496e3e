//! Why a request is refused, as a client sees it: a status, and a line of text.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

use crate::CallError;
use crate::proxy::AnswerBody;
use crate::upstream::UpstreamErrorKind;

/// After how many seconds a client may try again.
const RETRY: HeaderValue = HeaderValue::from_static("1");

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    #[error("no tunnel is opened here")]
    Method,
    #[error("no service takes requests for this host and path")]
    NoRoute,
    #[error(transparent)]
    Call(#[from] CallError),
}

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Call(error) => status(error),
        }
    }

    /// The answer. It says which request it is about, so that whoever asks can be helped.
    pub(super) fn into_response(self, id: &HeaderValue) -> Response<AnswerBody> {
        let status = self.status();
        let id = id.to_str().unwrap_or_default();
        let text = Bytes::from(format!("{self} (request {id})\n"));
        let mut response = Response::new(AnswerBody::whole(text, None));
        *response.status_mut() = status;
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            fields.insert(header::RETRY_AFTER, RETRY);
        }
        if matches!(
            status,
            StatusCode::BAD_REQUEST
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::PAYLOAD_TOO_LARGE
        ) {
            // What follows on the connection may not be what it seems.
            fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

fn status(error: &CallError) -> StatusCode {
    match error {
        CallError::NotFound(_) => StatusCode::NOT_FOUND,
        CallError::Denied { .. } => StatusCode::FORBIDDEN,
        CallError::Loop(_) => StatusCode::LOOP_DETECTED,
        CallError::Request(_) | CallError::Body(_) => StatusCode::BAD_REQUEST,
        CallError::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        CallError::TooSlow => StatusCode::REQUEST_TIMEOUT,
        CallError::TenantBusy { .. } => StatusCode::TOO_MANY_REQUESTS,
        CallError::QueueFull { .. } | CallError::NoReplica { .. } => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        CallError::TimedOut { .. } => StatusCode::GATEWAY_TIMEOUT,
        CallError::Failed { error, .. } => match &error.kind {
            UpstreamErrorKind::Busy | UpstreamErrorKind::Draining => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            UpstreamErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            UpstreamErrorKind::Request(_) | UpstreamErrorKind::Body(_) => StatusCode::BAD_REQUEST,
            UpstreamErrorKind::Unreachable(_) | UpstreamErrorKind::Failed(_) => {
                StatusCode::BAD_GATEWAY
            }
        },
    }
}
