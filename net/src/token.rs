//! Join tokens: a one-time secret bound to the fingerprint of the cluster's authority.

use std::fmt;
use std::str::FromStr;

use crate::address::ServerAddress;

/// What lets one machine join. A secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Known to the server by its hash alone.
    pub secret: [u8; 32],
    /// SHA-256 of the authority's certificate, DER.
    pub fingerprint: [u8; 32],
}

/// `TOKEN@HOST:PORT`, as `wrun worker --join` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinAddress {
    /// The token.
    pub token: JoinToken,
    /// Where the server is.
    pub server: ServerAddress,
}

/// The text is not a join token or address. Says nothing of the text, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseTokenError {
    /// Not a token.
    #[error("this is not a join token: {0}; copy it whole from `wrun token create`")]
    Token(&'static str),
    /// No `@`.
    #[error("expected TOKEN@HOST:PORT, as `wrun token create` prints it: the `@` is missing")]
    NoAddress,
    /// After the `@`.
    #[error(transparent)]
    Address(#[from] crate::address::AddressError),
}

impl JoinToken {
    /// A new token with a random secret.
    pub fn create(_fingerprint: [u8; 32]) -> Self {
        todo!()
    }
    /// SHA-256 of the secret: what the server keeps.
    pub fn hash(&self) -> [u8; 32] {
        Self::hash_secret(&self.secret)
    }
    /// SHA-256 of a secret that came by itself.
    pub fn hash_secret(_secret: &[u8; 32]) -> [u8; 32] {
        todo!()
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken")
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

impl FromStr for JoinToken {
    type Err = ParseTokenError;
    fn from_str(_text: &str) -> Result<Self, Self::Err> {
        todo!()
    }
}

impl fmt::Display for JoinAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.token, self.server)
    }
}

impl FromStr for JoinAddress {
    type Err = ParseTokenError;
    fn from_str(_text: &str) -> Result<Self, Self::Err> {
        todo!()
    }
}
