//! Models of a few nodes, each for a case.

use super::onnx_file::Dim::{Fixed, Named};
use super::onnx_file::*;

/// `y = relu(x)`, of two floats a row.
pub(crate) fn relu() -> Vec<u8> {
    relu_graph().model()
}

pub(crate) fn relu_graph() -> Graph {
    Graph::default()
        .input("x", FLOAT, &[Named("n"), Fixed(2)])
        .output("y", FLOAT, &[Named("n"), Fixed(2)])
        .node("Relu", &["x"], &["y"])
}

/// Where numbers are not zero among so many ones, and with so many zeros behind each row: of a size
/// that only running tells. `x` is added to the greatest of them.
pub(crate) fn places(graph: Graph, ones: &str, zeros: i64) -> Vec<u8> {
    graph
        .numbers("pads", &[4], &[0, 0, 0, zeros])
        .node("NonZero", &[ones], &["places"])
        .node_with("Cast", &["places"], &["numbers"], vec![Attribute::Int("to", FLOAT as i64)])
        .node("Pad", &["numbers", "pads"], &["padded"])
        .node_with("ReduceMax", &["padded"], &["most"], vec![Attribute::Int("keepdims", 0)])
        .node("Add", &["x", "most"], &["y"])
        .input("x", FLOAT, &[Fixed(2)])
        .output("y", FLOAT, &[Fixed(2)])
        .model()
}

/// `y = x + 1`, of two floats a row, which tract prepares for each number of rows apart: it pads a one
/// with so many zeros for each row but the first, and takes the greatest of them.
pub(crate) fn padded_by_rows(zeros: f32) -> Vec<u8> {
    let cast = |to: u64| vec![Attribute::Int("to", to as i64)];
    Graph::default()
        .input("x", FLOAT, &[Named("n"), Fixed(2)])
        .output("y", FLOAT, &[Named("n"), Fixed(2)])
        .numbers("first", &[1], &[0])
        .numbers("none", &[3], &[0, 0, 0])
        .floats("one", &[1], &[1.0])
        .floats("each", &[1], &[zeros])
        .floats("ones", &[1, 1], &[1.0])
        .node("Shape", &["x"], &["shape"])
        .node("Gather", &["shape", "first"], &["rows"])
        .node_with("Cast", &["rows"], &["number"], cast(FLOAT))
        .node("Sub", &["number", "one"], &["more"])
        .node("Mul", &["more", "each"], &["zeros"])
        .node_with("Cast", &["zeros"], &["whole"], cast(INT64))
        .node_with("Concat", &["none", "whole"], &["pads"], vec![Attribute::Int("axis", 0)])
        .node("Pad", &["ones", "pads"], &["padded"])
        .node_with("ReduceMax", &["padded"], &["most"], vec![Attribute::Int("keepdims", 0)])
        .node("Add", &["x", "most"], &["y"])
        .model()
}

/// `y = x · w + b`, from three floats a row to two.
pub(crate) fn affine() -> Vec<u8> {
    Graph::default()
        .input("x", FLOAT, &[Named("n"), Fixed(3)])
        .floats("w", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        .floats("b", &[2], &[0.5, -0.5])
        .node("MatMul", &["x", "w"], &["xw"])
        .node("Add", &["xw", "b"], &["y"])
        .output("y", FLOAT, &[Named("n"), Fixed(2)])
        .model()
}
