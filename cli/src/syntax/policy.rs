//! Commands about scheduling: policy, order, reasons, reservations, changes of jobs.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use wrun_protocol::{JobId, TenantName};

use crate::value::{Amount, Cpu, Indices, Priority, Size, Span, WantedGpu, When};

/// Shows or replaces how the cluster schedules
#[derive(Debug, Args)]
pub(crate) struct Policy {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

/// What to do with the policy.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Prints the policy as a file that can be edited and set again
    Show,
    /// Checks a policy file without setting it
    Check {
        /// The policy file (TOML)
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Replaces the policy as a whole (admins only)
    ///
    /// What the file leaves out is as in a new cluster. It holds from the next placement on and
    /// survives restarts. `wrun simulate --policy FILE` shows first what it would do.
    Set {
        /// The policy file (TOML)
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Shows the tenants: shares, usage, and what follows for their jobs
#[derive(Debug, Args)]
pub(crate) struct Share {}

/// Shows what waits, in the order in which it is considered
#[derive(Debug, Args)]
pub(crate) struct Queue {
    /// How many at most
    #[arg(long, short = 'n', value_name = "N", default_value = "50")]
    pub(crate) limit: crate::value::Whole<1, 1000>,
}

/// Explains why a job waits and what would change that
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The job's id
    #[arg(value_name = "ID")]
    pub(crate) job: JobId,
}

/// Holds jobs: nothing more of them is placed until `wrun release`
#[derive(Debug, Args)]
pub(crate) struct Hold {
    /// The jobs' ids
    #[arg(value_name = "ID", required = true)]
    pub(crate) jobs: Vec<JobId>,
}

/// Releases jobs that were held
#[derive(Debug, Args)]
pub(crate) struct Release {
    /// The jobs' ids
    #[arg(value_name = "ID", required = true)]
    pub(crate) jobs: Vec<JobId>,
}

/// Stops placed tasks and puts them back into the queue
#[derive(Debug, Args)]
pub(crate) struct Requeue {
    /// The job's id
    #[arg(value_name = "ID")]
    pub(crate) job: JobId,

    /// Only these tasks, like 3,7-90
    #[arg(long, short, value_name = "INDICES")]
    pub(crate) task: Option<Indices>,
}

/// Runs tasks of a job again that failed
#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// The job's id; it must not have ended
    #[arg(value_name = "ID")]
    pub(crate) job: JobId,

    /// Only these tasks, like 3,7-90
    #[arg(long, short, value_name = "INDICES")]
    pub(crate) task: Option<Indices>,
}

/// Changes a job that has not ended
///
/// Each change concerns what is placed from then on. `none` takes a setting away.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("changes").required(true).multiple(true).args([
    "priority", "nice", "time_limit", "begin", "deadline", "partition", "qos", "max_running",
])))]
pub(crate) struct Update {
    /// The job's id
    #[arg(value_name = "ID")]
    pub(crate) job: JobId,

    /// Jobs of higher priority run first
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) priority: Option<Priority>,

    /// Points by which its priority is lowered; negative only for admins
    #[arg(long, value_name = "POINTS", allow_hyphen_values = true)]
    pub(crate) nice: Option<Priority>,

    /// Wall time that ends an attempt that starts from now on, or none
    #[arg(long, value_name = "TIME")]
    pub(crate) time_limit: Option<OrNone<Span>>,

    /// Not before TIME, or none
    #[arg(long, value_name = "TIME")]
    pub(crate) begin: Option<OrNone<When>>,

    /// Cancel what has not ended by TIME, or none
    #[arg(long, value_name = "TIME")]
    pub(crate) deadline: Option<OrNone<When>>,

    /// The partition to run in, or none for the default one
    #[arg(long, short, value_name = "NAME")]
    pub(crate) partition: Option<OrNone<String>>,

    /// The class of service, or none
    #[arg(long, value_name = "NAME")]
    pub(crate) qos: Option<OrNone<String>>,

    /// At most N tasks at once, or none
    #[arg(long, value_name = "N")]
    pub(crate) max_running: Option<OrNone<super::work::Count>>,
}

/// A value, or its absence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrNone<T>(pub(crate) Option<T>);

impl<T: std::str::FromStr> std::str::FromStr for OrNone<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|value| Self(Some(value))) }
    }
}

/// Sets resources aside for a time (admins only)
///
/// What is set aside is used by jobs that name the reservation (`--reservation NAME`), of the
/// tenants that it is for; without --tenant nobody's, which is maintenance. Nothing is started
/// that would run into it.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["all", "node", "count"])))]
pub(crate) struct Reserve {
    /// The reservation's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// When it begins, like "2026-12-24 18:00" (UTC) or +2h
    #[arg(long, value_name = "TIME", default_value = "+0s")]
    pub(crate) start: When,

    /// How long it lasts
    #[arg(long, value_name = "TIME")]
    pub(crate) duration: Span,

    /// Again and again, from one begin to the next, like 1d or 7d
    #[arg(long, value_name = "TIME")]
    pub(crate) every: Option<Span>,

    /// Whose jobs may run in it; may be given often
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Vec<TenantName>,

    /// All nodes
    #[arg(long)]
    pub(crate) all: bool,

    /// This node, whole; may be given often
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Vec<String>,

    /// So many requests of the size that follows, on nodes that the server chooses
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<crate::value::Whole<1, 1_000_000>>,

    /// Cores of each request
    #[arg(long, value_name = "CORES", default_value = "1", requires = "count")]
    pub(crate) cpu: Cpu,

    /// Memory of each request
    #[arg(long, value_name = "SIZE", default_value = "128MiB", requires = "count")]
    pub(crate) memory: Size,

    /// GPUs of each request
    #[arg(long, value_name = "CARDS[:MODEL]", requires = "count")]
    pub(crate) gpu: Option<WantedGpu>,

    /// A resource that nodes declare by name, of each request; may be given often
    #[arg(long, value_name = "NAME[=AMOUNT]", requires = "count")]
    pub(crate) resource: Vec<Amount>,

    /// On nodes of this partition [default: the cluster's default one]
    #[arg(long, short, value_name = "NAME", requires = "count")]
    pub(crate) partition: Option<String>,
}

/// Gives up a reservation (admins only)
#[derive(Debug, Args)]
pub(crate) struct Unreserve {
    /// The reservation's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// Lists reservations
#[derive(Debug, Args)]
pub(crate) struct Reservations {}
