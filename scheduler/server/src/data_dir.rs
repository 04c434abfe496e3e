//! The data directory: where what lies, and that one server alone uses it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use wrun_net::Authority;

use crate::ServerError;

/// Paths below a data directory, and the lock on it.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    /// Holds the lock until it is dropped.
    _lock: File,
}

impl DataDir {
    /// Makes the directory where there is none, for its owner alone: it holds everybody's
    /// inputs and outputs. Locks it.
    pub(crate) fn open(root: &Path) -> Result<Self, ServerError> {
        let failed = |action: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| ServerError::DataDir { action, path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .map_err(failed("create", root))?;
        let path = root.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed("open", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root: root.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(ServerError::InUse { path: root.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
        }
    }

    /// The cluster's authority; made on the first start. One that is there but cannot be
    /// read is an error: a new one would lock every node and user out.
    pub(crate) fn authority(&self) -> Result<Authority, ServerError> {
        let dir = self.root.join("ca");
        if std::fs::read_dir(&dir).is_ok_and(|mut files| files.next().is_some()) {
            return Ok(Authority::load(&dir)?);
        }
        let created = |source| ServerError::DataDir { action: "create", path: dir.clone(), source };
        std::fs::create_dir_all(&dir).map_err(created)?;
        let authority = Authority::create()?;
        authority.save(&dir)?;
        Ok(authority)
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    pub(crate) fn history(&self) -> PathBuf {
        self.root.join("history.redb")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_alone_uses_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        assert!(matches!(DataDir::open(dir.path()), Err(ServerError::InUse { .. })));
        drop(first);
        DataDir::open(dir.path()).unwrap();
    }

    #[test]
    fn the_authority_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let made = data.authority().unwrap().fingerprint();
        assert_eq!(data.authority().unwrap().fingerprint(), made);
    }
}
