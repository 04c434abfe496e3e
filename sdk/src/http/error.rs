//! Why a request is not answered as it wished, as its client will read it.

use std::fmt;

use http::StatusCode;

use super::{BodyError, SendError};

/// A status, and a text for the client. A server error (500 and above) also has a text for
/// the log.
///
/// Like [`crate::Error`] it does not implement [`std::error::Error`] itself, so that `?` can
/// turn everything that does into one.
///
/// ```
/// use wrun_sdk::http::{Error, StatusCode};
///
/// fn parse(text: &str) -> Result<u32, Error> {
///     text.parse().map_err(|_| Error::new(StatusCode::BAD_REQUEST, "give a number"))
/// }
/// assert_eq!(parse("x").unwrap_err().status(), 400);
///
/// fn load() -> Result<String, Error> {
///     Ok(std::fs::read_to_string("/no/such/file")?)
/// }
/// let error = load().unwrap_err();
/// assert_eq!(error.status(), 500);
/// assert_eq!(error.message(), "", "what went wrong inside is not the client's business");
/// assert!(error.detail().contains("No such file"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    status: StatusCode,
    message: String,
    detail: String,
}

impl Error {
    /// An error that the client is told.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), detail: String::new() }
    }

    /// What the client gets.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// For the client.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// For the log.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.status.as_str())?;
        for text in [&self.message, &self.detail] {
            if !text.is_empty() {
                write!(f, ": {text}")?;
            }
        }
        Ok(())
    }
}

impl<E: std::error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let any: &(dyn std::error::Error + 'static) = &error;
        if let Some(mistake) = any.downcast_ref::<BodyError>().filter(|body| body.is_of_client()) {
            return Self::new(mistake.status(), mistake.to_string());
        }
        let status = if let Some(failed) = any.downcast_ref::<SendError>() {
            failed.status()
        } else if let Some(broken) = any.downcast_ref::<BodyError>() {
            broken.status()
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        let detail = crate::Error::from(error).message().to_owned();
        Self { status, message: String::new(), detail }
    }
}
