//! What starts at once and never could: refused, or said where it came about later.

use wrun_core::PendingReason;
use wrun_core::reason::{Bound, LimitReached, Scope};
use wrun_protocol::policy::{Limits, Partition, Policy, Qos, TenantPolicy};
use wrun_protocol::scheduling::Arrangement;
use wrun_protocol::wire::policy::JobChange;
use wrun_protocol::wire::user::ErrorCode;
use wrun_protocol::{JobId, JobSpec};

use crate::cluster::{Cluster, limited};

fn gang(count: u32) -> JobSpec {
    let mut spec = limited(count, 10);
    spec.scheduling.gang = true;
    spec
}

fn of_class(class: &str, mut spec: JobSpec) -> JobSpec {
    spec.scheduling.qos = Some(class.to_owned());
    spec
}

/// A class whose jobs may have so much together.
fn class(limits: Limits) -> Policy {
    let qos = vec![Qos { name: "scarce".to_owned(), limits, ..Qos::default() }];
    Policy { qos, ..Policy::default() }
}

fn refusal(cluster: &mut Cluster, spec: &JobSpec) -> (ErrorCode, String) {
    let error = cluster.refused("ann", spec);
    (error.code, error.message)
}

#[test]
fn a_gang_above_what_its_class_may_ever_have_is_refused_with_both_figures() {
    let memory = Some(8 << 30);
    let most = Limits { running: Some(3), cpu_milli: Some(2500), memory, ..Limits::default() };
    let mut cluster = Cluster::under(class(most));
    cluster.node(1, 16);
    let (code, message) = refusal(&mut cluster, &of_class("scarce", gang(4)));
    assert_eq!(code, ErrorCode::LimitReached);
    let expected = "a gang of 4 tasks takes 4 tasks placed, and QoS `scarce` may never have more than 3 tasks placed";
    assert!(message.starts_with(expected), "{message}");
    let (_, message) = refusal(&mut cluster, &of_class("scarce", gang(3)));
    assert!(message.contains("takes 3 CPU") && message.contains("than 2.5 CPU"), "{message}");
    let mut wide = limited(1, 10);
    wide.resources.memory = 9 << 30;
    let (_, message) = refusal(&mut cluster, &of_class("scarce", wide));
    assert!(message.starts_with("a task takes 9 GiB memory"), "{message}");
    // What fits starts, and four tasks that need not start together do so in turn.
    cluster.lasting("ann", 10, &of_class("scarce", gang(2)));
    cluster.lasting("ann", 10, &of_class("scarce", limited(4, 10)));
    assert_eq!(cluster.schedule(), [(0, 1, 2)]);
}

#[test]
fn memory_gpu_and_the_limits_of_partitions_and_tenants_count_as_well() {
    let tenant = |limits| {
        let name = "ann".parse().unwrap();
        let tenant = TenantPolicy { name, parent: None, shares: 1, default_qos: None, limits };
        Policy { tenants: vec![tenant], ..Policy::default() }
    };
    let each = limited(1, 10).resources.memory;
    let mut cluster =
        Cluster::under(tenant(Limits { memory: Some(2 * each), ..Limits::default() }));
    cluster.node(1, 16);
    let (_, message) = refusal(&mut cluster, &gang(3));
    assert!(message.contains("tenant ann may never have more than"), "{message}");
    let mut cluster = Cluster::under(tenant(Limits { gpu_milli: Some(999), ..Limits::default() }));
    let mut spec = gang(2);
    spec.scheduling.devices.gpu =
        Some(wrun_protocol::scheduling::GpuRequest { milli: 500, memory: 0, models: Vec::new() });
    let (_, message) = refusal(&mut cluster, &spec);
    assert!(message.contains("takes 1 GPU"), "{message}");
    let partition = Partition {
        name: "small".to_owned(),
        limits: Limits { running: Some(1), ..Limits::default() },
        ..Partition::default()
    };
    let mut cluster = Cluster::under(Policy { partitions: vec![partition], ..Policy::default() });
    let (_, message) = refusal(&mut cluster, &gang(2));
    assert!(message.contains("partition `small`"), "{message}");
}

#[test]
fn a_change_of_class_that_would_make_a_gang_impossible_is_refused() {
    let mut cluster = Cluster::under(class(Limits { running: Some(3), ..Limits::default() }));
    cluster.lasting("ann", 10, &gang(4));
    let change = JobChange::Qos(Some("scarce".to_owned()));
    assert_eq!(cluster.change(JobId(1), change).unwrap_err().code, ErrorCode::LimitReached);
}

#[test]
fn a_gang_that_a_new_policy_makes_impossible_waits_and_says_so_until_the_next() {
    let at_most = |most| class(Limits { running: Some(most), ..Limits::default() });
    let mut cluster = Cluster::under(at_most(4));
    cluster.node(1, 4);
    cluster.lasting("ann", 10, &limited(4, 10));
    let waits = cluster.lasting("ann", 10, &of_class("scarce", gang(4)));
    assert!(matches!(
        cluster.core.pending_reason(waits),
        Some(PendingReason::WaitsForCapacity { .. })
    ));
    cluster.set_policy(at_most(3)).unwrap();
    cluster.at(20);
    let scope = Scope::Qos("scarce".to_owned());
    let limit = LimitReached { scope, bound: Bound::Running, most: 3, used: 0 };
    let beyond = PendingReason::BeyondLimit { limit, takes: 4, gang: 4 };
    assert_eq!(cluster.core.pending_reason(waits), Some(beyond));
    assert_eq!(cluster.schedule(), [(0, 1, 4)], "it never starts");
    cluster.set_policy(at_most(4)).unwrap();
    assert_eq!(cluster.schedule(), [(0, 1, 4), (20, 2, 4)], "now it may");
}

#[test]
fn a_gang_larger_than_the_nodes_that_are_ready_says_how_many_they_hold() {
    let mut cluster = Cluster::new();
    cluster.node(1, 2);
    cluster.node(2, 3);
    cluster.drain(2, true);
    let waits = cluster.lasting("ann", 10, &gang(5));
    let beyond = PendingReason::GangBeyondNodes { gang: 5, places: 2 };
    assert_eq!(cluster.core.pending_reason(waits), Some(beyond));
    cluster.drain(2, false);
    assert_eq!(cluster.schedule(), [(0, 1, 2), (0, 1, 3)]);
    let mut one_node = gang(4);
    one_node.scheduling.arrangement = Arrangement::SameNode;
    assert_eq!(refusal(&mut cluster, &one_node).0, ErrorCode::Unsatisfiable, "each holds three");
    let mut apart = gang(3);
    apart.scheduling.arrangement = Arrangement::DifferentNodes;
    assert_eq!(refusal(&mut cluster, &apart).0, ErrorCode::Unsatisfiable, "there are two");
}

#[test]
fn a_gang_that_takes_more_slots_than_a_pool_has_is_refused() {
    let pools = [("licence".to_owned(), 5)].into();
    let mut cluster = Cluster::under(Policy { pools, ..Policy::default() });
    cluster.node(1, 8);
    let mut spec = gang(3);
    spec.scheduling.devices.pools.insert("licence".to_owned(), 2);
    let (code, message) = refusal(&mut cluster, &spec);
    assert_eq!(code, ErrorCode::Unsatisfiable);
    assert!(message.contains("hold 2 at once"), "{message}");
}
