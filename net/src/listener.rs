//! Accepts connections, tells who each is of, and turns away who may not be there.
//!
//! A stranger costs little: the number of handshakes and of anonymous connections is
//! bounded in total and per address, each has a deadline, and under load an address must
//! first prove that it can hear us (QUIC's Retry).

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::{Endpoint, EndpointConfig, Incoming, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use rustls::pki_types::CertificateDer;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;
use tracing::{debug, warn};
use wrun_protocol::wire::{ALPN, ALPN_JOIN, ALPN_PEER};

use crate::certificate::{Certificate, Peer};
use crate::connection::{Connection, FLUSH, close_code};
use crate::error::ListenError;
use crate::identity::Identity;
use crate::limits::Limits;
use crate::socket;
use crate::tls;

mod gate;

pub(crate) use gate::PeerPermit;
use gate::{Gate, StrangerPermit};

/// Connections that are known and that nobody has asked for yet.
const WAITING: usize = 256;

/// A crowd is reported this often at most.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// A bound UDP port that serves `wrun/1` and `wrun-join/1`, or `wrun-peer/1` alone. Dropping
/// it closes it.
pub struct Listener {
    endpoint: Endpoint,
    local: SocketAddr,
    accepted: Mutex<mpsc::Receiver<Connection>>,
}

impl Listener {
    /// Binds `address` (port 0: one chosen by the system). Must be called within a tokio
    /// runtime.
    pub fn bind(
        address: SocketAddr,
        identity: &Identity,
        authority_der: &[u8],
    ) -> Result<Self, ListenError> {
        Self::bind_with(address, identity, authority_der, Limits::default())
    }

    /// The same with other limits.
    pub fn bind_with(
        address: SocketAddr,
        identity: &Identity,
        authority_der: &[u8],
        limits: Limits,
    ) -> Result<Self, ListenError> {
        let tls = tls::server(identity, authority_der)?;
        Self::bind_endpoint(address, tls, limits, EndpointConfig::default())
    }

    /// For a node, which only other nodes of its cluster may reach: each is known by its
    /// certificate ([`Peer::Node`]).
    pub fn bind_for_nodes(
        address: SocketAddr,
        identity: &Identity,
        authority_der: &[u8],
        limits: Limits,
    ) -> Result<Self, ListenError> {
        let tls = tls::peer(identity, authority_der)?;
        Self::bind_endpoint(address, tls, limits, EndpointConfig::default())
    }

    /// The same for a server that may be started again on this address: with the same
    /// `secret`, the next process tells the peers of a dead one at their first packet that
    /// their connections are gone (stateless reset, RFC 9000 section 10.3). Without, they
    /// would find out when they had heard nothing for the idle time.
    pub fn bind_recognised(
        address: SocketAddr,
        identity: &Identity,
        authority_der: &[u8],
        secret: &[u8; 32],
    ) -> Result<Self, ListenError> {
        let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret)));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"connection ids");
        let id_key = tag.as_ref().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(id_key)));
        let tls = tls::server(identity, authority_der)?;
        Self::bind_endpoint(address, tls, Limits::default(), config)
    }

    fn bind_endpoint(
        address: SocketAddr,
        tls: QuicServerConfig,
        limits: Limits,
        endpoint: EndpointConfig,
    ) -> Result<Self, ListenError> {
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
        config
            .transport_config(Arc::new(limits.server_transport()))
            .max_incoming(limits.anonymous)
            // Nothing is sent before the handshake is done, so little is worth keeping.
            .incoming_buffer_size(64 << 10)
            .incoming_buffer_size_total(8 << 20);
        let bound = |source| ListenError::Bind { address, source };
        let socket = socket::bind(address).map_err(bound)?;
        let endpoint = socket::take_large(endpoint);
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = Endpoint::new(endpoint, Some(config), socket, runtime).map_err(bound)?;
        let local = endpoint.local_addr().map_err(bound)?;
        let (known, accepted) = mpsc::channel(WAITING);
        let door = Door {
            endpoint: endpoint.clone(),
            gate: Gate::new(&limits),
            limits,
            known,
            warned: Default::default(),
        };
        tokio::spawn(Arc::new(door).run());
        Ok(Self { endpoint, local, accepted: Mutex::new(accepted) })
    }

    /// The next connection whose peer is known, or that may only join
    /// ([`Peer::Anonymous`]). `None` once closed. Safe to cancel.
    pub async fn accept(&self) -> Option<Connection> {
        self.accepted.lock().await.recv().await
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Closes every connection and accepts no more; waits for nobody.
    pub fn close_now(&self, code: u32, reason: &str) {
        self.endpoint.close(VarInt::from_u32(code), reason.as_bytes());
    }

    /// Closes every connection and accepts no more; waits (a second at most) until the
    /// peers have been told.
    pub async fn close(&self, code: u32, reason: &str) {
        self.close_now(code, reason);
        let _ = timeout(FLUSH, self.endpoint.wait_idle()).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.endpoint.close(VarInt::from_u32(close_code::GOING_AWAY), b"the server has ended");
    }
}

/// What stands between strangers and [`Listener::accept`].
struct Door {
    endpoint: Endpoint,
    gate: Arc<Gate>,
    limits: Limits,
    known: mpsc::Sender<Connection>,
    /// When it last warned of too many connections.
    warned: std::sync::Mutex<Option<Instant>>,
}

impl Door {
    async fn run(self: Arc<Self>) {
        while let Some(incoming) = self.endpoint.accept().await {
            if self.endpoint.open_connections() >= self.limits.connections {
                self.warn_of_crowd(None);
                incoming.refuse();
                continue;
            }
            if self.gate.is_busy() && incoming.may_retry() {
                // Whoever gave a false address never comes back.
                let _ = incoming.retry();
                continue;
            }
            match self.gate.admit(incoming.remote_address().ip()) {
                Some(permit) => {
                    tokio::spawn(Arc::clone(&self).on_incoming(incoming, permit));
                }
                None => incoming.refuse(),
            }
        }
    }

    async fn on_incoming(self: Arc<Self>, incoming: Incoming, permit: StrangerPermit) {
        let address = incoming.remote_address();
        let Ok(connecting) = incoming.accept() else { return };
        let connection = match timeout(self.limits.handshake, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return debug!(%address, %error, "a handshake failed"),
            Err(_) => return debug!(%address, "a handshake took too long"),
        };
        match identify(&connection) {
            Ok(Peer::Anonymous) => self.admit_anonymous(connection, permit).await,
            Ok(peer) => {
                drop(permit);
                self.admit_known(connection, peer).await;
            }
            Err(reason) => {
                debug!(%address, reason, "refused a connection");
                connection.close(VarInt::from_u32(close_code::DENIED), reason.as_bytes());
            }
        }
    }

    async fn admit_known(&self, connection: quinn::Connection, peer: Peer) {
        let Some(permit) = self.gate.seat(&peer) else {
            self.warn_of_crowd(Some(&peer));
            let reason = b"too many connections of this tenant or node: close some";
            return connection.close(VarInt::from_u32(close_code::LIMIT), reason);
        };
        self.limits.raise_for_known_peer(&connection);
        if welcome(&connection).await {
            self.hand_over(Connection::accepted(connection, peer, Some(permit))).await;
        }
    }

    async fn admit_anonymous(&self, connection: quinn::Connection, permit: StrangerPermit) {
        if !welcome(&connection).await {
            return;
        }
        self.hand_over(Connection::accepted(connection.clone(), Peer::Anonymous, None)).await;
        if timeout(self.limits.anonymous_life, connection.closed()).await.is_err() {
            let reason = b"joining took too long";
            connection.close(VarInt::from_u32(close_code::LIMIT), reason);
        }
        drop(permit);
    }

    /// Tells the operator, but lets nobody fill the log.
    fn warn_of_crowd(&self, peer: Option<&Peer>) {
        let now = Instant::now();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|last| now.duration_since(last) >= WARN_EVERY) {
            *warned = Some(now);
            match peer {
                Some(peer) => warn!(%peer, "refused connections: too many of this tenant or node"),
                None => warn!(limit = self.limits.connections, "refused connections: too many"),
            }
        }
    }

    async fn hand_over(&self, connection: Connection) {
        // Bounded: a server that does not accept makes its peers wait, then time out.
        let waited = timeout(self.limits.handshake, self.known.send(connection)).await;
        if !matches!(waited, Ok(Ok(()))) {
            debug!("dropped a connection that nobody accepted");
        }
    }
}

/// Tells the peer that it is accepted: an empty stream. In TLS 1.3 a client ends its
/// handshake before the server has seen its certificate.
async fn welcome(connection: &quinn::Connection) -> bool {
    match connection.open_uni().await {
        Ok(mut stream) => stream.finish().is_ok(),
        Err(_) => false,
    }
}

/// Who it is, by the certificate that TLS has verified; or why it may not be here.
fn identify(connection: &quinn::Connection) -> Result<Peer, &'static str> {
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    let protocol = data.and_then(|data| data.protocol).unwrap_or_default();
    let chain = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
    let certificate = chain.as_ref().and_then(|chain| chain.first());
    match (protocol.as_slice(), certificate) {
        (ALPN, Some(der)) => match Certificate::parse(der).ok().and_then(|found| found.peer) {
            Some(peer @ (Peer::Node(_) | Peer::User { .. })) => Ok(peer),
            _ => Err("the certificate names no node or user"),
        },
        (ALPN, None) => Err("a certificate is required: use a credential of this cluster"),
        (ALPN_PEER, Some(der)) => match Certificate::parse(der).ok().and_then(|found| found.peer) {
            Some(peer @ Peer::Node(_)) => Ok(peer),
            _ => Err("only nodes of the cluster are served here"),
        },
        (ALPN_JOIN, None) => Ok(Peer::Anonymous),
        (ALPN_JOIN, Some(_)) => Err("who has a certificate need not join"),
        _ => Err("unknown protocol"),
    }
}
