use wrun_core::{Fact, Input};
use wrun_protocol::task::{Outcome, Usage};
use wrun_protocol::wire::user::JobState;
use wrun_protocol::wire::worker::{Report, ToWorker};
use wrun_protocol::{JobId, JobSpec, NodeId};

use crate::cluster::{
    Cluster, answer, assigned, ended, facts, job, ranges, run, told_members, told_to_stop,
};

fn gang(count: u32) -> JobSpec {
    let mut spec = job(count);
    spec.scheduling.gang = true;
    spec
}

/// A gang of four on two nodes, tasks 0 and 1 on the first, with room for it again.
fn placed(spec: &JobSpec) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.node(1, 2);
    cluster.node(2, 2);
    let effects = cluster.submit(spec);
    assert_eq!(assigned(&effects), [(1, run(1, 1, 0, 2)), (2, run(1, 1, 2, 2))]);
    cluster
}

fn preempted(
    cluster: &mut Cluster,
    node: u64,
    index: u32,
    attempt: u32,
) -> Vec<(u64, u32, u32, u32)> {
    let attempt = JobId(1).task(index).attempt(attempt);
    let effects = cluster.report(node, Report::Preempted { attempt, usage: Usage::default() });
    let runs = assigned(&effects).into_iter();
    runs.map(|(node, run)| (node, run.attempt, run.tasks.first, run.tasks.count)).collect()
}

#[test]
fn a_gang_that_loses_a_task_begins_anew_as_a_whole() {
    let mut spec = gang(4);
    spec.retry.retries = 1;
    spec.retry.backoff_ms = 0;
    let mut cluster = placed(&spec);
    cluster.succeed(1, run(1, 1, 1, 1));
    assert_eq!(cluster.counts(1), [0, 3, 1, 0, 0]);
    let effects = cluster.fail(1, 1, 0, 1);
    assert_eq!(told_to_stop(&effects), [(2, 2), (2, 3)], "the others on node 2");
    assert_eq!(cluster.counts(1), [2, 2, 0, 0, 0], "what ended well begins anew too");
    cluster.now.0 += 1000;
    assert_eq!(assigned(&cluster.handle(Input::Timeout)), [], "not while others stop");
    assert_eq!(preempted(&mut cluster, 2, 2, 1), []);
    assert_eq!(preempted(&mut cluster, 2, 3, 1), [(1, 2, 0, 2), (2, 2, 2, 2)]);
}

#[test]
fn a_gang_whose_task_fails_for_good_fails() {
    let mut cluster = placed(&gang(4));
    let effects = cluster.fail(1, 1, 0, 1);
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
    let mut cluster = placed(&spec);
    let mut effects = Vec::new();
    for (node, index) in [(1, 0), (1, 1), (2, 2), (2, 3)] {
        effects = cluster.fail(node, 1, index, 1);
        assert!(cluster.is_live(1));
    }
    assert_eq!(assigned(&effects).len(), 2, "all four, on two nodes");
    cluster.fail(1, 1, 0, 2);
    assert!(!cluster.is_live(1), "no retry is left");
}

#[test]
fn a_lost_node_costs_the_gang_one_requeue() {
    let mut spec = gang(4);
    spec.retry.requeues = 1;
    let mut cluster = placed(&spec);
    let effects = cluster.handle(Input::NodeGone { node: NodeId(2) });
    assert_eq!(told_to_stop(&effects), [(1, 0), (1, 1)]);
    cluster.node(3, 2);
    assert_eq!(preempted(&mut cluster, 1, 0, 1), []);
    assert_eq!(preempted(&mut cluster, 1, 1, 1), [(1, 2, 0, 2), (3, 2, 2, 2)]);
    cluster.handle(Input::NodeGone { node: NodeId(3) });
    assert!(!cluster.is_live(1), "no requeue is left");
}

#[test]
fn part_of_a_gang_cannot_be_cancelled() {
    let mut cluster = placed(&gang(4));
    let effects = cluster.cancel(1, ranges(&[(0, 1)]));
    assert!(answer(&effects).unwrap_err().message.contains("cancel the job"));
}

#[test]
fn a_gang_is_placed_by_one_fact_and_no_restart_finds_a_part_of_it() {
    let cluster = placed(&gang(4));
    let of_gang = |fact: &&Fact| matches!(fact, Fact::Placed { .. } | Fact::GangPlaced { .. });
    let facts: Vec<&Fact> = cluster.journal.iter().filter(of_gang).collect();
    let [Fact::GangPlaced { parts, .. }] = facts.as_slice() else { panic!("{facts:?}") };
    let parts = parts.iter().map(|(node, run, _)| (node.0, run.tasks.first, run.attempt));
    assert_eq!(parts.collect::<Vec<_>>(), [(1, 0, 1), (2, 2, 1)]);
}

#[test]
fn a_journal_that_ends_amid_a_gang_begins_it_anew() {
    let cluster = placed(&gang(4));
    let mut journal = cluster.journal.clone();
    let Some(Fact::GangPlaced { at, parts }) = journal.pop() else { panic!("{journal:?}") };
    // As they were recorded before a gang had a fact of its own.
    let (node, run, _) = parts[0].clone();
    journal.push(Fact::Placed { at, node, tasks: vec![run] });
    let mut core = Cluster::recovered(&journal);
    core.start(cluster.now);
    let effects: Vec<_> = std::iter::from_fn(|| core.poll_effect()).collect();
    assert_eq!(facts(&effects).len(), 2, "two notices: {effects:?}");
}

#[test]
fn a_node_whose_task_waits_is_told_which_tasks_of_its_gang_have_not_ended() {
    let mut spec = gang(4);
    spec.retry.retries = 1;
    let mut cluster = placed(&spec);
    let ask = |cluster: &mut Cluster, node| {
        let asked = Input::MembersAsked { node: NodeId(node), job: JobId(1) };
        told_members(&cluster.handle(asked))
    };
    assert_eq!(ask(&mut cluster, 1), [], "it was told when they were placed");
    cluster.succeed(2, run(1, 1, 3, 1));
    assert_eq!(ask(&mut cluster, 1), [(1, vec![0, 1, 2])]);
    cluster.node(3, 2);
    assert_eq!(ask(&mut cluster, 3), [], "nothing of the gang is there");
    cluster.fail(1, 1, 0, 1);
    assert_eq!(ask(&mut cluster, 2), [], "it begins anew, with all of them");
}
