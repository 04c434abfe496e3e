//! What a service is: a job whose tasks are replicas that stay. The specification says what
//! every job says ([`crate::job::JobSpec`]), and of the service what is here.
//!
//! A deployment makes a revision, which is never changed: a new specification is a new
//! revision, and the cluster moves from one to the other. The tasks of a revision's job are
//! its replicas; as many as are wanted are awake, the others sleep and take nothing.

use serde::{Deserialize, Serialize};

use crate::{TenantName, limits};

mod check;
mod name;
mod route;

pub use name::{HOPS, MAX_HOPS, ParseServiceNameError, SERVICE_DOMAIN, ServiceId, ServiceName};
pub use route::{ParseRouteError, Route};

#[cfg(test)]
mod tests;

/// What a job's specification says of the service that it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// How its replicas are used.
    pub kind: ServiceKind,
    /// How many replicas there are.
    pub scale: Scale,
    /// How one revision takes the place of another.
    pub rollout: Rollout,
    /// What becomes of a replica that has ended.
    pub restart: Restart,
}

/// How replicas are used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceKind {
    /// `wasi:http`: a gateway brings it requests.
    Http(HttpService),
    /// `wasi:cli/run`: a program that goes on.
    Program(ProgramService),
}

/// A service that answers HTTP requests. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpService {
    /// What gateways send to it; none: only other services reach it, by name.
    pub routes: Vec<Route>,
    /// Tenants whose services may call it by name, besides its own.
    pub callers: Vec<TenantName>,
    /// Requests that a replica handles at once.
    pub concurrency: u32,
    /// Whether an instance handles more than one request; `None`: each has its own.
    pub reuse: Option<Reuse>,
    /// From the first byte of a request to the last one of its answer.
    pub timeout_ms: u64,
    /// Longest time without a byte in either direction.
    pub idle_timeout_ms: u64,
    /// Largest body of a request, in bytes.
    pub max_body: u64,
    /// Requests that wait at a gateway while every replica is busy or none is there.
    pub max_waiting: u32,
    /// How long one of those waits.
    pub wait_ms: u64,
    /// How often a gateway tries a safe request again that failed, each time elsewhere.
    pub retries: u32,
    /// When a replica gets requests.
    pub readiness: Readiness,
}

/// An instance that handles more than one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reuse {
    /// Requests after which it is taken down; 0: as many as come.
    pub requests: u32,
    /// Requests at once. Components of WASI 0.2 handle one.
    pub concurrent: u32,
    /// How long it is kept without a request, in milliseconds.
    pub idle_ms: u64,
}

/// When a replica gets requests. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Where it is asked with GET; an answer below 400 says that it is ready. `None`: it is
    /// ready once an instance of it can be made.
    pub path: Option<String>,
    /// Between two questions.
    pub interval_ms: u64,
    /// For an answer.
    pub timeout_ms: u64,
    /// Questions in a row without a good answer before it gets no more requests.
    pub failures: u32,
    /// How long it may take to be ready for the first time.
    pub start_ms: u64,
}

/// A program that goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramService {
    /// TCP ports on which it may listen, on every address of its node. No two replicas that
    /// want one port are on one node.
    pub ports: Vec<u16>,
    /// How long it runs before it counts as ready, in milliseconds.
    pub ready_after_ms: u64,
}

/// How many replicas there are. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// At least so many; 0: none while there is nothing to do.
    pub min: u32,
    /// At most so many.
    pub max: u32,
    /// By what; `None`: `min` of them, until somebody says otherwise.
    pub on: Option<ScaleOn>,
    /// Over which the load is averaged.
    pub window_ms: u64,
    /// Over which a spike is seen.
    pub panic_window_ms: u64,
    /// How long fewer must have been enough before there are fewer.
    pub down_delay_ms: u64,
    /// How long without a request before there is none; only where `min` is 0.
    pub idle_ms: u64,
}

/// What of the load says how many replicas are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScaleOn {
    /// Requests at once for each replica, in thousandths.
    Concurrency {
        /// Aimed at.
        milli: u32,
    },
    /// Requests a second for each replica, in thousandths.
    Rate {
        /// Aimed at.
        milli: u32,
    },
    /// How long nine of ten requests take at most, in milliseconds.
    Latency {
        /// Aimed at.
        ms: u32,
    },
    /// Requests that wait at gateways for each replica.
    Waiting {
        /// Aimed at.
        requests: u32,
    },
    /// What its guests ask of models at once, waiting and running, for each replica, in
    /// thousandths.
    ModelQueue {
        /// Aimed at.
        milli: u32,
    },
    /// How long nine of ten answers of models take at most, in milliseconds.
    ModelLatency {
        /// Aimed at.
        ms: u32,
    },
}

impl ScaleOn {
    /// Whether it is a load of models, and not of the service itself.
    pub fn is_of_models(self) -> bool {
        matches!(self, Self::ModelQueue { .. } | Self::ModelLatency { .. })
    }
}

/// How one revision takes the place of another. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// In which way.
    pub strategy: Strategy,
    /// Replicas above the number wanted, at most, for as long as it takes.
    pub surge: u32,
    /// Replicas below it, at most.
    pub unavailable: u32,
    /// Answers of the new revision with a status of 500 and above, in thousandths, at which it
    /// is taken back; 0: never.
    pub max_errors_milli: u32,
    /// How long requests under way may take before a replica is stopped.
    pub drain_ms: u64,
    /// Revisions that are remembered, to go back to.
    pub keep: u32,
}

/// A way to roll out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// Replica by replica: requests go to both meanwhile, by their numbers.
    Rolling,
    /// Step by step: first a few requests, then more.
    Canary {
        /// One after the other; at the end all requests go to the new revision.
        steps: Vec<CanaryStep>,
        /// Requests with this go to the new revision from the beginning.
        header: Option<HeaderMatch>,
    },
    /// All at once, when as many replicas of the new revision are ready as are wanted.
    BlueGreen {
        /// Requests with this go to the new revision from the beginning.
        header: Option<HeaderMatch>,
        /// How long the old revision stays after that, to go back to.
        keep_ms: u64,
    },
}

/// A step of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryStep {
    /// Requests that go to the new revision, in a hundred.
    pub percent: u8,
    /// How long; `None`: until somebody lets it go on.
    pub wait_ms: Option<u64>,
}

/// A header that a request has.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HeaderMatch {
    /// Its name, in lower case.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What becomes of a replica that has ended. One that ends in failure again and again waits
/// longer each time; one that ran for ten times the longest wait begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// Which ends.
    pub when: RestartWhen,
    /// Before the first start after a failure, in milliseconds; doubled each time.
    pub backoff_ms: u64,
    /// At most, in milliseconds.
    pub max_backoff_ms: u64,
}

/// Which ends of a replica are followed by another start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartWhen {
    /// Every one.
    Always,
    /// Failures.
    OnFailure,
    /// None.
    Never,
}

impl ServiceSpec {
    /// A service of that kind with everything else as it is by default.
    pub fn new(kind: ServiceKind) -> Self {
        Self {
            kind,
            scale: Scale::default(),
            rollout: Rollout::default(),
            restart: Restart::default(),
        }
    }

    /// What it says of HTTP, if it speaks that.
    pub fn http(&self) -> Option<&HttpService> {
        match &self.kind {
            ServiceKind::Http(http) => Some(http),
            ServiceKind::Program(_) => None,
        }
    }
}

impl HttpService {
    /// Component instances that a replica has at once, at most: with those it handles as
    /// many requests as it may.
    pub fn instances(&self) -> u32 {
        let each = self.reuse.map_or(1, |reuse| reuse.concurrent.max(1));
        self.concurrency.div_ceil(each).max(1)
    }

    /// Least memory of each of them, in bytes.
    pub fn least_memory(&self) -> u64 {
        match self.reuse.map_or(1, |reuse| reuse.concurrent) {
            0 | 1 => limits::MIN_MEMORY,
            many => u64::from(many) * limits::MEMORY_OF_REQUEST,
        }
    }
}

impl Default for HttpService {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            callers: Vec::new(),
            concurrency: 16,
            reuse: None,
            timeout_ms: 60_000,
            idle_timeout_ms: 30_000,
            max_body: 16 << 20,
            max_waiting: 1000,
            wait_ms: 10_000,
            retries: 1,
            readiness: Readiness::default(),
        }
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self { path: None, interval_ms: 1000, timeout_ms: 1000, failures: 3, start_ms: 60_000 }
    }
}

impl Default for Scale {
    fn default() -> Self {
        Self {
            min: 1,
            max: 1,
            on: None,
            window_ms: 60_000,
            panic_window_ms: 6_000,
            down_delay_ms: 60_000,
            idle_ms: 300_000,
        }
    }
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            strategy: Strategy::Rolling,
            surge: 1,
            unavailable: 0,
            max_errors_milli: 0,
            drain_ms: 30_000,
            keep: 10,
        }
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self { when: RestartWhen::Always, backoff_ms: 1000, max_backoff_ms: 300_000 }
    }
}
