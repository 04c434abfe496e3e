//! Reasons that have to do with time: what is promised, reserved, kept free, or not to start
//! yet.

use wrun_core::{Input, RequestId};
use wrun_protocol::job::TaskLimits;
use wrun_protocol::policy::{Backfill, Policy, QueueOrder};
use wrun_protocol::reservation::{Reservation, Reserved};
use wrun_protocol::task::{Failure, Outcome, Usage};
use wrun_protocol::wire::worker::{Report, TaskResult};
use wrun_protocol::{JobId, JobSpec};

use super::reasons::expect;
use crate::cluster::{Cluster, answer, job, limited, second};

/// First come, first served, with promises that are always up to date.
fn in_order(backfill: Backfill) -> Cluster {
    let policy = Policy { order: QueueOrder::Fcfs, backfill, ..Policy::default() };
    Cluster::under(policy)
}

fn wide(count: u32, limit: u64) -> JobSpec {
    let mut spec = limited(count, limit);
    spec.scheduling.gang = true;
    spec
}

fn reserve(cluster: &mut Cluster, name: &str, from: u64, to: u64, tenants: &[&str]) {
    let reservation = Box::new(Reservation {
        name: name.to_owned(),
        start: second(from),
        end: second(to),
        every_ms: None,
        what: Reserved::Nodes(["node-1".to_owned()].into()),
        tenants: tenants.iter().map(|tenant| tenant.parse().unwrap()).collect(),
    });
    let request = RequestId(1);
    answer(&cluster.handle(Input::Reserve { request, reservation })).unwrap();
}

fn texts(cluster: &Cluster, job: JobId) -> Vec<String> {
    cluster.core.pending_reasons(job).iter().map(ToString::to_string).collect()
}

fn advice(cluster: &Cluster, job: JobId) -> Vec<String> {
    cluster.core.explain(job).unwrap().advice
}

#[test]
fn a_job_that_would_be_in_the_way_of_a_promise_is_told_whose_and_for_how_long_it_may_run() {
    let mut cluster = in_order(Backfill::default());
    cluster.node(1, 4);
    cluster.lasting("ann", 2400, &wide(3, 2400));
    let head = cluster.lasting("bob", 50, &wide(4, 600));
    let long = cluster.lasting("ann", 7200, &limited(1, 7200));
    expect(&cluster, long, &[("too-long", None), ("behind", None), ("promised", Some(1))]);
    assert_eq!(
        texts(&cluster, long),
        [
            "it may take 2h (its time limit), and what it needs is free for 40m at most".to_owned(),
            format!("job {head} is considered first"),
            format!(
                "1 node (node-1) is promised to job {head} from 1970-01-12 14:26:40 UTC until 1970-01-12 14:36:40 UTC"
            ),
        ]
    );
    assert_eq!(
        advice(&cluster, long),
        [format!(
            "a time limit of at most 40m would let it start now on node-1: `wrun update {long} --time-limit 40m`"
        )]
    );
    // It does as it was advised.
    let change = wrun_protocol::wire::policy::JobChange::TimeLimit(Some(2_400_000));
    cluster.handle(Input::Change { request: RequestId(1), job: long, change });
    assert_eq!(cluster.core.pending_reason(long), None);
}

#[test]
fn a_job_without_a_limit_is_told_that_one_would_let_it_start() {
    let mut cluster = in_order(Backfill::default());
    cluster.node(1, 2);
    cluster.lasting("ann", 600, &limited(1, 600));
    cluster.lasting("bob", 50, &wide(2, 600));
    let endless = JobSpec { limits: TaskLimits::default(), ..job(1) };
    let waiting = cluster.lasting("ann", 60, &endless);
    assert_eq!(
        texts(&cluster, waiting)[0],
        "it may take 1h (the policy's default time; it has no time limit and no history), and what it needs is free for 10m at most"
    );
    assert!(
        advice(&cluster, waiting)[0].starts_with("a time limit of at most 10m would let it start")
    );
}

#[test]
fn a_window_that_is_ahead_or_open_is_named_but_not_for_whom_it_is() {
    let mut cluster = in_order(Backfill::default());
    cluster.node(1, 2);
    reserve(&mut cluster, "repair", 1800, 3600, &["bob"]);
    let long = cluster.lasting("ann", 7200, &limited(1, 7200));
    expect(&cluster, long, &[("too-long", None), ("reserved", Some(1))]);
    assert_eq!(
        texts(&cluster, long)[1],
        "1 node (node-1) is reserved as `repair` from 1970-01-12 14:16:40 UTC until 1970-01-12 14:46:40 UTC"
    );
    assert!(advice(&cluster, long)[0].contains("at most 30m"));
    cluster.at(1800);
    expect(&cluster, long, &[("reserved", Some(1))]);
}

#[test]
fn a_job_in_a_reservation_waits_for_its_window_on_its_nodes() {
    let mut cluster = in_order(Backfill::default());
    cluster.node(1, 2);
    cluster.node(2, 2);
    reserve(&mut cluster, "mine", 1800, 3600, &["ann"]);
    let mut spec = limited(1, 600);
    spec.scheduling.reservation = Some("mine".to_owned());
    let waiting = cluster.lasting("ann", 600, &spec);
    expect(
        &cluster,
        waiting,
        &[("window", None), ("outside-reservation", Some(1)), ("reserved", Some(1))],
    );
    assert_eq!(
        texts(&cluster, waiting)[0],
        "the window of reservation `mine` begins at 1970-01-12 14:16:40 UTC"
    );
}

#[test]
fn a_long_job_leaves_headroom_and_is_told_how_much() {
    let mut cluster = in_order(Backfill { headroom: 250_000, short_ms: 60_000, ..<_>::default() });
    cluster.node(1, 8);
    cluster.lasting("ann", 600, &limited(6, 600));
    let long = cluster.lasting("ann", 600, &limited(1, 700));
    expect(&cluster, long, &[("headroom", None)]);
    assert_eq!(texts(&cluster, long)[0], "tasks that run as long leave 2 CPU free for short ones");
    assert_eq!(
        advice(&cluster, long),
        [format!(
            "with a time limit of at most 1m it counts as short and may use them: `wrun update {long} --time-limit 1m`"
        )]
    );
}

#[test]
fn what_stands_deeper_than_a_pass_looks_is_told_so() {
    let mut cluster = in_order(Backfill { depth: 1, ..Backfill::default() });
    cluster.node(1, 2);
    cluster.lasting("ann", 600, &limited(1, 600));
    cluster.lasting("ann", 600, &wide(2, 600));
    cluster.lasting("ann", 600, &wide(2, 601));
    let short = cluster.lasting("ann", 60, &limited(1, 60));
    expect(&cluster, short, &[("fill-depth", None), ("behind", None)]);
}

#[test]
fn what_is_not_to_start_yet_is_told_until_when() {
    let mut cluster = in_order(Backfill::default());
    cluster.node(1, 1);
    let mut later = limited(1, 10);
    later.scheduling.begin = Some(second(30));
    let later = cluster.lasting("ann", 10, &later);
    expect(&cluster, later, &[("begin", None)]);
    assert_eq!(
        advice(&cluster, later),
        [format!("it may start now without its begin: `wrun update {later} --begin none`")]
    );
    cluster.lasting("ann", 100, &limited(1, 100));
    let mut late = limited(1, 60);
    late.scheduling.deadline = Some(second(70));
    let late = cluster.lasting("ann", 60, &late);
    cluster.at(20);
    expect(&cluster, late, &[("deadline", None), ("full", Some(1))]);
    assert_eq!(
        advice(&cluster, late),
        [format!(
            "a time limit of at most 50s would let it end in time: `wrun update {late} --time-limit 50s`"
        )]
    );
}

#[test]
fn a_failed_task_is_told_when_it_runs_again() {
    let mut cluster = in_order(Backfill::default());
    cluster.node(1, 1);
    let mut spec = limited(1, 10);
    spec.retry.retries = 1;
    let failing = cluster.lasting("ann", 10, &spec);
    let outcome = Outcome::Failed(Failure::Exit { code: 1 });
    let result = TaskResult { outcome, usage: Usage::default(), output: None, log: None };
    let attempt = failing.task(0).attempt(1);
    cluster.report(1, Report::Ended { attempt, result: Box::new(result) });
    expect(&cluster, failing, &[("back-off", None)]);
}
