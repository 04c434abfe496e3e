//! What each task of a job is given where each has its own: read from the items file when the
//! task starts, an entry at a time. A large item is a blob of its own, fetched when its task
//! starts, which waits for it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use wrun_protocol::items::{ENTRY, Entry, HEADER, Header, ItemsError};
use wrun_protocol::task::Content;
use wrun_protocol::{Digest, JobId};
use wrun_sandbox::TaskInput;

use crate::artefacts::{Artefacts, Pinned};

/// Why an item cannot be had. Shown to the user as the reason of a task's failure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ItemError {
    #[error(transparent)]
    Items(#[from] ItemsError),
    #[error("the items file has {items} items for {tasks} tasks")]
    Count { items: u32, tasks: u32 },
    #[error("the items file cannot be read on this node: {0}")]
    Read(#[from] io::Error),
}

/// Where the items file is.
pub(crate) enum Source {
    Memory(Bytes),
    File(File, u64),
}

/// The items of one job.
pub(crate) struct Items {
    source: Source,
    header: Header,
    job: JobId,
    artefacts: Arc<Artefacts>,
    io: Handle,
}

impl Items {
    /// Opens the file, which has an item for each of `tasks`. Large items are fetched on the
    /// runtime `io`.
    pub(crate) fn open(
        source: Source,
        tasks: u32,
        job: JobId,
        artefacts: Arc<Artefacts>,
        io: Handle,
    ) -> Result<Self, ItemError> {
        let mut start = [0; HEADER];
        source.read(&mut start, 0)?;
        let header = Header::parse(&start, source.size())?;
        if header.count != tasks {
            return Err(ItemError::Count { items: header.count, tasks });
        }
        Ok(Self { source, header, job, artefacts, io })
    }

    /// The input of task `index`. Reads a few bytes of a file that is at hand; never waits for
    /// the network.
    pub(crate) fn input(&self, index: u32) -> TaskInput {
        match self.item(index) {
            Ok(Content::Inline(bytes)) => TaskInput::Bytes(bytes),
            Ok(Content::Blob { digest, .. }) => self.fetch(index, digest),
            Err(error) => refused(error.to_string()),
        }
    }

    fn item(&self, index: u32) -> Result<Content, ItemError> {
        let mut entry = [0; ENTRY];
        self.source.read(&mut entry, self.header.entry(index))?;
        let entry = Entry::parse(index, &entry)?;
        let mut part = vec![0; entry.length as usize];
        self.source.read(&mut part, self.header.tail().saturating_add(entry.offset))?;
        Ok(entry.content(index, part.into())?)
    }

    fn fetch(&self, index: u32, digest: Digest) -> TaskInput {
        let (ready, input) = oneshot::channel();
        let (artefacts, job) = (Arc::clone(&self.artefacts), self.job);
        self.io.spawn(async move {
            let fetched = match artefacts.obtain(job, digest).await {
                Ok(file) => open(&file),
                Err(error) => Err(error.to_string()),
            };
            // A task that was stopped meanwhile waits no longer.
            let _ = ready.send(fetched.map_err(|problem| format!("item {index}: {problem}")));
        });
        TaskInput::Later(input)
    }
}

impl Source {
    fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, size) => *size,
        }
    }

    fn read(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Memory(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let part = from.checked_add(to.len()).and_then(|end| bytes.get(from..end));
                to.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
            Self::File(file, _) => file.read_exact_at(to, offset),
        }
    }
}

/// The open file is there whatever becomes of its name.
fn open(file: &Pinned) -> Result<File, String> {
    File::open(file.path()).map_err(|error| error.to_string())
}

fn refused(problem: String) -> TaskInput {
    let (ready, input) = oneshot::channel();
    let _ = ready.send(Err(problem));
    TaskInput::Later(input)
}
