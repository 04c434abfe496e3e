//! Jobs are held, wait for their time, come too late, and are changed while they live.

use std::collections::BTreeMap;
use std::time::Duration;

use wrun_core::{Answer, Effect, Input, PendingReason, RequestId};
use wrun_protocol::policy::{Partition, Policy, Qos, TenantPolicy};
use wrun_protocol::wire::policy::JobChange;
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::wire::worker::ToWorker;
use wrun_protocol::{JobId, JobSpec, Timestamp};

use crate::env::{BEGIN, Env, answer, env, job};

impl Env {
    pub(crate) fn change(&mut self, job: JobId, change: JobChange) -> Result<Answer, RequestError> {
        answer(&self.handle(Input::Change { request: RequestId(9), job, change }))
    }
}

fn second(seconds: u64) -> Timestamp {
    BEGIN.after(Duration::from_secs(seconds))
}

#[test]
fn a_held_job_waits_until_it_is_released() {
    let mut env = env();
    env.node(1, 2);
    let mut spec = job(3, 10);
    spec.scheduling.hold = true;
    let held = env.submit("ann", 10, &spec);
    assert_eq!(env.core.pending_reason(held), Some(PendingReason::Held));
    env.run_until(5);
    assert_eq!(env.change(held, JobChange::Hold(false)), Ok(Answer::Done));
    assert_eq!(env.starts, [(5, 1, 2)]);
    // Held again, the two that were placed run on, and the third waits.
    assert_eq!(env.change(held, JobChange::Hold(true)), Ok(Answer::Done));
    env.run_until(20);
    assert_eq!(env.core.job_summary(held).unwrap().tasks.succeeded, 2);
    assert_eq!(env.core.pending_reason(held), Some(PendingReason::Held));
    env.change(held, JobChange::Hold(false)).unwrap();
    assert_eq!(env.starts, [(5, 1, 2), (20, 1, 1)]);
}

#[test]
fn a_job_starts_when_its_time_has_come_and_not_before() {
    let mut env = env();
    env.node(1, 1);
    let mut spec = job(1, 10);
    spec.scheduling.begin = Some(second(30));
    let later = env.submit("ann", 10, &spec);
    assert_eq!(env.core.pending_reason(later), Some(PendingReason::Begin { at: second(30) }));
    env.submit("ann", 10, &job(1, 10));
    env.run_until(100);
    assert_eq!(env.starts, [(0, 2, 1), (30, 1, 1)]);
    let third = env.submit("ann", 10, &spec);
    assert_eq!(env.starts.len(), 3, "its time has passed");
    env.change(third, JobChange::Begin(Some(second(500)))).unwrap();
    assert_eq!(env.core.job_summary(third).unwrap().tasks.running, 1, "it runs on");
}

#[test]
fn what_could_not_end_before_its_deadline_is_not_started_and_is_cancelled_at_it() {
    let mut env = env();
    env.node(1, 1);
    env.submit("ann", 25, &job(1, 25));
    let mut spec = job(1, 10);
    spec.scheduling.deadline = Some(second(30));
    let late = env.submit("ann", 10, &spec);
    env.submit("ann", 10, &job(1, 10));
    env.run_until(21);
    let deadline = second(30);
    assert_eq!(env.core.pending_reason(late), Some(PendingReason::Deadline { deadline }));
    env.run_until(29);
    assert_eq!(env.starts, [(0, 1, 1), (25, 3, 1)]);
    assert!(env.core.job(late).is_some());
    env.run_until(30);
    assert!(env.core.job(late).is_none());
    // With more time it would have gone first.
    let error = env.try_submit("ann", 10, &spec).unwrap_err();
    assert_eq!(error.code, ErrorCode::Unsatisfiable);
}

#[test]
fn a_later_deadline_or_a_shorter_limit_lets_a_job_start_after_all() {
    let mut env = env();
    env.node(1, 1);
    env.submit("ann", 25, &job(1, 25));
    let mut spec = job(1, 10);
    spec.scheduling.deadline = Some(second(30));
    let late = env.submit("ann", 4, &spec);
    env.run_until(22);
    env.change(late, JobChange::TimeLimit(Some(5000))).unwrap();
    env.run_until(100);
    assert_eq!(env.starts, [(0, 1, 1), (25, 2, 1)]);
}

#[test]
fn a_running_task_is_cancelled_at_its_deadline() {
    let mut env = env();
    env.node(1, 1);
    let mut spec = JobSpec { limits: wrun_protocol::job::TaskLimits::default(), ..job(1, 1) };
    spec.scheduling.deadline = Some(second(30));
    let running = env.submit("ann", 1000, &spec);
    env.run_until(29);
    assert!(env.core.job(running).is_some());
    env.run_until(30);
    assert!(env.core.job(running).is_none());
}

#[test]
fn a_change_of_priority_moves_a_job_in_the_queue_with_what_it_has_on_nodes() {
    let mut env = env();
    env.node(1, 1);
    env.submit("ann", 10, &job(1, 10));
    env.submit("ann", 10, &job(1, 10));
    let third = env.submit("ann", 10, &job(3, 10));
    env.change(third, JobChange::Priority(2)).unwrap();
    assert_eq!(env.core.job_summary(third).unwrap().priority, 2);
    env.run_until(15);
    assert_eq!(env.order(), [1, 3]);
    // One of its tasks runs while the job is changed again, and falls behind.
    env.change(third, JobChange::Nice(100)).unwrap();
    env.change(third, JobChange::Priority(0)).unwrap();
    env.run_until(100);
    assert_eq!(env.order(), [1, 3, 2, 3, 3]);
    let rows = env.core.shares();
    assert_eq!(rows[0].cpu_milli_ms, 50_000 * 1000);
}

#[test]
fn a_changed_time_limit_is_what_later_attempts_are_told() {
    let mut env = env();
    env.node(1, 1);
    let array = env.submit("ann", 10, &job(2, 60));
    env.change(array, JobChange::TimeLimit(Some(20_000))).unwrap();
    env.now = second(10);
    let tasks = wrun_protocol::wire::worker::Assignment {
        job: array,
        attempt: 1,
        tasks: wrun_protocol::IndexRange::one(0),
    };
    let usage = wrun_protocol::task::Usage::default();
    let report = wrun_protocol::wire::worker::Report::Succeeded { tasks, usage };
    let effects = env.report(wrun_protocol::NodeId(1), report);
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
    let mut spec = job(1, limit);
    spec.scheduling.partition = partition.map(ToOwned::to_owned);
    spec.scheduling.qos = qos.map(ToOwned::to_owned);
    spec
}

#[test]
fn what_the_policy_does_not_allow_is_refused_with_what_it_does() {
    let mut env = Env::with(policy());
    let cases = [
        (wishing(Some("lang"), None, 1), ErrorCode::InvalidInput, "`long`, `short`, `theirs`"),
        (wishing(Some("theirs"), None, 1), ErrorCode::Denied, "it may use `long`, `short`"),
        (wishing(None, None, 61), ErrorCode::LimitReached, "at most 60 s"),
        (wishing(None, Some("now"), 1), ErrorCode::InvalidInput, "`normal`, `urgent`"),
    ];
    for (spec, code, text) in cases {
        let error = env.try_submit("ann", 1, &spec).unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(text), "{error}");
    }
    env.submit("ann", 1, &wishing(Some("long"), Some("urgent"), 61));
    env.submit("eve", 1, &wishing(Some("theirs"), None, 61));
}

#[test]
fn what_a_job_leaves_out_is_the_default_when_it_is_submitted() {
    let mut env = Env::with(policy());
    env.node(1, 1);
    let endless = JobSpec { limits: wrun_protocol::job::TaskLimits::default(), ..job(1, 1) };
    let first = env.submit("eve", 1, &endless);
    let second = env.submit("ann", 1, &endless);
    let points = |env: &Env, job| {
        let detail = env.core.priority(job).unwrap();
        let points = detail.factors.iter().map(|factor| (factor.name.clone(), factor.points));
        points.collect::<BTreeMap<String, i64>>()
    };
    assert_eq!((points(&env, first)["qos"], points(&env, second)["qos"]), (100_000, 0));
    // The other partition becomes the default: those that were there stay.
    let mut other = policy();
    other.partitions[1].default = false;
    assert_eq!(env.set_policy(other), Ok(Answer::Done));
    let mut without = policy();
    without.partitions.remove(1);
    let error = env.set_policy(without).unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(error.message.contains("`short`"), "{error}");
    let error = env.change(second, JobChange::TimeLimit(Some(61_000))).unwrap_err();
    assert_eq!(error.code, ErrorCode::LimitReached);
    env.change(second, JobChange::Partition(Some("long".to_owned()))).unwrap();
    env.change(second, JobChange::TimeLimit(Some(61_000))).unwrap();
}

#[test]
fn an_ended_or_unknown_job_is_not_changed() {
    let mut env = env();
    let error = env.change(JobId(7), JobChange::Hold(true)).unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    let live = env.submit("ann", 1, &job(1, 1));
    let error = env.change(live, JobChange::Nice(10_001)).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidInput);
}

#[test]
fn a_job_ends_with_the_priority_that_it_had_last() {
    let mut env = env();
    let first = env.submit("ann", 10, &job(1, 10));
    env.change(first, JobChange::Priority(7)).unwrap();
    let effects = env.handle(Input::Cancel { request: RequestId(1), job: first });
    let ended = effects.iter().find_map(|effect| match effect {
        wrun_core::Effect::Ended(ended) => Some(ended.spec.decode().unwrap()),
        _ => None,
    });
    assert_eq!(ended.unwrap().priority, 7);
}
