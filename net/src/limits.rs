//! Bounds of the transport, each with its reason. A connection begins with the least
//! and is given the rest once its peer is known.

use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig};

use crate::socket;

/// What one endpoint allows. [`Limits::default`] suits a cluster; tests make it small.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bidirectional streams that a known peer may have open at once; opening one more waits.
    pub streams: u32,
    /// Bytes a peer may send on one stream before they are read. A frame may be larger: its
    /// reader takes what has come.
    pub stream_window: u32,
    /// Bytes a known peer may send on all streams before they are read.
    pub connection_window: u32,
    /// Bytes this side keeps that the peer has not acknowledged; a writer waits above it.
    pub send_window: u64,
    /// A peer not heard of for this long is gone.
    pub idle: Duration,
    /// How often a connecting side lets itself be heard when it has nothing to say.
    pub keep_alive: Duration,
    /// A handshake that takes longer is given up, on either side.
    pub handshake: Duration,
    /// Connections of one listener, in total.
    pub connections: usize,
    /// Connections of one node or one tenant.
    pub connections_per_peer: usize,
    /// Connections without a known peer (in handshake, or joining), in total.
    pub anonymous: usize,
    /// The same, from one IP address.
    pub anonymous_per_address: usize,
    /// How long a connection without a known peer may last after its handshake.
    pub anonymous_life: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 1024,
            stream_window: 2 << 20,
            connection_window: 16 << 20,
            send_window: 8 << 20,
            idle: Duration::from_secs(20),
            keep_alive: Duration::from_secs(5),
            handshake: Duration::from_secs(5),
            connections: 16_384,
            connections_per_peer: 1024,
            anonymous: 1024,
            anonymous_per_address: 256,
            anonymous_life: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// Between two nodes. A stream may be a request to a replica, whose body waits for a slow
    /// client: the windows are such that a thousand of those, each with its window full, still
    /// leave room for others, and that this is all they take of memory. Messages of gangs
    /// never wait; for them the windows only bound what is on its way.
    pub fn between_nodes() -> Self {
        Self {
            // One for each gang that the two share, and one for each request from one to the
            // other. A further one waits.
            streams: 4096,
            stream_window: 256 << 10,
            connection_window: 256 << 20,
            idle: Duration::from_secs(10),
            keep_alive: Duration::from_secs(2),
            connections_per_peer: 8,
            anonymous: 256,
            ..Self::default()
        }
    }

    /// For a connecting side. The server is known when the handshake is done, so it gets
    /// everything at once.
    pub(crate) fn client_transport(&self) -> TransportConfig {
        let mut config = self.transport();
        config
            .max_concurrent_bidi_streams(self.streams.into())
            // The server opens one to say that it accepts this side's certificate.
            .max_concurrent_uni_streams(1_u32.into())
            .receive_window(self.connection_window.into())
            .keep_alive_interval(Some(self.keep_alive));
        config
    }

    /// For a listener, before it knows the peer: one stream, and no more than its window.
    pub(crate) fn server_transport(&self) -> TransportConfig {
        let mut config = self.transport();
        config
            .max_concurrent_bidi_streams(1_u32.into())
            .max_concurrent_uni_streams(0_u32.into())
            .receive_window(self.stream_window.into());
        config
    }

    /// Gives a connection what a known peer may have.
    pub(crate) fn raise_for_known_peer(&self, connection: &quinn::Connection) {
        connection.set_max_concurrent_bi_streams(self.streams.into());
        connection.set_receive_window(self.connection_window.into());
    }

    fn transport(&self) -> TransportConfig {
        let mut config = TransportConfig::default();
        // An idle time beyond what QUIC can say means none, which would leak connections.
        let idle = self.idle.min(Duration::from_secs(3600));
        config
            .stream_receive_window(self.stream_window.into())
            .send_window(self.send_window)
            .max_idle_timeout(IdleTimeout::try_from(idle).ok())
            // Datagrams are not used.
            .datagram_receive_buffer_size(None);
        socket::send_large(&mut config);
        config
    }
}
