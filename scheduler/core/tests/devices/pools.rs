//! Resources that nodes declare by name, and pools of the whole cluster.

use std::collections::BTreeMap;

use wrun_protocol::JobSpec;
use wrun_protocol::scheduling::Offer;

use crate::env::{env, job, task, with};

fn declares(name: &str, amount: u64) -> Offer {
    Offer { named: BTreeMap::from([(name.to_owned(), amount)]), ..Offer::default() }
}

fn pooled(count: u32, pool: &str, slots: u32) -> JobSpec {
    let mut spec = job(count);
    spec.scheduling.devices.pools.insert(pool.to_owned(), slots);
    spec
}

#[test]
fn a_named_resource_is_shared_out_where_it_is_declared() {
    let mut env = env();
    env.node(1, 8, Offer::default());
    env.node(2, 4, declares("fpga", 3));
    let mut spec = job(2);
    spec.scheduling.devices.named.insert("fpga".to_owned(), 2);
    assert_eq!(env.starts(&spec), [(2, task(1, 0), with(0, &[]))]);
    assert_eq!(env.end(2, task(1, 0)), [(2, task(1, 1), with(0, &[]))]);
    spec.scheduling.devices.named.insert("fpga".to_owned(), 4);
    assert!(env.refusal(&spec).contains("more than 3"));
}

#[test]
fn a_pool_bounds_tasks_of_the_whole_cluster() {
    let mut env = env();
    env.pools(&[("licence", 3)]);
    env.node(1, 4, Offer::default());
    env.node(2, 4, Offer::default());
    assert_eq!(env.starts(&pooled(4, "licence", 1)).len(), 3);
    // Others go past those that wait for the pool.
    assert_eq!(env.starts(&job(1)).len(), 1);
}

#[test]
fn slots_that_come_free_serve_a_task_on_whatever_node_has_room() {
    let mut env = env();
    env.pools(&[("licence", 1)]);
    env.node(1, 1, Offer::default());
    env.node(2, 1, Offer::default());
    assert_eq!(env.starts(&pooled(2, "licence", 1)), [(1, task(1, 0), with(0, &[]))]);
    let mut urgent = job(1);
    urgent.priority = 5;
    assert_eq!(env.starts(&urgent), [(2, task(2, 0), with(0, &[]))]);
    let mut next = job(1);
    next.priority = 9;
    assert_eq!(env.starts(&next), []);
    // The node of the slot goes to the urgent job, the slot to nobody: no room is left.
    assert_eq!(env.end(1, task(1, 0)), [(1, task(3, 0), with(0, &[]))]);
    assert_eq!(env.end(2, task(2, 0)), [(2, task(1, 1), with(0, &[]))]);
}

#[test]
fn a_pool_that_does_not_exist_or_is_too_small_is_named() {
    let mut env = env();
    env.pools(&[("licence", 3)]);
    env.node(1, 4, Offer::default());
    assert!(env.refusal(&pooled(1, "database", 1)).contains("no pool `database`"));
    assert!(env.refusal(&pooled(1, "licence", 4)).contains("which has 3"));
}
