use wrun_core::{Answer, Fact, Input, PendingReason, Prior};
use wrun_protocol::scheduling::{Dependency, DependsOn};
use wrun_protocol::task::{Failure, Outcome};
use wrun_protocol::wire::policy::TaskSet;
use wrun_protocol::wire::user::{ErrorCode, JobState};
use wrun_protocol::{JobId, JobSpec};

use crate::cluster::{Cluster, answer, assigned, ended, facts, job, range, ranges, run};

fn after(count: u32, on: &[(u64, DependsOn)]) -> JobSpec {
    let mut spec = job(count);
    let wanted = on.iter().map(|(job, on)| Dependency { job: JobId(*job), on: *on });
    spec.scheduling.depends_on = wanted.collect();
    spec
}

fn prior(job: u64, state: JobState, count: u32) -> Prior {
    Prior { job: JobId(job), state, started: true, count, succeeded: Vec::new() }
}

/// A cluster of four CPUs on which job 1, of two tasks, runs.
fn running() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.node(1, 4);
    cluster.submit(&job(2));
    cluster
}

#[test]
fn a_job_waits_for_the_success_of_another() {
    let mut cluster = running();
    assert_eq!(assigned(&cluster.submit(&after(1, &[(1, DependsOn::Success)]))), []);
    let reason = cluster.core.pending_reason(JobId(2)).unwrap();
    let on = Dependency { job: JobId(1), on: DependsOn::Success };
    assert_eq!(reason, PendingReason::Dependency { on });
    assert_eq!(reason.to_string(), "it waits for the success of job 1");
    assert_eq!(assigned(&cluster.succeed(1, run(1, 1, 0, 1))), []);
    assert_eq!(assigned(&cluster.succeed(1, run(1, 1, 1, 1))), [(1, run(2, 1, 0, 1))]);
}

#[test]
fn a_wait_that_would_never_end_cancels_the_job_with_what_it_waited_for() {
    let mut cluster = running();
    cluster.submit(&after(1, &[(1, DependsOn::Success)]));
    cluster.submit(&after(1, &[(2, DependsOn::End)]));
    cluster.submit(&after(1, &[(3, DependsOn::Failure)]));
    let effects = cluster.handle(Input::Cancel { request: wrun_core::RequestId(1), job: JobId(1) });
    let on = Dependency { job: JobId(1), on: DependsOn::Success };
    let ended = ended(&effects);
    assert_eq!(ended.iter().map(|job| job.job.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(ended[1].failure, Some(Outcome::Failed(Failure::Dependency { on })));
    assert_eq!(assigned(&effects), [(1, run(3, 1, 0, 1))], "2 has ended: 3 runs");
    assert!(cluster.is_live(4));
    cluster.succeed(1, run(3, 1, 0, 1));
    assert!(!cluster.is_live(4), "3 did not fail");
}

#[test]
fn start_and_failure_and_end_come_about_when_they_do() {
    let mut cluster = Cluster::new();
    cluster.submit(&job(2));
    for on in [DependsOn::Start, DependsOn::Failure, DependsOn::End] {
        cluster.submit(&after(1, &[(1, on)]));
    }
    let effects = cluster.node(1, 4);
    assert_eq!(assigned(&effects), [(1, run(1, 1, 0, 2)), (1, run(2, 1, 0, 1))]);
    cluster.fail(1, 1, 0, 1);
    let effects = cluster.succeed(1, run(1, 1, 1, 1));
    assert_eq!(assigned(&effects), [(1, run(3, 1, 0, 1)), (1, run(4, 1, 0, 1))]);
}

#[test]
fn what_has_started_already_need_not_be_waited_for() {
    let mut cluster = running();
    assert_eq!(assigned(&cluster.submit(&after(1, &[(1, DependsOn::Start)]))).len(), 1);
}

#[test]
fn every_dependency_must_be_met() {
    let mut cluster = running();
    cluster.submit(&job(2));
    cluster.submit(&after(1, &[(1, DependsOn::Success), (2, DependsOn::End)]));
    assert_eq!(assigned(&cluster.succeed(1, run(1, 1, 0, 2))), []);
    assert_eq!(assigned(&cluster.succeed(1, run(2, 1, 0, 2))), [(1, run(3, 1, 0, 1))]);
}

#[test]
fn arrays_follow_each_other_task_by_task() {
    let mut cluster = Cluster::new();
    cluster.node(1, 4);
    cluster.submit(&job(6));
    cluster.submit(&after(6, &[(1, DependsOn::EachSuccess)]));
    assert_eq!(cluster.counts(2), [6, 0, 0, 0, 0]);
    let reason = cluster.core.pending_reason(JobId(2)).unwrap().to_string();
    assert_eq!(reason, "it waits for the success of the task of the same index of job 1");
    // 0 to 3 run, 4 and 5 wait and are older.
    assert_eq!(assigned(&cluster.succeed(1, run(1, 1, 2, 1))), [(1, run(1, 1, 4, 1))]);
    assert_eq!(assigned(&cluster.succeed(1, run(1, 1, 0, 1))), [(1, run(1, 1, 5, 1))]);
    assert_eq!(assigned(&cluster.succeed(1, run(1, 1, 1, 1))), [(1, run(2, 1, 0, 1))]);
    let effects = cluster.fail(1, 1, 3, 1);
    assert_eq!(assigned(&effects), [(1, run(2, 1, 1, 1))]);
    assert!(facts(&effects).iter().any(|fact| matches!(fact,
        Fact::TasksCancelled { job: JobId(2), tasks, .. } if *tasks == [range(3, 1)])));
    cluster.succeed(1, run(1, 1, 4, 2));
    assert_eq!(cluster.counts(2), [1, 4, 0, 0, 1]);
}

#[test]
fn a_task_waits_for_its_like_in_several_arrays() {
    let mut cluster = Cluster::new();
    cluster.node(1, 8);
    cluster.submit(&job(2));
    cluster.submit(&job(2));
    cluster.submit(&after(2, &[(1, DependsOn::EachSuccess), (2, DependsOn::EachSuccess)]));
    assert_eq!(assigned(&cluster.succeed(1, run(1, 1, 1, 1))), []);
    assert_eq!(assigned(&cluster.succeed(1, run(2, 1, 0, 1))), []);
    assert_eq!(assigned(&cluster.succeed(1, run(2, 1, 1, 1))), [(1, run(3, 1, 1, 1))]);
    assert_eq!(assigned(&cluster.succeed(1, run(1, 1, 0, 1))), [(1, run(3, 1, 0, 1))]);
}

#[test]
fn cancelling_part_of_an_array_cancels_what_waits_for_that_part() {
    let mut cluster = Cluster::new();
    cluster.submit(&job(4));
    cluster.submit(&after(4, &[(1, DependsOn::EachSuccess)]));
    cluster.cancel(1, ranges(&[(1, 2)]));
    assert_eq!(cluster.counts(2), [2, 0, 0, 0, 2]);
    cluster.cancel(1, TaskSet::All);
    assert!(!cluster.is_live(2));
}

#[test]
fn task_by_task_needs_arrays_of_one_length() {
    let mut cluster = running();
    let effects = cluster.submit(&after(3, &[(1, DependsOn::EachSuccess)]));
    assert_eq!(answer(&effects).unwrap_err().code, ErrorCode::InvalidInput);
}

#[test]
fn jobs_that_have_ended_are_judged_by_what_the_history_knows() {
    let mut cluster = running();
    cluster.succeed(1, run(1, 1, 0, 2));
    let succeeded = || vec![prior(1, JobState::Succeeded, 2)];
    let effects = cluster.submit_after("ann", &after(1, &[(1, DependsOn::Success)]), succeeded());
    assert_eq!(assigned(&effects), [(1, run(2, 1, 0, 1))]);
    let effects = cluster.submit_after("ann", &after(1, &[(1, DependsOn::Failure)]), succeeded());
    let error = answer(&effects).unwrap_err();
    assert_eq!(error.code, ErrorCode::Unsatisfiable);
    assert_eq!(
        error.message,
        "depends_on: the failure of job 1 will never be: that job has succeeded"
    );
    let effects = cluster.submit(&after(1, &[(1, DependsOn::End)]));
    assert_eq!(answer(&effects).unwrap_err().code, ErrorCode::Unavailable, "not yet in history");
    let effects = cluster.submit(&after(1, &[(77, DependsOn::End)]));
    assert_eq!(answer(&effects).unwrap_err().code, ErrorCode::NotFound);
}

#[test]
fn an_array_follows_the_part_that_succeeded_of_one_that_has_ended() {
    let mut cluster = running();
    let mut half = prior(1, JobState::Failed, 4);
    half.succeeded = vec![range(1, 2)];
    cluster.cancel(1, TaskSet::All);
    let effects =
        cluster.submit_after("ann", &after(4, &[(1, DependsOn::EachSuccess)]), vec![half]);
    assert_eq!(answer(&effects), Ok(Answer::Submitted(JobId(2))));
    assert_eq!(assigned(&effects), [(1, run(2, 1, 1, 2))]);
    assert_eq!(cluster.counts(2), [0, 2, 0, 0, 2]);
}

#[test]
fn jobs_of_others_cannot_be_waited_for() {
    let mut cluster = running();
    let effects = cluster.submit_after("bob", &after(1, &[(1, DependsOn::Start)]), Vec::new());
    assert_eq!(answer(&effects).unwrap_err().code, ErrorCode::NotFound);
}

#[test]
fn a_restart_between_two_facts_leaves_nobody_waiting_for_ever() {
    let mut cluster = running();
    cluster.submit(&after(1, &[(1, DependsOn::Success)]));
    cluster.submit(&after(2, &[(1, DependsOn::EachSuccess)]));
    cluster.submit(&after(1, &[(1, DependsOn::Failure)]));
    cluster.succeed(1, run(1, 1, 0, 2));
    let journal = cluster.journal.clone();
    let end = |fact: &Fact| matches!(fact, Fact::Succeeded { .. });
    let end = journal.iter().position(end).unwrap();
    for cut in end + 1..=journal.len() {
        let mut core = Cluster::recovered(&journal[..cut]);
        core.start(cluster.now);
        while core.poll_effect().is_some() {}
        let live: Vec<bool> = (2..=4).map(|job| core.job_tenant(JobId(job)).is_some()).collect();
        assert_eq!(live, [true, true, false], "cut after {cut} facts");
        assert!(core.pending_reason(JobId(2)).is_none_or(|reason| !waits(&reason)));
        assert!(core.pending_reason(JobId(3)).is_none_or(|reason| !waits(&reason)));
    }
}

fn waits(reason: &PendingReason) -> bool {
    matches!(reason, PendingReason::Dependency { .. })
}
