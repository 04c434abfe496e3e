//! How a cluster schedules: one document, set as a whole by an administrator, durable,
//! and the same for the server and for `wrun simulate`.
//!
//! The words are those of Slurm's multifactor plugin where it has one. Times are in
//! milliseconds, CPU and GPU in thousandths, memory in bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::TenantName;
use crate::scheduling::is_name;

/// The whole policy. `Default` is what a new cluster runs with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// In which order jobs are considered.
    pub order: QueueOrder,
    /// In which order jobs are considered behind a blocked one; `None`: in the same.
    pub fill_order: Option<QueueOrder>,
    /// A job that has waited longer than this goes first, the oldest before the others.
    pub age_bound_ms: Option<u64>,
    /// What counts how much in [`QueueOrder::Multifactor`].
    pub weights: Weights,
    /// When a job is due in [`QueueOrder::Balanced`].
    pub balance: Balance,
    /// The age at which the age factor reaches 1.
    pub max_age_ms: u64,
    /// Which jobs the size factor favours.
    pub favour: Favour,
    /// The time after which usage counts half in fair share.
    pub half_life_ms: u64,
    /// What usage is charged for.
    pub charge: Charge,
    /// Placement behind a blocked job.
    pub backfill: Backfill,
    /// How pre-emption goes about.
    pub preemption: PreemptionPolicy,
    /// Node sets. Without any, all nodes are one partition without limits.
    pub partitions: Vec<Partition>,
    /// Classes of service.
    pub qos: Vec<Qos>,
    /// Tenants as a tree; one that is not named is a child of the root with one share.
    pub tenants: Vec<TenantPolicy>,
    /// Pools of slots of the whole cluster.
    pub pools: BTreeMap<String, u32>,
}

/// An order of jobs. Ties go by age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueOrder {
    /// By the weighted sum of factors, highest first.
    #[default]
    Multifactor,
    /// First come, first served.
    Fcfs,
    /// The shortest expected time first.
    ShortestFirst,
    /// The smallest product of expected time and CPU first.
    SmallestAreaFirst,
    /// By a due time that follows from the area, by [`Balance`]: small jobs soon, and none
    /// starves.
    Balanced,
}

/// A job is due at its submit plus `patience`, or the part of it that the job's area
/// (expected time by CPU) is of `full_area`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// The longest time that a job stands behind newer ones.
    pub patience_ms: u64,
    /// The area from which it does: what the whole cluster does in this time.
    pub full_area_ms: u64,
}

/// Points that each factor, from 0 to 1, is worth. Their sum is a job's priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weights {
    /// How long it has waited, by [`Policy::max_age_ms`].
    pub age: u32,
    /// How little the tenant has used of its share.
    pub fair_share: u32,
    /// How large or small it is, by [`Policy::favour`].
    pub size: u32,
    /// The priority of its QoS, by the highest there is.
    pub qos: u32,
    /// The priority of its partition, by the highest there is.
    pub partition: u32,
    /// Points for each unit of the priority that the user gave.
    pub user: u32,
}

/// Which jobs the size factor favours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Favour {
    /// Those that ask for little.
    #[default]
    Small,
    /// Those that ask for much.
    Large,
}

/// What a second of each resource is charged, in thousandths of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// One CPU.
    pub cpu: u32,
    /// One GiB of memory.
    pub memory_gib: u32,
    /// One GPU.
    pub gpu: u32,
}

/// How the queue is filled behind a job that cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfill {
    /// Whether, and how many blocked jobs are promised a start.
    pub mode: BackfillMode,
    /// How many blocked jobs are promised a start in [`BackfillMode::Easy`].
    pub promises: u32,
    /// Most groups of like jobs that one pass looks at behind the first blocked one.
    pub depth: u32,
    /// The part of the CPU of all nodes that suit it that a task or gang expected to run
    /// longer than `short_ms` must leave free while it runs, on whichever of them, in
    /// millionths. It needs that beside its own to start and to be promised a start, and
    /// holds only its own. What with it would need more than these nodes have leaves none;
    /// nor does what runs in a reservation.
    pub headroom: u32,
    /// What is expected to run for so long at most is short, and may use the headroom.
    pub short_ms: u64,
    /// The time that a task without limit and without prediction is taken to need.
    pub default_time_ms: u64,
    /// Whether the time of tasks without limit is predicted from earlier ones.
    pub predict: bool,
}

/// How many blocked jobs are promised a start that what is filled in must not delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackfillMode {
    /// None: whatever fits starts.
    Off,
    /// The first [`Backfill::promises`].
    #[default]
    Easy,
    /// Every one that a pass looks at.
    Conservative,
}

/// How pre-emption goes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreemptionPolicy {
    /// How long a task has to save a checkpoint after the notice.
    pub notice_ms: u64,
    /// How long a task may be frozen for another before it is requeued instead.
    pub max_frozen_ms: u64,
}

/// A named set of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// Nodes by name.
    pub nodes: BTreeSet<String>,
    /// Nodes by labels, all of which they must carry. With neither names nor labels, all nodes.
    pub labels: BTreeMap<String, String>,
    /// Where jobs go that name none. At most one; without it, the first.
    pub default: bool,
    /// Against other partitions, in the factor and in pre-emption.
    pub priority: u32,
    /// Whether jobs here may pre-empt those of partitions of lower priority.
    pub preempts: bool,
    /// Who may use it; empty: everyone.
    pub tenants: BTreeSet<TenantName>,
    /// Longest time limit; jobs without one get it.
    pub max_time_ms: Option<u64>,
    /// What all jobs in it may have together.
    pub limits: Limits,
}

/// A class of service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qos {
    /// Its name.
    pub name: String,
    /// Against other classes.
    pub priority: u32,
    /// Classes whose jobs it may pre-empt.
    pub preempts: BTreeSet<String>,
    /// Who may use it; empty: everyone.
    pub tenants: BTreeSet<TenantName>,
    /// Longest time limit; jobs without one get it.
    pub max_time_ms: Option<u64>,
    /// What each tenant may have in it.
    pub tenant_limits: Limits,
    /// What all tenants may have in it together.
    pub limits: Limits,
    /// Not bound by the limits of its partition and of its tenant.
    pub exempt: bool,
}

/// A tenant's place in the tree and its bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantPolicy {
    /// Which.
    pub name: TenantName,
    /// Of whose share it has a part; `None`: of the whole.
    pub parent: Option<TenantName>,
    /// Against its siblings.
    pub shares: u32,
    /// The class of service of jobs that name none.
    pub default_qos: Option<String>,
    /// What it and its children may have together.
    pub limits: Limits,
}

/// Bounds; `None` is without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Tasks that have not ended. Above it a submit is refused.
    pub queued: Option<u64>,
    /// Tasks placed. Above the following, tasks wait.
    pub running: Option<u64>,
    /// CPU held, in thousandths.
    pub cpu_milli: Option<u64>,
    /// Memory held, in bytes.
    pub memory: Option<u64>,
    /// GPU held, in thousandths.
    pub gpu_milli: Option<u64>,
}

/// Why a policy is refused: where, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {problem}")]
pub struct PolicyError {
    /// The field as the policy file names it.
    pub field: String,
    /// What is wrong and what is allowed.
    pub problem: String,
}

/// Most partitions, classes and pools each.
pub const MAX_CLASSES: usize = 256;
/// Most tenants in the tree.
pub const MAX_TENANTS: usize = 10_000;
/// Deepest tree of tenants.
pub const MAX_TREE_DEPTH: usize = 16;

impl Default for Policy {
    fn default() -> Self {
        Self {
            order: QueueOrder::Multifactor,
            fill_order: None,
            age_bound_ms: None,
            weights: Weights::default(),
            balance: Balance::default(),
            max_age_ms: 7 * 24 * 3600 * 1000,
            favour: Favour::Small,
            half_life_ms: 7 * 24 * 3600 * 1000,
            charge: Charge::default(),
            backfill: Backfill::default(),
            preemption: PreemptionPolicy::default(),
            partitions: Vec::new(),
            qos: Vec::new(),
            tenants: Vec::new(),
            pools: BTreeMap::new(),
        }
    }
}

impl Default for Weights {
    /// The user's own priority before all else, then class and partition, then fair
    /// share, then age.
    fn default() -> Self {
        Self {
            age: 1_000,
            fair_share: 10_000,
            size: 0,
            qos: 100_000,
            partition: 100_000,
            user: 1_000_000,
        }
    }
}

impl Default for Balance {
    /// Searched on `lublin-1.swf` (docs/benchmarks.md): the longest wait hardly depends on
    /// the patience above 120 hours; the area is what weighs small jobs against large ones.
    fn default() -> Self {
        Self { patience_ms: 180 * 3600 * 1000, full_area_ms: 225 * 1000 }
    }
}

impl Default for Charge {
    fn default() -> Self {
        Self { cpu: 1000, memory_gib: 250, gpu: 16_000 }
    }
}

impl Default for Backfill {
    fn default() -> Self {
        Self {
            mode: BackfillMode::Easy,
            promises: 1,
            depth: 1000,
            headroom: 0,
            short_ms: 30 * 60 * 1000,
            default_time_ms: 3600 * 1000,
            predict: true,
        }
    }
}

impl Default for PreemptionPolicy {
    fn default() -> Self {
        Self { notice_ms: 30_000, max_frozen_ms: 3600 * 1000 }
    }
}

impl Policy {
    /// Checks it in itself: names, references, the tree. Says nothing of what jobs use.
    pub fn check(&self) -> Result<(), PolicyError> {
        self.check_times()?;
        let partitions: Vec<&str> = self.partitions.iter().map(|p| p.name.as_str()).collect();
        check_names("partition", &partitions)?;
        let classes: Vec<&str> = self.qos.iter().map(|qos| qos.name.as_str()).collect();
        check_names("qos", &classes)?;
        let pools: Vec<&str> = self.pools.keys().map(String::as_str).collect();
        check_names("pools", &pools)?;
        let defaults = self.partitions.iter().filter(|partition| partition.default).count();
        ensure(defaults <= 1, "partition.default", || "only one can be the default".to_owned())?;
        for qos in &self.qos {
            let unknown = qos.preempts.iter().find(|name| !classes.contains(&name.as_str()));
            ensure(unknown.is_none(), &format!("qos.{}.preempts", qos.name), || {
                format!("there is no QoS `{}`", unknown.map_or("", String::as_str))
            })?;
        }
        self.check_tree(&classes)
    }

    fn check_times(&self) -> Result<(), PolicyError> {
        let times = [
            ("max_age", self.max_age_ms),
            ("half_life", self.half_life_ms),
            ("balance.patience", self.balance.patience_ms),
            ("balance.full_area", self.balance.full_area_ms),
            ("backfill.default_time", self.backfill.default_time_ms),
            ("age_bound", self.age_bound_ms.unwrap_or(1)),
        ];
        for (field, ms) in times {
            let most = 10 * crate::limits::MAX_TIME_MS;
            ensure((1..=most).contains(&ms), field, || {
                "use more than zero and at most ten years".to_owned()
            })?;
        }
        ensure(self.backfill.headroom < 1_000_000, "backfill.headroom", || {
            "use a part from 0 to below 1".to_owned()
        })?;
        ensure(self.backfill.promises >= 1, "backfill.promises", || "use at least 1".to_owned())
    }

    fn check_tree(&self, classes: &[&str]) -> Result<(), PolicyError> {
        ensure(self.tenants.len() <= MAX_TENANTS, "tenant", || {
            format!("{} tenants; at most {MAX_TENANTS}", self.tenants.len())
        })?;
        let mut by_name = BTreeMap::new();
        for tenant in &self.tenants {
            let again = by_name.insert(&tenant.name, tenant).is_some();
            ensure(!again, &format!("tenant.{}", tenant.name), || "named twice".to_owned())?;
        }
        for tenant in &self.tenants {
            let field = |part: &str| format!("tenant.{}.{part}", tenant.name);
            ensure(tenant.shares > 0, &field("shares"), || "use at least 1".to_owned())?;
            if let Some(qos) = &tenant.default_qos {
                ensure(classes.contains(&qos.as_str()), &field("default_qos"), || {
                    format!("there is no QoS `{qos}`")
                })?;
            }
            let mut above = tenant;
            for depth in 0.. {
                let Some(parent) = &above.parent else { break };
                let Some(next) = by_name.get(parent) else {
                    let problem = format!("there is no tenant `{parent}`");
                    return Err(PolicyError { field: field("parent"), problem });
                };
                ensure(depth < MAX_TREE_DEPTH, &field("parent"), || {
                    format!("the tree is deeper than {MAX_TREE_DEPTH}, or goes in a circle")
                })?;
                above = next;
            }
        }
        Ok(())
    }
}

fn check_names(what: &str, names: &[&str]) -> Result<(), PolicyError> {
    ensure(names.len() <= MAX_CLASSES, what, || {
        format!("{} of them; at most {MAX_CLASSES}", names.len())
    })?;
    let mut seen = BTreeSet::new();
    names.iter().try_for_each(|name| {
        ensure(is_name(name), what, || format!("`{name}` is not a name"))?;
        ensure(seen.insert(name), &format!("{what}.{name}"), || "named twice".to_owned())
    })
}

fn ensure(holds: bool, field: &str, problem: impl FnOnce() -> String) -> Result<(), PolicyError> {
    if holds { Ok(()) } else { Err(PolicyError { field: field.to_owned(), problem: problem() }) }
}
