//! From bytes to a model that takes requests: looked over, loaded by a back end, its batch
//! axes proven. It runs on a loader's thread, in its tenant's turn and for a limited time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use wrun_protocol::TenantName;

use crate::back_end::Stop;
use crate::clock::{Clock, Timer, Wake};
use crate::config::Limits;
use crate::error::{BusyReason, LoadError};
use crate::pool::{Pool, Work};
use crate::served::Handle;

pub(crate) type Loaded = Result<Handle, LoadError>;

/// Makes a model of its bytes.
pub(crate) type Make = Box<dyn FnOnce(&Stop) -> Loaded + Send>;

/// Loads that wait, and the threads that do them. Tenants take turns.
pub(crate) struct Loader {
    pool: Pool,
    clock: Clock,
    limits: Arc<Limits>,
    waiting: Mutex<Waiting>,
    me: Weak<Self>,
}

#[derive(Default)]
struct Waiting {
    by_tenant: BTreeMap<TenantName, VecDeque<Arc<Load>>>,
    round: VecDeque<TenantName>,
    count: usize,
}

/// One load, and who waits for it.
struct Load {
    make: Mutex<Option<Make>>,
    sender: Mutex<Option<oneshot::Sender<Loaded>>>,
    stop: Stop,
    time: Duration,
    phase: Mutex<Phase>,
    timer: Mutex<Option<Timer>>,
    pool: Pool,
    clock: Clock,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Running,
    /// Its thread was given up.
    Lost,
    Done,
}

impl Loader {
    pub(crate) fn new(pool: Pool, clock: Clock, limits: Arc<Limits>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            pool,
            clock,
            limits,
            waiting: Mutex::default(),
            me: Weak::clone(me),
        })
    }

    /// Queues a load, and says how to get the model.
    pub(crate) fn submit(
        &self,
        tenant: &TenantName,
        make: Make,
    ) -> Result<oneshot::Receiver<Loaded>, LoadError> {
        let Limits { loads, loads_per_tenant, load_time, .. } = *self.limits;
        let (sender, receiver) = oneshot::channel();
        let load = Arc::new(Load {
            make: Mutex::new(Some(make)),
            sender: Mutex::new(Some(sender)),
            stop: Stop::default(),
            time: load_time,
            phase: Mutex::new(Phase::Waiting),
            timer: Mutex::default(),
            pool: self.pool.clone(),
            clock: self.clock.clone(),
        });
        let mut waiting = self.waiting();
        if waiting.count >= loads {
            return Err(LoadError::Busy(BusyReason::Loads { limit: loads }));
        }
        let Waiting { by_tenant, round, count } = &mut *waiting;
        let of_tenant = by_tenant.entry(tenant.clone()).or_default();
        if of_tenant.len() >= loads_per_tenant {
            let limit = loads_per_tenant;
            return Err(LoadError::Busy(BusyReason::LoadsOfTenant { limit }));
        }
        if of_tenant.is_empty() {
            round.push_back(tenant.clone());
        }
        of_tenant.push_back(Arc::clone(&load));
        *count += 1;
        drop(waiting);
        let who: Weak<Load> = Arc::downgrade(&load);
        let timer = self.clock.at(Instant::now() + load_time, who, None);
        *load.timer.lock().unwrap_or_else(PoisonError::into_inner) = Some(timer);
        if let Some(me) = self.me.upgrade() {
            // Tenants take turns here already.
            self.pool.submit(None, me);
        }
        Ok(receiver)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// The load whose turn it is.
    fn next(&mut self) -> Option<Arc<Load>> {
        let tenant = self.round.pop_front()?;
        let loads = self.by_tenant.get_mut(&tenant)?;
        let load = loads.pop_front();
        if loads.is_empty() {
            self.by_tenant.remove(&tenant);
        } else {
            self.round.push_back(tenant);
        }
        self.count -= 1;
        load
    }
}

impl Work for Loader {
    fn work(self: Arc<Self>) {
        let load = self.waiting().next();
        if let Some(load) = load {
            load.run();
        }
    }
}

impl Load {
    fn run(&self) {
        let make = self.make.lock().unwrap_or_else(PoisonError::into_inner).take();
        let wanted = self.sender().as_ref().is_some_and(|sender| !sender.is_closed());
        if let Some(make) = make.filter(|_| wanted) {
            *self.phase() = Phase::Running;
            let loaded = make(&self.stop);
            self.answer(loaded);
            if std::mem::replace(&mut *self.phase(), Phase::Done) == Phase::Lost {
                self.pool.found();
            }
        }
    }

    fn answer(&self, loaded: Loaded) {
        let sender = self.sender().take();
        let timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(timer) = timer {
            self.clock.forget(timer);
        }
        if let Some(sender) = sender {
            // A model that nobody waits for any more is dropped here.
            let _ = sender.send(loaded);
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sender(&self) -> MutexGuard<'_, Option<oneshot::Sender<Loaded>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Load {
    /// Its time is over.
    fn wake(&self, _now: Instant) {
        self.stop.set();
        self.answer(Err(LoadError::Timeout(self.time)));
        let mut phase = self.phase();
        if *phase == Phase::Running && self.pool.lost() {
            *phase = Phase::Lost;
        }
    }
}
