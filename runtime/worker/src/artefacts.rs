//! Components and files on this node's disk, addressed by digest: downloaded once, checked
//! against the digest before first use, dropped by least recent use when space runs out.

use std::collections::HashMap;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use wrun_protocol::resources::Bytes as Size;
use wrun_protocol::{Digest, JobId};

use crate::blobs::{BlobError, Blobs, Incoming, What, blocking, finish_digest, read_at};

/// Bytes that are hashed at once.
const PIECE: usize = 1 << 20;

/// Downloads of the same blob before bytes that do not fit their digest are an error.
const TRIES: u32 = 2;

/// Why a file is not on this node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtefactError {
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(
        "the server sent bytes for {} that do not fit this digest: its blob store is damaged; upload the file again", wanted.short()
    )]
    Digest { wanted: Digest },
    #[error(
        "{} more do not fit this node's cache of {}: everything in it is in use; run fewer jobs with large files at once, or give the worker a larger cache",
        Size(*size), Size(*most)
    )]
    Full { size: u64, most: u64 },
    #[error("the disk of this node is full, at {path}: free some space there")]
    DiskFull { path: PathBuf },
    #[error("this node cannot store files at {path}: {source}")]
    Disk { path: PathBuf, source: io::Error },
}

struct Entry {
    path: PathBuf,
    size: u64,
    used_at: AtomicU64,
    /// Whether its bytes were compared with the digest since the worker's start.
    verified: AtomicBool,
    /// Whether it was asked for as a model since then.
    is_model: AtomicBool,
}

/// A file that stays in the cache while this lives.
#[derive(Clone)]
pub(crate) struct Pinned(Arc<Entry>);

#[derive(Default)]
struct Index {
    entries: HashMap<Digest, Arc<Entry>>,
    /// Held while a file is fetched, so that it is fetched once.
    flights: HashMap<Digest, Weak<tokio::sync::Mutex<()>>>,
    used: u64,
}

/// The cache.
pub(crate) struct Artefacts {
    dir: PathBuf,
    incoming: PathBuf,
    most: u64,
    clock: AtomicU64,
    blobs: Arc<Blobs>,
    index: Mutex<Index>,
}

/// Space that was set aside; given back unless kept.
struct Reserved<'a> {
    cache: &'a Artefacts,
    size: u64,
}

impl Pinned {
    /// Where it is. Read-only.
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }
}

impl Artefacts {
    /// Takes up what an earlier run left in `dir`. Blocks on the disk.
    pub(crate) fn open(
        dir: &Path,
        incoming: &Path,
        most: u64,
        blobs: Arc<Blobs>,
    ) -> io::Result<Self> {
        let mut index = Index::default();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let known = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok());
            let Some(digest) = known else { continue };
            let size = entry.metadata()?.len();
            index.used += size;
            index.entries.insert(digest, Arc::new(Entry::new(entry.path(), size, false)));
        }
        Ok(Self {
            dir: dir.to_owned(),
            incoming: incoming.to_owned(),
            most,
            clock: AtomicU64::new(1),
            blobs,
            index: Mutex::new(index),
        })
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, digest: Digest) -> Option<Pinned> {
        let entry = self.index().entries.get(&digest)?.clone();
        entry.used_at.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Some(Pinned(entry))
    }

    /// The file with this digest: at hand, or downloaded for `job`.
    pub(crate) async fn obtain(&self, job: JobId, digest: Digest) -> Result<Pinned, ArtefactError> {
        self.fetch(job, digest, What::File).await
    }

    /// The model with this digest, which `job` names. The server is asked also where the bytes are
    /// at hand: they may be so for another tenant, or the model may have been withdrawn.
    pub(crate) async fn obtain_model(
        &self,
        job: JobId,
        digest: Digest,
    ) -> Result<Pinned, ArtefactError> {
        if self.find(digest).is_some() {
            self.blobs.check_model(job, digest).await?;
        }
        let model = self.fetch(job, digest, What::Model).await?;
        model.0.is_model.store(true, Ordering::Relaxed);
        Ok(model)
    }

    /// The models that are at hand, the last used first.
    pub(crate) fn models(&self) -> Vec<Digest> {
        let index = self.index();
        let models = index.entries.iter().filter(|(_, it)| it.is_model.load(Ordering::Relaxed));
        let mut models: Vec<_> =
            models.map(|(digest, it)| (it.used_at.load(Ordering::Relaxed), *digest)).collect();
        models.sort_unstable_by(|one, other| other.cmp(one));
        models.into_iter().map(|(_, digest)| digest).collect()
    }

    async fn fetch(&self, job: JobId, digest: Digest, what: What) -> Result<Pinned, ArtefactError> {
        let verified = |pinned: &Pinned| pinned.0.verified.load(Ordering::Acquire);
        if let Some(found) = self.find(digest).filter(verified) {
            return Ok(found);
        }
        let flight = self.flight(digest);
        let _alone = flight.lock().await;
        if let Some(found) = self.find(digest) {
            if verified(&found) || self.verify(digest, &found).await? {
                return Ok(found);
            }
            self.remove(digest);
        }
        for _ in 0..TRIES {
            if let Some(pinned) = self.download(job, digest, what).await? {
                return Ok(pinned);
            }
        }
        Err(ArtefactError::Digest { wanted: digest })
    }

    fn flight(&self, digest: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut index = self.index();
        index.flights.retain(|_, flight| flight.strong_count() > 0);
        if let Some(flight) = index.flights.get(&digest).and_then(Weak::upgrade) {
            return flight;
        }
        let flight = Arc::new(tokio::sync::Mutex::new(()));
        index.flights.insert(digest, Arc::downgrade(&flight));
        flight
    }

    /// Whether the file's bytes still fit their digest: the disk was out of our hands.
    async fn verify(&self, digest: Digest, pinned: &Pinned) -> Result<bool, ArtefactError> {
        let (path, size) = (pinned.0.path.clone(), pinned.0.size);
        let read = blocking(move || hash_file(&path, size)).await?;
        let fits = read.is_ok_and(|found| found == digest);
        if fits {
            pinned.0.verified.store(true, Ordering::Release);
        }
        Ok(fits)
    }

    fn remove(&self, digest: Digest) {
        let mut index = self.index();
        if let Some(entry) = index.entries.remove(&digest) {
            index.used -= entry.size;
            // Nothing can be done about a file that does not go; it is overwritten later.
            let _ = std::fs::remove_file(&entry.path);
        }
    }

    /// `None` where the bytes do not fit the digest.
    async fn download(
        &self,
        job: JobId,
        digest: Digest,
        what: What,
    ) -> Result<Option<Pinned>, ArtefactError> {
        let path = self.incoming.join(digest.to_string());
        loop {
            let incoming = self.blobs.get(job, digest, what).await?;
            let size = incoming.size;
            let reserved = self.reserve(size)?;
            let found = match write(&path, incoming).await? {
                Ok(Some(found)) => found,
                // The connection broke on the way.
                Ok(None) => continue,
                Err(error) => return Err(on_disk(&path, error)),
            };
            if found != digest {
                let _ = std::fs::remove_file(&path);
                return Ok(None);
            }
            let place = self.dir.join(digest.to_string());
            std::fs::set_permissions(&path, Permissions::from_mode(0o444))
                .and_then(|()| std::fs::rename(&path, &place))
                .map_err(|error| on_disk(&place, error))?;
            reserved.keep();
            let entry = Arc::new(Entry::new(place, size, true));
            self.index().entries.insert(digest, entry.clone());
            self.find(digest);
            return Ok(Some(Pinned(entry)));
        }
    }

    /// Sets space aside, at the expense of what was not used for longest.
    fn reserve(&self, size: u64) -> Result<Reserved<'_>, ArtefactError> {
        let mut index = self.index();
        while index.used.saturating_add(size) > self.most {
            let oldest = index
                .entries
                .iter()
                .filter(|(_, entry)| Arc::strong_count(entry) == 1)
                .min_by_key(|(_, entry)| entry.used_at.load(Ordering::Relaxed))
                .map(|(digest, _)| *digest);
            let Some(entry) = oldest.and_then(|digest| index.entries.remove(&digest)) else {
                return Err(ArtefactError::Full { size, most: self.most });
            };
            index.used -= entry.size;
            let _ = std::fs::remove_file(&entry.path);
        }
        index.used += size;
        Ok(Reserved { cache: self, size })
    }
}

impl Reserved<'_> {
    fn keep(mut self) {
        self.size = 0;
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.cache.index().used -= self.size;
    }
}

impl Entry {
    fn new(path: PathBuf, size: u64, verified: bool) -> Self {
        let (used_at, verified) = (AtomicU64::new(0), AtomicBool::new(verified));
        Self { path, size, used_at, verified, is_model: AtomicBool::new(false) }
    }
}

/// Writes what comes and says what it hashes to; `None` if it did not come whole.
async fn write(
    path: &Path,
    mut incoming: Incoming,
) -> Result<io::Result<Option<Digest>>, ArtefactError> {
    let mut file = match File::create(path) {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    let mut left = incoming.size;
    // To the end of the stream, not to the last byte: the server learns that all has come.
    while let Some(piece) = incoming.next().await {
        left = match left.checked_sub(piece.len() as u64) {
            Some(left) => left,
            // More than was announced is not what was asked for.
            None => return Ok(Ok(Some(Digest([0; 32])))),
        };
        let step = blocking(move || {
            hash.update(&piece);
            let written = file.write_all(&piece);
            (file, hash, written)
        });
        let written;
        (file, hash, written) = step.await?;
        if let Err(error) = written {
            return Ok(Err(error));
        }
    }
    Ok(Ok((left == 0).then(|| finish_digest(hash))))
}

fn hash_file(path: &Path, size: u64) -> io::Result<Digest> {
    let file = File::open(path)?;
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    let mut at = 0;
    while at < size {
        let piece = read_at(&file, at, (size - at).min(PIECE as u64) as usize)?;
        hash.update(&piece);
        at += piece.len() as u64;
    }
    Ok(finish_digest(hash))
}

fn on_disk(path: &Path, source: io::Error) -> ArtefactError {
    let _ = std::fs::remove_file(path);
    let dir = path.parent().unwrap_or(path).to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ArtefactError::DiskFull { path: dir }
        }
        _ => ArtefactError::Disk { path: dir, source },
    }
}
