use wrun_core::PendingReason;
use wrun_protocol::policy::{Policy, Qos};
use wrun_protocol::scheduling::Arrangement;
use wrun_protocol::service::ServiceKind;
use wrun_protocol::wire::service::{ReplicaState, ScaleTo};
use wrun_protocol::wire::user::TaskState;
use wrun_protocol::{JobId, JobSpec};

use super::stage::{Stage, part, program, stage, web};
use crate::cluster::{Cluster, job};

/// Class `live` may pre-empt class `bulk`.
fn classes() -> Policy {
    let bulk = Qos { name: "bulk".to_owned(), ..Qos::default() };
    let preempts = ["bulk".to_owned()].into();
    let live = Qos { name: "live".to_owned(), priority: 1, preempts, ..Qos::default() };
    Policy { qos: vec![bulk, live], ..Policy::default() }
}

fn of_class(mut spec: JobSpec, class: &str) -> JobSpec {
    spec.scheduling.qos = Some(class.to_owned());
    spec
}

#[test]
fn batch_work_is_frozen_for_replicas_and_goes_on_when_the_load_falls() {
    let mut cluster = Cluster::under(classes());
    cluster.node(1, 4);
    let batch = cluster.queue(&of_class(job(4), "bulk"));
    let mut stage = Stage::on(cluster);
    stage.deploy(&of_class(web(1), "live"));
    stage.at(1);
    let frozen = |stage: &Stage| {
        let tasks = stage.cluster.core.tasks(batch, 0, 10, None);
        tasks.iter().filter(|task| task.state == TaskState::Frozen).count()
    };
    assert_eq!((frozen(&stage), stage.endpoints("web").len()), (1, 1));
    stage.scale("web", ScaleTo::Replicas(3)).unwrap();
    stage.at(2);
    assert_eq!((frozen(&stage), stage.endpoints("web").len()), (3, 3));
    stage.scale("web", ScaleTo::Replicas(1)).unwrap();
    stage.at(3);
    assert_eq!((frozen(&stage), stage.endpoints("web").len()), (1, 1));
    stage.undeploy("web").unwrap();
    assert_eq!(frozen(&stage), 0);
    assert_eq!(stage.cluster.counts(batch.0), [0, 4, 0, 0, 0], "nothing of it was lost");
}

#[test]
fn a_replica_that_is_frozen_for_others_gets_no_requests_meanwhile() {
    let mut cluster = Cluster::under(classes());
    cluster.node(1, 1);
    let mut stage = Stage::on(cluster);
    stage.deploy(&of_class(web(1), "bulk"));
    assert_eq!(stage.endpoints("web").len(), 1);
    let urgent = stage.cluster.queue(&of_class(job(1), "live"));
    stage.at(1);
    assert_eq!(stage.endpoints("web"), []);
    stage.cluster.finish(urgent);
    stage.obey();
    assert_eq!(stage.endpoints("web"), [(1, 0, 1, 1)], "it is the same attempt");
}

#[test]
fn where_fewer_are_wanted_those_that_are_frozen_go_and_those_with_requests_stay() {
    let mut cluster = Cluster::under(classes());
    cluster.node(1, 2);
    let mut stage = Stage::on(cluster);
    stage.deploy(&of_class(web(2), "bulk"));
    let urgent = stage.cluster.queue(&of_class(job(1), "live"));
    stage.at(1);
    let serving = stage.endpoints("web");
    assert_eq!(serving.len(), 1);
    stage.scale("web", ScaleTo::Replicas(1)).unwrap();
    assert_eq!(stage.endpoints("web"), serving);
    stage.cluster.finish(urgent);
    stage.obey();
    assert_eq!(stage.endpoints("web"), serving);
}

#[test]
fn replicas_are_spread_over_nodes() {
    let mut stage = stage(3, 4);
    stage.deploy(&web(3));
    assert_eq!(stage.cluster.places(JobId(1)), [(1, 1), (2, 1), (3, 1)]);
    stage.scale("web", ScaleTo::Replicas(6)).unwrap();
    assert_eq!(stage.cluster.places(JobId(1)), [(1, 2), (2, 2), (3, 2)]);
}

fn listening(name: &str, replicas: u32) -> JobSpec {
    let mut spec = JobSpec { name: name.to_owned(), ..program(replicas) };
    let ServiceKind::Program(program) = &mut part(&mut spec).kind else { panic!() };
    program.ports = vec![5432];
    spec
}

#[test]
fn no_two_replicas_that_want_a_port_are_on_one_node() {
    let mut stage = stage(2, 8);
    stage.deploy(&listening("one", 1));
    stage.deploy(&listening("two", 2));
    assert_eq!(stage.cluster.places(JobId(1)), [(1, 1)]);
    assert_eq!(stage.cluster.places(JobId(2)), [(2, 1)]);
    let reason = stage.cluster.core.pending_reason(JobId(2));
    assert!(matches!(reason, Some(PendingReason::Arranged { .. })), "{reason:?}");
    stage.undeploy("one").unwrap();
    assert_eq!(stage.cluster.places(JobId(2)), [(1, 1), (2, 1)]);
    let mut together = listening("three", 2);
    together.scheduling.arrangement = Arrangement::SameNode;
    assert!(stage.deploy_as("ann", &together).is_err());
}

#[test]
fn usage_counts_a_replica_for_as_long_as_it_is_on_its_node() {
    let mut stage = stage(1, 4);
    stage.deploy(&web(2));
    stage.at(10);
    stage.busy.insert(1);
    stage.scale("web", ScaleTo::Replicas(1)).unwrap();
    stage.at(20);
    assert_eq!(stage.replicas("web")[1].2, ReplicaState::Draining);
    stage.cluster.preempted(1, 1, 1, 1);
    stage.at(30);
    let used = stage.cluster.core.shares().iter().map(|row| row.cpu_milli_ms).max();
    assert_eq!(used, Some((20 + 30) * 1000 * 1000));
}
