//! Running one command and saying which.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// Why a chore stopped.
#[derive(Debug)]
pub(crate) struct Failed(String);

impl Failed {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(format!("error: {}", message.into()))
    }

    pub(crate) fn usage(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map_or_else(|| manifest.clone(), PathBuf::from)
}

/// Where cargo puts what it builds from the root workspace.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A cargo command in `folder` of the checkout.
pub(crate) fn cargo<I: AsRef<OsStr>>(
    folder: &str,
    arguments: impl IntoIterator<Item = I>,
) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root().join(folder)).args(arguments);
    command
}

/// Runs `command` with its output shown; `what` is printed before and on failure.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<(), Failed> {
    println!("==> {what}");
    let begun = Instant::now();
    let status = command
        .status()
        .map_err(|error| Failed::new(format!("{what}: {command:?} did not start: {error}")))?;
    if status.success() {
        println!("    {what}: {:.0} s", begun.elapsed().as_secs_f64());
        Ok(())
    } else {
        Err(Failed::new(format!("{what}: {command:?} ended with {status}")))
    }
}

/// Whether `command` runs and succeeds; its output is not shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
