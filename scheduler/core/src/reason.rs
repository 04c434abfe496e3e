//! Why a task waits, as a value with a text for people.

use std::fmt;

use wrun_protocol::resources::Bytes;
use wrun_protocol::scheduling::Dependency;
use wrun_protocol::{JobId, Resources, Timestamp};

pub use crate::state::quotas::{Bound, LimitReached, Scope};

/// Why tasks of a job wait.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PendingReason {
    /// No node has joined yet.
    NoNodes,
    /// Nodes are known, but none that could hold a task is connected and takes tasks.
    NoNodeReady {
        /// Nodes that could hold one once they are back.
        suitable: u32,
    },
    /// No node that is known could hold a task, however empty; one could when it was submitted.
    NoNodeFits {
        /// What a task asks for.
        wanted: Resources,
    },
    /// Nodes that could hold a task are full.
    WaitsForCapacity {
        /// What a task asks for.
        wanted: Resources,
        /// Tasks that stand before the job's first: of higher priority, or older of
        /// the same tenant.
        jobs_ahead: u64,
    },
    /// The task failed and waits before it runs again.
    BackOff {
        /// The earliest instant of the next attempt.
        until: Timestamp,
    },
    /// A quota leaves no room for another task.
    Limit(LimitReached),
    /// A quota would leave no room for what starts at once though nothing else were there.
    BeyondLimit {
        /// Which quota, and the most that it allows.
        limit: LimitReached,
        /// What it takes of that.
        takes: u64,
        /// Tasks that start together; 0 where each starts alone.
        gang: u32,
    },
    /// All nodes that are ready could not hold the gang at once, were they empty.
    GangBeyondNodes {
        /// Tasks that start together.
        gang: u32,
        /// How many they hold.
        places: u64,
    },
    /// A user holds it.
    Held,
    /// It is not to start yet.
    Begin {
        /// The earliest instant.
        at: Timestamp,
    },
    /// It could not end before its deadline, at which it is cancelled.
    Deadline {
        /// The deadline.
        deadline: Timestamp,
    },
    /// A job that it depends on has not come that far.
    Dependency {
        /// For what it waits.
        on: Dependency,
    },
    /// As many tasks of the job are placed as it allows at once.
    MaxRunning {
        /// The job's bound.
        most: u32,
    },
    /// Another job is considered first.
    Behind {
        /// The first in the queue.
        job: JobId,
    },
    /// Nodes are not in its partition.
    OutsidePartition {
        /// Its partition; `None` is the default one.
        partition: Option<String>,
        /// How many.
        nodes: u32,
    },
    /// Nodes do not carry a label that it wants.
    LacksLabel {
        /// The label.
        label: String,
        /// With this value.
        value: String,
        /// How many.
        nodes: u32,
    },
    /// Nodes could not hold a task if they were empty.
    TooSmall {
        /// For want of what.
        amount: Amount,
        /// How many.
        nodes: u32,
    },
    /// Nodes do not suit it otherwise.
    NotSuited {
        /// How many.
        nodes: u32,
    },
    /// Nodes that suit it are not connected, are drained, or are lost.
    NotReady {
        /// How many.
        nodes: u32,
    },
    /// Nodes that suit it have not enough left.
    Full {
        /// Of what.
        amount: Amount,
        /// How many.
        nodes: u32,
    },
    /// On nodes that suit it other tasks wait first.
    OthersFirst {
        /// How many.
        nodes: u32,
    },
    /// It can be placed and will be now.
    Placing,
}

/// What nodes have an amount of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Amount {
    /// CPU.
    Cpu,
    /// Memory.
    Memory,
    /// Scratch disk.
    Scratch,
    /// Places in the sandbox's pool.
    Slots,
}

impl Amount {
    /// The first amount of which there is less than is wanted.
    pub(crate) fn lacking(have: &Resources, wanted: &Resources) -> Option<Self> {
        let amounts = [
            (Self::Cpu, have.cpu_milli < wanted.cpu_milli),
            (Self::Memory, have.memory < wanted.memory),
            (Self::Scratch, have.scratch < wanted.scratch),
            (Self::Slots, have.slots < wanted.slots),
        ];
        amounts.into_iter().find(|(_, lacks)| *lacks).map(|(amount, _)| amount)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "CPU",
            Self::Memory => "memory",
            Self::Scratch => "scratch disk",
            Self::Slots => "places for tasks",
        })
    }
}

impl PendingReason {
    /// For programs: stable.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoNodes => "no-nodes",
            Self::NoNodeReady { .. } => "no-node-ready",
            Self::NoNodeFits { .. } => "no-node-fits",
            Self::WaitsForCapacity { .. } => "no-capacity",
            Self::BackOff { .. } => "back-off",
            Self::Limit(_) => "limit",
            Self::BeyondLimit { .. } => "beyond-limit",
            Self::GangBeyondNodes { .. } => "gang-beyond-nodes",
            Self::Held => "held",
            Self::Begin { .. } => "begin",
            Self::Deadline { .. } => "deadline",
            Self::Dependency { .. } => "dependency",
            Self::MaxRunning { .. } => "max-running",
            Self::Behind { .. } => "behind",
            Self::OutsidePartition { .. } => "outside-partition",
            Self::LacksLabel { .. } => "lacks-label",
            Self::TooSmall { .. } => "too-small",
            Self::NotSuited { .. } => "not-suited",
            Self::NotReady { .. } => "not-ready",
            Self::Full { .. } => "full",
            Self::OthersFirst { .. } => "others-first",
            Self::Placing => "placing",
        }
    }

    /// On how many nodes it holds, where it is a reason of nodes.
    pub fn nodes(&self) -> Option<u32> {
        match self {
            Self::OutsidePartition { nodes, .. }
            | Self::LacksLabel { nodes, .. }
            | Self::TooSmall { nodes, .. }
            | Self::NotSuited { nodes }
            | Self::NotReady { nodes }
            | Self::Full { nodes, .. }
            | Self::OthersFirst { nodes } => Some(*nodes),
            _ => None,
        }
    }

    /// The same on so many nodes.
    pub(crate) fn on(mut self, count: u32) -> Self {
        match &mut self {
            Self::OutsidePartition { nodes, .. }
            | Self::LacksLabel { nodes, .. }
            | Self::TooSmall { nodes, .. }
            | Self::NotSuited { nodes }
            | Self::NotReady { nodes }
            | Self::Full { nodes, .. }
            | Self::OthersFirst { nodes } => *nodes = count,
            _ => {}
        }
        self
    }
}

impl fmt::Display for PendingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNodes => f.write_str("no node has joined the cluster yet"),
            Self::NoNodeReady { suitable: 1 } => {
                f.write_str("the one node that could run it is not connected or takes no tasks")
            }
            Self::NoNodeReady { suitable } => write!(
                f,
                "none of the {suitable} nodes that could run it is connected and takes tasks"
            ),
            Self::NoNodeFits { wanted } => {
                write!(f, "no node of the cluster has the labels it wants and {wanted}")
            }
            Self::WaitsForCapacity { wanted, jobs_ahead } => {
                write!(f, "every node that could run it is full; a task takes {wanted}")?;
                match jobs_ahead {
                    0 => Ok(()),
                    1 => f.write_str("; 1 job is ahead of it"),
                    n => write!(f, "; {n} jobs are ahead of it"),
                }
            }
            Self::BackOff { until } => {
                write!(f, "it failed and runs again at {}", Clock(*until))
            }
            Self::Behind { job } => write!(f, "job {job} is considered first"),
            Self::OutsidePartition { partition: Some(name), nodes } => {
                write!(f, "{} not in partition `{name}`", Nodes(*nodes))
            }
            Self::OutsidePartition { partition: None, nodes } => {
                write!(f, "{} not in the default partition", Nodes(*nodes))
            }
            Self::LacksLabel { label, value, nodes } => {
                write!(f, "{} without the label {label}={value}", Nodes(*nodes))
            }
            Self::TooSmall { amount, nodes } => {
                write!(f, "{} too small: not enough {amount}", Nodes(*nodes))
            }
            Self::NotSuited { nodes } => {
                write!(f, "{} without what it wants beside amounts", Nodes(*nodes))
            }
            Self::NotReady { nodes } => {
                write!(f, "{} not connected, drained or lost", Nodes(*nodes))
            }
            Self::Full { amount, nodes } => {
                write!(f, "{} full: not enough {amount} left", Nodes(*nodes))
            }
            Self::OthersFirst { nodes } => {
                write!(f, "{} where other tasks wait first", Nodes(*nodes))
            }
            Self::Limit(limit) => limit.fmt(f),
            Self::BeyondLimit { limit, takes, gang } => {
                match gang {
                    0 => f.write_str("a task")?,
                    gang => write!(f, "a gang of {gang} tasks")?,
                }
                let (takes, most) = (limit.bound.of(*takes), limit.bound.of(limit.most));
                write!(f, " takes {takes}, and {} may never have more than {most}", limit.scope)
            }
            Self::GangBeyondNodes { gang, places } => write!(
                f,
                "it is a gang of {gang} tasks, and the nodes that are ready hold {places} at once"
            ),
            Self::Held => f.write_str("it is held: release it to let it be placed"),
            Self::Begin { at } => write!(f, "it is not to start before {}", Clock(*at)),
            Self::Deadline { deadline } => write!(
                f,
                "by its time limit it could not end before its deadline at {}, when it is cancelled",
                Clock(*deadline)
            ),
            Self::Dependency { on } => write!(f, "it waits for {on}"),
            Self::MaxRunning { most: 1 } => {
                f.write_str("a task of the job is placed, and it allows one at a time")
            }
            Self::MaxRunning { most } => {
                write!(f, "{most} tasks of the job are placed, as many as it allows at once")
            }
            Self::Placing => f.write_str("it is being placed"),
        }
    }
}

/// So many nodes.
struct Nodes(u32);

impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 node is"),
            many => write!(f, "{many} nodes are"),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition(name) => write!(f, "partition `{name}`"),
            Self::Qos(name) => write!(f, "QoS `{name}`"),
            Self::QosTenant(qos, tenant) => write!(f, "tenant {tenant} in QoS `{qos}`"),
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
        }
    }
}

impl Bound {
    /// So much of what it bounds, for people.
    fn of(self, amount: u64) -> String {
        match self {
            Self::Queued => format!("{amount} tasks that have not ended"),
            Self::Running => format!("{amount} tasks placed"),
            Self::Cpu => format!("{} CPU", amount as f64 / 1000.0),
            Self::Memory => format!("{} memory", Bytes(amount)),
            Self::Gpu => format!("{} GPU", amount as f64 / 1000.0),
        }
    }
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scope.fmt(f)?;
        let (used, most) = (self.used, self.most);
        let milli = |amount: u64| amount as f64 / 1000.0;
        match self.bound {
            Bound::Queued => write!(f, " has {used} tasks that have not ended, of at most {most}"),
            Bound::Running => write!(f, " has {used} tasks placed, of at most {most}"),
            Bound::Cpu => write!(f, " has {} CPU, of at most {}", milli(used), milli(most)),
            Bound::Memory => {
                write!(f, " has {} memory, of at most {}", Bytes(used), Bytes(most))
            }
            Bound::Gpu => write!(f, " has {} GPU, of at most {}", milli(used), milli(most)),
        }
    }
}

/// An instant for people.
struct Clock(Timestamp);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds) = (self.0.0 / 86_400_000, self.0.0 / 1000 % 86_400);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

/// Year, month and day of so many days after 1970-01-01, in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    // Counted in years that begin in March, so that the leap day is the last of them.
    let since = days + 719_468;
    let (era, of_era) = (since / 146_097, since % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_said_by_day_and_second() {
        let said = |ms: u64| Clock(Timestamp(ms)).to_string();
        assert_eq!(said(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(said(951_827_696_000), "2000-02-29 12:34:56 UTC");
        assert_eq!(said(1_772_323_199_999), "2026-02-28 23:59:59 UTC");
        assert_eq!(said(1_772_323_200_000), "2026-03-01 00:00:00 UTC");
    }
}
