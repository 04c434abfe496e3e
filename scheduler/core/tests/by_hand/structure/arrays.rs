use wrun_core::fact::RequeueCause;
use wrun_core::{Answer, Effect, Fact, PendingReason};
use wrun_protocol::task::Usage;
use wrun_protocol::wire::policy::TaskSet;
use wrun_protocol::wire::user::{ErrorCode, JobState, TaskState};
use wrun_protocol::wire::worker::{Report, ToWorker};
use wrun_protocol::{JobId, JobSpec, NodeId};

use crate::cluster::{Cluster, answer, assigned, facts, job, range, ranges, run, stopped};

fn bounded(count: u32, most: u32) -> JobSpec {
    let mut spec = job(count);
    spec.scheduling.max_running = Some(most);
    spec
}

#[test]
fn no_more_tasks_of_a_job_run_at_once_than_it_says() {
    let mut cluster = Cluster::new();
    cluster.node(1, 8);
    assert_eq!(assigned(&cluster.submit(&bounded(10, 3))), [(1, run(1, 1, 0, 3))]);
    let reason = cluster.core.pending_reason(wrun_protocol::JobId(1));
    assert_eq!(reason, Some(PendingReason::MaxRunning { most: 3 }));
    assert_eq!(assigned(&cluster.succeed(1, run(1, 1, 1, 1))), [(1, run(1, 1, 3, 1))]);
    assert_eq!(assigned(&cluster.succeed(1, run(1, 1, 0, 1))), [(1, run(1, 1, 4, 1))]);
    assert_eq!(assigned(&cluster.submit(&job(6))), [(1, run(2, 1, 0, 5))], "others use the rest");
}

#[test]
fn a_bounded_job_does_not_fill_a_second_node_either() {
    let mut cluster = Cluster::new();
    cluster.submit(&bounded(10, 3));
    assert_eq!(assigned(&cluster.node(1, 2)), [(1, run(1, 1, 0, 2))]);
    assert_eq!(assigned(&cluster.node(2, 2)), [(2, run(1, 1, 2, 1))]);
    assert_eq!(cluster.counts(1), [7, 3, 0, 0, 0]);
}

#[test]
fn a_task_in_back_off_leaves_its_place_to_the_next() {
    let mut cluster = Cluster::new();
    cluster.node(1, 8);
    let mut spec = bounded(4, 2);
    spec.retry.retries = 1;
    cluster.submit(&spec);
    assert_eq!(assigned(&cluster.fail(1, 1, 0, 1)), [(1, run(1, 1, 2, 1))]);
    cluster.succeed(1, run(1, 1, 1, 2));
    cluster.now.0 += 1000;
    assert_eq!(assigned(&cluster.handle(wrun_core::Input::Timeout)), [(1, run(1, 2, 0, 1))]);
}

#[test]
fn part_of_an_array_is_cancelled_wherever_its_tasks_are() {
    let mut cluster = Cluster::new();
    cluster.node(1, 4);
    cluster.submit(&job(10));
    cluster.succeed(1, run(1, 1, 0, 1));
    // Of these, 0 has ended, 1 to 4 run, 5 and 6 wait.
    let effects = cluster.cancel(1, ranges(&[(0, 3), (4, 3)]));
    assert_eq!(answer(&effects), Ok(Answer::Done));
    assert_eq!(stopped(&effects), [(1, run(1, 1, 1, 2)), (1, run(1, 1, 4, 1))]);
    assert!(facts(&effects).iter().any(|fact| matches!(fact,
        Fact::TasksCancelled { tasks, ends_job: None, .. } if *tasks == [range(1, 2), range(4, 3)])));
    assert_eq!(assigned(&effects), [(1, run(1, 1, 7, 3))], "the others go on");
    assert_eq!(cluster.counts(1), [0, 4, 1, 0, 5]);
    let listed = |state| -> Vec<u32> {
        cluster.core.tasks(JobId(1), 2, 4, state).iter().map(|task| task.index).collect()
    };
    assert_eq!(listed(None), [2, 3, 4, 5], "those cancelled are listed among the others");
    assert_eq!(listed(Some(TaskState::Cancelled)), [2, 4, 5, 6]);
    let again = cluster.cancel(1, ranges(&[(1, 2)]));
    assert_eq!(answer(&again).unwrap_err().code, ErrorCode::Conflict);
}

#[test]
fn cancelling_the_last_tasks_ends_the_job_as_cancelled_unless_one_failed() {
    let mut cluster = Cluster::new();
    cluster.node(1, 2);
    for (job_id, ended) in [(1, JobState::Cancelled), (2, JobState::Failed)] {
        cluster.submit(&job(2));
        match ended {
            JobState::Failed => cluster.fail(1, job_id, 0, 1),
            _ => cluster.succeed(1, run(job_id, 1, 0, 1)),
        };
        let effects = cluster.cancel(job_id, ranges(&[(1, 1)]));
        assert!(facts(&effects).iter().any(|fact| matches!(fact,
            Fact::TasksCancelled { ends_job, .. } if *ends_job == Some(ended))));
        assert!(!cluster.is_live(job_id));
    }
}

#[test]
fn a_job_whose_other_tasks_were_cancelled_ends_as_cancelled() {
    let mut cluster = Cluster::new();
    cluster.node(1, 2);
    cluster.submit(&job(3));
    cluster.cancel(1, ranges(&[(2, 1)]));
    let effects = cluster.succeed(1, run(1, 1, 0, 2));
    assert!(facts(&effects).iter().any(|fact| matches!(fact,
        Fact::Succeeded { tasks, .. } if tasks[0].ends_job == Some(JobState::Cancelled))));
}

#[test]
fn cancelling_all_tasks_cancels_the_job() {
    let mut cluster = Cluster::new();
    cluster.submit(&job(3));
    cluster.submit(&job(1));
    cluster.cancel(1, TaskSet::All);
    cluster.cancel(2, ranges(&[(0, 1)]));
    assert!(!cluster.is_live(1) && !cluster.is_live(2));
}

#[test]
fn tasks_that_a_job_does_not_have_are_refused() {
    let mut cluster = Cluster::new();
    cluster.submit(&job(3));
    for wrong in [&[(2, 2)][..], &[(1, 1), (0, 1)], &[(0, 2), (1, 1)], &[(0, 0)]] {
        let error = answer(&cluster.cancel(1, ranges(wrong))).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidInput, "{wrong:?}");
        assert!(error.message.contains("from 0 to 2"), "{error}");
    }
    assert_eq!(answer(&cluster.cancel(9, TaskSet::All)).unwrap_err().code, ErrorCode::NotFound);
}

#[test]
fn what_failed_or_was_cancelled_runs_again_with_a_new_attempt() {
    let mut cluster = Cluster::new();
    cluster.node(1, 4);
    cluster.submit(&job(4));
    cluster.fail(1, 1, 0, 1);
    cluster.cancel(1, ranges(&[(1, 1)]));
    cluster.succeed(1, run(1, 1, 2, 1));
    assert_eq!(cluster.counts(1), [0, 1, 1, 1, 1]);
    let effects = cluster.retry(1, ranges(&[(0, 3)]));
    assert_eq!(assigned(&effects), [(1, run(1, 2, 0, 2))], "what succeeded stays");
    assert_eq!(cluster.counts(1), [0, 3, 1, 0, 0]);
    assert_eq!(cluster.core.job(wrun_protocol::JobId(1)).unwrap().failure, None);
    let again = cluster.retry(1, TaskSet::All);
    assert_eq!(answer(&again).unwrap_err().code, ErrorCode::Conflict);
    cluster.succeed(1, run(1, 2, 0, 2));
    cluster.succeed(1, run(1, 1, 3, 1));
    let ended = answer(&cluster.retry(1, TaskSet::All)).unwrap_err();
    assert!(ended.message.contains("submit it anew"), "{ended}");
}

#[test]
fn a_notice_that_may_not_have_arrived_is_given_again() {
    let mut cluster = Cluster::new();
    cluster.node(1, 1);
    cluster.submit(&job(1));
    cluster.disconnect(1);
    assert_eq!(answer(&cluster.requeue(1, TaskSet::All)), Ok(Answer::Done));
    let effects = cluster.reconnect(1, vec![run(1, 1, 0, 1)]);
    let attempt = JobId(1).task(0).attempt(1);
    let notice = ToWorker::Preempt { attempt, notice_ms: 0 };
    assert!(effects.contains(&Effect::Send { node: NodeId(1), message: notice }));
}

#[test]
fn a_requeued_task_is_stopped_and_placed_again_and_its_old_attempt_is_refused() {
    let mut cluster = Cluster::new();
    cluster.node(1, 2);
    cluster.submit(&job(3));
    let attempt = JobId(1).task(1).attempt(1);
    let effects = cluster.requeue(1, ranges(&[(1, 2)]));
    let notice = ToWorker::Preempt { attempt, notice_ms: 0 };
    assert!(effects.contains(&Effect::Send { node: NodeId(1), message: notice }));
    assert_eq!(assigned(&effects), [], "not before its worker says that it has stopped");
    let effects = cluster.report(1, Report::Preempted { attempt, usage: Usage::default() });
    assert!(
        facts(&effects)
            .iter()
            .any(|fact| matches!(fact, Fact::Requeued { cause: RequeueCause::Requested, .. }))
    );
    assert_eq!(assigned(&effects), [(1, run(1, 2, 1, 1))], "in order of index");
    cluster.succeed(1, run(1, 1, 1, 1));
    assert_eq!(cluster.counts(1), [1, 2, 0, 0, 0], "the stale attempt counts for nothing");
    let none = cluster.requeue(1, ranges(&[(2, 1)]));
    assert_eq!(answer(&none).unwrap_err().code, ErrorCode::Conflict);
}
