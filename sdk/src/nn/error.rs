//! Why a model cannot be loaded or run.

use std::fmt;

/// What kind of failure it was: the codes of `wasi:nn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// A name, type, shape or length that cannot be.
    InvalidArgument,
    /// The bytes are no model, or are encoded in another way.
    InvalidEncoding,
    /// It took too long.
    Timeout,
    /// It failed, or the node has no room for it now.
    RuntimeError,
    /// The node cannot do that.
    UnsupportedOperation,
    /// The model, or what it is given, is too large.
    TooLarge,
    /// There is no such model.
    NotFound,
    /// The job does not allow it.
    Security,
    /// It failed without a reason.
    Unknown,
}

/// What went wrong, where, and what to do about it.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    code: ErrorCode,
    text: String,
}

impl Error {
    /// For tests that let a model fail.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// The kind of failure.
    pub fn code(&self) -> ErrorCode {
        self.code
    }
}

/// What a program prints whose `main` returns it.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.text)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}
