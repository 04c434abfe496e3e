//! Gangs whose tasks have devices or a choice of requests: all of them, or none.

use wrun_core::Fact;
use wrun_protocol::JobSpec;
use wrun_protocol::reservation::{Reservation, Reserved};
use wrun_protocol::scheduling::{Arrangement, Request};

use super::{granted, pools};
use crate::cluster::{Cluster, cards, gpu_job, job, second, within};

fn gang(mut spec: JobSpec, count: u32) -> JobSpec {
    spec.count = count;
    spec.scheduling.gang = true;
    spec
}

/// Of the last start: node, index, cards.
fn parts(cluster: &Cluster) -> Vec<(u64, u32, Vec<u16>)> {
    let Some(Fact::GangPlaced { parts, .. }) = cluster.journal.last() else {
        panic!("{:?}", cluster.journal.last())
    };
    let part = |(node, run, grant): &(wrun_protocol::NodeId, _, Option<_>)| {
        let run: &wrun_protocol::wire::worker::Assignment = run;
        let grant: &wrun_protocol::wire::worker::Grant = grant.as_ref().unwrap();
        (node.0, run.tasks.first, grant.gpus.clone())
    };
    parts.iter().map(part).collect()
}

#[test]
fn a_gang_takes_its_cards_on_several_nodes_by_one_fact() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 8, cards(1, "A100"));
    cluster.offering(2, 8, cards(2, "A100"));
    cluster.queue(&within(gang(gpu_job(1, 1000), 3), 10));
    assert_eq!(parts(&cluster), [(2, 0, vec![0]), (2, 1, vec![1]), (1, 2, vec![0])]);
}

#[test]
fn no_part_of_a_gang_takes_a_card_before_there_is_one_for_each() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 8, cards(2, "A100"));
    cluster.offering(2, 8, cards(1, "A100"));
    let first = cluster.queue(&within(gpu_job(1, 1000), 99));
    let whole = cluster.queue(&within(gang(gpu_job(1, 1000), 3), 10));
    assert_eq!(cluster.core.job_summary(whole).unwrap().tasks.running, 0);
    let small = cluster.queue(&within(gpu_job(1, 1000), 100));
    assert!(!cluster.runs(small), "it would not end by 100");
    let short = cluster.queue(&within(gpu_job(1, 1000), 99));
    assert!(cluster.runs(short));
    cluster.at(100).finish(first);
    assert!(!cluster.runs(whole));
    cluster.finish(short);
    assert!(cluster.runs(whole) && !cluster.runs(small));
}

#[test]
fn shares_of_one_card_may_serve_a_whole_gang() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 8, cards(2, "A100"));
    cluster.queue(&within(gang(gpu_job(1, 400), 4), 10));
    assert_eq!(
        parts(&cluster).into_iter().map(|(.., gpus)| gpus[0]).collect::<Vec<_>>(),
        [0, 0, 1, 1]
    );
    cluster.queue(&within(gang(gpu_job(1, 200), 2), 10));
    assert_eq!(parts(&cluster).into_iter().map(|(.., gpus)| gpus[0]).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn all_of_a_gang_are_served_by_the_same_request() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 8, cards(2, "A100"));
    let mut spec = gang(gpu_job(1, 1000), 3);
    let resources = job(1).resources;
    spec.scheduling.alternatives.push(Request { resources, ..Request::default() });
    cluster.queue(&within(spec, 10));
    let requests: Vec<u8> = cluster.starts.iter().map(|start| start.grant.request).collect();
    assert_eq!(requests, [1, 1, 1], "there are but two cards");
    assert!(matches!(cluster.journal.last(), Some(Fact::GangPlaced { .. })));
}

#[test]
fn a_gang_waits_for_the_slots_of_all_its_tasks() {
    let mut cluster = Cluster::new();
    cluster.set_policy(pools(&[("licence", 4)])).unwrap();
    cluster.node(1, 8);
    let pooled = |count, slots| {
        let mut spec = job(count);
        spec.scheduling.devices.pools.insert("licence".to_owned(), slots);
        spec
    };
    let first = cluster.queue(&within(pooled(1, 1), 99));
    let whole = cluster.queue(&within(gang(pooled(1, 1), 4), 10));
    let long = cluster.queue(&within(pooled(1, 1), 100));
    assert!(!cluster.runs(whole) && !cluster.runs(long));
    cluster.at(100).finish(first);
    assert!(cluster.runs(whole) && !cluster.runs(long));
}

#[test]
fn a_gang_with_cards_keeps_to_one_node_or_to_different_ones() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 8, cards(2, "A100"));
    cluster.offering(2, 8, cards(3, "A100"));
    let arranged = |count, arrangement| {
        let mut spec = gang(gpu_job(1, 1000), count);
        spec.scheduling.arrangement = arrangement;
        spec
    };
    cluster.queue(&within(arranged(2, Arrangement::DifferentNodes), 50));
    assert_eq!(parts(&cluster).iter().map(|part| part.0).collect::<Vec<_>>(), [1, 2]);
    let together = cluster.queue(&within(arranged(3, Arrangement::SameNode), 50));
    assert!(!cluster.runs(together), "the larger node has two cards left");
    let other = cluster.queue(&within(gpu_job(1, 1000), 50));
    assert_eq!(cluster.starts.last().unwrap().node, 1, "the node that is promised is left alone");
    assert!(cluster.runs(other));
}

#[test]
fn a_gang_with_cards_is_not_placed_into_a_reservation() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 8, cards(1, "A100"));
    cluster.offering(2, 8, cards(1, "A100"));
    let reservation = Reservation {
        name: "maintenance".to_owned(),
        start: second(100),
        end: second(200),
        every_ms: None,
        what: Reserved::Nodes(["node-2".to_owned()].into()),
        tenants: Default::default(),
    };
    cluster.reserve(reservation).unwrap();
    let long = cluster.queue(&within(gang(gpu_job(1, 1000), 2), 101));
    assert!(!cluster.runs(long));
    let short = cluster.queue(&within(gang(gpu_job(1, 1000), 2), 100));
    assert!(cluster.runs(short), "it ends by 100");
    cluster.at(100).finish(short);
    assert!(!cluster.runs(long));
    cluster.at(200);
    assert!(cluster.runs(long));
    assert_eq!(cluster.starts.last().unwrap().grant, granted(0, &[0]));
}
