//! Reasons that hold on nodes, and what follows where they hold on all.

use wrun_core::{Config, Input, RequestId};
use wrun_protocol::policy::Policy;
use wrun_protocol::scheduling::{Arrangement, Gpu, GpuRequest, Offer};
use wrun_protocol::wire::worker::{Assignment, Report};
use wrun_protocol::{IndexRange, JobId, JobSpec, NodeId};

use super::reasons::expect;
use crate::cluster::{Cluster, Machine, limited};

fn text(cluster: &Cluster, job: JobId, place: usize) -> String {
    cluster.core.pending_reasons(job)[place].to_string()
}

fn card() -> Offer {
    Offer { gpus: vec![Gpu { model: "m".to_owned(), memory: 1 << 30 }], ..Offer::default() }
}

fn on_a_card() -> JobSpec {
    let mut spec = limited(1, 10);
    spec.scheduling.devices.gpu = Some(GpuRequest { milli: 1000, memory: 0, models: Vec::new() });
    spec
}

#[test]
fn nodes_that_would_do_are_named_where_none_of_them_takes_tasks() {
    let mut cluster = Cluster::new();
    cluster.node(1, 1);
    cluster.node(2, 1);
    cluster.drain(1, true);
    cluster.handle(Input::NodeDisconnected { node: NodeId(2) });
    let waiting = cluster.lasting("ann", 10, &limited(1, 10));
    expect(&cluster, waiting, &[("no-node-ready", None), ("not-ready", Some(2))]);
    assert_eq!(
        text(&cluster, waiting, 1),
        "2 nodes (node-1, node-2) are not connected, drained or lost"
    );
    let advice = cluster.core.explain(waiting).unwrap().advice;
    assert_eq!(advice, ["taking node-1 back would let it start there: `wrun drain node-1 --undo`"]);
}

#[test]
fn tasks_that_wait_on_a_node_go_before_those_in_the_queue() {
    let config = Config { max_backlog: 8, ..Cluster::steady() };
    let mut cluster = Cluster::with(config);
    cluster.node(1, 2);
    // Short tasks fill the node and its backlog; it reports their length first.
    let short = cluster.lasting("ann", 1000, &limited(100, 10));
    let usage = wrun_protocol::task::Usage { wall_us: 2000, ..<_>::default() };
    let tasks = Assignment { job: short, attempt: 1, tasks: IndexRange { first: 0, count: 2 } };
    cluster.report(1, Report::Succeeded { tasks, usage });
    let waiting = cluster.lasting("ann", 10, &limited(1, 10));
    let codes = super::reasons::codes(&cluster, waiting);
    assert!(codes.contains(&("others-first".to_owned(), Some(1))), "{codes:?}");
}

#[test]
fn what_no_node_has_is_told_from_what_is_in_use() {
    let mut cluster = Cluster::new();
    let on_a_card = on_a_card();
    let waiting = cluster.lasting("ann", 10, &on_a_card);
    cluster.node(1, 4);
    expect(&cluster, waiting, &[("no-node-fits", None), ("not-suited", Some(1))]);
    cluster.offering(2, 4, card());
    let second = cluster.lasting("ann", 10, &on_a_card);
    expect(
        &cluster,
        second,
        &[("no-capacity", None), ("not-suited", Some(1)), ("devices-taken", Some(1))],
    );
}

#[test]
fn a_refused_label_is_told_from_a_wanted_one() {
    let mut cluster = Cluster::new();
    cluster.join(1, Machine::of(4).labels(&[("disk", "hdd")]));
    cluster.node(2, 1);
    cluster.lasting("ann", 10, &limited(1, 10));
    cluster.lasting("ann", 10, &limited(4, 10));
    let mut spec = limited(1, 10);
    spec.scheduling.refused_labels.insert("disk".to_owned(), "hdd".to_owned());
    let waiting = cluster.lasting("ann", 10, &spec);
    expect(
        &cluster,
        waiting,
        &[("no-capacity", None), ("refused-label", Some(1)), ("full", Some(1))],
    );
    assert_eq!(text(&cluster, waiting, 1), "1 node is of the label disk=hdd, which it refuses");
}

#[test]
fn tasks_that_must_run_apart_find_no_second_place_on_a_node() {
    let mut cluster = Cluster::new();
    cluster.node(1, 4);
    let mut spec = limited(2, 10);
    spec.scheduling.arrangement = Arrangement::DifferentNodes;
    cluster.node(2, 1);
    cluster.drain(2, true);
    let waiting = cluster.lasting("ann", 10, &spec);
    expect(&cluster, waiting, &[("arranged", Some(1)), ("not-ready", Some(1))]);
}

#[test]
fn a_pool_that_is_empty_is_named_with_what_is_left() {
    let pools = [("licence".to_owned(), 3)].into();
    let mut cluster = Cluster::under(Policy { pools, ..Policy::default() });
    cluster.node(1, 4);
    let mut spec = limited(2, 10);
    spec.scheduling.devices.pools.insert("licence".to_owned(), 2);
    let waiting = cluster.lasting("ann", 10, &spec);
    expect(&cluster, waiting, &[("pool", None)]);
    assert_eq!(
        text(&cluster, waiting, 0),
        "a task takes 2 slots of the pool `licence`, and 1 are left"
    );
}

#[test]
fn a_gang_waits_for_as_many_places_as_it_has_tasks() {
    let mut cluster = Cluster::new();
    cluster.node(1, 2);
    cluster.node(2, 2);
    cluster.lasting("ann", 100, &limited(1, 100));
    let mut gang = limited(4, 10);
    gang.scheduling.gang = true;
    let waiting = cluster.lasting("ann", 10, &gang);
    expect(&cluster, waiting, &[("gang", None)]);
    assert_eq!(text(&cluster, waiting, 0), "its 4 tasks start together, and there is room for 3");
}

#[test]
fn what_was_not_looked_at_yet_is_being_placed() {
    let mut cluster = Cluster::new();
    cluster.node(1, 2);
    let spec = wrun_protocol::job::EncodedSpec::encode(&limited(1, 10)).unwrap();
    // Placement comes when all that happened at once is taken in.
    cluster.core.handle(
        cluster.now,
        Input::Submit {
            request: RequestId(1),
            tenant: "ann".parse().unwrap(),
            id: wrun_protocol::SubmitId([9; 16]),
            kind: wrun_protocol::wire::worker::ComponentKind::Command,
            spec,
            ended: Vec::new(),
        },
    );
    expect(&cluster, JobId(1), &[("placing", None)]);
    cluster.handle(Input::Timeout);
    assert_eq!(cluster.core.pending_reason(JobId(1)), None);
}
