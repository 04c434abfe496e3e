//! Every check, in the order in which a mistake is cheapest to hear of.

use std::ffi::OsString;

use crate::step::{Failed, cargo, run, target};
use crate::{swiftshader, tools, wheels};

/// What tests take libraries and models from.
const WHEELS: [&str; 5] =
    ["onnx", "onnxruntime", "onnxruntime-gpu", "onnxruntime-webgpu", "magika"];

/// Guests are built into one folder beside the root workspace's own artefacts, where
/// the tests look for them.
fn guest_target() -> OsString {
    target().join("guests").into()
}

/// All of it, as CI does.
pub(crate) fn run_checks() -> Result<(), Failed> {
    tools::ensure_all()?;
    wheels::ensure(&WHEELS)?;
    swiftshader::ensure()?;
    for folder in [".", "examples", "tests/guests"] {
        run(&format!("formatting of {folder}"), &mut cargo(folder, ["fmt", "--all", "--check"]))?;
    }
    run(
        "licences, sources and bans",
        &mut cargo(".", ["deny", "--locked", "check", "bans", "licenses", "sources"]),
    )?;
    build_guests()?;
    run("build", &mut cargo(".", ["build", "--workspace", "--locked"]))?;
    run("tests", &mut cargo(".", ["nextest", "run", "--workspace", "--locked", "--no-fail-fast"]))?;
    let mut examples = cargo("examples", ["test", "--locked"]);
    run("the examples' own tests", examples.env("CARGO_TARGET_DIR", guest_target()))?;
    run("doc tests", &mut cargo(".", ["test", "--doc", "--workspace", "--locked"]))?;
    run(
        "lints",
        &mut cargo(
            ".",
            ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
        ),
    )?;
    for folder in ["examples", "tests/guests"] {
        let mut clippy = cargo(
            folder,
            [
                "clippy",
                "--release",
                "--locked",
                "--target",
                "wasm32-wasip2",
                "--",
                "-D",
                "warnings",
            ],
        );
        run(&format!("lints of {folder}"), clippy.env("CARGO_TARGET_DIR", guest_target()))?;
    }
    Ok(())
}

/// Builds what runs inside the sandbox: the examples and the tests' own guests.
pub(crate) fn build_guests() -> Result<(), Failed> {
    for folder in ["examples", "tests/guests"] {
        let mut build =
            cargo(folder, ["build", "--release", "--locked", "--target", "wasm32-wasip2"]);
        run(&format!("build of {folder}"), build.env("CARGO_TARGET_DIR", guest_target()))?;
    }
    build_published_program()
}

/// A program from crates.io that knows nothing of wrun, as its author locked it: the tests
/// run it unmodified.
fn build_published_program() -> Result<(), Failed> {
    let root = target().join("guests/published");
    if root.join("bin/choose.wasm").exists() {
        return Ok(());
    }
    let mut install = cargo(".", ["install", "choose", "--version", "1.3.7", "--locked"]);
    install.args(["--quiet", "--target", "wasm32-wasip2", "--root"]).arg(&root);
    install.env("CARGO_TARGET_DIR", guest_target());
    run("build of a published program", &mut install)
}

/// Hands over to the benchmarks, which need the release build.
pub(crate) fn bench(arguments: &[String]) -> Result<(), Failed> {
    tools::ensure_wasm_target()?;
    wheels::ensure(&["magika", "onnxruntime", "silero-vad"])?;
    build_guests()?;
    run("release build", &mut cargo(".", ["build", "--release", "--locked", "--package", "wrun"]))?;
    let mut bench = cargo(".", ["run", "--release", "--locked", "--package", "wrun-benches", "--"]);
    run("benchmarks", bench.args(arguments))
}
