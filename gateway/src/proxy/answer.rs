//! The body of an answer on its way to the client. What is whole is in memory, and the
//! replica is free; the rest comes from a task of its own that reads the replica as the
//! client takes it, and gives the replica up when the client does not.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::gather::Gathered;
use super::memory::Held;
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
    /// The memory that it takes until the client has it all.
    pub(crate) held: Option<Held>,
    /// Counts the request for its tenant until then.
    pub(crate) under_way: Option<UnderWay>,
    /// Counts the request for its connection until then too.
    pub(crate) open: Option<crate::listen::Open>,
    /// Leaves a line when it is dropped.
    pub(crate) entry: Option<Box<crate::entry::Entry>>,
}

#[derive(Debug)]
enum Source {
    Whole(Option<Bytes>, Option<HeaderMap>),
    Streamed {
        parts: mpsc::Receiver<Part>,
        /// When the last part was there, in milliseconds of the gateway's clock; 0: not yet.
        ended: Arc<AtomicU64>,
    },
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
    /// How many bytes are still to come by what the head said; `None`: it said nothing.
    pub(crate) left: Option<u64>,
}

impl Bounds {
    /// Whether so many bytes may follow.
    fn may_send(&mut self, bytes: usize) -> bool {
        let Some(left) = &mut self.left else { return true };
        let less = left.checked_sub(bytes as u64);
        *left = less.unwrap_or(0);
        less.is_some()
    }
}

impl AnswerBody {
    pub(crate) fn whole(bytes: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self::of(Source::Whole(Some(bytes), trailers))
    }

    /// What was gathered, then the rest. The lease is over when all was read from the
    /// replica, the client is gone, or one of the bounds is reached.
    pub(crate) fn streamed(gathered: Gathered<crate::Body>, lease: Lease, bounds: Bounds) -> Self {
        let (sender, parts) = mpsc::channel(AHEAD);
        let ended = Arc::<AtomicU64>::default();
        let (clock, at_end) = (bounds.quiet.clock, Arc::clone(&ended));
        tokio::spawn(async move {
            let deadline = bounds.deadline;
            if stream(gathered, lease, bounds, &sender).await {
                let _ = tokio::time::timeout_at(deadline, sender.send(Part::End)).await;
            }
            at_end.store(clock.ms(Instant::now()), Ordering::Relaxed);
        });
        Self::of(Source::Streamed { parts, ended })
    }

    /// When all of it was there for the client; `None`: it has been from the beginning.
    pub(crate) fn ended(&self) -> Option<Arc<AtomicU64>> {
        match &self.source {
            Source::Whole(..) => None,
            Source::Streamed { ended, .. } => Some(Arc::clone(ended)),
        }
    }

    fn of(source: Source) -> Self {
        Self { source, sent: 0, held: None, under_way: None, open: None, entry: None }
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
            Source::Streamed { parts, .. } => match ready!(parts.poll_recv(cx)) {
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
            Source::Streamed { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes, _) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Source::Streamed { .. } => SizeHint::new(),
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

/// Brings what is left of an answer to the client's side; `false`: it broke off.
async fn stream(
    gathered: Gathered<crate::Body>,
    lease: Lease,
    mut bounds: Bounds,
    parts: &mpsc::Sender<Part>,
) -> bool {
    let Some(mut body) = gathered.rest else { return true };
    let mut frame = Frame::data(gathered.bytes);
    loop {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        if !bounds.may_send(bytes) {
            lease.on_broken();
            return false;
        }
        if (bytes > 0 || frame.is_trailers())
            && !hand_over(parts, &mut bounds, Part::Frame(frame), bytes).await
        {
            return false;
        }
        let next = tokio::select! {
            biased;
            next = body.frame() => next,
            () = parts.closed() => return false,
            () = bounds.quiet.over(bounds.deadline) => Some(Err(BrokeOff.into())),
        };
        frame = match next {
            Some(Ok(next)) => next,
            None if bounds.left.unwrap_or(0) == 0 => return true,
            None | Some(Err(_)) => {
                lease.on_broken();
                return false;
            }
        };
    }
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
