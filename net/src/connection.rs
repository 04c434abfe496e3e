//! One connection to one peer: opens and accepts streams, and ends.

use std::net::SocketAddr;

use crate::certificate::Peer;
use crate::error::Closed;
use crate::stream::{RecvStream, SendStream};

/// Codes with which a side closes a connection.
pub mod close_code {
    /// Nothing is wrong.
    pub const DONE: u32 = 0;
    /// The peer did what the protocol does not know.
    pub const PROTOCOL: u32 = 1;
    /// The peer may not do what it wants.
    pub const DENIED: u32 = 2;
    /// A limit of connections is reached.
    pub const LIMIT: u32 = 3;
    /// This side goes away; connecting again later can help.
    pub const GOING_AWAY: u32 = 4;
    /// Another connection of the same peer took its place.
    pub const REPLACED: u32 = 5;
}

/// A connection. Cheap to clone; it ends when closed, or when the last clone and stream
/// is dropped.
#[derive(Clone)]
pub struct Connection {}

impl Connection {
    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        todo!()
    }
    /// Opens a bidirectional stream; waits while the peer's limit of streams is reached. The
    /// peer learns of it with the first bytes sent.
    pub async fn open(&self) -> Result<(SendStream, RecvStream), Closed> {
        todo!()
    }
    /// The next stream that the peer opened.
    pub async fn accept(&self) -> Result<(SendStream, RecvStream), Closed> {
        todo!()
    }
    /// Waits for the end and says why.
    pub async fn closed(&self) -> Closed {
        todo!()
    }
    /// Why it ended, if it has.
    pub fn close_reason(&self) -> Option<Closed> {
        todo!()
    }
    /// Ends it at once; what is under way on its streams is lost. `code` is one of
    /// [`close_code`].
    pub fn close(&self, _code: u32, _reason: &str) {
        todo!()
    }
    /// Ends it and waits (a second at most) until the peer has been told. For processes
    /// that are about to exit.
    pub async fn close_and_flush(&self, _code: u32, _reason: &str) {
        todo!()
    }
    /// Where the peer is. In memory: port 0 of the loopback address.
    pub fn remote_address(&self) -> SocketAddr {
        todo!()
    }
}
