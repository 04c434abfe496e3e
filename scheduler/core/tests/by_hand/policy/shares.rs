//! What tenants used and are owed.

use wrun_core::Input;
use wrun_protocol::NodeId;
use wrun_protocol::policy::{Policy, TenantPolicy, Weights};
use wrun_protocol::wire::policy::ShareRow;

use crate::cluster::{Cluster, limited};

fn row<'a>(rows: &'a [ShareRow], tenant: &str) -> &'a ShareRow {
    rows.iter().find(|row| row.tenant.as_str() == tenant).unwrap()
}

#[test]
fn usage_is_what_was_allocated_however_it_ended() {
    let mut cluster = Cluster::new();
    cluster.node(1, 2);
    cluster.lasting("ann", 10, &limited(1, 60));
    cluster.lasting("bob", 1000, &limited(1, 1000));
    cluster.at(25);
    // The node is lost, and with it bob's attempt, which was allocated until now.
    cluster.handle(Input::NodeGone { node: NodeId(1) });
    cluster.at(40);
    let rows = cluster.core.shares();
    assert_eq!(row(&rows, "ann").cpu_milli_ms, 10_000 * 1000);
    assert_eq!(row(&rows, "bob").cpu_milli_ms, 25_000 * 1000);
    let memory = u128::from(limited(1, 1).resources.memory);
    assert_eq!(row(&rows, "bob").memory_byte_ms, 25_000 * memory);
}

fn tenants(of: &[(&str, Option<&str>, u32)]) -> Vec<TenantPolicy> {
    let tenant = |(name, parent, shares): &(&str, Option<&str>, u32)| TenantPolicy {
        name: name.parse().unwrap(),
        parent: parent.map(|name| name.parse().unwrap()),
        shares: *shares,
        default_qos: None,
        limits: wrun_protocol::policy::Limits::default(),
    };
    of.iter().map(tenant).collect()
}

#[test]
fn shares_decide_between_tenants_over_time() {
    let weights = Weights { age: 0, ..Weights::default() };
    let tenants = tenants(&[("ann", None, 3), ("bob", None, 1)]);
    let mut cluster = Cluster::under(Policy { weights, tenants, ..Policy::default() });
    cluster.node(1, 1);
    for _ in 0..40 {
        cluster.lasting("ann", 10, &limited(1, 10));
        cluster.lasting("bob", 10, &limited(1, 10));
    }
    cluster.at(400);
    let anns = cluster.order().iter().filter(|job| *job % 2 == 1).count();
    assert!((29..=31).contains(&anns), "3 of 4 of 41 starts: {anns}");
    let rows = cluster.core.shares();
    let (ann, bob) = (row(&rows, "ann"), row(&rows, "bob"));
    assert_eq!((ann.share, bob.share), (750_000, 250_000));
    assert!(ann.usage_part.abs_diff(750_000) <= 25_000, "{ann:?}");
    assert_eq!(ann.cpu_milli_ms + bob.cpu_milli_ms, 400_000 * 1000);
}

#[test]
fn a_tree_is_shown_parents_first_with_what_is_below_them() {
    let listed =
        [("lab", None, 1), ("ann", Some("lab"), 2), ("bob", Some("lab"), 1), ("eve", None, 1)];
    let mut cluster = Cluster::under(Policy { tenants: tenants(&listed), ..Policy::default() });
    cluster.node(1, 4);
    cluster.lasting("ann", 10, &limited(1, 10));
    cluster.lasting("bob", 20, &limited(1, 20));
    cluster.at(30);
    let rows = cluster.core.shares();
    let shown: Vec<(&str, u32, u32)> =
        rows.iter().map(|row| (row.tenant.as_str(), row.depth, row.share)).collect();
    let wanted =
        [("lab", 0, 500_000), ("ann", 1, 333_333), ("bob", 1, 166_667), ("eve", 0, 500_000)];
    assert_eq!(shown, wanted);
    assert_eq!(row(&rows, "lab").cpu_milli_ms, 30_000 * 1000);
    assert_eq!(row(&rows, "lab").usage_part, 1_000_000);
    // Eve used nothing; ann is owed 2/3 to 1/3, bob 1/3 to 2/3.
    let factors: Vec<u32> = rows.iter().map(|row| row.factor).collect();
    assert_eq!(factors, [666_666, 666_666, 333_333, 1_000_000]);
}
