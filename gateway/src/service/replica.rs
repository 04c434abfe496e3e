//! A replica as a gateway knows it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use wrun_protocol::{AttemptId, NodeId};

use super::health::{Health, Standing};

/// How long a replica that says again and again that it is busy is left alone at most, in
/// milliseconds: other gateways have its permits, and nobody tells when they give one back.
const BUSY: u64 = 5;

/// A replica. Times in milliseconds of the gateway's clock.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) attempt: AttemptId,
    pub(crate) node: NodeId,
    /// Whether it is on the gateway's own node.
    pub(crate) is_local: bool,
    pub(crate) health: Health,
    in_flight: AtomicU32,
    busy_until: AtomicU64,
    /// How often in a row it has said that it is busy.
    busy_row: AtomicU32,
    is_draining: AtomicBool,
}

impl Replica {
    pub(crate) fn new(attempt: AttemptId, node: NodeId, own: NodeId) -> Self {
        Self {
            attempt,
            node,
            is_local: node == own,
            health: Health::default(),
            in_flight: AtomicU32::new(0),
            busy_until: AtomicU64::new(0),
            busy_row: AtomicU32::new(0),
            is_draining: AtomicBool::new(false),
        }
    }

    /// How many requests of this gateway it handles; `None`: it is to get no further one.
    pub(crate) fn room(&self, concurrency: u32, now: u64) -> Option<u32> {
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        (in_flight < self.limit(concurrency, now)).then_some(in_flight)
    }

    /// Whether it may get requests at all, now or when it has handled those that it has.
    pub(crate) fn is_usable(&self) -> bool {
        !self.is_draining.load(Ordering::Relaxed)
    }

    pub(crate) fn is_ejected(&self, now: u64) -> bool {
        self.health.standing(now) == Standing::Ejected
    }

    /// Takes one of its permits, if there is one.
    pub(crate) fn acquire(&self, concurrency: u32, now: u64) -> bool {
        let limit = self.limit(concurrency, now);
        let taken = |in_flight: u32| (in_flight < limit).then_some(in_flight + 1);
        self.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, taken).is_ok()
    }

    /// Gives a permit back.
    pub(crate) fn release(&self) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
    }

    /// It says that it handles as many requests as it may. The first time it may just not be
    /// quite done with one that it has answered, and is asked again at once.
    pub(crate) fn on_busy(&self, now: u64) {
        let row = self.busy_row.fetch_add(1, Ordering::Relaxed);
        let rest = (1_u64 << row.min(8)) / 2;
        self.busy_until.store(now + rest.min(BUSY), Ordering::Relaxed);
    }

    /// It has answered.
    pub(crate) fn on_answer(&self) {
        if self.busy_row.load(Ordering::Relaxed) > 0 {
            self.busy_row.store(0, Ordering::Relaxed);
        }
    }

    /// It says that it takes no more. It is forgotten when the gateway is told of its service.
    pub(crate) fn on_draining(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    fn limit(&self, concurrency: u32, now: u64) -> u32 {
        if !self.is_usable() || now < self.busy_until.load(Ordering::Relaxed) {
            return 0;
        }
        match self.health.standing(now) {
            Standing::Good => concurrency,
            Standing::Probation => 1,
            Standing::Ejected => 0,
        }
    }
}
