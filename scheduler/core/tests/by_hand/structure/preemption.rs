use std::collections::BTreeSet;

use wrun_core::{Effect, Input, RequestId};
use wrun_protocol::policy::{Partition, Policy, Qos};
use wrun_protocol::task::{Content, Usage};
use wrun_protocol::wire::user::ErrorCode;
use wrun_protocol::wire::worker::{Report, ToWorker};
use wrun_protocol::{JobId, JobSpec, NodeId};

use crate::cluster::{Cluster, answer, assigned, job, run, told_to_stop};

const SECOND: u64 = 1000;

fn class(name: &str, priority: u32, preempts: &[&str]) -> Qos {
    let preempts = preempts.iter().map(|name| (*name).to_owned()).collect();
    Qos { name: name.to_owned(), priority, preempts, ..Qos::default() }
}

/// One node of two CPUs and 8 GiB; class `urgent` may pre-empt class `bulk`.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    let mut policy = Policy { qos: Vec::new(), ..Policy::default() };
    policy.qos = vec![class("bulk", 1, &[]), class("urgent", 10, &["bulk"]), class("calm", 5, &[])];
    policy.preemption.notice_ms = 30 * SECOND;
    policy.preemption.max_frozen_ms = 3600 * SECOND;
    cluster.handle(Input::SetPolicy { request: RequestId(1), policy: Box::new(policy) });
    cluster.node(1, 2);
    cluster
}

/// Tasks that take halves of a CPU.
fn of(class: &str, count: u32, halves: u32, gib: u64) -> JobSpec {
    let mut spec = job(count);
    spec.resources.cpu_milli = halves * 500;
    spec.resources.memory = gib << 30;
    spec.scheduling.qos = Some(class.to_owned());
    spec
}

/// Indices of a job's tasks that were frozen or let go on.
fn froze(effects: &[Effect], wanted: bool) -> BTreeSet<u32> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Send { message: ToWorker::Freeze { attempt, frozen }, .. } => {
            (*frozen == wanted).then_some(attempt.task.index)
        }
        _ => None,
    });
    told.collect()
}

fn notices(effects: &[Effect]) -> Vec<(u64, u32, u64)> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Send { message: ToWorker::Preempt { attempt, notice_ms }, .. } => {
            Some((attempt.task.job.0, attempt.task.index, *notice_ms))
        }
        _ => None,
    });
    told.collect()
}

fn preempted(cluster: &mut Cluster, job: u64, index: u32, attempt: u32) -> Vec<Effect> {
    let attempt = JobId(job).task(index).attempt(attempt);
    cluster.report(1, Report::Preempted { attempt, usage: Usage::default() })
}

#[test]
fn where_only_cpu_lacks_tasks_are_frozen_and_go_on_afterwards() {
    let mut cluster = cluster();
    cluster.submit(&of("bulk", 5, 1, 1));
    let effects = cluster.submit(&of("urgent", 1, 2, 1));
    assert_eq!(froze(&effects, true), BTreeSet::from([0, 1]), "two, and no more");
    assert_eq!(assigned(&effects), [(1, run(2, 1, 0, 1))]);
    let freeze = effects
        .iter()
        .position(|e| matches!(e, Effect::Send { message: ToWorker::Freeze { .. }, .. }));
    let assign =
        effects.iter().position(|e| matches!(e, Effect::Send { message: ToWorker::Assign(_), .. }));
    assert!(freeze < assign, "the worker has the room when it is told to start");
    let used = cluster.core.node(NodeId(1)).unwrap().used;
    assert_eq!((used.cpu_milli, used.memory), (2000, 5 << 30), "memory stays theirs");
    let effects = cluster.succeed(1, run(2, 1, 0, 1));
    assert_eq!(froze(&effects, false), BTreeSet::from([0, 1]), "before the task that waits");
    assert_eq!(assigned(&effects), []);
    assert_eq!(cluster.counts(1), [1, 4, 0, 0, 0]);
}

#[test]
fn a_frozen_task_may_end_or_be_cancelled_like_any_other() {
    let mut cluster = cluster();
    cluster.submit(&of("bulk", 4, 1, 1));
    cluster.submit(&of("urgent", 1, 2, 1));
    // It had ended before it was told to freeze.
    cluster.succeed(1, run(1, 1, 0, 1));
    assert_eq!(cluster.core.node(NodeId(1)).unwrap().used.cpu_milli, 2000);
    cluster.cancel(1, wrun_protocol::wire::policy::TaskSet::All);
    assert_eq!(cluster.core.node(NodeId(1)).unwrap().used.cpu_milli, 1000);
}

#[test]
fn what_is_frozen_for_others_is_not_let_go_on_by_hand() {
    let mut cluster = cluster();
    cluster.submit(&of("bulk", 4, 1, 1));
    cluster.submit(&of("urgent", 1, 1, 1));
    let (request, task) = (RequestId(1), JobId(1).task(0));
    let effects = cluster.handle(Input::Freeze { request, task, frozen: false });
    assert_eq!(answer(&effects).unwrap_err().code, ErrorCode::Conflict);
}

#[test]
fn the_one_task_that_is_large_enough_is_taken_before_two_small_ones() {
    let mut cluster = cluster();
    cluster.submit(&of("bulk", 2, 1, 1));
    cluster.submit(&of("bulk", 1, 2, 1));
    let effects = cluster.submit(&of("urgent", 1, 2, 1));
    assert_eq!(froze(&effects, true).len(), 1);
    assert_eq!(assigned(&effects), [(1, run(3, 1, 0, 1))]);
}

#[test]
fn what_is_kept_for_a_job_that_is_cancelled_is_given_to_others_at_once() {
    let mut cluster = cluster();
    cluster.submit(&of("bulk", 1, 1, 6));
    let effects = cluster.submit(&of("urgent", 1, 1, 4));
    assert_eq!(notices(&effects), [(1, 0, 30 * SECOND)]);
    let effects = cluster.submit(&of("calm", 1, 1, 1));
    assert_eq!(assigned(&effects), [], "what is free is kept for the urgent one");
    let effects = cluster.cancel(2, wrun_protocol::wire::policy::TaskSet::All);
    assert_eq!(assigned(&effects), [(1, run(3, 1, 0, 1))]);
    let effects = preempted(&mut cluster, 1, 0, 1);
    assert_eq!(assigned(&effects), [(1, run(1, 2, 0, 1))], "and so is what was cleared");
}

#[test]
fn where_memory_lacks_the_task_that_loses_least_is_told_to_save_a_checkpoint() {
    let mut cluster = cluster();
    cluster.submit(&of("bulk", 1, 1, 4));
    cluster.wait(10 * SECOND);
    cluster.submit(&of("bulk", 1, 1, 4));
    cluster.wait(10 * SECOND);
    let effects = cluster.submit(&of("urgent", 1, 1, 3));
    assert_eq!(notices(&effects), [(2, 0, 30 * SECOND)], "it has run for less long");
    assert_eq!(froze(&effects, true), BTreeSet::new(), "memory would stay its own");
    let effects = cluster.submit(&of("bulk", 1, 1, 1));
    assert_eq!(assigned(&effects), []);
    let attempt = JobId(2).task(0).attempt(1);
    let content = Content::Inline(vec![1].into());
    cluster.report(1, Report::Checkpoint { attempt, content: content.clone() });
    let effects = preempted(&mut cluster, 2, 0, 1);
    assert_eq!(assigned(&effects)[0], (1, run(3, 1, 0, 1)));
    let effects = cluster.succeed(1, run(3, 1, 0, 1));
    let resume = ToWorker::Resume { attempt: JobId(2).task(0).attempt(2), checkpoint: content };
    assert!(effects.contains(&Effect::Send { node: NodeId(1), message: resume }));
}

#[test]
fn a_job_says_what_may_be_done_to_it() {
    let mut cluster = cluster();
    let mut only_requeue = of("bulk", 2, 1, 1);
    only_requeue.scheduling.preemptible.freeze = false;
    only_requeue.scheduling.preemptible.checkpoint = false;
    cluster.submit(&only_requeue);
    let mut nothing = of("bulk", 2, 1, 1);
    nothing.scheduling.preemptible =
        wrun_protocol::scheduling::Preemptible { freeze: false, checkpoint: false, requeue: false };
    cluster.submit(&nothing);
    let effects = cluster.submit(&of("urgent", 3, 1, 1));
    assert_eq!(notices(&effects), [(1, 0, 0), (1, 1, 0)], "at once, and the others never");
}

#[test]
fn classes_without_the_right_displace_nobody() {
    let mut cluster = cluster();
    cluster.submit(&of("bulk", 4, 1, 1));
    let effects = cluster.submit(&of("calm", 1, 1, 1));
    assert!(froze(&effects, true).is_empty() && told_to_stop(&effects).is_empty());
    cluster.cancel(1, wrun_protocol::wire::policy::TaskSet::All);
    cluster.submit(&of("calm", 4, 1, 1));
    let effects = cluster.submit(&of("urgent", 1, 1, 1));
    assert!(froze(&effects, true).is_empty() && told_to_stop(&effects).is_empty());
}

#[test]
fn a_partition_may_displace_those_of_lower_priority() {
    let mut cluster = Cluster::new();
    let partition = |name: &str, priority, preempts| Partition {
        name: name.to_owned(),
        priority,
        preempts,
        ..Partition::default()
    };
    let policy = Policy {
        partitions: vec![partition("batch", 1, false), partition("now", 2, true)],
        ..Policy::default()
    };
    cluster.handle(Input::SetPolicy { request: RequestId(1), policy: Box::new(policy) });
    cluster.node(1, 4);
    cluster.submit(&job(4));
    let mut spec = job(1);
    spec.scheduling.partition = Some("now".to_owned());
    assert_eq!(froze(&cluster.submit(&spec), true).len(), 1);
}

#[test]
fn a_task_that_was_frozen_for_too_long_is_put_back() {
    let mut cluster = cluster();
    cluster.submit(&of("bulk", 4, 1, 1));
    cluster.submit(&of("urgent", 1, 1, 1));
    let until = cluster.now.0 + 3600 * SECOND;
    cluster.wait(3599 * SECOND);
    assert_eq!(cluster.counts(1), [0, 4, 0, 0, 0]);
    assert!(cluster.core.poll_timeout().is_some_and(|at| at.0 <= until));
    cluster.now.0 = until;
    assert_eq!(told_to_stop(&cluster.handle(Input::Timeout)), [(1, 0)]);
    preempted(&mut cluster, 1, 0, 1);
    assert_eq!(cluster.counts(1), [1, 3, 0, 0, 0], "it waits for a place of its own");
}

#[test]
fn a_node_that_is_being_cleared_is_kept_for_whom_it_is_cleared() {
    let mut cluster = cluster();
    cluster.submit(&of("bulk", 4, 1, 2));
    let effects = cluster.submit(&of("urgent", 1, 2, 4));
    assert_eq!(notices(&effects).len(), 2);
    cluster.submit(&of("bulk", 3, 1, 1));
    let (job, first, _) = notices(&effects)[0];
    assert_eq!(assigned(&preempted(&mut cluster, job, first, 1)), [], "half the room");
    let (job, second, _) = notices(&effects)[1];
    let effects = preempted(&mut cluster, job, second, 1);
    assert_eq!(assigned(&effects)[0], (1, run(2, 1, 0, 1)));
}

#[test]
fn a_worker_that_comes_back_is_told_again_who_is_frozen() {
    let mut cluster = cluster();
    cluster.submit(&of("bulk", 4, 1, 1));
    cluster.submit(&of("urgent", 1, 1, 1));
    cluster.disconnect(1);
    let effects = cluster.reconnect(1, vec![run(1, 1, 0, 4), run(2, 1, 0, 1)]);
    assert_eq!(froze(&effects, true), BTreeSet::from([0]));
    cluster.succeed(1, run(2, 1, 0, 1));
    cluster.disconnect(1);
    let effects = cluster.reconnect(1, vec![run(1, 1, 0, 4)]);
    assert_eq!(froze(&effects, false), BTreeSet::from([0]));
}
