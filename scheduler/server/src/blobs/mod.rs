//! Components, inputs, logs and outputs: bytes by digest, apart for each tenant.
//!
//! Layout below the data directory: `blobs/<tenant>/<2 hex digits>/<digest>`. A blob is
//! written beside its final name, hashed on the way, flushed to disk and only then
//! renamed: what has the name is whole. Nothing here decides who may read what; callers
//! name the tenant they have authorised.
//!
//! Blobs are never deleted yet: a job may name any that was ever stored, so collecting
//! garbage needs the history's and the journal's references first.

mod error;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStoreExt, PutPayload};
use wrun_net::{RecvStream, SendStream};
use wrun_protocol::limits::MAX_BLOB;
use wrun_protocol::{Digest, TenantName};

pub(crate) use error::BlobError;
use writer::BlobWriter;

/// How much is read or written at a time.
pub(crate) const PIECE: u64 = 1 << 20;

/// Most digests whose presence is remembered, over all tenants: about 64 MB.
const MAX_KNOWN: usize = 1 << 20;

/// Every tenant's blobs.
#[derive(Debug)]
pub(crate) struct Blobs {
    store: LocalFileSystem,
    known: Mutex<Known>,
}

/// Sizes of blobs that are known to be there.
#[derive(Debug, Default)]
struct Known {
    tenants: HashMap<TenantName, HashMap<Digest, u64>>,
    count: usize,
}

impl Blobs {
    /// Opens the store at `root`, and clears away what uploads left behind that a crash
    /// cut short.
    pub(crate) fn open(root: &Path) -> Result<Self, BlobError> {
        std::fs::create_dir_all(root).map_err(BlobError::Io)?;
        remove_unfinished(root).map_err(BlobError::Io)?;
        let store = LocalFileSystem::new_with_prefix(root)?.with_fsync(true);
        Ok(Self { store, known: Mutex::default() })
    }

    /// The size of a blob, or `None` where the tenant has no such blob.
    pub(crate) async fn size(
        &self,
        tenant: &TenantName,
        digest: Digest,
    ) -> Result<Option<u64>, BlobError> {
        if let Some(size) = self.known_size(tenant, digest) {
            return Ok(Some(size));
        }
        match self.store.head(&location(tenant, digest)).await {
            Ok(meta) => {
                self.remember(tenant, digest, meta.size);
                Ok(Some(meta.size))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The size of a blob that is known to be there without looking at the disk.
    pub(crate) fn known_size(&self, tenant: &TenantName, digest: Digest) -> Option<u64> {
        self.lock().tenants.get(tenant).and_then(|blobs| blobs.get(&digest)).copied()
    }

    /// Receives `size` raw bytes, which must hash to `digest`. Durable when this returns.
    pub(crate) async fn receive(
        &self,
        tenant: &TenantName,
        digest: Digest,
        size: u64,
        stream: &mut RecvStream,
    ) -> Result<(), BlobError> {
        if size > MAX_BLOB {
            return Err(BlobError::TooLarge { size });
        }
        let mut writer = BlobWriter::start(&self.store, location(tenant, digest));
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left.min(PIECE)).unwrap_or(usize::MAX);
            let Some(piece) = stream.read_chunk(most).await? else {
                return Err(BlobError::CutOff { size, got: size - left });
            };
            left = left.saturating_sub(piece.len() as u64);
            writer.write(&piece).await?;
        }
        writer.finish(digest).await?;
        self.remember(tenant, digest, size);
        Ok(())
    }

    /// Stores bytes that are in memory, unless they are there already.
    pub(crate) async fn put(&self, tenant: &TenantName, bytes: Bytes) -> Result<Digest, BlobError> {
        let digest = digest_of(&bytes);
        if self.size(tenant, digest).await?.is_none() {
            let size = bytes.len() as u64;
            self.store.put(&location(tenant, digest), PutPayload::from_bytes(bytes)).await?;
            self.remember(tenant, digest, size);
        }
        Ok(digest)
    }

    /// A writer of a blob whose digest is known beforehand.
    pub(crate) fn writer(&self, tenant: &TenantName, digest: Digest) -> BlobWriter<'_> {
        BlobWriter::start(&self.store, location(tenant, digest))
    }

    /// At most [`PIECE`] bytes from `offset`; none at the end.
    pub(crate) async fn read(
        &self,
        tenant: &TenantName,
        digest: Digest,
        offset: u64,
        size: u64,
    ) -> Result<Bytes, BlobError> {
        let end = size.min(offset.saturating_add(PIECE));
        if offset >= end {
            return Ok(Bytes::new());
        }
        Ok(self.store.get_range(&location(tenant, digest), offset..end).await?)
    }

    /// The whole of a blob of at most `most` bytes.
    pub(crate) async fn read_all(
        &self,
        tenant: &TenantName,
        digest: Digest,
        most: u64,
    ) -> Result<Bytes, BlobError> {
        let size = self.size(tenant, digest).await?.ok_or(BlobError::NotFound(digest))?;
        if size > most {
            return Err(BlobError::TooLarge { size });
        }
        Ok(self.store.get(&location(tenant, digest)).await?.bytes().await?)
    }

    /// Sends `size` bytes of a blob raw.
    pub(crate) async fn send(
        &self,
        tenant: &TenantName,
        digest: Digest,
        size: u64,
        stream: &mut SendStream,
    ) -> Result<(), BlobError> {
        let mut offset = 0;
        while offset < size {
            let piece = self.read(tenant, digest, offset, size).await?;
            if piece.is_empty() {
                return Err(BlobError::NotFound(digest));
            }
            stream.write_raw(&piece).await?;
            offset += piece.len() as u64;
        }
        Ok(())
    }

    /// Remembers that a blob is there, so that the next look costs nothing.
    pub(crate) fn remember(&self, tenant: &TenantName, digest: Digest, size: u64) {
        let mut known = self.lock();
        if known.count >= MAX_KNOWN {
            *known = Known::default();
        }
        if !known.tenants.contains_key(tenant) {
            known.tenants.insert(tenant.clone(), HashMap::new());
        }
        let added =
            known.tenants.get_mut(tenant).is_some_and(|all| all.insert(digest, size).is_none());
        known.count += usize::from(added);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The SHA-256 of `bytes`.
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    digest(ring::digest::digest(&ring::digest::SHA256, bytes))
}

/// SHA-256 is 32 bytes long; a digest of another length cannot come of it.
pub(crate) fn digest(hash: ring::digest::Digest) -> Digest {
    let mut bytes = [0; 32];
    for (byte, from) in bytes.iter_mut().zip(hash.as_ref()) {
        *byte = *from;
    }
    Digest(bytes)
}

fn location(tenant: &TenantName, digest: Digest) -> object_store::path::Path {
    let name = digest.to_string();
    let shard = name.get(..2).unwrap_or_default();
    object_store::path::Path::from_iter([tenant.as_str(), shard, name.as_str()])
}

/// Removes files that never got their final name: `<digest>#<number>`.
fn remove_unfinished(root: &Path) -> std::io::Result<()> {
    let mut folders: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name().to_string_lossy().contains('#') {
                std::fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
