//! What is read from how a service stands.

use wrun_protocol::Timestamp;
use wrun_protocol::service::ServiceId;
use wrun_protocol::task::{Failure, Outcome};
use wrun_protocol::wire::service::{RolloutRow, Scaling, ServiceEvent, ServiceRow};
use wrun_protocol::wire::worker::ComponentKind;

use super::*;

fn service(state: ServiceState, revision: u32) -> ServiceDetail {
    let id = ServiceId { tenant: "lab".parse().unwrap(), name: "api".parse().unwrap() };
    let row = ServiceRow {
        id,
        kind: ComponentKind::Http,
        state,
        revision,
        wanted: 2,
        ready: 2,
        routes: Vec::new(),
        deployed: Timestamp(0),
    };
    ServiceDetail {
        row,
        scaling: Scaling { min: 2, max: 2, on: None, overridden: false },
        revisions: Vec::new(),
        replicas: Vec::new(),
        rollout: None,
        load: None,
        events: Vec::new(),
    }
}

fn rollout(ready: (u32, u32)) -> RolloutRow {
    RolloutRow { from: 1, to: 2, ready, step: None, next: None, paused: false }
}

fn event(what: ServiceHappened) -> ServiceEvent {
    ServiceEvent { at: Timestamp(0), what }
}

#[test]
fn it_is_over_when_the_revision_is_in_place() {
    assert_eq!(End::of(&service(ServiceState::Starting, 1), 1), None);
    assert_eq!(End::of(&service(ServiceState::Ready, 1), 1), Some(End::Ready));
    let asleep = service(ServiceState::Asleep, 1);
    assert_eq!(End::of(&asleep, 1), Some(End::Ready));
    assert_eq!(End::Ready.word(&asleep), "asleep");
    let mut rolling = service(ServiceState::RollingOut, 2);
    rolling.rollout = Some(rollout((1, 2)));
    assert_eq!(End::of(&rolling, 2), None);
}

#[test]
fn a_canary_that_asks_is_not_waited_for() {
    let mut canary = service(ServiceState::RollingOut, 2);
    let step = Some((1, 2));
    canary.rollout = Some(RolloutRow { step, ..rollout((0, 1)) });
    assert_eq!(End::of(&canary, 2), None, "its replica is not ready yet");
    canary.rollout = Some(RolloutRow { step, ..rollout((1, 1)) });
    assert_eq!(End::of(&canary, 2), Some(End::Waiting));
    assert_eq!(End::Waiting.error(&canary, 2), None);
    canary.rollout = Some(RolloutRow { step, next: Some(Timestamp(5)), ..rollout((1, 1)) });
    assert_eq!(End::of(&canary, 2), None, "it goes on by itself");
}

#[test]
fn going_back_is_a_failure_that_says_why() {
    let mut back = service(ServiceState::Ready, 1);
    let outcome = Outcome::Failed(Failure::Exit { code: 3 });
    back.events = vec![
        event(ServiceHappened::RolledBack { from: 2, to: 1, why: RolledBackBy::NotReady }),
        event(ServiceHappened::ReplicaFailed { revision: 2, index: 0, outcome }),
    ];
    let end = End::of(&back, 2).unwrap();
    assert_eq!(end, End::RolledBack { to: 1, why: RolledBackBy::NotReady });
    let error = end.error(&back, 2).unwrap();
    assert_eq!(error.exit(), Exit::RolloutFailed);
    assert_eq!(
        error.to_string(),
        "api goes back from revision 2 to 1: it was not ready in time; its last failure: exit \
         code 3; see `wrun service api`"
    );
    assert_eq!(End::of(&service(ServiceState::Ready, 3), 2), Some(End::Superseded));
}

#[test]
fn a_first_revision_that_fails_is_told_and_one_with_another_before_it_is_waited_for() {
    let failing = service(ServiceState::Failing, 1);
    assert_eq!(End::of(&failing, 1), Some(End::Failing));
    let mut second = service(ServiceState::Failing, 2);
    second.rollout = Some(rollout((0, 2)));
    assert_eq!(End::of(&second, 2), None, "the scheduler takes it back");
}
