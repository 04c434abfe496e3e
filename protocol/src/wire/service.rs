//! Services on the wire: what users see of them, what gateways are told of them, and what
//! gateways tell of their load.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::worker::ComponentKind;
use crate::service::{HeaderMatch, HttpService, Route, ScaleOn, ServiceId, ServiceName};
use crate::task::Outcome;
use crate::{AttemptId, Digest, JobId, NodeId, Resources, TenantName, Timestamp};

/// A service, as a user names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRef {
    /// Whose; `None`: the caller's own. Another's is for admins.
    pub tenant: Option<TenantName>,
    /// Its name.
    pub name: ServiceName,
}

/// What a deployment came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// The revision that is wanted now, from 1.
    pub revision: u32,
    /// The job whose tasks are its replicas.
    pub job: JobId,
    /// `false`: that revision was wanted already, and nothing has changed.
    pub changed: bool,
}

/// What a user wants of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RolloutAction {
    /// Go no further.
    Pause,
    /// Go on; a canary goes to its next step.
    Resume,
    /// Go back to the revision before, or to this one.
    Undo {
        /// Which.
        to: Option<u32>,
    },
}

/// How many replicas a user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScaleTo {
    /// So many, until somebody says otherwise.
    Replicas(u32),
    /// As the load asks for, within these bounds.
    Bounds {
        /// At least.
        min: u32,
        /// At most.
        max: u32,
    },
    /// As the revision's specification says.
    Specified,
}

/// A service in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRow {
    /// Which.
    pub id: ServiceId,
    /// How it is run.
    pub kind: ComponentKind,
    /// Where it stands.
    pub state: ServiceState,
    /// The revision that is wanted.
    pub revision: u32,
    /// Replicas that are wanted.
    pub wanted: u32,
    /// Replicas that are ready, of all revisions.
    pub ready: u32,
    /// What gateways send to it.
    pub routes: Vec<Route>,
    /// When the revision that is wanted was deployed.
    pub deployed: Timestamp,
}

/// Where a service stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceState {
    /// No replica is wanted: a request wakes it.
    Asleep,
    /// Fewer are ready than wanted; none is failing.
    Starting,
    /// As many are ready as are wanted.
    Ready,
    /// One revision takes the place of another.
    RollingOut,
    /// A rollout that goes no further until somebody says so.
    Paused,
    /// Replicas end in failure again and again.
    Failing,
    /// It is being taken down.
    Stopping,
}

/// A service, as `wrun service NAME` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceDetail {
    /// As in a listing.
    pub row: ServiceRow,
    /// How many replicas there may be.
    pub scaling: Scaling,
    /// Newest first.
    pub revisions: Vec<RevisionRow>,
    /// Awake replicas, in order of revision and index, at most
    /// [`crate::limits::MAX_PAGE`].
    pub replicas: Vec<ReplicaRow>,
    /// The rollout that is under way.
    pub rollout: Option<RolloutRow>,
    /// Over the last while, from all gateways; `None` for a program.
    pub load: Option<LoadRow>,
    /// Newest first, at most 32.
    pub events: Vec<ServiceEvent>,
}

/// How many replicas there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaling {
    /// At least.
    pub min: u32,
    /// At most.
    pub max: u32,
    /// By what.
    pub on: Option<ScaleOn>,
    /// Whether a user has said something else than the specification.
    pub overridden: bool,
}

/// A revision of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionRow {
    /// Its number, from 1.
    pub revision: u32,
    /// The job whose tasks are its replicas.
    pub job: JobId,
    /// What runs.
    pub component: Digest,
    /// What a replica takes.
    pub resources: Resources,
    /// When it was deployed.
    pub deployed: Timestamp,
    /// Requests that go to it, in a hundred.
    pub percent: u8,
    /// Replicas that are wanted.
    pub wanted: u32,
    /// Replicas that are ready.
    pub ready: u32,
}

/// A replica that is awake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaRow {
    /// Its revision.
    pub revision: u32,
    /// Its place among the revision's replicas.
    pub index: u32,
    /// Its attempt; 0 before the first.
    pub attempt: u32,
    /// Where it is.
    pub node: Option<NodeId>,
    /// How it is.
    pub state: ReplicaState,
    /// How often it has ended in failure in a row.
    pub failures: u32,
    /// How its last attempt ended, if one has failed.
    pub outcome: Option<Outcome>,
    /// When it is started again, where it waits for that.
    pub not_before: Option<Timestamp>,
    /// Why it is [`ReplicaState::NotReady`], as its node told.
    pub why: Option<String>,
}

/// How a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplicaState {
    /// It waits in the queue.
    Pending,
    /// It is placed, and not ready yet.
    Starting,
    /// It gets requests.
    Ready,
    /// It was ready and is not now.
    NotReady,
    /// It gets no new requests, and is stopped when those under way are over.
    Draining,
    /// It waits before it is started again.
    BackingOff,
}

/// A rollout under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutRow {
    /// From this revision.
    pub from: u32,
    /// To this one.
    pub to: u32,
    /// Replicas of the new one that are ready, and how many are wanted.
    pub ready: (u32, u32),
    /// The step of a canary, from 1, and how many there are.
    pub step: Option<(u32, u32)>,
    /// When it goes on by itself.
    pub next: Option<Timestamp>,
    /// Whether a user has paused it.
    pub paused: bool,
}

/// The load of a service over a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadRow {
    /// Over so many milliseconds.
    pub window_ms: u64,
    /// Requests that were answered.
    pub requests: u64,
    /// Of those, with a status of 500 and above.
    pub errors: u64,
    /// Requests under way, on average, in thousandths.
    pub concurrency_milli: u64,
    /// Requests that wait.
    pub waiting: u64,
    /// How long half of the requests took at most, in microseconds.
    pub p50_us: u64,
    /// How long 99 of a hundred took at most, in microseconds.
    pub p99_us: u64,
}

/// Something that happened to a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEvent {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: ServiceHappened,
}

/// What happened to a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceHappened {
    /// A revision was deployed.
    Deployed {
        /// Which.
        revision: u32,
    },
    /// Other numbers of replicas are wanted.
    Scaled {
        /// Before.
        from: u32,
        /// Now.
        to: u32,
        /// Why.
        why: ScaledBy,
    },
    /// A replica has failed.
    ReplicaFailed {
        /// Its revision.
        revision: u32,
        /// Which.
        index: u32,
        /// How.
        outcome: Outcome,
    },
    /// A rollout has ended with the new revision in place.
    RolledOut {
        /// Which.
        revision: u32,
    },
    /// The service goes back to an earlier revision.
    RolledBack {
        /// From this one.
        from: u32,
        /// To this one.
        to: u32,
        /// Why.
        why: RolledBackBy,
    },
}

/// Why other numbers of replicas are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScaledBy {
    /// A user said so.
    User,
    /// The load asks for it.
    Load,
    /// A request came while there was none.
    Request,
    /// No request came for a while.
    Idle,
    /// The specification of the revision that is wanted says so.
    Specification,
    /// That revision was never ready, and one replica is to show whether it gets ready.
    Trial,
}

/// Why a service goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RolledBackBy {
    /// A user said so.
    User,
    /// The new revision did not get ready in time.
    NotReady,
    /// Too many of its answers were errors.
    Errors,
}

/// What gateways need to know of a service. It takes the place of what was said before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// Which service.
    pub id: ServiceId,
    /// How requests are handled; of the revision that is wanted.
    pub http: HttpService,
    /// Those that get requests, or may: in order of their numbers.
    pub revisions: Vec<RevisionEndpoints>,
}

/// A revision, for gateways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionEndpoints {
    /// Its number.
    pub revision: u32,
    /// The job whose tasks are its replicas.
    pub job: JobId,
    /// Its share of the requests, against those of the others; 0: none but by header.
    pub weight: u32,
    /// Requests with this go to it.
    pub header: Option<HeaderMatch>,
    /// Requests that a replica of it handles at once.
    pub concurrency: u32,
    /// Replicas that are ready.
    pub replicas: Vec<Endpoint>,
}

/// A replica that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its place among the revision's replicas.
    pub index: u32,
    /// Its attempt.
    pub attempt: u32,
    /// Where it is.
    pub node: NodeId,
}

impl RevisionEndpoints {
    /// The attempt behind one of its endpoints.
    pub fn attempt(&self, endpoint: &Endpoint) -> AttemptId {
        self.job.task(endpoint.index).attempt(endpoint.attempt)
    }
}

/// Where a node's gateway takes requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayAddresses {
    /// Without TLS.
    pub http: Vec<SocketAddr>,
    /// With TLS.
    pub https: Vec<SocketAddr>,
}

/// A gateway, for users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayRow {
    /// Its node.
    pub node: NodeId,
    /// What the node is called.
    pub name: String,
    /// Where it takes requests, as it said when it connected last.
    pub addresses: GatewayAddresses,
}

/// What one gateway has seen of a service since it last told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceLoad {
    /// Which service.
    pub id: ServiceId,
    /// Over so many milliseconds.
    pub over_ms: u64,
    /// Requests that wait now.
    pub waiting: u32,
    /// For each revision that got requests.
    pub revisions: Vec<RevisionLoad>,
}

/// What one gateway has seen of a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionLoad {
    /// Which.
    pub revision: u32,
    /// Requests under way now.
    pub in_flight: u32,
    /// The number of requests under way, summed over time: requests times milliseconds.
    pub busy_ms: u64,
    /// Requests that were answered.
    pub requests: u64,
    /// Of those, with a status of 500 and above.
    pub errors: u64,
    /// How many took how long: number `i` counts those that took less than `2^i`
    /// microseconds and not less than half of that. Zeros at the end are left out.
    pub latency: Vec<u64>,
}

/// What the replicas of a revision on one node have asked of models since it last told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelLoad {
    /// The job whose tasks they are.
    pub job: JobId,
    /// Over so many milliseconds.
    pub over_ms: u64,
    /// How long all that was answered took together, in milliseconds.
    pub busy_ms: u64,
    /// How much was answered.
    pub requests: u64,
    /// How many answers took how long, as in [`RevisionLoad::latency`].
    pub latency: Vec<u64>,
}

impl ModelLoad {
    /// Adds what others asked in the same time.
    pub fn add(&mut self, other: &Self) {
        self.busy_ms = self.busy_ms.saturating_add(other.busy_ms);
        self.requests = self.requests.saturating_add(other.requests);
        if self.latency.len() < other.latency.len() {
            self.latency.resize(other.latency.len(), 0);
        }
        for (count, more) in self.latency.iter_mut().zip(&other.latency) {
            *count = count.saturating_add(*more);
        }
    }
}

/// How a replica is, as its node tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Readied {
    /// It can have requests.
    Ready,
    /// It is not to have any for now.
    NotReady {
        /// Why, in words.
        why: String,
    },
}
