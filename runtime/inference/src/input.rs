//! The inputs of a request against what the model takes.

use std::collections::BTreeMap;

use crate::config::Limits;
use crate::error::{ComputeError, InputError};
use crate::signature::{Dimension, Signature};
use crate::tensor::{NamedTensor, Tensor};

/// The tensors in the model's order, all of them right.
pub(crate) fn arrange(
    signature: &Signature,
    given: Vec<NamedTensor>,
    limits: &Limits,
) -> Result<Vec<Tensor>, ComputeError> {
    let names = || {
        let all: Vec<_> = signature.inputs.iter().map(ToString::to_string).collect();
        if all.is_empty() { "none".to_owned() } else { all.join("; ") }
    };
    let mut by_name: BTreeMap<String, Tensor> = BTreeMap::new();
    let mut bytes = 0_u64;
    for (name, tensor) in given {
        if !signature.inputs.iter().any(|input| input.name == name) {
            return Err(InputError::Unknown { name, inputs: names() }.into());
        }
        let size = tensor.data().len() as u64;
        let limit = limits.tensor_bytes;
        if size > limit {
            return Err(ComputeError::TooLarge { what: format!("input `{name}`"), size, limit });
        }
        bytes = bytes.saturating_add(size);
        if by_name.contains_key(&name) {
            return Err(InputError::Twice { name }.into());
        }
        by_name.insert(name, tensor);
    }
    let limit = limits.request_bytes;
    if bytes > limit {
        let what = "the sum of the inputs".to_owned();
        return Err(ComputeError::TooLarge { what, size: bytes, limit });
    }
    let mut symbols = BTreeMap::new();
    let mut arranged = Vec::with_capacity(signature.inputs.len());
    for declared in &signature.inputs {
        let name = || declared.name.clone();
        let tensor = by_name
            .remove(&declared.name)
            .ok_or_else(|| InputError::Missing { name: name(), inputs: names() })?;
        if tensor.element() != declared.element {
            let (given, expected) = (tensor.element(), declared.element);
            return Err(InputError::Type { name: name(), given, expected }.into());
        }
        tensor.check().map_err(|problem| InputError::Tensor { name: name(), problem })?;
        if !declared.takes(tensor.dimensions()) {
            let (given, expected) = (tensor.dimensions().into(), declared.to_string());
            return Err(InputError::Shape { name: name(), given, expected }.into());
        }
        for (dimension, size) in declared.dimensions.iter().flatten().zip(tensor.dimensions()) {
            let Dimension::Symbol(symbol) = dimension else { continue };
            let first = *symbols.entry(symbol).or_insert(*size);
            if first != *size {
                let (symbol, second) = (symbol.clone(), *size);
                return Err(InputError::Symbol { symbol, first, name: name(), second }.into());
            }
        }
        arranged.push(tensor);
    }
    Ok(arranged)
}
