//! Bodies: whole, coming as they are read, or made while they are sent.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

/// The body of a request or a response.
///
/// ```
/// use wrun_sdk::http::{Body, testing};
///
/// let mut body = Body::stream(async |mut body| {
///     for number in 1..=3 {
///         body.write(format!("{number}\n")).await?;
///     }
///     Ok(())
/// });
/// testing::block_on(async {
///     assert_eq!(body.chunk().await?.as_deref(), Some(&b"1\n"[..]));
///     assert_eq!(body.text().await?, "2\n3\n");
///     Ok::<_, wrun_sdk::http::BodyError>(())
/// })
/// .unwrap();
/// ```
pub struct Body(pub(super) Kind);

pub(super) enum Kind {
    Whole(Bytes),
    Parts(UnsyncBoxBody<Bytes, BodyError>),
    /// Passed on as it is, the node copies it without the guest.
    #[cfg(target_family = "wasm")]
    Incoming(wstd::http::Body),
}

/// A body broke off, since its sender failed or went away; or it is not what was wanted. Of a
/// client's own mistake it is told what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyError {
    message: String,
    /// All of it came, and is not what was wanted.
    is_whole: bool,
    /// Of the answer to a request that the service sent, and not of what its client sent.
    of_answer: bool,
}

impl BodyError {
    /// With what went wrong. Returned by a function of [`Body::stream`], it breaks the body off.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_whole: false, of_answer: false }
    }

    /// With what a whole body is not.
    pub(super) fn misread(message: impl Into<String>) -> Self {
        Self { is_whole: true, ..Self::new(message) }
    }

    pub(super) fn of_answer(self, of_answer: bool) -> Self {
        Self { of_answer, ..self }
    }

    /// What a client gets of a service that fails with this.
    pub(super) fn status(&self) -> StatusCode {
        if self.of_answer { StatusCode::BAD_GATEWAY } else { StatusCode::BAD_REQUEST }
    }

    /// Whether it says to a client what is wrong with what it sent.
    pub(super) fn is_of_client(&self) -> bool {
        self.is_whole && !self.of_answer
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_whole { "is not" } else { "broke off:" };
        write!(f, "the body {what} {}", self.message)
    }
}

impl std::error::Error for BodyError {}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self(Kind::Whole(Bytes::new()))
    }

    /// What `write` writes, while it is sent: whoever reads slowly holds it back. What is
    /// not read is not written. An error breaks the body off, so that the reader knows that
    /// something is missing.
    pub fn stream<F>(write: impl FnOnce(BodyWriter) -> F) -> Self
    where
        F: Future<Output = Result<(), BodyError>> + Send + 'static,
    {
        let slot = Arc::new(Mutex::new(Slot::default()));
        let written = Box::pin(write(BodyWriter { slot: Arc::clone(&slot) }));
        Self(Kind::Parts(Written { slot, written: Some(written) }.boxed_unsync()))
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// The body broke off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            let parts = match self.parts() {
                Ok(parts) => parts,
                Err(whole) if whole.is_empty() => return Ok(None),
                Err(whole) => return Ok(Some(std::mem::take(whole))),
            };
            match parts.frame().await {
                None => return Ok(None),
                // Trailers hold no bytes.
                Some(frame) => match frame?.into_data() {
                    Ok(bytes) if bytes.is_empty() => {}
                    Ok(bytes) => return Ok(Some(bytes)),
                    Err(_) => {}
                },
            }
        }
    }

    /// All bytes that are left.
    ///
    /// # Errors
    /// The body broke off.
    pub async fn bytes(mut self) -> Result<Bytes, BodyError> {
        match self.parts() {
            Err(whole) => Ok(std::mem::take(whole)),
            Ok(parts) => Ok(parts.collect().await?.to_bytes()),
        }
    }

    /// All that is left, as text.
    ///
    /// # Errors
    /// The body broke off, or is not UTF-8.
    pub async fn text(self) -> Result<String, BodyError> {
        let bytes = self.bytes().await?;
        String::from_utf8(bytes.into())
            .map_err(|error| BodyError::misread(format!("UTF-8: {error}")))
    }

    /// The fields that follow the body, read to its end.
    ///
    /// # Errors
    /// The body broke off.
    pub async fn trailers(mut self) -> Result<Option<HeaderMap>, BodyError> {
        match self.parts() {
            Err(_) => Ok(None),
            Ok(parts) => Ok(parts.collect().await?.trailers().cloned()),
        }
    }

    /// What comes in parts, or what is there whole.
    fn parts(&mut self) -> Result<&mut UnsyncBoxBody<Bytes, BodyError>, &mut Bytes> {
        #[cfg(target_family = "wasm")]
        if let Kind::Incoming(_) = self.0 {
            let incoming = std::mem::replace(&mut self.0, Kind::Whole(Bytes::new()));
            self.0 = super::platform::unpacked(incoming);
        }
        match &mut self.0 {
            Kind::Whole(bytes) => Err(bytes),
            Kind::Parts(parts) => Ok(parts),
            #[cfg(target_family = "wasm")]
            Kind::Incoming(_) => unreachable!("it was unpacked above"),
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Whole(bytes) => write!(f, "Body({} bytes)", bytes.len()),
            Kind::Parts(_) => f.write_str("Body(in parts)"),
            #[cfg(target_family = "wasm")]
            Kind::Incoming(_) => f.write_str("Body(in parts)"),
        }
    }
}

macro_rules! from_whole {
    ($($whole:ty),*) => {$(
        impl From<$whole> for Body {
            fn from(whole: $whole) -> Self {
                Self(Kind::Whole(Bytes::from(whole)))
            }
        }
    )*};
}

from_whole!(&'static str, String, &'static [u8], Vec<u8>, Bytes);

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

/// Where a function of [`Body::stream`] writes.
#[derive(Debug)]
pub struct BodyWriter {
    slot: Arc<Mutex<Slot>>,
}

impl BodyWriter {
    /// Writes bytes; returns when whoever reads has taken them.
    ///
    /// # Errors
    /// None today; `?` keeps a function right when there are some.
    pub async fn write(&mut self, bytes: impl Into<Bytes>) -> Result<(), BodyError> {
        self.put(bytes.into());
        std::future::poll_fn(|context| self.taken(context)).await;
        Ok(())
    }

    fn put(&self, bytes: Bytes) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.bytes = Some(bytes);
    }

    /// Whoever reads polls the writer, and so it need not be woken when its bytes are taken.
    fn taken(&self, context: &Context<'_>) -> Poll<()> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.bytes.is_none() {
            return Poll::Ready(());
        }
        slot.writer = Some(context.waker().clone());
        Poll::Pending
    }
}

/// What passes from writer to reader: one piece at a time.
#[derive(Debug, Default)]
struct Slot {
    bytes: Option<Bytes>,
    writer: Option<Waker>,
}

impl Slot {
    fn take(&mut self) -> Option<Bytes> {
        let bytes = self.bytes.take()?;
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
        Some(bytes)
    }
}

type Writing = Pin<Box<dyn Future<Output = Result<(), BodyError>> + Send>>;

/// A body whose bytes come from a future that is run when somebody reads.
struct Written {
    slot: Arc<Mutex<Slot>>,
    /// `None` once it has ended.
    written: Option<Writing>,
}

impl Written {
    fn take(&self) -> Option<Bytes> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl http_body::Body for Written {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
        let frame = |bytes| Poll::Ready(Some(Ok(http_body::Frame::data(bytes))));
        if let Some(bytes) = self.take() {
            return frame(bytes);
        }
        let Some(written) = self.written.as_mut() else { return Poll::Ready(None) };
        let ended = written.as_mut().poll(context);
        if let Poll::Ready(result) = ended {
            self.written = None;
            if let Err(error) = result {
                return Poll::Ready(Some(Err(error)));
            }
        }
        match self.take() {
            Some(bytes) => frame(bytes),
            None if self.written.is_none() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::block_on;

    #[test]
    fn a_stream_is_written_as_it_is_read() {
        let written = Arc::new(Mutex::new(0));
        let count = Arc::clone(&written);
        let mut body = Body::stream(async move |mut body| {
            for number in 1..=3 {
                *count.lock().unwrap() = number;
                body.write(vec![number]).await?;
            }
            Ok(())
        });
        assert_eq!(*written.lock().unwrap(), 0, "nobody reads");
        assert_eq!(block_on(body.chunk()).unwrap().unwrap(), [1_u8][..]);
        assert_eq!(*written.lock().unwrap(), 1, "the second is not wanted yet");
        assert_eq!(block_on(body.bytes()).unwrap(), [2_u8, 3][..]);
    }

    #[test]
    fn an_error_breaks_a_body_off_after_what_was_written() {
        let mut body = Body::stream(async |mut body| {
            body.write("half").await?;
            Err(BodyError::new("no more"))
        });
        assert_eq!(block_on(body.chunk()).unwrap().unwrap(), "half");
        let error = block_on(body.chunk()).unwrap_err();
        assert_eq!(error.to_string(), "the body broke off: no more");
        assert_eq!(block_on(body.chunk()).unwrap(), None, "it has ended");
    }

    #[test]
    fn what_is_whole_is_one_chunk() {
        let mut body = Body::from("abc");
        assert_eq!(block_on(body.chunk()).unwrap().unwrap(), "abc");
        assert_eq!(block_on(body.chunk()).unwrap(), None);
        let error = block_on(Body::from(vec![0xff]).text()).unwrap_err();
        assert!(error.to_string().starts_with("the body is not UTF-8: "), "{error}");
    }
}
