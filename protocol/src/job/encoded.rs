//! The stored and forwarded form of a specification, in versions that are added to.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{HostGrant, Input, JobSpec, Mount, OnDisconnect, RetryPolicy, TaskLimits};
use crate::model::Inference;
use crate::scheduling::Scheduling;
use crate::service::ServiceSpec;
use crate::{Digest, Resources, limits};

/// Version 1. Its fields are never edited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecV1 {
    /// Shown in listings; not unique. May be empty.
    pub name: String,
    /// The component to run; a blob of the tenant's.
    pub component: Digest,
    /// Arguments after the program's own name.
    pub args: Vec<String>,
    /// Environment variables, the guest's whole environment apart from `WRUN_*`.
    pub env: Vec<(String, String)>,
    /// Standard input of a program, or the input of a handler.
    pub input: Input,
    /// Files that the guest sees, read-only.
    pub mounts: Vec<Mount>,
    /// How many tasks; more than one makes the job an array.
    pub count: u32,
    /// What each task takes of a node.
    pub resources: Resources,
    /// What ends a task.
    pub limits: TaskLimits,
    /// Which failures run again, how often and after how long.
    pub retry: RetryPolicy,
    /// Higher runs first. 0 unless set.
    pub priority: i32,
    /// Labels that a node must carry, with these values.
    pub labels: BTreeMap<String, String>,
    /// Hosts the guest may reach.
    pub network: Vec<HostGrant>,
    /// What a worker does that has lost the server for longer than its lease.
    pub on_disconnect: OnDisconnect,
}

/// The stored and forwarded form. A new version is a new variant at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VersionedSpec {
    /// A job without wishes beyond amounts.
    V1(SpecV1),
    /// A job with such wishes.
    V2(SpecV1, Box<Scheduling>),
    /// A service.
    V3(SpecV1, Box<Scheduling>, Box<ServiceSpec>),
    /// A job or a service that may use models.
    V4(SpecV1, Box<Scheduling>, Option<Box<ServiceSpec>>, Box<Inference>),
}

/// A [`VersionedSpec`] as postcard bytes, at most [`limits::MAX_SPEC`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodedSpec(Bytes);

/// Why a specification is refused. The text names the field and its bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A field has a value that cannot be.
    #[error("`{field}`: {problem}")]
    Field {
        /// The field as the job file and the flags name it.
        field: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// The whole is larger than [`limits::MAX_SPEC`].
    #[error(
        "the specification takes {size} bytes; at most {} are allowed: pass long data as input or mounts",
        limits::MAX_SPEC
    )]
    TooLarge {
        /// Encoded size in bytes.
        size: usize,
    },
    /// The bytes are not a specification that this version of wrun knows.
    #[error("the specification cannot be read: {0}")]
    Unreadable(String),
}

impl EncodedSpec {
    /// Checks and encodes.
    pub fn encode(spec: &JobSpec) -> Result<Self, SpecError> {
        spec.check()?;
        let bytes = postcard::to_stdvec(&VersionedSpec::from(spec))
            .map_err(|error| SpecError::Unreadable(error.to_string()))?;
        if bytes.len() > limits::MAX_SPEC {
            return Err(SpecError::TooLarge { size: bytes.len() });
        }
        Ok(Self(bytes.into()))
    }

    /// Decodes and checks: the bytes may come from anyone.
    pub fn decode(&self) -> Result<JobSpec, SpecError> {
        if self.0.len() > limits::MAX_SPEC {
            return Err(SpecError::TooLarge { size: self.0.len() });
        }
        let (versioned, rest) = postcard::take_from_bytes::<VersionedSpec>(&self.0)
            .map_err(|error| SpecError::Unreadable(error.to_string()))?;
        if !rest.is_empty() {
            return Err(SpecError::Unreadable(format!("{} bytes too many", rest.len())));
        }
        let spec = JobSpec::from(versioned);
        spec.check()?;
        Ok(spec)
    }

    /// Whether it says anything of when and where tasks may run; told without decoding.
    pub fn has_wishes(&self) -> bool {
        self.0.first().is_some_and(|version| *version > 0)
    }

    /// Whether it may say something of models; told without decoding.
    pub fn may_name_models(&self) -> bool {
        self.0.first().is_some_and(|version| *version > 2)
    }

    /// A copy of what [`Self::as_bytes`] gave.
    pub fn from_slice(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }

    /// A copy of what [`Self::as_bytes`] gave, put together from parts.
    pub fn from_parts(parts: &[&[u8]]) -> Self {
        Self(parts.concat().into())
    }

    /// The encoded bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Bytes> for EncodedSpec {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for EncodedSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncodedSpec({} bytes)", self.0.len())
    }
}

impl From<&JobSpec> for VersionedSpec {
    fn from(spec: &JobSpec) -> Self {
        let first = SpecV1 {
            name: spec.name.clone(),
            component: spec.component,
            args: spec.args.clone(),
            env: spec.env.clone(),
            input: spec.input.clone(),
            mounts: spec.mounts.clone(),
            count: spec.count,
            resources: spec.resources,
            limits: spec.limits.clone(),
            retry: spec.retry.clone(),
            priority: spec.priority,
            labels: spec.labels.clone(),
            network: spec.network.clone(),
            on_disconnect: spec.on_disconnect,
        };
        if !spec.inference.is_empty() {
            let inference = Box::new(spec.inference.clone());
            let scheduling = Box::new(spec.scheduling.clone());
            return Self::V4(first, scheduling, spec.service.clone(), inference);
        }
        match &spec.service {
            Some(service) => Self::V3(first, Box::new(spec.scheduling.clone()), service.clone()),
            None if spec.scheduling == Scheduling::default() => Self::V1(first),
            None => Self::V2(first, Box::new(spec.scheduling.clone())),
        }
    }
}

impl From<VersionedSpec> for JobSpec {
    fn from(spec: VersionedSpec) -> Self {
        let none = Inference::default;
        let (first, scheduling, service, inference) = match spec {
            VersionedSpec::V1(first) => (first, Scheduling::default(), None, none()),
            VersionedSpec::V2(first, scheduling) => (first, *scheduling, None, none()),
            VersionedSpec::V3(first, scheduling, service) => {
                (first, *scheduling, Some(service), none())
            }
            VersionedSpec::V4(first, scheduling, service, inference) => {
                (first, *scheduling, service, *inference)
            }
        };
        Self {
            name: first.name,
            component: first.component,
            args: first.args,
            env: first.env,
            input: first.input,
            mounts: first.mounts,
            count: first.count,
            resources: first.resources,
            limits: first.limits,
            retry: first.retry,
            priority: first.priority,
            labels: first.labels,
            network: first.network,
            on_disconnect: first.on_disconnect,
            scheduling,
            service,
            inference,
        }
    }
}
