//! How parts of a cluster reach each other: QUIC connections with mutual TLS, the
//! identities behind them, and framed streams on top. [`memory`] gives the same types
//! without a socket, for tests.
//!
//! This crate moves bytes and says who is at the other end. It decides nothing about
//! what a peer may do, and knows no request or job.

mod address;
mod authority;
mod certificate;
mod connect;
mod connection;
mod credential;
mod error;
mod identity;
mod limits;
mod listener;
pub mod memory;
mod private_file;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod token;

pub use address::{AddressError, ServerAddress};
pub use authority::Authority;
pub use certificate::Peer;
pub use connect::{connect, connect_to_join, connect_to_node, connect_with};
pub use connection::{Connection, close_code};
pub use credential::Credential;
pub use error::{Closed, ConnectError, IdentityError, ListenError, RecvError, SendError};
pub use identity::{Identity, PrivateKey, signing_request};
pub use limits::Limits;
pub use listener::Listener;
pub use stream::{RecvStream, SendStream};
pub use token::{JoinAddress, JoinToken, ParseTokenError};
