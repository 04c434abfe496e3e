//! One connection to one peer: opens and accepts streams, and ends.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::VarInt;

use crate::certificate::Peer;
use crate::error::Closed;
use crate::listener::PeerPermit;
use crate::memory;
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

/// How long a side that goes away waits for its peers to hear of it.
pub(crate) const FLUSH: Duration = Duration::from_secs(1);

/// A connection. Cheap to clone; it ends when closed, or when the last clone and stream
/// is dropped.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

struct Inner {
    peer: Peer,
    link: Link,
    /// Of a connecting side: the socket of this connection alone.
    endpoint: Option<quinn::Endpoint>,
    /// Of a listener: this connection's place among its peer's.
    _permit: Option<PeerPermit>,
}

enum Link {
    Quic(quinn::Connection),
    Memory(Arc<memory::End>),
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({} at {})", self.0.peer, self.remote_address())
    }
}

impl Connection {
    pub(crate) fn accepted(
        connection: quinn::Connection,
        peer: Peer,
        permit: Option<PeerPermit>,
    ) -> Self {
        let link = Link::Quic(connection);
        Self(Arc::new(Inner { peer, link, endpoint: None, _permit: permit }))
    }

    pub(crate) fn connected(
        connection: quinn::Connection,
        peer: Peer,
        endpoint: quinn::Endpoint,
    ) -> Self {
        let link = Link::Quic(connection);
        Self(Arc::new(Inner { peer, link, endpoint: Some(endpoint), _permit: None }))
    }

    pub(crate) fn in_memory(end: memory::End, peer: Peer) -> Self {
        let link = Link::Memory(Arc::new(end));
        Self(Arc::new(Inner { peer, link, endpoint: None, _permit: None }))
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.0.peer
    }

    /// Opens a bidirectional stream; waits while the peer's limit of streams is reached. The
    /// peer learns of it with the first bytes sent, or when it is finished.
    pub async fn open(&self) -> Result<(SendStream, RecvStream), Closed> {
        match &self.0.link {
            Link::Quic(connection) => {
                let (send, recv) = connection.open_bi().await.map_err(Closed::of)?;
                Ok((SendStream::quic(send), RecvStream::quic(recv)))
            }
            Link::Memory(end) => {
                let (send, recv) = end.open().await?;
                Ok((SendStream::memory(send), RecvStream::memory(recv)))
            }
        }
    }

    /// The next stream that the peer opened. Safe to cancel.
    pub async fn accept(&self) -> Result<(SendStream, RecvStream), Closed> {
        match &self.0.link {
            Link::Quic(connection) => {
                let (send, recv) = connection.accept_bi().await.map_err(Closed::of)?;
                Ok((SendStream::quic(send), RecvStream::quic(recv)))
            }
            Link::Memory(end) => {
                let (send, recv) = end.accept().await?;
                Ok((SendStream::memory(send), RecvStream::memory(recv)))
            }
        }
    }

    /// Waits for the end and says why. Safe to cancel.
    pub async fn closed(&self) -> Closed {
        match &self.0.link {
            Link::Quic(connection) => Closed::of(connection.closed().await),
            Link::Memory(end) => end.closed().await,
        }
    }

    /// Why it ended, if it has.
    pub fn close_reason(&self) -> Option<Closed> {
        match &self.0.link {
            Link::Quic(connection) => connection.close_reason().map(Closed::of),
            Link::Memory(end) => end.close_reason(),
        }
    }

    /// Ends it at once; what is under way on its streams is lost. `code` is one of
    /// [`close_code`]; `reason` a line for people.
    pub fn close(&self, code: u32, reason: &str) {
        match &self.0.link {
            Link::Quic(connection) => connection.close(VarInt::from_u32(code), reason.as_bytes()),
            Link::Memory(end) => end.close(code, reason),
        }
    }

    /// Ends it and waits (a second at most) until the peer has been told. For processes
    /// that are about to exit.
    pub async fn close_and_flush(&self, code: u32, reason: &str) {
        self.close(code, reason);
        if let Some(endpoint) = &self.0.endpoint {
            // A peer that does not acknowledge will find out by its idle timeout.
            let _ = tokio::time::timeout(FLUSH, endpoint.wait_idle()).await;
        }
    }

    #[cfg(test)]
    pub(crate) fn path(&self) -> quinn::PathStats {
        match &self.0.link {
            Link::Quic(connection) => connection.stats().path,
            Link::Memory(_) => quinn::PathStats::default(),
        }
    }

    /// Where the peer is. In memory: port 0 of the loopback address.
    pub fn remote_address(&self) -> SocketAddr {
        match &self.0.link {
            Link::Quic(connection) => connection.remote_address(),
            Link::Memory(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        }
    }
}
