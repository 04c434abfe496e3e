use wrun_core::{Fact, Input};
use wrun_protocol::task::{Outcome, Usage};
use wrun_protocol::wire::user::JobState;
use wrun_protocol::wire::worker::{Report, ToWorker};
use wrun_protocol::{JobId, JobSpec, NodeId};

use crate::env::{Env, answer, assigned, ended, env, facts, job, ranges, run, told_to_stop};

fn gang(count: u32) -> JobSpec {
    let mut spec = job(count);
    spec.scheduling.gang = true;
    spec
}

/// A gang of four on two nodes, tasks 0 and 1 on the first, with room for it again.
fn placed(spec: &JobSpec) -> Env {
    let mut env = env();
    env.node(1, 2);
    env.node(2, 2);
    let effects = env.submit(spec);
    assert_eq!(assigned(&effects), [(1, run(1, 1, 0, 2)), (2, run(1, 1, 2, 2))]);
    env
}

fn preempted(env: &mut Env, node: u64, index: u32, attempt: u32) -> Vec<(u64, u32, u32, u32)> {
    let attempt = JobId(1).task(index).attempt(attempt);
    let effects = env.report(node, Report::Preempted { attempt, usage: Usage::default() });
    let runs = assigned(&effects).into_iter();
    runs.map(|(node, run)| (node, run.attempt, run.tasks.first, run.tasks.count)).collect()
}

#[test]
fn a_gang_that_loses_a_task_begins_anew_as_a_whole() {
    let mut spec = gang(4);
    spec.retry.retries = 1;
    spec.retry.backoff_ms = 0;
    let mut env = placed(&spec);
    env.succeed(1, run(1, 1, 1, 1));
    assert_eq!(env.counts(1), [0, 3, 1, 0, 0]);
    let effects = env.fail(1, 1, 0, 1);
    assert_eq!(told_to_stop(&effects), [(2, 2), (2, 3)], "the others on node 2");
    assert_eq!(env.counts(1), [2, 2, 0, 0, 0], "what ended well begins anew too");
    env.now.0 += 1000;
    assert_eq!(assigned(&env.handle(Input::Timeout)), [], "not while others stop");
    assert_eq!(preempted(&mut env, 2, 2, 1), []);
    assert_eq!(preempted(&mut env, 2, 3, 1), [(1, 2, 0, 2), (2, 2, 2, 2)]);
}

#[test]
fn a_gang_whose_task_fails_for_good_fails() {
    let mut env = placed(&gang(4));
    let effects = env.fail(1, 1, 0, 1);
    assert!(
        facts(&effects).iter().any(|fact| matches!(
            fact,
            Fact::TasksCancelled { ends_job: Some(JobState::Failed), .. }
        ))
    );
    assert!(matches!(ended(&effects)[0].failure, Some(Outcome::Failed(_))));
    let stops = effects.iter().filter(|effect| {
        matches!(effect, wrun_core::Effect::Send { message: ToWorker::Stop(_), .. })
    });
    assert_eq!(stops.count(), 2);
}

#[test]
fn failures_at_once_count_once() {
    let mut spec = gang(4);
    spec.retry.retries = 1;
    spec.retry.backoff_ms = 0;
    let mut env = placed(&spec);
    let mut effects = Vec::new();
    for (node, index) in [(1, 0), (1, 1), (2, 2), (2, 3)] {
        effects = env.fail(node, 1, index, 1);
        assert!(env.is_live(1));
    }
    assert_eq!(assigned(&effects).len(), 2, "all four, on two nodes");
    env.fail(1, 1, 0, 2);
    assert!(!env.is_live(1), "no retry is left");
}

#[test]
fn a_lost_node_costs_the_gang_one_requeue() {
    let mut spec = gang(4);
    spec.retry.requeues = 1;
    let mut env = placed(&spec);
    let effects = env.handle(Input::NodeGone { node: NodeId(2) });
    assert_eq!(told_to_stop(&effects), [(1, 0), (1, 1)]);
    env.node(3, 2);
    assert_eq!(preempted(&mut env, 1, 0, 1), []);
    assert_eq!(preempted(&mut env, 1, 1, 1), [(1, 2, 0, 2), (3, 2, 2, 2)]);
    env.handle(Input::NodeGone { node: NodeId(3) });
    assert!(!env.is_live(1), "no requeue is left");
}

#[test]
fn part_of_a_gang_cannot_be_cancelled() {
    let mut env = placed(&gang(4));
    let effects = env.cancel(1, ranges(&[(0, 1)]));
    assert!(answer(&effects).unwrap_err().message.contains("cancel the job"));
}

#[test]
fn a_gang_is_placed_by_one_fact_and_no_restart_finds_a_part_of_it() {
    let env = placed(&gang(4));
    let of_gang = |fact: &&Fact| matches!(fact, Fact::Placed { .. } | Fact::GangPlaced { .. });
    let facts: Vec<&Fact> = env.journal.iter().filter(of_gang).collect();
    let [Fact::GangPlaced { parts, .. }] = facts.as_slice() else { panic!("{facts:?}") };
    let parts = parts.iter().map(|(node, run, _)| (node.0, run.tasks.first, run.attempt));
    assert_eq!(parts.collect::<Vec<_>>(), [(1, 0, 1), (2, 2, 1)]);
}

#[test]
fn a_journal_that_ends_amid_a_gang_begins_it_anew() {
    let env = placed(&gang(4));
    let mut journal = env.journal.clone();
    let Some(Fact::GangPlaced { at, parts }) = journal.pop() else { panic!("{journal:?}") };
    // As they were recorded before a gang had a fact of its own.
    let (node, run, _) = parts[0].clone();
    journal.push(Fact::Placed { at, node, tasks: vec![run] });
    let mut core = Env::recovered(&journal);
    core.start(env.now);
    let effects: Vec<_> = std::iter::from_fn(|| core.poll_effect()).collect();
    assert_eq!(facts(&effects).len(), 2, "two notices: {effects:?}");
}
