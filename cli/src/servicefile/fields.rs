//! What a service file says beyond what a job file says: its tables, as people write them.

use schemars::JsonSchema;
use serde::Deserialize;
use wrun_protocol::limits::{MAX_CONCURRENCY, MAX_CONCURRENT, MAX_REPLICAS};

use super::target::Target;
use crate::plan::{CallerSource, RouteSource};
use crate::value::{Part, Size, Span, Whole};

/// The tables of a service file beside the fields of a job.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceTables {
    /// How requests are handled, of a component that exports `wasi:http`.
    pub(crate) http: Option<HttpTable>,
    /// Of a component that exports `wasi:cli/run` and goes on.
    pub(crate) program: Option<ProgramTable>,
    /// When a replica gets requests.
    pub(crate) readiness: Option<ReadinessTable>,
    /// How many replicas there are.
    #[serde(default)]
    pub(crate) scale: ScaleTable,
    /// How one revision takes the place of another.
    #[serde(default)]
    pub(crate) rollout: RolloutTable,
    /// What becomes of a replica that has ended.
    #[serde(default)]
    pub(crate) restart: RestartTable,
}

/// The names of those tables.
pub(super) const TABLES: [&str; 6] =
    ["http", "program", "readiness", "scale", "rollout", "restart"];

/// See `http`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpTable {
    /// What gateways bring to it: "HOST", "/PREFIX" or "HOST/PREFIX". Nothing unless set: only
    /// other services reach it, by name.
    #[serde(default)]
    pub(crate) routes: Vec<RouteSource>,
    /// Tenants whose services may call it by name, besides its own.
    #[serde(default)]
    pub(crate) callers: Vec<CallerSource>,
    /// Requests that a replica handles at once. 16 unless set.
    pub(crate) concurrency: Option<Whole<1, MAX_CONCURRENCY>>,
    /// Let an instance handle more than one request. Each request has its own unless set.
    pub(crate) reuse: Option<ReuseTable>,
    /// From the first byte of a request to the last one of its answer. "1m" unless set.
    pub(crate) timeout: Option<Span>,
    /// Longest time without a byte in either direction. "30s" unless set.
    pub(crate) idle_timeout: Option<Span>,
    /// Largest body of a request. 16 MiB unless set.
    pub(crate) max_body: Option<Size>,
    /// Requests that wait at a gateway while every replica is busy or none is there. 1000 unless
    /// set.
    pub(crate) max_waiting: Option<Whole<0, 100_000>>,
    /// How long one of those waits. "10s" unless set.
    pub(crate) wait: Option<Span>,
    /// How often a safe request is tried again elsewhere that failed. 1 unless set.
    pub(crate) retries: Option<Whole<0, 5>>,
}

/// See `http.reuse`.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReuseTable {
    /// Requests after which an instance is taken down; 0: as many as come. 0 unless set.
    pub(crate) requests: Option<Whole<0, { u32::MAX }>>,
    /// Requests in one instance at once; more than 1 takes WASI 0.3. 1 unless set.
    pub(crate) concurrent: Option<Whole<1, MAX_CONCURRENT>>,
    /// How long an instance is kept without a request. "1m" unless set.
    pub(crate) idle: Option<Span>,
}

/// See `program`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProgramTable {
    /// TCP ports on which it may listen, on every address of its node. No two replicas with one
    /// port are on one node.
    #[serde(default)]
    pub(crate) ports: Vec<Whole<1, 65_535>>,
    /// How long it runs before it counts as ready. "1s" unless set.
    pub(crate) ready_after: Option<Span>,
}

/// See `readiness`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadinessTable {
    /// Where a replica is asked with GET; an answer below 400 says that it is ready. Unless set,
    /// it is ready once an instance can be made.
    pub(crate) path: Option<String>,
    /// Between two questions. "1s" unless set.
    pub(crate) interval: Option<Span>,
    /// For an answer. "1s" unless set.
    pub(crate) timeout: Option<Span>,
    /// Questions in a row without a good answer before it gets no more requests. 3 unless set.
    pub(crate) failures: Option<Whole<1, 1000>>,
    /// How long it may take to be ready for the first time. "1m" unless set.
    pub(crate) start: Option<Span>,
}

/// See `scale`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScaleTable {
    /// At least so many replicas; 0: none while there is nothing to do. 1 unless set.
    pub(crate) min: Option<Whole<0, MAX_REPLICAS>>,
    /// At most so many. As many as `min`, and at least 1, unless set.
    pub(crate) max: Option<Whole<1, MAX_REPLICAS>>,
    /// By what. "concurrency" unless set, where `max` is above `min`.
    pub(crate) on: Option<ScaleOnName>,
    /// What each replica is to have of it: of "latency" a time like "200ms", else a number.
    /// Seven tenths of `http.concurrency` unless set.
    pub(crate) target: Option<Target>,
    /// Over which the load is averaged. "1m" unless set.
    pub(crate) window: Option<Span>,
    /// Over which a spike is seen. "6s" unless set.
    pub(crate) panic_window: Option<Span>,
    /// How long fewer must have been enough before there are fewer. "1m" unless set.
    pub(crate) down_delay: Option<Span>,
    /// How long without a request before there is none, where `min` is 0. "5m" unless set.
    pub(crate) idle: Option<Span>,
}

/// See `scale.on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ScaleOnName {
    /// Requests under way at once.
    Concurrency,
    /// Requests a second.
    Rate,
    /// How long nine of ten requests take at most.
    Latency,
    /// Requests that wait at gateways.
    Waiting,
    /// What is asked of models at once, waiting and running.
    ModelQueue,
    /// How long nine of ten answers of models take at most.
    ModelLatency,
}

/// See `rollout`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RolloutTable {
    /// In which way. "rolling" unless set.
    pub(crate) strategy: Option<StrategyName>,
    /// Replicas above the number wanted, at most. 1 unless set.
    pub(crate) surge: Option<Whole<0, MAX_REPLICAS>>,
    /// Replicas below it, at most. 0 unless set.
    pub(crate) unavailable: Option<Whole<0, MAX_REPLICAS>>,
    /// Part of the new revision's answers with a status of 500 and above at which it is taken
    /// back; 0: never. 0 unless set.
    pub(crate) max_errors: Option<Part>,
    /// How long requests under way may take before a replica is stopped. "30s" unless set.
    pub(crate) drain: Option<Span>,
    /// Revisions that are remembered, to go back to. 10 unless set.
    pub(crate) keep: Option<Whole<1, 100>>,
    /// The steps of a canary.
    pub(crate) steps: Option<Vec<StepTable>>,
    /// Requests with this header go to the new revision from the beginning.
    pub(crate) header: Option<HeaderTable>,
    /// Of blue-green: how long the old revision stays, to go back to at once. "5m" unless set.
    pub(crate) keep_old: Option<Span>,
}

/// See `rollout.strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StrategyName {
    /// Replica by replica.
    Rolling,
    /// First a few requests, then more.
    Canary,
    /// All requests at once, when the new revision is ready.
    BlueGreen,
}

/// A step of a canary.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepTable {
    /// Requests that go to the new revision, in a hundred.
    pub(crate) percent: Whole<1, 100>,
    /// How long. Until `wrun rollout resume` unless set.
    pub(crate) wait: Option<Span>,
}

/// A header that a request has.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeaderTable {
    /// Its name.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: String,
}

/// See `restart`.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestartTable {
    /// Which ends are followed by another start. "always" unless set.
    pub(crate) when: Option<WhenName>,
    /// Before the first start after a failure; doubled each time. "1s" unless set.
    pub(crate) backoff: Option<Span>,
    /// At most. "5m" unless set.
    pub(crate) max_backoff: Option<Span>,
}

/// See `restart.when`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WhenName {
    /// Every end.
    Always,
    /// Failures.
    OnFailure,
    /// None.
    Never,
}
