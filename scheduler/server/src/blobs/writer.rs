//! Writes one blob: collects pieces, hashes them on the way, gives it its name at the end.

use bytes::{Bytes, BytesMut};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use ring::digest::{Context, SHA256};
use wrun_protocol::Digest;

use super::{BlobError, PIECE, digest};

/// A blob on its way. Dropping it leaves nothing behind.
pub(crate) struct BlobWriter<'a> {
    store: &'a LocalFileSystem,
    location: Path,
    hash: Context,
    /// What does not fill a piece yet. A blob that ends within the first piece never
    /// needs an upload in parts.
    buffer: BytesMut,
    upload: Option<Box<dyn MultipartUpload>>,
}

impl<'a> BlobWriter<'a> {
    pub(super) fn start(store: &'a LocalFileSystem, location: Path) -> Self {
        let buffer = BytesMut::new();
        Self { store, location, hash: Context::new(&SHA256), buffer, upload: None }
    }

    /// Adds bytes; waits for the disk when a piece is full.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.hash.update(bytes);
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() as u64 >= PIECE {
            let piece = self.buffer.split().freeze();
            self.put_part(piece).await?;
        }
        Ok(())
    }

    async fn put_part(&mut self, piece: Bytes) -> Result<(), BlobError> {
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(self.store.put_multipart(&self.location).await?),
        };
        Ok(upload.put_part(PutPayload::from_bytes(piece)).await?)
    }

    /// Ends it: checks the digest, flushes, renames.
    pub(crate) async fn finish(mut self, wanted: Digest) -> Result<(), BlobError> {
        let found = digest(self.hash.clone().finish());
        let rest = self.buffer.split().freeze();
        if found != wanted {
            if let Some(mut upload) = self.upload.take() {
                upload.abort().await?;
            }
            return Err(BlobError::Mismatch { wanted, found });
        }
        if self.upload.is_none() {
            self.store.put(&self.location, PutPayload::from_bytes(rest)).await?;
            return Ok(());
        }
        if !rest.is_empty() {
            self.put_part(rest).await?;
        }
        if let Some(mut upload) = self.upload.take() {
            upload.complete().await?;
        }
        Ok(())
    }
}
