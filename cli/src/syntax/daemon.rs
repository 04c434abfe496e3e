//! `dev`, `server` and `worker`: the processes that stay.
//!
//! Every setting is looked for as a flag, then in the environment, then in the file. So
//! no flag has a default here: what was not said is `None`, and the file may say it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use wrun_net::{JoinAddress, ServerAddress};
use wrun_worker::AddressRange;

use crate::value::{Amount, BackEnd, Cards, Cpu, Pair, ProviderName, Size, Span, Whole};

/// Runs a whole cluster in this process: a server and nodes, over QUIC on this machine
///
/// Ready in under a second, until Ctrl-C. Jobs and results persist in the data folder. The
/// credential is written there as credential.toml, and linked at the place where the CLI
/// looks unless another cluster's is there.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// How many nodes
    #[arg(long, value_name = "N", env = "WRUN_NODES", hide_env_values = true, default_value = "1")]
    pub(crate) nodes: Whole<1, 64>,

    /// Where everything is kept [default: ~/.local/share/wrun/dev]
    #[arg(long, value_name = "DIR", env = "WRUN_DATA", hide_env_values = true)]
    pub(crate) data: Option<PathBuf>,

    /// The UDP address to listen on; port 0 lets the system choose
    #[arg(long, value_name = "ADDR", env = "WRUN_LISTEN", hide_env_values = true)]
    #[arg(default_value = "127.0.0.1:7411")]
    pub(crate) listen: SocketAddr,

    /// Cores that tasks may take on each node [default: this machine's, shared out]
    #[arg(long, value_name = "CORES", env = "WRUN_CPU", hide_env_values = true)]
    pub(crate) cpu: Option<Cpu>,

    /// Memory that tasks may take on each node [default: three quarters of this machine's, shared out]
    #[arg(long, value_name = "SIZE", env = "WRUN_MEMORY", hide_env_values = true)]
    pub(crate) memory: Option<Size>,

    #[command(flatten)]
    pub(crate) inference: Inference,

    #[command(flatten)]
    pub(crate) gateway: Gateway,
}

/// What nodes run models with.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Inference")]
pub(crate) struct Inference {
    /// What runs models, tract or onnxruntime; given often, they are tried in this order
    /// [default: tract]
    #[arg(long, value_name = "NAME", env = "WRUN_BACK_ENDS", hide_env_values = true)]
    #[arg(value_delimiter = ',')]
    pub(crate) back_end: Vec<BackEnd>,

    /// The library of ONNX Runtime, 1.17 or newer [default: libonnxruntime.so, where the system
    /// finds it]
    #[arg(long, value_name = "FILE", env = "WRUN_ONNXRUNTIME", hide_env_values = true)]
    pub(crate) onnxruntime: Option<PathBuf>,

    /// What ONNX Runtime runs models on: tensorrt, cuda, webgpu or cpu; given often, they are
    /// tried in this order [default: cpu]
    #[arg(long, value_name = "NAME", env = "WRUN_PROVIDERS", hide_env_values = true)]
    #[arg(value_delimiter = ',')]
    pub(crate) provider: Vec<ProviderName>,
}

/// Where HTTP requests for services come in; of `wrun dev` at its first node.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Gateway")]
pub(crate) struct Gateway {
    /// A TCP address where HTTP requests for services come in, like 0.0.0.0:80 or [::]:80; port 0
    /// lets the system choose; may be given often [default: none]
    #[arg(long, value_name = "ADDR", env = "WRUN_HTTP", hide_env_values = true)]
    #[arg(value_delimiter = ',')]
    pub(crate) http: Vec<SocketAddr>,

    /// The same with TLS; needs a certificate and its key
    #[arg(long, value_name = "ADDR", env = "WRUN_HTTPS", hide_env_values = true)]
    #[arg(value_delimiter = ',')]
    pub(crate) https: Vec<SocketAddr>,

    /// The certificate's chain in PEM, the server's own first; read again when it changes
    #[arg(long, value_name = "FILE", env = "WRUN_TLS_CERT", hide_env_values = true)]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The certificate's private key in PEM; read again when it changes
    #[arg(long, value_name = "FILE", env = "WRUN_TLS_KEY", hide_env_values = true)]
    pub(crate) tls_key: Option<PathBuf>,

    /// From where X-Forwarded-* and Forwarded are believed, like 10.0.0.0/8; may be given often
    /// [default: from nowhere]
    #[arg(long, value_name = "RANGE", env = "WRUN_TRUSTED_PROXY", hide_env_values = true)]
    #[arg(value_delimiter = ',')]
    pub(crate) trusted_proxy: Vec<AddressRange>,

    /// Leave a line for each request in this file, or with `log` on standard error [default: none]
    #[arg(long, value_name = "FILE", env = "WRUN_ACCESS_LOG", hide_env_values = true)]
    pub(crate) access_log: Option<PathBuf>,
}

/// Runs the server of a cluster, or sets one up
///
/// The first start makes the cluster's authority. `wrun server init` does so beforehand and
/// stores the first credential. SIGTERM stops it once its journal is durable; a second
/// signal stops it at once.
///
/// Settings are looked for as flags, then in the environment, then in the configuration file.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Server {
    #[command(subcommand)]
    pub(crate) command: Option<ServerCommand>,
    #[command(flatten)]
    pub(crate) settings: ServerSettings,
}

/// What else the server can do.
#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    /// Makes the cluster's authority and the first credential, and stores it where the CLI looks
    ///
    /// Run it on the server's machine. It changes nothing that is there: run again, it makes
    /// another credential of the same cluster.
    Init {
        #[command(flatten)]
        settings: ServerSettings,

        /// Whose work the credential submits
        #[arg(long, value_name = "TENANT", default_value = "main")]
        tenant: wrun_protocol::TenantName,

        /// How long the credential is valid
        #[arg(long, value_name = "TIME", default_value = "3650d")]
        ttl: Span,
    },
}

/// The server's settings.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ServerSettings {
    /// Configuration file [default: ~/.config/wrun/server.toml or /etc/wrun/server.toml, if there]
    #[arg(long, value_name = "FILE", env = "WRUN_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,

    /// Where everything is kept that must not be lost [default: /var/lib/wrun/server for root,
    /// else ~/.local/share/wrun/server]
    #[arg(long, value_name = "DIR", env = "WRUN_DATA", hide_env_values = true)]
    pub(crate) data: Option<PathBuf>,

    /// The UDP address to listen on [default: 0.0.0.0:7411]
    #[arg(long, value_name = "ADDR", env = "WRUN_LISTEN", hide_env_values = true)]
    pub(crate) listen: Option<SocketAddr>,

    /// Where others reach this server; put into credentials [default: the address it listens
    /// on, or this machine's name]
    #[arg(long, value_name = "HOST:PORT", env = "WRUN_ADVERTISE", hide_env_values = true)]
    pub(crate) advertise: Option<ServerAddress>,

    /// How long a node that is not heard of keeps its tasks [default: 10s]
    #[arg(long, value_name = "TIME", env = "WRUN_LEASE", hide_env_values = true)]
    pub(crate) lease: Option<Span>,

    /// How often nodes say that they are alive [default: 2s]
    #[arg(long, value_name = "TIME", env = "WRUN_HEARTBEAT", hide_env_values = true)]
    pub(crate) heartbeat: Option<Span>,
}

/// Runs a node: joins a cluster and runs tasks
///
/// --join is needed once; the identity it brings is kept in the data folder. SIGTERM drains:
/// what has not started is handed back, what runs may go on for the grace time. A second signal
/// stops at once.
///
/// Settings are looked for as flags, then in the environment, then in the configuration file.
#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// Configuration file [default: ~/.config/wrun/worker.toml or /etc/wrun/worker.toml, if there]
    #[arg(long, value_name = "FILE", env = "WRUN_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,

    /// The token and server of the cluster to join, as `wrun token create` prints it
    #[arg(long, value_name = "TOKEN@HOST:PORT", env = "WRUN_JOIN", hide_env_values = true)]
    pub(crate) join: Option<JoinAddress>,

    /// Where the server is, when the node has joined before and the server has moved
    #[arg(long, value_name = "HOST:PORT", env = "WRUN_SERVER", hide_env_values = true)]
    pub(crate) server: Option<ServerAddress>,

    /// Where identity, caches and scratch space are kept; for one worker alone
    /// [default: /var/lib/wrun/worker for root, else ~/.local/share/wrun/worker]
    #[arg(long, value_name = "DIR", env = "WRUN_DATA", hide_env_values = true)]
    pub(crate) data: Option<PathBuf>,

    /// The node's name, unique in the cluster [default: as at its last start, or this
    /// machine's name]
    #[arg(long, value_name = "NAME", env = "WRUN_NAME", hide_env_values = true)]
    pub(crate) name: Option<String>,

    /// Cores that tasks may take [default: all]
    #[arg(long, value_name = "CORES", env = "WRUN_CPU", hide_env_values = true)]
    pub(crate) cpu: Option<Cpu>,

    /// Memory that tasks may take [default: three quarters of the machine's]
    #[arg(long, value_name = "SIZE", env = "WRUN_MEMORY", hide_env_values = true)]
    pub(crate) memory: Option<Size>,

    /// Disk that tasks may take as scratch space [default: 16GiB]
    #[arg(long, value_name = "SIZE", env = "WRUN_SCRATCH", hide_env_values = true)]
    pub(crate) scratch: Option<Size>,

    /// How many tasks may be there at once [default: 256]
    #[arg(long, value_name = "N", env = "WRUN_SLOTS", hide_env_values = true)]
    pub(crate) slots: Option<Whole<1, 100_000>>,

    /// A label that jobs may ask for; may be given often
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<Pair>,

    /// GPUs that jobs may ask for beside those that are found, like a100:80GiB or 2xa100:80GiB; may
    /// be given often
    #[arg(long, value_name = "[Nx]MODEL:MEMORY")]
    pub(crate) gpu: Vec<Cards>,

    /// A resource that jobs may ask for by name [default amount: 1]; may be given often
    #[arg(long, value_name = "NAME[=AMOUNT]")]
    pub(crate) resource: Vec<Amount>,

    /// How long running tasks may go on when the worker drains [default: 30s]
    #[arg(long, value_name = "TIME", env = "WRUN_GRACE", hide_env_values = true)]
    pub(crate) grace: Option<Span>,

    /// The UDP address where other nodes reach this one, for messages within gangs and requests
    /// of services; with an unspecified IP address, others use the one that the server sees [default: 0.0.0.0:0, a
    /// port chosen by the system]
    #[arg(long, value_name = "ADDR", env = "WRUN_PEER_LISTEN", hide_env_values = true)]
    pub(crate) peer_listen: Option<SocketAddr>,

    #[command(flatten)]
    pub(crate) inference: Inference,

    #[command(flatten)]
    pub(crate) gateway: Gateway,
}
