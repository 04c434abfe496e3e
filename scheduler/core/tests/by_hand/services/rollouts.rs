//! One revision takes the place of another, step by step, or does not.

use wrun_core::{Answer, Effect, Fact, Input, RequestId};
use wrun_protocol::service::{CanaryStep, HeaderMatch, Strategy};
use wrun_protocol::task::{Failure, Outcome};
use wrun_protocol::wire::service::{
    Readied, RolledBackBy, RolloutAction, RolloutRow, ScaleTo, ServiceHappened, ServiceState,
};
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::{JobSpec, NodeId};

use super::loads::{load, tell};
use super::recovery::go_on;
use super::stage::{Stage, changed, http, id, part, routed, stage, web};
use crate::cluster::{Cluster, answer, second};

fn with(mut spec: JobSpec, strategy: Strategy) -> JobSpec {
    part(&mut spec).rollout.strategy = strategy;
    spec
}

fn header() -> HeaderMatch {
    HeaderMatch { name: "x-new".to_owned(), value: "1".to_owned() }
}

/// First five in a hundred for ten seconds, then a half until somebody says so.
fn canary() -> Strategy {
    let steps = [(5, Some(10_000)), (50, None)];
    let steps = steps.map(|(percent, wait_ms)| CanaryStep { percent, wait_ms });
    Strategy::Canary { steps: steps.to_vec(), header: Some(header()) }
}

fn blue_green(keep_ms: u64) -> Strategy {
    Strategy::BlueGreen { header: Some(header()), keep_ms }
}

fn steer(stage: &mut Stage, action: RolloutAction) -> Result<Answer, RequestError> {
    let input = Input::Rollout { request: RequestId(1), service: id("web"), action };
    answer(&stage.tell(input))
}

/// Of each revision: its number, requests in a hundred, replicas that are ready.
fn revisions(stage: &Stage) -> Vec<(u32, u8, u32)> {
    let rows = stage.detail("web").revisions.into_iter();
    rows.map(|row| (row.revision, row.percent, row.ready)).collect()
}

fn rollout(stage: &Stage) -> RolloutRow {
    stage.detail("web").rollout.expect("a rollout")
}

fn last_event(stage: &Stage) -> ServiceHappened {
    stage.detail("web").events.first().unwrap().what.clone()
}

fn rolled_back(from: u32, to: u32, why: RolledBackBy) -> ServiceHappened {
    ServiceHappened::RolledBack { from, to, why }
}

#[test]
fn a_canary_goes_step_by_step_and_gateways_are_told_of_each() {
    let mut stage = stage(2, 8);
    stage.deploy(&with(web(4), canary()));
    stage.deploy(&with(changed(web(4), "2"), canary()));
    assert_eq!(revisions(&stage), [(2, 5, 1), (1, 95, 3)]);
    let row = rollout(&stage);
    assert_eq!((row.from, row.to, row.ready, row.step), (1, 2, (1, 1), Some((1, 2))));
    assert_eq!((row.next, row.paused), (Some(second(10)), false));
    let endpoints = stage.cluster.core.endpoints(&id("web")).unwrap();
    let headers: Vec<_> = endpoints.revisions.iter().map(|of| of.header.clone()).collect();
    assert_eq!(headers, [None, Some(header())]);
    assert_eq!(stage.at(9).detail("web").row.state, ServiceState::RollingOut);
    assert_eq!(revisions(&stage), [(2, 5, 1), (1, 95, 3)]);
    assert_eq!(revisions(stage.at(10)), [(2, 50, 2), (1, 50, 2)]);
    assert_eq!((rollout(&stage).step, rollout(&stage).next), (Some((2, 2)), None));
    assert_eq!(revisions(stage.at(500)), [(2, 50, 2), (1, 50, 2)]);
    let input =
        Input::Rollout { request: RequestId(1), service: id("web"), action: RolloutAction::Resume };
    let effects = stage.tell(input);
    assert!(matches!(effects.first(), Some(Effect::Endpoints(_))), "{effects:?}");
    assert_eq!(revisions(&stage), [(2, 100, 4), (1, 0, 0)]);
    assert_eq!(stage.detail("web").rollout, None);
    assert_eq!(last_event(&stage), ServiceHappened::RolledOut { revision: 2 });
    let endpoints = stage.cluster.core.endpoints(&id("web")).unwrap();
    assert!(endpoints.revisions.iter().all(|of| of.header.is_none()));
}

#[test]
fn an_exchange_sends_nothing_to_the_new_revision_before_all_of_it_is_ready() {
    let mut stage = stage(2, 8);
    stage.deploy(&with(web(2), blue_green(30_000)));
    stage.slow.extend([1, 2]);
    stage.deploy(&with(changed(web(2), "2"), blue_green(30_000)));
    let ready = |stage: &mut Stage, index| {
        let node = stage.detail("web").replicas.into_iter();
        let node = node.filter(|row| row.revision == 2).nth(index as usize);
        let node = node.and_then(|row| row.node).unwrap().0;
        stage.readied(node, Stage::attempt(2, index, 1), Readied::Ready);
        stage.obey();
    };
    ready(&mut stage, 0);
    assert_eq!(revisions(&stage), [(2, 0, 1), (1, 100, 2)]);
    ready(&mut stage, 1);
    assert_eq!(revisions(&stage), [(2, 100, 2), (1, 0, 2)]);
    assert_eq!(rollout(&stage).next, Some(second(30)));
    // Within that time it is a matter of a moment to go back.
    let mut back = stage;
    steer(&mut back, RolloutAction::Undo { to: None }).unwrap();
    assert_eq!(revisions(&back), [(2, 0, 0), (1, 100, 2)]);
    assert_eq!(back.detail("web").rollout, None);
    assert_eq!(back.drained.len(), 2);
}

#[test]
fn an_exchange_keeps_the_old_revision_for_its_time_and_no_longer() {
    let mut stage = stage(2, 8);
    stage.deploy(&with(web(2), blue_green(30_000)));
    stage.deploy(&with(changed(web(2), "2"), blue_green(30_000)));
    assert_eq!(revisions(stage.at(29)), [(2, 100, 2), (1, 0, 2)]);
    assert_eq!(revisions(stage.at(30)), [(2, 100, 2), (1, 0, 0)]);
    assert_eq!(stage.detail("web").row.state, ServiceState::Ready);
}

#[test]
fn a_revision_that_does_not_get_ready_in_time_is_taken_back() {
    let mut stage = stage(2, 8);
    stage.deploy(&web(3));
    stage.slow.extend([1, 2]);
    let late = |spec: JobSpec| http(spec, |http| http.readiness.start_ms = 20_000);
    stage.deploy(&late(changed(web(3), "2")));
    assert_eq!(revisions(stage.at(20)), [(2, 0, 0), (1, 100, 3)]);
    assert_eq!(stage.detail("web").row.revision, 2);
    let node = stage.detail("web").replicas.into_iter().find(|row| row.revision == 2);
    let node = node.and_then(|row| row.node).unwrap().0;
    let message = "GET /: status 503".to_owned();
    let said = Outcome::Failed(Failure::Setup { message });
    stage.cluster.end(node, Stage::attempt(2, 0, 1), said.clone());
    stage.obey();
    assert_eq!(revisions(&stage), [(2, 0, 0), (1, 100, 3)]);
    let row = stage.detail("web").row;
    assert_eq!((row.revision, row.state), (1, ServiceState::Ready));
    let events = stage.detail("web").events;
    let back = rolled_back(2, 1, RolledBackBy::NotReady);
    let back = events.iter().position(|event| event.what == back).unwrap();
    let failed = ServiceHappened::ReplicaFailed { revision: 2, index: 0, outcome: said };
    assert_eq!(events[back + 1].what, failed, "what its node said is told before");
    assert_eq!(stage.replicas("web").len(), 3);
}

#[test]
fn a_revision_whose_replica_fails_again_and_again_is_taken_back() {
    let mut stage = stage(2, 8);
    stage.deploy(&web(2));
    stage.slow.extend([1, 2]);
    stage.deploy(&changed(web(2), "2"));
    for attempt in 1..=3 {
        let row = stage.detail("web").replicas.into_iter().find(|row| row.revision == 2);
        let node = row.and_then(|row| row.node).unwrap().0;
        stage.cluster.fail(node, 2, 0, attempt);
        stage.obey();
        assert_eq!(stage.detail("web").row.revision, if attempt < 3 { 2 } else { 1 });
        let now = stage.cluster.now.since(crate::cluster::BEGIN).as_secs();
        stage.at(now + 5);
    }
    assert_eq!(revisions(&stage), [(2, 0, 0), (1, 100, 2)]);
}

#[test]
fn a_revision_whose_answers_are_errors_is_taken_back() {
    let mut stage = stage(2, 8);
    let watching = |mut spec: JobSpec| {
        part(&mut spec).rollout.max_errors_milli = 100;
        spec
    };
    stage.deploy(&watching(web(4)));
    stage.deploy(&watching(changed(web(4), "2")));
    assert_eq!(revisions(&stage), [(2, 25, 1), (1, 75, 3)], "the first one is watched");
    stage.at(1);
    tell(&mut stage, 1, load(2, 1, 9, 0));
    assert_eq!(stage.detail("web").row.revision, 2, "ten answers tell too little");
    stage.at(2);
    tell(&mut stage, 1, load(1, 100, 1000, 0));
    assert_eq!(stage.detail("web").row.revision, 2, "the old one's errors are not its own");
    stage.at(3);
    tell(&mut stage, 1, load(2, 1, 9, 0));
    assert_eq!(revisions(&stage), [(2, 0, 0), (1, 100, 4)]);
    assert_eq!(stage.detail("web").row.revision, 1);
    let back = rolled_back(2, 1, RolledBackBy::Errors);
    assert!(stage.detail("web").events.iter().any(|event| event.what == back));
    // One that is better goes on when it has been watched for a while.
    stage.deploy(&watching(changed(web(4), "3")));
    stage.at(12);
    assert_eq!(revisions(&stage)[0], (3, 25, 1));
    assert_eq!(revisions(stage.at(13))[0], (3, 100, 4));
}

#[test]
fn a_user_goes_back_without_a_new_revision() {
    let mut stage = stage(2, 8);
    for value in ["1", "2", "3"] {
        stage.deploy(&changed(web(2), value));
    }
    assert_eq!(stage.detail("web").row.revision, 3);
    steer(&mut stage, RolloutAction::Undo { to: None }).unwrap();
    assert_eq!(revisions(&stage), [(3, 0, 0), (2, 100, 2), (1, 0, 0)]);
    assert!(stage.detail("web").rollout.is_none());
    steer(&mut stage, RolloutAction::Undo { to: None }).unwrap();
    assert_eq!(stage.detail("web").row.revision, 1);
    let none = steer(&mut stage, RolloutAction::Undo { to: None }).unwrap_err();
    assert_eq!(none.code, ErrorCode::Conflict);
    steer(&mut stage, RolloutAction::Undo { to: Some(3) }).unwrap();
    assert_eq!(revisions(&stage), [(3, 100, 2), (2, 0, 0), (1, 0, 0)]);
    let same = steer(&mut stage, RolloutAction::Undo { to: Some(3) }).unwrap_err();
    assert_eq!(same.code, ErrorCode::Conflict);
    let unknown = steer(&mut stage, RolloutAction::Undo { to: Some(9) }).unwrap_err();
    assert_eq!(unknown.code, ErrorCode::NotFound);
    assert_eq!(stage.deploy(&changed(web(2), "4")).revision, 4, "numbers are not used again");
}

#[test]
fn nobody_goes_back_to_a_route_that_belongs_to_another_service_by_now() {
    let mut stage = stage(2, 8);
    stage.deploy(&routed(web(1), "shop.example"));
    stage.deploy(&changed(web(1), "2"));
    let mut other = routed(web(1), "shop.example");
    other.name = "other".to_owned();
    stage.deploy(&other);
    let refused = steer(&mut stage, RolloutAction::Undo { to: None }).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict, "{refused}");
}

#[test]
fn a_rollout_that_is_paused_stands_until_a_user_lets_it_go_on() {
    let mut stage = stage(2, 8);
    stage.deploy(&with(web(4), canary()));
    let none = steer(&mut stage, RolloutAction::Pause).unwrap_err();
    assert_eq!(none.code, ErrorCode::Conflict);
    stage.deploy(&with(changed(web(4), "2"), canary()));
    steer(&mut stage, RolloutAction::Pause).unwrap();
    let facts = stage.cluster.journal.len();
    steer(&mut stage, RolloutAction::Pause).unwrap();
    assert_eq!(stage.cluster.journal.len(), facts);
    assert_eq!(revisions(stage.at(100)), [(2, 5, 1), (1, 95, 3)]);
    let row = rollout(&stage);
    assert_eq!((row.paused, row.next), (true, None));
    assert_eq!(stage.detail("web").row.state, ServiceState::Paused);
    stage.scale("web", ScaleTo::Replicas(6)).unwrap();
    assert_eq!(revisions(&stage), [(2, 5, 1), (1, 95, 5)], "it follows the load even so");
    steer(&mut stage, RolloutAction::Resume).unwrap();
    assert_eq!(revisions(&stage), [(2, 50, 3), (1, 50, 3)], "its time was over long ago");
}

#[test]
fn a_deployment_amid_a_rollout_goes_on_from_there_and_back_to_what_was_in_place() {
    let mut stage = stage(2, 8);
    stage.deploy(&with(web(4), canary()));
    stage.deploy(&with(changed(web(4), "2"), canary()));
    stage.deploy(&with(changed(web(4), "3"), canary()));
    assert_eq!(rollout(&stage).from, 1);
    let ready: u32 = revisions(&stage).iter().map(|(.., ready)| *ready).sum();
    assert!(ready >= 4, "{:?}", revisions(&stage));
    steer(&mut stage, RolloutAction::Undo { to: None }).unwrap();
    assert_eq!(revisions(&stage), [(3, 0, 0), (2, 0, 0), (1, 100, 4)]);
}

#[test]
fn the_revision_to_go_back_to_is_kept_however_many_are_deployed() {
    let mut stage = stage(2, 8);
    let few = |value: &str| {
        let mut spec = with(changed(web(4), value), canary());
        part(&mut spec).rollout.keep = 1;
        spec
    };
    (1..=6).for_each(|value| _ = stage.deploy(&few(&value.to_string())));
    steer(&mut stage, RolloutAction::Undo { to: None }).unwrap();
    assert_eq!(stage.detail("web").row.revision, 1);
}

#[test]
fn a_lost_node_amid_a_rollout_delays_it_and_nothing_else() {
    let mut stage = stage(3, 4);
    stage.deploy(&with(web(4), canary()));
    stage.deploy(&with(changed(web(4), "2"), canary()));
    stage.at(10);
    stage.tell(Input::NodeGone { node: NodeId(1) });
    assert_eq!(revisions(stage.at(12)), [(2, 50, 2), (1, 50, 2)]);
    steer(&mut stage, RolloutAction::Resume).unwrap();
    assert_eq!(revisions(stage.at(13)), [(2, 100, 4), (1, 0, 0)]);
}

#[test]
fn a_step_goes_on_from_when_it_began_whenever_the_server_dies() {
    let mut stage = stage(2, 8);
    stage.deploy(&with(web(4), canary()));
    stage.deploy(&with(changed(web(4), "2"), canary()));
    let mut core = Cluster::recovered(&stage.cluster.journal);
    core.start(second(7));
    let row = core.service(&id("web")).unwrap().rollout.unwrap();
    assert_eq!((row.step, row.next), (Some((1, 2)), Some(second(10))));
    assert_eq!(core.endpoints(&id("web")), stage.cluster.core.endpoints(&id("web")));
    assert!(core.poll_timeout().is_some_and(|at| at <= second(10)));
}

#[test]
fn a_rollout_goes_on_from_every_fact_at_which_the_server_may_die() {
    let timed = |percent| CanaryStep { percent, wait_ms: Some(3000) };
    let steps = vec![timed(25), timed(50)];
    let canary = Strategy::Canary { steps, header: None };
    let exchange = blue_green(3000);
    for strategy in [Strategy::Rolling, canary, exchange] {
        let mut stage = stage(2, 8);
        stage.deploy(&with(web(3), strategy.clone()));
        stage.deploy(&with(changed(web(3), "2"), strategy.clone()));
        stage.at(2);
        stage.scale("web", ScaleTo::Replicas(4)).unwrap();
        stage.at(20);
        let first = stage
            .cluster
            .journal
            .iter()
            .position(|fact| matches!(fact, Fact::ServiceDeployed { revision: 2, .. }));
        let journal = stage.cluster.journal.clone();
        assert_eq!((stage.detail("web").rollout, stage.detail("web").row.ready), (None, 4));
        for cut in first.unwrap() + 1..=journal.len() {
            let core = go_on(&journal[..cut]);
            let detail = core.service(&id("web")).unwrap();
            let last = &journal[cut - 1];
            assert_eq!(detail.rollout, None, "died after {last:?}: {detail:#?}");
            assert_eq!(detail.row.ready, detail.row.wanted, "died after {last:?}: {detail:#?}");
            assert_eq!(detail.row.revision, 2, "died after {last:?}");
        }
    }
}
