//! Why a worker could not start or go on.

use std::io;
use std::path::PathBuf;

use wrun_inference::StartError;
use wrun_net::ConnectError;
use wrun_protocol::wire::user::RequestError;
use wrun_sandbox::SandboxError;

/// Each text says what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A setting cannot be.
    #[error("`{setting}` of the worker: {problem}")]
    Setting {
        /// Field of [`crate::WorkerConfig`].
        setting: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// Another process uses the data directory.
    #[error("{path} is in use by another worker; stop that one or choose another directory")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The data directory cannot be used.
    #[error("the data directory cannot be used: {}: {}", path.display(), disk_problem(source))]
    DataDir {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is neither an identity in the data directory nor a token to get one.
    #[error(
        "{path} holds no identity of a node yet: pass a join token (`wrun token create` makes one)"
    )]
    NoIdentity {
        /// The data directory.
        path: PathBuf,
    },
    /// The stored identity cannot be used.
    #[error("the node's identity at {path} cannot be used: {problem}; remove it and join again")]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The server at which to join was not reached, or is another cluster's.
    #[error("cannot join the cluster: {0}")]
    Unreachable(#[from] ConnectError),
    /// The cluster did not take the machine in.
    #[error("cannot join the cluster at {server}: {refusal}")]
    Refused {
        /// The server.
        server: String,
        /// What it said.
        refusal: RequestError,
    },
    /// Joining broke off; a token may be used up by it.
    #[error(
        "joining the cluster at {server} broke off: {problem}; try again, with a new token if this one is refused"
    )]
    Join {
        /// The server.
        server: String,
        /// What went wrong.
        problem: String,
    },
    /// The port for other nodes cannot be had.
    #[error("cannot listen for other nodes: {0}; choose another address with `--peer-listen`")]
    PeerListen(#[from] wrun_net::ListenError),
    /// The gateway cannot listen for HTTP, or not as it is to.
    #[error(transparent)]
    Http(#[from] wrun_gateway::ListenError),
    /// The sandbox could not be built.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// What runs models cannot be started.
    #[error("cannot run models: {0}")]
    Inference(#[from] StartError),
    /// The agent ended in a way that is a fault of wrun's.
    #[error("the node agent stopped unexpectedly; its tasks run elsewhere once its lease is over")]
    Fault,
}

/// What the system said of the disk, and what to do where that is known.
fn disk_problem(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("the disk is full ({source}); make room there and start the worker again")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{source}; check its owner and mode, or choose another directory")
        }
        _ => source.to_string(),
    }
}
