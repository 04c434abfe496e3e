//! Heads as HTTP has them, and as they travel.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use wrun_protocol::time::millis;
use wrun_protocol::wire::forward::{Field, RequestHead, ResponseHead};

/// A head came that HTTP does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} that HTTP does not allow: {problem}")]
pub(super) struct HeadError {
    what: &'static str,
    problem: String,
}

impl HeadError {
    fn of(what: &'static str, problem: impl ToString) -> Self {
        Self { what, problem: problem.to_string() }
    }
}

/// The head of a request that may take so long.
pub(super) fn of_request(
    head: &http::request::Parts,
    within: Duration,
    has_body: bool,
) -> RequestHead {
    RequestHead {
        method: head.method.as_str().to_owned(),
        uri: head.uri.to_string(),
        fields: of_fields(&head.headers),
        within_ms: millis(within),
        has_body,
    }
}

/// The head of a response.
pub(super) fn of_response(head: &http::response::Parts, has_body: bool) -> ResponseHead {
    ResponseHead { status: head.status.as_u16(), fields: of_fields(&head.headers), has_body }
}

/// The fields, in order.
pub(super) fn of_fields(fields: &HeaderMap) -> Vec<Field> {
    fields
        .iter()
        .map(|(name, value)| Field {
            name: name.as_str().to_owned(),
            value: bytes::Bytes::copy_from_slice(value.as_bytes()),
        })
        .collect()
}

/// The request with that head.
pub(super) fn request<B>(head: RequestHead, body: B) -> Result<http::Request<B>, HeadError> {
    let mut request = http::Request::new(body);
    *request.method_mut() = http::Method::from_bytes(head.method.as_bytes())
        .map_err(|error| HeadError::of("a method", error))?;
    *request.uri_mut() = head.uri.parse().map_err(|error| HeadError::of("a URI", error))?;
    *request.headers_mut() = fields(head.fields)?;
    Ok(request)
}

/// The response with that head.
pub(super) fn response<B>(head: ResponseHead, body: B) -> Result<http::Response<B>, HeadError> {
    let mut response = http::Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(head.status)
        .map_err(|error| HeadError::of("a status", error))?;
    *response.headers_mut() = fields(head.fields)?;
    Ok(response)
}

/// Fields of a head, or trailers.
pub(super) fn fields(fields: Vec<Field>) -> Result<HeaderMap, HeadError> {
    let refused = |problem| HeadError::of("a field", problem);
    let mut map = HeaderMap::try_with_capacity(fields.len())
        .map_err(|error| HeadError::of("fields", error))?;
    for Field { name, value } in fields {
        let problem = |error: &dyn std::error::Error| refused(format!("{name:.100?}: {error}"));
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|error| problem(&error))?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|error| problem(&error))?;
        map.try_append(key, value).map_err(|error| problem(&error))?;
    }
    Ok(map)
}
