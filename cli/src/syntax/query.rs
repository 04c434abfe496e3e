//! Commands about jobs that were submitted.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use wrun_protocol::service::ServiceName;
use wrun_protocol::wire::user::{JobState, TaskState};
use wrun_protocol::{JobId, TenantName};

use crate::value::{BadValue, Indices};

/// A job's state on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum JobStateName {
    Pending,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl From<JobStateName> for JobState {
    fn from(name: JobStateName) -> Self {
        match name {
            JobStateName::Pending => Self::Pending,
            JobStateName::Running => Self::Running,
            JobStateName::Succeeded => Self::Succeeded,
            JobStateName::Failed => Self::Failed,
            JobStateName::Cancelled => Self::Cancelled,
        }
    }
}

/// A task's state on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TaskStateName {
    Pending,
    Assigned,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    Frozen,
    Stopping,
}

impl From<TaskStateName> for TaskState {
    fn from(name: TaskStateName) -> Self {
        match name {
            TaskStateName::Pending => Self::Pending,
            TaskStateName::Assigned => Self::Assigned,
            TaskStateName::Running => Self::Running,
            TaskStateName::Succeeded => Self::Succeeded,
            TaskStateName::Failed => Self::Failed,
            TaskStateName::Cancelled => Self::Cancelled,
            TaskStateName::Frozen => Self::Frozen,
            TaskStateName::Stopping => Self::Stopping,
        }
    }
}

/// Lists jobs, newest first
#[derive(Debug, Args)]
pub(crate) struct Jobs {
    /// Only jobs in this state
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<JobStateName>,

    /// How many at most
    #[arg(long, short = 'n', value_name = "N", default_value = "50")]
    pub(crate) limit: crate::value::Whole<1, 1_000_000>,

    /// Only jobs older than this one
    #[arg(long, value_name = "ID")]
    pub(crate) before: Option<JobId>,

    /// Of every tenant (admins only)
    #[arg(long, short)]
    pub(crate) all: bool,
}

/// Shows one job: state, tasks, nodes, times, usage, and why it waits or failed; of a workflow
/// the graph of its steps
#[derive(Debug, Args)]
pub(crate) struct Job {
    /// The job's id, as `wrun submit` printed it
    #[arg(value_name = "ID")]
    pub(crate) job: JobId,

    /// Only tasks in this state
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<TaskStateName>,

    /// Show tasks from this index on
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    pub(crate) from: u32,

    /// How many tasks to show at most
    #[arg(long, short = 'n', value_name = "N", default_value = "20")]
    pub(crate) limit: crate::value::Whole<0, 10_000_000>,

    /// Show how its priority comes about instead
    #[arg(long, conflicts_with_all = ["state", "from", "limit"])]
    pub(crate) priority: bool,

    /// Of a workflow: show the job of this step
    #[arg(long, value_name = "NAME")]
    pub(crate) step: Option<String>,
}

/// Prints what a task wrote: its standard output to mine, its standard error to mine
///
/// Of a task that was tried again: what its latest attempt wrote; with --follow, what every
/// attempt from the present one on writes. Without --task, of an array, the logs of all tasks
/// in order of index, each line behind its task's index.
///
/// Of a service, what its replicas write, each line behind NAME/REVISION/REPLICA; with --follow
/// those that come later too, until Ctrl-C.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The job's id, or the service's name
    #[arg(value_name = "ID|NAME")]
    pub(crate) of: LogsOf,

    /// Which task of an array, or which replica of a service
    #[arg(long, short, value_name = "INDEX")]
    pub(crate) task: Option<u32>,

    /// Go on until the task ends, through every attempt; of a service, until Ctrl-C
    #[arg(long, short)]
    pub(crate) follow: bool,

    /// Of a workflow: which step
    #[arg(long, value_name = "NAME")]
    pub(crate) step: Option<String>,

    /// Of a service: which revision [default: all that have replicas]
    #[arg(long, value_name = "N", conflicts_with = "step")]
    pub(crate) revision: Option<u32>,

    /// Of a service: whose it is [default: my own tenant's; others only for admins]
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<TenantName>,
}

/// What logs are of: names of services begin with a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogsOf {
    /// A job.
    Job(JobId),
    /// A service.
    Service(ServiceName),
}

impl FromStr for LogsOf {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if text.starts_with(|first: char| first.is_ascii_lowercase()) {
            let name: Result<ServiceName, _> = text.parse();
            return name.map(Self::Service).map_err(|error| BadValue(error.to_string()));
        }
        text.parse().map(Self::Job).map_err(|error| {
            BadValue(format!("{error}, and names of services begin with a small letter"))
        })
    }
}

/// Writes the output of tasks that succeeded: a program's standard output, a handler's result
///
/// Without --task, of an array: the outputs of all tasks, one after the other in order of
/// index; or, where -o names a folder, one file for each task, named by its index.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// The job's id
    #[arg(value_name = "ID")]
    pub(crate) job: JobId,

    /// Which task of an array
    #[arg(long, short, value_name = "INDEX")]
    pub(crate) task: Option<u32>,

    /// Where to: a file, or for all tasks of an array a folder (one that exists, or a path
    /// ending in `/`) [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Of a workflow: which step [default: those that no other step needs]
    #[arg(long, value_name = "NAME")]
    pub(crate) step: Option<String>,
}

/// Runs a workflow again that has ended: what succeeded is reused
///
/// Prints the id of the new run. A step runs again if it did not succeed, if it is named by
/// --from, or if it comes after one that runs again.
#[derive(Debug, Args)]
pub(crate) struct Rerun {
    /// The workflow's id
    #[arg(value_name = "ID")]
    pub(crate) job: JobId,

    /// Run this step again though it succeeded, and what comes after it
    #[arg(long, value_name = "STEP")]
    pub(crate) from: Option<String>,
}

/// Waits until a job has ended, showing progress; exits with 1 if a task failed
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// The job's id
    #[arg(value_name = "ID")]
    pub(crate) job: JobId,

    /// Only for these tasks, like 3,7-90; they alone decide over the exit code
    #[arg(long, short, value_name = "INDICES")]
    pub(crate) task: Option<Indices>,
}

/// Cancels jobs, or some tasks of one: what waits never starts, what runs is stopped
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The jobs' ids
    #[arg(value_name = "ID", required = true)]
    pub(crate) jobs: Vec<JobId>,

    /// Only these tasks, like 3,7-90
    #[arg(long, short, value_name = "INDICES")]
    pub(crate) task: Option<Indices>,
}
