//! Every reason why a job waits, and what is said of it.

use wrun_core::reason::{Amount, Nodes};
use wrun_core::{Input, PendingReason, RequestId};
use wrun_protocol::policy::{Limits, Partition, Policy, QueueOrder, TenantPolicy};
use wrun_protocol::scheduling::{Dependency, DependsOn};
use wrun_protocol::{JobId, NodeId};

use crate::env::{Env, env, job};

pub(crate) fn codes(env: &Env, job: JobId) -> Vec<(String, Option<u32>)> {
    let explanation = env.core.explain(job).unwrap();
    explanation.reasons.into_iter().map(|row| (row.code, row.nodes)).collect()
}

pub(crate) fn expect(env: &Env, job: JobId, wanted: &[(&str, Option<u32>)]) {
    let wanted: Vec<_> = wanted.iter().map(|(code, nodes)| ((*code).to_owned(), *nodes)).collect();
    assert_eq!(codes(env, job), wanted);
}

#[test]
fn without_nodes_there_is_that_to_say() {
    let mut env = env();
    let waiting = env.submit("ann", 10, &job(1, 10));
    expect(&env, waiting, &[("no-nodes", None)]);
    assert_eq!(env.core.explain(waiting).unwrap().position, Some(1));
}

#[test]
fn nodes_are_counted_by_what_each_lacks() {
    let fast = Partition {
        name: "fast".to_owned(),
        labels: [("disk".to_owned(), "ssd".to_owned())].into(),
        ..Partition::default()
    };
    let mut env = Env::with(Policy { partitions: vec![fast], ..Policy::default() });
    let ssd = ("disk", "ssd");
    env.node(1, 4);
    env.node(2, 4);
    env.node_with(3, 4, &[ssd]);
    env.node_with(4, 4, &[ssd, ("zone", "a")]);
    env.node_with(5, 1, &[ssd, ("zone", "a")]);
    let request = RequestId(1);
    env.handle(Input::SetDrain { request, node: NodeId(4), drain: true });
    let mut spec = job(2, 10);
    spec.labels.insert("zone".to_owned(), "a".to_owned());
    let waiting = env.submit("ann", 10, &spec);
    expect(
        &env,
        waiting,
        &[
            ("no-capacity", None),
            ("outside-partition", Some(2)),
            ("lacks-label", Some(1)),
            ("not-ready", Some(1)),
            ("full", Some(1)),
        ],
    );
    let texts: Vec<String> =
        env.core.pending_reasons(waiting).iter().map(ToString::to_string).collect();
    assert_eq!(
        texts[1..],
        [
            "2 nodes are not in partition `fast`",
            "1 node is without the label zone=a",
            "1 node (node-4) is not connected, drained or lost",
            "1 node is full: not enough CPU left",
        ]
    );
}

#[test]
fn a_node_that_is_too_small_is_so_for_a_resource() {
    let mut env = env();
    let mut spec = job(1, 10);
    spec.resources.memory = 65 << 30;
    let waiting = env.submit("ann", 10, &spec);
    env.node(1, 1);
    expect(&env, waiting, &[("no-node-fits", None), ("too-small", Some(1))]);
    let reasons = env.core.pending_reasons(waiting);
    let nodes = Nodes { count: 1, names: Vec::new() };
    assert_eq!(reasons[1], PendingReason::TooSmall { amount: Amount::Memory, nodes });
    let advice = env.core.explain(waiting).unwrap().advice;
    assert!(advice[0].contains("the largest has 1 CPU, 64 GiB memory"), "{advice:?}");
}

#[test]
fn who_stands_before_it_and_where_it_stands() {
    let order = QueueOrder::ShortestFirst;
    let mut env = Env::with(Policy { order, ..Policy::default() });
    env.node(1, 1);
    env.submit("ann", 10, &job(1, 10));
    let long = env.submit("ann", 30, &job(3, 30));
    let short = env.submit("bob", 10, &job(1, 10));
    let other = env.submit("bob", 30, &job(1, 30));
    let position = |job| env.core.explain(job).unwrap().position;
    assert_eq!([short, long, other].map(position), [Some(1), Some(2), Some(3)]);
    expect(&env, long, &[("no-capacity", None), ("behind", None), ("full", Some(1))]);
    assert_eq!(env.core.pending_reasons(long)[1], PendingReason::Behind { job: short });
    let queue = env.core.queue(10);
    let rows: Vec<_> = queue.iter().map(|row| (row.job, row.waiting, row.priority)).collect();
    assert_eq!(rows, [(short, 1, -10_000), (long, 3, -30_000), (other, 1, -30_000)]);
    assert_eq!(env.core.queue(1).len(), 1);
}

#[test]
fn what_keeps_a_job_back_comes_first() {
    let mut env = env();
    env.node(1, 1);
    let running = env.submit("ann", 100, &job(1, 100));
    let mut spec = job(1, 10);
    spec.scheduling.hold = true;
    let held = env.submit("ann", 10, &spec);
    expect(&env, held, &[("held", None), ("full", Some(1))]);
    assert_eq!(env.core.explain(held).unwrap().position, None);
    let mut spec = job(1, 10);
    spec.scheduling.depends_on = vec![Dependency { job: running, on: DependsOn::Success }];
    let waiting = env.submit("ann", 10, &spec);
    expect(&env, waiting, &[("dependency", None), ("full", Some(1))]);
    let mut spec = job(2, 10);
    spec.scheduling.max_running = Some(1);
    env.node(2, 4);
    let bounded = env.submit("ann", 10, &spec);
    expect(&env, bounded, &[("max-running", None), ("full", Some(1))]);
}

#[test]
fn a_limit_is_named_and_the_job_is_shown_behind_those_that_can_start() {
    let limits = Limits { running: Some(1), ..Limits::default() };
    let name = "ann".parse().unwrap();
    let ann = TenantPolicy { name, parent: None, shares: 1, default_qos: None, limits };
    let mut env = Env::with(Policy { tenants: vec![ann], ..Policy::default() });
    env.node(1, 2);
    env.submit("ann", 10, &job(1, 10));
    let limited = env.submit("ann", 10, &job(1, 10));
    expect(&env, limited, &[("limit", None)]);
    let advice = env.core.explain(limited).unwrap().advice;
    assert!(advice[0].contains("tenant ann"), "{advice:?}");
    env.submit("bob", 10, &job(1, 10));
    let waiting = env.submit("bob", 10, &job(1, 10));
    let queue: Vec<JobId> = env.core.queue(10).iter().map(|row| row.job).collect();
    assert_eq!(queue, [waiting, limited]);
}

#[test]
fn what_could_never_start_is_told_that_waiting_does_not_help() {
    let mut env = env();
    env.node(1, 2);
    env.node(2, 3);
    env.drain(NodeId(2), true);
    let mut gang = job(5, 10);
    gang.scheduling.gang = true;
    let waiting = env.submit("ann", 10, &gang);
    expect(&env, waiting, &[("gang-beyond-nodes", None), ("not-ready", Some(1))]);
    let advice = env.core.explain(waiting).unwrap().advice;
    assert!(advice[0].starts_with("it can start with 3 places of 1 CPU"), "{advice:?}");
    assert!(advice[1].contains("wrun drain node-2 --undo"), "{advice:?}");
    let limited = |most| {
        let limits = Limits { running: Some(most), ..Limits::default() };
        let name = "ann".parse().unwrap();
        let ann = TenantPolicy { name, parent: None, shares: 1, default_qos: None, limits };
        Policy { tenants: vec![ann], ..Policy::default() }
    };
    env.set_policy(limited(3)).unwrap();
    env.drain(NodeId(2), false);
    expect(&env, waiting, &[("beyond-limit", None)]);
}
