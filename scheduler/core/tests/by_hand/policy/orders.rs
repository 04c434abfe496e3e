//! Which job goes first, on a node that holds one task at a time.

use std::time::Duration;

use wrun_protocol::policy::{Balance, Favour, Policy, QueueOrder, Weights};

use crate::cluster::{BEGIN, Cluster, limited};

/// Only user's priority, unless a test adds to it.
const BARE: Weights = Weights { age: 0, fair_share: 0, size: 0, qos: 0, partition: 0, user: 1000 };

fn ordered(order: QueueOrder) -> Policy {
    Policy { order, ..Policy::default() }
}

/// Job 1 runs for ten seconds; meanwhile come jobs 2 to 5 of 40, 20, 30 and 10 seconds.
fn four_wait(policy: Policy) -> Cluster {
    let mut cluster = Cluster::under(policy);
    cluster.node(1, 1);
    cluster.lasting("ann", 10, &limited(1, 10));
    for (second, limit) in [(1, 40), (2, 20), (3, 30), (4, 10)] {
        cluster.at(second);
        cluster.lasting("ann", limit, &limited(1, limit));
    }
    cluster
}

#[test]
fn first_come_is_first_served() {
    let mut cluster = four_wait(ordered(QueueOrder::Fcfs));
    cluster.at(1000);
    assert_eq!(cluster.schedule(), [(0, 1, 1), (10, 2, 1), (50, 3, 1), (70, 4, 1), (100, 5, 1)]);
}

#[test]
fn the_shortest_goes_first_by_its_time_limit() {
    let mut cluster = four_wait(ordered(QueueOrder::ShortestFirst));
    cluster.at(1000);
    assert_eq!(cluster.schedule(), [(0, 1, 1), (10, 5, 1), (20, 3, 1), (40, 4, 1), (70, 2, 1)]);
}

#[test]
fn the_smallest_area_goes_first() {
    let mut cluster = Cluster::under(ordered(QueueOrder::SmallestAreaFirst));
    cluster.node(1, 1);
    cluster.lasting("ann", 10, &limited(1, 10));
    for (cpu_milli, limit) in [(1000, 20), (750, 25), (1000, 10)] {
        let mut spec = limited(1, limit);
        spec.resources.cpu_milli = cpu_milli;
        cluster.lasting("ann", limit, &spec);
    }
    cluster.at(1000);
    // Areas in CPU seconds: 20, 18.75, 10.
    assert_eq!(cluster.schedule(), [(0, 1, 1), (10, 4, 1), (20, 3, 1), (45, 2, 1)]);
}

#[test]
fn equal_jobs_go_by_age_whoevers_they_are() {
    let mut cluster = Cluster::under(ordered(QueueOrder::ShortestFirst));
    cluster.node(1, 1);
    for tenant in ["ann", "bob", "bob", "ann", "bob"] {
        cluster.lasting(tenant, 10, &limited(1, 10));
    }
    cluster.at(100);
    assert_eq!(cluster.order(), [1, 2, 3, 4, 5]);
}

#[test]
fn a_large_job_in_the_balanced_order_lets_small_ones_pass_but_not_for_ever() {
    let hour = 3600;
    let balance = Balance { patience_ms: 180 * hour * 1000, full_area_ms: 16 * hour * 1000 };
    let mut cluster = Cluster::under(Policy { balance, ..ordered(QueueOrder::Balanced) });
    cluster.node(1, 1);
    cluster.lasting("ann", 200 * hour, &limited(1, 200 * hour));
    // 16 CPU hours: due 180 hours after its submit. 8 CPU hours are due 90 hours after.
    cluster.lasting("ann", hour, &limited(1, 16 * hour));
    cluster.at(89 * hour);
    cluster.lasting("ann", hour, &limited(1, 8 * hour));
    cluster.at(91 * hour);
    cluster.lasting("ann", hour, &limited(1, 8 * hour));
    cluster.at(300 * hour);
    assert_eq!(cluster.order(), [1, 3, 2, 4]);
}

#[test]
fn beyond_the_age_bound_the_oldest_goes_first_in_any_order() {
    let mut policy = ordered(QueueOrder::ShortestFirst);
    policy.age_bound_ms = Some(15_000);
    let mut cluster = four_wait(policy);
    cluster.at(1000);
    // At 10 none has waited 15 seconds: job 5 of ten seconds goes. At 20 all have, but for
    // job 5 that is gone: 2, 3, 4 by age.
    assert_eq!(cluster.schedule(), [(0, 1, 1), (10, 5, 1), (20, 2, 1), (60, 3, 1), (80, 4, 1)]);
}

#[test]
fn a_sum_of_factors_is_what_its_parts_say() {
    let weights = Weights { age: 1000, size: 500, ..BARE };
    let policy =
        Policy { weights, max_age_ms: 100_000, favour: Favour::Large, ..Policy::default() };
    let mut cluster = Cluster::under(policy);
    cluster.node(1, 1);
    cluster.lasting("ann", 100, &limited(1, 100));
    let mut spec = limited(1, 10);
    spec.priority = -3;
    spec.scheduling.nice = 7;
    spec.resources.cpu_milli = 500;
    let waiting = cluster.lasting("ann", 10, &spec);
    cluster.at(25);
    cluster.node(2, 1);
    let detail = cluster.core.priority(waiting).unwrap();
    let parts: Vec<(&str, i64, i64)> =
        detail.factors.iter().map(|f| (f.name.as_str(), f.factor, f.points)).collect();
    let wanted = [
        ("age", 250_000, 250),
        ("fair-share", 0, 0),
        ("size", 500_000, 250),
        ("qos", 0, 0),
        ("partition", 0, 0),
        ("user", -3, -3000),
        ("nice", 7, -7),
    ];
    assert_eq!(parts, wanted);
    assert_eq!(detail.total, 250 + 250 - 3000 - 7);
}

#[test]
fn age_outweighs_what_is_worth_less() {
    let weights = Weights { age: 10_000, ..BARE };
    let mut cluster = Cluster::under(Policy { weights, max_age_ms: 100_000, ..Policy::default() });
    cluster.node(1, 1);
    cluster.lasting("ann", 30, &limited(1, 30));
    cluster.lasting("ann", 10, &limited(1, 10));
    cluster.at(5);
    cluster.lasting("ann", 10, &priority(1));
    cluster.at(29);
    cluster.lasting("ann", 10, &priority(2));
    cluster.at(100);
    // At 30 job 2 has 3000 points of age, job 3 2500 and 1000 of its user, job 4 100 and
    // 2000. At 40 job 2 has 4000 and job 4 3100.
    assert_eq!(cluster.order(), [1, 3, 2, 4]);
}

fn priority(priority: i32) -> wrun_protocol::JobSpec {
    wrun_protocol::JobSpec { priority, ..limited(1, 10) }
}

#[test]
fn jobs_of_one_group_do_not_overtake_others_behind_their_oldest() {
    let mut cluster = Cluster::under(ordered(QueueOrder::Fcfs));
    for (second, limit) in [(1, 10), (2, 20), (3, 10), (4, 20), (5, 10)] {
        cluster.at(second);
        cluster.lasting("ann", 10, &limited(1, limit));
    }
    cluster.node(1, 1);
    cluster.at(100);
    assert_eq!(cluster.order(), [1, 2, 3, 4, 5]);
    cluster.now = BEGIN.after(Duration::from_secs(101));
    for limit in [10, 20, 10, 20] {
        cluster.lasting("ann", 10, &limited(2, limit));
        cluster.now = cluster.now.after(Duration::from_millis(1));
    }
    cluster.at(300);
    assert_eq!(cluster.order()[5..], [6, 6, 7, 7, 8, 8, 9, 9]);
}
