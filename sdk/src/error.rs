//! Why a task failed, as its users will read it.

use std::fmt;

use crate::checkpoint::CheckpointError;

/// A task's failure: a message for people, and whether another attempt can help.
///
/// Like other catch-all errors it does not implement [`std::error::Error`] itself, so
/// that `?` can turn everything that does into one.
///
/// ```
/// use wrun_sdk::{Error, Retry};
///
/// fn read(text: &str) -> Result<u32, Error> {
///     Ok(text.parse::<u32>()?)
/// }
/// assert_eq!(read("x").unwrap_err().message(), "invalid digit found in string");
///
/// fn ask() -> Result<(), Error> {
///     std::fs::read("/no/such/file").retryable()?;
///     Ok(())
/// }
/// assert!(ask().unwrap_err().is_retryable());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    message: String,
    retryable: bool,
}

impl Error {
    /// An error that another attempt would meet again.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), retryable: false }
    }

    /// The same error, marked as one that another attempt can help with. Whether there
    /// is one is for the job's retry policy to say.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// The same error with what was being done before its message.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// For people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether another attempt can help.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: std::error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            // Many errors repeat their cause in their own text.
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = inner.source();
        }
        let error: &(dyn std::error::Error + 'static) = &error;
        let retryable = matches!(error.downcast_ref(), Some(CheckpointError::Unavailable(_)));
        Self { message, retryable }
    }
}

/// Marks the error of a result.
pub trait Retry<T> {
    /// Turns the error into an [`Error`] that another attempt can help with.
    ///
    /// # Errors
    /// The error that was there, marked.
    fn retryable(self) -> Result<T, Error>;

    /// Turns the error into an [`Error`] with what was being done before its message.
    ///
    /// # Errors
    /// The error that was there, with the text.
    fn while_doing(self, doing: impl fmt::Display) -> Result<T, Error>;
}

impl<T, E: Into<Error>> Retry<T> for Result<T, E> {
    fn retryable(self) -> Result<T, Error> {
        self.map_err(|error| error.into().retryable())
    }

    fn while_doing(self, doing: impl fmt::Display) -> Result<T, Error> {
        self.map_err(|error| error.into().context(doing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bad line")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn causes_are_part_of_the_message() {
        let error = Error::from(Outer("x".parse::<u8>().unwrap_err()));
        assert_eq!(error.message(), "bad line: invalid digit found in string");
        assert!(!error.is_retryable());
    }

    #[test]
    fn a_checkpoint_that_cannot_be_saved_now_is_worth_another_attempt() {
        assert!(Error::from(CheckpointError::Unavailable("x".into())).is_retryable());
        assert!(!Error::from(CheckpointError::TooLarge { most: 1 }).is_retryable());
    }
}
