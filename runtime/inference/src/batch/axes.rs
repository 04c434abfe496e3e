//! Whether the requests of a model may be merged, along which axes, or why not.

use std::fmt;

use crate::config::TensorAxes;
use crate::signature::{Signature, TensorSignature};

/// Whether requests of a model are merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Batching {
    /// Along these axes.
    Merged(TensorAxes),
    /// Each runs alone, for this reason.
    Alone(AloneReason),
}

/// Why each request of a model runs alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AloneReason {
    /// Who pushed it wants that, or allows one row in a batch.
    #[error("it was pushed so")]
    Asked,
    /// What was declared does not fit the model.
    #[error("the declared axes do not fit the model: {0}")]
    Declared(String),
    /// An input has sizes that are fixed, its batch among them.
    #[error("input `{input}` has fixed dimensions: export the model with an open batch dimension")]
    Fixed {
        /// Which.
        input: String,
    },
    /// The model does not say how many dimensions an input has.
    #[error("the model does not say how many dimensions input `{input}` has")]
    UnknownShape {
        /// Which.
        input: String,
    },
    /// No sizes and values were found with which it runs at all.
    #[error("no trial input was found with which the model runs: {problem}")]
    NoTrial {
        /// What it said last.
        problem: String,
    },
    /// The same inputs gave other outputs: it has a state, or draws random numbers.
    #[error("output `{output}` differs when the same inputs are given again")]
    Stateful {
        /// Which.
        output: String,
    },
    /// It cannot be run with several rows.
    #[error("several rows cannot be run together: {problem}")]
    Failed {
        /// What it says.
        problem: String,
    },
    /// An output does not grow with the rows, so that it cannot be split.
    #[error("output `{output}` has no axis that grows with the number of rows")]
    NotSplit {
        /// Which.
        output: String,
    },
    /// A row gives something else in company: rows depend on one another, as where a model
    /// quantises dynamically.
    #[error(
        "output `{output}` differs by {difference} of its magnitude between a row alone and in \
         a batch, and {tolerance} would be rounding"
    )]
    Differs {
        /// Which.
        output: String,
        /// The largest difference, as text, since it is only shown.
        difference: String,
        /// What would be accepted.
        tolerance: String,
    },
    /// A batch takes as long as its rows one by one: merged they would only wait for each other.
    #[error("a batch is only {gain} times as fast as its rows one by one")]
    NoGain {
        /// How many times, as text.
        gain: String,
    },
    /// Merging went wrong when it was used.
    #[error("a batch went wrong: {problem}")]
    WentWrong {
        /// How.
        problem: String,
    },
}

/// The batch axis of each tensor in the model's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Axes {
    /// `None`: the input is the same for all rows.
    pub(crate) inputs: Vec<Option<usize>>,
    pub(crate) outputs: Vec<usize>,
}

impl Axes {
    /// What was declared by name, for a model with this signature.
    pub(crate) fn declared(axes: &TensorAxes, signature: &Signature) -> Result<Self, AloneReason> {
        let declared = |problem: String| AloneReason::Declared(problem);
        let known =
            |tensors: &[TensorSignature], name: &String| tensors.iter().any(|it| it.name == *name);
        let Signature { inputs, outputs } = signature;
        let mut names = axes.inputs.keys().chain(axes.outputs.keys());
        if let Some(name) = names.find(|name| !known(inputs, name) && !known(outputs, name)) {
            return Err(declared(format!("there is no `{name}`")));
        }
        let fits = |tensor: &TensorSignature, axis: usize| {
            let rank = tensor.dimensions.as_ref().map(Vec::len);
            match rank.is_none_or(|rank| axis < rank) {
                true => Ok(axis),
                false => Err(declared(format!("{tensor} has no axis {axis}"))),
            }
        };
        let of_input = |tensor: &TensorSignature| {
            axes.inputs.get(&tensor.name).map(|axis| fits(tensor, *axis)).transpose()
        };
        let of_output = |tensor: &TensorSignature| match axes.outputs.get(&tensor.name) {
            Some(axis) => fits(tensor, *axis),
            None => Err(declared(format!("output `{}` is not named", tensor.name))),
        };
        let inputs: Vec<_> = inputs.iter().map(of_input).collect::<Result<_, _>>()?;
        if inputs.iter().all(Option::is_none) {
            return Err(declared("no input is named".to_owned()));
        }
        Ok(Self { inputs, outputs: outputs.iter().map(of_output).collect::<Result<_, _>>()? })
    }

    /// By name, as it can be declared.
    pub(crate) fn named(&self, signature: &Signature) -> TensorAxes {
        let inputs = signature.inputs.iter().zip(&self.inputs);
        let outputs = signature.outputs.iter().zip(&self.outputs);
        TensorAxes {
            inputs: inputs.filter_map(|(it, axis)| Some((it.name.clone(), (*axis)?))).collect(),
            outputs: outputs.map(|(it, axis)| (it.name.clone(), *axis)).collect(),
        }
    }
}

impl fmt::Display for Batching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes = match self {
            Self::Alone(reason) => return write!(f, "not batched: {reason}"),
            Self::Merged(axes) => axes,
        };
        f.write_str("batched on")?;
        for (index, (name, axis)) in axes.inputs.iter().chain(&axes.outputs).enumerate() {
            write!(f, "{} axis {axis} of {name}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}
