//! ONNX Runtime itself, in its child: the library that `cargo xtask wheels onnxruntime` fetches,
//! or the one in `ORT_DYLIB_PATH`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::env::{call, config, floats, load, wait};
use super::models;
use super::onnx_file::{FLOAT, FLOAT16, Graph};
use crate::child::{Command, InChild, main, probe};
use crate::config::{BackEndConfig, Limits, OnnxRuntimeConfig, Provider};
use crate::device::Device;
use crate::error::ErrorCode;
use crate::{Batching, Engine};

/// What the child runs.
#[test]
#[ignore = "the child of the other tests"]
fn entry() {
    // Called by hand it has no parent, and does nothing.
    assert!([ExitCode::SUCCESS, ExitCode::FAILURE].contains(&main()));
}

fn command() -> Command {
    let arguments = ["--exact", "tests::onnx_runtime::entry", "--ignored", "--nocapture"];
    Command {
        program: std::env::current_exe().unwrap(),
        arguments: arguments.into_iter().map(Into::into).collect(),
        environment: Vec::new(),
    }
}

fn start_with(library: PathBuf, providers: Vec<Provider>) -> Engine {
    let runtime = OnnxRuntimeConfig { library: Some(library), providers, threads: 1 };
    let (device, limits) = (Device::Processor, Limits::default());
    let config_of_it = BackEndConfig::OnnxRuntime(runtime);
    let back_end = InChild::new("onnxruntime", device, command(), config_of_it, &limits);
    Engine::with(config(), vec![Arc::new(back_end)]).unwrap()
}

fn start(providers: Vec<Provider>) -> Engine {
    start_with(library(), providers)
}

fn library() -> PathBuf {
    if let Some(library) = std::env::var_os("ORT_DYLIB_PATH") {
        return library.into();
    }
    // From `target/PROFILE/deps/TEST`.
    let test = std::env::current_exe().unwrap();
    let wheels = test.ancestors().nth(3).unwrap().join("wheels");
    let files = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let named = |path: &PathBuf, begin: &str| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(begin))
    };
    let mut unpacked = files(wheels);
    unpacked.retain(|folder| named(folder, "onnxruntime-1."));
    let libraries = unpacked.into_iter().flat_map(|it| files(it.join("onnxruntime/capi")));
    let mut libraries = libraries.filter(|file| named(file, "libonnxruntime.so"));
    libraries.next().expect("the library is missing: run `cargo xtask wheels onnxruntime` first")
}

#[test]
fn a_model_computes_and_its_axes_are_proven() {
    let engine = start(vec![Provider::Cpu]);
    let model = load(&engine, 1, models::affine()).unwrap();
    let input = floats(&[2, 3], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    let outputs = wait(model.compute(call("a"), vec![("x".to_owned(), input)])).unwrap();
    assert_eq!(outputs, [("y".to_owned(), floats(&[2, 2], &[1.5, 1.5, 9.5, 11.5]))]);
    let alone = "a batch is only";
    let batching = model.batching();
    assert!(
        matches!(batching, Batching::Merged(_)) || batching.to_string().contains(alone),
        "{batching}"
    );
}

#[test]
fn a_provider_that_cannot_be_had_gives_way_to_the_next_and_says_why_where_there_is_none() {
    let engine = start(vec![Provider::Cuda, Provider::Cpu]);
    let model = load(&engine, 1, models::affine()).unwrap();
    assert_eq!(model.stats().device, "cpu");
    let engine = start(vec![Provider::Cuda]);
    let error = load(&engine, 1, models::affine()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::RuntimeError);
    assert!(error.to_string().contains("cuda: "), "{error}");
}

#[test]
fn a_provider_that_cannot_be_had_is_found_out_and_told_before_any_model() {
    let providers = vec![Provider::Cuda, Provider::Cpu, Provider::WebGpu];
    let runtime =
        OnnxRuntimeConfig { library: Some(library()), providers: providers.clone(), threads: 1 };
    let config = BackEndConfig::OnnxRuntime(runtime);
    let about = probe(&command(), "onnxruntime", &config, &providers, &Limits::default());
    assert_eq!(about.problem, None);
    let version = about.version.as_deref().unwrap();
    assert!(library().to_str().unwrap().contains(version), "{version}");
    let names: Vec<_> = about.providers.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["cuda", "cpu", "webgpu"]);
    let usable: Vec<_> = about.usable().map(|it| &*it.name).collect();
    assert_eq!(usable, ["cpu"], "{about:?}");
}

#[test]
fn an_operator_that_it_lacks_is_named() {
    let engine = start(vec![Provider::Cpu]);
    let file = models::relu_graph().node("Frobnicate", &["x"], &["z"]).model();
    let error = load(&engine, 1, file).unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation, "{error}");
    let text = "onnxruntime has no operator `Frobnicate`, which node `Frobnicate_z` uses";
    assert!(error.to_string().starts_with(text), "{error}");
}

#[test]
fn halves_go_in_and_out() {
    let file = Graph::default()
        .input("x", FLOAT16, &[super::onnx_file::Dim::Fixed(1)])
        .output("y", FLOAT, &[super::onnx_file::Dim::Fixed(1)])
        .node_with("Cast", &["x"], &["y"], vec![super::onnx_file::Attribute::Int("to", 1)])
        .model();
    let engine = start(vec![Provider::Cpu]);
    let model = load(&engine, 1, file).unwrap();
    let half = crate::Tensor::new([1], crate::ElementType::Fp16, vec![0x00, 0x3e]);
    let outputs = wait(model.compute(call("a"), vec![("x".to_owned(), half)])).unwrap();
    assert_eq!(outputs[0].1, floats(&[1], &[1.5]));
}

#[test]
fn a_library_that_is_not_there_or_no_such_library_is_told() {
    for (library, reason) in [
        ("/no/such/library.so", "`/no/such/library.so` cannot be loaded"),
        ("/proc/self/exe", "cannot use the library"),
    ] {
        let engine = start_with(library.into(), vec![Provider::Cpu]);
        let error = load(&engine, 1, models::affine()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::RuntimeError);
        assert!(error.to_string().contains(reason), "{error}");
    }
}
