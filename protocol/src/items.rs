//! The items file: what each task of an array is given, in one blob. Any entry is found
//! without reading the others, so that a node that runs ten of a million tasks reads ten.
//!
//! ```text
//! header   8 bytes  "wrunitem"
//!          4 bytes  version, 1
//!          4 bytes  how many items
//! index   16 bytes  for each item: offset of its part of the tail (8), length of that
//!                   part (4), kind (4): 0 the item itself, 1 a reference to a blob
//! tail              the parts, one after the other in order of the items. A reference is
//!                   the blob's digest (32) and its size (8)
//! ```
//!
//! Numbers are little-endian. Parts touch and cover the tail, so that the same items make
//! the same bytes, and so the same digest.

mod encoder;

use bytes::Bytes;

pub use encoder::ItemsEncoder;

use crate::Digest;
use crate::limits::{MAX_BLOB, MAX_COUNT, MAX_ITEM_INLINE, MAX_ITEMS_FILE};
use crate::task::Content;

/// What every items file begins with.
const MAGIC: [u8; 8] = *b"wrunitem";
const VERSION: u32 = 1;

/// Bytes before the index.
pub const HEADER: usize = 16;

/// Bytes of one entry of the index.
pub const ENTRY: usize = 16;

/// Bytes of a reference to a blob in the tail.
pub const REFERENCE: usize = 40;

const KIND_INLINE: u32 = 0;
const KIND_BLOB: u32 = 1;

/// Why bytes are not an items file, or items do not make one. Items are counted from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemsError {
    /// There must be something to do.
    #[error("there are no items; give at least one")]
    Empty,
    /// More than tasks in a job.
    #[error("more than {MAX_COUNT} items; split them over several jobs")]
    TooMany,
    /// Too large to be inline.
    #[error(
        "item {index} has {size} bytes; at most {MAX_ITEM_INLINE} travel inline: store it as a blob"
    )]
    TooLong {
        /// Which.
        index: u32,
        /// In bytes.
        size: u64,
    },
    /// Larger than [`MAX_ITEMS_FILE`].
    #[error(
        "the items take more than {} together; split them over several jobs",
        crate::resources::Bytes(MAX_ITEMS_FILE)
    )]
    TooLarge,
    /// It begins with something else.
    #[error("these bytes are not an items file")]
    Unknown,
    /// A version that this wrun does not know.
    #[error(
        "the items file has version {found}; this wrun reads version {VERSION}: use the newer one"
    )]
    Version {
        /// As it says.
        found: u32,
    },
    /// It ends before its index does, or goes on after its tail.
    #[error("the items file has {found} bytes where its index tells of {wanted}; make it again")]
    Size {
        /// As the index tells, in bytes.
        wanted: u64,
        /// As it is, in bytes.
        found: u64,
    },
    /// An entry of the index that cannot be.
    #[error("item {index} of the items file: {problem}")]
    Entry {
        /// Which.
        index: u32,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// What the first [`HEADER`] bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How many items.
    pub count: u32,
}

/// Where an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where its part begins, in bytes from the beginning of the tail.
    pub offset: u64,
    /// Bytes of its part.
    pub length: u32,
    /// Whether the part is a [reference](parse_reference).
    pub is_blob: bool,
}

impl Header {
    /// Reads the header of a file of `size` bytes.
    pub fn parse(start: &[u8], size: u64) -> Result<Self, ItemsError> {
        let Some((magic, rest)) = start.split_first_chunk::<8>() else {
            return Err(ItemsError::Unknown);
        };
        let (Some(version), Some(count)) = (number(rest, 0), number(rest, 4)) else {
            return Err(ItemsError::Unknown);
        };
        if *magic != MAGIC {
            return Err(ItemsError::Unknown);
        }
        if version != VERSION {
            return Err(ItemsError::Version { found: version });
        }
        match count {
            0 => return Err(ItemsError::Empty),
            1..=MAX_COUNT => {}
            _ => return Err(ItemsError::TooMany),
        }
        if size > MAX_ITEMS_FILE {
            return Err(ItemsError::TooLarge);
        }
        let header = Self { count };
        let wanted = header.tail();
        if size < wanted {
            return Err(ItemsError::Size { wanted, found: size });
        }
        Ok(header)
    }

    /// Where the entry of item `index` begins, in bytes from the beginning of the file.
    pub fn entry(self, index: u32) -> u64 {
        HEADER as u64 + u64::from(index) * ENTRY as u64
    }

    /// Where the tail begins, in bytes from the beginning of the file.
    pub fn tail(self) -> u64 {
        self.entry(self.count)
    }
}

impl Entry {
    /// Reads [`ENTRY`] bytes: the entry of item `index`. Says nothing of whether its part is
    /// within the file, nor of how it lies to the others; [`IndexCheck`] does.
    pub fn parse(index: u32, bytes: &[u8]) -> Result<Self, ItemsError> {
        let refused = |problem| ItemsError::Entry { index, problem };
        let offset = bytes.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
        let (Some(offset), Some(length), Some(kind)) =
            (offset, number(bytes, 8), number(bytes, 12))
        else {
            return Err(refused("its entry is cut off"));
        };
        let is_blob = match kind {
            KIND_INLINE if length as usize > MAX_ITEM_INLINE => {
                return Err(ItemsError::TooLong { index, size: length.into() });
            }
            KIND_INLINE => false,
            KIND_BLOB if length as usize != REFERENCE => {
                return Err(refused("its reference to a blob has another length than such have"));
            }
            KIND_BLOB => true,
            _ => return Err(refused("it is of a kind that this wrun does not know")),
        };
        Ok(Self { offset, length, is_blob })
    }

    /// The item, where `part` is its part of the tail; `index` is for what is said.
    pub fn content(self, index: u32, part: Bytes) -> Result<Content, ItemsError> {
        let refused = |problem| Err(ItemsError::Entry { index, problem });
        if part.len() != self.length as usize {
            return refused("its bytes are cut off");
        }
        if !self.is_blob {
            return Ok(Content::Inline(part));
        }
        match parse_reference(&part) {
            Some((digest, size)) if size <= MAX_BLOB => Ok(Content::Blob { digest, size }),
            _ => refused("its reference to a blob cannot be"),
        }
    }
}

/// Reads a reference to a blob: its digest and its size in bytes.
pub fn parse_reference(bytes: &[u8]) -> Option<(Digest, u64)> {
    let (digest, rest) = bytes.split_first_chunk::<32>()?;
    let size = rest.first_chunk::<8>()?;
    Some((Digest(*digest), u64::from_le_bytes(*size)))
}

/// Checks an index entry by entry, so that a file is checked without being held in memory.
#[derive(Clone, Debug)]
pub struct IndexCheck {
    header: Header,
    next: u32,
    offset: u64,
}

impl IndexCheck {
    /// Begins at item 0.
    pub fn new(header: Header) -> Self {
        Self { header, next: 0, offset: 0 }
    }

    /// The next item's number, its entry read from `bytes`.
    pub fn next(&mut self, bytes: &[u8]) -> Result<(u32, Entry), ItemsError> {
        let index = self.next;
        let entry = Entry::parse(index, bytes)?;
        if entry.offset != self.offset {
            let problem = "its part does not follow the one before it";
            return Err(ItemsError::Entry { index, problem });
        }
        self.offset += u64::from(entry.length);
        self.next += 1;
        Ok((index, entry))
    }

    /// After the last entry: whether the parts make a file of `size` bytes.
    pub fn finish(self, size: u64) -> Result<(), ItemsError> {
        let wanted = self.header.tail() + self.offset;
        if self.next != self.header.count || size != wanted {
            return Err(ItemsError::Size { wanted, found: size });
        }
        Ok(())
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests;
