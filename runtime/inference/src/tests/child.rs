//! A back end in a process of its own that aborts, hangs or ends: its requests fail, and the
//! next ones are answered.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::env::{call, config, floats, key, load_with, tenant, values, wait, x};
use super::models;
use crate::back_end::{BackEnd, Graph, RunError, Stop};
use crate::child::{Command, InChild, probe, serve};
use crate::config::{BackEndConfig, BatchAxes, Config, Limits, ModelOptions, Provider, Target};
use crate::device::{Card, Device};
use crate::error::{ComputeError, ErrorCode, LoadError};
use crate::onnx::Outline;
use crate::tensor::Tensor;
use crate::{Call, Engine, Model};

/// What the first number of an input makes of the process.
const ABORTS: f32 = 1.0;
const EXITS: f32 = 2.0;
const HANGS: f32 = 3.0;

struct Hostile;

impl BackEnd for Hostile {
    fn name(&self) -> &'static str {
        "hostile"
    }

    fn has(&self, _: Target) -> bool {
        true
    }

    fn version(&self) -> Option<String> {
        Some("0.1\n".to_owned())
    }

    fn probe(&self, provider: Provider) -> Result<(), String> {
        match provider {
            Provider::Cpu => Ok(()),
            Provider::Cuda => std::process::abort(),
            Provider::TensorRt => std::process::exit(3),
            Provider::WebGpu => Err("no\n\tdevice".to_owned()),
        }
    }

    fn load(
        &self,
        _: &Bytes,
        outline: &Outline,
        _: Target,
        _: &Limits,
    ) -> Result<Arc<dyn Graph>, LoadError> {
        if outline.operators.iter().any(|operator| operator.name == "Abort") {
            std::process::abort();
        }
        println!("what a library prints must not reach the parent's tensors");
        Ok(Arc::new(Hostile))
    }
}

impl Graph for Hostile {
    fn device(&self) -> String {
        let visible = std::env::var("CUDA_VISIBLE_DEVICES");
        visible.map_or_else(|_| "child".to_owned(), |card| format!("child that sees {card}"))
    }

    fn bytes(&self) -> u64 {
        100
    }

    fn run(&self, inputs: Vec<Tensor>, _: &Stop) -> Result<Vec<Tensor>, RunError> {
        println!("nor here");
        let first = inputs[0].data().first_chunk().map(|bytes| f32::from_le_bytes(*bytes));
        match first {
            Some(ABORTS) => std::process::abort(),
            Some(EXITS) => std::process::exit(3),
            Some(HANGS) => loop {
                std::thread::park();
            },
            _ => Ok(inputs),
        }
    }
}

/// What the child runs: these tests are the program, so it is one of them.
#[test]
#[ignore = "the child of the other tests"]
fn entry() {
    // Called by hand it has no parent, and does nothing.
    let code = serve(|_| Ok(Arc::new(Hostile)));
    assert!([ExitCode::SUCCESS, ExitCode::FAILURE].contains(&code));
}

/// The same with the back ends that there are.
#[cfg(feature = "tract")]
#[test]
#[ignore = "the child of another test"]
fn real_entry() {
    assert!([ExitCode::SUCCESS, ExitCode::FAILURE].contains(&crate::child::main()));
}

pub(super) fn command(entry: &str) -> Command {
    let arguments = ["--exact", entry, "--ignored", "--nocapture"];
    Command {
        program: std::env::current_exe().unwrap(),
        arguments: arguments.into_iter().map(Into::into).collect(),
        environment: Vec::new(),
    }
}

fn program(path: &str) -> Command {
    Command { program: path.into(), arguments: Vec::new(), environment: Vec::new() }
}

fn start() -> Engine {
    let command = command("tests::child::entry");
    Engine::with(config(), vec![in_child("hostile", Device::Processor, command)]).unwrap()
}

fn in_child(name: &'static str, device: Device, command: Command) -> Arc<dyn BackEnd> {
    let limits = Limits::default();
    Arc::new(InChild::new(name, device, command, BackEndConfig::Tract, &limits))
}

fn load(engine: &Engine, number: u8, file: Vec<u8>) -> Result<Model, LoadError> {
    let options = ModelOptions { axes: BatchAxes::Never, ..ModelOptions::default() };
    load_with(engine, number, file, &options)
}

fn failure(model: &Model, value: f32) -> String {
    let error = wait(model.compute(call("a"), x(&[value, 0.0]))).unwrap_err();
    assert_eq!(error.code(), ErrorCode::RuntimeError);
    error.to_string()
}

#[test]
fn each_provider_is_tried_whatever_the_one_before_did_to_its_process() {
    let command = command("tests::child::entry");
    let about =
        probe(&command, "hostile", &BackEndConfig::Tract, &Provider::ALL, &Limits::default());
    assert_eq!((about.version.as_deref(), about.problem.as_deref()), (Some("0.1"), None));
    let told: Vec<_> =
        about.providers.iter().map(|it| (&*it.name, it.problem.as_deref())).collect();
    let expected = [
        ("tensorrt", Some("its process ended by itself (exit status: 3)")),
        ("cuda", Some("its process crashed (abort, signal 6)")),
        ("webgpu", Some("no device")),
        ("cpu", None),
    ];
    assert_eq!(told, expected);
    let nobody = program("/no/such/program");
    let about =
        probe(&nobody, "hostile", &BackEndConfig::Tract, &Provider::ALL, &Limits::default());
    assert!(about.problem.unwrap().starts_with("its process cannot be started: "));
    assert!(about.providers.is_empty());
}

#[test]
fn a_model_in_a_child_computes() {
    let engine = start();
    let model = load(&engine, 1, models::relu()).unwrap();
    assert_eq!(model.stats().device, "child");
    for rows in [1, 1000, 3] {
        let given = floats(&[rows, 2], &vec![5.0; rows as usize * 2]);
        let outputs = wait(model.compute(call("a"), vec![("x".to_owned(), given.clone())]));
        assert_eq!(outputs.unwrap()[0].1, given);
    }
}

#[test]
fn each_card_has_a_child_that_sees_no_other_and_fails_alone() {
    let cards = ["GPU-1", "MIG-2"].map(|visible| Card { visible: visible.into(), memory: 5000 });
    let on_card = |place: u16, visible: &str| {
        let command = command("tests::child::entry").on_card(visible);
        in_child("hostile", Device::Card(place), command)
    };
    let back_ends = vec![on_card(0, "GPU-1"), on_card(1, "MIG-2")];
    let config = Config { cards: cards.into(), ..config() };
    let engine = Engine::with(config, back_ends).unwrap();
    let options = ModelOptions { axes: BatchAxes::Never, ..ModelOptions::default() };
    let load = |cards: &[u16]| {
        let fetch = || Ok(Bytes::from(models::relu()));
        wait(engine.load(&tenant("a"), "it", &key(1, &options), cards, fetch))
    };
    let (one, other) = (load(&[0]).unwrap(), load(&[1]).unwrap());
    assert_eq!(one.stats().device, "child that sees GPU-1:0");
    assert_eq!(other.stats().device, "child that sees MIG-2:1");
    assert_eq!(engine.model(&key(1, &options)).len(), 2);
    let slow = other.compute(call("a"), x(&[HANGS, 0.0]));
    assert!(failure(&one, ABORTS).contains("crashed"));
    assert_eq!(values(&wait(one.compute(call("a"), x(&[7.0, 8.0]))).unwrap()), [7.0, 8.0]);
    drop(slow);
    assert_eq!(values(&wait(other.compute(call("a"), x(&[7.0, 8.0]))).unwrap()), [7.0, 8.0]);
}

#[test]
fn a_crash_fails_its_request_and_the_next_one_has_a_new_child() {
    let engine = start();
    let model = load(&engine, 1, models::relu()).unwrap();
    let other = load(&engine, 2, models::relu()).unwrap();
    for _ in 0..2 {
        let message = failure(&model, ABORTS);
        assert_eq!(
            message,
            "hostile failed: its process crashed (abort, signal 6); it is started again for the \
             next request"
        );
        assert_eq!(values(&wait(other.compute(call("b"), x(&[7.0, 8.0]))).unwrap()), [7.0, 8.0]);
        assert_eq!(values(&wait(model.compute(call("a"), x(&[7.0, 8.0]))).unwrap()), [7.0, 8.0]);
    }
    let message = failure(&model, EXITS);
    assert!(message.contains("ended by itself (exit status: 3)"), "{message}");
}

#[test]
fn a_hang_ends_at_the_deadline_and_the_next_request_has_a_new_child() {
    let engine = start();
    let model = load(&engine, 1, models::relu()).unwrap();
    let deadline = Some(Instant::now() + Duration::from_millis(500));
    let hung = model.compute(Call { deadline, ..call("a") }, x(&[HANGS, 0.0]));
    let error = wait(hung).unwrap_err();
    assert!(matches!(error, ComputeError::Timeout { started: true, .. }), "{error}");
    assert_eq!(values(&wait(model.compute(call("a"), x(&[7.0, 8.0]))).unwrap()), [7.0, 8.0]);
}

#[test]
fn a_model_that_crashes_the_child_is_not_loaded_and_the_others_stay() {
    let engine = start();
    let other = load(&engine, 2, models::relu()).unwrap();
    let file = models::relu_graph().node("Abort", &["x"], &["z"]).model();
    let error = load(&engine, 1, file).unwrap_err();
    assert_eq!(error.code(), ErrorCode::RuntimeError);
    assert!(error.to_string().contains("crashed (abort, signal 6)"), "{error}");
    assert_eq!(values(&wait(other.compute(call("b"), x(&[7.0, 8.0]))).unwrap()), [7.0, 8.0]);
}

#[test]
fn a_program_that_is_no_child_is_told_so() {
    let command = program("/bin/false");
    let back_end = in_child("hostile", Device::Processor, command);
    let engine = Engine::with(config(), vec![back_end]).unwrap();
    let error = load(&engine, 1, models::relu()).unwrap_err();
    assert!(error.to_string().contains("ended by itself (exit status: 1)"), "{error}");
}

#[cfg(feature = "tract")]
#[test]
fn tract_in_a_child_gives_what_it_gives_here_and_says_what_it_lacks() {
    let command = command("tests::child::real_entry");
    let back_end = in_child("tract", Device::Processor, command);
    let engine = Engine::with(config(), vec![back_end]).unwrap();
    let model = load_with(&engine, 1, models::affine(), &ModelOptions::default()).unwrap();
    assert!(matches!(model.batching(), crate::Batching::Merged(_)), "{}", model.batching());
    let input = floats(&[2, 3], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    let outputs = wait(model.compute(call("a"), vec![("x".to_owned(), input)])).unwrap();
    assert_eq!(outputs, [("y".to_owned(), floats(&[2, 2], &[1.5, 1.5, 9.5, 11.5]))]);
    let file = models::relu_graph().node("Frobnicate", &["x"], &["z"]).model();
    let error = load(&engine, 2, file).unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
    assert!(error.to_string().starts_with("tract has no operator `Frobnicate`"), "{error}");
}
