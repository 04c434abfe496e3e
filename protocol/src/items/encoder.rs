//! Makes items files.

use bytes::Bytes;

use super::{ENTRY, HEADER, ItemsError, KIND_BLOB, KIND_INLINE, MAGIC, REFERENCE, VERSION};
use crate::limits::{MAX_COUNT, MAX_ITEM_INLINE, MAX_ITEMS_FILE};
use crate::task::Content;

/// Collects items. Holds at most [`MAX_ITEMS_FILE`] bytes.
#[derive(Clone, Debug, Default)]
pub struct ItemsEncoder {
    index: Vec<u8>,
    tail: Vec<u8>,
    count: u32,
}

impl ItemsEncoder {
    /// Without items.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many items there are by now.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Adds the next item. What is refused leaves the encoder as it was.
    pub fn push(&mut self, item: &Content) -> Result<(), ItemsError> {
        match item {
            Content::Inline(bytes) => self.push_inline(bytes),
            Content::Blob { digest, size } => {
                let mut reference = [0; REFERENCE];
                let (to_digest, to_size) = reference.split_at_mut(digest.0.len());
                to_digest.copy_from_slice(&digest.0);
                to_size.copy_from_slice(&size.to_le_bytes());
                self.add(&reference, KIND_BLOB)
            }
        }
    }

    /// Adds bytes as the next item: at most [`MAX_ITEM_INLINE`].
    pub fn push_inline(&mut self, bytes: &[u8]) -> Result<(), ItemsError> {
        if bytes.len() > MAX_ITEM_INLINE {
            return Err(ItemsError::TooLong { index: self.count, size: bytes.len() as u64 });
        }
        self.add(bytes, KIND_INLINE)
    }

    fn add(&mut self, part: &[u8], kind: u32) -> Result<(), ItemsError> {
        if self.count >= MAX_COUNT {
            return Err(ItemsError::TooMany);
        }
        let size = HEADER + self.index.len() + ENTRY + self.tail.len() + part.len();
        if size as u64 > MAX_ITEMS_FILE {
            return Err(ItemsError::TooLarge);
        }
        let length = u32::try_from(part.len()).map_err(|_| ItemsError::TooLarge)?;
        self.index.extend((self.tail.len() as u64).to_le_bytes());
        self.index.extend(length.to_le_bytes());
        self.index.extend(kind.to_le_bytes());
        self.tail.extend(part);
        self.count += 1;
        Ok(())
    }

    /// The file.
    pub fn finish(self) -> Result<Bytes, ItemsError> {
        if self.count == 0 {
            return Err(ItemsError::Empty);
        }
        let mut file = Vec::with_capacity(HEADER + self.index.len() + self.tail.len());
        file.extend(MAGIC);
        file.extend(VERSION.to_le_bytes());
        file.extend(self.count.to_le_bytes());
        file.extend(self.index);
        file.extend(self.tail);
        Ok(file.into())
    }
}
