//! The job file: what a person writes in TOML. A type of its own, apart from the
//! specification that travels: keys may be spelled for people and can change without
//! the wire, and every value carries its own check, so that an error has a place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::plan::{DependencySource, HostSource, ModelSource, MountSource, RetryOnSource};
use crate::syntax::work::{Count, Retries};
use crate::value::{Cpu, Priority, Size, Span, When, Whole};

/// A job file of wrun (`wrun submit JOB.toml`). Paths are relative to the file's folder.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobFile {
    /// The component to run: a .wasm file.
    pub(crate) component: PathBuf,
    /// Shown in listings; not unique. The component's file name unless set.
    pub(crate) name: Option<String>,
    /// Arguments of the program.
    #[serde(default)]
    pub(crate) args: Vec<String>,
    /// Environment variables of the program; it sees no others but WRUN_*.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// A file as standard input, or as the input of a handler.
    pub(crate) input: Option<PathBuf>,
    /// A text as standard input, or as the input of a handler; instead of `input`.
    pub(crate) stdin: Option<String>,
    /// A task for each of these texts, which is its input; instead of `input`, `stdin` and
    /// `count`.
    pub(crate) for_each: Option<Vec<String>>,
    /// A task for each line of this file, which is its input; instead of `input`, `stdin` and
    /// `count`.
    pub(crate) for_each_line: Option<PathBuf>,
    /// Files and folders that the program sees, read-only: "HOST:GUEST", or "HOST" for /NAME.
    #[serde(default)]
    pub(crate) mounts: Vec<MountSource>,
    /// How many tasks; each sees its index from 0 in WRUN_TASK_INDEX. 1 unless set.
    pub(crate) count: Option<Count>,
    /// Cores for each task, more than 0 and at most 1. 1 unless set.
    pub(crate) cpu: Option<Cpu>,
    /// Memory for each task. 128 MiB unless set.
    pub(crate) memory: Option<Size>,
    /// Scratch disk for each task, at /scratch. 64 MiB unless set.
    pub(crate) scratch: Option<Size>,
    /// Wall time that ends an attempt. No limit unless set.
    pub(crate) time_limit: Option<Span>,
    /// CPU time that ends an attempt. No limit unless set.
    pub(crate) cpu_time_limit: Option<Span>,
    /// Bytes of standard output, or of a handler's result, that end an attempt. 64 MiB unless set.
    pub(crate) output_limit: Option<Size>,
    /// Bytes of log that end an attempt. 16 MiB unless set.
    pub(crate) log_limit: Option<Size>,
    /// Bytes of log a second, above which the guest waits. 4 MiB unless set.
    pub(crate) log_rate: Option<Size>,
    /// Handles that a task may have open at once. 1024 unless set.
    pub(crate) handles: Option<Whole<1, 1_048_576>>,
    /// How many times a failed task runs again. 0 unless set.
    pub(crate) retries: Option<Retries>,
    /// Which failures run again, and when.
    #[serde(default)]
    pub(crate) retry: Retry,
    /// Jobs of higher priority run first. 0 unless set.
    pub(crate) priority: Option<Priority>,
    /// Labels that the node must carry.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// Hosts that the program may reach: "HOST" or "HOST:PORT". None unless set.
    #[serde(default)]
    pub(crate) network: Vec<HostSource>,
    /// Models that the program may load by name: "NAME", "NAME:TAG" or "TENANT/NAME:TAG", or
    /// "GUESTNAME=..." where the program calls one otherwise.
    #[serde(default)]
    pub(crate) models: Vec<ModelSource>,
    /// Whether the program may load models from bytes of its own. false unless set.
    #[serde(default)]
    pub(crate) load_models: bool,
    /// What a node does with the tasks when it has lost the server: "continue" (at least
    /// once) or "stop" (never two at a time). "continue" unless set.
    pub(crate) on_disconnect: Option<OnDisconnect>,
    /// The partition to run in. The default one unless set.
    pub(crate) partition: Option<String>,
    /// The class of service. The tenant's default unless set.
    pub(crate) qos: Option<String>,
    /// Points by which the job's priority is lowered; only an admin may give a negative
    /// number. 0 unless set.
    pub(crate) nice: Option<Priority>,
    /// Wait until the job is released. false unless set.
    #[serde(default)]
    pub(crate) hold: bool,
    /// Not before this time.
    pub(crate) begin: Option<When>,
    /// Of no use after this time: what has not ended by then is cancelled.
    pub(crate) deadline: Option<When>,
    /// GPUs for each task. None unless set.
    pub(crate) gpu: Option<GpuTable>,
    /// Resources that nodes declare by name, for each task.
    #[serde(default)]
    pub(crate) resources: BTreeMap<String, u64>,
    /// Slots of the cluster's pools, for each task.
    #[serde(default)]
    pub(crate) pools: BTreeMap<String, u32>,
    /// Other requests that serve a task as well; whichever can start first is taken.
    #[serde(default)]
    pub(crate) alternatives: Vec<Alternative>,
    /// Labels that the node must not carry.
    #[serde(default)]
    pub(crate) refused_labels: BTreeMap<String, String>,
    /// How tasks lie on nodes: "spread", "pack", "same-node" or "different-nodes". "spread"
    /// unless set.
    pub(crate) arrangement: Option<ArrangementName>,
    /// Start all tasks together or none. false unless set.
    #[serde(default)]
    pub(crate) gang: bool,
    /// Remember results, and give them to a later job of the same component, arguments, input,
    /// files and limits without running. Tasks see no clock, randomness or network of the
    /// outside. false unless set.
    #[serde(default)]
    pub(crate) cache: bool,
    /// At most so many tasks at once. No limit unless set.
    pub(crate) max_running: Option<Count>,
    /// Jobs to wait for: "ID" or "success:ID", "start:ID", "failure:ID", "end:ID", or
    /// "each-success:ID" between arrays, task by task.
    #[serde(default)]
    pub(crate) depends_on: Vec<DependencySource>,
    /// What may be done to running tasks for a more urgent job: any of "freeze",
    /// "checkpoint", "requeue"; an empty list forbids all. All unless set.
    pub(crate) preemptible: Option<Vec<PreemptionName>>,
    /// The reservation to run in.
    pub(crate) reservation: Option<String>,
}

/// GPUs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GpuTable {
    /// A share of one card below 1, or a whole number of cards.
    pub(crate) cards: Cpu,
    /// Memory that each card must have free. Any unless set.
    pub(crate) memory: Option<Size>,
    /// Models that serve. Any unless set.
    #[serde(default)]
    pub(crate) models: Vec<String>,
}

/// A request that serves as well as the job's own. What it leaves out is as in the job.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alternative {
    /// Cores for each task.
    pub(crate) cpu: Option<Cpu>,
    /// Memory for each task.
    pub(crate) memory: Option<Size>,
    /// Scratch disk for each task.
    pub(crate) scratch: Option<Size>,
    /// GPUs for each task; none where it is left out.
    pub(crate) gpu: Option<GpuTable>,
    /// Resources that nodes declare by name, for each task; none where it is left out.
    #[serde(default)]
    pub(crate) resources: BTreeMap<String, u64>,
    /// Slots of pools, for each task; none where it is left out.
    #[serde(default)]
    pub(crate) pools: BTreeMap<String, u32>,
}

/// See `arrangement`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ArrangementName {
    /// On the emptiest nodes first.
    Spread,
    /// On the fullest nodes first.
    Pack,
    /// All on one node.
    SameNode,
    /// No two on one node.
    DifferentNodes,
}

/// See `preemptible`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PreemptionName {
    /// Freeze in place and go on later.
    Freeze,
    /// Notice, checkpoint, requeue.
    Checkpoint,
    /// Requeue at once.
    Requeue,
}

/// Which failures run again, and when.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retry {
    /// Wait before the first retry; doubled for each further one. "1s" unless set.
    pub(crate) backoff: Option<Span>,
    /// Longest wait. "1m" unless set.
    pub(crate) max_backoff: Option<Span>,
    /// The failures that run again: "exit:CODE", "trap", "handler", "limit", "setup". Every
    /// failure unless set, but never a handler's error that is not marked as retryable.
    #[serde(default)]
    pub(crate) on: Vec<RetryOnSource>,
    /// Attempts that the loss of nodes may cost. 100 unless set.
    pub(crate) requeues: Option<Whole<0, 1_000_000>>,
}

/// See `on_disconnect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnDisconnect {
    /// Go on.
    Continue,
    /// Stop.
    Stop,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use crate::toml_source::Source;

    fn read(text: &str) -> Result<JobFile, String> {
        Source::from_text("job.toml", text, Exit::InvalidInput)
            .parse()
            .map_err(|error: crate::error::Error| error.to_string())
    }

    #[test]
    fn a_full_file_reads() {
        let file = read(
            r#"
            component = "render.wasm"
            name = "render"
            args = ["--scene", "a"]
            input = "scene.json"
            mounts = ["data:/data", "words.txt"]
            count = 64
            cpu = 0.5
            memory = "64MiB"
            scratch = 1048576
            time_limit = "5m"
            cpu_time_limit = "90s"
            output_limit = "1G"
            log_limit = "1M"
            log_rate = "64k"
            handles = 64
            retries = 3
            priority = -5
            network = ["example.org:443"]
            models = ["magika", "voice=lab/silero-vad:v5"]
            load_models = true
            on_disconnect = "stop"
            partition = "long"
            qos = "low"
            nice = 5
            hold = true
            begin = "2026-12-24T18:00:00Z"
            deadline = "+7d"
            resources = { fpga = 1 }
            pools = { licence = 2 }
            refused_labels = { zone = "b" }
            arrangement = "pack"
            gang = true
            max_running = 8
            depends_on = ["3", "each-success:4"]
            preemptible = ["freeze"]
            reservation = "night"
            gpu = { cards = 0.5, memory = "8GiB", models = ["a100"] }
            alternatives = [{ cpu = 1, memory = "1GiB" }]
            [env]
            RUST_LOG = "info"
            [retry]
            backoff = "2s"
            max_backoff = "1m"
            on = ["exit:75", "trap"]
            requeues = 4
            [labels]
            zone = "a"
            "#,
        )
        .unwrap();
        assert_eq!(file.count, Some(Whole(64)));
        assert_eq!(file.scratch, Some(Size(1 << 20)));
        assert_eq!(file.retry.on.len(), 2);
    }

    /// Every bad value is told with file, line, column and key.
    #[test]
    fn bad_values_are_placed() {
        for (line, expected) in [
            ("count = -3", "job.toml:2:9: `count`: `-3`: write a whole number from 1 to 10000000"),
            ("count = 0", "job.toml:2:9: `count`: `0`: write"),
            ("count = 99999999", "job.toml:2:9: `count`: `99999999`: write"),
            ("count = 1.5", "job.toml:2:9: `count`: invalid type: floating point"),
            ("cpu = -1", "job.toml:2:7: `cpu`: `-1` is not an amount of CPU: it is negative"),
            ("cpu = nan", "job.toml:2:7: `cpu`: `NaN` is not an amount of CPU"),
            ("cpu = \"all\"", "job.toml:2:7: `cpu`: invalid type: string \"all\""),
            ("memory = -1", "job.toml:2:10: `memory`: `-1` is not a size: it is negative"),
            ("memory = \"64 potatoes\"", "job.toml:2:10: `memory`: `64 potatoes` is not a size"),
            ("time_limit = 90", "job.toml:2:14: `time_limit`: `90` is not a duration: a number"),
            ("time_limit = \"-5s\"", "job.toml:2:14: `time_limit`: `-5s` is not a duration: it is"),
            ("retries = 100000", "job.toml:2:11: `retries`: `100000`: write"),
            (
                "args = \"x\"",
                "job.toml:2:8: `args`: invalid type: string \"x\", expected a sequence",
            ),
            ("mounts = [\"a:b\"]", "job.toml:2:10: `mounts`: `a:b`: "),
            ("models = [\"a b\"]", "job.toml:2:10: `models`: `a b`: `a b` is not a model's name"),
            ("network = [\"\"]", "job.toml:2:11: `network`: ``: "),
            ("on_disconnect = \"halt\"", "job.toml:2:17: `on_disconnect`: unknown variant `halt`"),
            ("retry = { on = [\"x\"] }", "job.toml:2:16: `retry.on`: `x`: "),
            ("depends_on = [\"x\"]", "job.toml:2:14: `depends_on`: `x`: "),
            ("begin = \"soon\"", "job.toml:2:9: `begin`: `soon` is not a time"),
            ("gpu = { cards = -1 }", "job.toml:2:17: `gpu.cards`: `-1`"),
            ("count = 1\ncount = 2", "job.toml:3:1: `count`: duplicate key"),
            ("count = ", "job.toml:2:9: "),
        ] {
            let error = read(&format!("component = \"a.wasm\"\n{line}\n")).unwrap_err();
            assert!(error.starts_with(expected), "{line}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_likely_one() {
        let error = read("component = \"a.wasm\"\ncout = 3\n").unwrap_err();
        assert_eq!(error, "job.toml:2:1: unknown key `cout`; did you mean `count`?");
        let error = read("component = \"a.wasm\"\n[retry]\nzzzzzzzz = 3\n").unwrap_err();
        assert!(
            error.starts_with("job.toml:3:1: unknown key `zzzzzzzz`; known here: backoff"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_component_is_told() {
        let error = read("count = 3\n").unwrap_err();
        assert!(error.contains("`component` is missing"), "{error}");
    }
}
