//! The project's own chores: `cargo xtask demo`, `test`, `guests`, `wheels`,
//! `swiftshader` and `bench`.
//!
//! No dependencies, so that the first command a newcomer types starts at once. What the
//! chores need beyond cargo is installed here ([`tools`], [`wheels`], [`swiftshader`]); nothing is skipped
//! silently.

mod demo;
mod step;
mod swiftshader;
mod tests;
mod tools;
mod wheels;

use std::process::ExitCode;

use step::Failed;

const USAGE: &str = "\
usage: cargo xtask CHORE

chores:
  demo     build wrun and an example, run the example on an embedded cluster, show the result
  test     every check, exactly as CI runs them: formatting, lints, licences, tests, examples
  guests   build the examples and the test guests for wasm32-wasip2
  wheels   fetch published wheels that tests take libraries and models from (all, or NAME...)
  swiftshader
           fetch a Vulkan device in software, for a test of the WebGPU provider
  bench    measure wrun beside its peers and write docs/benchmarks.md (see benches/)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let chore = arguments.first().map_or("", String::as_str);
    let rest = arguments.get(1..).unwrap_or_default();
    let result = match chore {
        "demo" => demo::show(),
        "test" => tests::run_checks(),
        "guests" => tools::ensure_wasm_target().and_then(|()| tests::build_guests()),
        "swiftshader" => swiftshader::ensure(),
        "wheels" => wheels::ensure(rest),
        "bench" => tests::bench(rest),
        _ => Err(Failed::usage(USAGE)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("{failed}");
            ExitCode::FAILURE
        }
    }
}
