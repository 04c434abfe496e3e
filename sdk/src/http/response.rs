//! What a function can answer with.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use super::{Body, Error, Json, Response};

/// What a service's function may return.
#[diagnostic::on_unimplemented(
    message = "a service's function cannot answer with a `{Self}`",
    label = "return text, bytes, `Json<T>`, `(StatusCode, _)`, a `Response`, or a `Result` of one"
)]
pub trait IntoResponse {
    /// The response that it is.
    fn into_response(self) -> Response;
}

impl IntoResponse for Response {
    fn into_response(self) -> Response {
        self
    }
}

impl IntoResponse for Body {
    fn into_response(self) -> Response {
        Response::new(self)
    }
}

/// No content.
impl IntoResponse for () {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl IntoResponse for StatusCode {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self;
        response
    }
}

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

fn typed(content_type: HeaderValue, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

impl IntoResponse for &'static str {
    fn into_response(self) -> Response {
        typed(TEXT, self.into())
    }
}

impl IntoResponse for String {
    fn into_response(self) -> Response {
        typed(TEXT, self.into())
    }
}

impl IntoResponse for Vec<u8> {
    fn into_response(self) -> Response {
        typed(BYTES, self.into())
    }
}

impl IntoResponse for Bytes {
    fn into_response(self) -> Response {
        typed(BYTES, self.into())
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => typed(JSON, bytes.into()),
            Err(error) => Error::from(error).into_response(),
        }
    }
}

/// With this status.
impl<T: IntoResponse> IntoResponse for (StatusCode, T) {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        *response.status_mut() = self.0;
        response
    }
}

/// With this status and these fields besides its own.
impl<T: IntoResponse> IntoResponse for (StatusCode, HeaderMap, T) {
    fn into_response(self) -> Response {
        let mut response = (self.0, self.2).into_response();
        response.headers_mut().extend(self.1);
        response
    }
}

/// The message goes to the client; what is only for the log, to standard error.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if !self.detail().is_empty() {
            eprintln!("{self}");
        }
        let reason = self.status().canonical_reason().unwrap_or_default();
        let text = if self.message().is_empty() { reason } else { self.message() };
        (self.status(), format!("{text}\n")).into_response()
    }
}

impl<T: IntoResponse, E: Into<Error>> IntoResponse for Result<T, E> {
    fn into_response(self) -> Response {
        match self {
            Ok(value) => value.into_response(),
            Err(error) => error.into().into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::block_on;

    fn text(response: Response) -> String {
        block_on(response.into_body().text()).unwrap()
    }

    #[test]
    fn what_is_returned_says_what_it_is() {
        let type_of = |response: &Response| response.headers()[CONTENT_TYPE].clone();
        let response = "a".into_response();
        assert_eq!((type_of(&response), text(response).as_str()), (TEXT, "a"));
        let response = Json([1, 2]).into_response();
        assert_eq!((type_of(&response), text(response).as_str()), (JSON, "[1,2]"));
        assert_eq!(type_of(&vec![0_u8].into_response()), BYTES);
        assert_eq!(().into_response().status(), 204);
        assert_eq!((StatusCode::CREATED, "x").into_response().status(), 201);
    }

    #[test]
    fn a_client_is_told_the_message_and_never_the_detail() {
        let told = Error::new(StatusCode::NOT_FOUND, "no such thing").into_response();
        assert_eq!((told.status().as_u16(), text(told).as_str()), (404, "no such thing\n"));
        let inner: Result<(), _> = Err(std::io::Error::other("the password is wrong"));
        let response = inner.into_response();
        assert_eq!(response.status(), 500);
        assert_eq!(text(response), "Internal Server Error\n");
    }
}
