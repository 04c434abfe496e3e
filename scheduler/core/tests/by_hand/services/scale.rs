use std::time::Duration;

use wrun_core::{Effect, Input, RequestId};
use wrun_protocol::wire::service::{Readied, ReplicaState, ScaleTo, ScaledBy, ServiceHappened};
use wrun_protocol::wire::user::ErrorCode;
use wrun_protocol::wire::worker::ToWorker;

use super::stage::{Stage, changed, id, part, stage, told, web};
use crate::cluster::{run, stopped};

#[test]
fn a_replica_that_goes_is_first_taken_from_the_gateways_then_told_to_finish() {
    let mut stage = stage(1, 4);
    stage.deploy(&web(2));
    stage.busy.insert(1);
    let (request, service, to) = (RequestId(1), id("web"), ScaleTo::Replicas(1));
    let effects = stage.tell(Input::Scale { request, service, to });
    let gateways = effects.iter().position(|effect| matches!(effect, Effect::Endpoints(_)));
    let drain = effects.iter().position(|effect| {
        matches!(effect, Effect::Send { message: ToWorker::Drain { within_ms: 30_000, .. }, .. })
    });
    assert!(gateways.is_some() && gateways < drain, "{effects:?}");
    assert_eq!(told(&effects), 1);
    assert_eq!(stage.endpoints("web"), [(1, 0, 1, 1)]);
    assert_eq!(stage.cluster.counts(1), [0, 2, 0, 0, 0], "it holds its place meanwhile");
    stage.cluster.preempted(1, 1, 1, 1);
    assert_eq!(stage.cluster.counts(1), [0, 1, 0, 0, 0]);
    stage.scale("web", ScaleTo::Replicas(2)).unwrap();
    assert_eq!(stage.endpoints("web"), [(1, 0, 1, 1), (1, 1, 2, 1)]);
}

#[test]
fn a_replica_that_does_not_finish_in_time_is_stopped() {
    let mut stage = stage(1, 4);
    stage.deploy(&web(1));
    stage.busy.insert(1);
    stage.scale("web", ScaleTo::Replicas(0)).unwrap();
    assert_eq!(stage.at(30).replicas("web"), [(1, 0, ReplicaState::Draining)]);
    stage.cluster.now = stage.cluster.now.after(Duration::from_secs(2));
    assert_eq!(stopped(&stage.tell(Input::Timeout)), [(1, run(1, 1, 0, 1))]);
    assert_eq!(stage.replicas("web"), []);
    assert_eq!(stage.cluster.counts(1), [0, 0, 0, 0, 0]);
}

#[test]
fn those_that_are_not_ready_go_first_then_those_of_the_fullest_node() {
    let mut stage = stage(2, 4);
    stage.deploy(&web(5));
    // Three are on the first node, two on the second.
    stage.readied(1, Stage::attempt(1, 1, 1), Readied::NotReady { why: String::new() });
    stage.scale("web", ScaleTo::Replicas(4)).unwrap();
    assert_eq!(stage.drained, [(1, Stage::attempt(1, 1, 1))]);
    stage.scale("web", ScaleTo::Replicas(2)).unwrap();
    let nodes: Vec<u64> = stage.endpoints("web").iter().map(|at| at.3).collect();
    assert_eq!(nodes, [1, 2]);
}

#[test]
fn what_waits_goes_at_once_and_what_is_on_a_node_when_that_says_so() {
    let mut stage = stage(1, 2);
    stage.slow.insert(1);
    stage.busy.insert(1);
    stage.deploy(&web(3));
    assert_eq!(stage.cluster.counts(1), [1, 2, 0, 0, 0]);
    stage.scale("web", ScaleTo::Replicas(1)).unwrap();
    assert_eq!(stage.drained, [(1, Stage::attempt(1, 1, 1))]);
    let left = [(1, 0, ReplicaState::Starting), (1, 1, ReplicaState::Draining)];
    assert_eq!(stage.replicas("web"), left);
    stage.cluster.preempted(1, 1, 1, 1);
    assert_eq!(stage.replicas("web"), left[..1]);
}

#[test]
fn what_a_user_says_holds_until_somebody_says_otherwise() {
    let mut stage = stage(1, 8);
    stage.deploy(&web(1));
    stage.scale("web", ScaleTo::Replicas(3)).unwrap();
    stage.deploy(&changed(web(2), "2"));
    assert_eq!(stage.detail("web").row.wanted, 3);
    assert!(stage.detail("web").scaling.overridden);
    stage.scale("web", ScaleTo::Specified).unwrap();
    assert_eq!(stage.detail("web").row.wanted, 2);
    stage.scale("web", ScaleTo::Bounds { min: 4, max: 5 }).unwrap();
    assert_eq!(stage.detail("web").row.wanted, 4);
    let scaled = stage.detail("web").events.into_iter().map(|event| event.what).next();
    let expected = ServiceHappened::Scaled { from: 2, to: 4, why: ScaledBy::User };
    assert_eq!(scaled, Some(expected));
    for to in [ScaleTo::Replicas(1001), ScaleTo::Bounds { min: 2, max: 1 }] {
        assert_eq!(stage.scale("web", to).unwrap_err().code, ErrorCode::InvalidInput);
    }
}

#[test]
fn a_revision_takes_the_place_of_another_without_a_gap() {
    let mut stage = stage(1, 8);
    stage.deploy(&web(3));
    stage.slow.insert(1);
    stage.deploy(&changed(web(3), "2"));
    for index in 0..3 {
        let old = stage.endpoints("web").iter().filter(|at| at.0 == 1).count() as u32;
        assert_eq!(old, 3 - index, "an old one goes when a new one is ready");
        assert_eq!(stage.cluster.counts(2), [0, index + 1, 0, 0, 0]);
        stage.readied(1, Stage::attempt(2, index, 1), Readied::Ready);
        stage.obey();
    }
    assert_eq!(stage.endpoints("web"), [0, 1, 2].map(|index| (2, index, 1, 1)));
    assert_eq!(stage.cluster.counts(1), [0; 5]);
}

#[test]
fn a_drained_node_keeps_its_replicas_until_others_are_ready_elsewhere() {
    let mut stage = stage(1, 4);
    stage.deploy(&web(2));
    stage.cluster.node(2, 4);
    stage.slow.insert(2);
    stage.cluster.drain(1, true);
    stage.obey();
    assert_eq!(stage.endpoints("web"), [(1, 0, 1, 1), (1, 1, 1, 1)]);
    stage.readied(2, Stage::attempt(1, 2, 1), Readied::Ready);
    stage.obey();
    assert_eq!(stage.drained, [(1, Stage::attempt(1, 1, 1))]);
    stage.readied(2, Stage::attempt(1, 3, 1), Readied::Ready);
    stage.obey();
    assert_eq!(stage.endpoints("web"), [(1, 2, 1, 2), (1, 3, 1, 2)]);
}

#[test]
fn a_drained_node_lets_its_replicas_go_where_no_other_could_hold_them() {
    let mut stage = stage(1, 4);
    stage.deploy(&web(1));
    stage.cluster.drain(1, true);
    stage.obey();
    assert_eq!(stage.endpoints("web"), []);
    stage.cluster.node(2, 4);
    stage.obey();
    assert_eq!(stage.endpoints("web").len(), 1);
}

#[test]
fn a_node_that_is_back_is_told_again_which_replicas_are_to_go() {
    let mut stage = stage(1, 4);
    let mut spec = web(1);
    part(&mut spec).rollout.drain_ms = 100_000;
    stage.deploy(&spec);
    stage.busy.insert(1);
    stage.scale("web", ScaleTo::Replicas(0)).unwrap();
    stage.cluster.disconnect(1);
    stage.at(40);
    let effects = stage.cluster.reconnect(1, vec![run(1, 1, 0, 1)]);
    let drains = effects.iter().any(|effect| {
        matches!(effect, Effect::Send { message: ToWorker::Drain { within_ms: 60_000, .. }, .. })
    });
    assert!(drains, "{effects:?}");
}
