//! Pre-emption by tasks with devices: those go that hold what is wanted, and no others.

use wrun_core::Effect;
use wrun_protocol::JobSpec;
use wrun_protocol::scheduling::Preemptible;
use wrun_protocol::task::Content;
use wrun_protocol::wire::worker::{Report, ToWorker};

use super::{granted, two_classes};
use crate::cluster::{Cluster, GIB, cards, gpu_job, job, started, within};

fn bulk(mut spec: JobSpec) -> JobSpec {
    spec.scheduling.qos = Some("bulk".to_owned());
    spec
}

fn urgent(mut spec: JobSpec) -> JobSpec {
    spec.scheduling.qos = Some("urgent".to_owned());
    spec
}

fn gang(mut spec: JobSpec, count: u32) -> JobSpec {
    spec.count = count;
    spec.scheduling.gang = true;
    spec
}

/// Jobs and tasks that were told to stop, and how long they have.
fn notices(effects: &[Effect]) -> Vec<(u64, u32, u64)> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Send { message: ToWorker::Preempt { attempt, notice_ms }, .. } => {
            Some((attempt.task.job.0, attempt.task.index, *notice_ms))
        }
        _ => None,
    });
    told.collect()
}

fn frozen(effects: &[Effect]) -> Vec<u64> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Send { message: ToWorker::Freeze { attempt, frozen: true }, .. } => {
            Some(attempt.task.job.0)
        }
        _ => None,
    });
    told.collect()
}

fn cluster(nodes: &[usize]) -> Cluster {
    let mut cluster = two_classes();
    for (number, with) in (1..).zip(nodes) {
        cluster.offering(number, 8, cards(*with, "A100"));
    }
    cluster
}

#[test]
fn the_holder_of_a_card_that_loses_least_goes_and_nobody_else() {
    let mut cluster = cluster(&[2]);
    cluster.queue(&within(bulk(gpu_job(1, 1000)), 1000));
    cluster.at(11).queue(&within(bulk(gpu_job(1, 1000)), 1000));
    cluster.at(21).queue(&within(bulk(job(1)), 1000));
    let effects = cluster.at(31).submit(&urgent(gpu_job(1, 1000)));
    assert_eq!(notices(&effects), [(2, 0, 30_000)], "the third lost less and has no card");
    assert!(frozen(&effects).is_empty(), "a frozen task keeps its card");
    let starts = started(&cluster.preempted(1, 2, 0, 1));
    assert_eq!((starts[0].1.job.0, starts[0].2.clone()), (4, granted(0, &[1])));
}

#[test]
fn one_whole_card_is_cleared_rather_than_shares_of_two() {
    let mut cluster = cluster(&[2]);
    cluster.queue(&within(bulk(gpu_job(1, 600)), 1000));
    cluster.queue(&within(bulk(gpu_job(1, 300)), 1000));
    cluster.queue(&within(bulk(gpu_job(1, 900)), 1000));
    let mut on: Vec<u16> = cluster.starts.iter().map(|start| start.grant.gpus[0]).collect();
    on.sort_unstable();
    assert_eq!(on, [0, 0, 1]);
    let effects = cluster.at(31).submit(&urgent(gpu_job(1, 1000)));
    let told: Vec<u64> = notices(&effects).into_iter().map(|(job, ..)| job).collect();
    assert!(told == [3] || told == [1, 2], "the tasks of one card: {told:?}");
}

#[test]
fn where_a_card_is_free_and_cpu_lacks_tasks_are_frozen() {
    let mut cluster = cluster(&[1]);
    cluster.queue(&within(bulk(job(8)), 1000));
    let effects = cluster.submit(&urgent(gpu_job(1, 1000)));
    assert_eq!((frozen(&effects), notices(&effects)), (vec![1], vec![]));
    assert_eq!(started(&effects)[0].2, granted(0, &[0]));
}

#[test]
fn a_task_with_a_card_goes_on_from_what_it_saved() {
    let mut cluster = cluster(&[1]);
    cluster.queue(&within(bulk(gpu_job(1, 1000)), 1000));
    let effects = cluster.submit(&urgent(gpu_job(1, 1000)));
    assert_eq!(notices(&effects), [(1, 0, 30_000)]);
    let attempt = wrun_protocol::JobId(1).task(0).attempt(1);
    let content = Content::Inline(vec![7].into());
    cluster.report(1, Report::Checkpoint { attempt, content: content.clone() });
    cluster.preempted(1, 1, 0, 1);
    let usage = wrun_protocol::task::Usage::default();
    let tasks = cluster.starts.last().unwrap().tasks;
    let effects = cluster.report(1, Report::Succeeded { tasks, usage });
    let attempt = wrun_protocol::JobId(1).task(0).attempt(2);
    let (grant, node) = (granted(0, &[0]), wrun_protocol::NodeId(1));
    let message = ToWorker::ResumeWith { attempt, checkpoint: content, grant };
    assert!(effects.contains(&Effect::Send { node, message }), "{effects:?}");
}

#[test]
fn a_gang_with_cards_disturbs_nobody_unless_all_of_it_finds_room() {
    let mut cluster = cluster(&[1, 1, 1]);
    cluster.queue(&within(bulk(gpu_job(1, 1000)), 1000));
    cluster.queue(&within(urgent(gpu_job(1, 1000)), 1000));
    // One card is free, one can be cleared.
    let effects = cluster.submit(&urgent(gang(gpu_job(1, 1000), 3)));
    assert!(notices(&effects).is_empty(), "the third never will");
    let effects = cluster.submit(&urgent(gang(gpu_job(1, 1000), 2)));
    assert_eq!(notices(&effects), [(1, 0, 30_000)]);
    cluster.queue(&within(bulk(gpu_job(1, 1000)), 10));
    assert_eq!(cluster.starts.len(), 2, "the free card is kept for the gang");
    let starts = started(&cluster.preempted(1, 1, 0, 1));
    assert_eq!(starts.iter().map(|start| start.1.job.0).collect::<Vec<_>>(), [4, 4]);
}

#[test]
fn a_gang_is_stopped_as_a_whole_with_the_time_to_save_what_each_has() {
    let mut cluster = cluster(&[1, 1]);
    let mut spec = bulk(gang(gpu_job(1, 1000), 2));
    spec.scheduling.preemptible = Preemptible { freeze: false, ..Preemptible::default() };
    cluster.queue(&within(spec, 1000));
    let effects = cluster.submit(&urgent(gpu_job(1, 1000)));
    assert_eq!(notices(&effects), [(1, 0, 30_000), (1, 1, 30_000)]);
    let nodes: Vec<u64> = cluster.starts.iter().map(|start| start.node).collect();
    let effects = cluster.preempted(nodes[0], 1, 0, 1);
    assert_eq!(notices(&effects), [], "the other keeps its time");
    cluster.preempted(nodes[1], 1, 1, 1);
    let waiting = cluster.core.job_summary(wrun_protocol::JobId(1)).unwrap().tasks.pending;
    assert_eq!(
        (waiting, cluster.starts.last().unwrap().tasks.job.0),
        (2, 2),
        "it waits as a whole"
    );
    let tasks = cluster.starts.last().unwrap().tasks;
    let node = cluster.starts.last().unwrap().node;
    let starts = started(&cluster.succeed(node, tasks));
    assert_eq!(starts.iter().map(|(_, run, _)| run.attempt).collect::<Vec<_>>(), [2, 2]);
}

#[test]
fn what_a_gang_leaves_on_other_nodes_is_used_before_anyone_else_is_stopped() {
    let mut cluster = cluster(&[1, 1, 1]);
    let memory = |spec: JobSpec| {
        let mut spec = spec;
        spec.resources.memory = 20 * GIB;
        spec
    };
    let mut spec = bulk(memory(gang(gpu_job(1, 1000), 2)));
    spec.scheduling.preemptible = Preemptible { freeze: false, ..Preemptible::default() };
    cluster.at(11).queue(&within(spec, 1000));
    cluster.queue(&within(bulk(memory(gpu_job(1, 1000))), 1000));
    // Two tasks: the single one loses least, then the gang must go for one more place.
    let effects = cluster.at(31).submit(&urgent(memory(gpu_job(3, 1000))));
    let mut told = notices(&effects);
    told.sort_unstable();
    assert_eq!(told, [(1, 0, 30_000), (1, 1, 30_000), (2, 0, 30_000)], "each once");
}
