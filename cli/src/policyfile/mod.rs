//! The policy file: how a cluster schedules, as an administrator writes it in TOML. A type
//! apart from the policy that travels, as the job file is. `show` writes one back.

mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;
use wrun_protocol::TenantName;
use wrun_protocol::policy::{self, Policy, PolicyError};

pub(crate) use show::show;

use crate::error::Error;
use crate::exit::Exit;
use crate::toml_source::Source;
use crate::value::{Cpu, Part, Size, Span, Whole};

/// A policy file of wrun (`wrun policy set FILE`). What it leaves out is as in a new cluster.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyFile {
    /// In which order jobs are considered: "multifactor", "fcfs", "shortest-first",
    /// "smallest-area-first" or "balanced". "multifactor" unless set.
    order: Option<Order>,
    /// The order behind a blocked job. As `order` unless set.
    fill_order: Option<Order>,
    /// A job that has waited longer goes first. No bound unless set.
    age_bound: Option<Span>,
    /// When a job is due in the order "balanced".
    #[serde(default)]
    balance: Balance,
    /// The age at which the age factor reaches 1. "7d" unless set.
    max_age: Option<Span>,
    /// Which jobs the size factor favours: "small" or "large". "small" unless set.
    favour: Option<Favour>,
    /// The time after which usage counts half in fair share. "7d" unless set.
    half_life: Option<Span>,
    /// Points that each factor is worth.
    #[serde(default)]
    weights: Weights,
    /// What usage is charged for.
    #[serde(default)]
    charge: Charge,
    /// Placement behind a blocked job.
    #[serde(default)]
    backfill: Backfill,
    /// How pre-emption goes about.
    #[serde(default)]
    preemption: Preemption,
    /// Node sets by name. Without any, all nodes are one partition without limits.
    #[serde(default)]
    partition: BTreeMap<String, Partition>,
    /// Classes of service by name.
    #[serde(default)]
    qos: BTreeMap<String, Qos>,
    /// Tenants by name. One that is not here is a child of the root with one share.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Tenant>")]
    tenant: BTreeMap<TenantName, Tenant>,
    /// Slots of pools of the whole cluster, by name.
    #[serde(default)]
    pools: BTreeMap<String, u32>,
}

/// See `order`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Order {
    /// By the weighted sum of factors.
    Multifactor,
    /// First come, first served.
    Fcfs,
    /// The shortest expected time first.
    ShortestFirst,
    /// The smallest product of expected time and CPU first.
    SmallestAreaFirst,
    /// Area against waiting time.
    Balanced,
}

/// When a job is due in the order "balanced": at its submit plus the patience, or the part
/// of it that the job's area (expected time by CPU) is of the full area.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Balance {
    /// The longest time that a job stands behind newer ones. "180h" unless set.
    patience: Option<Span>,
    /// The area from which it does: what the whole cluster does in this time. "225s" unless
    /// set.
    full_area: Option<Span>,
}

/// See `favour`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Favour {
    /// Those that ask for little.
    Small,
    /// Those that ask for much.
    Large,
}

type Points = Whole<0, 1_000_000_000>;

/// Points that each factor, from 0 to 1, is worth. Their sum is a job's priority.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Weights {
    /// How long it has waited. 1000 unless set.
    age: Option<Points>,
    /// How little the tenant has used of its share. 10000 unless set.
    fair_share: Option<Points>,
    /// How large or small it is. 0 unless set.
    size: Option<Points>,
    /// The priority of its class of service, by the highest. 100000 unless set.
    qos: Option<Points>,
    /// The priority of its partition, by the highest. 100000 unless set.
    partition: Option<Points>,
    /// Each unit of the priority that the user gave. 1000000 unless set.
    user: Option<Points>,
}

/// What a second of each resource is charged, in units.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Charge {
    /// One CPU. 1 unless set.
    cpu: Option<Cpu>,
    /// One GiB of memory. 0.25 unless set.
    memory_gib: Option<Cpu>,
    /// One GPU. 16 unless set.
    gpu: Option<Cpu>,
}

/// Placement behind a blocked job.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Backfill {
    /// "off", "easy" (the first blocked job is promised a start) or "conservative" (every
    /// one). "easy" unless set.
    mode: Option<Mode>,
    /// How many blocked jobs are promised a start in the mode "easy". 1 unless set.
    promises: Option<Whole<1, 1_000_000>>,
    /// The part of the CPU that a task longer than `short` must leave free. 0 unless set.
    headroom: Option<Part>,
    /// See `headroom`. "30m" unless set.
    short: Option<Span>,
    /// Most groups of like jobs that one pass looks at. 1000 unless set.
    depth: Option<Whole<1, 1_000_000>>,
    /// The time that a task without limit and without prediction is taken to need. "1h"
    /// unless set.
    default_time: Option<Span>,
    /// Whether the time of tasks without limit is predicted from earlier ones. true unless set.
    predict: Option<bool>,
}

/// See `mode`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// Whatever fits starts.
    Off,
    /// The first blocked job is promised a start.
    Easy,
    /// Every blocked job is.
    Conservative,
}

/// How pre-emption goes about.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Preemption {
    /// How long a task has to save a checkpoint after the notice. "30s" unless set.
    notice: Option<Span>,
    /// How long a task may be frozen before it is requeued instead. "1h" unless set.
    max_frozen: Option<Span>,
}

/// A named set of nodes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Partition {
    /// Nodes by name.
    #[serde(default)]
    nodes: BTreeSet<String>,
    /// Nodes by labels, all of which they must carry. With neither, all nodes.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Where jobs go that name none. The first partition by name unless one is marked.
    #[serde(default)]
    default: bool,
    /// Against other partitions. 0 unless set.
    priority: Option<Points>,
    /// Whether jobs here may pre-empt those of partitions of lower priority. false unless set.
    #[serde(default)]
    preempts: bool,
    /// Who may use it. Everyone unless set.
    #[serde(default)]
    #[schemars(with = "BTreeSet<String>")]
    tenants: BTreeSet<TenantName>,
    /// Longest time limit; jobs without one get it.
    max_time: Option<Span>,
    /// What all jobs in it may have together.
    #[serde(default)]
    limits: Limits,
}

/// A class of service.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Qos {
    /// Against other classes. 0 unless set.
    priority: Option<Points>,
    /// Classes whose jobs it may pre-empt.
    #[serde(default)]
    preempts: BTreeSet<String>,
    /// Who may use it. Everyone unless set.
    #[serde(default)]
    #[schemars(with = "BTreeSet<String>")]
    tenants: BTreeSet<TenantName>,
    /// Longest time limit; jobs without one get it.
    max_time: Option<Span>,
    /// What each tenant may have in it.
    #[serde(default)]
    tenant_limits: Limits,
    /// What all tenants may have in it together.
    #[serde(default)]
    limits: Limits,
    /// Not bound by the limits of its partition and of its tenant. false unless set.
    #[serde(default)]
    exempt: bool,
}

/// A tenant's place in the tree and its bounds.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tenant {
    /// Of whose share it has a part. Of the whole unless set.
    #[schemars(with = "Option<String>")]
    parent: Option<TenantName>,
    /// Against its siblings. 1 unless set.
    shares: Option<Whole<1, 1_000_000>>,
    /// The class of service of jobs that name none.
    default_qos: Option<String>,
    /// What it and its children may have together.
    #[serde(default)]
    limits: Limits,
}

/// Bounds. None unless set.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Limits {
    /// Tasks that have not ended; above it a submit is refused.
    queued: Option<u64>,
    /// Tasks placed; above this and what follows, tasks wait.
    running: Option<u64>,
    /// Cores held.
    cpu: Option<Cpu>,
    /// Memory held.
    memory: Option<Size>,
    /// GPUs held.
    gpu: Option<Cpu>,
}

/// Reads and checks a policy file.
pub(crate) fn read(path: &Path) -> Result<Policy, Error> {
    of(&Source::read(path, "policy file", Exit::InvalidInput)?)
}

fn of(source: &Source) -> Result<Policy, Error> {
    let policy = source.parse::<PolicyFile>()?.policy();
    match policy.check() {
        Ok(()) => Ok(policy),
        Err(PolicyError { field, problem }) => Err(source.error_at(&field, problem)),
    }
}

impl PolicyFile {
    fn policy(self) -> Policy {
        let new = Policy::default();
        let Backfill { mode, promises, headroom, short, depth, default_time, predict } =
            self.backfill;
        let points = |points: Option<Points>, new: u32| points.map_or(new, |points| points.0);
        let milli = |amount: Option<Cpu>, new: u32| amount.map_or(new, |amount| amount.milli);
        let ms = |span: Option<Span>, new: u64| span.map_or(new, |span| span.ms);
        Policy {
            order: self.order.map_or(new.order, Order::policy),
            fill_order: self.fill_order.map(Order::policy),
            age_bound_ms: self.age_bound.map(|span| span.ms),
            weights: policy::Weights {
                age: points(self.weights.age, new.weights.age),
                fair_share: points(self.weights.fair_share, new.weights.fair_share),
                size: points(self.weights.size, new.weights.size),
                qos: points(self.weights.qos, new.weights.qos),
                partition: points(self.weights.partition, new.weights.partition),
                user: points(self.weights.user, new.weights.user),
            },
            balance: policy::Balance {
                patience_ms: ms(self.balance.patience, new.balance.patience_ms),
                full_area_ms: ms(self.balance.full_area, new.balance.full_area_ms),
            },
            max_age_ms: ms(self.max_age, new.max_age_ms),
            favour: match self.favour {
                Some(Favour::Large) => policy::Favour::Large,
                Some(Favour::Small) | None => policy::Favour::Small,
            },
            half_life_ms: ms(self.half_life, new.half_life_ms),
            charge: policy::Charge {
                cpu: milli(self.charge.cpu, new.charge.cpu),
                memory_gib: milli(self.charge.memory_gib, new.charge.memory_gib),
                gpu: milli(self.charge.gpu, new.charge.gpu),
            },
            backfill: policy::Backfill {
                mode: match mode {
                    Some(Mode::Off) => policy::BackfillMode::Off,
                    Some(Mode::Conservative) => policy::BackfillMode::Conservative,
                    Some(Mode::Easy) | None => policy::BackfillMode::Easy,
                },
                promises: promises.map_or(new.backfill.promises, |promises| promises.0),
                headroom: headroom.map_or(new.backfill.headroom, |part| part.millionths),
                short_ms: ms(short, new.backfill.short_ms),
                depth: depth.map_or(new.backfill.depth, |depth| depth.0),
                default_time_ms: ms(default_time, new.backfill.default_time_ms),
                predict: predict.unwrap_or(new.backfill.predict),
            },
            preemption: policy::PreemptionPolicy {
                notice_ms: ms(self.preemption.notice, new.preemption.notice_ms),
                max_frozen_ms: ms(self.preemption.max_frozen, new.preemption.max_frozen_ms),
            },
            partitions: self.partition.into_iter().map(Partition::policy).collect(),
            qos: self.qos.into_iter().map(Qos::policy).collect(),
            tenants: self.tenant.into_iter().map(Tenant::policy).collect(),
            pools: self.pools,
        }
    }
}

impl Order {
    fn policy(self) -> policy::QueueOrder {
        match self {
            Self::Multifactor => policy::QueueOrder::Multifactor,
            Self::Fcfs => policy::QueueOrder::Fcfs,
            Self::ShortestFirst => policy::QueueOrder::ShortestFirst,
            Self::SmallestAreaFirst => policy::QueueOrder::SmallestAreaFirst,
            Self::Balanced => policy::QueueOrder::Balanced,
        }
    }
}

impl Partition {
    fn policy((name, of): (String, Self)) -> policy::Partition {
        policy::Partition {
            name,
            nodes: of.nodes,
            labels: of.labels,
            default: of.default,
            priority: of.priority.map_or(0, |points| points.0),
            preempts: of.preempts,
            tenants: of.tenants,
            max_time_ms: of.max_time.map(|span| span.ms),
            limits: of.limits.policy(),
        }
    }
}

impl Qos {
    fn policy((name, of): (String, Self)) -> policy::Qos {
        policy::Qos {
            name,
            priority: of.priority.map_or(0, |points| points.0),
            preempts: of.preempts,
            tenants: of.tenants,
            max_time_ms: of.max_time.map(|span| span.ms),
            tenant_limits: of.tenant_limits.policy(),
            limits: of.limits.policy(),
            exempt: of.exempt,
        }
    }
}

impl Tenant {
    fn policy((name, of): (TenantName, Self)) -> policy::TenantPolicy {
        policy::TenantPolicy {
            name,
            parent: of.parent,
            shares: of.shares.map_or(1, |shares| shares.0),
            default_qos: of.default_qos,
            limits: of.limits.policy(),
        }
    }
}

impl Limits {
    fn policy(self) -> policy::Limits {
        policy::Limits {
            queued: self.queued,
            running: self.running,
            cpu_milli: self.cpu.map(|cpu| cpu.milli.into()),
            memory: self.memory.map(|size| size.0),
            gpu_milli: self.gpu.map(|gpu| gpu.milli.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Policy, String> {
        of(&Source::from_text("policy.toml", text, Exit::InvalidInput))
            .map_err(|error| error.to_string())
    }

    const FULL: &str = r#"
        order = "balanced"
        fill_order = "shortest-first"
        age_bound = "4d"
        max_age = "3d"
        favour = "large"
        half_life = "12h"
        pools = { licence = 3 }
        [balance]
        patience = "100h"
        full_area = "60s"
        [weights]
        age = 1
        fair_share = 2
        size = 3
        qos = 4
        partition = 5
        user = 6
        [charge]
        cpu = 2
        memory_gib = 0.5
        gpu = 10
        [backfill]
        mode = "conservative"
        promises = 4
        headroom = 0.0625
        short = "20m"
        depth = 7
        default_time = "90m"
        predict = false
        [preemption]
        notice = "45s"
        max_frozen = "10m"
        [partition.long]
        nodes = ["n-1"]
        labels = { zone = "a" }
        default = true
        priority = 8
        preempts = true
        tenants = ["lab"]
        max_time = "7d"
        limits = { queued = 1, running = 2, cpu = 3.5, memory = "1GiB", gpu = 0.5 }
        [qos.low]
        [qos.urgent]
        priority = 9
        preempts = ["low"]
        tenants = ["lab"]
        max_time = "1h"
        tenant_limits = { running = 4 }
        limits = { cpu = 64 }
        exempt = true
        [tenant.lab]
        [tenant.bio]
        parent = "lab"
        shares = 10
        default_qos = "urgent"
        limits = { gpu = 2 }
    "#;

    #[test]
    fn a_full_file_reads_and_is_shown_as_it_was_meant() {
        let policy = read(FULL).unwrap();
        assert_eq!(policy.partitions[0].limits.cpu_milli, Some(3500));
        assert_eq!(read(&show(&policy)), Ok(policy));
    }

    #[test]
    fn an_empty_file_is_the_policy_of_a_new_cluster() {
        assert_eq!(read(""), Ok(Policy::default()));
        assert_eq!(read(&show(&Policy::default())), Ok(Policy::default()));
    }

    #[test]
    fn what_cannot_be_is_placed() {
        for (text, expected) in [
            ("order = \"random\"", "policy.toml:1:9: `order`: unknown variant `random`"),
            ("[weights]\nage = -1", "policy.toml:2:7: `weights.age`: `-1`: write"),
            ("[qos.a]\npreempts = [\"b\"]", "policy.toml:2:12: `qos.a.preempts`: there is no QoS"),
            (
                "[tenant.a]\nparent = \"b\"",
                "policy.toml:2:10: `tenant.a.parent`: there is no tenant",
            ),
            (
                "[backfill]\nheadroom = 1",
                "policy.toml:2:12: `backfill.headroom`: `1`: write a part",
            ),
            ("half_life = \"0s\"", "policy.toml:1:13: `half_life`: use more than zero"),
            ("[tenant.A]", "policy.toml:1:9: `tenant.A`: `A` is not a tenant name"),
            ("wieghts = 1", "policy.toml:1:1: unknown key `wieghts`; did you mean `weights`?"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
        let circle = "[tenant.a]\nparent = \"b\"\n[tenant.b]\nparent = \"a\"\n";
        assert!(read(circle).unwrap_err().contains("circle"));
    }
}
