//! Whether what a model gave is what the case expects, as ONNX's own runner has it: the same
//! shape and type, and elements that are close to each other.

use crate::onnx::Tensor;

/// ONNX's own, for all its cases of single operators.
const RELATIVE: f64 = 1e-3;
const ABSOLUTE: f64 = 1e-7;

/// What is wrong with an output; `None`: nothing.
pub fn difference(expected: &Tensor, element: &str, shape: &[u32], data: &[u8]) -> Option<String> {
    let wanted = expected.wasi_type().unwrap_or("a type that guests lack");
    if element != wanted {
        return Some(format!("it is {element}, and not {wanted}"));
    }
    if shape != expected.shape {
        return Some(format!("its shape is {shape:?}, and not {:?}", expected.shape));
    }
    let (given, right) = (numbers(element, data), numbers(element, &expected.data));
    if given.len() != right.len() {
        return Some(format!("it has {} elements, and not {}", given.len(), right.len()));
    }
    let apart: Vec<_> = given
        .iter()
        .zip(&right)
        .enumerate()
        .filter(|(_, (given, right))| !close(**given, **right))
        .collect();
    let (at, (given, right)) = apart.first()?;
    let count = apart.len();
    let off = apart.iter().map(|(_, (given, right))| (*given - *right).abs());
    let most = off.fold(0.0, f64::max);
    Some(format!(
        "element {at} is {given}, and not {right}; {count} of {} are off, by {most:.1e} at most",
        shape_size(shape)
    ))
}

fn shape_size(shape: &[u32]) -> u64 {
    shape.iter().map(|size| u64::from(*size)).product()
}

/// As NumPy's `assert_allclose`: NaN is NaN, and an infinity is itself.
fn close(given: f64, right: f64) -> bool {
    given == right
        || (given.is_nan() && right.is_nan())
        || (right.is_finite() && (given - right).abs() <= ABSOLUTE + RELATIVE * right.abs())
}

fn numbers(element: &str, data: &[u8]) -> Vec<f64> {
    fn each<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        data.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
    }
    match element {
        "fp16" => each(data, |bytes| half(u16::from_le_bytes(bytes))),
        "bf16" => each(data, |bytes| {
            f64::from(f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16))
        }),
        "fp32" => each(data, |bytes| f64::from(f32::from_le_bytes(bytes))),
        "fp64" => each(data, f64::from_le_bytes),
        "i32" => each(data, |bytes| f64::from(i32::from_le_bytes(bytes))),
        "i64" => each(data, |bytes| i64::from_le_bytes(bytes) as f64),
        _ => data.iter().map(|byte| f64::from(*byte)).collect(),
    }
}

/// IEEE 754 half precision.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2.0_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2.0_f64.powi(exponent - 15),
    }
}

#[test]
fn halves_are_read_as_the_standard_has_them() {
    let read = [0x3c00, 0xc000, 0x0001, 0x7bff, 0xfc00].map(half);
    assert_eq!(read, [1.0, -2.0, 2.0_f64.powi(-24), 65504.0, f64::NEG_INFINITY]);
    assert!(half(0x7e00).is_nan());
}

#[test]
fn what_is_close_is_right_and_nothing_else() {
    let expected = |values: [f32; 2]| Tensor {
        element: 1,
        shape: vec![2],
        data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
    let wrong = |right: [f32; 2], given: [f32; 2]| {
        difference(&expected(right), "fp32", &[2], &expected(given).data)
    };
    assert_eq!(wrong([1.0, f32::NAN], [1.0009, f32::NAN]), None);
    assert_eq!(wrong([f32::INFINITY, 0.0], [f32::INFINITY, 1e-8]), None);
    let told = wrong([1.0, 2.0], [1.0, 2.5]).unwrap();
    assert!(
        told.starts_with("element 1 is 2.5, and not 2;")
            && told.ends_with("1 of 2 are off, by 5.0e-1 at most"),
        "{told}"
    );
    assert!(wrong([f32::INFINITY, 0.0], [f32::MAX, 0.0]).is_some());
    assert!(wrong([1.0, 0.0], [f32::NAN, 0.0]).is_some());
    let right = expected([1.0, 2.0]);
    assert!(difference(&right, "fp64", &[2], &right.data).is_some());
    assert!(difference(&right, "fp32", &[1, 2], &right.data).is_some());
}
