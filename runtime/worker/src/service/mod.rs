//! Services on this node: the replicas that it hosts, and its gateway, which brings requests
//! to them and to those on other nodes. What is a replica to its slots, how long it may take
//! and when it goes is the agent's and the server's.

mod caller;
mod carrier;
mod entrance;
mod hosted;
mod known;
mod ready;
mod replicas;

pub(crate) use caller::Caller;
pub(crate) use carrier::Carrier;
pub(crate) use entrance::Entrance;
pub(crate) use hosted::Hosted;
pub(crate) use known::Known;
pub(crate) use ready::{News, watch_program, watch_replica};
pub(crate) use replicas::{Replicas, Requests};
