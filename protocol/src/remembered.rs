//! What the result of a task depends on, so that it may be remembered (`cache = true`):
//! the key under which it is kept, and what such a job must not be granted.
//!
//! Two tasks of one key give the same result: whatever a task can observe is part of its
//! key, and whatever is not part of it is closed to the task. Server and workers make the
//! key with the same function: the one to look a result up, the others to seed randomness.

use serde::Serialize;

use crate::job::{Input, JobSpec, SpecError, TaskLimits};
use crate::task::Content;
use crate::wire::worker::ComponentKind;
use crate::{Digest, TenantName};

/// What executes the tasks: version of the engine, and of what it is given in place of the
/// outside (clocks, randomness, files' times and numbers). The latter goes up with every
/// change that a guest can see. A result is given only for the same text.
pub const ENGINE: &str = "wasmtime 48.0.8, world 1";

/// Most tasks of a job whose results are remembered: each is looked up when it is submitted.
pub const MAX_REMEMBERED: u32 = 10_000;

/// SHA-256, which this crate does not have.
pub type Sha256 = fn(&[u8]) -> Digest;

/// The keys of a job's tasks.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    job: Digest,
    world: Digest,
    hash: Sha256,
}

/// What is alike for all tasks of a job. Versioned by its first field; in postcard, which
/// has one encoding for each value.
#[derive(Serialize)]
struct OfJob<'a> {
    version: u8,
    engine: &'static str,
    tenant: &'a str,
    kind: ComponentKind,
    component: Digest,
    args: &'a [String],
    env: &'a [(String, String)],
    input: OfInput,
    /// By path: their order in the job shows nowhere.
    mounts: Vec<(&'a str, Digest)>,
    count: u32,
    memory: u64,
    scratch: u64,
    limits: TaskLimits,
}

/// Inputs by content: it is the same input inline, as a blob, and where nothing is read.
#[derive(Serialize)]
enum OfInput {
    Same(Digest),
    Items(Digest),
}

impl Keys {
    /// The keys of the tasks of this job.
    pub fn new(tenant: &TenantName, kind: ComponentKind, spec: &JobSpec, hash: Sha256) -> Self {
        let digest = |content: &Content| match content {
            Content::Inline(bytes) => hash(bytes),
            Content::Blob { digest, .. } => *digest,
        };
        let input = match &spec.input {
            Input::Empty | Input::Attached => OfInput::Same(hash(&[])),
            Input::Content(content) => OfInput::Same(digest(content)),
            Input::Each(items) => OfInput::Items(digest(items)),
        };
        let mounts = spec.mounts.iter().map(|mount| (mount.path.as_str(), mount.digest));
        let mut mounts: Vec<_> = mounts.collect();
        mounts.sort_unstable();
        let of_job = OfJob {
            version: 1,
            engine: ENGINE,
            tenant: tenant.as_str(),
            kind,
            component: spec.component,
            args: &spec.args,
            env: &spec.env,
            input,
            mounts,
            count: spec.count,
            memory: spec.resources.memory,
            scratch: spec.resources.scratch,
            limits: TaskLimits { wall_ms: None, cpu_ms: None, ..spec.limits.clone() },
        };
        // Plain data always has an encoding.
        let bytes = postcard::to_stdvec(&of_job).unwrap_or_default();
        let world = hash(&bytes);
        let times = (world, spec.limits.wall_ms, spec.limits.cpu_ms);
        let job = hash(&postcard::to_stdvec(&times).unwrap_or_default());
        Self { job, world, hash }
    }

    /// The key of the task at `index`.
    pub fn of_task(&self, index: u32) -> Digest {
        self.of(self.job, index)
    }

    /// What the randomness of the task at `index` comes from: its key but for limits of
    /// time, which say whether there is a result and never which, and which the policy or a
    /// user may change after the job was accepted.
    pub fn seed_of(&self, index: u32) -> Digest {
        self.of(self.world, index)
    }

    fn of(&self, job: Digest, index: u32) -> Digest {
        let mut bytes = [0; 36];
        let (first, place) = bytes.split_at_mut(32);
        first.copy_from_slice(&job.0);
        place.copy_from_slice(&index.to_le_bytes());
        (self.hash)(&bytes)
    }
}

/// Refuses what observes the outside, by the name of the grant.
pub(crate) fn check(spec: &JobSpec) -> Result<(), SpecError> {
    let wishes = &spec.scheduling;
    let granted = [
        (!spec.network.is_empty(), "network", "hosts answer differently from time to time"),
        (spec.input == Input::Attached, "input", "attached input is not known beforehand"),
        (wishes.gang, "gang", "tasks that talk to each other depend on each other's timing"),
        (wishes.devices.gpu.is_some(), "gpu", "cards compute differently from model to model"),
        (!wishes.devices.named.is_empty(), "resources", "what only some nodes have may differ"),
        (!spec.inference.models.is_empty(), "models", "nodes compute them on different devices"),
        (spec.inference.load, "load_models", "nodes compute them on different devices"),
        (!wishes.alternatives.is_empty(), "alternatives", "the limits would depend on the node"),
        (spec.count > MAX_REMEMBERED, "count", "at most 10000 tasks of a job are looked up"),
    ];
    match granted.into_iter().find(|(granted, ..)| *granted) {
        None => Ok(()),
        Some((_, field, reason)) => Err(SpecError::Field {
            field,
            problem: format!("not with `cache`: {reason}; leave out one of the two"),
        }),
    }
}

#[cfg(test)]
mod tests;
