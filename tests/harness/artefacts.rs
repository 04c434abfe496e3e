//! Where the build put what the tests run.

use std::path::{Path, PathBuf};

/// The folder of the running profile: `target/debug` or `target/release`.
fn profile() -> PathBuf {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    folder
}

/// The `wrun` binary of the same profile as the running test.
pub fn wrun() -> PathBuf {
    existing(profile().join("wrun"), "cargo build --workspace")
}

/// A guest by the name of its file without `.wasm`: an example or one of the tests' own.
pub fn guest(name: &str) -> PathBuf {
    let folder = profile().parent().unwrap().join("guests/wasm32-wasip2/release");
    existing(folder.join(format!("{name}.wasm")), "cargo xtask guests")
}

/// A program that others published, built unmodified.
pub fn published(name: &str) -> PathBuf {
    let folder = profile().parent().unwrap().join("guests/published/bin");
    existing(folder.join(format!("{name}.wasm")), "cargo xtask guests")
}

/// The bytes of a guest: one that was built, or one of `tests/guests/wat`.
pub fn guest_bytes(name: &str) -> Vec<u8> {
    let text = checkout(&format!("tests/guests/wat/{name}.wat"));
    if text.exists() {
        return wat::parse_file(&text).unwrap();
    }
    std::fs::read(guest(name)).unwrap()
}

/// A file of the checkout.
pub fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

fn existing(path: PathBuf, made_by: &str) -> PathBuf {
    assert!(path.exists(), "{} is missing: run `{made_by}` first", path.display());
    path
}
