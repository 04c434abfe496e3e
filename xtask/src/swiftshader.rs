//! SwiftShader, a Vulkan device in software: what a test runs ONNX Runtime's WebGPU provider on,
//! where no graphics card is. Debian has it, and a Vulkan loader, in its `chromium-common`; the
//! package is unpacked into `target/swiftshader/`, and not installed.

use std::fs;
use std::process::Command;

use crate::step::{Failed, run, target};

const PACKAGE: &str = "chromium-common";

/// Fetches it where it is missing.
pub(crate) fn ensure() -> Result<(), Failed> {
    let unpacked = target().join("swiftshader");
    if unpacked.exists() {
        return Ok(());
    }
    // Of this process alone: another may be at the same.
    let work = target().join(format!("swiftshader.{}", std::process::id()));
    let cannot = |what: &str, error: std::io::Error| {
        Failed::new(format!("cannot {what} {}: {error}", work.display()))
    };
    let download = work.join("download");
    fs::create_dir_all(&download).map_err(|error| cannot("make", error))?;
    let fetched = (|| {
        let what = format!("download of Debian's {PACKAGE}");
        let get = || {
            let mut apt = Command::new("apt-get");
            apt.current_dir(&download).args(["download", "--quiet", PACKAGE]);
            run(&what, &mut apt)
        };
        // A new machine knows no packages, and an old one those that are no more.
        get().or_else(|_| {
            let mut update = Command::new("apt-get");
            run("update of what packages there are", update.args(["update", "--quiet"]))?;
            get()
        })?;
        let entries = fs::read_dir(&download).map_err(|error| cannot("read", error))?;
        let packages = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let package =
            packages.into_iter().find(|path| path.extension().is_some_and(|it| it == "deb"));
        let package =
            package.ok_or_else(|| Failed::new(format!("apt-get left no {PACKAGE} behind")))?;
        let files = work.join("files");
        let mut unpack = Command::new("dpkg");
        run(&format!("unpacking of {PACKAGE}"), unpack.arg("-x").arg(package).arg(&files))?;
        // At once, so that what is there is whole.
        match fs::rename(files, &unpacked) {
            Err(error) if !unpacked.exists() => Err(cannot("move", error)),
            _ => Ok(()),
        }
    })();
    let removed = fs::remove_dir_all(&work).map_err(|error| cannot("remove", error));
    fetched.and(removed)
}
