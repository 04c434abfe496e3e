//! HTTP services as ordinary async functions.
//!
//! A service is a function from a request to a response, marked with [`macro@crate::http`].
//! Built for `wasm32-wasip2` as a library of type `cdylib`, it is a component of `wasi:http`
//! 0.2 that `wrun deploy` keeps running, and that any other host of that interface runs too:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use wrun_sdk::http::{Error, Json, StatusCode};
//!
//! #[derive(Deserialize)]
//! struct Order {
//!     pieces: u32,
//! }
//!
//! #[derive(Serialize, Debug, PartialEq)]
//! struct Receipt {
//!     cents: u32,
//! }
//!
//! #[wrun_sdk::http]
//! async fn order(Json(order): Json<Order>) -> Result<Json<Receipt>, Error> {
//!     if order.pieces == 0 {
//!         return Err(Error::new(StatusCode::BAD_REQUEST, "order at least one"));
//!     }
//!     Ok(Json(Receipt { cents: 250 * order.pieces }))
//! }
//!
//! // It is still a function, which `cargo test` calls on the machine that builds it.
//! use wrun_sdk::http::testing;
//! let receipt = testing::block_on(order(Json(Order { pieces: 2 }))).unwrap();
//! assert_eq!(receipt.0, Receipt { cents: 500 });
//! ```
//!
//! # What it takes and gives
//!
//! The argument is whatever implements [`FromRequest`]: the [`Request`] itself, whose body
//! comes as it is read, or what its body holds: [`Json`], text, bytes. The result is whatever
//! implements [`IntoResponse`]: text, bytes, [`Json`], a status with one of them, a
//! [`Response`] whose body is written as it is read ([`Body::stream`], [`events`]), or a
//! `Result` of one of these.
//!
//! # Errors
//!
//! An [`Error`] is a status with a text for the client. `?` turns any
//! [`std::error::Error`] into one that tells the client nothing (500) and writes its message
//! to the log; what an outgoing request fails with is a bad gateway (502, 504).
//!
//! # Other services
//!
//! [`get`] and [`send`] reach hosts that the service was granted, and other services of the
//! cluster by name: `http://NAME.wrun.internal/`.

mod body;
mod client;
mod error;
mod events;
mod request;
mod response;

#[cfg(not(target_family = "wasm"))]
pub mod testing;

#[cfg(not(target_family = "wasm"))]
#[path = "host.rs"]
mod platform;
#[cfg(target_family = "wasm")]
#[path = "guest.rs"]
mod platform;

pub use body::{Body, BodyError, BodyWriter};
pub use bytes::Bytes;
pub use client::{SendError, get, send, sleep};
pub use error::Error;
pub use events::{Event, EventWriter, events};
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
pub use request::{FromRequest, Json, Read};
pub use response::IntoResponse;

/// A request: [`http::Request`] with a body that comes as it is read.
pub type Request = http::Request<Body>;

/// A response: [`http::Response`] with a body that goes as it is written.
pub type Response = http::Response<Body>;

/// Begins a request, to be [sent](send):
///
/// ```
/// use wrun_sdk::http::{Error, Response, request, send};
///
/// async fn remember(note: String) -> Result<Response, Error> {
///     let url = "http://notes.wrun.internal/new";
///     Ok(send(request().method("POST").uri(url).body(note.into())?).await?)
/// }
/// ```
pub fn request() -> http::request::Builder {
    http::Request::builder()
}

/// Begins a response: `response().status(201).header("location", "/7").body(Body::empty())?`.
pub fn response() -> http::response::Builder {
    http::Response::builder()
}

/// What the attribute's expansion calls. Not for use by hand, and may change.
#[doc(hidden)]
pub mod export {
    use std::future::Future;

    use super::{FromRequest, IntoResponse, Request, Response};

    #[cfg(target_family = "wasm")]
    pub use super::platform::{IncomingRequest, ResponseOutparam, serve};
    #[cfg(target_family = "wasm")]
    pub use wasip2;

    /// Answers with what the function gives for what it takes.
    pub async fn answer<A, R, F>(request: Request, function: impl FnOnce(A) -> F) -> Response
    where
        A: FromRequest,
        R: IntoResponse,
        F: Future<Output = R>,
    {
        match A::from_request(request).await {
            Ok(argument) => function(argument).await.into_response(),
            Err(error) => error.into_response(),
        }
    }
}
