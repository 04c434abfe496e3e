//! Streams from and to files whose every operation is over when it returns. A file that
//! can no longer be read or written has a reason outside the task: the task ends.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::control::Control;
use crate::stdio::LimitReached;

/// Most bytes of one operation.
const CHUNK: usize = 64 << 10;

/// Reads a file from a position on.
pub(super) struct FileReader {
    file: Arc<File>,
    position: u64,
}

impl FileReader {
    pub(super) fn new(file: Arc<File>, position: u64) -> Self {
        Self { file, position }
    }

    fn read_into(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read_at(buffer, self.position) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => {
                    self.position =
                        self.position.saturating_add(*read.as_ref().unwrap_or(&0) as u64);
                    return read;
                }
            }
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for FileReader {
    async fn ready(&mut self) {}
}

impl InputStream for FileReader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let mut buffer = BytesMut::zeroed(size.min(CHUNK));
        match self.read_into(&mut buffer).map_err(failed)? {
            0 => Err(StreamError::Closed),
            read => {
                buffer.truncate(read);
                Ok(buffer.freeze())
            }
        }
    }
}

fn failed(error: io::Error) -> StreamError {
    StreamError::Trap(wasmtime::Error::new(error).context("a file of the task failed"))
}

/// Writes a file from an offset on, or at its end.
pub(super) struct FileWriter {
    file: Arc<File>,
    offset: Option<u64>,
    control: Arc<Control>,
}

impl FileWriter {
    pub(super) fn new(file: Arc<File>, offset: Option<u64>, control: Arc<Control>) -> Self {
        Self { file, offset, control }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for FileWriter {
    async fn ready(&mut self) {}
}

impl OutputStream for FileWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let size = bytes.len() as u64;
        let charged = at_once(self.control.scratch.charge(&self.control, size, false));
        charged
            .unwrap_or(Err(LimitReached))
            .map_err(|reached| StreamError::Trap(reached.into()))?;
        let offset = match self.offset {
            Some(offset) => offset,
            // Only this task has it.
            None => self.file.metadata().map_err(failed)?.len(),
        };
        self.file.write_all_at(&bytes, offset).map_err(failed)?;
        self.offset = self.offset.map(|offset| offset.saturating_add(size));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }
}

/// What a future says at once; those of a deterministic task wait for nothing.
pub(super) fn at_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(said) => Some(said),
        Poll::Pending => None,
    }
}

/// Standard input from a file. Every stream that the guest opens reads on where the last
/// one stopped.
#[derive(Clone)]
pub(crate) struct StdinFile(Arc<Mutex<FileReader>>);

impl StdinFile {
    pub(crate) fn new(file: File) -> Self {
        Self(Arc::new(Mutex::new(FileReader::new(Arc::new(file), 0))))
    }

    fn reader(&self) -> MutexGuard<'_, FileReader> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IsTerminal for StdinFile {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for StdinFile {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for StdinFile {
    async fn ready(&mut self) {}
}

impl InputStream for StdinFile {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.reader().read(size)
    }
}

impl AsyncRead for StdinFile {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.reader().read_into(buffer.initialize_unfilled())?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}
