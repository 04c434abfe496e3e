//! What makes tasks alike to placement, and what of a job's wishes does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wrun_protocol::job::JobSpec;
use wrun_protocol::scheduling::{Arrangement, Devices, Preemptible, Request, Scheduling};
use wrun_protocol::{JobId, Resources};

use super::TenantIx;
use crate::state::length::Length;
use crate::state::services::ports;

/// What makes tasks alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct GroupKey {
    pub(crate) priority: i32,
    pub(crate) tenant: TenantIx,
    pub(crate) wanted: Resources,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) length: Length,
    /// What few jobs have.
    pub(crate) wishes: Option<Box<Wishes>>,
}

/// A job's wishes beyond amounts, as far as they make tasks alike or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Wishes {
    /// By name; what the job says, or the default when it was submitted.
    pub(crate) partition: Option<String>,
    pub(crate) qos: Option<String>,
    pub(crate) nice: i32,
    pub(crate) devices: Devices,
    pub(crate) alternatives: Vec<Request>,
    pub(crate) refused_labels: BTreeMap<String, String>,
    pub(crate) arrangement: Arrangement,
    /// Tasks that start together; 0 where they need not.
    pub(crate) gang: u32,
    pub(crate) preemptible: Preemptible,
    pub(crate) reservation: Option<String>,
    /// The job alone: it has bounds of its own ([`wrun_protocol::scheduling::Scheduling`]'s
    /// `max_running`, arrangements within a job) or is a service, so that no other is like it.
    pub(crate) job: Option<JobId>,
}

impl GroupKey {
    /// The key of job `id`.
    pub(crate) fn of(tenant: TenantIx, id: JobId, spec: JobSpec) -> Self {
        let length = spec.limits.wall_ms.map_or(Length::Like(spec.component), Length::Limit);
        let mut wishes = Wishes::of(id, spec.count, spec.scheduling);
        if let Some(service) = &spec.service {
            wishes.job = Some(id);
            if !ports(service).is_empty() {
                wishes.arrangement = Arrangement::DifferentNodes;
            }
        }
        Self {
            priority: spec.priority,
            tenant,
            wanted: spec.resources,
            labels: spec.labels,
            length,
            wishes: (wishes != Wishes::default()).then(|| Box::new(wishes)),
        }
    }

    /// What may be done to its tasks for the sake of others.
    pub(crate) fn preemptible(&self) -> Preemptible {
        self.wishes.as_ref().map(|wishes| wishes.preemptible).unwrap_or_default()
    }

    /// Whether its tasks stand and fall together.
    pub(crate) fn is_gang(&self) -> bool {
        self.wishes.as_ref().is_some_and(|wishes| wishes.gang > 1)
    }

    /// How many tasks start together; 0 where they need not.
    pub(crate) fn gang(&self) -> u32 {
        self.wishes.as_ref().map_or(0, |wishes| wishes.gang)
    }

    /// The reservation in which it runs.
    pub(crate) fn reservation(&self) -> Option<&str> {
        self.wishes.as_ref()?.reservation.as_deref()
    }
}

impl Wishes {
    fn of(id: JobId, count: u32, wishes: Scheduling) -> Self {
        let within =
            matches!(wishes.arrangement, Arrangement::SameNode | Arrangement::DifferentNodes);
        let alone = within || wishes.max_running.is_some();
        Self {
            partition: wishes.partition,
            qos: wishes.qos,
            nice: wishes.nice,
            devices: wishes.devices,
            alternatives: wishes.alternatives,
            refused_labels: wishes.refused_labels,
            arrangement: wishes.arrangement,
            gang: if wishes.gang { count } else { 0 },
            preemptible: wishes.preemptible,
            reservation: wishes.reservation,
            job: alone.then_some(id),
        }
    }
}
