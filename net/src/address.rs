//! `HOST:PORT` as people write it, and the addresses it stands for.

use std::fmt;
use std::str::FromStr;

/// A host name or IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    host: String,
    port: u16,
}

/// The text is not `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a server's address: {problem}; write HOST:PORT, an IPv6 address in brackets")]
pub struct AddressError {
    text: String,
    problem: &'static str,
}

impl ServerAddress {
    /// The host name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }
    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

impl FromStr for ServerAddress {
    type Err = AddressError;
    fn from_str(_text: &str) -> Result<Self, Self::Err> {
        todo!()
    }
}
