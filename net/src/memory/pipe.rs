//! One direction of a stream in memory: a bounded queue of chunks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::{Handle, Watch};
use crate::error::{RecvError, SendError};

/// Bytes that a pipe holds before its writer waits.
const WINDOW: usize = 256 << 10;

/// Bytes in one chunk, so that a reader's buffer stays small.
const CHUNK: usize = 64 << 10;

#[derive(Default)]
struct State {
    chunks: VecDeque<Bytes>,
    size: usize,
    finished: bool,
    reset: Option<u32>,
    stopped: Option<u32>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    readable: Notify,
    writable: Notify,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves plain data behind; it is as good as before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    watch: Watch,
    connection: Option<Arc<Handle>>,
    _stream: Arc<OwnedSemaphorePermit>,
}

pub(crate) struct Reader {
    shared: Arc<Shared>,
    watch: Watch,
    connection: Option<Arc<Handle>>,
    _stream: Arc<OwnedSemaphorePermit>,
}

pub(super) fn pipe(
    writer: Watch,
    reader: Watch,
    stream: &Arc<OwnedSemaphorePermit>,
) -> (Writer, Reader) {
    let shared = Arc::new(Shared::default());
    let writer = Writer {
        shared: Arc::clone(&shared),
        watch: writer,
        connection: None,
        _stream: Arc::clone(stream),
    };
    let reader = Reader { shared, watch: reader, connection: None, _stream: Arc::clone(stream) };
    (writer, reader)
}

impl Writer {
    pub(super) fn keep(&mut self, connection: &Arc<Handle>) {
        self.connection = Some(Arc::clone(connection));
    }

    /// Writes some of `bytes`, at least one; waits while the pipe is full.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<usize, SendError> {
        loop {
            if let Some(written) = self.try_write(bytes)? {
                return Ok(written);
            }
            tokio::select! {
                closed = self.watch.closed() => return Err(closed.into()),
                () = self.shared.writable.notified() => {}
            }
        }
    }

    fn try_write(&self, bytes: &[u8]) -> Result<Option<usize>, SendError> {
        if let Some(closed) = self.watch.reason() {
            return Err(closed.into());
        }
        let mut state = self.shared.state();
        if let Some(code) = state.stopped {
            return Err(SendError::Stopped(code));
        }
        if state.finished || state.reset.is_some() {
            return Err(SendError::Finished);
        }
        let room = WINDOW.saturating_sub(state.size).min(CHUNK).min(bytes.len());
        let Some(part) = bytes.get(..room).filter(|part| !part.is_empty()) else {
            return Ok(if bytes.is_empty() { Some(0) } else { None });
        };
        state.chunks.push_back(Bytes::copy_from_slice(part));
        state.size += room;
        drop(state);
        self.shared.readable.notify_one();
        Ok(Some(room))
    }

    pub(crate) fn finish(&mut self) -> Result<(), SendError> {
        let mut state = self.shared.state();
        if let Some(code) = state.stopped {
            return Err(SendError::Stopped(code));
        }
        if state.finished || state.reset.is_some() {
            return Err(SendError::Finished);
        }
        state.finished = true;
        drop(state);
        self.shared.readable.notify_one();
        Ok(())
    }

    pub(crate) fn reset(&mut self, code: u32) {
        let mut state = self.shared.state();
        state.reset.get_or_insert(code);
        state.chunks.clear();
        state.size = 0;
        drop(state);
        self.shared.readable.notify_one();
    }

    /// Waits until the reader has stopped (its code), or has everything of a finished stream.
    pub(crate) async fn stopped(&mut self) -> Result<Option<u32>, SendError> {
        loop {
            {
                let state = self.shared.state();
                if let Some(code) = state.stopped {
                    return Ok(Some(code));
                }
                if state.finished && state.chunks.is_empty() {
                    return Ok(None);
                }
            }
            tokio::select! {
                closed = self.watch.closed() => return Err(closed.into()),
                () = self.shared.writable.notified() => {}
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Like QUIC: a stream that nobody reset ends well.
        let _ = self.finish();
    }
}

impl Reader {
    pub(super) fn keep(&mut self, connection: &Arc<Handle>) {
        self.connection = Some(Arc::clone(connection));
    }

    /// The next bytes, at most `most`; `None` at the end.
    pub(crate) async fn read(&mut self, most: usize) -> Result<Option<Bytes>, RecvError> {
        loop {
            if let Some(answer) = self.try_read(most)? {
                return Ok(answer);
            }
            tokio::select! {
                closed = self.watch.closed() => return Err(closed.into()),
                () = self.shared.readable.notified() => {}
            }
        }
    }

    fn try_read(&self, most: usize) -> Result<Option<Option<Bytes>>, RecvError> {
        let mut state = self.shared.state();
        if let Some(code) = state.reset {
            return Err(RecvError::Reset(code));
        }
        if state.stopped.is_some() {
            return Err(RecvError::Stopped);
        }
        let Some(chunk) = state.chunks.front_mut() else {
            return Ok(state.finished.then_some(None));
        };
        let part = chunk.split_to(most.min(chunk.len()));
        if chunk.is_empty() {
            state.chunks.pop_front();
        }
        state.size = state.size.saturating_sub(part.len());
        drop(state);
        self.shared.writable.notify_one();
        Ok(Some(Some(part)))
    }

    pub(crate) fn stop(&mut self, code: u32) {
        let mut state = self.shared.state();
        let ended = state.finished && state.chunks.is_empty();
        if !ended {
            state.stopped.get_or_insert(code);
            state.chunks.clear();
            state.size = 0;
        }
        drop(state);
        self.shared.writable.notify_one();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop(0);
    }
}
