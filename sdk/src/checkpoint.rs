//! State that outlives an attempt: saved durably by the cluster, loaded by the attempt
//! that goes on after this one was lost or failed.
//!
//! ```
//! use wrun_sdk::{Error, checkpoint};
//!
//! fn sum(numbers: &[u64]) -> Result<u64, Error> {
//!     let (mut next, mut sum) = checkpoint::load::<(usize, u64)>()?.unwrap_or_default();
//!     while let Some(number) = numbers.get(next) {
//!         sum += number;
//!         next += 1;
//!         if next % 1000 == 0 {
//!             checkpoint::save(&(next, sum))?;
//!         }
//!     }
//!     Ok(sum)
//! }
//! # assert_eq!(sum(&[1; 2500]).unwrap(), 2500);
//! # assert_eq!(checkpoint::load::<(usize, u64)>().unwrap(), Some((2000, 2000)));
//! ```
//!
//! A save returns once the cluster holds the state, which takes a round trip and a disk
//! write: save every few seconds of work, not after every item.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, platform};

/// Saves `state`, as JSON, in place of what was saved before.
///
/// # Errors
/// [`CheckpointError`] as a task's error: too large, or, marked as retryable, not
/// possible now. The task may also ignore it and go on.
pub fn save<T: Serialize>(state: &T) -> Result<(), Error> {
    let bytes = serde_json::to_vec(state).map_err(|error| {
        Error::new(format!("the checkpoint cannot be written as JSON: {error}"))
    })?;
    Ok(save_bytes(&bytes)?)
}

/// What this task, in this attempt or an earlier one, saved last by [`save`].
///
/// # Errors
/// A checkpoint of another type; one that an older version of the component saved, say.
pub fn load<T: DeserializeOwned>() -> Result<Option<T>, Error> {
    load_bytes()
        .map(|bytes| {
            serde_json::from_slice(&bytes)
                .map_err(|error| Error::new(format!("the checkpoint is of another kind: {error}")))
        })
        .transpose()
}

/// Saves `state` as it is, in place of what was saved before.
///
/// # Errors
/// Too large, or not possible now; what was saved before is still there.
pub fn save_bytes(state: &[u8]) -> Result<(), CheckpointError> {
    platform::save_checkpoint(state)
}

/// What this task, in this attempt or an earlier one, saved last.
pub fn load_bytes() -> Option<Vec<u8>> {
    platform::load_checkpoint()
}

/// Why a checkpoint was not saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointError {
    /// Larger than the cluster allows.
    TooLarge {
        /// The most it does, in bytes.
        most: u64,
    },
    /// The node could not save it now; a later try may succeed.
    Unavailable(String),
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { most } => {
                write!(f, "the checkpoint is larger than the {most} bytes that the cluster allows")
            }
            Self::Unavailable(reason) => write!(f, "the checkpoint was not saved: {reason}"),
        }
    }
}

impl std::error::Error for CheckpointError {}
