//! Trial inputs of one row, and how far two outputs are apart.

use bytes::BytesMut;

use crate::signature::{Dimension, TensorSignature};
use crate::tensor::{ElementType, Tensor};

/// Numbers that look random and are the same every time.
pub(super) struct Numbers(u64);

/// How trial inputs are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// What open dimensions are, but for the batch.
    pub(super) size: u32,
    /// Whole numbers are below this: they are often indices into a table of unknown length.
    pub(super) below: u8,
    /// Floats are within it on either side of zero. Rows of unlike magnitude betray a scale
    /// that is computed from all of them.
    pub(super) magnitude: f32,
}

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Marsaglia's xorshift.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    /// Between -1 and 1.
    fn float(&mut self) -> f32 {
        (self.next() % 20_001) as f32 / 10_000.0 - 1.0
    }

    /// A tensor with one row along the axis, if it has one.
    pub(super) fn tensor(
        &mut self,
        signature: &TensorSignature,
        axis: Option<usize>,
        sample: Sample,
    ) -> Tensor {
        let declared = signature.dimensions.as_deref().unwrap_or_default();
        let dimensions: Box<[u32]> = declared
            .iter()
            .enumerate()
            .map(|(index, dimension)| match dimension {
                _ if Some(index) == axis => 1,
                Dimension::Fixed(size) => *size,
                Dimension::Symbol(_) | Dimension::Any => sample.size,
            })
            .collect();
        let mut data = BytesMut::new();
        let elements =
            dimensions.iter().fold(1_u64, |all, size| all.saturating_mul((*size).into()));
        for _ in 0..elements {
            self.element(signature.element, sample, &mut data);
        }
        Tensor::new(dimensions, signature.element, data)
    }

    fn element(&mut self, element: ElementType, sample: Sample, data: &mut BytesMut) {
        let Sample { below, magnitude, .. } = sample;
        let whole = |number: u64| (number % u64::from(below.max(1))) as u8;
        match element {
            ElementType::U8 => data.extend_from_slice(&[whole(self.next())]),
            ElementType::I32 => {
                data.extend_from_slice(&i32::from(whole(self.next())).to_le_bytes());
            }
            ElementType::I64 => {
                data.extend_from_slice(&i64::from(whole(self.next())).to_le_bytes());
            }
            ElementType::Fp32 => {
                data.extend_from_slice(&(self.float() * magnitude).to_le_bytes());
            }
            ElementType::Fp64 => {
                data.extend_from_slice(&f64::from(self.float() * magnitude).to_le_bytes());
            }
            ElementType::Bf16 => {
                let bits = (self.float() * magnitude).to_bits();
                data.extend_from_slice(&((bits >> 16) as u16).to_le_bytes());
            }
            // Every half of moderate size, from 2^-14 to 4 in steps of the exponent.
            ElementType::Fp16 => {
                let random = self.next();
                let shift = if magnitude > 1.0 { 2 } else { 0 };
                let exponent = 10 + random % 4 + shift;
                let bits = (random & 0x8000) | (exponent << 10) | ((random >> 20) & 0x3ff);
                data.extend_from_slice(&(bits as u16).to_le_bytes());
            }
        }
    }
}

/// What counts as rounding, as a part of an output's magnitude. A row in a batch is summed up
/// in another order than alone: for single precision that is some 1e-6, and 1e-4 behind a
/// hundred layers. What couples rows is larger: a step of a dynamic quantisation to eight bits
/// is 4e-3 of the largest value of all rows, and the trial rows differ sixteenfold.
pub(super) fn tolerance(element: ElementType) -> f64 {
    match element {
        ElementType::Fp64 => 1e-6,
        ElementType::Fp32 => 1e-3,
        ElementType::Fp16 | ElementType::Bf16 => 2e-2,
        ElementType::U8 | ElementType::I32 | ElementType::I64 => 0.0,
    }
}

/// The largest difference between two tensors of the same type, as a part of the magnitude of
/// the first; infinite where their dimensions differ, or one is finite and the other is not.
pub(super) fn difference(first: &Tensor, second: &Tensor) -> f64 {
    if first.dimensions() != second.dimensions() || first.element() != second.element() {
        return f64::INFINITY;
    }
    if first.data() == second.data() {
        return 0.0;
    }
    let (first, second) = (floats(first), floats(second));
    let finite = first.iter().filter(|value| value.is_finite());
    let magnitude = finite.fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let mut largest = 0.0_f64;
    for (first, second) in first.iter().zip(&second) {
        let same = first == second || (first.is_nan() && second.is_nan());
        let apart = if same { 0.0 } else { (first - second).abs() };
        largest = largest.max(if apart.is_nan() { f64::INFINITY } else { apart });
    }
    if largest == 0.0 { 0.0 } else { largest / magnitude.max(f64::MIN_POSITIVE) }
}

fn floats(tensor: &Tensor) -> Vec<f64> {
    let data = tensor.data();
    match tensor.element() {
        ElementType::U8 => data.iter().map(|byte| f64::from(*byte)).collect(),
        ElementType::I32 => elements(data, |bytes| f64::from(i32::from_le_bytes(bytes))),
        ElementType::I64 => elements(data, |bytes| i64::from_le_bytes(bytes) as f64),
        ElementType::Fp32 => elements(data, |bytes| f64::from(f32::from_le_bytes(bytes))),
        ElementType::Fp64 => elements(data, f64::from_le_bytes),
        ElementType::Bf16 => elements(data, |bytes: [u8; 2]| {
            f64::from(f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16))
        }),
        ElementType::Fp16 => elements(data, |bytes| half(u16::from_le_bytes(bytes))),
    }
}

fn elements<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    let (whole, _) = data.as_chunks::<N>();
    whole.iter().map(|bytes| number(*bytes)).collect()
}

/// The value of a half precision number.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let fraction = f64::from(bits & 0x3ff);
    match (bits >> 10) & 0x1f {
        0 => sign * fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        exponent => sign * (1.0 + fraction / 1024.0) * 2_f64.powi(i32::from(exponent) - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats_of(values: &[f32]) -> Tensor {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor::new([values.len() as u32], ElementType::Fp32, data)
    }

    #[test]
    fn a_difference_is_a_part_of_the_magnitude() {
        let apart = difference(&floats_of(&[100.0, 1.0]), &floats_of(&[100.0, 1.1]));
        assert!((apart - 1e-3).abs() < 1e-5, "{apart}");
        assert_eq!(difference(&floats_of(&[1.0]), &floats_of(&[1.0, 1.0])), f64::INFINITY);
    }

    #[test]
    fn what_is_not_finite_must_be_so_on_both_sides() {
        let nan = floats_of(&[f32::NAN, f32::INFINITY]);
        assert_eq!(difference(&nan, &floats_of(&[-f32::NAN, f32::INFINITY])), 0.0);
        assert_eq!(difference(&nan, &floats_of(&[0.0, f32::INFINITY])), f64::INFINITY);
    }

    #[test]
    fn halves_have_their_values() {
        for (bits, value) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65504.0), (1, 2_f64.powi(-24))]
        {
            assert_eq!(half(bits), value);
        }
        assert!(half(0x7e00).is_nan() && half(0xfc00) == f64::NEG_INFINITY);
    }
}
