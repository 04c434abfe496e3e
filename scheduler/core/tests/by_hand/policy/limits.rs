//! Quotas of partitions, classes of service and tenants.

use wrun_core::PendingReason;
use wrun_core::reason::{Bound, LimitReached, Scope};
use wrun_protocol::policy::{Limits, Partition, Policy, Qos, TenantPolicy};
use wrun_protocol::wire::policy::JobChange;
use wrun_protocol::wire::user::ErrorCode;
use wrun_protocol::{JobId, JobSpec, TenantName};

use crate::cluster::{Cluster, Machine, limited};

fn name(name: &str) -> TenantName {
    name.parse().unwrap()
}

fn tenant(of: &str, parent: Option<&str>, limits: Limits) -> TenantPolicy {
    let parent = parent.map(name);
    TenantPolicy { name: name(of), parent, shares: 1, default_qos: None, limits }
}

fn running(most: u64) -> Limits {
    Limits { running: Some(most), ..Limits::default() }
}

fn in_qos(qos: &str, spec: JobSpec) -> JobSpec {
    let mut spec = spec;
    spec.scheduling.qos = Some(qos.to_owned());
    spec
}

fn reached(cluster: &Cluster, job: JobId) -> LimitReached {
    match cluster.core.pending_reason(job) {
        Some(PendingReason::Limit(limit)) => limit,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tenant_and_those_below_it_have_no_more_than_its_limit_together() {
    let lab = tenant("lab", None, running(3));
    let tenants = vec![
        lab,
        tenant("ann", Some("lab"), running(2)),
        tenant("bob", Some("lab"), Limits::default()),
    ];
    let mut cluster = Cluster::under(Policy { tenants, ..Policy::default() });
    cluster.node(1, 8);
    let anns = cluster.lasting("ann", 10, &limited(4, 10));
    let bobs = cluster.lasting("bob", 15, &limited(2, 15));
    cluster.lasting("eve", 100, &limited(2, 100));
    assert_eq!(cluster.schedule(), [(0, 1, 2), (0, 2, 1), (0, 3, 2)]);
    let of_ann =
        LimitReached { scope: Scope::Tenant(name("ann")), bound: Bound::Running, most: 2, used: 2 };
    assert_eq!(reached(&cluster, anns), of_ann);
    assert_eq!(of_ann.to_string(), "tenant ann has 2 tasks placed, of at most 2");
    let of_lab = LimitReached { scope: Scope::Tenant(name("lab")), most: 3, used: 3, ..of_ann };
    assert_eq!(reached(&cluster, bobs), of_lab);
    cluster.at(14);
    // At 10 ann's two end. Bob, who used less, has his second task first; one of ann's
    // has room with it.
    assert_eq!(cluster.schedule()[3..], [(10, 2, 1), (10, 1, 1)]);
    cluster.at(100);
    assert_eq!(cluster.schedule()[5..], [(15, 1, 1)]);
}

#[test]
fn a_class_bounds_each_tenant_and_all_together_and_may_be_exempt_from_other_limits() {
    let cpu = |milli| Limits { cpu_milli: Some(milli), ..Limits::default() };
    let scarce = Qos {
        name: "scarce".to_owned(),
        tenant_limits: cpu(1500),
        limits: cpu(2000),
        ..Qos::default()
    };
    let free = Qos { name: "free".to_owned(), exempt: true, ..Qos::default() };
    let tenants = vec![tenant("ann", None, running(1))];
    let mut cluster =
        Cluster::under(Policy { qos: vec![scarce, free], tenants, ..Policy::default() });
    cluster.node(1, 16);
    let mut half = in_qos("scarce", limited(4, 10));
    half.resources.cpu_milli = 500;
    let ann = cluster.lasting("ann", 10, &half);
    let bob = cluster.lasting("bob", 10, &half);
    let eve = cluster.lasting("eve", 10, &half);
    cluster.lasting("ann", 10, &in_qos("free", limited(3, 10)));
    // Ann has one by her own limit, bob three by the class's for each, and eve none.
    assert_eq!(cluster.schedule(), [(0, 1, 1), (0, 2, 3), (0, 4, 3)]);
    assert_eq!(reached(&cluster, ann).scope, Scope::Tenant(name("ann")));
    assert_eq!(reached(&cluster, bob).scope, Scope::QosTenant("scarce".to_owned(), name("bob")));
    let all = reached(&cluster, eve);
    assert_eq!((all.scope, all.bound), (Scope::Qos("scarce".to_owned()), Bound::Cpu));
    assert_eq!((all.used, all.most), (2000, 2000));
}

#[test]
fn more_tasks_than_may_be_queued_are_refused_until_some_have_ended() {
    let limits = Limits { queued: Some(5), ..Limits::default() };
    let tenants = vec![tenant("ann", None, limits)];
    let mut cluster = Cluster::under(Policy { tenants, ..Policy::default() });
    cluster.node(1, 1);
    cluster.lasting("ann", 10, &limited(4, 10));
    let error = cluster.refused("ann", &limited(2, 10));
    assert_eq!(error.code, ErrorCode::LimitReached);
    assert!(error.message.contains("tenant ann has 4 tasks that have not ended, of at most 5"));
    cluster.at(10);
    cluster.lasting("ann", 10, &limited(2, 10));
}

#[test]
fn what_waits_for_a_quota_goes_on_by_rank_when_it_shrinks() {
    let partition =
        Partition { name: "all".to_owned(), limits: running(1), ..Partition::default() };
    let mut cluster = Cluster::under(Policy { partitions: vec![partition], ..Policy::default() });
    cluster.node(1, 8);
    for priority in [0, 1, 3, 2] {
        cluster.lasting("ann", 10, &JobSpec { priority, ..limited(1, 10) });
    }
    cluster.at(35);
    assert_eq!(cluster.schedule(), [(0, 1, 1), (10, 3, 1), (20, 4, 1), (30, 2, 1)]);
}

#[test]
fn a_wider_limit_counts_at_once_and_a_narrower_one_for_what_is_placed_later() {
    let policy =
        |most| Policy { tenants: vec![tenant("ann", None, running(most))], ..Policy::default() };
    let mut cluster = Cluster::under(policy(1));
    cluster.node(1, 8);
    let array = cluster.lasting("ann", 10, &limited(6, 10));
    cluster.at(1);
    cluster.set_policy(policy(3)).unwrap();
    assert_eq!(cluster.schedule(), [(0, 1, 1), (1, 1, 2)]);
    cluster.set_policy(policy(1)).unwrap();
    assert_eq!(reached(&cluster, array).used, 3);
    cluster.at(11);
    assert_eq!(cluster.schedule(), [(0, 1, 1), (1, 1, 2), (11, 1, 1)]);
}

#[test]
fn a_job_that_is_moved_takes_what_it_has_out_of_one_quota_into_another() {
    let classes = ["one", "other"].map(|name| Qos {
        name: name.to_owned(),
        limits: running(2),
        ..Qos::default()
    });
    let mut cluster = Cluster::under(Policy { qos: classes.to_vec(), ..Policy::default() });
    cluster.node(1, 8);
    let first = cluster.lasting("ann", 10, &in_qos("one", limited(2, 10)));
    let second = cluster.lasting("ann", 10, &in_qos("one", limited(2, 10)));
    assert_eq!(cluster.schedule(), [(0, 1, 2)]);
    let change = JobChange::Qos(Some("other".to_owned()));
    cluster.change(first, change).unwrap();
    assert_eq!(cluster.schedule(), [(0, 1, 2), (0, 2, 2)]);
    assert_eq!(cluster.core.pending_reason(second), None);
    let third = cluster.lasting("ann", 10, &in_qos("other", limited(1, 10)));
    assert_eq!(reached(&cluster, third).scope, Scope::Qos("other".to_owned()));
}

#[test]
fn a_partition_is_its_nodes_by_name_or_labels() {
    let fast = Partition {
        name: "fast".to_owned(),
        labels: [("disk".to_owned(), "ssd".to_owned())].into(),
        ..Partition::default()
    };
    let old = Partition {
        name: "old".to_owned(),
        nodes: ["node-1".to_owned()].into(),
        default: true,
        ..Partition::default()
    };
    let mut cluster = Cluster::under(Policy { partitions: vec![fast, old], ..Policy::default() });
    cluster.node(1, 1);
    cluster.join(2, Machine::of(4).labels(&[("disk", "ssd")]));
    cluster.node(3, 4);
    let in_fast = |count| {
        let mut spec = limited(count, 10);
        spec.scheduling.partition = Some("fast".to_owned());
        spec
    };
    cluster.lasting("ann", 10, &limited(2, 10));
    cluster.lasting("ann", 10, &in_fast(5));
    let place = |cluster: &Cluster, job, index| {
        cluster.core.task_location(JobId(job).task(index)).map(|(node, ..)| node.0)
    };
    assert_eq!(place(&cluster, 1, 0), Some(1));
    assert_eq!(place(&cluster, 1, 1), None, "two nodes stand idle, and are not of its partition");
    assert_eq!(
        (0..5).map(|task| place(&cluster, 2, task)).collect::<Vec<_>>(),
        [Some(2), Some(2), Some(2), Some(2), None]
    );
    let mut large = in_fast(1);
    large.resources.memory = 65 << 30;
    let error = cluster.refused("ann", &large);
    assert!(error.message.contains("no node of partition `fast`"), "{error}");
}
