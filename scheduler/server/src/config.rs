//! The settings of a server.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::ServerError;

/// The port that a server listens on unless told otherwise (UDP).
pub const DEFAULT_PORT: u16 = 7411;

/// How a server runs. Everything but the data directory has a default.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The UDP address to listen on; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Holds everything the server must not lose: `ca/`, `journal/`, `history.redb`, `blobs/`.
    pub data_dir: PathBuf,
    /// `HOST:PORT` under which others reach this server; put into tokens and credentials.
    /// The address it listens on unless set.
    pub advertise: Option<String>,
    /// The settings of the core: leases, heartbeats, backlog, quotas.
    pub core: wrun_core::Config,
    /// How much of the past is kept.
    pub retention: wrun_store::Retention,
    /// A snapshot is written after this many facts, or after as many bytes of journal as
    /// the last one took, whichever is later: recovery reads at most about twice what is live.
    pub snapshot_facts: u64,
    /// Requests served at once, over all connections.
    pub max_requests: usize,
    /// Requests served at once on one connection.
    pub max_requests_per_connection: usize,
    /// How long a node's certificate is valid.
    pub node_certificate_ttl: Duration,
    /// The longest that a user's certificate or a join token may be valid.
    pub max_ttl: Duration,
}

impl ServerConfig {
    /// The defaults, with `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            data_dir: data_dir.into(),
            advertise: None,
            core: wrun_core::Config::default(),
            retention: wrun_store::Retention::default(),
            snapshot_facts: 500_000,
            max_requests: 4096,
            max_requests_per_connection: 256,
            node_certificate_ttl: Duration::from_secs(3650 * 24 * 3600),
            max_ttl: Duration::from_secs(3650 * 24 * 3600),
        }
    }

    /// Refuses what can never work.
    ///
    /// # Errors
    /// [`ServerError::Config`] names the setting and its bound.
    pub fn check(&self) -> Result<(), ServerError> {
        let refuse = |setting: &'static str, problem: &str| {
            Err(ServerError::Config { setting, problem: problem.to_owned() })
        };
        if let Some(advertise) = &self.advertise
            && let Err(error) = advertise.parse::<wrun_net::ServerAddress>()
        {
            return refuse("advertise", &error.to_string());
        }
        if self.core.heartbeat.is_zero() || self.core.lease < self.core.heartbeat * 2 {
            return refuse("lease", "a lease must last at least two heartbeats");
        }
        if self.max_requests > 1 << 20 {
            return refuse("max_requests", "at most 1048576");
        }
        if self.max_requests == 0 || self.max_requests_per_connection == 0 {
            return refuse("max_requests", "at least one request must be allowed");
        }
        Ok(())
    }
}
