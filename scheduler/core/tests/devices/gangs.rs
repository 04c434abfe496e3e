//! Gangs whose tasks have devices or a choice of requests: all of them, or none.

use wrun_core::Fact;
use wrun_protocol::reservation::{Reservation, Reserved};
use wrun_protocol::scheduling::{Arrangement, Offer, Request};
use wrun_protocol::{JobSpec, Timestamp};

use crate::env::{Env, cards, gpu_job, job, timed, with};

fn gang(mut spec: JobSpec, count: u32) -> JobSpec {
    spec.count = count;
    spec.scheduling.gang = true;
    spec
}

/// Of the last start: node, index, cards.
fn parts(env: &Env) -> Vec<(u64, u32, Vec<u16>)> {
    let Some(Fact::GangPlaced { parts, .. }) = env.facts.last() else {
        panic!("{:?}", env.facts.last())
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
    let mut env = timed();
    env.node(1, 8, cards(1, "A100"));
    env.node(2, 8, cards(2, "A100"));
    env.limited(gang(gpu_job(1, 1000), 3), 10);
    assert_eq!(parts(&env), [(2, 0, vec![0]), (2, 1, vec![1]), (1, 2, vec![0])]);
}

#[test]
fn no_part_of_a_gang_takes_a_card_before_there_is_one_for_each() {
    let mut env = timed();
    env.node(1, 8, cards(2, "A100"));
    env.node(2, 8, cards(1, "A100"));
    let first = env.limited(gpu_job(1, 1000), 99);
    let whole = env.limited(gang(gpu_job(1, 1000), 3), 10);
    assert_eq!(env.core.job_summary(whole).unwrap().tasks.running, 0);
    let small = env.limited(gpu_job(1, 1000), 100);
    assert!(!env.runs(small), "it would not end by 100");
    let short = env.limited(gpu_job(1, 1000), 99);
    assert!(env.runs(short));
    env.at(100).finish(first);
    assert!(!env.runs(whole));
    env.finish(short);
    assert!(env.runs(whole) && !env.runs(small));
}

#[test]
fn shares_of_one_card_may_serve_a_whole_gang() {
    let mut env = timed();
    env.node(1, 8, cards(2, "A100"));
    env.limited(gang(gpu_job(1, 400), 4), 10);
    assert_eq!(parts(&env).into_iter().map(|(.., gpus)| gpus[0]).collect::<Vec<_>>(), [0, 0, 1, 1]);
    env.limited(gang(gpu_job(1, 200), 2), 10);
    assert_eq!(parts(&env).into_iter().map(|(.., gpus)| gpus[0]).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn all_of_a_gang_are_served_by_the_same_request() {
    let mut env = timed();
    env.node(1, 8, cards(2, "A100"));
    let mut spec = gang(gpu_job(1, 1000), 3);
    let resources = job(1).resources;
    spec.scheduling.alternatives.push(Request { resources, ..Request::default() });
    env.limited(spec, 10);
    let requests: Vec<u8> = env.starts.iter().map(|(_, _, grant)| grant.request).collect();
    assert_eq!(requests, [1, 1, 1], "there are but two cards");
    assert!(matches!(env.facts.last(), Some(Fact::GangPlaced { .. })));
}

#[test]
fn a_gang_waits_for_the_slots_of_all_its_tasks() {
    let mut env = timed();
    env.pools(&[("licence", 4)]);
    env.node(1, 8, Offer::default());
    let pooled = |count, slots| {
        let mut spec = job(count);
        spec.scheduling.devices.pools.insert("licence".to_owned(), slots);
        spec
    };
    let first = env.limited(pooled(1, 1), 99);
    let whole = env.limited(gang(pooled(1, 1), 4), 10);
    let long = env.limited(pooled(1, 1), 100);
    assert!(!env.runs(whole) && !env.runs(long));
    env.at(100).finish(first);
    assert!(env.runs(whole) && !env.runs(long));
}

#[test]
fn a_gang_with_cards_keeps_to_one_node_or_to_different_ones() {
    let mut env = timed();
    env.node(1, 8, cards(2, "A100"));
    env.node(2, 8, cards(3, "A100"));
    let arranged = |count, arrangement| {
        let mut spec = gang(gpu_job(1, 1000), count);
        spec.scheduling.arrangement = arrangement;
        spec
    };
    env.limited(arranged(2, Arrangement::DifferentNodes), 50);
    assert_eq!(parts(&env).iter().map(|(node, ..)| *node).collect::<Vec<_>>(), [1, 2]);
    let together = env.limited(arranged(3, Arrangement::SameNode), 50);
    assert!(!env.runs(together), "the larger node has two cards left");
    let other = env.limited(gpu_job(1, 1000), 50);
    assert_eq!(env.starts.last().unwrap().0, 1, "the node that is promised is left alone");
    assert!(env.runs(other));
}

#[test]
fn a_gang_with_cards_is_not_placed_into_a_reservation() {
    let mut env = timed();
    env.node(1, 8, cards(1, "A100"));
    env.node(2, 8, cards(1, "A100"));
    let reservation = Reservation {
        name: "maintenance".to_owned(),
        start: Timestamp(100_000),
        end: Timestamp(200_000),
        every_ms: None,
        what: Reserved::Nodes(["node-2".to_owned()].into()),
        tenants: Default::default(),
    };
    env.reserve(reservation);
    let long = env.limited(gang(gpu_job(1, 1000), 2), 100);
    assert!(!env.runs(long));
    let short = env.limited(gang(gpu_job(1, 1000), 2), 99);
    assert!(env.runs(short), "it ends by 100");
    env.at(100).finish(short);
    assert!(!env.runs(long));
    env.at(200);
    assert!(env.runs(long));
    assert_eq!(env.starts.last().unwrap().2, with(0, &[0]));
}
