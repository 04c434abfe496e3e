//! Hand-worked cases, a few lines each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test: it may stop at what it did not expect, and read clocks and files"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use wrun_core::{Answer, Config, Core, Effect, EndedJob, Fact, Input, PendingReason, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::scheduling::Offer;
use wrun_protocol::task::{Content, Failure, Outcome, Usage};
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::wire::worker::{Assignment, ComponentKind, Report, TaskResult, ToWorker};
use wrun_protocol::{Digest, IndexRange, JobId, JobSpec, NodeId, Resources, SubmitId, Timestamp};

struct Env {
    core: Core,
    now: Timestamp,
    submits: u8,
}

fn env() -> Env {
    Env { core: Core::new(Config::default()), now: Timestamp(1000), submits: 0 }
}

impl Env {
    fn handle(&mut self, input: Input) -> Vec<Effect> {
        self.core.handle(self.now, input);
        std::iter::from_fn(|| self.core.poll_effect()).collect()
    }

    fn node(&mut self, number: u64, cpus: u32) -> Vec<Effect> {
        let (hash, name) = ([number as u8; 32], format!("node-{number}"));
        let expires = self.now.after(Duration::from_secs(1));
        self.handle(Input::CreateToken { request: RequestId(0), hash, expires });
        self.handle(Input::Join { request: RequestId(0), token_hash: hash, name: name.clone() });
        let capacity =
            Resources { cpu_milli: cpus * 1000, memory: 8 << 30, scratch: 8 << 30, slots: 64 };
        let info = NodeInfo { name, capacity, labels: BTreeMap::new(), version: String::new() };
        let (node, attempts) = (NodeId(number), Vec::new());
        self.handle(Input::NodeConnected {
            node,
            info,
            offer: Offer::default(),
            incarnation: 1,
            attempts,
        })
    }

    fn submit_as(&mut self, tenant: &str, spec: &JobSpec) -> Vec<Effect> {
        self.submits += 1;
        let (id, spec) = (SubmitId([self.submits; 16]), EncodedSpec::encode(spec).unwrap());
        let (tenant, kind) = (tenant.parse().unwrap(), ComponentKind::Command);
        self.handle(Input::Submit {
            request: RequestId(1),
            tenant,
            id,
            kind,
            spec,
            ended: Vec::new(),
        })
    }

    fn submit(&mut self, spec: &JobSpec) -> Vec<Effect> {
        self.submit_as("ann", spec)
    }

    fn report(&mut self, node: u64, first: u64, report: Report) -> Vec<Effect> {
        self.handle(Input::Reports { node: NodeId(node), first, reports: vec![report] })
    }
}

fn job(count: u32) -> JobSpec {
    JobSpec { count, ..JobSpec::new(Digest([7; 32])) }
}

fn run(job: u64, attempt: u32, first: u32, count: u32) -> Assignment {
    Assignment { job: JobId(job), attempt, tasks: IndexRange { first, count } }
}

fn assigned(effects: &[Effect]) -> Vec<(u64, Assignment)> {
    let mut runs = Vec::new();
    for effect in effects {
        if let Effect::Send { node, message: ToWorker::Assign(tasks) } = effect {
            runs.extend(tasks.iter().map(|tasks| (node.0, *tasks)));
        }
    }
    runs
}

fn answer(effects: &[Effect]) -> Result<Answer, RequestError> {
    let reply = effects.iter().find_map(|effect| match effect {
        Effect::Reply { answer, .. } => Some(answer.clone()),
        _ => None,
    });
    reply.expect("a reply")
}

fn failed(job: u64, attempt: u32) -> Report {
    let outcome = Outcome::Failed(Failure::Exit { code: 3 });
    let result = TaskResult { outcome, usage: Usage::default(), output: None, log: None };
    Report::Ended { attempt: JobId(job).task(0).attempt(attempt), result: Box::new(result) }
}

#[test]
fn an_array_fills_the_nodes_by_what_is_free() {
    let mut env = env();
    env.node(1, 2);
    env.node(2, 4);
    assert_eq!(assigned(&env.submit(&job(5))), [(1, run(1, 1, 3, 2)), (2, run(1, 1, 0, 3))]);
}

#[test]
fn an_assignment_follows_the_fact_of_its_placement() {
    let mut env = env();
    env.node(1, 1);
    let effects = env.submit(&job(1));
    let placed = effects.iter().position(|e| matches!(e, Effect::Append(Fact::Placed { .. })));
    let sent =
        effects.iter().position(|e| matches!(e, Effect::Send { message: ToWorker::Assign(_), .. }));
    assert!(placed.unwrap() < sent.unwrap());
}

#[test]
fn the_same_submission_is_the_same_job() {
    let mut env = env();
    assert_eq!(answer(&env.submit(&job(1))), Ok(Answer::Submitted(JobId(1))));
    env.submits -= 1;
    assert_eq!(answer(&env.submit(&job(1))), Ok(Answer::Submitted(JobId(1))));
    env.submits -= 1;
    assert_eq!(answer(&env.submit_as("bob", &job(1))), Ok(Answer::Submitted(JobId(2))));
}

#[test]
fn what_no_known_node_can_hold_is_refused_and_waits_while_none_is_known() {
    let mut env = env();
    let mut large = job(1);
    large.resources.memory = 16 << 30;
    env.submit(&large);
    assert_eq!(env.core.pending_reason(JobId(1)), Some(PendingReason::NoNodes));
    env.node(1, 1);
    assert!(matches!(env.core.pending_reason(JobId(1)), Some(PendingReason::NoNodeFits { .. })));
    large.resources.memory *= 2;
    let error = answer(&env.submit(&large)).unwrap_err();
    assert_eq!(error.code, ErrorCode::Unsatisfiable);
    assert!(error.message.contains("8 GiB memory"), "{error}");
}

#[test]
fn tenants_of_equal_priority_take_turns() {
    let mut env = env();
    env.node(1, 1);
    env.submit_as("ann", &job(4));
    env.submit_as("bob", &job(4));
    let mut jobs = Vec::new();
    let mut current = run(1, 1, 0, 1);
    for number in 1..=4 {
        let usage = Usage { wall_us: 10_000_000, ..Usage::default() };
        let effects = env.report(1, number, Report::Succeeded { tasks: current, usage });
        current = assigned(&effects)[0].1;
        jobs.push(current.job.0);
    }
    assert_eq!(jobs, [2, 1, 2, 1]);
}

#[test]
fn higher_priority_goes_first() {
    let mut env = env();
    env.submit(&job(1));
    env.submit(&JobSpec { priority: 5, ..job(1) });
    assert_eq!(assigned(&env.node(1, 1)), [(1, run(2, 1, 0, 1))]);
}

#[test]
fn a_failure_runs_again_after_its_back_off() {
    let mut env = env();
    env.node(1, 1);
    let mut spec = job(1);
    spec.retry.retries = 1;
    env.submit(&spec);
    assert_eq!(assigned(&env.report(1, 1, failed(1, 1))), []);
    let until = Timestamp(2000);
    assert_eq!(env.core.pending_reason(JobId(1)), Some(PendingReason::BackOff { until }));
    assert_eq!(env.core.poll_timeout(), Some(until));
    env.now = until;
    assert_eq!(assigned(&env.handle(Input::Timeout)), [(1, run(1, 2, 0, 1))]);
    env.report(1, 2, failed(1, 2));
    assert!(env.core.job(JobId(1)).is_none(), "no retry is left");
}

#[test]
fn a_lost_node_is_fenced_and_its_tasks_run_elsewhere_from_their_checkpoint() {
    let mut env = env();
    env.node(1, 1);
    env.submit(&job(1));
    let content = Content::Inline(vec![1].into());
    let attempt = JobId(1).task(0).attempt(1);
    env.report(1, 1, Report::Checkpoint { attempt, content: content.clone() });
    env.handle(Input::NodeDisconnected { node: NodeId(1) });
    env.node(2, 1);
    env.now = Timestamp(1000 + 11_999);
    env.handle(Input::Heartbeat { node: NodeId(2), beat: 1 });
    assert!(env.core.task_location(JobId(1).task(0)).is_some_and(|(node, ..)| node.0 == 1));
    env.now = Timestamp(1000 + 12_000);
    let effects = env.handle(Input::Timeout);
    let resume = ToWorker::Resume { attempt: JobId(1).task(0).attempt(2), checkpoint: content };
    assert!(effects.contains(&Effect::Send { node: NodeId(2), message: resume }));
}

#[test]
fn a_worker_that_comes_back_keeps_what_it_runs_and_drops_what_is_stale() {
    let mut env = env();
    env.node(1, 4);
    env.submit(&job(2));
    env.handle(Input::NodeDisconnected { node: NodeId(1) });
    let info = env.core.node_info(NodeId(1)).unwrap().clone();
    let attempts = vec![run(1, 1, 1, 1), run(9, 1, 0, 1)];
    let effects = env.handle(Input::NodeConnected {
        node: NodeId(1),
        info,
        offer: Offer::default(),
        incarnation: 1,
        attempts,
    });
    let stale_attempt = JobId(9).task(0).attempt(1);
    assert!(effects.iter().any(|effect| matches!(effect,
        Effect::Send { message: ToWorker::Welcome { stale, .. }, .. } if *stale == [stale_attempt])));
    let effects = env.handle(Input::Heartbeat { node: NodeId(1), beat: 1 });
    assert_eq!(assigned(&effects), [(1, run(1, 2, 0, 1))], "its assignment was lost on the way");
}

#[test]
fn short_tasks_wait_on_the_node_and_are_recalled_for_an_idle_one() {
    let mut env = env();
    env.node(1, 1);
    env.submit(&job(21));
    let usage = Usage { wall_us: 9_000, ..Usage::default() };
    let effects = env.report(1, 1, Report::Succeeded { tasks: run(1, 1, 0, 1), usage });
    assert_eq!(assigned(&effects), [(1, run(1, 1, 1, 12))], "one runs, 11 wait for 99 ms");
    env.submit(&JobSpec { priority: -1, ..job(1) });
    let effects = env.handle(Input::Cancel { request: RequestId(1), job: JobId(2) });
    assert_eq!(assigned(&effects), []);
    env.report(1, 2, Report::Succeeded { tasks: run(1, 1, 1, 8), usage });
    let effects = env.node(2, 1);
    let recalled = effects.iter().any(|effect| {
        matches!(effect, Effect::Send { node: NodeId(1), message: ToWorker::Recall(_) })
    });
    assert!(recalled || !assigned(&effects).is_empty(), "{effects:?}");
}

#[test]
fn a_join_token_is_good_for_one_node() {
    let mut env = env();
    env.node(1, 1);
    let (request, name) = (RequestId(1), "again".to_owned());
    let effects = env.handle(Input::Join { request, token_hash: [1; 32], name });
    assert_eq!(answer(&effects).unwrap_err().code, ErrorCode::Denied);
}

#[test]
fn a_draining_node_is_asked_for_what_has_not_started_and_gets_nothing_new() {
    let mut env = env();
    env.node(1, 1);
    env.submit(&job(1));
    let (request, node) = (RequestId(1), NodeId(1));
    let effects = env.handle(Input::SetDrain { request, node, drain: true });
    let recall = ToWorker::Recall(vec![run(1, 1, 0, 1)]);
    assert!(effects.contains(&Effect::Send { node, message: recall }));
    assert_eq!(assigned(&env.report(1, 1, Report::Returned(run(1, 1, 0, 1)))), []);
    assert_eq!(env.core.pending_reason(JobId(1)), Some(PendingReason::NoNodeReady { suitable: 1 }));
}

#[test]
fn cancelling_stops_the_attempts_and_cannot_be_done_twice() {
    let mut env = env();
    env.node(1, 2);
    env.submit(&job(3));
    let cancel = Input::Cancel { request: RequestId(1), job: JobId(1) };
    let effects = env.handle(cancel.clone());
    let stop = ToWorker::Stop(vec![run(1, 1, 0, 2)]);
    assert!(effects.contains(&Effect::Send { node: NodeId(1), message: stop }));
    assert_eq!(answer(&env.handle(cancel)).unwrap_err().code, ErrorCode::Conflict);
}

fn ended(effects: &[Effect]) -> Vec<EndedJob> {
    let ended = effects.iter().filter_map(|effect| match effect {
        Effect::Ended(job) => Some((**job).clone()),
        _ => None,
    });
    ended.collect()
}

#[test]
fn what_a_job_was_follows_the_fact_that_ends_it() {
    let mut env = env();
    env.node(1, 2);
    let array = job(2);
    env.submit(&array);
    let used = Usage { wall_us: 5, cpu_us: 3, frozen_us: 0, peak_memory: 9 };
    let first = Report::Succeeded { tasks: run(1, 1, 0, 1), usage: used };
    assert_eq!(ended(&env.report(1, 1, first)), []);
    let last = Report::Succeeded { tasks: run(1, 1, 1, 1), usage: used };
    let effects = env.report(1, 2, last);
    let fact = effects.iter().position(|e| matches!(e, Effect::Append(Fact::Succeeded { .. })));
    let job = effects.iter().position(|e| matches!(e, Effect::Ended(_)));
    assert_eq!(job, fact.map(|at| at + 1));
    let ended = ended(&effects).remove(0);
    assert_eq!((ended.job, ended.submit_id), (JobId(1), SubmitId([1; 16])));
    assert_eq!((ended.succeeded, ended.failed, ended.usage), (1, 0, used));
    assert_eq!(ended.spec.decode().unwrap(), array);
    assert_eq!((ended.submitted, ended.started), (Timestamp(1000), Some(Timestamp(1000))));
}

#[test]
fn the_usage_of_earlier_attempts_is_told_with_the_end_of_their_job() {
    let mut env = env();
    env.node(1, 1);
    let mut spec = job(1);
    spec.retry.retries = 1;
    env.submit(&spec);
    let used = Usage { wall_us: 7, ..Usage::default() };
    let outcome = Outcome::Failed(Failure::Exit { code: 3 });
    let result = Box::new(TaskResult { outcome, usage: used, output: None, log: None });
    let attempt = JobId(1).task(0).attempt(1);
    assert_eq!(ended(&env.report(1, 1, Report::Ended { attempt, result })), []);
    env.now = env.now.after(Duration::from_secs(3600));
    env.handle(Input::Heartbeat { node: NodeId(1), beat: 1 });
    let cancel = Input::Cancel { request: RequestId(1), job: JobId(1) };
    assert_eq!(ended(&env.handle(cancel))[0].usage, used);
}
