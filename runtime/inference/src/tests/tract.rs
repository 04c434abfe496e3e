//! The engine with tract: right results, proofs on real graphs, and hostile models, each with
//! the error that it gets while a neighbour goes on.

mod hostile;
mod proofs;

use super::env::{call, floats, load, tenant, values, wait, x};
use super::models;
use super::onnx_file::Dim::{Fixed, Named};
use super::onnx_file::{BOOL, FLOAT, FLOAT16, Graph, INT32, INT64};
use crate::config::{Config, Limits};
use crate::tensor::{ElementType, Tensor};
use crate::{Batching, Engine};

fn start() -> Engine {
    start_with(Limits::default())
}

fn start_with(limits: Limits) -> Engine {
    Engine::start(Config { threads: 1, limits, ..Config::default() }).unwrap()
}

#[test]
fn a_model_computes() {
    let engine = start();
    let model = load(&engine, 1, models::affine()).unwrap();
    let input = floats(&[2, 3], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    let outputs = wait(model.compute(call("a"), vec![("x".to_owned(), input)])).unwrap();
    assert_eq!(outputs, [("y".to_owned(), floats(&[2, 2], &[1.5, 1.5, 9.5, 11.5]))]);
    assert!(matches!(model.batching(), Batching::Merged(_)), "{}", model.batching());
    let stats = model.stats();
    assert_eq!((stats.back_end, &*stats.device, stats.users), ("tract", "cpu", 1));
}

#[test]
fn a_guests_own_model_computes() {
    let engine = start();
    let (tenant, options) = (tenant("a"), crate::ModelOptions::default());
    let load = engine.load_bytes(&tenant, "own", &options, &[], models::relu().into());
    let model = wait(load).unwrap();
    let outputs = wait(model.compute(call("a"), x(&[-1.0, 2.0]))).unwrap();
    assert_eq!(values(&outputs), [0.0, 2.0]);
}

#[test]
fn every_type_of_elements_that_tract_has_goes_in_and_out() {
    let engine = start();
    for (number, (onnx, element)) in (1..).zip([
        (FLOAT16, ElementType::Fp16),
        (FLOAT, ElementType::Fp32),
        (super::onnx_file::DOUBLE, ElementType::Fp64),
        (super::onnx_file::UINT8, ElementType::U8),
        (INT32, ElementType::I32),
        (INT64, ElementType::I64),
        (BOOL, ElementType::U8),
    ]) {
        let file = Graph::default()
            .input("x", onnx, &[Named("n")])
            .output("y", onnx, &[Named("n")])
            .node("Identity", &["x"], &["y"])
            .model();
        let model = load(&engine, number, file).unwrap();
        let bytes: Vec<u8> = (0..3 * element.size() as u8).map(|byte| byte % 2).collect();
        let input = Tensor::new([3], element, bytes);
        let given = vec![("x".to_owned(), input.clone())];
        let outputs = wait(model.compute(call("a"), given)).unwrap();
        assert_eq!(outputs, [("y".to_owned(), input)], "{element}");
    }
}

#[test]
fn a_truth_is_any_byte_but_zero() {
    let file = Graph::default()
        .input("x", BOOL, &[Fixed(3)])
        .output("y", BOOL, &[Fixed(3)])
        .node("Not", &["x"], &["y"])
        .model();
    let engine = start();
    let model = load(&engine, 1, file).unwrap();
    let input = Tensor::new([3], ElementType::U8, vec![0, 1, 255]);
    let outputs = wait(model.compute(call("a"), vec![("x".to_owned(), input)])).unwrap();
    assert_eq!(&**outputs[0].1.data(), [1, 0, 0]);
}

#[test]
fn shapes_and_sizes_come_out_as_numbers() {
    let file = Graph::default()
        .input("x", FLOAT, &[Named("n"), Fixed(2)])
        .output("y", INT64, &[Fixed(2)])
        .node("Shape", &["x"], &["y"])
        .model();
    let engine = start();
    let model = load(&engine, 1, file).unwrap();
    let outputs = wait(model.compute(call("a"), x(&[0.0; 10]))).unwrap();
    let expected: Vec<u8> = [5_i64, 2].iter().flat_map(|size| size.to_le_bytes()).collect();
    assert_eq!(outputs, [("y".to_owned(), Tensor::new([2], ElementType::I64, expected))]);
}

#[test]
fn inputs_of_all_sizes_are_computed_one_after_the_other() {
    let engine = start();
    let model = load(&engine, 1, models::relu()).unwrap();
    for rows in [1, 7, 0, 64] {
        let outputs = wait(model.compute(call("a"), x(&vec![1.0; rows * 2]))).unwrap();
        assert_eq!(outputs[0].1.dimensions(), [rows as u32, 2]);
    }
}
