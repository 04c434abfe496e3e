//! Tensors of guests as tract's, and back. Each is copied once: tract wants its own alignment.

use bytes::Bytes;
use tract_onnx::prelude::{DatumType, IntoTValue, TValue, TractError};
use tract_onnx::tract_hir::internal::{SymbolValues, TDim, Tensor as TractTensor};

use crate::tensor::{ElementType, Tensor};

/// As tract has it; `None` for what it lacks.
pub(super) fn datum_type(element: ElementType) -> Option<DatumType> {
    Some(match element {
        ElementType::Fp16 => DatumType::F16,
        ElementType::Fp32 => DatumType::F32,
        ElementType::Fp64 => DatumType::F64,
        ElementType::U8 => DatumType::U8,
        ElementType::I32 => DatumType::I32,
        ElementType::I64 => DatumType::I64,
        ElementType::Bf16 => return None,
    })
}

/// The tensor for an input of type `wanted`, which is the tensor's own or boolean.
pub(super) fn to_tract(tensor: &Tensor, wanted: DatumType) -> Result<TValue, String> {
    let shape: Vec<usize> = tensor.dimensions().iter().map(|size| *size as usize).collect();
    if wanted == DatumType::Bool {
        let truths: Vec<bool> = tensor.data().iter().map(|byte| *byte != 0).collect();
        let made = TractTensor::from_shape(&shape, &truths).map_err(|error| error.to_string())?;
        return Ok(made.into_tvalue());
    }
    let datum = datum_type(tensor.element())
        .ok_or_else(|| format!("it has no elements of type {}", tensor.element()))?;
    #[expect(unsafe_code, reason = "tract's constructor from bytes; it checks their number")]
    // SAFETY: all these types are numbers, for which any bits are a value.
    let made = unsafe { TractTensor::from_raw_dt(datum, &shape, tensor.data()) };
    Ok(made.map_err(|error| error.to_string())?.into_tvalue())
}

/// The tensor of an output. Booleans become bytes, and sizes numbers, for which the symbols of
/// the run are needed.
pub(super) fn from_tract(value: &TValue, symbols: &SymbolValues) -> Result<Tensor, String> {
    let tensor: &TractTensor = value;
    let element = match tensor.datum_type() {
        DatumType::F16 => ElementType::Fp16,
        DatumType::F32 => ElementType::Fp32,
        DatumType::F64 => ElementType::Fp64,
        DatumType::U8 | DatumType::Bool => ElementType::U8,
        DatumType::I32 => ElementType::I32,
        DatumType::I64 => ElementType::I64,
        DatumType::TDim => {
            let text = |error: TractError| error.to_string();
            let sizes = tensor.try_as_plain_ram().map_err(text)?;
            let sizes = sizes.as_slice::<TDim>().map_err(text)?.iter();
            let numbers: Result<Vec<i64>, _> =
                sizes.map(|size| size.eval_to_i64(symbols).map_err(text)).collect();
            let numbers = TractTensor::from_shape(tensor.shape(), &numbers?).map_err(text)?;
            return from_tract(&numbers.into_tvalue(), symbols);
        }
        other => return Err(format!("it gives elements of type {other:?}, which guests lack")),
    };
    let dimensions: Result<Box<[u32]>, _> =
        tensor.shape().iter().map(|size| u32::try_from(*size)).collect();
    let dimensions =
        dimensions.map_err(|_| "it gives a tensor with a huge dimension".to_owned())?;
    Ok(Tensor::new(dimensions, element, Bytes::copy_from_slice(tensor.as_bytes())))
}
