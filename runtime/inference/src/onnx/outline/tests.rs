//! Files that are right, wrong, and hostile.

use proptest::prelude::*;

use super::*;
use crate::error::ErrorCode;
use crate::tests::models;
use crate::tests::onnx_file::Dim::{Fixed, Named};
use crate::tests::onnx_file::{
    Attribute, DOUBLE, FLOAT, Graph, STRING, block, number, tensor as encoded_tensor,
};

fn read(file: &[u8]) -> Result<Outline, LoadError> {
    outline(file, &Limits::default())
}

fn refused(file: &[u8]) -> (ErrorCode, String) {
    let error = read(file).unwrap_err();
    (error.code(), error.to_string())
}

#[test]
fn a_model_says_what_it_takes_gives_and_uses() {
    let outline = read(&models::affine()).unwrap();
    let declared = |name: &str, width| Declared {
        name: name.to_owned(),
        element: Onnx(FLOAT),
        dimensions: Some(vec![Dimension::Symbol("n".to_owned()), Dimension::Fixed(width)]),
    };
    assert_eq!(outline.inputs, [declared("x", 3)]);
    assert_eq!(outline.outputs, [declared("y", 2)]);
    let operators: Vec<_> = outline.operators.iter().map(|operator| &*operator.name).collect();
    assert_eq!(operators, ["MatMul", "Add"]);
    assert_eq!(outline.weights, 32);
}

#[test]
fn initializers_among_the_inputs_need_not_be_given() {
    let file =
        models::relu_graph().input("w", FLOAT, &[Fixed(1)]).floats("w", &[1], &[1.0]).model();
    let outline = read(&file).unwrap();
    assert_eq!(outline.inputs.len(), 1);
}

#[test]
fn what_is_not_a_model_says_why() {
    let cases: [(&[u8], &str); 5] = [
        (b"", "it is empty"),
        (b"hello, world", "byte 2: there is no such kind of field"),
        (&[0x3a, 0xff, 0x01, 1], "byte 1: the file ends within a field"),
        (&[0x08, 8], "it has no graph"),
        (&[0x3a, 0], "it does not say which operator set it uses"),
    ];
    for (file, problem) in cases {
        let message = format!("this is not an ONNX model: {problem}");
        assert_eq!(refused(file), (ErrorCode::InvalidEncoding, message));
    }
}

#[test]
fn a_small_file_cannot_declare_a_huge_tensor() {
    let of = |dims: &[i64]| {
        models::relu_graph().initializer(&encoded_tensor("w", FLOAT, dims, &[0; 8])).model()
    };
    for dims in [&[1 << 40][..], &[1 << 31, 1 << 31, 1 << 31], &[1 << 40, 0]] {
        let (code, message) = refused(&of(dims));
        assert_eq!(code, ErrorCode::TooLarge);
        assert!(message.starts_with("initializer `w`, in bytes, is "), "{message}");
    }
    let (code, message) = refused(&of(&[4]));
    assert_eq!(code, ErrorCode::InvalidEncoding);
    let said = "initializer `w`: it says [4], 4 elements, and has 2";
    assert_eq!(message, format!("the model is malformed: {said}"));
    let (code, message) = refused(&of(&[-2]));
    assert_eq!(code, ErrorCode::InvalidEncoding);
    assert!(message.ends_with("it has a dimension of -2"), "{message}");
}

#[test]
fn typed_data_counts_as_bytes_do() {
    let mut short = Vec::new();
    number(&mut short, 1, 3);
    number(&mut short, 2, 7);
    block(&mut short, 7, &[1, 2, 0x80, 1]);
    block(&mut short, 8, b"w");
    read(&models::relu_graph().initializer(&short).model()).unwrap();
    number(&mut short, 7, 1);
    let (_, message) = refused(&models::relu_graph().initializer(&short).model());
    assert!(message.ends_with("it says [3], 3 elements, and has 4"), "{message}");
    // Doubles, and strings one by one.
    let mut doubles = Vec::new();
    number(&mut doubles, 1, 2);
    number(&mut doubles, 2, DOUBLE);
    block(&mut doubles, 10, &[0; 16]);
    read(&models::relu_graph().initializer(&doubles).model()).unwrap();
    let mut strings = Vec::new();
    number(&mut strings, 1, 2);
    number(&mut strings, 2, STRING);
    block(&mut strings, 6, b"a");
    block(&mut strings, 6, b"b");
    read(&models::relu_graph().initializer(&strings).model()).unwrap();
}

#[test]
fn inputs_of_huge_dimensions_are_refused() {
    let of = |dims: &[i64]| {
        let dims: Vec<_> = dims.iter().map(|size| Fixed(*size)).collect();
        Graph::default().input("x", FLOAT, &dims).output("x", FLOAT, &dims).model()
    };
    assert_eq!(refused(&of(&[1 << 20, 1 << 20])).0, ErrorCode::TooLarge);
    assert_eq!(refused(&of(&[1 << 33])).0, ErrorCode::TooLarge);
    // What exporters write for an open dimension.
    let outline = read(&of(&[-1, 0, 3])).unwrap();
    let open = vec![Dimension::Any, Dimension::Any, Dimension::Fixed(3)];
    assert_eq!(outline.inputs[0].dimensions, Some(open));
}

#[test]
fn data_in_another_file_is_refused_also_where_a_subgraph_has_it() {
    let mut external = encoded_tensor("w", FLOAT, &[2], &[]);
    block(&mut external, 13, &[]);
    let inner = Graph::default().initializer(&external);
    let outer = models::relu_graph().node_with(
        "If",
        &["x"],
        &["z"],
        vec![Attribute::Graph("then_branch", inner)],
    );
    let (code, message) = refused(&outer.model());
    assert_eq!(code, ErrorCode::UnsupportedOperation);
    assert_eq!(
        message,
        "the model uses data in another file (initializer `w`), which is not supported: save \
         the model with its data in one file"
    );
}

#[test]
fn graphs_are_nested_only_so_deep_and_have_only_so_many_nodes() {
    let mut graph = Graph::default();
    for _ in 0..=MAX_DEPTH {
        graph = Graph::default().node_with("If", &[], &[], vec![Attribute::Graph("g", graph)]);
    }
    let file = graph.output("y", FLOAT, &[]).model();
    assert_eq!(refused(&file).1, "the depth of graphs within graphs is 13, and the limit is 12");

    let limits = Limits { nodes: 10, ..Limits::default() };
    let many = (0..11).fold(models::relu_graph(), |graph, _| graph.node("Relu", &["x"], &["z"]));
    let error = outline(&many.model(), &limits).unwrap_err();
    assert_eq!(error.to_string(), "the number of nodes in the model is 11, and the limit is 10");
    assert_eq!(error.code(), ErrorCode::TooLarge);
}

#[test]
fn a_file_of_countless_empty_parts_is_refused() {
    let limits = Limits { nodes: 10, ..Limits::default() };
    let empty = (0..1000).fold(models::relu_graph(), |graph, _| graph.field(13, &[]));
    let error = outline(&empty.model(), &limits).unwrap_err();
    assert!(error.to_string().starts_with("the number of parts of the model is 401"), "{error}");
}

#[test]
fn a_dimension_with_an_endless_name_is_refused() {
    static NAME: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| "(".repeat(100_000));
    let graph = Graph::default().input("x", FLOAT, &[Named(&NAME)]);
    let (code, message) = refused(&graph.model());
    assert_eq!(code, ErrorCode::TooLarge);
    assert!(message.ends_with("in bytes, is 100000, and the limit is 128"), "{message}");
}

#[test]
fn two_inputs_of_one_name_are_refused() {
    let file = models::relu_graph().input("x", FLOAT, &[]).model();
    assert_eq!(refused(&file).1, "the model is malformed: input `x`: it is there twice");
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_and_nothing_worse(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
    }

    #[test]
    fn any_change_of_a_model_is_read_or_refused(at in any::<prop::sample::Index>(), byte: u8) {
        let mut file = models::affine();
        let index = at.index(file.len());
        file[index] = byte;
        let _ = read(&file);
    }
}
