//! `wrun build`: cargo for wasm32-wasip2, and what came of it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use wrun_component::Kind;
use wrun_protocol::resources::Bytes;

use super::{Context, Ended};
use crate::console::Console;
use crate::error::Error;
use crate::exit::Exit;
use crate::plan::digest_of;
use crate::report::json;
use crate::syntax::project::Build;

const TARGET: &str = "wasm32-wasip2";

/// Builds, and shows each component that was made.
pub(crate) fn build(context: &Context, args: &Build) -> Ended {
    if !args.dir.join("Cargo.toml").is_file() {
        let text = format!("no Cargo.toml in `{}`", args.dir.display());
        return Err(Error::new(Exit::NotFound, text)
            .todo("name a Rust project's folder, or make one with `wrun new`"));
    }
    require_target(&args.dir)?;
    let made = cargo(args)?;
    if made.is_empty() {
        return Err(Error::new(Exit::InvalidInput, "the project makes no component")
            .todo("give it a `main`, or a library with crate-type = [\"cdylib\"]"));
    }
    made.iter().try_for_each(|path| show(context.console, path))?;
    Ok(Exit::Success)
}

/// The target's library is where rustc keeps it, whoever installed it.
fn require_target(dir: &Path) -> Result<(), Error> {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(dir)
        .output()
        .map_err(|cause| no_tool("rustc", &cause))?;
    let libdir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && libdir.is_dir() {
        return Ok(());
    }
    Err(Error::new(Exit::NotFound, format!("Rust's target {TARGET} is not installed"))
        .todo(format_args!("run `rustup target add {TARGET}`")))
}

fn no_tool(name: &str, cause: &std::io::Error) -> Error {
    Error::new(Exit::NotFound, format!("cannot run `{name}`: {cause}"))
        .todo("install Rust with rustup, see https://rustup.rs")
}

/// The part of cargo's messages that is of interest.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    manifest_path: Option<PathBuf>,
}

fn cargo(args: &Build) -> Result<Vec<PathBuf>, Error> {
    let mut command = Command::new("cargo");
    command.args(["build", "--target", TARGET, "--message-format", "json-render-diagnostics"]);
    if !args.debug {
        command.arg("--release");
    }
    command.args(&args.args).current_dir(&args.dir).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|cause| no_tool("cargo", &cause))?;
    let mut made = Vec::new();
    for line in child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines) {
        let line =
            line.map_err(|cause| Error::new(Exit::Io, format!("cannot read from cargo: {cause}")))?;
        let Ok(message) = serde_json::from_str::<Message>(&line) else { continue };
        if message.reason == "compiler-artifact" && message.manifest_path.is_some() {
            let is_wasm = |path: &PathBuf| path.extension().is_some_and(|end| end == "wasm");
            made.extend(message.filenames.into_iter().filter(is_wasm));
        }
    }
    let status = child.wait().map_err(|cause| no_tool("cargo", &cause))?;
    if status.success() {
        return Ok(made);
    }
    Err(Error::new(Exit::InvalidInput, "cargo could not build the project")
        .todo("see its messages above"))
}

fn show(console: Console, path: &Path) -> Result<(), Error> {
    let bytes = std::fs::read(path).map_err(|cause| Error::file("read", path, &cause))?;
    let inspected = wrun_component::inspect(&bytes).map_err(|cause| {
        let text = format!("`{}`: {}", path.display(), crate::error::folded(&cause));
        Error::new(Exit::InvalidInput, text)
    })?;
    let (kind, said) = match inspected.kind {
        Kind::Command => ("command", "a program"),
        Kind::Handler => ("handler", "a handler"),
        Kind::Http => ("http", "an HTTP service"),
    };
    let size = bytes.len() as u64;
    if console.wants_json() {
        let digest = digest_of(&bytes).to_string();
        return console.json(&json::Component {
            path: path.display().to_string(),
            kind,
            size,
            digest,
        });
    }
    let path = match std::env::current_dir() {
        Ok(here) => path.strip_prefix(here).unwrap_or(path),
        Err(_) => path,
    };
    console.line(format_args!("{}  {said} ({}), {}", path.display(), inspected.export, Bytes(size)))
}
