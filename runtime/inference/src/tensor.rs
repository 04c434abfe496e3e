//! Tensors as guests give and get them. A tensor is made without a check, as the standard
//! interface wants it, and checked when something is computed with it.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Most dimensions of a tensor. Models have up to six; each one costs the back end work.
pub const MAX_DIMENSIONS: usize = 16;

/// What the elements of a tensor are, as `wasi:nn` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ElementType {
    /// IEEE 754 half precision.
    Fp16,
    /// IEEE 754 single precision.
    Fp32,
    /// IEEE 754 double precision.
    Fp64,
    /// The upper half of an [`Self::Fp32`].
    Bf16,
    /// Unsigned bytes. Booleans of a model are such bytes too, 0 or 1.
    U8,
    /// Signed, 32 bits.
    I32,
    /// Signed, 64 bits.
    I64,
}

/// Dimensions, the type of the elements, and these: row by row, little-endian, without gaps.
#[derive(Clone, PartialEq, Eq)]
pub struct Tensor {
    dimensions: Box<[u32]>,
    element: ElementType,
    data: Bytes,
}

/// A tensor with its name in the model.
pub type NamedTensor = (String, Tensor);

/// A tensor whose parts do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The data is not as long as the dimensions say.
    #[error(
        "its dimensions {dimensions:?} of {element} need {expected} bytes, and it has {length}: \
         give as many bytes as the dimensions say"
    )]
    Length {
        /// The dimensions.
        dimensions: Box<[u32]>,
        /// The type of the elements.
        element: ElementType,
        /// Bytes that these need.
        expected: u64,
        /// Bytes that it has.
        length: u64,
    },
    /// The dimensions multiply to more than can be counted.
    #[error("its dimensions {dimensions:?} of {element} are more bytes than can be counted")]
    Overflow {
        /// The dimensions.
        dimensions: Box<[u32]>,
        /// The type of the elements.
        element: ElementType,
    },
    /// It has too many dimensions.
    #[error("it has {0} dimensions, and a tensor may have {MAX_DIMENSIONS}")]
    Dimensions(usize),
}

impl ElementType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::Fp16 | Self::Bf16 => 2,
            Self::Fp32 | Self::I32 => 4,
            Self::Fp64 | Self::I64 => 8,
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp16 => "fp16",
            Self::Fp32 => "fp32",
            Self::Fp64 => "fp64",
            Self::Bf16 => "bf16",
            Self::U8 => "u8",
            Self::I32 => "i32",
            Self::I64 => "i64",
        })
    }
}

impl Tensor {
    /// A tensor of these parts, which may not fit together: see [`Self::check`].
    pub fn new(
        dimensions: impl Into<Box<[u32]>>,
        element: ElementType,
        data: impl Into<Bytes>,
    ) -> Self {
        Self { dimensions: dimensions.into(), element, data: data.into() }
    }

    /// The dimensions; none of them is a scalar.
    pub fn dimensions(&self) -> &[u32] {
        &self.dimensions
    }

    /// The type of the elements.
    pub fn element(&self) -> ElementType {
        self.element
    }

    /// The elements. Copies share them.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Whether the data is as long as dimensions and type say.
    pub fn check(&self) -> Result<(), TensorError> {
        if self.dimensions.len() > MAX_DIMENSIONS {
            return Err(TensorError::Dimensions(self.dimensions.len()));
        }
        let dimensions = || self.dimensions.clone();
        let element = self.element;
        let expected = byte_length(&self.dimensions, element)
            .ok_or_else(|| TensorError::Overflow { dimensions: dimensions(), element })?;
        let length = self.data.len() as u64;
        if length != expected {
            return Err(TensorError::Length {
                dimensions: dimensions(),
                element,
                expected,
                length,
            });
        }
        Ok(())
    }
}

/// Bytes of a tensor with these dimensions; `None` when that overflows. A zero among them
/// makes nothing of it, but not of an overflow of the others: who multiplies in another
/// order would run into it.
pub(crate) fn byte_length(dimensions: &[u32], element: ElementType) -> Option<u64> {
    let elements = dimensions
        .iter()
        .filter(|dimension| **dimension != 0)
        .try_fold(1_u64, |product, dimension| product.checked_mul(u64::from(*dimension)))?;
    let bytes =
        elements.checked_mul(element.size() as u64).filter(|bytes| *bytes <= i64::MAX as u64)?;
    Some(if dimensions.contains(&0) { 0 } else { bytes })
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dimensions, element, data } = self;
        write!(f, "Tensor({element} {dimensions:?}, {} bytes)", data.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(dimensions: &[u32], element: ElementType, bytes: usize) -> Result<(), TensorError> {
        Tensor::new(dimensions, element, vec![0; bytes]).check()
    }

    #[test]
    fn the_data_is_as_long_as_the_dimensions_say() {
        check(&[2, 3], ElementType::Fp32, 24).unwrap();
        check(&[], ElementType::I64, 8).unwrap();
        check(&[0, 7], ElementType::U8, 0).unwrap();
        let error = check(&[2, 3], ElementType::Fp16, 24).unwrap_err();
        assert_eq!(
            error.to_string(),
            "its dimensions [2, 3] of fp16 need 12 bytes, and it has 24: give as many bytes as \
             the dimensions say"
        );
    }

    #[test]
    fn dimensions_that_overflow_are_refused_also_beside_a_zero() {
        let huge = [u32::MAX; 3];
        assert!(matches!(check(&huge, ElementType::U8, 0), Err(TensorError::Overflow { .. })));
        let with_zero = [u32::MAX, u32::MAX, u32::MAX, 0];
        assert!(matches!(check(&with_zero, ElementType::U8, 0), Err(TensorError::Overflow { .. })));
        let wrapping = [1 << 31, 1 << 31, 4, 1];
        assert!(matches!(check(&wrapping, ElementType::U8, 0), Err(TensorError::Overflow { .. })));
    }

    #[test]
    fn there_are_only_so_many_dimensions() {
        check(&[1; MAX_DIMENSIONS], ElementType::U8, 1).unwrap();
        let error = check(&[1; MAX_DIMENSIONS + 1], ElementType::U8, 1).unwrap_err();
        assert_eq!(error, TensorError::Dimensions(MAX_DIMENSIONS + 1));
    }
}
