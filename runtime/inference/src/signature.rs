//! What a model takes and gives: names, types and shapes of its inputs and outputs.

use std::fmt;

use crate::tensor::ElementType;

/// A dimension of an input or output, as the model declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// This many.
    Fixed(u32),
    /// Any number, the same wherever the name stands.
    Symbol(String),
    /// Any number.
    Any,
}

/// An input or an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSignature {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub element: ElementType,
    /// Its dimensions; `None`: the model does not say how many there are.
    pub dimensions: Option<Vec<Dimension>>,
}

/// What a model takes and gives, in the model's own order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Signature {
    /// What must be given.
    pub inputs: Vec<TensorSignature>,
    /// What comes out.
    pub outputs: Vec<TensorSignature>,
}

impl TensorSignature {
    /// Whether a tensor with these dimensions may be what is meant.
    pub(crate) fn takes(&self, dimensions: &[u32]) -> bool {
        let Some(declared) = &self.dimensions else { return true };
        declared.len() == dimensions.len()
            && declared.iter().zip(dimensions).all(|(declared, given)| match declared {
                Dimension::Fixed(fixed) => fixed == given,
                Dimension::Symbol(_) | Dimension::Any => true,
            })
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Symbol(name) => f.write_str(name),
            Self::Any => f.write_str("?"),
        }
    }
}

impl fmt::Display for TensorSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.element)?;
        let Some(dimensions) = &self.dimensions else { return f.write_str("[…]") };
        f.write_str("[")?;
        for (index, dimension) in dimensions.iter().enumerate() {
            write!(f, "{}{dimension}", if index == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}
