//! The body of a request on its way to a replica: what was gathered of it, then the rest as
//! it comes. Until a byte of the rest was asked for, it can be sent again.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::gather::Gathered;
use super::pace::Pace;
use crate::BodyError;
use crate::clock::Clock;

/// Why a body broke off before its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    #[error("it came too slowly")]
    TooSlow,
    #[error("{0}")]
    Broken(String),
}

/// A body that can be sent, more than once while nothing of the rest was taken.
#[derive(Debug)]
pub(crate) struct Upload<B> {
    bytes: Bytes,
    trailers: Option<HeaderMap>,
    rest: Option<Arc<Rest<B>>>,
}

/// What was not gathered.
#[derive(Debug)]
struct Rest<B> {
    flow: Mutex<Flow<B>>,
    is_touched: AtomicBool,
    last: Arc<AtomicU64>,
    clock: Clock,
}

#[derive(Debug)]
struct Flow<B> {
    body: B,
    /// `None`: the client said nothing of the length, and may take its time.
    pace: Option<Pace>,
    timer: Option<Pin<Box<Sleep>>>,
    left: u64,
    limit: u64,
    failed: Option<UploadError>,
}

impl<B> Upload<B> {
    /// `limit` is that of the whole body; `pace` what is left to the client.
    pub(crate) fn new(gathered: Gathered<B>, limit: u64, pace: Option<Pace>, clock: Clock) -> Self {
        let left = limit.saturating_sub(gathered.bytes.len() as u64);
        let rest = gathered.rest.map(|body| {
            let flow = Flow { body, pace, timer: None, left, limit, failed: None };
            let (is_touched, last) = (AtomicBool::new(false), Arc::default());
            Arc::new(Rest { flow: Mutex::new(flow), is_touched, last, clock })
        });
        Self { bytes: gathered.bytes, trailers: gathered.trailers, rest }
    }

    /// Whether all of it can be sent again.
    pub(crate) fn is_whole(&self) -> bool {
        self.rest.as_ref().is_none_or(|rest| !rest.is_touched.load(Ordering::SeqCst))
    }

    /// Why it broke off, if it did.
    pub(crate) fn failed(&self) -> Option<UploadError> {
        self.rest.as_ref().and_then(|rest| rest.flow().failed.clone())
    }

    /// When its last byte came, in milliseconds of the gateway's clock; 0: none yet.
    /// `None`: all of it was gathered.
    pub(crate) fn last(&self) -> Option<Arc<AtomicU64>> {
        self.rest.as_ref().map(|rest| Arc::clone(&rest.last))
    }
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    /// The body, from its beginning.
    pub(crate) fn body(&self) -> crate::Body {
        use http_body_util::BodyExt;
        let (bytes, trailers) = (Some(self.bytes.clone()), self.trailers.clone());
        Sent { bytes, trailers, rest: self.rest.clone() }.boxed_unsync()
    }
}

impl<B> Rest<B> {
    fn flow(&self) -> MutexGuard<'_, Flow<B>> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Sent<B> {
    bytes: Option<Bytes>,
    trailers: Option<HeaderMap>,
    rest: Option<Arc<Rest<B>>>,
}

impl<B> Body for Sent<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(bytes) = self.bytes.take().filter(|bytes| !bytes.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let Some(rest) = &self.rest else {
            let trailers = self.trailers.take();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        };
        rest.is_touched.store(true, Ordering::SeqCst);
        let polled = ready!(rest.flow().poll(cx));
        rest.last.store(rest.clock.ms(Instant::now()), Ordering::Relaxed);
        Poll::Ready(polled.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        let sent = self.bytes.as_ref().is_none_or(Bytes::is_empty);
        sent && self.rest.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        match &self.rest {
            None => SizeHint::with_exact(bytes),
            Some(rest) => {
                let rest = rest.flow().body.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower() + bytes);
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper + bytes);
                }
                hint
            }
        }
    }
}

impl<B> Flow<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if let Some(failed) = &self.failed {
            return Poll::Ready(Some(Err(failed.clone())));
        }
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => return self.wait(cx),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => {
                return self.fail(UploadError::Broken(error.into().to_string()));
            }
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        let Some(left) = self.left.checked_sub(bytes as u64) else {
            return self.fail(UploadError::TooLarge(self.limit));
        };
        self.left = left;
        if let Some(pace) = &mut self.pace {
            pace.on_bytes(bytes, Instant::now());
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let Some(pace) = &mut self.pace else { return Poll::Pending };
        let until = pace.wait(Instant::now());
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        timer.as_mut().reset(until);
        ready!(timer.as_mut().poll(cx));
        self.fail(UploadError::TooSlow)
    }

    fn fail(&mut self, why: UploadError) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        self.failed = Some(why.clone());
        Poll::Ready(Some(Err(why)))
    }
}
