//! A service as a gateway knows it: what it was told, which never changes in place, and what
//! it has counted itself, which outlives being told anew.

mod budget;
mod health;
mod lease;
mod load;
mod pick;
mod queue;
mod replica;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue};
use wrun_protocol::NodeId;
use wrun_protocol::service::{HttpService, ServiceId};
use wrun_protocol::wire::service::{Endpoints, RevisionEndpoints, ServiceLoad};

pub(crate) use lease::Lease;
pub(crate) use pick::Picked;
pub(crate) use queue::{Place, Queue};
pub(crate) use replica::Replica;

use crate::clock::Clock;
use budget::Budget;
use load::Load;

/// A service.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) id: ServiceId,
    pub(crate) clock: Clock,
    /// Requests under way for its tenant, here.
    pub(crate) under_way: Arc<AtomicU32>,
    /// Requests that wait for any of its replicas.
    pub(crate) queue: Arc<Queue>,
    pub(crate) budget: Budget,
    shape: ArcSwap<Shape>,
    /// Of its revisions, those included that are no more but have something to tell.
    loads: Mutex<Vec<(u32, Arc<Load>)>>,
    is_gone: AtomicBool,
    /// Chooses between revisions.
    turn: AtomicU32,
}

/// What was told of a service.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) http: HttpService,
    pub(crate) revisions: Vec<Arc<Revision>>,
}

/// A revision that gets requests, or may.
#[derive(Debug)]
pub(crate) struct Revision {
    pub(crate) number: u32,
    weight: u32,
    header: Option<(HeaderName, HeaderValue)>,
    concurrency: u32,
    replicas: Vec<Arc<Replica>>,
    load: Arc<Load>,
    /// Requests that wait for a replica of this revision.
    pub(crate) queue: Arc<Queue>,
}

impl Service {
    pub(crate) fn new(
        told: Endpoints,
        node: NodeId,
        clock: Clock,
        under_way: Arc<AtomicU32>,
    ) -> Self {
        let service = Self {
            id: told.id.clone(),
            clock,
            under_way,
            queue: Arc::default(),
            budget: Budget::new(),
            shape: ArcSwap::from_pointee(Shape {
                http: HttpService::default(),
                revisions: Vec::new(),
            }),
            loads: Mutex::default(),
            is_gone: AtomicBool::new(false),
            turn: AtomicU32::new(0),
        };
        service.on_told(told, node);
        service
    }

    /// What is told takes the place of what was told before; replicas and revisions that were
    /// known keep what was counted of them.
    pub(crate) fn on_told(&self, told: Endpoints, node: NodeId) {
        let before = self.shape.load_full();
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        let revisions = told.revisions.iter().map(|revision| {
            let known = before.revisions.iter().find(|known| known.number == revision.revision);
            let load = load_of(&mut loads, revision.revision);
            Arc::new(Revision::new(revision, known.map(Arc::as_ref), node, load))
        });
        let shape = Arc::new(Shape { revisions: revisions.collect(), http: told.http });
        drop(loads);
        self.shape.store(Arc::clone(&shape));
        self.queue.wake();
        for revision in &before.revisions {
            // Those that wait for a revision that is no more look, and take any.
            match shape.revisions.iter().any(|kept| kept.number == revision.number) {
                true => revision.queue.wake(),
                false => revision.queue.wake_all(),
            }
        }
    }

    /// The service is no more: nobody waits for it any longer.
    pub(crate) fn on_gone(&self) {
        self.is_gone.store(true, Ordering::SeqCst);
        self.queue.wake_all();
        self.shape.load().revisions.iter().for_each(|revision| revision.queue.wake_all());
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::SeqCst)
    }

    pub(crate) fn shape(&self) -> Arc<Shape> {
        self.shape.load_full()
    }

    /// Requests that wait, for whichever revision.
    pub(crate) fn waiting(&self) -> u32 {
        let pinned: u32 = self.shape.load().revisions.iter().map(|it| it.queue.len()).sum();
        self.queue.len() + pinned
    }

    /// Its load since the last time; `None`: there was none and there is none.
    pub(crate) fn take_load(&self, over_ms: u64, now_us: u64) -> Option<ServiceLoad> {
        let shape = self.shape.load();
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        let mut revisions = Vec::new();
        loads.retain(|(number, load)| {
            let taken = load.take(*number, now_us);
            let is_busy = taken.as_ref().is_some_and(|load| load.in_flight > 0);
            revisions.extend(taken);
            is_busy || shape.revisions.iter().any(|revision| revision.number == *number)
        });
        drop(loads);
        let waiting = self.waiting();
        (waiting > 0 || !revisions.is_empty()).then(|| ServiceLoad {
            id: self.id.clone(),
            over_ms,
            waiting,
            revisions,
        })
    }
}

fn load_of(loads: &mut Vec<(u32, Arc<Load>)>, revision: u32) -> Arc<Load> {
    if let Some((_, load)) = loads.iter().find(|(number, _)| *number == revision) {
        return Arc::clone(load);
    }
    let load = Arc::<Load>::default();
    loads.push((revision, Arc::clone(&load)));
    load
}

impl Shape {
    /// The revision that a request with these fields goes to by its rollout's header.
    pub(crate) fn pinned(&self, fields: &HeaderMap) -> Option<u32> {
        let matches = |revision: &&Arc<Revision>| {
            let wanted = revision.header.as_ref();
            wanted.is_some_and(|(name, value)| fields.get_all(name).iter().any(|it| it == value))
        };
        self.revisions.iter().find(matches).map(|revision| revision.number)
    }

    pub(crate) fn revision(&self, number: u32) -> Option<&Arc<Revision>> {
        self.revisions.iter().find(|revision| revision.number == number)
    }

    /// Whether any revision has a replica.
    pub(crate) fn has_replicas(&self) -> bool {
        self.revisions.iter().any(|revision| !revision.replicas.is_empty())
    }
}

impl Revision {
    fn new(told: &RevisionEndpoints, known: Option<&Self>, node: NodeId, load: Arc<Load>) -> Self {
        let header = told.header.as_ref().and_then(|header| {
            let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(&header.value).ok()?))
        });
        let replicas = told.replicas.iter().map(|endpoint| {
            let attempt = told.attempt(endpoint);
            let known = known.map_or(&[][..], |known| &known.replicas);
            let kept = known.iter().find(|it| it.attempt == attempt && it.node == endpoint.node);
            kept.map_or_else(|| Arc::new(Replica::new(attempt, endpoint.node, node)), Arc::clone)
        });
        Self {
            number: told.revision,
            weight: told.weight,
            header,
            concurrency: told.concurrency.max(1),
            replicas: replicas.collect(),
            load,
            queue: known.map_or_else(Arc::default, |known| Arc::clone(&known.queue)),
        }
    }
}
