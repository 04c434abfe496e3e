//! Windows that are set aside: who runs in them, and who ends before.

use wrun_core::{Answer, Core, Input, RequestId};
use wrun_protocol::policy::BackfillMode;
use wrun_protocol::reservation::{Reservation, Reserved};
use wrun_protocol::scheduling::Request;
use wrun_protocol::wire::policy::JobChange;
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::{JobId, Resources};

use super::{fcfs, nodes, under, unit, window};

#[test]
fn nothing_starts_that_would_run_into_a_reservation() {
    let mut cluster = under(fcfs(BackfillMode::Easy), &[2]);
    cluster.reserve(window("maintenance", 100, 200, Reserved::All)).unwrap();
    let long = cluster.unit(1, 101);
    let short = cluster.unit(1, 100);
    assert!(!cluster.runs(long));
    assert!(cluster.runs(short), "it ends as the window begins");
    cluster.at(100).finish(short);
    cluster.at(199);
    assert!(!cluster.runs(long));
    cluster.at(200);
    assert!(cluster.runs(long));
    assert_eq!(cluster.core.reservations(), [], "it is over");
}

#[test]
fn jobs_of_a_reservation_run_inside_it_and_only_there() {
    let mut cluster = under(fcfs(BackfillMode::Easy), &[2, 2]);
    let each = Request { resources: unit(1, 50).resources, ..Request::default() };
    let amount = Reserved::Amount { each, count: 1, partition: None };
    cluster.reserve(window("demo", 100, 200, amount)).unwrap();
    let mut inside = unit(1, 50);
    inside.scheduling.reservation = Some("demo".to_owned());
    let (a, b) = (cluster.queue(&inside), cluster.queue(&inside));
    let outside: Vec<JobId> = (0..4).map(|_| cluster.unit(1, 500)).collect();
    let started = outside.iter().filter(|job| cluster.runs(**job)).count();
    assert_eq!(started, 3, "one place stays free for the window");
    assert!(!cluster.runs(a));
    cluster.at(100);
    assert!(cluster.runs(a) && !cluster.runs(b), "one place is set aside");
    cluster.at(130).finish(a);
    assert!(cluster.runs(b), "it ends in the window");
    let mut late = inside.clone();
    late.limits.wall_ms = Some(101_000);
    assert_eq!(cluster.refused("ann", &late).code, ErrorCode::Unsatisfiable);
    late.scheduling.reservation = Some("other".to_owned());
    assert_eq!(cluster.refused("ann", &late).code, ErrorCode::InvalidInput);
}

#[test]
fn what_has_no_limit_is_stopped_when_a_window_begins() {
    let mut cluster = under(fcfs(BackfillMode::Easy), &[2]);
    let mut open = unit(1, 0);
    open.limits.wall_ms = None;
    let open = cluster.queue(&open);
    let sure = cluster.unit(1, 90);
    cluster.reserve(window("maintenance", 100, 200, nodes(&["node-1"]))).unwrap();
    cluster.at(69);
    assert!(cluster.noticed().is_empty());
    cluster.at(70);
    assert_eq!(cluster.noticed(), [open].into(), "half a minute of notice; the other ends in time");
    assert!(cluster.runs(sure));
}

#[test]
fn reservations_that_cannot_be_kept_are_refused() {
    let mut cluster = under(fcfs(BackfillMode::Easy), &[2]);
    cluster.at(50);
    let code = |result: Result<Answer, RequestError>| result.unwrap_err().code;
    assert_eq!(code(cluster.reserve(window("a", 10, 20, Reserved::All))), ErrorCode::InvalidInput);
    let unknown = window("a", 100, 200, nodes(&["node-9"]));
    assert_eq!(code(cluster.reserve(unknown)), ErrorCode::NotFound);
    cluster.reserve(window("a", 100, 200, nodes(&["node-1"]))).unwrap();
    assert_eq!(code(cluster.reserve(window("a", 300, 400, Reserved::All))), ErrorCode::Conflict);
    assert_eq!(code(cluster.reserve(window("b", 150, 250, Reserved::All))), ErrorCode::Conflict);
    let nightly = Reservation { every_ms: Some(100_000), ..window("b", 60, 70, Reserved::All) };
    assert_eq!(code(cluster.reserve(nightly)), ErrorCode::Conflict, "its second window meets it");
    let each = Request {
        resources: Resources { cpu_milli: 1000, ..Resources::default() },
        ..Request::default()
    };
    let three = Reserved::Amount { each, count: 3, partition: None };
    assert_eq!(code(cluster.reserve(window("b", 300, 400, three))), ErrorCode::Conflict);
    let request = RequestId(0);
    let unreserve = |name: &str| Input::Unreserve { request, name: name.to_owned() };
    assert_eq!(cluster.ask(unreserve("b")).unwrap_err().code, ErrorCode::NotFound);
    assert_eq!(cluster.ask(unreserve("a")), Ok(Answer::Done));
}

#[test]
fn reservations_outlive_a_restart() {
    let mut cluster = under(fcfs(BackfillMode::Easy), &[2]);
    cluster.reserve(window("a", 100, 200, nodes(&["node-1"]))).unwrap();
    let snapshot = cluster.core.snapshot();
    let restored = Core::restore(cluster.core.config().clone(), &snapshot).unwrap();
    assert_eq!(restored.reservations(), cluster.core.reservations());
    assert_eq!(restored.snapshot(), snapshot);
}

#[test]
fn a_limit_that_was_lowered_since_a_task_was_placed_frees_no_window_of_it() {
    let mut cluster = under(fcfs(BackfillMode::Easy), &[2]);
    let long = cluster.unit(1, 500);
    let request = RequestId(0);
    let change = JobChange::TimeLimit(Some(50_000));
    assert_eq!(cluster.ask(Input::Change { request, job: long, change }), Ok(Answer::Done));
    cluster.reserve(window("maintenance", 100, 200, Reserved::All)).unwrap();
    cluster.at(69);
    assert!(cluster.noticed().is_empty());
    cluster.at(70);
    assert_eq!(cluster.noticed(), [long].into(), "its worker knows the limit of 500 s");
}

#[test]
fn a_job_whose_reservation_was_given_up_does_not_run_elsewhere() {
    let mut cluster = under(fcfs(BackfillMode::Easy), &[2]);
    cluster.reserve(window("demo", 100, 200, nodes(&["node-1"]))).unwrap();
    let mut inside = unit(1, 50);
    inside.scheduling.reservation = Some("demo".to_owned());
    let inside = cluster.queue(&inside);
    let (request, name) = (RequestId(0), "demo".to_owned());
    assert_eq!(cluster.ask(Input::Unreserve { request, name }), Ok(Answer::Done));
    let outside = cluster.unit(1, 50);
    assert!(cluster.runs(outside) && !cluster.runs(inside));
}
