//! Gateways tell of load, and there are as many replicas as it asks for.

use wrun_core::{Effect, Fact, Input};
use wrun_protocol::service::ScaleOn;
use wrun_protocol::wire::service::{
    LoadRow, Readied, ReplicaState, RevisionLoad, ScaleTo, ScaledBy, ServiceHappened, ServiceLoad,
    ServiceState,
};
use wrun_protocol::{JobSpec, NodeId, Timestamp};

use super::stage::{Stage, changed, id, part, program, stage, told_first, web};
use crate::cluster::{Cluster, second};

/// A service that is to have one request at once for each replica.
fn scaled(min: u32, max: u32) -> JobSpec {
    let mut spec = web(min);
    part(&mut spec).scale.max = max;
    part(&mut spec).scale.on = Some(ScaleOn::Concurrency { milli: 1000 });
    spec
}

/// What a gateway has seen in a second: so many requests at once, and so many that wait.
pub(crate) fn load(revision: u32, at_once: u32, errors: u64, waiting: u32) -> ServiceLoad {
    let busy = RevisionLoad {
        revision,
        in_flight: at_once,
        busy_ms: u64::from(at_once) * 1000,
        requests: u64::from(at_once) * 10,
        errors,
        latency: vec![0, 0, 0, u64::from(at_once) * 10],
    };
    ServiceLoad { id: id("web"), over_ms: 1000, waiting, revisions: vec![busy] }
}

pub(crate) fn tell(stage: &mut Stage, node: u64, load: ServiceLoad) -> Vec<Effect> {
    stage.tell(Input::Load { node: NodeId(node), loads: vec![load] })
}

/// So many seconds under so many requests at once, told by two gateways.
fn under(stage: &mut Stage, seconds: u64, at_once: u32) {
    for _ in 0..seconds {
        stage.cluster.wait(1000);
        stage.obey();
        tell(stage, 1, load(1, at_once / 2, 0, 0));
        tell(stage, 2, load(1, at_once - at_once / 2, 0, 0));
    }
}

/// A service with at most so many replicas that sleeps, five minutes after the begin.
fn sleeping(max: u32) -> Stage {
    let mut stage = stage(2, 8);
    stage.deploy(&scaled(0, max));
    stage.at(300);
    assert_eq!(stage.detail("web").row.state, ServiceState::Asleep);
    stage
}

fn scalings(stage: &Stage) -> Vec<(u32, u32, ScaledBy)> {
    let events = stage.detail("web").events.into_iter().rev();
    let of = |event: wrun_protocol::wire::service::ServiceEvent| match event.what {
        ServiceHappened::Scaled { from, to, why } => Some((from, to, why)),
        _ => None,
    };
    events.filter_map(of).collect()
}

#[test]
fn the_first_request_wakes_a_service_that_sleeps_and_silence_puts_it_to_sleep_again() {
    let mut stage = sleeping(5);
    let effects = tell(&mut stage, 1, load(1, 0, 0, 1));
    assert!(matches!(
        effects.first(),
        Some(Effect::Append(Fact::ServiceScaled { to: 1, why: ScaledBy::Request, .. }))
    ));
    assert_eq!(stage.endpoints("web").len(), 1, "it is ready in the same instant");
    assert_eq!(stage.at(599).detail("web").row.wanted, 1);
    assert_eq!(stage.at(600).detail("web").row.wanted, 0);
    let woken = [(0, 1, ScaledBy::Request), (1, 0, ScaledBy::Idle)];
    assert_eq!(scalings(&stage)[2..], woken);
    assert_eq!(stage.detail("web").row.state, ServiceState::Asleep);
    let idle = stage.cluster.core.poll_timeout();
    assert!(idle.is_none_or(|at| at > second(1_000_000)), "nothing is due while it sleeps");
}

#[test]
fn a_revision_is_tried_before_it_sleeps() {
    let mut stage = sleeping(5);
    assert_eq!(scalings(&stage), [(0, 1, ScaledBy::Trial), (1, 0, ScaledBy::Idle)]);
    stage.slow.extend([1, 2]);
    stage.deploy(&changed(scaled(0, 5), "2"));
    assert_eq!(stage.detail("web").row.wanted, 1);
    // For as long as it takes, and its idle time from then on.
    stage.at(320);
    let row = stage.detail("web").replicas.into_iter().find(|row| row.revision == 2).unwrap();
    assert_eq!(row.state, ReplicaState::Starting);
    stage.readied(row.node.unwrap().0, Stage::attempt(2, 0, 1), Readied::Ready);
    stage.obey();
    let detail = stage.detail("web");
    assert_eq!((detail.row.state, detail.rollout), (ServiceState::Ready, None));
    assert_eq!(stage.at(619).detail("web").row.state, ServiceState::Ready);
    assert_eq!(stage.at(620).detail("web").row.state, ServiceState::Asleep);
    // Somebody has switched it off.
    stage.scale("web", ScaleTo::Replicas(0)).unwrap();
    stage.deploy(&changed(scaled(0, 5), "3"));
    let detail = stage.detail("web");
    assert_eq!((detail.row.state, detail.rollout), (ServiceState::Asleep, None));
}

#[test]
fn a_broken_revision_of_a_service_that_sleeps_is_taken_back() {
    let mut stage = sleeping(5);
    stage.slow.extend([1, 2]);
    stage.deploy(&changed(scaled(0, 5), "2"));
    for attempt in 1..=3 {
        let row = stage.detail("web").replicas.into_iter().find(|row| row.revision == 2);
        stage.cluster.fail(row.and_then(|row| row.node).unwrap().0, 2, 0, attempt);
        stage.obey();
        let now = stage.cluster.now.since(crate::cluster::BEGIN).as_secs();
        stage.at(now + 5);
    }
    assert_eq!(stage.detail("web").row.revision, 1);
    // The one that is in place was woken too, in case a request came; it sleeps again.
    assert_eq!(stage.at(700).detail("web").row.state, ServiceState::Asleep);
    assert_eq!(stage.replicas("web"), []);
}

#[test]
fn what_was_fixed_by_a_user_falls_when_it_is_not_any_more_though_no_load_is_told() {
    let mut stage = stage(2, 8);
    stage.deploy(&scaled(1, 12));
    stage.scale("web", ScaleTo::Replicas(6)).unwrap();
    stage.scale("web", ScaleTo::Specified).unwrap();
    assert_eq!(stage.at(200).detail("web").row.wanted, 1);
    let first = (0, 1, ScaledBy::Specification);
    let fixed = (1, 6, ScaledBy::User);
    assert_eq!(scalings(&stage)[..2], [first, fixed]);
}

#[test]
fn many_that_wait_for_the_first_replica_wake_as_many_as_they_need() {
    let mut stage = sleeping(5);
    tell(&mut stage, 1, load(1, 0, 0, 3));
    assert_eq!(stage.endpoints("web").len(), 3);
}

#[test]
fn there_are_more_replicas_when_the_load_grows_and_fewer_when_it_falls() {
    let mut stage = stage(2, 8);
    stage.deploy(&scaled(1, 12));
    under(&mut stage, 10, 10);
    assert_eq!(stage.detail("web").row.ready, 10);
    let seen = stage.detail("web").load.unwrap();
    // Over the window of a minute, of which ten seconds had a load.
    assert_eq!((seen.window_ms, seen.requests, seen.waiting), (60_000, 1000, 0));
    assert!((1_600..1_700).contains(&seen.concurrency_milli), "{seen:?}");
    under(&mut stage, 200, 2);
    assert_eq!(stage.detail("web").row.wanted, 3);
    let ups = scalings(&stage);
    let turns = ups.windows(2).filter(|two| (two[0].1 > two[0].0) != (two[1].1 > two[1].0));
    assert_eq!(turns.count(), 1, "{ups:?}");
    // Nothing more is told: it falls to its minimum, and then nothing is due any more.
    assert_eq!(stage.at(700).detail("web").row.wanted, 1);
    assert_eq!(stage.detail("web").load, Some(LoadRow::default()));
    assert!(stage.cluster.core.poll_timeout().is_none_or(|at| at > second(1_000_000)));
}

#[test]
fn a_load_is_not_recorded_but_what_follows_from_it_is() {
    let mut stage = stage(2, 8);
    stage.deploy(&scaled(2, 12));
    let facts = stage.cluster.journal.len();
    under(&mut stage, 30, 1);
    assert_eq!(stage.cluster.journal.len(), facts);
    under(&mut stage, 10, 12);
    let scaled = |fact: &&Fact| matches!(fact, Fact::ServiceScaled { .. });
    assert!(stage.cluster.journal[facts..].iter().any(|fact| scaled(&fact)));
}

#[test]
fn after_a_restart_nothing_goes_down_before_the_load_of_a_whole_window_is_known() {
    let mut stage = stage(2, 8);
    stage.deploy(&scaled(1, 12));
    under(&mut stage, 10, 10);
    let begin = 1000;
    let mut core = Cluster::recovered(&stage.cluster.journal);
    core.start(second(begin));
    let mut wanted = |seconds: u64| {
        let now = second(begin + seconds);
        while let Some(at) = core.poll_timeout().filter(|at| *at <= now) {
            core.handle(at, Input::Timeout);
            while core.poll_effect().is_some() {}
        }
        core.service(&id("web")).unwrap().row.wanted
    };
    assert_eq!(wanted(59), 10);
    assert_eq!(wanted(63), 1);
}

#[test]
fn what_a_user_says_comes_before_the_load() {
    let mut stage = stage(2, 8);
    stage.deploy(&scaled(0, 12));
    under(&mut stage, 10, 6);
    assert_eq!(stage.detail("web").row.wanted, 6);
    stage.scale("web", ScaleTo::Replicas(2)).unwrap();
    under(&mut stage, 10, 6);
    assert_eq!(stage.detail("web").row.wanted, 2);
    stage.scale("web", ScaleTo::Replicas(0)).unwrap();
    tell(&mut stage, 1, load(1, 0, 0, 9));
    assert_eq!(stage.detail("web").row.wanted, 0, "it was switched off");
    stage.scale("web", ScaleTo::Bounds { min: 1, max: 4 }).unwrap();
    under(&mut stage, 10, 6);
    assert_eq!(stage.detail("web").row.wanted, 4);
    stage.scale("web", ScaleTo::Specified).unwrap();
    under(&mut stage, 1, 6);
    assert_eq!(stage.detail("web").row.wanted, 6);
    let events = scalings(&stage);
    assert!(events.contains(&(2, 0, ScaledBy::User)), "{events:?}");
}

#[test]
fn loads_of_what_is_no_service_or_is_none_any_more_do_nothing() {
    let mut stage = stage(2, 8);
    tell(&mut stage, 1, load(1, 5, 0, 5));
    stage.deploy(&program(1));
    let mut of_program = load(1, 5, 0, 5);
    of_program.id = id("consumer");
    tell(&mut stage, 1, of_program);
    assert_eq!(stage.detail("consumer").load, None);
    stage.deploy(&scaled(1, 5));
    stage.busy.extend([1, 2]);
    stage.undeploy("web").unwrap();
    tell(&mut stage, 1, load(1, 5, 0, 5));
    assert_eq!(stage.detail("web").row.wanted, 0);
    let unheard = Input::Load { node: NodeId(77), loads: vec![load(9, u32::MAX, u64::MAX, 1)] };
    stage.tell(unheard);
    stage.tell(Input::Timeout);
}

#[test]
fn gateways_are_told_of_what_the_load_brought_before_it_is_recorded() {
    let mut stage = stage(2, 8);
    stage.deploy(&scaled(1, 12));
    stage.slow.insert(1);
    stage.slow.insert(2);
    under(&mut stage, 3, 10);
    let attempt = Stage::attempt(1, 1, 1);
    let node = stage.replica("web", 1).node.unwrap().0;
    assert!(told_first(&stage.readied(node, attempt, Readied::Ready), "web"));
}

#[test]
fn a_new_revision_with_other_bounds_is_scaled_by_those() {
    let mut stage = stage(2, 8);
    stage.deploy(&scaled(1, 12));
    under(&mut stage, 10, 10);
    stage.deploy(&changed(scaled(1, 4), "2"));
    assert_eq!(stage.detail("web").row.wanted, 4);
    assert_eq!(stage.cluster.now, Timestamp(second(10).0));
}
