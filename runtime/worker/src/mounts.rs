//! The files that a job's guests see, read-only: a tree of directories per job, whose files
//! are hard links into the cache of artefacts. Built once per job.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use wrun_protocol::JobId;

/// Where every guest has its scratch directory.
const SCRATCH: &str = "/scratch";

/// Why the tree cannot be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    #[error("mounts: `{0}` lies in the scratch directory; choose another path for it")]
    InScratch(String),
    #[error("mounts: `{0}` is used twice, or is a file and a directory at once")]
    Conflict(String),
    #[error("the disk of this node is full, at {0}: free some space there")]
    DiskFull(PathBuf),
    #[error("the directory of mounted files at {path}: {source}")]
    Disk { path: PathBuf, source: io::Error },
}

/// A tree on disk; removed when dropped.
#[derive(Debug)]
pub(crate) struct MountTree {
    root: PathBuf,
}

impl MountTree {
    /// Links `files` (path in the guest, file on this node) into a tree of `job`'s under
    /// `dir`. Says which guest directories are where. Blocks on the disk.
    pub(crate) fn build(
        dir: &Path,
        job: JobId,
        files: &[(String, PathBuf)],
    ) -> Result<(Self, Vec<(String, PathBuf)>), MountError> {
        let tree = Self { root: dir.join(job.to_string()) };
        let failed = |source| on_disk(&tree.root, source);
        if tree.root.exists() {
            std::fs::remove_dir_all(&tree.root).map_err(failed)?;
        }
        std::fs::create_dir_all(&tree.root).map_err(failed)?;
        let mut places: BTreeMap<String, PathBuf> = BTreeMap::new();
        for (path, file) in files {
            let (guest_dir, inner) = split(path)?;
            let next = places.len();
            let host_dir =
                places.entry(guest_dir).or_insert_with(|| tree.root.join(next.to_string()));
            link(path, &host_dir.join(inner), file)?;
        }
        Ok((tree, places.into_iter().collect()))
    }
}

/// The directory to mount and the path in it: `/data/a/b` is `a/b` in `/data`, and `/a` is
/// `a` in `/`.
fn split(path: &str) -> Result<(String, &str), MountError> {
    let inner = path.strip_prefix('/').unwrap_or(path);
    match inner.split_once('/') {
        _ if path == SCRATCH || path.starts_with("/scratch/") => {
            Err(MountError::InScratch(path.to_owned()))
        }
        Some((dir, rest)) => Ok((format!("/{dir}"), rest)),
        None => Ok(("/".to_owned(), inner)),
    }
}

fn link(path: &str, place: &Path, file: &Path) -> Result<(), MountError> {
    let conflict = || MountError::Conflict(path.to_owned());
    let sort_out = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => conflict(),
        _ => on_disk(place, error),
    };
    if let Some(parent) = place.parent() {
        std::fs::create_dir_all(parent).map_err(sort_out)?;
    }
    if place.exists() {
        return Err(conflict());
    }
    match std::fs::hard_link(file, place) {
        // Another file system, or as many links as it allows.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::CrossesDevices
                    | io::ErrorKind::TooManyLinks
                    | io::ErrorKind::Unsupported
            ) =>
        {
            std::fs::copy(file, place).map(drop).map_err(sort_out)
        }
        linked => linked.map_err(sort_out),
    }
}

fn on_disk(path: &Path, source: io::Error) -> MountError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            MountError::DiskFull(path.to_owned())
        }
        _ => MountError::Disk { path: path.to_owned(), source },
    }
}

impl Drop for MountTree {
    fn drop(&mut self) {
        let root = std::mem::take(&mut self.root);
        // What cannot be removed now is removed at the next start.
        let remove = move || drop(std::fs::remove_dir_all(root));
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(paths: &[&str]) -> Result<Vec<(String, Vec<u8>)>, MountError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"content").unwrap();
        let files: Vec<_> = paths.iter().map(|path| ((*path).to_owned(), file.clone())).collect();
        let (tree, mounts) = MountTree::build(dir.path(), JobId(7), &files)?;
        let mut seen = Vec::new();
        for (guest, host) in &mounts {
            for path in paths {
                let inner = path.strip_prefix(guest).unwrap_or("-").trim_start_matches('/');
                if let Ok(bytes) = std::fs::read(host.join(inner)) {
                    seen.push(((*path).to_owned(), bytes));
                }
            }
        }
        let root = tree.root.clone();
        drop(tree);
        assert!(!root.exists());
        Ok(seen)
    }

    #[test]
    fn every_file_is_where_the_job_wants_it() {
        let seen = build(&["/in.txt", "/data/a", "/data/deep/b", "/other/c"]).unwrap();
        assert_eq!(seen.len(), 4);
        assert!(seen.iter().all(|(_, bytes)| bytes == b"content"));
    }

    #[test]
    fn paths_that_cannot_be_are_refused_by_name() {
        for (paths, wanted) in [
            (&["/scratch/a"][..], "`/scratch/a` lies in the scratch directory"),
            (&["/data/a", "/data/a"], "`/data/a` is used twice"),
            (&["/data/a", "/data/a/b"], "`/data/a/b` is used twice, or is a file and"),
            (&["/data/a/b", "/data/a"], "`/data/a` is used twice, or is a file and"),
        ] {
            let error = build(paths).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
