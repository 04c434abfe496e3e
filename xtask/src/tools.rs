//! What the chores need beyond cargo, installed where it is missing.
//!
//! Each tool is installed with the command that a person would type. Where that fails,
//! the chore fails with the command to run: a check that cannot run is not passed over.

use std::process::Command;

use crate::step::{Failed, root, run, succeeds};

/// Versions that the checks were written against.
const NEXTEST: &str = "0.9.143";
const DENY: &str = "0.20.2";

/// Everything that `cargo xtask test` needs.
pub(crate) fn ensure_all() -> Result<(), Failed> {
    ensure_components()?;
    ensure_wasm_target()?;
    ensure_subcommand("cargo-nextest", "nextest", NEXTEST)?;
    ensure_subcommand("cargo-deny", "deny", DENY)
}

/// The target that guests are built for. It brings its own linker and standard library.
pub(crate) fn ensure_wasm_target() -> Result<(), Failed> {
    let installed = Command::new("rustup")
        .current_dir(root())
        .args(["target", "list", "--installed"])
        .output()
        .map_err(|error| Failed::new(format!("rustup did not start: {error}; see rustup.rs")))?;
    if String::from_utf8_lossy(&installed.stdout).lines().any(|line| line == "wasm32-wasip2") {
        return Ok(());
    }
    rustup(["target", "add", "wasm32-wasip2"])
}

fn ensure_components() -> Result<(), Failed> {
    for (component, probe) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if !succeeds(Command::new("cargo").current_dir(root()).args([probe, "--version"])) {
            rustup(["component", "add", component])?;
        }
    }
    Ok(())
}

fn rustup(arguments: [&str; 3]) -> Result<(), Failed> {
    let what = format!("rustup {}", arguments.join(" "));
    run(&what, Command::new("rustup").current_dir(root()).args(arguments))
}

fn ensure_subcommand(package: &str, subcommand: &str, version: &str) -> Result<(), Failed> {
    if succeeds(Command::new("cargo").args([subcommand, "--version"])) {
        return Ok(());
    }
    let mut install = Command::new("cargo");
    install.current_dir(root()).args(["install", "--locked", package, "--version", version]);
    run(&format!("install {package} {version}"), &mut install)
}
