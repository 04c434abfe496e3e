//! Inside a cluster: `wasi:http` 0.2, by the event loop of `wstd`.

use std::future::Future;
use std::time::Duration;

use http_body_util::BodyExt;
pub use wasip2::http::types::{IncomingRequest, ResponseOutparam};
use wstd::http::ErrorCode;
use wstd::http::server::Responder;

use super::body::Kind;
use super::client::SendErrorKind;
use super::{Body, BodyError, Request, Response, SendError};

/// Answers one request: what the export of a component does.
///
/// # Panics
/// When the body of the answer breaks off: a trap is how a guest of 0.2 tells that its
/// answer is not whole. What went wrong is in the log.
#[expect(clippy::panic, reason = "there is no other way to break an answer off")]
pub fn serve<F: Future<Output = Response>>(
    request: IncomingRequest,
    out: ResponseOutparam,
    answer: impl FnOnce(Request) -> F,
) {
    let responder = Responder::new(out);
    wstd::runtime::block_on(async {
        match wstd::http::request::try_from_incoming(request) {
            Err(error) => responder.fail(error),
            Ok(request) => {
                let response = answer(request.map(incoming)).await.map(outgoing);
                if let Err(error) = responder.respond(response).await {
                    panic!("{error:#}");
                }
            }
        }
    });
}

fn incoming(body: wstd::http::Body) -> Body {
    Body(Kind::Incoming(body))
}

fn outgoing(body: Body) -> wstd::http::Body {
    match body.0 {
        Kind::Whole(bytes) => bytes.into(),
        Kind::Parts(parts) => wstd::http::Body::from_http_body(parts),
        Kind::Incoming(body) => body,
    }
}

/// A body that came, to be read here.
pub(super) fn unpacked(body: Kind) -> Kind {
    match body {
        Kind::Incoming(body) => {
            let parts =
                body.into_boxed_body().map_err(|error| BodyError::new(format!("{error:#}")));
            Kind::Parts(parts.boxed_unsync())
        }
        other => other,
    }
}

pub(super) async fn send(request: Request) -> Result<Response, SendError> {
    match wstd::http::Client::new().send(request.map(outgoing)).await {
        Ok(response) => Ok(response.map(incoming)),
        Err(error) => Err(SendError::new(kind(&error), format!("{error:#}"))),
    }
}

fn kind(error: &wstd::http::Error) -> SendErrorKind {
    match error.downcast_ref::<ErrorCode>() {
        None => SendErrorKind::Request,
        Some(ErrorCode::HttpRequestDenied) => SendErrorKind::Denied,
        Some(
            ErrorCode::ConnectionTimeout
            | ErrorCode::ConnectionReadTimeout
            | ErrorCode::ConnectionWriteTimeout
            | ErrorCode::HttpResponseTimeout
            | ErrorCode::DnsTimeout,
        ) => SendErrorKind::TimedOut,
        Some(ErrorCode::LoopDetected) => SendErrorKind::Loop,
        Some(_) => SendErrorKind::Failed,
    }
}

pub(super) async fn sleep(time: Duration) {
    wstd::task::sleep(time.into()).await;
}
