//! What parent and child say to each other. Both are the same program, so that nothing here
//! has versions; the child is still not trusted to be sound, and every length is checked.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::region::{Region, RegionError};
use crate::back_end::{RunError, Sizes};
use crate::config::{BackEndConfig, Limits, Provider, Target};
use crate::error::LoadError;
use crate::tensor::{ElementType, Tensor};

/// Longest message. Tensors and models are not in messages.
const MAX_MESSAGE: usize = 1 << 20;

/// What the parent wants. Every request has one answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Start this back end; the first request.
    Start(BackEndConfig, Limits),
    /// Try out whether models can be run on it.
    Probe(Provider),
    /// Load the model of that length in the region, and call it by this number.
    Load { model: u64, length: u64, target: Target },
    /// Forget the model.
    Unload { model: u64 },
    /// Make the model ready for inputs of these sizes.
    Prepare { model: u64, sizes: Sizes },
    /// Run the model with the inputs in the region.
    Run { model: u64, inputs: Vec<Placed> },
}

/// What the child answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Response {
    /// Of which version the library behind it is.
    Started(Result<Option<String>, String>),
    Probed(Result<(), String>),
    Loaded(Result<Loaded, Refusal>),
    Unloaded,
    /// Whether what a run takes is known.
    Prepared(Result<bool, RunError>),
    /// The outputs are in the region.
    Ran(Result<Vec<Placed>, RunError>),
}

/// A model that the child has loaded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Loaded {
    pub(super) device: String,
    pub(super) bytes: u64,
    pub(super) is_bounded: bool,
    pub(super) prepares_each_size: bool,
}

/// Why the child does not load a model: what of [`LoadError`] a back end can say.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Refusal {
    Operator { operator: String, domain: String, node: String },
    Type { place: String, element: String },
    TooLarge { what: String, size: u64, limit: u64 },
    Failed(String),
}

/// A tensor in the region.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Placed {
    dimensions: Box<[u32]>,
    element: ElementType,
    at: u64,
    length: u64,
}

/// A message did not come through.
#[derive(Debug, thiserror::Error)]
pub(super) enum MessageError {
    #[error("the connection is broken: {0}")]
    Io(#[from] std::io::Error),
    #[error("a message of {0} bytes is longer than may be")]
    TooLong(usize),
    #[error("a message makes no sense: {0}")]
    Codec(#[from] postcard::Error),
    #[error("it was given up")]
    GivenUp,
}

pub(super) fn send(stream: &mut UnixStream, message: &impl Serialize) -> Result<(), MessageError> {
    let bytes = postcard::to_allocvec(message)?;
    if bytes.len() > MAX_MESSAGE {
        return Err(MessageError::TooLong(bytes.len()));
    }
    let length = bytes.len() as u32;
    stream.write_all(&[&length.to_le_bytes()[..], &bytes].concat())?;
    Ok(())
}

/// The next message. Where the stream has a time limit for reading, `go_on` is asked each time
/// that is over.
pub(super) fn receive<T: DeserializeOwned>(
    stream: &mut UnixStream,
    mut go_on: impl FnMut() -> bool,
) -> Result<T, MessageError> {
    let mut length = [0; 4];
    fill(stream, &mut length, &mut go_on)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(MessageError::TooLong(length));
    }
    let mut bytes = vec![0; length];
    fill(stream, &mut bytes, &mut go_on)?;
    Ok(postcard::from_bytes(&bytes)?)
}

fn fill(
    stream: &mut UnixStream,
    mut buffer: &mut [u8],
    go_on: &mut impl FnMut() -> bool,
) -> Result<(), MessageError> {
    while !buffer.is_empty() {
        match stream.read(buffer) {
            Ok(0) => return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(read) => buffer = buffer.get_mut(read..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if !go_on() {
                    return Err(MessageError::GivenUp);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Puts tensors into the region, one behind the other.
pub(super) fn place(region: &Region, tensors: &[Tensor]) -> Result<Vec<Placed>, RegionError> {
    let mut at = 0;
    let mut placed = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        region.write(at, tensor.data())?;
        let length = tensor.data().len() as u64;
        let (dimensions, element) = (tensor.dimensions().into(), tensor.element());
        placed.push(Placed { dimensions, element, at, length });
        at += length;
    }
    Ok(placed)
}

/// Takes tensors out of the region, so many bytes in all at most.
pub(super) fn take(
    region: &Region,
    placed: Vec<Placed>,
    limit: u64,
) -> Result<Vec<Tensor>, RegionError> {
    let size = placed.iter().fold(0_u64, |sum, tensor| sum.saturating_add(tensor.length));
    if size > limit {
        return Err(RegionError::TooLarge { size, limit });
    }
    let take = |Placed { dimensions, element, at, length }| {
        let tensor = Tensor::new(dimensions, element, region.read(at, length)?);
        tensor.check().map_err(|error| RegionError::Tensor(error.to_string()))?;
        Ok(tensor)
    };
    placed.into_iter().map(take).collect()
}

impl Refusal {
    pub(super) fn of(error: LoadError) -> Self {
        match error {
            LoadError::UnsupportedOperator { operator, domain, node, .. } => {
                Self::Operator { operator, domain, node }
            }
            LoadError::UnsupportedType { place, element, .. } => Self::Type { place, element },
            LoadError::TooLarge { what, size, limit } => Self::TooLarge { what, size, limit },
            LoadError::Failed { problem, .. } => Self::Failed(problem),
            other => Self::Failed(other.to_string()),
        }
    }

    pub(super) fn error(self, back_end: &'static str) -> LoadError {
        match self {
            Self::Operator { operator, domain, node } => {
                LoadError::UnsupportedOperator { back_end, operator, domain, node }
            }
            Self::Type { place, element } => {
                LoadError::UnsupportedType { place, element, who: back_end }
            }
            Self::TooLarge { what, size, limit } => LoadError::TooLarge { what, size, limit },
            Self::Failed(problem) => LoadError::Failed { back_end, problem },
        }
    }
}
