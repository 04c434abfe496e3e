//! Jobs of which results are known from before.

use bytes::Bytes;
use wrun_core::{Answer, Fact, Remembered};
use wrun_protocol::scheduling::{Dependency, DependsOn};
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::JobState;
use wrun_protocol::{JobId, JobSpec};

use crate::cluster::{Cluster, answer, assigned, ended, facts, job, run};

fn cached(count: u32) -> JobSpec {
    let mut spec = job(count);
    spec.scheduling.cache = true;
    spec
}

fn known(index: u32) -> Remembered {
    let output = Some(Content::Inline(Bytes::from(vec![index as u8; 1000])));
    Remembered { index, from: JobId(77), output, log: None }
}

#[test]
fn a_job_all_of_whose_results_are_known_ends_as_it_is_submitted_without_a_node() {
    for count in [1, 3] {
        let mut cluster = Cluster::new();
        let effects = cluster.submit_known(101, &cached(count), (0..count).map(known).collect());
        assert_eq!(answer(&effects), Ok(Answer::Submitted(JobId(1))));
        let ends_job = Some(JobState::Succeeded);
        let tasks = (0..count).map(known).collect();
        let (at, job) = (cluster.now, JobId(1));
        assert_eq!(facts(&effects)[1..], [Fact::Remembered { at, job, tasks, ends_job }]);
        assert_eq!(ended(&effects)[0].job, JobId(1));
        assert!(!cluster.is_live(1));
    }
}

#[test]
fn only_what_is_not_known_runs() {
    let mut cluster = Cluster::new();
    cluster.node(1, 8);
    let effects = cluster.submit_known(101, &cached(4), vec![known(0), known(2)]);
    assert!(ended(&effects).is_empty());
    assert_eq!(assigned(&effects), [(1, run(1, 1, 1, 1)), (1, run(1, 1, 3, 1))]);
    assert_eq!(cluster.counts(1), [0, 2, 2, 0, 0]);
    cluster.succeed(1, run(1, 1, 1, 1));
    let effects = cluster.succeed(1, run(1, 1, 3, 1));
    assert!(facts(&effects).iter().any(|fact| matches!(fact,
        Fact::Succeeded { tasks, .. } if tasks[0].ends_job == Some(JobState::Succeeded))));
    assert!(!cluster.is_live(1));
}

#[test]
fn a_repeated_submission_is_the_same_job() {
    let mut cluster = Cluster::new();
    cluster.submit_known(101, &cached(2), vec![known(0)]);
    let effects = cluster.submit_known(101, &cached(2), vec![known(0), known(1)]);
    assert_eq!(answer(&effects), Ok(Answer::Submitted(JobId(1))));
    assert!(facts(&effects).is_empty());
}

#[test]
fn many_results_are_recorded_by_several_facts_the_last_of_which_ends_the_job() {
    let mut cluster = Cluster::new();
    let effects = cluster.submit_known(101, &cached(1000), (0..1000).map(known).collect());
    let parts: Vec<_> = facts(&effects)
        .into_iter()
        .filter_map(|fact| match fact {
            Fact::Remembered { tasks, ends_job, .. } => Some((tasks.len(), ends_job.is_some())),
            _ => None,
        })
        .collect();
    assert!(parts.len() > 1, "{parts:?}");
    assert_eq!(parts.iter().map(|(tasks, _)| tasks).sum::<usize>(), 1000);
    assert_eq!(parts.iter().map(|(_, ends)| *ends).filter(|ends| *ends).count(), 1);
    assert!(parts.last().unwrap().1);
}

#[test]
fn who_waits_for_a_job_whose_results_are_known_waits_no_longer() {
    let mut cluster = Cluster::new();
    cluster.node(1, 8);
    cluster.submit_known(101, &cached(2), vec![known(0)]);
    let mut after = job(2);
    after.scheduling.depends_on = vec![Dependency { job: JobId(1), on: DependsOn::EachSuccess }];
    let effects = cluster.submit(&after);
    assert_eq!(assigned(&effects), [(1, run(2, 1, 0, 1))], "its counterpart is known");
    let effects = cluster.succeed(1, run(1, 1, 1, 1));
    assert_eq!(assigned(&effects), [(1, run(2, 1, 1, 1))]);
}

#[test]
fn a_job_whose_results_are_known_counts_as_started() {
    let mut cluster = Cluster::new();
    cluster.submit_known(101, &cached(2), vec![known(0)]);
    let mut after = job(1);
    after.scheduling.depends_on = vec![Dependency { job: JobId(1), on: DependsOn::Start }];
    cluster.submit(&after);
    let effects = cluster.node(1, 8);
    assert!(assigned(&effects).contains(&(1, run(2, 1, 0, 1))));
}

#[test]
fn a_restart_knows_what_was_remembered() {
    let mut cluster = Cluster::new();
    cluster.node(1, 2);
    cluster.submit_known(101, &cached(5), vec![known(1), known(4)]);
    cluster.submit_known(102, &cached(1), vec![known(0)]);
    let recovered = Cluster::recovered(&cluster.journal);
    assert_eq!(recovered.job_summary(JobId(1)).unwrap().tasks.succeeded, 2);
    assert!(recovered.job_summary(JobId(2)).is_none(), "it has ended");
}
