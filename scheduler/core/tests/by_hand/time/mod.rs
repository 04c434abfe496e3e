//! Placement in time: promises, windows and headroom.

mod backfill;
mod headroom;
mod order;
mod reservations;

use wrun_protocol::policy::{Backfill, BackfillMode, Policy, QueueOrder};
use wrun_protocol::reservation::{Reservation, Reserved};
use wrun_protocol::{Digest, JobId, JobSpec, Resources};

use crate::cluster::{Cluster, GIB, Machine, second};

fn policy(order: QueueOrder, fill_order: Option<QueueOrder>, mode: BackfillMode) -> Policy {
    let backfill = Backfill { mode, ..Backfill::default() };
    Policy { order, fill_order, backfill, ..Policy::default() }
}

fn fcfs(mode: BackfillMode) -> Policy {
    policy(QueueOrder::Fcfs, None, mode)
}

/// Nodes of so many CPUs under a policy.
fn under(policy: Policy, nodes: &[u32]) -> Cluster {
    let mut cluster = Cluster::under(policy);
    for (number, cpus) in (1..).zip(nodes) {
        cluster.join(number, Machine::of(*cpus).memory(64 * GIB));
    }
    cluster
}

impl Cluster {
    /// A job of `count` tasks of one CPU, as a gang if more than one, that may take
    /// `seconds`.
    fn unit(&mut self, count: u32, seconds: u64) -> JobId {
        self.queue(&unit(count, seconds))
    }
}

fn unit(count: u32, seconds: u64) -> JobSpec {
    let mut spec = JobSpec { count, ..JobSpec::new(Digest([7; 32])) };
    spec.resources = Resources { cpu_milli: 1000, memory: 1 << 20, scratch: 0, slots: 1 };
    spec.limits.wall_ms = Some(seconds * 1000);
    spec.scheduling.gang = count > 1;
    spec
}

fn window(name: &str, start: u64, end: u64, what: Reserved) -> Reservation {
    Reservation {
        name: name.to_owned(),
        start: second(start),
        end: second(end),
        every_ms: None,
        what,
        tenants: ["ann".parse().unwrap()].into(),
    }
}

fn nodes(names: &[&str]) -> Reserved {
    Reserved::Nodes(names.iter().map(|name| (*name).to_owned()).collect())
}
