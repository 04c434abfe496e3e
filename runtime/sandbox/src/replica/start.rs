//! What a replica is given, and how its node hears of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wrun_protocol::service::HttpService;
use wrun_protocol::wire::user::LogStream;

use crate::JobContext;

/// A replica to open. Nothing runs before the first request.
#[derive(Debug)]
pub struct ReplicaStart {
    /// Chosen by the caller; names the replica in every event.
    pub token: u64,
    /// What it shares with the other replicas of its revision. `resources.memory` is that
    /// of the whole replica and not looked at here.
    pub job: Arc<JobContext>,
    /// Its place among the replicas.
    pub index: u32,
    /// Which execution of it, from 1.
    pub attempt: u32,
    /// How it is used. The node sees to what is for gateways: routes, bodies' sizes,
    /// waiting, readiness.
    pub http: HttpService,
    /// What one instance may hold of memory, in bytes.
    pub memory_of_instance: u64,
    /// Where instances have their scratch directories, each one of its own, made when the
    /// guest can touch it and removed when the instance goes. `None`: they have none.
    pub scratch: Option<PathBuf>,
}

/// Through this the node hears of a replica. Called on guest threads: an implementation
/// hands over and returns, it never waits.
pub trait ReplicaEvents: Send + Sync {
    /// Bytes for the log, in the order in which the instance wrote them, within the limits
    /// of the job: `log_bytes` for each request (for each instance where instances are
    /// reused: none), `log_rate` for each instance.
    fn log(&self, token: u64, stream: LogStream, bytes: Bytes);
    /// A request failed by what its guest did. Its caller was told.
    fn failed(&self, token: u64, error: &super::CallError) {
        let _ = (token, error);
    }
    /// The last request is over and no instance is left, after a stop or a drain.
    fn vacated(&self, token: u64) {
        let _ = token;
    }
}

/// What a replica has used since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaUsage {
    /// Requests that it took.
    pub requests: u64,
    /// Of those, the ones that failed by what the guest did.
    pub failed: u64,
    /// Thread CPU time of all its instances.
    pub cpu: Duration,
    /// The most that one instance held of memory, in bytes.
    pub peak_memory: u64,
}
