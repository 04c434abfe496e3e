//! Spread and pack, one node and different nodes, labels that are refused.

use wrun_protocol::JobSpec;
use wrun_protocol::scheduling::Arrangement;
use wrun_protocol::wire::worker::{Assignment, Grant};

use crate::cluster::{Cluster, Machine, cards, job, started};

fn arranged(count: u32, arrangement: Arrangement) -> JobSpec {
    let mut spec = job(count);
    spec.scheduling.arrangement = arrangement;
    spec
}

fn counts(starts: &[(u64, Assignment, Grant)]) -> Vec<(u64, u32)> {
    starts.iter().map(|(node, tasks, _)| (*node, tasks.tasks.count)).collect()
}

#[test]
fn tasks_are_packed_onto_the_fullest_node_first() {
    let mut cluster = Cluster::new();
    cluster.node(1, 4);
    cluster.node(2, 2);
    assert_eq!(counts(&started(&cluster.submit(&arranged(1, Arrangement::Pack)))), [(2, 1)]);
    assert_eq!(
        counts(&started(&cluster.submit(&arranged(3, Arrangement::Pack)))),
        [(1, 2), (2, 1)]
    );
}

#[test]
fn tasks_of_one_node_wait_for_it_rather_than_go_elsewhere() {
    let mut cluster = Cluster::new();
    cluster.node(1, 2);
    cluster.node(2, 3);
    let starts = started(&cluster.submit(&arranged(4, Arrangement::SameNode)));
    assert_eq!(counts(&starts), [(2, 3)]);
    let mut first = starts[0].1;
    first.tasks.count = 1;
    assert_eq!(counts(&started(&cluster.succeed(2, first))), [(2, 1)]);
}

#[test]
fn tasks_of_different_nodes_never_meet() {
    let mut cluster = Cluster::new();
    cluster.node(1, 4);
    cluster.node(2, 4);
    let starts = started(&cluster.submit(&arranged(3, Arrangement::DifferentNodes)));
    assert_eq!(counts(&starts), [(1, 1), (2, 1)]);
    assert_eq!(counts(&started(&cluster.succeed(2, starts[1].1))), [(2, 1)]);
}

#[test]
fn a_node_with_a_refused_label_gets_nothing() {
    let mut cluster = Cluster::new();
    cluster.join(1, Machine::of(4).labels(&[("disk", "slow")]));
    cluster.join(2, Machine::of(1).labels(&[("disk", "fast")]));
    let mut spec = job(2);
    spec.scheduling.refused_labels.insert("disk".to_owned(), "slow".to_owned());
    assert_eq!(counts(&started(&cluster.submit(&spec))), [(2, 1)]);
    spec.scheduling.refused_labels.insert("disk".to_owned(), "slow".to_owned());
    spec.labels.insert("disk".to_owned(), "slow".to_owned());
    assert!(cluster.refused("ann", &spec).message.contains("disk=slow"));
}

fn gang(count: u32, arrangement: Arrangement) -> JobSpec {
    let mut spec = arranged(count, arrangement);
    spec.scheduling.gang = true;
    spec
}

#[test]
fn a_gang_takes_nodes_with_cards_where_the_others_do_not_hold_it() {
    let mut cluster = Cluster::new();
    cluster.node(1, 2);
    cluster.offering(2, 2, cards(1, "A100"));
    let starts = started(&cluster.submit(&gang(4, Arrangement::Spread)));
    assert_eq!(counts(&starts), [(1, 2), (2, 2)]);
}

#[test]
fn a_gang_of_one_node_starts_where_it_fits_as_a_whole() {
    let mut cluster = Cluster::new();
    cluster.node(1, 3);
    cluster.node(2, 4);
    assert_eq!(
        counts(&started(&cluster.submit(&arranged(2, Arrangement::Spread)))),
        [(1, 1), (2, 1)]
    );
    assert_eq!(counts(&started(&cluster.submit(&gang(3, Arrangement::SameNode)))), [(2, 3)]);
}

#[test]
fn a_gang_that_all_nodes_together_cannot_hold_is_refused() {
    let mut cluster = Cluster::new();
    cluster.node(1, 2);
    cluster.node(2, 2);
    let refusal = cluster.refused("ann", &gang(5, Arrangement::Spread)).message;
    assert!(refusal.contains("a gang of 5 tasks") && refusal.contains("hold 4"), "{refusal}");
}
