//! What commands about services print.

use schemars::JsonSchema;
use serde::Serialize;
use wrun_protocol::service::ScaleOn;
use wrun_protocol::wire::service::{self as wire, ServiceHappened};

use super::{Amounts, Outcome};
use crate::report::service as words;

/// Services, in order of tenant and name.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Services {
    pub(crate) services: Vec<Service>,
}

/// A component that stays.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Service {
    pub(crate) name: String,
    /// Whose it is.
    pub(crate) tenant: String,
    /// `http` or `program`.
    pub(crate) kind: &'static str,
    /// `asleep`, `starting`, `ready`, `rolling-out`, `paused`, `failing` or `stopping`.
    pub(crate) state: &'static str,
    /// The revision that is wanted.
    pub(crate) revision: u32,
    /// Replicas that are wanted.
    pub(crate) wanted: u32,
    /// Replicas that are ready, of all revisions.
    pub(crate) ready: u32,
    /// What gateways bring to it.
    pub(crate) routes: Vec<String>,
    /// When the revision that is wanted was deployed.
    pub(crate) deployed_ms: u64,
}

/// A service with everything that is known of it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ServicePage {
    #[serde(flatten)]
    pub(crate) service: Service,
    /// Where its routes are reached.
    pub(crate) urls: Vec<String>,
    /// Where other services of its tenant reach it.
    pub(crate) internal_url: Option<String>,
    pub(crate) scaling: Scaling,
    /// Newest first.
    pub(crate) revisions: Vec<Revision>,
    /// Those that are awake, in order of revision and index.
    pub(crate) replicas: Vec<Replica>,
    /// The rollout that is under way.
    pub(crate) rollout: Option<Rollout>,
    /// What gateways saw of it lately.
    pub(crate) load: Option<Load>,
    /// Newest first.
    pub(crate) events: Vec<ServiceEvent>,
}

/// How many replicas there may be.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Scaling {
    pub(crate) min: u32,
    pub(crate) max: u32,
    /// `concurrency`, `rate`, `latency` or `waiting`; without it, always as many.
    pub(crate) on: Option<&'static str>,
    /// What each replica is to have of it: requests, of `latency` milliseconds.
    pub(crate) target: Option<f64>,
    /// Whether a user has said something else than the specification.
    pub(crate) overridden: bool,
}

/// A revision of a service.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Revision {
    pub(crate) revision: u32,
    /// The job whose tasks are its replicas.
    pub(crate) job: u64,
    /// SHA-256 in hexadecimal.
    pub(crate) component: String,
    /// Of a replica.
    pub(crate) resources: Amounts,
    pub(crate) deployed_ms: u64,
    /// Requests that go to it, in a hundred.
    pub(crate) percent: u8,
    /// Replicas that are wanted.
    pub(crate) wanted: u32,
    /// Replicas that are ready.
    pub(crate) ready: u32,
}

/// A replica that is awake.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Replica {
    pub(crate) revision: u32,
    pub(crate) index: u32,
    pub(crate) attempt: u32,
    pub(crate) node: Option<String>,
    /// `pending`, `starting`, `ready`, `not-ready`, `draining` or `backing-off`.
    pub(crate) state: &'static str,
    /// How often it has ended in failure in a row.
    pub(crate) failures: u32,
    /// How its last attempt ended, if one has failed.
    pub(crate) outcome: Option<Outcome>,
    /// When it is started again, where it waits for that.
    pub(crate) not_before_ms: Option<u64>,
    /// Why it is `not-ready`.
    pub(crate) why: Option<String>,
}

/// A rollout under way.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Rollout {
    /// From this revision.
    pub(crate) from: u32,
    /// To this one.
    pub(crate) to: u32,
    /// Replicas of the new one that are ready.
    pub(crate) ready: u32,
    /// Replicas of the new one that are wanted.
    pub(crate) wanted: u32,
    /// The step of a canary, from 1.
    pub(crate) step: Option<u32>,
    /// How many steps it has.
    pub(crate) steps: Option<u32>,
    /// When it goes on by itself.
    pub(crate) next_ms: Option<u64>,
    pub(crate) paused: bool,
}

/// The load of a service over a while.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Load {
    pub(crate) window_ms: u64,
    /// Requests that were answered.
    pub(crate) requests: u64,
    /// Of those, with a status of 500 and above.
    pub(crate) errors: u64,
    /// Requests under way, on average.
    pub(crate) concurrency: f64,
    /// Requests that wait.
    pub(crate) waiting: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

/// Something that happened to a service.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ServiceEvent {
    pub(crate) at_ms: u64,
    #[serde(flatten)]
    pub(crate) what: Happened,
    /// For people.
    pub(crate) message: String,
}

/// What happened.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub(crate) enum Happened {
    Deployed {
        revision: u32,
    },
    Scaled {
        from: u32,
        to: u32,
        /// `user`, `load`, `request`, `idle`, `specification` or `trial`.
        why: &'static str,
    },
    ReplicaFailed {
        revision: u32,
        index: u32,
        outcome: Outcome,
    },
    RolledOut {
        revision: u32,
    },
    RolledBack {
        from: u32,
        to: u32,
        /// `user`, `not-ready` or `errors`.
        why: &'static str,
    },
}

/// What a deployment came to, or what became of a rollout.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Deployed {
    pub(crate) service: String,
    pub(crate) revision: u32,
    /// The job whose tasks are its replicas.
    pub(crate) job: Option<u64>,
    /// Whether there is a new revision.
    pub(crate) changed: bool,
    /// `ready`, `asleep`, `waiting` (a canary, for `wrun rollout resume`), `paused`,
    /// `rolled-back`, `failing`, `superseded`, `stopping`, or `under-way` where it was not
    /// waited for; where nothing has changed, the service's state.
    pub(crate) rollout_state: &'static str,
    pub(crate) urls: Vec<String>,
}

/// A service was changed.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ServiceChange {
    pub(crate) service: String,
    /// `scaled`, `paused`, `resumed` or `undeployed`.
    pub(crate) service_state: &'static str,
}

impl From<&wire::ServiceRow> for Service {
    fn from(row: &wire::ServiceRow) -> Self {
        Self {
            name: row.id.name.to_string(),
            tenant: row.id.tenant.to_string(),
            kind: words::kind(row.kind),
            state: words::state(row.state),
            revision: row.revision,
            wanted: row.wanted,
            ready: row.ready,
            routes: row.routes.iter().map(ToString::to_string).collect(),
            deployed_ms: row.deployed.0,
        }
    }
}

impl ServicePage {
    /// What the server knows, and where its gateways are.
    pub(crate) fn of(
        detail: &wire::ServiceDetail,
        urls: Vec<String>,
        internal_url: Option<String>,
    ) -> Self {
        Self {
            service: (&detail.row).into(),
            urls,
            internal_url,
            scaling: (&detail.scaling).into(),
            revisions: detail.revisions.iter().map(Into::into).collect(),
            replicas: detail.replicas.iter().map(Into::into).collect(),
            rollout: detail.rollout.as_ref().map(Into::into),
            load: detail.load.as_ref().map(Into::into),
            events: detail.events.iter().map(Into::into).collect(),
        }
    }
}

impl From<&wire::Scaling> for Scaling {
    fn from(of: &wire::Scaling) -> Self {
        let target = of.on.map(|on| match on {
            ScaleOn::Concurrency { milli }
            | ScaleOn::Rate { milli }
            | ScaleOn::ModelQueue { milli } => f64::from(milli) / 1000.0,
            ScaleOn::Latency { ms } | ScaleOn::ModelLatency { ms } => f64::from(ms),
            ScaleOn::Waiting { requests } => f64::from(requests),
        });
        Self {
            min: of.min,
            max: of.max,
            on: of.on.as_ref().map(words::scaled_on),
            target,
            overridden: of.overridden,
        }
    }
}

impl From<&wire::RevisionRow> for Revision {
    fn from(row: &wire::RevisionRow) -> Self {
        Self {
            revision: row.revision,
            job: row.job.0,
            component: row.component.to_string(),
            resources: row.resources.into(),
            deployed_ms: row.deployed.0,
            percent: row.percent,
            wanted: row.wanted,
            ready: row.ready,
        }
    }
}

impl From<&wire::ReplicaRow> for Replica {
    fn from(row: &wire::ReplicaRow) -> Self {
        Self {
            revision: row.revision,
            index: row.index,
            attempt: row.attempt,
            node: row.node.map(|node| node.to_string()),
            state: words::replica_state(row.state),
            failures: row.failures,
            outcome: row.outcome.as_ref().map(Outcome::from),
            not_before_ms: row.not_before.map(|at| at.0),
            why: row.why.clone(),
        }
    }
}

impl From<&wire::RolloutRow> for Rollout {
    fn from(row: &wire::RolloutRow) -> Self {
        Self {
            from: row.from,
            to: row.to,
            ready: row.ready.0,
            wanted: row.ready.1,
            step: row.step.map(|(step, _)| step),
            steps: row.step.map(|(_, steps)| steps),
            next_ms: row.next.map(|at| at.0),
            paused: row.paused,
        }
    }
}

impl From<&wire::LoadRow> for Load {
    fn from(row: &wire::LoadRow) -> Self {
        Self {
            window_ms: row.window_ms,
            requests: row.requests,
            errors: row.errors,
            concurrency: row.concurrency_milli as f64 / 1000.0,
            waiting: row.waiting,
            p50_us: row.p50_us,
            p99_us: row.p99_us,
        }
    }
}

impl From<&wire::ServiceEvent> for ServiceEvent {
    fn from(event: &wire::ServiceEvent) -> Self {
        let what = match &event.what {
            ServiceHappened::Deployed { revision } => Happened::Deployed { revision: *revision },
            ServiceHappened::Scaled { from, to, why } => {
                Happened::Scaled { from: *from, to: *to, why: words::scaled_by(*why) }
            }
            ServiceHappened::ReplicaFailed { revision, index, outcome } => {
                let outcome = outcome.into();
                Happened::ReplicaFailed { revision: *revision, index: *index, outcome }
            }
            ServiceHappened::RolledOut { revision } => Happened::RolledOut { revision: *revision },
            ServiceHappened::RolledBack { from, to, why } => {
                Happened::RolledBack { from: *from, to: *to, why: words::rolled_back_by(*why) }
            }
        };
        Self { at_ms: event.at.0, what, message: words::happened(&event.what) }
    }
}
