//! The body of an answer on its way to the client. What is whole is in memory, and the
//! replica is free; the rest comes from a task of its own that reads the replica as the
//! client takes it, and gives the replica up when the client does not.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::gather::Gathered;
use super::pace::Pace;
use super::quiet::Quiet;
use super::under_way::UnderWay;
use crate::BodyError;
use crate::service::Lease;

/// Pieces that are read ahead of the client.
const AHEAD: usize = 4;

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    source: Source,
    pub(crate) sent: u64,
    /// Counts the request for its tenant until the client has it all.
    pub(crate) under_way: Option<UnderWay>,
    /// Counts the request for its connection until then.
    pub(crate) open: Option<crate::listen::Open>,
    /// Leaves a line when it is dropped.
    pub(crate) entry: Option<Box<crate::entry::Entry>>,
}

#[derive(Debug)]
enum Source {
    Whole(Option<Bytes>, Option<HeaderMap>),
    Streamed(mpsc::Receiver<Part>),
}

#[derive(Debug)]
enum Part {
    Frame(Frame<Bytes>),
    End,
}

/// Why a client does not get the whole of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer broke off")]
pub(crate) struct BrokeOff;

/// What ends a stream before its time.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) pace: Pace,
    pub(crate) quiet: Quiet,
    pub(crate) deadline: Instant,
    /// How many bytes the head said; `None`: it said nothing.
    pub(crate) announced: Option<u64>,
}

impl AnswerBody {
    pub(crate) fn whole(bytes: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self::of(Source::Whole(Some(bytes), trailers))
    }

    /// What was gathered, then the rest. The lease is over when all was read from the
    /// replica, the client is gone, or one of the bounds is reached.
    pub(crate) fn streamed(gathered: Gathered<crate::Body>, lease: Lease, bounds: Bounds) -> Self {
        let (sender, receiver) = mpsc::channel(AHEAD);
        tokio::spawn(stream(gathered, lease, bounds, sender));
        Self::of(Source::Streamed(receiver))
    }

    fn of(source: Source) -> Self {
        Self { source, sent: 0, under_way: None, open: None, entry: None }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match &mut self.source {
            Source::Whole(bytes, trailers) => {
                let bytes = bytes.take().filter(|bytes| !bytes.is_empty()).map(Frame::data);
                bytes.or_else(|| trailers.take().map(Frame::trailers))
            }
            Source::Streamed(parts) => match ready!(parts.poll_recv(cx)) {
                Some(Part::Frame(frame)) => Some(frame),
                Some(Part::End) => None,
                None => return Poll::Ready(Some(Err(BrokeOff.into()))),
            },
        };
        let bytes = frame.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len);
        self.sent += bytes as u64;
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole(bytes, trailers) => {
                bytes.as_ref().is_none_or(Bytes::is_empty) && trailers.is_none()
            }
            Source::Streamed(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes, _) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Source::Streamed(_) => SizeHint::new(),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if let Some(mut entry) = self.entry.take() {
            entry.sent = self.sent;
        }
    }
}

async fn stream(
    gathered: Gathered<crate::Body>,
    lease: Lease,
    mut bounds: Bounds,
    parts: mpsc::Sender<Part>,
) {
    let mut left = bounds.announced;
    let Some(mut body) = gathered.rest else { return };
    let mut frame = Some(Frame::data(gathered.bytes));
    loop {
        if let Some(frame) = frame.take() {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            if let Some(left) = &mut left {
                let Some(less) = left.checked_sub(bytes as u64) else { return lease.on_broken() };
                *left = less;
            }
            if (bytes > 0 || frame.is_trailers())
                && !hand_over(&parts, &mut bounds, Part::Frame(frame), bytes).await
            {
                return;
            }
        }
        let next = tokio::select! {
            biased;
            next = body.frame() => next,
            () = parts.closed() => return,
            () = bounds.quiet.over(bounds.deadline) => return lease.on_broken(),
        };
        match next {
            Some(Ok(next)) => frame = Some(next),
            Some(Err(_)) => return lease.on_broken(),
            None if left.is_some_and(|left| left > 0) => return lease.on_broken(),
            None => break,
        }
    }
    // The replica is done: the client may take its time with the last pieces.
    drop(lease);
    let _ = parts.send(Part::End).await;
}

/// Gives a piece to the client's side; `false`: the client is gone or too slow.
async fn hand_over(
    parts: &mpsc::Sender<Part>,
    bounds: &mut Bounds,
    part: Part,
    bytes: usize,
) -> bool {
    let part = match parts.try_send(part) {
        Ok(()) => None,
        Err(mpsc::error::TrySendError::Full(part)) => Some(part),
        Err(mpsc::error::TrySendError::Closed(_)) => return false,
    };
    if let Some(part) = part {
        let until = bounds.pace.wait(Instant::now()).min(bounds.deadline);
        let Ok(Ok(permit)) = tokio::time::timeout_at(until, parts.reserve()).await else {
            return false;
        };
        permit.send(part);
    }
    bounds.pace.on_bytes(bytes, Instant::now());
    true
}
