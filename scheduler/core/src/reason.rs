//! Why a task waits, as a value with a text for people.

use std::fmt;

use wrun_protocol::scheduling::Dependency;
use wrun_protocol::{Resources, Timestamp};

/// Why tasks of a job wait.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// It can be placed and will be now.
    Placing,
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
                let seconds = until.0 / 1000 % (24 * 3600);
                let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
                write!(f, "it failed and runs again at {hour:02}:{minute:02}:{second:02} UTC")
            }
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
