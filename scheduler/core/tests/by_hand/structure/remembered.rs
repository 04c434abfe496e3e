//! Jobs of which results are known from before.

use bytes::Bytes;
use wrun_core::{Answer, Core, Effect, Fact, Input, PendingReason, Remembered, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::schedule::{Missed, Overlap, Schedule};
use wrun_protocol::scheduling::{Dependency, DependsOn};
use wrun_protocol::task::Content;
use wrun_protocol::wire::policy::JobChange;
use wrun_protocol::wire::user::JobState;
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{IndexRange, JobId, JobSpec, Timestamp};

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
        assert!(looks_up(&effects).is_empty());
        assert_eq!(ended(&effects)[0].job, JobId(1));
        assert!(!cluster.is_live(1));
    }
}

/// Jobs that are to be looked up.
fn looks_up(effects: &[Effect]) -> Vec<u64> {
    let job = |effect: &Effect| match effect {
        Effect::LookUp(job) => Some(job.0),
        _ => None,
    };
    effects.iter().filter_map(job).collect()
}

fn unlooked(cluster: &Cluster, job: u64) -> Vec<IndexRange> {
    cluster.core.unlooked(JobId(job)).map(|unlooked| unlooked.tasks).unwrap_or_default()
}

/// A user holds or releases the first job.
fn hold(cluster: &mut Cluster, hold: bool) -> Vec<Effect> {
    let change = JobChange::Hold(hold);
    cluster.handle(Input::Change { request: RequestId(1), job: JobId(1), change })
}

/// A minute passes.
fn later(cluster: &mut Cluster) -> Vec<Effect> {
    cluster.now = Timestamp(cluster.now.0 + 61_000);
    cluster.handle(Input::Timeout)
}

fn tasks(first: u32, count: u32) -> IndexRange {
    IndexRange { first, count }
}

#[test]
fn a_job_that_was_held_is_looked_up_when_it_is_released() {
    for count in [1, 3] {
        let mut cluster = Cluster::new();
        cluster.node(1, 8);
        let mut spec = cached(count);
        spec.scheduling.hold = true;
        assert!(looks_up(&cluster.submit(&spec)).is_empty(), "what may be known later counts");
        assert_eq!(unlooked(&cluster, 1), Vec::<IndexRange>::new());
        let effects = hold(&mut cluster, false);
        assert_eq!(looks_up(&effects), [1]);
        assert!(assigned(&effects).is_empty(), "it does not run meanwhile");
        assert_eq!(cluster.core.pending_reason(JobId(1)), Some(PendingReason::Results));
        assert_eq!(unlooked(&cluster, 1), [tasks(0, count)]);
        let effects = cluster.looked_up(1, &[tasks(0, count)], (0..count).map(known).collect());
        assert_eq!(ended(&effects)[0].job, JobId(1));
        assert!(assigned(&effects).is_empty() && !cluster.is_live(1));
    }
}

#[test]
fn what_is_not_known_runs_once_it_was_looked_up() {
    let mut cluster = Cluster::new();
    cluster.node(1, 8);
    let mut spec = cached(3);
    spec.scheduling.hold = true;
    cluster.submit(&spec);
    hold(&mut cluster, false);
    let effects = cluster.looked_up(1, &[tasks(0, 3)], vec![known(1)]);
    assert_eq!(assigned(&effects), [(1, run(1, 1, 0, 1)), (1, run(1, 1, 2, 1))]);
    assert!(looks_up(&effects).is_empty(), "once is enough");
    cluster.succeed(1, run(1, 1, 0, 1));
    cluster.succeed(1, run(1, 1, 2, 1));
    assert!(!cluster.is_live(1));
}

#[test]
fn what_is_kept_back_again_meanwhile_is_looked_up_anew() {
    let mut cluster = Cluster::new();
    cluster.node(1, 8);
    let mut spec = cached(1);
    spec.scheduling.hold = true;
    cluster.submit(&spec);
    hold(&mut cluster, false);
    hold(&mut cluster, true);
    let effects = cluster.looked_up(1, &[tasks(0, 1)], vec![known(0)]);
    assert!(facts(&effects).is_empty() && cluster.is_live(1), "a user holds it");
    let effects = hold(&mut cluster, false);
    assert_eq!(looks_up(&effects), [1]);
    cluster.handle(Input::Cancel { request: RequestId(1), job: JobId(1) });
    let effects = cluster.looked_up(1, &[tasks(0, 1)], vec![known(0)]);
    assert!(facts(&effects).is_empty(), "it was cancelled before the answer came");
}

#[test]
fn a_job_that_begins_later_is_looked_up_when_its_time_has_come() {
    let mut cluster = Cluster::new();
    cluster.node(1, 8);
    let mut spec = cached(1);
    spec.scheduling.begin = Some(Timestamp(cluster.now.0 + 60_000));
    assert!(looks_up(&cluster.submit(&spec)).is_empty());
    let effects = later(&mut cluster);
    assert_eq!((looks_up(&effects), assigned(&effects)), (vec![1], vec![]));
    let effects = cluster.looked_up(1, &[tasks(0, 1)], vec![]);
    assert_eq!(assigned(&effects), [(1, run(1, 1, 0, 1))]);
}

#[test]
fn a_job_that_waits_for_others_is_looked_up_when_they_have_come_that_far() {
    let mut cluster = Cluster::new();
    cluster.node(1, 8);
    cluster.submit(&job(1));
    let mut after = cached(1);
    after.scheduling.depends_on = vec![Dependency { job: JobId(1), on: DependsOn::Success }];
    assert!(looks_up(&cluster.submit(&after)).is_empty());
    let effects = cluster.succeed(1, run(1, 1, 0, 1));
    assert_eq!((looks_up(&effects), assigned(&effects)), (vec![2], vec![]));
    let effects = cluster.looked_up(2, &[tasks(0, 1)], vec![known(0)]);
    assert_eq!(ended(&effects)[0].job, JobId(2));
}

#[test]
fn elements_that_wait_for_others_are_looked_up_one_by_one() {
    let mut cluster = Cluster::new();
    cluster.node(1, 8);
    cluster.submit(&job(4));
    let mut after = cached(4);
    after.scheduling.depends_on = vec![Dependency { job: JobId(1), on: DependsOn::EachSuccess }];
    assert!(looks_up(&cluster.submit(&after)).is_empty());
    let effects = cluster.succeed(1, run(1, 1, 2, 1));
    assert_eq!((looks_up(&effects), assigned(&effects)), (vec![2], vec![]));
    assert_eq!(unlooked(&cluster, 2), [tasks(2, 1)]);
    // Another one comes while that is looked up.
    let effects = cluster.succeed(1, run(1, 1, 0, 1));
    assert!(looks_up(&effects).is_empty(), "one at a time");
    let effects = cluster.looked_up(2, &[tasks(2, 1)], vec![known(2)]);
    assert_eq!((looks_up(&effects), assigned(&effects)), (vec![2], vec![]));
    assert_eq!(cluster.counts(2), [3, 0, 1, 0, 0]);
    let recovered = Cluster::recovered(&cluster.journal);
    assert_eq!(recovered.unlooked(JobId(2)).unwrap().tasks, [tasks(0, 1)]);
    let effects = cluster.looked_up(2, &[tasks(0, 1)], vec![]);
    assert_eq!(assigned(&effects), [(1, run(2, 1, 0, 1))]);
    cluster.succeed(1, run(1, 1, 1, 1));
    cluster.succeed(1, run(1, 1, 3, 1));
    assert_eq!(unlooked(&cluster, 2), [tasks(1, 1), tasks(3, 1)]);
    let effects = cluster.looked_up(2, &[tasks(1, 1), tasks(3, 1)], vec![known(1), known(3)]);
    assert!(ended(&effects).is_empty(), "one still runs");
    let effects = cluster.succeed(1, run(2, 1, 0, 1));
    assert_eq!(ended(&effects)[0].job, JobId(2));
}

#[test]
fn the_run_of_a_schedule_is_looked_up() {
    let mut cluster = Cluster::new();
    cluster.node(1, 8);
    let schedule = Schedule {
        name: "often".to_owned(),
        cron: "* * * * *".parse().unwrap(),
        overlap: Overlap::Skip,
        missed: Missed::Skip,
        until: None,
        spec: EncodedSpec::encode(&cached(1)).unwrap(),
    };
    let (request, tenant, kind) = (RequestId(1), "ann".parse().unwrap(), ComponentKind::Command);
    let schedule = Box::new(schedule);
    cluster.ask(Input::AddSchedule { request, tenant, kind, schedule }).unwrap();
    cluster.now = cluster.core.poll_timeout().expect("a run is due");
    let effects = cluster.handle(Input::Timeout);
    assert_eq!((looks_up(&effects), assigned(&effects)), (vec![1], vec![]));
    let effects = cluster.looked_up(1, &[tasks(0, 1)], vec![known(0)]);
    assert_eq!(ended(&effects)[0].job, JobId(1));
}

#[test]
fn a_restart_asks_again_for_what_was_not_looked_up_and_for_nothing_else() {
    let mut cluster = Cluster::new();
    cluster.submit_known(101, &cached(1), vec![]);
    let mut held = cached(2);
    held.scheduling.hold = true;
    cluster.submit(&held);
    cluster.submit(&held);
    cluster.change(JobId(2), JobChange::Hold(false)).unwrap();
    let restored = Core::restore(Cluster::steady(), &cluster.core.snapshot()).unwrap();
    for mut core in [Cluster::recovered(&cluster.journal), restored] {
        core.start(cluster.now);
        let effects: Vec<_> = std::iter::from_fn(|| core.poll_effect()).collect();
        assert_eq!(looks_up(&effects), [2], "1 was looked up, 3 is held");
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
