//! The caller's side of a request: waiting for the head of the answer, then reading its
//! body. What is dropped before its end stops the guest.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::task::unconstrained;
use wasmtime_wasi_http::{Error, WasiBody};

use super::call::{Call, Given};
use super::dispatch::Dispatch;
use crate::bodies::is_mark;
use crate::{Body, BodyError, CallError};

/// A request that was taken, for as long as its caller wants anything of it.
pub(super) struct Ticket {
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) call: Arc<Call>,
    /// The caller has had all of the answer.
    whole: bool,
}

impl Ticket {
    pub(super) fn new(dispatch: Arc<Dispatch>, call: Arc<Call>) -> Self {
        Self { dispatch, call, whole: false }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.dispatch.on_over(&self.call, self.whole);
    }
}

/// Waits for the head of the answer.
pub(super) struct Waiting(Option<Ticket>);

impl Waiting {
    pub(super) fn new(ticket: Ticket) -> Self {
        Self(Some(ticket))
    }
}

impl Future for Waiting {
    type Output = Result<http::Response<Body>, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(ticket) = &self.0 else { return Poll::Pending };
        let given = match ready!(ticket.call.poll_answer(context)) {
            Ok(given) => given,
            Err(error) => {
                self.0 = None;
                return Poll::Ready(Err(error));
            }
        };
        let Some(ticket) = self.0.take() else { return Poll::Pending };
        Poll::Ready(answer(ticket, given))
    }
}

fn answer(ticket: Ticket, given: Given) -> Result<http::Response<Body>, CallError> {
    let Given { response, marked } = given;
    let (head, body) = response.into_parts();
    let length = length(&head.headers);
    let bodiless = ticket.call.bodiless || is_bodiless(head.status);
    let announced = if bodiless { None } else { length };
    if body.is_end_stream() {
        return match announced {
            Some(announced) if announced > 0 => {
                Err(ticket.refuse(CallError::Length { announced, sent: 0 }))
            }
            _ => {
                ticket.finish();
                Ok(http::Response::from_parts(head, empty()))
            }
        };
    }
    let mut answer =
        Answer { ticket: Some(ticket), body, marked, announced, sent: 0, ahead: VecDeque::new() };
    let body = match answer.look_ahead() {
        Some(whole) => Full::new(whole).map_err(|never| match never {}).boxed_unsync(),
        None => answer.boxed_unsync(),
    };
    Ok(http::Response::from_parts(head, body))
}

fn empty() -> Body {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Statuses whose answers have no body (RFC 9110, section 6.4.1).
fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

impl Ticket {
    fn finish(mut self) {
        self.whole = true;
    }

    /// The guest did what it must not; its request ends so.
    fn refuse(self, error: CallError) -> CallError {
        self.dispatch.fail(&self.call, |_| error.clone());
        error
    }
}

/// The body of an answer.
struct Answer {
    /// Until the end.
    ticket: Option<Ticket>,
    body: WasiBody,
    marked: bool,
    announced: Option<u64>,
    sent: u64,
    /// What was read already.
    ahead: VecDeque<Read>,
}

type Framed = Option<Result<Frame<Bytes>, BodyError>>;
type Read = Option<Result<Frame<Bytes>, Error>>;

impl Answer {
    /// The whole body, if it is of one frame at most and all there: then its size is known,
    /// it leaves together with its head, and the guest is done with it.
    fn look_ahead(&mut self) -> Option<Bytes> {
        let first = self.read_ahead()?;
        let bytes = match &first {
            Some(Ok(frame)) if is_mark(frame) => Some(Bytes::new()),
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().cloned();
                let second = self.read_ahead();
                let ended = match &second {
                    Some(Some(Ok(frame))) => is_mark(frame),
                    Some(None) => self.is_finished(),
                    _ => false,
                };
                self.ahead.extend(second);
                bytes.filter(|_| ended)
            }
            None if self.is_finished() => Some(Bytes::new()),
            _ => None,
        };
        let right = |bytes: &Bytes| self.announced.is_none_or(|size| size == bytes.len() as u64);
        let Some(whole) = bytes.filter(right) else {
            self.ahead.push_front(first);
            return None;
        };
        self.ticket.take()?.finish();
        Some(whole)
    }

    fn read_ahead(&mut self) -> Option<Read> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        match Pin::new(&mut self.body).poll_frame(&mut context) {
            Poll::Ready(read) => Some(read),
            Poll::Pending => None,
        }
    }

    /// Whether a body that ended without a mark was finished.
    fn is_finished(&self) -> bool {
        let failed = || self.ticket.as_ref().is_some_and(|ticket| ticket.call.failure().is_some());
        !self.marked && !failed()
    }

    fn on_frame(&mut self, frame: Frame<Bytes>) -> Framed {
        if let Some(bytes) = frame.data_ref() {
            self.sent = self.sent.saturating_add(bytes.len() as u64);
            return match self.announced {
                Some(announced) if self.sent > announced => self.on_wrong_length(),
                _ => Some(Ok(frame)),
            };
        }
        let is_mark = is_mark(&frame);
        match self.on_end() {
            None if is_mark => None,
            None => Some(Ok(frame)),
            broken => broken,
        }
    }

    /// The guest has finished it.
    fn on_end(&mut self) -> Framed {
        if self.announced.is_some_and(|announced| self.sent != announced) {
            return self.on_wrong_length();
        }
        if let Some(ticket) = self.ticket.take() {
            ticket.finish();
        }
        None
    }

    fn on_wrong_length(&mut self) -> Framed {
        let announced = self.announced.unwrap_or_default();
        self.broken(CallError::Length { announced, sent: self.sent })
    }

    fn broken(&mut self, error: CallError) -> Framed {
        let ticket = self.ticket.take()?;
        Some(Err(ticket.refuse(error).into()))
    }

    /// It has ended without the guest's having finished it.
    fn on_break(&mut self) -> Framed {
        let failure = self.ticket.as_ref().and_then(|ticket| ticket.call.failure());
        match (failure, self.announced) {
            (Some(failure), _) => self.broken(failure),
            (None, Some(announced)) if announced != self.sent => self.on_wrong_length(),
            (None, Some(_)) => self.on_end(),
            (None, None) => self.broken(CallError::Unfinished),
        }
    }
}

/// What comes next of the body, or why nothing does.
fn next(
    body: &mut WasiBody,
    call: &Call,
    context: &mut Context<'_>,
) -> Poll<Result<Read, CallError>> {
    if let Poll::Ready(read) = Pin::new(&mut *body).poll_frame(context) {
        return Poll::Ready(Ok(read));
    }
    let broken = ready!(call.poll_broken(context));
    // The guest may have written since, and returned then; and tokio lets a task that reads
    // much see nothing, so that others have their turn.
    let read = unconstrained(poll_fn(|context| Pin::new(&mut *body).poll_frame(context)));
    match pin!(read).poll(context) {
        Poll::Ready(read) => Poll::Ready(Ok(read)),
        Poll::Pending => Poll::Ready(Err(broken)),
    }
}

/// A piece of no bytes, which a guest may write.
fn is_nothing(read: &Read) -> bool {
    let frame = read.as_ref().and_then(|frame| frame.as_ref().ok());
    frame.and_then(Frame::data_ref).is_some_and(Bytes::is_empty)
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Framed> {
        let Some(ticket) = &self.ticket else { return Poll::Ready(None) };
        let call = Arc::clone(&ticket.call);
        let read = loop {
            let read = match self.ahead.pop_front() {
                Some(read) => read,
                None => match ready!(next(&mut self.body, &call, context)) {
                    Ok(read) => read,
                    Err(error) => return Poll::Ready(self.broken(error)),
                },
            };
            if !is_nothing(&read) {
                break read;
            }
        };
        Poll::Ready(match read {
            Some(Ok(frame)) => self.on_frame(frame),
            None if self.is_finished() => self.on_end(),
            Some(Err(_)) | None => self.on_break(),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ticket.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.announced {
            Some(announced) => SizeHint::with_exact(announced.saturating_sub(self.sent)),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::Instant;

    use super::*;

    /// A body of one piece, which is written right after it was asked for the first time; then
    /// the guest returns.
    struct Late {
        call: Arc<Call>,
        asked: bool,
        piece: Option<Bytes>,
    }

    impl hyper::body::Body for Late {
        type Data = Bytes;
        type Error = Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
            if !std::mem::replace(&mut self.asked, true) {
                self.call.on_return();
                return Poll::Pending;
            }
            self.piece
                .take()
                .map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(Frame::data(piece)))))
        }
    }

    #[tokio::test]
    async fn however_much_is_there_is_read_at_once() {
        let call = Call::new(http::Request::new(empty()), Instant::now());
        call.on_return();
        let (pieces, mut taken) = tokio::sync::mpsc::channel(1000);
        for _ in 0..1000 {
            pieces.try_send(Ok(Frame::data(Bytes::from_static(b"a piece")))).unwrap();
        }
        let taken = futures_util::stream::poll_fn(move |context| taken.poll_recv(context));
        let mut body = http_body_util::StreamBody::new(taken).boxed_unsync();
        let mut read = 0;
        poll_fn(|context| {
            while let Poll::Ready(Ok(Some(Ok(_)))) = next(&mut body, &call, context) {
                read += 1;
            }
            Poll::Ready(())
        })
        .await;
        assert_eq!(read, 1000);
    }

    #[test]
    fn what_a_guest_writes_before_it_returns_is_read_whenever_that_is() {
        let call = Call::new(http::Request::new(empty()), Instant::now());
        let piece = Some(Bytes::from_static(b"the end"));
        let mut body = Late { call: Arc::clone(&call), asked: false, piece }.boxed_unsync();
        let mut context = Context::from_waker(Waker::noop());
        let read = next(&mut body, &call, &mut context);
        assert!(matches!(read, Poll::Ready(Ok(Some(Ok(_))))));
        let end = next(&mut body, &call, &mut context);
        assert!(matches!(end, Poll::Ready(Err(CallError::Unfinished))));
    }
}
