//! Which compiled code this node trusts: a MAC over each entry of the cache, under a key
//! that this node made and never shows. Whoever can write the cache but not read the key
//! cannot make the node run code of theirs.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::SandboxError;

const KEY_FILE: &str = "key";
/// Bytes of the key and of a tag.
pub(crate) const SIZE: usize = 32;

/// Seals entries and checks seals.
pub(crate) struct Sealer {
    key: hmac::Key,
}

impl Sealer {
    /// Reads the node's key from `dir`, or makes directory and key.
    pub(crate) fn open(dir: &Path) -> Result<Self, SandboxError> {
        let refused = |problem: String| SandboxError::Cache { path: dir.to_owned(), problem };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| refused(format!("the directory cannot be made: {error}")))?;
        let path = dir.join(KEY_FILE);
        let bytes = match read_key(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_key(dir)
                .map_err(|error| refused(format!("its key cannot be made: {error}")))?,
            Err(error) => {
                return Err(refused(format!(
                    "its key `{KEY_FILE}` cannot be used: {error}; remove the directory, it \
                     will be made anew"
                )));
            }
        };
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &bytes) })
    }

    /// The tag of an entry: `header` and the code that follows it.
    pub(crate) fn seal(&self, header: &[u8], code: &[u8]) -> [u8; SIZE] {
        let mut tag = [0; SIZE];
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(header.len() as u64).to_le_bytes());
        context.update(header);
        context.update(code);
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    /// Whether `tag` is the tag of the entry; compared in constant time.
    pub(crate) fn holds(&self, header: &[u8], code: &[u8], tag: &[u8]) -> bool {
        // Comparing the tags' tags takes the same time wherever they differ, and needs no
        // copy of the code.
        let right = hmac::sign(&self.key, &self.seal(header, code));
        hmac::verify(&self.key, tag, right.as_ref()).is_ok()
    }
}

fn read_key(path: &Path) -> io::Result<[u8; SIZE]> {
    let mut file = fs::File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o077;
    if mode != 0 {
        let text = "others may read it (its mode must be 0600)";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    let mut bytes = [0; SIZE];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Written beside and linked into place, so that two processes that start together end
/// up with one key and neither reads half of one.
fn make_key(dir: &Path) -> io::Result<[u8; SIZE]> {
    let mut bytes = [0; SIZE];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("no randomness"))?;
    let beside = dir.join(format!("{KEY_FILE}.{}", std::process::id()));
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    let linked = fs::hard_link(&beside, dir.join(KEY_FILE));
    let _ = fs::remove_file(&beside);
    match linked {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read_key(&dir.join(KEY_FILE)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_holds_for_exactly_what_was_sealed_by_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        let tag = Sealer::open(dir.path()).unwrap().seal(b"head", b"code");
        let again = Sealer::open(dir.path()).unwrap();
        assert!(again.holds(b"head", b"code", &tag));
        assert!(!again.holds(b"head", b"kode", &tag));
        assert!(!again.holds(b"headc", b"ode", &tag));
        let other = tempfile::tempdir().unwrap();
        assert!(!Sealer::open(other.path()).unwrap().holds(b"head", b"code", &tag));
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Sealer::open(dir.path()).unwrap();
        let path = dir.path().join(KEY_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Sealer::open(dir.path()).err().unwrap().to_string();
        assert!(error.contains("0600"), "{error}");
    }
}
