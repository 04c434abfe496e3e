//! Blobs to and from the server, a stream each. Waits while there is no connection and
//! begins again when one breaks; what the server refuses is an error.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use wrun_net::{Connection, RecvStream, SendStream};
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::wire::worker::{BlobReply, BlobRequest};
use wrun_protocol::{Digest, JobId, limits};

/// Streams for blobs that are open at once.
const STREAMS: usize = 16;

/// Bytes that are read from a file and sent at once.
const PIECE: usize = 256 << 10;

/// How often an upload is tried that the server cannot store now, and the first pause
/// between; each further one is twice as long.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(250);

/// Why a blob could not be had or stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlobError {
    #[error("the server refuses blob {}: {error}", digest.short())]
    Refused { digest: Digest, error: RequestError },
    #[error("blob {} is announced with {size} bytes; at most {} are allowed", digest.short(), limits::MAX_BLOB)]
    TooLarge { digest: Digest, size: u64 },
    #[error("the worker is stopping")]
    Stopping,
    #[error("reading back what is to be uploaded: {0}")]
    Read(#[source] io::Error),
}

/// The connection broke; another may come.
struct Broken;

/// Bytes to upload.
#[derive(Clone)]
pub(crate) enum Source {
    Memory(Bytes),
    File(Arc<File>, u64),
}

/// What a download is, which decides who may have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A blob of the tenant's whose job it is.
    File,
    /// A model that the job names, whoever's it is.
    Model,
}

/// A download that has begun.
pub(crate) struct Incoming {
    pub(crate) size: u64,
    stream: RecvStream,
}

/// Opens the streams.
pub(crate) struct Blobs {
    connection: watch::Receiver<Option<Connection>>,
    streams: Semaphore,
}

impl Blobs {
    /// Uses whichever connection is there.
    pub(crate) fn new(connection: watch::Receiver<Option<Connection>>) -> Self {
        Self { connection, streams: Semaphore::new(STREAMS) }
    }

    async fn connection(&self) -> Result<Connection, BlobError> {
        let mut watched = self.connection.clone();
        let there = watched.wait_for(Option::is_some).await.map_err(|_| BlobError::Stopping)?;
        there.clone().ok_or(BlobError::Stopping)
    }

    /// Asks for a blob; the caller reads it, and asks again where reading fails.
    pub(crate) async fn get(
        &self,
        job: JobId,
        digest: Digest,
        what: What,
    ) -> Result<Incoming, BlobError> {
        let request = match what {
            What::File => BlobRequest::Get { job, digest },
            What::Model => BlobRequest::Model { job, digest, held: false },
        };
        loop {
            let connection = self.connection().await?;
            let _permit = self.streams.acquire().await.map_err(|_| BlobError::Stopping)?;
            match ask(&connection, &request).await {
                Ok((_, stream, BlobReply::Found { size })) if size <= limits::MAX_BLOB => {
                    return Ok(Incoming { size, stream });
                }
                Ok((_, _, BlobReply::Found { size })) => {
                    return Err(BlobError::TooLarge { digest, size });
                }
                Ok((_, _, BlobReply::Refused(error))) => {
                    return Err(BlobError::Refused { digest, error });
                }
                Ok((_, _, BlobReply::Stored)) | Err(Broken) => {}
            }
            self.pause(&connection).await;
        }
    }

    /// Whether a job may load a model of which this node has the bytes. While no server can be
    /// asked it may: work that was given to this node goes on without one.
    pub(crate) async fn check_model(&self, job: JobId, digest: Digest) -> Result<(), BlobError> {
        let connection = self.connection.borrow().clone();
        let Some(connection) = connection else { return Ok(()) };
        let _permit = self.streams.acquire().await.map_err(|_| BlobError::Stopping)?;
        match ask(&connection, &BlobRequest::Model { job, digest, held: true }).await {
            Ok((_, _, BlobReply::Refused(error))) => Err(BlobError::Refused { digest, error }),
            Ok((_, _, BlobReply::Found { .. } | BlobReply::Stored)) | Err(Broken) => Ok(()),
        }
    }

    /// Uploads a blob; returns when the server holds it durably.
    pub(crate) async fn put(
        &self,
        job: JobId,
        digest: Digest,
        source: &Source,
    ) -> Result<(), BlobError> {
        let mut tries = 0;
        loop {
            let connection = self.connection().await?;
            let _permit = self.streams.acquire().await.map_err(|_| BlobError::Stopping)?;
            match self.put_once(&connection, job, digest, source).await? {
                Ok(BlobReply::Stored) => return Ok(()),
                Ok(BlobReply::Refused(error)) => {
                    tries += 1;
                    let may_pass =
                        matches!(error.code, ErrorCode::Unavailable | ErrorCode::StorageFull);
                    if !may_pass || tries == TRIES {
                        return Err(BlobError::Refused { digest, error });
                    }
                    tokio::time::sleep(PAUSE * 2_u32.pow(tries)).await;
                }
                Ok(BlobReply::Found { .. }) | Err(Broken) => self.pause(&connection).await,
            }
        }
    }

    async fn put_once(
        &self,
        connection: &Connection,
        job: JobId,
        digest: Digest,
        source: &Source,
    ) -> Result<Result<BlobReply, Broken>, BlobError> {
        let Ok((mut send, mut recv)) = connection.open().await else { return Ok(Err(Broken)) };
        let request = BlobRequest::Put { job, digest, size: source.size() };
        // A server that refuses stops the stream early, and its answer says why.
        if send.send(&request).await.is_ok() && source.send(&mut send).await? {
            // Its answer tells what matters.
            let _ = send.finish();
        }
        Ok(match recv.recv().await {
            Ok(Some(reply)) => {
                // To the stream's end, so that the server learns that its answer came.
                let _ = recv.recv::<BlobReply>().await;
                Ok(reply)
            }
            Ok(None) | Err(_) => Err(Broken),
        })
    }

    /// After a broken stream: a little, or until another connection is there.
    async fn pause(&self, broken: &Connection) {
        let _ = tokio::time::timeout(PAUSE, broken.closed()).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ask(
    connection: &Connection,
    request: &BlobRequest,
) -> Result<(SendStream, RecvStream, BlobReply), Broken> {
    let (mut send, mut recv) = connection.open().await.map_err(|_| Broken)?;
    send.send(request).await.map_err(|_| Broken)?;
    let _ = send.finish();
    match recv.recv().await {
        Ok(Some(reply)) => Ok((send, recv, reply)),
        Ok(None) | Err(_) => Err(Broken),
    }
}

impl Incoming {
    /// The next bytes; `None` at the end or when the connection broke.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        self.stream.read_chunk(PIECE).await.ok().flatten()
    }
}

impl Source {
    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, size) => *size,
        }
    }

    /// Sends everything; `false` if the peer wants no more.
    async fn send(&self, stream: &mut SendStream) -> Result<bool, BlobError> {
        let mut at = 0;
        while at < self.size() {
            let piece = self.piece(at).await?;
            at += piece.len() as u64;
            if stream.write_raw(&piece).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn piece(&self, at: u64) -> Result<Bytes, BlobError> {
        let size = (self.size() - at).min(PIECE as u64) as usize;
        match self {
            Self::Memory(bytes) => Ok(bytes.slice(at as usize..at as usize + size)),
            Self::File(file, _) => {
                let file = file.clone();
                blocking(move || read_at(&file, at, size)).await?.map_err(BlobError::Read)
            }
        }
    }

    /// The SHA-256 of the bytes.
    pub(crate) async fn digest(&self) -> Result<Digest, BlobError> {
        let source = self.clone();
        let computed = blocking(move || {
            let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
            match &source {
                Self::Memory(bytes) => hash.update(bytes),
                Self::File(file, size) => {
                    let mut at = 0;
                    while at < *size {
                        let piece = read_at(file, at, (*size - at).min(PIECE as u64) as usize)?;
                        hash.update(&piece);
                        at += piece.len() as u64;
                    }
                }
            }
            Ok(finish_digest(hash))
        });
        computed.await?.map_err(BlobError::Read)
    }
}

/// The digest of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    hash.update(bytes);
    finish_digest(hash)
}

/// The digest that `hash` has come to.
pub(crate) fn finish_digest(hash: ring::digest::Context) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.finish().as_ref());
    Digest(digest)
}

/// Reads `size` bytes at `at`.
pub(crate) fn read_at(file: &File, at: u64, size: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes.into())
}

/// Runs what blocks on a thread made for it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BlobError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| BlobError::Stopping)
}
