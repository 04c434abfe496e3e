//! Memory that parent and child share: a nameless file that lives in memory alone. It is read
//! and written by calls and not mapped, since a mapping of what the other side can shorten
//! ends the process that touches it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use rustix::fs::{MemfdFlags, memfd_create};

/// What is kept between uses; the rest goes back to the system.
const KEPT: u64 = 4 << 20;

/// The region.
#[derive(Debug)]
pub(super) struct Region(File);

/// The region cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegionError {
    #[error("the shared memory cannot be used: {0}")]
    Io(#[from] std::io::Error),
    #[error("{size} bytes were put into the shared memory, and the limit is {limit}")]
    TooLarge { size: u64, limit: u64 },
    #[error("a tensor in the shared memory is malformed: {0}")]
    Tensor(String),
}

impl Region {
    pub(super) fn new() -> Result<Self, RegionError> {
        let file = memfd_create("wrun-tensors", MemfdFlags::CLOEXEC);
        Ok(Self(File::from(file.map_err(std::io::Error::from)?)))
    }

    /// The other side's region.
    pub(super) fn of(fd: OwnedFd) -> Self {
        Self(File::from(fd))
    }

    /// For the child, as a file that it inherits.
    pub(super) fn shared(&self) -> Result<OwnedFd, RegionError> {
        Ok(self.0.try_clone()?.into())
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> Result<(), RegionError> {
        Ok(self.0.write_all_at(bytes, at)?)
    }

    pub(super) fn read(&self, at: u64, length: u64) -> Result<Bytes, RegionError> {
        // What is longer than the file is not allocated before that is seen.
        let size = self.0.metadata()?.len();
        if at.checked_add(length).is_none_or(|end| end > size) {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        let length = usize::try_from(length).map_err(std::io::Error::other)?;
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, at)?;
        Ok(bytes.into())
    }

    /// Gives back what a large use left behind.
    pub(super) fn trim(&self) -> Result<(), RegionError> {
        if self.0.metadata()?.len() > KEPT {
            self.0.set_len(KEPT)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_side_reads_what_the_other_wrote_and_nothing_beyond() {
        let region = Region::new().unwrap();
        let other = Region::of(region.shared().unwrap());
        region.write(3, b"tensor").unwrap();
        assert_eq!(&*other.read(3, 6).unwrap(), b"tensor");
        assert!(other.read(3, 7).is_err());
        assert!(other.read(u64::MAX, 2).is_err() && other.read(0, u64::MAX).is_err());
    }

    #[test]
    fn a_large_region_shrinks_again() {
        let region = Region::new().unwrap();
        region.write(KEPT + 10, b"x").unwrap();
        region.trim().unwrap();
        assert!(region.read(KEPT, 1).is_err());
        region.read(0, KEPT).unwrap();
    }
}
