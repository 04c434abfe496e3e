//! Loads an ONNX file as a node would, and says what it takes, gives and costs.
//! `cargo run --release -p wrun-inference --example inspect_model -- FILE [LIBRARY]`
//!
//! With the library of ONNX Runtime it is loaded there, in a process of its own, on the
//! processor (which takes the feature `ort`).

use std::process::ExitCode;

use wrun_inference::{BackEndConfig, OnnxRuntimeConfig, Provider};
use wrun_inference::{Config, Engine, ModelOptions};

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|argument| argument == wrun_inference::child::ARGUMENT) {
        return wrun_inference::child::main();
    }
    let Some(file) = std::env::args().nth(1) else {
        eprintln!("which file?");
        return ExitCode::FAILURE;
    };
    match inspect(&file) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{file}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn inspect(file: &str) -> Result<String, Box<dyn std::error::Error>> {
    let bytes = std::fs::read(file)?;
    let mut config = Config::default();
    if let Some(library) = std::env::args().nth(2) {
        let (library, providers) = (Some(library.into()), vec![Provider::Cpu]);
        let threads = config.threads;
        let runtime = OnnxRuntimeConfig { library, providers, threads };
        config.back_ends = vec![BackEndConfig::OnnxRuntime(runtime)];
    }
    let engine = Engine::start(config)?;
    let (tenant, options) = ("me".parse()?, ModelOptions::default());
    let load = engine.load_bytes(&tenant, file, &options, &[], bytes.into());
    let start = std::time::Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let model = runtime.block_on(load)?;
    let signature = model.signature();
    let inputs: Vec<_> = signature.inputs.iter().map(ToString::to_string).collect();
    let outputs: Vec<_> = signature.outputs.iter().map(ToString::to_string).collect();
    let stats = model.stats();
    Ok(format!(
        "takes   {}\ngives   {}\nloaded  in {:.1?}, {} bytes, by {} on {}\nbatches {}",
        inputs.join("\n        "),
        outputs.join("\n        "),
        start.elapsed(),
        stats.bytes,
        stats.back_end,
        stats.device,
        model.batching(),
    ))
}
