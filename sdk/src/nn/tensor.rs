//! Tensors: a shape, and elements of one type, row by row.

use super::{Error, ErrorCode};

/// What the elements of a tensor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// [`F16`].
    Fp16,
    /// `f32`.
    Fp32,
    /// `f64`.
    Fp64,
    /// [`Bf16`].
    Bf16,
    /// `u8`; a model's booleans too, 0 or 1.
    U8,
    /// `i32`.
    I32,
    /// `i64`.
    I64,
}

/// IEEE 754 half precision, as its bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct F16(pub u16);

/// The upper half of an `f32`, as its bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bf16(pub u16);

/// What can be an element of a tensor.
pub trait Element: Copy + sealed::Sealed {
    /// Its type.
    const TYPE: ElementType;
    #[doc(hidden)]
    fn write(values: &[Self]) -> Vec<u8>;
    #[doc(hidden)]
    fn read(bytes: &[u8]) -> Vec<Self>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($element:ty, $variant:ident, $bits:ty, $to:expr, $from:expr;)*) => { $(
        impl sealed::Sealed for $element {}

        impl Element for $element {
            const TYPE: ElementType = ElementType::$variant;

            // Both in the form that compiles to one copy of all: tensors are large.
            fn write(values: &[Self]) -> Vec<u8> {
                let to: fn($element) -> $bits = $to;
                let mut bytes = vec![0; size_of_val(values)];
                let (chunks, _) = bytes.as_chunks_mut::<{ size_of::<$bits>() }>();
                for (chunk, value) in chunks.iter_mut().zip(values) {
                    *chunk = to(*value).to_le_bytes();
                }
                bytes
            }

            fn read(bytes: &[u8]) -> Vec<Self> {
                let from: fn($bits) -> $element = $from;
                let (chunks, _) = bytes.as_chunks::<{ size_of::<$bits>() }>();
                chunks.iter().map(|chunk| from(<$bits>::from_le_bytes(*chunk))).collect()
            }
        }
    )* };
}

elements! {
    F16, Fp16, u16, |value| value.0, F16;
    f32, Fp32, f32, |value| value, |value| value;
    f64, Fp64, f64, |value| value, |value| value;
    Bf16, Bf16, u16, |value| value.0, Bf16;
    u8, U8, u8, |value| value, |value| value;
    i32, I32, i32, |value| value, |value| value;
    i64, I64, i64, |value| value, |value| value;
}

impl ElementType {
    fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::Fp16 | Self::Bf16 => 2,
            Self::Fp32 | Self::I32 => 4,
            Self::Fp64 | Self::I64 => 8,
        }
    }
}

/// A tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    shape: Vec<u32>,
    element: ElementType,
    data: Vec<u8>,
}

impl Tensor {
    /// Of values, row by row: a slice, an array, or what `ndarray` gives as one.
    ///
    /// # Errors
    /// The shape has another number of elements.
    pub fn new<T: Element>(shape: &[u32], values: &[T]) -> Result<Self, Error> {
        Self::from_bytes(shape, T::TYPE, T::write(values))
    }

    /// Of bytes as a model takes them: little-endian, row by row, without gaps.
    ///
    /// # Errors
    /// The shape has another number of bytes.
    pub fn from_bytes(shape: &[u32], element: ElementType, data: Vec<u8>) -> Result<Self, Error> {
        let count = shape.iter().try_fold(element.size(), |product, dimension| {
            product.checked_mul(usize::try_from(*dimension).ok()?)
        });
        if count != Some(data.len()) {
            let has = data.len() / element.size();
            let text = format!("a tensor of shape {shape:?} does not have {has} elements");
            return Err(Error::new(ErrorCode::InvalidArgument, text));
        }
        Ok(Self { shape: shape.to_vec(), element, data })
    }

    /// The size of each dimension.
    pub fn shape(&self) -> &[u32] {
        &self.shape
    }

    /// What its elements are.
    pub fn element(&self) -> ElementType {
        self.element
    }

    /// Its elements as bytes: little-endian, row by row.
    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// Its elements, row by row.
    ///
    /// # Errors
    /// They are of another type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>, Error> {
        if self.element != T::TYPE {
            let text = format!("its elements are {:?}, and not {:?}", self.element, T::TYPE);
            return Err(Error::new(ErrorCode::InvalidArgument, text));
        }
        Ok(T::read(&self.data))
    }

    /// Where the largest element is; the first of several. NaN is larger than nothing.
    ///
    /// # Errors
    /// Its elements are of another type, or there are none.
    pub fn argmax<T: Element + PartialOrd>(&self) -> Result<usize, Error> {
        let values = self.to_vec::<T>()?;
        let mut largest: Option<(usize, T)> = None;
        for (index, value) in values.into_iter().enumerate() {
            let is_number = value.partial_cmp(&value).is_some();
            if is_number && largest.is_none_or(|(_, other)| value > other) {
                largest = Some((index, value));
            }
        }
        largest.map(|(index, _)| index).ok_or_else(|| {
            Error::new(ErrorCode::InvalidArgument, "a tensor without numbers has no largest")
        })
    }

    #[cfg(target_family = "wasm")]
    pub(super) fn from_node(shape: Vec<u32>, element: ElementType, data: Vec<u8>) -> Self {
        Self { shape, element, data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_back_as_they_were_given() {
        let floats = Tensor::new(&[2, 2], &[1.5_f32, -2.0, f32::INFINITY, 0.0]).unwrap();
        assert_eq!(floats.to_vec::<f32>().unwrap(), [1.5, -2.0, f32::INFINITY, 0.0]);
        assert_eq!(floats.bytes().get(..4), Some(&1.5_f32.to_le_bytes()[..]));
        assert!(floats.to_vec::<f64>().is_err());
        let halves = Tensor::new(&[1], &[F16(0x3c00)]).unwrap();
        assert_eq!((halves.bytes(), halves.element()), (&[0, 0x3c][..], ElementType::Fp16));
        assert_eq!(Tensor::new(&[], &[7_i64]).unwrap().to_vec::<i64>().unwrap(), [7]);
        assert!(Tensor::new::<u8>(&[0, 3], &[]).unwrap().to_vec::<u8>().unwrap().is_empty());
    }

    #[test]
    fn a_shape_that_does_not_fit_is_refused_and_does_not_overflow() {
        assert!(Tensor::new(&[3], &[1_u8, 2]).is_err());
        assert!(Tensor::new(&[u32::MAX; 4], &[1_u8]).is_err());
    }

    #[test]
    fn the_largest_is_the_first_of_several_and_never_nan() {
        let of = |values: &[f32]| Tensor::new(&[values.len() as u32], values).unwrap();
        assert_eq!(of(&[f32::NAN, 1.0, 3.0, 3.0, f32::NAN]).argmax::<f32>(), Ok(2));
        assert!(of(&[f32::NAN]).argmax::<f32>().is_err());
        assert!(of(&[]).argmax::<f32>().is_err());
    }
}
