//! What a worker is given by its operator.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use wrun_gateway::{AccessLog, AddressRange, GatewayConfig, TlsFiles};
use wrun_inference::BackEndConfig;
use wrun_net::JoinToken;
use wrun_protocol::scheduling::Offer;
use wrun_protocol::{NodeId, Resources};

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Where the server listens, `host:port`.
    pub server: String,
    /// Directory of this node's identity, caches and scratch space. Belongs to this
    /// worker alone, and is made if it is not there.
    pub data_dir: PathBuf,
    /// Needed once: a data directory that holds an identity needs no token.
    pub join: Option<JoinToken>,
    /// The node's name, unique in the cluster.
    pub name: String,
    /// What tasks may take together.
    pub capacity: Resources,
    /// Labels that jobs may ask for.
    pub labels: BTreeMap<String, String>,
    /// Devices and named resources that its operator declares. Empty on most nodes.
    pub offer: Offer,
    /// Whether NVIDIA's driver is asked for the cards that there are. They come before those that
    /// are declared.
    pub find_cards: bool,
    /// Where it listens for other nodes, for messages between tasks of a gang. An unspecified
    /// address stands for the one from which the server sees this node; port 0 for one chosen
    /// by the system.
    pub peer_listen: SocketAddr,
    /// Where HTTP comes in. Without an address other services alone reach services from here.
    pub http: HttpConfig,
    /// Threads that run guests; at least 1.
    pub threads: usize,
    /// How long running tasks may go on when the worker drains.
    pub grace: Duration,
    /// Bytes that downloaded components and files may take on disk.
    pub artefact_bytes: u64,
    /// Bytes that compiled components may take on disk.
    pub compiled_bytes: u64,
    /// Bytes that loaded models may take in memory, beside what tasks may take.
    pub model_memory: u64,
    /// What runs models, in the order in which it is tried.
    pub back_ends: Vec<BackEndConfig>,
}

/// How the node's gateway takes HTTP.
#[derive(Clone, Debug, Default)]
pub struct HttpConfig {
    /// Where it listens for HTTP, each of which must be had. Port 0: the system chooses one.
    pub http: Vec<SocketAddr>,
    /// The same, for HTTPS.
    pub https: Vec<SocketAddr>,
    /// The certificate of HTTPS, and its key.
    pub tls: Option<TlsFiles>,
    /// From where fields that say who the client is are believed.
    pub trusted_proxies: Vec<AddressRange>,
    /// Whether each request leaves a line, and where.
    pub access_log: AccessLog,
    /// Connections of clients, at most; `None`: as many as is usual.
    pub connections: Option<usize>,
    /// Requests under way for the services of one tenant, at most; `None`: as many as is usual.
    pub requests_per_tenant: Option<u32>,
}

impl HttpConfig {
    /// What the gateway of that node is told.
    pub(crate) fn gateway(&self, node: NodeId) -> GatewayConfig {
        let usual = GatewayConfig::new(node);
        GatewayConfig {
            trusted_proxies: self.trusted_proxies.clone(),
            access_log: self.access_log.clone(),
            connections: self.connections.unwrap_or(usual.connections),
            requests_per_tenant: self.requests_per_tenant.unwrap_or(usual.requests_per_tenant),
            ..usual
        }
    }
}

impl WorkerConfig {
    /// Two threads and cores, 256 slots, 4 GiB of memory, 16 GiB of scratch space, half a
    /// minute of grace, 8 GiB of artefacts, 512 MiB of models, run by tract;
    /// named `node`.
    pub fn new(server: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            server: server.into(),
            data_dir: data_dir.into(),
            join: None,
            name: "node".to_owned(),
            capacity: Resources { cpu_milli: 2000, memory: 4 << 30, scratch: 16 << 30, slots: 256 },
            labels: BTreeMap::new(),
            offer: Offer::default(),
            find_cards: true,
            peer_listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            http: HttpConfig::default(),
            threads: 2,
            grace: Duration::from_secs(30),
            artefact_bytes: 8 << 30,
            compiled_bytes: 2 << 30,
            model_memory: 512 << 20,
            back_ends: vec![BackEndConfig::Tract],
        }
    }
}
