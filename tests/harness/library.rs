//! Shared libraries that tests make in place of those that a machine may or may not have.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A shared library of that source in C under that name, by the compiler that links these tests.
pub fn compiled(folder: &Path, name: &str, source: &str) -> PathBuf {
    let (from, to) = (folder.join(format!("{name}.c")), folder.join(name));
    std::fs::write(&from, source).unwrap();
    let status = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&to).arg(&from).status();
    assert!(status.unwrap().success());
    to
}
