//! Opening a replica.

use std::sync::Arc;

use bytes::Bytes;
use wrun_protocol::Resources;
use wrun_protocol::job::TaskLimits;
use wrun_protocol::wire::user::LogStream;
use wrun_protocol::wire::worker::ComponentKind;

use super::dispatch::{Dispatch, Identity, Uses};
use super::{Open, Replica};
use crate::control::Batch;
use crate::guests::Guests;
use crate::link::stacks;
use crate::network::Network;
use crate::permits::Demand;
use crate::{
    CheckpointDone, JobContext, Prepared, ReplicaEvents, ReplicaStart, StartError, TaskEnd,
    TaskEvents,
};

/// See [`crate::Sandbox::open_replica`]; `memory` is what the node has.
pub(crate) fn open(
    guests: &Arc<Guests>,
    prepared: &Arc<Prepared>,
    replica: ReplicaStart,
    events: Arc<dyn ReplicaEvents>,
    memory: u64,
) -> Result<Replica, StartError> {
    check(prepared, &replica, memory)?;
    let ReplicaStart { token, job, index, attempt, http, memory_of_instance, scratch } = replica;
    let facts = prepared.facts;
    let stacks = stacks(facts, memory_of_instance, guests.stack());
    let uses = Uses::new(http.concurrency, http.reuse, facts.concurrent_call);
    let job = of_instance(&job, memory_of_instance, uses.is_fresh());
    let batch = Arc::new(Batch {
        network: Network::new(&job.network, &job.listen),
        job: Arc::new(job),
        prepared: Arc::clone(prepared),
        events: Arc::new(Logs(Arc::clone(&events))),
        guests: Arc::clone(guests),
    });
    let identity = Identity { token, index, attempt, scratch };
    let demand = Demand { stacks, ..prepared.demand };
    let make = |number| Arc::new(Dispatch::new(number, identity, batch, events, demand, uses));
    let dispatch = guests.enter(make).ok_or(StartError::Closed)?;
    Ok(Replica(Arc::new(Open(dispatch))))
}

fn check(prepared: &Prepared, replica: &ReplicaStart, memory: u64) -> Result<(), StartError> {
    if prepared.facts.kind != ComponentKind::Http {
        let text = "the component answers no HTTP requests";
        return Err(StartError::Refused(text.to_owned()));
    }
    if replica.memory_of_instance > memory {
        return Err(StartError::Refused(format!(
            "an instance may have {} bytes of memory; this node has {memory} for tasks",
            replica.memory_of_instance
        )));
    }
    Ok(())
}

/// The job as one of its instances sees it: with the memory of one, and without limits
/// that are for one execution where there are many in it.
fn of_instance(job: &JobContext, memory: u64, fresh: bool) -> JobContext {
    let limits = TaskLimits { wall_ms: None, ..job.limits.clone() };
    let limits =
        if fresh { limits } else { TaskLimits { log_bytes: u64::MAX, cpu_ms: None, ..limits } };
    let resources = Resources { memory, ..job.resources };
    JobContext { limits, resources, ..job.clone() }
}

/// What an instance has to tell as a task would.
struct Logs(Arc<dyn ReplicaEvents>);

impl TaskEvents for Logs {
    fn log(&self, token: u64, stream: LogStream, bytes: Bytes) {
        self.0.log(token, stream, bytes);
    }

    fn progress(&self, _: u64, _: u16, _: &str) {}

    fn save_checkpoint(&self, _: u64, _: Bytes, done: CheckpointDone) {
        done.unavailable("a service has no checkpoints");
    }

    fn ended(&self, _: u64, _: TaskEnd) {}
}
