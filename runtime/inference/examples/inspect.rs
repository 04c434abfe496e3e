//! Loads an ONNX file as a node would, and says what it takes, gives and costs.
//! `cargo run --release -p wrun-inference --example inspect -- FILE`

use std::process::ExitCode;

use wrun_inference::{Config, Engine, ModelOptions};

fn main() -> ExitCode {
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
    let engine = Engine::start(Config::default())?;
    let (tenant, options) = ("me".parse()?, ModelOptions::default());
    let load = engine.load_bytes(&tenant, file, &options, bytes.into());
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
