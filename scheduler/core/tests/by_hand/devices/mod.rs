//! Cards, named resources, pools, alternatives and arrangements, worked out by hand.

mod arrangement;
mod cards;
mod gangs;
mod pools;
mod preemption;
mod time;

use wrun_protocol::policy::{Policy, Qos};
use wrun_protocol::wire::worker::Grant;

use crate::cluster::Cluster;

/// What a task may use of its node: by its request of that number, these cards.
fn granted(request: u8, gpus: &[u16]) -> Grant {
    Grant { request, gpus: gpus.to_vec() }
}

/// Class `urgent` may pre-empt class `bulk`; who is stopped has 30 s.
fn two_classes() -> Cluster {
    let class = |name: &str, preempts: &[&str]| Qos {
        name: name.to_owned(),
        preempts: preempts.iter().map(|name| (*name).to_owned()).collect(),
        ..Qos::default()
    };
    let qos = vec![class("bulk", &[]), class("urgent", &["bulk"])];
    let mut policy = Policy { qos, ..Policy::default() };
    policy.preemption.notice_ms = 30_000;
    Cluster::under(policy)
}

/// Pools of so many slots.
fn pools(pools: &[(&str, u32)]) -> Policy {
    let pools = pools.iter().map(|(name, slots)| ((*name).to_owned(), *slots)).collect();
    Policy { pools, ..Policy::default() }
}
