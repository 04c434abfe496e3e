//! Spread and pack, one node and different nodes, labels that are refused.

use wrun_protocol::JobSpec;
use wrun_protocol::scheduling::{Arrangement, Offer};

use crate::env::{Start, cards, env, job};

fn arranged(count: u32, arrangement: Arrangement) -> JobSpec {
    let mut spec = job(count);
    spec.scheduling.arrangement = arrangement;
    spec
}

fn counts(starts: &[Start]) -> Vec<(u64, u32)> {
    starts.iter().map(|(node, tasks, _)| (*node, tasks.tasks.count)).collect()
}

#[test]
fn tasks_are_packed_onto_the_fullest_node_first() {
    let mut env = env();
    env.node(1, 4, Offer::default());
    env.node(2, 2, Offer::default());
    assert_eq!(counts(&env.starts(&arranged(1, Arrangement::Pack))), [(2, 1)]);
    assert_eq!(counts(&env.starts(&arranged(3, Arrangement::Pack))), [(1, 2), (2, 1)]);
}

#[test]
fn tasks_of_one_node_wait_for_it_rather_than_go_elsewhere() {
    let mut env = env();
    env.node(1, 2, Offer::default());
    env.node(2, 3, Offer::default());
    let starts = env.starts(&arranged(4, Arrangement::SameNode));
    assert_eq!(counts(&starts), [(2, 3)]);
    let mut first = starts[0].1;
    first.tasks.count = 1;
    assert_eq!(counts(&env.end(2, first)), [(2, 1)]);
}

#[test]
fn tasks_of_different_nodes_never_meet() {
    let mut env = env();
    env.node(1, 4, Offer::default());
    env.node(2, 4, Offer::default());
    let starts = env.starts(&arranged(3, Arrangement::DifferentNodes));
    assert_eq!(counts(&starts), [(1, 1), (2, 1)]);
    assert_eq!(counts(&env.end(2, starts[1].1)), [(2, 1)]);
}

#[test]
fn a_node_with_a_refused_label_gets_nothing() {
    let mut env = env();
    env.labelled(1, 4, Offer::default(), &[("disk", "slow")]);
    env.labelled(2, 1, Offer::default(), &[("disk", "fast")]);
    let mut spec = job(2);
    spec.scheduling.refused_labels.insert("disk".to_owned(), "slow".to_owned());
    assert_eq!(counts(&env.starts(&spec)), [(2, 1)]);
    spec.scheduling.refused_labels.insert("disk".to_owned(), "slow".to_owned());
    spec.labels.insert("disk".to_owned(), "slow".to_owned());
    assert!(env.refusal(&spec).contains("disk=slow"));
}

fn gang(count: u32, arrangement: Arrangement) -> JobSpec {
    let mut spec = arranged(count, arrangement);
    spec.scheduling.gang = true;
    spec
}

#[test]
fn a_gang_takes_nodes_with_cards_where_the_others_do_not_hold_it() {
    let mut env = env();
    env.node(1, 2, Offer::default());
    env.node(2, 2, cards(1, "A100"));
    let starts = env.starts(&gang(4, Arrangement::Spread));
    assert_eq!(counts(&starts), [(1, 2), (2, 2)]);
}

#[test]
fn a_gang_of_one_node_starts_where_it_fits_as_a_whole() {
    let mut env = env();
    env.node(1, 3, Offer::default());
    env.node(2, 4, Offer::default());
    assert_eq!(counts(&env.starts(&arranged(2, Arrangement::Spread))), [(1, 1), (2, 1)]);
    assert_eq!(counts(&env.starts(&gang(3, Arrangement::SameNode))), [(2, 3)]);
}

#[test]
fn a_gang_that_all_nodes_together_cannot_hold_is_refused() {
    let mut env = env();
    env.node(1, 2, Offer::default());
    env.node(2, 2, Offer::default());
    let refusal = env.refusal(&gang(5, Arrangement::Spread));
    assert!(refusal.contains("a gang of 5 tasks") && refusal.contains("hold 4"), "{refusal}");
}
