//! The worker's directory: one owner at a time, and nothing left in it of a predecessor
//! but what is worth keeping.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::WorkerError;

/// The directory, held by a lock while this lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    _lock: File,
}

/// Kept over restarts.
const KEPT: [&str; 4] = ["identity", "artefacts", "compiled", "gateway"];

/// Emptied at every start.
const TRANSIENT: [&str; 4] = ["scratch", "mounts", "logs", "incoming"];

impl DataDir {
    /// Makes the directory if it is not there, takes the lock, and removes what a killed
    /// predecessor left. Blocks on the disk.
    pub(crate) fn open(root: &Path) -> Result<Self, WorkerError> {
        let failed = |path: &Path, source| WorkerError::DataDir { path: path.to_owned(), source };
        let make = |path: &Path| {
            std::fs::create_dir_all(path)
                .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(0o700)))
                .map_err(|error| failed(path, error))
        };
        make(root)?;
        let root = root.canonicalize().map_err(|error| failed(root, error))?;
        let path = root.join("lock");
        let lock = File::create(&path).map_err(|error| failed(&path, error))?;
        lock.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => WorkerError::Locked { path: root.clone() },
            std::fs::TryLockError::Error(error) => failed(&path, error),
        })?;
        for name in TRANSIENT {
            let path = root.join(name);
            match std::fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(&path, error));
                }
                _ => make(&path)?,
            }
        }
        for name in KEPT {
            make(&root.join(name))?;
        }
        Ok(Self { root, _lock: lock })
    }

    /// The whole directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The node's key and certificate, and the cluster's.
    pub(crate) fn identity(&self) -> PathBuf {
        self.root.join("identity")
    }

    /// Downloaded files by digest.
    pub(crate) fn artefacts(&self) -> PathBuf {
        self.root.join("artefacts")
    }

    /// Compiled components.
    pub(crate) fn compiled(&self) -> PathBuf {
        self.root.join("compiled")
    }

    /// What the gateway knows of services.
    pub(crate) fn services(&self) -> PathBuf {
        self.root.join("gateway").join("services")
    }

    /// Scratch directories of tasks.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }

    /// Trees of mounted files.
    pub(crate) fn mounts(&self) -> PathBuf {
        self.root.join("mounts")
    }

    /// Long logs of running tasks.
    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Downloads that are not complete.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_worker_is_turned_away_until_the_first_has_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        let error = DataDir::open(dir.path()).unwrap_err();
        assert!(matches!(error, WorkerError::Locked { .. }), "{error}");
        drop(first);
        DataDir::open(dir.path()).unwrap();
    }

    #[test]
    fn leftovers_go_and_what_is_worth_keeping_stays() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let (scratch, artefact) = (data.scratch().join("7"), data.artefacts().join("x"));
        std::fs::create_dir_all(scratch.join("deep")).unwrap();
        std::fs::write(&artefact, b"x").unwrap();
        drop(data);
        DataDir::open(dir.path()).unwrap();
        assert!(!scratch.exists());
        assert!(artefact.exists());
    }

    #[test]
    fn a_directory_that_cannot_be_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"").unwrap();
        let error = DataDir::open(&file).unwrap_err().to_string();
        assert!(error.contains(file.to_str().unwrap()), "{error}");
    }
}
