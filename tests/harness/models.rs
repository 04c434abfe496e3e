//! Models of a few nodes, in ONNX.

#[allow(dead_code, reason = "a part of it is used here")]
#[path = "../../runtime/inference/tests/support/onnx.rs"]
mod onnx;

use onnx::{Dim, FLOAT, Graph};

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
