//! Jobs are held, wait for their time, come too late, and are changed while they live.

use std::collections::BTreeMap;

use wrun_core::{Answer, Effect, Input, PendingReason, RequestId};
use wrun_protocol::policy::{Partition, Policy, Qos, TenantPolicy};
use wrun_protocol::wire::policy::JobChange;
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::wire::worker::ToWorker;
use wrun_protocol::{JobId, JobSpec};

use crate::cluster::{Cluster, answer, job, limited, second};

impl Cluster {
    pub(crate) fn change(&mut self, job: JobId, change: JobChange) -> Result<Answer, RequestError> {
        answer(&self.handle(Input::Change { request: RequestId(9), job, change }))
    }
}

#[test]
fn a_held_job_waits_until_it_is_released() {
    let mut cluster = Cluster::new();
    cluster.node(1, 2);
    let mut spec = limited(3, 10);
    spec.scheduling.hold = true;
    let held = cluster.lasting("ann", 10, &spec);
    assert_eq!(cluster.core.pending_reason(held), Some(PendingReason::Held));
    cluster.at(5);
    assert_eq!(cluster.change(held, JobChange::Hold(false)), Ok(Answer::Done));
    assert_eq!(cluster.schedule(), [(5, 1, 2)]);
    // Held again, the two that were placed run on, and the third waits.
    assert_eq!(cluster.change(held, JobChange::Hold(true)), Ok(Answer::Done));
    cluster.at(20);
    assert_eq!(cluster.core.job_summary(held).unwrap().tasks.succeeded, 2);
    assert_eq!(cluster.core.pending_reason(held), Some(PendingReason::Held));
    cluster.change(held, JobChange::Hold(false)).unwrap();
    assert_eq!(cluster.schedule(), [(5, 1, 2), (20, 1, 1)]);
}

#[test]
fn a_job_starts_when_its_time_has_come_and_not_before() {
    let mut cluster = Cluster::new();
    cluster.node(1, 1);
    let mut spec = limited(1, 10);
    spec.scheduling.begin = Some(second(30));
    let later = cluster.lasting("ann", 10, &spec);
    assert_eq!(cluster.core.pending_reason(later), Some(PendingReason::Begin { at: second(30) }));
    cluster.lasting("ann", 10, &limited(1, 10));
    cluster.at(100);
    assert_eq!(cluster.schedule(), [(0, 2, 1), (30, 1, 1)]);
    let third = cluster.lasting("ann", 10, &spec);
    assert_eq!(cluster.schedule().len(), 3, "its time has passed");
    cluster.change(third, JobChange::Begin(Some(second(500)))).unwrap();
    assert_eq!(cluster.core.job_summary(third).unwrap().tasks.running, 1, "it runs on");
}

#[test]
fn what_could_not_end_before_its_deadline_is_not_started_and_is_cancelled_at_it() {
    let mut cluster = Cluster::new();
    cluster.node(1, 1);
    cluster.lasting("ann", 25, &limited(1, 25));
    let mut spec = limited(1, 10);
    spec.scheduling.deadline = Some(second(30));
    let late = cluster.lasting("ann", 10, &spec);
    cluster.lasting("ann", 10, &limited(1, 10));
    cluster.at(21);
    let deadline = second(30);
    assert_eq!(cluster.core.pending_reason(late), Some(PendingReason::Deadline { deadline }));
    cluster.at(29);
    assert_eq!(cluster.schedule(), [(0, 1, 1), (25, 3, 1)]);
    assert!(cluster.core.job(late).is_some());
    cluster.at(30);
    assert!(cluster.core.job(late).is_none());
    // With more time it would have gone first.
    let error = cluster.refused("ann", &spec);
    assert_eq!(error.code, ErrorCode::Unsatisfiable);
}

#[test]
fn a_later_deadline_or_a_shorter_limit_lets_a_job_start_after_all() {
    let mut cluster = Cluster::new();
    cluster.node(1, 1);
    cluster.lasting("ann", 25, &limited(1, 25));
    let mut spec = limited(1, 10);
    spec.scheduling.deadline = Some(second(30));
    let late = cluster.lasting("ann", 4, &spec);
    cluster.at(22);
    cluster.change(late, JobChange::TimeLimit(Some(5000))).unwrap();
    cluster.at(100);
    assert_eq!(cluster.schedule(), [(0, 1, 1), (25, 2, 1)]);
}

#[test]
fn a_running_task_is_cancelled_at_its_deadline() {
    let mut cluster = Cluster::new();
    cluster.node(1, 1);
    let mut spec = JobSpec { limits: wrun_protocol::job::TaskLimits::default(), ..job(1) };
    spec.scheduling.deadline = Some(second(30));
    let running = cluster.lasting("ann", 1000, &spec);
    cluster.at(29);
    assert!(cluster.core.job(running).is_some());
    cluster.at(30);
    assert!(cluster.core.job(running).is_none());
}

#[test]
fn a_change_of_priority_moves_a_job_in_the_queue_with_what_it_has_on_nodes() {
    let mut cluster = Cluster::new();
    cluster.node(1, 1);
    cluster.lasting("ann", 10, &limited(1, 10));
    cluster.lasting("ann", 10, &limited(1, 10));
    let third = cluster.lasting("ann", 10, &limited(3, 10));
    cluster.change(third, JobChange::Priority(2)).unwrap();
    assert_eq!(cluster.core.job_summary(third).unwrap().priority, 2);
    cluster.at(15);
    assert_eq!(cluster.order(), [1, 3]);
    // One of its tasks runs while the job is changed again, and falls behind.
    cluster.change(third, JobChange::Nice(100)).unwrap();
    cluster.change(third, JobChange::Priority(0)).unwrap();
    cluster.at(100);
    assert_eq!(cluster.order(), [1, 3, 2, 3, 3]);
    let rows = cluster.core.shares();
    assert_eq!(rows[0].cpu_milli_ms, 50_000 * 1000);
}

#[test]
fn a_changed_time_limit_is_what_later_attempts_are_told() {
    let mut cluster = Cluster::new();
    cluster.node(1, 1);
    let array = cluster.lasting("ann", 10, &limited(2, 60));
    cluster.change(array, JobChange::TimeLimit(Some(20_000))).unwrap();
    cluster.now = second(10);
    let tasks = wrun_protocol::wire::worker::Assignment {
        job: array,
        attempt: 1,
        tasks: wrun_protocol::IndexRange::one(0),
    };
    let usage = wrun_protocol::task::Usage::default();
    let report = wrun_protocol::wire::worker::Report::Succeeded { tasks, usage };
    let effects = cluster.report(1, report);
    let limits: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Send { message: ToWorker::Job { spec, .. }, .. } => {
                Some(spec.decode().unwrap().limits.wall_ms)
            }
            _ => None,
        })
        .collect();
    assert_eq!(limits, [Some(20_000)]);
}

fn partition(name: &str) -> Partition {
    Partition { name: name.to_owned(), ..Partition::default() }
}

fn policy() -> Policy {
    let short = Partition { max_time_ms: Some(60_000), default: true, ..partition("short") };
    let theirs = Partition { tenants: ["eve".parse().unwrap()].into(), ..partition("theirs") };
    let qos = |name: &str, priority| Qos { name: name.to_owned(), priority, ..Qos::default() };
    let eve = TenantPolicy {
        name: "eve".parse().unwrap(),
        parent: None,
        shares: 1,
        default_qos: Some("urgent".to_owned()),
        limits: wrun_protocol::policy::Limits::default(),
    };
    Policy {
        partitions: vec![partition("long"), short, theirs],
        qos: vec![qos("normal", 1), qos("urgent", 10)],
        tenants: vec![eve],
        ..Policy::default()
    }
}

fn wishing(partition: Option<&str>, qos: Option<&str>, limit: u64) -> JobSpec {
    let mut spec = limited(1, limit);
    spec.scheduling.partition = partition.map(ToOwned::to_owned);
    spec.scheduling.qos = qos.map(ToOwned::to_owned);
    spec
}

#[test]
fn what_the_policy_does_not_allow_is_refused_with_what_it_does() {
    let mut cluster = Cluster::under(policy());
    let cases = [
        (wishing(Some("lang"), None, 1), ErrorCode::InvalidInput, "`long`, `short`, `theirs`"),
        (wishing(Some("theirs"), None, 1), ErrorCode::Denied, "it may use `long`, `short`"),
        (wishing(None, None, 61), ErrorCode::LimitReached, "at most 60 s"),
        (wishing(None, Some("now"), 1), ErrorCode::InvalidInput, "`normal`, `urgent`"),
    ];
    for (spec, code, text) in cases {
        let error = cluster.refused("ann", &spec);
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(text), "{error}");
    }
    cluster.lasting("ann", 1, &wishing(Some("long"), Some("urgent"), 61));
    cluster.lasting("eve", 1, &wishing(Some("theirs"), None, 61));
}

#[test]
fn what_a_job_leaves_out_is_the_default_when_it_is_submitted() {
    let mut cluster = Cluster::under(policy());
    cluster.node(1, 1);
    let endless = JobSpec { limits: wrun_protocol::job::TaskLimits::default(), ..job(1) };
    let first = cluster.lasting("eve", 1, &endless);
    let second = cluster.lasting("ann", 1, &endless);
    let points = |cluster: &Cluster, job| {
        let detail = cluster.core.priority(job).unwrap();
        let points = detail.factors.iter().map(|factor| (factor.name.clone(), factor.points));
        points.collect::<BTreeMap<String, i64>>()
    };
    assert_eq!((points(&cluster, first)["qos"], points(&cluster, second)["qos"]), (100_000, 0));
    // The other partition becomes the default: those that were there stay.
    let mut other = policy();
    other.partitions[1].default = false;
    assert_eq!(cluster.set_policy(other), Ok(Answer::Done));
    let mut without = policy();
    without.partitions.remove(1);
    let error = cluster.set_policy(without).unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(error.message.contains("`short`"), "{error}");
    let error = cluster.change(second, JobChange::TimeLimit(Some(61_000))).unwrap_err();
    assert_eq!(error.code, ErrorCode::LimitReached);
    cluster.change(second, JobChange::Partition(Some("long".to_owned()))).unwrap();
    cluster.change(second, JobChange::TimeLimit(Some(61_000))).unwrap();
}

#[test]
fn an_ended_or_unknown_job_is_not_changed() {
    let mut cluster = Cluster::new();
    let error = cluster.change(JobId(7), JobChange::Hold(true)).unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    let live = cluster.lasting("ann", 1, &limited(1, 1));
    let error = cluster.change(live, JobChange::Nice(10_001)).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidInput);
}

#[test]
fn a_job_ends_with_the_priority_that_it_had_last() {
    let mut cluster = Cluster::new();
    let first = cluster.lasting("ann", 10, &limited(1, 10));
    cluster.change(first, JobChange::Priority(7)).unwrap();
    let effects = cluster.handle(Input::Cancel { request: RequestId(1), job: first });
    let ended = effects.iter().find_map(|effect| match effect {
        wrun_core::Effect::Ended(ended) => Some(ended.spec().decode().unwrap()),
        _ => None,
    });
    assert_eq!(ended.unwrap().priority, 7);
}
