//! Checks items files (see [`wrun_protocol::items`]) piece by piece: a file is never held in
//! memory as a whole, however large it is.

use bytes::Bytes;
use wrun_protocol::items::{ENTRY, Entry, HEADER, Header, IndexCheck, ItemsError};
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::{Digest, TenantName};

use crate::blobs::{BlobError, Blobs, PIECE};

/// Entries that are checked at a time: a piece of the index.
const ENTRIES: u32 = (PIECE as usize / ENTRY) as u32;

/// Why items cannot be a job's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// The file is none.
    #[error("for_each: {0}")]
    Items(#[from] ItemsError),
    /// Its number of items is not that of the tasks.
    #[error("for_each: {items} items for {tasks} tasks; submit one task for each item")]
    Count {
        /// In the file.
        items: u32,
        /// In the job.
        tasks: u32,
    },
    /// A blob that an item refers to is missing.
    #[error("for_each: item {index}: there is no blob {digest}; upload it first")]
    Missing {
        /// The item.
        index: u32,
        /// What it refers to.
        digest: Digest,
    },
    /// A blob that an item refers to has another size than the item says.
    #[error("for_each: item {index}: the blob {digest} has {found} bytes, not {wanted}")]
    Size {
        /// The item.
        index: u32,
        /// What it refers to.
        digest: Digest,
        /// As the item says, in bytes.
        wanted: u64,
        /// As it is, in bytes.
        found: u64,
    },
    /// The store fails.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

impl From<CheckError> for RequestError {
    fn from(error: CheckError) -> Self {
        let code = match error {
            CheckError::Blob(error) => return error.into(),
            CheckError::Missing { .. } => ErrorCode::NotFound,
            _ => ErrorCode::InvalidInput,
        };
        Self::new(code, error.to_string())
    }
}

/// Checks that `items` is a sound file with an item for each of `tasks`, and that every blob
/// it refers to is the tenant's and as large as it says.
pub(crate) async fn check(
    blobs: &Blobs,
    tenant: &TenantName,
    items: &Content,
    tasks: u32,
) -> Result<(), CheckError> {
    let size = items.size();
    let mut window = Window { blobs, tenant, items, size, start: 0, bytes: Bytes::new() };
    let header = Header::parse(&window.get(0, HEADER).await?, size)?;
    if header.count != tasks {
        return Err(CheckError::Count { items: header.count, tasks });
    }
    let mut tail = window.clone();
    let mut check = IndexCheck::new(header);
    for first in (0..header.count).step_by(ENTRIES as usize) {
        let count = ENTRIES.min(header.count - first);
        let entries = window.get(header.entry(first), count as usize * ENTRY).await?;
        for entry in entries.chunks(ENTRY) {
            let (index, entry) = check.next(entry)?;
            if entry.is_blob {
                check_blob(&mut tail, header, index, entry).await?;
            }
        }
        // A piece takes about a millisecond; others on this thread get a turn.
        tokio::task::yield_now().await;
    }
    Ok(check.finish(size)?)
}

async fn check_blob(
    tail: &mut Window<'_>,
    header: Header,
    index: u32,
    entry: Entry,
) -> Result<(), CheckError> {
    let part = tail.get(header.tail() + entry.offset, entry.length as usize).await?;
    let Content::Blob { digest, size: wanted } = entry.content(index, part)? else {
        return Ok(());
    };
    match tail.blobs.size(tail.tenant, digest).await? {
        Some(found) if found == wanted => Ok(()),
        Some(found) => Err(CheckError::Size { index, digest, wanted, found }),
        None => Err(CheckError::Missing { index, digest }),
    }
}

/// The part of the file that was read last. Offsets are asked for in ascending order, so
/// that each piece is read once.
#[derive(Clone)]
struct Window<'a> {
    blobs: &'a Blobs,
    tenant: &'a TenantName,
    items: &'a Content,
    size: u64,
    start: u64,
    bytes: Bytes,
}

impl Window<'_> {
    /// `length` bytes from `offset`, or fewer at the end of the file; at most [`PIECE`].
    async fn get(&mut self, offset: u64, length: usize) -> Result<Bytes, BlobError> {
        if let Some(bytes) = self.cut(offset, length) {
            return Ok(bytes);
        }
        self.bytes = match self.items {
            Content::Inline(bytes) => bytes.clone(),
            Content::Blob { digest, .. } => {
                self.blobs.read(self.tenant, *digest, offset, self.size).await?
            }
        };
        self.start = if matches!(self.items, Content::Inline(_)) { 0 } else { offset };
        let most = (self.start + self.bytes.len() as u64).saturating_sub(offset);
        let length = length.min(usize::try_from(most).unwrap_or(length));
        Ok(self.cut(offset, length).unwrap_or_default())
    }

    fn cut(&self, offset: u64, length: usize) -> Option<Bytes> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let to = from.checked_add(length)?;
        (to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }
}

#[cfg(test)]
mod tests {
    use wrun_protocol::items::ItemsEncoder;

    use super::*;

    struct Bench {
        blobs: Blobs,
        tenant: TenantName,
        _dir: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let blobs = Blobs::open(dir.path()).unwrap();
            Self { blobs, tenant: "lab".parse().unwrap(), _dir: dir }
        }

        async fn stored(&self, bytes: Vec<u8>) -> Content {
            let size = bytes.len() as u64;
            let digest = self.blobs.put(&self.tenant, bytes.into()).await.unwrap();
            Content::Blob { digest, size }
        }

        async fn check(&self, items: &Content, tasks: u32) -> Result<(), String> {
            let checked = check(&self.blobs, &self.tenant, items, tasks).await;
            checked.map_err(|error| error.to_string())
        }
    }

    fn file(items: &[Content]) -> Bytes {
        let mut encoder = ItemsEncoder::new();
        items.iter().for_each(|item| encoder.push(item).unwrap());
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn a_file_of_many_pieces_is_checked_to_its_last_item() {
        let bench = Bench::new();
        let mut items: Vec<_> =
            (0..150_000_u32).map(|n| Content::Inline(n.to_string().into())).collect();
        let large = bench.stored(vec![1; 100_000]).await;
        items.extend([large.clone(), Content::Inline(Bytes::new()), large]);
        let whole = file(&items);
        let stored = bench.stored(whole.to_vec()).await;
        assert_eq!(bench.check(&stored, 150_003).await, Ok(()));
        assert!(bench.check(&stored, 3).await.unwrap_err().contains("150003 items for 3 tasks"));

        items.push(Content::Blob { digest: Digest([9; 32]), size: 1 });
        let missing = bench.stored(file(&items).to_vec()).await;
        let error = bench.check(&missing, 150_004).await.unwrap_err();
        assert!(error.starts_with("for_each: item 150003: there is no blob 0909"), "{error}");

        let cut = bench.stored(whole[..whole.len() - 1].to_vec()).await;
        assert!(bench.check(&cut, 150_003).await.is_err());
    }

    #[tokio::test]
    async fn an_inline_file_is_checked_as_well() {
        let bench = Bench::new();
        let small = bench.stored(b"four".to_vec()).await;
        let Content::Blob { digest, .. } = small else { panic!() };
        let inline = |items: &[Content]| Content::Inline(file(items));
        assert_eq!(bench.check(&inline(&[small.clone(), small.clone()]), 2).await, Ok(()));
        let lie = Content::Blob { digest, size: 5 };
        let error = bench.check(&inline(&[small, lie]), 2).await.unwrap_err();
        assert!(error.contains("item 1: the blob") && error.contains("4 bytes, not 5"), "{error}");
        let nonsense = Content::Inline(Bytes::from_static(b"nonsense"));
        let error = bench.check(&nonsense, 1).await.unwrap_err();
        assert_eq!(error, "for_each: these bytes are not an items file");
    }
}
