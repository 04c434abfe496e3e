//! What a job says of when and where its tasks may run, beyond the amounts of
//! [`crate::Resources`]: devices, alternatives, times, gangs, dependencies, pre-emption.
//!
//! A job that says nothing of this costs nothing: its specification is then encoded
//! without it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::{MAX_LIST, MAX_NAME};
use crate::{JobId, Resources, Timestamp};

/// A job's wishes beyond amounts. `Default` is a job without any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduling {
    /// The partition to run in; `None` is the default one.
    pub partition: Option<String>,
    /// The class of service; `None` is the tenant's default, or none.
    pub qos: Option<String>,
    /// Lowers the job's priority by so many points. Only an admin may raise it, with a
    /// negative value. From -10,000 to 10,000.
    pub nice: i32,
    /// Held: not placed until it is released.
    pub hold: bool,
    /// Not placed before this instant.
    pub begin: Option<Timestamp>,
    /// Of no use after this instant: what has not ended then is cancelled, and what could
    /// not end in time by its time limit is not started.
    pub deadline: Option<Timestamp>,
    /// Devices and pools that go with the job's [`Resources`].
    pub devices: Devices,
    /// Other requests that serve the job as well; whichever can start first is taken.
    pub alternatives: Vec<Request>,
    /// Labels that a node must not carry with these values.
    pub refused_labels: BTreeMap<String, String>,
    /// How tasks lie on nodes.
    pub arrangement: Arrangement,
    /// Every task of the job starts together or not at all.
    pub gang: bool,
    /// At most so many tasks of the job are placed at once.
    pub max_running: Option<u32>,
    /// Jobs that this one waits for.
    pub depends_on: Vec<Dependency>,
    /// What may be done to its running tasks for the sake of a more urgent job.
    pub preemptible: Preemptible,
    /// The reservation in which it runs.
    pub reservation: Option<String>,
    /// Results of its tasks are remembered and given again without running: see
    /// [`crate::remembered`].
    pub cache: bool,
}

/// One way in which a task can be served.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Request {
    /// Amounts of what every node has.
    pub resources: Resources,
    /// What only some nodes have.
    pub devices: Devices,
}

/// What only some nodes have, and what the cluster has as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Devices {
    /// GPUs.
    pub gpu: Option<GpuRequest>,
    /// Resources that nodes declare by name, with the amount.
    pub named: BTreeMap<String, u64>,
    /// Slots of pools of the whole cluster (licences, connections to a database).
    pub pools: BTreeMap<String, u32>,
}

/// GPUs for one task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GpuRequest {
    /// In thousandths of a card: below 1000 a share of one card, else whole cards
    /// (a multiple of 1000).
    pub milli: u32,
    /// Memory in bytes on each card.
    pub memory: u64,
    /// Models that serve; empty: any.
    pub models: Vec<String>,
}

/// A card of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gpu {
    /// The model of card.
    pub model: String,
    /// Its memory in bytes.
    pub memory: u64,
}

/// What a node has beyond its [`Resources`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its cards; tasks are told theirs by the place in this list.
    pub gpus: Vec<Gpu>,
    /// Resources that it declares by name, with the amount.
    pub named: BTreeMap<String, u64>,
}

/// How tasks of a job lie on nodes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Arrangement {
    /// On the emptiest nodes first.
    #[default]
    Spread,
    /// On the fullest nodes first, so that others stay whole.
    Pack,
    /// All on one node.
    SameNode,
    /// No two on one node.
    DifferentNodes,
}

/// A job that another waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dependency {
    /// Which.
    pub job: JobId,
    /// What of it.
    pub on: DependsOn,
}

/// What of a job must have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DependsOn {
    /// Its first task was placed.
    Start,
    /// It succeeded.
    Success,
    /// It failed or was cancelled.
    Failure,
    /// It ended, however.
    End,
    /// For each task: the task of the same index succeeded. Both are arrays of one length.
    EachSuccess,
}

/// What a job allows to be done to its running tasks, mildest first. `Default` allows all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Preemptible {
    /// Freeze in place, and go on later: no work is lost.
    pub freeze: bool,
    /// Give notice, wait for a checkpoint, requeue; the next attempt starts from it.
    pub checkpoint: bool,
    /// Requeue at once.
    pub requeue: bool,
}

impl Default for Preemptible {
    fn default() -> Self {
        Self { freeze: true, checkpoint: true, requeue: true }
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.on {
            DependsOn::Start => write!(f, "the start of job {}", self.job),
            DependsOn::Success => write!(f, "the success of job {}", self.job),
            DependsOn::Failure => write!(f, "the failure of job {}", self.job),
            DependsOn::End => write!(f, "the end of job {}", self.job),
            DependsOn::EachSuccess => {
                write!(f, "the success of the task of the same index of job {}", self.job)
            }
        }
    }
}

/// Why wishes are refused: field and problem.
pub(crate) type Problem = (&'static str, String);

/// Largest adjustment by `nice`, either way, in points.
pub const MAX_NICE: i32 = 10_000;

/// Most cards of one task.
pub const MAX_GPUS: u32 = 64;

/// Most alternatives of one job.
pub const MAX_ALTERNATIVES: usize = 8;

/// Most tasks in one gang: each needs to know its peers.
pub const MAX_GANG: u32 = 4096;

impl Offer {
    /// Checks it against its bounds; says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        if self.gpus.len() > MAX_GPUS as usize {
            return Err(format!("{} cards; at most {MAX_GPUS}", self.gpus.len()));
        }
        if let Some(gpu) = self.gpus.iter().find(|gpu| !is_name(&gpu.model)) {
            return Err(format!("`{}` is not the name of a model", gpu.model.escape_default()));
        }
        let amounts = self.named.iter().map(|(name, amount)| (name, *amount));
        check_amounts("resources", amounts).map_err(|(_, problem)| problem)
    }
}

impl Devices {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.gpu.is_none() && self.named.is_empty() && self.pools.is_empty()
    }

    fn check(&self) -> Result<(), Problem> {
        if let Some(gpu) = &self.gpu {
            let whole = gpu.milli.is_multiple_of(1000) && gpu.milli <= MAX_GPUS * 1000;
            require(gpu.milli > 0 && (gpu.milli < 1000 || whole), "gpu", || {
                format!(
                    "{} of a card; use a share below 1, or 1 to {MAX_GPUS} whole cards",
                    f64::from(gpu.milli) / 1000.0
                )
            })?;
            require(gpu.models.len() <= MAX_LIST, "gpu.models", || "too many models".to_owned())?;
        }
        check_amounts("resources", self.named.iter().map(|(name, amount)| (name, *amount)))?;
        check_amounts("pools", self.pools.iter().map(|(name, slots)| (name, (*slots).into())))
    }
}

fn check_amounts<'a>(
    field: &'static str,
    mut amounts: impl ExactSizeIterator<Item = (&'a String, u64)>,
) -> Result<(), Problem> {
    require(amounts.len() <= MAX_LIST, field, || format!("at most {MAX_LIST} entries"))?;
    amounts.try_for_each(|(name, amount)| {
        require(is_name(name) && amount > 0, field, || {
            format!("`{name}`: use a name of 1 to {MAX_NAME} bytes and an amount above zero")
        })
    })
}

impl Scheduling {
    /// Checks every field against its bounds. Says nothing of whether what it names exists.
    pub(crate) fn check(&self, count: u32) -> Result<(), Problem> {
        let names = [
            ("partition", &self.partition),
            ("qos", &self.qos),
            ("reservation", &self.reservation),
        ];
        for (field, name) in names {
            require(name.as_ref().is_none_or(|name| is_name(name)), field, || {
                format!("use a name of 1 to {MAX_NAME} bytes without control characters")
            })?;
        }
        require((-MAX_NICE..=MAX_NICE).contains(&self.nice), "nice", || {
            format!("{}; use -{MAX_NICE} to {MAX_NICE}", self.nice)
        })?;
        require(self.max_running != Some(0), "max_running", || "use at least 1".to_owned())?;
        require(self.alternatives.len() <= MAX_ALTERNATIVES, "alternatives", || {
            format!("{}; at most {MAX_ALTERNATIVES}", self.alternatives.len())
        })?;
        require(self.depends_on.len() <= MAX_LIST, "depends_on", || {
            format!("{} jobs; at most {MAX_LIST}", self.depends_on.len())
        })?;
        require(self.refused_labels.len() <= MAX_LIST, "refused_labels", || {
            format!("{} labels; at most {MAX_LIST}", self.refused_labels.len())
        })?;
        self.devices.check()?;
        self.alternatives.iter().try_for_each(|request| request.devices.check())?;
        if self.gang {
            require(count <= MAX_GANG, "gang", || {
                format!("{count} tasks; a gang has at most {MAX_GANG}")
            })?;
            require(self.max_running.is_none(), "max_running", || {
                "a gang starts as a whole: leave it out".to_owned()
            })?;
        }
        Ok(())
    }
}

/// Whether the text can name something of the cluster.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME && !text.chars().any(char::is_control)
}

fn require(
    holds: bool,
    field: &'static str,
    problem: impl FnOnce() -> String,
) -> Result<(), Problem> {
    if holds { Ok(()) } else { Err((field, problem())) }
}
