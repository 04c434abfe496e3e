//! What commands about scheduling print.

use schemars::JsonSchema;
use serde::Serialize;
use wrun_protocol::reservation::Reserved;
use wrun_protocol::wire::policy;

/// The policy.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Policy {
    /// As a policy file, in TOML.
    pub(crate) policy: String,
}

/// A policy was checked or set.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PolicyChange {
    /// `valid` or `set`.
    pub(crate) policy_state: &'static str,
}

/// The tree of tenants, parents before children.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Shares {
    pub(crate) tenants: Vec<Share>,
}

/// One tenant.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Share {
    pub(crate) tenant: String,
    /// How deep in the tree, from 0.
    pub(crate) depth: u32,
    /// Against its siblings.
    pub(crate) shares: u32,
    /// Its part of the whole, from 0 to 1.
    pub(crate) share: f64,
    /// What it and its children were charged, decayed, in units.
    pub(crate) charged: f64,
    /// Its part of all usage, from 0 to 1.
    pub(crate) usage_part: f64,
    /// The fair-share factor of its jobs, from 0 to 1.
    pub(crate) factor: f64,
    /// CPU allocated since ever, in core seconds.
    pub(crate) cpu_seconds: f64,
    /// Memory allocated since ever, in GiB by seconds.
    pub(crate) memory_gib_seconds: f64,
    /// GPU allocated since ever, in card seconds.
    pub(crate) gpu_seconds: f64,
}

/// What waits, in order.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Queue {
    pub(crate) queue: Vec<Queued>,
}

/// One job that waits.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Queued {
    pub(crate) job: u64,
    pub(crate) name: String,
    pub(crate) tenant: String,
    pub(crate) partition: Option<String>,
    pub(crate) qos: Option<String>,
    /// Tasks that wait.
    pub(crate) waiting: u32,
    /// The sum of its factors.
    pub(crate) total_priority: i64,
    /// Why it waits.
    pub(crate) reason: String,
    /// When its next task is expected to start.
    pub(crate) expected_ms: Option<u64>,
}

/// How a job's priority comes about.
#[derive(Serialize, JsonSchema)]
pub(crate) struct JobPriority {
    pub(crate) job: u64,
    /// The sum.
    pub(crate) total_priority: i64,
    pub(crate) factors: Vec<Factor>,
}

/// One part of it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Factor {
    /// `age`, `fair-share`, `size`, `qos`, `partition`, `user` or `nice`.
    pub(crate) name: String,
    /// From 0 to 1; that of `user` and `nice` is the value itself.
    pub(crate) factor: f64,
    /// Points that the factor is worth.
    pub(crate) weight: u32,
    /// Their product.
    pub(crate) points: i64,
}

/// Why a job waits.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Explanation {
    pub(crate) job: u64,
    /// Tasks that wait.
    pub(crate) waiting: u32,
    /// Its place in the queue, from 1.
    pub(crate) position: Option<u64>,
    /// The one that holds it first.
    pub(crate) reasons: Vec<Reason>,
    /// When its next task is expected to start.
    pub(crate) expected_ms: Option<u64>,
    /// On what assumption.
    pub(crate) assumption: Option<String>,
    /// Why nobody can tell when it starts, where that is so.
    pub(crate) start_unknown: Option<String>,
    /// What would let it start sooner.
    pub(crate) advice: Vec<String>,
}

/// One reason.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Reason {
    /// Stable, for programs.
    pub(crate) code: String,
    /// For people.
    pub(crate) text: String,
    /// On how many nodes it holds.
    pub(crate) on_nodes: Option<u32>,
}

/// A job was changed.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Changed {
    pub(crate) job: u64,
    /// `held`, `released`, `requeued`, `retried` or `updated`.
    pub(crate) change: &'static str,
    /// Whether it was.
    pub(crate) done: bool,
}

/// Reservations.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Reservations {
    pub(crate) reservations: Vec<Reservation>,
}

/// One reservation.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Reservation {
    pub(crate) name: String,
    pub(crate) start_ms: u64,
    pub(crate) end_ms: u64,
    /// From the begin of one window to the next.
    pub(crate) every_ms: Option<u64>,
    /// `all`, `nodes` or `amount`.
    pub(crate) what: &'static str,
    /// The nodes, where they are named.
    pub(crate) nodes: Vec<String>,
    /// The amount, where it is one.
    pub(crate) amount: Option<String>,
    /// Whose jobs may run in it, as far as the caller may know.
    pub(crate) tenants: Vec<String>,
    /// How many other tenants' jobs may run in it.
    pub(crate) other_tenants: u32,
}

/// A reservation was made or given up.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ReservationChange {
    pub(crate) reservation: String,
    /// `reserved` or `unreserved`.
    pub(crate) reservation_state: &'static str,
}

fn millionths(part: u32) -> f64 {
    f64::from(part) / 1e6
}

/// Thousandths by milliseconds, as units by seconds.
fn per_second(milli_ms: u128) -> f64 {
    milli_ms as f64 / 1e6
}

impl From<&policy::ShareRow> for Share {
    fn from(row: &policy::ShareRow) -> Self {
        Self {
            tenant: row.tenant.to_string(),
            depth: row.depth,
            shares: row.shares,
            share: millionths(row.share),
            charged: row.usage as f64 / 1000.0,
            usage_part: millionths(row.usage_part),
            factor: millionths(row.factor),
            cpu_seconds: per_second(row.cpu_milli_ms),
            memory_gib_seconds: row.memory_byte_ms as f64 / 1000.0 / f64::from(1 << 30),
            gpu_seconds: per_second(row.gpu_milli_ms),
        }
    }
}

impl From<&policy::QueueRow> for Queued {
    fn from(row: &policy::QueueRow) -> Self {
        Self {
            job: row.job.0,
            name: row.name.clone(),
            tenant: row.tenant.to_string(),
            partition: row.partition.clone(),
            qos: row.qos.clone(),
            waiting: row.waiting,
            total_priority: row.priority,
            reason: row.reason.clone(),
            expected_ms: row.expected.map(|at| at.0),
        }
    }
}

impl From<&policy::PriorityFactor> for Factor {
    fn from(part: &policy::PriorityFactor) -> Self {
        let scale = if matches!(part.name.as_str(), "user" | "nice") { 1.0 } else { 1e6 };
        Self {
            name: part.name.clone(),
            factor: part.factor as f64 / scale,
            weight: part.weight,
            points: part.points,
        }
    }
}

impl From<&policy::Why> for Explanation {
    fn from(why: &policy::Why) -> Self {
        let of = &why.explanation;
        let reason = |row: &policy::ReasonRow| Reason {
            code: row.code.clone(),
            text: row.text.clone(),
            on_nodes: row.nodes,
        };
        Self {
            job: of.job.0,
            waiting: of.waiting,
            position: of.position,
            reasons: of.reasons.iter().map(reason).collect(),
            expected_ms: of.expected.as_ref().map(|expected| expected.at.0),
            assumption: of.expected.as_ref().map(|expected| expected.assumption.clone()),
            start_unknown: why.unknown.clone(),
            advice: of.advice.clone(),
        }
    }
}

impl From<&policy::ReservationRow> for Reservation {
    fn from(row: &policy::ReservationRow) -> Self {
        let of = &row.reservation;
        let (what, nodes) = match &of.what {
            Reserved::All => ("all", Vec::new()),
            Reserved::Nodes(nodes) => ("nodes", nodes.iter().cloned().collect()),
            Reserved::Amount { .. } => ("amount", Vec::new()),
        };
        Self {
            name: of.name.clone(),
            start_ms: of.start.0,
            end_ms: of.end.0,
            every_ms: of.every_ms,
            what,
            nodes,
            amount: match &of.what {
                Reserved::Amount { each, count, .. } => {
                    Some(format!("{count} times {}", crate::report::human::request(each)))
                }
                Reserved::All | Reserved::Nodes(_) => None,
            },
            tenants: of.tenants.iter().map(ToString::to_string).collect(),
            other_tenants: row.others,
        }
    }
}
