//! Tensors of guests as ONNX Runtime's values, and back.

use bytes::Bytes;
use half::{bf16, f16};
use ort::value::{DynValue, TensorElementType, ValueRef, ValueType};

use crate::tensor::{ElementType, Tensor};

pub(super) fn to_value(tensor: &Tensor, is_bool: bool) -> Result<DynValue, String> {
    let shape: Vec<i64> = tensor.dimensions().iter().map(|size| i64::from(*size)).collect();
    let data = tensor.data();
    macro_rules! value {
        ($numbers:expr) => {
            ort::value::Tensor::from_array((shape, $numbers))
                .map(|value| value.into_dyn())
                .map_err(|error| error.to_string())
        };
    }
    match tensor.element() {
        ElementType::U8 if is_bool => {
            value!(data.iter().map(|byte| *byte != 0).collect::<Vec<_>>())
        }
        ElementType::U8 => value!(data.to_vec()),
        ElementType::Fp16 => value!(numbers(data, f16::from_le_bytes)),
        ElementType::Bf16 => value!(numbers(data, bf16::from_le_bytes)),
        ElementType::Fp32 => value!(numbers(data, f32::from_le_bytes)),
        ElementType::Fp64 => value!(numbers(data, f64::from_le_bytes)),
        ElementType::I32 => value!(numbers(data, i32::from_le_bytes)),
        ElementType::I64 => value!(numbers(data, i64::from_le_bytes)),
    }
}

pub(super) fn from_value(value: &ValueRef<'_>) -> Result<Tensor, String> {
    let ValueType::Tensor { ty, .. } = value.dtype() else {
        return Err("it gives something else than a tensor".to_owned());
    };
    macro_rules! tensor {
        ($number:ty, $element:expr, $bytes:expr) => {{
            let tensor = value.try_extract_tensor::<$number>();
            let (shape, numbers) = tensor.map_err(|error| error.to_string())?;
            let dimensions: Result<Box<[u32]>, _> =
                shape.iter().map(|size| u32::try_from(*size)).collect();
            let dimensions = dimensions.map_err(|_| "it gives a huge dimension".to_owned())?;
            let data: Vec<u8> = numbers.iter().copied().flat_map($bytes).collect();
            Ok(Tensor::new(dimensions, $element, Bytes::from(data)))
        }};
    }
    match ty {
        TensorElementType::Uint8 => tensor!(u8, ElementType::U8, u8::to_le_bytes),
        TensorElementType::Bool => tensor!(bool, ElementType::U8, |truth| [u8::from(truth)]),
        TensorElementType::Float16 => tensor!(f16, ElementType::Fp16, f16::to_le_bytes),
        TensorElementType::Bfloat16 => tensor!(bf16, ElementType::Bf16, bf16::to_le_bytes),
        TensorElementType::Float32 => tensor!(f32, ElementType::Fp32, f32::to_le_bytes),
        TensorElementType::Float64 => tensor!(f64, ElementType::Fp64, f64::to_le_bytes),
        TensorElementType::Int32 => tensor!(i32, ElementType::I32, i32::to_le_bytes),
        TensorElementType::Int64 => tensor!(i64, ElementType::I64, i64::to_le_bytes),
        other => Err(format!("it gives elements of type {other:?}, which guests lack")),
    }
}

fn numbers<const N: usize, T>(data: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (whole, _) = data.as_chunks::<N>();
    whole.iter().map(|bytes| number(*bytes)).collect()
}
