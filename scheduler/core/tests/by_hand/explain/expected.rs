//! When a job is expected to start, on what that rests, and that it comes true.

use wrun_core::views::forecast::{Expected, Forecast, Rests, Unknown};
use wrun_core::{Input, RequestId};
use wrun_protocol::job::TaskLimits;
use wrun_protocol::policy::{Backfill, Limits, Policy, QueueOrder, TenantPolicy};
use wrun_protocol::reservation::{Reservation, Reserved};
use wrun_protocol::scheduling::{Dependency, DependsOn, Gpu, GpuRequest, Offer};
use wrun_protocol::wire::policy::JobChange;
use wrun_protocol::{JobId, JobSpec};

use crate::cluster::{BEGIN, Cluster, answer, job, limited, second};

/// First come, first served.
fn in_order() -> Cluster {
    in_order_under(Policy::default())
}

fn in_order_under(policy: Policy) -> Cluster {
    Cluster::under(Policy { order: QueueOrder::Fcfs, ..policy })
}

fn endless() -> JobSpec {
    JobSpec { limits: TaskLimits::default(), ..job(1) }
}

fn forecast(cluster: &Cluster, job: JobId) -> Forecast {
    match cluster.core.expected_start(job) {
        Some(Expected::At(forecast)) => forecast,
        other => panic!("{other:?}"),
    }
}

/// In seconds since the begin.
fn starts(cluster: &Cluster, job: JobId) -> u64 {
    forecast(cluster, job).at.since(BEGIN).as_secs()
}

fn unknown(cluster: &Cluster, job: JobId) -> Unknown {
    match cluster.core.expected_start(job) {
        Some(Expected::Unknown(unknown)) => unknown,
        other => panic!("{other:?}"),
    }
}

#[test]
fn jobs_start_one_after_the_other_as_was_expected_of_each() {
    let mut cluster = in_order();
    cluster.node(1, 2);
    cluster.lasting("ann", 100, &limited(2, 100));
    let jobs: Vec<JobId> =
        [30, 50, 70, 20].map(|s| cluster.lasting("ann", s, &limited(1, s))).into();
    let expected: Vec<u64> = jobs.iter().map(|job| starts(&cluster, *job)).collect();
    assert_eq!(expected, [100, 100, 130, 150]);
    let rows = cluster.core.queue(10);
    let told: Vec<u64> =
        rows.iter().map(|row| row.expected.unwrap().since(BEGIN).as_secs()).collect();
    assert_eq!(told, expected, "the queue says the same");
    cluster.at(1000);
    let came: Vec<u64> = cluster.schedule().iter().skip(1).map(|(at, ..)| *at).collect();
    assert_eq!(came, expected, "and so it came");
}

#[test]
fn a_promise_is_told_as_one() {
    let mut cluster = in_order();
    cluster.node(1, 4);
    cluster.lasting("ann", 100, &limited(3, 100));
    let mut gang = limited(4, 10);
    gang.scheduling.gang = true;
    let head = cluster.lasting("ann", 10, &gang);
    let behind = cluster.lasting("ann", 200, &limited(1, 200));
    let promised = forecast(&cluster, head);
    assert_eq!((promised.at, promised.promised), (second(100), true));
    assert_eq!(
        promised.to_string(),
        "promised, by time limits, if nothing of higher priority arrives"
    );
    assert_eq!(starts(&cluster, behind), 110, "after what it must not delay");
}

#[test]
fn what_an_expectation_rests_on_is_its_weakest_part() {
    let mut cluster = in_order();
    cluster.node(1, 1);
    cluster.lasting("ann", 10, &endless());
    let waiting = cluster.lasting("ann", 10, &endless());
    let first = forecast(&cluster, waiting);
    assert_eq!((first.rests, first.at), (Rests::Default, second(3600)));
    assert!(
        first
            .to_string()
            .starts_with("taking tasks without time limit and history to need 1h, if nothing")
    );
    cluster.at(10);
    let limited = cluster.lasting("ann", 10, &limited(1, 10));
    // The cluster's tasks say that they took a second, whatever they took.
    let earlier = forecast(&cluster, limited);
    assert_eq!(earlier.rests, Rests::Earlier);
    assert!(earlier.to_string().starts_with("by how long earlier tasks took, "));
}

#[test]
fn what_runs_longer_than_expected_without_a_limit_leaves_all_open() {
    let mut cluster = in_order();
    cluster.node(1, 1);
    let running = cluster.lasting("ann", 100_000, &endless());
    let waiting = cluster.lasting("ann", 10, &limited(1, 10));
    assert_eq!(forecast(&cluster, waiting).rests, Rests::Default);
    cluster.at(3601);
    assert_eq!(unknown(&cluster, waiting), Unknown::Overdue(running));
    assert_eq!(cluster.core.explain(waiting).unwrap().expected, None);
}

#[test]
fn what_keeps_a_job_back_is_before_any_room() {
    let mut cluster = in_order();
    cluster.node(1, 1);
    let running = cluster.lasting("ann", 40, &limited(1, 40));
    let with = |change: &dyn Fn(&mut JobSpec)| {
        let mut spec = limited(1, 10);
        change(&mut spec);
        spec
    };
    let later =
        cluster.lasting("ann", 10, &with(&|spec| spec.scheduling.begin = Some(second(300))));
    assert_eq!(starts(&cluster, later), 300);
    let held = cluster.lasting("ann", 10, &with(&|spec| spec.scheduling.hold = true));
    assert_eq!(unknown(&cluster, held), Unknown::Held);
    let after = |on| Dependency { job: running, on };
    let next = cluster.lasting(
        "ann",
        10,
        &with(&|spec| spec.scheduling.depends_on = vec![after(DependsOn::Success)]),
    );
    assert_eq!(starts(&cluster, next), 40);
    let last = cluster.lasting(
        "ann",
        10,
        &with(&|spec| {
            spec.scheduling.depends_on = vec![Dependency { job: next, on: DependsOn::End }];
        }),
    );
    assert_eq!(starts(&cluster, last), 50, "after the one that waits itself");
    let on_held = cluster.lasting(
        "ann",
        10,
        &with(&|spec| {
            spec.scheduling.depends_on = vec![Dependency { job: held, on: DependsOn::End }];
        }),
    );
    assert_eq!(unknown(&cluster, on_held), Unknown::Dependency(held));
    let late =
        cluster.lasting("ann", 10, &with(&|spec| spec.scheduling.deadline = Some(second(45))));
    cluster.at(36);
    assert_eq!(unknown(&cluster, late), Unknown::Deadline);
}

#[test]
fn a_window_is_waited_for_or_waited_out() {
    let mut cluster = in_order();
    cluster.node(1, 1);
    let reserve = |cluster: &mut Cluster, name: &str, from, to, tenants: &[&str]| {
        let reservation = Box::new(Reservation {
            name: name.to_owned(),
            start: second(from),
            end: second(to),
            every_ms: None,
            what: Reserved::All,
            tenants: tenants.iter().map(|tenant| tenant.parse().unwrap()).collect(),
        });
        answer(&cluster.handle(Input::Reserve { request: RequestId(1), reservation })).unwrap();
    };
    reserve(&mut cluster, "repair", 100, 200, &[]);
    reserve(&mut cluster, "mine", 300, 400, &["ann"]);
    let mut inside = limited(1, 50);
    inside.scheduling.reservation = Some("mine".to_owned());
    let inside = cluster.lasting("ann", 50, &inside);
    assert_eq!(starts(&cluster, inside), 300);
    let long = cluster.lasting("ann", 150, &limited(1, 150));
    assert_eq!(starts(&cluster, long), 400, "between the two there is too little time");
    let short = cluster.lasting("ann", 80, &limited(1, 80));
    assert_eq!(cluster.core.expected_start(short), None, "it runs");
    let next = cluster.lasting("ann", 90, &limited(1, 90));
    assert_eq!(starts(&cluster, next), 200);
}

#[test]
fn a_limit_is_waited_for_by_the_end_of_what_counts_for_it() {
    let limits = Limits { running: Some(2), ..Limits::default() };
    let name = "ann".parse().unwrap();
    let ann = TenantPolicy { name, parent: None, shares: 1, default_qos: None, limits };
    let mut cluster = in_order_under(Policy { tenants: vec![ann], ..Policy::default() });
    cluster.node(1, 8);
    cluster.lasting("ann", 30, &limited(1, 30));
    cluster.lasting("ann", 60, &limited(1, 60));
    let first = cluster.lasting("ann", 10, &limited(1, 10));
    let second = cluster.lasting("ann", 10, &limited(1, 11));
    assert_eq!([first, second].map(|job| starts(&cluster, job)), [30, 60]);
    let third = cluster.lasting("ann", 10, &limited(1, 12));
    assert!(matches!(unknown(&cluster, third), Unknown::Limit(_)), "behind more than runs");
}

#[test]
fn as_many_as_a_job_allows_at_once_end_before_the_next() {
    let mut cluster = in_order();
    cluster.node(1, 8);
    let mut spec = limited(3, 25);
    spec.scheduling.max_running = Some(2);
    let bounded = cluster.lasting("ann", 25, &spec);
    assert_eq!(starts(&cluster, bounded), 25);
}

#[test]
fn without_a_node_that_could_take_it_nothing_can_be_told() {
    let mut cluster = in_order();
    let waiting = cluster.lasting("ann", 10, &limited(1, 10));
    assert_eq!(unknown(&cluster, waiting), Unknown::NoNode);
    cluster.node(1, 1);
    cluster.drain(1, true);
    let waiting = cluster.lasting("ann", 10, &limited(1, 10));
    assert_eq!(unknown(&cluster, waiting), Unknown::NoNode);
}

#[test]
fn behind_more_than_is_looked_at_it_says_so_instead_of_guessing() {
    let mut cluster = in_order();
    cluster.node(1, 1);
    cluster.lasting("ann", 10, &limited(100_000, 10));
    let waiting = cluster.lasting("bob", 10, &limited(1, 10));
    let Unknown::TooFar { looked_at } = unknown(&cluster, waiting) else { panic!() };
    let text = Unknown::TooFar { looked_at }.to_string();
    assert_eq!(text, format!("unknown: more than {looked_at} tasks are before it"));
    // What goes first is told at once.
    let change = JobChange::Priority(1);
    cluster.set_policy(Policy::default()).unwrap();
    cluster.handle(Input::Change { request: RequestId(1), job: waiting, change });
    assert_eq!(starts(&cluster, waiting), 10);
}

#[test]
fn tenants_of_equal_rank_are_expected_to_take_turns() {
    let mut cluster = Cluster::new();
    cluster.node(1, 1);
    cluster.lasting("zoe", 10, &limited(1, 10));
    let many = cluster.lasting("ann", 10, &limited(1000, 10));
    let one = cluster.lasting("bob", 10, &limited(1, 10));
    assert!(starts(&cluster, one) <= 20, "{}", starts(&cluster, one));
    assert!(starts(&cluster, many) <= 20);
}

#[test]
fn headroom_is_waited_for() {
    let backfill = Backfill { headroom: 500_000, short_ms: 1000, ..Backfill::default() };
    let mut cluster = in_order_under(Policy { backfill, ..Policy::default() });
    cluster.node(1, 4);
    cluster.lasting("ann", 30, &limited(2, 30));
    let waiting = cluster.lasting("ann", 30, &limited(1, 30));
    assert_eq!(starts(&cluster, waiting), 30);
    cluster.at(30);
    assert_eq!(cluster.core.expected_start(waiting), None, "it runs");
}

#[test]
fn devices_and_pools_are_waited_for_like_any_room() {
    let pools = [("licence".to_owned(), 1)].into();
    let mut cluster = in_order_under(Policy { pools, ..Policy::default() });
    let gpus = vec![Gpu { model: "m".to_owned(), memory: 1 << 30 }];
    cluster.offering(1, 8, Offer { gpus, ..Offer::default() });
    let on_a_card = |limit| {
        let mut spec = limited(1, limit);
        spec.scheduling.devices.gpu =
            Some(GpuRequest { milli: 1000, memory: 0, models: Vec::new() });
        spec
    };
    cluster.lasting("ann", 40, &on_a_card(40));
    let first = cluster.lasting("ann", 30, &on_a_card(30));
    let second = cluster.lasting("ann", 20, &on_a_card(20));
    assert_eq!([first, second].map(|job| starts(&cluster, job)), [40, 70]);
    let licensed = |limit| {
        let mut spec = limited(1, limit);
        spec.scheduling.devices.pools.insert("licence".to_owned(), 1);
        spec
    };
    cluster.lasting("ann", 50, &licensed(50));
    let waiting = cluster.lasting("ann", 10, &licensed(10));
    assert_eq!(starts(&cluster, waiting), 50);
}
