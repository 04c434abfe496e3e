use wrun_core::{Config, Input};
use wrun_protocol::NodeId;
use wrun_protocol::service::RestartWhen;
use wrun_protocol::task::{Failure, Outcome};
use wrun_protocol::wire::service::{Readied, ReplicaState, ScaleTo, ServiceHappened, ServiceState};
use wrun_protocol::wire::worker::Report;

use super::stage::{Stage, http, part, program, stage, told, told_first, web};
use crate::cluster::{Cluster, run, second, stopped};

fn not_ready() -> Readied {
    Readied::NotReady { why: "status 503".to_owned() }
}

#[test]
fn a_replica_gets_requests_when_it_is_ready_and_none_while_it_is_not() {
    let mut stage = stage(1, 4);
    stage.slow.insert(1);
    stage.deploy(&web(1));
    let attempt = Stage::attempt(1, 0, 1);
    assert_eq!(stage.replicas("web"), [(1, 0, ReplicaState::Starting)]);
    assert_eq!(stage.endpoints("web"), []);
    assert!(told_first(&stage.readied(1, attempt, Readied::Ready), "web"));
    assert_eq!(stage.endpoints("web"), [(1, 0, 1, 1)]);
    assert_eq!(told(&stage.readied(1, attempt, Readied::Ready)), 0, "that is no news");
    assert!(told_first(&stage.readied(1, attempt, not_ready()), "web"));
    assert_eq!(stage.endpoints("web"), []);
    assert_eq!(stage.replicas("web"), [(1, 0, ReplicaState::NotReady)]);
    assert_eq!(stage.replica("web", 0).why.as_deref(), Some("status 503"));
    stage.readied(1, attempt, Readied::Ready);
    assert_eq!(stage.endpoints("web"), [(1, 0, 1, 1)]);
    assert_eq!(stage.replica("web", 0).why, None);
}

#[test]
fn what_is_told_of_an_attempt_that_is_over_counts_for_nothing() {
    let mut stage = stage(1, 4);
    stage.slow.insert(1);
    stage.deploy(&web(1));
    stage.cluster.fail(1, 1, 0, 1);
    stage.readied(1, Stage::attempt(1, 0, 1), Readied::Ready);
    stage.at(1);
    stage.readied(1, Stage::attempt(1, 0, 1), Readied::Ready);
    assert_eq!(stage.replicas("web"), [(1, 0, ReplicaState::Starting)]);
}

#[test]
fn a_replica_that_fails_again_and_again_waits_longer_each_time_and_tells_why() {
    let mut stage = stage(1, 4);
    let mut spec = web(1);
    part(&mut spec).restart.max_backoff_ms = 4000;
    stage.deploy(&spec);
    for (attempt, wait) in [(1, 1), (2, 2), (3, 4), (4, 4)] {
        let now = stage.cluster.now;
        stage.cluster.fail(1, 1, 0, attempt);
        let row = stage.replica("web", 0);
        assert_eq!((row.state, row.failures), (ReplicaState::BackingOff, attempt));
        assert_eq!(row.outcome, Some(Outcome::Failed(Failure::Exit { code: 3 })));
        assert_eq!(row.not_before, Some(now.after(std::time::Duration::from_secs(wait))));
        let again = now.since(second(0)).as_secs() + wait;
        stage.at(again);
        assert_eq!(stage.replica("web", 0).attempt, attempt + 1);
    }
    assert_eq!(stage.endpoints("web"), [(1, 0, 5, 1)]);
    stage.cluster.fail(1, 1, 0, 5);
    assert_eq!(stage.detail("web").row.state, ServiceState::Failing);
    let failed = |what: &ServiceHappened| matches!(what, ServiceHappened::ReplicaFailed { .. });
    assert_eq!(stage.detail("web").events.iter().filter(|event| failed(&event.what)).count(), 5);
}

#[test]
fn a_replica_that_ran_for_long_begins_its_back_off_anew() {
    let mut stage = stage(1, 4);
    let mut spec = web(1);
    part(&mut spec).restart.max_backoff_ms = 2000;
    stage.deploy(&spec);
    stage.cluster.fail(1, 1, 0, 1);
    stage.at(1).cluster.fail(1, 1, 0, 2);
    assert_eq!(stage.replica("web", 0).failures, 2);
    stage.at(23).cluster.fail(1, 1, 0, 3);
    assert_eq!(stage.replica("web", 0).failures, 1, "it ran for twenty seconds");
}

#[test]
fn a_replica_that_is_never_ready_is_stopped_and_waits() {
    let mut stage = stage(1, 4);
    stage.slow.insert(1);
    stage.deploy(&http(web(1), |http| http.readiness.start_ms = 20_000));
    // Its node gives it up after 20 s, or when it has asked once more: it has 2 s to say so.
    stage.at(3).cluster.report(1, Report::Started(run(1, 1, 0, 1)));
    assert_eq!(stage.at(26).replicas("web"), [(1, 0, ReplicaState::Starting)]);
    stage.cluster.now = second(27);
    let effects = stage.tell(Input::Timeout);
    assert_eq!(stopped(&effects), [(1, run(1, 1, 0, 1))]);
    let row = stage.replica("web", 0);
    assert_eq!((row.state, row.failures), (ReplicaState::BackingOff, 1));
    let Some(Outcome::Failed(Failure::Setup { message })) = row.outcome else { panic!() };
    assert!(message.contains("20 s"), "{message}");
}

#[test]
fn what_its_node_says_of_a_replica_that_is_never_ready_comes_before_the_cores_own_words() {
    let mut stage = stage(1, 4);
    stage.slow.insert(1);
    stage.deploy(&http(web(1), |http| http.readiness.start_ms = 20_000));
    stage.at(1).cluster.report(1, Report::Started(run(1, 1, 0, 1)));
    stage.at(24);
    let message = "it was not ready within 20000 ms: GET /: status 503".to_owned();
    let told = Outcome::Failed(Failure::Setup { message });
    stage.cluster.end(1, Stage::attempt(1, 0, 1), told.clone());
    assert_eq!(stage.replica("web", 0).outcome, Some(told));
    assert_eq!(stage.at(25).replica("web", 0).attempt, 2, "after its back-off");
}

#[test]
fn a_replica_that_leaves_its_log_when_it_goes_has_not_failed() {
    let mut stage = stage(1, 4);
    stage.busy.insert(1);
    stage.deploy(&web(2));
    stage.scale("web", ScaleTo::Replicas(1)).unwrap();
    let drained = stage.drained[0].1;
    stage.cluster.end(1, drained, Outcome::Failed(Failure::Cancelled));
    stage.obey();
    assert_eq!(stage.replicas("web"), [(1, 0, ReplicaState::Ready)]);
    let failed = |what: &ServiceHappened| matches!(what, ServiceHappened::ReplicaFailed { .. });
    assert!(!stage.detail("web").events.iter().any(|event| failed(&event.what)));
    // One that made room for others is started again at once, as one that has not failed.
    stage.cluster.end(1, Stage::attempt(1, 0, 1), Outcome::Failed(Failure::Cancelled));
    stage.at(1);
    let row = stage.replica("web", 0);
    assert_eq!((row.state, row.attempt), (ReplicaState::Ready, 2));
    assert_eq!((row.failures, row.outcome), (0, None));
}

#[test]
fn fetching_and_compiling_count_for_nothing_but_not_for_ever() {
    let mut stage = stage(1, 4);
    stage.slow.insert(1);
    stage.deploy(&http(web(1), |http| http.readiness.start_ms = 20_000));
    assert_eq!(stage.at(323).replica("web", 0).attempt, 1);
    assert_eq!(stage.at(324).replica("web", 0).state, ReplicaState::BackingOff);
}

#[test]
fn a_replica_whose_node_is_lost_starts_elsewhere_at_once_and_has_not_failed() {
    let mut stage = Stage::on(Cluster::with(Config { ..Config::default() }));
    stage.cluster.node(1, 4);
    stage.deploy(&web(1));
    stage.cluster.node(2, 4);
    stage.cluster.disconnect(1);
    assert_eq!(stage.endpoints("web"), [(1, 0, 1, 1)], "the node is only cut off as yet");
    for seconds in 1..=13 {
        stage.at(seconds);
        stage.tell(Input::Heartbeat { node: NodeId(2), beat: seconds });
    }
    assert_eq!(stage.endpoints("web"), [(1, 0, 2, 2)]);
    assert_eq!(stage.replica("web", 0).failures, 0);
}

#[test]
fn a_cut_off_replica_is_not_judged_before_its_node_has_had_time_to_tell() {
    let mut stage = stage(1, 4);
    stage.slow.insert(1);
    stage.deploy(&http(web(1), |http| http.readiness.start_ms = 20_000));
    stage.cluster.disconnect(1);
    stage.at(60);
    stage.cluster.reconnect(1, vec![run(1, 1, 0, 1)]);
    stage.readied(1, Stage::attempt(1, 0, 1), Readied::Ready);
    assert_eq!(stage.endpoints("web"), [(1, 0, 1, 1)]);
}

#[test]
fn a_program_that_is_done_is_started_again_only_if_it_says_so() {
    let mut stage = stage(1, 4);
    let mut spec = program(2);
    part(&mut spec).restart.when = RestartWhen::OnFailure;
    stage.deploy(&spec);
    stage.cluster.succeed(1, run(1, 1, 0, 1));
    assert_eq!(stage.replicas("consumer"), [(1, 1, ReplicaState::Ready)]);
    assert_eq!(stage.detail("consumer").row.state, ServiceState::Ready, "it waits for nothing");
    stage.cluster.fail(1, 1, 1, 1);
    assert_eq!(stage.replicas("consumer"), [(1, 1, ReplicaState::BackingOff)]);
    stage.scale("consumer", ScaleTo::Replicas(1)).unwrap();
    assert_eq!(stage.replicas("consumer").len(), 1, "the one that is done goes first");
    stage.scale("consumer", ScaleTo::Replicas(2)).unwrap();
    assert_eq!(stage.replica("consumer", 0).attempt, 2, "no attempt is used twice");
}

#[test]
fn a_program_that_always_runs_is_started_again_after_success() {
    let mut stage = stage(1, 4);
    stage.deploy(&program(1));
    stage.cluster.succeed(1, run(1, 1, 0, 1));
    assert_eq!(stage.replicas("consumer"), [(1, 0, ReplicaState::BackingOff)]);
    assert_eq!(stage.at(1).replicas("consumer"), [(1, 0, ReplicaState::Ready)]);
}
