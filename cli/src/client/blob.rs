//! Blobs up and down: only what the server lacks is sent.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use wrun_net::{SendError, SendStream};
use wrun_protocol::Digest;
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::{Request, Response};

use super::{Answers, Client, send_failed, unexpected};
use crate::console::Console;
use crate::error::Error;
use crate::exit::Exit;
use crate::plan::Blob;
use crate::report::progress;

/// Bytes read and sent at a time.
const CHUNK: usize = 256 << 10;

/// Digests asked about in one request: a fraction of a frame.
const DIGESTS: usize = 8192;

/// Uploads at once: hides the wait for the server's disk behind sending.
const AT_ONCE: usize = 8;

/// Sends those of `blobs` that the server lacks.
pub(crate) async fn upload(
    client: &Client,
    console: Console,
    blobs: &BTreeMap<Digest, Blob>,
) -> Result<(), Error> {
    let digests: Vec<Digest> = blobs.keys().copied().collect();
    let mut missing = Vec::new();
    for page in digests.chunks(DIGESTS) {
        match client.ask(&Request::MissingBlobs(page.to_vec())).await? {
            Response::Missing(more) => missing.extend(more),
            other => return Err(unexpected(&other)),
        }
    }
    let wanted: Vec<(Digest, &Blob)> =
        missing.iter().filter_map(|digest| Some((*digest, blobs.get(digest)?))).collect();
    let bar = progress::upload_bar(console, wanted.iter().map(|(_, blob)| blob.size()).sum());
    let sent = stream::iter(wanted)
        .map(|(digest, blob)| send(client, digest, blob, &bar))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await;
    bar.finish_and_clear();
    sent
}

async fn send(
    client: &Client,
    digest: Digest,
    blob: &Blob,
    bar: &ProgressBar,
) -> Result<(), Error> {
    let request = Request::PutBlob { digest, size: blob.size() };
    let (mut stream, mut answers) = client.open(&request).await?;
    match send_bytes(&mut stream, blob, bar).await? {
        Ok(()) => {}
        // The server has stopped listening: its answer says why.
        Err(cause) => {
            return Err(refusal(&mut answers).await.unwrap_or_else(|| send_failed(&cause)));
        }
    }
    match answers.one().await? {
        Response::Done => Ok(()),
        other => Err(unexpected(&other)),
    }
}

async fn refusal(answers: &mut Answers) -> Option<Error> {
    answers.next().await.err()
}

async fn send_bytes(
    stream: &mut SendStream,
    blob: &Blob,
    bar: &ProgressBar,
) -> Result<Result<(), SendError>, Error> {
    let (mut reader, path): (Box<dyn Read + '_>, _) = match blob {
        Blob::Memory(bytes) => (Box::new(bytes.as_ref()), None),
        Blob::Spooled { file, offset, .. } => (Box::new(ReadAt { file, offset: *offset }), None),
        Blob::File { path, .. } => {
            let file = File::open(path).map_err(|cause| Error::file("read", path, &cause))?;
            (Box::new(file), Some(path))
        }
    };
    let failed = |cause: io::Error| match path {
        Some(path) => Error::file("read", path, &cause),
        None => Error::new(Exit::Io, format!("cannot read what was kept of the input: {cause}")),
    };
    let mut left = blob.size();
    let mut buffer = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK)).max(1)];
    while left > 0 {
        let read = reader.read(&mut buffer).map_err(failed)?;
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(read);
        let Some(chunk) = buffer.get(..most).filter(|chunk| !chunk.is_empty()) else {
            let what =
                path.map_or_else(|| "the input".to_owned(), |path| format!("`{}`", path.display()));
            return Err(Error::new(Exit::Io, format!("{what} became shorter while it was sent"))
                .todo("submit again when nothing writes to it"));
        };
        if let Err(cause) = stream.write_raw(chunk).await {
            return Ok(Err(cause));
        }
        left -= chunk.len() as u64;
        bar.inc(chunk.len() as u64);
    }
    Ok(stream.finish())
}

/// Reads from a place of its own, so that an upload can be repeated.
struct ReadAt<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for ReadAt<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(to, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Bytes that the server holds, piece by piece.
pub(crate) struct Download {
    inline: Option<Bytes>,
    answers: Option<Answers>,
    left: u64,
}

impl Download {
    /// Of `content`, which may have come with the answer already.
    pub(crate) async fn start(client: &Client, content: Content) -> Result<Self, Error> {
        match content {
            Content::Inline(bytes) => Ok(Self { left: 0, inline: Some(bytes), answers: None }),
            Content::Blob { digest, .. } => {
                let mut answers = client.stream(&Request::GetBlob(digest)).await?;
                match answers.one().await? {
                    Response::Blob { size } => {
                        Ok(Self { left: size, inline: None, answers: Some(answers) })
                    }
                    other => Err(unexpected(&other)),
                }
            }
        }
    }

    /// The next piece; `None` at the end. An end that comes early is an error.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(bytes) = self.inline.take() {
            return Ok(Some(bytes).filter(|bytes| !bytes.is_empty()));
        }
        let Some(answers) = self.answers.as_mut().filter(|_| self.left > 0) else {
            return Ok(None);
        };
        let most = usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK);
        match answers.chunk(most).await? {
            Some(chunk) if !chunk.is_empty() => {
                self.left = self.left.saturating_sub(chunk.len() as u64);
                Ok(Some(chunk))
            }
            _ => Err(Error::new(Exit::Unavailable, "the download ended before it was whole")
                .todo("try again")),
        }
    }

    /// All of it, where it is at most `most` bytes.
    pub(crate) async fn whole(mut self, most: usize) -> Result<Bytes, Error> {
        let mut all = Vec::new();
        while let Some(chunk) = self.next().await? {
            if all.len() + chunk.len() > most {
                let text = format!("the output is larger than {most} bytes");
                return Err(Error::new(Exit::InvalidInput, text).todo("write it to a file with -o"));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.into())
    }
}
