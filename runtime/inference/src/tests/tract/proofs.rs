//! Which graphs are merged, and why others are not.

use super::super::env::{call, floats, load, values, wait};
use super::super::onnx_file::Dim::{Fixed, Named};
use super::super::onnx_file::*;
use super::start;
use crate::tensor::ElementType;
use crate::{AloneReason, Batching};

fn batching(graph: &Graph) -> Batching {
    load(&start(), 1, graph.model()).unwrap().batching()
}

fn alone(graph: &Graph) -> AloneReason {
    match batching(graph) {
        Batching::Alone(reason) => reason,
        merged => panic!("{merged}"),
    }
}

fn of_rows() -> Graph {
    let dims = [Named("n"), Fixed(4)];
    Graph::default().input("x", FLOAT, &dims).output("y", FLOAT, &dims)
}

#[test]
fn rows_of_a_batch_that_are_scaled_together_run_alone() {
    // Dynamic quantisation, and what undoes it.
    let float = || vec![Attribute::Int("to", 1)];
    let graph = of_rows()
        .node("DynamicQuantizeLinear", &["x"], &["q", "scale", "zero"])
        .node_with("Cast", &["q"], &["qf"], float())
        .node_with("Cast", &["zero"], &["zf"], float())
        .node("Sub", &["qf", "zf"], &["steps"])
        .node("Mul", &["steps", "scale"], &["y"]);
    let reason = alone(&graph);
    assert!(matches!(reason, AloneReason::Differs { .. }), "{reason}");
}

#[test]
fn a_sum_over_the_batch_runs_alone() {
    let graph = of_rows()
        .node_with("ReduceMax", &["x"], &["m"], vec![Attribute::Ints("axes", vec![0])])
        .node("Sub", &["x", "m"], &["y"]);
    let reason = alone(&graph);
    assert!(matches!(reason, AloneReason::Differs { .. }), "{reason}");
}

#[test]
fn a_fixed_batch_runs_alone() {
    let dims = [Fixed(1), Fixed(40)];
    let graph = Graph::default().input("x", FLOAT, &dims).output("y", FLOAT, &dims).node(
        "Relu",
        &["x"],
        &["y"],
    );
    assert_eq!(alone(&graph), AloneReason::Fixed { input: "x".to_owned() });
}

#[test]
fn random_numbers_run_alone() {
    let noise = vec![Attribute::Ints("shape", vec![1, 4]), Attribute::Int("dtype", 1)];
    let graph = of_rows().node_with("RandomNormal", &[], &["noise"], noise).node(
        "Add",
        &["x", "noise"],
        &["y"],
    );
    assert_eq!(alone(&graph), AloneReason::Stateful { output: "y".to_owned() });
}

#[test]
fn a_batch_on_the_second_axis_of_a_state_is_found() {
    let graph = Graph::default()
        .input("x", FLOAT, &[Named("b"), Fixed(3)])
        .input("state", FLOAT, &[Fixed(2), Named("b"), Fixed(3)])
        .output("y", FLOAT, &[Named("b"), Fixed(3)])
        .output("next", FLOAT, &[Fixed(2), Named("b"), Fixed(3)])
        .numbers("axes", &[1], &[0])
        .node_with("ReduceSum", &["state", "axes"], &["sum"], vec![Attribute::Int("keepdims", 0)])
        .node("Add", &["x", "sum"], &["y"])
        .node("Relu", &["state"], &["next"]);
    let Batching::Merged(axes) = batching(&graph) else { panic!("{}", batching(&graph)) };
    assert_eq!(axes.inputs, [("x".to_owned(), 0), ("state".to_owned(), 1)].into());
    assert_eq!(axes.outputs, [("y".to_owned(), 0), ("next".to_owned(), 1)].into());
    let text = "batched on axis 1 of state, axis 0 of x, axis 1 of next, axis 0 of y";
    assert_eq!(batching(&graph).to_string(), text);
}

#[test]
fn indices_into_a_small_table_are_found() {
    let graph = Graph::default()
        .input("x", INT64, &[Named("n"), Named("length")])
        .output("y", FLOAT, &[Named("n"), Named("length"), Fixed(2)])
        .floats("table", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        .node("Gather", &["table", "x"], &["y"]);
    let engine = start();
    let model = load(&engine, 1, graph.model()).unwrap();
    let Batching::Merged(axes) = model.batching() else { panic!("{}", model.batching()) };
    assert_eq!(axes.inputs, [("x".to_owned(), 0)].into());
    // A wrong index is that request's error.
    let ask = |index: i64| {
        let input = crate::Tensor::new([1, 1], ElementType::I64, index.to_le_bytes().to_vec());
        wait(model.compute(call("a"), vec![("x".to_owned(), input)]))
    };
    assert!(ask(7).is_err());
    assert_eq!(values(&ask(2).unwrap()), [5.0, 6.0]);
}

#[test]
fn requests_in_a_batch_of_tract_get_what_they_get_alone() {
    let engine = crate::Engine::start(crate::Config { threads: 2, ..Default::default() }).unwrap();
    let model = load(&engine, 1, super::models::affine()).unwrap();
    let requests: Vec<_> = (0..200)
        .map(|number| {
            let row = [number as f32, 1.0, -(number as f32)];
            model.compute(call("a"), vec![("x".to_owned(), floats(&[1, 3], &row))])
        })
        .collect();
    for (number, request) in requests.into_iter().enumerate() {
        let number = number as f32;
        let outputs = wait(request).unwrap();
        let expected = [number + 3.0 - 5.0 * number + 0.5, 2.0 * number + 4.0 - 6.0 * number - 0.5];
        assert_eq!(values(&outputs), expected);
    }
    let sizes = model.stats().batch_size;
    assert!(sizes.count() < 200 && sizes.sum() == 200, "some ran together: {sizes:?}");
}
