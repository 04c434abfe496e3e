//! The replica's end.

use std::future::Future;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Body as _;
use wrun_net::{RecvStream, SendError, SendStream};
use wrun_protocol::codec::append_frame;
use wrun_protocol::limits::MAX_TIME_MS;
use wrun_protocol::wire::forward::{Answer, CallFailure, RequestHead};
use wrun_protocol::wire::peer::stream_code;

use super::head;
use super::pieces::{self, Sending};
use crate::{Body, empty};

/// How long the head may take after the frame that announced it: both come in one packet.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Serves one request on a stream whose first frame said that it is one: `call` has it
/// answered. Gives the call up when the other side gives the request up.
pub async fn serve<F>(
    send: SendStream,
    mut recv: RecvStream,
    call: impl FnOnce(Request<Body>, Instant) -> F,
) where
    F: Future<Output = Result<Response<Body>, CallFailure>>,
{
    let mut sending = Sending::new(send);
    let head = tokio::time::timeout(HEAD_WITHIN, recv.recv::<RequestHead>()).await;
    let Ok(Ok(Some(head))) = head else {
        recv.stop(stream_code::PROTOCOL);
        return sending.refuse();
    };
    let answer = match begin(head, recv) {
        Ok((request, deadline)) => tokio::select! {
            answer = call(request, deadline) => answer,
            _ = sending.stopped() => return,
        },
        Err(problem) => Err(CallFailure::Request { problem }),
    };
    if let Err(error) = answer_with(sending, answer).await {
        tracing::debug!(%error, "the answer to a request of another node was given up");
    }
}

fn begin(head: RequestHead, recv: RecvStream) -> Result<(Request<Body>, Instant), String> {
    let deadline = Instant::now() + Duration::from_millis(head.within_ms.min(MAX_TIME_MS));
    let body = if head.has_body { pieces::body(recv, ()) } else { empty() };
    Ok((head::request(head, body).map_err(|error| error.to_string())?, deadline))
}

async fn answer_with(
    sending: Sending,
    answer: Result<Response<Body>, CallFailure>,
) -> Result<(), SendError> {
    let mut buffer = Vec::with_capacity(512);
    let response = match answer {
        Ok(response) => response,
        Err(failure) => {
            append_frame(&mut buffer, &Answer::Failed(failure))?;
            return sending.last(&buffer).await;
        }
    };
    let (parts, body) = response.into_parts();
    let has_body = !body.is_end_stream();
    append_frame(&mut buffer, &Answer::Response(head::of_response(&parts, has_body)))?;
    if has_body { sending.all(buffer, body).await } else { sending.last(&buffer).await }
}
