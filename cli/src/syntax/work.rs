//! `run` and `submit`: what to run and how.

use clap::Args;
use wrun_protocol::limits::{MAX_COUNT, MAX_RETRIES};

use crate::jobfile::{ArrangementName, PreemptionName};
use crate::plan::{DependencySource, InputSource, ModelSource, MountSource};
use crate::value::{Amount, Cpu, Pair, Priority, Size, Span, WantedGpu, When, Whole};

/// How many tasks.
pub(crate) type Count = Whole<1, MAX_COUNT>;
/// How many attempts after the first.
pub(crate) type Retries = Whole<0, MAX_RETRIES>;

/// Submits a job or a workflow and prints its id at once
///
/// WORK is a component (a .wasm file), a job file (a .toml file; `wrun schema` describes it)
/// or a workflow file (a .toml file with steps; `wrun schema workflow` describes it). The id is printed once the job is durable: it survives the death of any process.
/// Options override what a job file says; arguments after `--` go to the program.
#[derive(Debug, Args)]
pub(crate) struct Submit {
    #[command(flatten)]
    pub(crate) work: Work,
}

/// Runs a job attached: its output is mine, my input is its, its exit code is mine
///
/// Like `submit`, and then the program's standard output and error stream to mine, and my
/// standard input to it. Ctrl-C cancels the job; a second Ctrl-C leaves at once. With --count
/// above 1 it shows progress, and the output of each task in order of index at the end.
///
/// A handler (a component that exports wrun:task/handler) is given the whole of my standard
/// input, unless that is a terminal, and its result goes to my standard output.
///
/// Of a workflow it shows how the steps stand, and at the end the outputs of those steps that
/// no other needs.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) work: Work,
}

/// What `run` and `submit` share.
#[derive(Debug, Args)]
pub(crate) struct Work {
    /// A component (.wasm), or a job file or workflow file (.toml)
    #[arg(value_name = "WORK")]
    pub(crate) work: std::path::PathBuf,

    /// Arguments of the program
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,

    /// Name of the job, shown in listings [default: the component's file name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// How many tasks; each sees its WRUN_TASK_INDEX, from 0 [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<Count>,

    /// Cores for each task, more than 0 and at most 1 [default: 1]
    #[arg(long, value_name = "CORES", allow_hyphen_values = true)]
    pub(crate) cpu: Option<Cpu>,

    /// Memory for each task, like 64MiB or 1G [default: 128MiB]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) memory: Option<Size>,

    /// Wall time that ends an attempt, like 90s, 5m or 1h30m [default: none]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) time_limit: Option<Span>,

    /// An environment variable of the program; may be given often
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<Pair>,

    /// A file or folder that the program sees, read-only, at GUEST [default: /NAME]; may be
    /// given often
    ///
    /// A folder is walked and its files are taken as they are now; links within it are refused,
    /// since they can lead out of it.
    #[arg(long, short, value_name = "HOST[:GUEST]")]
    pub(crate) mount: Vec<MountSource>,

    /// A file as standard input, or as the input of a handler; `-` is my standard input
    #[arg(long, short, value_name = "FILE")]
    pub(crate) input: Option<InputSource>,

    /// A task for each line of a file, which is its input; `-` is my standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["input", "count"])]
    pub(crate) each_line: Option<InputSource>,

    /// Jobs of higher priority run first; may be negative [default: 0]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) priority: Option<Priority>,

    /// How many times a failed task runs again [default: 0]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) retries: Option<Retries>,

    /// A label that the node must carry; may be given often
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<Pair>,

    /// A model that the program may load by name, and what it calls it [default: the model's
    /// name]; may be given often
    ///
    /// The job keeps what the tag points at now, though the tag is moved later.
    #[arg(long, value_name = "[GUESTNAME=]MODEL")]
    pub(crate) model: Vec<ModelSource>,

    /// Let the program load models from bytes of its own
    #[arg(long)]
    pub(crate) load_models: bool,

    #[command(flatten)]
    pub(crate) scheduling: Scheduling,
}

impl Work {
    /// The first option that says something of one job, which a workflow is not.
    pub(crate) fn job_option(&self) -> Option<&'static str> {
        let Self { work: _, name: _, args, count, cpu, memory, time_limit, env, .. } = self;
        let Self { mount, input, each_line, priority, retries, label, scheduling, .. } = self;
        let Self { model, load_models, .. } = self;
        let given = [
            ("-- ARGS", !args.is_empty()),
            ("--count", count.is_some()),
            ("--cpu", cpu.is_some()),
            ("--memory", memory.is_some()),
            ("--time-limit", time_limit.is_some()),
            ("--env", !env.is_empty()),
            ("--mount", !mount.is_empty()),
            ("--input", input.is_some()),
            ("--each-line", each_line.is_some()),
            ("--priority", priority.is_some()),
            ("--retries", retries.is_some()),
            ("--label", !label.is_empty()),
            ("--model", !model.is_empty()),
            ("--load-models", *load_models),
        ];
        let given = given.into_iter().chain(scheduling.given());
        given.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }
}

impl Scheduling {
    fn given(&self) -> impl Iterator<Item = (&'static str, bool)> + use<> {
        let Self { partition, qos, nice, hold, begin, deadline, gpu, resource, pool, .. } = self;
        let Self { refuse_label, arrangement, gang, max_running, depends_on, .. } = self;
        let Self { preemptible, not_preemptible, reservation, .. } = self;
        [
            ("--partition", partition.is_some()),
            ("--qos", qos.is_some()),
            ("--nice", nice.is_some()),
            ("--hold", *hold),
            ("--begin", begin.is_some()),
            ("--deadline", deadline.is_some()),
            ("--gpu", gpu.is_some()),
            ("--resource", !resource.is_empty()),
            ("--pool", !pool.is_empty()),
            ("--refuse-label", !refuse_label.is_empty()),
            ("--arrangement", arrangement.is_some()),
            ("--gang", *gang),
            ("--max-running", max_running.is_some()),
            ("--depends-on", !depends_on.is_empty()),
            ("--preemptible", preemptible.is_some()),
            ("--not-preemptible", *not_preemptible),
            ("--reservation", reservation.is_some()),
        ]
        .into_iter()
    }
}

/// When and where tasks may run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Scheduling")]
pub(crate) struct Scheduling {
    /// The partition to run in [default: the cluster's default one]
    #[arg(long, short, value_name = "NAME")]
    pub(crate) partition: Option<String>,

    /// The class of service [default: the tenant's]
    #[arg(long, value_name = "NAME")]
    pub(crate) qos: Option<String>,

    /// Points by which the job's priority is lowered; negative only for admins [default: 0]
    #[arg(long, value_name = "POINTS", allow_hyphen_values = true)]
    pub(crate) nice: Option<Priority>,

    /// Wait until `wrun release`
    #[arg(long)]
    pub(crate) hold: bool,

    /// Not before TIME, like "2026-12-24 18:00" (UTC) or +2h
    #[arg(long, value_name = "TIME")]
    pub(crate) begin: Option<When>,

    /// Cancel what has not ended by TIME
    #[arg(long, value_name = "TIME")]
    pub(crate) deadline: Option<When>,

    /// GPUs for each task: a share of a card like 0.5, or whole cards, like 2:MODEL
    #[arg(long, value_name = "CARDS[:MODEL]", allow_hyphen_values = true)]
    pub(crate) gpu: Option<WantedGpu>,

    /// A resource that nodes declare by name, for each task [default amount: 1]; may be given often
    #[arg(long, value_name = "NAME[=AMOUNT]")]
    pub(crate) resource: Vec<Amount>,

    /// Slots of a pool of the cluster, for each task [default: 1 slot]; may be given often
    #[arg(long, value_name = "NAME[=SLOTS]")]
    pub(crate) pool: Vec<Amount>,

    /// A label that the node must not carry; may be given often
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) refuse_label: Vec<Pair>,

    /// How tasks lie on nodes [default: spread]
    #[arg(long, value_name = "HOW")]
    pub(crate) arrangement: Option<ArrangementName>,

    /// Start all tasks together or none
    #[arg(long)]
    pub(crate) gang: bool,

    /// Remember results, and give them again without running; tasks then see nothing of the
    /// outside: no real time, randomness or network
    #[arg(long)]
    pub(crate) cache: bool,

    /// At most N tasks at once
    #[arg(long, value_name = "N")]
    pub(crate) max_running: Option<Count>,

    /// Wait for another job: ID or success:ID, start:ID, failure:ID, end:ID, or each-success:ID
    /// between arrays, task by task; may be given often
    #[arg(long, value_name = "[WHAT:]ID")]
    pub(crate) depends_on: Vec<DependencySource>,

    /// What may be done to running tasks for a more urgent job [default: all of these]
    #[arg(long, value_name = "HOW", value_delimiter = ',', conflicts_with = "not_preemptible")]
    pub(crate) preemptible: Option<Vec<PreemptionName>>,

    /// Nothing may be done to running tasks for a more urgent job
    #[arg(long)]
    pub(crate) not_preemptible: bool,

    /// The reservation to run in
    #[arg(long, value_name = "NAME")]
    pub(crate) reservation: Option<String>,
}
