//! What tenants used and are owed.

use wrun_core::Input;
use wrun_protocol::NodeId;
use wrun_protocol::policy::{Policy, TenantPolicy, Weights};
use wrun_protocol::wire::policy::ShareRow;

use crate::env::{Env, env, job};

fn row<'a>(rows: &'a [ShareRow], tenant: &str) -> &'a ShareRow {
    rows.iter().find(|row| row.tenant.as_str() == tenant).unwrap()
}

#[test]
fn usage_is_what_was_allocated_however_it_ended() {
    let mut env = env();
    env.node(1, 2);
    env.submit("ann", 10, &job(1, 60));
    env.submit("bob", 1000, &job(1, 1000));
    env.run_until(25);
    // The node is lost, and with it bob's attempt, which was allocated until now.
    env.handle(Input::NodeGone { node: NodeId(1) });
    env.run_until(40);
    let rows = env.core.shares();
    assert_eq!(row(&rows, "ann").cpu_milli_ms, 10_000 * 1000);
    assert_eq!(row(&rows, "bob").cpu_milli_ms, 25_000 * 1000);
    let memory = u128::from(job(1, 1).resources.memory);
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
    let mut env = Env::with(Policy { weights, tenants, ..Policy::default() });
    env.node(1, 1);
    for _ in 0..40 {
        env.submit("ann", 10, &job(1, 10));
        env.submit("bob", 10, &job(1, 10));
    }
    env.run_until(400);
    let anns = env.order().iter().filter(|job| *job % 2 == 1).count();
    assert!((29..=31).contains(&anns), "3 of 4 of 41 starts: {anns}");
    let rows = env.core.shares();
    let (ann, bob) = (row(&rows, "ann"), row(&rows, "bob"));
    assert_eq!((ann.share, bob.share), (750_000, 250_000));
    assert!(ann.usage_part.abs_diff(750_000) <= 25_000, "{ann:?}");
    assert_eq!(ann.cpu_milli_ms + bob.cpu_milli_ms, 400_000 * 1000);
}

#[test]
fn a_tree_is_shown_parents_first_with_what_is_below_them() {
    let listed =
        [("lab", None, 1), ("ann", Some("lab"), 2), ("bob", Some("lab"), 1), ("eve", None, 1)];
    let mut env = Env::with(Policy { tenants: tenants(&listed), ..Policy::default() });
    env.node(1, 4);
    env.submit("ann", 10, &job(1, 10));
    env.submit("bob", 20, &job(1, 20));
    env.run_until(30);
    let rows = env.core.shares();
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
