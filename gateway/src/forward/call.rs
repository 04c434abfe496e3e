//! The gateway's end.

use std::ops::Deref;
use std::time::Instant;

use http::{Request, Response};
use hyper::body::Body as _;
use tokio::task::AbortHandle;
use tokio::time::timeout_at;
use wrun_net::{Connection, RecvStream, SendError};
use wrun_protocol::AttemptId;
use wrun_protocol::codec::append_frame;
use wrun_protocol::wire::forward::Answer;
use wrun_protocol::wire::peer::FromPeer;

use super::head;
use super::pieces::{self, Sending};
use crate::{Body, UpstreamError, UpstreamErrorKind, empty};

/// Brings a request to a replica on the node at the other end of `connection`, which is held
/// until the answer's body is over. The answer is there when the replica has given its head,
/// and at the latest at `deadline`. Dropping the future, or the body, gives the request up.
///
/// # Errors
/// Why there is no answer. A body that breaks off ends with the same error.
pub async fn call<C>(
    connection: C,
    attempt: AttemptId,
    request: Request<Body>,
    deadline: Instant,
) -> Result<Response<Body>, UpstreamError>
where
    C: Deref<Target = Connection> + Send + 'static,
{
    let until = deadline.into();
    let opened = timeout_at(until, connection.open()).await;
    let (send, mut recv) = opened
        .map_err(|_| UpstreamErrorKind::TimedOut.before())?
        .map_err(|closed| UpstreamErrorKind::Unreachable(closed.to_string()).before())?;
    let upload = begin(Sending::new(send), attempt, request, deadline).await?;
    let answer = timeout_at(until, recv.recv::<Answer>()).await;
    let answer = answer.map_err(|_| UpstreamErrorKind::TimedOut.after())?;
    match answer.map_err(pieces::of_recv)? {
        Some(Answer::Response(head)) => {
            let body = body(head.has_body, recv, upload, connection);
            let response = head::response(head, body);
            response.map_err(|error| UpstreamErrorKind::Failed(error.to_string()).after())
        }
        Some(Answer::Failed(failure)) => Err(failure.into()),
        None => Err(UpstreamErrorKind::Failed("there was no answer".to_owned()).after()),
    }
}

/// A body on its way, which is given up with this.
struct Upload(AbortHandle);

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends the head at once, and the body as it comes.
async fn begin(
    mut sending: Sending,
    attempt: AttemptId,
    request: Request<Body>,
    deadline: Instant,
) -> Result<Option<Upload>, UpstreamError> {
    let (parts, body) = request.into_parts();
    let has_body = !body.is_end_stream();
    let within = deadline.saturating_duration_since(Instant::now());
    let mut buffer = Vec::with_capacity(512);
    append_frame(&mut buffer, &FromPeer::Request { attempt })
        .and_then(|()| append_frame(&mut buffer, &head::of_request(&parts, within, has_body)))
        .map_err(|error| UpstreamErrorKind::Request(error.to_string()).before())?;
    if has_body {
        sending.begin(&buffer).await.map_err(of_send)?;
        let upload = tokio::spawn(async move {
            // If the other side wants no more of it, its answer says why; else it has gone.
            let _ = sending.all(Vec::new(), body).await;
        });
        return Ok(Some(Upload(upload.abort_handle())));
    }
    sending.last(&buffer).await.map_err(of_send)?;
    Ok(None)
}

fn body<C: Send + 'static>(
    has_body: bool,
    recv: RecvStream,
    upload: Option<Upload>,
    connection: C,
) -> Body {
    if has_body { pieces::body(recv, (upload, connection)) } else { empty() }
}

/// Nothing was sent of a request whose first bytes could not be.
fn of_send(error: SendError) -> UpstreamError {
    UpstreamErrorKind::Unreachable(error.to_string()).before()
}
