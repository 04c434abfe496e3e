//! What users and administrators see and change of scheduling: the parts of
//! [`super::user::Request`] and [`super::user::Response`] that speak of policy, order,
//! reasons and shares.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::user::NodeSummary;
use crate::reservation::Reservation;
use crate::scheduling::Offer;
use crate::{IndexRange, JobId, TenantName, Timestamp};

/// A change of a job that has not ended. It concerns what is placed from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobChange {
    /// Place nothing more of it, or let it go on.
    Hold(bool),
    /// The user's own priority.
    Priority(i32),
    /// Points that lower its priority.
    Nice(i32),
    /// The wall-time limit of attempts that start from now on, in milliseconds.
    TimeLimit(Option<u64>),
    /// Not placed before.
    Begin(Option<Timestamp>),
    /// Of no use after.
    Deadline(Option<Timestamp>),
    /// The partition.
    Partition(Option<String>),
    /// The class of service.
    Qos(Option<String>),
    /// Most tasks placed at once.
    MaxRunning(Option<u32>),
}

/// Tasks of a job: all, or these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskSet {
    /// Every task that the operation concerns.
    All,
    /// These, in ascending order, none twice.
    Ranges(Vec<IndexRange>),
}

/// How a job's priority comes about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriorityDetail {
    /// The sum; higher goes first.
    pub total: i64,
    /// Its parts.
    pub factors: Vec<PriorityFactor>,
}

/// One part of a priority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriorityFactor {
    /// `age`, `fair-share`, `size`, `qos`, `partition`, `user` or `nice`.
    pub name: String,
    /// In millionths; that of `user` and `nice` is the value itself.
    pub factor: i64,
    /// What the factor is worth.
    pub weight: u32,
    /// Their product.
    pub points: i64,
}

/// One row of `wrun share`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareRow {
    /// Which tenant.
    pub tenant: TenantName,
    /// How deep in the tree, from 0.
    pub depth: u32,
    /// Against its siblings.
    pub shares: u32,
    /// Its part of the whole, in millionths.
    pub share: u32,
    /// What it and its children were charged, decayed, in thousandths of a unit.
    pub usage: u64,
    /// Its part of all usage, in millionths.
    pub usage_part: u32,
    /// The factor of its jobs, in millionths.
    pub factor: u32,
    /// CPU allocated since ever, in thousandths by milliseconds.
    pub cpu_milli_ms: u128,
    /// Memory allocated since ever, in bytes by milliseconds.
    pub memory_byte_ms: u128,
    /// GPU allocated since ever, in thousandths by milliseconds.
    pub gpu_milli_ms: u128,
}

/// One row of `wrun queue`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRow {
    /// The job.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub tenant: TenantName,
    /// Its partition, where the policy has any.
    pub partition: Option<String>,
    /// Its class of service.
    pub qos: Option<String>,
    /// Tasks that wait.
    pub waiting: u32,
    /// Its priority.
    pub priority: i64,
    /// Why it waits.
    pub reason: String,
    /// When its next task is expected to start, where that is known.
    pub expected: Option<Timestamp>,
}

/// Why a job waits, when it is expected to start, and what would change that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The job.
    pub job: JobId,
    /// Tasks that wait.
    pub waiting: u32,
    /// Its place in the queue, from 1; `None` while it cannot be placed at all.
    pub position: Option<u64>,
    /// Reasons, the one that holds it first.
    pub reasons: Vec<ReasonRow>,
    /// When its next task is expected to start.
    pub expected: Option<Expectation>,
    /// What would let it start sooner.
    pub advice: Vec<String>,
}

/// Why a job waits, and when it is expected to start or why nobody can tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// Why.
    pub explanation: Explanation,
    /// Why its start cannot be told, where tasks wait and it cannot.
    pub unknown: Option<String>,
}

/// A reservation as a tenant may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationRow {
    /// With those of its tenants that the caller may know.
    pub reservation: Reservation,
    /// How many others may use it.
    pub others: u32,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonRow {
    /// For programs: kebab-case, stable.
    pub code: String,
    /// For people.
    pub text: String,
    /// On how many nodes it holds, where it is a reason of nodes.
    pub nodes: Option<u32>,
}

/// When a task is expected to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// When.
    pub at: Timestamp,
    /// On what assumption.
    pub assumption: String,
}

/// A node with what only some nodes have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDetail {
    /// What every node has.
    pub summary: NodeSummary,
    /// Its devices and named resources.
    pub offer: Offer,
    /// Thousandths in use of each of its cards, in their order.
    pub gpu_used: Vec<u32>,
    /// Amounts in use of its named resources.
    pub named_used: BTreeMap<String, u64>,
    /// The partitions that it belongs to.
    pub partitions: Vec<String>,
}
