//! Connecting to a server: every address of its name is tried, a fifth of a second apart,
//! and the first that answers is taken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, Endpoint, EndpointConfig};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use wrun_protocol::NodeId;
use wrun_protocol::wire::{ALPN, ALPN_JOIN, ALPN_PEER};

use crate::address::ServerAddress;
use crate::certificate::{Peer, SERVER_NAME};
use crate::connection::Connection;
use crate::error::{Closed, ConnectError, alert, alerts, is_refusal};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::socket;
use crate::tls::{self, Trust};

/// How long the next address waits for the one before it (RFC 8305 calls for 150 to 250 ms).
const STAGGER: Duration = Duration::from_millis(200);

/// The first wait after a busy server's refusal; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The longest such wait.
const LONGEST_PAUSE: Duration = Duration::from_millis(150);

/// Connects to the server at `HOST:PORT` and checks that it is of this authority (DER).
/// When this returns, the server has accepted `identity`. Must be called within a tokio
/// runtime.
pub async fn connect(
    server: &str,
    identity: &Identity,
    authority_der: &[u8],
) -> Result<Connection, ConnectError> {
    connect_with(server, identity, authority_der, &Limits::default()).await
}

/// The same with other limits.
pub async fn connect_with(
    server: &str,
    identity: &Identity,
    authority_der: &[u8],
    limits: &Limits,
) -> Result<Connection, ConnectError> {
    identity.check(SystemTime::now())?;
    let tls = tls::client(&Trust::Authority(authority_der), Some(identity), ALPN)?;
    connect_by(server, Peer::Server, tls, limits).await
}

/// Connects to that node of the same authority, which listens at `address`; it is known by
/// its certificate, whatever the address. When this returns, the node has accepted
/// `identity`, which must be a node's too.
pub async fn connect_to_node(
    node: NodeId,
    address: SocketAddr,
    identity: &Identity,
    authority_der: &[u8],
    limits: &Limits,
) -> Result<Connection, ConnectError> {
    identity.check(SystemTime::now())?;
    let tls = tls::client(&Trust::Node(node, authority_der), Some(identity), ALPN_PEER)?;
    connect_by(&address.to_string(), Peer::Node(node), tls, limits).await
}

/// Connects without an identity, to join: the server must be of the authority with this
/// fingerprint.
pub async fn connect_to_join(
    server: &str,
    fingerprint: [u8; 32],
) -> Result<Connection, ConnectError> {
    let tls = tls::client(&Trust::Fingerprint(fingerprint), None, ALPN_JOIN)?;
    connect_by(server, Peer::Server, tls, &Limits::default()).await
}

pub(crate) async fn connect_by(
    server: &str,
    peer: Peer,
    tls: QuicClientConfig,
    limits: &Limits,
) -> Result<Connection, ConnectError> {
    let server: ServerAddress = server.parse()?;
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(limits.client_transport()));
    let mut attempts = JoinSet::new();
    let handshake = limits.handshake;
    for (number, address) in (0..).zip(server.resolve().await?) {
        let (config, peer) = (config.clone(), peer.clone());
        attempts.spawn(async move {
            sleep(STAGGER * number).await;
            (address, attempt(address, peer, config, handshake).await)
        });
    }
    first_of(&server, attempts).await
}

/// The first success; the rest is given up. Else the failure that says most.
async fn first_of(
    server: &ServerAddress,
    mut attempts: JoinSet<(SocketAddr, Result<Connection, Failure>)>,
) -> Result<Connection, ConnectError> {
    let mut silent = Vec::new();
    let mut telling = None;
    while let Some(ended) = attempts.join_next().await {
        match ended {
            Ok((_, Ok(connection))) => return Ok(connection),
            Ok((address, Err(Failure::Silent))) => silent.push(format!("{address}: no answer")),
            Ok((address, Err(Failure::NobodyThere))) => {
                silent.push(format!("{address}: nothing listens on this port"));
            }
            Ok((_, Err(Failure::Socket(error)))) => {
                telling.get_or_insert(ConnectError::Socket(error));
            }
            Ok((address, Err(Failure::Unreachable(problem)))) => {
                silent.push(format!("{address}: {problem}"));
            }
            Ok((_, Err(Failure::Ended(error)))) => telling = Some(explain(server, error)),
            Err(_) => {}
        }
    }
    let nobody = || ConnectError::NoServer { server: server.to_string(), tried: silent.join("; ") };
    Err(telling.unwrap_or_else(nobody))
}

enum Failure {
    /// Nothing came back in time.
    Silent,
    /// The machine answers that nobody listens on the port.
    NobodyThere,
    /// There is no way to this address.
    Unreachable(String),
    Socket(std::io::Error),
    Ended(ConnectionError),
}

async fn attempt(
    address: SocketAddr,
    peer: Peer,
    config: ClientConfig,
    patience: Duration,
) -> Result<Connection, Failure> {
    let socket = socket::bind(unspecified(address)).map_err(Failure::Socket)?;
    let settings = socket::take_large(EndpointConfig::default());
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint = Endpoint::new(settings, None, socket, runtime).map_err(Failure::Socket)?;
    tokio::select! {
        connected = confirm(&endpoint, address, config, patience) => {
            Ok(Connection::connected(connected?, peer, endpoint))
        }
        failure = nobody_there(address) => Err(failure),
    }
}

/// Connects; where the server is too busy for another handshake, tries again until the
/// time for all of it is over.
async fn confirm(
    endpoint: &Endpoint,
    address: SocketAddr,
    config: ClientConfig,
    patience: Duration,
) -> Result<quinn::Connection, Failure> {
    // Those who were refused together do not come back together: their ports differ.
    let port = endpoint.local_addr().map_or(0, |local| local.port());
    let jitter = Duration::from_millis(u64::from(port % 32));
    let mut pause = FIRST_PAUSE + jitter;
    let until = Instant::now() + patience;
    let mut refused = None;
    loop {
        let confirmed = confirm_once(endpoint, address, config.clone());
        match timeout_at(until, confirmed).await {
            Ok(Err(Failure::Ended(error))) if is_refusal(&error) => {
                refused = Some(error);
                if Instant::now() + pause >= until {
                    break;
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE) + jitter;
            }
            Ok(ended) => return ended,
            Err(_) => break,
        }
    }
    Err(refused.map_or(Failure::Silent, Failure::Ended))
}

/// Connected means here: the server has verified this side, and says so with an empty
/// stream.
async fn confirm_once(
    endpoint: &Endpoint,
    address: SocketAddr,
    config: ClientConfig,
) -> Result<quinn::Connection, Failure> {
    let connection = endpoint
        .connect_with(config, address, SERVER_NAME)
        .map_err(|error| Failure::Unreachable(error.to_string()))?
        .await?;
    connection.accept_uni().await?;
    Ok(connection)
}

impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::TimedOut => Self::Silent,
            error => Self::Ended(error),
        }
    }
}

/// Ends when the other machine, or this one, says that nobody can be reached there. QUIC
/// does not look at ICMP, so a socket of its own sends a datagram too short to mean
/// anything. A host that stays silent is left to the handshake's timeout.
async fn nobody_there(address: SocketAddr) -> Failure {
    let probed = async {
        let socket = UdpSocket::bind(unspecified(address)).await?;
        socket.connect(address).await?;
        socket.send(&[0]).await?;
        socket.recv(&mut [0; 16]).await
    };
    match probed.await {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Failure::NobodyThere,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::HostUnreachable
            ) =>
        {
            Failure::Unreachable(error.to_string())
        }
        _ => std::future::pending().await,
    }
}

fn unspecified(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(ip, 0)
}

fn explain(server: &ServerAddress, error: ConnectionError) -> ConnectError {
    let server = server.to_string();
    match &error {
        // This side refused the server's certificate.
        ConnectionError::TransportError(local) => match alert(local.code) {
            Some(alerts::CERTIFICATE_EXPIRED) => ConnectError::ServerCertificate {
                server,
                problem: "expired or not yet valid".into(),
            },
            Some(alerts::NO_APPLICATION_PROTOCOL) => ConnectError::Version { server },
            Some(_) => ConnectError::WrongAuthority { server },
            None => ConnectError::Closed { server, source: Closed::of(error) },
        },
        ConnectionError::ConnectionClosed(close)
            if alert(close.error_code) == Some(alerts::NO_APPLICATION_PROTOCOL) =>
        {
            ConnectError::Version { server }
        }
        ConnectionError::VersionMismatch => ConnectError::Version { server },
        _ => match Closed::of(error) {
            Closed::Certificate(problem) => ConnectError::Refused { server, problem },
            Closed::Peer { code, reason } if code == crate::close_code::DENIED => {
                ConnectError::Refused { server, problem: reason }
            }
            source => ConnectError::Closed { server, source },
        },
    }
}
