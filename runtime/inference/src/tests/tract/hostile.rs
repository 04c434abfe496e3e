//! Models that no node should suffer from.

use super::super::env::{call, floats, key, load, values, wait, x};
use super::super::models;
use super::super::onnx_file::Dim::{Fixed, Named};
use super::super::onnx_file::*;
use super::{start, start_with};
use crate::config::{Limits, ModelOptions};
use crate::error::ErrorCode;
use crate::tensor::{ElementType, Tensor};
use crate::{Engine, LoadError};

/// Loads the file, which must be refused, and sees that a neighbour does not notice.
fn refused_by(engine: &Engine, file: Vec<u8>) -> (ErrorCode, String) {
    let neighbour = load(engine, 100, models::relu()).unwrap();
    let error = load(engine, 1, file).unwrap_err();
    let outputs = wait(neighbour.compute(call("b"), x(&[-1.0, 1.0]))).unwrap();
    assert_eq!(values(&outputs), [0.0, 1.0]);
    (error.code(), error.to_string())
}

fn refused(file: Vec<u8>) -> (ErrorCode, String) {
    refused_by(&start(), file)
}

#[test]
fn an_operator_that_tract_lacks_is_named() {
    let file = models::relu_graph().node("Frobnicate", &["x"], &["z"]).model();
    assert_eq!(
        refused(file),
        (
            ErrorCode::UnsupportedOperation,
            "tract has no operator `Frobnicate`, which node `Frobnicate_z` uses: export the \
             model for another operator set, or run it on a node with another back end"
                .to_owned()
        )
    );
    let file = models::relu_graph().node("com.example:Relu", &["x"], &["z"]).model();
    let (code, message) = refused(file);
    assert_eq!(code, ErrorCode::UnsupportedOperation);
    assert!(message.starts_with("tract has no operator `Relu` of `com.example`"), "{message}");
}

#[test]
fn types_that_guests_or_tract_lack_are_named() {
    let of = |element| {
        Graph::default()
            .input("x", element, &[Fixed(1)])
            .output("y", element, &[Fixed(1)])
            .node("Identity", &["x"], &["y"])
            .model()
    };
    let unsupported = ErrorCode::UnsupportedOperation;
    let text = |text: &str| (unsupported, text.to_owned());
    assert_eq!(refused(of(INT8)), text("`x` is of type int8, which wasi:nn does not have"));
    assert_eq!(refused(of(STRING)), text("`x` is of type string, which wasi:nn does not have"));
    assert_eq!(refused(of(BFLOAT16)), text("`x` is of type bfloat16, which tract does not have"));
}

#[test]
fn other_encodings_are_recognised() {
    for (file, name) in [
        (&b"PK\x03\x04model"[..], "PyTorch"),
        (b"GGUF\x03\x00", "GGML"),
        (b"\x1c\x00\x00\x00TFL3", "TensorFlow Lite"),
        (b"<?xml version=\"1.0\"?><net>", "OpenVINO"),
        (b"\x89HDF\r\n\x1a\n", "TensorFlow"),
    ] {
        let message = format!(
            "this is a model of encoding {name}, and this node runs ONNX: export it as ONNX"
        );
        assert_eq!(refused(file.to_vec()), (ErrorCode::InvalidEncoding, message));
    }
    let (code, message) = refused(b"#!/bin/sh\necho hello".to_vec());
    assert_eq!(code, ErrorCode::InvalidEncoding, "{message}");
}

#[test]
fn a_model_over_the_limit_is_refused_before_it_is_read() {
    let limits = Limits { model_bytes: 100, ..Limits::default() };
    let engine = start_with(limits);
    let error = load(&engine, 1, vec![0; 101]).unwrap_err();
    assert_eq!(error.to_string(), "the model, in bytes, is 101, and the limit is 100");
    assert_eq!(error.code(), ErrorCode::TooLarge);
}

#[test]
fn a_graph_that_contradicts_itself_is_an_error() {
    // Shapes that do not fit, an input that nothing makes, a circle, an output of nothing.
    let broken = [
        Graph::default()
            .input("x", FLOAT, &[Named("n"), Fixed(3)])
            .output("y", FLOAT, &[Named("n"), Fixed(2)])
            .floats("w", &[5, 2], &[0.0; 10])
            .node("MatMul", &["x", "w"], &["y"]),
        models::relu_graph().node("Relu", &["nowhere"], &["z"]).output("z", FLOAT, &[Fixed(1)]),
        models::relu_graph().node("Relu", &["b"], &["a"]).node("Relu", &["a"], &["b"]).output(
            "a",
            FLOAT,
            &[Fixed(1)],
        ),
        models::relu_graph().output("nothing", FLOAT, &[Fixed(1)]),
        models::relu_graph().node("Conv", &[], &["z"]).output("z", FLOAT, &[Fixed(1)]),
    ];
    for graph in broken {
        let (code, message) = refused(graph.model());
        assert_eq!(code, ErrorCode::RuntimeError, "{message}");
        assert!(message.starts_with("tract cannot load the model: "), "{message}");
    }
}

/// `y`, filled to a shape of constants.
fn filled(shape: &[i64]) -> Graph {
    Graph::default()
        .input("x", FLOAT, &[Fixed(1)])
        .output("z", FLOAT, &[Fixed(1)])
        .numbers("shape", &[shape.len() as i64], shape)
        .node("ConstantOfShape", &["shape"], &["y"])
        .node_with("ReduceSum", &["y"], &["sum"], vec![Attribute::Int("keepdims", 0)])
        .node("Add", &["x", "sum"], &["z"])
}

#[test]
fn a_small_file_that_unfolds_at_load_is_stopped() {
    for shape in [&[1 << 28][..], &[1 << 20, 1 << 10], &[1 << 42], &[1 << 31, 1 << 31, 1 << 31]] {
        let file = filled(shape).model();
        assert!(file.len() < 1000);
        let engine = start();
        match load(&engine, 1, file) {
            Err(error) => {
                let expected = [ErrorCode::TooLarge, ErrorCode::RuntimeError];
                assert!(expected.contains(&error.code()), "{error}");
            }
            // Not folded at load: then it is stopped when it is run.
            Ok(model) => {
                let input = vec![("x".to_owned(), floats(&[1], &[1.0]))];
                let error = wait(model.compute(call("a"), input)).unwrap_err();
                assert_eq!(error.code(), ErrorCode::TooLarge, "{error}");
            }
        }
    }
}

#[test]
fn a_tensor_that_doubles_again_and_again_is_stopped() {
    let mut graph = Graph::default()
        .input("x", FLOAT, &[Named("n"), Fixed(1024)])
        .output("y40", FLOAT, &[Named("n"), Named("m")])
        .node("Identity", &["x"], &["y0"]);
    for step in 0..40 {
        let (from, to) = (format!("y{step}"), format!("y{}", step + 1));
        let axis = vec![Attribute::Int("axis", 1)];
        graph = graph.node_with("Concat", &[&from, &from], &[&to], axis);
    }
    let engine = start();
    let model = match load(&engine, 1, graph.model()) {
        Ok(model) => model,
        Err(error) => panic!("{error}"),
    };
    let input = vec![("x".to_owned(), floats(&[1, 1024], &[1.0; 1024]))];
    let error = wait(model.compute(call("a"), input)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TooLarge, "{error}");
}

#[test]
fn a_size_that_an_input_dictates_is_stopped_by_the_allocator() {
    let file = Graph::default()
        .input("x", INT64, &[])
        .output("y", INT64, &[Named("n")])
        .numbers("start", &[], &[0])
        .numbers("step", &[], &[1])
        .node("Range", &["start", "x", "step"], &["y"])
        .model();
    let limits = Limits { run_bytes: 1 << 20, ..Limits::default() };
    let engine = start_with(limits);
    let model = load(&engine, 1, file).unwrap();
    let ask = |size: i64| {
        let input = Tensor::new([], ElementType::I64, size.to_le_bytes().to_vec());
        wait(model.compute(call("a"), vec![("x".to_owned(), input)]))
    };
    assert_eq!(ask(5).unwrap()[0].1.dimensions(), [5]);
    for size in [1 << 30, 1 << 45] {
        let error = ask(size).unwrap_err();
        assert_eq!(error.code(), ErrorCode::TooLarge, "{error}");
    }
    assert_eq!(ask(3).unwrap()[0].1.dimensions(), [3]);
}

#[test]
fn any_change_of_a_model_is_loaded_or_refused() {
    // Each byte in turn, with one bit changed: nothing may end more than the load or the run.
    let file = models::affine();
    let engine = start();
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 1 << (at % 8);
        let _: Result<_, LoadError> = load(&engine, (at % 200) as u8, changed).map(|model| {
            let input = vec![("x".to_owned(), floats(&[1, 3], &[1.0; 3]))];
            let _ = wait(model.compute(call("a"), input));
            drop(model);
            engine.unload(&key((at % 200) as u8, &ModelOptions::default()), true)
        });
    }
    let model = load(&engine, 250, models::relu()).unwrap();
    assert_eq!(values(&wait(model.compute(call("a"), x(&[1.0, -1.0]))).unwrap()), [1.0, 0.0]);
}
