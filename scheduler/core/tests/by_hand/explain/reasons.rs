//! Every reason why a job waits, and what is said of it.

use std::collections::{BTreeMap, BTreeSet};

use wrun_core::reason::{Amount, Nodes};
use wrun_core::{Config, Core, Input, PendingReason, RequestId};
use wrun_protocol::node::NodeInfo;
use wrun_protocol::policy::{Limits, Partition, Policy, QueueOrder, TenantPolicy};
use wrun_protocol::scheduling::{Dependency, DependsOn, Offer};
use wrun_protocol::{JobId, NodeId, Resources};

use wrun_protocol::job::EncodedSpec;
use wrun_protocol::policy::Weights;
use wrun_protocol::reservation::{Reservation, Reserved};
use wrun_protocol::wire::worker::ComponentKind;

use crate::cluster::{BEGIN, Cluster, Machine, job, limited, second, submit_id};

pub(crate) fn codes(cluster: &Cluster, job: JobId) -> Vec<(String, Option<u32>)> {
    let explanation = cluster.core.explain(job).unwrap();
    explanation.reasons.into_iter().map(|row| (row.code, row.nodes)).collect()
}

pub(crate) fn expect(cluster: &Cluster, job: JobId, wanted: &[(&str, Option<u32>)]) {
    let wanted: Vec<_> = wanted.iter().map(|(code, nodes)| ((*code).to_owned(), *nodes)).collect();
    assert_eq!(codes(cluster, job), wanted);
}

#[test]
fn without_nodes_there_is_that_to_say() {
    let mut cluster = Cluster::new();
    let waiting = cluster.lasting("ann", 10, &limited(1, 10));
    expect(&cluster, waiting, &[("no-nodes", None)]);
    assert_eq!(cluster.core.explain(waiting).unwrap().position, Some(1));
}

#[test]
fn nodes_are_counted_by_what_each_lacks() {
    let fast = Partition {
        name: "fast".to_owned(),
        labels: [("disk".to_owned(), "ssd".to_owned())].into(),
        ..Partition::default()
    };
    let mut cluster = Cluster::under(Policy { partitions: vec![fast], ..Policy::default() });
    let ssd = ("disk", "ssd");
    cluster.node(1, 4);
    cluster.node(2, 4);
    cluster.join(3, Machine::of(4).labels(&[ssd]));
    cluster.join(4, Machine::of(4).labels(&[ssd, ("zone", "a")]));
    cluster.join(5, Machine::of(1).labels(&[ssd, ("zone", "a")]));
    let request = RequestId(1);
    cluster.handle(Input::SetDrain { request, node: NodeId(4), drain: true });
    let mut spec = limited(2, 10);
    spec.labels.insert("zone".to_owned(), "a".to_owned());
    let waiting = cluster.lasting("ann", 10, &spec);
    expect(
        &cluster,
        waiting,
        &[
            ("no-capacity", None),
            ("outside-partition", Some(2)),
            ("lacks-label", Some(1)),
            ("not-ready", Some(1)),
            ("full", Some(1)),
        ],
    );
    let texts: Vec<String> =
        cluster.core.pending_reasons(waiting).iter().map(ToString::to_string).collect();
    assert_eq!(
        texts[1..],
        [
            "2 nodes are not in partition `fast`",
            "1 node is without the label zone=a",
            "1 node (node-4) is not connected, drained or lost",
            "1 node is full: not enough CPU left",
        ]
    );
}

#[test]
fn a_node_that_is_too_small_is_so_for_a_resource() {
    let mut cluster = Cluster::new();
    let mut spec = limited(1, 10);
    spec.resources.memory = 5 << 30;
    let waiting = cluster.lasting("ann", 10, &spec);
    cluster.node(1, 1);
    expect(&cluster, waiting, &[("no-node-fits", None), ("too-small", Some(1))]);
    let reasons = cluster.core.pending_reasons(waiting);
    let nodes = Nodes { count: 1, names: Vec::new() };
    assert_eq!(reasons[1], PendingReason::TooSmall { amount: Amount::Memory, nodes });
    let advice = cluster.core.explain(waiting).unwrap().advice;
    assert!(advice[0].contains("the largest has 1 CPU, 4 GiB memory"), "{advice:?}");
}

#[test]
fn who_stands_before_it_and_where_it_stands() {
    let order = QueueOrder::ShortestFirst;
    let mut cluster = Cluster::under(Policy { order, ..Policy::default() });
    cluster.node(1, 1);
    cluster.lasting("ann", 10, &limited(1, 10));
    let long = cluster.lasting("ann", 30, &limited(3, 30));
    let short = cluster.lasting("bob", 10, &limited(1, 10));
    let other = cluster.lasting("bob", 30, &limited(1, 30));
    let position = |job| cluster.core.explain(job).unwrap().position;
    assert_eq!([short, long, other].map(position), [Some(1), Some(2), Some(3)]);
    expect(&cluster, long, &[("no-capacity", None), ("behind", None), ("full", Some(1))]);
    assert_eq!(cluster.core.pending_reasons(long)[1], PendingReason::Behind { job: short });
    let queue = cluster.core.queue(10);
    let rows: Vec<_> = queue.iter().map(|row| (row.job, row.waiting, row.priority)).collect();
    assert_eq!(rows, [(short, 1, -10_000), (long, 3, -30_000), (other, 1, -30_000)]);
    assert_eq!(cluster.core.queue(1).len(), 1);
}

#[test]
fn what_keeps_a_job_back_comes_first() {
    let mut cluster = Cluster::new();
    cluster.node(1, 1);
    let running = cluster.lasting("ann", 100, &limited(1, 100));
    let mut spec = limited(1, 10);
    spec.scheduling.hold = true;
    let held = cluster.lasting("ann", 10, &spec);
    expect(&cluster, held, &[("held", None), ("full", Some(1))]);
    assert_eq!(cluster.core.explain(held).unwrap().position, None);
    let mut spec = limited(1, 10);
    spec.scheduling.depends_on = vec![Dependency { job: running, on: DependsOn::Success }];
    let waiting = cluster.lasting("ann", 10, &spec);
    expect(&cluster, waiting, &[("dependency", None), ("full", Some(1))]);
    let mut spec = limited(2, 10);
    spec.scheduling.max_running = Some(1);
    cluster.node(2, 4);
    let bounded = cluster.lasting("ann", 10, &spec);
    expect(&cluster, bounded, &[("max-running", None), ("full", Some(1))]);
}

#[test]
fn a_limit_is_named_and_the_job_is_shown_behind_those_that_can_start() {
    let limits = Limits { running: Some(1), ..Limits::default() };
    let name = "ann".parse().unwrap();
    let ann = TenantPolicy { name, parent: None, shares: 1, default_qos: None, limits };
    let mut cluster = Cluster::under(Policy { tenants: vec![ann], ..Policy::default() });
    cluster.node(1, 2);
    cluster.lasting("ann", 10, &limited(1, 10));
    let bound = cluster.lasting("ann", 10, &limited(1, 10));
    expect(&cluster, bound, &[("limit", None)]);
    let advice = cluster.core.explain(bound).unwrap().advice;
    assert!(advice[0].contains("tenant ann"), "{advice:?}");
    cluster.lasting("bob", 10, &limited(1, 10));
    let waiting = cluster.lasting("bob", 10, &limited(1, 10));
    let queue: Vec<JobId> = cluster.core.queue(10).iter().map(|row| row.job).collect();
    assert_eq!(queue, [waiting, bound]);
}

#[test]
fn what_could_never_start_is_told_that_waiting_does_not_help() {
    let mut cluster = Cluster::new();
    cluster.node(1, 2);
    cluster.node(2, 3);
    cluster.drain(2, true);
    let mut gang = limited(5, 10);
    gang.scheduling.gang = true;
    let waiting = cluster.lasting("ann", 10, &gang);
    expect(&cluster, waiting, &[("gang-beyond-nodes", None), ("not-ready", Some(1))]);
    let advice = cluster.core.explain(waiting).unwrap().advice;
    assert!(advice[0].starts_with("it can start with 3 places of 1 CPU"), "{advice:?}");
    assert!(advice[1].contains("wrun drain node-2 --undo"), "{advice:?}");
    let at_most = |most| {
        let limits = Limits { running: Some(most), ..Limits::default() };
        let name = "ann".parse().unwrap();
        let ann = TenantPolicy { name, parent: None, shares: 1, default_qos: None, limits };
        Policy { tenants: vec![ann], ..Policy::default() }
    };
    cluster.set_policy(at_most(3)).unwrap();
    cluster.drain(2, false);
    expect(&cluster, waiting, &[("beyond-limit", None)]);
}

/// Groups of one job and of several, of ranks that are equal and that differ within a group.
#[test]
fn a_job_has_the_place_in_which_the_queue_lists_it() {
    let (max_age_ms, weights) = (100_000, Weights { age: 500, user: 10, ..Weights::default() });
    for order in [QueueOrder::Multifactor, QueueOrder::SmallestAreaFirst] {
        let mut cluster =
            Cluster::under(Policy { order, max_age_ms, weights, ..Policy::default() });
        cluster.node(1, 1);
        cluster.lasting("ann", 10_000, &limited(1, 10_000));
        let mut random = 3_u32;
        let mut draw = |below: u32| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) % below
        };
        for step in 0..80_u32 {
            let tenant = ["ann", "bob", "zoe"][draw(3) as usize];
            let mut spec =
                limited(1 + draw(3), [10, 20, 30, 100 + u64::from(step)][draw(4) as usize]);
            spec.priority = draw(2) as i32;
            cluster.queue_as(tenant, &spec);
            if draw(4) == 0 {
                cluster.wait(u64::from(draw(3)) * 3000);
            }
        }
        let listed: Vec<JobId> = cluster.core.queue(1000).iter().map(|row| row.job).collect();
        assert_eq!(listed.len(), 80);
        let places = listed.iter().map(|job| cluster.core.explain(*job).unwrap().position);
        assert_eq!(places.collect::<Vec<_>>(), (1..=80).map(Some).collect::<Vec<_>>());
        let ranks: Vec<i64> = cluster.core.queue(1000).iter().map(|row| row.priority).collect();
        assert!(ranks.is_sorted_by(|a, b| a >= b) && ranks.first() > ranks.last(), "{ranks:?}");
        let bobs = cluster.core.queue_of(Some(&"bob".parse().unwrap()), 40, 10);
        let expected = listed[..40].iter().filter(|job| {
            cluster.core.job_tenant(**job).is_some_and(|tenant| tenant.as_str() == "bob")
        });
        let bobs: Vec<JobId> = bobs.iter().map(|row| row.job).collect();
        assert_eq!(bobs, expected.copied().take(10).collect::<Vec<_>>());
    }
}

#[test]
fn what_is_looked_up_first_says_so() {
    let mut cluster = Cluster::new();
    cluster.join(1, Machine::of(1));
    let mut spec = limited(1, 10);
    spec.scheduling.cache = true;
    let waiting = cluster.queue_as("ann", &spec);
    expect(&cluster, waiting, &[("results", None)]);
}

#[test]
fn a_tenant_is_listed_what_is_its_own_among_as_many_as_are_looked_at() {
    let mut cluster = Cluster::new();
    let mut urgent = job(1);
    urgent.priority = 5;
    for _ in 0..30 {
        cluster.queue_as("ann", &urgent);
    }
    let bobs: Vec<JobId> = (0..5).map(|_| cluster.queue_as("bob", &job(1))).collect();
    let bob = "bob".parse().unwrap();
    let listed = |looked_at, limit| {
        let rows = cluster.core.queue_of(Some(&bob), looked_at, limit);
        rows.iter().map(|row| row.job).collect::<Vec<_>>()
    };
    assert_eq!(listed(33, 10), bobs[..3], "the others' do not count against what is listed");
    assert_eq!(listed(100, 2), bobs[..2]);
    assert_eq!(listed(30, 10), Vec::new(), "it ends where the looking does");
}

/// Told to a core that nothing checks after each event: there are many.
fn tell(core: &mut Core, input: Input) {
    core.handle(BEGIN, input);
    while core.poll_effect().is_some() {}
}

fn submit(core: &mut Core, number: u64, seconds: u64) {
    let (tenant, kind) = ("ann".parse().unwrap(), ComponentKind::Command);
    let spec = EncodedSpec::encode(&limited(1, seconds)).unwrap();
    let (request, id, ended) = (RequestId(1), submit_id(number), Vec::new());
    tell(core, Input::Submit { request, tenant, id, kind, spec, ended });
}

#[test]
fn a_place_behind_more_jobs_than_are_counted_is_not_told() {
    let mut core = Core::new(Config::default());
    // Two of each kind, the second of all behind the first of each.
    (0..8000).for_each(|number| submit(&mut core, number, 10 + number % 4000));
    let explain = |job| core.explain(JobId(job)).unwrap();
    assert_eq!(explain(3000).position, Some(3000));
    let last = explain(8000);
    let codes: Vec<&str> = last.reasons.iter().map(|row| row.code.as_str()).collect();
    assert_eq!((last.position, codes), (None, vec!["no-nodes", "behind", "behind-many"]));
}

#[test]
fn a_list_does_not_look_at_every_node_for_every_job() {
    let mut core = Core::new(Config { max_backlog: 0, ..Config::default() });
    for number in 1..=600_u64 {
        let (hash, name) = ([1 + (number % 200) as u8; 32], format!("node-{number}"));
        let (request, expires) = (RequestId(0), second(1));
        tell(&mut core, Input::CreateToken { request, hash, expires });
        tell(&mut core, Input::Join { request, token_hash: hash, name: name.clone() });
        let capacity = Resources { cpu_milli: 1000, memory: 1 << 30, scratch: 1 << 30, slots: 8 };
        let info = NodeInfo { name, capacity, labels: BTreeMap::new(), version: String::new() };
        let (node, offer, attempts) = (NodeId(number), Offer::default(), Vec::new());
        tell(&mut core, Input::NodeConnected { node, info, offer, incarnation: 1, attempts });
    }
    let (name, tenants) = ("soon".to_owned(), BTreeSet::new());
    let (start, end, what) = (second(5), second(50), Reserved::All);
    let reservation = Reservation { name, start, end, every_ms: None, what, tenants };
    let reservation = Box::new(reservation);
    tell(&mut core, Input::Reserve { request: RequestId(0), reservation });
    (0..100).for_each(|number| submit(&mut core, number, 10 + number));
    let rows = core.queue(100);
    let told = rows.iter().take_while(|row| row.reason.starts_with("it may take")).count();
    assert!((60..70).contains(&told), "{told}: {}", rows[0].reason);
    let text = PendingReason::NotLookedInto.to_string();
    assert!(rows[told..].iter().all(|row| row.reason == text), "{}", rows[told].reason);
    assert_eq!(PendingReason::NotLookedInto.code(), "not-looked-into");
    // The job itself is told.
    assert_eq!(core.explain(rows[99].job).unwrap().reasons[0].code, "too-long");
}
