//! Standard input, output and error of a guest: bytes go to the node as they are
//! written, counted against the task's limits, with no copy between.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};
use wrun_protocol::task::Limit;
use wrun_protocol::wire::user::LogStream;
use wrun_protocol::wire::worker::ComponentKind;

use crate::control::Control;

/// Most that one write may pass: it bounds what the host holds of it.
const CHUNK: usize = 64 << 10;

/// The task has reached a limit; [`Control::reached`] says which.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a limit of the task was reached")]
pub(crate) struct LimitReached;

/// Where a guest's output goes.
#[derive(Clone)]
pub(crate) struct Sink {
    control: Arc<Control>,
    stream: LogStream,
}

impl Sink {
    pub(crate) fn new(control: &Arc<Control>, stream: LogStream) -> Self {
        Self { control: Arc::clone(control), stream }
    }

    /// A program's standard output is its output; everything else is log.
    fn is_output(&self) -> bool {
        self.stream == LogStream::Stdout && self.control.job().kind == ComponentKind::Command
    }

    /// Whether the guest is never seen to wait for it. A deterministic one loses its turn in
    /// place of that.
    fn is_free(&self) -> bool {
        self.is_output() || self.control.world().is_some()
    }

    fn available(&self) -> usize {
        if self.is_free() { CHUNK } else { self.rate().available(Instant::now()).min(CHUNK) }
    }

    /// Passes on what the limits allow. More ends the task.
    pub(crate) fn put(&self, mut bytes: Bytes) -> Result<(), LimitReached> {
        if bytes.is_empty() {
            return Ok(());
        }
        let job = &self.control.job().limits;
        let (left, limit, allowed) = if self.is_output() {
            (&self.control.output_left, Limit::Output, job.output_bytes)
        } else {
            self.rate().take(bytes.len());
            (&self.control.log_left, Limit::Log, job.log_bytes)
        };
        let granted = take(left, bytes.len());
        let within = granted == bytes.len();
        bytes.truncate(granted);
        if granted > 0 {
            self.control.events().log(self.control.token, self.stream, bytes);
        }
        if within {
            return Ok(());
        }
        self.control.reach(limit, allowed);
        Err(LimitReached)
    }

    /// Waits until the log's rate allows more.
    pub(crate) async fn writable(&self) {
        if self.is_free() {
            return;
        }
        loop {
            let wait = self.control.log_pause();
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn rate(&self) -> MutexGuard<'_, crate::control::Bucket> {
        self.control.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes up to `wanted` from `left`; returns how much.
fn take(left: &AtomicU64, wanted: usize) -> usize {
    let wanted = wanted as u64;
    let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        Some(left.saturating_sub(wanted))
    });
    before.unwrap_or_default().min(wanted) as usize
}

impl IsTerminal for Sink {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Sink {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(AsyncSink { sink: self.clone(), wait: None })
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Sink {
    async fn ready(&mut self) {
        self.writable().await;
    }
}

impl OutputStream for Sink {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.put(bytes).map_err(|error| StreamError::Trap(error.into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.available())
    }
}

/// The same for WASI 0.3.
struct AsyncSink {
    sink: Sink,
    wait: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl AsyncWrite for AsyncSink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            let size = self.sink.available().min(bytes.len());
            if size > 0 || bytes.is_empty() {
                let bytes = Bytes::copy_from_slice(bytes.get(..size).unwrap_or_default());
                let put = self.sink.put(bytes).map_err(io::Error::other);
                return Poll::Ready(put.map(|()| size));
            }
            let sink = self.sink.clone();
            self.wait = Some(Box::pin(async move { sink.writable().await }));
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Where a guest's standard input comes from. Every stream that it opens reads on where
/// the last one stopped.
#[derive(Clone)]
pub(crate) struct Stdin(Arc<Mutex<Source>>);

struct Source {
    current: Bytes,
    more: Option<mpsc::Receiver<Bytes>>,
}

impl Stdin {
    pub(crate) fn new(current: Bytes, more: Option<mpsc::Receiver<Bytes>>) -> Self {
        Self(Arc::new(Mutex::new(Source { current, more })))
    }

    fn source(&self) -> MutexGuard<'_, Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// Ready when there are bytes or there will be none.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.current.is_empty() {
            let Some(more) = &mut self.more else { break };
            match ready!(more.poll_recv(cx)) {
                Some(bytes) => self.current = bytes,
                None => self.more = None,
            }
        }
        Poll::Ready(())
    }
}

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Stdin {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stdin {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.source().poll_fill(cx)).await;
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for Stdin {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut source = self.source();
        let filled = source.poll_fill(&mut Context::from_waker(std::task::Waker::noop()));
        if filled.is_ready() && source.current.is_empty() {
            return Err(StreamError::Closed);
        }
        let size = size.min(source.current.len());
        Ok(source.current.split_to(size))
    }
}

impl AsyncRead for Stdin {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut source = self.source();
        ready!(source.poll_fill(cx));
        let size = buffer.remaining().min(source.current.len());
        buffer.put_slice(&source.current.split_to(size));
        Poll::Ready(Ok(()))
    }
}
