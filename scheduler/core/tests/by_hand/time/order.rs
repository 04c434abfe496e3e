//! The order of the queue and that of the fill.

use wrun_protocol::policy::{BackfillMode, Balance, QueueOrder};

use super::{policy, under};

#[test]
fn the_fill_has_an_order_of_its_own() {
    let fill = policy(QueueOrder::Fcfs, Some(QueueOrder::ShortestFirst), BackfillMode::Easy);
    let mut cluster = under(fill, &[2]);
    let first = cluster.unit(2, 100);
    let head = cluster.unit(2, 10);
    let (long, short) = (cluster.unit(1, 90), cluster.unit(1, 20));
    let other = cluster.unit(1, 30);
    cluster.at(5).finish(first);
    assert!(cluster.runs(head));
    cluster.at(10);
    let next = cluster.unit(2, 10);
    cluster.finish(head);
    assert_eq!(
        (cluster.runs(long), cluster.runs(short)),
        (true, true),
        "in the order of the queue"
    );
    assert!(!cluster.runs(next) && !cluster.runs(other));
}

#[test]
fn jobs_that_are_alike_do_not_pass_what_stands_between_them_by_age() {
    let mut policy = policy(QueueOrder::ShortestFirst, None, BackfillMode::Conservative);
    policy.age_bound_ms = Some(50_000);
    let mut cluster = under(policy, &[3]);
    let first = cluster.unit(3, 100);
    let old = cluster.unit(1, 60);
    let wide = cluster.at(1).unit(2, 100);
    let young = cluster.at(90).unit(1, 60);
    cluster.at(100).finish(first);
    assert!(cluster.runs(old) && cluster.runs(wide), "both have waited for the age bound");
    assert!(!cluster.runs(young));
}

#[test]
fn jobs_that_are_alike_do_not_pass_what_is_due_between_them() {
    let mut policy = policy(QueueOrder::Balanced, None, BackfillMode::Conservative);
    policy.balance = Balance { patience_ms: 50_000, full_area_ms: 20_000 };
    let mut cluster = under(policy, &[4]);
    let first = cluster.unit(4, 100);
    let old = cluster.unit(1, 100); // due at 50
    let wide = cluster.at(30).unit(2, 100); // due at 80
    let young = cluster.at(40).unit(1, 100); // due at 90
    let small = cluster.at(45).unit(1, 16); // a fifth of the full area: due at 55
    cluster.at(100).finish(first);
    assert!(cluster.runs(old) && cluster.runs(small) && cluster.runs(wide));
    assert!(!cluster.runs(young));
}
