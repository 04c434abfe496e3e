//! Models of a few nodes, in ONNX.

#[allow(dead_code, reason = "a part of it is used here")]
#[path = "../../runtime/inference/tests/support/onnx.rs"]
mod onnx;

use onnx::{Attribute, Dim, FLOAT, Graph};

const ROWS: [Dim; 2] = [Dim::Named("rows"), Dim::Fixed(2)];

fn of_rows(operator: &str) -> Vec<u8> {
    Graph::default()
        .input("x", FLOAT, &ROWS)
        .output("y", FLOAT, &ROWS)
        .node(operator, &["x", "x"], &["y"])
        .model()
}

/// `y = x + x`, for rows of two numbers.
pub fn double() -> Vec<u8> {
    of_rows("Add")
}

/// The same with an operator that nobody has.
pub fn unheard_of() -> Vec<u8> {
    of_rows("example.org:Triple")
}

/// A file of a few bytes whose result has 4 TiB.
pub fn bomb() -> Vec<u8> {
    let size = [1 << 20, 1 << 20];
    Graph::default()
        .input("x", FLOAT, &[Dim::Fixed(1), Dim::Fixed(1)])
        .output("y", FLOAT, &size.map(Dim::Fixed))
        .numbers("size", &[2], &size)
        .node("Expand", &["x", "size"], &["y"])
        .model()
}

/// A file of a few bytes that makes tract end the process that runs it: how many zeros it appends, and
/// to what, is known only when it does.
pub fn ends_its_process() -> Vec<u8> {
    Graph::default()
        .input("x", FLOAT, &[Dim::Fixed(1)])
        .output("y", FLOAT, &[Dim::Fixed(1)])
        .numbers("pads", &[4], &[0, 0, 0, 1 << 40])
        .node("NonZero", &["x"], &["places"])
        .node_with("Cast", &["places"], &["numbers"], vec![Attribute::Int("to", FLOAT as i64)])
        .node("Pad", &["numbers", "pads"], &["padded"])
        .node_with("ReduceMax", &["padded"], &["most"], vec![Attribute::Int("keepdims", 0)])
        .node("Add", &["x", "most"], &["y"])
        .model()
}

/// `y = relu(x)`, for rows of two numbers: next to nothing is computed.
pub fn relu() -> Vec<u8> {
    Graph::default()
        .input("x", FLOAT, &ROWS)
        .output("y", FLOAT, &ROWS)
        .node("Relu", &["x"], &["y"])
        .model()
}

/// Layers of a square matrix each, for rows of `width` numbers: a row reads all weights, and so
/// does a batch of them.
pub fn dense(width: usize, layers: usize) -> Vec<u8> {
    let size = i64::try_from(width).unwrap();
    let rows = [Dim::Named("rows"), Dim::Fixed(size)];
    let weights: Vec<f32> =
        (0..width * width).map(|index| ((index * 7919) % 1000) as f32 / 1e6 - 5e-4).collect();
    let mut graph = Graph::default().input("x", FLOAT, &rows).output("y", FLOAT, &rows);
    let mut from = "x".to_owned();
    for layer in 1..=layers {
        let (weight, product) = (format!("w{layer}"), format!("p{layer}"));
        let to = if layer == layers { "y".to_owned() } else { format!("h{layer}") };
        graph = graph.floats(&weight, &[size, size], &weights);
        graph = graph.node("MatMul", &[&from, &weight], &[&product]);
        graph = graph.node("Relu", &[&product], &[&to]);
        from = to;
    }
    graph.model()
}
