//! Where credentials are put, so that the CLI finds them and no other cluster's is lost.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::Error;

/// Whether the CLI finds the credential without being told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// At the place where it looks.
    Yes,
    /// Something else is there, and stays.
    No,
}

/// Makes `place` a link to `file`, where nothing is there or a link that leads nowhere any
/// more. A link loses nothing: the credential itself stays with its cluster's data.
pub(crate) fn link(file: &Path, place: &Path) -> Result<Found, Error> {
    let failed = |cause: io::Error| Error::file("link the credential at", place, &cause);
    if same(file, place) {
        return Ok(Found::Yes);
    }
    match fs::symlink_metadata(place) {
        Ok(meta) if meta.is_symlink() && !place.exists() => {
            fs::remove_file(place).map_err(failed)?;
        }
        Ok(_) => return Ok(Found::No),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(failed(cause)),
    }
    if let Some(folder) = place.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = std::path::absolute(file).map_err(failed)?;
    match std::os::unix::fs::symlink(file, place) {
        Ok(()) => Ok(Found::Yes),
        // Another process was faster: what it put there stays.
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(Found::No),
        Err(cause) => Err(failed(cause)),
    }
}

fn same(a: &Path, b: &Path) -> bool {
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_place_and_a_dead_link_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (file, place) = (folder.path().join("mine"), folder.path().join("conf/place"));
        fs::write(&file, "mine").unwrap();
        assert_eq!(link(&file, &place).unwrap(), Found::Yes);
        assert_eq!(link(&file, &place).unwrap(), Found::Yes, "a second start");
        assert_eq!(fs::read_to_string(&place).unwrap(), "mine");
        fs::remove_file(&file).unwrap();
        let next = folder.path().join("next");
        fs::write(&next, "next").unwrap();
        assert_eq!(link(&next, &place).unwrap(), Found::Yes);
        assert_eq!(fs::read_to_string(&place).unwrap(), "next");
    }

    #[test]
    fn another_clusters_credential_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("mine"), folder.path().join("other"));
        let place = folder.path().join("place");
        fs::write(&file, "mine").unwrap();
        fs::write(&other, "other").unwrap();
        std::os::unix::fs::symlink(&other, &place).unwrap();
        assert_eq!(link(&file, &place).unwrap(), Found::No);
        assert_eq!(link(&file, &other).unwrap(), Found::No);
        assert_eq!(fs::read_to_string(&place).unwrap(), "other");
    }
}
