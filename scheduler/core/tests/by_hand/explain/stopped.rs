//! Tasks that are stopped short for the sake of others, and those for whose sake.

use wrun_core::{Input, RequestId};
use wrun_protocol::policy::{Policy, Qos};
use wrun_protocol::task::Usage;
use wrun_protocol::wire::policy::TaskSet;
use wrun_protocol::wire::user::TaskState;
use wrun_protocol::wire::worker::{Assignment, Report};
use wrun_protocol::{IndexRange, JobId, JobSpec};

use super::reasons::expect;
use crate::cluster::{Cluster, GIB, Machine, limited};

/// Class `urgent` may pre-empt class `bulk`.
fn classes() -> Cluster {
    let class = |name: &str, priority, preempts: &[&str]| Qos {
        name: name.to_owned(),
        priority,
        preempts: preempts.iter().map(|name| (*name).to_owned()).collect(),
        ..Qos::default()
    };
    let qos = vec![class("bulk", 1, &[]), class("urgent", 2, &["bulk"])];
    let mut cluster = Cluster::under(Policy { qos, ..Policy::default() });
    cluster.join(1, Machine::of(2).memory(64 * GIB));
    cluster
}

fn placed(job: JobId, count: u32) -> Assignment {
    Assignment { job, attempt: 1, tasks: IndexRange { first: 0, count } }
}

fn of(class: &str, count: u32, gib: u64) -> JobSpec {
    let mut spec = limited(count, 1000);
    spec.resources.memory = gib << 30;
    spec.scheduling.qos = Some(class.to_owned());
    spec
}

#[test]
fn a_frozen_task_is_told_for_whom_and_since_when() {
    let mut cluster = classes();
    let bulk = cluster.lasting("ann", 1000, &of("bulk", 2, 1));
    let urgent = cluster.lasting("bob", 10, &of("urgent", 1, 1));
    assert_eq!(cluster.core.pending_reason(urgent), None);
    expect(&cluster, bulk, &[("frozen", None)]);
    let text = cluster.core.pending_reasons(bulk)[0].to_string();
    assert_eq!(text, format!("1 task is frozen since 1970-01-12 13:46:40 UTC for job {urgent}"));
}

/// Indices of the job's tasks in that state.
fn tasks_in(cluster: &Cluster, job: JobId, state: TaskState) -> Vec<u32> {
    let rows = cluster.core.tasks(job, 0, 100, Some(state));
    assert!(rows.iter().all(|row| row.state == state));
    rows.iter().map(|row| row.index).collect()
}

#[test]
fn tasks_that_stand_still_or_will_be_stopped_are_shown_as_such() {
    let mut cluster = classes();
    let bulk = cluster.lasting("ann", 1000, &of("bulk", 2, 1));
    cluster.report(1, Report::Started(placed(bulk, 2)));
    assert_eq!(tasks_in(&cluster, bulk, TaskState::Running), [0, 1]);
    let urgent = cluster.lasting("bob", 10, &of("urgent", 1, 1));
    assert_eq!(tasks_in(&cluster, bulk, TaskState::Frozen).len(), 1);
    assert_eq!(tasks_in(&cluster, bulk, TaskState::Running).len(), 1);
    assert_eq!(cluster.core.tasks(bulk, 0, 100, None).len(), 2);
    cluster.handle(Input::Requeue { request: RequestId(1), job: urgent, tasks: TaskSet::All });
    assert_eq!(tasks_in(&cluster, urgent, TaskState::Stopping), [0]);
    assert_eq!(tasks_in(&cluster, urgent, TaskState::Assigned), []);
}

#[test]
fn what_is_left_of_a_node_is_kept_for_its_frozen_tasks() {
    let mut cluster = classes();
    let half = |class| {
        let mut spec = of(class, 1, 1);
        spec.resources.cpu_milli = 500;
        spec
    };
    cluster.lasting("ann", 1000, &of("bulk", 2, 1));
    cluster.lasting("bob", 1000, &half("urgent"));
    let small = cluster.lasting("ann", 10, &half("bulk"));
    expect(&cluster, small, &[("frozen-first", Some(1))]);
}

#[test]
fn who_is_cleared_away_is_told_for_whom_and_who_waits_that_room_is_made() {
    let mut cluster = classes();
    let bulk = cluster.lasting("ann", 1000, &of("bulk", 2, 20));
    let urgent = cluster.lasting("bob", 10, &of("urgent", 1, 60));
    expect(&cluster, bulk, &[("notice", None)]);
    let text = cluster.core.pending_reasons(bulk)[0].to_string();
    assert_eq!(
        text,
        format!("2 tasks are stopped by 1970-01-12 13:47:10 UTC and put back, for job {urgent}")
    );
    expect(&cluster, urgent, &[("making-room", None), ("full", Some(1))]);
    assert_eq!(
        cluster.core.pending_reasons(urgent)[0].to_string(),
        "room is made for it: 2 tasks were told to stop"
    );
    // One is gone: what it had is kept for whom it was cleared.
    let attempt = bulk.task(0).attempt(1);
    cluster.report(1, Report::Preempted { attempt, usage: Usage::default() });
    let other = cluster.lasting("ann", 10, &of("bulk", 1, 1));
    expect(&cluster, other, &[("cleared", Some(1)), ("behind", None)]);
}

#[test]
fn tasks_that_a_user_wants_back_are_told_so() {
    let mut cluster = classes();
    let job = cluster.lasting("ann", 1000, &of("bulk", 2, 1));
    cluster.handle(Input::Requeue { request: RequestId(1), job, tasks: TaskSet::All });
    let text = cluster.core.pending_reasons(job)[0].to_string();
    assert!(text.ends_with("put back, as a user wants"), "{text}");
}
