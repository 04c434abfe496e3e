//! Commands about services.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use wrun_protocol::TenantName;
use wrun_protocol::limits::{MAX_CONCURRENCY, MAX_REPLICAS};
use wrun_protocol::service::ServiceName;
use wrun_protocol::wire::service::ServiceRef;

use crate::plan::{HostSource, ModelSource, MountSource, RouteSource};
use crate::value::{Cpu, Pair, Priority, Size, Span, Whole};

/// Deploys a service: a component that stays, is reached over HTTP, and is as large as its load
///
/// SERVICE is a component (a .wasm file that exports wasi:http, or a program that goes on) or a
/// service file (a .toml file; `wrun schema service` describes it). It waits until the new
/// revision has taken the place of the one before, and ends with 119 if it does not; Ctrl-C or
/// --detach lets that go on alone. Deploying the same again changes nothing.
///
/// Options override what a service file says; arguments after `--` go to the component.
#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// A component (.wasm) or a service file (.toml)
    #[arg(value_name = "SERVICE")]
    pub(crate) service: PathBuf,

    /// Arguments of the component
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,

    /// What it is called: a-z, 0-9 and `-` [default: the component's file name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Requests that gateways bring to it: HOST, /PREFIX or HOST/PREFIX; may be given often
    /// [default: none; other services reach it by name]
    #[arg(long, short, value_name = "ROUTE")]
    pub(crate) route: Vec<RouteSource>,

    /// Do not wait for the new revision
    #[arg(long, short)]
    pub(crate) detach: bool,

    /// Cores that a replica is sure of [default: 0.1]
    #[arg(long, value_name = "CORES", allow_hyphen_values = true)]
    pub(crate) cpu: Option<Cpu>,

    /// Memory of a replica, shared out to its instances [default: 8MiB each, at least 128MiB]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) memory: Option<Size>,

    /// An environment variable of the component; may be given often
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<Pair>,

    /// A file or folder that the component sees, read-only, at GUEST [default: /NAME]; may be
    /// given often
    #[arg(long, short, value_name = "HOST[:GUEST]")]
    pub(crate) mount: Vec<MountSource>,

    /// A host that the component may reach; may be given often [default: none]
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) allow_host: Vec<HostSource>,

    /// A model that the component may load by name, and what it calls it [default: the model's
    /// name]; may be given often
    ///
    /// A revision keeps what the tag points at when it is deployed, though the tag is moved later.
    #[arg(long, value_name = "[GUESTNAME=]MODEL")]
    pub(crate) model: Vec<ModelSource>,

    /// Let the component load models from bytes of its own
    #[arg(long)]
    pub(crate) load_models: bool,

    /// A label that the node must carry; may be given often
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<Pair>,

    /// Replicas of higher priority are placed first; may be negative [default: 0]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) priority: Option<Priority>,

    /// The partition to run in [default: the cluster's default one]
    #[arg(long, short, value_name = "NAME")]
    pub(crate) partition: Option<String>,

    /// The class of service [default: the tenant's]
    #[arg(long, value_name = "NAME")]
    pub(crate) qos: Option<String>,

    /// At least so many replicas; 0: none while there is nothing to do [default: 1]
    #[arg(long, value_name = "N", help_heading = "Scaling")]
    pub(crate) min: Option<Whole<0, MAX_REPLICAS>>,

    /// At most so many replicas [default: as --min]
    #[arg(long, value_name = "N", help_heading = "Scaling")]
    pub(crate) max: Option<Whole<1, MAX_REPLICAS>>,

    /// Requests at once for each replica, at which there are to be more [default: seven tenths
    /// of --concurrency]
    #[arg(long, value_name = "N", help_heading = "Scaling")]
    pub(crate) target: Option<Whole<1, MAX_CONCURRENCY>>,

    /// Requests that a replica handles at once [default: 16]
    #[arg(long, value_name = "N", help_heading = "Requests")]
    pub(crate) concurrency: Option<Whole<1, MAX_CONCURRENCY>>,

    /// Let an instance handle more than one request, one after the other: so many, or as many as
    /// come [default: each request has an instance of its own]
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "0", help_heading = "Requests")]
    pub(crate) reuse: Option<Whole<0, { u32::MAX }>>,

    /// From the first byte of a request to the last one of its answer [default: 1m]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = "Requests")]
    pub(crate) timeout: Option<Span>,

    /// Where a replica is asked with GET whether it is ready [default: it is once an instance
    /// can be made]
    #[arg(long, value_name = "PATH", help_heading = "Requests")]
    pub(crate) ready_path: Option<String>,

    /// A TCP port on which a program may listen; may be given often
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Vec<Whole<1, 65_535>>,
}

/// Lists services: where they stand, how many replicas they have, and their routes
#[derive(Debug, Args)]
pub(crate) struct Services {
    /// Of every tenant (admins only)
    #[arg(long, short, alias = "all-tenants")]
    pub(crate) all: bool,
}

/// A service by its name.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The service's name
    #[arg(value_name = "NAME")]
    pub(crate) service: ServiceName,

    /// Whose it is [default: my own tenant's; others only for admins]
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<TenantName>,
}

impl Named {
    /// As requests name it.
    pub(crate) fn of(&self) -> ServiceRef {
        ServiceRef { tenant: self.tenant.clone(), name: self.service.clone() }
    }
}

/// Shows one service: revisions, replicas and their nodes, load, a rollout, what happened
#[derive(Debug, Args)]
pub(crate) struct Service {
    #[command(flatten)]
    pub(crate) named: Named,
}

/// Has another number of replicas, until somebody says otherwise
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("to").required(true).multiple(true))]
#[command(override_usage = "wrun scale [OPTIONS] <NAME> <N|--min <N>|--max <N>|--auto>")]
pub(crate) struct Scale {
    #[command(flatten)]
    pub(crate) named: Named,

    /// So many replicas, whatever the load is
    #[arg(value_name = "N", group = "to", conflicts_with_all = ["min", "max", "auto"])]
    pub(crate) replicas: Option<Whole<0, MAX_REPLICAS>>,

    /// As the load asks for, and at least so many [default: as it is]
    #[arg(long, value_name = "N", group = "to", conflicts_with = "auto")]
    pub(crate) min: Option<Whole<0, MAX_REPLICAS>>,

    /// As the load asks for, and at most so many [default: as it is]
    #[arg(long, value_name = "N", group = "to", conflicts_with = "auto")]
    pub(crate) max: Option<Whole<1, MAX_REPLICAS>>,

    /// As the specification says
    #[arg(long, group = "to")]
    pub(crate) auto: bool,
}

/// Shows and steers how one revision of a service takes the place of another
#[derive(Debug, Args)]
pub(crate) struct Rollout {
    #[command(subcommand)]
    pub(crate) command: RolloutCommand,
}

/// What to do with a rollout.
#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// Shows how far it is
    Status(Status),
    /// Lets it go no further
    Pause(Named),
    /// Lets it go on; a canary goes to its next step
    Resume(Named),
    /// Goes back to the revision before, or to another one
    Undo(Undo),
}

/// `wrun rollout status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) named: Named,

    /// Wait until it is over, as `wrun deploy` does
    #[arg(long, short)]
    pub(crate) wait: bool,
}

/// `wrun rollout undo`.
#[derive(Debug, Args)]
pub(crate) struct Undo {
    #[command(flatten)]
    pub(crate) named: Named,

    /// Which revision [default: the one before]
    #[arg(long, value_name = "REVISION")]
    pub(crate) to: Option<Whole<1, { u32::MAX }>>,

    /// Do not wait for that revision
    #[arg(long, short)]
    pub(crate) detach: bool,
}

/// Takes a service down: its replicas finish the requests under way and are stopped
#[derive(Debug, Args)]
pub(crate) struct Undeploy {
    #[command(flatten)]
    pub(crate) named: Named,
}
