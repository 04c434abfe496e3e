//! When a job is expected to start, on what that rests, and that it comes true.

use std::time::Duration;

use wrun_core::views::forecast::{Expected, Forecast, Rests, Unknown};
use wrun_core::{Config, Input, RequestId};
use wrun_protocol::job::TaskLimits;
use wrun_protocol::policy::{Backfill, Limits, Policy, QueueOrder, TenantPolicy};
use wrun_protocol::reservation::{Reservation, Reserved};
use wrun_protocol::scheduling::{Dependency, DependsOn, Gpu, GpuRequest, Offer};
use wrun_protocol::wire::policy::JobChange;
use wrun_protocol::{JobId, JobSpec, NodeId, Timestamp};

use crate::env::{BEGIN, Env, answer, config, job};

fn env() -> Env {
    with(Policy::default())
}

fn with(policy: Policy) -> Env {
    let policy = Policy { order: QueueOrder::Fcfs, ..policy };
    Env::configured(policy, Config { promise_interval: Duration::ZERO, ..config() })
}

fn second(seconds: u64) -> Timestamp {
    BEGIN.after(Duration::from_secs(seconds))
}

fn endless() -> JobSpec {
    JobSpec { limits: TaskLimits::default(), ..job(1, 1) }
}

fn forecast(env: &Env, job: JobId) -> Forecast {
    match env.core.expected_start(job) {
        Some(Expected::At(forecast)) => forecast,
        other => panic!("{other:?}"),
    }
}

/// In seconds since the begin.
fn starts(env: &Env, job: JobId) -> u64 {
    forecast(env, job).at.since(BEGIN).as_secs()
}

fn unknown(env: &Env, job: JobId) -> Unknown {
    match env.core.expected_start(job) {
        Some(Expected::Unknown(unknown)) => unknown,
        other => panic!("{other:?}"),
    }
}

#[test]
fn jobs_start_one_after_the_other_as_was_expected_of_each() {
    let mut env = env();
    env.node(1, 2);
    env.submit("ann", 100, &job(2, 100));
    let jobs: Vec<JobId> = [30, 50, 70, 20].map(|s| env.submit("ann", s, &job(1, s))).into();
    let expected: Vec<u64> = jobs.iter().map(|job| starts(&env, *job)).collect();
    assert_eq!(expected, [100, 100, 130, 150]);
    let rows = env.core.queue(10);
    let told: Vec<u64> =
        rows.iter().map(|row| row.expected.unwrap().since(BEGIN).as_secs()).collect();
    assert_eq!(told, expected, "the queue says the same");
    env.run_until(1000);
    let came: Vec<u64> = env.starts.iter().skip(1).map(|(at, ..)| *at).collect();
    assert_eq!(came, expected, "and so it came");
}

#[test]
fn a_promise_is_told_as_one() {
    let mut env = env();
    env.node(1, 4);
    env.submit("ann", 100, &job(3, 100));
    let mut gang = job(4, 10);
    gang.scheduling.gang = true;
    let head = env.submit("ann", 10, &gang);
    let behind = env.submit("ann", 200, &job(1, 200));
    let promised = forecast(&env, head);
    assert_eq!((promised.at, promised.promised), (second(100), true));
    assert_eq!(
        promised.to_string(),
        "promised, by time limits, if nothing of higher priority arrives"
    );
    assert_eq!(starts(&env, behind), 110, "after what it must not delay");
}

#[test]
fn what_an_expectation_rests_on_is_its_weakest_part() {
    let mut env = env();
    env.node(1, 1);
    env.submit("ann", 10, &endless());
    let waiting = env.submit("ann", 10, &endless());
    let first = forecast(&env, waiting);
    assert_eq!((first.rests, first.at), (Rests::Default, second(3600)));
    assert!(
        first
            .to_string()
            .starts_with("taking tasks without time limit and history to need 1h, if nothing")
    );
    env.run_until(10);
    let limited = env.submit("ann", 10, &job(1, 10));
    // The env's tasks say that they took a second, whatever they took.
    let earlier = forecast(&env, limited);
    assert_eq!(earlier.rests, Rests::Earlier);
    assert!(earlier.to_string().starts_with("by how long earlier tasks took, "));
}

#[test]
fn what_runs_longer_than_expected_without_a_limit_leaves_all_open() {
    let mut env = env();
    env.node(1, 1);
    let running = env.submit("ann", 100_000, &endless());
    let waiting = env.submit("ann", 10, &job(1, 10));
    assert_eq!(forecast(&env, waiting).rests, Rests::Default);
    env.run_until(3601);
    assert_eq!(unknown(&env, waiting), Unknown::Overdue(running));
    assert_eq!(env.core.explain(waiting).unwrap().expected, None);
}

#[test]
fn what_keeps_a_job_back_is_before_any_room() {
    let mut env = env();
    env.node(1, 1);
    let running = env.submit("ann", 40, &job(1, 40));
    let with = |change: &dyn Fn(&mut JobSpec)| {
        let mut spec = job(1, 10);
        change(&mut spec);
        spec
    };
    let later = env.submit("ann", 10, &with(&|spec| spec.scheduling.begin = Some(second(300))));
    assert_eq!(starts(&env, later), 300);
    let held = env.submit("ann", 10, &with(&|spec| spec.scheduling.hold = true));
    assert_eq!(unknown(&env, held), Unknown::Held);
    let after = |on| Dependency { job: running, on };
    let next = env.submit(
        "ann",
        10,
        &with(&|spec| spec.scheduling.depends_on = vec![after(DependsOn::Success)]),
    );
    assert_eq!(starts(&env, next), 40);
    let last = env.submit(
        "ann",
        10,
        &with(&|spec| {
            spec.scheduling.depends_on = vec![Dependency { job: next, on: DependsOn::End }];
        }),
    );
    assert_eq!(starts(&env, last), 50, "after the one that waits itself");
    let on_held = env.submit(
        "ann",
        10,
        &with(&|spec| {
            spec.scheduling.depends_on = vec![Dependency { job: held, on: DependsOn::End }];
        }),
    );
    assert_eq!(unknown(&env, on_held), Unknown::Dependency(held));
    let late = env.submit("ann", 10, &with(&|spec| spec.scheduling.deadline = Some(second(45))));
    env.run_until(36);
    assert_eq!(unknown(&env, late), Unknown::Deadline);
}

#[test]
fn a_window_is_waited_for_or_waited_out() {
    let mut env = env();
    env.node(1, 1);
    let reserve = |env: &mut Env, name: &str, from, to, tenants: &[&str]| {
        let reservation = Box::new(Reservation {
            name: name.to_owned(),
            start: second(from),
            end: second(to),
            every_ms: None,
            what: Reserved::All,
            tenants: tenants.iter().map(|tenant| tenant.parse().unwrap()).collect(),
        });
        answer(&env.handle(Input::Reserve { request: RequestId(1), reservation })).unwrap();
    };
    reserve(&mut env, "repair", 100, 200, &[]);
    reserve(&mut env, "mine", 300, 400, &["ann"]);
    let mut inside = job(1, 50);
    inside.scheduling.reservation = Some("mine".to_owned());
    let inside = env.submit("ann", 50, &inside);
    assert_eq!(starts(&env, inside), 300);
    let long = env.submit("ann", 150, &job(1, 150));
    assert_eq!(starts(&env, long), 400, "between the two there is too little time");
    let short = env.submit("ann", 80, &job(1, 80));
    assert_eq!(env.core.expected_start(short), None, "it runs");
    let next = env.submit("ann", 90, &job(1, 90));
    assert_eq!(starts(&env, next), 200);
}

#[test]
fn a_limit_is_waited_for_by_the_end_of_what_counts_for_it() {
    let limits = Limits { running: Some(2), ..Limits::default() };
    let name = "ann".parse().unwrap();
    let ann = TenantPolicy { name, parent: None, shares: 1, default_qos: None, limits };
    let mut env = with(Policy { tenants: vec![ann], ..Policy::default() });
    env.node(1, 8);
    env.submit("ann", 30, &job(1, 30));
    env.submit("ann", 60, &job(1, 60));
    let first = env.submit("ann", 10, &job(1, 10));
    let second = env.submit("ann", 10, &job(1, 11));
    assert_eq!([first, second].map(|job| starts(&env, job)), [30, 60]);
    let third = env.submit("ann", 10, &job(1, 12));
    assert!(matches!(unknown(&env, third), Unknown::Limit(_)), "behind more than runs");
}

#[test]
fn as_many_as_a_job_allows_at_once_end_before_the_next() {
    let mut env = env();
    env.node(1, 8);
    let mut spec = job(3, 25);
    spec.scheduling.max_running = Some(2);
    let bounded = env.submit("ann", 25, &spec);
    assert_eq!(starts(&env, bounded), 25);
}

#[test]
fn without_a_node_that_could_take_it_nothing_can_be_told() {
    let mut env = env();
    let waiting = env.submit("ann", 10, &job(1, 10));
    assert_eq!(unknown(&env, waiting), Unknown::NoNode);
    env.node(1, 1);
    env.drain(NodeId(1), true);
    let waiting = env.submit("ann", 10, &job(1, 10));
    assert_eq!(unknown(&env, waiting), Unknown::NoNode);
}

#[test]
fn behind_more_than_is_looked_at_it_says_so_instead_of_guessing() {
    let mut env = env();
    env.node(1, 1);
    env.submit("ann", 10, &job(100_000, 10));
    let waiting = env.submit("bob", 10, &job(1, 10));
    let Unknown::TooFar { looked_at } = unknown(&env, waiting) else { panic!() };
    let text = Unknown::TooFar { looked_at }.to_string();
    assert_eq!(text, format!("unknown: more than {looked_at} tasks are before it"));
    // What goes first is told at once.
    let change = JobChange::Priority(1);
    env.set_policy(Policy::default()).unwrap();
    env.handle(Input::Change { request: RequestId(1), job: waiting, change });
    assert_eq!(starts(&env, waiting), 10);
}

#[test]
fn tenants_of_equal_rank_are_expected_to_take_turns() {
    let mut env =
        Env::configured(Policy::default(), Config { promise_interval: Duration::ZERO, ..config() });
    env.node(1, 1);
    env.submit("zoe", 10, &job(1, 10));
    let many = env.submit("ann", 10, &job(1000, 10));
    let one = env.submit("bob", 10, &job(1, 10));
    assert!(starts(&env, one) <= 20, "{}", starts(&env, one));
    assert!(starts(&env, many) <= 20);
}

#[test]
fn headroom_is_waited_for() {
    let backfill = Backfill { headroom: 500_000, short_ms: 1000, ..Backfill::default() };
    let mut env = with(Policy { backfill, ..Policy::default() });
    env.node(1, 4);
    env.submit("ann", 30, &job(2, 30));
    let waiting = env.submit("ann", 30, &job(1, 30));
    assert_eq!(starts(&env, waiting), 30);
    env.run_until(30);
    assert_eq!(env.core.expected_start(waiting), None, "it runs");
}

#[test]
fn devices_and_pools_are_waited_for_like_any_room() {
    let pools = [("licence".to_owned(), 1)].into();
    let mut env = with(Policy { pools, ..Policy::default() });
    let gpus = vec![Gpu { model: "m".to_owned(), memory: 1 << 30 }];
    env.node_offering(1, 8, &[], Offer { gpus, ..Offer::default() });
    let on_a_card = |limit| {
        let mut spec = job(1, limit);
        spec.scheduling.devices.gpu =
            Some(GpuRequest { milli: 1000, memory: 0, models: Vec::new() });
        spec
    };
    env.submit("ann", 40, &on_a_card(40));
    let first = env.submit("ann", 30, &on_a_card(30));
    let second = env.submit("ann", 20, &on_a_card(20));
    assert_eq!([first, second].map(|job| starts(&env, job)), [40, 70]);
    let licensed = |limit| {
        let mut spec = job(1, limit);
        spec.scheduling.devices.pools.insert("licence".to_owned(), 1);
        spec
    };
    env.submit("ann", 50, &licensed(50));
    let waiting = env.submit("ann", 10, &licensed(10));
    assert_eq!(starts(&env, waiting), 50);
}
