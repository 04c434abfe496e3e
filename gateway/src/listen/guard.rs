//! The socket of a connection, with an eye on what its client does: how long it takes for a
//! head, for what is written to it, and whether what it sends can be understood in one way
//! only.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::framing::Framing;
use crate::GatewayConfig;
use crate::clock::Clock;

/// What a connection is doing. Times in milliseconds of the gateway's clock; 0: it is not.
#[derive(Debug)]
pub(super) struct Watch {
    clock: Clock,
    /// Requests that have come and are not answered to their ends.
    requests: AtomicU32,
    /// Since when there is none.
    idle: AtomicU64,
    /// Since when a head has begun to come.
    head: AtomicU64,
    /// Since when the client takes nothing of what is written.
    stuck: AtomicU64,
    is_refused: AtomicBool,
    /// Answers on streams of HTTP/2, by the numbers of their requests: each has a window of
    /// its own that its client can keep shut while the connection goes on.
    answers: Mutex<BTreeMap<u64, Ended>>,
    opened: AtomicU64,
}

/// When the last byte of an answer was there for its client; 0: it was not yet.
type Ended = Arc<AtomicU64>;

/// A request that is open on a connection.
#[derive(Debug)]
pub(crate) struct Open {
    watch: Arc<Watch>,
    /// Its number, where its answer is watched.
    answer: Option<u64>,
}

/// What a connection has to be ended for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It had no request for long.
    Idle,
    /// Its client takes too long for a head.
    Head,
    /// Its client takes nothing of an answer.
    Stuck,
}

impl Watch {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            requests: AtomicU32::new(0),
            idle: AtomicU64::new(clock.ms(Instant::now())),
            head: AtomicU64::new(0),
            stuck: AtomicU64::new(0),
            is_refused: AtomicBool::new(false),
            answers: Mutex::default(),
            opened: AtomicU64::new(0),
        }
    }

    /// A head has come.
    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
        Open { watch: Arc::clone(self), answer: None }
    }

    /// Whether the client sent what is refused without being read.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    pub(super) fn has_requests(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    /// What has taken too long by now.
    pub(super) fn overdue(&self, config: &GatewayConfig) -> Option<Overdue> {
        let now = self.clock.ms(Instant::now());
        let over = |since: &AtomicU64, limit: Duration| match since.load(Ordering::Relaxed) {
            0 => false,
            since => u128::from(now.saturating_sub(since)) >= limit.as_millis(),
        };
        // What is there of an answer is little: its client has the time that its body earns.
        let taking = Duration::from_secs(config.gather as u64 / u64::from(config.body_rate.max(1)));
        let left = |ended: &Ended| over(ended, config.body_grace + taking);
        if over(&self.stuck, config.body_grace) || self.answers().values().any(left) {
            Some(Overdue::Stuck)
        } else if self.has_requests() {
            None
        } else if over(&self.head, config.head_time) {
            Some(Overdue::Head)
        } else {
            over(&self.idle, config.keep_alive).then_some(Overdue::Idle)
        }
    }

    fn now(&self) -> u64 {
        self.clock.ms(Instant::now())
    }

    fn answers(&self) -> MutexGuard<'_, BTreeMap<u64, Ended>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Its client has to take the answer, whose last byte is there as `ended` says.
    pub(super) fn watch_answer(&mut self, ended: Option<Ended>) {
        let ended = ended.unwrap_or_else(|| Arc::new(AtomicU64::new(self.watch.now())));
        let number = self.watch.opened.fetch_add(1, Ordering::Relaxed);
        self.watch.answers().insert(number, ended);
        self.answer = Some(number);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(number) = self.answer {
            self.watch.answers().remove(&number);
        }
        self.watch.idle.store(self.watch.now(), Ordering::Relaxed);
        self.watch.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket that is watched.
#[derive(Debug)]
pub(super) struct Guard<S> {
    socket: S,
    /// Was read from the socket already.
    before: Bytes,
    watch: Arc<Watch>,
    /// For HTTP/1.
    framing: Option<Framing>,
}

impl<S> Guard<S> {
    pub(super) fn new(socket: S, before: Bytes, watch: Arc<Watch>, is_http1: bool) -> Self {
        Self { socket, before, watch, framing: is_http1.then(Framing::default) }
    }

    pub(super) fn into_socket(self) -> S {
        self.socket
    }

    fn on_read(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        // Of HTTP/2 much else comes between requests; there only [`Overdue::Idle`] is looked at.
        let Some(framing) = &mut self.framing else { return Ok(()) };
        if !self.watch.has_requests() && self.watch.head.load(Ordering::Relaxed) == 0 {
            self.watch.head.store(self.watch.now(), Ordering::Relaxed);
        }
        framing.read(bytes).map_err(|why| {
            self.watch.is_refused.store(true, Ordering::Relaxed);
            io::Error::new(io::ErrorKind::InvalidData, why)
        })
    }

    fn on_write<T>(&self, polled: &Poll<io::Result<T>>) {
        let stuck = self.watch.stuck.load(Ordering::Relaxed);
        match polled {
            Poll::Pending if stuck == 0 => {
                self.watch.stuck.store(self.watch.now(), Ordering::Relaxed)
            }
            Poll::Ready(_) if stuck > 0 => self.watch.stuck.store(0, Ordering::Relaxed),
            _ => {}
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buf.filled().len();
        if self.before.is_empty() {
            std::task::ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        } else {
            let fits = self.before.len().min(buf.remaining());
            buf.put_slice(self.before.get(..fits).unwrap_or_default());
            self.before.advance(fits);
        }
        Poll::Ready(self.on_read(buf.filled().get(filled..).unwrap_or_default()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.on_write(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.on_write(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_flush(cx);
        self.on_write(&polled);
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // There is something left to say.
        if self.watch.is_refused() && !self.watch.has_requests() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
