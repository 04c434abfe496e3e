//! Models that end the process that loads or runs them: it is none that does anything else.

use std::sync::Arc;

use super::child::command;
use super::env::{call, config, floats, load, load_with, relu, values, wait, x};
use super::models::{padded_by_rows, places};
use super::onnx_file::Dim::Fixed;
use super::onnx_file::{Attribute, FLOAT, Graph};
use crate::back_end::start_here;
use crate::child::TriedOut;
use crate::config::{BackEndConfig, BatchAxes, Limits, ModelOptions};
use crate::error::{ErrorCode, LoadError};
use crate::{Engine, Model};

/// Zeros that make a row longer than any memory is: tract pads in a buffer that it does not ask for,
/// but takes.
const TOO_MANY: i64 = 1 << 40;

fn start() -> Engine {
    let limits = Limits::default();
    let here = start_here(&BackEndConfig::TractHere).unwrap();
    let command = command("tests::child::real_entry");
    let tract = TriedOut::new(here, command, BackEndConfig::TractHere, &limits);
    Engine::with(config(), vec![Arc::new(tract)]).unwrap()
}

fn greatest(model: &Model, of: [f32; 2]) -> Result<Vec<f32>, String> {
    let inputs = vec![("x".to_owned(), floats(&[2], &of))];
    let outputs = wait(model.compute(call("a"), inputs));
    outputs.map(|outputs| values(&outputs)).map_err(|error| {
        assert_eq!(error.code(), ErrorCode::RuntimeError);
        error.to_string()
    })
}

/// On what the only model runs that is used.
fn device(engine: &Engine) -> String {
    let stats = engine.models();
    let used = stats.iter().find(|model| model.users > 0).unwrap();
    used.device.clone()
}

#[test]
fn a_model_whose_sizes_follow_from_its_inputs_runs_here() {
    let engine = start();
    let model = relu(&engine);
    let outputs = wait(model.compute(call("a"), x(&[-1.0, 2.0]))).unwrap();
    assert_eq!(values(&outputs), [0.0, 2.0]);
    assert_eq!(device(&engine), "cpu");
}

#[test]
fn one_whose_sizes_depend_on_values_runs_apart() {
    let engine = start();
    let model = load(&engine, 1, places(Graph::default(), "x", 3)).unwrap();
    assert_eq!(device(&engine), "cpu, apart");
    assert_eq!(greatest(&model, [0.0, 7.0]), Ok(vec![1.0, 8.0]));
}

#[test]
fn a_run_that_ends_its_process_fails_and_nothing_else_does() {
    let engine = start();
    let ends = load(&engine, 1, places(Graph::default(), "x", TOO_MANY)).unwrap();
    let beside = load(&engine, 2, places(Graph::default(), "x", 3)).unwrap();
    for _ in 0..3 {
        let told = greatest(&ends, [1.0, 1.0]).unwrap_err();
        assert!(told.contains("its process crashed (abort, signal 6)"), "{told}");
        assert_eq!(greatest(&beside, [1.0, 1.0]), Ok(vec![2.0, 2.0]));
    }
}

#[test]
fn one_with_an_operator_that_is_not_known_to_be_plain_runs_apart() {
    let engine = start();
    let pooled = Graph::default()
        .input("x", FLOAT, &[Fixed(1), Fixed(1), Fixed(2)])
        .output("y", FLOAT, &[Fixed(1), Fixed(1), Fixed(1)])
        .node_with("MaxPool", &["x"], &["y"], vec![Attribute::Ints("kernel_shape", vec![2])]);
    let _model = load(&engine, 1, pooled.model()).unwrap();
    assert_eq!(device(&engine), "cpu, apart");
}

#[test]
fn a_load_that_ends_its_process_fails_and_nothing_else_does() {
    let engine = start();
    let constant = Graph::default().floats("ones", &[2], &[1.0, 1.0]);
    let Err(error) = load(&engine, 1, places(constant, "ones", TOO_MANY)) else {
        panic!("it cannot be loaded");
    };
    assert!(matches!(error, LoadError::Failed { .. }), "{error}");
    assert!(error.to_string().contains("its process crashed (abort, signal 6)"), "{error}");
    let _model = relu(&engine);
    assert_eq!(device(&engine), "cpu");
}

#[test]
fn a_size_whose_preparation_ends_its_process_fails_and_others_run_here() {
    let engine = start();
    let options = ModelOptions { axes: BatchAxes::Never, ..ModelOptions::default() };
    let model = load_with(&engine, 1, padded_by_rows(1e12), &options).unwrap();
    for _ in 0..2 {
        let outputs = wait(model.compute(call("a"), x(&[-1.0, 2.0]))).unwrap();
        assert_eq!(values(&outputs), [0.0, 3.0]);
        let told = wait(model.compute(call("a"), x(&[0.0; 6]))).unwrap_err().to_string();
        assert!(told.contains("its process crashed (abort, signal 6)"), "{told}");
    }
    assert_eq!(device(&engine), "cpu");
}
