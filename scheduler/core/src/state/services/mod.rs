//! Services: their revisions, which replicas of each are awake, and how those are.
//!
//! A revision is one job, and its replicas are that job's tasks. A replica that sleeps is in
//! none of the job's sets: it is kept here, in a range with its like, for the number of its
//! last attempt alone. What is awake has an entry here and its place in the job. That
//! something came about which may call for a decision, or which gateways are to know, is
//! noted in [`Services::due`] and [`Services::changed`] for those who see to it.

mod apply;
mod rollout;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wrun_protocol::limits::MAX_REPLICAS;
use wrun_protocol::service::{ProgramService, Route, ServiceId, ServiceKind, ServiceSpec};
use wrun_protocol::wire::service::{ScaleTo, ServiceEvent, ServiceHappened};
use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::{IndexRange, JobId, TaskId, TenantName, Timestamp};

pub(crate) use self::rollout::Moving;
use super::State;
use super::groups::GroupKey;
use super::jobs::NodeIx;
use super::span::Spans;

/// Events of a service that are remembered.
const MAX_EVENTS: usize = 32;

/// Every service.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Services {
    live: BTreeMap<ServiceId, Service>,
    /// Of which service a live job is a revision, and which. Derived.
    #[serde(skip)]
    of_job: BTreeMap<JobId, (ServiceId, u32)>,
    /// Services to be looked at. Not recorded.
    #[serde(skip)]
    pub(crate) due: BTreeSet<ServiceId>,
    /// Services of which gateways are to be told. Not recorded.
    #[serde(skip)]
    pub(crate) changed: BTreeSet<ServiceId>,
}

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Service {
    /// By number; one that was forgotten is not here.
    pub(crate) revisions: BTreeMap<u32, Revision>,
    /// The revision that is wanted.
    pub(crate) wanted: u32,
    /// Replicas that are wanted, of whatever revisions.
    pub(crate) number: u32,
    /// What a user said of that; never [`ScaleTo::Specified`].
    pub(crate) scale: Option<ScaleTo>,
    /// It is being taken down.
    pub(crate) stopping: bool,
    /// Where the revision that is wanted takes the place of others.
    pub(crate) rollout: Option<Moving>,
    /// The revision that was in place before the last rollout, where that went forward.
    pub(crate) before: Option<u32>,
    /// Oldest first.
    pub(crate) events: VecDeque<ServiceEvent>,
}

/// A revision of a service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Revision {
    pub(crate) job: JobId,
    pub(crate) deployed: Timestamp,
    /// Replicas that sleep, with their last attempt.
    pub(crate) asleep: Spans<()>,
    /// Replicas that have ended and are not started again, with their last attempt.
    pub(crate) over: Spans<()>,
    /// Those that are awake, by index.
    pub(crate) replicas: BTreeMap<u32, Replica>,
    /// One of them was ready once.
    pub(crate) proven: bool,
    /// As its job's specification says. Derived.
    #[serde(skip, default = "unread")]
    pub(crate) spec: Arc<ServiceSpec>,
}

/// A replica that is awake, beyond its place in the job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replica {
    /// How often it has ended in a row without having run for long.
    pub(crate) failures: u32,
    /// How its attempt is; [`Health::Starting`] where it is on no node.
    pub(crate) health: Health,
    /// When its node said that its attempt has started. Before that what it needs is fetched
    /// and compiled there.
    pub(crate) started: Option<Timestamp>,
    /// Its last attempt was never ready, and had had its time for that.
    pub(crate) late: bool,
    /// When its attempt is stopped at the latest that was told to go.
    pub(crate) drain: Option<Timestamp>,
}

/// How an attempt of a replica is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Health {
    /// It was never ready.
    #[default]
    Starting,
    /// It can have requests.
    Ready,
    /// It was ready, and is to have none for now.
    NotReady {
        /// Why, in words.
        why: String,
    },
}

impl Replica {
    /// Whether it can have requests, as far as its node has told.
    pub(crate) fn is_ready(&self) -> bool {
        self.health == Health::Ready && self.drain.is_none()
    }
}

impl Revision {
    fn new(job: JobId, deployed: Timestamp, spec: Arc<ServiceSpec>) -> Self {
        let mut asleep = Spans::default();
        let tasks = IndexRange { first: 0, count: MAX_REPLICAS };
        asleep.insert(Assignment { job, attempt: 0, tasks }, ());
        let (over, replicas) = (Spans::default(), BTreeMap::new());
        Self { job, deployed, asleep, over, replicas, proven: false, spec }
    }

    /// Replicas that are or were started and are to stay: those awake that are not on their
    /// way out, and those that have come to their end.
    pub(crate) fn kept(&self) -> u32 {
        let leaving = self.replicas.values().filter(|replica| replica.drain.is_some()).count();
        self.replicas.len() as u32 - leaving as u32 + self.over.count()
    }
}

impl Service {
    /// The revision that is wanted, where it is known.
    pub(crate) fn wanted(&self) -> Option<&Revision> {
        self.revisions.get(&self.wanted)
    }

    fn note(&mut self, at: Timestamp, what: ServiceHappened) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(ServiceEvent { at, what });
    }
}

impl Services {
    pub(crate) fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    pub(crate) fn get(&self, id: &ServiceId) -> Option<&Service> {
        self.live.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &ServiceId) -> Option<&mut Service> {
        self.live.get_mut(id)
    }

    /// In order of tenant and name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ServiceId, &Service)> {
        self.live.iter()
    }

    /// Those of a tenant, or all, after one.
    pub(crate) fn after<'a>(
        &'a self,
        tenant: Option<&'a TenantName>,
        after: Option<&ServiceId>,
    ) -> impl Iterator<Item = (&'a ServiceId, &'a Service)> {
        let from = match after {
            Some(after) => std::ops::Bound::Excluded(after),
            None => std::ops::Bound::Unbounded,
        };
        let all = self.live.range::<ServiceId, _>((from, std::ops::Bound::Unbounded));
        all.filter(move |(id, _)| tenant.is_none_or(|tenant| id.tenant == *tenant))
    }

    /// Of which service a live job is a revision, and which.
    pub(crate) fn of_job(&self, job: JobId) -> Option<&(ServiceId, u32)> {
        self.of_job.get(&job)
    }

    /// Whether a live job is a revision: its tasks are replicas.
    pub(crate) fn has_job(&self, job: JobId) -> bool {
        !self.of_job.is_empty() && self.of_job.contains_key(&job)
    }

    /// The revision that a live job is.
    pub(crate) fn revision(&self, job: JobId) -> Option<&Revision> {
        let (id, revision) = self.of_job.get(&job)?;
        self.live.get(id)?.revisions.get(revision)
    }

    fn revision_mut(&mut self, job: JobId) -> Option<&mut Revision> {
        let (id, revision) = self.of_job.get(&job)?;
        self.live.get_mut(id)?.revisions.get_mut(revision)
    }

    /// On which ports tasks of a job may listen.
    fn ports(&self, job: JobId) -> &[u16] {
        self.revision(job).map(|revision| ports(&revision.spec)).unwrap_or_default()
    }

    /// A replica that is awake.
    pub(crate) fn replica(&self, task: TaskId) -> Option<&Replica> {
        self.revision(task.job)?.replicas.get(&task.index)
    }

    /// How many services a tenant has.
    pub(crate) fn count_of(&self, tenant: &TenantName) -> usize {
        self.live.keys().filter(|id| id.tenant == *tenant).count()
    }

    /// The service other than `id` to which requests on a route go, if there is one: by its
    /// revision that is wanted, or by another that has replicas still.
    pub(crate) fn with_route(&self, route: &Route, id: &ServiceId) -> Option<&ServiceId> {
        let others = self.live.iter().filter(|(other, of)| *other != id && !of.stopping);
        let mut others = others.filter(|(_, service)| {
            let revisions = service.revisions.iter();
            let mut taking = revisions
                .filter(|(number, of)| **number == service.wanted || !of.replicas.is_empty());
            taking.any(|(_, of)| of.spec.http().is_some_and(|http| http.routes.contains(route)))
        });
        others.next().map(|(other, _)| other)
    }

    /// Has a service looked at.
    pub(crate) fn doubt(&mut self, id: &ServiceId) {
        if self.live.contains_key(id) {
            self.due.insert(id.clone());
        }
    }

    /// Has every service looked at anew, as after a restart.
    pub(crate) fn doubt_all(&mut self) {
        self.due = self.live.keys().cloned().collect();
    }

    /// Has the service looked at of which a job is a revision, if it is one.
    pub(crate) fn doubt_job(&mut self, job: JobId) {
        if let Some((id, _)) = self.of_job.get(&job) {
            self.due.insert(id.clone());
        }
    }

    /// The same, and gateways are to be told.
    pub(crate) fn tell_job(&mut self, job: JobId) {
        if let Some((id, _)) = self.of_job.get(&job) {
            self.due.insert(id.clone());
            self.changed.insert(id.clone());
        }
    }
}

/// On which ports its replicas may listen.
pub(crate) fn ports(spec: &ServiceSpec) -> &[u16] {
    match &spec.kind {
        ServiceKind::Program(program) => &program.ports,
        ServiceKind::Http(_) => &[],
    }
}

impl State {
    /// Whether replicas of other jobs on the node may listen on a port that those of `job`
    /// want too.
    pub(crate) fn is_port_taken(&self, job: JobId, ix: NodeIx) -> bool {
        if self.services.is_empty() {
            return false;
        }
        let wanted = self.services.ports(job);
        let Some(node) = self.nodes.get(ix).filter(|_| !wanted.is_empty()) else { return false };
        let mut others = node.tasks.iter().map(|(run, _)| run.job).filter(|other| *other != job);
        others.any(|other| self.services.ports(other).iter().any(|port| wanted.contains(port)))
    }

    /// Whether the tasks of a group are replicas.
    pub(crate) fn is_service(&self, key: &GroupKey) -> bool {
        let job = key.wishes.as_ref().and_then(|wishes| wishes.job);
        job.is_some_and(|job| self.services.has_job(job))
    }
}

/// In place of a specification that is read from the job's when a snapshot is restored.
fn unread() -> Arc<ServiceSpec> {
    Arc::new(ServiceSpec::new(ServiceKind::Program(ProgramService::default())))
}
