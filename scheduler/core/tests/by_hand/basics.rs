//! Hand-worked cases, a few lines each.

use crate::cluster::{BEGIN, Cluster, answer, assigned, ended, facts, job, run, second, submit_id};
use std::time::Duration;

use wrun_core::{Answer, Config, Core, Effect, Fact, Input, PendingReason, RequestId};
use wrun_protocol::scheduling::Offer;
use wrun_protocol::task::{Content, Failure, Outcome, Usage};
use wrun_protocol::wire::user::ErrorCode;
use wrun_protocol::wire::worker::{Report, TaskResult, ToWorker};
use wrun_protocol::{JobId, JobSpec, NodeId, Timestamp};

fn failed(job: u64, attempt: u32) -> Report {
    let outcome = Outcome::Failed(Failure::Exit { code: 3 });
    let result = TaskResult { outcome, usage: Usage::default(), output: None, log: None };
    Report::Ended { attempt: JobId(job).task(0).attempt(attempt), result: Box::new(result) }
}

#[test]
fn an_array_fills_the_nodes_by_what_is_free() {
    let mut cluster = Cluster::with(Config::default());
    cluster.node(1, 2);
    cluster.node(2, 4);
    assert_eq!(assigned(&cluster.submit(&job(5))), [(1, run(1, 1, 3, 2)), (2, run(1, 1, 0, 3))]);
}

#[test]
fn an_assignment_follows_the_fact_of_its_placement() {
    let mut cluster = Cluster::with(Config::default());
    cluster.node(1, 1);
    let effects = cluster.submit(&job(1));
    let placed = effects.iter().position(|e| matches!(e, Effect::Append(Fact::Placed { .. })));
    let sent =
        effects.iter().position(|e| matches!(e, Effect::Send { message: ToWorker::Assign(_), .. }));
    assert!(placed.unwrap() < sent.unwrap());
}

#[test]
fn the_same_submission_is_the_same_job() {
    let mut cluster = Cluster::with(Config::default());
    assert_eq!(answer(&cluster.submit(&job(1))), Ok(Answer::Submitted(JobId(1))));
    assert_eq!(
        answer(&cluster.submit_again("ann", &job(1), Vec::new())),
        Ok(Answer::Submitted(JobId(1)))
    );
    assert_eq!(
        answer(&cluster.submit_again("bob", &job(1), Vec::new())),
        Ok(Answer::Submitted(JobId(2)))
    );
}

#[test]
fn what_no_known_node_can_hold_is_refused_and_waits_while_none_is_known() {
    let mut cluster = Cluster::with(Config::default());
    let mut large = job(1);
    large.resources.memory = 16 << 30;
    cluster.submit(&large);
    assert_eq!(cluster.core.pending_reason(JobId(1)), Some(PendingReason::NoNodes));
    cluster.node(1, 1);
    assert!(matches!(
        cluster.core.pending_reason(JobId(1)),
        Some(PendingReason::NoNodeFits { .. })
    ));
    large.resources.memory *= 2;
    let error = answer(&cluster.submit(&large)).unwrap_err();
    assert_eq!(error.code, ErrorCode::Unsatisfiable);
    assert!(error.message.contains("4 GiB memory"), "{error}");
}

#[test]
fn tenants_of_equal_priority_take_turns() {
    let mut cluster = Cluster::with(Config::default());
    cluster.node(1, 1);
    cluster.submit_as("ann", &job(4));
    cluster.submit_as("bob", &job(4));
    let mut jobs = Vec::new();
    let mut current = run(1, 1, 0, 1);
    for _ in 1..=4 {
        let usage = Usage { wall_us: 10_000_000, ..Usage::default() };
        let effects = cluster.report(1, Report::Succeeded { tasks: current, usage });
        current = assigned(&effects)[0].1;
        jobs.push(current.job.0);
    }
    assert_eq!(jobs, [2, 1, 2, 1]);
}

#[test]
fn higher_priority_goes_first() {
    let mut cluster = Cluster::with(Config::default());
    cluster.submit(&job(1));
    cluster.submit(&JobSpec { priority: 5, ..job(1) });
    assert_eq!(assigned(&cluster.node(1, 1)), [(1, run(2, 1, 0, 1))]);
}

#[test]
fn a_failure_runs_again_after_its_back_off() {
    let mut cluster = Cluster::with(Config::default());
    cluster.node(1, 1);
    let mut spec = job(1);
    spec.retry.retries = 1;
    cluster.submit(&spec);
    assert_eq!(assigned(&cluster.report(1, failed(1, 1))), []);
    let until = second(1);
    assert_eq!(cluster.core.pending_reason(JobId(1)), Some(PendingReason::BackOff { until }));
    assert_eq!(cluster.core.poll_timeout(), Some(until));
    cluster.now = until;
    assert_eq!(assigned(&cluster.handle(Input::Timeout)), [(1, run(1, 2, 0, 1))]);
    cluster.report(1, failed(1, 2));
    assert!(cluster.core.job(JobId(1)).is_none(), "no retry is left");
}

#[test]
fn a_lost_node_is_fenced_and_its_tasks_run_elsewhere_from_their_checkpoint() {
    let mut cluster = Cluster::with(Config::default());
    cluster.node(1, 1);
    cluster.submit(&job(1));
    let content = Content::Inline(vec![1].into());
    let attempt = JobId(1).task(0).attempt(1);
    cluster.report(1, Report::Checkpoint { attempt, content: content.clone() });
    cluster.handle(Input::NodeDisconnected { node: NodeId(1) });
    cluster.node(2, 1);
    cluster.now = Timestamp(BEGIN.0 + 11_999);
    cluster.handle(Input::Heartbeat { node: NodeId(2), beat: 1 });
    assert!(cluster.core.task_location(JobId(1).task(0)).is_some_and(|(node, ..)| node.0 == 1));
    cluster.now = second(12);
    let effects = cluster.handle(Input::Timeout);
    let resume = ToWorker::Resume { attempt: JobId(1).task(0).attempt(2), checkpoint: content };
    assert!(effects.contains(&Effect::Send { node: NodeId(2), message: resume }));
}

#[test]
fn a_worker_that_comes_back_keeps_what_it_runs_and_drops_what_is_stale() {
    let mut cluster = Cluster::with(Config::default());
    cluster.node(1, 4);
    cluster.submit(&job(2));
    cluster.handle(Input::NodeDisconnected { node: NodeId(1) });
    let info = cluster.core.node_info(NodeId(1)).unwrap().clone();
    let attempts = vec![run(1, 1, 1, 1), run(9, 1, 0, 1)];
    let effects = cluster.handle(Input::NodeConnected {
        node: NodeId(1),
        info,
        offer: Offer::default(),
        incarnation: 1,
        attempts,
    });
    let stale_attempt = JobId(9).task(0).attempt(1);
    assert!(effects.iter().any(|effect| matches!(effect,
        Effect::Send { message: ToWorker::Welcome { stale, .. }, .. } if *stale == [stale_attempt])));
    let effects = cluster.handle(Input::Heartbeat { node: NodeId(1), beat: 1 });
    assert_eq!(assigned(&effects), [(1, run(1, 2, 0, 1))], "its assignment was lost on the way");
}

#[test]
fn short_tasks_wait_on_the_node_and_are_recalled_for_an_idle_one() {
    let mut cluster = Cluster::with(Config::default());
    cluster.node(1, 1);
    cluster.submit(&job(21));
    let usage = Usage { wall_us: 9_000, ..Usage::default() };
    let effects = cluster.report(1, Report::Succeeded { tasks: run(1, 1, 0, 1), usage });
    assert_eq!(assigned(&effects), [(1, run(1, 1, 1, 12))], "one runs, 11 wait for 99 ms");
    cluster.submit(&JobSpec { priority: -1, ..job(1) });
    let effects = cluster.handle(Input::Cancel { request: RequestId(1), job: JobId(2) });
    assert_eq!(assigned(&effects), []);
    cluster.report(1, Report::Succeeded { tasks: run(1, 1, 1, 8), usage });
    let effects = cluster.node(2, 1);
    let recalled = effects.iter().any(|effect| {
        matches!(effect, Effect::Send { node: NodeId(1), message: ToWorker::Recall(_) })
    });
    assert!(recalled || !assigned(&effects).is_empty(), "{effects:?}");
}

#[test]
fn a_join_token_is_good_for_one_node() {
    let mut cluster = Cluster::with(Config::default());
    cluster.node(1, 1);
    let (request, name) = (RequestId(1), "again".to_owned());
    let effects = cluster.handle(Input::Join { request, token_hash: [1; 32], name });
    assert_eq!(answer(&effects).unwrap_err().code, ErrorCode::Denied);
}

#[test]
fn a_draining_node_is_asked_for_what_has_not_started_and_gets_nothing_new() {
    let mut cluster = Cluster::with(Config::default());
    cluster.node(1, 1);
    cluster.submit(&job(1));
    let (request, node) = (RequestId(1), NodeId(1));
    let effects = cluster.handle(Input::SetDrain { request, node, drain: true });
    let recall = ToWorker::Recall(vec![run(1, 1, 0, 1)]);
    assert!(effects.contains(&Effect::Send { node, message: recall }));
    assert_eq!(assigned(&cluster.report(1, Report::Returned(run(1, 1, 0, 1)))), []);
    assert_eq!(
        cluster.core.pending_reason(JobId(1)),
        Some(PendingReason::NoNodeReady { suitable: 1 })
    );
}

#[test]
fn cancelling_stops_the_attempts_and_cannot_be_done_twice() {
    let mut cluster = Cluster::with(Config::default());
    cluster.node(1, 2);
    cluster.submit(&job(3));
    let cancel = Input::Cancel { request: RequestId(1), job: JobId(1) };
    let effects = cluster.handle(cancel.clone());
    let stop = ToWorker::Stop(vec![run(1, 1, 0, 2)]);
    assert!(effects.contains(&Effect::Send { node: NodeId(1), message: stop }));
    assert_eq!(answer(&cluster.handle(cancel)).unwrap_err().code, ErrorCode::Conflict);
}

#[test]
fn what_a_job_was_follows_the_fact_that_ends_it() {
    let mut cluster = Cluster::with(Config::default());
    cluster.node(1, 2);
    let array = job(2);
    cluster.submit(&array);
    let used = Usage { wall_us: 5, cpu_us: 3, frozen_us: 0, peak_memory: 9 };
    let first = Report::Succeeded { tasks: run(1, 1, 0, 1), usage: used };
    assert_eq!(ended(&cluster.report(1, first)), []);
    let last = Report::Succeeded { tasks: run(1, 1, 1, 1), usage: used };
    let effects = cluster.report(1, last);
    let fact = effects.iter().position(|e| matches!(e, Effect::Append(Fact::Succeeded { .. })));
    let job = effects.iter().position(|e| matches!(e, Effect::Ended(_)));
    assert_eq!(job, fact.map(|at| at + 1));
    let ended = ended(&effects).remove(0);
    assert_eq!((ended.job, ended.submit_id), (JobId(1), submit_id(1)));
    assert_eq!((ended.succeeded, ended.failed, ended.usage), (1, 0, used));
    assert_eq!(ended.spec().decode().unwrap(), array);
    assert_eq!((ended.submitted, ended.started), (BEGIN, Some(BEGIN)));
}

#[test]
fn the_usage_of_earlier_attempts_is_told_with_the_end_of_their_job() {
    let mut cluster = Cluster::with(Config::default());
    cluster.node(1, 1);
    let mut spec = job(1);
    spec.retry.retries = 1;
    cluster.submit(&spec);
    let used = Usage { wall_us: 7, ..Usage::default() };
    let outcome = Outcome::Failed(Failure::Exit { code: 3 });
    let result = Box::new(TaskResult { outcome, usage: used, output: None, log: None });
    let attempt = JobId(1).task(0).attempt(1);
    assert_eq!(ended(&cluster.report(1, Report::Ended { attempt, result })), []);
    cluster.now = cluster.now.after(Duration::from_secs(3600));
    cluster.handle(Input::Heartbeat { node: NodeId(1), beat: 1 });
    let cancel = Input::Cancel { request: RequestId(1), job: JobId(1) };
    assert_eq!(ended(&cluster.handle(cancel))[0].usage, used);
}

#[test]
fn what_a_round_decided_is_said_before_anything_that_comes_while_it_is_polled() {
    let mut cluster = Cluster::new();
    cluster.node(1, 1);
    cluster.node(2, 1);
    cluster.submit(&job(4));
    let mut journal = cluster.journal.clone();
    let core = &mut cluster.core;
    for node in [1, 2] {
        let tasks = run(1, 1, node - 1, 1);
        let reports = vec![Report::Succeeded { tasks, usage: Usage::default() }];
        let node = NodeId(node.into());
        core.handle(cluster.now, Input::Reports { node, first: 1, reports });
    }
    let is_placed = |effect: &Effect| matches!(effect, Effect::Append(Fact::Placed { .. }));
    let mut effects = Vec::new();
    while !effects.last().is_some_and(is_placed) {
        effects.push(core.poll_effect().expect("a task is placed"));
    }
    let later = cluster.now.after(Duration::from_secs(1));
    let tasks = run(1, 1, 2, 1);
    let reports = vec![Report::Succeeded { tasks, usage: Usage::default() }];
    core.handle(later, Input::Reports { node: NodeId(1), first: 2, reports });
    effects.extend(std::iter::from_fn(|| core.poll_effect()));

    assert_eq!(assigned(&effects), [(1, run(1, 1, 2, 1)), (2, run(1, 1, 3, 1))]);
    let told = facts(&effects);
    let placed = told.iter().filter(|fact| matches!(fact, Fact::Placed { .. }));
    assert!(placed.clone().count() == 2 && placed.clone().all(|fact| fact.at() == cluster.now));
    journal.extend(told);
    let mut second = Core::new(core.config().clone());
    journal.iter().for_each(|fact| second.apply(fact));
    assert!(
        second.snapshot() == core.snapshot(),
        "facts are in the order in which they were made so"
    );
}
