//! One try of a request: to one replica and back.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use hyper::body::Body;
use tokio::time::Instant;

use super::answer::{AnswerBody, Bounds};
use super::fields;
use super::gather::{Gathered, Gathering};
use super::memory::Held;
use super::pace::Pace;
use super::quiet::Quiet;
use super::upload::Upload;
use crate::BodyError;
use crate::gateway::Shared;
use crate::service::{Lease, Shape};
use crate::upstream::{UpstreamError, UpstreamErrorKind};

/// How long an answer of a known small size is gathered before its head is passed on. It
/// lets a replica go that has written all, and makes an answer that breaks off an error that
/// has a status.
const SIZED: Duration = Duration::from_millis(100);

/// The same, where its size is not known: most end at once.
const UNSIZED: Duration = Duration::from_millis(5);

/// A try.
pub(super) struct Attempt<'a> {
    shared: &'a Shared,
    request: http::Request<crate::Body>,
    quiet: Quiet,
    deadline: Instant,
}

impl<'a> Attempt<'a> {
    pub(super) fn begin<B>(
        shared: &'a Shared,
        shape: &Shape,
        upload: &Upload<B>,
        head: Parts,
        deadline: Instant,
    ) -> Self
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyError>,
    {
        let request = http::Request::from_parts(head, upload.body());
        let idle = Duration::from_millis(shape.http.idle_timeout_ms);
        let quiet = Quiet { idle, clock: shared.clock, sent: upload.last() };
        Self { shared, request, quiet, deadline }
    }

    /// Asks the replica. The lease goes with the answer, or back.
    pub(super) async fn run(
        self,
        lease: Lease,
        begun: Instant,
    ) -> Result<Response<AnswerBody>, UpstreamError> {
        let is_head = self.request.method() == Method::HEAD;
        let latency = || u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let asked =
            self.shared.upstream.call(lease.target(), self.request, self.deadline.into_std());
        let answered = tokio::select! {
            biased;
            answered = asked => answered,
            () = self.quiet.over(self.deadline) => Err(UpstreamErrorKind::TimedOut.after()),
        };
        let gathered = match answered {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                gather(self.shared, parts, body, is_head).await
            }
            Err(error) => Err(error),
        };
        let (parts, gathered, announced, held) = match gathered {
            Ok(gathered) => gathered,
            Err(error) => {
                lease.on_error(&error.kind, error.never_begun, latency());
                return Err(error);
            }
        };
        lease.on_answer(parts.status, latency());
        let mut body = match gathered.rest {
            None => AnswerBody::whole(gathered.bytes, gathered.trailers),
            Some(_) => {
                let pace = Pace::new(&self.shared.config);
                let (quiet, deadline) = (self.quiet, self.deadline);
                let bounds = Bounds { pace, quiet, deadline, left: announced };
                AnswerBody::streamed(gathered, lease, bounds)
            }
        };
        body.held = held;
        Ok(Response::from_parts(parts, body))
    }
}

type Answered = (http::response::Parts, Gathered<crate::Body>, Option<u64>, Option<Held>);

/// Gathers the beginning of an answer, all of it where it is small and comes soon.
async fn gather(
    shared: &Shared,
    mut parts: http::response::Parts,
    body: crate::Body,
    is_head: bool,
) -> Result<Answered, UpstreamError> {
    if parts.status.is_informational() {
        let why = format!("it answered with the status {}, which ends nothing", parts.status);
        return Err(UpstreamErrorKind::Failed(why).after());
    }
    fields::strip(&mut parts.headers);
    let announced = announced(&parts.headers)?;
    let has_body =
        !is_head && !matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !has_body {
        let gathered = Gathered { bytes: Bytes::new(), trailers: None, rest: None };
        if parts.status == StatusCode::NO_CONTENT {
            parts.headers.remove(CONTENT_LENGTH);
        }
        return Ok((parts, gathered, announced, None));
    }
    let limit = shared.config.gather;
    let room = announced.map_or(limit, |announced| usize::try_from(announced).unwrap_or(limit));
    let mut held = shared.memory.hold(room.min(limit));
    let mut gathering = Gathering::new(body, limit);
    let patience = match announced {
        _ if held.is_none() => Duration::ZERO,
        Some(announced) if announced > limit as u64 => Duration::ZERO,
        Some(_) => SIZED,
        None if is_event_stream(&parts.headers) => Duration::ZERO,
        None => UNSIZED,
    };
    if !patience.is_zero() {
        let mut timer = pin!(tokio::time::sleep(patience));
        while !gathering.is_over() {
            tokio::select! {
                biased;
                next = gathering.next() => next.map(drop).map_err(broke_off)?,
                () = timer.as_mut() => break,
            }
        }
    }
    let gathered = gathering.into_gathered();
    if let Some(held) = &mut held {
        held.shrink(gathered.bytes.len());
    }
    if gathered.rest.is_none() {
        let sent = gathered.bytes.len() as u64;
        if let Some(announced) = announced.filter(|announced| *announced != sent) {
            let why = format!("it sent {sent} bytes of a body of {announced}");
            return Err(UpstreamErrorKind::Failed(why).after());
        }
        if gathered.trailers.is_none() {
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(sent));
        }
    }
    Ok((parts, gathered, announced, held))
}

fn announced(fields: &HeaderMap) -> Result<Option<u64>, UpstreamError> {
    let mut values = fields.get_all(CONTENT_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    match (length, values.next()) {
        (Some(length), None) => Ok(Some(length)),
        _ => {
            let why = "it gave a length that is none".to_owned();
            Err(UpstreamErrorKind::Failed(why).after())
        }
    }
}

/// Whoever reads one wants its head, and each event when it happens.
fn is_event_stream(fields: &HeaderMap) -> bool {
    let kind = fields.get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    kind.get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
}

fn broke_off(error: BodyError) -> UpstreamError {
    match error.downcast::<UpstreamError>() {
        Ok(error) => UpstreamError { never_begun: false, ..*error },
        Err(error) => UpstreamErrorKind::Failed(error.to_string()).after(),
    }
}
