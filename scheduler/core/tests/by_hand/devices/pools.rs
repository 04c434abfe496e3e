//! Resources that nodes declare by name, and pools of the whole cluster.

use std::collections::BTreeMap;

use wrun_protocol::JobSpec;
use wrun_protocol::scheduling::Offer;

use super::{granted, pools};
use crate::cluster::{Cluster, job, run, started};

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
    let mut cluster = Cluster::new();
    cluster.node(1, 8);
    cluster.offering(2, 4, declares("fpga", 3));
    let mut spec = job(2);
    spec.scheduling.devices.named.insert("fpga".to_owned(), 2);
    assert_eq!(started(&cluster.submit(&spec)), [(2, run(1, 1, 0, 1), granted(0, &[]))]);
    assert_eq!(
        started(&cluster.succeed(2, run(1, 1, 0, 1))),
        [(2, run(1, 1, 1, 1), granted(0, &[]))]
    );
    spec.scheduling.devices.named.insert("fpga".to_owned(), 4);
    assert!(cluster.refused("ann", &spec).message.contains("more than 3"));
}

#[test]
fn a_pool_bounds_tasks_of_the_whole_cluster() {
    let mut cluster = Cluster::new();
    cluster.set_policy(pools(&[("licence", 3)])).unwrap();
    cluster.node(1, 4);
    cluster.node(2, 4);
    assert_eq!(started(&cluster.submit(&pooled(4, "licence", 1))).len(), 3);
    // Others go past those that wait for the pool.
    assert_eq!(started(&cluster.submit(&job(1))).len(), 1);
}

#[test]
fn slots_that_come_free_serve_a_task_on_whatever_node_has_room() {
    let mut cluster = Cluster::new();
    cluster.set_policy(pools(&[("licence", 1)])).unwrap();
    cluster.node(1, 1);
    cluster.node(2, 1);
    assert_eq!(
        started(&cluster.submit(&pooled(2, "licence", 1))),
        [(1, run(1, 1, 0, 1), granted(0, &[]))]
    );
    let mut urgent = job(1);
    urgent.priority = 5;
    assert_eq!(started(&cluster.submit(&urgent)), [(2, run(2, 1, 0, 1), granted(0, &[]))]);
    let mut next = job(1);
    next.priority = 9;
    assert_eq!(started(&cluster.submit(&next)), []);
    // The node of the slot goes to the urgent job, the slot to nobody: no room is left.
    assert_eq!(
        started(&cluster.succeed(1, run(1, 1, 0, 1))),
        [(1, run(3, 1, 0, 1), granted(0, &[]))]
    );
    assert_eq!(
        started(&cluster.succeed(2, run(2, 1, 0, 1))),
        [(2, run(1, 1, 1, 1), granted(0, &[]))]
    );
}

#[test]
fn a_pool_that_does_not_exist_or_is_too_small_is_named() {
    let mut cluster = Cluster::new();
    cluster.set_policy(pools(&[("licence", 3)])).unwrap();
    cluster.node(1, 4);
    assert!(
        cluster.refused("ann", &pooled(1, "database", 1)).message.contains("no pool `database`")
    );
    assert!(cluster.refused("ann", &pooled(1, "licence", 4)).message.contains("which has 3"));
}
