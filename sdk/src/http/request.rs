//! What a function can be given of a request.

use std::future::Future;

use bytes::Bytes;
use http::StatusCode;
use serde::de::DeserializeOwned;

use super::{Body, BodyError, Error, Request, Response};

/// A value as JSON: of the body of a request, or as that of a response.
///
/// A body that is no such JSON is answered with 400 and the place of the mistake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// What a service's function may take.
#[diagnostic::on_unimplemented(
    message = "a service's function cannot take a `{Self}`",
    label = "take a `Request`, `Json<T>`, `String` or `Vec<u8>`"
)]
pub trait FromRequest: Sized {
    /// Takes it out of a request.
    ///
    /// # Errors
    /// How the request is answered instead.
    fn from_request(request: Request) -> impl Future<Output = Result<Self, Error>>;
}

impl FromRequest for Request {
    async fn from_request(request: Request) -> Result<Self, Error> {
        Ok(request)
    }
}

/// For a function without an argument.
impl FromRequest for () {
    async fn from_request(_: Request) -> Result<Self, Error> {
        Ok(())
    }
}

impl FromRequest for Bytes {
    async fn from_request(request: Request) -> Result<Self, Error> {
        Ok(request.into_body().bytes().await?)
    }
}

impl FromRequest for Vec<u8> {
    async fn from_request(request: Request) -> Result<Self, Error> {
        Ok(request.into_body().bytes().await?.into())
    }
}

impl FromRequest for String {
    async fn from_request(request: Request) -> Result<Self, Error> {
        let bytes = request.into_body().bytes().await?;
        String::from_utf8(bytes.into()).map_err(|error| {
            Error::new(StatusCode::BAD_REQUEST, format!("the body is not UTF-8: {error}"))
        })
    }
}

impl<T: DeserializeOwned> FromRequest for Json<T> {
    async fn from_request(request: Request) -> Result<Self, Error> {
        let bytes = request.into_body().bytes().await?;
        serde_json::from_slice(&bytes).map(Json).map_err(|error| {
            let text = format!("the body is not the JSON that is taken here: {error}");
            Error::new(StatusCode::BAD_REQUEST, text)
        })
    }
}

/// Reading the body of a request or a response. A service that fails with the error of a
/// request's body answers with 400, with that of a response's with 502.
pub trait Read: Sized {
    /// Whether it is the answer of another.
    #[doc(hidden)]
    const IS_ANSWER: bool;

    /// The body.
    fn body_of(self) -> Body;

    /// All of it.
    ///
    /// # Errors
    /// The body broke off.
    fn bytes(self) -> impl Future<Output = Result<Bytes, BodyError>> {
        async { self.body_of().bytes().await.map_err(|error| error.of_answer(Self::IS_ANSWER)) }
    }

    /// All of it, as text.
    ///
    /// # Errors
    /// The body broke off, or is not UTF-8.
    fn text(self) -> impl Future<Output = Result<String, BodyError>> {
        async { self.body_of().text().await.map_err(|error| error.of_answer(Self::IS_ANSWER)) }
    }

    /// All of it, as a value.
    ///
    /// # Errors
    /// The body broke off, or is not the JSON of such a value.
    fn json<T: DeserializeOwned>(self) -> impl Future<Output = Result<T, BodyError>> {
        async {
            let bytes = self.bytes().await?;
            serde_json::from_slice(&bytes).map_err(|error| {
                BodyError::misread(format!("the JSON wanted: {error}")).of_answer(Self::IS_ANSWER)
            })
        }
    }
}

impl Read for Request {
    const IS_ANSWER: bool = false;

    fn body_of(self) -> Body {
        self.into_body()
    }
}

impl Read for Response {
    const IS_ANSWER: bool = true;

    fn body_of(self) -> Body {
        self.into_body()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::block_on;

    #[test]
    fn a_mistake_in_a_body_is_that_of_whoever_sent_it() {
        let broken = || Body::from("{");
        let json = |request| block_on(Json::<u32>::from_request(request)).unwrap_err();
        let error = json(Request::new(broken()));
        assert_eq!(error.status(), 400);
        assert!(error.message().contains("line 1"), "{error}");
        let mine = block_on(Request::new(broken()).json::<u32>()).unwrap_err();
        let error = Error::from(mine);
        assert_eq!((error.status().as_u16(), error.detail()), (400, ""));
        assert!(error.message().starts_with("the body is not the JSON wanted: "), "{error}");
        let other = block_on(Response::new(broken()).json::<u32>()).unwrap_err();
        let error = Error::from(other);
        assert_eq!((error.status().as_u16(), error.message()), (502, ""));
    }
}
