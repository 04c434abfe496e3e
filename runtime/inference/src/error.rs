//! Why a model is not loaded, a request not answered, or an engine not started. Each error
//! has the code that `wasi:nn` has for it, and says what, where, and what to do.

use std::time::Duration;

use crate::config::{Encoding, Target};
use crate::device::Device;
use crate::tensor::{ElementType, TensorError};

/// The codes of `wasi:nn`, and no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The caller passed what cannot be.
    InvalidArgument,
    /// The model is encoded in another way, or not at all.
    InvalidEncoding,
    /// It took too long.
    Timeout,
    /// It failed, or there is no room for it now.
    RuntimeError,
    /// What is wanted is not supported here.
    UnsupportedOperation,
    /// The model, or what it is given, is too large.
    TooLarge,
    /// There is no such model.
    NotFound,
    /// It is not allowed.
    Security,
    /// It failed without a reason.
    Unknown,
}

/// An engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is out of its range.
    #[error("`{setting}` of the inference engine must be at least 1")]
    Zero {
        /// Which.
        setting: &'static str,
    },
    /// A back end is configured that this build lacks.
    #[error("this build has no back end `{back_end}`: build with `--features {back_end}`")]
    NotBuilt {
        /// Which.
        back_end: &'static str,
    },
    /// This program, which children are, cannot be found.
    #[error("cannot find this program, to start it for a back end: {0}")]
    Program(#[source] std::io::Error),
    /// A native library cannot be used.
    #[error("cannot use the library: {0}")]
    Library(String),
    /// The system gives no thread.
    #[error("cannot start a thread of the inference engine: {0}")]
    Thread(#[source] std::io::Error),
}

/// Why the bytes of a model could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// There is no such model.
    #[error("there is no such model: {0}")]
    NotFound(String),
    /// The tenant may not use it.
    #[error("the model may not be used: {0}")]
    Denied(String),
    /// It is there and could not be read.
    #[error("the model could not be read: {0}")]
    Failed(String),
}

/// What is too busy to take more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusyReason {
    /// The model has as many requests waiting as it may.
    #[error("{limit} requests wait for the model, as many as may")]
    Model {
        /// The limit.
        limit: usize,
    },
    /// The tenant has as many requests waiting for the model as it may.
    #[error("{limit} requests of this tenant wait for the model, as many as may")]
    Tenant {
        /// The limit.
        limit: usize,
    },
    /// The node holds as many bytes of inputs as it may.
    #[error("the inputs that wait on this node reach its {limit} bytes")]
    Node {
        /// The limit.
        limit: u64,
    },
    /// As many models wait to be loaded as may.
    #[error("{limit} models wait to be loaded, as many as may")]
    Loads {
        /// The limit.
        limit: usize,
    },
    /// As many models of the tenant wait to be loaded as may.
    #[error("{limit} models of this tenant wait to be loaded, as many as may")]
    LoadsOfTenant {
        /// The limit.
        limit: usize,
    },
    /// Models in use fill the memory for models.
    #[error(
        "the model needs {needed} bytes, and models in use leave {free} of the {budget} that \
         {device} has for models"
    )]
    Memory {
        /// Where.
        device: Device,
        /// What it needs.
        needed: u64,
        /// What is free when everything idle is gone.
        free: u64,
        /// What there is for models there.
        budget: u64,
    },
}

/// A model is not loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Its bytes could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It is not a model.
    #[error("this is not an ONNX model: {problem}")]
    NotAModel {
        /// Why.
        problem: String,
    },
    /// It is said, or seen, to be of an encoding that no back end reads.
    #[error("this is a model of encoding {0}, and this node runs ONNX: export it as ONNX")]
    Encoding(Encoding),
    /// No back end has what it shall run on.
    #[error("no back end of this node has a {0}: load the model for another target")]
    Target(Target),
    /// It shall run on a card, or nothing but cards can run it, and who asks was given none.
    #[error("the model needs a card, and the task was given none: ask for one with `gpu`")]
    NoCard,
    /// None of the back ends that the node is configured with can be used.
    #[error("no back end of this node can be used; `wrun nodes` says why")]
    NoBackEnd,
    /// The model contradicts itself.
    #[error("the model is malformed: {place}: {problem}")]
    Malformed {
        /// Where.
        place: String,
        /// What.
        problem: String,
    },
    /// It uses an operator that the back end lacks.
    #[error(
        "{back_end} has no operator `{operator}`{}, which node `{node}` uses: export the model \
         for another operator set, or run it on a node with another back end",
        in_domain(.domain)
    )]
    UnsupportedOperator {
        /// The back end.
        back_end: &'static str,
        /// The operator.
        operator: String,
        /// Its domain; empty for ONNX's own.
        domain: String,
        /// The first node that uses it.
        node: String,
    },
    /// It takes or gives what `wasi:nn` has no type for, or uses what the back end lacks.
    #[error("{place} is of type {element}, which {who} does not have")]
    UnsupportedType {
        /// Which tensor.
        place: String,
        /// ONNX's name of the type.
        element: String,
        /// Who lacks it.
        who: &'static str,
    },
    /// It wants what no back end gives.
    #[error("the model uses {feature} ({place}), which is not supported: {remedy}")]
    Unsupported {
        /// What.
        feature: &'static str,
        /// Where.
        place: String,
        /// What to do.
        remedy: &'static str,
    },
    /// It is larger than allowed, or makes what is.
    #[error("{what} is {size}, and the limit is {limit}")]
    TooLarge {
        /// What.
        what: String,
        /// How large; at least so much where it cannot be told.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// There is no room for it now.
    #[error("{0}: try again later")]
    Busy(BusyReason),
    /// It took too long.
    #[error("the model was not loaded within {0:?}")]
    Timeout(Duration),
    /// The back end cannot load it.
    #[error("{back_end} cannot load the model: {problem}")]
    Failed {
        /// The back end.
        back_end: &'static str,
        /// What it says.
        problem: String,
    },
    /// The engine has ended.
    #[error("the inference engine of this node has stopped")]
    Stopped,
}

/// Something about the inputs of a request is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The model has no such input.
    #[error("the model has no input `{name}`; its inputs are {inputs}")]
    Unknown {
        /// The name.
        name: String,
        /// What it has.
        inputs: String,
    },
    /// An input is given twice.
    #[error("input `{name}` is given twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// An input is not given.
    #[error("input `{name}` is missing; the model's inputs are {inputs}")]
    Missing {
        /// The name.
        name: String,
        /// What it wants.
        inputs: String,
    },
    /// Its elements are of another type.
    #[error("input `{name}` is of {given}, and the model takes {expected}")]
    Type {
        /// The name.
        name: String,
        /// What was given.
        given: ElementType,
        /// What is wanted.
        expected: ElementType,
    },
    /// It has other dimensions.
    #[error("input `{name}` has the dimensions {given:?}, and the model takes {expected}")]
    Shape {
        /// The name.
        name: String,
        /// What was given.
        given: Box<[u32]>,
        /// The model's own declaration.
        expected: String,
    },
    /// Dimensions that the model calls by one name differ.
    #[error("`{symbol}` is {first} in one input and {second} in `{name}`, and must be the same")]
    Symbol {
        /// The name of the dimension.
        symbol: String,
        /// What it was before.
        first: u32,
        /// The input in which it differs.
        name: String,
        /// What it is there.
        second: u32,
    },
    /// Its parts do not fit together.
    #[error("input `{name}` is malformed: {problem}")]
    Tensor {
        /// The name.
        name: String,
        /// What is wrong.
        problem: TensorError,
    },
}

/// A request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComputeError {
    /// The inputs are wrong.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The inputs, the outputs, or what is made between them are larger than allowed.
    #[error("{what} is {size} bytes, and the limit is {limit}")]
    TooLarge {
        /// What.
        what: String,
        /// How large.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// There is no room for it now.
    #[error("{0}: wait for answers, or try again later")]
    Busy(BusyReason),
    /// The deadline passed.
    #[error("the request was not {} within {waited:?}", done(.started))]
    Timeout {
        /// How long it took.
        waited: Duration,
        /// Whether it had begun to run.
        started: bool,
    },
    /// The model was unloaded.
    #[error("the model was unloaded: load it again")]
    Unloaded,
    /// The back end failed.
    #[error("{back_end} failed: {problem}")]
    Failed {
        /// The back end.
        back_end: &'static str,
        /// What it says.
        problem: String,
    },
    /// The engine has ended.
    #[error("the inference engine of this node has stopped")]
    Stopped,
}

/// A model is not unloaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnloadError {
    /// It is not loaded.
    #[error("the model is not loaded here")]
    NotLoaded,
    /// It is being used.
    #[error("the model is used by {users}: stop them, or force it")]
    InUse {
        /// Handles to it that are held, and requests under way.
        users: usize,
    },
}

impl FetchError {
    /// The code of `wasi:nn`.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound(_) => ErrorCode::NotFound,
            Self::Denied(_) => ErrorCode::Security,
            Self::Failed(_) => ErrorCode::RuntimeError,
        }
    }
}

impl LoadError {
    /// The code of `wasi:nn`.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Fetch(error) => error.code(),
            Self::NotAModel { .. } | Self::Encoding(_) | Self::Malformed { .. } => {
                ErrorCode::InvalidEncoding
            }
            Self::Target(_)
            | Self::NoCard
            | Self::UnsupportedOperator { .. }
            | Self::UnsupportedType { .. }
            | Self::Unsupported { .. } => ErrorCode::UnsupportedOperation,
            Self::TooLarge { .. } => ErrorCode::TooLarge,
            Self::Timeout(_) => ErrorCode::Timeout,
            Self::Busy(_) | Self::Failed { .. } | Self::NoBackEnd | Self::Stopped => {
                ErrorCode::RuntimeError
            }
        }
    }
}

impl LoadError {
    /// Whether it says nothing of what another device would do with the model.
    pub(crate) fn is_of_the_device(&self) -> bool {
        matches!(
            self,
            Self::UnsupportedOperator { .. }
                | Self::UnsupportedType { .. }
                | Self::Unsupported { .. }
                | Self::TooLarge { .. }
                | Self::Failed { .. }
        )
    }
}

impl ComputeError {
    /// The code of `wasi:nn`.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Input(_) => ErrorCode::InvalidArgument,
            Self::TooLarge { .. } => ErrorCode::TooLarge,
            Self::Timeout { .. } => ErrorCode::Timeout,
            Self::Unloaded => ErrorCode::NotFound,
            Self::Busy(_) | Self::Failed { .. } | Self::Stopped => ErrorCode::RuntimeError,
        }
    }
}

fn done(started: &bool) -> &'static str {
    if *started { "answered" } else { "started" }
}

fn in_domain(domain: &str) -> String {
    if domain.is_empty() { String::new() } else { format!(" of `{domain}`") }
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Onnx => "ONNX",
            Self::OpenVino => "OpenVINO",
            Self::TensorFlow => "TensorFlow",
            Self::PyTorch => "PyTorch",
            Self::TensorFlowLite => "TensorFlow Lite",
            Self::Ggml => "GGML",
            Self::Autodetect => "unknown",
        })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Any => "device",
            Self::Cpu => "CPU",
            Self::Gpu => "GPU",
            Self::Tpu => "TPU",
        })
    }
}
