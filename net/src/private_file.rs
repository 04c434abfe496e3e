//! Files that hold secrets: written whole or not at all, readable by their owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::IdentityError;

/// A key, certificate or credential is a few kilobytes; a larger file is something else.
const MAX_SIZE: u64 = 256 << 10;

/// Writes `text` to `path` with mode 0600. A reader sees the old file or the new one, also
/// after a crash.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), IdentityError> {
    replace(path, text).map_err(|source| IdentityError::File {
        action: "cannot write",
        path: path.to_owned(),
        source,
    })
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let dir = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(dir)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = dir.join(name);
    let written = write_new(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // What matters is why it could not be written; the remnant is harmless.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(dir)?.sync_all()
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    // A remnant of a crash may be there, with any mode: begin anew.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Reads a file that holds a secret; refuses one that others may read.
pub(crate) fn read_secret(path: &Path) -> Result<String, IdentityError> {
    let text = read(path)?;
    let mode = fs::metadata(path).map_err(|source| unreadable(path, source))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(IdentityError::Exposed { path: path.to_owned() });
    }
    Ok(text)
}

/// Reads a file of text, bounded.
pub(crate) fn read(path: &Path) -> Result<String, IdentityError> {
    let mut text = String::new();
    let file = File::open(path).map_err(|source| unreadable(path, source))?;
    file.take(MAX_SIZE + 1).read_to_string(&mut text).map_err(|source| unreadable(path, source))?;
    if text.len() as u64 > MAX_SIZE {
        let problem = format!("larger than {MAX_SIZE} bytes: not a key, certificate or credential");
        return Err(IdentityError::malformed(path.display(), problem));
    }
    Ok(text)
}

fn unreadable(path: &Path, source: io::Error) -> IdentityError {
    IdentityError::File { action: "cannot read", path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_is_private_even_over_an_open_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/secret");
        write(&path, "one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read_secret(&path), Err(IdentityError::Exposed { .. })));
        write(&path, "two").unwrap();
        assert_eq!(read_secret(&path).unwrap(), "two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_or_huge_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none");
        assert!(read(&path).unwrap_err().to_string().contains("none"));
        fs::write(&path, vec![b'x'; MAX_SIZE as usize + 1]).unwrap();
        assert!(matches!(read(&path), Err(IdentityError::Malformed { .. })));
    }
}
