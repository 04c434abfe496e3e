//! What commands print with `--json`: one documented schema (`wrun schema output`).
//!
//! These types are an interface. Fields are added, never renamed or removed; times are
//! milliseconds since the Unix epoch (`_ms`), sizes are bytes, bytes that are no text are
//! base64. A command prints one object, or, where it streams, one object a line.

mod convert;
mod model;
mod schedule;
mod scheduling;
mod service;
pub(crate) mod simulation;
mod workflow;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use model::{ModelChange, ModelGrant, ModelPage, ModelPushed, Models};
pub(crate) use schedule::{ScheduleChange, Schedules};
pub(crate) use scheduling::{
    Changed, Explanation, JobPriority, Policy, PolicyChange, Queue, ReservationChange,
    Reservations, Shares,
};

pub(crate) use service::{Deployed, ServiceChange, ServicePage, Services};
pub(crate) use workflow::{ListedJob, WorkflowExplanation, WorkflowPage};

/// Everything that a command can print; by which command, each says.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "describes the schema; its variants are printed by themselves")]
pub(crate) enum Printed {
    /// `wrun submit`, `wrun rerun`
    Submit(Submitted),
    /// `wrun run`, `wrun logs`, `wrun wait`: one a line
    Event(Event),
    /// `wrun jobs`
    Jobs(JobList),
    /// `wrun job`
    Job(Box<JobPage>),
    /// `wrun job` of a workflow
    Workflow(Box<WorkflowPage>),
    /// `wrun output`: one a task, one a line
    Output(TaskOutput),
    /// `wrun cancel`: one a job, one a line
    Cancel(Cancelled),
    /// `wrun nodes`
    Nodes(NodeList),
    /// `wrun drain`, `wrun forget`
    Node(NodeChange),
    /// `wrun token create`
    Token(Token),
    /// `wrun user add`, `wrun server init`
    Credential(Credential),
    /// `wrun dev`, `wrun server`, `wrun worker`: one line once ready
    Ready(Ready),
    /// `wrun simulate`
    Simulate(Box<simulation::Simulation>),
    /// `wrun new`
    Project(Project),
    /// `wrun build`: one a component, one a line
    Component(Component),
    /// `wrun policy show`
    Policy(Policy),
    /// `wrun policy check`, `wrun policy set`
    PolicyChange(PolicyChange),
    /// `wrun share`
    Share(Shares),
    /// `wrun queue`
    Queue(Queue),
    /// `wrun job --priority`
    JobPriority(JobPriority),
    /// `wrun explain`
    Explain(Explanation),
    /// `wrun explain` of a workflow
    ExplainWorkflow(WorkflowExplanation),
    /// `wrun hold`, `release`, `requeue`, `retry`, `update`: one a job, one a line
    Change(Changed),
    /// `wrun reservations`
    Reservations(Reservations),
    /// `wrun reserve`, `wrun unreserve`
    Reserve(ReservationChange),
    /// `wrun schedules`
    Schedules(Schedules),
    /// `wrun schedule add`, `remove`, `pause`, `resume`
    Schedule(ScheduleChange),
    /// `wrun services`
    Services(Services),
    /// `wrun service`, `wrun rollout status`
    Service(Box<ServicePage>),
    /// `wrun deploy`, `wrun rollout undo`, `wrun rollout status --wait`
    Deploy(Deployed),
    /// `wrun scale`, `wrun rollout pause`, `wrun rollout resume`, `wrun undeploy`
    ServiceChange(ServiceChange),
    /// `wrun models`
    Models(Models),
    /// `wrun model show`
    Model(Box<ModelPage>),
    /// `wrun model push`
    ModelPush(ModelPushed),
    /// `wrun model rm`, `share`, `unshare`
    ModelChange(ModelChange),
    /// `wrun exit-codes`
    ExitCodes(ExitCodes),
    /// Any command that fails, on standard error
    Failure(Failure),
}

/// A job was accepted and is durable.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Submitted {
    pub(crate) job: u64,
}

/// One step of something that streams.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Event {
    /// The job was accepted and is durable.
    Submitted { job: u64 },
    /// Results of these tasks were remembered: they do not run.
    Remembered { job: u64, remembered: Vec<Remembered> },
    /// The guest wrote this.
    Log {
        /// The task's index; of a service, the replica's.
        task: u32,
        /// Of a service: the replica's revision.
        #[serde(skip_serializing_if = "Option::is_none")]
        revision: Option<u32>,
        /// `stdout` or `stderr`.
        stream: &'static str,
        #[serde(flatten)]
        data: Data,
    },
    /// The result of a handler, or the output of a task of an array.
    Output(TaskOutput),
    /// How far the job is.
    Progress { job: u64, state: &'static str, tasks: Counts },
    /// A step of a workflow has changed.
    Step {
        /// The workflow.
        job: u64,
        /// The step's name.
        step: String,
        /// As in a listing of the workflow's steps.
        state: &'static str,
        /// The id of the step's job.
        step_job: Option<u64>,
        tasks: Counts,
        /// Why it ended so, where its job does not say.
        why: Option<String>,
    },
    /// The job has ended, or those of its tasks that were waited for, of which it then speaks.
    /// The last line.
    Ended {
        job: u64,
        state: &'static str,
        tasks: Counts,
        /// The first failure, if any task failed.
        failure: Option<Outcome>,
        /// What the command exits with.
        exit_code: u8,
    },
}

/// Bytes: as text where they are UTF-8, else in base64.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Data {
    Text(String),
    Base64(String),
}

/// How many tasks are in each state.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Counts {
    pub(crate) pending: u32,
    pub(crate) running: u32,
    pub(crate) succeeded: u32,
    pub(crate) failed: u32,
    pub(crate) cancelled: u32,
}

/// How an attempt ended.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Outcome {
    /// `succeeded`, `exit`, `handler-error`, `trap`, `limit`, `setup`, `cancelled`, `node-lost`,
    /// `dependency`.
    pub(crate) kind: &'static str,
    /// For people.
    pub(crate) message: String,
    /// Of `exit`: the guest's code.
    pub(crate) code: Option<i32>,
}

/// What attempts used.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Usage {
    pub(crate) wall_us: u64,
    pub(crate) cpu_us: u64,
    pub(crate) frozen_us: u64,
    pub(crate) peak_memory: u64,
}

/// Amounts of resources.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Amounts {
    /// Thousandths of a core.
    pub(crate) cpu_milli: u32,
    pub(crate) memory: u64,
    pub(crate) scratch: u64,
    pub(crate) slots: u32,
}

/// Jobs, newest first.
#[derive(Serialize, JsonSchema)]
pub(crate) struct JobList {
    pub(crate) jobs: Vec<ListedJob>,
}

/// One job.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Job {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) tenant: String,
    /// `pending`, `running`, `succeeded`, `failed` or `cancelled`.
    pub(crate) state: &'static str,
    pub(crate) tasks: Counts,
    pub(crate) priority: i32,
    pub(crate) submitted_ms: u64,
    pub(crate) started_ms: Option<u64>,
    pub(crate) ended_ms: Option<u64>,
}

/// A job with its specification and tasks.
#[derive(Serialize, JsonSchema)]
pub(crate) struct JobPage {
    #[serde(flatten)]
    pub(crate) job: Job,
    pub(crate) spec: Option<Spec>,
    /// Of every attempt that has ended.
    pub(crate) usage: Usage,
    /// Why tasks wait, if any do.
    pub(crate) pending_reason: Option<String>,
    /// The first failure, if any task failed.
    pub(crate) failure: Option<Outcome>,
    /// Tasks that did not run because their results were remembered.
    pub(crate) remembered: Vec<Remembered>,
    /// As many as were asked for.
    pub(crate) tasks_shown: Vec<Task>,
}

/// Tasks whose results another job had given.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Remembered {
    /// Index of the first of them.
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// The job whose tasks of the same indices gave the results.
    pub(crate) from: u64,
}

/// What was submitted.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Spec {
    /// SHA-256 in hexadecimal.
    pub(crate) component: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    /// `none`, `content`, `attached`, or `each`: an item for each task.
    pub(crate) input: &'static str,
    /// Bytes of the input if it is content; of all items together if there is one for each task.
    pub(crate) input_size: Option<u64>,
    pub(crate) mounts: Vec<Mount>,
    /// Models that the guest may load by name.
    pub(crate) models: Vec<ModelGrant>,
    /// Whether it may load models from bytes of its own.
    pub(crate) load_models: bool,
    pub(crate) count: u32,
    pub(crate) resources: Amounts,
    pub(crate) time_limit_ms: Option<u64>,
    pub(crate) cpu_time_limit_ms: Option<u64>,
    pub(crate) output_limit: u64,
    pub(crate) log_limit: u64,
    pub(crate) retries: u32,
    /// Whether results are remembered.
    pub(crate) cache: bool,
    pub(crate) labels: BTreeMap<String, String>,
}

/// One file that the guest sees.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Mount {
    pub(crate) path: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
}

/// One task.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Task {
    pub(crate) index: u32,
    /// `pending`, `assigned`, `running`, `succeeded`, `failed` or `cancelled`.
    pub(crate) state: &'static str,
    pub(crate) attempts: u32,
    pub(crate) node: Option<String>,
    pub(crate) node_name: Option<String>,
    pub(crate) started_ms: Option<u64>,
    pub(crate) ended_ms: Option<u64>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) usage: Usage,
    /// From 0 to 1000, as a handler reported it.
    pub(crate) progress_permille: Option<u16>,
    pub(crate) progress_message: Option<String>,
}

/// The output of one task.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TaskOutput {
    pub(crate) task: u32,
    pub(crate) size: u64,
    /// Where it was written, if to a file.
    pub(crate) file: Option<String>,
    #[serde(flatten)]
    pub(crate) data: Option<Data>,
}

/// A job was cancelled.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Cancelled {
    pub(crate) job: u64,
    pub(crate) cancelled: bool,
}

/// The cluster's nodes.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NodeList {
    pub(crate) nodes: Vec<Node>,
}

/// One node.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) name: String,
    /// `ready`, `draining`, `disconnected` or `lost`.
    pub(crate) state: &'static str,
    pub(crate) capacity: Amounts,
    pub(crate) used: Amounts,
    pub(crate) tasks: u32,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) version: String,
    pub(crate) last_seen_ms: u64,
    pub(crate) gpus: Vec<Card>,
    /// Resources that it declares by name.
    pub(crate) resources: BTreeMap<String, NamedResource>,
    pub(crate) partitions: Vec<String>,
    /// How it runs models. `null` while it is not connected.
    pub(crate) inference: Option<Inference>,
}

/// How a node runs models.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Inference {
    /// Bytes that loaded models may take together.
    pub(crate) model_memory: u64,
    /// In the order in which they are tried.
    pub(crate) back_ends: Vec<BackEnd>,
}

/// What loads and runs models.
#[derive(Serialize, JsonSchema)]
pub(crate) struct BackEnd {
    /// `tract` or `onnxruntime`.
    pub(crate) name: String,
    /// Of the library that was found; `null` for what is built in.
    pub(crate) version: Option<String>,
    /// Why it cannot be used at all.
    pub(crate) problem: Option<String>,
    /// On what it runs models, in the order in which they are tried.
    pub(crate) providers: Vec<Provider>,
}

/// An execution provider: what a back end runs models on.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Provider {
    /// `cpu`, `cuda`, `tensorrt` or `webgpu`.
    pub(crate) name: String,
    /// Why it cannot be had; `null` where a model was run on it.
    pub(crate) problem: Option<String>,
}

/// One card of a node.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Card {
    pub(crate) model: String,
    /// In bytes.
    pub(crate) memory: u64,
    /// The part that tasks were given, from 0 to 1.
    pub(crate) in_use: f64,
    /// `found`: by the driver. `declared`: by the node's operator.
    pub(crate) source: &'static str,
    /// Bytes of its memory that are taken, by whatever runs on it. `null`: nobody can tell.
    pub(crate) memory_used: Option<u64>,
    /// For how much of the time something ran on it lately, from 0 to 1. `null`: nobody can tell.
    pub(crate) busy: Option<f64>,
}

/// A resource that a node declares by name.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NamedResource {
    pub(crate) amount: u64,
    /// How much of it is in use.
    pub(crate) taken: u64,
}

/// A node was changed.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NodeChange {
    pub(crate) node: String,
    /// `draining`, `ready` or `forgotten`.
    pub(crate) state: &'static str,
}

/// A join token.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Token {
    /// TOKEN@HOST:PORT, for `wrun worker --join`.
    pub(crate) join: String,
    pub(crate) expires_ms: u64,
}

/// A credential was written.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Credential {
    pub(crate) tenant: String,
    pub(crate) role: String,
    pub(crate) server: String,
    pub(crate) file: String,
}

/// A process that stays is ready.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Ready {
    /// `ready`.
    pub(crate) event: &'static str,
    /// Of a server: HOST:PORT where it listens.
    pub(crate) listen: Option<String>,
    /// Of a worker: its node's id.
    pub(crate) node: Option<String>,
    /// Of `dev`: the credential's file.
    pub(crate) credential: Option<String>,
    /// Of a worker, and of `dev`: where HTTP requests for services come in.
    pub(crate) http: Vec<String>,
    /// The same with TLS.
    pub(crate) https: Vec<String>,
    pub(crate) data: String,
}

/// A project was made.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Project {
    pub(crate) path: String,
    pub(crate) sdk: String,
}

/// A component was built.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Component {
    pub(crate) path: String,
    /// `command`, `handler` or `http`.
    pub(crate) kind: &'static str,
    pub(crate) size: u64,
    /// SHA-256 in hexadecimal.
    pub(crate) digest: String,
}

/// The exit codes.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ExitCodes {
    pub(crate) exit_codes: Vec<ExitCode>,
}

/// One of them.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ExitCode {
    pub(crate) code: u8,
    pub(crate) kind: &'static str,
    pub(crate) meaning: &'static str,
}

/// A command failed.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Failure {
    pub(crate) error: FailureBody,
}

/// Why.
#[derive(Serialize, JsonSchema)]
pub(crate) struct FailureBody {
    /// The exit code's name, as `wrun exit-codes` lists it.
    pub(crate) kind: String,
    pub(crate) exit_code: u8,
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) todo: Option<String>,
}

impl From<&[u8]> for Data {
    fn from(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(base64(bytes)),
        }
    }
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let value = group.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte));
        let value = value << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = (value >> (18 - 6 * place) & 63) as usize;
            let letter = if place <= group.len() { ALPHABET.get(digit) } else { None };
            text.push(char::from(*letter.unwrap_or(&b'=')));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn an_event_is_one_flat_object() {
        let log =
            Event::Log { task: 3, revision: None, stream: "stdout", data: (&b"hi"[..]).into() };
        let text = serde_json::to_string(&log).unwrap();
        assert_eq!(text, r#"{"event":"log","task":3,"stream":"stdout","text":"hi"}"#);
        let log =
            Event::Log { task: 0, revision: None, stream: "stderr", data: (&[0xff_u8][..]).into() };
        let text = serde_json::to_string(&log).unwrap();
        assert_eq!(text, r#"{"event":"log","task":0,"stream":"stderr","base64":"/w=="}"#);
    }
}
