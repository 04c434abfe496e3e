//! `wasmtime serve`, of the version of wasmtime that wrun is built with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use harness::artefacts::{checkout, guest};
use harness::process::Process;

/// The version in Cargo.lock.
pub(super) fn version() -> Result<String> {
    let lock = std::fs::read_to_string(checkout("Cargo.lock"))?;
    let mut lines = lock.lines().skip_while(|line| *line != "name = \"wasmtime\"");
    let line = lines.nth(1).and_then(|line| line.strip_prefix("version = \""));
    Ok(line
        .and_then(|line| line.strip_suffix('"'))
        .context("no wasmtime in Cargo.lock")?
        .to_owned())
}

/// The program, built once.
pub(super) fn program() -> Result<PathBuf> {
    let version = version()?;
    let root = checkout("target/peers/wasmtime");
    let program = root.join(&version).join("bin/wasmtime");
    if !program.exists() {
        let mut install = Command::new("cargo");
        install.args(["install", "wasmtime-cli", "--locked", "--version", &version, "--root"]);
        install.arg(root.join(&version)).env("CARGO_TARGET_DIR", root.join("build"));
        let status = install.status()?;
        ensure!(status.success(), "{install:?} ended with {status}");
    }
    Ok(program)
}

/// A server of one component, until it is dropped.
pub(super) struct Serve {
    pub(super) address: SocketAddr,
    _process: Process,
}

impl Serve {
    pub(super) fn start(
        program: &Path,
        component: &str,
        flags: &[&str],
        folder: &Path,
    ) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["serve", "-Scli", "--addr", "127.0.0.1:0"]).args(flags);
        command.arg(guest(component));
        let mut process = Process::start(command, folder, "serve");
        let address = process.wait_for_log("wasmtime serves", |logged| {
            let (_, rest) = logged.split_once("http://")?;
            rest.split('/').next()?.trim().parse().ok()
        });
        Ok(Self { address, _process: process })
    }
}
